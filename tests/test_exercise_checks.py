"""`check` of the exercises: right answers are right, each natural mistake fails the property that it breaks."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from notebooks_at_smoke import NAMES, cells, solutions

from t2i_core.config import UserError
from t2i_core.exercises import CHECKS, check

EAST = np.array([1.0, 0.0])
ROUND = np.eye(2)
TERMS = {"g0": (1, True), "g1": (2, True), "g2": (3, False)}
TERMS |= {"itm0_sentence": (1, True), "itm1_words": (2, True), "itm1_sentence": (2, True)}
VALUES = ("09.2", "10.1")  # whose answers are no functions


def stated(word, kind):
    return word[3] == kind


def stretched(sentence, number):
    return sentence[:, :, None] * (1 + torch.arange(number) / 10)


def seen(first, second, known):
    one, other = ([word if word in known else None for word in caption.split()] for caption in (first, second))
    return one == other


def rises(column, times=3000):
    ranks, places = np.argsort(np.argsort(column)), np.arange(len(column))
    shuffled = np.random.default_rng(1).permuted(np.tile(ranks, (times, 1)), axis=1)
    return (shuffled @ places >= ranks @ places).mean()


def sure_of_values(column, times=3000):
    """As `rises`, with Pearson's correlation."""
    values, places = np.array(column), np.arange(len(column))
    shuffled = np.random.default_rng(1).permuted(np.tile(values, (times, 1)), axis=1)
    return (shuffled @ places >= values @ places - 1e-12).mean()


def cloud(*places, covariance=ROUND):
    return [(place * EAST, covariance) for place in places]


