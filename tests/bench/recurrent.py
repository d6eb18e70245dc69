"""RATLIP's costs: its training step beside GALIP's, and the recurrent affine beside a loop over samples."""

from __future__ import annotations

from pathlib import Path

import torch

from t2i_core import encoders, systems
from t2i_core.affine import RecurrentAffine
from t2i_core.config import RunConfig
from t2i_core.data import load
from t2i_core.process import flushed_denormals, make_accelerator
from t2i_core.train import Loop

from .comparisons import MINI, prepared
from .measure import Row, interleaved, milliseconds, ratio


def compare_ratlip(folder: Path, rounds: int) -> list[Row]:
    return [*steps(folder, rounds), samples(rounds)]


def steps(folder: Path, rounds: int) -> list[Row]:
    dataset = load(prepared(folder), "train", MINI.resolutions).to("cpu")
    clip = encoders.fresh("clip", MINI, dataset.vocabulary(MINI.max_words))
    ways = {}
    for name in ("galip", "ratlip"):
        config = RunConfig(system=name, profile="mini", data=str(dataset.folder)).resolve()
        built = systems.create(name, MINI, matcher=clip).train()
        (folder / name).mkdir(exist_ok=True)
        ways[name] = Loop(config, folder / name, built, dataset, make_accelerator("cpu")).train_step
    with flushed_denormals():
        seconds = interleaved(ways, 2 * rounds)
    detail = f"{milliseconds(seconds['ratlip'])} and {milliseconds(seconds['galip'])}"
    return [Row("ratlip step / galip step", ratio(seconds["ratlip"], seconds["galip"]), detail, at_most=1.15)]


def samples(rounds: int) -> Row:
    """All affine steps of a bridge, forward and back, for a batch of 32 at once and sample by sample."""
    channels = [16, 16, 32, 32] * 4
    affine = RecurrentAffine(64, 32, 64, channels)
    z, s = torch.randn(32, 32), torch.randn(32, 64)
    maps = {c: torch.randn(32, c, 8, 8) for c in set(channels)}

    def run(rows: slice) -> torch.Tensor:
        state, total = affine.start(z[rows]), torch.zeros(())
        for k, c in enumerate(channels):
            x, state = affine.step(k, maps[c][rows], s[rows], state)
            total = total + x.mean()
        return total

    ways = {
        "batch": lambda: run(slice(None)).backward(),
        "loop": lambda: torch.stack([run(slice(i, i + 1)) for i in range(32)]).mean().backward(),
    }
    seconds = interleaved(ways, rounds)
    detail = f"batch 32, with gradient: {milliseconds(seconds['loop'])} and {milliseconds(seconds['batch'])}"
    return Row("recurrent affine: loop over samples / batch", ratio(seconds["loop"], seconds["batch"]), detail)
