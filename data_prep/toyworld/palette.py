"""The colours of the toy worlds: eight that stay apart at 32 px and to colour-blind eyes, and shades of them."""

from __future__ import annotations

from random import Random

from data_prep.toyworld.canvas import Color

# Chosen for lightness as much as for hue: red is darker than green, purple than blue, so that the pairs that
# protanopes and deuteranopes confuse by hue still differ (tests/test_toyworld.py measures the distance in CIELAB).
COLORS: dict[str, Color] = {
    "red": (200, 22, 36),
    "orange": (246, 124, 16),
    "yellow": (255, 230, 70),
    "green": (40, 172, 84),
    "blue": (40, 112, 236),
    "purple": (112, 36, 152),
    "pink": (252, 138, 196),
    "white": (252, 252, 250),
}

# Further names that birds, flowers and hair need.
NATURAL: dict[str, Color] = {**COLORS, "black": (38, 38, 46), "brown": (134, 84, 46), "gray": (150, 154, 164)}

DARK: Color = (44, 42, 54)
GLASS: Color = (206, 232, 246)
WOOD: Color = (122, 82, 54)
LEAF: Color = (70, 130, 66)
BILL: Color = (240, 160, 50)


def mix(a: Color, b: Color, t: float) -> Color:
    """a for t = 0, b for t = 1."""
    return tuple(round(x + (y - x) * t) for x, y in zip(a, b, strict=True))


def shade(color: Color, amount: float = 0.3) -> Color:
    """A darker tone of the same colour; white turns a cool grey, not a dirty one."""
    return mix(color, (30, 30, 60), amount)


def tint(color: Color, amount: float = 0.35) -> Color:
    """A lighter tone of the same colour."""
    return mix(color, (255, 255, 255), amount)


def vary(color: Color, rng: Random, spread: int = 8) -> Color:
    """The colour moved by up to `spread` of 255 in each channel: no two pictures are alike, no name is in doubt."""
    return tuple(min(255, max(0, channel + rng.randint(-spread, spread))) for channel in color)
