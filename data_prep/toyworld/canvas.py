"""A picture drawn as vectors: shapes in coordinates of 0..1, rasterised once, with the mask and boxes of its parts.

Why not one bitmap size: the same picture is wanted at 32 px (training) and at 256 px (the page). So everything is
said in fractions of the picture, drawn larger than asked and averaged down, which is also what makes the edges smooth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
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
        self._extent: dict[int, tuple[float, float, float, float]] = {}

    def gradient(self, stops: Sequence[tuple[float, Color]], top: float = 0.0, bottom: float = 1.0) -> None:
        """Fill the band top..bottom (0..1, downwards) with colours blended between `stops` (position, colour)."""
        first, last = round(top * self.width), round(bottom * self.width)
        height = max(1, last - first)
        where = (np.arange(height) + 0.5) / height
        channels = [
            np.interp(where, [at for at, _ in stops], values) for values in zip(*(c for _, c in stops), strict=True)
        ]
        column = np.rint(np.stack(channels, 1)).astype(np.uint8)[:, None]
        self.image.paste(Image.fromarray(column).resize((self.width, height)), (0, first))

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
        discs = [(x - pixels / 2, y - pixels / 2, x + pixels / 2, y + pixels / 2) for x, y in _corners(scaled)]
        self._draw.line(scaled, fill=_rgba(fill, alpha), width=pixels)
        if alpha == 1.0:  # where the line is seen through, discs would show twice
            for disc in discs:
                self._draw.ellipse(disc, fill=_rgba(fill, 1.0))
        if part:
            self._label.line(scaled, fill=part, width=pixels)
            for disc in discs:
                self._label.ellipse(disc, fill=part)
            self._grow(part, points, width / 2)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Color, alpha: float = 1.0, part: int = 0) -> None:
        """A filled ellipse around (x, y) with half axes rx, ry."""
        box = [(x - rx) * self.width, (y - ry) * self.width, (x + rx) * self.width, (y + ry) * self.width]
        self._draw.ellipse(box, fill=_rgba(fill, alpha))
        if part:
            self._label.ellipse(box, fill=part)
            self._grow(part, [(x - rx, y - ry), (x + rx, y + ry)])

    def _grow(self, part: int, points: Sequence[Point], reach: float = 0.0) -> None:
        """Widen the part's extent to the points and `reach` around them."""
        xs, ys = zip(*points, strict=True)
        x0, y0, x1, y1 = self._extent.get(part, (1.0, 1.0, 0.0, 0.0))
        self._extent[part] = (
            min(x0, min(xs) - reach), min(y0, min(ys) - reach), max(x1, max(xs) + reach), max(y1, max(ys) + reach)
        )  # fmt: skip

    def box(self, part: int) -> list[float]:
        """[x0, y0, x1, y1] in 0..1 around all that was drawn for `part`, hidden or not; the same at every size."""
        return [round(min(1.0, max(0.0, value)), 4) for value in self._extent[part]]

    def finish(self) -> tuple[Image.Image, Image.Image]:
        """(picture RGB, label map L), both size x size: the picture averaged down, the label at each pixel's centre."""
        return self.image.reduce(self.factor), self._labels.resize((self.size, self.size), Image.Resampling.NEAREST)


