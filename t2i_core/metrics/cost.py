"""What a system costs to use: seconds from caption to image, alone and in a batch, and the memory that drawing needs.

A time is one machine's in one hour. Runs that are measured side by side, or while something else runs, slow each other
down: the protocol has the load that the machine was under, and only times measured alone on one machine compare. The
memory depends on neither. What training cost stands in the run's summary: seconds and parameters.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from scipy.stats import binom
from torch import nn

from t2i_core.config import UserError, cores
from t2i_core.metrics.stats import CONFIDENCE, Value
from t2i_core.process import device_name
from t2i_core.systems.base import System

BATCH, REPEATS = 16, 9
FEWEST = 6  # repeats, of which the shortest and the longest bound the median with 95 %
MEGABYTE = 1e6


@torch.no_grad()
def drawing_cost(
    system: System,
    captions: Sequence[str],
    protocol: Mapping[str, Any] | None = None,
    batch_size: int = BATCH,
    repeats: int = REPEATS,
) -> dict[str, Value]:
    """{"seconds_per_image", "seconds_per_image_batch", "peak_memory_mb"} of a system in eval mode.

    "seconds_per_image": the median over ``repeats`` images drawn one by one, text encoder included, after one that does
    not count. "seconds_per_image_batch": the same for ``batch_size`` captions at once, divided by their number. Both by
    the wall clock. "peak_memory_mb" (10^6 bytes): see :func:`peak_bytes`; it has no spread, so its interval has no
    width. No caption, or fewer than 6 repeats, raise a UserError.
    """
    if not captions:
        raise UserError("no caption to draw: give at least one")
    if repeats < FEWEST:
        raise UserError(f"{repeats} repeats bound no median with {CONFIDENCE:.0%}: take {FEWEST} at least")
    chosen = [captions[row % len(captions)] for row in range(batch_size)]
    noise, device = system.noise(batch_size, seed=0), system.device

    def alone(row: int) -> None:
        row %= batch_size
        system.generate(chosen[row : row + 1], noise[row : row + 1])

    def together(_: int) -> None:
        system.generate(chosen, noise)

    spent: dict[Callable, list[float]] = {alone: [], together: []}
    for row in range(repeats + 1):
        for draw, seconds in spent.items():  # by turns, so that a slow minute falls on both
            started = _now(device)
            draw(row)
            seconds.append(_now(device) - started)
    told = {**(protocol or {}), "device": device_name(device), "resolution": system.config.resolutions[-1]}
    timed = told | {"threads": torch.get_num_threads(), "repeats": repeats, "warm_up": 1, "clock": "wall"}
    timed |= {"from": "caption to image, text encoder included", "machine": _load()}
    peak = peak_bytes(system, lambda: together(0)) / MEGABYTE
    counted = {"batch_size": batch_size, "counts": "weights, and all tensors that live at once while a batch is drawn"}
    return {
        "seconds_per_image": median(spent[alone][1:], 1, timed | {"batch_size": 1}),
        "seconds_per_image_batch": median(spent[together][1:], batch_size, timed | {"batch_size": batch_size}),
        "peak_memory_mb": Value(peak, peak, peak, batch_size, told | counted | {"interval": "none: it has no spread"}),
    }


def median(seconds: Sequence[float], images: int, protocol: Mapping[str, Any] | None = None) -> Value:
    """The median of n >= 6 measured times, each over ``images`` images, per image; its interval is between two of them.

    The median lies under the j-th smallest with the probability that a fair coin falls heads less than j times in n;
    j is the largest for which that is 2.5 % or less, and the bounds are the j-th smallest and the j-th largest. Nothing
    is assumed of how the times spread.
    """
    ordered = sorted(one / images for one in seconds)
    n = len(ordered)
    tail = (1 - CONFIDENCE) / 2
    j = int(binom.ppf(tail, n, 0.5))
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    how = {"interval": f"of the median: {_ordinal(j)} smallest and largest of {n} times, 95 % or more"}
    return Value(middle, ordered[j - 1], ordered[n - j], n * images, {**(protocol or {}), **how})


def peak_bytes(system: nn.Module, draw: Callable[[], None]) -> int:
    """The most bytes that tensors take at once in ``draw()``, with the weights of ``system``.

    On a GPU what its allocator counts. On a CPU every allocation and release that torch's profiler saw, summed up in
    their order: exact and the same every time, where a process's size is neither.
    """
    tensors = [*system.parameters(), *system.buffers()]
    weights = sum(one.numel() * one.element_size() for one in tensors)
    device = tensors[0].device if tensors else torch.device("cpu")
    if device.type == "cuda":
        draw()
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        draw()
        torch.cuda.synchronize(device)
        return weights + torch.cuda.max_memory_allocated(device) - before
    draw()  # the first time, layers may put their weights into another order and keep them
    with _without_greetings(), torch.autograd.profiler.profile(profile_memory=True) as seen:
        draw()
    changes = [(one.start_ns(), one.nbytes()) for one in seen.kineto_results.events() if one.name() == "[memory]"]
    now = most = 0
    for _, change in sorted(changes, key=lambda one: one[0]):
        now += change
        most = max(most, now)
    return weights + most


@contextmanager
def _without_greetings() -> Iterator[None]:
    """torch 2.13's profiler announces its start and its end on the process's standard error, where no Python setting
    reaches it, and a notebook would keep that: meanwhile it leads nowhere."""
    kept = None
    with suppress(OSError):  # a process without one hears no greetings
        kept = os.dup(2)
    if kept is None:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _load() -> dict[str, float]:
    """How busy the machine is; nested in a protocol, because it is found and not chosen."""
    load = {"cores": cores()}
    return load | ({"load_average": round(os.getloadavg()[0], 2)} if hasattr(os, "getloadavg") else {})


def _ordinal(j: int) -> str:
    return {1: "the", 2: "2nd", 3: "3rd"}.get(j, f"{j}th")
