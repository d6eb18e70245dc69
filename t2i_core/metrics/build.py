"""Training what measures: the inspector and the scorer of a dataset, and writing them down with their provenance.

    t2i prepare toy-scenes --size 64 --train 12000 --test 2000 --seed 7001 --out data/measuring/toy-scenes
    t2i inspector --world toy-scenes --data data/measuring/toy-scenes --steps 1000

and the same for toy-faces; for toy-birds and toy-flowers with free species:

    t2i prepare toy-birds --species free --size 64 --train 12000 --test 2000 --seed 7001 --out data/measuring/toy-birds
    t2i inspector --world toy-birds --data data/measuring/toy-birds --steps 1000

The command that a file came from stands in the JSON beside it: the scorer of toy-birds took 1500 steps. Without --data,
`t2i inspector` draws these pictures itself. They are other draws (another seed) than those that any system is trained
or measured on. Free species, because with thirty of them one attribute gives another away: an inspector of such
pictures knows the species, and guesses the number of petals of a flower that is none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from t2i_core.blocks import resize
from t2i_core.config import UserError
from t2i_core.damsm import DAMSM, MatcherConfig
from t2i_core.data import BatchStream, CaptionDataset, load, random_generator
from t2i_core.matching import sentence_loss
from t2i_core.metrics import weights
from t2i_core.metrics.accuracy import held_out, scorer_retrieval
from t2i_core.metrics.inspector import Inspector, InspectorConfig

BATCH, SCORER_BATCH = 64, 128
LEARNING_RATE, SCORER_RATE = 3e-3, 2e-3
SCORER_GAMMA = 20.0
SOURCE = 64  # px an image comes from, where the dataset has that many, to be shrunk as larger images will be
SCORER = MatcherConfig(text_dim=80, width=20)  # a width that no profile's training encoder has
MOST_CLASSES = 150
STANDARD = 4096  # images whose features set their middle and spread
Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Targets:
    """The truth of n images as tensors; -1 where it does not say.

    values {attribute: (n,)}, qualities {kind: (n, P)}, present (n, P), box (n, P, 4), labels (n, P) the value of a part
    in the mask, masks (n, R, R) or None for a world without parts.
    """

    values: dict[str, Tensor]
    qualities: dict[str, Tensor]
    present: Tensor
    box: Tensor
    labels: Tensor
    masks: Tensor | None

    def to(self, device: torch.device) -> Targets:
        def move(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: move(tensor) for name, tensor in value.items()}
            return value if value is None else value.to(device)

        return replaced(self, **{name: move(value) for name, value in vars(self).items()})

    @classmethod
    def of(cls, dataset: CaptionDataset, config: InspectorConfig) -> Targets:
        n, parts = len(dataset), len(config.parts)
        values = {name: torch.full((n,), -1) for name in config.attributes}
        present, box = torch.zeros(n, parts), torch.zeros(n, parts, 4)
        labels = torch.full((n, parts), -1)
        qualities = {kind: torch.full((n, parts), -1) for kind in config.qualities}
        for i, truth in enumerate(dataset.truth):
            for name, value in truth["attributes"].items():
                values[name][i] = config.attributes[name].index(value)
            for part in truth.get("parts", []) if parts else []:
                p = config.parts.index(part["name"])
                present[i, p] = 1.0
                box[i, p] = torch.tensor(part["box"])
                labels[i, p] = part["mask"]
                for kind, names in config.qualities.items():
                    if part.get(kind) in names:
                        qualities[kind][i, p] = names.index(part[kind])
        masks = None
        if parts:
            chunks = torch.arange(n).split(1024)
            resolution = min(config.resolution, dataset.size)
            masks = torch.cat([dataset.masks(chunk, resolution).to(torch.int16) for chunk in chunks])
        return cls(values, qualities, present, box, labels, masks)


def configure(dataset: CaptionDataset, **size: int) -> InspectorConfig:
    """What the truth of this dataset lets an inspector learn; places and levels as means over the truth's boxes."""
    listed = dataset.manifest.get("attributes", {})
    attributes = {name: list(values) for name, values in listed.items() if len(values) > 1}
    parts = dataset.manifest.get("parts", {})
    if not attributes and not parts:
        raise UserError(f"{dataset.folder} says nothing of what its images show, so no inspector can learn from it")
    names = list(parts.get("names", []))
    # the manifest lists the values of a quality under its plural: "colors", "shapes"; what is an attribute of the whole
    # picture already (the length of the hair) is asked once
    qualities = {k.removesuffix("s"): list(v) for k, v in parts.items() if k not in ("names", "places", "levels")}
    qualities = {kind: values for kind, values in qualities.items() if kind not in attributes}
    places, levels = _middles(dataset, "place", 0), _middles(dataset, "level", 1)
    config = InspectorConfig(attributes, names, qualities, places, levels, **size)
    return replaced(config, classes=_classes(dataset, config))


