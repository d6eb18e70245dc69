"""Frechet distance between two Gaussians, FID and KID on features that were extracted once.

FID's value is torchmetrics' own, fed with our features, so that it can be compared with anybody's; the form here, which
gives the interval and serves `cmd`, agrees with it and is never complex.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from t2i_core.metrics.moments import Gaussian
from t2i_core.metrics.stats import SET_RESAMPLES, Value, as_rows, set_interval

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000  # as published
FEW_SUBSETS = 10  # where the smaller set is taken whole each time, and most of the larger one
CHUNK = 1024


def mean_covariance(features: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """Features (n, d), n >= 2 -> mean (d,), unbiased covariance (d, d), both float64."""
    rows = as_rows(features, "features")
    return torch.from_numpy(rows.mean(0)), torch.from_numpy(np.atleast_2d(np.cov(rows, rowvar=False)))


def frechet_distance(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> float:
    """GR-GAN Eq. 11: |mu1 - mu2|^2 + Tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)), float64.

    mu (d,), cov (d, d) symmetric and positive semidefinite up to rounding, of any rank; what is neither, or does not
    fit, raises ValueError, and what is not finite FloatingPointError. The result is 0 or more, and never complex.
    """
    shapes = [tuple(np.shape(x)) for x in (mu1, cov1, mu2, cov2)]
    d = shapes[0][:1]
    if not d or shapes != [d, d + d] * 2:
        raise ValueError(f"means must be (d,) and covariances (d, d) with one d, not {', '.join(map(str, shapes))}")
    first = Gaussian.of_moments(mu1, cov1, "the first features")
    return distance(first, Gaussian.of_moments(mu2, cov2, "the second features"))


def distance(first: Gaussian, second: Gaussian) -> float:
    """Eq. 11 from roots A and B of the covariances: |mu1 - mu2|^2 + |A|^2 + |B|^2 - 2 (the singular values of A^T B).

    (cov1 cov2)^(1/2) has the singular values of A^T B as its eigenvalues. They are read off its Gram matrix, symmetric
    and as large as the smaller rank, in a fraction of the time that a root of the product needs.
    """
    if len(first.mu) != len(second.mu):
        raise ValueError(f"{len(first.mu)} and {len(second.mu)} features: both sets must come from one extractor")
    small, large = sorted((first.root, second.root), key=lambda root: root.shape[1])
    product = small.T @ large
    gram = product @ product.T
    overlap = np.sqrt(np.linalg.eigvalsh(gram).clip(min=0)).sum() if gram.size else 0.0
    apart = np.square(first.mu - second.mu).sum()
    return max(0.0, float(apart + np.square(first.root).sum() + np.square(second.root).sum() - 2 * overlap))


class ExtractedFeatures(nn.Module):
    """Stands where torchmetrics wants a network: the "images" it is given are already features (n, d)."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def fid(
    real_features: ArrayLike | Tensor,
    fake_features: ArrayLike | Tensor,
    protocol: Mapping[str, Any] | None = None,
    resamples: int = SET_RESAMPLES,
    seed: int = 0,
) -> Value:
    """FID through torchmetrics' FrechetInceptionDistance on features (n, d); both sets are resampled for the interval.

    Fewer than 2 rows raise a UserError. Fewer rows than d give a rank-deficient covariance: the number stands, and the
    protocol says so, because such a FID is dominated by its bias.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, fake = as_rows(real_features, "real images"), as_rows(fake_features, "generated images")
    _same_features(real, fake)
    metric = FrechetInceptionDistance(ExtractedFeatures(real.shape[1]))
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(fake), real=False)
    value = max(0.0, float(metric.compute()))

    def resampled(of_real: np.ndarray, of_fake: np.ndarray) -> float:
        return distance(Gaussian.of_rows(real[of_real]), Gaussian.of_rows(fake[of_fake]))

    low, high, how = set_interval(value, resampled, (len(real), len(fake)), resamples, seed, at_least=0.0)
    said = {"real_images": len(real), "features": real.shape[1], "computed_by": "torchmetrics", **how}
    if min(len(real), len(fake)) <= real.shape[1]:
        said["warning"] = f"fewer images than the {real.shape[1]} features: mostly bias, use KID"
    return Value(value, low, high, len(fake), {**(protocol or {}), **said})


def kid(
    real_features: ArrayLike | Tensor,
    fake_features: ArrayLike | Tensor,
    protocol: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Value:
    """Kernel distance (cubic kernel, unbiased, may be slightly negative) through torchmetrics; features (n, d).

    100 subsets of 1,000 as published; where a set holds fewer, ten of its size; where both hold as many and no more,
    one subset of all. The interval is normal, from the variance of the estimate's projection on single images
    (U-statistic), for the whole sets.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    real, fake = as_rows(real_features, "real images"), as_rows(fake_features, "generated images")
    _same_features(real, fake)
    size = min(KID_SUBSET_SIZE, len(real), len(fake))
    many = KID_SUBSETS if size == KID_SUBSET_SIZE else FEW_SUBSETS
    subsets = 1 if len(real) == len(fake) == size else many
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance` will save all")
        metric = KernelInceptionDistance(ExtractedFeatures(real.shape[1]), subsets=subsets, subset_size=size)
        metric.update(torch.from_numpy(real), real=True)
        metric.update(torch.from_numpy(fake), real=False)
        torch.manual_seed(seed)
        value = float(metric.compute()[0])
    half = 1.96 * math.sqrt(_projection_variance(real, fake) + _projection_variance(fake, real))
    said = {"real_images": len(real), "features": real.shape[1], "computed_by": "torchmetrics", "seed": seed}
    said |= {"subsets": subsets, "subset_size": size, "interval": "normal 95 %, U-statistic projection"}
    return Value(value, value - half, value + half, len(fake), {**(protocol or {}), **said})


def _projection_variance(own: np.ndarray, other: np.ndarray) -> float:
    """Variance that the rows of ``own`` give the unbiased MMD: of 2 (mean k(x, own - x) - mean k(x, other)), over n."""
    from torchmetrics.image.kid import poly_kernel

    own_rows, other_rows = torch.from_numpy(own), torch.from_numpy(other)
    parts = []
    for rows in own_rows.split(CHUNK):
        itself = (rows.square().sum(1) / own.shape[1] + 1) ** 3
        within = (poly_kernel(rows, own_rows).sum(1) - itself) / (len(own) - 1)
        parts.append(2 * (within - poly_kernel(rows, other_rows).mean(1)))
    return float(torch.cat(parts).var()) / len(own)


def _same_features(real: np.ndarray, fake: np.ndarray) -> None:
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"real images have {real.shape[1]} features and generated {fake.shape[1]}: use one extractor")
