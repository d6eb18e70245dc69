"""Emoji in words: from emojibase's records to labels, tags and captions."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
MIXED = "mixed"  # two people of different skin tones

Piece = tuple[str, str]  # a piece of a caption, and the attribute that it states ("" for none)

_STYLE_PHRASES = ((", drawn in ", " style"), (", in ", " style"), (" in the ", " style"), (", as ", " draws it"))
_GROUP_WORDS = {
    "smileys-emotion": "smiley", "people-body": "people", "component": "component", "animals-nature": "nature",
    "food-drink": "food", "travel-places": "travel", "activities": "activity", "objects": "object",
    "symbols": "symbol", "flags": "flag",
}  # fmt: skip


@dataclass(frozen=True)
class Emoji:
    """One emoji: its own and its base emoji's code points, the words for it, and where it belongs."""

    code: str  # lower-case hex code points, without the variation selector: "1f44b-1f3fd"
    base: str  # the same of the emoji without skin tone: "1f44b"
    label: str  # without skin tone: "waving hand"
    tags: tuple[str, ...]
    group: str
    subgroup: str
    tones: tuple[str, ...] = ()  # one; or two for a couple

    @property
    def tone(self) -> str:
        """The skin tone as an attribute: "none", one of TONES, or "mixed"."""
        different = set(self.tones)
        return MIXED if len(different) > 1 else self.tones[0] if self.tones else "none"


def normal_code(hexcode: str) -> str:
    """Code points as this module writes them: lower case, without the variation selector FE0F."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def parse(records: Iterable[dict[str, Any]], groups: dict[str, Any], skin_tones: bool = True) -> dict[str, Emoji]:
    """Every emoji that has a group, by code (the others are single letters, from which flags are made).

    `records` is emojibase's en/data.json, `groups` its meta/groups.json.
    """
    found = {}
    for record in records:
        if "group" not in record:
            continue
        base = normal_code(record["hexcode"])
        label = say_label(record["label"])
        subgroup = groups["subgroups"][str(record["subgroup"])]
        common = {
            "base": base,
            "label": label,
            "tags": _good_tags(record.get("tags", ()), label, subgroup),
            "group": groups["groups"][str(record["group"])],
            "subgroup": subgroup,
        }
        found[base] = Emoji(code=base, **common)
        for skin in record.get("skins", ()) if skin_tones else ():
            numbers = skin["tone"] if isinstance(skin["tone"], list) else [skin["tone"]]
            code = normal_code(skin["hexcode"])
            found[code] = Emoji(code=code, tones=tuple(TONES[number - 1] for number in numbers), **common)
    return found


def say_label(label: str) -> str:
    """A label as one would say it: "flag: Peru" -> "flag of Peru", "family: man, boy" -> "family of man and boy"."""
    head, colon, tail = label.partition(": ")
    if not colon:
        return label
    *firsts, last = tail.split(", ")
    tail = f"{', '.join(firsts)} and {last}" if firsts else last
    if head in ("flag", "family"):
        return f"{head} of {tail}"
    if head == "keycap" or tail.startswith("facing"):
        return f"{head} {tail}"
    if tail == "bald":
        return f"bald {head}"
    if "hair" in tail or tail == "beard":
        return f"{head} with {tail}"
    return f"{head}, {tail}"


def _good_tags(tags: Iterable[str], label: str, subgroup: str) -> tuple[str, ...]:
    """Tags that are words and say more than the label does; the subgroup's name if there are none."""
    known = set(re.findall(r"\w+", label.lower()))
    good = [tag for tag in tags if re.fullmatch(r"[a-z]{3,}( [a-z]{2,})?", tag) and not set(tag.split()) <= known]
    return tuple(good) or (subgroup.replace("-", " "),)


def captions_of(emoji: Emoji, style: str, seed: int = 0) -> tuple[list[str], list[list[list[Any]]]]:
    """Five captions of one picture, and for each the words that state an attribute: [start, end, -1, attribute].

    Label; label and style; label and tags; tags alone; group, label and style. What varies between pictures (the tags
    chosen, the paraphrase) depends on (seed, code, style) only.
    """
    choose = random.Random(f"{seed}/{emoji.code}/{style}")
    tags = list(emoji.tags)
    choose.shuffle(tags)
    before, after = choose.choice(_STYLE_PHRASES)
    label = [(emoji.label, ""), *_tone_pieces(emoji)]
    group = (_GROUP_WORDS.get(emoji.group, emoji.group), "group")
    with_group = choose.choice(
        (
            [("a ", ""), (style, "style"), (" style ", ""), group, (" emoji of ", ""), *label],
            [group, (" emoji, ", ""), *label, (", ", ""), (style, "style"), (" style", "")],
        )
    )
    return _compose(
        [
            label,
            [*label, (before, ""), (style, "style"), (after, "")],
            [*label, (f", {', '.join(tags[:2])}", "")],
            [(", ".join(tags[-3:]), "")],
            with_group,
        ]
    )


def _tone_pieces(emoji: Emoji) -> list[Piece]:
    joint = ", " if " with " in emoji.label else " with "
    if emoji.tone in TONES:
        return [(joint, ""), (emoji.tone, "tone"), (" skin tone", "")]
    # Two tones are one attribute, "mixed", that no single word states
    return [(f"{joint}{' and '.join(emoji.tones)} skin tones", "")] if emoji.tones else []


def _compose(captions: list[list[Piece]]) -> tuple[list[str], list[list[list[Any]]]]:
    texts, words = [], []
    for pieces in captions:
        text, stated = "", []
        for piece, attribute in pieces:
            if attribute:
                stated.append([len(text), len(text) + len(piece), -1, attribute])
            text += piece
        texts.append(text)
        words.append(stated)
    return texts, words
