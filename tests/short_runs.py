"""Runs of six steps that several test files share, and what to compare of two run folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from t2i_core.config import RunConfig, write_json
from t2i_core.runs import CHECKPOINT, Run, read_log
from t2i_core.train import train

STEPS = 6


def config(data: Path, matcher: Path, **settings) -> RunConfig:
    """Six steps of alr-gan: log lines after 2, 3, 4, 6, checkpoints and grids after 3, 6 (and a grid after 0)."""
    usual = dict(system="alr-gan", profile="smoke", data=str(data), matcher=str(matcher), steps=STEPS, batch_size=3)
    return RunConfig(**(usual | dict(log_every=2, checkpoint_every=3, sample_every=3) | settings))


def trained(settings: RunConfig, folder: Path) -> Run:
    return train(settings, folder, device="cpu", show_progress=False)


def tensors(value: object, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors of nested dicts and lists, by their path."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {path: found for key, part in items for path, found in tensors(part, f"{name}/{key}").items()}


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / CHECKPOINT, weights_only=True)


def assert_same_bits(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys() and ours
    different = [name for name in ours if not ours[name].equal(theirs[name])]
    assert not different, different


def assert_same_run(folder: Path, other: Path) -> None:
    """Weights, averaged weights, optimisers, log (but its seconds), grids: all the same, bit for bit."""
    ours, theirs = checkpoint(folder), checkpoint(other)
    assert ours["step"] == theirs["step"]
    parts = ("generator", "discriminators", "averaged", "matcher", "optimisers")
    assert_same_bits(tensors({part: ours[part] for part in parts}), tensors({part: theirs[part] for part in parts}))
    assert_same_bits(load_file(folder / "weights.safetensors"), load_file(other / "weights.safetensors"))
    assert without_seconds(folder) == without_seconds(other)
    grids = [[(step, path.read_bytes()) for step, path in Run(place).sample_grids] for place in (folder, other)]
    assert grids[0] == grids[1] and grids[0]


def without_seconds(folder: Path) -> list[dict]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in read_log(folder)]


def state_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# A process that does `moment` to itself: there is no telling from outside in which line of the loop it is.
STOPPED = """
import json, os, signal, sys
from t2i_core import config, train
moment, request, folder = sys.argv[1:]
update, replace = train.Loop._update, os.replace

def in_the_middle_of_step_5(self, part, losses):
    if self.step == 4 and part == "generator":
        os.kill(os.getpid(), signal.SIGKILL if moment == "kill in a step" else signal.SIGINT)
    update(self, part, losses)

def before_the_second_checkpoint_is_in_place(source, target):
    if str(target).endswith("checkpoint.pt") and os.path.exists(target):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

if moment == "kill in a checkpoint":
    os.replace = before_the_second_checkpoint_is_in_place
else:
    train.Loop._update = in_the_middle_of_step_5
with open(request) as file:
    settings = config.RunConfig.from_dict(json.load(file))
train.train(settings, folder, "cpu")
"""


def stopped(moment: str, settings: RunConfig, folder: Path) -> subprocess.CompletedProcess:
    """Train in a process that gets SIGKILL or SIGINT on its way."""
    request = write_json(folder / "request.json", settings.to_dict())
    command = [sys.executable, "-c", STOPPED, moment, str(request), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


KILLED = -signal.SIGKILL
