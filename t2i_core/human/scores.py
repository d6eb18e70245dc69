"""What the answers of a human evaluation say: mean ranks, paired comparisons, agreement, and the automatic metrics.

Everything starts from the table of :meth:`t2i_core.human.study.Study.judgements`. The checks (ceiling and floor) are
left out and the systems ranked again without them, so that a study with checks compares with one without.

Intervals of means draw raters and captions anew, each with replacement and independently (both are samples: of people
and of sentences; Owen 2007 calls it the pigeonhole bootstrap). What such a 95 % interval is worth, tried on simulated
raters with likings of their own: it holds the truth in 94 % of studies from five raters on, in 89 % with two; where
raters differ by mere noise it is too wide (99 %). So ask five people or more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import krippendorff
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from t2i_core.config import UserError, nearest
from t2i_core.human.study import CEILING, FLOOR, SIMULATED
from t2i_core.metrics.stats import CONFIDENCE, MEAN_RESAMPLES, Value, holm, redrawn

MEASURES = {"rank": "rank, 1 is best", "quality": "quality, 5 is best", "fit": "fit to the caption, 5 is best"}
ALPHA_RESAMPLES = 1000
PERMUTATIONS = 50_000  # every one is tried up to 8 systems (8! = 40,320) or 15 captions (2^15 = 32,768)
Scores = Mapping[str, Mapping[str, float | Value]]  # system -> automatic metric -> its value


@dataclass(frozen=True)
class Grid:
    """values (raters, captions, systems) of one measure; nan where a rater has not answered."""

    raters: tuple[str, ...]
    captions: tuple[int, ...]
    systems: tuple[str, ...]
    values: NDArray[np.float64]

    def means(self) -> NDArray[np.float64]:
        """(systems,): the mean of all judgements."""
        return np.nanmean(self.values, axis=(0, 1))

    def protocol(self, measure: str) -> dict[str, Any]:
        simulated = sum(rater.startswith(SIMULATED) for rater in self.raters)
        counts = {"raters": len(self.raters), "simulated_raters": simulated, "captions": len(self.captions)}
        return {"measure": MEASURES[measure], **counts}


def grid(table: pd.DataFrame, measure: str = "rank") -> Grid:
    """One measure of the systems as an array. Raises UserError for fewer than two captions."""
    nearest(measure, MEASURES, "measure")
    part = table[(table.measure == measure) & ~table.system.isin((CEILING, FLOOR))]
    if part.empty:
        raise UserError(f"nobody has judged {measure} yet: let somebody answer, or take another measure")
    if part.caption.nunique() < 2:
        raise UserError(f"{measure} of one caption is too little to reckon with: let the raters answer more questions")
    axes = [sorted(part[name].unique()) for name in ("rater", "caption", "system")]
    every = pd.MultiIndex.from_product(axes)
    values = part.set_index(["rater", "caption", "system"]).value.reindex(every).to_numpy().reshape([*map(len, axes)])
    if measure == "rank":
        values = scipy_stats.rankdata(values, axis=-1, nan_policy="omit")
    return Grid(*(tuple(axis) for axis in axes), values)


def mean_scores(table: pd.DataFrame, measure: str = "rank", seed: int = 0) -> dict[str, Value]:
    """System -> mean rank (lower is better) or mean rating (higher is better), the best first; n counts judgements.

    The interval draws raters and captions; of a single rater it draws captions only and says so.
    """
    found = grid(table, measure)
    values = found.means()
    low, high = _interval(_drawn_means(found, seed))
    counts = np.isfinite(found.values).sum((0, 1))
    protocol = found.protocol(measure) | {"interval": _how(found, seed)}
    best_first = np.argsort(values if measure == "rank" else -values, kind="stable")
    return {
        found.systems[s]: Value(float(values[s]), float(low[s]), float(high[s]), int(counts[s]), protocol)
        for s in best_first
    }


def compare(table: pd.DataFrame, measure: str = "rank", seed: int = 0) -> pd.DataFrame:
    """Every pair of systems: first, second, difference of their means with its interval, p, p_holm, captions.

    p: two-sided sign-flip permutation test of the mean difference over captions (every flip up to 15 captions), each
    caption's answers averaged over the raters first: answers to one caption are not independent. It says nothing of
    other raters; the interval does. p_holm: p after Holm's correction for the number of pairs. A negative difference of
    ranks says that the first is better.
    """
    found = grid(table, measure)
    means, drawn = found.means(), _drawn_means(found, seed)
    rows = []
    for a, b in combinations(range(len(found.systems)), 2):
        difference = _by_caption(found, (a, b)) @ [1, -1]
        test = scipy_stats.permutation_test(
            (difference.round(12),),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=PERMUTATIONS,
            rng=0,
        )
        low, high = _interval(drawn[:, a] - drawn[:, b])
        pair = (found.systems[a], found.systems[b], means[a] - means[b], low, high, test.pvalue, len(difference))
        rows.append(pair)
    names = ["first", "second", "difference", "low", "high", "p", "captions"]
    pairs = pd.DataFrame(rows, columns=names).sort_values("p", kind="stable", ignore_index=True)
    pairs.insert(6, "p_holm", holm(pairs.p))
    return pairs


def friedman(table: pd.DataFrame, measure: str = "rank") -> tuple[float, float]:
    """Friedman's test that the systems do not differ: (chi square, p). Blocks are captions, averaged over raters.

    Raises UserError for fewer than three systems: for two, :func:`compare` is the test.
    """
    found = grid(table, measure)
    if len(found.systems) < 3:
        raise UserError("Friedman's test needs three systems at least; compare() tests two")
    blocks = _by_caption(found, range(len(found.systems))).round(12)
    if (np.ptp(blocks, axis=1) == 0).all():
        return 0.0, 1.0
    result = scipy_stats.friedmanchisquare(*blocks.T)
    return float(result.statistic), float(result.pvalue)


def alpha(values: ArrayLike) -> float:
    """Krippendorff's alpha, ordinal: values (raters, units), nan where a rater gave none; 1 agreement, 0 chance.

    Raises UserError where it is not defined: no unit has two judgements, or all judgements are alike.
    """
    values = np.asarray(values, dtype=np.float64)
    paired = values[:, np.isfinite(values).sum(0) >= 2]
    if not paired.size:
        raise UserError("agreement needs two raters at least who judged the same pictures")
    if np.nanmin(paired) == np.nanmax(paired):
        raise UserError("all judgements are alike, so agreement beyond chance is not defined: show more captions")
    return float(krippendorff.alpha(reliability_data=paired, level_of_measurement="ordinal"))


def agreement(table: pd.DataFrame, measure: str = "rank", seed: int = 0) -> Value:
    """Krippendorff's ordinal alpha of all raters; a unit is a picture, n counts units. The interval draws captions."""
    found = grid(table, measure)
    value = alpha(_units(found.values))

    def again(captions: NDArray) -> float:
        try:
            return alpha(_units(found.values[:, captions]))
        except UserError:  # by chance, captions that all got one value
            return math.nan

    low, high = _interval(np.array(redrawn(again, [len(found.captions)], ALPHA_RESAMPLES, seed)))
    how = {"statistic": "Krippendorff's alpha, ordinal"}
    how |= {"interval": f"bootstrap 95 % (percentile) over captions, {ALPHA_RESAMPLES} resamples, seed {seed}"}
    n = int((np.isfinite(found.values).sum(0) >= 2).sum())
    return Value(value, min(value, float(low)), max(value, float(high)), n, found.protocol(measure) | how)


