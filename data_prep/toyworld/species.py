"""Species: fixed combinations of attributes, some only for training and some only for the test.

CUB-200-2011 and Oxford-102 split by class, so that the test asks for birds and flowers that were never seen. The toy
worlds do the same: a test species combines colours and shapes that training shows, but never together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random

Attributes = dict[str, str]

SPECIES, TRAIN_SPECIES = 40, 30
CANDIDATES = 40  # of each new species, of which the one with the rarest values is taken
SPLIT_RULE = f"by species: 0..{TRAIN_SPECIES - 1} are in train only, {TRAIN_SPECIES}..{SPECIES - 1} in test only"


def species_table(
    world: str, values: Mapping[str, Sequence[str]], allowed: Callable[[Attributes], bool]
) -> tuple[Attributes, ...]:
    """The 40 species of a world: any two differ in two attributes or more, and all values are about equally frequent.

    The table is the same for every seed of the pictures, so that class 7 means the same bird in every dataset.
    """
    rng = Random(f"{world}/species")
    table: list[Attributes] = []
    used: Counter[tuple[str, str]] = Counter()
    while len(table) < SPECIES:
        if len(table) == TRAIN_SPECIES:
            used.clear()  # the test species are balanced among themselves
        drawn = [{name: rng.choice(list(options)) for name, options in values.items()} for _ in range(CANDIDATES)]
        fit = [one for one in drawn if allowed(one) and all(_distance(one, other) >= 2 for other in table)]
        if fit:
            rarest = min(fit, key=lambda one: sum(used[item] for item in one.items()))
            table.append(rarest)
            used.update(rarest.items())
    return tuple(table)


def _distance(one: Attributes, other: Attributes) -> int:
    return sum(one[name] != other[name] for name in one)


def pick_species(rng: Random, test: bool) -> int:
    """The class of a picture of the training or the test stream."""
    return rng.randrange(TRAIN_SPECIES, SPECIES) if test else rng.randrange(TRAIN_SPECIES)
