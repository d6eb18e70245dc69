"""What failures are looked for in: images drawn for test captions, beside the real images that these describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i_core.config import UserError
from t2i_core.data import load
from t2i_core.metrics.drawing import caption_plan, draw
from t2i_core.metrics.instruments import Instruments, Subject
from t2i_core.metrics.retrieval import unit_rows
from t2i_core.process import make_accelerator
from t2i_core.runs import Run

IMAGES, AGAIN = 200, 64  # drawn for different captions; and of these, drawn once more from other noise
FEWEST = 10  # images from which on there is a set to speak of


@dataclass(frozen=True)
class Sample:
    """Images drawn for n captions beside the real images that these describe, from one pass that all questions share.

    ``again``: the first m captions once more, from other noise. ``step``: at which the system was finished, if known.
    """

    drawn: Subject
    real: Subject
    captions: list[str]
    truths: Sequence[Mapping[str, Any]]
    caption_index: list[int]
    again: Tensor | None = None
    step: int | None = None
    protocol: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        world: str,
        images: Tensor,
        captions: Sequence[str],
        truths: Sequence[Mapping[str, Any]],
        caption_index: Sequence[int],
        real: Tensor,
        again: Tensor | None = None,
        device: str | torch.device = "cpu",
        weights_folder: str | Path | None = None,
        **told: Any,
    ) -> Sample:
        """A sample of images that are there already; ``real`` (n, 3, R, R) are the pictures the captions describe."""
        if not len(images) == len(captions) == len(truths) == len(caption_index) == len(real):
            raise ValueError("images, captions, truths, caption_index and real images must be as many")
        if len(images) < FEWEST:
            raise UserError(f"{len(images)} images are too few to speak of a set's failures: draw at least {FEWEST}")
        if images.shape[1:] != real.shape[1:]:
            raise ValueError(f"drawn {tuple(images.shape[1:])} and real {tuple(real.shape[1:])} must be of one size")
        seen = Instruments(world, device, weights_folder)
        drawn, pictured = Subject(images, seen), Subject(real, seen)
        step = told.pop("step", None)
        return cls(drawn, pictured, list(captions), truths, list(caption_index), again, step, told)

    def __len__(self) -> int:
        return len(self.captions)

    @cached_property
    def cosines(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n, n) cosines of the scorer, images by captions: of the drawn images and of the real ones."""
        if self.drawn.instruments.scorer is None:
            raise UserError("no scorer knows the words of this dataset: build one with `t2i inspector --data` of it")
        found = []
        for subject in (self.drawn, self.real):
            image, text = unit_rows(*subject.pairs(self.captions))
            found.append((image @ text.T).numpy())
        return found[0], found[1]


def draw_sample(
    run: Run,
    n: int = IMAGES,
    again: int = AGAIN,
    seed: int = 0,
    images: Tensor | None = None,
    device: str = "auto",
    weights_folder: str | Path | None = None,
) -> Sample:
    """Draw what `signatures` and `cases` look at: n test captions, the first ``again`` of them twice.

    Captions and noise are those of `metrics.evaluate.evaluate_run`: ``images`` (at least n, finest stage) that were
    drawn in its order are not drawn anew. A test split of fewer than n images gives as many as it has.
    """
    place = make_accelerator(device, "fp32").device
    system, resolution = run.system(place), run.system_config["resolutions"][-1]
    dataset = load(run.config.data, "test", (resolution,))
    n = min(n, len(dataset), len(dataset) if images is None else len(images))
    rows, which = caption_plan(dataset, n)
    captions = [dataset.caption(i, k) for i, k in zip(rows, which, strict=True)]
    drawn = draw(system, captions, seed) if images is None else images[:n]
    twice = draw(system, captions[:again], seed + 1) if again else None
    truths, real = [dataset.truth[i] for i in rows], dataset.images(rows)
    told = {"split": "test", "resolution": resolution, "seed": seed, "step": run.summary["steps"]}
    world = run.config.world
    return Sample.of(world, drawn, captions, truths, which, real, twice, place, weights_folder, **told)
