"""Entanglement: exchange one word of a caption; what else changes in the picture besides what the word says?

RATLIP's Fig. 5 asks it of "young" beside "receding hairline". Here any attribute is exchanged that captions state and
the inspector reads, and the inspector looks at all of them before and after, with the same noise.

An attribute is named as people would: "age", "background" (of the whole picture), "crown color" (of a part).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from t2i_core.captions import split_words
from t2i_core.data import CaptionDataset
from t2i_core.metrics.evaluate import TRUSTED, draw
from t2i_core.metrics.inspector import Inspector, Reading
from t2i_core.metrics.stats import Value, mean, proportion
from t2i_core.systems.base import System

ARTICLES = ("a", "an")
UNSEEN = "not found"  # what a part's attribute reads where the part is not there


class AttributeEdit(NamedTuple):
    """A caption, the same with one attribute said otherwise, which attribute, and its two values."""

    caption: str
    edited: str
    attribute: str
    before: str
    after: str


class Effects(NamedTuple):
    """What n edits did.

    obeyed: of the edits whose first picture is read as the caption says (so that there is something to change), the
    share whose second picture is read as the edited caption says; None where there is no such edit.
    leaked: the mean, over edits, of the share of all other attributes whose reading changed.
    names: the A attributes that were read; changed (n, A) whether each reading changed; spilled (n,) each edit's share.
    A system that does nothing with its captions leaks nothing: the two shares belong together.
    """

    obeyed: Value | None
    leaked: Value
    names: tuple[str, ...]
    changed: Tensor
    spilled: Tensor


class _Said(NamedTuple):
    """caption[start:end] says that ``attribute`` is ``value``; an article before it belongs to it."""

    start: int
    end: int
    attribute: str
    value: str


def readable(dataset: CaptionDataset, inspector: Inspector) -> list[str]:
    """The attributes that captions of ``dataset`` state and that the inspector reads right in 90 % of held-out pictures
    or more; none where the inspector is of another world."""
    said = {
        one.attribute
        for captions, truth in _rows(dataset)
        for k, caption in enumerate(captions)
        for one in _said(caption, truth, k)
    }
    c = inspector.config
    known = {name: name for name in c.attributes} | {f"{p} {kind}": kind for p in c.parts for kind in c.qualities}
    return sorted(a for a in said if a in known and inspector.accuracy.get(known[a], 0.0) >= TRUSTED)


def attribute_edits(
    dataset: CaptionDataset,
    rows: Sequence[int],
    which: Sequence[int],
    attributes: Sequence[str],
    seed: int = 0,
    synonyms: bool = False,
) -> list[AttributeEdit]:
    """One edit for each caption (caption ``which[i]`` of image ``rows[i]``) that states one of ``attributes`` once.

    The new words are those that the dataset's captions use most for another value, where they fit: no three words may
    stand in a row that never do in the dataset ("a no beard" is left out). Attribute and value are drawn by ``seed``,
    each caption for itself.

    ``synonyms``: exchange the word and keep the value ("young", "youthful"), the control: nothing should change.
    """
    phrases, neighbours = _usage(dataset)
    edits = []
    for row, k in zip(rows, which, strict=True):
        caption, random = dataset.captions[row][k], Random(f"{seed}/{row}/{k}")
        said = _said(caption, dataset.truth[row], k)
        times = Counter(one.attribute for one in said)
        once = [one for one in said if one.attribute in attributes and times[one.attribute] == 1]
        for one in _shuffled(once, random):
            values = [one.value] if synonyms else _shuffled(sorted(phrases[one.attribute].keys() - {one.value}), random)
            found = next(_ways(caption, one, values, phrases[one.attribute], neighbours), None)
            if found is not None:
                edits.append(found)
                break
    return edits


def edit_effects(
    system: System, inspector: Inspector, edits: Sequence[AttributeEdit], attributes: Sequence[str], seed: int = 0
) -> Effects:
    """Draw every caption and its edit with the same noise, and read ``attributes`` of both; see :class:`Effects`.

    Needs two edits or more. A part that is not found reads as such, so a part that vanishes is a change.
    """
    names = tuple(dict.fromkeys([*attributes, *(edit.attribute for edit in edits)]))
    pictures = [draw(system, captions, seed) for captions in ([e.caption for e in edits], [e.edited for e in edits])]
    first, second = ([_answers(inspector.read(images), name) for name in names] for images in pictures)
    changed = torch.tensor([[a != b for a, b in zip(*pair, strict=True)] for pair in zip(first, second, strict=True)]).T
    own = torch.tensor([names.index(edit.attribute) for edit in edits])
    others = torch.ones_like(changed).scatter_(1, own[:, None], False)
    spilled = (changed & others).sum(1).double() / others.sum(1)
    obeys = [
        second[a][i] == edit.after
        for i, (a, edit) in enumerate(zip(own.tolist(), edits, strict=True))
        if first[a][i] == edit.before
    ]
    told = {"edits": len(edits), "noise": f"seed {seed}, the same before and after"}
    asked = {"obeyed": "read as the caption before, as the edited caption after", "leaked": "other attributes changed"}
    obeyed = proportion(obeys, protocol=told | {"asked": asked["obeyed"]}) if obeys else None
    return Effects(obeyed, mean(spilled, told | {"asked": asked["leaked"]}, seed), names, changed, spilled)


def _answers(reading: Reading, name: str) -> list[str]:
    """What each picture shows of an attribute."""
    if name in reading.config.attributes:
        return reading.attribute(name)
    part, kind = name.rsplit(" ", 1)
    column = list(reading.config.parts).index(part)
    found = reading.found[:, column].tolist()
    return [row[column] if seen else UNSEEN for row, seen in zip(reading.says(kind), found, strict=True)]


def _rows(dataset: CaptionDataset) -> Iterator[tuple[list[str], Mapping[str, Any]]]:
    return zip(dataset.captions, dataset.truth, strict=True)


def _said(caption: str, truth: Mapping[str, Any], k: int) -> list[_Said]:
    """Every attribute that caption ``k`` of ``truth`` states. Words that state it of the picture and of a part alike
    count once, for the picture."""
    words = truth.get("words", [])
    entries = [(start, end, part, kind) for start, end, part, kind in (words[k] if words else [])]
    whole = {(start, end) for start, end, part, _ in entries if part < 0}
    said = []
    for start, end, part, kind in entries:
        if kind in ("name", "relation") or (part >= 0 and (start, end) in whole):
            continue
        before = split_words(caption[:start])
        if before and before[-1][0] in ARTICLES:
            start = before[-1][1]
        told = truth["parts"][part] if part >= 0 else truth["attributes"]
        said.append(_Said(start, end, f"{told['name']} {kind}" if part >= 0 else kind, told[kind]))
    return said


def _usage(dataset: CaptionDataset) -> tuple[dict[str, dict[str, Counter]], set[tuple[str, str, str]]]:
    """{attribute: {value: how often each wording}}, and all words that stand three in a row."""
    phrases: dict[str, dict[str, Counter]] = {}
    neighbours: set[tuple[str, str, str]] = set()
    for captions, truth in _rows(dataset):
        for k, caption in enumerate(captions):
            neighbours |= _triples(caption)
            for one in _said(caption, truth, k):
                wordings = phrases.setdefault(one.attribute, {}).setdefault(one.value, Counter())
                wordings[caption[one.start : one.end].lower()] += 1
    return phrases, neighbours


def _triples(caption: str) -> set[tuple[str, str, str]]:
    words = ["", *(word for word, _, _ in split_words(caption)), ""]
    return set(zip(words, words[1:], words[2:], strict=False))


def _ways(
    caption: str,
    one: _Said,
    values: Sequence[str],
    wordings: Mapping[str, Counter],
    neighbours: set[tuple[str, str, str]],
) -> Iterator[AttributeEdit]:
    """The caption with one of ``values`` for what ``one`` says, in the value's commonest other wording that fits."""
    for value in values:
        for words, _ in wordings[value].most_common():
            edited = caption[: one.start] + words + caption[one.end :]
            if edited.lower() != caption.lower() and _triples(edited) <= neighbours:
                yield AttributeEdit(caption, edited, one.attribute, one.value, value)


def _shuffled(items: Sequence, random: Random) -> list:
    return random.sample(list(items), len(items))
