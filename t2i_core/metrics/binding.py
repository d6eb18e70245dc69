"""Attribute binding: is each part in the colour that the caption gives to it, and not to its neighbour?

"A red crown and blue wings" can fail in two ways: a colour that nobody asked for, or the right colours on the wrong
parts. Accuracy counts both; the leak tells them apart. Only captions that give colours to two parts or more are asked,
because a single colour has nothing to be confused with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t2i_core.metrics.inspector import Reading
from t2i_core.metrics.soa import RULE, Question, answers, questions
from t2i_core.metrics.stats import Value, proportion

KIND = "color"
ASKED = "color of parts, where the caption states those of two parts or more"
LEAK_RULE = "the wrong color is one that the same caption gives to another part"


def binding_accuracy(
    reading: Reading,
    truths: Sequence[Mapping[str, Any]],
    caption_index: Sequence[int],
    protocol: Mapping[str, Any] | None = None,
) -> dict[str, Value]:
    """{"binding_accuracy": ..., "binding_leak": ...}, both shares in 0..1, from the inspector's reading.

    "binding_accuracy": right answers / (part, colour) questions; a part that is not found is in no colour and counts as
    answered wrongly. n is the number of questions.

    "binding_leak": of the parts that are found and read in a wrong colour, the share read in a colour that the same
    caption gives to another part. n is the number of these parts; a part that is not found is none of them. Left out
    where no part is read in a wrong colour. The protocol's "chance" holds the "share" that it would be with the same
    mistakes if wrong colours were spread evenly: with C colours to read, and k colours that the caption gives to other
    parts and not to this one, k / (C - 1), on average over these parts. A leak above it means colours that change
    places.

    {} where no caption gives colours to two parts, or the inspector reads none. ``caption_index``: which of its
    captions each image was drawn for.
    """
    asked = bound(truths, caption_index) if KIND in reading.kinds() else []
    if not asked:
        return {}
    told = {**(protocol or {}), "asked": ASKED, "rule": RULE}
    values = {"binding_accuracy": proportion(answers(reading, asked), [q.image for q in asked], told)}
    wrong, leaks, chances = _mistakes(reading, asked)
    if wrong:
        even = f"wrong colors spread evenly over the other {len(reading.config.qualities[KIND]) - 1}"
        said = {"asked": f"{ASKED}; of these, the parts found in a wrong color", "rule": LEAK_RULE}
        # nested, because it depends on which answers were wrong: runs measured alike differ in it
        chance = {"share": round(float(np.mean(chances)), 4), "if": even}
        values["binding_leak"] = proportion(leaks, wrong, {**told, **said, "chance": chance})
    return values


def bound(truths: Sequence[Mapping[str, Any]], caption_index: Sequence[int]) -> list[Question]:
    """The colour questions of those captions that give colours to two parts or more."""
    asked = questions(truths, caption_index, KIND)
    parts = Counter(q.image for q in asked)
    return [q for q in asked if parts[q.image] > 1]


def _mistakes(reading: Reading, asked: Sequence[Question]) -> tuple[list[int], list[bool], list[float]]:
    """For each part found and read in a wrong colour: its image, whether another part was to have that colour, and how
    likely that is for a wrong colour drawn evenly."""
    column = {name: p for p, name in enumerate(reading.config.parts)}
    found, says = reading.found.numpy(), reading.says(KIND)
    others = len(reading.config.qualities[KIND]) - 1
    given: dict[int, set[str]] = {}
    for q in asked:
        given.setdefault(q.image, set()).add(q.answer)
    wrong, leaks, chances = [], [], []
    for q in asked:
        seen = says[q.image][column[q.name]]
        if found[q.image, column[q.name]] and seen != q.answer:
            elsewhere = given[q.image] - {q.answer}
            wrong.append(q.image)
            leaks.append(seen in elsewhere)
            chances.append(len(elsewhere) / others)
    return wrong, leaks, chances
