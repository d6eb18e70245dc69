"""Captions of toy-scenes: a small grammar with synonyms and changing word order.

Every object is named with its colour, nine captions in ten name the setting; sizes, places, levels and relations are
told sometimes. Colour words never describe a setting and classes have one word each, so that a word means one thing;
places, sizes, levels, settings and verbs have several, so that no word alone carries the meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from data_prep.toyworld.grammar import MAX_WORDS, Piece, Says, Word, count_words, enumerate_phrases, several

# (words before, words that state it); the first list follows "a house ...", the second stands for the whole picture
SETTING_WORDS: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
    "beach": (
        [("on the", "beach"), ("at the", "beach"), ("on a", "sandy beach"), ("by the", "sea"), ("at the", "seaside")],
        [("a", "beach"), ("a", "sandy beach"), ("the", "seaside")],
    ),
    "meadow": (
        [("in a", "meadow"), ("on a", "meadow"), ("in a", "grassy field"), ("on the", "grass")],
        [("a", "meadow"), ("a", "grassy field"), ("the", "grass")],
    ),
    "desert": (
        [("in the", "desert"), ("in a", "dry desert"), ("among the", "dunes"), ("among", "sand dunes")],
        [("a", "desert"), ("a", "dry desert"), ("the", "dunes")],
    ),
    "snow": (
        [("in the", "snow"), ("on a", "snowy field"), ("in", "winter"), ("in a", "snowy landscape")],
        [("a", "snowy field"), ("a", "winter landscape"), ("a", "snowy landscape")],
    ),
    "mountains": (
        [("in the", "mountains"), ("near the", "mountains"), ("by the", "mountains"), ("in a", "mountain landscape")],
        [("a", "mountain landscape"), ("the", "mountains")],
    ),
    "city": (
        [("in the", "city"), ("in a", "city at night"), ("in a", "dark city"), ("in", "town at night")],
        [("a", "city at night"), ("a", "dark city"), ("a", "town at night")],
    ),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
PLACE_WORDS = {
    "left": (("on the", "left", ""), ("on the", "left", "side"), ("at the", "left", "")),
    "middle": (("in the", "middle", ""), ("in the", "center", ""), ("at the", "center", "")),
    "right": (("on the", "right", ""), ("on the", "right", "side"), ("at the", "right", "")),
}
LEVEL_WORDS = {"sky": (("in the", "sky"), ("in the", "air"), ("up in the", "sky")), "ground": (("on the", "ground"),)}
VERBS = {"sky": ("flies", "floats", "hovers"), "ground": ("stands", "rests", "sits")}
# "reversed": the object comes first; it states the same fact from the other side
RELATION_WORDS = {
    ("left of", False): ("left of", "to the left of"),
    ("left of", True): ("right of", "to the right of"),
    ("above", False): ("above", "over"),
    ("above", True): ("below", "under"),
}


def write_captions(truth: dict[str, Any], rng: Random, count: int = 5) -> tuple[list[str], list[list[Word]]]:
    """`count` different captions of a scene's truth and, for each, its words."""
    return several(lambda: _sentence(truth, rng), count)


def _sentence(truth: dict[str, Any], rng: Random) -> list[Piece]:
    richness = 1.0
    while True:
        teller = _Teller(truth, rng, richness)
        patterns: list[Callable[[], list[Piece]]] = [
            teller.things_then_setting, teller.things_then_setting, teller.setting_then_things,
            teller.setting_with_things, teller.there_is, teller.verbs, teller.places_first,
        ]  # fmt: skip
        if truth["relations"]:
            patterns += [teller.related, teller.related]
        pieces = rng.choice(patterns)()
        if count_words(pieces) <= MAX_WORDS:
            return pieces
        richness *= 0.7  # too long: try again with fewer sizes and places


