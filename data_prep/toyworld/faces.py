"""toy-faces, which stands for CelebA: one face, told by ten attributes that are all independent of each other.

So "young" with a "receding hairline", RATLIP's example of a rare pair, is as frequent here as any other pair.
"""

from __future__ import annotations

from random import Random
from typing import Any

from data_prep.toyworld.canvas import Canvas, Color, Frame, open_curve
from data_prep.toyworld.face_captions import write_captions
from data_prep.toyworld.palette import DARK, mix, shade, tint, vary
from data_prep.toyworld.scene import TWO_STREAMS, Scene, stream

NAME = "toy-faces"
CLASS_DISJOINT = False
SPLIT_RULE = TWO_STREAMS
SKINS: dict[str, Color] = {"light": (248, 212, 184), "medium": (212, 156, 112), "dark": (126, 80, 56)}
HAIRS: dict[str, Color] = {
    "black": (36, 32, 38), "brown": (112, 68, 40), "blond": (240, 200, 104), "red": (196, 78, 34),
    "gray": (176, 180, 190),
}  # fmt: skip
BACKGROUNDS: dict[str, Color] = {
    "blue": (110, 166, 222),
    "green": (136, 190, 140),
    "purple": (168, 142, 206),
    "orange": (244, 176, 112),
}
CLOTHES: tuple[Color, ...] = ((66, 92, 140), (170, 70, 76), (74, 122, 106), (92, 84, 96), (206, 196, 178))
ATTRIBUTES = {
    "age": ["young", "old"], "hairline": ["full", "receding"], "hair": list(HAIRS), "length": ["short", "long"],
    "skin": list(SKINS), "glasses": ["yes", "no"], "smile": ["yes", "no"], "beard": ["yes", "no"],
    "earrings": ["yes", "no"], "background": list(BACKGROUNDS),
}  # fmt: skip
PARTS = {
    "names": ["face", "hair", "mouth", "eyes", "glasses", "beard", "earrings"],
    "colors": list(HAIRS),
    "lengths": ["short", "long"],
    "hairlines": ["full", "receding"],
}
FACE, HAIR, MOUTH, EYES, GLASSES, BEARD, EARRINGS = range(1, 8)


def draw(seed: int, index: int, size: int) -> Scene:
    """The face (seed, index) at size x size pixels."""
    choice = stream(NAME, seed, index, "attributes")
    attributes = {name: choice.choice(values) for name, values in ATTRIBUTES.items()}
    canvas = Canvas(size)
    _background(canvas, BACKGROUNDS[attributes["background"]], stream(NAME, seed, index, "background"))
    _paint(canvas, attributes, stream(NAME, seed, index, "shapes"))
    image, mask = canvas.finish()
    truth: dict[str, Any] = {"attributes": attributes, "parts": _parts(canvas, attributes), "relations": []}
    captions, truth["words"] = write_captions(truth, stream(NAME, seed, index, "captions"))
    return Scene(image, mask, captions, -1, truth)


def _parts(canvas: Canvas, attributes: dict[str, str]) -> list[dict[str, Any]]:
    parts = []
    for number, name in enumerate(PARTS["names"], start=1):
        if attributes.get(name, "yes") == "no":
            continue
        part: dict[str, Any] = {"name": name}
        if name == "hair":
            part |= {"color": attributes["hair"], "length": attributes["length"], "hairline": attributes["hairline"]}
        parts.append(part | {"box": canvas.box(number), "mask": number})
    return parts


def _background(c: Canvas, color: Color, rng: Random) -> None:
    color = vary(color, rng)
    c.gradient([(0, tint(color, 0.3)), (1, color)])
    for radius, alpha in ((0.46, 0.12), (0.34, 0.14)):
        c.ellipse(0.5 + rng.uniform(-0.1, 0.1), 0.42, radius, radius, (255, 255, 255), alpha)


