"""Processes that train one run after the other, each with its share of the cores.

For networks this small, several runs side by side are faster than one after the other with all threads; and a process
that stays loads torch and transformers once, not for every run.

Orders come on a process's standard input. When that ends, because the parent closed it or was killed, a training is
interrupted as by Ctrl-C: it finishes its step, leaves a checkpoint, and no process outlives what it works for.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from t2i_core.config import THREAD_LIMITS, RunConfig, UserError, cores
from t2i_core.metrics.evaluate import evaluate_run
from t2i_core.train import train

GRACE = 20.0  # seconds for a step of training and its checkpoint


class Request(NamedTuple):
    """A run to train into a folder; with ``measure``, all its metrics are taken right after, in the same process."""

    config: RunConfig
    folder: Path
    measure: bool = False


class Trainer:
    """One such process. What a run prints goes into its folder, as output.log."""

    def __init__(self, threads: int = 1):
        self.threads = threads
        self.process: subprocess.Popen | None = None

    def train(self, request: Request, device: str) -> None:
        """Train a run to its end; a UserError with the end of its log where that failed."""
        config, folder, measure = request
        log = folder / "output.log"
        folder.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as said:
            if self.process is None:
                limits = dict.fromkeys(THREAD_LIMITS, str(self.threads))
                self.process = subprocess.Popen(
                    [sys.executable, "-m", __name__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    env=os.environ | limits,
                    text=True,
                    start_new_session=True,  # Ctrl-C reaches it by its standard input, once
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
        """End it; in the middle of a run, after the step and its checkpoint."""
        if self.process is None:
            return
        with suppress(OSError):  # it may have died with an order unread
            self.process.stdin.close()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def train_side_by_side(asked: Sequence[Request], device: str, jobs: int) -> None:
    """Train runs into their folders, ``jobs`` at a time, which share the cores (or the threads this process may use).

    One that fails stops all others and raises a UserError, as do fewer jobs than 1.
    """
    if jobs < 1:
        raise UserError(f"{jobs} jobs train nothing: choose 1 or more")
    count = min(jobs, len(asked))
    trainers = [Trainer(max(1, usable_threads() // count)) for _ in range(count)]
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


def usable_threads() -> int:
    """The cores, or fewer where somebody has set a limit, as a reproduction does for its notebooks."""
    limit = os.environ.get(THREAD_LIMITS[0], "")
    return min(cores(), int(limit)) if limit.isdecimal() else cores()


def serve() -> None:
    """A trainer's own side: an order a line comes in, "done" goes out after each; the first failure ends it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
    answers = os.dup(1)
    orders: SimpleQueue[dict | None] = SimpleQueue()
    at_work = threading.Event()
    threading.Thread(target=_listen, args=(orders, at_work), daemon=True).start()
    while order := orders.get():
        with open(order["log"], "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        run = train(RunConfig.from_dict(order["config"]), order["folder"], order["device"])
        if order["measure"]:
            evaluate_run(run, device=order["device"])
        sys.stdout.flush()
        at_work.clear()
        os.write(answers, b"done\n")


def _listen(orders: SimpleQueue[dict | None], at_work: threading.Event) -> None:
    """Pass orders on; at the end of standard input say that nothing follows, and interrupt what is being trained."""
    with open(os.dup(0), "rb", buffering=0) as source:  # sys.stdin's buffer may not be waited for as Python ends
        for line in source:
            at_work.set()  # here, lest the end of input be read before the order has been taken up
            orders.put(json.loads(line))
    orders.put(None)
    if at_work.is_set():
        _thread.interrupt_main()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        serve()