def _classes(dataset: CaptionDataset, config: InspectorConfig) -> list[list[str]]:
    """The variables of the Inception Score: which object (where no part is always there), attributes, and colours of
    the parts that are always there, as many as keep the number of classes at `MOST_CLASSES` or under."""
    present = [{part["name"]: part for part in truth.get("parts", [])} for truth in dataset.truth]
    always = [name for name in config.parts if all(name in parts for parts in present)]
    colored = [name for name in always if all("color" in parts[name] for parts in present)]
    candidates = [(["presence"], len(config.parts))] if config.parts and not always else []
    candidates += [(["attribute", name], len(values)) for name, values in config.attributes.items()]
    candidates += [(["color", name], len(config.qualities["color"])) for name in colored]
    chosen, classes = [], 1
    for candidate, width in candidates:
        if classes * width <= MOST_CLASSES:
            chosen, classes = [*chosen, candidate], classes * width
    return chosen


def _middles(dataset: CaptionDataset, kind: str, axis: int) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for truth in dataset.truth:
        for part in truth.get("parts", []):
            if kind in part:
                found.setdefault(part[kind], []).append((part["box"][axis] + part["box"][axis + 2]) / 2)
    means = {name: round(sum(values) / len(values), 4) for name, values in found.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def train_inspector(
    dataset: CaptionDataset,
    steps: int,
    device: str | torch.device = "cpu",
    seed: int = 0,
    batch_size: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    progress: Progress | None = None,
    **size: int,
) -> Inspector:
    """Train on one split; AdamW, one cycle. ``size`` sets width or features of the config.

    A GPU keeps all images and truth resident and runs the convolutions in bfloat16.
    """
    device = torch.device(device)
    config = configure(dataset, **size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Inspector(config).to(device).train()
    dataset.to(device)
    targets = Targets.of(dataset, config).to(device)
    source = min(SOURCE, dataset.size)
    optimiser = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=1e-3, fused=device.type == "cuda")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps + 1, pct_start=0.15)
    seen = []
    for step in progress(range(steps)) if progress else range(steps):
        draw = random_generator(seed, step, purpose=71)
        rows = torch.randint(len(dataset), (batch_size,), generator=draw)
        images = disturb(dataset.images(rows, source), draw, config.resolution)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            out = model(images)
        loss = sum(inspector_losses(out, targets, rows.to(device)).values())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        seen.append(loss.detach())
    if not torch.stack(seen).isfinite().all():
        raise FloatingPointError("the inspector's loss became non-finite: lower the learning rate")
    some = torch.arange(len(dataset))[:STANDARD].split(256)
    model.standardise(resize(dataset.images(chunk, source), config.resolution) for chunk in some)
    return model.eval().requires_grad_(False)


def disturb(images: Tensor, draw: torch.Generator, resolution: int) -> Tensor:
    """Images (B, 3, S, S) as they may come from elsewhere: through 16, 24 or 48 px, blurred, noisy, paler or darker."""
    roll, blur, strength, contrast, offset = torch.rand(5, generator=draw).tolist()
    if roll < 0.45 and images.shape[-1] > 48:
        images = resize(images, 16 if roll < 0.15 else 24 if roll < 0.3 else 48)
    images = resize(images, resolution)
    if blur < 0.2:
        kernel = torch.tensor([0.25, 0.5, 0.25], device=images.device)
        kernel = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
        images = torch.lerp(images, F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=3), 0.6)
    noise = torch.randn(images.shape, generator=draw).to(images.device)
    return images * (0.94 + 0.1 * contrast) + 0.06 * (offset - 0.5) + 0.06 * strength * noise


def inspector_losses(out: dict[str, Any], targets: Targets, rows: Tensor) -> dict[str, Tensor]:
    """Named, weighted scalars for the rows of the batch."""
    losses = {f"attribute {k}": F.cross_entropy(v, targets.values[k][rows], ignore_index=-1) for k, v in
              out["attributes"].items()}  # fmt: skip
    if "heat" not in out:
        return losses
    present = targets.present[rows]
    there = present > 0
    losses["presence"] = 2 * F.binary_cross_entropy_with_logits(out["presence"], present)
    labels = targets.labels[rows]
    cover = (targets.masks[rows][:, None] == labels[:, :, None, None]) & there[:, :, None, None]
    cells = F.adaptive_avg_pool2d(cover.float(), out["heat"].shape[-1])
    weight = torch.tensor(2.0, device=cells.device)
    losses["heat"] = 15 * F.binary_cross_entropy_with_logits(out["heat"], cells, pos_weight=weight)
    losses["box"] = 10 * (out["box"] - targets.box[rows])[there].abs().mean() if there.any() else out["box"].sum() * 0
    told = [present]
    for kind, logits in out["qualities"].items():
        wanted = targets.qualities[kind][rows]
        if (wanted >= 0).any():
            losses[kind] = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-1)
        if kind == "color":
            told.append(F.one_hot(wanted + 1, logits.shape[2] + 1)[..., 1:].amax(1).float())
    losses["contents"] = 0.5 * F.binary_cross_entropy_with_logits(out["contents"], torch.cat(told, 1))
    return losses


