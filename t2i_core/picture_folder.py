"""A folder of pictures with captions, whoever made it: which picture has which captions.

Captions come in either of two forms, which may be mixed; file names are relative to the file that names them:

    metadata.jsonl   one JSON object a line, the form of Hugging Face's imagefolder:
                     {"file_name": "cat.jpg", "text": "a cat on a sofa"}     or "captions": ["...", "..."]
    cat.txt          beside cat.jpg, one caption a line

:func:`find` takes what can be used and notes the rest; :func:`complete` refuses a folder in which anything is amiss.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2i_core.config import UserError

METADATA = "metadata.jsonl"
CAPTION_KEYS = ("text", "captions", "caption")
# The last nine kinds are images that cannot be read here: they are named as skipped instead of passed over in silence.
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .gif .bmp .tif .tiff .webp .avif .jp2 .ppm .pgm "
    ".tga .heic .heif .svg .psd .dng .cr2 .nef .arw".split()
)
FORM = f'Captions go into {METADATA} ({{"file_name": "cat.jpg", "text": "a cat"}}) or into cat.txt beside cat.jpg.'
_NAMED = 5  # of the files that are amiss, in a message


@dataclass
class Found:
    """What a folder holds: relative image name -> captions, and what was passed over on the way."""

    captions: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)
    beside: dict[str, str] = field(default_factory=dict)  # image whose captions came from a .txt -> that file

    def skip(self, file: str, reason: str) -> None:
        self.skipped.append({"file": printable(file), "reason": _clean(reason)})

    def reasons(self) -> str:
        """The first few of what was passed over, and how many more there are."""
        named = "; ".join(f"{item['file']}: {item['reason']}" for item in self.skipped[:_NAMED])
        more = len(self.skipped) - _NAMED
        return named + (f"; and {more} more" if more > 0 else "")


def existing(folder: str | Path) -> Path:
    """The folder's full path; what is missing or no folder raises a UserError."""
    root = Path(folder).expanduser().resolve()
    if not root.exists():
        raise UserError(f"there is no folder {root}; give the folder that holds your images and captions")
    if not root.is_dir():
        raise UserError(f"{root} is a file; unpack it if it is an archive, and give the folder that holds the images")
    return root


def complete(folder: str | Path) -> tuple[Path, dict[str, list[str]], str]:
    """(the folder, {image name: its captions, at least one} in order of names, the fingerprint) of a folder in which
    every image has its caption and every caption its image.

    A UserError names what does not fit: no image at all; an image without captions; one that is listed and not there;
    a line of metadata that says nothing; a .txt without an image, or one for two of them.
    """
    root = existing(folder)
    files = listing(root)
    found = find(root, files)
    for name in found.captions:
        if not (root / name).is_file():
            found.skip(name, "it has a caption and is not there")
    _match_texts(files, found)
    if found.skipped:
        raise UserError(
            f"images and captions in {root} do not fit together, and a measure is of every image: {found.reasons()}. "
            f"Mend these files or move them elsewhere. {FORM}"
        )
    if not found.captions:
        raise UserError(f"there are no images in {root}. {FORM}")
    return root, dict(sorted(found.captions.items())), fingerprint(root, files)


def _match_texts(files: list[str], found: Found) -> None:
    """Note each .txt that has no image or more than one, where captions come from such files at all."""
    if not found.beside:
        return
    sharing = defaultdict(list)
    for image, text in found.beside.items():
        sharing[text].append(image)
    for text, images in sharing.items():
        if len(images) > 1:
            found.skip(text, f"is beside {' and '.join(map(printable, images))}: whose caption is it?")
    texts = {name for name in files if Path(name).suffix.lower() == ".txt"}
    images = {Path(name).with_suffix("") for name in {*files, *found.captions} - texts}
    for name in sorted(texts):
        if Path(name).with_suffix("") not in images:
            found.skip(name, "there is no image beside it")


def listing(root: Path) -> list[str]:
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


def fingerprint(root: Path, files: list[str]) -> str:
    """Changes when a file is added, removed or written; much quicker than reading all of them."""
    digest = hashlib.sha256()
    for name in files:
        try:
            status = (root / name).stat()
            digest.update(f"{name!r} {status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{name!r} missing\n".encode())
    return digest.hexdigest()


def find(root: Path, files: list[str]) -> Found:
    """The captions of the images among ``files`` (see :func:`listing`), in the order of the files."""
    found = Found()
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
            found.beside[name] = Path(name).with_suffix(".txt").as_posix()
    for name, captions in list(found.captions.items()):
        clean = list(dict.fromkeys(_clean(caption) for caption in captions if caption.strip()))
        found.captions[name] = clean
        if not clean:
            del found.captions[name]
            found.skip(name, "its caption is empty")
    return found


def _read_metadata(root: Path, metadata: str, found: Found) -> None:
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


def printable(name: str) -> str:
    """A file name as text: it may hold bytes that are none."""
    return os.fsencode(name).decode("utf-8", "replace")
