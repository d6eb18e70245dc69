"""Frechet distance, FID, KID, Inception Score: closed forms, independent references, and torchmetrics itself."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from t2i_core.config import UserError
from t2i_core.metrics.frechet import ExtractedFeatures, fid, frechet_distance, kid, mean_covariance
from t2i_core.metrics.inception_score import inception_score, score_of


def correlated(n, d, seed, shift=0.0, scale=1.0, rank=None):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(rank or d, d))
    return torch.from_numpy(scale * rng.normal(size=(n, rank or d)) @ mixing + shift)


def test_one_dimension_by_hand():
    """(mu1 - mu2)^2 + (sigma1 - sigma2)^2: N(1, 4) and N(-2, 9) are 9 + 1 apart."""
    one = [torch.tensor([1.0]), torch.tensor([[4.0]]), torch.tensor([-2.0]), torch.tensor([[9.0]])]
    assert frechet_distance(*one) == pytest.approx(10.0, abs=1e-12)


def test_commuting_covariances_by_hand():
    """Diagonal covariances: the distance is the sum over dimensions."""
    mu1, mu2 = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 0.0])
    var1, var2 = torch.tensor([1.0, 4.0, 0.0]), torch.tensor([4.0, 4.0, 9.0])
    expected = (mu1 - mu2).square().sum() + (var1.sqrt() - var2.sqrt()).square().sum()
    assert frechet_distance(mu1, var1.diag(), mu2, var2.diag()) == pytest.approx(float(expected), abs=1e-12)


def test_agrees_with_scipy_sqrtm():
    a, b = correlated(300, 12, 0), correlated(280, 12, 1, shift=0.3, scale=1.4)
    (mu1, cov1), (mu2, cov2) = mean_covariance(a), mean_covariance(b)
    np.testing.assert_allclose(cov1, np.cov(a.numpy(), rowvar=False))
    root = sqrtm((cov1 @ cov2).numpy()).real
    expected = float((mu1 - mu2).square().sum()) + np.trace(cov1.numpy() + cov2.numpy() - 2 * root)
    assert frechet_distance(mu1, cov1, mu2, cov2) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(mu2, cov2, mu1, cov1) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("rank", [12, 3])
def test_identical_is_zero_whatever_the_rank(rank):
    features = correlated(100, 12, 3, rank=rank)
    statistics = mean_covariance(features)
    scale = float(statistics[1].trace())
    assert 0 <= frechet_distance(*statistics, *statistics) < 1e-6 * scale
    assert fid(features, features, resamples=5).value < 1e-6 * scale


def test_more_features_than_images_is_finite_and_says_so():
    found = fid(correlated(10, 40, 0), correlated(12, 40, 1), resamples=10)
    assert np.isfinite([found.value, found.low, found.high]).all() and found.value > 0
    assert "40 features" in found.protocol["warning"]
    assert "warning" not in fid(correlated(60, 40, 0), correlated(60, 40, 1), resamples=2).protocol


def test_fid_is_torchmetrics_and_agrees_with_our_form():
    real, fake = correlated(400, 16, 0), correlated(350, 16, 1, shift=0.2, scale=0.8)
    metric = FrechetInceptionDistance(ExtractedFeatures(16))
    for part in real.split(90):
        metric.update(part, real=True)
    for part in fake.split(70):
        metric.update(part, real=False)
    found = fid(real, fake, {"split": "test"}, resamples=60, seed=4)
    assert found.value == pytest.approx(float(metric.compute()), rel=1e-9)
    assert found.value == pytest.approx(frechet_distance(*mean_covariance(real), *mean_covariance(fake)), rel=1e-6)
    assert found.low < found.value < found.high
    assert found.n == 350 and found.protocol["real_images"] == 400 and found.protocol["split"] == "test"
    assert "60 resamples, seed 4" in found.protocol["interval"]
    assert fid(real, fake, resamples=60, seed=4) == fid(real, fake, resamples=60, seed=4)


def test_fid_of_a_shift_is_its_square():
    real = correlated(500, 8, 0)
    assert fid(real, real + 0.5, resamples=3).value == pytest.approx(8 * 0.25, rel=1e-6)


def test_fid_interval_holds_what_other_samples_give():
    """The interval is about FID at this n: independent draws of both sets mostly fall into it."""
    value = fid(correlated(300, 6, 100), correlated(300, 6, 200, shift=0.3), resamples=100)
    others = [
        frechet_distance(
            *mean_covariance(correlated(300, 6, k)), *mean_covariance(correlated(300, 6, 50 + k, shift=0.3))
        )
        for k in range(1, 31)
    ]
    spread = np.quantile(others, 0.975) - np.quantile(others, 0.025)
    assert 0.6 < (value.high - value.low) / spread < 1.7


@pytest.mark.filterwarnings("ignore:Metric `Kernel")
def test_kid_is_torchmetrics():
    real, fake = correlated(120, 8, 0), correlated(120, 8, 1, shift=4.0)
    metric = KernelInceptionDistance(ExtractedFeatures(8), subsets=1, subset_size=120)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    found = kid(real, fake)
    assert found.value == pytest.approx(float(metric.compute()[0]), rel=1e-9)
    assert found.low < found.value < found.high and found.low > 0
    same = kid(correlated(120, 8, 5), correlated(120, 8, 6))
    assert same.low < 0 < same.high
    assert kid(real[:100], fake, seed=1).value == kid(real[:100], fake, seed=1).value


def test_kid_interval_is_as_wide_as_the_spread_of_other_samples():
    draws = [kid(correlated(200, 4, k), correlated(200, 4, 500 + k, shift=2.0)) for k in range(25)]
    seen = np.std([d.value for d in draws])
    said = np.mean([d.high - d.low for d in draws]) / (2 * 1.96)
    assert 0.6 < said / seen < 1.6


def test_inception_score_by_hand():
    """Every image certain, all classes equally often: the number of classes. All images alike: 1."""
    certain = 60.0 * torch.eye(5).repeat(40, 1).double()
    assert inception_score(certain, splits=1, resamples=3).value == pytest.approx(5.0, rel=1e-9)
    alike = torch.randn(1, 5, dtype=torch.float64).repeat(60, 1)
    found = inception_score(alike, splits=10, resamples=3)
    assert found.value == pytest.approx(1.0, abs=1e-9) and found.protocol["splits"] == 10
    # two images, p = (.8, .2) and (.2, .8): KL = .8 ln(.8/.5) + .2 ln(.2/.5)
    logits = torch.tensor([[0.8, 0.2], [0.2, 0.8]]).double().log().repeat(2, 1)
    expected = np.exp(0.8 * np.log(1.6) + 0.2 * np.log(0.4))
    assert inception_score(logits, splits=1, resamples=2).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `Inception")
def test_inception_score_is_torchmetrics_and_leaves_the_random_state_alone():
    logits = 3 * torch.randn(200, 7, generator=torch.Generator().manual_seed(0)).double()
    torch.manual_seed(11)
    metric = InceptionScore(ExtractedFeatures(7), splits=4)
    metric.update(logits)
    expected = float(metric.compute()[0])
    state = torch.get_rng_state()
    found = inception_score(logits, splits=4, seed=11, resamples=20)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert torch.equal(state, torch.get_rng_state())
    assert found.low < found.value < found.high
    assert score_of(logits.softmax(1).numpy(), 1) == pytest.approx(
        inception_score(logits, 1, resamples=2).value, rel=1e-9
    )


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[2000.0, 0.0], [0.0, 2000.0]]).double().repeat(10, 1)
    assert inception_score(logits, splits=1, resamples=3).value == pytest.approx(2.0, rel=1e-6)


def test_too_few_images_say_how_many_are_needed():
    with pytest.raises(UserError, match="at least 2 are needed"):
        fid(torch.zeros(1, 4), torch.zeros(9, 4))
    with pytest.raises(UserError, match="1 generated images are too few"):
        kid(torch.zeros(9, 4), torch.zeros(1, 4))
    with pytest.raises(UserError, match="measure at least 20"):
        inception_score(torch.zeros(19, 4))
    with pytest.raises(ValueError, match="use one extractor"):
        fid(torch.zeros(9, 4), torch.zeros(9, 5))
    with pytest.raises(ValueError, match="one d"):
        frechet_distance(torch.zeros(3), torch.eye(3), torch.zeros(2), torch.eye(2))
