"""Images with captions that any program wrote into a folder, read once, as the instruments want to see them."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from t2i_core.blocks import resize
from t2i_core.captions import Vocabulary
from t2i_core.config import UserError, cores
from t2i_core.data import CaptionDataset
from t2i_core.manifest import read_manifest
from t2i_core.metrics.accuracy import all_images
from t2i_core.picture_folder import complete, printable
from t2i_core.pictures import BadPicture, read_rgb

METRICS = "metrics.json"
AT_LEAST = 2  # images: a single one has no spread, so no measure is defined
NAMED = 5  # broken pictures in a message, or sizes in a protocol


@dataclass(frozen=True)
class PictureSet:
    """images (n, 3, R, R) in [-1, 1], float32, in the order of their file names; the caption of each; ``told``: what
    a protocol says of them."""

    images: Tensor
    captions: list[str]
    told: dict[str, Any]


@dataclass(frozen=True)
class _Read:
    pixels: Tensor  # (3, R, R)
    size: tuple[int, int]  # (width, height) as it came
    was: str


def read_folder(folder: str | Path, resolution: int) -> PictureSet:
    """Every image of a folder with its caption (the forms are those of `picture_folder`), shrunk while it is read.

    Only what is ``resolution`` px wide is kept, 12 kB an image at 32 px. Of an image that is no square the middle one
    is taken, and it is shrunk with antialias in float32, or enlarged bilinearly: an image that a system of ours drew
    and a PNG kept gives the same numbers as the system itself. A UserError names what is amiss: an image without its
    caption or a caption without its image, a broken or too large picture, a folder with less than two images.
    """
    root, captions, content = complete(folder)
    if len(captions) < AT_LEAST:
        raise UserError(f"{root} holds {len(captions)} image: every measure needs {AT_LEAST} at least, most many more")
    chosen, rule = _one_each(captions)
    names = list(captions)
    images = torch.empty(len(names), 3, resolution, resolution)
    sizes, came, broken = Counter(), Counter(), []
    with warnings.catch_warnings():  # reading changes the filters in many threads at once: here they are put back
        for row, (name, got) in enumerate(zip(names, _each(root, names, resolution), strict=True)):
            if isinstance(got, str):
                broken.append(f"{printable(name)}: {got}")
            else:
                images[row] = got.pixels
                sizes[got.size] += 1
                came[got.was] += 1
    if broken:
        more = f"; and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        raise UserError(
            f"{len(broken)} of the {len(names)} images in {root} cannot be read ({'; '.join(broken[:NAMED])}{more}), "
            "and a measure is of every image: write them anew, or take each away together with its caption"
        )
    told = {"images_from": printable(str(root)), "content": content, "images": len(names), "captions_per_image": 1}
    told |= {"which_caption": rule, "sizes": _said(sizes), "cropped_to_the_middle": _oblong(sizes)}
    told["converted"] = {_HOW.get(was, f"{was} to RGB"): n for was, n in sorted(came.items()) if was != "RGB"}
    return PictureSet(images, chosen, told)


_HOW = {"grey": "grey to RGB", "palette": "palette to RGB", "transparent": "transparency laid over white"}


def _one_each(captions: dict[str, list[str]]) -> tuple[list[str], str]:
    """The caption that each image is measured with, and how it was chosen."""
    several = [name for name, given in captions.items() if len(given) > 1]
    if several and len(several) < len(captions):
        name = several[0]
        raise UserError(
            f"{len(captions)} images and {sum(map(len, captions.values()))} captions do not fit: {len(several)} of the "
            f"images have more than one ({printable(name)}: {len(captions[name])}), the others one. Which one was an "
            "image drawn for? Leave each image that caption"
        )
    chosen = [given[row % len(given)] for row, given in enumerate(captions.values())]
    rule = "caption i mod k of image i, in the order of names" if several else "the one of each image"
    return chosen, rule


def _each(root: Path, names: list[str], resolution: int):
    """What was read of each picture, or why nothing was, in the order of ``names``."""
    from tqdm import tqdm

    with ThreadPoolExecutor(min(4, cores())) as pool:  # decoding releases the interpreter's lock
        found = pool.map(partial(_read, root, resolution), names)
        yield from tqdm(found, "reading", len(names), leave=False, disable=None)  # no bar where nobody watches


def _read(root: Path, resolution: int, name: str) -> _Read | str:
    try:
        picture = read_rgb(root / name)
    except BadPicture as error:
        return str(error)
    width, height = picture.image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    pixels = torch.from_numpy(np.asarray(picture.image)[top : top + side, left : left + side].copy())
    # a channel at a time: the floats of a large picture are four times its bytes
    channels = [resize(pixels[None, None, :, :, k].float() / 127.5 - 1, resolution) for k in range(3)]
    return _Read(torch.cat(channels, 1)[0], (width, height), picture.was)


class _ReadOnce(CaptionDataset):
    """A split of which every image is asked for once, so that none need be kept."""

    fits_in_memory = False


def real_images(data: str | Path, resolution: int) -> Tensor:
    """Every test image (m, 3, R, R) of a prepared dataset, shrunk to ``resolution`` from its prepared size."""
    return all_images(_ReadOnce(data, "test", (read_manifest(data)["size"],)), resolution)


def read_measures(path: Path) -> dict[str, dict[str, Any]]:
    """The measures that a file holds, none where there is no file; a UserError where it holds something else."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: choose the name of a file to write the measures into")
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if all("value" in entry and isinstance(entry["protocol"], dict) for entry in found.values()):
            return found
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        pass  # said below, as for JSON of another form
    raise UserError(f"{path} is there and was not written by `t2i evaluate`: choose another file with --out")


def unknown_words(vocabulary: Vocabulary, captions: list[str]) -> dict[str, Any]:
    """For a protocol: how many captions hold words that the scorer never saw, and the most frequent of these."""
    unknown = vocabulary.tokenize(captions).unknown
    words = Counter(word for found in unknown for word in found)
    if not words:
        return {}
    share = sum(map(bool, unknown)) / len(captions)
    return {"captions_with_unknown_words": round(share, 4), "unknown_words": [w for w, _ in words.most_common(NAMED)]}


def _said(sizes: Counter) -> dict[str, int]:
    """{"width x height": how many}; of many sizes the most frequent ones."""
    said = {f"{width} x {height}": n for (width, height), n in sizes.most_common(NAMED)}
    rest = sizes.total() - sum(said.values())
    return said | ({f"{len(sizes) - NAMED} other sizes": rest} if rest else {})


def _oblong(sizes: Counter) -> int:
    return sum(n for (width, height), n in sizes.items() if width != height)
