"""A user's own folder of images with captions -> a prepared dataset.

`t2i_core.picture_folder` says in which forms captions come (metadata.jsonl, or a .txt beside each image). What
cannot be used is skipped, and stands in the manifest under `skipped` with file and reason.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.pictures import BadPicture, read_square
from data_prep.prepared import encode_png, is_current, mapped, read_manifest, write
from t2i_core.config import UserError
from t2i_core.manifest import Manifest
from t2i_core.picture_folder import FORM, Found, existing, find, fingerprint, listing, printable

_RECIPE = 1  # part of the arguments; raise it when the same folder would give other pixels or captions


def prepare(
    source: str | Path,
    out: str | Path,
    size: int = 64,
    test_fraction: float = 0.1,
    seed: int = 0,
    name: str | None = None,
    workers: int | None = None,
) -> Manifest:
    """Prepare the images and captions below `source` into the folder `out`; returns the manifest.

    Images are cropped to their centre square and resized to `size` pixels. An image belongs to the test split if the
    hash of (seed, its name) falls below `test_fraction`, so adding images moves no others; of two or more images, one
    at least is test and one train. A second call with the same arguments over an unchanged folder does nothing.
    Raises UserError if nothing in the folder can be used or `out` cannot be written.
    """
    root = existing(source)
    _check(size, test_fraction)
    name = name or root.name
    files = listing(root)
    arguments = {
        "dataset": "folder", "recipe": _RECIPE, "source": str(root), "size": size, "test_fraction": test_fraction,
        "seed": seed, "name": name, "content": fingerprint(root, files),
    }  # fmt: skip
    if is_current(out, arguments):
        return read_manifest(out)
    found = find(root, files)
    position = functools.partial(_position, seed)
    names = sorted(found.captions, key=lambda image: (position(image), image))
    rows = _usable(root, names, size, found, workers)
    first = list(itertools.islice(rows, 2))
    if not first:
        raise UserError(_nothing_usable(root, found))
    expected = max(1, sum(position(image) < test_fraction for image in names))
    return write(
        out,
        _deal(first, rows, position, test_fraction),
        name=name,
        kind="folder",
        size=size,
        seed=seed,
        split_rule=f"test if sha256(seed/name) < {test_fraction}; at least one test and one train image of two or more",
        class_disjoint=False,
        arguments=arguments,
        licence="not stated: the rights to these images and captions are their owners'",
        source=str(root),
        skipped=found.skipped,
        totals={"test": expected, "train": max(len(names) - expected, 0)},
    )


def _check(size: int, test_fraction: float) -> None:
    if not 8 <= size <= 1024:
        raise UserError(f"size is {size}; choose one from 8 to 1024 pixels, such as 64")
    if not 0 < test_fraction < 1:
        raise UserError(f"test_fraction is {test_fraction}; choose one between 0 and 1, such as 0.1")


# ------------------------------------------------------------------------------------------------ images to rows, dealt


def _usable(root: Path, names: list[str], size: int, found: Found, workers: int | None) -> Iterator[dict[str, Any]]:
    """Rows of the images that can be read, in the order of `names`; the others are noted in `found`."""
    read = functools.partial(_read, root, size)
    for name, result in zip(names, mapped(read, names, workers), strict=True):
        if isinstance(result, str):
            found.skip(name, result)
        else:
            yield {"image": result, "captions": found.captions[name], "name": printable(name)}


def _read(root: Path, size: int, name: str) -> dict[str, bytes] | str:
    """The picture as a row holds it, or the reason why there is none."""
    try:
        return encode_png(read_square(root / name, size))
    except BadPicture as error:
        return str(error)


def _deal(first: list[Any], rows: Iterator[Any], position: Any, test_fraction: float) -> dict[str, Iterator[Any]]:
    """Test and train rows from one stream in the order of `position`, at least one each where there are two.

    `write` reads the splits one after the other, so the test rows must come first in the mapping.
    """
    ahead = deque(first)

    def test() -> Iterator[Any]:
        taken = 0
        while len(ahead) == 2 and (taken == 0 or position(ahead[0]["name"]) < test_fraction):
            yield ahead.popleft()
            taken += 1
            ahead.extend(itertools.islice(rows, 1))

    def train() -> Iterator[Any]:
        yield from ahead
        yield from rows

    return {"test": test(), "train": train()}


def _position(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on seed and name only."""
    digest = hashlib.sha256(f"{seed}/{printable(name)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _nothing_usable(root: Path, found: Found) -> str:
    if not found.skipped:
        return f"there are no images in {root}. {FORM}"
    return f"none of the images in {root} can be used ({found.reasons()}). {FORM}"
