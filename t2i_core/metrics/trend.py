"""Does a score rise with a setting, such as the number of hidden units? A rank correlation with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from t2i_core.config import UserError
from t2i_core.metrics.stats import CONFIDENCE, MEAN_RESAMPLES, Value


def rank_trend(
    levels: Sequence[float], scores: ArrayLike, protocol: Mapping[str, Any] | None = None, seed: int = 0
) -> Value:
    """Spearman's correlation of L levels with the mean score at each; ``scores`` (L, n), column i is image i at every
    level (same caption, same noise).

    The interval holds 95 % of what the correlation becomes when the images are drawn anew (with replacement, the same
    ones for all levels). It knows nothing of how a second training would come out. All scores alike give 0. Raises
    UserError for fewer than two levels, ValueError for levels and scores that are not as many.
    """
    scores, levels = np.asarray(scores, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    if scores.ndim != 2 or len(scores) != len(levels):
        raise ValueError(f"scores must be (levels, images) with {len(levels)} levels, not {scores.shape}")
    if len(np.unique(levels)) < 2:
        raise UserError("a trend needs at least two different levels")
    n = scores.shape[1]
    drawn = np.random.default_rng(seed).integers(0, n, (MEAN_RESAMPLES, n))
    counts = np.stack([np.bincount(rows, minlength=n) for rows in drawn])
    low, high = np.quantile(_spearman(levels, counts @ scores.T / n), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    value = float(_spearman(levels, scores.mean(1)[None])[0])
    how = {"interval": f"bootstrap 95 % over images (percentile), {MEAN_RESAMPLES} resamples, seed {seed}"}
    return Value(value, min(value, float(low)), max(value, float(high)), n, {**(protocol or {}), **how})


def _spearman(levels: NDArray, means: NDArray) -> NDArray:
    """(R,) for means (R, L); 0 where a row's means are all alike. Means that differ by rounding only are alike."""
    x = rankdata(levels) - (len(levels) + 1) / 2
    y = rankdata(means.round(12), axis=1) - (len(levels) + 1) / 2
    length = np.sqrt((x @ x) * (y * y).sum(1))
    return np.divide(y @ x, length, out=np.zeros(len(y)), where=length > 0)