def _paint(canvas: Canvas, has: dict[str, str], rng: Random) -> None:
    """From back to front: hair behind the head, shoulders, ears, head, features, hair over the forehead, glasses."""
    skin, hair = vary(SKINS[has["skin"]], rng, 6), vary(HAIRS[has["hair"]], rng, 6)
    wide, tall = rng.uniform(0.95, 1.04), rng.uniform(0.97, 1.03)
    f = Frame(canvas, 0.5 + rng.uniform(-0.025, 0.025), 0.5 + rng.uniform(-0.015, 0.015), 1.0, rng.random() < 0.5, FACE)
    _back_hair(f.to(HAIR), hair, has)
    _shoulders(f.to(0), vary(rng.choice(CLOTHES), rng), skin)
    for side in (-1, 1):
        f.ellipse(0.255 * side * wide, 0.03, 0.052, 0.075, shade(skin, 0.3))
        f.ellipse(0.252 * side * wide, 0.03, 0.038, 0.06, tint(skin, 0.05))
        if has["earrings"] == "yes":
            f.to(EARRINGS).ellipse(0.268 * side * wide, 0.135, 0.037, 0.037, (170, 118, 20))
            f.to(EARRINGS).ellipse(0.268 * side * wide, 0.135, 0.026, 0.026, (255, 218, 84))
    _head(f, skin, wide, tall, has["age"])
    if has["beard"] == "yes":
        _beard(f.to(BEARD), shade(hair, 0.1), wide)
    _mouth(f.to(MOUTH), skin, has["smile"])
    _eyes(f, skin, hair, has["age"])
    _front_hair(f.to(HAIR), hair, wide, has["hairline"])
    if has["glasses"] == "yes":
        _glasses(f.to(GLASSES), rng)


def _back_hair(f: Frame, hair: Color, has: dict[str, str]) -> None:
    dark = shade(hair, 0.28)
    if has["length"] == "long":
        fall = [(0.0, -0.36), (0.25, -0.29), (0.335, -0.04), (0.35, 0.24), (0.33, 0.43), (0.0, 0.4)]
        f.smooth([*fall, *((-x, y) for x, y in reversed(fall[1:5]))], dark)
        f.smooth([(0.27, -0.1), (0.31, 0.16), (0.3, 0.36), (0.25, 0.3)], hair)
        f.smooth([(-0.27, -0.1), (-0.31, 0.16), (-0.3, 0.36), (-0.25, 0.3)], hair)
    else:
        side = [(0.0, -0.35), (0.2, -0.29), (0.275, -0.12), (0.265, 0.06), (0.1, 0.08)]
        f.smooth([*side, *((-x, y) for x, y in reversed(side[1:]))], dark)


def _shoulders(f: Frame, cloth: Color, skin: Color) -> None:
    side = [(0.0, 0.36), (0.16, 0.375), (0.36, 0.44), (0.46, 0.6), (0.3, 0.7)]
    f.smooth([*side, *((-x, y) for x, y in reversed(side[1:]))], cloth, edge=shade(cloth, 0.4), width=0.016)
    f.polygon([(-0.1, 0.2), (0.1, 0.2), (0.12, 0.4), (0.0, 0.46), (-0.12, 0.4)], shade(skin, 0.2))


def _head(f: Frame, skin: Color, wide: float, tall: float, age: str) -> None:
    jaw = 0.17 if age == "young" else 0.195
    side = [(0.0, -0.325), (0.17, -0.28), (0.245, -0.1), (0.235, 0.1), (jaw, 0.24), (0.075, 0.315), (0.0, 0.325)]
    ring = [(x * wide, y * tall) for x, y in [*side, *((-x, y) for x, y in reversed(side[1:-1]))]]
    f.smooth(ring, skin, edge=shade(skin, 0.35), width=0.014)
    if age == "young":
        for side_ in (-1, 1):
            f.ellipse(0.14 * side_, 0.11, 0.05, 0.035, (236, 96, 96), 0.28)
    else:
        _wrinkles(f, mix(shade(skin, 0.42), skin, 0.1))
    f.line(open_curve([(0.005, -0.01), (0.032, 0.065), (-0.012, 0.085)]), shade(skin, 0.34), 0.018)


def _wrinkles(f: Frame, tone: Color) -> None:
    for y, reach in ((-0.2, 0.1), (-0.155, 0.13)):
        f.line(open_curve([(-reach, y + 0.01), (0.0, y - 0.005), (reach, y + 0.01)]), tone, 0.014)
    for side in (-1, 1):
        f.line(open_curve([(0.06 * side, 0.085), (0.115 * side, 0.13), (0.125 * side, 0.19)]), tone, 0.016)
        f.line(open_curve([(0.06 * side, 0.03), (0.11 * side, 0.046), (0.16 * side, 0.025)]), tone, 0.015)
        f.line([(0.185 * side, -0.02), (0.222 * side, -0.04)], tone, 0.012)
        f.line([(0.185 * side, 0.0), (0.224 * side, 0.005)], tone, 0.012)


