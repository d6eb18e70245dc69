"""Putting a finished folder in its place, or leaving everything as it was.

`building` gives a hidden folder beside the place, `put_in_place` renames it there. A rename within one file system is
all or nothing. Replacing an old folder takes two renames (old away, new in); if the machine stops between them,
`restore` brings the old one back. Locks (on folders, so that no lock file is left) keep two writers apart.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from t2i_core.config import UserError
from t2i_core.manifest import MANIFEST, is_manifest

try:
    import fcntl
except ImportError:  # Windows has none; there it is the user's part to start one writer at a time
    fcntl = None

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another place with --out",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another place with --out",
    errno.EFBIG: "a file is larger than this system allows; choose another place with --out",
    errno.EACCES: "permission denied; choose another place with --out or give yourself the right to write there",
    errno.EPERM: "permission denied; choose another place with --out or give yourself the right to write there",
    errno.EROFS: "that file system is read-only; choose another place with --out",
    errno.ENOTDIR: "a part of that path is a file, not a folder; choose another place with --out",
    errno.EEXIST: "a part of that path is a file, not a folder; choose another place with --out",
    errno.EBUSY: "the folder is in use (a mount point?); choose a folder inside it with --out",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one with --out",
}


@contextlib.contextmanager
def explained(out: Path) -> Iterator[None]:
    """Turn a disk that is full, a folder that may not be written and the like into a UserError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        raise UserError(f"cannot write {out}: {_REASONS[error.errno]} ({error}). Nothing was changed.") from error


@contextlib.contextmanager
def building(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` to build in; it is gone afterwards, whatever happened, unless put in place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with _locked(out.parent):
        _sweep(out)
        shell = Path(tempfile.mkdtemp(prefix=f".{out.name}.tmp-", dir=out.parent))
        lock = _lock(shell)
    try:
        folder = shell / out.name  # mkdtemp makes a private folder; this one has the user's usual permissions
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(shell, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def put_in_place(folder: Path, out: Path, already_there: Callable[[], bool]) -> None:
    """Rename `folder` to `out`, replacing what is there; keep that instead if `already_there()`."""
    with _locked(out.parent):
        _bring_back(out)
        if already_there():  # another process made the same meanwhile, and somebody may be reading it
            return
        if not out.exists():
            folder.rename(out)
            return
        old = _old(out)
        out.rename(old)
        try:
            folder.rename(out)
        except BaseException:
            old.rename(out)
            raise
        shutil.rmtree(old, ignore_errors=True)


def restore(out: Path) -> None:
    """Bring back the old folder if a writer was stopped between its two renames."""
    if not out.exists() and _old(out).exists():
        with _locked(out.parent):
            _bring_back(out)


def refuse_foreign(out: Path) -> None:
    """UserError if replacing `out` would delete anything that is not a prepared dataset."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file; choose another place with --out")
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir() or path.is_symlink()}
    if not names:
        return
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if not is_manifest(manifest):
        raise UserError(
            f"{out} is not empty and is not a prepared dataset, so it is left alone; "
            "choose another place with --out, or empty that folder yourself"
        )
    strange = sorted(name for name in names - set(manifest["files"]) - {MANIFEST} if not _is_litter(name))
    if strange:
        raise UserError(
            f"{out} holds files that its manifest does not know ({', '.join(strange[:3])}"
            f"{', ...' if len(strange) > 3 else ''}) and that replacing it would delete; move them away first"
        )


def _is_litter(name: str) -> bool:
    # `datasets` keeps the results of map and filter beside the data; a file manager leaves its own marks
    base = name.rsplit("/", 1)[-1]
    return base.startswith("cache-") or base in {".DS_Store", "Thumbs.db", "desktop.ini"}


def _old(out: Path) -> Path:
    return out.parent / f".{out.name}.old"


def _bring_back(out: Path) -> None:
    if not out.exists() and _old(out).exists():
        _old(out).rename(out)


def _sweep(out: Path) -> None:
    """Remove what killed writers of `out` left behind. The caller holds the lock on the parent folder."""
    _bring_back(out)
    shutil.rmtree(_old(out), ignore_errors=True)
    for shell in out.parent.glob(f".{out.name}.tmp-*"):
        lock = _lock(shell, wait=False)
        if lock is not None:  # its writer is gone: a living one holds this lock
            shutil.rmtree(shell, ignore_errors=True)
            os.close(lock)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _lock(folder)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, wait: bool = True) -> int | None:
    """An exclusive lock on a folder as an open file descriptor; None where it is taken or the system has no locks."""
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # taken, or a network file system without locks on folders
        os.close(handle)
        return None
    return handle
