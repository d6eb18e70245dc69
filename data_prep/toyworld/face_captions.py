"""Captions of toy-faces, in the way CelebA's attribute lists are told: what a person has, wears, and looks like."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from data_prep.toyworld.grammar import Piece, Says, Word, enumerate_phrases, several

AGES = {"young": ("young", "young", "youthful"), "old": ("old", "elderly", "aged")}
HAIRLINES = {
    "full": ("full hairline", "low hairline"),
    "receding": ("receding hairline", "receding hairline", "high hairline"),
}
HAIRS = {
    "black": ("black",),
    "brown": ("brown",),
    "blond": ("blond", "golden"),
    "red": ("red", "ginger"),
    "gray": ("gray", "silver"),
}
SKINS = {"light": ("light", "pale", "fair"), "medium": ("medium", "tan"), "dark": ("dark",)}
WALLS = ("wall", "background")


def write_captions(truth: dict[str, Any], rng: Random, count: int = 10) -> tuple[list[str], list[list[Word]]]:
    """`count` different captions of a face's truth and, for each, its words."""
    teller = _Teller(truth, rng)
    patterns = (teller.has, teller.with_, teller.with_, teller.is_and_has, teller.wears, teller.portrait, teller.looks)
    return several(lambda: rng.choice(patterns)(), count)


@dataclass(frozen=True)
class _Teller:
    truth: dict[str, Any]
    rng: Random

    def part(self, name: str) -> int:
        return next(index for index, part in enumerate(self.truth["parts"]) if part["name"] == name)

    def about(self, kind: str) -> str:
        return self.truth["attributes"][kind]

    # ---- phrases: what a face has, as "x" in "a person with x"

    def hair(self) -> list[Piece]:
        index = self.part("hair")
        color = Says(self.rng.choice(HAIRS[self.about("hair")]), index, "color", ((-1, "hair"),))
        length = Says(self.about("length"), index, "length", ((-1, "length"),))
        told = self.rng.choice(([color], [color], [length, color], [length]))
        return [*told, Says("hair", index, "name")]

    def hairline(self) -> list[Piece]:
        words = self.rng.choice(HAIRLINES[self.about("hairline")])
        return ["a", Says(words, self.part("hair"), "hairline", ((-1, "hairline"),))]

    def skin(self) -> list[Piece]:
        return [Says(self.rng.choice(SKINS[self.about("skin")]), -1, "skin"), "skin"]

    def mouth(self) -> list[Piece]:
        if self.about("smile") == "yes":
            return ["a", Says(self.rng.choice(("smile", "big smile")), -1, "smile", ((self.part("mouth"), "name"),))]
        return ["a", Says(self.rng.choice(("serious look", "straight mouth")), -1, "smile")]

    def worn(self, kind: str) -> list[Piece]:
        """ "glasses", "a beard", "no earrings"."""
        names = {
            "glasses": ("glasses", "spectacles"),
            "beard": ("beard", "full beard"),
            "earrings": ("earrings", "gold earrings"),
        }
        if self.about(kind) == "no":
            return [Says(f"no {kind}", -1, kind)]
        article = ["a"] if kind == "beard" else []
        return [*article, Says(self.rng.choice(names[kind]), -1, kind, ((self.part(kind), "name"),))]

    def some(self, least: int, most: int, skip: tuple[str, ...] = ()) -> list[list[Piece]]:
        """A few facts in any order. What is absent is told less often than what is there, as people do."""
        kinds = {"hair": 1.6, "hairline": 1.2, "skin": 0.8, "mouth": 0.8}
        kinds |= {kind: 1.2 if self.about(kind) == "yes" else 0.25 for kind in ("glasses", "beard", "earrings")}
        keys = sorted((kind for kind in kinds if kind not in skip), key=lambda k: self.rng.random() ** (1 / kinds[k]))
        told = list(reversed(keys))[: self.rng.randint(least, most)]
        return [getattr(self, kind)() if hasattr(self, kind) else self.worn(kind) for kind in told]

    def age(self) -> Says:
        return Says(self.rng.choice(AGES[self.about("age")]), -1, "age")

    def person(self, chance: float = 0.8) -> list[Piece]:
        """ "young person"; in the rest of the cases "person"."""
        age: list[Piece] = [self.age()] if self.rng.random() < chance else []
        return [*age, "person"]

    def behind(self, chance: float) -> list[Piece]:
        if self.rng.random() >= chance:
            return []
        return ["in front of a", Says(self.about("background"), -1, "background"), self.rng.choice(WALLS)]

    # ---- sentences

    def has(self) -> list[Piece]:
        return [self.rng.choice(("this", "the")), *self.person(), "has", *enumerate_phrases(self.some(2, 4))]

    def with_(self) -> list[Piece]:
        smiling = self.about("smile") == "yes" and self.rng.random() < 0.3
        mood: list[Piece] = [Says("smiling", -1, "smile", ((self.part("mouth"), "name"),))] if smiling else []
        facts = self.some(2, 3, ("mouth",) if smiling else ())
        return ["a", *mood, *self.person(), "with", *enumerate_phrases(facts), *self.behind(0.35)]

    def is_and_has(self) -> list[Piece]:
        """ "the person is young and has red hair, a beard and glasses"."""
        return ["the person is", self.age(), "and has", *enumerate_phrases(self.some(2, 3))]

    def wears(self) -> list[Piece]:
        """ "a person with red hair wears glasses and earrings"."""
        kinds = [kind for kind in ("glasses", "earrings") if self.about(kind) == "yes"]
        if not kinds:
            return self.has()
        worn = enumerate_phrases([self.worn(kind) for kind in kinds])
        facts = enumerate_phrases(self.some(1, 2, ("glasses", "earrings")))
        return [self.rng.choice(("a", "this")), *self.person(), "with", *facts, "wears", *worn, *self.behind(0.3)]

    def portrait(self) -> list[Piece]:
        opening = self.rng.choice(("a portrait of a", "a photo of a", "the face of a"))
        return [opening, *self.person(0.9), "with", *enumerate_phrases(self.some(1, 3)), *self.behind(0.4)]

    def looks(self) -> list[Piece]:
        """ "with red hair and a beard, this person looks young"."""
        return ["with", *enumerate_phrases(self.some(1, 3)), ",", "this person looks", self.age()]
