"""Processes that train one run after the other, each with one thread.

For networks this small, several runs side by side are faster than one after the other with all threads; and a process
that stays loads torch and transformers once, not for every run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from t2i_core.config import RunConfig, UserError, write_json
from t2i_core.metrics.evaluate import evaluate_run
from t2i_core.train import train

# each library counts its own threads; two processes with two threads each on two cores wait for one another
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Request(NamedTuple):
    """A run to train into a folder; with ``measure``, all its metrics are taken right after, in the same process."""

    config: RunConfig
    folder: Path
    measure: bool = False


class Trainer:
    """One such process. What a run prints goes into its folder, as output.log."""

    def __init__(self):
        self.process: subprocess.Popen | None = None

    def train(self, request: Request, device: str) -> None:
        """Train a run to its end; a UserError with the end of its log where that failed."""
        config, folder, measure = request
        log = folder / "output.log"
        write_json(folder / "request.json", config.to_dict())
        with open(log, "w") as said:
            if self.process is None:
                command, one_thread = [sys.executable, "-m", __name__], dict.fromkeys(THREAD_LIMITS, "1")
                pipe = subprocess.PIPE
                self.process = subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, stderr=said, env=os.environ | one_thread, text=True
                )
        order = {"config": config.to_dict(), "folder": str(folder), "device": device, "log": str(log)}
        order["measure"] = measure
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except OSError:  # it has died
            answer = ""
        if answer != "done\n":
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise UserError(f"training {config.system} ({config.variant}) failed; the end of {log}:\n{tail}")

    def stop(self) -> None:
        """End it, in the middle of a run too."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


def train_side_by_side(asked: Sequence[Request], device: str, jobs: int) -> None:
    """Train runs into their folders, ``jobs`` at a time. One that fails stops all others and raises a UserError."""
    trainers = [Trainer() for _ in range(min(jobs, len(asked)))]
    free: SimpleQueue[Trainer] = SimpleQueue()
    for trainer in trainers:
        free.put(trainer)

    def one(request: Request) -> str:
        trainer = free.get()
        try:
            trainer.train(request, device)
        finally:
            free.put(trainer)
        return f"{request.config.system} ({request.config.variant})"

    pool = ThreadPoolExecutor(max(1, len(trainers)))
    waiting = [pool.submit(one, request) for request in asked]
    try:
        for done in as_completed(waiting):
            print(f"trained {done.result()}", flush=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(future.done() for future in waiting):  # one more process may have been about to start
            for trainer in trainers:
                trainer.stop()
            time.sleep(0.05)
        for trainer in trainers:
            trainer.stop()


def serve() -> None:
    """A trainer's own side: an order a line comes in, "done" goes out after each; the first failure ends it."""
    answers = os.dup(1)
    for line in sys.stdin:
        order = json.loads(line)
        with open(order["log"], "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        run = train(RunConfig.from_dict(order["config"]), order["folder"], order["device"])
        if order["measure"]:
            evaluate_run(run, device=order["device"])
        sys.stdout.flush()
        os.write(answers, b"done\n")


if __name__ == "__main__":
    serve()
