"""Edits of one attribute and what they did (RATLIP F5), with a system and an inspector that are as simple as can be."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from t2i_core.metrics.entangle import AttributeEdit, attribute_edits, edit_effects, readable
from t2i_core.systems.base import Generated

VALUES = {"age": ["young", "old"], "beard": ["yes", "no"], "crown color": ["red", "blue"], "hair": ["red", "gray"]}


def said(caption: str, *facts: tuple[str, int, str]) -> list[list]:
    """Offsets of the words that state a kind of a part (or, with -1, of the picture)."""
    return [[caption.index(text), caption.index(text) + len(text), part, kind] for text, part, kind in facts]


def row(attributes: dict, crown: str, *captions: tuple) -> tuple[list[str], dict]:
    parts = [{"name": "crown", "color": crown}]
    words = [said(caption, *facts) for caption, *facts in captions]
    return [caption for caption, *_ in captions], {"attributes": attributes, "parts": parts, "words": words}


def dataset() -> SimpleNamespace:
    """Two pictures with three captions each."""
    rows = [
        row(
            {"age": "young", "beard": "yes", "hair": "red"},
            "red",
            ("a young person with a beard", ("young", -1, "age"), ("beard", -1, "beard")),
            ("the person is young", ("young", -1, "age")),
            ("this young person has a red crown", ("young", -1, "age"), ("red", 0, "color"), ("crown", 0, "name")),
        ),
        row(
            {"age": "old", "beard": "no", "hair": "gray"},
            "blue",
            ("an old person with no beard", ("old", -1, "age"), ("no beard", -1, "beard")),
            ("the person is old", ("old", -1, "age")),
            ("this old person has a blue crown", ("old", -1, "age"), ("blue", 0, "color"), ("crown", 0, "name")),
        ),
    ]
    return SimpleNamespace(captions=[r[0] for r in rows], truth=[r[1] for r in rows])


# ---------------------------------------------------------------- edits


def edited(attributes: list[str], picture: int, caption: int) -> list[str]:
    return [edit.edited for edit in attribute_edits(dataset(), [picture], [caption], attributes)]


def test_f5_words_are_exchanged_with_their_article():
    found = attribute_edits(dataset(), [0, 1], [0, 0], ["age"])
    assert found == [
        AttributeEdit("a young person with a beard", "an old person with a beard", "age", "young", "old"),
        AttributeEdit("an old person with no beard", "a young person with no beard", "age", "old", "young"),
    ]
    assert edited(["beard"], 0, 0) == ["a young person with no beard"]
    assert edited(["beard"], 1, 0) == ["an old person with a beard"]


def test_f5_the_wording_is_one_that_stands_in_such_a_place():
    assert edited(["age"], 0, 1) == ["the person is old"]  # and not "is an old"
    assert edited(["age"], 1, 2) == ["this young person has a blue crown"]


def test_f5_a_part_has_attributes_too():
    (found,) = attribute_edits(dataset(), [0], [2], ["crown color"])
    assert found == AttributeEdit(
        "this young person has a red crown", "this young person has a blue crown", "crown color", "red", "blue"
    )


def test_f5_a_caption_that_does_not_say_it_exactly_once_is_left_alone():
    assert edited(["hair"], 0, 0) == [] and edited(["beard"], 0, 1) == []
    data = dataset()
    data.truth[0]["words"][0].append([20, 21, -1, "age"])
    assert attribute_edits(data, [0], [0], ["age"]) == []


def test_f5_words_that_fit_nowhere_are_not_used():
    data = dataset()
    data.captions[0][1] = "one is young"  # "is young" at the end: "one is old" is never said
    data.truth[0]["words"][1] = [[7, 12, -1, "age"]]
    assert attribute_edits(data, [0], [1], ["age"]) == []


def test_f5_words_about_picture_and_part_alike_count_for_the_picture():
    data = dataset()
    for captions, truth in zip(data.captions, data.truth, strict=True):
        color = truth["parts"][0]["color"]
        truth["attributes"]["crown"] = color
        truth["words"][2] += said(captions[2], (color, -1, "crown"))
    assert {e.attribute for e in attribute_edits(data, [0, 1], [2, 2], ["crown", "crown color"])} == {"crown"}


def test_f5_a_synonym_says_the_same_in_other_words():
    data = dataset()
    data.captions[0][2] = "this youthful person has a red crown"
    data.truth[0]["words"][2] = said(data.captions[0][2], ("youthful", -1, "age"), ("red", 0, "color"))
    data.captions[1].append("this young person has a blue crown")
    data.truth[1]["words"].append(said(data.captions[1][3], ("young", -1, "age")))
    data.truth[1]["attributes"]["age"] = "young"
    (found,) = attribute_edits(data, [0], [2], ["age"], synonyms=True)
    assert found == AttributeEdit(data.captions[0][2], "this young person has a red crown", "age", "young", "young")
    assert attribute_edits(dataset(), [0, 1], [0, 0], ["age", "beard"], synonyms=True) == []  # there is no other word


def test_f5_the_seed_chooses_among_several_attributes():
    chosen = {attribute_edits(dataset(), [0], [0], ["age", "beard"], seed)[0].attribute for seed in range(20)}
    assert chosen == {"age", "beard"}
    again = [attribute_edits(dataset(), [0, 1], [0, 0], ["age", "beard"], seed=3) for _ in range(2)]
    assert again[0] == again[1]
    assert attribute_edits(dataset(), [1], [0], ["age", "beard"], seed=3) == again[0][1:]  # each caption for itself


def test_only_what_the_inspector_reads_well_is_asked():
    inspector = Reader()
    assert readable(dataset(), inspector) == ["age", "beard", "crown color"]
    inspector.accuracy = {"age": 0.95, "color": 0.85, "beard": 0.9}
    assert readable(dataset(), inspector) == ["age", "beard"]
    inspector.accuracy = {}
    assert readable(dataset(), inspector) == []


# ---------------------------------------------------------------- effects


class Painter:
    """Paints what the caption says: the first pixels are 1 for young, beard, red. ``spill``: "young" also takes the
    beard away; ``deaf``: it draws one picture whatever is said."""

    def __init__(self, spill: bool = False, deaf: bool = False):
        self.spill, self.deaf, self.noises = spill, deaf, []

    def noise(self, count: int, seed: int = 0) -> Tensor:
        return torch.arange(count, dtype=torch.float32)[:, None] + seed

    def generate(self, captions: list[str], noise: Tensor) -> Generated:
        self.noises.append(noise.flatten().tolist())
        images = -torch.ones(len(captions), 3, 4, 4)
        for image, caption in zip(images, captions, strict=True):
            young = "young" in caption
            shown = [young, "a beard" in caption and not (self.spill and young), "red" in caption]
            if not self.deaf:
                image[:, 0, :3] = torch.tensor(shown).float() * 2 - 1
        return Generated([images])


class Reader:
    """Reads Painter's pixels; the crown is there where ``crown`` is."""

    accuracy = {"age": 1.0, "beard": 1.0, "color": 1.0}

    def __init__(self, crown: bool = True):
        self.crown = crown
        self.config = SimpleNamespace(
            attributes={name: VALUES[name] for name in ("age", "beard")},
            parts=("crown",),
            qualities={"color": VALUES["crown color"]},
        )

    def read(self, images: Tensor) -> SimpleNamespace:
        on = (images[:, 0, 0, :3] > 0).tolist()
        column = {"age": 0, "beard": 1}
        return SimpleNamespace(
            config=self.config,
            found=torch.full((len(images), 1), self.crown),
            attribute=lambda name: [VALUES[name][not pixels[column[name]]] for pixels in on],
            says=lambda kind: [[VALUES["crown color"][not pixels[2]]] for pixels in on],
        )