RIGHT = {
    "00.1": [lambda captions, kind: np.mean([any(stated(w, kind) for w in c) for c in captions])],
    "01.1": [lambda n: 2 * math.log(n), lambda n: torch.tensor(float(n)).log() * 2],
    "02.2": [lambda x: -0.5 / (1 + math.exp(-x)), lambda x: -torch.tensor(x).sigmoid() / 2],
    "03.3": [lambda s, w, n: (n - w) / (n - 1 + math.exp(s))],
    "04.3": [lambda r: r.square().mean().sqrt(), lambda r: float(np.sqrt((r.numpy() ** 2).mean()))],
    "05.1": [lambda a, b: (a + b) / 2, lambda a, b: torch.cat([a, b]).mean(0, keepdim=True)],
    "06.2": [lambda g2, alr2: g2 / alr2],
    "07.1": [lambda t, c, i, f, u: f**t * c + i * u * (1 - f**t) / (1 - f)],
    "08.2": [lambda k: (1 + k) ** 6 / (1 + k * k) ** 3],
    "09.1": [stretched, lambda s, n: s[:, :, None] * (torch.arange(n) - 1)],
    "09.2": [TERMS, {name: list(said) for name, said in TERMS.items()}],
    "09.3": [lambda lengths: len(set(lengths)) == 1, lambda lengths: max(lengths) == min(lengths)],
    "10.1": [cloud(0.1, 0.0, 50.0), cloud(1.0, 0.0, 500.0), [(np.zeros(2), (1 + k) ** 2 * ROUND) for k in (1, 2, 500)]],
    "11.1": [lambda p: -math.log(p) - math.log(1 - p) / 2, lambda p: -torch.tensor(p * (1 - p) ** 0.5).log()],
    "11.2": [lambda n: n * (n - 1) / 40, lambda n: 0.05 * math.comb(n, 2)],
    "11.3": [lambda f: f.mean(0), lambda f: sum(f) / len(f)],
    "12.1": [lambda d: 8 / d**2 + 2, lambda d: math.ceil(7.85 / d**2 + 2)],
    "12.2": [lambda p, sure, larger: min(1.0, p * (1 + larger))],
    "12.3": [rises],
    "13.1": [seen],
    "13.2": [lambda t: ((1 - t) ** 2 + t * t) ** 0.5, lambda t: math.hypot(t, 1 - t)],
}
WRONG = [
    ("00.1", lambda captions, kind: sum(any(stated(w, kind) for w in c) for c in captions), "from 0 to 1"),
    ("00.1", lambda captions, kind: 1 / 2, "no caption states"),
    ("00.1", lambda captions, kind: np.mean([stated(w, kind) for c in captions for w in c]), "every caption states"),
    ("00.1", lambda captions, kind: float(any(stated(w, kind) for c in captions for w in c)), "mean of both shares"),
    ("00.1", lambda captions, kind: min(1, sum(stated(w, kind) for c in captions for w in c) / len(captions)), "once"),
    ("01.1", lambda n: math.log(2 * n), "batch of one"),
    ("01.1", lambda n: n - 1, "whenever the batch doubles"),
    ("01.1", math.log, "both directions"),
    ("01.1", lambda n: 2 * math.log2(n), "for 32 equal vectors"),
    ("02.2", lambda x: 0.5 / (1 + math.exp(-x)), "pushes the logit up"),
    ("02.2", lambda x: -0.5 / (1 + math.exp(x)), "hardly a push"),  # that is E12's
    ("02.2", lambda x: -1 / (1 + math.exp(-x)), "small step"),  # the half forgotten
    ("03.3", lambda s, w, n: n - w, "from 0 to 1"),
    ("03.3", lambda s, w, n: n / (n + math.exp(s)), "without padding"),
    ("03.3", lambda s, w, n: (n - w) / (n + math.exp(s)), "every slot"),
    ("03.3", lambda s, w, n: (n - w) / n, "padding gets less"),
    ("03.3", lambda s, w, n: (n - w) / (n - 1 + math.exp(s / 2)), "similarity_matrix"),
    ("04.3", lambda r: r.norm(), "into four"),
    ("04.3", lambda r: r.norm() / r.numel(), "into four"),
    ("04.3", lambda r: r.square().mean(), "twice"),
    ("04.3", lambda r: r.sum() / r.numel(), "sign"),
    ("04.3", lambda r: r.abs().mean(), "one Frobenius norm"),
    ("04.3", lambda r: r.norm() / r.shape[1] ** 0.5, "1 / 2 everywhere"),
    ("05.1", lambda a, b: (a + b)[0] / 2, "shape"),
    ("05.1", lambda a, b: a, "whichever"),
    ("05.1", lambda a, b: a + b, "where both are the same"),
    ("05.1", lambda a, b: (a + b) / 2 + (a - b) ** 2, "better than either"),
    ("05.1", lambda a, b: (a + b) / 2 + 1e-3 * (a - b) ** 2, "no small change"),
    ("06.2", lambda g2, alr2: g2 * alr2, "weigh the same"),
    ("06.2", lambda g2, alr2: alr2 / g2, "grows with g2"),
    ("06.2", lambda g2, alr2: (g2 / alr2) ** 2, "with it both terms"),
    ("07.1", lambda t, c, i, f, u: f**t * c, "one step is E5"),
    ("07.1", lambda t, c, i, f, u: i * u / (1 - f), "before the first step"),
    ("07.1", lambda t, c, i, f, u: f**t * c + t * i * u, "shut forget gate"),
    ("08.2", lambda k: 64.0, "one of the gradients is 0"),
    ("08.2", lambda k: 1 / (1 + k), "never the shorter"),
    ("08.2", lambda k: (1 + k) ** 6 / (1 + k**6), "ma_gradient_penalty gives"),
    ("09.1", lambda s, n: s[:, None].expand(-1, n, -1), "shape"),
    ("09.1", lambda s, n: s[:, :, None] + torch.arange(n), "times a number"),
    ("09.1", lambda s, n: s[:, :, None].expand(-1, -1, n), "no two copies"),
    ("09.1", lambda s, n: s[:, :, None] * (1 - 0.9 ** torch.arange(n).clamp(max=3)), "no two copies"),
    ("09.2", TERMS | {"g3": (3, True)}, "generator_losses"),
    ("09.2", TERMS | {"kl": (1, True)}, "each term looks at a picture"),
    ("09.2", {name: said for name, said in TERMS.items() if name != "g2"}, "left out"),
    ("09.2", {name: (stage - 1, hears) for name, (stage, hears) in TERMS.items()}, "picture of stage 1"),
    ("09.2", TERMS | {"itm1_sentence": (3, True)}, "picture of stage 2"),
    ("09.2", TERMS | {"g2": (3, True)}, "another caption"),
    ("09.3", lambda lengths: len(lengths), "True or False"),
    ("09.3", lambda lengths: len(lengths) == 1, "of 6, 6 words"),
    ("09.3", lambda lengths: True, "of 4, 9 words"),
    ("09.3", lambda lengths: min(lengths) > 3, "one more word"),
    ("09.3", lambda lengths: lengths[0] == lengths[-1], "order of the captions"),
    ("09.3", lambda lengths: max(lengths) < 9, "of 5, 5, 6, 5 words"),
    ("10.1", cloud(0.1, 0.0), "three clouds"),
    ("10.1", cloud(0.1, 0.0, 50.0, covariance=np.eye(3)), "with one d"),
    ("10.1", cloud(0.1, 0.0, 50.0, covariance=-ROUND), "eigenvalue"),
    ("10.1", cloud(0.0, 0.0, 50.0), "not simply the real"),
    ("10.1", cloud(40.0, 0.0, 50.0), "at most a hundredth"),
    ("10.1", [(np.array([0.1, 0.1]), ROUND), *cloud(0.0, 50.0)], "equals its bound"),
    ("11.1", lambda p: -math.log(p), "all but sure"),  # that is the conditional GAN's
    ("11.1", lambda p: -math.log(1 - p) / 2, "believes no real picture"),
    ("11.1", lambda p: -p * (1 - p), "no verdict makes it 0"),
    ("11.1", lambda p: -math.log(p) - math.log(1 - p), "bce_matching"),  # the half forgotten
    ("11.2", lambda n: 0.05 * n * n, "by itself"),
    ("11.2", lambda n: 0.05 * (n - 1), "tenth system"),
    ("11.2", lambda n: 0.05 * n * (n - 1), "in noise"),  # each pair twice
    ("11.2", lambda n: math.comb(n, 2), "in noise"),
    ("11.3", lambda f: f.mean(), "one vector"),
    ("11.3", lambda f: 0 * f[0], "where all are equal"),
    ("11.3", lambda f: f[0], "no other number"),
    ("11.3", lambda f: (f.amax(0) + f.amin(0)) / 2, "no small change"),
    ("12.1", lambda d: 1, "two at least"),
    ("12.1", lambda d: 34, "smaller difference"),
    ("12.1", lambda d: 3 + 1 / d**2, "is found in four"),
    ("12.1", lambda d: max(2, 8 / d**2), "is found in four"),  # as if the spread were known
    ("12.1", lambda d: 12 / d**2 + 2, "missed more often"),
    ("12.2", lambda p, sure, larger: p / (1 + larger), "smaller"),
    ("12.2", lambda p, sure, larger: p * (1 + larger), "at most 1"),
    ("12.2", lambda p, sure, larger: min(1, p * (1 + sure + larger)), "with ten sure claims"),  # Bonferroni's
    ("12.2", lambda p, sure, larger: p, "with ten doubtful claims"),
    ("12.3", lambda column: 1 - rises(column) * 5040, "from 0 to 1"),
    ("12.3", lambda column: 1 - rises(column), "at every step has hardly"),
    ("12.3", lambda column: rises(column) / 2, "falls at every step"),
    ("12.3", lambda column: rises(column) ** 2, "all orders"),
    ("12.3", sure_of_values, "only ranks"),
    ("13.1", lambda first, second, known: False, "itself"),
    ("13.1", lambda first, second, known: True, "another picture"),
    ("13.1", lambda first, second, known: set(first.split()) == set(second.split()), "order of known words"),
    ("13.1", lambda first, second, known: first == second, "zebra in the snow"),
    (
        "13.1",
        lambda *of: len({tuple(w for w in caption.split() if w in of[2]) for caption in of[:2]}) == 1,
        '"a in the snow"',
    ),
    ("13.2", lambda t: 1 - t, "both ends"),
    ("13.2", lambda t: 1 - t * t * (1 - t), "same way"),
    ("13.2", lambda t: abs(1 - 2 * t), "do not cancel"),  # as if they were opposite
    ("13.2", lambda t: 1.0, "shorter than on the sphere"),
    ("13.2", lambda t: (1 - t) ** 2 + t * t, "two long rows"),  # the root forgotten
]


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers])
def test_a_right_answer_is_called_right(name, answer):
    verdict = check(name, answer)
    assert verdict and repr(verdict) == f"{name}: right."


