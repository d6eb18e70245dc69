"""Comparisons image by image: shared luck cancels, true differences are found, and no difference is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from t2i_core.config import UserError
from t2i_core.metrics.frechet import frechet_distance
from t2i_core.metrics.paired import fid_differences, mean_differences


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def by_pair(found):
    return {(one.first, one.second): one for one in found}


def test_what_is_hard_for_all_cancels():
    luck = rng().normal(0, 10, 300)  # a hundred times the effect
    scores = {"a": luck + 0.1 + rng(1).normal(0, 0.1, 300), "b": luck}
    (one,) = mean_differences(scores)
    assert one.stands and 0 < one.value.low < 0.1 < one.value.high
    assert stats.ttest_ind(scores["a"], scores["b"]).pvalue > 0.5
    assert one.p == pytest.approx(stats.ttest_rel(scores["a"], scores["b"]).pvalue)


def test_of_equal_systems_hardly_any_pair_stands():
    wrong = 0
    for seed in range(60):
        draw = rng(seed)
        luck = draw.normal(0, 3, 80)
        found = mean_differences({name: luck + draw.normal(0, 1, 80) for name in "abcde"})
        wrong += any(one.stands for one in found)
    assert wrong <= 8  # 5 % of 60 are 3; without the correction about 17
    assert len(found) == 10


def test_a_system_that_is_better_is_found_among_equals_and_the_sign_says_which():
    draw = rng(3)
    luck = draw.normal(0, 3, 200)
    scores = {name: luck + draw.normal(0.8 if name == "c" else 0, 1, 200) for name in "abcd"}
    found = by_pair(mean_differences(scores))
    for pair, one in found.items():
        assert one.stands == ("c" in pair)
    assert found["a", "c"].value.high < 0 < found["c", "d"].value.low


def test_captions_that_were_not_asked_are_left_out():
    (one,) = mean_differences({"a": [1, 0, 1, np.nan], "b": [0, 0, 1, 1]})
    assert one.value.n == 3 and one.value.value == pytest.approx(1 / 3)


def test_the_same_images_do_not_differ():
    (one,) = mean_differences({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
    assert (one.value.value, one.p, one.stands) == (0.0, 1.0, False)
    rows = rng().normal(size=(40, 3))
    (one,) = fid_differences({"a": rows, "b": rows}, rng(1).normal(size=(40, 3)), resamples=20)
    assert (one.value.value, one.p, one.stands) == (0.0, 1.0, False)


def test_fid_differences_are_those_of_the_frechet_distances():
    real, a, b = rng().normal(size=(200, 4)), rng(1).normal(0.5, 1, (150, 4)), rng(2).normal(0, 2, (150, 4))
    (one,) = fid_differences({"a": a, "b": b}, real, resamples=50)

    def fid(rows):
        return frechet_distance(rows.mean(0), np.cov(rows.T), real.mean(0), np.cov(real.T))

    assert one.value.value == pytest.approx(fid(a) - fid(b), rel=1e-9)
    assert one.value.low < one.value.value < one.value.high < 0 and one.stands


def test_fid_differences_share_their_resamples():
    real, drawn = rng().normal(size=(300, 3)), rng(1).normal(1, 1, (300, 3))
    near = drawn + rng(2).normal(0, 0.01, drawn.shape) + 0.05  # image by image nearly the same, a little worse
    (shared,) = fid_differences({"near": near, "drawn": drawn}, real, resamples=60)
    (apart,) = fid_differences({"near": near, "drawn": drawn[rng(3).permutation(300)]}, real, resamples=60)
    assert shared.stands and not apart.stands  # the same two FIDs; only the pairing differs
    assert shared.value.value == pytest.approx(apart.value.value)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="same captions for all"):
        mean_differences({"a": [1, 2, 3], "b": [1, 2]})
    with pytest.raises(ValueError, match="same captions for all"):
        fid_differences({"a": np.ones((3, 2)), "b": np.ones((4, 2))}, np.ones((5, 2)))
    with pytest.raises(UserError, match="at least two systems"):
        mean_differences({"a": [1, 2, 3]})
    with pytest.raises(UserError, match="at least two systems"):
        fid_differences({"a": rng().normal(size=(9, 2))}, rng().normal(size=(9, 2)))
