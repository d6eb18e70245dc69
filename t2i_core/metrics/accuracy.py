"""How well the instruments themselves read: the inspector and the scorer on real pictures whose truth is known."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from t2i_core.blocks import resize
from t2i_core.config import UserError
from t2i_core.damsm import DAMSM
from t2i_core.data import CaptionDataset
from t2i_core.metrics.inspector import Inspector, Reading
from t2i_core.metrics.retrieval import r_precision, recall_at_k
from t2i_core.metrics.stats import Value, mean, proportion

SIZES = (32, 16)  # px at which held-out images come in
ENCODE_BATCH = 64  # what fits into a processor's cache: larger batches take longer


def held_out(model: Inspector, dataset: CaptionDataset) -> dict[str, Value]:
    """The inspector's accuracy on every image of a split, coming in at 32 px, and at 16 px (keys ending in "@16")."""
    found: dict[str, Value] = {}
    for size in SIZES:
        images = all_images(dataset, size)
        protocol = {"split": dataset.split, "images": len(dataset), "images_come_at": size}
        values = reading_accuracy(model.read(images), dataset.truth, protocol)
        found |= {name if size == SIZES[0] else f"{name}@{size}": value for name, value in values.items()}
    return found


def all_images(dataset: CaptionDataset, size: int) -> Tensor:
    """Every image of the split at ``size`` px, shrunk from the dataset's finest resolution."""
    chunks = torch.arange(len(dataset)).split(128)
    return torch.cat([resize(dataset.images(chunk), size).cpu() for chunk in chunks])


def reading_accuracy(reading: Reading, truth: list[dict[str, Any]], protocol: dict[str, Any]) -> dict[str, Value]:
    """Right answers of a reading of real images: attributes; recall and precision of the objects; and, of the objects
    that are there, colour, size, place and level; whether the centre lies in the true box, and the boxes' IoU."""
    if len(reading) != len(truth):
        raise UserError(f"{len(reading)} images read and {len(truth)} truths given: they must be the same images")
    values: dict[str, Value] = {}
    for name in reading.config.attributes:
        told = [(got, t["attributes"][name]) for got, t in zip(reading.attribute(name), truth, strict=True) if
                name in t["attributes"]]  # fmt: skip
        if told:
            values[name] = proportion([got == want for got, want in told], protocol=protocol)
    if not reading.config.parts:
        return values
    names = reading.config.parts
    there = np.zeros((len(truth), len(names)), bool)
    asked: dict[str, list[tuple[int, bool]]] = {kind: [] for kind in (*reading.kinds(), "pointing")}
    overlap = []
    says = {kind: reading.says(kind) for kind in reading.kinds()}
    for i, t in enumerate(truth):
        for part in t.get("parts", []):
            p = names.index(part["name"])
            there[i, p] = True
            for kind in says:
                if kind in part:
                    asked[kind].append((i, says[kind][i][p] == part[kind]))
            asked["pointing"].append((i, inside(reading.centre[i, p], part["box"])))
            overlap.append(iou(reading.box[i, p], part["box"]))
    found = reading.found.numpy()
    for name, share, among in (("object_recall", found, there), ("object_precision", there, found)):
        image, _ = np.nonzero(among)
        if among.any():
            values[name] = proportion(share[among], image, protocol)
    for kind, answers in asked.items():
        if answers:
            values[kind] = proportion([right for _, right in answers], [image for image, _ in answers], protocol)
    if len(overlap) > 1:
        values["box_iou"] = mean(overlap, protocol)
    return values


def inside(point: Tensor, box: list[float]) -> bool:
    """Is the point (x, y) in the box [x0, y0, x1, y1]?"""
    return bool(box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3])


def iou(a: Tensor | list[float], b: Tensor | list[float]) -> float:
    """Intersection over union of two boxes [x0, y0, x1, y1]; 0 for boxes without area."""
    ax0, ay0, ax1, ay1 = (float(v) for v in a)
    bx0, by0, bx1, by1 = (float(v) for v in b)
    both = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    union = max(0.0, ax1 - ax0) * max(0.0, ay1 - ay0) + max(0.0, bx1 - bx0) * max(0.0, by1 - by0) - both
    return both / union if union > 0 else 0.0


def scorer_retrieval(scorer: DAMSM, dataset: CaptionDataset) -> dict[str, Value]:
    """R-precision (99 distractors) and recall at 1, 5, 10 on the real images of a split, caption i mod k of image i."""
    chosen = [captions[i % len(captions)] for i, captions in enumerate(dataset.captions)]
    image, text = encode(scorer, all_images(dataset, 32), chosen)
    protocol = {"split": dataset.split, "images": len(dataset), "captions_per_image": 1}
    values: dict[str, Value] = {}
    same = {"caption": chosen, "class": dataset.class_ids.tolist()}
    with contextlib.suppress(UserError):  # a small split has too few captions to choose from
        values["r_precision"] = r_precision(image, text, same=same, protocol=protocol)
    with contextlib.suppress(UserError):
        for way, at in recall_at_k(image, text, same=same, protocol=protocol).items():
            values |= {f"recall@{k} {way.replace('_', ' ')}": value for k, value in at.items()}
    return values


def encode(scorer: DAMSM, images: Tensor, captions: list[str], batch_size: int = ENCODE_BATCH) -> tuple[Tensor, Tensor]:
    """Global image features and sentence features (n, D) each, on the CPU."""
    return encode_images(scorer, images, batch_size), encode_captions(scorer, captions, batch_size)


@torch.no_grad()
def encode_images(scorer: DAMSM, images: Tensor, batch_size: int = ENCODE_BATCH) -> Tensor:
    device = next(scorer.parameters()).device
    # channels last, which convolutions on a CPU are quicker with; a GPU picks its own way
    parts = (part.to(device).float().contiguous(memory_format=torch.channels_last) for part in images.split(batch_size))
    return torch.cat([scorer.encode_image(part).image.cpu() for part in parts])


@torch.no_grad()
def encode_captions(scorer: DAMSM, captions: list[str], batch_size: int = ENCODE_BATCH) -> Tensor:
    starts = range(0, len(captions), batch_size)
    return torch.cat([scorer.encode_text(captions[start : start + batch_size]).sentence.cpu() for start in starts])
