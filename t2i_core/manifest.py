"""The manifest of a prepared dataset: reading it, and checking the files against it.

A prepared dataset is one folder: `manifest.json`, and `train/` and `test/` as `datasets.load_from_disk` reads them.
`data_prep.prepared` writes it; everybody else only needs the two functions here.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from t2i_core.config import UserError

FORMAT = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "test")
BUILT_IN = ("toy-scenes", "toy-birds", "toy-flowers", "toy-faces", "emoji")
REQUIRED = ("name", "kind", "size", "seed", "splits", "split_rule", "skipped", "arguments", "files")

Manifest = dict[str, Any]


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a prepared dataset, after a quick check that all its files are there in full length.

    Raises UserError for a folder that is missing, that something else made, or that is only half there, and names the
    command that prepares it. The content of the files is `verify`'s matter.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not folder.exists():
        raise UserError(f"no prepared dataset at {folder}; {_how_to_make(folder)}")
    if not path.is_file():
        raise UserError(f"{folder} is not a prepared dataset (it has no {MANIFEST}); {_how_to_make(folder)}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {path}: {error}; delete the folder, then {_how_to_make(folder)}") from error
    if not is_manifest(manifest):
        raise UserError(f"{path} is not the manifest of a prepared dataset; {_how_to_make(folder)}")
    if manifest["format"] != FORMAT:
        raise UserError(
            f"{path} has format {manifest['format']!r} and this version reads format {FORMAT}; "
            f"delete the folder, then {_how_to_make(folder)}"
        )
    missing = [key for key in REQUIRED if key not in manifest]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; delete the folder, then {_how_to_make(folder)}")
    for name, entry in manifest["files"].items():
        file = _inside(folder, name)
        if not file.is_file():
            raise UserError(f"{file} is missing; delete {folder}, then {_how_to_make(folder)}")
        length = file.stat().st_size
        if length != entry["bytes"]:
            raise UserError(
                f"{file} has {length:,} bytes and its manifest says {entry['bytes']:,}: it is damaged or exchanged; "
                f"delete {folder}, then {_how_to_make(folder)}"
            )
    return manifest


def verify(folder: str | Path) -> Manifest:
    """Check length and sha256 of every file against the manifest, and return the manifest.

    Raises UserError that names the first file that does not match.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, entry in manifest["files"].items():
        if sha256(folder / name) != entry["sha256"]:
            raise UserError(
                f"{folder / name} does not match the sha256 in its manifest: it is damaged or exchanged; "
                f"delete {folder}, then {_how_to_make(folder)}"
            )
    return manifest


def is_manifest(value: object) -> bool:
    """True for a JSON value with the marks of a prepared dataset's manifest, whatever its format number."""
    return isinstance(value, dict) and "format" in value and isinstance(value.get("files"), dict)


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(folder: Path, name: str) -> Path:
    # A manifest may come from somebody else, so its paths must not make us read files outside its folder.
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(
            f"{folder / MANIFEST} names the file {name!r}, which is outside its folder; do not use this dataset"
        )
    return path


def _how_to_make(folder: Path) -> str:
    if folder.name in BUILT_IN:
        return f"make it with `t2i prepare {folder.name}`"
    return "make it with `t2i prepare` (`t2i prepare --help` lists the datasets; `folder` takes your own images)"


def dataset_hash(folder: str | Path) -> str:
    """Twelve hexadecimal digits that change with the rows of a prepared dataset, and with nothing else."""
    files = read_manifest(folder)["files"]
    listed = sorted((name, entry["sha256"]) for name, entry in files.items() if name.endswith(".arrow"))
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:12]
