"""One picture file from anywhere -> RGB, square, exactly `size` x `size`; or `BadPicture` with the reason in words."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

from t2i_core import pictures
from t2i_core.pictures import BadPicture, over_white

__all__ = ["MAX_PIXELS", "BadPicture", "over_white", "read_square"]

MAX_PIXELS = pictures.MAX_PIXELS  # a JPEG is decoded at a fraction of its size, so it may be larger


def read_square(path: Path, size: int) -> Image.Image:
    """The picture as the eye sees it: EXIF orientation applied, transparency over white, centre square, RGB.

    Raises BadPicture for whatever is missing, broken, truncated, too large or no picture at all.
    """
    image = pictures.read_rgb(path, MAX_PIXELS, draft=2 * size).image  # twice what is needed is enough to shrink from
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)  # crops round the centre, then resizes
