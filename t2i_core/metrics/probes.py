"""Two probes of a trained system: do its words act on the things they name, and does a changed caption move them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from t2i_core.captions import split_words
from t2i_core.metrics.inspector import Inspector
from t2i_core.metrics.stats import Value, mean
from t2i_core.systems.base import System

OPPOSITE = {"left": "right", "right": "left"}
MOVED = 0.05  # of the image's width: nearer than that, an object has not moved


class Edit(NamedTuple):
    """A caption, the same with left and right exchanged, the part that should move, and the way: -1 left, +1 right."""

    caption: str
    edited: str
    part: str
    way: int


def place_edits(
    captions: Sequence[str], truths: Sequence[Mapping[str, Any]], caption_index: Sequence[int]
) -> list[Edit]:
    """Edits of all captions that state "left" or "right" exactly once, as the place of a part and not in a relation."""
    edits = []
    for caption, truth, chosen in zip(captions, truths, caption_index, strict=True):
        words = split_words(caption)
        sides = [(word, start, end) for word, start, end in words if word in OPPOSITE]
        stated = [(start, end, part) for start, end, part, kind in truth["words"][chosen] if kind == "place"]
        if len(sides) != 1:
            continue
        word, start, end = sides[0]
        part = next((p for a, b, p in stated if a <= start and end <= b), None)
        if part is not None:
            edited = caption[:start] + OPPOSITE[word] + caption[end:]
            edits.append(Edit(caption, edited, truth["parts"][part]["name"], 1 if word == "left" else -1))
    return edits


@torch.no_grad()
def edit_response(system: System, inspector: Inspector, edits: Sequence[Edit], seed: int = 0) -> tuple[Value, Tensor]:
    """Draw every caption and its edit with the same noise; where does the named part go?

    Returns the share of edits whose part moves to the named side less the share that moves away (in [-1, 1], 0 where
    edits do nothing; with an interval), and how far each moved that way (n,) in widths of the image. The inspector's
    heat map of the part says where it is, found or not, so that no edit is left out.
    """
    noise = system.noise(len(edits), seed)
    middles = []
    for captions in ([edit.caption for edit in edits], [edit.edited for edit in edits]):
        images = torch.cat(
            [
                system.generate(list(captions[k : k + 64]), noise[k : k + 64]).images[-1].float()
                for k in range(0, len(edits), 64)
            ]
        )
        heat = inspector.read(images).heat  # (n, P, G, G), sums to 1
        column = torch.tensor([inspector.config.parts.index(edit.part) for edit in edits])
        across = heat[torch.arange(len(edits)), column].sum(1)  # (n, G)
        grid = (torch.arange(across.shape[1]) + 0.5) / across.shape[1]
        middles.append(across @ grid)
    moved = (middles[1] - middles[0]) * torch.tensor([float(edit.way) for edit in edits])
    answer = (moved > MOVED).double() - (moved < -MOVED).double()
    told = {"asked": f"captions that name left or right once, exchanged; moved: {MOVED} of the width or more"}
    return mean(answer.numpy(), told, seed), moved


@torch.no_grad()
def word_overlap(
    system: System,
    inspector: Inspector,
    captions: Sequence[str],
    truths: Sequence[Mapping[str, Any]],
    caption_index: Sequence[int],
    seed: int = 0,
    kinds: Sequence[str] = ("name", "color"),
) -> Value | None:
    """Does the last stage's Theta put the words on the things they name, in the images that the system draws?

    For every word that states a part's class or colour, where the inspector finds that part: the share of the word's
    attention inside the part's box, less the box's area (what even attention would have). The mean over images, with
    an interval; None where fewer than two images show anything that could be asked about.
    """
    tokens = system.vocabulary.tokenize(list(captions))
    noise = system.noise(len(captions), seed)
    per_image = []
    for k in range(0, len(captions), 64):
        rows = range(k, min(k + 64, len(captions)))
        out = system.generate([captions[i] for i in rows], noise[k : k + 64])
        reading = inspector.read(out.images[-1].float())
        theta, found = out.attention[-1].float().cpu(), reading.found
        side = int(theta.shape[2] ** 0.5)
        for row, i in enumerate(rows):
            lifts = []
            for start, end, part, kind in truths[i]["words"][caption_index[i]]:
                column = inspector.config.parts.index(truths[i]["parts"][part]["name"]) if part >= 0 else -1
                if kind not in kinds or column < 0 or not found[row, column]:
                    continue
                inside = box_cover(reading.box[row, column], side)
                for token, (a, b) in enumerate(tokens.spans[i]):
                    if start <= a and b <= end:
                        heat = theta[row, token]
                        lifts.append(float((heat * inside).sum() / heat.sum().clamp(min=1e-12) - inside.mean()))
            if lifts:
                per_image.append(np.mean(lifts))
    if len(per_image) < 2:
        return None
    told = {"asked": "words that state a class or colour of a found part: attention in its box less the box's area"}
    return mean(per_image, told, seed)


def box_cover(box: Sequence[float] | Tensor, side: int) -> Tensor:
    """How much of each of side x side regions a box (x0, y0, x1, y1) in 0..1 covers: (side * side,) in [0, 1]."""
    x0, y0, x1, y1 = (float(v) for v in box)
    edges = torch.linspace(0, 1, side + 1)
    x = ((edges[1:].clamp(max=x1) - edges[:-1].clamp(min=x0)).clamp(min=0)) * side
    y = ((edges[1:].clamp(max=y1) - edges[:-1].clamp(min=y0)).clamp(min=0)) * side
    return (y[:, None] * x[None, :]).flatten()
