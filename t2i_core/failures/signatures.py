"""Failure signatures: what a set of drawn images, and the log of its training, show of the ways in which GANs fail.

The comparison study names four ("Failure signatures"): a limited variety of images, a discriminator too strong to learn
from, images that do not match their text, and low-resolution artefacts (no detail, or visible blocks). Each is measured
here and compared with the real images of the same captions, measured in the same way. A signature shows where the whole
95 % interval lies beyond its threshold. The thresholds are decisions of this project, far from where real images lie.

Shapes: n images (n, 3, R, R) in [-1, 1]; R/2 + 1 frequencies in cycles an image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats as scipy_stats
from torch import Tensor

from t2i_core.config import UserError
from t2i_core.failures.log import LINES, SUSTAINED, games, stretches
from t2i_core.failures.sample import Sample, draw_sample
from t2i_core.metrics.instruments import Subject
from t2i_core.metrics.stats import Value, set_interval
from t2i_core.runs import Run

# Where a signature begins; all but the last are ratios to what real images have.
VARIETY = 0.5  # distance to the most alike other image
NOISE = 0.05  # distance between two images of one caption, to that between real images
MATCH = 0.25  # by how much the own caption's cosine is above that of others
DETAIL = 0.5  # power in the upper half of the frequencies; its inverse begins false detail
GRID = 1.0  # log2: a grid frequency stands out of its neighbours by a factor of two more, or less, than in real images
CHANCE = 999  # permutations of the captions
PERIODS = (2, 4, 8)  # px: strides of the upsampling layers


@dataclass(frozen=True)
class Signature:
    """A kind of failure: whether it shows (None: nothing here can tell), the number behind it, and in words.

    ``worse`` says on which side of ``threshold`` the failure lies; ``steps`` where it was seen: spans of training steps
    (of images, the step at which the system was finished).
    """

    kind: str
    shows: bool | None
    measured: Value | None
    threshold: float
    worse: str
    evidence: str
    steps: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        said = {True: "shows", False: "does not show", None: "cannot be told"}[self.shows]
        return f"{self.kind} {said}: {self.evidence}"


def signatures(run: Run, sample: Sample | None = None) -> tuple[Signature, ...]:
    """Every kind of failure in a finished run: from its log, and from ``sample`` (drawn now, if not given)."""
    sample = sample or draw_sample(run)
    return (*image_signatures(sample), vanishing_gradients(run))


def image_signatures(sample: Sample) -> tuple[Signature, ...]:
    """The kinds of failure that a set of images shows by itself."""
    looks = (mode_collapse, noise_ignored, misalignment, lack_of_detail, false_detail, grid_artefacts)
    return tuple(look(sample) for look in looks)


# ---------------------------------------------------------------------- variety


def mode_collapse(sample: Sample) -> Signature:
    """Mean distance of an image to the most alike other one in the inspector's features, drawn over real.

    The nearest and not the mean distance: ten pictures drawn over and over are far from each other on average. Noise in
    the images also sets them apart, so that a collapse under much of it may pass for variety.
    """
    drawn, real = (nearest_distances(subject) for subject in (sample.drawn, sample.real))
    measured = _ratio(sample, drawn, real)
    said = (
        f"the most alike other image is {measured.value:.2f} times as far as among the real images "
        f"({drawn.mean():.2f} against {real.mean():.2f} in the inspector's features)"
    )
    return _judged(sample, "mode collapse", measured, VARIETY, said)


def nearest_distances(subject: Subject, others: Subject | None = None) -> NDArray[np.float64]:
    """(n,) distance of each image to the nearest of ``others``, without them to the nearest other of its own set."""
    own = subject.reading.features.double()
    apart = torch.cdist(own, own if others is None else others.reading.features.double())
    if others is None:
        apart.fill_diagonal_(torch.inf)
    return apart.amin(1).numpy()


def noise_ignored(sample: Sample) -> Signature:
    """Mean distance between two images of one caption from different noise, over that between real images."""
    kind = "noise ignored"
    if sample.again is None:
        return Signature(kind, None, None, NOISE, "below", "no caption was drawn twice")
    first, second = sample.drawn.reading.features, Subject(sample.again, sample.drawn.instruments).reading.features
    within = (first[: len(second)].double() - second.double()).norm(dim=1).numpy()
    real = sample.real.reading.features.double()
    between = (torch.cdist(real, real).sum(1) / (len(real) - 1)).numpy()
    measured = _ratio(sample, within, between)
    said = f"two images of one caption are {measured.value:.3f} times as far apart as two real images of any captions"
    return _judged(sample, kind, measured, NOISE, said)


# ---------------------------------------------------------------------- text


def misalignment(sample: Sample) -> Signature:
    """How far the own caption's cosine lies above the mean of the others', drawn over real.

    The evidence adds a permutation test (scipy): how often captions that are dealt out anew fit the images as well.
    """
    kind = "misalignment"
    if sample.drawn.instruments.scorer is None:
        return Signature(kind, None, None, MATCH, "below", "no scorer knows the words of this dataset")
    drawn, real = (margins(cosines) for cosines in sample.cosines)
    if real.mean() <= 0:
        said = "the scorer does not tell the captions of real images apart"
        return Signature(kind, None, None, MATCH, "below", said)
    measured = _ratio(sample, drawn, real, at_least=None)
    chance = chance_of_captions(sample.cosines[0])
    said = (
        f"the own caption's cosine is {drawn.mean():+.3f} above that of others, with real images {real.mean():+.3f} "
        f"({measured.value:.0%}); captions dealt out anew fit as well with p = {chance:.3f}"
    )
    return _judged(sample, kind, measured, MATCH, said)


def margins(cosines: NDArray) -> NDArray[np.float64]:
    """(n,) the own caption's cosine less the mean of all other captions'."""
    own = np.diag(cosines)
    return own - (cosines.sum(1) - own) / (len(own) - 1)


def chance_of_captions(cosines: NDArray, resamples: int = CHANCE, seed: int = 0) -> float:
    """The p-value of "these images fit their own captions no better than captions dealt out anew"."""
    rows = np.arange(len(cosines))

    def fit(dealt: NDArray, axis: int = -1) -> NDArray:
        return cosines[rows, dealt.astype(int)].mean(axis)

    test = scipy_stats.permutation_test(
        (rows,), fit, permutation_type="pairings", n_resamples=resamples, vectorized=True, alternative="greater",
        rng=np.random.default_rng(seed), batch=100,
    )  # fmt: skip
    return float(test.pvalue)


# ---------------------------------------------------------------------- spectra


def power(images: Tensor) -> NDArray[np.float64]:
    """(n, R/2 + 1) power of each image by frequency along a row or column, averaged over rows, columns and colours."""
    centred = images.double() - images.double().mean((2, 3), keepdim=True)
    lines = [torch.fft.rfft(centred, dim=axis).abs().square().movedim(axis, -1).mean((1, 2)) for axis in (2, 3)]
    # what rounding to 8 bits adds: less than that is no power, and its logarithm no number
    return (0.5 * (lines[0] + lines[1]) + images.shape[-1] * (2 / 255) ** 2 / 12).numpy()


def grid_frequencies(resolution: int) -> tuple[int, ...]:
    """The frequencies, in cycles an image, of patterns that repeat every 2, 4 or 8 pixels, and their overtones."""
    found = {k * resolution // p for p in PERIODS if resolution % p == 0 for k in range(1, p // 2 + 1)}
    return tuple(sorted(f for f in found if f >= 2))  # below, a neighbour is the mean itself


def contrast(spectrum: NDArray, frequency: int) -> NDArray:
    """log2 of the power (..., R/2 + 1) at a frequency over the geometric mean of its two neighbours.

    0 in a smooth spectrum; above it for a checkerboard, whose power stands at R/2; below it for pixels that were
    repeated p times, because a box of p pixels lets nothing through at the multiples of R/p.
    """
    logs = np.log2(spectrum)
    after = frequency + 1 if frequency + 1 < logs.shape[-1] else frequency - 1  # beyond R/2 it mirrors
    return logs[..., frequency] - 0.5 * (logs[..., frequency - 1] + logs[..., after])


def lack_of_detail(sample: Sample) -> Signature:
    """Power in the upper half of the frequencies, drawn over real: too little of it."""
    return _detail(sample, "lack of detail", DETAIL, "below")


def false_detail(sample: Sample) -> Signature:
    """The same ratio, too large: noise or hard edges that no real image has."""
    return _detail(sample, "false detail", 1 / DETAIL, "above")


def _detail(sample: Sample, kind: str, threshold: float, worse: str) -> Signature:
    measured = _ratio(sample, *(fine_power(subject.images) for subject in (sample.drawn, sample.real)))
    said = f"the upper half of the frequencies holds {measured.value:.0%} of the power that it holds in real images"
    return _judged(sample, kind, measured, threshold, said, worse)


def fine_power(images: Tensor) -> NDArray[np.float64]:
    """(n,) power at R/4 cycles an image and above."""
    return power(images)[:, images.shape[-1] // 4 :].sum(1)


def grid_artefacts(sample: Sample) -> Signature:
    """The grid frequency whose :func:`contrast` in the mean spectrum is farthest from that of real images."""
    kind, resolution = "grid artefacts", sample.drawn.images.shape[-1]
    frequencies = grid_frequencies(resolution)
    if not frequencies:
        return Signature(kind, None, None, GRID, "above", f"{resolution} px are too few for a grid to show")
    drawn, real = (power(subject.images) for subject in (sample.drawn, sample.real))

    def apart(frequency: int, rows=slice(None), others=slice(None)) -> float:
        return float(contrast(drawn[rows].mean(0), frequency) - contrast(real[others].mean(0), frequency))

    at = max(frequencies, key=lambda frequency: abs(apart(frequency)))
    way = 1.0 if apart(at) >= 0 else -1.0
    measured = _measured(sample, way * apart(at), lambda a, b: way * apart(at, a, b), [len(drawn), len(real)])
    looks = "a pattern is laid over them" if way > 0 else "pixels come in blocks"
    said = (
        f"at {at} cycles an image (every {resolution / at:.3g} px) the power is {2**measured.value:.2g} times "
        f"{'above' if way > 0 else 'below'} what its neighbours and real images suggest"
        + (f": {looks}" if measured.low > GRID else "")
    )
    return _judged(sample, kind, measured, GRID, said, worse="above")


# ---------------------------------------------------------------------- training


def vanishing_gradients(run: Run) -> Signature:
    """The longest stretch of training in which a discriminator had won (see `log.stretches`)."""
    kind, log = "vanishing gradients", run.log()
    if len(log) < LINES:
        said = f"the log has {len(log)} lines, and {LINES} are needed to tell a stretch from a moment"
        return Signature(kind, None, None, SUSTAINED, "above", said)
    pairs = games(run)
    found = stretches(log, pairs)
    long = [stretch for stretch in found if stretch.share >= SUSTAINED]
    share = found[0].share if found else 0.0
    measured = Value(share, share, share, len(log), {"interval": "none: counted in the log", "lines": len(log)})
    said = "no discriminator was near its least loss while the generator's stayed high"
    if found:
        top, meaning = found[0], pairs[found[0].d, found[0].g]
        said = (
            f"from step {top.first} to {top.last} ({top.share:.0%} of the training) {top.d} was {top.d_loss:.2f} "
            f"({meaning.won:.2f}: it knows every drawn image; {meaning.blind:.2f}: it is blind), and {top.g} stayed at "
            f"{top.g_loss:.2f} (from {meaning.lost:.2f} on, the generator fools nobody)"
        )
    spans = tuple((stretch.first, stretch.last) for stretch in (long or found[:1]))
    return Signature(kind, bool(long), measured, SUSTAINED, "above", said, spans)


# ---------------------------------------------------------------------- the rule


def _ratio(sample: Sample, drawn: NDArray, real: NDArray, at_least: float | None = 0.0) -> Value:
    """Mean of drawn over mean of real, values an image each."""
    if not real.mean() > 0:
        raise UserError("the real images are all alike, or nothing tells them apart: they are no measure of variety")
    return _measured(
        sample, drawn.mean() / real.mean(), lambda a, b: drawn[a].mean() / real[b].mean(), [len(drawn), len(real)],
        at_least,
    )  # fmt: skip


def _measured(
    sample: Sample, value: float, statistic: Callable, sizes: Sequence[int], at_least: float | None = None
) -> Value:
    low, high, how = set_interval(float(value), statistic, sizes, at_least=at_least)
    told = sample.protocol | {"compared_with": "the captions' real images"} | how
    return Value(float(value), low, high, sizes[0], told)


def _judged(
    sample: Sample, kind: str, measured: Value, threshold: float, evidence: str, worse: str = "below"
) -> Signature:
    shows = measured.high < threshold if worse == "below" else measured.low > threshold
    spans = () if sample.step is None else ((sample.step, sample.step),)
    return Signature(kind, shows, measured, threshold, worse, evidence, spans)
