"""What a caption of a toy world states, word by word, read from the text alone.

A prepared caption comes with its truth; one that a user types does not. So a small lexicon of each world says what its
words mean, and three rules say of what: an adjective belongs to the noun that follows, after "is" or "are" to the one
before; a place belongs to the noun before, unless an article follows ("on the left a red house"). The lexicon is this
project's toy grammar read backwards (tests compare both on prepared captions); a word outside of it states nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from t2i_core.captions import split_words

COLOURS = "red orange yellow green blue purple pink white black brown gray".split()
_BIRDS = {"crown": "crown cap", "wing": "wings wing", "belly": "belly breast", "bill": "bill beak", "bird": "bird"}
_FLOWERS = {"petals": "petals", "center": "center middle", "leaves": "leaves"}
# kind -> {what the truth calls it: phrases, separated by |}; "name" holds the parts. What begins with ":" is said only
# of a noun of NOUNS that it stands before.
LEXICON: dict[str, dict[str, dict[str, str]]] = {
    "toy-scenes": {
        "name": {n: n for n in "house tree car boat dog flower balloon kite bird plane".split()},
        "color": {c: c for c in COLOURS[:8]},
        "size": {"small": "small|little|tiny", "large": "large|big|huge"},
        "place": {"left": "left", "middle": "middle|center", "right": "right"},
        "level": {"sky": "sky|air|flies|floats|hovers", "ground": "ground|stands|rests|sits"},
        "setting": {
            "beach": "sandy beach|beach|sea|seaside",
            "meadow": "meadow|grassy field|grass",
            "desert": "dry desert|desert|sand dunes|dunes",
            "snow": "snowy field|snowy landscape|winter landscape|winter|snow",
            "mountains": "mountain landscape|mountains",
            "city": "city at night|dark city|city|town at night|town",
        },
        "relation": {
            "left of": "to the left of|left of",
            "right of": "to the right of|right of",
            "above": "above|over",
            "below": "below|under",
        },
    },
    "toy-birds": {
        "name": {name: words.replace(" ", "|") for name, words in _BIRDS.items()},
        "color": {c: c for c in COLOURS if c not in ("purple", "pink", "gray")},
        "length": {"short": "short|small|stubby", "long": "long|lengthy"},
        "pose": {
            "perched": "perched|sitting|rests",
            "standing": "standing|stands",
            "flying": "flying|flies|in flight",
        },
        "background": {
            "forest": "forest|leaves|woods",
            "lake": "lake|water",
            "sky": "clear sky|sky",
            "field": "field|grass|meadow",
            "sunset": "sunset|evening|dusk",
        },
    },
    "toy-flowers": {
        "name": {name: words.replace(" ", "|") for name, words in _FLOWERS.items()},
        "color": {c: c for c in COLOURS if c not in ("black", "gray")},
        "shape": {
            "round": "round|rounded",
            "pointed": "pointed|sharp",
            "narrow": "narrow|slender",
            "notched": "notched|heart shaped",
            "broad": "broad|wide",
            "thin": "thin|long",
        },
        "count": {n: n for n in "four five six eight".split()},
        "background": {
            "garden": "garden|bushes",
            "sky": "clear sky|sky",
            "dark": "dark background|dark|night",
            "table": "wooden table|table|room",
            "rocks": "rocks|stones",
        },
    },
    "toy-faces": {
        "age": {"young": "young|youthful", "old": "old|elderly|aged"},
        "hairline": {"full": "full hairline|low hairline", "receding": "receding hairline|high hairline"},
        "hair": {
            "black": ":black",
            "brown": ":brown",
            "blond": ":blond|:golden",
            "red": ":red|:ginger",
            "gray": ":gray|:silver",
        },
        "length": {"short": ":short", "long": ":long"},
        "skin": {"light": ":light|:pale|:fair", "medium": ":medium|:tan", "dark": ":dark"},
        "background": {c: f":{c}" for c in ("blue", "green", "purple", "orange")},
        "smile": {"yes": "big smile|smile|smiling", "no": "serious look|straight mouth"},
        "glasses": {"no": "no glasses", "yes": "glasses|spectacles"},
        "beard": {"no": "no beard", "yes": "full beard|beard"},
        "earrings": {"no": "no earrings", "yes": "gold earrings|earrings"},
    },
}
NOUNS = {"hair": "hair", "length": "hair", "skin": "skin", "background": "wall background"}  # whom a ":" phrase needs
STANDS_FOR = {"flower": "petals", "blossom": "petals", "plant": "petals"}  # "a pink flower": its petals are
OF_PARTS = ("color", "size", "length", "shape", "count")
LONGEST = 4  # words of a phrase: "to the left of"
TURNED = {"right of": "left of", "below": "above"}


@dataclass(frozen=True)
class Statement:
    """The caption's letters from ``start`` to ``end`` state that ``part`` ("" for the whole picture) is ``answer`` in
    ``kind``. Of a relation, ``part`` is its subject and ``other`` its object."""

    text: str
    start: int
    end: int
    part: str
    kind: str
    answer: str
    other: str = ""


@cache
def _phrases(world: str) -> dict[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Phrase as words -> the (kind, answer) pairs it may have; a phrase with ":" is kept with it."""
    found: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {}
    for kind, answers in LEXICON.get(world, {}).items():
        for answer, phrases in answers.items():
            for phrase in phrases.split("|"):
                key = tuple(phrase.lstrip(":").split())
                found[key] = (*found.get(key, ()), (kind + ":" * phrase.startswith(":"), answer))
    return found


