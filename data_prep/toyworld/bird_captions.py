"""Captions of toy-birds, after the style of CUB's: what the bird has, what it does, where it is."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from data_prep.toyworld.grammar import Piece, Says, Word, enumerate_phrases, several

NAMES = {
    "crown": ("crown", "crown", "cap"),
    "wing": ("wings",),
    "belly": ("belly", "belly", "breast"),
    "bill": ("bill", "beak"),
}
LENGTHS = {"short": ("short", "small", "stubby"), "long": ("long", "lengthy")}
POSES = {
    "perched": (("is", "perched", "on a branch"), ("is", "sitting", "on a twig"), ("", "rests", "on a branch")),
    "standing": (("is", "standing", "on a rock"), ("", "stands", "on a stone"), ("is", "standing", "")),
    "flying": (
        ("is", "flying", ""),
        ("", "flies", ""),
        ("is", "in flight", ""),
        ("spreads its wings and", "flies", ""),
    ),
}
BACKGROUNDS = {
    "forest": (("in the", "forest"), ("among", "leaves"), ("in the", "woods")),
    "lake": (("by a", "lake"), ("near the", "water"), ("at the", "lake")),
    "sky": (("in front of the", "sky"), ("under a", "clear sky"), ("against the", "sky")),
    "field": (("in a", "field"), ("in the", "grass"), ("in a", "meadow")),
    "sunset": (("at", "sunset"), ("in the", "evening"), ("at", "dusk")),
}


def write_captions(truth: dict[str, Any], rng: Random, count: int = 10) -> tuple[list[str], list[list[Word]]]:
    """`count` different captions of a bird's truth and, for each, its words."""
    teller = _Teller(truth, rng)
    patterns = (teller.has, teller.has, teller.with_, teller.with_, teller.are, teller.pose_first, teller.where_first)
    return several(lambda: rng.choice(patterns)(), count)


@dataclass(frozen=True)
class _Teller:
    truth: dict[str, Any]
    rng: Random

    def some(self, most: int) -> list[int]:
        """Two to `most` of the four coloured parts (1..4), in any order."""
        return self.rng.sample((1, 2, 3, 4), self.rng.randint(2, most))

    def colored(self, index: int) -> list[Piece]:
        """ "a red crown", "blue wings", "a long orange bill"."""
        part = self.truth["parts"][index]
        pieces: list[Piece] = [] if part["name"] == "wing" else ["a"]
        color = Says(part["color"], index, "color")
        if part["name"] == "bill":
            length = Says(self.rng.choice(LENGTHS[part["length"]]), index, "length")
            pieces += self.rng.choice(([length, color], [length, color], [length], [color]))
        else:
            pieces.append(color)
        return [*pieces, self.name(index)]

    def name(self, index: int) -> Says:
        return Says(self.rng.choice(NAMES[self.truth["parts"][index]["name"]]), index, "name")

    def colored_parts(self, most: int) -> list[Piece]:
        return enumerate_phrases([self.colored(index) for index in self.some(most)])

    def bird(self, before: str) -> list[Piece]:
        return [before, Says("bird", 0, "name")]

    def acts(self) -> list[Piece]:
        """ "is perched on a branch"."""
        before, word, after = self.rng.choice(POSES[self.truth["attributes"]["pose"]])
        return [piece for piece in (before, Says(word, -1, "pose"), after) if piece]

    def where(self, chance: float = 1.0) -> list[Piece]:
        if self.rng.random() >= chance:
            return []
        before, word = self.rng.choice(BACKGROUNDS[self.truth["attributes"]["background"]])
        return [before, Says(word, -1, "background")]

    # ---- sentences

    def has(self) -> list[Piece]:
        return [*self.bird(self.rng.choice(("this", "the"))), "has", *self.colored_parts(4)]

    def with_(self) -> list[Piece]:
        """ "a flying bird with a red crown and blue wings in the forest"."""
        adjective = Says(self.truth["attributes"]["pose"], -1, "pose")
        kind = self.rng.choice(([], ["a picture of"], ["a photo of"]))
        opening = [*kind, "a", *([adjective] if self.rng.random() < 0.6 else []), Says("bird", 0, "name")]
        return [*opening, "with", *self.colored_parts(4), *self.where(0.5)]

    def are(self) -> list[Piece]:
        """ "the crown is red, the wings are blue and the bill is long"."""
        phrases = []
        for index in self.some(3):
            part = self.truth["parts"][index]
            said = Says(part["color"], index, "color")
            if part["name"] == "bill" and self.rng.random() < 0.5:
                said = Says(self.rng.choice(LENGTHS[part["length"]]), index, "length")
            phrases.append(["its", self.name(index), "are" if part["name"] == "wing" else "is", said])
        return [*self.bird("this"), *self.acts(), ",", *enumerate_phrases(phrases)]

    def pose_first(self) -> list[Piece]:
        return [*self.bird("the"), *self.acts(), *self.where(0.7), "and has", *self.colored_parts(3)]

    def where_first(self) -> list[Piece]:
        return [*self.where(), *self.bird("a"), "with", *self.colored_parts(3), *self.acts()]
