"""Captions made false in one respect, as negatives for a matching model, a discriminator and a generator.

In a random batch hardly two captions name the same things, so that a picture is told from the others without knowing
which of its things is red, or what is on the left. A caption that differs from the picture's own in one such respect
leaves no other way. The papers take their negatives from the batch alone; these are ours, and only by choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from t2i_core.captions import Tokens, Vocabulary
from t2i_core.config import UserError

KINDS = ("name", "color")  # of words that are replaced by another one of their kind, or exchanged
SIDES = ("left", "right")  # words that are exchanged for one another throughout
ARTICLES = ("a", "an")  # before a consonant, before a vowel
WAYS = (
    *(f"another {kind}" for kind in KINDS),
    *(f"{kind}s exchanged" for kind in KINDS),
    "sides exchanged",
    "another place",
)
PLACES = (  # as toy-scenes says them; each row is one place
    ("on the left", "at the left"),
    ("in the middle", "in the center", "at the center"),
    ("on the right", "at the right"),
)
WITH_SIDE = ("on the left", "on the right")  # phrases that "side" may follow


class Falsified(NamedTuple):
    """tokens: K x B captions, those of the first of the `WAYS`, then those of the second, ... possible (K, B): False
    where a caption says nothing that can be falsified so, and stands as it was. chosen (B,): one way for each caption,
    at random among the possible. words (n,): the tokens of all `KINDS`."""

    tokens: Tokens
    possible: Tensor
    chosen: Tensor
    words: Tensor

    def to(self, device: torch.device | str) -> Falsified:
        return Falsified(*(part.to(device) for part in self))


class Falsifier:
    """Makes a caption false in each of the `WAYS`. ``said`` has the words of each of the `KINDS`."""

    def __init__(self, vocabulary: Vocabulary, said: Mapping[str, Sequence[str]]):
        if not isinstance(vocabulary, Vocabulary):
            raise UserError("captions are falsified word by word, and this model reads pieces of words: choose DAMSM")
        if missing := [kind for kind in KINDS if len(said.get(kind, ())) < 2]:
            raise UserError(
                f"no captions can be falsified here: the dataset does not tell two words of the kind {missing[0]!r}; "
                "the toy worlds with several things do, as toy-scenes"
            )
        self._kinds = [torch.tensor([vocabulary.index[word] for word in sorted(said[kind])]) for kind in KINDS]
        self._words = torch.cat(self._kinds)
        self._turned = torch.arange(len(vocabulary))
        if all(word in vocabulary for word in SIDES):
            sides = [vocabulary.index[word] for word in SIDES]
            self._turned[sides] = torch.tensor(sides[::-1])
        self._places = Places(vocabulary)
        self._articles = None
        if all(word in vocabulary for word in ARTICLES):
            by_vowel = [vocabulary.index[ARTICLES[word[:1] in "aeiou"]] for word in vocabulary.words]
            self._articles = torch.tensor(by_vowel), torch.tensor([vocabulary.index[word] for word in ARTICLES])

    def __call__(self, tokens: Tokens, draw: torch.Generator) -> Falsified:
        """Tokens (B, T) on the CPU; ``draw`` chooses the word and what takes its place."""
        ids = tokens.ids
        turned = self._turned[ids]
        found = [another(ids, kind, draw) for kind in self._kinds]
        found += [exchanged(ids, kind, draw) for kind in self._kinds]
        found += [(turned, (turned != ids).any(1)), self._places.another(ids, draw)]
        every, possible = (torch.stack(parts) for parts in zip(*found, strict=True))
        chosen = _random_true(possible.T, draw)[:, 0]
        every = self._with_articles(every.flatten(0, 1), ids.repeat(len(found), 1))
        return Falsified(Tokens(every, tokens.lengths.repeat(len(found))), possible, chosen, self._words)

    def _with_articles(self, ids: Tensor, were: Tensor) -> Tensor:
        """a or an as the word asks for that was put after it: else "an red" gave a false caption away."""
        if self._articles is None:
            return ids
        asked, articles = self._articles
        moved = (ids != were)[:, 1:] & torch.isin(ids[:, :-1], articles)
        return torch.cat([torch.where(moved, asked[ids[:, 1:]], ids[:, :-1]), ids[:, -1:]], 1)


class Places:
    """The phrases of three words that say where a thing is, as far as a vocabulary has them.

    Sides alone would not do: a matching model that is only asked to tell left from right learns little of the middle.
    """

    def __init__(self, vocabulary: Vocabulary):
        known = [(phrase, place) for place, phrases in enumerate(PLACES) for phrase in phrases]
        known = [(phrase, place) for phrase, place in known if all(word in vocabulary for word in phrase.split())]
        ids = [[vocabulary.index[word] for word in phrase.split()] for phrase, _ in known]
        place = torch.tensor([place for _, place in known], dtype=torch.long)
        self._phrases = torch.tensor(ids, dtype=torch.long).view(-1, 3)
        self._elsewhere = place[:, None] != place  # (n, n): phrases of two different places
        self._with_side = torch.tensor([phrase in WITH_SIDE for phrase, _ in known], dtype=torch.bool)
        self._side = vocabulary.index.get("side", -1)

    def another(self, ids: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """One of each caption's places, chosen at random, becomes another: "on the left" perhaps "in the middle".

        ids (B, T) -> ids (B, T), and (B,) where a place was said and another can be. "left of" says none.
        """
        if ids.shape[1] < 3 or not len(self._phrases):
            return ids, torch.zeros(len(ids), dtype=torch.bool)
        said = (ids.unfold(1, 3, 1)[:, :, None] == self._phrases).all(3)  # (B, T - 2, n)
        allowed = (said[..., None] & self._elsewhere).any(2)
        before_side = torch.cat([ids[:, 3:], ids.new_zeros(len(ids), 1)], 1) == self._side
        allowed &= self._with_side | ~before_side[..., None]
        here = allowed.any(2)
        where, possible = _random_true(here, draw), here.any(1)
        which = _random_true(allowed[torch.arange(len(ids)), where[:, 0]], draw)[:, 0]
        changed = ids.scatter(1, where + torch.arange(3), self._phrases[which])
        return torch.where(possible[:, None], changed, ids), possible


def another(ids: Tensor, kind: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """One of each caption's words of ``kind``, chosen at random, becomes one of that kind that the caption has not.

    ids (B, T), kind (n,) tokens -> ids (B, T), and (B,) where there was one and another to put in its place.
    """
    of_kind, unused = torch.isin(ids, kind), ~(ids[:, :, None] == kind).any(1)
    where, which = (_random_true(mask, draw) for mask in (of_kind, unused))
    possible = of_kind.any(1) & unused.any(1)
    return torch.where(possible[:, None], ids.scatter(1, where, kind[which]), ids), possible


def exchanged(ids: Tensor, kind: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two of each caption's words of ``kind``, chosen at random, change places; possible where they differ.

    Where all else that is said of the two is alike, the caption is as true as before: of toy-scenes' few per cent.
    """
    of_kind = torch.isin(ids, kind)
    two = (torch.rand(ids.shape, generator=draw) * of_kind).topk(min(2, ids.shape[1]), 1).indices
    words = ids.gather(1, two)
    possible = (of_kind.sum(1) >= 2) & (words[:, 0] != words[:, -1])
    return torch.where(possible[:, None], ids.scatter(1, two, words.flip(1)), ids), possible


def _random_true(mask: Tensor, draw: torch.Generator) -> Tensor:
    """The place of one True in each row of (B, n), at random: (B, 1); any place where there is none."""
    return (torch.rand(mask.shape, generator=draw) * mask).argmax(1, keepdim=True)
