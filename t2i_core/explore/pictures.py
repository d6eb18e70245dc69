"""Drawn images, maps and the two together as small PNGs, by Pillow: a millisecond where a figure takes a hundred."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from t2i_core.figures import HEAT, to_pixels

OVERLAID = 64  # px, at least, of a picture under a map: a map is smooth, and shows more on finer pixels
VEIL = 0.65  # how much of an overlaid pixel is the map's


def png(pixels: np.ndarray, enlarge: int = 1) -> bytes:
    """Pixels (H, W, 3) uint8 as PNG, each enlarged to a square of ``enlarge``."""
    if enlarge > 1:
        pixels = pixels.repeat(enlarge, 0).repeat(enlarge, 1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@cache
def _scale() -> np.ndarray:
    """256 colours (256, 3) in 0..1 from the least to the greatest, even in lightness."""
    from matplotlib import colormaps

    return colormaps[HEAT](np.linspace(0, 1, 256))[:, :3]


def coloured(heat: Tensor, high: float = 1.0) -> np.ndarray:
    """A map (h, w) as pixels (h, w, 3): 0 is black, ``high`` and more is light yellow."""
    level = (heat.clamp(0, high) / (high or 1.0) * 255).round().long().numpy()
    return (_scale()[level] * 255).round().astype(np.uint8)


def overlay(image: Tensor, heat: Tensor, high: float = 1.0) -> np.ndarray:
    """A map (h, w), enlarged bilinearly, over the grey picture (3, R, R) -> pixels of at least 64 px."""
    side = max(OVERLAID, image.shape[-1])
    large = F.interpolate(heat[None, None], size=(side, side), mode="bilinear", align_corners=False)[0, 0]
    grey = F.interpolate(image[None], size=(side, side), mode="nearest")[0].mean(0, keepdim=True).expand(3, -1, -1)
    mixed = VEIL * coloured(large, high) + (1 - VEIL) * to_pixels(grey)
    return mixed.round().astype(np.uint8)


def side_by_side(images: Tensor | list[Tensor], gap: int = 1) -> np.ndarray:
    """Images (n, 3, R, R) as one row of pixels, white between them."""
    pixels = to_pixels(torch.stack(list(images)))
    column = np.full((pixels.shape[1], gap, 3), 255, np.uint8)
    parts = [part for one in pixels for part in (one, column)]
    return np.concatenate(parts[:-1], 1)
