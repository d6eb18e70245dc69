"""What DF-GAN, GALIP and RATLIP share: one stage, text fused by affine transforms, hinge loss, matching-aware penalty.

Shapes: B batch, C channels, R the image's side, s the sentence (B, D), z the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.adversarial import hinge_discriminator, hinge_generator, ma_gradient_penalty
from t2i_core.affine import Affine
from t2i_core.config import Profile, nearest
from t2i_core.data import Batch
from t2i_core.systems.base import Generated, System, SystemConfig


@dataclass(frozen=True)
class OneStageConfig(SystemConfig):
    """k and p of the penalty (RATLIP E8; 2 and 6 in the published code), and how it joins its two norms."""

    condition_dim: int = 0  # no conditioning augmentation: all noise is z
    penalty_weight: float = 2.0
    penalty_power: float = 6.0
    penalty_norm: str = "sum"  # "joint": the published code's norm of both gradients as one vector

    SIZES: ClassVar[dict[str, dict]] = {}  # what a profile's own letters do not say of this system

    def __post_init__(self):
        nearest(self.penalty_norm, ("sum", "joint"), "penalty_norm")

    @classmethod
    def of(cls, p: Profile, **switches) -> OneStageConfig:
        own = {"resolutions": (p.resolutions[-1],), "condition_dim": 0} | cls.SIZES.get(p.name, {})
        return super().of(p, **(own | switches))


class FusionBlock(nn.Module):
    """DF-GAN's DFBlock (RATLIP Fig. 2a): affine, leaky ReLU, affine, leaky ReLU; x (B, C, H, W) -> the same."""

    def __init__(self, cond_dim: int, channels: int):
        super().__init__()
        self.affines = nn.ModuleList(Affine(cond_dim, channels) for _ in range(2))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for affine in self.affines:
            x = F.leaky_relu(affine(x, condition), 0.2)
        return x


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class UpBlock(nn.Module):
    """A block of the image generator: to ``size`` (nearest), then fusion and convolution twice, beside a shortcut."""

    def __init__(
        self, cond_dim: int, inputs: int, outputs: int, size: int, conv: Callable[[int, int], nn.Module] = conv
    ):
        super().__init__()
        self.size = size
        self.fuse1, self.conv1 = FusionBlock(cond_dim, inputs), conv(inputs, outputs)
        self.fuse2, self.conv2 = FusionBlock(cond_dim, outputs), conv(outputs, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        if x.shape[-1] != self.size:
            x = F.interpolate(x, size=(self.size, self.size))
        residual = self.conv1(self.fuse1(x, condition))
        residual = self.conv2(self.fuse2(residual, condition))
        return self.shortcut(x) + residual


def up_blocks(cond_dim: int, ngf: int, resolution: int, conv: Callable = conv) -> nn.ModuleList:
    """Blocks of 8, 16, ... up to ``resolution`` px; channels fall from at most 8 ngf to ngf, as published."""
    count = math.ceil(math.log2(resolution)) - 2
    channels = [ngf * min(2**k, 8) for k in range(count + 1)][::-1]
    sizes = [min(8 * 2**k, resolution) for k in range(count)]
    pairs = zip(channels, channels[1:], sizes, strict=False)
    return nn.ModuleList(UpBlock(cond_dim, inputs, outputs, size, conv) for inputs, outputs, size in pairs)


class JointVerdict(nn.Module):
    """Features (B, C, G, G) and the sentence at every place -> logits (B,): two convolutions without bias."""

    def __init__(self, channels: int, text_dim: int, hidden: int, grid: int, kernel: int):
        super().__init__()
        padding = 1 if kernel == 3 else 0
        left = grid + 2 * padding - kernel + 1
        self.net = nn.Sequential(
            nn.Conv2d(channels + text_dim, hidden, kernel, padding=padding, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(hidden, 1, left, bias=False),
        )

    def forward(self, features: Tensor, sentence: Tensor) -> Tensor:
        condition = sentence[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.net(torch.cat([features, condition], 1)).flatten()


class OneStageSystem(System):
    """Losses of RATLIP E8. Subclasses build the parts and say what the discriminator looks at (:meth:`look`).

    ``discriminators.features`` takes what ``look`` gives, ``discriminators.verdict`` its features and the sentence.
    """

    def look(self, images: Tensor) -> Tensor:
        """C(x) of E8, what the discriminator judges and the penalty differentiates; the picture itself in DF-GAN."""
        return images

    def look_at_drawn(self, out: Generated) -> Tensor:
        return self.look(out.images[-1])

    def discriminator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """RATLIP E8, L_D: "d" the hinge terms (real, drawn, and real with the next image's caption), "penalty"."""
        c, judge, sentence = self.config, self.discriminators, out.text.sentence
        with torch.no_grad():
            seen = self.look(batch.images[-1])
        drawn = judge.verdict(judge.features(self.look_at_drawn(out).detach()), sentence)
        with torch.autocast(seen.device.type, enabled=False):  # powers of gradients: no place for half precision
            wide = torch.promote_types(seen.dtype, torch.float32)
            seen, told = (x.detach().to(wide).requires_grad_() for x in (seen, sentence))
            features = judge.features(seen)
            real, mismatched = judge.verdict(features, told), judge.verdict(features, told.roll(1, 0))
            penalty = ma_gradient_penalty(real, seen, told, c.penalty_weight, c.penalty_power, c.penalty_norm)
        return {"d": hinge_discriminator(real, drawn, mismatched), "penalty": penalty}

    def generator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """RATLIP E8, L_G without the similarity: "g"."""
        judge = self.discriminators
        return {"g": hinge_generator(judge.verdict(judge.features(self.look_at_drawn(out)), out.text.sentence))}
