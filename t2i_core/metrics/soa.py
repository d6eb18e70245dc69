"""Semantic object accuracy: is what the caption names in the picture, and in the colour and size it names?

Only what the caption says is asked: the truth's `words` list it, word by word, for each caption. The inspector answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from t2i_core.metrics.inspector import Reading
from t2i_core.metrics.stats import Value, proportion, ratio_of_classes, set_interval

RULE = "the part must be found (presence above 0.5) and read as the caption says"


@dataclass(frozen=True)
class Question:
    """The caption of ``image`` states that ``part`` (a row of the truth's parts) is ``answer`` in ``kind``."""

    image: int
    part: int
    name: str
    kind: str
    answer: str


def stated(truth: Mapping[str, Any], caption_index: int, kind: str) -> list[int]:
    """Which parts (or relations) the caption says ``kind`` of, each once; an image-level attribute gives [-1]."""
    words = truth.get("words", [])
    if not words:
        return []
    return list(dict.fromkeys(index for _, _, index, said in words[caption_index] if said == kind))


def questions(truths: Sequence[Mapping[str, Any]], caption_index: Sequence[int], kind: str) -> list[Question]:
    """Everything the chosen captions state of parts in ``kind`` ("name", "color", "size", "place", "level")."""
    asked = []
    for image, (truth, chosen) in enumerate(zip(truths, caption_index, strict=True)):
        for part in stated(truth, chosen, kind):
            if part < 0:
                continue  # said of the whole picture
            row = truth["parts"][part]
            asked.append(Question(image, part, row["name"], kind, row[kind]))
    return asked


def answers(reading: Reading, asked: Sequence[Question]) -> np.ndarray:
    """(questions,) of 0 and 1: is the part found, and read as the caption says?"""
    column = {name: p for p, name in enumerate(reading.config.parts)}
    found = reading.found.numpy()
    says = {kind: reading.says(kind) for kind in {q.kind for q in asked} - {"name"}}
    right = [
        found[q.image, column[q.name]] and (q.kind == "name" or says[q.kind][q.image][column[q.name]] == q.answer)
        for q in asked
    ]
    return np.array(right, dtype=np.float64)


def semantic_object_accuracy(
    reading: Reading,
    truths: Sequence[Mapping[str, Any]],
    caption_index: Sequence[int],
    protocol: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, Value]:
    """SOA-I and SOA-C (Hinz et al. 2020): of the objects the captions name, the share the inspector finds.

    "soa_i" counts every named object of every image once; "soa_c" is the mean over classes of each class's share, so
    that a rare class weighs as much as a frequent one. Worlds whose parts are always there, or whose captions name
    none, give {}.
    """
    asked = [q for q in questions(truths, caption_index, "name") if q.name in reading.config.parts]
    if not asked or ["presence"] not in reading.config.classes:
        return {}
    hits, images = answers(reading, asked), np.array([q.image for q in asked])
    told = {**(protocol or {}), "asked": "objects the caption names", "rule": "presence above 0.5"}
    right, total = np.zeros((2, len(truths), len(reading.config.parts)))
    for q, hit in zip(asked, hits, strict=True):
        total[q.image, reading.config.parts.index(q.name)] += 1
        right[q.image, reading.config.parts.index(q.name)] += hit
    value = ratio_of_classes(total, right)
    low, high, how = set_interval(
        value, lambda drawn: ratio_of_classes(total[drawn], right[drawn]), [len(truths)], resamples=1000, seed=seed
    )
    share = np.divide(right.sum(0), total.sum(0), out=np.zeros(len(total.T)), where=total.sum(0) > 0)
    each = {name: round(float(share[p]), 4) for p, name in enumerate(reading.config.parts) if total[:, p].any()}
    by_class = Value(value, max(0.0, low), min(1.0, high), len(asked), {**told, "classes": each, **how})
    return {"soa_i": proportion(hits, images, told), "soa_c": by_class}


def part_accuracy(
    reading: Reading,
    truths: Sequence[Mapping[str, Any]],
    caption_index: Sequence[int],
    kinds: Sequence[str],
    protocol: Mapping[str, Any] | None = None,
) -> dict[str, Value]:
    """{"color_accuracy": Value, ...} for each kind that the inspector reads and some caption states of a part.

    A thing that is not found is in no colour and at no place: its question counts as answered wrongly.
    """
    values = {}
    for kind in kinds:
        asked = questions(truths, caption_index, kind) if kind in reading.kinds() else []
        if asked:
            told = {**(protocol or {}), "asked": f"{kind} of parts, where the caption states it", "rule": RULE}
            values[f"{kind}_accuracy"] = proportion(answers(reading, asked), [q.image for q in asked], told)
    return values


def attribute_accuracy(
    reading: Reading,
    truths: Sequence[Mapping[str, Any]],
    caption_index: Sequence[int],
    protocol: Mapping[str, Any] | None = None,
) -> dict[str, Value]:
    """{"setting_accuracy": Value, ...} for each image-level attribute that some caption states.

    A truth without `words` (emoji) states nothing word by word; its captions are then taken to state every attribute.
    """
    values = {}
    for name in reading.config.attributes:
        read = reading.attribute(name)
        hits = [
            read[image] == truth["attributes"][name]
            for image, (truth, chosen) in enumerate(zip(truths, caption_index, strict=True))
            if name in truth.get("attributes", {}) and (not truth.get("words") or -1 in stated(truth, chosen, name))
        ]
        if hits:
            told = {**(protocol or {}), "asked": f"{name}, where the caption states it"}
            values[f"{name}_accuracy"] = proportion(hits, protocol=told)
    return values