def _beard(f: Frame, hair: Color, wide: float) -> None:
    side = [(0.243, 0.06), (0.232, 0.2), (0.15, 0.33), (0.0, 0.385)]
    inner = [(0.0, 0.13), (0.1, 0.14), (0.17, 0.14)]
    right = [*inner[1:], *side[:-1]]
    ring = [inner[0], *right, side[-1], *((-x, y) for x, y in reversed(right))]
    f.polygon([(x * wide, y) for x, y in ring], hair, edge=shade(hair, 0.3), width=0.012)


def _mouth(f: Frame, skin: Color, smile: str) -> None:
    lips = mix(shade(skin, 0.3), (190, 60, 70), 0.6)
    if smile == "yes":
        f.smooth(
            [(-0.115, 0.165), (0.0, 0.192), (0.115, 0.165), (0.07, 0.245), (0.0, 0.262), (-0.07, 0.245)],
            shade(lips, 0.35),
        )
        f.smooth([(-0.09, 0.18), (0.0, 0.2), (0.09, 0.18), (0.055, 0.215), (-0.055, 0.215)], (255, 255, 255))
    else:
        f.line([(-0.07, 0.21), (0.07, 0.21)], lips, 0.03)
        f.line([(-0.075, 0.207), (0.075, 0.207)], shade(lips, 0.4), 0.011)


def _eyes(f: Frame, skin: Color, hair: Color, age: str) -> None:
    eyes = f.to(EYES)
    high = 0.034 if age == "young" else 0.024
    for side in (-1, 1):
        x = 0.105 * side
        eyes.ellipse(x, -0.025, 0.05, high + 0.008, shade(skin, 0.45))
        eyes.ellipse(x, -0.022, 0.046, high, (252, 252, 252))
        eyes.ellipse(x, -0.022, 0.027, min(0.031, high + 0.002), DARK)
        eyes.ellipse(x + 0.01, -0.033, 0.008, 0.008, (255, 255, 255))
        brow = mix(hair, (240, 240, 244), 0.75) if age == "old" else shade(hair, 0.25)
        f.line(open_curve([(0.05 * side, -0.088), (0.105 * side, -0.108), (0.165 * side, -0.085)]), brow, 0.026)


def _front_hair(f: Frame, hair: Color, wide: float, hairline: str) -> None:
    edge = shade(hair, 0.3)
    if hairline == "full":
        crown = [
            (-0.27, 0.0),
            (-0.275, -0.17),
            (-0.18, -0.33),
            (0.0, -0.39),
            (0.18, -0.33),
            (0.275, -0.17),
            (0.27, 0.0),
        ]
        fringe = [(0.232, -0.1), (0.15, -0.165), (0.02, -0.13), (-0.1, -0.185), (-0.232, -0.1)]
        f.smooth([(x * wide, y) for x, y in [*crown, *fringe]], hair, edge=edge, width=0.014)
        f.line(open_curve([(-0.15, -0.26), (-0.02, -0.32), (0.12, -0.29)]), tint(hair, 0.25), 0.024)
        return
    for side in (-1, 1):
        temple = [(0.27, 0.03), (0.285, -0.12), (0.235, -0.25), (0.2, -0.275), (0.222, -0.14), (0.238, 0.0)]
        f.smooth([(x * wide * side, y) for x, y in temple], hair, edge=edge, width=0.012)
    top = [(-0.15, -0.305), (0.0, -0.36), (0.15, -0.305), (0.06, -0.295), (0.0, -0.262), (-0.06, -0.295)]
    f.smooth([(x * wide, y) for x, y in top], hair, edge=edge, width=0.012)


def _glasses(f: Frame, rng: Random) -> None:
    frame = rng.choice(((30, 30, 40), (30, 30, 40), (120, 30, 40)))
    for side in (-1, 1):
        x = 0.105 * side
        ring = [
            (x + 0.082 * u, -0.018 + 0.07 * v)
            for u, v in ((-1, -0.7), (0, -0.95), (1, -0.7), (0.9, 0.6), (0, 0.95), (-0.9, 0.6))
        ]
        f.smooth(ring, (206, 232, 250), 0.3, edge=frame, width=0.024)
        f.line([(0.185 * side, -0.035), (0.24 * side, -0.03)], frame, 0.02)
    f.line([(-0.03, -0.03), (0.03, -0.03)], frame, 0.022)
