"""All the numbers of a set of drawn images, of a run, of its stages, of a folder: measured and written down.

What is drawn is fixed: test captions in order, one noise row an image from (seed, row), every image, 8 bits a channel
as anybody would save them. So a number depends on the run, n and the seed, and not on batch size or luck.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2i_core.config import UserError, nearest, profile, write_json
from t2i_core.data import CaptionDataset, load
from t2i_core.manifest import dataset_hash, read_manifest
from t2i_core.metrics import weights
from t2i_core.metrics.accuracy import all_images
from t2i_core.metrics.drawing import DRAW_BATCH, caption_plan, draw, draw_stages, untrained
from t2i_core.metrics.folder import METRICS, read_folder, read_measures, real_images, unknown_words
from t2i_core.metrics.instruments import (
    GROUPS,
    OF_SYSTEM,
    OF_TRUTH,
    TRUSTED,
    Asked,
    Instruments,
    Subject,
    chosen_groups,
    measure,
    wants_all,
)
from t2i_core.metrics.stats import Value
from t2i_core.process import make_accelerator
from t2i_core.runs import Run
from t2i_core.systems.base import System
from t2i_core.train import save_grid

__all__ = [
    "GROUPS", "TRUSTED", "caption_plan", "chosen_groups", "draw", "draw_stages", "evaluate_folder", "evaluate_images",
    "evaluate_run", "evaluate_stages", "measured", "untrained",
]  # fmt: skip

SHOWN = 16  # pairs in comparison.png
STAGES = "stages.json"
UNTRAINED = "fid_untrained"
ALL_MEASURED = {UNTRAINED, "seconds_per_image", "text_to_image_r1"}  # of groups that are not asked for by themselves
MOST = 1.5  # of a pixel's size: what is larger was never meant to lie in [-1, 1]
BY_A_RUN = "asks a whole run to draw, and not images that are there already"
OF_IMAGES = tuple(group for group in GROUPS if group not in (*OF_TRUTH, *OF_SYSTEM))


def evaluate_images(
    images: Tensor,
    captions: Sequence[str],
    truths: Sequence[Mapping[str, Any]],
    caption_index: Sequence[int],
    real_images: Tensor,
    world: str,
    device: str | torch.device = "cpu",
    *,
    metrics: str | Collection[str] | None = "all",
    seed: int = 0,
    paired_real: Tensor | None = None,
    same: Mapping[str, Sequence] | None = None,
    protocol: Mapping[str, Any] | None = None,
    weights_folder: str | Path | None = None,
) -> dict[str, Value]:
    """Measure images (n, 3, R, R) in [-1, 1] drawn for ``captions``.

    ``truths`` and ``caption_index``: whose caption it was, and which. ``real_images`` (m, 3, R, R): the set that FID,
    KID and CMD compare with. ``paired_real`` (n, 3, R, R): the pictures the captions describe; the accuracies on them
    then stand in the protocols ("on_real_images"), as the ceiling. ``same``: see `r_precision`. ``metrics``: names of
    `GROUPS`; with "all", what cannot be computed (too few images, a world without scorer) is left out with a warning;
    asked for by name, it raises. Where the inspector itself is right in under 90 % of held-out pictures (an emoji's
    subgroup), its answer is no measure of a system and is left out.
    """
    _refuse(metrics, OF_SYSTEM, BY_A_RUN, OF_IMAGES + OF_TRUTH)
    if not len(images) == len(captions) == len(truths) == len(caption_index):
        lengths = f"{len(images)}, {len(captions)}, {len(truths)} and {len(caption_index)}"
        raise ValueError(f"images, captions, truths and caption_index must be as many, not {lengths}")
    for name, shown in (("images", images), ("real_images", real_images), ("paired_real", paired_real)):
        if shown is not None:
            _check_images(shown, name)
    instruments = Instruments(world, device, weights_folder)
    base = {**(protocol or {}), "images": len(images), "captions_per_image": 1}
    asked = Asked(list(captions), truths, list(caption_index), seed, base, same or {"caption": captions})
    pictured = None if paired_real is None else Subject(paired_real, instruments)
    return measure(metrics, Subject(images, instruments), Subject(real_images, instruments), asked, pictured)


@lru_cache(maxsize=4)
def _real(
    data: str, content: str, world: str, place: torch.device, resolution: int, weights_folder: str | Path | None
) -> tuple[CaptionDataset, Instruments, Subject]:
    """The test set, the instruments and the real images, which the runs of one notebook are all measured against.

    What a network sees in them is computed once. ``content`` changes with the dataset's rows.
    """
    instruments = Instruments(world, place, weights_folder)
    dataset = load(data, "test", (resolution,))
    return dataset, instruments, Subject(all_images(dataset, min(resolution, instruments.resolution)), instruments)


@dataclass(frozen=True)
class Setting:
    """What a run's images are measured in: the system, whose captions (``rows`` of the dataset), the real images."""

    system: System
    dataset: CaptionDataset
    rows: list[int]
    asked: Asked
    instruments: Instruments
    real: Subject
    pictured: Subject
    at_most: int  # px: nothing larger need be kept

    @classmethod
    def of(cls, run: Run, n: int | None, seed: int, device: str, weights_folder: str | Path | None = None) -> Setting:
        place = make_accelerator(device, "fp32").device
        system, config = run.system(place), run.config
        resolution = system.config.resolutions[-1]
        same_set = str(config.data), dataset_hash(config.data), config.world, place, resolution
        dataset, instruments, real = (_real.__wrapped__ if weights_folder else _real)(*same_set, weights_folder)
        n = n or profile(config.profile).evaluation_images
        rows, which = caption_plan(dataset, n)
        captions = [dataset.caption(i, k) for i, k in zip(rows, which, strict=True)]
        told = {
            "split": "test", "images": n, "captions_per_image": 1, "resolution": resolution, "seed": seed,
            "captions": "test images in order, caption (i + i // N) mod k of image i mod N",
            "noise": f"seed {seed}, row i", "data": dataset.manifest["arguments"],
        }  # fmt: skip
        same = {"image": rows, "caption": captions, "class": dataset.class_ids[rows].tolist()}
        asked = Asked(captions, [dataset.truth[i] for i in rows], which, seed, told, same)
        at_most = min(resolution, instruments.resolution)
        pictured = real if rows == list(range(len(dataset))) else Subject(real.images[rows], instruments)
        return cls(system, dataset, rows, asked, instruments, real, pictured, at_most)

    def measured(self, metrics: str | Collection[str] | None, images: Tensor, asked: Asked | None = None):
        return measure(metrics, Subject(images, self.instruments), self.real, asked or self.asked, self.pictured)


