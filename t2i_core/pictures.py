"""One picture file from anywhere -> upright 8-bit RGB, and what it was before; or `BadPicture` with the reason.

And the other way: such a file as an address in a page (`data_uri`).
"""

from __future__ import annotations

import base64
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Counted as decoded: more would need over a gigabyte. Pillow's own limit, where it starts to warn, lies just below.
MAX_PIXELS = 90_000_000
# Named, because Pillow would otherwise also try formats that start other programs (EPS) or belong to no photograph.
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")


class BadPicture(ValueError):
    """A file that cannot be used as a picture; the message is the reason."""


@dataclass(frozen=True)
class Picture:
    """A picture as the eye sees it, and what it ``was``: RGB, grey, palette, transparent, or another Pillow mode."""

    image: Image.Image
    was: str


def read_rgb(path: Path, max_pixels: int = MAX_PIXELS, draft: int | None = None) -> Picture:
    """The picture with its EXIF orientation applied, transparency over white, RGB.

    Grey, 16-bit, palette and CMYK pictures become 8-bit RGB; of an animation the first frame counts. ``draft``: a JPEG
    may come at 1/2, 1/4 or 1/8 of its size, as long as both sides keep that many pixels; it may then be larger than
    ``max_pixels``. Raises BadPicture for whatever is missing, broken, truncated, too large or no picture at all.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is raised, or harmless
            with Image.open(path, formats=_formats()) as image:
                upright = _decoded(image, max_pixels, draft)
                return Picture(_to_rgb(upright), _kind(upright))
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


def _decoded(image: Image.Image, max_pixels: int, draft: int | None) -> Image.Image:
    if draft is not None:
        image.draft(None, (draft, draft))
    width, height = image.size
    if width * height > max_pixels:
        raise BadPicture(f"too large: {width:,} x {height:,} pixels, the limit is {max_pixels:,} pixels")
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels are whole and only the notes beside them are broken: show it as it lies
        return image


def _kind(image: Image.Image) -> str:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return "grey"
    if image.has_transparency_data:
        return "transparent"
    return {"1": "grey", "L": "grey", "P": "palette"}.get(image.mode, image.mode)


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


def data_uri(data: bytes, kind: str = "png") -> str:
    """A picture file's bytes as an address that a page can hold."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
