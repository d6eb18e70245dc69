"""What the papers claim, what was measured, and the one rule that turns numbers into a verdict.

Three kinds of evidence lead to a verdict:

- `Paired`: two systems, or a system and its ablation, on one metric; one difference for each seed;
- `Finding`: a quantity that a notebook measured for each seed, against the value it has where the claim is empty;
- `Promise`: a bound that this project sets itself, which every run has to keep.

`Described` has numbers but no verdict to give: what the paper said is not in our source.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from t2i_core.config import PROFILES, nearest

CONFIDENCE = 0.95
MIN_SEEDS = 3
MEANINGLESS = ("smoke",)  # profiles whose numbers mean nothing
VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not run")

RULE = (
    "A claim is judged on one difference for each seed, signed so that a positive one speaks for the claim: between two "
    "systems trained in the same world, with the same seed, for the same number of steps and measured by the same "
    "protocol; or between a measured quantity and the value it has where the claim is empty. It is reproduced if the "
    f"two-sided {CONFIDENCE:.0%} Student interval of the mean difference lies above 0, and not reproduced if it lies below "
    f"0. It is inconclusive if the interval contains 0, with fewer than {MIN_SEEDS} seeds, or where the paper's statement is "
    "not in our source; and always at the smoke profile, because the numbers of a smoke run mean nothing. It is not run if "
    "nothing was measured. Each claim is judged for itself, without correction for their number. A promise of this "
    "project speaks of the runs at hand: it is reproduced if every run keeps it, not reproduced if any run breaks it."
)

Record = dict[str, Any]


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds and its two-sided Student interval; `low` and `high` are None for a single seed."""

    value: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.value:.3g} (one seed: no interval)"
        return f"{self.value:.3g} ({CONFIDENCE:.0%} interval {self.low:.3g} to {self.high:.3g})"


def interval(values: Sequence[float]) -> Interval:
    """The mean of one value a seed, with the Student interval that `scipy.stats.ttest_1samp` gives.

    Equal values give an interval of no width. Raises ValueError for no values.
    """
    from scipy import stats

    if not values:
        raise ValueError("an interval needs at least one value")
    values = [float(v) for v in values]
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Interval(mean, None, None, 1)
    if max(values) == min(values):
        return Interval(mean, mean, mean, len(values))
    bounds = stats.ttest_1samp(values, 0.0).confidence_interval(CONFIDENCE)
    return Interval(mean, float(bounds.low), float(bounds.high), len(values))


def verdict(differences: Sequence[float], profile: str) -> tuple[str, str]:
    """The verdict that `RULE` gives for one signed difference a seed, and the reason in words."""
    if not differences:
        return "not run", "nothing was measured"
    if profile in MEANINGLESS:
        return "inconclusive", f"the numbers of a {profile} run mean nothing"
    if len(differences) < MIN_SEEDS:
        return "inconclusive", f"{_seeds(len(differences))} of at least {MIN_SEEDS}"
    found = interval(differences)
    if found.low > 0:
        return "reproduced", "the interval lies above 0"
    if found.high < 0:
        return "not reproduced", "the interval lies below 0: the difference goes the other way"
    return "inconclusive", "the interval contains 0"


@dataclass(frozen=True)
class Paired:
    """`ours` against `against`, each (system, variant), on `metric`; `better` says which way the claim goes."""

    metric: str
    better: str  # "lower" or "higher"
    ours: tuple[str, str] = ("alr-gan", "default")
    against: tuple[str, str] = ("attngan", "default")

    def judge(self, runs: list[Record], findings: list[Record], profile: str) -> tuple[dict, str, str]:
        names = [" ".join(x for x in side if x != "default") for side in (self.ours, self.against)]
        sides = [self._values(runs, side) for side in (self.ours, self.against)]
        settings: dict[tuple, list[tuple]] = {}
        for key in sides[0].keys() & sides[1].keys():
            settings.setdefault(key[1:], []).append(key)
        if not settings:
            if sides[0] and sides[1]:
                why = f"{names[0]} and {names[1]} have no two runs alike in world, seed, steps and protocol of {self.metric}"
                return {}, "inconclusive", why
            absent = " and ".join(name for name, side in zip(names, sides, strict=True) if not side)
            return {}, "not run", f"no run of {absent} has {self.metric}"
        # Of several settings the one with most seeds speaks, then the longest training.
        setting = max(settings, key=lambda s: (len(settings[s]), s[1] or 0, str(s)))
        keys = sorted(settings[setting])
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
        ruling, reason = verdict(differences, profile)
        why = (
            f"{self.metric} on {setting[0]} after {setting[1]} steps, over {_seeds(len(keys))}: {names[0]} is "
            f"{self.better} than {names[1]} by {found}; {reason}"
        )
        return measured, ruling, why

    def _values(self, runs: list[Record], side: tuple[str, str]) -> dict[tuple, float]:
        """(seed, world, steps, protocol) -> value, for the runs of one side that have the metric."""
        found = {}
        for run in runs:
            entry = run["metrics"].get(self.metric) or {}
            if (run["system"], run["variant"]) == side and entry.get("value") is not None:
                protocol = repr(entry.get("protocol"))
                found[(run["seed"], run["world"], run["steps"], protocol)] = entry["value"]
        return found


