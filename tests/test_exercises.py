"""The exercises' solutions run in their notebooks' own names, and each of them asserts something."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from notebooks_at_smoke import NAMES, RIGHT, cells, executed, printed, solution_cell, solutions

pytestmark = [pytest.mark.xdist_group("notebooks"), pytest.mark.timeout(1800)]
EVERY = [(name, number) for name in NAMES for number in range(1, len(solutions(name)) + 1)]


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    return executed(tmp_path_factory)


def asserts(code: str) -> bool:
    """Does the code assert something: a statement, or a call of something like torch.testing.assert_close?"""
    nodes = list(ast.walk(ast.parse(code)))
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    named = [func.attr for func in calls if isinstance(func, ast.Attribute)]
    return any(isinstance(node, ast.Assert) for node in nodes) or any(name.startswith("assert_") for name in named)


@pytest.mark.parametrize("name", NAMES)
def test_two_or_three_exercises_each_with_a_hidden_hint_and_a_solution(name):
    text = "\n\n".join(cells(name, "markdown"))
    exercises = text.split("## Exercises")[1]
    count = len(solutions(name))
    assert 2 <= count <= 3
    for summary in ("Hint", "Solution"):
        assert exercises.count(f"<details><summary>{summary}</summary>") == count
    assert exercises.count("<details>") == exercises.count("</details>") == 2 * count
    assert "(Hint" not in exercises


@pytest.mark.parametrize(("name", "number"), EVERY)
def test_a_solution_asserts_something(name, number):
    assert asserts(solutions(name)[number - 1])


@pytest.mark.parametrize(("name", "number"), EVERY)
def test_a_solution_is_right(smoke, name, number):
    count = len(solutions(name))
    said = printed(smoke, name)[-count:]  # the solutions are the last cells
    assert said[number - 1].strip() == RIGHT, said[number - 1]


# ---------------------------------------------------------------- a wrong solution would be noticed


@pytest.mark.parametrize("code", ["assert x == 2", "assert y == 1", "raise SystemError", "x ="])
def test_a_wrong_solution_is_not_called_right(code, capsys):
    exec(solution_cell(code, "here"), {"x": 1})
    assert RIGHT not in capsys.readouterr().out


def test_a_right_solution_sees_the_notebooks_names_and_leaves_them_alone(capsys):
    names = {"x": 1}
    exec(solution_cell("def f():\n    return x\nx = 2\nassert f() == 2", "here"), names)
    assert capsys.readouterr().out.strip() == RIGHT and names["x"] == 1


def test_code_without_an_assertion_is_noticed():
    assert asserts("torch.testing.assert_close(a, b)") and asserts("for k in a:\n    assert k")
    assert not asserts("print('assert this')")
