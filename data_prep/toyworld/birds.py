"""toy-birds, which stands for CUB-200-2011: one bird, its species told by four colours and the length of the bill.

Pose and background do not depend on the species, nor on each other.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from data_prep.toyworld import backdrops
from data_prep.toyworld.bird_captions import write_captions
from data_prep.toyworld.canvas import Canvas, Frame, Point, closed_curve, open_curve
from data_prep.toyworld.palette import DARK, LEAF, NATURAL, WOOD, mix, shade, tint, vary
from data_prep.toyworld.scene import TEST_STREAM, Scene, stream
from data_prep.toyworld.species import SPLIT, SPLIT_RULE, pick_species, species_table

__all__ = ["ATTRIBUTES", "CLASS_DISJOINT", "NAME", "PARTS", "SPECIES", "SPLIT_RULE", "VALUES", "draw"]

NAME = "toy-birds"
CLASS_DISJOINT = True
FEATHERS = ("red", "orange", "yellow", "green", "blue", "white", "black", "brown")
BILLS = ("orange", "yellow", "black", "red")
POSES = ("perched", "standing", "flying")
ATTRIBUTES = {"pose": list(POSES), "background": ["forest", "lake", "sky", "field", "sunset"]}
PARTS = {
    "names": ["bird", "crown", "wing", "belly", "bill"],
    "colors": sorted({*FEATHERS, *BILLS}),
    "lengths": ["short", "long"],
}
VALUES = {"crown": FEATHERS, "wing": FEATHERS, "belly": FEATHERS, "bill": BILLS, "length": ("short", "long")}
SPECIES = species_table(
    NAME,
    VALUES,
    lambda one: len({one["crown"], one["wing"], one["belly"]}) >= 2 and one["wing"] != one["belly"]
    and one["bill"] not in (one["crown"], one["belly"]),
)  # fmt: skip

BIRD, CROWN, WING, BELLY, BILL = 1, 2, 3, 4, 5


def draw(seed: int, index: int, size: int, species: str = SPLIT) -> Scene:
    """The bird (seed, index) at size x size pixels; indices from 2**30 on show the test species.

    ``species`` "free" draws the colours and the length of the bill independently instead, at every index.
    """
    rng = stream(NAME, seed, index, "species")
    class_id, shown = pick_species(rng, index >= TEST_STREAM, SPECIES, VALUES, species)
    choice = stream(NAME, seed, index, "attributes")
    attributes = {name: choice.choice(values) for name, values in ATTRIBUTES.items()}
    canvas = Canvas(size)
    _BACKGROUNDS[attributes["background"]](canvas, stream(NAME, seed, index, "background"))
    _paint(canvas, shown, attributes["pose"], stream(NAME, seed, index, "shapes"))
    image, mask = canvas.finish()
    truth: dict[str, Any] = {"attributes": attributes, "parts": _parts(canvas, shown), "relations": []}
    captions, truth["words"] = write_captions(truth, stream(NAME, seed, index, "captions"))
    return Scene(image, mask, captions, class_id, truth)


def _parts(canvas: Canvas, species: dict[str, str]) -> list[dict[str, Any]]:
    boxes = [canvas.box(part) for part in (BIRD, CROWN, WING, BELLY, BILL)]
    whole = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    parts: list[dict[str, Any]] = [{"name": "bird", "box": whole, "mask": BIRD}]
    for name, number in (("crown", CROWN), ("wing", WING), ("belly", BELLY), ("bill", BILL)):
        parts.append({"name": name, "color": species[name], "box": boxes[number - 1], "mask": number})
    parts[-1]["length"] = species["length"]
    return parts


# ---------------------------------------------------------------------------------------------------------- the bird


def _paint(canvas: Canvas, species: dict[str, str], pose: str, rng: Random) -> None:
    """Body in a turned frame, so that one bird serves the three poses; legs and perch come before it."""
    tones = {name: vary(NATURAL[species[name]], rng, 6) for name in ("crown", "wing", "belly", "bill")}
    flip = rng.random() < 0.5
    scale = rng.uniform(0.5, 0.56)
    turn = {"perched": -38.0, "standing": -14.0, "flying": -6.0}[pose] + rng.uniform(-4, 4)
    shift = {"perched": -0.02, "standing": 0.01, "flying": 0.0}[pose]
    x = 0.5 + (-shift if flip else shift) + rng.uniform(-0.02, 0.02)
    y = {"perched": 0.52, "standing": 0.48, "flying": 0.6}[pose]
    body = Frame(canvas, x, y, scale, flip, BIRD, turn)
    level = Frame(canvas, x, y, scale, flip, BIRD)
    if pose == "perched":
        _branch(canvas, y + 0.4 * scale, rng)
        _legs(level, (-0.06, 0.08), 0.18, 0.4)
    elif pose == "standing":
        _rock(canvas, x, y + 0.54 * scale, rng)
        _legs(level, (-0.1, 0.08), 0.2, 0.56)
    back = mix(tones["wing"], tones["belly"], 0.2)
    dark = shade(tones["wing"], 0.45)
    if pose == "flying":
        lift = rng.uniform(-0.05, 0.08)
        far = [(0.2, -0.1), (0.16, -0.5), (0.02, -0.86 + lift), (-0.1, -0.6), (-0.14, -0.1)]
        body.to(WING).smooth(far, shade(tones["wing"], 0.3), edge=dark)
    body.polygon([(-0.3, -0.12), (-0.84, -0.1), (-0.88, 0.02), (-0.8, 0.1), (-0.28, 0.12)], shade(back, 0.2), edge=dark)
    outline = closed_curve([(0.46, -0.1), (0.16, -0.26), (-0.36, -0.12), (-0.38, 0.08), (0.02, 0.27), (0.4, 0.16)])
    body.polygon(outline, back, edge=shade(back, 0.45))
    belly = [(0.5, -0.06), (0.42, 0.15), (0.04, 0.275), (-0.36, 0.1), (-0.1, 0.04), (0.24, -0.08)]
    body.to(BELLY).smooth(belly, tones["belly"], edge=shade(tones["belly"], 0.35), width=0.02)
    _head(body, level, tones, species["length"])
    if pose == "flying":
        near = [(0.16, 0.0), (0.0, -0.42), (-0.22, -0.82 + lift), (-0.46, -0.74 + lift), (-0.34, -0.3), (-0.2, 0.02)]
    else:
        near = [(0.2, -0.12), (0.0, -0.19), (-0.34, -0.08), (-0.62, 0.06), (-0.3, 0.1), (0.06, 0.08)]
    _wing(body.to(WING), near, tones["wing"], pose == "flying")


def _head(body: Frame, level: Frame, tones: dict[str, tuple[int, int, int]], length: str) -> None:
    """The head keeps level however the body turns, as a bird's does."""
    hx, hy = body.at(0.4, -0.24)
    head = Frame(body.canvas, hx, hy, body.scale, body.flip, BIRD)
    reach = 0.2 + (0.36 if length == "long" else 0.15)
    depth = 0.07 if length == "long" else 0.085
    bill = head.to(BILL)
    bill.polygon(
        [(0.17, -depth), (reach, 0.05), (0.17, depth)], tones["bill"], edge=shade(tones["bill"], 0.45), width=0.02
    )
    bill.line([(0.18, 0.01), (reach - 0.02, 0.045)], shade(tones["bill"], 0.4), 0.014)
    face = mix(tones["belly"], tones["crown"], 0.12)
    head.ellipse(0.0, 0.0, 0.25, 0.24, shade(face, 0.4))
    head.ellipse(0.0, 0.0, 0.228, 0.218, face)
    cap: list[Point] = [
        (-0.24, 0.06),
        (-0.225, -0.1),
        (-0.1, -0.225),
        (0.06, -0.235),
        (0.2, -0.13),
        (0.225, -0.04),
        (0.02, -0.05),
    ]
    head.to(CROWN).smooth(cap, tones["crown"], edge=shade(tones["crown"], 0.4), width=0.02)
    head.ellipse(0.1, -0.015, 0.056, 0.058, (250, 250, 250))
    head.ellipse(0.108, -0.012, 0.043, 0.046, DARK)
    head.ellipse(0.122, -0.03, 0.014, 0.014, (255, 255, 255))


