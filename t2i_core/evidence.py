"""The one rule that turns numbers into a verdict, and the kinds of evidence it judges.

Three kinds of evidence lead to a verdict:

- `Paired`: two systems, or a system and its ablation, on one metric; one difference for each seed;
- `Finding`: a quantity that a notebook measured for each seed, against the value it has where the claim is empty;
- `Promise`: a bound that this project sets itself, which every run has to keep.

`Described` has numbers but no verdict to give: what the paper said is not in our source.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from t2i_core.config import PROFILES, SHIPPED

CONFIDENCE = 0.95
MIN_SEEDS = 3
MIN_STEPS = 100  # a training of fewer draws little more than a colour
MEANINGLESS = ("smoke",)  # profiles whose numbers mean nothing
VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not run")

RULE = (
    "A claim is judged on one difference for each seed, signed so that a positive one speaks for the claim: between "
    "two systems trained in the same world, with the same seed, for the same number of steps and measured by the same "
    "protocol; or between a measured quantity and the value it has where the claim is empty. It is reproduced if the "
    f"two-sided {CONFIDENCE:.0%} Student interval of the mean difference lies above 0, and not reproduced if it lies "
    "below 0, provided that this also holds when all the claims of its paper are counted: their p values are corrected "
    f"by Holm's method, which keeps the chance of even one false verdict in a paper under {1 - CONFIDENCE:.0%}. It is "
    f"inconclusive if the interval contains 0 or the corrected p does not fall below {1 - CONFIDENCE:.2f}, with fewer "
    f"than {MIN_SEEDS} seeds, where what is compared is trained for fewer than {MIN_STEPS} steps, or what the claim "
    "favours for fewer than its rival, or where the paper's statement is not in our source; and always at the smoke "
    "profile, because the numbers of a smoke run mean nothing. It is not run if nothing was measured. A promise of "
    "this project speaks of the runs at hand: it is reproduced if every run keeps it, not reproduced if any run breaks "
    "it."
)

BRIEF = {  # of findings that compare ablations, where a profile trains those briefly
    p.name: f"at {p.name} the ablations are trained for fewer than {MIN_STEPS} steps"
    for p in PROFILES.values()
    if p.ablation_steps < MIN_STEPS
}

METRICS = {
    "fid": "FID",
    "fid_untrained": "FID untrained",
    "inception_score": "Inception Score",
    "r_precision": "R-precision",
    "soa_i": "SOA-I",
    "setting_accuracy": "Setting accuracy",
    "layout_accuracy": "Layout accuracy",
    "kid": "KID",
    **{
        f"{way}_r{k}": f"R@{k} {way.replace('_', ' ')}"
        for way in ("image_to_text", "text_to_image")
        for k in (1, 5, 10)
    },
    "soa_c": "SOA-C",
    "box_iou": "Box IoU",
    "clip_score": "CLIP score (cosine)",
    "clip_score_x100": "CLIP score x 100",
    "cmd": "CMD",
    "itdis": "ITDis",
    "binding_accuracy": "Attribute binding",
    "binding_leak": "Binding leak",
    "precision": "Precision (k-NN)",
    "recall": "Recall (k-NN)",
    "density": "Density",
    "coverage": "Coverage",
    "seconds_per_image": "Seconds per image",
    "seconds_per_image_batch": "Seconds per image, in a batch",
    "peak_memory_mb": "Peak memory of drawing (MB)",
}
MAIN_METRICS = ("fid", "fid_untrained", "inception_score", "r_precision", "clip_score_x100", "soa_i")
MAIN_METRICS += ("setting_accuracy", "binding_accuracy", "layout_accuracy")
OUTCOMES = ("effective_n",)  # what a protocol notes of the measurement itself; runs measured alike differ in it

Record = dict[str, Any]
_OF_A_RUN = ("config", "summary", "metrics")


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds and its two-sided Student interval; `p` that of Student's test against a mean of 0.

    `low`, `high` and `p` are None for a single seed.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    p: float | None = None

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.value:.3g} (one seed: no interval)"
        return f"{self.value:.3g} ({CONFIDENCE:.0%} interval {self.low:.3g} to {self.high:.3g})"


def interval(values: Sequence[float]) -> Interval:
    """The mean of one value a seed, with the Student interval and the p value that `scipy.stats.ttest_1samp` gives.

    Equal values give an interval of no width, and p = 0 unless they are 0. Raises ValueError for no values.
    """
    from scipy import stats

    if not values:
        raise ValueError("an interval needs at least one value")
    values = [float(v) for v in values]
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Interval(mean, None, None, 1)
    if max(values) == min(values):
        return Interval(mean, mean, mean, len(values), float(mean == 0))
    test = stats.ttest_1samp(values, 0.0)
    bounds = test.confidence_interval(CONFIDENCE)
    return Interval(mean, float(bounds.low), float(bounds.high), len(values), float(test.pvalue))


def verdict(differences: Sequence[float], profile: str, unfit: str | None = None) -> tuple[str, str]:
    """The verdict that `RULE` gives for one signed difference a seed, and the reason in words.

    It is that of a claim by itself; `corrected` then counts the other claims of its paper. ``unfit`` says why the
    trainings behind the differences decide nothing, where that is so.
    """
    if not differences:
        return "not run", "nothing was measured"
    if profile in MEANINGLESS:
        return "inconclusive", f"the numbers of a {profile} run mean nothing"
    if len(differences) < MIN_SEEDS:
        return "inconclusive", f"{_seeds(len(differences))} of at least {MIN_SEEDS}"
    if unfit:
        return "inconclusive", unfit
    found = interval(differences)
    if found.low > 0:
        return "reproduced", "the interval lies above 0"
    if found.high < 0:
        return "not reproduced", "the interval lies below 0: the difference goes the other way"
    return "inconclusive", "the interval contains 0"


def corrected(p_values: Sequence[float]) -> list[float]:
    """The p values of a paper's claims when all of them are counted; see :func:`t2i_core.metrics.stats.holm`."""
    from t2i_core.metrics.stats import holm  # which loads torch: reading a verdict needs none

    return holm(p_values)