@dataclass(frozen=True)
class _Teller:
    """The sentence patterns over one scene; `richness` scales how often optional facts are told."""

    truth: dict[str, Any]
    rng: Random
    richness: float

    @property
    def parts(self) -> list[dict[str, Any]]:
        return self.truth["parts"]

    def order(self) -> list[int]:
        return self.rng.sample(range(len(self.parts)), len(self.parts))

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance * self.richness

    # ---- phrases

    def thing(self, index: int) -> list[Piece]:
        """ "a small red house"."""
        part = self.parts[index]
        pieces: list[Piece] = ["a"]
        if self.maybe(0.5 if len(self.parts) == 1 else 0.3):
            pieces.append(Says(self.rng.choice(SIZE_WORDS[part["size"]]), index, "size"))
        return [*pieces, Says(part["color"], index, "color"), Says(part["name"], index, "name")]

    def place(self, index: int) -> list[Piece]:
        before, word, after = self.rng.choice(PLACE_WORDS[self.parts[index]["place"]])
        return [before, Says(word, index, "place"), *([after] if after else [])]

    def level(self, index: int) -> list[Piece]:
        before, word = self.rng.choice(LEVEL_WORDS[self.parts[index]["level"]])
        return [before, Says(word, index, "level")]

    def placed(self, index: int, place: bool) -> list[Piece]:
        """ "a red house on the left"; of things in the sky also "a red kite in the sky on the left"."""
        level = self.level(index) if self.maybe(0.45 if self.parts[index]["level"] == "sky" else 0.1) else []
        return [*self.thing(index), *level, *(self.place(index) if place else [])]

    def things(self) -> list[Piece]:
        """All objects, those with a place first: in "a red house and a car on the left" it could be meant for both."""
        told = sorted((self.maybe(0.55 if k else 0.85) for k in range(len(self.parts))), reverse=True)
        return enumerate_phrases([self.placed(*pair) for pair in zip(self.order(), told, strict=True)])

    def setting(self, whole: bool = False) -> list[Piece]:
        before, words = self.rng.choice(SETTING_WORDS[self.truth["attributes"]["setting"]][whole])
        return [before, Says(words, -1, "setting")]

    def setting_mostly(self) -> list[Piece]:
        return self.setting() if self.rng.random() < 0.94 else []

    # ---- sentences

    def things_then_setting(self) -> list[Piece]:
        return self.things() + self.setting_mostly()

    def setting_then_things(self) -> list[Piece]:
        verb = "is" if len(self.parts) == 1 else "are"
        return [*self.setting(), *(["there", verb] if self.rng.random() < 0.6 else [verb]), *self.things()]

    def setting_with_things(self) -> list[Piece]:
        opening = self.rng.choice(([], [], ["a view of"], ["a picture of"]))
        return [*opening, *self.setting(whole=True), "with", *self.things()]

    def there_is(self) -> list[Piece]:
        opening = self.rng.choice(("there is", "we see", "a picture of"))
        return [opening, *self.things(), *self.setting_mostly()]

    def verbs(self) -> list[Piece]:
        """ "a red kite flies on the left and a blue car rests in the snow"; of three things only the first acts."""
        phrases = []
        for k, index in enumerate(self.order()):
            verb = Says(self.rng.choice(VERBS[self.parts[index]["level"]]), index, "level")
            action = [] if k and len(self.parts) == 3 else [verb, *(self.place(index) if self.maybe(0.85) else [])]
            phrases.append([*self.thing(index), *action])
        return enumerate_phrases(phrases) + self.setting_mostly()

    def places_first(self) -> list[Piece]:
        """ "a green tree, on the left a red house and in the middle a blue car"; things without a place come first."""
        told = sorted(self.maybe(0.7) for _ in self.parts[1:])
        phrases = [
            [*(self.place(index) if place else []), *self.thing(index)]
            for index, place in zip(self.order(), [*told, True], strict=True)
        ]
        return enumerate_phrases(phrases) + self.setting_mostly()

    def related(self) -> list[Piece]:
        """ "a red house left of a blue car in the snow"; a third thing keeps its distance from the pair."""
        relations = self.truth["relations"]
        weights = [4 if relation["relation"] == "above" else 1 for relation in relations]  # it is true more rarely
        [number] = self.rng.choices(range(len(relations)), weights)
        relation = relations[number]
        pair = [relation["subject"], relation["object"]]
        turned = self.rng.random() < 0.4
        first, second = reversed(pair) if turned else pair
        words = Says(self.rng.choice(RELATION_WORDS[relation["relation"], turned]), number, "relation")
        told = [*self.thing(first), *(["is"] if self.rng.random() < 0.4 else []), words, *self.thing(second)]
        others = [index for index in range(len(self.parts)) if index not in pair]
        if not others:
            return [*told, *(self.place(second) if self.maybe(0.4) else []), *self.setting_mostly()]
        return [*told, *self.setting_mostly(), ",", "and", *self.placed(others[0], self.maybe(0.8))]
