"""DAMSM's matching losses: does an image belong to its caption, as a whole and word by word?

B captions are compared with B images in one go, (B, B, ...), without a loop over captions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from t2i_core.attention import flatten_regions

LENGTH_GROUPS = 4


class FalseSentences(NamedTuple):
    """sentences (K, B, D) of each image's own caption, falsified; possible (K, B): the others are none."""

    sentences: Tensor
    possible: Tensor

    def of(self, chosen: Tensor, otherwise: Tensor) -> Tensor:
        """(B, D): the one of the K that ``chosen`` (B,) says; ``otherwise`` (B, D) where none is possible."""
        picked = self.sentences[chosen, torch.arange(len(chosen), device=chosen.device)]
        return torch.where(self.possible.any(0)[:, None], picked, otherwise)


def sentence_loss(
    image: Tensor,
    sentence: Tensor,
    gamma: float = 10.0,
    class_ids: Tensor | None = None,
    false: FalseSentences | None = None,
) -> Tensor:
    """GR-GAN E8, DAMSM's L^s: -sum_i log softmax_j(gamma cos(v_i, s_j))_i, mean over i, both directions added.

    image, sentence (B, D). ``class_ids`` (B,): other samples of the same class are no negatives. With ``false``
    (ours), an image chooses its caption among those of the batch and its own false ones.
    """
    image, sentence = F.normalize(image, dim=1), F.normalize(sentence, dim=1)
    own = None
    if false is not None:
        cosines = torch.einsum("bd,kbd->bk", image, F.normalize(false.sentences, dim=2))
        own = (gamma * cosines).masked_fill(~false.possible.T, -torch.inf)
    return _both_directions(gamma * image @ sentence.T, class_ids, own)


def word_loss(
    regions: Tensor,
    words: Tensor,
    mask: Tensor,
    class_ids: Tensor | None = None,
    gamma1: float = 5.0,
    gamma2: float = 5.0,
    gamma3: float = 10.0,
) -> Tensor:
    """GR-GAN E9, DAMSM's L^w: the same contrast on word-region scores, both directions added.

    regions (B, D, N) or (B, D, H, W), words (B, D, T), mask (B, T). gamma3 sharpens the contrast between captions.
    """
    scores = gamma3 * word_scores(regions, words, mask, gamma1, gamma2)
    return _both_directions(scores, class_ids)


def word_scores(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float = 5.0, gamma2: float = 5.0) -> Tensor:
    """R(Q_i, D_j) for every image i and caption j: (B, B).

    s = w^T v, a softmax over the real words of every region, then over regions with gamma1; c_t = sum_n a_tn v_n;
    R = 1/gamma2 log sum_t exp(gamma2 cos(c_t, w_t)) over the real words.

    On a CPU captions of similar length are read together, so that little padding is computed; the length of a group
    is a number Python must know, and a GPU would have to be waited for.
    """
    if words.is_cuda or len(words) < 2 * LENGTH_GROUPS:
        return _scores(regions, words, mask, gamma1, gamma2)
    order = mask.sum(1).argsort()
    columns = []
    for group in order.tensor_split(LENGTH_GROUPS):
        longest = int(mask[group].any(0).nonzero().max()) + 1 if mask[group].any() else 1
        columns.append(_scores(regions, words[group, :, :longest], mask[group, :longest], gamma1, gamma2))
    return torch.cat(columns, 1)[:, order.argsort()]


def word_contexts(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float = 5.0) -> tuple[Tensor, Tensor]:
    """Attention a (images, captions, T, N) and cos(c_t, w_t) (images, captions, T) for all pairs; padding gets 0."""
    attention, cosines = _contexts(regions, words, mask, gamma1)
    return attention * mask[None, :, :, None], cosines * mask


def _scores(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float, gamma2: float) -> Tensor:
    _, cosines = _contexts(regions, words, mask, gamma1)
    return (gamma2 * cosines.masked_fill(~mask, -torch.inf)).logsumexp(2) / gamma2


def _contexts(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float) -> tuple[Tensor, Tensor]:
    """``word_contexts`` with arbitrary values at the padding.

    The words of all captions stand in one list and the regions of all images in another, so that the scores and their
    gradients are single matrix products. The mask of the softmax over words is an addend of that product (-1e30 is
    exactly 0 after it): on a CPU every pass over (captions, T, images, N) that is saved counts.
    """
    regions = flatten_regions(regions)
    images, words_first = len(regions), (*mask.shape, len(regions), -1)
    listed = words.transpose(1, 2).flatten(0, 1)  # (captions x T, D)
    hidden = torch.zeros_like(mask, dtype=words.dtype).masked_fill(~mask, -1e30).view(-1, 1)
    scores = torch.addmm(hidden, listed, regions.transpose(0, 1).flatten(1)).view(words_first)
    attention = (gamma1 * scores.softmax(1)).softmax(3).view(len(listed), images, -1).transpose(0, 1)
    contexts = attention @ regions.transpose(1, 2)  # (images, captions x T, D)
    lengths = (contexts.norm(dim=2) * listed.norm(dim=1)).clamp_min(1e-8)
    cosines = (contexts * listed).sum(2) / lengths
    return attention.unflatten(1, mask.shape), cosines.unflatten(1, mask.shape)


def _both_directions(scores: Tensor, class_ids: Tensor | None, own: Tensor | None = None) -> Tensor:
    """Cross-entropy of (B, B) scores along both axes; the diagonal is the truth. ``own`` (B, K) are more negatives of
    each row."""
    target = torch.arange(len(scores), device=scores.device)
    if class_ids is not None:
        same = class_ids[:, None] == class_ids[None, :]
        same = same & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(same, -torch.inf)
    rows = scores if own is None else torch.cat([scores, own], 1)
    return F.cross_entropy(rows, target) + F.cross_entropy(scores.T, target)
