"""toy-flowers, which stands for Oxford-102: one flower, its species told by petals, centre and leaves.

The background and the way the flower leans do not depend on the species.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, radians, sin
from random import Random
from typing import Any

from data_prep.toyworld import backdrops
from data_prep.toyworld.canvas import Canvas, Color, Frame, Point, closed_curve, open_curve
from data_prep.toyworld.flower_captions import write_captions
from data_prep.toyworld.palette import LEAF, NATURAL, mix, shade, tint, vary
from data_prep.toyworld.scene import TEST_STREAM, Scene, stream
from data_prep.toyworld.species import SPLIT, SPLIT_RULE, pick_species, species_table

__all__ = ["ATTRIBUTES", "CLASS_DISJOINT", "NAME", "PARTS", "SPECIES", "SPLIT_RULE", "VALUES", "draw"]

NAME = "toy-flowers"
CLASS_DISJOINT = True
PETALS = ("red", "orange", "yellow", "blue", "purple", "pink", "white")
CENTERS = ("yellow", "brown", "white", "green", "red")
SHAPES = ("round", "pointed", "narrow", "notched")
COUNTS = {"four": 4, "five": 5, "six": 6, "eight": 8}
LEAVES = ("broad", "thin")
ATTRIBUTES = {"background": ["garden", "sky", "dark", "table", "rocks"]}
PARTS = {
    "names": ["petals", "center", "leaves"],
    "colors": sorted({*PETALS, *CENTERS}),
    "shapes": [*SHAPES, *LEAVES],
    "counts": list(COUNTS),
}
VALUES = {"petals": PETALS, "center": CENTERS, "shape": SHAPES, "count": tuple(COUNTS), "leaves": LEAVES}
SPECIES = species_table(NAME, VALUES, lambda one: one["petals"] != one["center"])


def draw(seed: int, index: int, size: int, species: str = SPLIT) -> Scene:
    """The flower (seed, index) at size x size pixels; indices from 2**30 on show the test species.

    ``species`` "free" draws colours, petals and leaves independently instead, at every index.
    """
    rng = stream(NAME, seed, index, "species")
    class_id, shown = pick_species(rng, index >= TEST_STREAM, SPECIES, VALUES, species)
    attributes = {"background": stream(NAME, seed, index, "attributes").choice(ATTRIBUTES["background"])}
    canvas = Canvas(size)
    _BACKGROUNDS[attributes["background"]](canvas, stream(NAME, seed, index, "background"))
    _paint(canvas, shown, stream(NAME, seed, index, "shapes"))
    image, mask = canvas.finish()
    parts = [
        {"name": "petals", "color": shown["petals"], "shape": shown["shape"], "count": shown["count"]},
        {"name": "center", "color": shown["center"]},
        {"name": "leaves", "shape": shown["leaves"]},
    ]
    parts = [part | {"box": canvas.box(number), "mask": number} for number, part in enumerate(parts, start=1)]
    truth: dict[str, Any] = {"attributes": attributes, "parts": parts, "relations": []}
    captions, truth["words"] = write_captions(truth, stream(NAME, seed, index, "captions"))
    return Scene(image, mask, captions, class_id, truth)


# -------------------------------------------------------------------------------------------------------- the flower


def _paint(canvas: Canvas, species: dict[str, str], rng: Random) -> None:
    x, y, radius = 0.5 + rng.uniform(-0.04, 0.04), rng.uniform(0.38, 0.42), rng.uniform(0.32, 0.36)
    foot = x + rng.uniform(-0.1, 0.1)
    green = vary(LEAF, rng)
    stem = open_curve([(foot, 1.05), (foot + rng.uniform(-0.03, 0.03), 0.85), (x, y + 0.1)])
    canvas.line(stem, shade(green, 0.4), 0.05)
    canvas.line(stem, tint(green, 0.1), 0.03)
    for side in (-1, 1):
        _leaf(Frame(canvas, foot, 0.93, rng.uniform(0.36, 0.4), side < 0, 3), species["leaves"], green)
    color = vary(NATURAL[species["petals"]], rng, 6)
    count = COUNTS[species["count"]]
    first, lean = rng.uniform(0, 360), rng.uniform(0.9, 1.0)
    outline = petal_outline(species["shape"], count)
    for k in range(count):
        petal = [_turned(point, first + 360 * k / count) for point in outline]
        face = Frame(canvas, x, y, radius, part=1)
        face.polygon([(u, lean * v) for u, v in petal], color, edge=shade(color, 0.42), width=0.045)
    for k in range(count):
        _veins(Frame(canvas, x, y, radius, part=1), first + 360 * k / count, lean, color)
    _center(Frame(canvas, x, y, radius, part=2), vary(NATURAL[species["center"]], rng, 6), lean)


def petal_outline(shape: str, count: int) -> list[Point]:
    """A petal that points to +x, from the flower's centre to radius 1; wider where there are few of them."""
    wide = {4: 0.44, 5: 0.4, 6: 0.34, 8: 0.27}[count]
    if shape == "round":
        return closed_curve(
            [(0.1, 0.0), (0.45, -wide), (0.8, -wide * 0.95), (1.0, 0.0), (0.8, wide * 0.95), (0.45, wide)]
        )
    if shape == "pointed":
        side = [(0.1, -0.08), (0.3, -wide * 0.8), (0.55, -wide * 0.85), (0.8, -wide * 0.42)]
        return [*side, (1.04, 0.0), *((u, -v) for u, v in reversed(side))]
    if shape == "narrow":
        return closed_curve([(0.1, 0.0), (0.4, -0.12), (0.82, -0.15), (1.03, 0.0), (0.82, 0.15), (0.4, 0.12)])
    lobe = open_curve([(0.1, 0.0), (0.42, -wide * 0.62), (0.8, -wide * 0.96), (1.02, -wide * 0.55), (0.78, 0.0)])
    return [*lobe, *((u, -v) for u, v in reversed(lobe[1:-1]))]


