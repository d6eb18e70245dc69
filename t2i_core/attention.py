"""The one masked softmax, and the attention of image regions over words that every later module is made of.

Shapes: B batch, D features, T tokens, N regions (= H x W). ``mask`` (B, T) is True where a token is real.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_softmax(scores: Tensor, mask: Tensor | None, dim: int) -> Tensor:
    """Softmax over ``dim`` with masked entries exactly 0; a row without any real entry is all 0, never NaN.

    ``mask`` must broadcast against ``scores`` and is True where an entry is real. Published code repeats the mask in
    the wrong order for the flattened (batch x region) view, so that captions attend to their own padding; here the
    mask keeps the batch axis of the scores, and that cannot happen.
    """
    if mask is None:
        return scores.softmax(dim)
    hidden = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, hidden).softmax(dim) * mask


def flatten_regions(regions: Tensor) -> Tensor:
    """(B, D, H, W) or (B, D, N) -> (B, D, N)."""
    if regions.dim() not in (3, 4):
        raise ValueError(f"regions must be (B, D, N) or (B, D, H, W), not {tuple(regions.shape)}")
    return regions.flatten(2)


def region_word_scores(regions: Tensor, words: Tensor) -> Tensor:
    """S'_{j,k} = h_k^T w_j: regions (B, D, N) or (B, D, H, W), words (B, D, T) -> (B, T, N)."""
    regions = flatten_regions(regions)
    if regions.shape[:2] != words.shape[:2]:
        raise ValueError(
            f"regions {tuple(regions.shape)} and words {tuple(words.shape)} must agree in batch and features: "
            "project the words to the regions' features first"
        )
    return torch.einsum("bdt,bdn->btn", words, regions)
