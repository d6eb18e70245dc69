"""The instruments of a world, what they are shown, and every measure as a function of these.

A measure takes (the drawn images, the real images, what was asked, the pictures the captions describe or None) and
gives {name: value}; `measure` runs those that were asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2i_core.config import UserError, nearest
from t2i_core.metrics import weights
from t2i_core.metrics.accuracy import encode_captions, encode_images
from t2i_core.metrics.binding import binding_accuracy
from t2i_core.metrics.clip_score import clip_score
from t2i_core.metrics.cmd import cross_model_values
from t2i_core.metrics.cost import drawing_cost
from t2i_core.metrics.frechet import fid, kid
from t2i_core.metrics.inception_score import inception_score
from t2i_core.metrics.inspector import Inspector, Reading
from t2i_core.metrics.layout import KINDS, layout_accuracy
from t2i_core.metrics.manifold import precision_recall
from t2i_core.metrics.retrieval import r_precision, recall_at_k
from t2i_core.metrics.soa import attribute_accuracy, part_accuracy, semantic_object_accuracy
from t2i_core.metrics.stats import Value
from t2i_core.systems.base import System

GROUPS = ("fid", "kid", "inception_score", "r_precision", "retrieval", "clip_score", "cmd", "soa")
GROUPS += ("binding", "attributes", "layout", "precision_recall", "cost")
OF_TRUTH = ("soa", "binding", "attributes", "layout")  # these ask what the truth about an image says
OF_SYSTEM = ("cost",)  # these ask the system itself to draw
TRUSTED = 0.9  # the accuracy on held-out pictures from which on an inspector's answers count
# what a CLIP score's cosines and CMD's features come from; its name and sha256 stand beside it as "scorer"
ENCODER = "a small contrastive text-image encoder trained on this dataset by this project, not OpenAI's CLIP"


@dataclass(frozen=True)
class Asked:
    """What the images were drawn for: captions, whose (truths) and which (caption_index); how it is measured; and, of a
    run, the system that drew them."""

    captions: list[str]
    truths: Sequence[Mapping[str, Any]]
    caption_index: list[int]
    seed: int
    protocol: dict[str, Any]
    same: Mapping[str, Sequence]
    system: System | None = None


class Subject:
    """Images; what costs a network is computed once, when first asked for. ``whole``: their reading will be asked for
    in any case, so the features are taken from it."""

    def __init__(self, images: Tensor, instruments: Instruments):
        self.images, self.instruments = images, instruments
        self.whole = False

    @cached_property
    def reading(self) -> Reading:
        return self.instruments.inspector.read(self.images)

    @cached_property
    def features(self) -> Tensor:
        """The inspector's features (n, F) alone, which it has sooner than a whole reading."""
        if self.whole or "reading" in vars(self):
            return self.reading.features
        return self.instruments.inspector.features(self.images)

    @cached_property
    def scored(self) -> Tensor:
        """The scorer's image features (n, D)."""
        return encode_images(self.instruments.scorer, self.images)

    def pairs(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """The scorer's image and sentence features (n, D) each."""
        return self.scored, self.instruments.sentences(captions)


class Instruments:
    """The inspector and the scorer of a world, on one device."""

    def __init__(self, world: str, device: str | torch.device, folder: str | Path | None):
        self.inspector = weights.load_inspector(world, device, folder)
        self.scorer = weights.load_scorer(world, device, folder)
        self._said: tuple[list[str], Tensor] | None = None

    def sentences(self, captions: list[str]) -> Tensor:
        """The scorer's sentence features (n, D); those of the last captions are kept, which every image set shares."""
        if self._said is None or self._said[0] != captions:
            self._said = list(captions), encode_captions(self.scorer, captions)
        return self._said[1]

    @property
    def resolution(self) -> int:
        """The most pixels an instrument looks at: nothing larger need be kept."""
        return max(one.config.resolution for one in (self.inspector, self.scorer) if one is not None)


def measure(
    metrics: str | Collection[str] | None, drawn: Subject, real: Subject, asked: Asked, pictured: Subject | None = None
) -> dict[str, Value]:
    """The measures of the groups that were asked for (see :func:`chosen_groups`).

    With "all", what cannot be computed (too few images, a world without scorer) is left out with a warning; asked for
    by name, it raises. Where no truth is told about any image, or no system is at hand, what asks for it gives nothing.
    """
    values: dict[str, Value] = {}
    groups = chosen_groups(metrics)
    drawn.whole = not {"inception_score", *OF_TRUTH}.isdisjoint(groups)
    if pictured is not None:
        pictured.whole = drawn.whole
    for group in groups:
        try:
            values |= _MEASURES[group](drawn, real, asked, pictured)
        except UserError as error:
            if not wants_all(metrics):
                raise
            warnings.warn(f"{group} is left out: {error}", stacklevel=3)
    return values


def chosen_groups(metrics: str | Collection[str] | None) -> tuple[str, ...]:
    """ "all" or None, one name, or several names of `GROUPS`; an unknown one raises, naming the nearest."""
    if wants_all(metrics):
        return GROUPS
    return tuple(nearest(name, GROUPS, "metric") for name in _names(metrics))


def wants_all(metrics: str | Collection[str] | None) -> bool:
    """Is it "all" or None, or is "all" among the names?"""
    return metrics is None or "all" in _names(metrics)


def _names(metrics: str | Collection[str]) -> Collection[str]:
    return (metrics,) if isinstance(metrics, str) else metrics


def _features(measure: Callable[..., Value], name: str):
    def run(drawn: Subject, real: Subject, asked: Asked, pictured: Subject | None) -> dict[str, Value]:
        told = asked.protocol | drawn.instruments.inspector.told
        return {name: measure(real.features, drawn.features, protocol=told, seed=asked.seed)}

    return run


def _manifold(drawn: Subject, real: Subject, asked: Asked, pictured: Subject | None) -> dict[str, Value]:
    told = asked.protocol | drawn.instruments.inspector.told
    return precision_recall(real.features, drawn.features, told, asked.seed)


def _cost(drawn: Subject, real: Subject, asked: Asked, pictured: Subject | None) -> dict[str, Value]:
    return {} if asked.system is None else drawing_cost(asked.system, asked.captions)


def _inception(drawn: Subject, real: Subject, asked: Asked, pictured: Subject | None) -> dict[str, Value]:
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

    def run(drawn: Subject, real: Subject, asked: Asked, pictured: Subject | None) -> dict[str, Value]:
        told = asked.protocol | _scorer(drawn).told
        return _with_ceiling(lambda subject: score(*subject.pairs(asked.captions), asked, told), drawn, pictured)

    return run


def _scorer(drawn: Subject):
    scorer = drawn.instruments.scorer
    if scorer is None:
        raise UserError("no scorer knows the words of this dataset: build one with `t2i inspector --data` of it")
    return scorer


def _cross_model(drawn: Subject, real: Subject, asked: Asked, pictured: Subject | None) -> dict[str, Value]:
    told = asked.protocol | _scorer(drawn).told | {"encoder": ENCODER}
    (fake, text), (true, _) = drawn.pairs(asked.captions), real.pairs(asked.captions)
    return cross_model_values(fake, true, text, told, seed=asked.seed, unit=True)


def _r_precision(image: Tensor, text: Tensor, asked: Asked, told: dict[str, Any]) -> dict[str, Value]:
    return {"r_precision": r_precision(image, text, seed=asked.seed, same=asked.same, protocol=told)}


def _recall(image: Tensor, text: Tensor, asked: Asked, told: dict[str, Any]) -> dict[str, Value]:
    found = recall_at_k(image, text, same=asked.same, protocol=told)
    return {f"{way}_r{k}": value for way, of in found.items() for k, value in of.items()}


def _cosine(image: Tensor, text: Tensor, asked: Asked, told: dict[str, Any]) -> dict[str, Value]:
    return clip_score(image, text, told | {"encoder": ENCODER}, asked.seed)


def _read(*measures: Callable[..., dict[str, Value]]):
    """Measures of (reading, truths, caption_index, protocol=)."""

    def run(drawn: Subject, real: Subject, asked: Asked, pictured: Subject | None) -> dict[str, Value]:
        inspector = drawn.instruments.inspector
        if not inspector.own:
            return {}  # an inspector of another world cannot say what is in these pictures

        def measure(subject: Subject) -> dict[str, Value]:
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


def _with_ceiling(measure, drawn: Subject, pictured: Subject | None) -> dict[str, Value]:
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
    "r_precision": _scored(_r_precision),
    "retrieval": _scored(_recall),
    "clip_score": _scored(_cosine),
    "cmd": _cross_model,
    "soa": _read(semantic_object_accuracy, _qualities),
    "binding": _read(binding_accuracy),
    "attributes": _read(attribute_accuracy),
    "layout": _read(layout_accuracy),
    "precision_recall": _manifold,
    "cost": _cost,
}


# which question of the inspector's own accuracy a metric rests on, where the name does not say it
_QUESTIONS = {
    "soa_i": "object_recall", "soa_c": "object_recall", "box_iou": "pointing", "binding_accuracy": "color",
    "binding_leak": "color", "relation_accuracy": "place", "layout_accuracy": "place",
}  # fmt: skip