@dataclass(frozen=True)
class Paired:
    """`ours` against `against`, each (system, variant), on `metric`; `better` says which way the claim goes."""

    metric: str
    better: str  # "lower" or "higher"
    ours: tuple[str, str] = ("alr-gan", "default")
    against: tuple[str, str] = ("attngan", "default")
    world: str | None = None  # the only one that counts, or all

    def judge(self, runs: list[Record], findings: list[Record], profile: str) -> tuple[dict, str, str]:
        names = [" ".join(x for x in side if x != "default") for side in (self.ours, self.against)]
        sides = [self._values(runs, side) for side in (self.ours, self.against)]
        pairs: dict[tuple, dict[int, tuple]] = {}  # (world, steps) -> seed -> the key both sides have
        for key in sorted(sides[0].keys() & sides[1].keys(), key=str):
            pairs.setdefault(key[1:3], {}).setdefault(key[0], key)
        if not pairs:
            if sides[0] and sides[1]:
                unlike = f"no two runs of {names[0]} and {names[1]} are alike in world, seed, steps and protocol"
                return {}, "inconclusive", f"{label(self.metric)}: {unlike}"
            absent = " and ".join(name for name, side in zip(names, sides, strict=True) if not side)
            return {}, "not run", f"No run of {absent} has {label(self.metric)}"
        # Of several settings the one with most seeds speaks, then the longest training.
        setting = max(pairs, key=lambda s: (len(pairs[s]), s[1] or 0, str(s)))
        keys = [pairs[setting][seed] for seed in sorted(pairs[setting])]
        ours, against = ([side[key] for key in keys] for side in sides)
        sign = -1 if self.better == "lower" else 1
        differences = [sign * (a - b) for a, b in zip(ours, against, strict=True)]
        found = interval(differences)
        measured = {
            "metric": self.metric,
            "world": setting[0],
            "steps": setting[1],
            "seeds": [key[0] for key in keys],
            names[0]: ours,
            names[1]: against,
            "difference": vars(found),
        }
        short = (setting[1] or 0) < MIN_STEPS
        unfit = f"a verdict takes trainings of {MIN_STEPS} steps or more" if short else None
        ruling, reason = verdict(differences, profile, unfit)
        why = (
            f"{label(self.metric)} on {setting[0]} after {setting[1]} steps, over {_seeds(len(keys))}: {names[0]} is "
            f"{self.better} than {names[1]} by {found}; {reason}"
        )
        return measured, ruling, why

    def _values(self, runs: list[Record], side: tuple[str, str]) -> dict[tuple, float]:
        """(seed, world, steps, protocol) -> value, for the runs of one side that have the metric."""
        found = {}
        for run in runs:
            entry = run["metrics"].get(self.metric) or {}
            if self.world not in (None, run["world"]):
                continue
            # "brief" is the whole system, trained as briefly as its ablations: steps are part of the key
            variant = "default" if run["variant"] == "brief" else run["variant"]
            if (run["system"], variant) == side and entry.get("value") is not None:
                protocol = repr(settings(entry.get("protocol")))
                found[(run["seed"], run["world"], run["steps"], protocol)] = entry["value"]
        return found


@dataclass(frozen=True)
class Finding:
    """A quantity that a notebook leaves under `id`, one a seed; it is 0 where the claim is empty.

    `unfit`: profiles whose trainings do not decide the claim, and why.
    """

    id: str
    quantity: str
    unfit: Mapping[str, str] = field(default_factory=dict)

    def judge(self, runs: list[Record], findings: list[Record], profile: str) -> tuple[dict, str, str]:
        mine = {f.get("seed"): f for f in findings if f["id"] == self.id and f.get("value") is not None}
        if not mine:
            return {}, "not run", f"No notebook has left a finding {self.id}"
        values = [f["value"] for f in mine.values()]
        found = interval(values)
        kept = [{key: f.get(key) for key in ("seed", "value", "low", "high", "n", "note")} for f in mine.values()]
        ruling, reason = verdict(values, profile, self.unfit.get(profile))
        why = f"{self.quantity}, over {_seeds(len(values))}: {found}; {reason}"
        return {"quantity": self.quantity, "mean": vars(found), "findings": kept}, ruling, why


