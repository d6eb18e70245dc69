"""What every notebook sets up the same way: dataset, matching model, and runs that are trained once, then loaded."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from t2i_core import encoders, systems
from t2i_core.config import MADE_BY, Profile, RunConfig, profile, project_root, set_aside, write_json
from t2i_core.data import CaptionDataset, load, training_set
from t2i_core.matcher import Matcher
from t2i_core.metrics.evaluate import measured
from t2i_core.ownership import OtherConfiguration, finished
from t2i_core.process import make_accelerator
from t2i_core.runs import Run, progress
from t2i_core.train import train
from t2i_core.trainers import Request, train_side_by_side


@dataclass(frozen=True)
class Workbench:
    """One notebook's place to work. Made by :func:`open_workbench`."""

    data: Path
    profile: Profile
    seed: int
    run_dir: Path
    device: str

    @property
    def world(self) -> str:
        return self.train_set.manifest["name"]

    @cached_property
    def train_set(self) -> CaptionDataset:
        return load(self.data, "train", self.profile.resolutions)

    @cached_property
    def test_set(self) -> CaptionDataset:
        return load(self.data, "test", self.profile.resolutions)

    def matcher_folder(self, kind: str = "damsm") -> Path:
        return self.run_dir / "runs" / f"{kind}-{self.world}-s{self.seed}"

    def matcher(self, kind: str) -> Matcher:
        """A pre-trained matching model of this run folder, on the CPU; trained now if it is not there yet."""
        folder = self.matcher_folder(kind)
        if not (folder / "matcher.json").exists():
            data = training_set(self.data, self.profile.resolutions, make_accelerator(self.device).device)
            title = encoders.KINDS[kind].title
            shown, base = (lambda steps: progress(steps, title)), self.matcher_folder("clip")
            encoders.trained(kind, data, folder, self.profile, self.seed, shown, base)
        return encoders.load(folder)

    def damsm(self) -> Matcher:
        return self.matcher("damsm")

    def clip(self) -> Matcher:
        return self.matcher("clip")

    def itm(self) -> Matcher:
        return self.matcher("itm")

    def config(self, system: str, variant: str = "default", **settings) -> RunConfig:
        """The run configuration of a system or ablation in this run folder."""
        return RunConfig(
            system=system,
            variant=variant,
            world=self.world,
            data=str(self.data),
            profile=self.profile.name,
            seed=self.seed,
            matcher=str(self.matcher_folder(systems.matcher_kind(system, variant))),
            **settings,
        )

    def run_folder(self, system: str, variant: str = "default") -> Path:
        return self.run_dir / "runs" / f"{system}-{variant}-{self.world}-s{self.seed}"

    def trained(self, system: str, variant: str = "default", **settings) -> Run:
        """Train a system, or load it where this very training is in the run folder already."""
        self.matcher(systems.matcher_kind(system, variant))
        request = self._request(system, variant, settings)
        return train(request.config, request.folder, self.device)

    def trained_side_by_side(
        self,
        asked: Sequence[tuple[str, str]],
        jobs: int | None = None,
        own: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
        measure: Collection[tuple[str, str]] = (),
        **settings,
    ) -> list[Run]:
        """Train several (system, variant) pairs and return their runs, in the order asked.

        On a CPU ``jobs`` at a time (default: as many as torch has threads), which share the threads; on a GPU, in turn.
        ``settings`` are for all, ``own`` for some; those in ``measure`` get all their metrics, too.
        """
        jobs = jobs or torch.get_num_threads()
        chosen = [(pair, settings | dict((own or {}).get(pair, {}))) for pair in asked]
        if jobs == 1 or make_accelerator(self.device).device.type == "cuda":
            runs = [self.trained(*pair, **its) for pair, its in chosen]
        else:
            for kind in {systems.matcher_kind(system, variant) for system, variant in asked}:
                self.matcher(kind)
            wanted = [self._request(*pair, its, pair in measure) for pair, its in chosen]
            missing = [request for request in wanted if not finished(request.config, request.folder)]
            train_side_by_side(missing, self.device, jobs)
            runs = [Run(request.folder) for request in wanted]
        for pair, run in zip(asked, runs, strict=True):
            if pair in measure:
                self.measured(run)
        return runs

    def _request(self, system: str, variant: str, settings: Mapping[str, Any], measure: bool = False) -> Request:
        """What is to be trained, and where. A run of other settings in its place is set aside."""
        config, folder = self.config(system, variant, **settings), self.run_folder(system, variant)
        try:
            finished(config, folder)
        except OtherConfiguration as other:
            shelf = set_aside(self.run_dir, [folder.relative_to(self.run_dir).as_posix()])
            print(f"{folder} held a run of another configuration ({other.said}): set aside in {shelf}", flush=True)
        return Request(config, folder, measure)

    def measured(self, run: Run) -> dict[str, dict]:
        """All metrics of a run; those that a notebook before this one has measured are not measured again."""
        return measured(run, self.device)

    def finding(self, name: str, value: float, low: float, high: float, n: int, note: str) -> dict:
        """Write down a number that a claim rests on: run_dir/findings/<name>-s<seed>.json, and return it."""
        found = {"id": name, "value": value, "low": low, "high": high, "n": n, "note": note}
        found |= {"profile": self.profile.name, "seed": self.seed, "made_by": os.environ.get(MADE_BY)}
        write_json(self.run_dir / "findings" / f"{name}-s{self.seed}.json", found)
        return found


def open_workbench(
    data: str | Path,
    profile_name: str = "mini",
    seed: int = 0,
    run_dir: str | Path = "runs/notebooks",
    device: str = "auto",
) -> Workbench:
    """``data`` is a prepared dataset; the four others are every notebook's parameters. A relative ``run_dir`` lies in
    the project's folder, wherever the notebook works."""
    bench = Workbench(Path(data), profile(profile_name), seed, project_root() / run_dir, device)
    bench.train_set.manifest  # noqa: B018 - a missing dataset shows here, not in the middle of a notebook
    return bench
