"""The conditional GAN: an image from noise and a sentence, judged beside that sentence. The simplest baseline.

    min_G max_D  E[log D(x, s)] + E[log(1 - D(G(z, s), s))]

Mirza and Osindero's are this value and that both nets get the condition as one more input. Ours: the sentence of a
frozen text encoder as the condition, G maximising log D(G(z, s), s) instead, and the layers. Theirs were fully
connected, for digits of 28 px; these are the DCGAN with which Reed et al. draw from text, so that this baseline and
GAN-CLS differ in what D is shown and in nothing else. As Reed et al. have it: the sentence compressed (128 features,
leaky ReLU) and joined to z; D joins it at 4 x 4, then a 1 x 1 and a 4 x 4 convolution; batch norm; 64 px. They print no
widths: DCGAN's form is taken (512 at 4 x 4, 64 at the end), and its ReLU in G and kernels of 4.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from t2i_core.adversarial import bce_fake, bce_real
from t2i_core.blocks import doublings_from_four, down_block
from t2i_core.config import Profile, UserError
from t2i_core.data import Batch
from t2i_core.matcher import Matcher
from t2i_core.systems.base import Generated, System, SystemConfig
from t2i_core.text_encoder import Text


@dataclass(frozen=True)
class CGANConfig(SystemConfig):
    """``text_features``: what a sentence is compressed to, in G and in D. Of ``resolutions`` the finest is drawn."""

    condition_dim: int = 0  # no conditioning augmentation: all noise is z
    text_features: int = 32

    FIXED: ClassVar[dict] = {"condition_dim": 0}  # at every profile
    SIZES: ClassVar[dict[str, dict]] = {  # what a profile's own letters do not say of this system
        "smoke": {"text_features": 16},
        "mini": {"ngf": 48, "ndf": 32},
        "small": {"text_features": 64, "ngf": 64, "ndf": 64},
        "paper": {"text_features": 128, "ngf": 64, "resolutions": (64,)},
    }

    def __post_init__(self):
        positive(self, "text_features")

    @property
    def image_count(self) -> int:
        """How many images are drawn, the last of ``resolutions``."""
        return 1

    @classmethod
    def of(cls, p: Profile, **switches) -> CGANConfig:
        config = super().of(p, **(cls.FIXED | cls.SIZES.get(p.name, {}) | switches))
        sizes, count = config.resolutions, config.image_count
        if len(sizes) < count:
            raise UserError(f"image sizes {sizes} are too few for {count} stages: give one a stage")
        return dataclasses.replace(config, resolutions=tuple(sizes[-count:]))


def positive(config: SystemConfig, *names: str) -> None:
    """Raise a UserError for a size below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise UserError(f"{name} {getattr(config, name)} leaves nothing: choose 1 or more")


def widths(width: int, doublings: int) -> list[int]:
    """Channels at 4, 8, ... px: from at most 8 ``width`` down to ``width``."""
    return [width * min(2**k, 8) for k in range(doublings)][::-1]


def compress(text_dim: int, features: int) -> nn.Sequential:
    """A sentence (B, text_dim) -> (B, features)."""
    return nn.Sequential(nn.Linear(text_dim, features), nn.LeakyReLU(0.2))


def transposed(inputs: int, outputs: int, stride: int = 2) -> nn.Sequential:
    """Kernel 4: 1 x 1 to 4 x 4 with stride 1, twice the size with stride 2; batch norm, ReLU."""
    conv = nn.ConvTranspose2d(inputs, outputs, 4, stride, padding=stride - 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Generator(nn.Module):
    """[z; compressed s] at 4 x 4, doubled up to R: (B, 3, R, R) in [-1, 1]. Features (B, ngf, R/2, R/2)."""

    def __init__(self, c: CGANConfig):
        super().__init__()
        channels = widths(c.ngf, doublings_from_four(c.resolutions[-1]))
        self.compress = compress(c.text_dim, c.text_features)
        self.start = transposed(c.noise_dim + c.text_features, channels[0], stride=1)
        self.up = nn.Sequential(*(transposed(*pair) for pair in zip(channels, channels[1:], strict=False)))
        self.to_rgb = nn.Sequential(nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1), nn.Tanh())

    def forward(self, text: Text, noise: Tensor) -> Generated:
        given = torch.cat([noise, self.compress(text.sentence)], 1)
        features = self.up(self.start(given[:, :, None, None]))
        return Generated([self.to_rgb(features)], features=[features])


class PairDiscriminator(nn.Module):
    """Images (B, 3, R, R) down to 4 x 4, the compressed sentence at every place, one verdict: logits (B,).

    A 1 x 1 convolution looks at both together, one of 4 x 4 (a fully connected layer of one unit) decides.
    """

    def __init__(self, resolution: int, ndf: int, text_dim: int, text_features: int):
        super().__init__()
        channels = widths(ndf, doublings_from_four(resolution))[::-1]
        down = (down_block(*pair) for pair in zip(channels, channels[1:], strict=False))
        self.features = nn.Sequential(down_block(3, ndf, "none"), *down)
        self.compress = compress(text_dim, text_features)
        self.joint = nn.Sequential(
            nn.Conv2d(channels[-1] + text_features, channels[-1], 1, bias=False),
            nn.BatchNorm2d(channels[-1]),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels[-1], 1, 4),
        )

    def verdict(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Features (B, C, 4, 4) of :attr:`features` and sentences (B, text_dim) -> logits (B,)."""
        condition = self.compress(sentence)[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.joint(torch.cat([features, condition], 1)).flatten()


def initialise(module: nn.Module) -> None:
    """DCGAN's: convolutions from N(0, 0.02), batch-norm scales around 1. Linear layers stay as torch starts
    them (ours): with so small numbers, a sentence would hardly count beside z."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)


class CGAN(System):
    """Mirza and Osindero, "Conditional Generative Adversarial Nets", with a sentence in the place of a class."""

    name = "cgan"
    paper = "conditional GAN"
    Config = CGANConfig
    variants = {"default": {}}

    def __init__(self, config: CGANConfig, matcher: Matcher):
        super().__init__(config, matcher)
        self.generator = self.build_generator()
        self.discriminators = self.build_discriminators()
        initialise(self.generator)
        initialise(self.discriminators)

    def build_generator(self) -> nn.Module:
        return Generator(self.config)

    def build_discriminators(self) -> nn.Module:
        c = self.config
        return PairDiscriminator(c.resolutions[-1], c.ndf, c.text_dim, c.text_features)

    def discriminator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ "d": -E[log D(real)] - E[log(1 - D(drawn))], each with its own caption."""
        judge, sentence = self.discriminators, out.text.sentence
        real = judge.verdict(judge.features(batch.images[-1]), sentence)
        fake = judge.verdict(judge.features(out.images[-1].detach()), sentence)
        return {"d": bce_real(real) + bce_fake(fake)}

    def generator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ "g": -E[log D(drawn)]."""
        judge = self.discriminators
        return {"g": bce_real(judge.verdict(judge.features(out.images[-1]), out.text.sentence))}
