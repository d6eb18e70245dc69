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


def stated(word, kind):
    return word[3] == kind


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
    "10.1": [cloud(0.1, 0.0, 50.0), cloud(1.0, 0.0, 500.0), [(np.zeros(2), (1 + k) ** 2 * ROUND) for k in (1, 2, 500)]],
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
    ("10.1", cloud(0.1, 0.0), "three clouds"),
    ("10.1", cloud(0.1, 0.0, 50.0, covariance=np.eye(3)), "with one d"),
    ("10.1", cloud(0.1, 0.0, 50.0, covariance=-ROUND), "eigenvalue"),
    ("10.1", cloud(0.0, 0.0, 50.0), "not simply the real"),
    ("10.1", cloud(40.0, 0.0, 50.0), "at most a hundredth"),
    ("10.1", [(np.array([0.1, 0.1]), ROUND), *cloud(0.0, 50.0)], "equals its bound"),
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
        if name == "10.1":
            break  # its answer is no function


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
    (cell,) = (source for source in cells(name) if f'check("{asked}"' in source)
    signature = re.match(r"\w+\(.*?\)", CHECKS[asked][0])
    assert "your answer" in cell and (signature is None or f"def {signature[0]}:" in cell)
    number = int(asked.split(".")[1])
    assert f'assert exercises.check("{asked}", ' in solutions(name)[number - 1]
    names = {}
    exec(cell.rsplit("\n", 1)[0], names)
    assert "not answered yet" in repr(eval(cell.rsplit("\n", 1)[1], names))
