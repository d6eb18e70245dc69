"""DF-GAN: one stage, the sentence fused by isolated affine transforms (CAT) in every block of the generator.

At the paper profile (nf 32, z 100, text 256, 256 px) the generator has the published 9,744,131 parameters. The
discriminator has 6,915,142 less 197,376: the published class allocates 1 x 1 shortcuts in three blocks that keep their
channels, and never uses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.blocks import doublings_from_four
from t2i_core.config import nearest
from t2i_core.matcher import Matcher
from t2i_core.systems.base import Generated
from t2i_core.systems.one_stage import JointVerdict, OneStageConfig, OneStageSystem, up_blocks
from t2i_core.text_encoder import Text


@dataclass(frozen=True)
class DFGANConfig(OneStageConfig):
    encoder: str = "damsm"  # whose sentence it reads; "clip" for a comparison with GALIP and RATLIP on equal terms

    SIZES: ClassVar[dict[str, dict]] = {
        "smoke": {"ngf": 8, "ndf": 8},
        "mini": {"ngf": 16, "ndf": 16},
        "small": {"ngf": 32, "ndf": 32},
        "paper": {"ngf": 32, "ndf": 32},
    }

    def __post_init__(self):
        super().__post_init__()
        nearest(self.encoder, DFGAN.matchers, "encoder")


class Generator(nn.Module):
    """z (B, noise_dim) at 4 x 4, then blocks under [z; s] up to R: (B, 3, R, R) in [-1, 1]."""

    def __init__(self, c: DFGANConfig):
        super().__init__()
        resolution = c.resolutions[-1]
        doublings = doublings_from_four(resolution)
        self.channels = c.ngf * min(2**doublings, 8)
        self.start = nn.Linear(c.noise_dim, self.channels * 4 * 4)
        self.blocks = up_blocks(c.noise_dim + c.text_dim, c.ngf, resolution)
        self.to_rgb = nn.Conv2d(c.ngf, 3, 3, padding=1)

    def forward(self, text: Text, noise: Tensor) -> Generated:
        condition = torch.cat([noise, text.sentence], 1)
        x = self.start(noise).unflatten(1, (self.channels, 4, 4))
        for block in self.blocks:
            x = block(x, condition)
        return Generated([self.to_rgb(F.leaky_relu(x, 0.2)).tanh()], features=[x])


class DownBlock(nn.Module):
    """Half the size, beside an averaged shortcut; the residual comes in with a weight that starts at 0."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.LeakyReLU(0.2),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.shortcut(x), 2) + self.gamma * self.residual(x)


class Discriminator(nn.Module):
    """Images (B, 3, R, R) down to 4 x 4, then one verdict with the sentence."""

    def __init__(self, c: DFGANConfig):
        super().__init__()
        doublings = doublings_from_four(c.resolutions[-1])
        channels = [c.ndf * min(2**k, 8) for k in range(doublings + 1)]
        blocks = (DownBlock(*pair) for pair in zip(channels, channels[1:], strict=False))
        self.features = nn.Sequential(nn.Conv2d(3, c.ndf, 3, padding=1), *blocks)
        self.verdict = JointVerdict(channels[-1], c.text_dim, 2 * c.ndf, grid=4, kernel=3)


class DFGAN(OneStageSystem):
    """Tao et al., "DF-GAN: A Simple and Effective Baseline for Text-to-Image Synthesis"."""

    name = "df-gan"
    paper = "DF-GAN"
    matchers = ("damsm", "clip")
    Config = DFGANConfig
    variants = {"default": {}, "clip": {"encoder": "clip"}, "joint-penalty": {"penalty_norm": "joint"}}

    def __init__(self, config: DFGANConfig, matcher: Matcher):
        super().__init__(config, matcher)
        self.generator, self.discriminators = Generator(config), Discriminator(config)
