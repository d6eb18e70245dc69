"""What is drawn to be measured: whose captions, every stage's image, and the same system before its first step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from t2i_core.blocks import resize
from t2i_core.config import UserError
from t2i_core.data import CaptionDataset
from t2i_core.runs import Run
from t2i_core.systems.base import System
from t2i_core.train import settle

DRAW_BATCH = 64
SETTLE_BATCHES = 4


def caption_plan(dataset: CaptionDataset, n: int) -> tuple[list[int], list[int]]:
    """Which image's caption row i is drawn for, and which of its captions: images in order, round after round; the
    caption moves on by one from image to image and from round to round."""
    size = len(dataset)
    images = [i % size for i in range(n)]
    return images, [(i + i // size) % len(dataset.captions[i % size]) for i in range(n)]


def draw(
    system: System,
    captions: Sequence[str],
    seed: int,
    batch_size: int = DRAW_BATCH,
    at_most: int | None = None,
    stage: int = -1,
) -> Tensor:
    """A stage's images (n, 3, R, R), the finest unless told otherwise, of a system in eval mode, on the CPU, rounded to
    8 bits a channel; then shrunk to ``at_most`` px, so that 30,000 of them fit in memory. A stage that the system does
    not have raises a UserError."""
    parts = []
    for images in _drawn(system, captions, seed, batch_size):
        if not -len(images) <= stage < len(images):
            count = len(images)
            raise UserError(f"there is no stage {stage}: this system draws {count}, from 0 to {count - 1} (or -1)")
        chosen = _in_8_bits(images[stage])
        parts.append(resize(chosen, min(chosen.shape[-1], at_most or chosen.shape[-1])))
    return torch.cat(parts)


def draw_stages(
    system: System, captions: Sequence[str], seed: int, resolution: int, batch_size: int = DRAW_BATCH
) -> list[tuple[int, Tensor]]:
    """(px, images (n, 3, R, R)) of every stage, coarse to fine, in one pass: rounded as by :func:`draw`, then brought
    to one ``resolution`` R, enlarged bilinearly or shrunk with antialias."""
    sizes: list[int] = []
    batches: list[list[Tensor]] = []
    for images in _drawn(system, captions, seed, batch_size):
        sizes = [one.shape[-1] for one in images]
        batches.append([resize(_in_8_bits(one), resolution) for one in images])
    return list(zip(sizes, map(torch.cat, zip(*batches, strict=True)), strict=True))


@torch.no_grad()
def _drawn(system: System, captions: Sequence[str], seed: int, batch_size: int) -> Iterator[list[Tensor]]:
    """The images of every stage, batch after batch."""
    noise = system.noise(len(captions), seed)
    for start in range(0, len(captions), batch_size):
        rows = slice(start, start + batch_size)
        yield system.generate(list(captions[rows]), noise[rows]).images


def _in_8_bits(images: Tensor) -> Tensor:
    return ((images.float().cpu() + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


def untrained(run: Run, system: System, captions: Sequence[str]) -> System:
    """The run's system as it was before its first step, reading words as now; batch norms settled on its own images, so
    that it is judged by its weights and not by statistics that were never measured."""
    fresh = run.fresh_system(system.matcher).to(system.device)
    noise = fresh.noise(DRAW_BATCH * SETTLE_BATCHES, seed=1)

    def batches():
        for part in range(0, min(len(captions), len(noise)), DRAW_BATCH):
            chosen = list(captions[part : part + DRAW_BATCH])
            if len(chosen) > 1:  # batch statistics of one image say nothing
                yield fresh.generator_inputs(fresh.matcher.encode_text(chosen), noise[part : part + len(chosen)])

    with torch.no_grad():
        settle(fresh.generator, batches())
    return fresh.eval().requires_grad_(False)
