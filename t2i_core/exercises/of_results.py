"""The checks of notebooks 10 to 13: distances, comparisons, verdicts, and the explorer."""

from __future__ import annotations

import math
from collections.abc import Iterator

from t2i_core.exercises.checking import Property, exercise, same


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


@exercise(
    "11.1", "blind(p), GAN-CLS's loss where D is p for every real picture, under any caption, and 0 for drawn ones"
)
def _blind(blind) -> Iterator[Property]:
    import torch

    from t2i_core.adversarial import bce_matching

    def by_the_package(p: float) -> float:
        real = torch.tensor([p], dtype=torch.float64).logit()
        return float(bce_matching(real, torch.full_like(real, -60.0), real))

    yield "it rises where D is all but sure of every real picture", lambda: blind(0.999) > blind(0.9)
    yield "it rises where D believes no real picture", lambda: blind(0.001) > blind(0.1)
    yield "no verdict makes it 0", lambda: all(blind(k / 100) > 0 for k in range(1, 100))
    for p in (0.3, 0.8):
        yield f"it is what bce_matching gives for p = {p}", lambda p=p: same(blind(p), by_the_package(p))


@exercise("11.2", "by_chance(systems), how many pairs of so many equal systems have p < 0.05, on average")
def _by_chance(by_chance) -> Iterator[Property]:
    import numpy as np
    from scipy import stats

    def counted(systems: int, times: int = 300) -> float:
        noise = np.random.default_rng(0).normal(size=(times, systems, 60))
        first, second = np.triu_indices(systems, 1)
        return float((stats.ttest_rel(noise[:, first], noise[:, second], axis=2).pvalue < 0.05).sum() / times)

    yield "a system by itself differs from nobody", lambda: same(by_chance(1), 0)
    yield (
        "the tenth system, compared with nine, adds nine times what the second adds",
        lambda: same(by_chance(10) - by_chance(9), 9 * (by_chance(2) - by_chance(1))),
    )
    yield "it is what Student's test finds in noise, but for luck", lambda: same(by_chance(12) / counted(12), 1, 0.15)


@exercise("11.3", "single(features), the one vector (D,) with the least mean squared distance to features (N, D)")
def _single(single) -> Iterator[Property]:
    import torch

    random = torch.Generator().manual_seed(0)
    features, steps = torch.randn(5, 3, generator=random).double(), torch.randn(8, 3, generator=random).double()
    opposite = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)

    def cost(answer, targets) -> float:
        return float((targets - answer).square().sum(1).mean())

    yield "it is one vector (D,)", lambda: tuple(single(features).shape) == (3,)
    yield "it is the feature itself where all are equal", lambda: torch.allclose(single(features[:1]), features[0])
    yield (
        "for +1 and -1 no other number from -1 to 1 is better",
        lambda: all(cost(single(opposite), opposite) <= cost(k / 10, opposite) + 1e-9 for k in range(-10, 11)),
    )
    yield (
        "no small change makes it better",
        lambda: all(
            cost(single(features) + 1e-3 * step, features) > cost(single(features), features) for step in steps
        ),
    )


@exercise("12.1", "seeds_needed(effect), how many seeds find a difference of so many spreads in four of five cases")
def _seeds_needed(needed) -> Iterator[Property]:
    from scipy import stats

    def found(seeds: float, effect: float) -> float:
        """How often the rule finds the difference: the exact power of Student's test."""
        n = max(2, math.ceil(seeds))
        return float(stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, effect * math.sqrt(n)))

    yield "one seed has no spread: it takes two at least", lambda: math.ceil(needed(10.0)) >= 2
    yield "a smaller difference needs more of them", lambda: needed(0.25) > needed(0.5) > needed(1.0)
    for effect in (1.0, 0.5, 0.3):
        yield (
            f"with them a difference of {effect} spreads is found in four of five cases",
            lambda x=effect: found(needed(x), x) > 0.785,
        )
        yield (
            f"with a fifth fewer, a difference of {effect} spreads is missed more often than that",
            lambda x=effect: found(0.8 * needed(x), x) < 0.8,
        )


