"""`t2i prepare`: one command a dataset. No other part of the package calls `data_prep`, and this one only if asked."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from t2i_core.config import UserError, data_root, default_folder, nearest
from t2i_core.config import profile as find_profile
from t2i_core.manifest import BUILT_IN, MANIFEST

SIZE = 64  # px of the datasets that are not drawn for one profile: enough for all profiles but `paper`
DATASETS = (*BUILT_IN, "folder")

datasets = tyro.extras.SubcommandApp()


def at_least_zero(**numbers: int | None) -> None:
    """Refuse a negative number by the name of its option."""
    for name, number in numbers.items():
        if number is not None and number < 0:
            raise UserError(f"--{name} {number}: it starts at 0")


def shown(default: str, metavar: str | None = None) -> Any:
    """An option without a value of its own; `default` tells the reader where its value then comes from."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


Whole = Annotated[int | None, shown("the profile's", "INT")]
Text = Annotated[str | None, shown("none", "STR")]
Place = Annotated[str | None, shown("below $T2I_DATA or data/", "DIR")]


def _toy_world(world: str) -> Callable[..., int]:
    def prepare_world(
        profile: str = "mini",
        size: Whole = None,
        train: Whole = None,
        test: Whole = None,
        seed: int = 0,
        species: Literal["split", "free"] = "split",
        out: Place = None,
    ) -> int:
        """Draw the world's images, and write their captions with the truth about them.

        Args:
            profile: Sizes and counts that are not given come from this profile: smoke, mini, small or paper.
            size: Width and height of the images in pixels.
            train: Number of training images.
            test: Number of test images.
            seed: Another seed draws other images.
            species: Birds, flowers: other species in test (split), or independent attributes in both (free).
            out: The folder to prepare.
        """
        from data_prep import toyworld

        nearest(world, toyworld.WORLDS, "world")
        at_least_zero(seed=seed)
        p = find_profile(profile)
        asked = {"resolutions": None if size is None else (size,), "train_images": train, "test_images": test}
        p = dataclasses.replace(p, **{name: value for name, value in asked.items() if value is not None})
        # a place of its own, so that a training at this profile does not draw the default over it
        free = "-free" if species == "free" else ""
        folder = Path(out) if out else data_root() / f"{default_folder(world, p)}{free}"
        manifest = toyworld.prepare(world, folder, p.resolutions[-1], p.train_images, p.test_images, seed, species)
        return _prepared(folder, manifest)

    return prepare_world


for _world in (name for name in BUILT_IN if name.startswith("toy-")):
    datasets.command(name=_world, help=f"Draw {_world}: images, captions, and the truth about them.")(
        _toy_world(_world)
    )


@datasets.command(name="emoji")
def prepare_emoji(
    size: Annotated[int | None, shown("64, or the profile's", "INT")] = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    packages: Text = None,
    profile: Text = None,
    out: Place = None,
) -> int:
    """Real pictures that people drew and named: emoji in two artists' styles, fetched with `npm pack`.

    Args:
        size: Width and height of the images in pixels.
        test_fraction: The share of emoji kept for testing; none of them is in training in either style.
        seed: Another seed chooses other test emoji.
        packages: A folder that holds the npm packages already, where npm or the network is missing.
        profile: Take the image size of this profile.
        out: The folder to prepare.
    """
    from data_prep import emoji

    at_least_zero(seed=seed)
    folder = Path(out) if out else data_root() / "emoji"
    size = _size(size, profile)
    return _prepared(folder, emoji.prepare(folder, size, test_fraction=test_fraction, seed=seed, packages=packages))


@datasets.command(name="folder")
def prepare_folder(
    source: str,
    size: Annotated[int | None, shown("64, or the profile's", "INT")] = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    name: Annotated[str | None, shown("the source folder's name", "STR")] = None,
    profile: Text = None,
    out: Place = None,
) -> int:
    """Your own images with captions: a metadata.jsonl beside them, or one .txt file an image.

    Args:
        source: The folder with the images and metadata.jsonl (as in Hugging Face's imagefolder) or one .txt an image.
        size: Width and height of the prepared images in pixels.
        test_fraction: The share of images kept for testing.
        seed: Another seed chooses other test images.
        name: What the dataset is called, for `t2i train --world NAME`.
        profile: Take the image size of this profile.
        out: The folder to prepare.
    """
    from data_prep import folder as own

    at_least_zero(seed=seed)
    name = name or Path(source).expanduser().resolve().name
    folder = Path(out) if out else data_root() / name
    manifest = own.prepare(source, folder, _size(size, profile), test_fraction=test_fraction, seed=seed, name=name)
    return _prepared(folder, manifest)


def _size(size: int | None, profile: str | None) -> int:
    return size if size is not None else find_profile(profile).resolutions[-1] if profile else SIZE


def _prepared(folder: Path, manifest: dict[str, Any]) -> int:
    counts = ", ".join(f"{split} {n['images']:,} images" for split, n in manifest["splits"].items())
    print(f"{folder}: {manifest['name']} at {manifest['size']} px; {counts}")
    skipped = manifest["skipped"]
    for item in skipped[:10]:
        print(f"skipped {item['file']}: {item['reason']}", file=sys.stderr)
    if len(skipped) > 10:
        print(f"... and {len(skipped) - 10} more; all are named in {folder / MANIFEST}", file=sys.stderr)
    return 0


def draw_measuring(world: str) -> Path:
    """Prepare the pictures for the networks that measure: of a seed that no system is trained or measured on, and of
    free species, so that they learn to read each attribute and not the species."""
    from data_prep import toyworld

    nearest(world, toyworld.WORLDS, "toy world")
    folder = data_root() / "measuring" / world
    species = "free" if world in toyworld.WITH_SPECIES else "split"
    toyworld.prepare(world, folder, size=SIZE, train=12000, test=2000, seed=7001, species=species)
    return folder
