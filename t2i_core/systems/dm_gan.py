"""DM-GAN: AttnGAN with a dynamic memory in the place of word attention; the backbone of GR-GAN.

At the paper profile with ngf 64 and ndf 32 (text 256, two residual blocks; 64 -> 128 -> 256) the generator has the
published 21,449,042 parameters and the three discriminators, in spectral norm, 25,298,598.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from t2i_core.blocks import StageDiscriminator
from t2i_core.config import Profile
from t2i_core.memory import DynamicMemory
from t2i_core.systems.attngan import ITM, AttnGAN, AttnGANConfig


@dataclass(frozen=True)
class DMGANConfig(AttnGANConfig):
    backbone: str = "memory"

    @classmethod
    def of(cls, p: Profile, **switches) -> DMGANConfig:
        published = {"ngf": 64, "ndf": 32} if p.name == "paper" else {}
        return super().of(p, **(published | switches))


class MemoryAttention(nn.Module):
    """The memory behind AttnGAN's interface: attention (B, T, N) and [h'; h'] (B, 2D, H, W).

    The published stage doubles the response like this before its residual blocks.
    """

    def __init__(self, feature_dim: int, text_dim: int):
        super().__init__()
        self.memory = DynamicMemory(feature_dim, text_dim)

    def layout(self, words: Tensor, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        refined, attention = self.memory(features, words, mask)
        return attention, torch.cat([refined, refined], 1)


class DMGAN(AttnGAN):
    """Zhu et al., "DM-GAN: Dynamic Memory Generative Adversarial Networks for Text-to-Image Synthesis"."""

    name = "dm-gan"
    paper = "DM-GAN"
    Config = DMGANConfig
    backbones = AttnGAN.backbones | {"memory": MemoryAttention}
    variants = AttnGAN.variants | {  # GR-GAN's Table 4: lambda_1 and lambda_2 of ITM without GRG; "itm" is 4, 1
        f"itm-{one}-{two}": ITM | {"lambda1": float(one), "lambda2": float(two)}
        for one, two in ((1, 1), (2, 1), (3, 1), (4, 2), (5, 2))
    }

    def build_discriminator(self, resolution: int) -> nn.Module:
        c = self.config
        return StageDiscriminator(resolution, c.ndf, c.text_dim, norm="spectral")
