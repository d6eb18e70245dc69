"""The matching models by kind: which there are, read from a folder, or trained as the first step of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from t2i_core.captions import Vocabulary
from t2i_core.clip import CLIP, ClipConfig
from t2i_core.clip_resnet import ResNetCLIP, ResNetClipConfig
from t2i_core.clip_tokens import BytePairs
from t2i_core.config import Profile, UserError, nearest
from t2i_core.damsm import DAMSM
from t2i_core.data import CaptionDataset
from t2i_core.itm import ITM
from t2i_core.matcher import Matcher, read_facts
from t2i_core.pretraining import pretrain

KINDS: dict[str, type[Matcher]] = {"damsm": DAMSM, "clip": CLIP, "clip-resnet": ResNetCLIP, "itm": ITM}


def fresh(kind: str, p: Profile, vocabulary: Vocabulary) -> Matcher:
    """A matching model of the profile's size with fresh weights; where the profile takes a published CLIP, that."""
    cls = KINDS[nearest(kind, KINDS, "matching model")]
    config = cls.Config.of(p)
    published = source_of(config)
    if published is not None:
        vocabulary = BytePairs(published.source, published.context - 2)
    model = cls(config, vocabulary)
    model.begin()
    return model


def source_of(config: Any) -> ClipConfig | ResNetClipConfig | None:
    """The configuration of the published CLIP that a matching model is, or is built on; None where there is none."""
    found = getattr(config, "clip", config)
    return found if getattr(found, "source", None) else None


def untrained(folder: str | Path) -> Matcher:
    """The model that the files in ``folder`` describe, with fresh weights (the published CLIP: with its own)."""
    return _class_of(folder).untrained(folder)


def load(folder: str | Path) -> Matcher:
    """A trained model, frozen."""
    return _class_of(folder).load(folder)


def _class_of(folder: str | Path) -> type[Matcher]:
    kind = read_facts(Path(folder) / "matcher.json").get("kind", "damsm")
    if kind not in KINDS:
        raise UserError(f"{folder} holds a matching model of kind {kind!r}, which is none of {', '.join(KINDS)}")
    return KINDS[kind]


def trained(
    kind: str,
    dataset: CaptionDataset,
    out: str | Path,
    p: Profile,
    seed: int = 0,
    progress=None,
    base: str | Path | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    precision: str = "fp32",
) -> Matcher:
    """Train it on ``dataset`` into ``out``, or load it from there; a published CLIP is read where it lies, and ``out``
    says where that is. An ITM's own CLIP is trained before it, into ``base`` (default: ``out``/clip). ``settings`` of
    its configuration take the place of the profile's."""
    cls = KINDS[nearest(kind, KINDS, "matching model")]
    config = dataclasses.replace(cls.Config.of(p), **settings)
    if source_of(config) is config:
        published = fresh(kind, p, dataset.vocabulary(p.max_words)).freeze()
        published.save(out)
        return published.to(dataset.device)
    parts = {}
    if cls is ITM:
        below = "clip-resnet" if source_of(config) else "clip"
        parts["clip"] = trained(below, dataset, base or Path(out) / "clip", p, seed, progress, precision=precision)
    return pretrain(cls, dataset, out, p, seed, config=config, precision=precision, progress=progress, **parts)
