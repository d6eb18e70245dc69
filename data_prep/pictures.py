"""One picture file from anywhere -> RGB, square, exactly `size` x `size`; or `BadPicture` with the reason in words."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Counted as decoded: more would need over a gigabyte. A JPEG is decoded at a fraction of its size, so it may be larger.
MAX_PIXELS = 90_000_000
# Named, because Pillow would otherwise also try formats that start other programs (EPS) or belong to no photograph.
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")


class BadPicture(ValueError):
    """A file that cannot be used as a picture; the message is the reason."""


def read_square(path: Path, size: int) -> Image.Image:
    """The picture as the eye sees it: EXIF orientation applied, transparency over white, centre square, RGB.

    Grey, 16-bit, palette and CMYK pictures become 8-bit RGB; of an animation the first frame counts.
    Raises BadPicture for whatever is missing, broken, truncated, too large or no picture at all.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is raised, or harmless
            with Image.open(path, formats=_formats()) as image:
                return _square(_to_rgb(_decoded(image, size)), size)
    except BadPicture:
        raise
    except FileNotFoundError as error:
        raise BadPicture("no such file") from error
    except UnidentifiedImageError as error:
        raise BadPicture(f"not a picture of a known kind ({', '.join(_formats())})") from error
    except Image.DecompressionBombError as error:
        raise BadPicture(f"too large: {error}") from error
    except Exception as error:  # decoders meet broken bytes with almost any exception, and none may stop the others
        raise BadPicture(f"broken or truncated: {error}") from error


def over_white(image: Image.Image) -> Image.Image:
    """A picture with transparency laid over white, as RGB."""
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]  # AVIF and WEBP depend on how Pillow was built


def _decoded(image: Image.Image, size: int) -> Image.Image:
    image.draft(None, (2 * size, 2 * size))  # JPEG only: decode at 1/2, 1/4 or 1/8, still twice what is needed
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadPicture(f"too large: {width:,} x {height:,} pixels, the limit is {MAX_PIXELS:,} pixels")
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels are whole and only the notes beside them are broken: show it as it lies
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16 bit a pixel
        pixels = np.asarray(image).astype(np.int64)
        return Image.fromarray((pixels.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":  # a TIFF of floats, in 0..1 or in 0..255
        pixels = np.nan_to_num(np.asarray(image, dtype=np.float64))
        scale = 255.0 if pixels.max() <= 1.0 else 1.0
        return Image.fromarray((pixels * scale).clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        return over_white(image)
    return image.convert("RGB")


def _square(image: Image.Image, size: int) -> Image.Image:
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)  # crops round the centre, then resizes
