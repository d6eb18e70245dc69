"""The rank correlation of a sweep (RATLIP T2), against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from t2i_core.config import UserError
from t2i_core.metrics.trend import rank_trend


def noisy(levels: int = 5, images: int = 40, slope: float = 0.3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(1, images)) + slope * np.arange(levels)[:, None] + rng.normal(size=(levels, images))


@pytest.mark.parametrize("slope", [-0.1, 0.0, 0.1])
def test_it_is_spearmans_correlation_of_the_means(slope):
    scores, levels = noisy(slope=slope), [0, 4, 8, 64, 128]
    found = rank_trend(levels, scores)
    assert found.value == pytest.approx(spearmanr(levels, scores.mean(1)).statistic)
    assert -1 <= found.low <= found.value <= found.high <= 1 and found.n == 40


def test_ties_share_their_rank():
    scores = np.array([[1.0, 3.0], [2.0, 2.0], [5.0, 5.0], [4.0, 4.0]])
    assert rank_trend([1, 2, 3, 4], scores).value == pytest.approx(spearmanr([1, 2, 3, 4], [2, 2, 5, 4]).statistic)
    assert rank_trend([0, 1, 2], np.full((3, 5), 0.3)).value == 0.0


def test_a_steep_trend_has_a_narrow_interval_and_none_a_wide_one():
    steep, none = rank_trend(range(5), noisy(slope=3.0)), rank_trend(range(5), noisy(slope=0.0))
    assert (steep.low, steep.high) == (1.0, 1.0)
    assert none.low < 0 < none.high


def test_images_are_drawn_anew_together_for_all_levels():
    # what is common to an image at all levels cannot change an order
    scores = noisy(slope=0.5)
    shifted = rank_trend(range(5), scores + 100 * np.random.default_rng(1).normal(size=(1, 40)))
    plain = rank_trend(range(5), scores)
    assert (shifted.value, shifted.low, shifted.high) == (plain.value, plain.low, plain.high)


def test_what_is_no_sweep_is_refused():
    with pytest.raises(UserError, match="two different levels"):
        rank_trend([4, 4], noisy(2))
    with pytest.raises(ValueError, match="3 levels"):
        rank_trend([1, 2, 3], noisy(2))
