"""The six backgrounds of toy-scenes. Each has its own sky, horizon and ground, told apart at 16 px by colour alone.

They are paler or darker than the things' colours, never as saturated, so that no thing melts into its ground.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from data_prep.toyworld.canvas import Canvas, Color, open_curve
from data_prep.toyworld.palette import mix, shade, tint, vary

HORIZON = 0.56


def beach(c: Canvas, rng: Random) -> None:
    horizon = HORIZON + rng.uniform(-0.03, 0.01)
    _sky(c, horizon, vary((88, 184, 240), rng), (206, 238, 250))
    _sun(c, rng, (255, 250, 220))
    _clouds(c, rng, (255, 255, 255), 2)
    shore = horizon + 0.13
    c.gradient([(0, vary((30, 132, 178), rng)), (1, (112, 208, 214))], horizon, shore + 0.06)
    for _ in range(7):
        x, y = rng.uniform(0, 1), rng.uniform(horizon + 0.015, shore - 0.03)
        c.line([(x, y), (x + rng.uniform(0.04, 0.1), y)], (240, 252, 252), 0.006, 0.6)
    _hill(c, rng, shore, 0.018, (250, 250, 240))
    _hill(c, rng, shore + 0.018, 0.018, vary((244, 220, 164), rng, 5))
    _specks(c, rng, shore + 0.05, (206, 176, 116), 40)


def meadow(c: Canvas, rng: Random) -> None:
    horizon = HORIZON + rng.uniform(-0.02, 0.02)
    _sky(c, horizon + 0.1, vary((128, 200, 248), rng), (232, 246, 250))
    _sun(c, rng, (255, 244, 190))
    _clouds(c, rng, (255, 255, 255), 3)
    _hill(c, rng, horizon, 0.07, vary((150, 206, 122), rng))
    near = vary((172, 222, 122), rng)
    _hill(c, rng, horizon + 0.1, 0.04, near)
    for _ in range(46):
        x, y = rng.uniform(0, 1), rng.uniform(horizon + 0.17, 0.99)
        c.line([(x, y), (x + rng.uniform(-0.01, 0.01), y - rng.uniform(0.015, 0.03))], shade(near, 0.2), 0.005)
    for _ in range(10):
        x, y = rng.uniform(0, 1), rng.uniform(horizon + 0.17, 0.99)
        c.ellipse(x, y, 0.007, 0.007, rng.choice(((255, 255, 255), (255, 240, 150))))


def desert(c: Canvas, rng: Random) -> None:
    horizon = HORIZON + rng.uniform(-0.02, 0.02)
    _sky(c, horizon + 0.06, vary((246, 214, 150), rng), (255, 244, 214))
    _sun(c, rng, (255, 252, 236), 0.05)
    sand = vary((222, 160, 96), rng)
    _hill(c, rng, horizon - 0.02, 0.08, tint(sand, 0.28))
    _hill(c, rng, horizon + 0.08, 0.06, tint(sand, 0.1))
    _hill(c, rng, horizon + 0.2, 0.05, sand)
    for _ in range(8):
        x, y = rng.uniform(-0.1, 0.9), rng.uniform(horizon + 0.25, 0.97)
        ripple = [(x, y), (x + 0.07, y - 0.012), (x + 0.14, y + 0.004), (x + 0.22, y - 0.006)]
        c.line(open_curve(ripple, 4), shade(sand, 0.14), 0.006)


def snow(c: Canvas, rng: Random) -> None:
    horizon = HORIZON + rng.uniform(-0.02, 0.02)
    _sky(c, horizon + 0.06, vary((150, 172, 198), rng), (214, 224, 234))
    _hill(c, rng, horizon - 0.02, 0.06, vary((202, 216, 232), rng, 5))
    _hill(c, rng, horizon + 0.1, 0.04, vary((226, 235, 244), rng, 4))
    _hill(c, rng, horizon + 0.24, 0.03, (238, 243, 249))
    for _ in range(42):
        size = rng.uniform(0.004, 0.009)
        c.ellipse(rng.uniform(0, 1), rng.uniform(0, 1), size, size, (255, 255, 255), 0.9)


def mountains(c: Canvas, rng: Random) -> None:
    horizon = HORIZON + rng.uniform(-0.02, 0.02)
    _sky(c, horizon + 0.1, vary((222, 164, 206), rng), (255, 224, 204))
    _sun(c, rng, (255, 246, 226), 0.042)
    far, near = vary((150, 130, 184), rng), vary((112, 104, 156), rng)
    _peaks(c, rng, horizon + 0.03, 0.26, tint(far, 0.2), snowcap=True)
    _peaks(c, rng, horizon + 0.06, 0.15, near, snowcap=False)
    ground = vary((118, 146, 148), rng)
    _hill(c, rng, horizon + 0.06, 0.03, ground)
    _hill(c, rng, horizon + 0.2, 0.04, tint(ground, 0.14))
    _specks(c, rng, horizon + 0.22, shade(ground, 0.2), 24, 0.008)


def city(c: Canvas, rng: Random) -> None:
    horizon = HORIZON + rng.uniform(-0.02, 0.02)
    _sky(c, horizon + 0.1, vary((46, 52, 108), rng, 5), (112, 104, 160))
    for _ in range(22):
        size = rng.uniform(0.003, 0.006)
        c.ellipse(rng.uniform(0, 1), rng.uniform(0, 0.4), size, size, (255, 252, 226), 0.9)
    x = -0.02
    while x < 1.0:
        wide, high = rng.uniform(0.08, 0.14), rng.uniform(0.08, 0.25)
        wall = vary((34, 36, 62), rng, 5)
        c.polygon([(x, horizon - high), (x + wide, horizon - high), (x + wide, 0.8), (x, 0.8)], wall)
        for row in range(int(high / 0.04) + 2):
            for column in range(int(wide / 0.035)):
                if rng.random() < 0.6:
                    u, v = x + 0.016 + 0.035 * column, horizon - high + 0.022 + 0.04 * row
                    c.polygon([(u, v), (u + 0.016, v), (u + 0.016, v + 0.02), (u, v + 0.02)], (255, 214, 110))
        x += wide + rng.uniform(0.0, 0.015)
    c.gradient([(0, (96, 98, 118)), (1, vary((72, 74, 94), rng, 5))], horizon + 0.12, 1.0)
    c.gradient([(0, (128, 130, 146)), (1, (116, 118, 136))], horizon + 0.1, horizon + 0.14)
    shift = rng.uniform(0, 0.2)
    for k in range(-1, 6):
        u = 0.2 * k + shift
        c.polygon([(u, 0.962), (u + 0.1, 0.962), (u + 0.1, 0.974), (u, 0.974)], (214, 206, 160))


def _sky(c: Canvas, horizon: float, top: Color, bottom: Color) -> None:
    c.gradient([(0, top), (1, bottom)], 0.0, min(1.0, horizon + 0.02))


def _sun(c: Canvas, rng: Random, color: Color, radius: float = 0.036) -> None:
    """A small sun with a wide glow: nothing that could be taken for a balloon."""
    x, y = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.2)
    for grow, alpha in ((2.6, 0.1), (1.8, 0.2), (1.0, 0.9)):
        c.ellipse(x, y, radius * grow, radius * grow, color, alpha)


def _clouds(c: Canvas, rng: Random, color: Color, count: int) -> None:
    for _ in range(count):
        x, y, s = rng.uniform(0, 1), rng.uniform(0.06, 0.36), rng.uniform(0.5, 1.0)
        for dx, dy, rx, ry in ((-0.07, 0.01, 0.06, 0.028), (0.0, -0.01, 0.07, 0.042), (0.08, 0.01, 0.055, 0.028)):
            c.ellipse(x + s * dx, y + s * dy, s * rx, s * ry, color, 0.7)


def _hill(c: Canvas, rng: Random, top: float, wave: float, color: Color) -> None:
    """Everything below a wavy line around `top`, lit a little from above."""
    ridge = open_curve([(x, top + rng.uniform(-wave, wave)) for x in (-0.3, 0.0, 0.3, 0.6, 0.9, 1.3)], 6)
    for k, amount in ((0, 0.0), (1, 0.035), (2, 0.07)):
        drop = k * (1 - top) * 0.36
        c.polygon([*((x, y + drop) for x, y in ridge), (1.3, 1.0), (-0.3, 1.0)], mix(color, (40, 50, 90), amount))


def _peaks(c: Canvas, rng: Random, base: float, height: float, color: Color, snowcap: bool) -> None:
    x = rng.uniform(-0.1, 0.05)
    while x < 1.1:
        high, wide = height * rng.uniform(0.7, 1.05), rng.uniform(0.22, 0.32)
        c.polygon([(x - wide, base + 0.06), (x, base - high), (x + wide, base + 0.06)], color)
        c.polygon([(x, base - high), (x + wide, base + 0.06), (x + 0.02, base + 0.06)], shade(color, 0.12))
        if snowcap:
            w = wide * 0.26
            tip = [(x - w, base - high * 0.68), (x, base - high), (x + w, base - high * 0.68)]
            c.polygon([*tip, (x + w * 0.3, base - high * 0.74), (x - w * 0.3, base - high * 0.66)], (250, 244, 250))
        x += rng.uniform(0.24, 0.36)


def _specks(c: Canvas, rng: Random, top: float, color: Color, count: int, size: float = 0.004) -> None:
    for _ in range(count):
        c.ellipse(rng.uniform(0, 1), rng.uniform(top, 1), size, size * 0.7, color, 0.7)


SETTINGS: dict[str, Callable[[Canvas, Random], None]] = {
    "beach": beach, "meadow": meadow, "desert": desert, "snow": snow, "mountains": mountains, "city": city,
}  # fmt: skip
