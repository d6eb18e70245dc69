"""The Frechet distance beside the form that published programs share: scipy's square root of the product."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import sqrtm

from t2i_core.metrics.frechet import frechet_distance

from .measure import Row, interleaved, milliseconds, ratio

SMALL, LARGE = 512, 2048  # features of CLIP's ViT-B/32 and of Inception-v3


def by_sqrtm(mu1: torch.Tensor, cov1: torch.Tensor, mu2: torch.Tensor, cov2: torch.Tensor) -> float:
    """What rounding makes imaginary is thrown away, as everywhere."""
    root = sqrtm((cov1 @ cov2).numpy()).real
    return float((mu1 - mu2).square().sum() + cov1.trace() + cov2.trace() - 2 * np.trace(root))


def gaussians(d: int, rows: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Means and covariances of two sets of ``rows`` features whose spread falls off, as that of images does."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for power in (-0.5, -0.6):
        spread = torch.arange(1, d + 1, dtype=torch.float64) ** power
        features = torch.randn(rows, d, generator=draw, dtype=torch.float64) * spread + power
        found += [features.mean(0), features.T.cov()]
    return tuple(found)


def compare_frechet(rounds: int) -> list[Row]:
    """One root at 2048 takes as long as fifty at 512, so a round or two have to do there."""
    return [compare_at(SMALL, max(3, rounds // 3)), compare_at(LARGE, max(1, rounds // 10), warm_up=0)]


def compare_at(d: int, rounds: int, warm_up: int = 1) -> Row:
    arguments = gaussians(d, 2 * d)
    ways = {"sqrtm": lambda: by_sqrtm(*arguments), "ours": lambda: frechet_distance(*arguments)}
    seconds = interleaved(ways, rounds, warm_up)
    detail = f"full rank, float64: {milliseconds(seconds['sqrtm'])} and {milliseconds(seconds['ours'])}"
    faster = ratio(seconds["sqrtm"], seconds["ours"])
    return Row(f"frechet distance, d = {d}: sqrtm / ours", faster, detail, at_least=5)
