"""Our measures beside torchmetrics' own, which here sees images and runs the feature network itself.

`fid`, `kid` and `inception_score` take their values from torchmetrics, so for these the tests ask whether features
that were extracted once give what its usual way over batches of images gives; and whether our own forms, which make the
intervals, CMD and retrieval, agree with it. torchmetrics' CLIPScore is left out: it loads published weights, and its
1.9.0 breaks on transformers 5; its pairwise cosine stands in.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.functional import pairwise_cosine_similarity
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance
from torchmetrics.retrieval import RetrievalHitRate, RetrievalRPrecision

from t2i_core.metrics.clip_score import clip_score
from t2i_core.metrics.cmd import cross_model_distance
from t2i_core.metrics.frechet import distance, fid, kid
from t2i_core.metrics.inception_score import inception_score, score_of
from t2i_core.metrics.moments import Gaussian, Moments
from t2i_core.metrics.retrieval import r_precision, recall_at_k

pytestmark = pytest.mark.filterwarnings("ignore:Metric `(Kernel|Inception)", r"ignore:std\(\)")


class Network(nn.Module):
    """Images (n, 3, 8, 8) -> 10 features: a fixed random layer, in float64 as our measures have it."""

    num_features = 10

    def __init__(self):
        super().__init__()
        mixing = torch.randn(3 * 8 * 8, self.num_features, generator=torch.Generator().manual_seed(5))
        self.register_buffer("mixing", mixing.double() / 4)

    def forward(self, images):
        return (images.double().flatten(1) @ self.mixing).tanh()


NETWORK = Network()


def pictures(n, seed, brightness=0.0):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * (1 - brightness) + brightness


REAL, FAKE = pictures(150, 0), pictures(130, 1, brightness=0.1)


def watched(metric):
    """A metric that was shown the real and the drawn images, batch by batch."""
    metric.set_dtype(torch.float64)
    for images, real in ((REAL, True), (FAKE, False)):
        for part in images.split(40):
            metric.update(part, real=real)
    return metric.compute()


def test_frechet_distance():
    expected = float(watched(FrechetInceptionDistance(NETWORK, input_img_size=(3, 8, 8))))
    real, fake = NETWORK(REAL), NETWORK(FAKE)
    assert expected > 0.05
    assert fid(real, fake, resamples=2).value == pytest.approx(expected, rel=1e-9)
    assert distance(Gaussian.of_rows(real), Gaussian.of_rows(fake)) == pytest.approx(expected, rel=1e-9)
    in_batches = [Moments() for _ in range(2)]
    for moments, images in zip(in_batches, (REAL, FAKE), strict=True):
        for part in images.split(40):
            moments.update(NETWORK(part))
    assert distance(*map(Gaussian.of, in_batches)) == pytest.approx(expected, rel=1e-9)
    assert cross_model_distance(fake, real, real).image_distance == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_of_whole_sets():
    """A single subset of all is no sample: the estimator itself, here also written out as E[k] over different pairs."""
    real, fake = NETWORK(REAL)[:130], NETWORK(FAKE)
    metric = KernelInceptionDistance(NETWORK, subsets=1, subset_size=130)
    metric.set_dtype(torch.float64)
    metric.update(REAL[:130], real=True)
    metric.update(FAKE, real=False)
    found = kid(real, fake).value
    assert found == pytest.approx(float(metric.compute()[0]), rel=1e-9) and found > 0

    def kernel(a, b):
        return np.array([[(x @ y / 10 + 1) ** 3 for y in b.numpy()] for x in a.numpy()])

    within = sum((k.sum() - np.trace(k)) / (130 * 129) for k in (kernel(real, real), kernel(fake, fake)))
    assert found == pytest.approx(within - 2 * kernel(real, fake).mean(), rel=1e-9)


def test_kernel_distance_of_sets_that_are_not_as_many_is_a_mean_over_subsets():
    real, fake = NETWORK(REAL), NETWORK(FAKE)
    found = kid(real, fake, seed=3)
    torch.manual_seed(3)
    metric = watched(KernelInceptionDistance(NETWORK, subsets=10, subset_size=130))
    assert found.value == pytest.approx(float(metric[0]), rel=1e-9)


@pytest.mark.parametrize("splits", [1, 5])
def test_inception_score(splits):
    metric = InceptionScore(NETWORK, splits=splits)
    metric.set_dtype(torch.float64)
    for part in REAL.split(40):
        metric.update(part)
    torch.manual_seed(2)
    expected = float(metric.compute()[0])
    logits = NETWORK(REAL)
    assert expected > 1.01
    assert inception_score(logits, splits, seed=2, resamples=2).value == pytest.approx(expected, rel=1e-9)
    torch.manual_seed(2)
    shuffled = logits.softmax(1)[torch.randperm(150)].numpy()
    assert score_of(shuffled, splits) == pytest.approx(expected, rel=1e-9)


def test_clip_score_is_the_mean_cosine():
    image, text = NETWORK(REAL), NETWORK(REAL) + 0.5 * NETWORK(pictures(150, 7))
    expected = float(pairwise_cosine_similarity(image, text).diagonal().mean())
    found = clip_score(image, text)
    assert found["clip_score"].value == pytest.approx(expected, rel=1e-9)
    assert found["clip_score_x100"].value == pytest.approx(100 * expected, rel=1e-9)


def test_recall_and_r_precision():
    """One caption of n is an image's own. With all others as distractors, R-precision is that of retrieval at large."""
    image, text = NETWORK(REAL), NETWORK(REAL) + NETWORK(pictures(150, 7))
    scores = pairwise_cosine_similarity(image, text)
    for name, asked in (("image_to_text", scores), ("text_to_image", scores.T)):
        questions = torch.arange(150).repeat_interleave(150)
        relevant = torch.eye(150, dtype=torch.bool).flatten()
        ours = recall_at_k(image, text, k=(1, 5))[name]
        for k in (1, 5):
            expected = float(RetrievalHitRate(top_k=k)(asked.flatten(), relevant, indexes=questions))
            assert 0.1 < expected < 1 and ours[k].value == pytest.approx(expected, abs=1e-6)
        if name == "image_to_text":
            expected = float(RetrievalRPrecision()(asked.flatten(), relevant, indexes=questions))
            assert r_precision(image, text, distractors=149).value == pytest.approx(expected, abs=1e-6)
