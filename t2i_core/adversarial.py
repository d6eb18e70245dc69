"""Adversarial losses on logits. A GAN's D(x) in the papers is the sigmoid of a logit here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bce_real(logits: Tensor) -> Tensor:
    """-E[log D(x)] for x that should be called real; logits of any shape, a scalar in nats.

    On drawn images it is the generator's loss (ALR-GAN E12, without its 1/2), on real ones half of E13.
    """
    return F.softplus(-logits).mean()


def bce_fake(logits: Tensor) -> Tensor:
    """-E[log(1 - D(x))] for x that should be called fake. Some papers print 1 - log D(x), which has no minimum."""
    return F.softplus(logits).mean()


def bce_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Half of ALR-GAN E13 (one of its two pairs): -1/2 E[log D(real)] - 1/2 E[log(1 - D(fake))]."""
    return 0.5 * (bce_real(real) + bce_fake(fake))


def bce_generator(alone: Tensor, with_sentence: Tensor) -> Tensor:
    """ALR-GAN E12: -1/2 E[log D(I)] - 1/2 E[log D(I, s)] on drawn images."""
    return 0.5 * (bce_real(alone) + bce_real(with_sentence))


def bce_matching(real: Tensor, fake: Tensor, mismatched: Tensor) -> Tensor:
    """The matching-aware discriminator of GAN-CLS (Reed et al. 2016, algorithm 1), on logits of right pairs, of drawn
    images with their captions and of real images with another image's: -E[log D(real)] - 1/2 E[log(1 - D(mismatched))]
    - 1/2 E[log(1 - D(fake))]."""
    return bce_real(real) + 0.5 * (bce_fake(fake) + bce_fake(mismatched))


def hinge_real(logits: Tensor) -> Tensor:
    """RATLIP E8, its first line: -E[min(0, -1 + D(x, s))], 0 where every logit is 1 or more."""
    return F.relu(1 - logits).mean()


def hinge_fake(logits: Tensor) -> Tensor:
    """RATLIP E8, its second and third line without their 1/2: -E[min(0, -1 - D(x, s))]."""
    return F.relu(1 + logits).mean()


def hinge_discriminator(real: Tensor, fake: Tensor, mismatched: Tensor) -> Tensor:
    """RATLIP E8 without the penalty: real images with their captions against drawn ones and real ones with another
    image's caption, which share the half of the fakes between them."""
    return hinge_real(real) + 0.5 * (hinge_fake(fake) + hinge_fake(mismatched))


def hinge_generator(fake: Tensor) -> Tensor:
    """RATLIP E8, L_G without the similarity: -E[D(G(z, s), s)]."""
    return -fake.mean()


def ma_gradient_penalty(
    logits: Tensor, image: Tensor, sentence: Tensor, k: float = 2.0, p: float = 6.0, norm: str = "sum"
) -> Tensor:
    """The matching-aware gradient penalty of RATLIP E8: k E[(||grad_x D|| + ||grad_s D||)^p] at real, matching pairs.

    ``logits`` (B, ...) must have been computed from ``image`` (B, ...) and ``sentence`` (B, ...), both requiring
    gradients; image is the picture itself in DF-GAN, its CLIP features in GALIP and RATLIP. ``norm="joint"`` is the
    published code's: the norm of both gradients as one vector, up to 2^(p/2) times smaller. Float32 under autocast.

    Raises ValueError for another ``norm``.
    """
    if norm not in ("sum", "joint"):
        raise ValueError(f'norm must be "sum" or "joint", not {norm!r}')
    gradients = torch.autograd.grad(logits.sum(), (image, sentence), create_graph=True)
    wide = (g if g.dtype == torch.float64 else g.float() for g in gradients)
    squares = [g.flatten(1).square().sum(1) for g in wide]
    if norm == "joint":
        length = _root(squares[0] + squares[1])
    else:
        length = _root(squares[0]) + _root(squares[1])
    return k * length.pow(p).mean()


def _root(square: Tensor) -> Tensor:
    """A square root whose gradient at 0 is 0 and not NaN: a discriminator may ignore one of its inputs at the start."""
    zero = square == 0
    return square.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)
