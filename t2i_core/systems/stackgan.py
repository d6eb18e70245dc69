"""StackGAN: stage I draws a small image, stage II reads it beside the sentence again and draws a large one.

    stage I     c = mu_1(s) + sigma_1(s) . e_1      I_1 = G_1(z, c)
    stage II    c' = mu_2(s) + sigma_2(s) . e_2     I_2 = G_2(I_1, c')      no z: the image brings the chance with it

each with its own discriminator, which is matching-aware (real images with a wrong caption are half of its fakes), and
with the divergence of its conditioning from N(0, 1), weighted by lambda:

    L_D = -log D(x, s) - 1/2 [log(1 - D(x, s')) + log(1 - D(I, s))],    L_G = -log D(I, s) + lambda KL

As in the paper: 64 px, then 256; z 100, c 128, compressed sentence 128; G_2 brings I_1 down to 16 x 16, joins c' there,
four residual blocks, up again; nearest-neighbour and 3 x 3 convolutions with batch norm and ReLU; lambda 1. It prints
no widths. Ours: those of DCGAN; the conditioning's gated layer (:class:`~t2i_core.blocks.ConditioningAugmentation`); KL
as a mean over its dimensions, and -log D for G where log(1 - D) is printed; at small sizes 8 x 8 for 16 x 16.

The paper trains stage I first and then stage II with stage I fixed. Here both learn in every step, but as there stage I
learns from its own loss alone: stage II's gradient stops at the image it reads. With ``end_to_end`` it goes through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from t2i_core.adversarial import bce_real
from t2i_core.blocks import ConditioningAugmentation, conditioning_kl, conv3x3, doublings_from_four, down_block
from t2i_core.config import UserError
from t2i_core.data import Batch
from t2i_core.systems.base import Generated
from t2i_core.systems.cgan import CGAN, CGANConfig, PairDiscriminator, positive, widths
from t2i_core.systems.gan_cls import matching_aware
from t2i_core.text_encoder import Text


@dataclass(frozen=True)
class StackGANConfig(CGANConfig):
    """``stages``: 2, or 1 for stage I alone at the finest size; they draw the last of ``resolutions``."""

    condition_dim: int = 32  # of c and of c', each
    stages: int = 2
    lambda_kl: float = 1.0
    end_to_end: bool = False

    FIXED: ClassVar[dict] = {}
    SIZES: ClassVar[dict[str, dict]] = {
        "smoke": {"text_features": 16},
        "mini": {"ndf": 32},
        "small": {"text_features": 64},
        "paper": CGANConfig.SIZES["paper"] | {"resolutions": (64, 256), "condition_dim": 128, "residual_blocks": 4},
    }

    def __post_init__(self):
        super().__post_init__()
        positive(self, "condition_dim", "residual_blocks")
        if self.stages not in (1, 2):
            raise UserError(f"stages {self.stages}: choose 2, or 1 for the first stage alone")
        if self.lambda_kl < 0:
            raise UserError(f"lambda_kl {self.lambda_kl} is negative: choose 0 (no such loss) or more")

    @property
    def image_count(self) -> int:
        return self.stages


def upsampling(inputs: int, outputs: int) -> nn.Sequential:
    """Twice the size: nearest neighbour, 3 x 3 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Upsample(scale_factor=2), conv3x3(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """ReLU(x + BN(conv(ReLU(BN(conv(x)))))): (B, C, H, W) -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


def image_head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 3, 3, padding=1), nn.Tanh())


class StageOne(nn.Module):
    """G_1: the condition (B, C) and z (B, noise_dim) -> image (B, 3, R, R) in [-1, 1] and features (B, ngf, R, R)."""

    def __init__(self, c: StackGANConfig, resolution: int):
        super().__init__()
        channels = widths(c.ngf, doublings_from_four(resolution) + 1)
        self.start = nn.Sequential(
            nn.Linear(c.noise_dim + c.condition_dim, channels[0] * 4 * 4, bias=False),
            nn.BatchNorm1d(channels[0] * 4 * 4),
            nn.ReLU(),
        )
        self.up = nn.Sequential(*(upsampling(*pair) for pair in zip(channels, channels[1:], strict=False)))
        self.to_rgb = image_head(channels[-1])

    def forward(self, condition: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        features = self.up(self.start(torch.cat([z, condition], 1)).unflatten(1, (-1, 4, 4)))
        return self.to_rgb(features), features


class StageTwo(nn.Module):
    """G_2: I_1 (B, 3, r, r) and the condition (B, C) -> image (B, 3, R, R) in [-1, 1] and features (B, ngf, R, R).

    I_1 is brought down to M x M, M = r / 4 but 8 at least, with the condition at every place; R is 2, 4, ... times r.
    """

    def __init__(self, c: StackGANConfig, coarse: int, fine: int):
        super().__init__()
        places = min(coarse, max(8, coarse // 4))
        halvings, doublings = int(math.log2(coarse / places)), int(math.log2(fine / places))
        wide = c.ngf * 2**halvings
        down = (down_block(c.ngf * 2**k, c.ngf * 2 ** (k + 1)) for k in range(halvings))
        self.encode = nn.Sequential(nn.Conv2d(3, c.ngf, 3, padding=1), nn.ReLU(), *down)
        self.join = nn.Sequential(conv3x3(wide + c.condition_dim, wide), nn.BatchNorm2d(wide), nn.ReLU())
        self.refine = nn.Sequential(*(Residual(wide) for _ in range(c.residual_blocks)))
        channels = [c.ngf * max(1, 2 ** (halvings - k)) for k in range(doublings + 1)]
        self.up = nn.Sequential(*(upsampling(*pair) for pair in zip(channels, channels[1:], strict=False)))
        self.to_rgb = image_head(c.ngf)

    def forward(self, condition: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.encode(image)
        condition = condition[:, :, None, None].expand(-1, -1, *seen.shape[2:])
        features = self.up(self.refine(self.join(torch.cat([seen, condition], 1))))
        return self.to_rgb(features), features


class Generator(nn.Module):
    """Noise is z, e_1 and e_2, one behind another. extras: mu1, log_variance1, mu2, ... of the conditionings."""

    def __init__(self, c: StackGANConfig):
        super().__init__()
        for coarse, fine in zip(c.resolutions, c.resolutions[1:], strict=False):
            if doublings_from_four(fine) <= doublings_from_four(coarse):
                raise UserError(f"stage II draws a larger image than stage I: sizes {c.resolutions} do not grow")
        self.noise_dim, self.condition_dim, self.end_to_end = c.noise_dim, c.condition_dim, c.end_to_end
        self.conditions = nn.ModuleList(ConditioningAugmentation(c.text_dim, c.condition_dim) for _ in c.resolutions)
        self.stages = nn.ModuleList([StageOne(c, c.resolutions[0])])
        if c.stages == 2:
            self.stages.append(StageTwo(c, *c.resolutions))

    def forward(self, text: Text, noise: Tensor) -> Generated:
        z, *epsilons = noise.split([self.noise_dim] + [self.condition_dim] * len(self.stages), 1)
        out, before = Generated([]), z
        for i, (stage, augment, epsilon) in enumerate(zip(self.stages, self.conditions, epsilons, strict=True), 1):
            condition, mu, log_variance = augment(text.sentence, epsilon)
            image, features = stage(condition, before)
            out.images.append(image)
            out.features.append(features)
            out.extras |= {f"mu{i}": mu, f"log_variance{i}": log_variance}
            before = image if self.end_to_end or not self.training else image.detach()
        return out


class StackGAN(CGAN):
    """Zhang et al., "StackGAN: Text to Photo-realistic Image Synthesis with Stacked Generative Adversarial
    Networks"."""

    name = "stackgan"
    paper = "StackGAN"
    Config = StackGANConfig
    variants = {
        "default": {},
        "one-stage": {"stages": 1},  # the control of its Table 2: stage I alone at the size of stage II
        "end-to-end": {"end_to_end": True},
    }

    @property
    def noise_size(self) -> int:
        """z and an epsilon for the conditioning of every stage."""
        return self.config.noise_dim + self.config.stages * self.config.condition_dim

    def build_generator(self) -> nn.Module:
        return Generator(self.config)

    def build_discriminators(self) -> nn.Module:
        c = self.config
        return nn.ModuleList(PairDiscriminator(r, c.ndf, c.text_dim, c.text_features) for r in c.resolutions)

    def discriminator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ "d1", "d2": the matching-aware loss of each stage, on images of its size."""
        pairs = zip(self.discriminators, batch.images[-len(out.images) :], out.images, strict=True)
        return {
            f"d{i}": matching_aware(judge, real, drawn, out.text.sentence)
            for i, (judge, real, drawn) in enumerate(pairs, 1)
        }

    def generator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ "g1", "g2": -E[log D(drawn)] of each stage; "kl1", "kl2": its conditioning's divergence from N(0, 1)."""
        losses = {}
        for i, (judge, drawn) in enumerate(zip(self.discriminators, out.images, strict=True), 1):
            losses[f"g{i}"] = bce_real(judge.verdict(judge.features(drawn), out.text.sentence))
            if self.config.lambda_kl:
                kl = conditioning_kl(out.extras[f"mu{i}"], out.extras[f"log_variance{i}"])
                losses[f"kl{i}"] = self.config.lambda_kl * kl
        return losses