def _wing(f: Frame, points: list[Point], color: tuple[int, int, int], open_wing: bool) -> None:
    f.smooth(points, color, edge=shade(color, 0.45))
    feather = shade(color, 0.25)
    if open_wing:
        for x0, y0, x1, y1 in ((-0.02, -0.3, -0.3, -0.66), (-0.08, -0.16, -0.34, -0.44), (0.04, -0.36, -0.2, -0.7)):
            f.line([(x0, y0), (x1, y1)], feather, 0.02)
    else:
        f.smooth([(0.14, -0.1), (0.0, -0.14), (-0.2, -0.07), (0.0, 0.0)], tint(color, 0.2))
        for y in (0.01, 0.05):
            f.line([(-0.02, y), (-0.44, y + 0.015)], feather, 0.02)


def _legs(level: Frame, xs: tuple[float, float], top: float, bottom: float) -> None:
    for x in xs:
        level.line([(x, top), (x + 0.02, bottom), (x + 0.1, bottom)], shade(WOOD, 0.2), 0.032)


def _branch(canvas: Canvas, y: float, rng: Random) -> None:
    slope = rng.uniform(-0.04, 0.04)
    wood = vary(WOOD, rng)
    limb = open_curve([(-0.1, y - slope), (0.3, y + 0.012), (0.7, y + 0.012), (1.1, y + slope)])
    canvas.line(limb, shade(wood, 0.3), 0.052)
    canvas.line([(u, v - 0.008) for u, v in limb], wood, 0.03)
    for x, side in ((rng.uniform(0.04, 0.16), -1), (rng.uniform(0.84, 0.96), 1), (rng.uniform(0.6, 0.9), 1)):
        leaf = Frame(canvas, x, y - 0.02 * side, 1.0, side < 0)
        leaf.ellipse(0.04, 0.03 * side, 0.07, 0.03, LEAF, turn=25 * side)


