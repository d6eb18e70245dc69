"""Layout accuracy: is it where the caption says, and on the ground-truth box of the picture the caption describes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from t2i_core.metrics.accuracy import inside, iou
from t2i_core.metrics.inspector import Reading
from t2i_core.metrics.soa import answers, part_accuracy, questions, stated
from t2i_core.metrics.stats import Value, mean, proportion

KINDS = ("place", "level")


def layout_accuracy(
    reading: Reading,
    truths: Sequence[Mapping[str, Any]],
    caption_index: Sequence[int],
    protocol: Mapping[str, Any] | None = None,
) -> dict[str, Value]:
    """What the captions say of where things are, against the inspector's reading; {} for a world without places.

    "place_accuracy", "level_accuracy": the nearest column or level to the middle of the read box, as the truth is made.
    "relation_accuracy": left of, above. "layout_accuracy": all of these questions together. "pointing" and "box_iou":
    for the parts whose place is stated, whether the middle of the read box lies in the true box, and the overlap of
    both boxes (0 where the part is not found); a caption fixes a column, not a box, so their ceiling is under 1.
    """
    values = part_accuracy(reading, truths, caption_index, KINDS, protocol)
    related = relations(reading, truths, caption_index)
    told = {**(protocol or {}), "asked": "relations, where the caption states one", "rule": _relation_rule(reading)}
    if related:
        values["relation_accuracy"] = proportion([hit for _, hit in related], [image for image, _ in related], told)
    if len(values) > 1:
        values["layout_accuracy"] = _together(values, reading, truths, caption_index, related, protocol)
    return values | _boxes(reading, truths, caption_index, protocol)


def relations(
    reading: Reading, truths: Sequence[Mapping[str, Any]], caption_index: Sequence[int]
) -> list[tuple[int, bool]]:
    """(image, right) for every relation the chosen captions state: both things found, and standing so."""
    found, centre, column = reading.found, reading.centre, reading.config.parts.index
    hits = []
    for image, (truth, chosen) in enumerate(zip(truths, caption_index, strict=True)):
        for number in stated(truth, chosen, "relation"):
            said = truth["relations"][number]
            subject, other = (column(truth["parts"][said[role]]["name"]) for role in ("subject", "object"))
            both = bool(found[image, subject] and found[image, other])
            way = (centre[image, other] - centre[image, subject]).tolist()
            hits.append((image, both and _stands(said["relation"], way, *_margins(reading))))
    return hits


def _stands(relation: str, way: Sequence[float], across: float, down: float) -> bool:
    """Does the object stand so, seen from the subject, when ``way`` = (dx, dy) leads from the subject to it?"""
    if relation == "left of":
        return way[0] > across
    if relation == "above":
        return way[1] > down and abs(way[0]) < across
    raise ValueError(f"unknown relation {relation!r}")


def _margins(reading: Reading) -> tuple[float, float]:
    """Half the distance between neighbouring columns, and between levels: nearer than that is the same one."""
    return tuple(
        min((b - a for a, b in pairwise(sorted(rule.values()))), default=0.0) / 2
        for rule in (reading.config.places, reading.config.levels)
    )


def _relation_rule(reading: Reading) -> str:
    across, down = _margins(reading)
    return (
        f"both found; left of: middles more than {across:.3f} of the width apart; above: more than {down:.3f} of the "
        f"height apart and less than {across:.3f} sideways"
    )


def _together(values, reading, truths, caption_index, related, protocol) -> Value:
    hits, images = [hit for _, hit in related], [image for image, _ in related]
    for kind in KINDS:
        if f"{kind}_accuracy" in values:
            asked = questions(truths, caption_index, kind)
            hits += answers(reading, asked).tolist()
            images += [q.image for q in asked]
    told = {**(protocol or {}), "asked": "every place, level and relation that the caption states"}
    return proportion(hits, images, told)


def _boxes(reading, truths, caption_index, protocol) -> dict[str, Value]:
    asked = questions(truths, caption_index, "place") if "place" in reading.kinds() else []
    if len(asked) < 2:
        return {}
    column = reading.config.parts.index
    points, overlaps = [], []
    for q in asked:
        box, p = truths[q.image]["parts"][q.part]["box"], column(q.name)
        there = bool(reading.found[q.image, p])
        points.append(there and inside(reading.centre[q.image, p], box))
        overlaps.append(iou(reading.box[q.image, p], box) if there else 0.0)
    told = {**(protocol or {}), "asked": "parts whose place the caption states, against the box in the real image"}
    images = np.array([q.image for q in asked])
    return {"pointing": proportion(points, images, told), "box_iou": mean(overlaps, told)}
