"""Failures image by image: which drawn images are the worst, of which kind, what is wrong, and how often it happens.

Each kind is a number an image, measured in the same way on the real images that the captions describe. An image fails
where it is worse than 95 % of these, so 5 % of real images fail by definition; or where something that its caption
states is read otherwise. Kinds overlap: a blurred image may also be unlike real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from t2i_core.config import UserError, nearest
from t2i_core.failures.sample import Sample, draw_sample
from t2i_core.failures.signatures import contrast, fine_power, grid_frequencies, nearest_distances, power, signatures
from t2i_core.metrics.instruments import TRUSTED, Subject
from t2i_core.metrics.soa import answers, questions, stated
from t2i_core.metrics.stats import proportion
from t2i_core.runs import Run

WORST = 0.05  # of the real images are worse than the limit
REFERENCE = "real images"

KINDS = {
    "off its caption": "the scorer's cosine to its own caption is low",
    "misread": "the inspector reads something otherwise than the caption states it",
    "unlike real": "the nearest real image is far, in the inspector's features",
    "near duplicate": "another drawn image is near, in the inspector's features",
    "blurred": "little power in the upper half of the frequencies",
    "gridded": "some grid frequency stands out of its neighbours",
}


@dataclass(frozen=True)
class Case:
    """Image ``row`` of a sample and one kind of failure: its ``value``, beyond ``limit`` if it ``fails``, and why."""

    kind: str
    row: int
    caption: str
    value: float
    limit: float
    fails: bool
    wrong: str


@dataclass(frozen=True)
class Measure:
    """One kind of failure: ``drawn`` (n,) and ``real`` (n,), a number an image, larger is worse.

    ``limit``: an image fails above it; ``unit``: what severity counts in.
    """

    drawn: NDArray[np.float64]
    real: NDArray[np.float64]
    limit: float
    unit: float

    @classmethod
    def against(cls, drawn: NDArray, real: NDArray) -> Measure:
        """The limit is such that 5 % of the real images fail; the unit is the real images' standard deviation."""
        return cls(drawn, real, float(np.quantile(real, 1 - WORST)), max(float(real.std()), 1e-12))

    @property
    def fails(self) -> NDArray[np.bool_]:
        return self.drawn > self.limit

    @property
    def severity(self) -> float:
        """How far beyond the limit the failing images are on average, in units; nan where none fails."""
        return float((self.drawn[self.fails] - self.limit).mean() / self.unit) if self.fails.any() else float("nan")


def measures(sample: Sample) -> dict[str, Measure]:
    """Every kind of `KINDS` that can be asked here; without a scorer or an inspector of this world, fewer.

    A cosine, a distance to a duplicate and the power of detail (log2) enter with their sign turned. "misread" is the
    share of stated things that are read otherwise: one is enough to fail, and severity is that share.
    """
    drawn, real = sample.drawn, sample.real
    found: dict[str, Measure] = {}
    if drawn.instruments.scorer is not None:
        found["off its caption"] = Measure.against(*(-np.diag(cosines) for cosines in sample.cosines))
    if drawn.instruments.inspector.own:
        shares = ([len(wrong) / max(asked, 1) for wrong, asked in misread(sample, one)] for one in (drawn, real))
        found["misread"] = Measure(*(np.array(share) for share in shares), limit=0.0, unit=1.0)
    found["unlike real"] = Measure.against(nearest_distances(drawn, real), nearest_distances(real))
    found["near duplicate"] = Measure.against(-nearest_distances(drawn), -nearest_distances(real))
    found["blurred"] = Measure.against(*(-np.log2(fine_power(subject.images)) for subject in (drawn, real)))
    if grid_frequencies(real.images.shape[-1]):
        found["gridded"] = Measure.against(*_grid(sample))
    return found


def _grid(sample: Sample) -> tuple[NDArray, NDArray]:
    """(n,) of each set: the greatest deviation of a grid frequency's contrast from the mean of real images."""
    drawn, real = (power(subject.images) for subject in (sample.drawn, sample.real))
    at = grid_frequencies(sample.real.images.shape[-1])
    usual = {f: contrast(real, f).mean() for f in at}
    deviations = [np.max([abs(contrast(one, f) - usual[f]) for f in at], axis=0) for one in (drawn, real)]
    return deviations[0], deviations[1]


def misread(sample: Sample, subject: Subject) -> list[tuple[list[str], int]]:
    """For each image, what is wrong in words ("setting: named beach, reads forest"), and how much its caption states.

    ``subject``: the sample's drawn images or its real ones. Asked is only what the inspector itself reads rightly in
    90 % of held-out pictures; what an inspector of another world says means nothing.
    """
    inspector, reading = subject.instruments.inspector, subject.reading
    found: list[tuple[list[str], int]] = [([], 0) for _ in sample.captions]

    def note(image: int, right: bool, words: str) -> None:
        said, asked = found[image]
        found[image] = (said if right else [*said, words], asked + 1)

    config = reading.config
    for name in (name for name in config.attributes if inspector.accuracy.get(name, 0.0) >= TRUSTED):
        read = reading.attribute(name)
        for i, (truth, chosen) in enumerate(zip(sample.truths, sample.caption_index, strict=True)):
            if name in truth.get("attributes", {}) and (not truth.get("words") or -1 in stated(truth, chosen, name)):
                want = truth["attributes"][name]
                note(i, read[i] == want, f"{name}: named {want}, reads {read[i]}")
    parts = {name: column for column, name in enumerate(config.parts)}
    for kind in ("name", *reading.kinds()):
        # whether a part is there is no question in a world where it always is
        if kind == "name" and ["presence"] not in config.classes:
            continue
        if inspector.accuracy.get("object_recall" if kind == "name" else kind, 0.0) < TRUSTED:
            continue
        asked = [q for q in questions(sample.truths, sample.caption_index, kind) if q.name in parts]
        says = reading.says(kind) if kind != "name" else None
        for q, right in zip(asked, answers(reading, asked), strict=True):
            words = f"no {q.name}"
            if says is not None and reading.found[q.image, parts[q.name]]:
                words = f"{q.name}: named {q.answer}, reads {says[q.image][parts[q.name]]}"
            note(q.image, bool(right), words)
    return found


