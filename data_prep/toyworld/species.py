"""Species: fixed combinations of attributes, some only for training and some only for the test.

CUB-200-2011 and Oxford-102 split by class, so that the test asks for birds and flowers that were never seen. The toy
worlds do the same: a test species combines colours and shapes that training shows, but never together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random

from data_prep.toyworld.scene import TWO_STREAMS
from t2i_core.config import UserError

Attributes = dict[str, str]

SPECIES, TRAIN_SPECIES = 40, 30
CANDIDATES = 40  # of each new species, of which the one with the rarest values is taken
SPLIT_RULE = f"by species: 0..{TRAIN_SPECIES - 1} are in train only, {TRAIN_SPECIES}..{SPECIES - 1} in test only"
SPLIT, FREE = "split", "free"
DRAWN = (SPLIT, FREE)  # how the species of a picture is drawn
FREE_RULE = f"{TWO_STREAMS}; every attribute is drawn independently"


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


def pick_species(
    rng: Random, test: bool, table: Sequence[Attributes], values: Mapping[str, Sequence[str]], drawn: str = SPLIT
) -> tuple[int, Attributes]:
    """The class and the attributes of one picture, of the training or the test stream.

    "split" takes one of the `table`'s species of that stream. "free" draws every attribute independently and uniformly
    from its `values`, in both streams alike, so combinations come up that no species of the table has; the class is
    then the number of the combination, counted with the last attribute running fastest.
    """
    if drawn == SPLIT:
        class_id = rng.randrange(TRAIN_SPECIES, SPECIES) if test else rng.randrange(TRAIN_SPECIES)
        return class_id, table[class_id]
    class_id, attributes = 0, {}
    for name, options in values.items():
        place = rng.randrange(len(options))
        class_id, attributes[name] = class_id * len(options) + place, options[place]
    return class_id, attributes


def check_drawn(world: str, drawn: str, has_species: bool) -> None:
    """Refuse a way of drawing species that does not exist, or that a world without species cannot have."""
    if drawn not in DRAWN:
        raise UserError(f"species {drawn!r}: choose {' or '.join(DRAWN)}")
    if drawn == FREE and not has_species:
        raise UserError(f"{world} has no species, its attributes are free already: leave out species='{FREE}'")
