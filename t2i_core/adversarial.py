"""Adversarial losses on logits. A GAN's D(x) in the papers is the sigmoid of a logit here."""

from __future__ import annotations

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
