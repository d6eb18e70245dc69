"""Sentences that know what they say: pieces of text, some of which state a fact, joined to a caption with offsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_WORDS = 18


@dataclass(frozen=True)
class Says:
    """Text that states `kind` of part `index` (-1: of the picture; kind "relation": relation `index`).

    `also` holds further (index, kind) that the same text states: "glasses" names a part and says that they are worn.
    """

    text: str
    index: int
    kind: str
    also: tuple[tuple[int, str], ...] = ()


Piece = str | Says
Word = list  # [start, end, index, kind], as JSON holds it


def render(pieces: Sequence[Piece]) -> tuple[str, list[Word]]:
    """Join pieces with blanks ("," closes up, "a" becomes "an" before a vowel) to (caption, words with offsets)."""
    caption, words = "", []
    texts = [piece if isinstance(piece, str) else piece.text for piece in pieces]
    for k, (piece, text) in enumerate(zip(pieces, texts, strict=True)):
        following = texts[k + 1] if k + 1 < len(texts) else ""
        if (text == "a" or text.endswith(" a")) and following[:1] in "aeiou" and following:
            text += "n"
        if caption and text != ",":
            caption += " "
        if isinstance(piece, Says):
            for index, kind in ((piece.index, piece.kind), *piece.also):
                words.append([len(caption), len(caption) + len(text), index, kind])
        caption += text
    return caption, words


def count_words(pieces: Sequence[Piece]) -> int:
    """Words of the sentence; a comma is none."""
    return sum(
        len((piece if isinstance(piece, str) else piece.text).replace(",", " ").replace("-", " ").split())
        for piece in pieces
    )


def enumerate_phrases(phrases: Sequence[Sequence[Piece]]) -> list[Piece]:
    """ "x", "x and y", "x, y and z"."""
    out: list[Piece] = []
    for k, phrase in enumerate(phrases):
        if k:
            out.append("and" if k == len(phrases) - 1 else ",")
        out += phrase
    return out


def several(sentence: Callable[[], Sequence[Piece]], count: int) -> tuple[list[str], list[list[Word]]]:
    """`count` different captions of at most 18 words from repeated calls of `sentence`, and the words of each."""
    captions: list[str] = []
    words: list[list[Word]] = []
    while len(captions) < count:
        pieces = sentence()
        caption, said = render(pieces)
        if count_words(pieces) <= MAX_WORDS and caption not in captions:
            captions.append(caption)
            words.append(said)
    return captions, words
