"""The inspector's reading of a drawn picture beside its caption: which of the stated words are obeyed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from t2i_core.explore.said import Statement, statements
from t2i_core.metrics.inspector import Inspector, Reading
from t2i_core.metrics.layout import relations


@dataclass(frozen=True)
class Answer:
    """A statement of the caption, what the inspector sees instead or too, and whether the picture obeys."""

    statement: Statement
    seen: str
    obeyed: bool


def read_pictures(
    images: Tensor, captions: Sequence[str], world: str, inspector: Inspector
) -> tuple[tuple[Answer, ...], ...]:
    """For every image (n, 3, R, R) in [-1, 1] what its caption states and the inspector sees.

    An inspector that was trained on another world (``own`` is False) cannot say, and gives no answer.
    """
    if not inspector.own:
        return ((),) * len(captions)
    reading = inspector.read(images)
    return tuple(
        tuple(_answer(reading, k, said) for said in statements(caption, world)) for k, caption in enumerate(captions)
    )


def _answer(reading: Reading, image: int, said: Statement) -> Answer:
    if not said.part:
        seen = reading.attribute(said.kind)[image]
        return Answer(said, seen, seen == said.answer)
    found = [bool(reading.found[image, reading.config.parts.index(name)]) for name in (said.part, said.other) if name]
    if not all(found):
        return Answer(said, f"no {said.other if found[0] else said.part}", False)
    if said.kind == "name":
        return Answer(said, said.part, True)
    if said.kind == "relation":
        stands = _related(reading, image, said)
        return Answer(said, said.answer if stands else f"not {said.answer}", stands)
    seen = reading.says(said.kind)[image][reading.config.parts.index(said.part)]
    return Answer(said, seen, seen == said.answer)


def _related(reading: Reading, image: int, said: Statement) -> bool:
    """Does the subject stand so to the object? The question goes to the metric as a truth that says nothing else."""
    truth = {
        "parts": [{"name": said.part}, {"name": said.other}],
        "relations": [{"subject": 0, "relation": said.answer, "object": 1}],
        "words": [[[said.start, said.end, 0, "relation"]]],
    }
    silent = {"parts": [], "relations": [], "words": [[]]}
    truths = [truth if k == image else silent for k in range(len(reading))]
    return relations(reading, truths, [0] * len(reading))[0][1]
