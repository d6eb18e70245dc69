"""Captions made false: in one respect only, possible or said not to be, and the same for the same (seed, step)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from data_prep.toyworld.scene_captions import PLACE_WORDS
from t2i_core.captions import Vocabulary
from t2i_core.config import UserError
from t2i_core.data import BatchStream, load, random_generator
from t2i_core.falsify import KINDS, PLACES, WAYS, WITH_SIDE, Falsifier, Places, another, exchanged

CAPTIONS = (
    "a red dog left of a blue house",
    "a red dog and a red house",
    "a house",
    "on the right a blue tree and on the left a red tree",
    "snow",
)
VOCABULARY = Vocabulary.build([*CAPTIONS, "green car"])
SAID = {"name": ("dog", "house", "tree", "car"), "color": ("red", "blue", "green")}


@pytest.fixture(scope="module")
def train_set(tiny_scenes):
    return load(tiny_scenes)


def words(ids) -> list[str]:
    return [VOCABULARY.words[i] for i in ids if i]


def falsified(seed: int = 0):
    tokens = VOCABULARY.tokenize(CAPTIONS)
    found = Falsifier(VOCABULARY, SAID)(tokens, random_generator(seed))
    return tokens, found, found.tokens.ids.unflatten(0, (len(WAYS), len(CAPTIONS)))


def test_what_is_possible_is_what_the_caption_says():
    _, found, ids = falsified()
    assert dict(zip(WAYS, found.possible.tolist(), strict=True)) == {
        "another name": [True, True, True, True, False],
        "another color": [True, True, False, True, False],
        "names exchanged": [True, True, False, False, False],  # of two trees there is nothing to exchange
        "colors exchanged": [True, False, False, True, False],
        "sides exchanged": [True, False, False, True, False],
        "another place": [False, False, False, True, False],  # "left of" is a relation
    }
    assert found.tokens.lengths.tolist() == VOCABULARY.tokenize(CAPTIONS).lengths.repeat(len(WAYS)).tolist()
    original = VOCABULARY.tokenize(CAPTIONS).ids
    for way, possible in zip(ids, found.possible, strict=True):
        assert ((way != original).any(1) == possible).all()


def test_exchanges_are_spelled_out():
    _, _, ids = falsified()
    assert words(ids[2, 0]) == "a red house left of a blue dog".split()
    assert words(ids[3, 0]) == "a blue dog left of a red house".split()
    assert words(ids[4, 0]) == "a red dog right of a blue house".split()
    assert words(ids[3, 3]) == "on the right a red tree and on the left a blue tree".split()
    assert words(ids[4, 3]) == "on the left a blue tree and on the right a red tree".split()


def test_another_word_is_of_the_kind_and_new_to_the_caption_and_every_choice_comes_up():
    ids = VOCABULARY.tokenize(CAPTIONS).ids
    kind = torch.tensor([VOCABULARY.index[word] for word in SAID["name"]])
    seen = set()
    for seed in range(60):
        changed, possible = another(ids, kind, random_generator(seed))
        assert ((changed != ids).sum(1) == possible).all()
        seen.add(" ".join(words(changed[0])))
    assert seen == {f"a red {a} left of a blue {b}" for a, b in [("tree", "house"), ("car", "house")]} | {
        f"a red dog left of a blue {b}" for b in ("tree", "car")
    }


def test_an_article_goes_with_the_word_that_was_put_after_it_and_no_other_changes():
    captions = ("an orange dog and a large orange house", "a red house left of an orange hour", "a orange")
    vocabulary = Vocabulary.build(captions)
    made = Falsifier(vocabulary, {"name": ("dog", "house", "hour"), "color": ("red", "orange")})
    seen, tokens = set(), vocabulary.tokenize(captions)
    for seed in range(40):
        found = made(tokens, random_generator(seed)).tokens.ids
        seen |= {" ".join(vocabulary.words[i] for i in ids if i) for ids in found}
    assert {"a red dog and a large orange house", "an orange dog and a large red house"} <= seen
    assert "an orange house left of a red hour" in seen, "two articles where two colours changed places"
    assert "a red" in seen and "a orange" in seen, "what stands as it was is not mended"
    assert "an orange house and a large orange dog" in seen and not any("an red" in words for words in seen)
    assert seen - set(captions), "some were made false"


def test_where_all_words_of_a_kind_are_said_there_is_no_other():
    ids = Vocabulary.build(["red blue"]).tokenize(["red blue", "red"]).ids
    changed, possible = another(ids, ids[0], random_generator(0))
    assert possible.tolist() == [False, True] and changed[0].equal(ids[0]) and not changed[1].equal(ids[1])


def test_of_three_things_any_two_change_places():
    vocabulary = Vocabulary.build(["dog house tree"])
    ids = vocabulary.tokenize(["dog house tree"]).ids
    seen = {tuple(exchanged(ids, ids[0], random_generator(seed))[0][0].tolist()) for seed in range(40)}
    d, h, t = ids[0].tolist()
    assert seen == {(h, d, t), (t, h, d), (d, t, h)}


def test_a_place_becomes_any_other_place_in_the_words_that_captions_have_for_it():
    captions = (
        "a dog in the middle and a car left of a tree",
        "on the left side is a house",
        "at the center and right",
    )
    vocabulary = Vocabulary.build([*captions, *(phrase for phrases in PLACES for phrase in phrases)])
    ids, seen = vocabulary.tokenize(captions).ids, [set(), set(), set()]
    for seed in range(80):
        changed, possible = Places(vocabulary).another(ids, random_generator(seed))
        assert possible.all()
        for caption, found in zip(changed, seen, strict=True):
            found.add(" ".join(vocabulary.words[i] for i in caption if i))
    sides = [f"{word} the {side}" for word in ("on", "at") for side in ("left", "right")]
    assert seen[0] == {f"a dog {place} and a car left of a tree" for place in sides}
    assert seen[1] == {"on the right side is a house"}, "the middle has no side"
    assert seen[2] == {f"{place} and right" for place in sides}


def test_the_places_are_those_that_captions_of_toy_scenes_are_written_with():
    written = {
        place: {(f"{before} {word}", after) for before, word, after in phrases}
        for place, phrases in PLACE_WORDS.items()
    }
    assert [{phrase for phrase, _ in found} for found in written.values()] == [set(phrases) for phrases in PLACES]
    assert {phrase for found in written.values() for phrase, after in found if after == "side"} == set(WITH_SIDE)


def test_each_of_several_places_is_made_another():
    captions = ("on the right a dog and in the middle a car",)
    vocabulary = Vocabulary.build([*captions, *(phrase for phrases in PLACES for phrase in phrases)])
    ids, seen = vocabulary.tokenize(captions).ids, set()
    for seed in range(80):
        changed, _ = Places(vocabulary).another(ids, random_generator(seed))
        seen.add(" ".join(vocabulary.words[i] for i in changed[0] if i))
    rights = {"on the left", "at the left", "in the middle", "in the center", "at the center"}
    middles = {"on the left", "at the left", "on the right", "at the right"}
    assert seen == {f"{place} a dog and in the middle a car" for place in rights} | {
        f"on the right a dog and {place} a car" for place in middles
    }


@pytest.mark.parametrize("captions", [("a dog", "a red car left of a tree"), ("a dog",)])
def test_where_no_place_is_said_or_known_there_is_no_other(captions):
    vocabulary = Vocabulary.build(captions)
    ids = vocabulary.tokenize(captions).ids
    changed, possible = Places(vocabulary).another(ids, random_generator(0))
    assert changed.equal(ids) and not possible.any()


def test_one_way_is_chosen_among_the_possible():
    chosen = torch.stack([falsified(seed)[1].chosen for seed in range(80)])
    possible = falsified()[1].possible
    for caption in range(4):
        assert set(chosen[:, caption].tolist()) == set(possible[:, caption].nonzero().flatten().tolist())


def test_a_batch_has_its_captions_made_false_where_the_stream_was_asked(train_set):
    def stream(**how):
        return BatchStream(train_set, train_set.vocabulary(), 5, 0, **how)

    plain, asked, again = stream().at(3), stream(falsify=True).at(3), stream(falsify=True).at(3)
    assert plain.falsified is None
    assert plain.tokens.ids.equal(asked.tokens.ids) and plain.images[-1].equal(asked.images[-1])
    assert asked.falsified.tokens.ids.equal(again.falsified.tokens.ids)
    assert asked.falsified.tokens.ids.shape == (5 * len(WAYS), asked.tokens.ids.shape[1])
    assert asked.falsified.possible[0].all()  # every scene's caption names something
    assert not stream(falsify=True).at(4).falsified.tokens.ids.equal(asked.falsified.tokens.ids)


def test_a_dataset_tells_the_words_of_a_kind(train_set):
    assert {"boat", "kite"} <= train_set.said("name") and {"red", "white"} <= train_set.said("color")
    assert not train_set.said("name") & train_set.said("color") and train_set.said("no such kind") == set()


def test_captions_that_nobody_took_apart_cannot_be_falsified():
    with pytest.raises(UserError, match="does not tell two words of the kind 'name'.*toy-scenes"):
        Falsifier(VOCABULARY, {kind: () for kind in KINDS})
    with pytest.raises(UserError, match="pieces of words"):
        Falsifier(SimpleNamespace(index={}), SAID)
