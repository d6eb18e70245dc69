"""What a caption says, read from its letters: the lexicon against the worlds' own truth, completion, unknown words."""

from __future__ import annotations

import pytest
import torch

from data_prep import toyworld
from t2i_core.captions import Vocabulary
from t2i_core.explore.obeyed import read_pictures
from t2i_core.explore.said import Statement, statements
from t2i_core.explore.words import EXAMPLES, completions, labels, one_word_changed
from t2i_core.metrics.weights import load_inspector

WORLDS = tuple(EXAMPLES)


def truth_of(truth: dict, words: list, world: str) -> set[tuple]:
    """What the truth says that a caption states, as `statements` tells it."""
    parts, said = truth["parts"], set()
    for start, end, index, kind in words:
        if kind == "relation":
            r = truth["relations"][index]
            names = [parts[r[role]]["name"] for role in ("subject", "object")]
            said.add((start, end, names[0], kind, r["relation"], names[1]))
        elif index < 0:
            said.add((start, end, "", kind, truth["attributes"][kind], ""))
        elif world != "toy-faces":  # a face's parts are asked for as attributes of the picture
            said.add((start, end, parts[index]["name"], kind, parts[index][kind], ""))
    return said


@pytest.mark.parametrize("world", WORLDS)
def test_captions_of_a_world_are_read_as_their_truth_says(world):
    asked, wrong = 0, []
    for index in range(60):
        scene = toyworld.draw(world, seed=5, index=index, size=32)
        for caption, words in zip(scene.captions, scene.truth["words"], strict=True):
            want = truth_of(scene.truth, words, world)
            found = {(s.start, s.end, s.part, s.kind, s.answer, s.other) for s in statements(caption, world)}
            if "its wings and" in caption:  # "spreads its wings and flies": the truth does not count it
                found = {one for one in found if caption[one[0] - 4 : one[1] + 4] != "its wings and"}
            asked += len(want)
            wrong += [(caption, want ^ found)] if want ^ found else []
    assert asked > 500 and not wrong, wrong[:3]


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("a red house and a tree on the left", [("house", "color", "red"), ("house", "name", "house"),
                                               ("tree", "name", "tree"), ("tree", "place", "left")]),
        ("on the left a dog, a car in the middle", [("dog", "place", "left"), ("dog", "name", "dog"),
                                                   ("car", "name", "car"), ("car", "place", "middle")]),
        ("a kite below a bird", [("kite", "name", "kite"), ("bird", "relation", "above"), ("bird", "name", "bird")]),
        ("red", []),
        ("left of", []),
        ("a purple submarine 🏠 <b>", []),
        ("", []),
    ],
)  # fmt: skip
def test_what_a_user_types_is_read_too(caption, told):
    assert [(s.part, s.kind, s.answer) for s in statements(caption, "toy-scenes")] == told


def test_a_statement_knows_its_letters():
    caption = "A  Tiny RED house!"
    assert [caption[s.start : s.end] for s in statements(caption, "toy-scenes")] == ["Tiny", "RED", "house"]


def test_a_world_without_a_lexicon_states_nothing():
    assert statements("a red house", "emoji") == ()


@pytest.mark.parametrize("world", WORLDS)
def test_real_pictures_obey_their_own_captions_and_not_those_of_others(world):
    inspector = load_inspector(world)
    scenes = [toyworld.draw(world, seed=9, index=k, size=32) for k in range(24)]
    pixels = [torch.frombuffer(bytearray(s.image.convert("RGB").tobytes()), dtype=torch.uint8) for s in scenes]
    images = torch.stack([p.view(32, 32, 3).permute(2, 0, 1) for p in pixels]).float() / 127.5 - 1
    captions = [s.captions[0] for s in scenes]

    def share(shown):
        answers = [a.obeyed for one in read_pictures(shown, captions, world, inspector) for a in one]
        return sum(answers) / len(answers)

    assert share(images) > 0.95 and share(images.roll(1, 0)) < 0.75


def test_the_seen_says_what_is_there_instead():
    scene = toyworld.draw("toy-scenes", seed=9, index=3, size=32)
    pixels = torch.frombuffer(bytearray(scene.image.convert("RGB").tobytes()), dtype=torch.uint8).view(32, 32, 3)
    part = scene.truth["parts"][0]
    other = next(c for c in ("red", "blue") if c != part["color"])
    absent = next(n for n in ("house", "tree", "kite", "dog") if n not in {p["name"] for p in scene.truth["parts"]})
    caption = f"a {other} {part['name']} and a {absent}"
    image = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
    (answers,) = read_pictures(image, [caption], "toy-scenes", load_inspector("toy-scenes"))
    assert [(a.seen, a.obeyed) for a in answers] == [
        (part["color"], False), (part["name"], True), (f"no {absent}", False)
    ]  # fmt: skip


def test_an_inspector_of_another_world_is_not_asked():
    stranger = load_inspector("emoji-of-nobody")
    assert not stranger.own
    assert read_pictures(torch.zeros(2, 3, 32, 32), ["a red house"] * 2, "toy-scenes", stranger) == ((), ())


# ---------------------------------------------------------------------------------------------------------- typing


def test_the_last_word_is_completed():
    words = ("<pad>", "<unk>", "a", "house", "hover", "horse", "red")
    assert completions("A red ho", words) == ("A red horse", "A red house", "A red hover")
    assert completions("A red house", words) == () == completions("a red ", words) == completions("", words)
    assert completions("zz", words) == () == completions("<", words)
    assert completions("h", words, most=1) == ("horse",)


def test_unknown_words_are_marked():
    vocabulary = Vocabulary.build(["a red house"])
    assert labels(vocabulary.tokenize(["A zebra house"])) == ("a", "zebra ?", "house")


def test_a_change_to_begin_with():
    assert one_word_changed("a Red house and a red dog") == "a black house and a red dog"
    assert one_word_changed("a red house", ("red", "blue", "house")) == "a blue house"
    assert one_word_changed("a red house", ("red", "house")) == "a red house"
    assert one_word_changed("a dog") == "a dog" and one_word_changed("") == ""
    for examples in EXAMPLES.values():
        known = {word for caption in examples for word in caption.split()}
        assert sum(one_word_changed(caption, known) != caption for caption in examples) >= len(examples) - 1


@pytest.mark.parametrize("world", WORLDS)
def test_examples_are_made_of_the_worlds_words_and_state_something(world):
    known = {
        word
        for index in range(150)
        for caption in toyworld.draw(world, seed=1, index=index, size=8).captions
        for word in caption.replace(",", " ").split()
    }
    for caption in EXAMPLES[world]:
        assert not set(caption.replace(",", " ").split()) - known, caption
        assert len(statements(caption, world)) >= 2
        assert all(isinstance(s, Statement) for s in statements(caption, world))
