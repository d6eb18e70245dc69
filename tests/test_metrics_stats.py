"""Intervals: against scipy, against theory, and for what must not be measured."""

import json

import numpy as np
import pytest
from scipy import stats as scipy_stats

from t2i_core.config import UserError
from t2i_core.metrics.stats import Value, as_rows, mean, proportion, ratio_of_classes, set_interval, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (3, 12), (12, 12), (980, 1000)])
def test_wilson_agrees_with_scipy(hits, n):
    expected = scipy_stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson(hits / n, n), expected, atol=1e-12)
    found = proportion(np.arange(n) < hits)
    assert (found.value, found.n) == (hits / n, n)
    np.testing.assert_allclose((found.low, found.high), expected, atol=1e-12)


def test_questions_about_one_image_are_not_independent():
    """Three copies of every answer carry no more than one: the interval must not shrink."""
    answers = np.random.default_rng(0).random(200) < 0.7
    single = proportion(answers, np.arange(200))
    tripled = proportion(np.repeat(answers, 3), np.repeat(np.arange(200), 3))
    assert tripled.value == single.value and tripled.n == 600
    assert tripled.high - tripled.low == pytest.approx(single.high - single.low, rel=0.02)
    naive = proportion(np.repeat(answers, 3))
    assert naive.high - naive.low < 0.7 * (tripled.high - tripled.low)
    certain = proportion(np.ones(600), np.repeat(np.arange(200), 3))
    assert certain.low == pytest.approx(proportion(np.ones(200)).low)


def test_mean_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for k in range(40):
        found = mean(rng.normal(3.0, 1.0, 60), seed=k)
        covered += found.low <= 3.0 <= found.high
    assert covered >= 34
    assert mean([2.0, 2.0, 2.0]).low == 2.0  # no spread, no warning
    with pytest.raises(UserError, match="at least 2"):
        mean([1.0])


def test_set_interval_is_seeded_and_holds_the_value():
    data = np.random.default_rng(2).normal(size=300)

    def spread(rows):
        return float(data[rows].var())

    value = spread(np.arange(300))
    low, high, how = set_interval(value, spread, [300], resamples=100, seed=5)
    assert (low, high) == set_interval(value, spread, [300], resamples=100, seed=5)[:2]
    assert (low, high) != set_interval(value, spread, [300], resamples=100, seed=6)[:2]
    assert low < value < high and "100 resamples, seed 5" in how["interval"]
    # theory: the standard deviation of a normal sample's variance is sqrt(2/n) sigma^2
    assert (high - low) / (2 * 1.96) == pytest.approx(value * np.sqrt(2 / 300), rel=0.3)
    assert set_interval(0.01, lambda rows: 5.0 + rows[0], [300], 20, at_least=0.0)[0] == 0.0


def test_classes_nobody_asked_about_do_not_count():
    asked = [[1, 0, 0], [1, 1, 0]]
    right = [[1, 0, 0], [0, 1, 0]]
    assert ratio_of_classes(asked, right) == pytest.approx((0.5 + 1.0) / 2)


def test_value_is_json_and_never_nan():
    value = Value(0.5, 0.25, 0.75, 4, {"split": "test"})
    saved = json.loads(json.dumps(value.to_dict(), allow_nan=False))
    assert Value.from_dict(saved) == value
    assert str(value) == "0.5 [0.25, 0.75] (n = 4)"
    with pytest.raises(FloatingPointError, match="not finite"):
        Value(float("nan"), 0.0, 1.0, 4)
    with pytest.raises(ValueError, match="no question"):
        proportion([])


def test_bad_features_are_named_and_counted():
    with pytest.raises(UserError, match="1 real images are too few: at least 2"):
        as_rows(np.zeros((1, 3)), "real images")
    broken = np.zeros((5, 3))
    broken[2, 1], broken[4, 0] = np.nan, np.inf
    with pytest.raises(FloatingPointError, match="2 of 5 generated images"):
        as_rows(broken, "generated images")
    with pytest.raises(ValueError, match=r"\(n, d\)"):
        as_rows(np.zeros(5), "features")
