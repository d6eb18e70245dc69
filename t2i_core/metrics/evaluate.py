"""All the numbers of a set of drawn images, and of a run: drawn, measured, written down.

What is drawn is fixed: test captions in order, one noise row an image from (seed, row), every image, 8 bits a channel
as anybody would save them. So a number depends on the run, n and the seed, and not on batch size or luck.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2i_core import systems
from t2i_core.blocks import resize
from t2i_core.config import UserError, nearest, profile, write_json
from t2i_core.data import CaptionDataset, load
from t2i_core.metrics import weights
from t2i_core.metrics.accuracy import all_images, encode
from t2i_core.metrics.binding import binding_accuracy
from t2i_core.metrics.clip_score import clip_score
from t2i_core.metrics.cmd import cross_model_values
from t2i_core.metrics.frechet import fid, kid
from t2i_core.metrics.inception_score import inception_score
from t2i_core.metrics.inspector import Inspector, Reading
from t2i_core.metrics.layout import KINDS, layout_accuracy
from t2i_core.metrics.retrieval import r_precision
from t2i_core.metrics.soa import attribute_accuracy, part_accuracy, semantic_object_accuracy
from t2i_core.metrics.stats import Value
from t2i_core.runs import Run
from t2i_core.systems.base import System
from t2i_core.train import make_accelerator, save_grid, settle

GROUPS = ("fid", "kid", "inception_score", "r_precision", "clip_score", "cmd", "soa")
GROUPS += ("binding", "attributes", "layout")
TRUSTED = 0.9  # the accuracy on held-out pictures from which on an inspector's answers count
DRAW_BATCH = 64
SETTLE_BATCHES = 4
# what a CLIP score's cosines and CMD's features come from; its name and sha256 stand beside it as "scorer"
ENCODER = "a small contrastive text-image encoder trained on this dataset by this project, not OpenAI's CLIP"
SHOWN = 16  # pairs in comparison.png


@dataclass(frozen=True)
class _Asked:
    """What the images were drawn for: captions, whose (truths) and which (caption_index); and how it is measured."""

    captions: list[str]
    truths: Sequence[Mapping[str, Any]]
    caption_index: list[int]
    seed: int
    protocol: dict[str, Any]
    same: Mapping[str, Sequence]


class _Subject:
    """Images; what costs a network is computed once, when first asked for."""

    def __init__(self, images: Tensor, instruments: _Instruments):
        self.images, self.instruments = images, instruments
        self._pairs: tuple[list[str], tuple[Tensor, Tensor]] | None = None

    @cached_property
    def reading(self) -> Reading:
        return self.instruments.inspector.read(self.images)

    def pairs(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """The scorer's image and sentence features (n, D) each."""
        if self._pairs is None or self._pairs[0] is not captions:
            self._pairs = captions, encode(self.instruments.scorer, self.images, captions)
        return self._pairs[1]


class _Instruments:
    """The inspector and the scorer of a world, on one device."""

    def __init__(self, world: str, device: str | torch.device, folder: str | Path | None):
        self.inspector = weights.load_inspector(world, device, folder)
        self.scorer = weights.load_scorer(world, device, folder)

    @property
    def resolution(self) -> int:
        """The most pixels an instrument looks at: nothing larger need be kept."""
        return max(one.config.resolution for one in (self.inspector, self.scorer) if one is not None)


