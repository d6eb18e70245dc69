"""The checks of notebooks 00 to 09: captions, matching models, systems and their losses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace

from t2i_core.exercises.checking import Property, exercise, same


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


@exercise("09.1", "copies(sentence, number), of sentences (B, D): (B, D, number), each the sentence times a number")
def _copies(copies) -> Iterator[Property]:
    import torch

    from t2i_core.memory import DynamicMemory

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        memory = DynamicMemory(8, 6).double()
        h, sentence = torch.randn(2, 8, 4, 4, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)

    def along() -> bool:
        made = copies(sentence, 5)
        factors = (made * sentence[:, :, None]).sum(1, keepdim=True) / sentence.square().sum(1)[:, None, None]
        return torch.allclose(made, factors * sentence[:, :, None])

    def apart() -> bool:
        made = copies(sentence, 5)
        distances = (made[:, :, :, None] - made[:, :, None]).norm(dim=1)
        return bool((distances + torch.eye(5) > 1e-3).all())

    yield "their shape is (B, D, number)", lambda: copies(sentence, 5).shape == (2, 6, 5)
    yield "each copy is the sentence times a number", along
    yield "no two copies of one sentence are equal", apart
    yield (
        "in a memory with random weights the attention is not uniform",
        lambda: memory(h, copies(sentence, 5))[1].std(1).max() > 1e-4,
    )
    yield (
        "another number of copies gets another response",
        lambda: not torch.allclose(*(memory(h, copies(sentence, number))[0] for number in (2, 18))),
    )


@exercise("09.2", "{term of the loss: (stage of the picture it looks at, 1 to 3; whether it hears the caption)}")
def _terms(terms) -> Iterator[Property]:
    import torch

    from t2i_core import systems
    from t2i_core.captions import Vocabulary

    captions = ["a red bird in snow", "a blue house", "a bird"]
    swi = systems.create("gr-gan", "smoke", Vocabulary.build(captions, max_words=8), variant="swi").eval()
    with torch.no_grad():
        out, others = (
            swi.generate(captions, swi.noise(3, 0)),
            swi.generate(captions[1:] + captions[:1], swi.noise(3, 0)),
        )
        plain = _values(swi, out.images, out)
        moved = [_values(swi, [-x if k == i else x for k, x in enumerate(out.images)], out) for i in range(3)]
        told = _values(swi, out.images, others)
    looks = [{name for name in plain if not same(plain[name], values[name])} for values in moved]
    hears = {name for name in set.union(*looks) if not same(plain[name], told[name])}
    yield "each term has the name that `generator_losses` gives it", lambda: set(terms) <= set(plain)
    yield "each term looks at a picture", lambda: set(terms) <= set.union(*looks)
    yield "no term that looks at a picture is left out", lambda: set(terms) >= set.union(*looks)
    for stage in (1, 2, 3):
        yield (
            f"another picture of stage {stage} changes the terms of this stage, and no others",
            lambda stage=stage: {name for name, (of, _) in terms.items() if of == stage} == looks[stage - 1],
        )
    yield (
        "another caption to the same pictures changes the terms that hear it, and no others",
        lambda: {name for name, (_, heard) in terms.items() if heard} == hears,
    )


def _values(system, images, told) -> dict[str, float]:
    """The terms of the generator's loss for these pictures under the captions of ``told``."""
    import torch

    from t2i_core.systems import Generated

    batch = SimpleNamespace(class_ids=torch.arange(len(images[0])))
    losses = system.generator_losses(batch, Generated(images, text=told.text, extras=told.extras))
    return {name: float(value) for name, value in losses.items()}


@exercise("09.3", "is_right(lengths), whether section 3's order gives captions of so many words their own masks")
def _is_right(is_right) -> Iterator[Property]:
    import torch

    def by_section_3(lengths: list[int], regions: int = 16) -> bool:
        mask = torch.arange(18)[None] < torch.tensor(lengths)[:, None]
        repeated = mask.repeat(regions, 1).view(len(lengths), regions, 18)
        return torch.equal(repeated, mask[:, None].expand(-1, regions, -1))

    yield "it is True or False", lambda: all(is_right(some) in (True, False) for some in ([5], [5, 3, 5, 4]))
    yield (
        "the order of the captions does not matter",
        lambda: is_right([3, 5, 5]) == is_right([5, 3, 5]) == is_right([5, 5, 3]),
    )
    yield "one more word in every caption does not matter", lambda: is_right([3, 5]) == is_right([4, 6])
    for lengths in ([7], [4, 9], [6, 6], [5, 5, 6, 5], [8] * 16, [8] * 15 + [9]):
        yield (
            f"it says of captions of {', '.join(map(str, lengths))} words what the order of section 3 does to them",
            lambda lengths=lengths: is_right(lengths) == by_section_3(lengths),
        )
