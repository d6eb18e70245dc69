"""A picture drawn as vectors: shapes in coordinates of 0..1, rasterised once, with the mask and boxes of its parts.

Why not one bitmap size: the same picture is wanted at 32 px (training) and at 256 px (the page). Everything is therefore
said in fractions of the picture, drawn larger than asked and averaged down, which is also what makes the edges smooth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Point = tuple[float, float]
Color = tuple[int, int, int]

SUPERSAMPLE = 4
SMALLEST = 256  # pixels of the working bitmap: below this, thin shapes would round to different widths at each size


class Canvas:
    """A square working bitmap and, beside it, a label map: which part owns each pixel (0 is background).

    Args:
        size: pixels of a side of the finished picture. The bitmap is at least four times that.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.factor = max(SUPERSAMPLE, -(-SMALLEST // size))
        self.width = size * self.factor
        self.image = Image.new("RGB", (self.width, self.width))
        self._labels = Image.new("L", (self.width, self.width))
        self._draw = ImageDraw.Draw(self.image, "RGBA")
        self._label = ImageDraw.Draw(self._labels)
        self._extent: dict[int, list[float]] = {}

    def gradient(self, stops: Sequence[tuple[float, Color]], top: float = 0.0, bottom: float = 1.0) -> None:
        """Fill the band top..bottom (0..1, downwards) with colours blended between `stops` (position in 0..1, colour)."""
        first, last = round(top * self.width), round(bottom * self.width)
        height = max(1, last - first)
        rows = bytearray()
        for y in range(height):
            rows += bytes(_blend(stops, (y + 0.5) / height))
        self.image.paste(Image.frombytes("RGB", (1, height), bytes(rows)).resize((self.width, height)), (0, first))

    def polygon(self, points: Sequence[Point], fill: Color, alpha: float = 1.0, part: int = 0) -> None:
        """A filled polygon; `part` > 0 also claims its pixels for that part."""
        scaled = [(x * self.width, y * self.width) for x, y in points]
        self._draw.polygon(scaled, fill=_rgba(fill, alpha))
        if part:
            self._label.polygon(scaled, fill=part)
            self._grow(part, points)

    def line(self, points: Sequence[Point], fill: Color, width: float, alpha: float = 1.0, part: int = 0) -> None:
        """A polyline of `width` (fraction of the picture) with round joints and ends."""
        pixels = max(1, round(width * self.width))
        scaled = [(x * self.width, y * self.width) for x, y in points]
        self._draw.line(scaled, fill=_rgba(fill, alpha), width=pixels, joint="curve")
        half = pixels / 2
        if alpha == 1.0:
            for x, y in (scaled[0], scaled[-1]):
                self._draw.ellipse((x - half, y - half, x + half, y + half), fill=_rgba(fill, 1.0))
        if part:
            self._label.line(scaled, fill=part, width=pixels, joint="curve")
            reach = width / 2
            self._grow(part, [(x + dx, y + dy) for x, y in points for dx, dy in ((-reach, -reach), (reach, reach))])

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Color, alpha: float = 1.0, part: int = 0) -> None:
        """A filled ellipse around (x, y) with half axes rx, ry."""
        box = [(x - rx) * self.width, (y - ry) * self.width, (x + rx) * self.width, (y + ry) * self.width]
        self._draw.ellipse(box, fill=_rgba(fill, alpha))
        if part:
            self._label.ellipse(box, fill=part)
            self._grow(part, [(x - rx, y - ry), (x + rx, y + ry)])

    def _grow(self, part: int, points: Sequence[Point]) -> None:
        extent = self._extent.setdefault(part, [1.0, 1.0, 0.0, 0.0])
        for x, y in points:
            extent[0], extent[1] = min(extent[0], x), min(extent[1], y)
            extent[2], extent[3] = max(extent[2], x), max(extent[3], y)

    def box(self, part: int) -> list[float]:
        """[x0, y0, x1, y1] in 0..1 around all that was drawn for `part`, hidden or not; the same at every size."""
        return [round(min(1.0, max(0.0, value)), 4) for value in self._extent[part]]

    def finish(self) -> tuple[Image.Image, Image.Image]:
        """(picture RGB, label map L), both size x size: the picture averaged down, each label taken at a pixel's centre."""
        return self.image.reduce(self.factor), self._labels.resize((self.size, self.size), Image.Resampling.NEAREST)


class Frame:
    """Local coordinates on a canvas: x to the right, y down, the origin at (x, y) of the picture, 1 unit = `scale`.

    `flip` mirrors left and right; `part` is the label every shape of this frame claims (0: none).
    """

    def __init__(self, canvas: Canvas, x: float, y: float, scale: float, flip: bool = False, part: int = 0) -> None:
        self.canvas, self.x, self.y, self.scale, self.part = canvas, x, y, scale, part
        self.sign = -1.0 if flip else 1.0

    def to(self, part: int) -> Frame:
        """The same coordinates, drawing for another part."""
        return Frame(self.canvas, self.x, self.y, self.scale, self.sign < 0, part)

    def _map(self, points: Sequence[Point]) -> list[Point]:
        return [(self.x + self.sign * self.scale * x, self.y + self.scale * y) for x, y in points]

    def polygon(self, points: Sequence[Point], fill: Color, alpha: float = 1.0) -> None:
        self.canvas.polygon(self._map(points), fill, alpha, self.part)

    def line(self, points: Sequence[Point], fill: Color, width: float, alpha: float = 1.0) -> None:
        self.canvas.line(self._map(points), fill, width * self.scale, alpha, self.part)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Color, alpha: float = 1.0, turn: float = 0.0
    ) -> None:
        """An ellipse, turned clockwise by `turn` degrees."""
        if turn:
            self.polygon(ellipse_points(x, y, rx, ry, turn), fill, alpha)
            return
        [(cx, cy)] = self._map([(x, y)])
        self.canvas.ellipse(cx, cy, rx * self.scale, ry * self.scale, fill, alpha, self.part)

    def smooth(self, points: Sequence[Point], fill: Color, alpha: float = 1.0) -> None:
        """A closed soft shape through `points`."""
        self.polygon(closed_curve(points), fill, alpha)

    def block(self, x0: float, y0: float, x1: float, y1: float, fill: Color, alpha: float = 1.0) -> None:
        """An upright rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, alpha)


def ellipse_points(x: float, y: float, rx: float, ry: float, turn: float = 0.0, count: int = 40) -> list[Point]:
    """`count` points of an ellipse turned clockwise by `turn` degrees."""
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    angles = [2 * math.pi * k / count for k in range(count)]
    around = [(rx * math.cos(a), ry * math.sin(a)) for a in angles]
    return [(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in around]


def closed_curve(points: Sequence[Point], steps: int = 8) -> list[Point]:
    """A closed Catmull-Rom curve through `points`, as a polygon of `steps` points an edge."""
    count, out = len(points), []
    for k in range(count):
        p0, p1, p2, p3 = (points[(k + d) % count] for d in (-1, 0, 1, 2))
        for step in range(steps):
            out.append(_catmull_rom(p0, p1, p2, p3, step / steps))
    return out


def open_curve(points: Sequence[Point], steps: int = 8) -> list[Point]:
    """An open Catmull-Rom curve from the first to the last of `points`."""
    padded = [points[0], *points, points[-1]]
    out = []
    for k in range(1, len(padded) - 2):
        out += [_catmull_rom(*padded[k - 1 : k + 3], step / steps) for step in range(steps)]
    return [*out, points[-1]]


def _catmull_rom(p0: Point, p1: Point, p2: Point, p3: Point, t: float) -> Point:
    def along(a: float, b: float, c: float, d: float) -> float:
        return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)

    return along(p0[0], p1[0], p2[0], p3[0]), along(p0[1], p1[1], p2[1], p3[1])


def _blend(stops: Sequence[tuple[float, Color]], t: float) -> Color:
    if t <= stops[0][0]:
        return stops[0][1]
    for (t0, c0), (t1, c1) in zip(stops, stops[1:], strict=False):
        if t <= t1:
            return tuple(round(a + (b - a) * (t - t0) / (t1 - t0)) for a, b in zip(c0, c1, strict=True))
    return stops[-1][1]


def _rgba(color: Color, alpha: float) -> tuple[int, int, int, int]:
    return (*color, round(255 * alpha))
