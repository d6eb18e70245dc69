"""How long the caption explorer takes from a changed caption to its picture. Sizes are the small profile's, 64 px."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median, quantiles

from t2i_core import explore, systems
from t2i_core.captions import Vocabulary
from t2i_core.explore.words import EXAMPLES

from .measure import Row

PROMISED = 0.3  # seconds
WORLD = "toy-scenes"
LEAST = 20  # rounds: of fewer there is no 95th percentile


def time_explorer(rounds: int, names: tuple[str, ...] | None = None, profile: str = "small") -> list[Row]:
    """A row for each system. Weights are fresh: what they are changes no time."""
    return [_row(name, seconds(name, profile, max(rounds, LEAST))) for name in names or systems.available()]


def seconds(name: str, profile: str, rounds: int) -> list[float]:
    """Seconds from setting the caption to the board that shows it, warm; no caption comes twice."""
    vocabulary = Vocabulary.build(EXAMPLES[WORLD])
    explorer = explore.caption_explorer({name: systems.create(name, profile, vocabulary).eval()}, WORLD)
    explorer.wait()

    def change(number: int) -> float:
        start = time.perf_counter()
        explorer.caption.value = f"{EXAMPLES[WORLD][number % len(EXAMPLES[WORLD])]} {number}"
        explorer.wait()
        return time.perf_counter() - start

    return measured(change, rounds)


def measured(change: Callable[[int], float], rounds: int, warm_up: int = 3) -> list[float]:
    return [change(number) for number in range(warm_up + rounds)][warm_up:]


def _row(name: str, found: list[float]) -> Row:
    high = quantiles(found, n=20)[-1]
    detail = f"caption to picture, read and shown: median {1000 * median(found):.0f} ms, p95 {1000 * high:.0f} ms"
    return Row(f"explorer, {name} at 64 px: p95 / 300 ms", high / PROMISED, detail, at_most=1)
