"""Captions of toy-flowers, after the style of Oxford-102's: how many petals, their shape and colour, centre, leaves."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from data_prep.toyworld.grammar import Piece, Says, Word, enumerate_phrases, several

PETALS, CENTER, LEAVES = 0, 1, 2
SHAPES = {
    "round": ("round", "rounded"), "pointed": ("pointed", "sharp"), "narrow": ("narrow", "slender"),
    "notched": ("notched", "heart shaped"), "broad": ("broad", "wide"), "thin": ("thin", "long"),
}  # fmt: skip
CENTER_NAMES = ("center", "center", "middle")
BACKGROUNDS = {
    "garden": (("in a", "garden"), ("in the", "garden"), ("before", "bushes")),
    "sky": (("against the", "sky"), ("under a", "clear sky")),
    "dark": (("in the", "dark"), ("on a", "dark background"), ("at", "night")),
    "table": (("on a", "table"), ("on a", "wooden table"), ("in a", "room")),
    "rocks": (("among", "rocks"), ("between", "stones"), ("by the", "rocks")),
}


def write_captions(truth: dict[str, Any], rng: Random, count: int = 10) -> tuple[list[str], list[list[Word]]]:
    """`count` different captions of a flower's truth and, for each, its words."""
    teller = _Teller(truth, rng)
    patterns = (teller.has, teller.has, teller.with_, teller.with_, teller.are, teller.where_first, teller.colored)
    return several(lambda: rng.choice(patterns)(), count)


@dataclass(frozen=True)
class _Teller:
    truth: dict[str, Any]
    rng: Random

    def says(self, index: int, kind: str) -> Says:
        value = self.truth["parts"][index][kind]
        return Says(self.rng.choice(SHAPES[value]) if kind == "shape" else value, index, kind)

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance

    def petals(self) -> list[Piece]:
        """ "five pointed red petals", "red petals that are pointed"."""
        count: list[Piece] = [self.says(PETALS, "count")] if self.maybe(0.6) else []
        color, name = self.says(PETALS, "color"), Says("petals", PETALS, "name")
        shape = self.says(PETALS, "shape")
        forms: tuple[list[Piece], ...] = (
            [*count, shape, color, name], [*count, color, name], [*count, color, name, "that are", shape],
            [*count, color, "and", shape, name],
        )  # fmt: skip
        return self.rng.choice(forms)

    def center(self) -> list[Piece]:
        return ["a", self.says(CENTER, "color"), Says(self.rng.choice(CENTER_NAMES), CENTER, "name")]

    def leaves(self) -> list[Piece]:
        return [self.says(LEAVES, "shape"), Says("leaves", LEAVES, "name")]

    def all_parts(self, leaves: float) -> list[Piece]:
        phrases = [self.petals()]
        if self.maybe(0.85):
            phrases.append(self.center())
        if self.maybe(leaves):
            phrases.append(self.leaves())
        return enumerate_phrases(self.rng.sample(phrases, len(phrases)))

    def where(self, chance: float = 1.0) -> list[Piece]:
        if not self.maybe(chance):
            return []
        before, word = self.rng.choice(BACKGROUNDS[self.truth["attributes"]["background"]])
        return [before, Says(word, -1, "background")]

    # ---- sentences

    def has(self) -> list[Piece]:
        return [self.rng.choice(("this flower has", "the flower has", "this plant has")), *self.all_parts(0.45)]

    def with_(self) -> list[Piece]:
        opening = self.rng.choice(("a flower with", "a picture of a flower with", "a blossom with"))
        return [opening, *self.all_parts(0.3), *self.where(0.5)]

    def are(self) -> list[Piece]:
        """ "the petals are red and pointed and the center is yellow"."""
        told = [
            self.says(PETALS, kind) for kind in self.rng.choice((("color", "shape"), ("shape", "color"), ("color",)))
        ]
        petals = ["the", Says("petals", PETALS, "name"), "are", told[0], *(["and", told[1]] if told[1:] else [])]
        center = ["the", Says(self.rng.choice(CENTER_NAMES), CENTER, "name"), "is", self.says(CENTER, "color")]
        leaves = ["the", Says("leaves", LEAVES, "name"), "are", self.says(LEAVES, "shape")]
        others = self.rng.choice(([center], [center], [leaves], [center, leaves]))
        opening = self.rng.choice(([], ["in this flower"], [*self.where(), ","]))
        return [*opening, *enumerate_phrases([petals, *others])]

    def where_first(self) -> list[Piece]:
        verb = self.rng.choice(("grows", "blooms", "is", "stands"))
        return [*self.where(), verb, "a flower with", *self.all_parts(0.3)]

    def colored(self) -> list[Piece]:
        """ "a red flower with five pointed petals blooms in a garden": the flower's colour is its petals'."""
        count: list[Piece] = [self.says(PETALS, "count")] if self.maybe(0.7) else []
        shape: list[Piece] = [self.says(PETALS, "shape")] if self.maybe(0.7) or not count else []
        phrases: list[list[Piece]] = [[*count, *shape, Says("petals", PETALS, "name")]]
        if self.maybe(0.7):
            phrases.append(self.center())
        return ["a", self.says(PETALS, "color"), "flower with", *enumerate_phrases(phrases), *self.where(0.6)]