@dataclass(frozen=True)
class Promise:
    """Every run of each system in `world` has `metric` on the right side of `bound` (times `reference`, if named).

    `systems`: by name, a variant's after a space, such as "df-gan clip".
    """

    metric: str
    better: str  # "lower": under the bound; "higher": at least the bound
    bound: float
    reference: str | None = None
    systems: tuple[str, ...] = ("attngan", "alr-gan")
    world: str = "toy-scenes"

    def judge(self, runs: list[Record], findings: list[Record], profile: str) -> tuple[dict, str, str]:
        kept, shown, seen = [], [], set()
        for run in runs:
            name = run["system"] + ("" if run["variant"] == "default" else f" {run['variant']}")
            if run["world"] != self.world or name not in self.systems:
                continue
            asked = [self.metric, self.reference] if self.reference else [self.metric]
            values = [(run["metrics"].get(metric) or {}).get("value") for metric in asked]
            if None in values:
                continue
            limit = self.bound * (values[1] if self.reference else 1.0)
            kept.append(self._holds(values[0], limit))
            seen.add(name)
            entry = run["metrics"][self.metric] | {"system": name, "seed": run["seed"], "limit": limit}
            entry["steps"] = run["steps"]
            shown.append(entry | {"kept": kept[-1]})
        measured = {"metric": self.metric, "world": self.world, "runs": shown} if shown else {}
        absent = [s for s in self.systems if s not in seen]
        if absent:
            return measured, "not run", f"No run of {' and '.join(absent)} on {self.world} has {label(self.metric)}"
        side = "under" if self.better == "lower" else "at least"
        words = ", ".join(
            f"{r['system']} seed {r['seed']}: {r['value']:.3g} "
            f"({side} {r['limit']:.3g}: {'yes' if r['kept'] else 'no'})"
            for r in shown
        )
        if profile in MEANINGLESS:
            return measured, "inconclusive", f"The numbers of a {profile} run mean nothing; {words}"
        if all(kept):
            return measured, "reproduced", words
        broken = "; ".join(self._why(r) for r in shown if not r["kept"])
        return measured, "not reproduced", f"Not kept by {broken}. Each: {words}"

    def _holds(self, value: float, limit: float) -> bool:
        return value < limit if self.better == "lower" else value >= limit

    def _why(self, broken: Record) -> str:
        """Was it too short a training? The shipped, longer one of the same system answers that, where there is one."""
        steps = broken["steps"] or 0
        name = f"{broken['system']} seed {broken['seed']} after {steps:,} steps"
        system, _, variant = broken["system"].partition(" ")
        folder = SHIPPED / self.world / system
        if not (folder / "provenance.json").exists():
            return name
        config, longer, metrics = (json.loads((folder / f"{n}.json").read_text()) for n in _OF_A_RUN)
        value = metrics.get(self.metric, {}).get("value")
        if value is None or config["run"]["variant"] != (variant or "default") or longer["steps"] <= steps:
            return name
        lesson = "the training was too short" if self._holds(value, broken["limit"]) else "more steps did not mend it"
        return f"{name} (the shipped training of {longer['steps']:,} steps has {value:.3g}: {lesson})"


@dataclass(frozen=True)
class Described:
    """Numbers of two systems side by side, with nothing in our source to judge them by."""

    keys: tuple[str, ...]
    ours: str = "alr-gan"
    against: str = "attngan"

    def judge(self, runs: list[Record], findings: list[Record], profile: str) -> tuple[dict, str, str]:
        sides = {}
        for name in (self.ours, self.against):
            mine = [r for r in runs if r["system"] == name and r["variant"] == "default"]
            if mine:
                longest = max(mine, key=lambda r: r["steps"] or 0)
                sides[name] = {key: longest.get(key) for key in (*self.keys, "steps", "seed", "world")}
        if len(sides) < 2:
            return sides, "not run", f"It needs a run each of {self.ours} and {self.against}"
        return sides, "inconclusive", "The paper's numbers are not in our source, so there is nothing to judge them by"


Evidence = Paired | Finding | Promise | Described


def settings(protocol: Any) -> Any:
    """The part of a protocol that runs measured alike have in common: not what was found (nested values, outcomes)."""
    if not isinstance(protocol, dict):
        return protocol
    return {k: v for k, v in sorted(protocol.items()) if k not in OUTCOMES and not isinstance(v, dict | list)}


def label(metric: str) -> str:
    """A metric's name as people write it."""
    return METRICS.get(metric, metric.replace("_", " ").capitalize())


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"
