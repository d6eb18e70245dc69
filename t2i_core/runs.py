"""The run folder: what ran, how it went, its checkpoint, and the finished system.

config.json         the resolved configuration, the system's own, versions
log.jsonl           one line a window of steps: mean losses, seconds
checkpoint.pt       everything needed to go on (written whole or not at all)
samples/            step_000000.png ...: the same captions and noise throughout; captions.json
weights.safetensors the finished system: averaged generator and its text encoder
vocabulary.json, matcher.json   what its captions are read with
summary.json        written last: the run is complete
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from t2i_core.config import RunConfig, UserError, atomic_write

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class Run:
    """A run folder, opened for reading."""

    folder: Path

    def __init__(self, folder: str | Path):
        object.__setattr__(self, "folder", Path(folder))

    def _json(self, name: str) -> dict:
        path = self.folder / name
        if not path.exists():
            raise UserError(
                f"{self.folder} has no {name}: it is no run folder; train one with `t2i train --out {self.folder}`"
            )
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); train the run again in another folder") from error
        if not isinstance(found, dict) or (name == "config.json" and not {"run", "system"} <= found.keys()):
            raise UserError(f"{path} was not written by a training run; choose another folder")
        return found

    @cached_property
    def config(self) -> RunConfig:
        return RunConfig.from_dict(self._json("config.json")["run"])

    @cached_property
    def system_config(self) -> dict:
        return self._json("config.json")["system"]

    @property
    def dataset_hash(self) -> str | None:
        """What data it was trained on (`manifest.dataset_hash`)."""
        return self._json("config.json").get("dataset")

    @property
    def complete(self) -> bool:
        return (self.folder / "summary.json").exists()

    @property
    def summary(self) -> dict:
        """System, variant, world, seed, steps, train_seconds, parameters, trained_here, device."""
        return self._json("summary.json")

    @property
    def metrics(self) -> dict:
        """{metric: {value, low, high, n, protocol}}; empty where the run has not been evaluated."""
        return self._json("metrics.json") if (self.folder / "metrics.json").exists() else {}

    def log(self):
        """The training log as a pandas DataFrame, one row a window of steps."""
        import pandas as pd

        return pd.DataFrame(read_log(self.folder))

    @property
    def sample_grids(self) -> list[tuple[int, Path]]:
        """(step, picture) in order of steps."""
        return sorted((int(p.stem.removeprefix("step_")), p) for p in (self.folder / "samples").glob("step_*.png"))

    def system(self, device: str | torch.device = "cpu"):
        """The finished system, in eval mode: averaged generator weights and the text encoder it was trained with."""
        from t2i_core import encoders
        from t2i_core.matcher import read_weights

        if not (self.folder / "weights.safetensors").exists():
            resume = (
                "go on with `t2i train --out " + str(self.folder) + "`"
                if self.checkpoint_path.exists()
                else "train it first"
            )
            raise UserError(f"{self.folder} holds no finished weights: {resume}")
        matcher = encoders.untrained(self.folder)
        system = self.fresh_system(matcher)
        parts = {"generator.": system.generator} | ({"matcher.": matcher} if matcher.stored else {})
        read_weights(self.folder / "weights.safetensors", matcher.vocabulary, parts)
        return system.to(device).eval().requires_grad_(False)

    def fresh_system(self, matcher):
        """The system of this configuration as it was before its first step, on a matching model."""
        from t2i_core import systems

        c, switches = self.config, self.system_config | {"resolutions": tuple(self.system_config["resolutions"])}
        return systems.create(c.system, c.profile, matcher=matcher, seed=c.seed, **switches)

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / CHECKPOINT


def read_log(folder: str | Path) -> list[dict]:
    """The lines of a run's log; one that was cut off when the machine stopped, and what follows it, is left out."""
    path, lines = Path(folder) / "log.jsonl", []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def save_checkpoint(folder: str | Path, state: dict) -> Path:
    """Write ``state`` (tensors, numbers, strings, in lists and dicts); a crash leaves the old file or the new one."""
    buffer = io.BytesIO()
    torch.save({"format": CHECKPOINT_FORMAT, **state}, buffer)
    return atomic_write(Path(folder) / CHECKPOINT, buffer.getvalue())


def load_checkpoint(folder: str | Path, *, system: str, vocabulary: str) -> dict:
    """Read a checkpoint without running any code in it, and refuse one of another system or vocabulary."""
    path = Path(folder) / CHECKPOINT
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != CHECKPOINT_FORMAT:
            raise KeyError(f"format {state['format']}")
        found_system, found_vocabulary = state["system_name"], state["vocabulary"]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: there is nothing to resume") from error
    except Exception as error:  # torch reports a damaged or foreign file by many exception types
        raise UserError(f"{path} is not a checkpoint of this program ({type(error).__name__}: {error})") from error
    if found_system != system:
        raise UserError(f"{path} is a checkpoint of {found_system!r}, not of {system!r}: choose another run folder")
    if found_vocabulary != vocabulary:
        raise UserError(
            f"{path} was trained with vocabulary {found_vocabulary}, this dataset has {vocabulary}: the words would "
            "mean something else; use the dataset it was trained on, or another run folder"
        )
    return state


def progress(steps: Iterable[int], description: str = "") -> Iterator[int]:
    """A bar in a terminal and in JupyterLab; ten plain lines where nobody watches (papermill, a pipe, a CI log)."""
    from tqdm import tqdm

    steps = list(steps)
    in_kernel = "ipykernel" in sys.modules
    if in_kernel and os.environ.get("JPY_SESSION_NAME"):
        from tqdm.notebook import tqdm as notebook_tqdm

        yield from notebook_tqdm(steps, desc=description)
    elif not in_kernel and sys.stderr.isatty():
        yield from tqdm(steps, desc=description)
    else:
        marks = {round(len(steps) * k / 10) for k in range(1, 11)}
        for done, step in enumerate(steps, start=1):
            yield step
            if done in marks:
                print(f"{description}: {done} of {len(steps)} steps", flush=True)
