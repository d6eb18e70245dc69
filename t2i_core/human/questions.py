"""What a rater of pictures is asked, in which order, and what a typed answer means.

Two tasks, as in the field. *rank*: the k pictures of one caption, best to worst; rank 1 is the best, so a LOWER mean
rank is better (GAN-INT-CLS and StackGAN report such ranks, and the comparison study reads them as scores). *rate*: one
picture at a time, 1 (bad) to 5 (excellent), once for quality and once for fit to the caption.

Ties are allowed in a ranking: two systems may draw the same blob, and a forced order would be noise. Tied pictures
share the mean of their places (1.5, 1.5, 3), so the ranks of a caption always have the same sum.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from t2i_core.config import UserError

LETTERS = "ABCDEFGH"  # as many pictures as a rater can put in order at a glance
SCALE = {5: "excellent", 4: "good", 3: "fair", 2: "poor", 1: "bad"}


@dataclass(frozen=True)
class Question:
    """What a rater sees at once: the picture files of a caption, in the order A, B, C; one picture in the task rate."""

    task: str
    caption: int
    shown: tuple[str, ...]

    @property
    def key(self) -> tuple[str, int, tuple[str, ...]]:
        """What makes it the same question, in whatever order its pictures are shown."""
        return self.task, self.caption, tuple(sorted(self.shown))

    def read(self, text: str) -> tuple[float, ...]:
        """What a rater typed, as values: "BAC" or "B=AC" as the ranks of A, B, C; "43" as quality 4 and fit 3."""
        typed = re.sub(r"[\s,>]+", "", text.upper())
        if self.task == "rate":
            if re.fullmatch("[1-5]{2}", typed):
                return tuple(float(digit) for digit in typed)
            raise UserError(f"{text!r} is no rating: type two digits from 1 to 5, quality first, then fit")
        letters = LETTERS[: len(self.shown)]
        places = {
            c: place for place, tied in enumerate(re.findall("[A-Z](?:=[A-Z])*", typed)) for c in tied if c != "="
        }
        if not re.fullmatch("[A-Z](=?[A-Z])*", typed) or sorted(typed.replace("=", "")) != list(letters):
            raise UserError(
                f"{text!r} is no ranking: type each of {', '.join(letters)} once, best first, "
                "with = between two that are equally good"
            )
        return tuple(float(rank) for rank in rankdata([places[c] for c in letters]))

    def phrase(self, values: Sequence[float]) -> str:
        """An answer in words, so that a rater sees what was understood: "B = A, then C"."""
        if self.task == "rate":
            quality, fit = (f"{value:.0f} ({SCALE[int(value)]})" for value in values)
            return f"quality {quality}, fit {fit}"
        ranked = dict(zip(LETTERS, values, strict=False))
        tied = [[c for c, rank in ranked.items() if rank == at] for at in sorted(set(values))]
        return ", then ".join(" = ".join(group) for group in tied)

    def check(self, values: Sequence[float]) -> None:
        """Raise ValueError unless ``values`` answer this question."""
        if self.task == "rank":
            fine = len(values) == len(self.shown) and np.array_equal(rankdata(values), values)
        else:
            fine = len(values) == 2 and all(value in SCALE for value in values)
        if not fine:
            raise ValueError(f"{list(values)} is no answer to a question of the task {self.task}")


@dataclass(frozen=True)
class Answer:
    """Values as :meth:`Question.read` gives them, and how long the rater took (None: nobody looked at a clock)."""

    question: Question
    values: tuple[float, ...]
    seconds: float | None = None


def rater_name(name: str) -> str:
    """A rater's name as it stands in a file name: small letters of any script, digits, single hyphens.

    "Ann B." and "ann-b" are one rater. A name without letter or digit raises a UserError.
    """
    plain = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", str(name)).casefold()).strip("-")[:40].rstrip("-")
    if not plain:
        raise UserError(f"the rater's name {str(name)!r} has no letter or digit: choose another name")
    return plain


def seeded(seed: int, *words: str) -> np.random.Generator:
    """A generator of its own for each seed and words, the same on every machine."""
    digest = hashlib.sha256("\0".join([str(seed), *words]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def rank_orders(captions: int, columns: int, rng: np.random.Generator) -> list[tuple[int, NDArray]]:
    """(caption, columns from A on) of each ranking: captions shuffled; over every k = ``columns`` questions each column
    stands once at each place (a cyclic Latin square, a new one each time)."""
    orders = []
    for place, caption in enumerate(rng.permutation(captions)):
        if place % columns == 0:
            square = rng.permutation(columns)
        orders.append((int(caption), np.roll(square, place % columns)))
    return orders


def rate_orders(captions: int, columns: int, rng: np.random.Generator) -> list[tuple[int, NDArray]]:
    """(caption, its one column) of each rating, in k = ``columns`` rounds; in each round every caption comes once, and
    the columns equally often, so that no system waits for a tired rater."""
    square, group = rng.permutation(columns), rng.permutation(captions) % columns
    rounds = [(turn, int(c)) for turn in range(columns) for c in rng.permutation(captions)]
    return [(caption, square[[(group[caption] + turn) % columns]]) for turn, caption in rounds]


ORDERS = {"rank": rank_orders, "rate": rate_orders}