def _rock(canvas: Canvas, x: float, y: float, rng: Random) -> None:
    stone = vary((138, 136, 140), rng)
    top = [(-0.46, 0.5), (-0.36, 0.16), (-0.2, 0.01), (0.04, -0.01), (0.24, 0.03), (0.4, 0.2), (0.48, 0.5)]
    ground = Frame(canvas, x, y, rng.uniform(0.85, 1.0), rng.random() < 0.5)
    ground.smooth(top, stone, edge=shade(stone, 0.4), width=0.018)
    ground.smooth([(-0.2, 0.05), (0.02, 0.02), (0.2, 0.06), (0.02, 0.09)], tint(stone, 0.3))
    ground.line([(0.14, 0.16), (0.24, 0.26), (0.22, 0.36)], shade(stone, 0.3), 0.012)


# ---------------------------------------------------------------------------------------------------- its background


def _forest(c: Canvas, rng: Random) -> None:
    backdrops.blurred(c, rng, (70, 112, 84), (128, 158, 104), (190, 220, 140), 18)


def _lake(c: Canvas, rng: Random) -> None:
    backdrops.landscape(c, rng, ((188, 216, 230), (226, 238, 240)), ((92, 156, 186), (52, 110, 150)), 0.42)
    backdrops.ripples(c, rng, 0.5, (214, 236, 244))


def _open_sky(c: Canvas, rng: Random) -> None:
    backdrops.clouds(c, rng, (112, 178, 236), (206, 232, 250))


def _field(c: Canvas, rng: Random) -> None:
    backdrops.landscape(c, rng, ((206, 230, 240), (246, 244, 222)), ((206, 210, 126), (166, 184, 88)), 0.5)
    backdrops.grass(c, rng, 0.56, (176, 190, 96))


def _sunset(c: Canvas, rng: Random) -> None:
    c.gradient([(0, vary((128, 96, 160), rng)), (0.5, vary((232, 140, 132), rng)), (1, vary((255, 206, 140), rng))])
    x, y = rng.uniform(0.1, 0.9), rng.uniform(0.55, 0.85)
    for radius, alpha in ((0.24, 0.15), (0.17, 0.2), (0.11, 0.7)):
        c.ellipse(x, y, radius, radius, (255, 240, 196), alpha)


_BACKGROUNDS: dict[str, Callable[[Canvas, Random], None]] = {
    "forest": _forest, "lake": _lake, "sky": _open_sky, "field": _field, "sunset": _sunset,
}  # fmt: skip