@pytest.mark.parametrize(("name", "answer", "broken"), WRONG)
def test_a_wrong_answer_is_told_which_property_fails(name, answer, broken):
    verdict = check(name, answer)
    assert not verdict and "This should hold, and does not" in repr(verdict) and broken in repr(verdict), verdict


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_has_a_right_answer_and_wrong_ones_here(name):
    assert name in RIGHT and sum(name == wrong for wrong, *_ in WRONG) >= 3


@pytest.mark.parametrize("name", CHECKS)
def test_no_answer_is_no_error_and_is_told_what_is_wanted(name):
    for nothing in (None, lambda *values: None):
        verdict = check(name, nothing)
        assert not verdict and "not answered yet" in repr(verdict) and CHECKS[name][0] in repr(verdict)
        if name in VALUES:
            break


@pytest.mark.parametrize("answer", [lambda n: 1 / 0, lambda: 0, lambda n: "a word", 7, "text"])
def test_an_answer_that_breaks_is_part_of_the_verdict(answer):
    verdict = check("01.1", answer)
    assert not verdict and "Your answer stopped with" in repr(verdict) and "batch of one" in repr(verdict)


def test_an_unknown_exercise_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"01\.1"):
        check("01.11", None)


# ---------------------------------------------------------------- in the notebooks


def used(name: str) -> list[str]:
    """The exercises that a notebook's cells check."""
    return re.findall(r'exercises\.check\("([\d.]+)"', "\n".join(cells(name)))


def test_every_check_is_used_by_the_notebook_that_it_is_named_after():
    assert sorted(check for name in NAMES for check in used(name)) == sorted(CHECKS)
    for name in NAMES:
        assert all(check.split(".")[0] == name[:2] for check in used(name))


@pytest.mark.parametrize(("name", "asked"), [(name, asked) for name in NAMES for asked in used(name)])
def test_the_cell_waits_for_an_answer_and_the_solution_is_one(name, asked):
    answers = [source for source in cells(name) if "exercises.check(" in source]
    (cell,) = (source for source in answers if f'check("{asked}"' in source)
    signature = re.match(r"\w+\(.*?\)", CHECKS[asked][0])
    assert "your answer" in cell and (signature is None or f"def {signature[0]}:" in cell)
    number = int(asked.split(".")[1])
    assert f'assert exercises.check("{asked}", ' in solutions(name)[number - 1]
    names = {}
    for before in answers[: answers.index(cell)]:  # the first of them holds the import
        exec(before.rsplit("\n", 1)[0], names)
    exec(cell.rsplit("\n", 1)[0], names)
    assert "not answered yet" in repr(eval(cell.rsplit("\n", 1)[1], names))
