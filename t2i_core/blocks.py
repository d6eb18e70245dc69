"""Layers that the multi-stage systems share. Shapes: B batch, C channels, H and W height and width."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.config import UserError


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def gated_conv(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 convolution, batch norm, gated linear unit: (B, inputs, H, W) -> (B, outputs, H, W)."""
    return nn.Sequential(conv3x3(inputs, 2 * outputs), nn.BatchNorm2d(2 * outputs), nn.GLU(dim=1))


def up_block(inputs: int, outputs: int) -> nn.Sequential:
    """Twice the size: nearest-neighbour, then a gated convolution: (B, inputs, H, W) -> (B, outputs, 2H, 2W)."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), *gated_conv(inputs, outputs))


class ResidualBlock(nn.Module):
    """x + BN(conv(gated_conv(x))): (B, C, H, W) -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            *gated_conv(channels, channels), conv3x3(channels, channels), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ConditioningAugmentation(nn.Module):
    """StackGAN's c = mu(s) + sigma(s) . epsilon.

    Sentence (B, text_dim), epsilon (B, condition_dim) -> c, mu, log sigma^2, each (B, condition_dim).

    epsilon is an input, so that an image is a function of its caption and its noise and nothing else.
    """

    def __init__(self, text_dim: int, condition_dim: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(text_dim, 4 * condition_dim), nn.GLU(dim=1))

    def forward(self, sentence: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, log_variance = self.net(sentence).chunk(2, 1)
        return mu + (0.5 * log_variance).exp() * epsilon, mu, log_variance


def conditioning_kl(mu: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, 1)), mean over batch and dimensions: -1/2 mean(1 + log sigma^2 - mu^2 - sigma^2)."""
    return -0.5 * (1 + log_variance - mu.square() - log_variance.exp()).mean()


class InitialTransform(nn.Module):
    """ALR-GAN's IFTM (AttnGAN's first stage): condition and noise (B, inputs) -> H_0 (B, ngf, R, R).

    A linear layer gives 4 x 4 positions, every up-block doubles the size and halves the channels until R is reached;
    at R = 64 and ngf = 32 these are the published layers (512 channels at 4 x 4).
    """

    def __init__(self, inputs: int, ngf: int, resolution: int):
        super().__init__()
        doublings = doublings_from_four(resolution)
        channels = ngf * 2**doublings
        self.start = nn.Sequential(
            nn.Linear(inputs, channels * 4 * 4 * 2, bias=False), nn.BatchNorm1d(channels * 4 * 4 * 2), nn.GLU(dim=1)
        )
        self.up = nn.Sequential(*(up_block(channels // 2**k, channels // 2 ** (k + 1)) for k in range(doublings)))

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.start(x).unflatten(1, (-1, 4, 4)))


def doublings_from_four(resolution: int) -> int:
    """How often 4 must be doubled to give ``resolution``; a :class:`UserError` where it is not 8, 16, 32, ..."""
    doublings = math.log2(resolution / 4) if resolution > 4 else 0
    if doublings < 1 or doublings != int(doublings):
        raise UserError(f"image size {resolution} is not a power of two of 8 or more: choose 8, 16, 32, 64, 128 or 256")
    return int(doublings)


def down_block(inputs: int, outputs: int, norm: str = "batch") -> nn.Sequential:
    """Half the size: (B, inputs, H, W) -> (B, outputs, H/2, W/2)."""
    return _normed(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=norm == "spectral"), norm)


def same_block(inputs: int, outputs: int, norm: str = "batch") -> nn.Sequential:
    return _normed(nn.Conv2d(inputs, outputs, 3, padding=1, bias=norm == "spectral"), norm)


def _normed(conv: nn.Conv2d, norm: str) -> nn.Sequential:
    """ "batch": convolution, batch norm, leaky ReLU. "spectral": the convolution's weights by their largest singular
    value, with a bias and without batch norm, as in DM-GAN. "none": as it is."""
    if norm == "spectral":
        conv = nn.utils.parametrizations.spectral_norm(conv)
    middle = [nn.BatchNorm2d(conv.out_channels)] if norm == "batch" else []
    return nn.Sequential(conv, *middle, nn.LeakyReLU(0.2, inplace=True))


class StageDiscriminator(nn.Module):
    """AttnGAN's discriminator of one stage: an image is judged alone and together with its sentence.

    Images (B, 3, R, R) go down to 4 x 4; channels double at each halving and are brought back to 8 ndf at most, as in
    the published ones (R = 64, 128, 256 at ndf = 64). Verdicts are logits (B,): "alone", "with" the sentence, or both
    where ``verdicts`` names both. ``norm``: "batch", or "spectral" on every layer but the verdicts.
    """

    def __init__(
        self,
        resolution: int,
        ndf: int,
        text_dim: int,
        norm: str = "batch",
        verdicts: Sequence[str] = ("alone", "with"),
    ):
        super().__init__()
        doublings = doublings_from_four(resolution)
        down = [*down_block(3, ndf, "spectral" if norm == "spectral" else "none")]
        channels = ndf
        for _ in range(doublings - 1):
            down += down_block(channels, 2 * channels, norm)
            channels *= 2
        while channels > 8 * ndf:
            down += same_block(channels, channels // 2, norm)
            channels //= 2
        self.down = nn.Sequential(*down)
        if "alone" in verdicts:
            self.unconditional = nn.Conv2d(channels, 1, 4)
        if "with" in verdicts:
            self.joint = same_block(channels + text_dim, channels, norm)
            self.conditional = nn.Conv2d(channels, 1, 4)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, R, R) -> (B, C, 4, 4)."""
        return self.down(images)

    def judge_alone(self, features: Tensor) -> Tensor:
        return self.unconditional(features).flatten()

    def judge_with(self, features: Tensor, sentence: Tensor) -> Tensor:
        condition = sentence[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.conditional(self.joint(torch.cat([features, condition], 1))).flatten()


def initialise(module: nn.Module) -> None:
    """The published initialisation: orthogonal weights, batch-norm scales around 1, no bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv1d | nn.Linear):
            normed = nn.utils.parametrize.is_parametrized(layer, "weight")
            nn.init.orthogonal_(layer.parametrizations.weight.original if normed else layer.weight)
            if normed:  # its estimate of the singular value is that of the weights before: one reading mends it
                layer.train().weight  # noqa: B018
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def resize(images: Tensor, resolution: int) -> Tensor:
    """(B, C, H, W) -> (B, C, resolution, resolution), antialiased where it shrinks; values may not overshoot."""
    if images.shape[-1] == resolution and images.shape[-2] == resolution:
        return images
    shrinks = images.shape[-1] > resolution
    return F.interpolate(images, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=shrinks)