def evaluate_run(
    run: Run,
    metrics: str | Collection[str] | None = "all",
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = DRAW_BATCH,
    weights_folder: str | Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a finished run on its test split and write metrics.json into its folder (kept: what was not asked anew).

    ``n`` images (default: the profile's) against all real test images. With "all", or by its name, comes
    "fid_untrained": the FID of the same system before its first step. comparison.png beside metrics.json shows the
    first real test images and, below each, what was drawn for its caption. Returns
    {metric: {value, low, high, n, protocol}}.
    """
    every = wants_all(metrics)
    asked = () if every else (metrics,) if isinstance(metrics, str) else tuple(metrics)
    groups = "all" if every else chosen_groups([name for name in asked if name != UNTRAINED])
    here = Setting.of(run, n, seed, device, weights_folder)
    system, captions = here.system, here.asked.captions
    images = draw(system, captions, seed, batch_size, here.at_most)
    values = here.measured(groups, images, replace(here.asked, system=system))
    if UNTRAINED in asked or every and "fid" in values:
        before = draw(untrained(run, system, captions), captions, seed, batch_size, here.at_most)
        values[UNTRAINED] = here.measured("fid", before)["fid"]
    found = run.metrics | {name: value.to_dict() for name, value in values.items()}
    write_json(run.folder / METRICS, found)
    shown = here.rows[:SHOWN]
    pairs = torch.cat([here.dataset.images(shown), draw(system, captions[: len(shown)], seed)])
    save_grid(pairs, run.folder / "comparison.png", columns=len(shown))
    return found


def evaluate_stages(
    run: Run,
    metrics: str | Collection[str] | None = ("fid", "cmd"),
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
    weights_folder: str | Path | None = None,
) -> list[dict[str, dict[str, Any]]]:
    """The same measures of the image of every stage, coarse to fine, as GR-GAN's Table 6 and Fig. 3 have them.

    All stages come from one pass over the captions and noise of :func:`evaluate_run`; each image is brought to the
    instruments' resolution (enlarged bilinearly) and compared with the real images at full size, so that a coarse
    stage is measured by what it lacks. Written into the run's folder as stages.json; each protocol says "stage" (from
    1), "stages" and the stage's "resolution". Returns [{metric: {value, low, high, n, protocol}}], one a stage.
    """
    _refuse(metrics, OF_SYSTEM, BY_A_RUN, OF_IMAGES + OF_TRUTH)
    here = Setting.of(run, n, seed, device, weights_folder)
    size = here.instruments.resolution
    drawn = draw_stages(here.system, here.asked.captions, seed, size)
    found = []
    for stage, (resolution, images) in enumerate(drawn, start=1):
        told = {"stage": stage, "stages": len(drawn), "resolution": resolution, "brought_to": f"{size} px, bilinear"}
        values = here.measured(metrics, images, replace(here.asked, protocol=here.asked.protocol | told))
        found.append({name: value.to_dict() for name, value in values.items()})
    write_json(run.folder / STAGES, found)
    return found


def measured(run: Run, device: str = "auto") -> dict[str, dict[str, Any]]:
    """All metrics of a run: as its folder has them, or measured now where some are missing."""
    return run.metrics if ALL_MEASURED <= run.metrics.keys() else evaluate_run(run, device=device)


def evaluate_folder(
    folder: str | Path,
    data: str | Path,
    metrics: str | Collection[str] | None = "all",
    world: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    weights_folder: str | Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a folder of images with captions, made by any program, against the test images of a prepared dataset.

    ``folder``: see `picture_folder` for how it gives captions, and :func:`read_folder` for how images are read and
    what is refused. ``data``: the prepared dataset. ``world``: whose instruments look, if not those of the dataset's
    name. The groups that ask for the truth about each image give nothing with "all" and are refused by name. The result
    is written to ``out`` (metrics.json in the folder), where values of the same images against the same data are kept
    that were not asked anew. Returns {metric: {value, low, high, n, protocol}}.
    """
    _refuse(metrics, OF_SYSTEM, BY_A_RUN, OF_IMAGES)
    _refuse(
        metrics, OF_TRUTH, "asks what the truth about each image says, and a folder of images holds none", OF_IMAGES
    )
    manifest = read_manifest(data)
    if world is not None:
        nearest(world, {*weights.available(), *weights.available(folder=weights_folder)}, "world with instruments")
    world = world or manifest["name"]
    instruments = Instruments(world, make_accelerator(device, "fp32").device, weights_folder)
    path = Path(out or Path(folder).expanduser() / METRICS)
    before = read_measures(path)
    pictures = read_folder(folder, instruments.resolution)
    told = pictures.told | {"split": "test", "data": manifest["arguments"], "world": world, "seed": seed}
    if instruments.scorer is not None:
        told |= unknown_words(instruments.scorer.vocabulary, pictures.captions)
    real = Subject(real_images(data, instruments.resolution), instruments)
    n = len(pictures.captions)
    asked = Asked(pictures.captions, [{}] * n, [0] * n, seed, told, {"caption": pictures.captions})
    values = measure(metrics, Subject(pictures.images, instruments), real, asked)
    same = ("content", "data", "world")
    kept = {k: v for k, v in before.items() if all(v["protocol"].get(key) == told[key] for key in same)}
    found = kept | {name: value.to_dict() for name, value in values.items()}
    write_json(path, found)
    return found


def _check_images(images: Tensor, name: str) -> None:
    """ValueError for what is no (n, 3, R, R) in [-1, 1]; a little over the edge, as resizing may leave it, is fine."""
    if images.dim() != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"{name} must be (n, 3, R, R) floating-point numbers in [-1, 1], not {tuple(images.shape)} of "
            f"{images.dtype}: repeat a grey channel three times, lay a transparent one over white"
        )
    low, high = map(float, images.aminmax()) if images.numel() else (0.0, 0.0)
    if low < -MOST or high > MOST:
        raise ValueError(f"{name} reach from {low:.4g} to {high:.4g}, and they must lie in [-1, 1]: rescale them")


def _refuse(metrics: str | Collection[str] | None, groups: Sequence[str], why: str, others: Sequence[str]) -> None:
    """Nothing where all is asked for: what cannot be measured is then left out."""
    for group in () if wants_all(metrics) else chosen_groups(metrics):
        if group in groups:
            raise UserError(f"{group} {why}: choose from {', '.join(others)}")