@exercise("12.2", "holm(p, sure, larger), a claim's p after Holm's method, with so many sure and larger ones beside it")
def _holm(holm) -> Iterator[Property]:
    from t2i_core.evidence import corrected

    papers = [("one claim", 0, 0), ("ten sure claims beside it", 10, 0), ("ten doubtful claims beside it", 0, 10)]
    yield "no correction makes p smaller", lambda: all(holm(0.04, *of) >= 0.04 for of in ((0, 0), (3, 0), (2, 5)))
    yield "p is at most 1", lambda: holm(0.3, 0, 20) <= 1
    yield "more claims never make it smaller", lambda: holm(0.01, 2, 5) <= min(holm(0.01, 3, 5), holm(0.01, 2, 6))
    for words, sure, larger in (*papers, ("three sure and four doubtful claims beside it", 3, 4)):
        yield (
            f"in a paper with {words}, it is what evidence.corrected gives",
            lambda n=sure, m=larger: same(holm(0.04, n, m), corrected([1e-9] * n + [0.04] + [0.5] * m)[n]),
        )


@exercise("12.3", "chance(column), the share of the orders of a column that rise at least as clearly as it does")
def _chance(chance) -> Iterator[Property]:
    from itertools import permutations

    import numpy as np
    from scipy import stats

    column = [0.2, 0.3, 0.7, 0.1, 0.4, 0.6, 0.5]

    def exact() -> float:
        ranks = stats.rankdata(column)
        orders = np.array(list(permutations(ranks))) @ np.arange(len(column))  # rises with Spearman's correlation
        return float((orders >= ranks @ np.arange(len(column)) - 1e-9).mean())

    yield "it is a number from 0 to 1", lambda: 0 <= chance(column) <= 1
    yield "a column that rises at every step has hardly an equal", lambda: chance(sorted(column)) < 0.01
    yield (
        "every order rises as clearly as a column that falls at every step",
        lambda: chance(sorted(column)[::-1]) > 0.99,
    )
    yield f"for {column} it is the share of all orders, but for luck", lambda: abs(chance(column) - exact()) < 0.04
    yield "only ranks count, not how large the steps are", lambda: abs(chance([x**9 for x in column]) - exact()) < 0.04


@exercise(
    "13.1", "one_picture(first, second, known), whether a system that knows these words draws one for both captions"
)
def _one_picture(one_picture) -> Iterator[Property]:
    from t2i_core.captions import Vocabulary

    vocabulary = Vocabulary.build(["a red house in the snow", "a blue tree on the left"])

    def asked(first: str, second: str) -> bool:
        return one_picture(first, second, vocabulary.words)

    def read(caption: str) -> list[int]:
        return vocabulary.tokenize([caption]).ids[0].tolist()

    pairs = [("a zebra in the snow", "a xylophone in the snow"), ("a zebra in the snow", "a tree in the snow")]
    pairs += [("a zebra in the snow", "a in the snow"), ("a zebra house", "a house zebra")]
    yield "a caption and itself are one picture", lambda: asked("a red house", "a red house")
    yield "other words that are known are another picture", lambda: not asked("a red house", "a blue house")
    yield "the order of known words counts", lambda: not asked("a tree on the house", "a house on the tree")
    for first, second in pairs:
        yield (
            f'it says of "{first}" and "{second}" whether a vocabulary reads the same in both',
            lambda a=first, b=second: asked(a, b) == asked(b, a) == (read(a) == read(b)),
        )


@exercise(
    "13.2", "straight(t), the length of the noise at t on a straight line between two seeds, in shares of the ends'"
)
def _straight(straight) -> Iterator[Property]:
    import torch

    a, b = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = float(a.norm() + b.norm()) / 2
    yield "both ends have the length of the ends", lambda: same(straight(0.0), 1) and same(straight(1.0), 1)
    yield "from either end it is the same way", lambda: same(straight(0.25), straight(0.75))
    yield "it is longer than 0: two seeds do not cancel", lambda: straight(0.5) > 0.1
    yield (
        "on the way it is shorter than on the sphere, where the length stays",
        lambda: all(straight(k / 10) < 1 for k in range(1, 10)),
    )
    for t in (0.5, 0.2):
        yield (
            f"it is what two long rows of noise have at t = {t}, but for luck",
            lambda t=t: same(straight(t), float(((1 - t) * a + t * b).norm()) / ends, 0.01),
        )
