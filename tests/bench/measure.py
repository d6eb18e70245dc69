"""Timing two ways fairly, and the table of what came out."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


def interleaved(ways: dict[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of every way in every round. The ways take turns, so what else the machine does meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm_up + rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(first: list[float], second: list[float]) -> float:
    """The median over the rounds of first / second."""
    return median(a / b for a, b in zip(first, second, strict=True))


class Stopwatch:
    """Adds up the seconds that are spent inside of chosen methods; a method called by another one counts once."""

    def __init__(self):
        self.seconds, self._depth = 0.0, 0

    def watch(self, owner: object, name: str) -> None:
        original = getattr(owner, name)

        def timed(*arguments, **options):
            self._depth += 1
            start = time.perf_counter()
            try:
                return original(*arguments, **options)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.seconds += time.perf_counter() - start

        setattr(owner, name, timed)


@dataclass(frozen=True)
class Row:
    """One comparison. ``at_least`` and ``at_most`` are what we promise of ``value``; without them it informs."""

    what: str
    value: float
    detail: str
    at_least: float | None = None
    at_most: float | None = None
    percent: bool = False

    @property
    def kept(self) -> bool:
        # a comparison that failed to give a number keeps no promise
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    @property
    def promise(self) -> str:
        if self.at_least is not None:
            return f"at least {self._shown(self.at_least)}"
        return "" if self.at_most is None else f"at most {self._shown(self.at_most)}"

    def _shown(self, value: float) -> str:
        return f"{100 * value:.2g} %" if self.percent else f"{value:.3g} x"

    def cells(self) -> tuple[str, ...]:
        verdict = ("kept" if self.kept else "MISSED") if self.promise else ""
        return self.what, self._shown(self.value), self.promise, verdict, self.detail


def table(rows: list[Row]) -> str:
    """The rows as text in columns."""
    lines = [("comparison", "ratio", "promise", "", "how")] + [row.cells() for row in rows]
    widths = [max(len(line[k]) for line in lines) for k in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def machine() -> str:
    """One line: processor, cores, threads, load, versions."""
    import torch

    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{model}, {cores} cores, {torch.get_num_threads()} torch threads{load}; {versions}"


def milliseconds(seconds: list[float]) -> str:
    return f"{1000 * median(seconds):.3g} ms"
