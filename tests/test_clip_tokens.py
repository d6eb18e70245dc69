"""Published CLIP's byte pairs behind the interface of our own vocabulary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_clip import tokens, write_tokeniser
from tiny import VOCABULARY

from t2i_core.clip_tokens import BytePairs
from t2i_core.config import UserError


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Tests read it and never change it."""
    return write_tokeniser(tmp_path_factory.mktemp("published"))


@pytest.fixture
def copy(published, tmp_path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "clip"))


def test_ids_are_one_higher_than_clips_and_zero_is_padding(published):
    pairs, numbers = BytePairs(published, 8), {token: i for i, token in enumerate(tokens())}
    read = pairs.tokenize(["red house", "Red"])
    assert read.ids.tolist() == [[numbers["red</w>"] + 1, numbers["house</w>"] + 1], [numbers["red</w>"] + 1, 0]]
    assert pairs.model_ids(read.ids)[0].tolist() == [numbers["red</w>"], numbers["house</w>"]]
    assert (pairs.start, pairs.end) == (numbers["<|startoftext|>"], numbers["<|endoftext|>"])
    assert read.mask.tolist() == [[True, True], [True, False]] and read.lengths.tolist() == [2, 1]
    assert not any(read.unknown) and not read.notes()


@pytest.mark.parametrize("caption", ["a red   house", "RED: caf\u00e9, the house's", "\u00c0 \u4e2d\u6587 red"])
def test_spans_point_at_the_pieces_of_their_words(published, caption):
    read = BytePairs(published, 75).tokenize([caption])
    assert [caption[start:end] for start, end in read.spans[0]] == list(read.words[0])
    joined = "".join(caption[start:end] for start, end in dict.fromkeys(read.spans[0]))
    assert joined == "".join(caption.split())
    assert caption.lower().index("red") in [start for start, _ in read.spans[0]]


@pytest.mark.parametrize(
    ("caption", "kept", "lost"),
    [
        ("red house red house red house red house", "red house red house red house red house", 0),
        ("red house red house red house red house red", "red house red house red house red house", 1),
        ("red house red house red house red house red red", "red house red house red house red house", 2),
        ("red red red hello house red", "red red red hello", 2),
        ("red red red red hello house", "red red red red", 2),  # hello has five pieces: one too many
        ("house's red red red red red, red", "house's red red red red", 2),  # a comma belongs to its word
        ("abcdefghijkl red", "abcdefgh", 2),  # no place between words fits
    ],
)
def test_a_long_caption_is_cut_between_words_and_says_so(published, caption, kept, lost):
    read = BytePairs(published, 8).tokenize([caption, "red"])
    assert caption[: read.spans[0][-1][1]].rstrip(",") == kept and read.ids.shape[1] <= 8
    assert read.cut == (lost, 0)
    count = read.lengths[0]
    assert read.notes() == ([f"only the first {count} tokens are read; {lost} more were cut off"] if lost else [])


def test_an_empty_caption_is_refused(published):
    pairs = BytePairs(published, 8)
    with pytest.raises(UserError, match="the caption is empty: write at least one word"):
        pairs.tokenize([" \n"])
    with pytest.raises(UserError, match="caption 2 of 3 is empty"):
        pairs.tokenize(["red", "", "red"])
    with pytest.raises(TypeError, match="not one string"):
        pairs.tokenize("red")


def test_byte_pairs_are_written_down_by_folder_and_checked_by_hash(copy, tmp_path):
    pairs, path = BytePairs(copy, 8), tmp_path / "vocabulary.json"
    pairs.save(path)
    assert BytePairs.wrote(path) and not BytePairs.wrote(VOCABULARY.save(tmp_path / "words.json"))
    again = BytePairs.load(path)
    assert (again.hash, again.max_words, again.folder) == (pairs.hash, 8, copy)
    assert pairs.hash != BytePairs(copy, 9).hash and len(pairs.hash) == 12
    (copy / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(reversed(tokens()))}))
    with pytest.raises(UserError, match=f"{copy} holds other byte pairs than {path} was written with"):
        BytePairs.load(path)
    (copy / "vocab.json").write_text("{")
    with pytest.raises(UserError, match=f"{copy} holds no CLIP tokeniser .*put vocab.json and merges.txt there"):
        BytePairs.load(path)
    path.write_text('{"byte_pairs": 3}')
    with pytest.raises(UserError, match="vocabulary.json"):
        BytePairs.load(path)