def train_scorer(
    dataset: CaptionDataset,
    steps: int,
    device: str | torch.device = "cpu",
    seed: int = 0,
    batch_size: int = SCORER_BATCH,
    learning_rate: float = SCORER_RATE,
    progress: Progress | None = None,
) -> DAMSM:
    """The scoring text-image encoder: the matching model's architecture with its own width, seed and vocabulary.

    Only whole images are matched with whole captions (DAMSM's sentence loss): that is all that R-precision asks.
    Images of the same class are no negatives of each other.
    """
    dataset.to(device)
    vocabulary = dataset.vocabulary()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DAMSM(SCORER, vocabulary).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps + 1, pct_start=0.15)
    stream, seen = BatchStream(dataset, vocabulary, min(batch_size, len(dataset)), seed), []
    for step in progress(range(steps)) if progress else range(steps):
        batch = stream.at(step)
        images = disturb(batch.images[-1], random_generator(seed, step, purpose=72), SCORER.resolution)
        sentence = model.encode_text(batch.tokens).sentence
        loss = sentence_loss(model.encode_image(images).image, sentence, SCORER_GAMMA, batch.class_ids)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        seen.append(loss.detach())
    if not torch.stack(seen).isfinite().all():
        raise FloatingPointError("the scorer's loss became non-finite: lower the learning rate")
    return model.freeze()


def build(
    world: str,
    data: str | Path,
    out: str | Path | None = None,
    steps: int = 2000,
    device: str = "cpu",
    seed: int = 20,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Train and write inspector and scorer of a prepared dataset; returns {"inspector": file, "scorer": file}.

    ``out`` is a folder, by default the package's own weights; each takes ``steps``. A dataset without truth gets a
    scorer only. Beside the weights stands their provenance, with the accuracy on the test split.
    """
    source = min(SOURCE, load(data, "train", ()).size)
    train, test = load(data, "train", (source,)), load(data, "test", (source,))
    told = {"command": f"t2i inspector --world {world} --data {data} --steps {steps} --seed {seed}", "steps": steps}
    makers = {"scorer": make_scorer}
    if train.manifest.get("attributes") or train.manifest.get("parts"):
        makers = {"inspector": make_inspector} | makers
    written = {}
    for kind, make in makers.items():
        started = time.perf_counter()
        model, config, facts = make(train, test, steps, device, seed, progress)
        facts = told | facts | _circumstances(train, device, started)
        written[kind] = weights.save(out or weights.SHIPPED, world, kind, model, config, facts)
    return written


Made = tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]  # as it will be read back; its configuration; facts


def make_inspector(train: CaptionDataset, test: CaptionDataset, steps: int, device: str, seed: int, progress) -> Made:
    model = weights.halved(train_inspector(train, steps, device, seed, progress=progress))
    accuracy = {name: value.to_dict() for name, value in held_out(model, test).items()}
    facts = {"seed": seed, "batch_size": BATCH, "learning_rate": LEARNING_RATE, "held_out": accuracy}
    return model, model.config.to_dict(), facts


def make_scorer(train: CaptionDataset, test: CaptionDataset, steps: int, device: str, seed: int, progress) -> Made:
    model = weights.halved(train_scorer(train, steps, device, seed + 1, progress=progress))
    accuracy = {name: value.to_dict() for name, value in scorer_retrieval(model, test).items()}
    facts = {"seed": seed + 1, "batch_size": SCORER_BATCH, "learning_rate": SCORER_RATE, "held_out": accuracy}
    words = {"words": list(model.vocabulary.words), "max_words": model.vocabulary.max_words}
    return model, {"matcher": vars(SCORER), **words}, facts


def _circumstances(dataset: CaptionDataset, device: str, started: float) -> dict[str, Any]:
    manifest = dataset.manifest
    return {
        "device": torch.cuda.get_device_name(device) if str(device).startswith("cuda") else str(device),
        "torch": torch.__version__,
        "seconds": round(time.perf_counter() - started, 1),
        "data": {"name": manifest["name"], "arguments": manifest["arguments"], "images": len(dataset),
                 "files": {name: entry["sha256"] for name, entry in manifest["files"].items()}},
    }  # fmt: skip