@dataclass(frozen=True)
class Finding:
    """A quantity that notebooks leave under the claim's id, one a seed; it is 0 where the claim is empty."""

    id: str
    quantity: str

    def judge(self, runs: list[Record], findings: list[Record], profile: str) -> tuple[dict, str, str]:
        mine = {f.get("seed"): f for f in findings if f["id"] == self.id and f.get("value") is not None}
        if not mine:
            return {}, "not run", f"no notebook has left a finding {self.id}"
        values = [f["value"] for f in mine.values()]
        found = interval(values)
        kept = [{key: f.get(key) for key in ("seed", "value", "low", "high", "n", "note")} for f in mine.values()]
        ruling, reason = verdict(values, profile)
        why = f"{self.quantity}, over {_seeds(len(values))}: {found}; {reason}"
        return {"quantity": self.quantity, "mean": vars(found), "findings": kept}, ruling, why


@dataclass(frozen=True)
class Promise:
    """Every run of each system in `world` has `metric` on the right side of `bound` (times `reference`, if named)."""

    metric: str
    better: str  # "lower": under the bound; "higher": at least the bound
    bound: float
    reference: str | None = None
    systems: tuple[str, ...] = ("attngan", "alr-gan")
    world: str = "toy-scenes"

    def judge(self, runs: list[Record], findings: list[Record], profile: str) -> tuple[dict, str, str]:
        kept, shown, seen = [], [], set()
        for run in runs:
            if run["world"] != self.world or run["variant"] != "default" or run["system"] not in self.systems:
                continue
            names = [self.metric, self.reference] if self.reference else [self.metric]
            values = [(run["metrics"].get(name) or {}).get("value") for name in names]
            if None in values:
                continue
            limit = self.bound * (values[1] if self.reference else 1.0)
            holds = operator.lt if self.better == "lower" else operator.ge
            kept.append(holds(values[0], limit))
            seen.add(run["system"])
            entry = run["metrics"][self.metric] | {"system": run["system"], "seed": run["seed"], "limit": limit}
            shown.append(entry | {"kept": kept[-1]})
        measured = {"metric": self.metric, "world": self.world, "runs": shown} if shown else {}
        absent = [s for s in self.systems if s not in seen]
        if absent:
            return measured, "not run", f"no run of {' and '.join(absent)} on {self.world} has {self.metric}"
        words = ", ".join(
            f"{r['system']} seed {r['seed']}: {r['value']:.3g} ({'under' if self.better == 'lower' else 'at least'} "
            f"{r['limit']:.3g}: {'yes' if r['kept'] else 'no'})"
            for r in shown
        )
        if profile in MEANINGLESS:
            return measured, "inconclusive", f"the numbers of a {profile} run mean nothing; {words}"
        return measured, "reproduced" if all(kept) else "not reproduced", words


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
            return sides, "not run", f"it needs a run each of {self.ours} and {self.against}"
        return sides, "inconclusive", "the paper's numbers are not in our source, so there is nothing to judge them by"


NOT_IN_SOURCE = {"note": "not in our source: the table is a picture there, and the picture is lost"}
NO_NUMBER = {"note": "the paper shows pictures, no number"}
OWN = "this project"
PROMISED = {"note": "a promise of this project, not of a paper"}


@dataclass(frozen=True)
class Claim:
    """One statement of a paper (or one promise of ours), and the evidence that decides it."""

    id: str
    statement: str
    evidence: Paired | Finding | Promise | Described
    paper: str = "ALR-GAN"
    published: dict[str, Any] = field(default_factory=lambda: dict(NOT_IN_SOURCE))


def _ablation(number: int, variant: str, statement: str) -> Claim:
    return Claim(f"ALRGAN-Ab{number}", statement, Paired("fid", "lower", against=("alr-gan", variant)))