def correlate(table: pd.DataFrame, metrics: Scores, measure: str = "rank", seed: int = 0) -> pd.DataFrame:
    """Spearman's correlation of the systems' mean ranks (or ratings) with each automatic metric; a row a metric.

    rho, low, high: the interval draws raters and captions; it holds for *these* systems, whatever others would do.
    p: exact permutation test over the systems (two-sided), the question "could metric and people be unrelated?".
    least_p = 2 / n!: what p can reach at all with n systems; ``note`` says when that is too much to show anything.
    higher_is_judged: "better" or "worse", which way the correlation goes. (Ranks are better when lower, so a metric
    that goes with people's liking has a NEGATIVE rho with the rank; the column spares the reader the sign.) Each p
    stands alone: of twenty metrics one falls under 0.05 by chance.
    """
    found = grid(table, measure)
    for name in metrics:
        nearest(name, found.systems, "system (leave out what was not shown)")
    means, drawn = found.means(), _drawn_means(found, seed)
    rows = []
    for metric in dict.fromkeys(metric for values in metrics.values() for metric in values):
        every = np.array([number(metrics.get(name, {}).get(metric, math.nan)) for name in found.systems])
        known = np.flatnonzero(np.isfinite(every))
        rows.append(
            {"metric": metric, "systems": len(known), **_spearman(means[known], drawn[:, known], every[known], measure)}
        )
    if not rows:
        raise UserError("no metric was given: metrics are {system: {metric: value}}")
    return pd.DataFrame(rows)


