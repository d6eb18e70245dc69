"""Answers to the notebooks' exercises, checked by their properties: right, or which property fails, in plain words.

An exercise's check is a function that yields (property in words, predicate) pairs; the first predicate that is false
ends it. A property says what an answer must fulfil, never what the answer is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from t2i_core.config import nearest

Property = tuple[str, Callable[[], Any]]
CHECKS: dict[str, tuple[str, Callable[..., Iterator[Property]]]] = {}


class NotAnswered(Exception):
    """The answer is None, or a function that still returns None."""


@dataclass(frozen=True)
class Verdict:
    """What `check` says; true where the answer is right. A notebook shows it as its text."""

    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.text


def check(name: str, answer: Any) -> Verdict:
    """Check an answer to the exercise ``name``, "03.3" for the third of notebook 03.

    Nothing that the answer does raises: an error in it is part of the verdict. Raises UserError for an unknown name.
    """
    asked, properties = CHECKS[nearest(name, tuple(CHECKS), "exercise")]
    words = "it is an answer at all"
    try:
        for words, holds in properties(_answered(answer)):
            if not holds():
                return Verdict(False, f"{name}: not yet. This should hold, and does not: {words}.")
    except NotAnswered:
        return Verdict(False, f"{name}: not answered yet. Wanted: {asked}.")
    except Exception as error:  # the answer is somebody's code, which may fail in any way
        kind = type(error).__name__
        return Verdict(False, f"{name}: not yet. Your answer stopped with {kind}: {error}. Asked was: {words}.")
    return Verdict(True, f"{name}: right.")


def _answered(answer: Any) -> Any:
    """The answer; a function is wrapped, so that one without an answer is noticed when it is called."""
    if answer is None:
        raise NotAnswered
    if not callable(answer):
        return answer

    def call(*values: Any) -> Any:
        found = answer(*values)
        if found is None:
            raise NotAnswered
        return found

    return call


def exercise(name: str, asked: str) -> Callable:
    """Enter a check under its name; ``asked`` says what form an answer has."""

    def enter(properties: Callable[..., Iterator[Property]]) -> Callable:
        CHECKS[name] = (asked, properties)
        return properties

    return enter


def same(a: Any, b: Any, tolerance: float = 1e-5) -> bool:
    """Two numbers, be they floats or tensors of one element, are the same but for rounding."""
    return math.isclose(float(a), float(b), rel_tol=tolerance, abs_tol=tolerance)


# ---------------------------------------------------------------- one check an exercise


@exercise("00.1", "share(captions, kind), the share of the captions in which some word states the kind")
def _share(share) -> Iterator[Property]:
    color, name, place = [0, 3, 0, "color"], [4, 9, 0, "name"], [10, 14, 0, "place"]
    some = [[color, name], [color, color], [place, color], [name, place, color]]
    yield "it is a number from 0 to 1", lambda: all(0 <= share(some, kind) <= 1 for kind in ("name", "color", "size"))
    yield "it is 0 for a kind that no caption states", lambda: share(some, "size") == 0
    yield "it is 1 for a kind that every caption states", lambda: share(some, "color") == 1
    several, once = [[color, color, color], [name]], [[color], [name]]
    yield (
        "a caption counts once, however many of its words state the kind",
        lambda: same(share(several, "color"), share(once, "color")),
    )
    long = [[color, name, name, name], [name]]
    yield "it is a share of captions, not of words", lambda: same(share(long, "color"), share(once, "color"))
    yield (
        "the captions of two lists of equal length have, together, the mean of both shares",
        lambda: same(share(some + several * 2, "place"), (share(some, "place") + share(several * 2, "place")) / 2),
    )


@exercise("01.1", "loss_at_start(batch_size), the sentence loss where all vectors are equal")
def _loss_at_start(loss) -> Iterator[Property]:
    import torch

    from t2i_core.matching import sentence_loss

    real = float(sentence_loss(torch.ones(32, 8), torch.ones(32, 8)))
    yield "it is 0 for a batch of one, where no caption can be confused with another", lambda: same(loss(1), 0)
    yield "it grows by the same amount whenever the batch doubles", lambda: same(loss(8) - loss(4), loss(64) - loss(32))
    yield "both directions count, image to caption and caption to image", lambda: not same(2 * loss(32), real)
    yield "it is what sentence_loss gives for 32 equal vectors", lambda: same(loss(32), real)


@exercise("02.2", "slope(logit), the derivative of log(1 - D) / 2 by the logit of D; the logit is a float")
def _slope(slope) -> Iterator[Property]:
    def value(logit: float) -> float:
        return -0.5 * math.log1p(math.exp(logit))

    yield "minimising pushes the logit up, wherever it is", lambda: all(slope(x) < 0 for x in (-6.0, 0.0, 6.0))
    yield "hardly a push is left where the judge is sure that the image is drawn", lambda: abs(slope(-12.0)) < 1e-4
    yield "the push is the stronger, the more the judge is taken in", lambda: slope(-2.0) > slope(0.0) > slope(2.0)
    for logit in (-3.0, 0.0, 1.5):
        yield (
            f"a small step of the logit at {logit} changes log(1 - D) / 2 as the slope says",
            lambda x=logit: same(slope(x), (value(x + 1e-4) - value(x - 1e-4)) / 2e-4),
        )


@exercise("03.3", "padding_share(score, words, slots), the share of a region's attention that padding gets")
def _padding_share(share) -> Iterator[Property]:
    import torch

    from t2i_core.ssm import similarity_matrix

    def by_the_package(score: float, words: int, slots: int) -> float:
        keys = torch.zeros(1, 1, slots)
        keys[0, 0, 0] = score
        return float(similarity_matrix(torch.ones(1, 1, 1), keys)[0, words:].sum())

    yield "it is a number from 0 to 1", lambda: all(0 <= share(s, 3, 18) <= 1 for s in (-2.0, 0.0, 5.0))
    yield "a caption without padding loses nothing to it", lambda: same(share(5.0, 3, 3), 0)
    yield "where all scores are 0, every slot gets the same", lambda: same(share(0.0, 6, 12), 1 / 2)
    yield "padding gets less, the higher the word's score is", lambda: share(5.0, 3, 18) < share(1.0, 3, 18)
    yield "the other words of the caption get a share as well", lambda: share(5.0, 3, 18) < share(5.0, 1, 16)
    yield (
        "it is what similarity_matrix gives padding without a mask",
        lambda: all(same(share(s, w, 18), by_the_package(s, w, 18)) for s, w in ((5.0, 3), (-1.0, 4))),
    )


@exercise("04.3", "size(residual), the size of a residual (D, N) that no cut of the picture changes")
def _size(size) -> Iterator[Property]:
    import torch

    residual = torch.rand(6, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    yield "a residual of 0 has the size 0", lambda: same(size(torch.zeros(6, 16)), 0)
    yield "twice the residual has twice the size", lambda: same(size(2 * residual), 2 * size(residual))
    yield "the sign does not matter", lambda: size(residual) > 0 and same(size(-residual), size(residual))
    yield (
        "cutting each region into four changes nothing",
        lambda: same(size(residual.repeat_interleave(4, dim=1)), size(residual)),
    )
    yield "a residual that is 1 / 2 everywhere has the size 1 / 2", lambda: same(size(torch.full((6, 16), 0.5)), 0.5)
    other = residual.flip(0) ** 3
    other = other * residual.norm() / other.norm()
    yield (
        "two residuals of one shape and one Frobenius norm have one size",
        lambda: same(size(other), size(residual)),
    )


@exercise("05.1", "best(first, second), the features with the least sum of squared PR to both, all (1, D, N)")
def _best(best) -> Iterator[Property]:
    import torch

    from t2i_core.lvr import perception_loss

    random = torch.Generator().manual_seed(0)
    first, second, *steps = torch.randn(10, 1, 4, 9, generator=random, dtype=torch.float64)

    def cost(features) -> float:
        return float(sum(perception_loss(features, target) ** 2 for target in (first, second)))

    yield "it has the shape of the two", lambda: best(first, second).shape == first.shape
    yield "it is the same, whichever of the two comes first", lambda: torch.allclose(*_both(best, first, second))
    yield "it is the picture itself where both are the same", lambda: torch.allclose(best(first, first), first)
    yield "it is better than either of the two", lambda: cost(best(first, second)) < min(cost(first), cost(second))
    yield (
        "no small change makes it better",
        lambda: all(cost(best(first, second) + 1e-3 * step) > cost(best(first, second)) for step in steps),
    )


def _both(best, first, second) -> tuple:
    return best(first, second), best(second, first)


@exercise("06.2", "factor(g2, alr2), by which `lambda_alr` must grow; both terms are numbers")
def _factor(factor) -> Iterator[Property]:
    yield "nothing needs to grow where both terms weigh the same", lambda: same(factor(0.7, 0.7), 1)
    yield "it grows with g2", lambda: factor(2.0, 0.1) > factor(1.0, 0.1)
    yield "it falls as the ALR term grows", lambda: factor(1.0, 0.2) < factor(1.0, 0.1)
    yield "with it both terms weigh the same", lambda: same(0.02 * factor(3.0, 0.02), 3.0)


@exercise("07.1", "state(t, start, i, f, u), c_t after t steps of E5 from c_0 = start, where f < 1")
def _state(state) -> Iterator[Property]:
    gates = (0.6, 0.8, 0.9)
    i, f, u = gates

    def apart(t: int) -> float:
        return float(state(t, 2.0, *gates) - state(t, -3.0, *gates))

    def stepped(c: float, times: int) -> float:
        for _ in range(times):
            c = f * c + i * u
        return c

    yield "before the first step it is the start", lambda: same(state(0, -3.0, *gates), -3.0)
    yield "one step is E5", lambda: same(state(1, -3.0, *gates), stepped(-3.0, 1))
    yield (
        "two starts come nearer by the same factor at each step",
        lambda: same(apart(3) / apart(2), apart(2) / apart(1)),
    )
    yield "in the end the start is forgotten", lambda: abs(apart(400)) < 1e-6
    yield "with a shut forget gate only the last input is left", lambda: same(state(5, -3.0, 0.6, 0.0, 0.9), 0.6 * 0.9)
    yield "nine steps are nine times E5", lambda: same(state(9, -3.0, *gates), stepped(-3.0, 9))


@exercise("08.2", "ratio(k), the penalty of summed norms over the joint one where one gradient is k times the other")
def _ratio(ratio) -> Iterator[Property]:
    import torch

    from t2i_core.adversarial import ma_gradient_penalty

    def penalty(k: float, norm: str) -> float:
        image, sentence = (torch.ones(1, 2, requires_grad=True) for _ in range(2))
        return float(ma_gradient_penalty(image.sum(1) + k * sentence.sum(1), image, sentence, norm=norm))

    yield "both are the same where one of the gradients is 0", lambda: same(ratio(0.0), 1)
    yield "the sum of two lengths is never the shorter", lambda: all(ratio(k) >= 1 for k in (0.1, 1.0, 3.0))
    yield "it does not matter which of the two is the longer", lambda: same(ratio(0.25), ratio(4.0))
    yield "they differ most where both are equally long", lambda: ratio(1.0) > max(ratio(0.8), ratio(1.25))
    yield (
        "it is what ma_gradient_penalty gives",
        lambda: all(same(ratio(k), penalty(k, "sum") / penalty(k, "joint"), 1e-4) for k in (1.0, 2.0)),
    )


@exercise("10.1", "three clouds (f, r, l), each a mean (d,) and a covariance (d, d)")
def _clouds(clouds) -> Iterator[Property]:
    import numpy as np

    from t2i_core.metrics.cmd import cross_model_distance

    def shaped() -> bool:
        means, covariances = zip(*clouds, strict=True)
        size = len(means[0])
        return all(np.shape(m) == (size,) for m in means) and all(np.shape(c) == (size, size) for c in covariances)

    def positive(covariance) -> bool:
        return bool(np.allclose(covariance, np.transpose(covariance)) and np.linalg.eigvalsh(covariance).min() >= 0)

    yield "there are three clouds", lambda: len(clouds) == 3
    yield "each has a mean (d,) and a covariance (d, d), with one d", shaped
    yield "covariances are symmetric and have no negative eigenvalue", lambda: all(positive(c) for _, c in clouds)
    one = cross_model_distance(*clouds)
    bound = one.image_distance**0.5 * (one.fake_to_text**0.5 + one.real_to_text**0.5)
    yield "the drawn pictures are not simply the real ones: ITDis is above 0", lambda: one.itdis > 1e-9
    yield "Dis(f, r) is small: at most a hundredth of ITDis", lambda: one.image_distance <= one.itdis / 100
    yield "ITDis equals its bound", lambda: same(one.itdis / bound, 1, 1e-6)
