"""Systems compared image by image: the same captions and the same noise for all, one difference a caption.

Two intervals that overlap may still belong to systems that differ: what makes one caption harder than another is the
same for both, and cancels in the difference. These intervals speak of *these weights* on other captions. Whether a
*method* is better is a question for several seeds (`t2i_core.evidence`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from t2i_core.config import UserError
from t2i_core.metrics.drawing import draw
from t2i_core.metrics.evaluate import Setting
from t2i_core.metrics.frechet import distance
from t2i_core.metrics.instruments import Asked, Subject
from t2i_core.metrics.moments import Gaussian
from t2i_core.metrics.retrieval import unit_rows
from t2i_core.metrics.soa import answers, questions, stated
from t2i_core.metrics.stats import (
    CONFIDENCE,
    SET_RESAMPLES,
    Value,
    as_rows,
    holm,
    how_redrawn,
    mean,
    recentred,
    redrawn,
)
from t2i_core.runs import Run


@dataclass(frozen=True)
class Difference:
    """``first`` less ``second``, with its 95 % interval. ``p``: of no difference; ``p_corrected``: the same when all
    pairs of the table are counted (Holm)."""

    first: str
    second: str
    value: Value
    p: float
    p_corrected: float

    @property
    def stands(self) -> bool:
        """Is it more than chance, all pairs counted?"""
        return self.p_corrected < 1 - CONFIDENCE


@dataclass(frozen=True)
class SideBySide:
    """What several systems drew for the same captions with the same noise: ``drawn`` by name, ``real`` test images."""

    asked: Asked
    real: Subject
    drawn: dict[str, Subject]


def side_by_side(runs: Mapping[str, Run], n: int | None = None, seed: int = 0, device: str = "auto") -> SideBySide:
    """Draw ``n`` test captions (default: the profile's number) with every run, as :func:`evaluate_run` does.

    Raises UserError where the runs are of different data or sizes, for then they were not asked the same.
    """
    places = {name: Setting.of(run, n, seed, device) for name, run in runs.items()}
    if not places:
        raise UserError("a comparison needs at least one run")
    first, *others = places.values()
    if any(one.asked.protocol != first.asked.protocol for one in others):
        raise UserError("these runs were trained on different data or at different sizes: compare runs of one world")
    drawn = {
        name: Subject(draw(one.system, first.asked.captions, seed, at_most=first.at_most), first.instruments)
        for name, one in places.items()
    }
    return SideBySide(first.asked, first.real, drawn)


def image_scores(drawn: Subject, asked: Asked) -> dict[str, NDArray[np.float64]]:
    """What can be said of each image by itself, (n,) each, NaN where its caption does not ask.

    "clip_score": the scorer's cosine of image and caption; "soa_i": the share of the named objects that the inspector
    finds; "<attribute>_accuracy": 1 where the attribute that the caption names is read, else 0.
    """
    found = {}
    if drawn.instruments.scorer is not None:
        image, text = unit_rows(*drawn.pairs(asked.captions))
        found["clip_score"] = (image * text).sum(1).numpy()
    reading = drawn.reading
    objects = [q for q in questions(asked.truths, asked.caption_index, "name") if q.name in reading.config.parts]
    if objects and ["presence"] in reading.config.classes:
        owners = np.array([q.image for q in objects])
        right = np.bincount(owners, answers(reading, objects), len(asked.captions))
        count = np.bincount(owners, minlength=len(asked.captions))
        found["soa_i"] = np.divide(right, count, out=np.full(len(count), np.nan), where=count > 0)
    for name in reading.config.attributes:
        read = reading.attribute(name)
        says = [-1 in stated(truth, k, name) for truth, k in zip(asked.truths, asked.caption_index, strict=True)]
        right = [
            float(answer == truth["attributes"][name]) if said else math.nan
            for answer, truth, said in zip(read, asked.truths, says, strict=True)
        ]
        if any(says):
            found[f"{name}_accuracy"] = np.array(right)
    return found


def mean_differences(
    scores: Mapping[str, ArrayLike], protocol: Mapping[str, Any] | None = None, seed: int = 0
) -> list[Difference]:
    """Each pair of systems on a score of single images: {system: (n,)}, row i of all is caption i with noise i.

    The mean of the differences; its interval is a bootstrap over captions, p Student's paired test. Captions that any
    of the two was not asked (NaN) are left out. Raises ValueError for systems with different numbers of images.
    """
    rows = {name: np.asarray(values, np.float64) for name, values in scores.items()}
    if len({len(values) for values in rows.values()}) > 1:
        raise ValueError(f"rows must be the same captions for all, not {[len(v) for v in rows.values()]} images")
    found = []
    for first, second in combinations(rows, 2):
        gaps = rows[first] - rows[second]
        gaps = gaps[~np.isnan(gaps)]
        value = mean(gaps, protocol, seed)
        spread = np.ptp(gaps) > 0
        p = float(scipy_stats.ttest_1samp(gaps, 0.0).pvalue) if spread else float(value.value == 0)
        found.append((first, second, value, p))
    return _corrected(found)


def fid_differences(
    features: Mapping[str, ArrayLike],
    real: ArrayLike,
    protocol: Mapping[str, Any] | None = None,
    resamples: int = SET_RESAMPLES,
    seed: int = 0,
) -> list[Difference]:
    """Each pair of systems on FID: {system: features (n, d)}, row i of all is caption i with noise i; ``real`` (m, d).

    Each resample takes the same captions of every system and the same real images, so that what is lucky for one is
    lucky for all. p is normal, from the spread of the differences over resamples.
    """
    real = as_rows(real, "real images")
    rows = {name: as_rows(values, f"images of {name}") for name, values in features.items()}
    if len({len(values) for values in rows.values()}) > 1:
        raise ValueError(f"rows must be the same captions for all, not {[len(v) for v in rows.values()]} images")
    if len(rows) < 2:
        raise UserError("a comparison needs at least two systems")

    def every(of_real: NDArray | slice, of_drawn: NDArray | slice) -> NDArray:
        true = Gaussian.of_rows(real[of_real])
        return np.array([distance(Gaussian.of_rows(values[of_drawn]), true) for values in rows.values()])

    whole = every(slice(None), slice(None))
    drawn = np.array(redrawn(every, (len(real), len(next(iter(rows.values())))), resamples, seed))
    found, told = [], {**(protocol or {}), **how_redrawn(resamples, seed), "p": "normal"}
    for (i, first), (j, second) in combinations(enumerate(rows), 2):
        value, gaps = float(whole[i] - whole[j]), drawn[:, i] - drawn[:, j]
        low, high = recentred(value, gaps)
        spread = float(gaps.std(ddof=1))
        p = 2 * float(scipy_stats.norm.sf(abs(value) / spread)) if spread else float(value == 0)
        found.append((first, second, Value(value, low, high, len(rows[first]), told), p))
    return _corrected(found)


def _corrected(found: Sequence[tuple[str, str, Value, float]]) -> list[Difference]:
    if not found:
        raise UserError("a comparison needs at least two systems")
    return [Difference(*one, p) for one, p in zip(found, holm([p for *_, p in found]), strict=True)]
