"""Whose folder it is: the run that it holds, if it is the one that is asked for, and the process that works in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from t2i_core.config import RunConfig, UserError
from t2i_core.manifest import dataset_hash
from t2i_core.runs import Run


class OtherConfiguration(UserError):
    """A folder holds a run of other settings than were asked for; ``said`` names those that differ."""

    def __init__(self, folder: Path, said: str):
        super().__init__(f"{folder} holds a run of another configuration ({said}): choose another folder")
        self.said = said


def finished(config: RunConfig, run_dir: str | Path) -> Run | None:
    """The run in this folder if it is this very one and complete; a run of another configuration raises a UserError."""
    config, run = config.resolve(), Run(run_dir)
    done = _belongs(run.folder, config) and run.complete and run.summary["steps"] >= config.steps
    return run if done else None


def _belongs(folder: Path, config: RunConfig) -> bool:
    """Is there a run of this configuration in the folder? More steps than before are the same run, gone on with."""
    if not (folder / "config.json").exists():
        return False
    found, asked = Run(folder).config.to_dict(), json.loads(json.dumps(config.to_dict()))
    for key in ("steps", "sample_every", "checkpoint_every", "log_every", "data", "matcher"):
        del found[key], asked[key]
    if Path(config.data).exists():  # the path may change, the content may not
        asked["dataset"] = dataset_hash(config.data)
        found["dataset"] = Run(folder).dataset_hash or asked["dataset"]
    different = [key for key in asked if asked[key] != found[key]]
    if different:
        said = "; ".join(f"{key} is {found[key]!r} there and {asked[key]!r} here" for key in different)
        raise OtherConfiguration(folder, said)
    return True


@contextmanager
def alone_in(folder: Path, accelerator) -> Iterator[None]:
    """Keep every other training out of the folder; one that is at work there is waited for.

    Two notebooks may want the same run at the same time. The system frees the lock of a process that dies. The
    processes of one training on several GPUs share a folder, and no lock.
    """
    if accelerator.num_processes > 1:
        yield
        return
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"another process trains into {folder}: waiting for it", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
