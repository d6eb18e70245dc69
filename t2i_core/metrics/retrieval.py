"""Does an image find its own caption among others? R-precision and recall at k, from features of a scoring encoder.

The encoder must never be the one that trained the generator (GR-GAN Q5 shows what happens then: scores above those of
real images). Scores are cosines; a tie counts against the true caption, so that collapsed features score 0, not 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from t2i_core.config import UserError
from t2i_core.metrics.stats import Value, as_rows, proportion

CHUNK = 1024


def r_precision(
    image_features: ArrayLike | Tensor,
    text_features: ArrayLike | Tensor,
    distractors: int = 99,
    seed: int = 0,
    same: Mapping[str, Sequence] | None = None,
    protocol: Mapping[str, Any] | None = None,
) -> Value:
    """The share of images whose own caption scores above ``distractors`` random captions of other images.

    image_features, text_features (n, d), row i of one belongs to row i of the other. ``same`` {"caption": n labels,
    "class": n labels, ...}: captions with an equal label of any kind are no distractors of each other. The distractors
    of image i depend on (seed, n, same) only. Chance is 1 / (distractors + 1).
    """
    image, text = unit_rows(image_features, text_features)
    n, groups = len(image), _groups(same, len(image))
    generator = torch.Generator().manual_seed(seed)
    hits = []
    for rows in torch.arange(n).split(CHUNK):
        barred = _together(groups, rows)
        free = n - int(barred.sum(1).max())
        if free < distractors:
            raise UserError(
                f"R-precision needs {distractors} captions of other images beside each image's own, and among {n} "
                f"images there are only {free}: measure more images"
            )
        order = torch.rand(len(rows), n, generator=generator).masked_fill_(barred, 2.0)  # barred ones sort last
        drawn = order.topk(distractors, dim=1, largest=False).indices
        scores = image[rows] @ text.T
        own = (image[rows] * text[rows]).sum(1)
        hits.append(own > scores.gather(1, drawn).amax(1) + 1e-12)
    said = {"score": "cosine", "distractors": distractors, "seed": seed, "chance": 1 / (distractors + 1)}
    said["no_distractors"] = f"the same {' or '.join(same or ['image'])}"
    return proportion(torch.cat(hits).numpy(), protocol={**(protocol or {}), **said})


def recall_at_k(
    image_features: ArrayLike | Tensor,
    text_features: ArrayLike | Tensor,
    k: Sequence[int] = (1, 5, 10),
    same: Mapping[str, Sequence] | None = None,
    protocol: Mapping[str, Any] | None = None,
) -> dict[str, dict[int, Value]]:
    """{"image_to_text": {k: Value}, "text_to_image": {k: Value}}: is the true partner among the k best of all n?

    Features (n, d) in pairs; ``same`` as in :func:`r_precision`: partners with an equal label do not push the true one
    down.
    """
    image, text = unit_rows(image_features, text_features)
    ways = {"image_to_text": lambda rows: image[rows] @ text.T, "text_to_image": lambda rows: text[rows] @ image.T}
    return _recall(ways, len(image), k, same, {**(protocol or {}), "score": "cosine"})


def recall_of_scores(
    scores: ArrayLike | Tensor,
    k: Sequence[int] = (1, 5, 10),
    same: Mapping[str, Sequence] | None = None,
    protocol: Mapping[str, Any] | None = None,
) -> dict[str, dict[int, Value]]:
    """:func:`recall_at_k` from any scores (n images, n captions), the pairs on the diagonal."""
    scores = torch.as_tensor(scores).to(torch.float64)
    n = len(scores)
    if scores.shape != (n, n) or not scores.isfinite().all():
        raise ValueError(f"scores must be a square of finite numbers, images by captions, not {tuple(scores.shape)}")
    ways = {"image_to_text": lambda rows: scores[rows], "text_to_image": lambda rows: scores.T[rows]}
    return _recall(ways, n, k, same, protocol)


def _recall(
    ways: Mapping[str, Callable[[Tensor], Tensor]],
    n: int,
    k: Sequence[int],
    same: Mapping[str, Sequence] | None,
    protocol: Mapping[str, Any] | None,
) -> dict[str, dict[int, Value]]:
    """``ways``: name -> the scores (r, n) of some rows; never all n x n at once, which for 10,000 images are 800 MB."""
    if n < max(k):
        raise UserError(f"recall at {max(k)} among {n} images means nothing: measure at least {max(k)} images")
    groups = _groups(same, n)
    found: dict[str, dict[int, Value]] = {}
    for name, scored in ways.items():
        before = []
        for rows in torch.arange(n).split(CHUNK):
            block = scored(rows)
            own = block.gather(1, rows[:, None])
            before.append(((block >= own - 1e-12) & ~_together(groups, rows)).sum(1))
        rank = torch.cat(before)
        said = {**(protocol or {}), "among": n}
        found[name] = {top: proportion((rank < top).numpy(), protocol={**said, "k": top}) for top in k}
    return found


def unit_rows(image_features: ArrayLike | Tensor, text_features: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """Features (n, d) in pairs, float64, each row of length 1 (zeros stay zeros); no pairs or no numbers raise."""
    image = torch.from_numpy(as_rows(image_features, "image features"))
    text = torch.from_numpy(as_rows(text_features, "text features"))
    if image.shape != text.shape:
        raise ValueError(f"features must come in pairs of one length, not {tuple(image.shape)} and {tuple(text.shape)}")
    return F.normalize(image, dim=1), F.normalize(text, dim=1)


def _groups(same: Mapping[str, Sequence] | None, n: int) -> list[Tensor]:
    """A number for each label, (n,) a kind of label; each image for itself comes first."""
    groups = [torch.arange(n)]
    for kind, labels in (same or {}).items():
        if len(labels) != n:
            raise ValueError(f"{len(labels)} labels of kind {kind!r} for {n} images")
        numbers: dict = {}
        groups.append(torch.tensor([numbers.setdefault(label, len(numbers)) for label in labels]))
    return groups


def _together(groups: list[Tensor], rows: Tensor) -> Tensor:
    """(rows, n) True where two images share a label."""
    return torch.stack([group[rows, None] == group[None] for group in groups]).any(0)
