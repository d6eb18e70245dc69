"""A user's own folder of images with captions -> a prepared dataset.

Captions come in either of two forms, which may be mixed; file names are relative to the file that names them:

    metadata.jsonl   one JSON object a line, the form of Hugging Face's imagefolder:
                     {"file_name": "cat.jpg", "text": "a cat on a sofa"}     or "captions": ["...", "..."]
    cat.txt          beside cat.jpg, one caption a line

What cannot be used is skipped, and stands in the manifest under `skipped` with file and reason.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.pictures import BadPicture, read_square
from data_prep.prepared import encode_png, is_current, mapped, read_manifest, write
from t2i_core.config import UserError
from t2i_core.manifest import Manifest

METADATA = "metadata.jsonl"
CAPTION_KEYS = ("text", "captions", "caption")
# The last nine kinds are images that cannot be read here: they are named as skipped instead of passed over in silence.
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .gif .bmp .tif .tiff .webp .avif .jp2 .ppm .pgm "
    ".tga .heic .heif .svg .psd .dng .cr2 .nef .arw".split()
)
_RECIPE = 1  # part of the arguments; raise it when the same folder would give other pixels or captions


@dataclass
class _Found:
    """What a folder holds: relative image name -> captions, and what was passed over on the way."""

    captions: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def skip(self, file: str, reason: str) -> None:
        self.skipped.append({"file": _printable(file), "reason": _clean(reason)})


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
    root = Path(source).expanduser().resolve()
    _check(root, size, test_fraction)
    name = name or root.name
    files = _listing(root)
    arguments = {
        "dataset": "folder", "recipe": _RECIPE, "source": str(root), "size": size, "test_fraction": test_fraction,
        "seed": seed, "name": name, "content": _fingerprint(root, files),
    }  # fmt: skip
    if is_current(out, arguments):
        return read_manifest(out)
    found = _find(root, files)
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


def _check(root: Path, size: int, test_fraction: float) -> None:
    if not root.exists():
        raise UserError(f"there is no folder {root}; give the folder that holds your images and captions")
    if not root.is_dir():
        raise UserError(f"{root} is a file; unpack it if it is an archive, and give the folder that holds the images")
    if not 8 <= size <= 1024:
        raise UserError(f"size is {size}; choose one from 8 to 1024 pixels, such as 64")
    if not 0 < test_fraction < 1:
        raise UserError(f"test_fraction is {test_fraction}; choose one between 0 and 1, such as 0.1")


# ------------------------------------------------------------------------------------------------ what the folder holds


def _listing(root: Path) -> list[str]:
    """Relative names of all files that matter, sorted; hidden ones and what links to folders are left out."""
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = [item for item in folders if not item.startswith(".") and item != "__MACOSX"]
        for file in files:
            if file.startswith("."):
                continue
            if file == METADATA or Path(file).suffix.lower() in SUFFIXES | {".txt"}:
                names.append((Path(folder) / file).relative_to(root).as_posix())
    return sorted(names)


def _fingerprint(root: Path, files: list[str]) -> str:
    """Changes when a file is added, removed or written; much quicker than reading all of them."""
    digest = hashlib.sha256()
    for name in files:
        try:
            status = (root / name).stat()
            digest.update(f"{name!r} {status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{name!r} missing\n".encode())
    return digest.hexdigest()


def _find(root: Path, files: list[str]) -> _Found:
    found = _Found()
    for name in files:
        if Path(name).name == METADATA:
            _read_metadata(root, name, found)
    for name in files:
        if Path(name).suffix.lower() not in SUFFIXES or name in found.captions:
            continue
        if not _inside(root, root / name):
            found.skip(name, "is a link to a place outside the folder")
            continue
        try:
            text = (root / name).with_suffix(".txt").read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            found.skip(name, f"no caption: neither in a {METADATA} nor in a .txt beside it")
        except (UnicodeDecodeError, OSError) as error:
            found.skip(name, f"its .txt cannot be read: {error}")
        else:
            found.captions[name] = text.splitlines()
    for name, captions in list(found.captions.items()):
        clean = list(dict.fromkeys(_clean(caption) for caption in captions if caption.strip()))
        found.captions[name] = clean
        if not clean:
            del found.captions[name]
            found.skip(name, "its caption is empty")
    return found


def _read_metadata(root: Path, metadata: str, found: _Found) -> None:
    """Gather the captions that one metadata.jsonl gives, line by line; a bad line costs only itself."""
    folder = (root / metadata).parent
    try:
        lines = (root / metadata).read_text(encoding="utf-8-sig").split("\n")
    except (UnicodeDecodeError, OSError) as error:
        found.skip(metadata, f"cannot be read: {error}")
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{metadata}:{number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            found.skip(where, "not a line of JSON")
            continue
        file = entry.get("file_name") if isinstance(entry, dict) else None
        if not isinstance(file, str) or not file or "\0" in file:
            found.skip(where, 'has no "file_name"')
            continue
        path = Path(os.path.normpath(folder / file))  # without "./" and "sub/..", but links keep their names
        if Path(file).is_absolute() or not path.is_relative_to(root) or not _inside(root, path):
            found.skip(where, f"{file!r} is outside the folder")
            continue
        image = path.relative_to(root).as_posix()
        captions = _captions_of(entry)
        if captions is None:
            found.skip(where, f"{file!r}: its captions are not text")
            continue
        found.captions.setdefault(image, []).extend(captions)


def _captions_of(entry: dict[str, Any]) -> list[str] | None:
    """The captions of one line of metadata; None if they are something else than text."""
    captions: list[str] = []
    for key in CAPTION_KEYS:
        value = entry.get(key)
        values = value if isinstance(value, list) else [value]
        if not all(item is None or isinstance(item, str) for item in values):
            return None
        captions += [item for item in values if item is not None]
    return captions


def _clean(caption: str) -> str:
    text = caption.encode("utf-8", "replace").decode()  # JSON may hold half a surrogate pair, UTF-8 may not
    return " ".join(text.split())


def _inside(root: Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError, ValueError):  # a loop of links, or a name that no file can have
        return False


# ------------------------------------------------------------------------------------------------ images to rows, dealt


def _usable(root: Path, names: list[str], size: int, found: _Found, workers: int | None) -> Iterator[dict[str, Any]]:
    """Rows of the images that can be read, in the order of `names`; the others are noted in `found`."""
    read = functools.partial(_read, root, size)
    for name, result in zip(names, mapped(read, names, workers), strict=True):
        if isinstance(result, str):
            found.skip(name, result)
        else:
            yield {"image": result, "captions": found.captions[name], "name": _printable(name)}


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
    digest = hashlib.sha256(f"{seed}/{_printable(name)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")  # a file name may hold bytes that are no text


def _nothing_usable(root: Path, found: _Found) -> str:
    form = f'Captions go into {METADATA} ({{"file_name": "cat.jpg", "text": "a cat"}}) or into cat.txt beside cat.jpg.'
    if not found.skipped:
        return f"there are no images in {root}. {form}"
    reasons = "; ".join(f"{item['file']}: {item['reason']}" for item in found.skipped[:5])
    more = f"; and {len(found.skipped) - 5} more" if len(found.skipped) > 5 else ""
    return f"none of the images in {root} can be used ({reasons}{more}). {form}"