def statements(caption: str, world: str) -> tuple[Statement, ...]:
    """What a caption states, in its order; nothing for a world without a lexicon."""
    table, words = _phrases(world), split_words(caption)
    plain = [word for word, _, _ in words]
    nouns = {word: name for (word, *rest), pairs in table.items() if not rest
             for kind, name in pairs if kind == "name"}  # fmt: skip
    if world == "toy-flowers":
        nouns |= STANDS_FOR
    told, k = [], 0
    while k < len(words):
        sizes = range(min(LONGEST, len(words) - k), 0, -1)
        size, pairs = next(((n, table[key]) for n in sizes if (key := tuple(plain[k : k + n])) in table), (1, ()))
        start, end = words[k][1], words[k + size - 1][2]
        comma = re.match("( side)?,", caption[end:]) is not None
        for kind, answer in pairs:
            part = _owner(plain, k, size, kind, nouns, comma)
            if part is None:
                continue
            kind, other = kind.rstrip(":"), ""
            if kind == "relation":
                other = _after(plain, k + size, nouns) or ""
                if answer in TURNED:
                    answer, part, other = TURNED[answer], other, part
                if not part or not other:
                    continue
            told.append(Statement(caption[start:end], start, end, part, kind, answer, other))
            break
        k += size
    return tuple(told)


def _owner(plain: list[str], k: int, size: int, kind: str, nouns: dict[str, str], comma: bool) -> str | None:
    """The part that the phrase at word k is said of; "" the whole picture; None where it states nothing there."""
    after = k + size
    if kind == "name":
        return nouns[plain[k]]
    if kind.endswith(":"):  # "short red hair": the noun may stand one adjective further on
        return "" if set(plain[after : after + 2]) & set(NOUNS[kind[:-1]].split()) else None
    if kind in OF_PARTS:
        behind = _copula(plain, k, nouns) and (comma or plain[after : after + 1] not in [[noun] for noun in nouns])
        return (_before(plain, k, nouns) if behind else None) or _after(plain, after, nouns)
    if kind in ("place", "level", "relation"):
        verb = plain[k].endswith("s") and kind == "level"
        after += plain[after : after + 1] == ["side"]
        first = plain[after : after + 1] in (["a"], ["an"]) and not verb and kind == "place" and not comma
        return (_after(plain, after, nouns) if first else None) or _before(plain, k, nouns)
    return ""


def _copula(plain: list[str], k: int, nouns: dict[str, str]) -> bool:
    """Does "is" or "are" stand before word k, with no noun and no new phrase between them?"""
    for word in reversed(plain[:k]):
        if word in ("is", "are"):
            return True
        if word in nouns or word in ("a", "an", "there"):
            return False
    return False


def _after(plain: list[str], k: int, nouns: dict[str, str]) -> str | None:
    return next((nouns[word] for word in plain[k:] if word in nouns), None)


def _before(plain: list[str], k: int, nouns: dict[str, str]) -> str | None:
    return next((nouns[word] for word in reversed(plain[:k]) if word in nouns), None)
