"""The ten things of toy-scenes, each a function of (frame, colour, rng).

A thing stands on y = 0 and fills about -0.5..0.5 across and -1..0 upwards; its name's colour covers most of it, so that
"a red house" is mostly red at 32 px too. Wheels, trunks, strings and windows have the colours they always have.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, radians, sin
from random import Random

from data_prep.toyworld.canvas import Color, Frame, open_curve
from data_prep.toyworld.palette import BILL, COLORS, DARK, GLASS, LEAF, WOOD, shade, tint

EDGE = (
    0.035  # width of the outlines: about a third of a pixel for a large thing at 32 px, enough to part white from snow
)


def house(f: Frame, color: Color, rng: Random) -> None:
    dark, light = shade(color, 0.4), tint(color, 0.25)
    side = rng.choice((-0.26, 0.2))
    f.block(side - 0.07, -0.92, side + 0.07, -0.6, shade(color, 0.55))
    f.block(-0.4, -0.56, 0.4, 0.0, dark)
    f.block(-0.4 + EDGE, -0.56, 0.4 - EDGE, -EDGE, color)
    f.polygon([(-0.52, -0.5), (0.0, -0.98), (0.52, -0.5)], dark)
    f.polygon([(-0.42, -0.535), (0.0, -0.92), (0.42, -0.535)], light)
    door = rng.choice((-0.14, 0.0, 0.14))
    f.block(door - 0.085, -0.32, door + 0.085, 0.0, shade(color, 0.7))
    for x in (-0.27, 0.27) if door == 0.0 else ((0.2,) if door < 0 else (-0.2,)):
        f.block(x - 0.085, -0.41, x + 0.085, -0.23, GLASS)
    f.ellipse(0.0, -0.68, 0.07, 0.07, GLASS)


def tree(f: Frame, color: Color, rng: Random) -> None:
    f.polygon([(-0.09, 0.0), (-0.06, -0.45), (0.06, -0.45), (0.09, 0.0)], WOOD)
    f.line([(0.0, -0.3), (0.16, -0.46)], WOOD, 0.06)
    sway = rng.uniform(-0.03, 0.03)
    blobs = [(-0.24, -0.5, 0.22), (0.25, -0.5, 0.21), (-0.15, -0.72, 0.22), (0.17, -0.71, 0.22), (sway, -0.8, 0.19)]
    for x, y, r in blobs:
        f.ellipse(x, y, r + EDGE, r + EDGE, shade(color, 0.4))
    f.ellipse(0.0, -0.58, 0.26, 0.22, color)
    for x, y, r in blobs:
        f.ellipse(x, y, r, r, color)
    for x, y, r in blobs[2:]:
        f.ellipse(x - 0.05, y - 0.05, r * 0.5, r * 0.45, tint(color, 0.3))


def car(f: Frame, color: Color, rng: Random) -> None:
    dark = shade(color, 0.4)
    roof = rng.uniform(-0.03, 0.03)
    cabin = [(-0.36, -0.34), (-0.25 + roof, -0.62), (0.13 + roof, -0.62), (0.3, -0.34)]
    f.smooth(_corners(cabin), dark)
    f.polygon([(-0.31, -0.32), (-0.22 + roof, -0.585), (0.11 + roof, -0.585), (0.25, -0.32)], color)
    f.polygon([(-0.25, -0.36), (-0.185 + roof, -0.54), (-0.07, -0.54), (-0.07, -0.36)], GLASS)
    f.polygon([(-0.01, -0.36), (-0.01, -0.54), (0.09 + roof, -0.54), (0.19, -0.36)], GLASS)
    body = [(-0.5, -0.1), (-0.5, -0.3), (-0.42, -0.38), (0.28, -0.38), (0.47, -0.3), (0.5, -0.1)]
    f.smooth(_corners(body), dark)
    f.smooth(_corners([(x * 0.94, y * 0.9 - 0.027) for x, y in body]), color)
    f.block(-0.44, -0.3, 0.4, -0.265, tint(color, 0.4))
    f.ellipse(0.45, -0.24, 0.04, 0.05, (255, 240, 180))
    for x in (-0.27, 0.27):
        f.ellipse(x, -0.12, 0.125, 0.125, DARK)
        f.ellipse(x, -0.12, 0.055, 0.055, (200, 204, 212))


def boat(f: Frame, color: Color, rng: Random) -> None:
    dark, top = shade(color, 0.4), -0.98
    f.block(-0.03, top, 0.02, -0.2, WOOD)
    full = rng.uniform(0.4, 0.46)
    f.polygon([(0.03, top), (0.03, -0.29), (full + 0.04, -0.29)], dark)
    f.polygon([(0.055, top + 0.1), (0.055, -0.325), (full - 0.02, -0.325)], color)
    f.polygon([(-0.04, top + 0.12), (-0.04, -0.29), (-full, -0.29)], dark)
    f.polygon([(-0.065, top + 0.23), (-0.065, -0.325), (0.06 - full, -0.325)], tint(color, 0.3))
    f.polygon([(-0.5, -0.25), (0.5, -0.25), (0.36, 0.0), (-0.36, 0.0)], dark)
    f.polygon([(-0.45, -0.22), (0.45, -0.22), (0.34, -EDGE), (-0.34, -EDGE)], color)
    f.block(-0.43, -0.16, 0.43, -0.12, tint(color, 0.55))


def dog(f: Frame, color: Color, rng: Random) -> None:
    dark = shade(color, 0.4)
    wag = rng.uniform(-0.05, 0.06)
    tail = open_curve([(-0.34, -0.42), (-0.44, -0.54), (-0.46 + wag, -0.72)])
    f.line(tail, dark, 0.12)
    f.line(tail, color, 0.07)
    for x in (-0.31, -0.17, 0.1, 0.23):
        f.block(x - 0.065, -0.3, x + 0.065, 0.0, dark)
        f.block(x - 0.037, -0.3, x + 0.037, -EDGE, color)
    f.ellipse(-0.04, -0.36, 0.37, 0.19, dark)
    f.ellipse(0.27, -0.62, 0.21, 0.2, dark)
    f.ellipse(0.4, -0.55, 0.12, 0.1, dark)
    f.ellipse(-0.04, -0.36, 0.335, 0.155, color)
    f.polygon([(0.08, -0.4), (0.14, -0.6), (0.36, -0.5), (0.25, -0.3)], color)
    f.ellipse(0.27, -0.62, 0.175, 0.165, color)
    f.ellipse(0.4, -0.55, 0.09, 0.07, tint(color, 0.35))
    f.ellipse(0.13, -0.63, 0.075, 0.17, shade(color, 0.55), turn=12)
    f.ellipse(0.48, -0.58, 0.04, 0.035, DARK)
    f.ellipse(0.32, -0.67, 0.032, 0.036, DARK)
    f.line([(0.13, -0.43), (0.3, -0.4)], shade(color, 0.65), 0.05)


def flower(f: Frame, color: Color, rng: Random) -> None:
    f.line(open_curve([(0.0, 0.0), (0.03, -0.25), (0.0, -0.55)]), LEAF, 0.07)
    f.ellipse(-0.16, -0.15, 0.17, 0.07, LEAF, turn=28)
    f.ellipse(0.18, -0.22, 0.17, 0.07, LEAF, turn=-28)
    turn = rng.uniform(0, 60)
    petals = [_around(0.0, -0.63, 0.2, turn + 60 * k) for k in range(6)]
    for x, y in petals:
        f.ellipse(x, y, 0.175, 0.175, shade(color, 0.4))
    for x, y in petals:
        f.ellipse(x, y, 0.142, 0.142, color)
    f.ellipse(0.0, -0.63, 0.13, 0.13, shade(color, 0.55))
    f.ellipse(0.0, -0.63, 0.1, 0.1, WOOD if color == COLORS["yellow"] else (250, 214, 90))


def balloon(f: Frame, color: Color, rng: Random) -> None:
    sway = rng.uniform(-0.08, 0.08)
    f.line(open_curve([(0.0, -0.34), (sway, -0.22), (-sway, -0.1), (0.0, 0.0)]), (96, 92, 104), 0.028)
    f.polygon([(-0.06, -0.29), (0.06, -0.29), (0.0, -0.38)], shade(color, 0.4))
    f.ellipse(0.0, -0.66, 0.31 + EDGE, 0.35, shade(color, 0.4))
    f.ellipse(0.0, -0.66, 0.31, 0.35 - EDGE, color)
    f.ellipse(-0.11, -0.78, 0.08, 0.11, tint(color, 0.6), turn=25)


def kite(f: Frame, color: Color, rng: Random) -> None:
    dark, bend = shade(color, 0.4), rng.uniform(-0.06, 0.06)
    tail = open_curve([(0.0, -0.28), (0.1 + bend, -0.19), (-0.06, -0.1), (0.06 - bend, 0.0)])
    f.line(tail, dark, 0.035)
    for x, y in (tail[8], tail[17]):
        f.polygon([(x - 0.12, y - 0.06), (x + 0.12, y + 0.06), (x + 0.12, y - 0.06), (x - 0.12, y + 0.06)], color)
    f.polygon([(0.0, -1.0), (0.46, -0.66), (0.0, -0.2), (-0.46, -0.66)], dark)
    f.polygon([(0.0, -0.95), (0.4, -0.66), (0.0, -0.26), (-0.4, -0.66)], color)
    f.polygon([(0.0, -0.95), (0.4, -0.66), (0.0, -0.66)], tint(color, 0.35))
    f.polygon([(0.0, -0.26), (-0.4, -0.66), (0.0, -0.66)], tint(color, 0.35))
    f.line([(0.0, -0.95), (0.0, -0.26)], dark, 0.025)
    f.line([(-0.4, -0.66), (0.4, -0.66)], dark, 0.025)


def bird(f: Frame, color: Color, rng: Random) -> None:
    """Standing, its wing folded."""
    for x in (-0.07, 0.1):
        f.line([(x, -0.2), (x, -0.02), (x + 0.08, -0.02)], BILL, 0.05)
    _bird_body(f, color)
    nod = rng.uniform(-0.02, 0.02)
    f.smooth([(0.1, -0.5), (0.0, -0.3), (-0.2, -0.26 + nod), (-0.38, -0.34), (-0.14, -0.53)], shade(color, 0.3))


def flying_bird(f: Frame, color: Color, rng: Random) -> None:
    """The same bird with both wings up."""
    lift = rng.uniform(-0.05, 0.05)
    f.smooth([(0.2, -0.5), (0.02, -1.0 + lift), (-0.16, -0.96 + lift), (-0.1, -0.45)], shade(color, 0.5))
    _bird_body(f, color)
    f.smooth([(0.14, -0.4), (-0.12, -0.97 + lift), (-0.38, -0.9 + lift), (-0.2, -0.36)], shade(color, 0.4))
    f.smooth([(0.09, -0.43), (-0.13, -0.91 + lift), (-0.31, -0.85 + lift), (-0.16, -0.4)], tint(color, 0.15))


def _bird_body(f: Frame, color: Color) -> None:
    dark = shade(color, 0.4)
    f.polygon([(-0.2, -0.46), (-0.54, -0.52), (-0.52, -0.32), (-0.2, -0.26)], dark)
    f.polygon([(0.43, -0.68), (0.58, -0.59), (0.43, -0.52)], BILL)
    f.ellipse(-0.03, -0.38, 0.34, 0.25, dark, turn=-12)
    f.ellipse(0.27, -0.6, 0.22, 0.21, dark)
    f.ellipse(-0.03, -0.38, 0.305, 0.215, color, turn=-12)
    f.ellipse(0.27, -0.6, 0.185, 0.175, color)
    f.ellipse(0.08, -0.32, 0.16, 0.11, tint(color, 0.4), turn=-12)
    f.ellipse(0.33, -0.63, 0.042, 0.045, DARK)


def plane(f: Frame, color: Color, rng: Random) -> None:
    dark = shade(color, 0.4)
    nose = rng.uniform(-0.02, 0.02)
    f.polygon([(-0.46, -0.4), (-0.52, -0.82), (-0.36, -0.82), (-0.2, -0.45)], dark)
    f.polygon([(-0.43, -0.44), (-0.475, -0.785), (-0.38, -0.785), (-0.25, -0.45)], color)
    f.polygon([(0.12, -0.5), (-0.06, -0.78), (-0.18, -0.78), (-0.1, -0.5)], dark)
    body = [(-0.5, -0.46), (-0.4, -0.3), (0.25, -0.24), (0.48, -0.33), (0.5, -0.4 + nose), (0.3, -0.56), (-0.3, -0.54)]
    f.smooth(body, dark)
    f.smooth([(x * 0.94, (y + 0.4) * 0.8 - 0.4) for x, y in body], color)
    for x in (-0.22, -0.09, 0.04, 0.17):
        f.ellipse(x, -0.45, 0.036, 0.036, GLASS)
    f.polygon([(0.26, -0.5), (0.42, -0.45), (0.4, -0.39), (0.27, -0.4)], GLASS)
    f.polygon([(0.14, -0.34), (-0.16, -0.04), (-0.32, -0.04), (-0.12, -0.36)], dark)
    f.polygon([(0.09, -0.34), (-0.17, -0.075), (-0.27, -0.075), (-0.1, -0.345)], tint(color, 0.3))


def _corners(points: list[tuple[float, float]], keep: float = 0.12) -> list[tuple[float, float]]:
    """Two points near each corner, so that the smooth curve through them is the polygon with rounded corners."""
    out = []
    for k, (x, y) in enumerate(points):
        for other in (points[k - 1], points[(k + 1) % len(points)]):
            out.append((x + keep * (other[0] - x), y + keep * (other[1] - y)))
    return out


def _around(x: float, y: float, radius: float, degrees: float) -> tuple[float, float]:
    return x + radius * cos(radians(degrees)), y + radius * sin(radians(degrees))


Drawer = Callable[[Frame, Color, Random], None]

ON_GROUND: dict[str, Drawer] = {
    "house": house, "tree": tree, "car": car, "boat": boat, "dog": dog, "flower": flower,
    "balloon": balloon, "kite": kite, "bird": bird, "plane": plane,
}  # fmt: skip
IN_SKY: dict[str, Drawer] = {"balloon": balloon, "kite": kite, "bird": flying_bird, "plane": plane}
