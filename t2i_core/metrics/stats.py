"""A measured number, with its interval and its protocol; how the intervals are made.

Three kinds of number, three kinds of interval, all at 95 %:
a share of right answers (Wilson's interval), a mean (bootstrap, BCa), a statistic of whole sets such as FID (bootstrap
over the set, recentred). Everything is float64, seeded, and says in the protocol how it was done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from t2i_core.config import UserError

CONFIDENCE = 0.95
SET_RESAMPLES = 200  # each costs one eigendecomposition; the spread is then known to about 5 %
MEAN_RESAMPLES = 2000


@dataclass(frozen=True)
class Value:
    """A measured number. ``low`` and ``high`` bound the 95 % interval, ``n`` counts what was asked or drawn.

    ``protocol`` holds what somebody needs to repeat the number: split, sizes, resize, extractor, seeds, interval.
    """

    value: float
    low: float
    high: float
    n: int
    protocol: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("value", "low", "high"):
            if not math.isfinite(getattr(self, name)):
                raise FloatingPointError(f"a measured {name} is {getattr(self, name)}: some image is not finite")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as they stand in metrics.json and results.json."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "protocol": self.protocol}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Value:
        return cls(saved["value"], saved["low"], saved["high"], saved["n"], dict(saved["protocol"]))

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] (n = {self.n})"


def as_rows(features: ArrayLike | torch.Tensor, name: str, at_least: int = 2) -> NDArray[np.float64]:
    """Features (n, d) as float64 on the CPU; too few rows or a non-finite entry raise, saying which and how many."""
    if isinstance(features, torch.Tensor):
        features = features.detach().cpu().double().numpy()
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"{name} must be (n, d), one row an image, not {rows.shape}")
    if len(rows) < at_least:
        raise UserError(f"{len(rows)} {name} are too few: at least {at_least} are needed, so measure more images")
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows)).any(1).sum())
        raise FloatingPointError(f"{bad} of {len(rows)} {name} are not finite: an image holds NaN or infinity")
    return rows


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``n`` independent answers; ``n`` may be an effective, fractional number."""
    z = scipy_stats.norm.ppf(0.5 + CONFIDENCE / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def proportion(hits: ArrayLike, images: ArrayLike | None = None, protocol: Mapping[str, Any] | None = None) -> Value:
    """The share of right answers with Wilson's interval. hits (n,) of 0 and 1.

    ``images`` (n,) says which image each question is about. Several questions about one image are not independent:
    n is then divided by the design effect, the variance of the share between images over the variance of n independent
    answers (Kish), and never taken larger than it is.
    """
    hits = np.asarray(hits, dtype=np.float64)
    n = len(hits)
    if n == 0:
        raise ValueError("no question was asked, so there is no share of right answers")
    share = float(hits.mean())
    effective = float(n) if images is None else n / _design_effect(hits, np.asarray(images), share)
    low, high = wilson(share, effective)
    how = {"interval": "Wilson 95 %", "effective_n": round(effective, 1)}
    return Value(share, low, high, n, {**(protocol or {}), **how})


def _design_effect(hits: NDArray, images: NDArray, share: float) -> float:
    _, cluster = np.unique(images, return_inverse=True)
    questions = np.bincount(cluster).astype(np.float64)
    if share in (0.0, 1.0):  # no spread to estimate it from: one answer an image is the cautious reading
        return len(hits) / len(questions)
    surplus = np.bincount(cluster, weights=hits) - share * questions
    return max(1.0, float((surplus**2).sum() / (len(hits) * share * (1 - share))))


def mean(values: ArrayLike, protocol: Mapping[str, Any] | None = None, seed: int = 0) -> Value:
    """The mean of values (n,), n >= 2, with a bootstrap interval (scipy, BCa, seeded)."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        raise UserError(f"{len(values)} values are too few for a mean with an interval: at least 2 are needed")
    centre = float(values.mean())
    how = {"interval": f"bootstrap 95 % (BCa), {MEAN_RESAMPLES} resamples, seed {seed}"}
    low = high = centre
    if np.ptp(values) > 0:
        rng = np.random.default_rng(seed)
        found = scipy_stats.bootstrap(
            (values,), np.mean, n_resamples=MEAN_RESAMPLES, confidence_level=CONFIDENCE, batch=100, rng=rng
        )
        low, high = (float(bound) for bound in found.confidence_interval)
    return Value(centre, low, high, len(values), {**(protocol or {}), **how})


def set_interval(
    value: float,
    statistic: Callable[..., float],
    sizes: Sequence[int],
    resamples: int = SET_RESAMPLES,
    seed: int = 0,
    at_least: float | None = None,
) -> tuple[float, float, dict[str, str]]:
    """The 95 % interval of a statistic of whole sets, and the words for the protocol.

    ``statistic(*rows)`` gets row numbers (with repeats) for each of the sets of ``sizes`` rows. The interval is about
    the statistic *at this n*.
    """
    drawn = redrawn(statistic, sizes, resamples, seed)
    return *recentred(value, drawn, at_least), how_redrawn(resamples, seed)


def redrawn(statistic: Callable[..., Any], sizes: Sequence[int], resamples: int, seed: int) -> list[Any]:
    """``statistic(*rows)`` of ``resamples`` resamples, each of row numbers (with repeats) of the sets of ``sizes``."""
    rng = np.random.default_rng(seed)
    return [statistic(*(rng.integers(0, size, size) for size in sizes)) for _ in range(resamples)]


def recentred(value: float, drawn: Sequence[float], at_least: float | None = None) -> tuple[float, float]:
    """The 95 % interval that resamples give. A statistic such as FID is biased upwards in small samples, and a
    resample, which repeats rows, is biased once more; so their spread around their own median is laid around ``value``.
    """
    low, middle, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2])
    low, high = float(value + low - middle), float(value + high - middle)
    return (low if at_least is None else min(value, max(at_least, low))), high


def how_redrawn(resamples: int, seed: int) -> dict[str, str]:
    """How such an interval was made, for the protocol."""
    return {"interval": f"bootstrap 95 % over rows, recentred, {resamples} resamples, seed {seed}"}


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of one table by Holm's method: those below a hold together, with a chance of a for any false one.

    The smallest of m is multiplied by m, the next by m - 1, ..., none falls below the one before, none exceeds 1.
    """
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if len(p_values) else []


def ratio_of_classes(asked: ArrayLike, right: ArrayLike) -> float:
    """Mean over classes of right/asked; asked and right (images, classes); classes nobody asked about do not count."""
    asked, right = np.asarray(asked, np.float64).sum(0), np.asarray(right, np.float64).sum(0)
    return float((right[asked > 0] / asked[asked > 0]).mean())