EDITS = [
    AttributeEdit("young, a beard, red", "old, a beard, red", "age", "young", "old"),
    AttributeEdit("old, a beard, red", "young, a beard, red", "age", "old", "young"),
    AttributeEdit("young, a beard, red", "young, a beard, blue", "crown color", "red", "blue"),
]
NAMES = ["age", "beard", "crown color"]


def test_f5_a_system_that_does_as_told_obeys_and_leaks_nothing():
    system = Painter()
    effects = edit_effects(system, Reader(), EDITS, NAMES, seed=5)
    assert (effects.obeyed.value, effects.obeyed.n, effects.leaked.value) == (1.0, 3, 0.0)
    assert effects.names == ("age", "beard", "crown color")
    assert effects.changed.tolist() == [[True, False, False], [True, False, False], [False, False, True]]
    assert system.noises == [[5.0, 6.0, 7.0], [5.0, 6.0, 7.0]]  # the same noise before and after


def test_f5_what_else_changes_is_counted_over_all_other_attributes():
    effects = edit_effects(Painter(spill=True), Reader(), EDITS, NAMES)
    assert effects.obeyed.value == 1.0
    assert effects.spilled.tolist() == [0.5, 0.5, 0.0]
    assert effects.leaked.value == pytest.approx(1 / 3)


def test_f5_a_system_that_hears_nothing_leaks_nothing_and_obeys_nothing():
    effects = edit_effects(Painter(deaf=True), Reader(), EDITS, NAMES)
    # always old, no beard, blue: only the second caption was read right before, and it did not change
    assert (effects.obeyed.value, effects.obeyed.n, effects.leaked.value) == (0.0, 1, 0.0)
    nothing_to_change = edit_effects(Painter(deaf=True), Reader(), [EDITS[0], EDITS[2]], NAMES)
    assert nothing_to_change.obeyed is None


def test_f5_a_part_that_is_not_found_is_in_no_color():
    effects = edit_effects(Painter(), Reader(crown=False), EDITS, NAMES)
    assert (effects.obeyed.value, effects.obeyed.n) == (1.0, 2)  # the third edit's crown was never red
    assert not effects.changed[2].any()


def test_an_edited_attribute_is_read_though_it_was_not_named():
    effects = edit_effects(Painter(), Reader(), EDITS[:2], ["beard"])
    assert effects.names == ("beard", "age") and effects.obeyed.value == 1.0
    assert math.isclose(effects.leaked.value, 0.0)
