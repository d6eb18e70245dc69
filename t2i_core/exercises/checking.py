"""How an answer is checked: right, or which property fails, in plain words."""

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
