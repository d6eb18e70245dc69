"""ALR-GAN's layout structure: the semantics similarity matrix (SSM) and the text-vision matrix (TVM).

The SSM says which word acts where; AttnGAN's word attention is the same two equations. The close reading of ALR-GAN
prints the softmax as a sum over k = 1..T although k is the region and T counts words, and then uses theta transposed;
read as AttnGAN does it, both agree: for every region a softmax over the words.
"""

from __future__ import annotations

import torch
from torch import Tensor

from t2i_core.attention import masked_softmax, region_word_scores


def similarity_matrix(regions: Tensor, words: Tensor, mask: Tensor | None = None) -> Tensor:
    """SSM, ALR-GAN E1: theta_{j,k} = exp(S'_{j,k}) / sum_j exp(S'_{j,k}) with S'_{j,k} = h_k^T w_j.

    Args:
        regions: H, (B, D, N) or (B, D, H, W).
        words: W projected to the regions' features, (B, D, T).
        mask: (B, T), True where a token is real.

    Returns:
        Theta (B, T, N): for every region a distribution over the real words; padding is exactly 0.
    """
    scores = region_word_scores(regions, words)
    return masked_softmax(scores, None if mask is None else mask[:, :, None], dim=1)


def text_vision_matrix(theta: Tensor, words: Tensor) -> Tensor:
    """TVM, ALR-GAN E8: q_k = sum_j theta_{j,k} w_j. Theta (B, T, N), words (B, D, T) -> Q (B, D, N)."""
    return torch.einsum("btn,bdt->bdn", theta, words)
