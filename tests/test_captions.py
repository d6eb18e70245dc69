"""Captions as people write them: whatever the text, words keep their place, and nothing is dropped in silence."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from t2i_core.captions import PAD, UNKNOWN, Vocabulary, split_words
from t2i_core.config import UserError

KNOWN = ("a", "small", "red", "house", "on", "the", "left", "don't", "café", "بيت", "дом", "家")
VOCABULARY = Vocabulary.build([" ".join(KNOWN)])
ODD = (
    "🏠 a red 🏡",
    "🏠🏡",
    "👩‍👩‍👧 family",
    "1️⃣ house",
    "بيت أحمر على اليسار",
    "מִגְדָּל אָדֹם",
    "\u202ea red house\u202c",
    "a red\nhouse\r\non the\tleft",
    "cafe\u0301 on the left",
    "नमस्ते दुनिया",
    "a\x00red\x00house",
    "\x00",
    "half-open O'Neill’s door; (red)!",
    "ＡＢＣ ﬁne Ⅻ İSTANBUL ẞ ½",
    "\u200b",
    "家の前",
)
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.lists(st.sampled_from([*KNOWN, "unheard", "🏠", "\u0301", "\x00", "\n"]), max_size=30).map(" ".join),
    st.sampled_from(ODD),
)
captions = texts.filter(lambda text: text.split())  # anything but white space


def as_lists(tokens) -> tuple:
    return tokens.words, tokens.spans, tokens.unknown, tokens.cut


# ---------------------------------------------------------------------------------------------------- any caption


@given(captions)
@example("red " * 40)
def test_every_word_stands_where_its_span_says(caption):
    tokens = VOCABULARY.tokenize([caption])
    assert len(tokens.words[0]) == len(tokens.spans[0]) == tokens.lengths.item() >= 1
    end = 0
    for word, (start, stop) in zip(tokens.words[0], tokens.spans[0], strict=True):
        assert end <= start < stop <= len(caption)
        assert unicodedata.normalize("NFKC", caption[start:stop]).lower() == word
        end = stop


@given(captions)
def test_no_letter_or_digit_is_passed_over(caption):
    inside = {place for _, start, end in split_words(caption) for place in range(start, end)}
    assert all(place in inside for place, character in enumerate(caption) if character.isalnum())


@given(captions)
def test_ids_follow_the_words_and_unknown_ones_are_named(caption):
    tokens = VOCABULARY.tokenize([caption])
    ids, words = tokens.ids[0].tolist(), tokens.words[0]
    assert tokens.mask.all()
    assert [VOCABULARY.words[i] for i in ids] == [word if word in VOCABULARY else UNKNOWN for word in words]
    assert tokens.unknown[0] == tuple(word for word in words if word not in VOCABULARY)
    assert all(word in " ".join(tokens.notes()) for word in tokens.unknown[0])
    assert bool(tokens.notes()) == bool(tokens.unknown[0] or tokens.cut[0])


@given(st.lists(captions, min_size=1, max_size=5))
def test_a_batch_reads_as_each_caption_alone(batch):
    together = VOCABULARY.tokenize(batch)
    alone = [VOCABULARY.tokenize([caption]) for caption in batch]
    assert together.ids.shape == (len(batch), max(len(one.words[0]) for one in alone)) and len(together) == len(batch)
    for row, one in enumerate(alone):
        length = int(one.lengths)
        assert together.ids[row, :length].equal(one.ids[0]) and together.lengths[row] == length
        assert not together.ids[row, length:].any() and together.mask[row].sum() == length
        assert tuple(part[row] for part in as_lists(together)) == tuple(part[0] for part in as_lists(one))


@given(st.text(st.sampled_from(" \t\n\r\v\f\u00a0\u2003\u3000\x1c"), max_size=8))
@example("")
def test_an_empty_caption_is_refused_and_counted(blank):
    with pytest.raises(UserError, match="the caption is empty: write at least one word"):
        VOCABULARY.tokenize([blank])
    with pytest.raises(UserError, match="caption 2 of 3 is empty"):
        VOCABULARY.tokenize(["a house", blank, "the left"])


@given(st.sampled_from(KNOWN), st.sampled_from(["", " ", "\n", "...", "🏠 "]), st.sampled_from(["", "!", " \t", " 🏠"]))
def test_punctuation_and_symbols_around_a_word_change_nothing(word, before, after):
    assert VOCABULARY.tokenize([before + word.upper() + after]).words == ((word,),)


@given(captions)
def test_composed_and_decomposed_letters_read_alike(caption):
    composed, decomposed = (unicodedata.normalize(form, caption) for form in ("NFC", "NFD"))
    assert [word for word, _, _ in split_words(composed)] == [word for word, _, _ in split_words(decomposed)]


# ------------------------------------------------------------------------------------------------ chosen captions


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("House", ["house"]),
        ("🏠🏡", ["🏠🏡"]),
        ("🏠 a red 🏡", ["a", "red"]),
        ("بيت أحمر", ["بيت", "أحمر"]),
        ("מִגְדָּל אָדֹם", ["מִגְדָּל", "אָדֹם"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("a red\nhouse\r\non", ["a", "red", "house", "on"]),
        ("cafe\u0301s", ["cafés"]),
        ("a\x00red\x00house", ["a", "red", "house"]),
        ("\x00", ["\x00"]),
        ("it's the dog’s half-open door.", ["it's", "the", "dog’s", "half", "open", "door"]),
        ("ＡＢＣ", ["abc"]),
    ],
)
def test_words_of(caption, words):
    assert [word for word, _, _ in split_words(caption)] == [unicodedata.normalize("NFKC", word) for word in words]


def test_five_hundred_words_are_cut_and_it_is_said():
    tokens = VOCABULARY.tokenize([" ".join(["red"] * 498 + ["unheard", "house"])])
    assert tokens.ids.shape == (1, 18) and tokens.cut == (482,)
    assert tokens.words == (("red",) * 18,) and tokens.unknown == ((),) and tokens.spans[0][-1] == (68, 71)
    assert tokens.notes() == ["only the first 18 words are read; 482 more were cut off"]


def test_unknown_words_are_named_once_and_the_rest_is_read():
    tokens = VOCABULARY.tokenize(["a zebra, a red Zebra and a gnu"])
    assert tokens.unknown == (("zebra", "zebra", "and", "gnu"),)
    assert tokens.notes() == ["not in the vocabulary, so without meaning to the system: zebra, and, gnu"]
    assert tokens.ids[0].tolist() == [VOCABULARY.index[word] for word in ("a", UNKNOWN, "a", "red")] + [1, 1, 2, 1]


def test_one_string_is_not_a_batch():
    with pytest.raises(TypeError, match="list of captions"):
        VOCABULARY.tokenize("a red house")


# ------------------------------------------------------------------------------------------------- the vocabulary


@given(st.lists(captions, min_size=1, max_size=5), st.integers(1, 30))
def test_a_vocabulary_knows_its_captions_and_survives_json(batch, max_words):
    vocabulary = Vocabulary.build(batch, max_words=max_words)
    assert not any(vocabulary.tokenize(batch).unknown)
    assert vocabulary.words[:2] == (PAD, UNKNOWN) and len(set(vocabulary.words)) == len(vocabulary)
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again == vocabulary and again.hash == vocabulary.hash
    assert again.tokenize(batch).ids.equal(vocabulary.tokenize(batch).ids)
    assert Vocabulary.build(reversed(batch), max_words=max_words) == vocabulary  # the order of captions is no matter


def change(saved: dict, how: str) -> None:
    words = saved["words"]
    if how == "swap":
        words[3], words[4] = words[4], words[3]
    elif how == "replace":
        words[5] = "wall"
    elif how == "drop":
        del words[-1]
    elif how == "add":
        words.append("zoo")
    elif how == "length":
        saved["max_words"] += 1
    else:
        del saved["hash"]


@pytest.mark.parametrize("how", ["swap", "replace", "drop", "add", "length", "no hash"])
def test_a_vocabulary_that_was_changed_is_refused(how, tmp_path):
    path = VOCABULARY.save(tmp_path / "vocabulary.json")
    saved = json.loads(path.read_text(encoding="utf-8"))
    change(saved, how)
    path.write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(UserError, match=r"vocabulary\.json was changed after it was written"):
        Vocabulary.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b'{"words": 5, "max_words": 1}', b'{"words": []}', b"\xff"]
)
def test_what_is_no_vocabulary_is_refused(content, tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"vocabulary\.json"):
        Vocabulary.load(path)
    with pytest.raises(UserError, match=r"nowhere\.json"):
        Vocabulary.load(tmp_path / "nowhere.json")


def test_rare_words_are_left_out_on_demand():
    assert Vocabulary.build(["a red house", "a house", "a"], min_count=2).words[2:] == ("a", "house")


@pytest.mark.parametrize("nothing", [[], [""], [" \n"]])
def test_captions_without_a_word_make_no_vocabulary(nothing):
    with pytest.raises(UserError, match="there is no vocabulary"):
        Vocabulary.build(nothing)
