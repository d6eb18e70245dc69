"""Files out of npm packages: fetched by `npm pack` at a pinned version, or put there by the user.

Nothing is unpacked to disk. A package's few wanted files are read straight from the archive into memory, so a hostile
archive can write nowhere; links and oversized members in it are refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.place import explained
from t2i_core.config import UserError
from t2i_core.manifest import sha256

MAX_BYTES = 16 << 20  # of one file
_TIMEOUT = 900  # seconds for one package


@dataclass(frozen=True)
class Package:
    """An npm package at one version; `digest` is the sha256 of its .tgz."""

    name: str
    version: str
    digest: str

    @property
    def file(self) -> str:
        """The name that `npm pack` gives the archive."""
        return f"{self.name}-{self.version}.tgz"

    @property
    def url(self) -> str:
        return f"https://registry.npmjs.org/{self.name}/-/{self.file}"


def obtain(packages: Sequence[Package], given: str | Path | None, downloads: Path) -> dict[str, Path]:
    """Where each package is, by name: a .tgz with the right sha256 or an unpacked folder of the right version.

    With `given` the packages must be there; otherwise they are taken from `downloads`, and fetched into it if missing.
    Raises UserError that says which files to put where.
    """
    folder = Path(given).expanduser() if given is not None else downloads
    places = {package.name: place for package in packages if (place := _find(folder, package))}
    missing = [package for package in packages if package.name not in places]
    if missing and given is not None:
        raise UserError(f"{_where_to_put(missing, folder)}")
    for package in missing:
        places[package.name] = _fetch(package, downloads, missing)
    return places


def read_files(place: Path, pattern: str) -> dict[str, bytes]:
    """The files of a package (.tgz or folder) whose path inside it matches `pattern` in full, by that path."""
    files = {}
    try:
        for name, content in _members(place, re.compile(pattern)):
            files[name] = content
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise UserError(f"cannot read {place}: {error}; delete it and fetch it again") from error
    return files


def _members(place: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        for folder, _, names in os.walk(place):
            for path in (Path(folder) / name for name in sorted(names)):
                if pattern.fullmatch(path.relative_to(place).as_posix()) and path.is_file():
                    _check_length(path.name, path.stat().st_size)
                    yield path.relative_to(place).as_posix(), path.read_bytes()
        return
    with tarfile.open(place, "r:gz") as archive:
        for member in archive:
            name = member.name.partition("/")[2]  # npm puts everything below "package/"
            if member.isreg() and pattern.fullmatch(name):
                _check_length(name, member.size)
                yield name, archive.extractfile(member).read()


def _check_length(name: str, length: int) -> None:
    if length > MAX_BYTES:
        raise ValueError(f"{name} has {length:,} bytes, the limit is {MAX_BYTES:,}")


def _find(folder: Path, package: Package) -> Path | None:
    archive = folder / package.file
    if archive.is_file():
        if sha256(archive) != package.digest:
            raise UserError(
                f"{archive} is not the file that npm publishes (its sha256 is wrong): delete it, and fetch it again "
                f"from {package.url}"
            )
        return archive
    stem = f"{package.name}-{package.version}"
    for place in (folder / package.name, folder / stem, folder / package.name / "package", folder / stem / "package"):
        if (place / "package.json").is_file():
            try:
                version = json.loads((place / "package.json").read_text(encoding="utf-8"))["version"]
            except (ValueError, KeyError, TypeError, OSError) as error:
                raise UserError(f"cannot read {place / 'package.json'}: {error!r}; unpack the package again") from error
            if version != package.version:
                raise UserError(
                    f"{place} is {package.name} {version}, and {package.version} is wanted so that everybody gets the "
                    f"same dataset: get {package.url}"
                )
            return place
    return None


def _fetch(package: Package, downloads: Path, missing: Sequence[Package]) -> Path:
    """`npm pack` one package into `downloads`; the file appears there only when it is whole."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"npm is not installed, so the emoji cannot be fetched. {_where_to_put(missing, downloads)}")
    with explained(downloads):
        downloads.mkdir(parents=True, exist_ok=True)
    with _temporary(downloads) as folder:
        print(f"fetching {package.name}@{package.version} with npm pack into {downloads}", flush=True)
        command = [npm, "pack", f"{package.name}@{package.version}", "--ignore-scripts", "--silent"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
            trouble = (done.stderr or done.stdout).strip().splitlines()[-1:] if done.returncode else []
        except subprocess.TimeoutExpired:
            trouble = [f"no answer within {_TIMEOUT} seconds"]
        archive = folder / package.file
        if trouble or not archive.is_file():
            reason = trouble[0] if trouble else "it made no file"
            raise UserError(f"npm pack {package.name} failed ({reason}). {_where_to_put(missing, downloads)}")
        if sha256(archive) != package.digest:
            raise UserError(
                f"what npm fetched for {package.name}@{package.version} is not the published file (its sha256 is "
                f"wrong). {_where_to_put(missing, downloads)}"
            )
        os.replace(archive, downloads / package.file)
    return downloads / package.file


@contextlib.contextmanager
def _temporary(parent: Path) -> Iterator[Path]:
    with explained(parent), tempfile.TemporaryDirectory(prefix=".npm-", dir=parent) as name:
        yield Path(name)


def _where_to_put(packages: Sequence[Package], folder: Path) -> str:
    files = " and ".join(f"{package.file} (from {package.url})" for package in packages)
    return f"Put {files} into {folder}, or unpacked folders named {', '.join(package.name for package in packages)}."
