"""toy-scenes, which stands for MS-COCO: one to three things in one of six settings, placed and related.

What is independent of what: the setting and the colours of everything else; a thing's class, place and size; the
classes of one scene, except that no two are the same. What is not, on purpose: houses, trees, cars, boats, dogs and
flowers are never in the sky; and two large things never stand side by side on one level (they would hide each other),
so that scenes of three things hold more small ones than scenes of one.
"""

from __future__ import annotations

from random import Random
from typing import Any

from data_prep.toyworld.canvas import Canvas, Frame
from data_prep.toyworld.palette import COLORS, vary
from data_prep.toyworld.scene import TWO_STREAMS, Scene, stream
from data_prep.toyworld.scene_captions import write_captions
from data_prep.toyworld.settings import SETTINGS
from data_prep.toyworld.things import IN_SKY, ON_GROUND

NAME = "toy-scenes"
CLASS_DISJOINT = False
SPLIT_RULE = TWO_STREAMS
PLACES = {"left": 0.215, "middle": 0.5, "right": 0.785}
SIZES = {"small": (0.255, 0.285), "large": (0.37, 0.4)}
ATTRIBUTES = {"setting": list(SETTINGS)}
PARTS = {
    "names": list(ON_GROUND), "colors": list(COLORS), "sizes": list(SIZES), "places": list(PLACES),
    "levels": ["ground", "sky"],
}  # fmt: skip

IN_SKY_CHANCE = 0.25
# Things of the sky are on the ground less often than houses, so that all ten classes are about equally frequent.
GROUND_WEIGHTS = [0.25 if name in IN_SKY else 1.0 for name in ON_GROUND]


def draw(seed: int, index: int, size: int) -> Scene:
    """The scene (seed, index) at size x size pixels; what it shows does not depend on the size."""
    layout = _layout(stream(NAME, seed, index, "layout"))
    setting = stream(NAME, seed, index, "setting").choice(list(SETTINGS))
    canvas = Canvas(size)
    SETTINGS[setting](canvas, stream(NAME, seed, index, "background"))
    shapes = stream(NAME, seed, index, "shapes")
    parts = [_paint(canvas, thing, number, shapes) for number, thing in enumerate(layout, start=1)]
    image, mask = canvas.finish()
    truth: dict[str, Any] = {"attributes": {"setting": setting}, "parts": parts, "relations": _relations(parts)}
    captions, truth["words"] = write_captions(truth, stream(NAME, seed, index, "captions"))
    return Scene(image, mask, captions, -1, truth)


def _layout(rng: Random) -> list[dict[str, str]]:
    """Name, colour, size, place and level of each thing, large ones first (they are drawn behind the small)."""
    count = rng.choice((1, 1, 2, 2, 2, 3, 3))
    while True:
        cells = [("sky" if rng.random() < IN_SKY_CHANCE else "ground", rng.choice(list(PLACES))) for _ in range(count)]
        sizes = [rng.choice(list(SIZES)) for _ in range(count)]
        if len(set(cells)) == count and not _crowded(cells, sizes):
            break
    names: list[str] = []
    for level, _ in cells:
        names.append(_name(rng, level, names))
    things = [
        {"name": name, "color": rng.choice(list(COLORS)), "size": size, "place": place, "level": level}
        for name, size, (level, place) in zip(names, sizes, cells, strict=True)
    ]
    return sorted(things, key=lambda thing: thing["size"] == "small")


def _crowded(cells: list[tuple[str, str]], sizes: list[str]) -> bool:
    """Whether two large things stand side by side on one level."""
    columns = list(PLACES)
    large = [
        (level, columns.index(place)) for (level, place), size in zip(cells, sizes, strict=True) if size == "large"
    ]
    return any((level, column + 1) in large for level, column in large)


def _name(rng: Random, level: str, taken: list[str]) -> str:
    while True:
        name = rng.choices(list(ON_GROUND), GROUND_WEIGHTS)[0] if level == "ground" else rng.choice(list(IN_SKY))
        if name not in taken:
            return name


def _paint(canvas: Canvas, thing: dict[str, str], number: int, rng: Random) -> dict[str, Any]:
    scale = rng.uniform(*SIZES[thing["size"]])
    x = PLACES[thing["place"]] + rng.uniform(-0.015, 0.015)
    color = vary(COLORS[thing["color"]], rng, 6)
    flip = rng.random() < 0.5
    if thing["level"] == "sky":
        y = 0.03 + scale + rng.uniform(0.0, 0.43 - scale)
        IN_SKY[thing["name"]](Frame(canvas, x, y, scale, flip, number), color, rng)
    else:
        y = rng.uniform(0.88, 0.95)
        canvas.ellipse(x, y, 0.46 * scale, 0.06 * scale, (20, 24, 48), 0.2)
        ON_GROUND[thing["name"]](Frame(canvas, x, y, scale, flip, number), color, rng)
    return {**thing, "box": canvas.box(number), "mask": number}


def _relations(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every true "left of" (of different columns) and "above" (sky over ground in one column)."""
    columns = list(PLACES)
    out = []
    for a, first in enumerate(parts):
        for b, second in enumerate(parts):
            if columns.index(first["place"]) < columns.index(second["place"]):
                out.append({"subject": a, "relation": "left of", "object": b})
            elif first["place"] == second["place"] and (first["level"], second["level"]) == ("sky", "ground"):
                out.append({"subject": a, "relation": "above", "object": b})
    return out
