"""From a toy world to its prepared dataset: which pictures, which split, and the rows the writer takes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from data_prep import prepared
from data_prep.toyworld import birds, faces, flowers, scenes
from data_prep.toyworld.scene import TEST_STREAM, Scene
from data_prep.toyworld.species import FREE, FREE_RULE, SPLIT, check_drawn
from t2i_core.config import UserError, cores, nearest

_MODULES = {module.NAME: module for module in (scenes, birds, flowers, faces)}
WORLDS: tuple[str, ...] = tuple(_MODULES)
WITH_SPECIES: tuple[str, ...] = tuple(name for name, module in _MODULES.items() if module.CLASS_DISJOINT)
SMALLEST, LARGEST = 8, 1024
DRAWING = 1  # raise it when a picture or a caption changes, so that datasets drawn before are drawn again


def draw(world: str, seed: int, index: int, size: int, species: str = SPLIT) -> Scene:
    """The picture `index` of a world, at size x size pixels: the same picture at every size, in every process.

    Indices below 2**30 are the training stream, those from 2**30 on the test stream; `prepare` takes the first of each.
    ``species`` as in `prepare`.
    Raises UserError for an unknown world, a size outside 8..1024, or free species in a world that has none.
    """
    module = _MODULES[nearest(world, WORLDS, "world")]
    _check(size=size, index=index)
    check_drawn(world, species, world in WITH_SPECIES)
    return module.draw(seed, index, size, **_told(species))


def prepare(
    world: str,
    out: str | Path,
    size: int = 64,
    train: int = 10000,
    test: int = 2000,
    seed: int = 0,
    species: str = SPLIT,
) -> dict[str, Any]:
    """Draw `train` + `test` pictures of a world into the prepared folder `out`; returns its manifest.

    ``species``, for the worlds of `WITH_SPECIES`: "split" shows 30 species in train and 10 others in test; "free" draws
    every attribute independently in both splits, so that no attribute gives another away and the splits differ in
    nothing but their pictures. The networks that measure learn from the latter.

    Does nothing where `out` already holds exactly that. Raises UserError for an unknown world, a size outside 8..1024,
    a split without pictures, or free species in a world that has none.
    """
    module = _MODULES[nearest(world, WORLDS, "world")]
    _check(size=size)
    check_drawn(world, species, world in WITH_SPECIES)
    if train < 1 or test < 1:
        raise UserError(f"train={train} and test={test}: a split needs at least one image; give numbers from 1 on")
    counts = {"train": train, "test": test}
    return prepared.write(
        Path(out),
        {split: _rows(world, split, count, seed, size, species) for split, count in counts.items()},
        name=world,
        kind="toy",
        size=size,
        seed=seed,
        split_rule=FREE_RULE if species == FREE else module.SPLIT_RULE,
        class_disjoint=module.CLASS_DISJOINT and species == SPLIT,
        arguments={"world": world, "size": size, **counts, "seed": seed, "drawing": DRAWING, **_told(species)},
        licence="MIT (drawn by this project)",
        source="data_prep.toyworld",
        attributes=module.ATTRIBUTES,
        parts=module.PARTS,
        totals=counts,
        workers=cores(),
    )


def _check(size: int, index: int = 0) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise UserError(
            f"size {size}: toy worlds are drawn at {SMALLEST} to {LARGEST} pixels; choose a size in between"
        )
    if index < 0:
        raise UserError(f"index {index}: pictures are numbered from 0 on")


def _told(species: str) -> dict[str, str]:
    """The argument where it is not the default, so that datasets prepared before it existed are still current."""
    return {} if species == SPLIT else {"species": species}


def _rows(world: str, split: str, count: int, seed: int, size: int, species: str) -> Iterator[partial]:
    for number in range(count):
        yield partial(row, world, split, number, seed, size, species)


def row(world: str, split: str, number: int, seed: int, size: int, species: str = SPLIT) -> dict[str, Any]:
    """One row of the prepared format; runs in a worker process."""
    scene = draw(world, seed, number + (TEST_STREAM if split == "test" else 0), size, species)
    return {
        "image": _png(scene.image),
        "captions": scene.captions,
        "class_id": scene.class_id,
        "name": f"{world}/{split}/{number:06d}",
        "truth": scene.truth,
        "mask": _png(scene.mask),
    }


def _png(image: Image.Image) -> dict[str, bytes]:
    """PNG at the fastest level: such small pictures hardly shrink further, and twelve thousand are waiting."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue()}
