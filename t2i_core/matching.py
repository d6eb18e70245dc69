"""DAMSM's matching losses: does an image belong to its caption, as a whole and word by word?

B captions are compared with B images in one go, (B, B, ...), without a loop over captions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from t2i_core.attention import flatten_regions, masked_softmax


def sentence_loss(image: Tensor, sentence: Tensor, gamma: float = 10.0, class_ids: Tensor | None = None) -> Tensor:
    """GR-GAN Eq. 8, DAMSM's L^s: -sum_i log softmax_j(gamma cos(v_i, s_j))_i, mean over i, both directions added.

    image, sentence (B, D). ``class_ids`` (B,): other samples of the same class are no negatives.
    """
    scores = gamma * F.normalize(image, dim=1) @ F.normalize(sentence, dim=1).T
    return _both_directions(scores, class_ids)


def word_loss(
    regions: Tensor,
    words: Tensor,
    mask: Tensor,
    class_ids: Tensor | None = None,
    gamma1: float = 5.0,
    gamma2: float = 5.0,
    gamma3: float = 10.0,
) -> Tensor:
    """GR-GAN Eq. 9, DAMSM's L^w: the same contrast on word-region scores, both directions added.

    regions (B, D, N) or (B, D, H, W), words (B, D, T), mask (B, T). gamma3 sharpens the contrast between captions.
    """
    scores = gamma3 * word_scores(regions, words, mask, gamma1, gamma2)
    return _both_directions(scores, class_ids)


def word_scores(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float = 5.0, gamma2: float = 5.0) -> Tensor:
    """R(Q_i, D_j) for every image i and caption j: (B, B).

    s = w^T v, a softmax over the real words of every region, then over regions with gamma1; c_t = sum_n a_tn v_n;
    R = 1/gamma2 log sum_t exp(gamma2 cos(c_t, w_t)) over the real words.
    """
    _, cosines = word_contexts(regions, words, mask, gamma1)
    cosines = cosines.masked_fill(~mask[None], -torch.inf)
    return (gamma2 * cosines).logsumexp(2) / gamma2


def word_contexts(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float = 5.0) -> tuple[Tensor, Tensor]:
    """Attention a (images, captions, T, N) and cos(c_t, w_t) (images, captions, T) for all pairs.

    The words of all captions stand in one list, so that both products are plain matrix products an image.
    """
    regions, real = flatten_regions(regions), mask[None, :, :, None]
    listed = words.transpose(1, 2).flatten(0, 1)  # (captions x T, D)
    scores = (listed @ regions).unflatten(1, mask.shape)
    attention = (gamma1 * masked_softmax(scores, real, dim=2)).softmax(3) * real
    contexts = attention.flatten(1, 2) @ regions.transpose(1, 2)
    lengths = (contexts.norm(dim=2) * listed.norm(dim=1)).clamp_min(1e-8)
    return attention, ((contexts * listed).sum(2) / lengths).unflatten(1, mask.shape)


def _both_directions(scores: Tensor, class_ids: Tensor | None) -> Tensor:
    """Cross-entropy of (B, B) scores along both axes; the diagonal is the truth."""
    target = torch.arange(len(scores), device=scores.device)
    if class_ids is not None:
        same = class_ids[:, None] == class_ids[None, :]
        same = same & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(same, -torch.inf)
    return F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)