class Frame:
    """Local coordinates on a canvas: x to the right, y down, the origin at (x, y) of the picture, 1 unit = `scale`.

    `turn` rotates clockwise by degrees, then `flip` mirrors left and right; `part` is the label that every shape of
    this frame claims (0: none).
    """

    def __init__(
        self, canvas: Canvas, x: float, y: float, scale: float, flip: bool = False, part: int = 0, turn: float = 0.0
    ) -> None:
        self.canvas, self.x, self.y, self.scale, self.flip, self.part, self.turn = canvas, x, y, scale, flip, part, turn
        self._cos, self._sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))

    def to(self, part: int) -> Frame:
        """The same coordinates, drawing for another part."""
        return Frame(self.canvas, self.x, self.y, self.scale, self.flip, part, self.turn)

    def at(self, x: float, y: float) -> Point:
        """Where a local point lies in the picture."""
        u, v = self._cos * x - self._sin * y, self._sin * x + self._cos * y
        return self.x + self.scale * (-u if self.flip else u), self.y + self.scale * v

    def polygon(
        self, points: Sequence[Point], fill: Color, alpha: float = 1.0, edge: Color | None = None, width: float = 0.03
    ) -> None:
        """A filled polygon, with a line of colour `edge` along its border where one is given."""
        placed = [self.at(x, y) for x, y in points]
        self.canvas.polygon(placed, fill, alpha, self.part)
        if edge is not None:
            self.canvas.line([*placed, placed[0]], edge, width * self.scale, 1.0, self.part)

    def smooth(
        self, points: Sequence[Point], fill: Color, alpha: float = 1.0, edge: Color | None = None, width: float = 0.03
    ) -> None:
        """A closed soft shape through `points`."""
        self.polygon(closed_curve(points), fill, alpha, edge, width)

    def line(self, points: Sequence[Point], fill: Color, width: float, alpha: float = 1.0) -> None:
        self.canvas.line([self.at(x, y) for x, y in points], fill, width * self.scale, alpha, self.part)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Color, alpha: float = 1.0, turn: float = 0.0
    ) -> None:
        """An ellipse, turned clockwise by `turn` degrees."""
        if turn or self.turn:
            self.polygon(ellipse_points(x, y, rx, ry, turn), fill, alpha)
            return
        cx, cy = self.at(x, y)
        self.canvas.ellipse(cx, cy, rx * self.scale, ry * self.scale, fill, alpha, self.part)

    def block(self, x0: float, y0: float, x1: float, y1: float, fill: Color, alpha: float = 1.0) -> None:
        """A rectangle along the frame's axes."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, alpha)


def ellipse_points(x: float, y: float, rx: float, ry: float, turn: float = 0.0, count: int = 40) -> list[Point]:
    """`count` points of an ellipse turned clockwise by `turn` degrees."""
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    angles = [2 * math.pi * k / count for k in range(count)]
    around = [(rx * math.cos(a), ry * math.sin(a)) for a in angles]
    return [(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in around]


def closed_curve(points: Sequence[Point], steps: int = 7) -> list[Point]:
    """A closed Catmull-Rom curve through `points`, as a polygon of `steps` points an edge."""
    around = [points[-1], *points, points[0], points[1]]
    return _catmull_rom(around, steps)


def open_curve(points: Sequence[Point], steps: int = 7) -> list[Point]:
    """An open Catmull-Rom curve from the first to the last of `points`."""
    return [*_catmull_rom([points[0], *points, points[-1]], steps), points[-1]]


def _catmull_rom(points: Sequence[Point], steps: int) -> list[Point]:
    """`steps` points on each piece between points[1] and points[-2]; the outer two only bend the curve."""
    weights = _catmull_rom_weights(steps)
    out = []
    for (ax, ay), (bx, by), (cx, cy), (dx, dy) in zip(points, points[1:], points[2:], points[3:], strict=False):
        out += [(a * ax + b * bx + c * cx + d * dx, a * ay + b * by + c * cy + d * dy) for a, b, c, d in weights]
    return out


@cache
def _catmull_rom_weights(steps: int) -> list[tuple[float, float, float, float]]:
    """What each of four neighbouring points counts at t = 0, 1/steps, ...; the weights sum to one."""
    return [
        ((-t + 2 * t**2 - t**3) / 2, (2 - 5 * t**2 + 3 * t**3) / 2, (t + 4 * t**2 - 3 * t**3) / 2, (t**3 - t**2) / 2)
        for t in (step / steps for step in range(steps))
    ]


def _corners(points: Sequence[Point]) -> list[Point]:
    """The ends of a polyline and the points where it turns by more than about 25 degrees: only there a joint shows.

    Pillow's own joint="curve" rounds every point in Python, which took half of the time of a picture full of curves.
    """
    out = [points[0], points[-1]]
    for (x0, y0), (x1, y1), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        ux, uy, vx, vy = x1 - x0, y1 - y0, x2 - x1, y2 - y1
        if ux * vx + uy * vy < 0.9 * math.hypot(ux, uy) * math.hypot(vx, vy):
            out.append((x1, y1))
    return out


def _rgba(color: Color, alpha: float) -> tuple[int, int, int, int]:
    return (*color, round(255 * alpha))
