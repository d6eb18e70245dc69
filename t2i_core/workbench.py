"""What every notebook sets up the same way: dataset, matching model, and runs that are trained once, then loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from t2i_core import encoders, systems
from t2i_core.config import MADE_BY, Profile, RunConfig, UserError, profile, project_root, write_json
from t2i_core.data import CaptionDataset, load
from t2i_core.matcher import Matcher
from t2i_core.runs import Run, progress
from t2i_core.train import finished, make_accelerator, train

# each library counts its own threads; two processes with two threads each on two cores wait for one another
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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
            data = load(self.data, "train", self.profile.resolutions).to(make_accelerator(self.device).device)
            title = encoders.KINDS[kind].title
            encoders.trained(kind, data, folder, self.profile, self.seed, lambda steps: progress(steps, title))
        return encoders.load(folder)

    def damsm(self) -> Matcher:
        return self.matcher("damsm")

    def clip(self) -> Matcher:
        return self.matcher("clip")

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
        return train(self.config(system, variant, **settings), self.run_folder(system, variant), self.device)

    def trained_side_by_side(self, asked: Sequence[tuple[str, str]], jobs: int | None = None, **settings) -> list[Run]:
        """Train several (system, variant) pairs and return their runs, in the order asked.

        On a CPU each is a process of its own with one thread, ``jobs`` at a time (default: as many as torch has
        threads): for networks this small that is faster than one after the other with all threads. On a GPU, in turn.
        """
        jobs = jobs or torch.get_num_threads()
        if jobs == 1 or make_accelerator(self.device).device.type == "cuda":
            return [self.trained(system, variant, **settings) for system, variant in asked]
        for kind in {systems.matcher_kind(system, variant) for system, variant in asked}:
            self.matcher(kind)
        missing = [pair for pair in asked if not finished(self.config(*pair, **settings), self.run_folder(*pair))]
        children: list[subprocess.Popen] = []
        pool = ThreadPoolExecutor(jobs)
        waiting = [pool.submit(self._train_in_child, pair, settings, children) for pair in missing]
        try:
            for done in as_completed(waiting):
                print(f"trained {done.result()}", flush=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in waiting):  # one more child may have been about to start
                for child in children:
                    child.terminate()  # those that have ended do not mind
                time.sleep(0.05)
        return [Run(self.run_folder(system, variant)) for system, variant in asked]

    def _train_in_child(self, pair: tuple[str, str], settings: dict, children: list[subprocess.Popen]) -> str:
        folder, name = self.run_folder(*pair), f"{pair[0]} ({pair[1]})"
        request = write_json(folder / "request.json", self.config(*pair, **settings).to_dict())
        command = [sys.executable, "-m", "t2i_core.workbench", str(request), str(folder), self.device]
        with open(folder / "output.log", "w") as log:
            one_thread = os.environ | dict.fromkeys(THREAD_LIMITS, "1")
            child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=one_thread)
            children.append(child)
            child.wait()
        if child.returncode != 0:
            tail = (folder / "output.log").read_text(encoding="utf-8", errors="replace")[-2000:]
            raise UserError(f"training {name} failed; the end of {folder / 'output.log'}:\n{tail}")
        return name

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


def _train_requested(request: str, folder: str, device: str) -> None:
    import json

    train(RunConfig.from_dict(json.loads(Path(request).read_text())), folder, device)


if __name__ == "__main__":
    _train_requested(*sys.argv[1:])
