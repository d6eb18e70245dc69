"""Soft, out-of-focus backgrounds behind a single bird, flower or face, as a portrait lens gives them."""

from __future__ import annotations

from random import Random

from data_prep.toyworld.canvas import Canvas, Color, open_curve
from data_prep.toyworld.palette import mix, shade, tint, vary


def blurred(c: Canvas, rng: Random, top: Color, bottom: Color, lights: Color, count: int = 14) -> None:
    """A gradient with discs of light, which is what leaves and lamps become out of focus."""
    c.gradient([(0, vary(top, rng)), (1, vary(bottom, rng))])
    for _ in range(count):
        radius = rng.uniform(0.04, 0.13)
        c.ellipse(rng.uniform(0, 1), rng.uniform(0, 1), radius, radius, vary(lights, rng), rng.uniform(0.08, 0.22))


def clouds(c: Canvas, rng: Random, top: Color, bottom: Color, count: int = 4) -> None:
    """A sky with flat-bottomed clouds."""
    c.gradient([(0, vary(top, rng)), (1, vary(bottom, rng))])
    for _ in range(count):
        x, y, s = rng.uniform(0, 1), rng.uniform(0.05, 0.95), rng.uniform(0.8, 1.6)
        for dx, dy, rx, ry in ((-0.08, 0.01, 0.07, 0.03), (0.0, -0.015, 0.08, 0.05), (0.09, 0.01, 0.06, 0.03)):
            c.ellipse(x + s * dx, y + s * dy, s * rx, s * ry, (255, 255, 255), 0.65)


def landscape(c: Canvas, rng: Random, sky: tuple[Color, Color], ground: tuple[Color, Color], horizon: float) -> None:
    """Two gradients that meet at a soft, uneven horizon."""
    horizon += rng.uniform(-0.03, 0.03)
    c.gradient([(0, vary(sky[0], rng)), (1, vary(sky[1], rng))], 0.0, horizon + 0.05)
    near = vary(ground[1], rng)
    c.gradient([(0, vary(ground[0], rng)), (1, near)], horizon + 0.02, 1.0)
    ridge = open_curve([(x, horizon + rng.uniform(-0.02, 0.02)) for x in (-0.3, 0.05, 0.4, 0.75, 1.3)])
    c.polygon([*ridge, (1.3, horizon + 0.08), (-0.3, horizon + 0.08)], mix(ground[0], ground[1], 0.05))


def ripples(c: Canvas, rng: Random, top: float, color: Color, count: int = 16) -> None:
    """Short light strokes on water, closer together towards the horizon."""
    for _ in range(count):
        y = top + (1 - top) * rng.random() ** 1.5
        x, length = rng.uniform(-0.1, 1), rng.uniform(0.06, 0.2)
        c.line([(x, y), (x + length, y)], color, 0.008, 0.5)


def grass(c: Canvas, rng: Random, top: float, color: Color, count: int = 50) -> None:
    """Upright blades."""
    for _ in range(count):
        x, y = rng.uniform(0, 1), rng.uniform(top + 0.08, 1.05)
        tone = rng.choice((shade(color, 0.18), tint(color, 0.2)))
        c.line([(x, y), (x + rng.uniform(-0.02, 0.02), y - rng.uniform(0.05, 0.1))], tone, 0.007)
