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

from t2i_core.metrics.stats import SET_RESAMPLES, Value, as_rows, set_interval

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000  # as published; smaller sets are taken whole, once
CHUNK = 1024


def mean_covariance(features: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """Features (n, d), n >= 2 -> mean (d,), unbiased covariance (d, d), both float64."""
    rows = as_rows(features, "features")
    return torch.from_numpy(rows.mean(0)), torch.from_numpy(np.atleast_2d(np.cov(rows, rowvar=False)))


def frechet_distance(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> float:
    """GR-GAN Eq. 11: |mu1 - mu2|^2 + Tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)), float64.

    mu (d,), cov (d, d) symmetric and positive semidefinite, of any rank. With cov1 = A A (A symmetric), the trace of
    the root is the sum of the roots of the eigenvalues of A cov2 A, which is symmetric: no complex number appears, and
    rounding below 0 is cut off. The result is 0 or more.
    """
    mu1, cov1, mu2, cov2 = (torch.as_tensor(x).detach().cpu().double() for x in (mu1, cov1, mu2, cov2))
    if mu1.dim() != 1 or mu1.shape != mu2.shape or cov1.shape != cov2.shape or cov1.shape != (len(mu1), len(mu1)):
        shapes = ", ".join(str(tuple(x.shape)) for x in (mu1, cov1, mu2, cov2))
        raise ValueError(f"means must be (d,) and covariances (d, d) with one d, not {shapes}")
    values, vectors = torch.linalg.eigh((cov1 + cov1.T) / 2)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = root @ cov2 @ root
    overlap = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    distance = (mu1 - mu2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap
    return max(0.0, float(distance))


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
        return frechet_distance(*mean_covariance(real[of_real]), *mean_covariance(fake[of_fake]))

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

    Subsets of 1,000 as published; where both sets hold that many or fewer, one subset of all. The interval is normal,
    from the variance of the estimate's projection on single images (U-statistic), for the whole sets.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    real, fake = as_rows(real_features, "real images"), as_rows(fake_features, "generated images")
    _same_features(real, fake)
    size = min(KID_SUBSET_SIZE, len(real), len(fake))
    subsets = 1 if len(real) == len(fake) == size else KID_SUBSETS
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