def attention(table: pd.DataFrame) -> pd.DataFrame:
    """A row a rater: answers, median seconds a question, and what became of the checks.

    ceiling_over_floor: the share of captions whose real picture was ranked above the one with a wrong caption (a tie
    counts half; chance is 0.5). fit_ceiling, fit_floor: their mean fit. nan where the study has no such check.
    """
    rows = []
    for rater, part in table.groupby("rater"):
        ranks = part[part.measure == "rank"].pivot(index="caption", columns="system", values="value")
        fit = part[part.measure == "fit"].groupby("system").value.mean()
        once = part.drop_duplicates("question")
        above = (
            (np.sign(ranks[FLOOR] - ranks[CEILING]).mean() + 1) / 2
            if {CEILING, FLOOR} <= set(ranks.columns)
            else np.nan
        )
        row = {"rater": rater, "answers": len(once), "median_seconds": once.seconds.median()}
        row |= {
            "ceiling_over_floor": above,
            "fit_ceiling": fit.get(CEILING, np.nan),
            "fit_floor": fit.get(FLOOR, np.nan),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _drawn_means(found: Grid, seed: int) -> NDArray:
    """(resamples, systems): the means when raters and captions are drawn anew; nan where nothing drawn was answered."""
    rng, known = np.random.default_rng(seed), np.isfinite(found.values)
    # how often each rater and each caption comes in a resample, (resamples, raters) and (resamples, captions)
    raters, captions = (rng.multinomial(size, np.full(size, 1 / size), MEAN_RESAMPLES) for size in known.shape[:2])
    sums, counts = (
        np.einsum("br,bc,rcs->bs", raters, captions, cells, optimize=True)
        for cells in (np.where(known, found.values, 0.0), known.astype(np.float64))
    )
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _interval(drawn: NDArray) -> NDArray:
    return np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)


def _how(found: Grid, seed: int) -> str:
    over = "raters and captions" if len(found.raters) > 1 else "captions only (one rater says nothing about others)"
    return f"bootstrap 95 % (percentile) over {over}, {MEAN_RESAMPLES} resamples, seed {seed}"


def _by_caption(found: Grid, systems: Sequence[int]) -> NDArray:
    """(captions, systems): means over the raters who judged all of these systems, so that a caption's are paired."""
    part = found.values[:, :, list(systems)]
    whole = np.isfinite(part).all(-1, keepdims=True)
    counts = whole.sum(0)
    judged = counts[:, 0] > 0
    if not judged.any():
        names = ", ".join(found.systems[s] for s in systems)
        raise UserError(f"no rater has judged all of {names} for one caption yet: let the raters answer more questions")
    return np.where(whole, part, 0.0).sum(0)[judged] / counts[judged]


def _units(values: NDArray) -> NDArray:
    return values.reshape(len(values), -1)


def number(value: float | Value) -> float:
    """A metric as it stands in ``Scores``, without its interval."""
    return value.value if isinstance(value, Value) else float(value)


def _spearman(means: NDArray, drawn: NDArray, values: NDArray, measure: str) -> dict[str, Any]:
    n = len(values)
    if n < 2 or len(np.unique(values)) < 2 or len(np.unique(means.round(12))) < 2:
        note = "one system only" if n < 2 else "the systems do not differ in the metric or in the means"
        return dict.fromkeys(("rho", "low", "high", "p"), math.nan) | {
            "least_p": 1.0,
            "higher_is_judged": "",
            "note": note,
        }
    centred = scipy_stats.rankdata(values) - (n + 1) / 2

    def rho(one: NDArray, axis: int = -1) -> NDArray:
        """Along the last axis; nan where all are alike."""
        ranks = scipy_stats.rankdata(one.round(12), axis=-1) - (n + 1) / 2
        length = np.sqrt((ranks**2).sum(-1) * (centred**2).sum())
        return np.divide(ranks @ centred, length, out=np.full(length.shape, np.nan), where=length > 0)

    value = float(rho(means))
    low, high = _interval(rho(drawn))
    test = scipy_stats.permutation_test(
        (means,), rho, permutation_type="pairings", vectorized=True, n_resamples=PERMUTATIONS, rng=0
    )
    least = min(1.0, 2 / min(math.factorial(n), PERMUTATIONS))
    judged = "neither" if value == 0 else "better" if (value < 0) == (measure == "rank") else "worse"
    note = (
        f"{n} systems: p cannot fall below {least:.2g}, so this shows nothing yet; take 5 or more"
        if least > 0.05
        else ""
    )
    bounds = {"low": min(value, float(low)), "high": max(value, float(high))}
    return {"rho": value, **bounds, "p": float(test.pvalue), "least_p": least, "higher_is_judged": judged, "note": note}