def evaluate_images(
    images: Tensor,
    captions: Sequence[str],
    truths: Sequence[Mapping[str, Any]],
    caption_index: Sequence[int],
    real_images: Tensor,
    world: str,
    device: str | torch.device = "cpu",
    *,
    metrics: str | Iterable[str] | None = "all",
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
    if not len(images) == len(captions) == len(truths) == len(caption_index):
        lengths = f"{len(images)}, {len(captions)}, {len(truths)} and {len(caption_index)}"
        raise ValueError(f"images, captions, truths and caption_index must be as many, not {lengths}")
    instruments = _Instruments(world, device, weights_folder)
    base = {**(protocol or {}), "images": len(images), "captions_per_image": 1}
    asked = _Asked(list(captions), truths, list(caption_index), seed, base, same or {"caption": captions})
    pictured = None if paired_real is None else _Subject(paired_real, instruments)
    return _measure(metrics, _Subject(images, instruments), _Subject(real_images, instruments), asked, pictured)


def _measure(metrics, drawn: _Subject, real: _Subject, asked: _Asked, pictured: _Subject | None) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for group in chosen_groups(metrics):
        try:
            values |= _MEASURES[group](drawn, real, asked, pictured)
        except UserError as error:
            if metrics not in (None, "all"):
                raise
            warnings.warn(f"{group} is left out: {error}", stacklevel=3)
    return values


def chosen_groups(metrics: str | Iterable[str] | None) -> tuple[str, ...]:
    """ "all" or None, one name, or several names of `GROUPS`; an unknown one raises, naming the nearest."""
    if metrics in (None, "all"):
        return GROUPS
    asked = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    return tuple(nearest(name, GROUPS, "metric") for name in asked)


def _features(measure: Callable[..., Value], name: str):
    def run(drawn: _Subject, real: _Subject, asked: _Asked, pictured: _Subject | None) -> dict[str, Value]:
        told = asked.protocol | drawn.instruments.inspector.told
        return {name: measure(real.reading.features, drawn.reading.features, protocol=told, seed=asked.seed)}

    return run


def _inception(drawn: _Subject, real: _Subject, asked: _Asked, pictured: _Subject | None) -> dict[str, Value]:
    inspector = drawn.instruments.inspector
    said = " x ".join(which[-1] if which[0] != "color" else f"{which[1]} color" for which in inspector.config.classes)
    told = asked.protocol | inspector.told | {"classes_are": said}
    value = inception_score(drawn.reading.classes, protocol=told, seed=asked.seed)
    if pictured is not None:
        ceiling = inception_score(pictured.reading.classes, seed=asked.seed, resamples=2).value
        value = replace(value, protocol=value.protocol | {"on_real_images": round(ceiling, 4)})
    return {"inception_score": value}


def _scored(score: Callable[..., dict[str, Value]]):
    """Measures of (image features, text features, what was asked, protocol), by the scorer."""

    def run(drawn: _Subject, real: _Subject, asked: _Asked, pictured: _Subject | None) -> dict[str, Value]:
        told = asked.protocol | _scorer(drawn).told
        return _with_ceiling(lambda subject: score(*subject.pairs(asked.captions), asked, told), drawn, pictured)

    return run


def _scorer(drawn: _Subject):
    scorer = drawn.instruments.scorer
    if scorer is None:
        raise UserError("no scorer knows the words of this dataset: build one with `t2i inspector --data` of it")
    return scorer


def _cross_model(drawn: _Subject, real: _Subject, asked: _Asked, pictured: _Subject | None) -> dict[str, Value]:
    told = asked.protocol | _scorer(drawn).told | {"encoder": ENCODER}
    (fake, text), (true, _) = drawn.pairs(asked.captions), real.pairs(asked.captions)
    return cross_model_values(fake, true, text, told, seed=asked.seed, unit=True)


def _retrieval(image: Tensor, text: Tensor, asked: _Asked, told: dict[str, Any]) -> dict[str, Value]:
    return {"r_precision": r_precision(image, text, seed=asked.seed, same=asked.same, protocol=told)}


def _cosine(image: Tensor, text: Tensor, asked: _Asked, told: dict[str, Any]) -> dict[str, Value]:
    return clip_score(image, text, told | {"encoder": ENCODER}, asked.seed)


def _read(*measures: Callable[..., dict[str, Value]]):
    """Measures of (reading, truths, caption_index, protocol=)."""

    def run(drawn: _Subject, real: _Subject, asked: _Asked, pictured: _Subject | None) -> dict[str, Value]:
        inspector = drawn.instruments.inspector
        if not inspector.own:
            return {}  # an inspector of another world cannot say what is in these pictures

        def measure(subject: _Subject) -> dict[str, Value]:
            told, values = asked.protocol | inspector.told, {}
            for one in measures:
                values |= one(subject.reading, asked.truths, asked.caption_index, protocol=told)
            return {name: value for name, value in values.items() if _trusted(inspector, name)}

        return _with_ceiling(measure, drawn, pictured)

    return run


def _trusted(inspector: Inspector, metric: str) -> bool:
    """Does the inspector itself read held-out pictures well enough for its answer to say something of a system?"""
    question = _QUESTIONS.get(metric, metric.removesuffix("_accuracy"))
    return inspector.accuracy.get(question, 0.0) >= TRUSTED


def _with_ceiling(measure, drawn: _Subject, pictured: _Subject | None) -> dict[str, Value]:
    values = measure(drawn)
    if pictured is None:
        return values
    ceiling = measure(pictured)
    return {
        name: replace(value, protocol=value.protocol | _on_real_images(ceiling.get(name)))
        for name, value in values.items()
    }


def _on_real_images(ceiling: Value | None) -> dict[str, float]:
    """Nothing where the same measure has no value on real images, such as a share of mistakes without a mistake."""
    return {} if ceiling is None else {"on_real_images": round(ceiling.value, 4)}


def _qualities(reading: Reading, truths, caption_index, protocol) -> dict[str, Value]:
    kinds = [kind for kind in reading.kinds() if kind not in KINDS]
    return part_accuracy(reading, truths, caption_index, kinds, protocol)


_MEASURES = {
    "fid": _features(fid, "fid"),
    "kid": _features(kid, "kid"),
    "inception_score": _inception,
    "r_precision": _scored(_retrieval),
    "clip_score": _scored(_cosine),
    "cmd": _cross_model,
    "soa": _read(semantic_object_accuracy, _qualities),
    "binding": _read(binding_accuracy),
    "attributes": _read(attribute_accuracy),
    "layout": _read(layout_accuracy),
}


# which question of the inspector's own accuracy a metric rests on, where the name does not say it
_QUESTIONS = {
    "soa_i": "object_recall", "soa_c": "object_recall", "box_iou": "pointing", "binding_accuracy": "color",
    "binding_leak": "color", "relation_accuracy": "place", "layout_accuracy": "place",
}  # fmt: skip


def caption_plan(dataset: CaptionDataset, n: int) -> tuple[list[int], list[int]]:
    """Which image's caption row i is drawn for, and which of its captions: images in order, round after round; the
    caption moves on by one from image to image and from round to round."""
    size = len(dataset)
    images = [i % size for i in range(n)]
    return images, [(i + i // size) % len(dataset.captions[i % size]) for i in range(n)]


@torch.no_grad()
def draw(
    system: System, captions: Sequence[str], seed: int, batch_size: int = DRAW_BATCH, at_most: int | None = None
) -> Tensor:
    """The finest images (n, 3, R, R) of a system in eval mode, on the CPU, rounded to 8 bits a channel; then shrunk to
    ``at_most`` px, so that 30,000 of them fit in memory."""
    noise = system.noise(len(captions), seed)
    parts = []
    for start in range(0, len(captions), batch_size):
        rows = slice(start, start + batch_size)
        images = system.generate(list(captions[rows]), noise[rows]).images[-1].float().cpu()
        images = ((images + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1
        parts.append(resize(images, min(images.shape[-1], at_most or images.shape[-1])))
    return torch.cat(parts)


def evaluate_run(
    run: Run,
    metrics: str | Iterable[str] | None = "all",
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = DRAW_BATCH,
    weights_folder: str | Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a finished run on its test split and write metrics.json into its folder (kept: what was not asked anew).

    ``n`` images (default: the profile's) against all real test images. With "fid" comes "fid_untrained", the same
    measure of the same system before its first step. comparison.png beside metrics.json shows the first real test
    images and, below each, what was drawn for its caption. Returns {metric: {value, low, high, n, protocol}}.
    """
    groups = chosen_groups(metrics)
    place = make_accelerator(device, "fp32").device
    system, config = run.system(place), run.config
    resolution = system.config.resolutions[-1]
    dataset = load(config.data, "test", (resolution,))
    n = n or profile(config.profile).evaluation_images
    rows, which = caption_plan(dataset, n)
    captions = [dataset.caption(i, k) for i, k in zip(rows, which, strict=True)]
    told = {
        "split": "test", "images": n, "captions_per_image": 1, "resolution": resolution, "seed": seed,
        "captions": "test images in order, caption (i + i // N) mod k of image i mod N", "noise": f"seed {seed}, row i",
        "data": dataset.manifest["arguments"],
    }  # fmt: skip
    same = {"image": rows, "caption": captions, "class": dataset.class_ids[rows].tolist()}
    asked = _Asked(captions, [dataset.truth[i] for i in rows], which, seed, told, same)
    instruments = _Instruments(config.world, place, weights_folder)
    at_most = min(resolution, instruments.resolution)
    real = _Subject(all_images(dataset, at_most), instruments)
    pictured = real if rows == list(range(len(dataset))) else _Subject(real.images[rows], instruments)
    drawn = _Subject(draw(system, captions, seed, batch_size, at_most), instruments)
    values = _measure(metrics, drawn, real, asked, pictured)
    if "fid" in groups and "fid" in values:
        before = draw(untrained(run, system, captions), captions, seed, batch_size, at_most)
        values["fid_untrained"] = _measure("fid", _Subject(before, instruments), real, asked, None)["fid"]
    found = run.metrics | {name: value.to_dict() for name, value in values.items()}
    write_json(run.folder / "metrics.json", found)
    shown = range(min(SHOWN, n))
    pairs = torch.cat([dataset.images([rows[i] for i in shown]), draw(system, captions[: len(shown)], seed)])
    save_grid(pairs, run.folder / "comparison.png", columns=len(shown))
    return found


def untrained(run: Run, system: System, captions: Sequence[str]) -> System:
    """The run's system as it was before its first step, reading words as now; batch norms settled on its own images, so
    that it is judged by its weights and not by statistics that were never measured."""
    config = run.config
    switches = run.system_config | {"resolutions": tuple(run.system_config["resolutions"])}
    fresh = systems.create(config.system, config.profile, matcher=system.matcher, seed=config.seed, **switches)
    fresh = fresh.to(system.device)
    noise = fresh.noise(DRAW_BATCH * SETTLE_BATCHES, seed=1)

    def batches():
        for part in range(0, min(len(captions), len(noise)), DRAW_BATCH):
            chosen = list(captions[part : part + DRAW_BATCH])
            if len(chosen) > 1:  # batch statistics of one image say nothing
                yield fresh.generator_inputs(fresh.matcher.encode_text(chosen), noise[part : part + len(chosen)])

    with torch.no_grad():
        settle(fresh.generator, batches())
    return fresh.eval().requires_grad_(False)