def _veins(f: Frame, degrees: float, lean: float, color: Color) -> None:
    tone = mix(shade(color, 0.3), color, 0.35)
    for spread in (-0.06, 0.06):
        line = [_turned((0.28, spread * 0.6), degrees), _turned((0.58, spread), degrees)]
        f.line([(u, lean * v) for u, v in line], tone, 0.025)


def _center(f: Frame, color: Color, lean: float) -> None:
    f.ellipse(0.0, 0.0, 0.3, 0.3 * lean, shade(color, 0.5))
    f.ellipse(0.0, 0.0, 0.255, 0.255 * lean, color)
    for ring, count in ((0.08, 5), (0.18, 11)):
        for k in range(count):
            u, v = _turned((ring, 0.0), 360 * k / count)
            f.ellipse(u, v * lean, 0.025, 0.025, shade(color, 0.22))


def _leaf(f: Frame, shape: str, green: Color) -> None:
    if shape == "broad":
        points = [(0.0, 0.0), (0.16, -0.34), (0.52, -0.56), (0.98, -0.58), (0.86, -0.22), (0.5, 0.06)]
    else:
        points = [(0.0, 0.0), (0.2, -0.3), (0.52, -0.66), (0.94, -1.0), (0.68, -0.52), (0.3, -0.12)]
    f.smooth(points, green, edge=shade(green, 0.42), width=0.04)
    f.line(open_curve([(0.06, -0.05), (0.45, points[3][1] * 0.42), (0.8, points[3][1] * 0.8)]), tint(green, 0.3), 0.028)


def _turned(point: Point, degrees: float) -> Point:
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return point[0] * c - point[1] * s, point[0] * s + point[1] * c


# ---------------------------------------------------------------------------------------------------- its background


def _garden(c: Canvas, rng: Random) -> None:
    backdrops.blurred(c, rng, (172, 208, 150), (104, 158, 104), (226, 240, 170), 20)


def _open_sky(c: Canvas, rng: Random) -> None:
    backdrops.clouds(c, rng, (126, 188, 240), (214, 236, 250))


def _dark(c: Canvas, rng: Random) -> None:
    backdrops.blurred(c, rng, (38, 40, 58), (22, 24, 36), (84, 92, 130), 10)


def _table(c: Canvas, rng: Random) -> None:
    """A pale wall over the boards of a table."""
    c.gradient([(0, vary((240, 226, 206), rng)), (1, vary((226, 206, 180), rng))], 0.0, 0.75)
    wood = vary((176, 124, 82), rng)
    c.gradient([(0, tint(wood, 0.15)), (1, shade(wood, 0.15))], 0.72, 1.0)
    for y in (0.72, 0.8, 0.9):
        c.line([(0.0, y), (1.0, y)], shade(wood, 0.3), 0.008)


def _rocks(c: Canvas, rng: Random) -> None:
    c.gradient([(0, vary((186, 188, 196), rng)), (1, vary((142, 142, 152), rng))])
    for row in range(6):
        for column in range(6):
            x, y = (column + rng.uniform(-0.3, 0.6)) / 5, (row + rng.uniform(-0.2, 0.5)) / 5
            stone = Frame(c, x, y, rng.uniform(0.1, 0.16), rng.random() < 0.5)
            tone = vary(mix((196, 196, 202), (132, 132, 144), rng.random()), rng)
            stone.smooth([(-1, 0.1), (-0.5, -0.6), (0.4, -0.7), (1, 0.0), (0.5, 0.6), (-0.5, 0.6)], tone, 0.8)


_BACKGROUNDS: dict[str, Callable[[Canvas, Random], None]] = {
    "garden": _garden, "sky": _open_sky, "dark": _dark, "table": _table, "rocks": _rocks,
}  # fmt: skip