def worst(
    sample: Sample, count: int = 4, kinds: Sequence[str] | None = None, known: dict[str, Measure] | None = None
) -> dict[str, list[Case]]:
    """The ``count`` worst images of each kind (default: all that can be asked here), the worst first.

    ``known``: the sample's :func:`measures`, where they are at hand. A kind that is unknown, or that cannot be asked
    here, raises a UserError.
    """
    known = known or measures(sample)
    chosen = [nearest(kind, KINDS, "kind of failure") for kind in kinds or KINDS]
    found = {}
    for kind in chosen:
        if kind not in known:
            if kinds:
                raise UserError(f"nobody can tell here whether an image is {kind!r}: there is {', '.join(known)}")
            continue
        measure, tell = known[kind], _TELL[kind](sample)
        rows = np.argsort(-measure.drawn, kind="stable")[:count].tolist()
        found[kind] = [
            Case(
                kind, i, sample.captions[i], float(measure.drawn[i]), measure.limit, bool(measure.fails[i]),
                tell(i, measure),
            )
            for i in rows
        ]  # fmt: skip
    return found


Tell = Callable[[int, Measure], str]  # what is wrong with an image, in words


def _tell_caption(sample: Sample) -> Tell:
    cosines = sample.cosines[0]
    best = cosines.argmax(1)
    return lambda i, m: (
        f"cosine {-m.drawn[i]:.2f} to its caption (95 % of real: above {-m.limit:.2f}), at most "
        f'{cosines[i, best[i]]:.2f}, to "{sample.captions[best[i]]}"'
    )


def _tell_misread(sample: Sample) -> Tell:
    wrong = misread(sample, sample.drawn)
    return lambda i, m: f"{len(wrong[i][0])} of {wrong[i][1]} wrong: " + "; ".join(dict.fromkeys(wrong[i][0]))


def _tell_unlike(sample: Sample) -> Tell:
    return lambda i, m: f"nearest real image {m.drawn[i]:.2f} away (95 % of real: within {m.limit:.2f})"


def _tell_duplicate(sample: Sample) -> Tell:
    own = sample.drawn.reading.features.double()
    twin = torch.cdist(own, own).fill_diagonal_(torch.inf).argmin(1).tolist()
    return lambda i, m: (
        f'{-m.drawn[i]:.2f} from that of "{sample.captions[twin[i]]}" (95 % of real: {-m.limit:.2f} or more)'
    )


def _tell_blurred(sample: Sample) -> Tell:
    usual = float(fine_power(sample.real.images).mean())
    return lambda i, m: f"{2 ** -m.drawn[i] / usual:.1%} of the fine power of real images"


def _tell_grid(sample: Sample) -> Tell:
    resolution = sample.drawn.images.shape[-1]
    spectra, real = power(sample.drawn.images), power(sample.real.images)
    off = {f: contrast(spectra, f) - contrast(real, f).mean() for f in grid_frequencies(resolution)}
    at = [max(off, key=lambda f, i=i: abs(off[f][i])) for i in range(len(spectra))]
    return lambda i, m: (
        f"every {resolution / at[i]:.3g} px: power {2 ** abs(off[at[i]][i]):.3g} times "
        f"{'above' if off[at[i]][i] > 0 else 'below'} its neighbours"
    )


_TELL = dict(
    zip(KINDS, (_tell_caption, _tell_misread, _tell_unlike, _tell_duplicate, _tell_blurred, _tell_grid), strict=True)
)


def failure_table(runs: Sequence[Run], samples: Sequence[Sample] | None = None) -> pd.DataFrame:
    """How often and how badly each system fails: a row a run, and before each world's first one a row of real images.

    For each kind of `KINDS`: the share of failing images, "... low" and "... high" (Wilson's 95 % interval), and
    "... severity": how far the failing ones are beyond the limit, in standard deviations of real images ("misread": the
    share of stated things that are read otherwise). nan: nothing can be asked, or nothing fails. For each kind of
    signature, "shows ...": True, False or, where nothing can tell, <NA>. ``samples``: one a run, where they are drawn
    already. The first columns are "system", "variant", "world", "seed".
    """
    rows: list[dict] = []
    for run, sample in zip(runs, samples or [None] * len(runs), strict=True):
        sample = sample or draw_sample(run)
        known, config = measures(sample), run.config
        if config.world not in {row["world"] for row in rows}:
            real = {kind: Measure(m.real, m.real, m.limit, m.unit) for kind, m in known.items()}
            named = {"system": REFERENCE, "variant": "", "world": config.world, "seed": pd.NA}
            rows.append(named | _frequencies(real))
        named = {"system": config.system, "variant": config.variant, "world": config.world, "seed": config.seed}
        rows.append(named | _frequencies(known) | {f"shows {s.kind}": s.shows for s in signatures(run, sample)})
    table = pd.DataFrame(rows)
    shows = {column: "boolean" for column in table if column.startswith("shows ")}
    return table.astype(shows | {"seed": "Int64"})


def _frequencies(known: dict[str, Measure]) -> dict[str, float]:
    found = {}
    for kind, measure in known.items():
        share = proportion(measure.fails)
        found |= {kind: share.value, f"{kind} low": share.low, f"{kind} high": share.high}
        found[f"{kind} severity"] = measure.severity
    return found