CLAIMS: tuple[Claim, ...] = (
    Claim("ALRGAN-T1-FID", "ALR-GAN has a lower FID than its baseline AttnGAN.", Paired("fid", "lower")),
    Claim("ALRGAN-T1-IS", "ALR-GAN has a higher Inception Score than AttnGAN.", Paired("inception_score", "higher")),
    Claim(
        "ALRGAN-T1-SOA",
        "ALR-GAN draws the objects its captions name more often than AttnGAN (semantic object accuracy).",
        Paired("soa_i", "higher"),
    ),
    Claim("ALRGAN-T1-RP", "ALR-GAN has a higher R-precision than AttnGAN.", Paired("r_precision", "higher")),
    Claim(
        "ALRGAN-T2",
        "Training time, epochs, model size and test time of ALR-GAN beside other systems.",
        Described(("parameters", "train_seconds")),
    ),
    Claim(
        "ALRGAN-F3",
        "Aligning Theta with the real image's Theta* brings the words' regions onto the objects they name.",
        Finding("ALRGAN-F3", "overlap of the words' regions with the objects' masks, ALR-GAN less no-alr"),
        published=NO_NUMBER,
    ),
    Claim(
        "ALRGAN-F6",
        "Small edits of a caption move the layout: the object goes to the place that the edited caption names.",
        Finding("ALRGAN-F6", "share of edits whose object moves to the named side, less the share that moves away"),
        published=NO_NUMBER,
    ),
    _ablation(1, "no-alr", "Without the ALR loss the images get worse (FID)."),
    _ablation(2, "fixed-weights", "With fixed instead of adaptive weights alpha and beta the images get worse (FID)."),
    _ablation(3, "no-pr", "Without the perception refinement loss the images get worse (FID)."),
    _ablation(4, "no-sr", "Without the style refinement loss the images get worse (FID)."),
    Claim(
        "ALRGAN-Q2",
        "The adaptive weights put the weight on the hard regions: beta is above alpha.",
        Finding("ALRGAN-Q2", "mean of log(beta / alpha)"),
        published={"note": "the paper states beta > alpha; no number"},
    ),
    Claim(
        "PROMISE-FID",
        "After training on toy-scenes, AttnGAN and ALR-GAN have an FID under half of their untrained generator's.",
        Promise("fid", "lower", 0.5, reference="fid_untrained"),
        paper=OWN,
        published=PROMISED,
    ),
    Claim(
        "PROMISE-SETTING",
        "On toy-scenes the setting that the caption names is right in at least 80 % of the drawn images.",
        Promise("setting_accuracy", "higher", 0.8),
        paper=OWN,
        published=PROMISED,
    ),
)

# Numbers of the baseline that our sources hold. Other data, other sizes and another feature network than ours: they say
# where the field stands and are not comparable with a toy world's.
PUBLISHED: tuple[dict[str, Any], ...] = (
    {
        "system": "attngan",
        "dataset": "MS-COCO",
        "metric": "inception_score",
        "value": "25.89 ± 0.47",
        "source": "comparison study",
    },
    {
        "system": "attngan",
        "dataset": "MS-COCO",
        "metric": "inception_score",
        "value": "23.61",
        "source": "GR-GAN, Table 1",
    },
    {"system": "attngan", "dataset": "MS-COCO", "metric": "fid", "value": "34.90", "source": "GR-GAN, Table 1"},
    {"system": "attngan", "dataset": "CUB-200-2011", "metric": "fid", "value": "23.98", "source": "RATLIP, Table I"},
)


def needs_finding(id: str) -> str:
    """`id`, if a claim is judged by a finding of that id; otherwise UserError names the nearest one."""
    return nearest(id, [c.evidence.id for c in CLAIMS if isinstance(c.evidence, Finding)], "finding")


def judge(runs: list[Record], findings: list[Record], profile: str) -> list[Record]:
    """Every claim's entry of results.json, from the entries of the runs and the findings of the notebooks.

    Only runs trained here count. Raises UserError for an unknown profile.
    """
    nearest(profile, PROFILES, "profile")
    trained = [run for run in runs if run.get("trained_here") is not False]
    judged = []
    for claim in CLAIMS:
        measured, ruling, why = claim.evidence.judge(trained, findings, profile)
        judged.append(
            {
                "id": claim.id,
                "paper": claim.paper,
                "statement": claim.statement,
                "published": claim.published,
                "measured": measured,
                "verdict": ruling,
                "why": why[:1].upper() + why[1:] + ".",
            }
        )
    return judged


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"
