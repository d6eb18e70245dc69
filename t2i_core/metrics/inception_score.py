"""Inception Score through torchmetrics on the class logits of a network of our choice."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from t2i_core.config import UserError
from t2i_core.metrics.frechet import ExtractedFeatures
from t2i_core.metrics.stats import SET_RESAMPLES, Value, as_rows, set_interval

SPLITS = 10
LOWEST_LOGIT = -80.0  # below the largest: keeps every probability above 0, so that no 0 log 0 turns into NaN


def inception_score(
    logits: ArrayLike | Tensor,
    splits: int = SPLITS,
    protocol: Mapping[str, Any] | None = None,
    resamples: int = SET_RESAMPLES,
    seed: int = 0,
) -> Value:
    """exp(mean KL(p(y|x) || p(y))), the mean over ``splits`` random parts of the images; logits (n, classes).

    Between 1 and the number of classes. It never looks at a real image or a caption: see GR-GAN 4.2 on what that costs.
    At least 2 images a split are needed (UserError).
    """
    from torchmetrics.image.inception import InceptionScore

    rows = as_rows(logits, "generated images")
    if len(rows) < 2 * splits:
        raise UserError(f"{len(rows)} images are too few for {splits} splits: measure at least {2 * splits}")
    rows = np.maximum(rows - rows.max(1, keepdims=True), LOWEST_LOGIT)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Metric `InceptionScore` will save all extracted features")
        warnings.filterwarnings("ignore", message=r"std\(\): degrees of freedom")  # of one split, which nobody reads
        torch.manual_seed(seed)  # torchmetrics shuffles before it splits
        metric = InceptionScore(ExtractedFeatures(rows.shape[1]), splits=splits)
        metric.update(torch.from_numpy(rows))
        value = float(metric.compute()[0])
    odds = np.exp(rows)
    probabilities = odds / odds.sum(1, keepdims=True)
    low, high, how = set_interval(
        value, lambda drawn: score_of(probabilities[drawn], splits), [len(rows)], resamples, seed, at_least=1.0
    )
    said = {"classes": rows.shape[1], "splits": splits, "seed": seed, "computed_by": "torchmetrics", **how}
    return Value(value, low, high, len(rows), {**(protocol or {}), **said})


def score_of(probabilities: np.ndarray, splits: int) -> float:
    """The same score from probabilities (n, classes), all above 0, split in the order given."""
    scores = []
    for part in np.array_split(probabilities, splits):
        entropy_gap = part * (np.log(part) - np.log(part.mean(0, keepdims=True)))
        scores.append(np.exp(entropy_gap.sum(1).mean()))
    return float(np.mean(scores))
