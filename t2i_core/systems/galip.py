"""GALIP: a bridge into CLIP's frozen ViT and out of it again as generator, CLIP's features as the discriminator's eyes.

    code(z) -> bridge blocks under [z; s] -> F (C, G, G) -> F + 0.1 ViT(F, prompts([z; s])) -> image blocks -> picture

At the paper profile (nf 64, ViT-B/32, 224 px) the generator has the published 51,830,211 trainable parameters. The
discriminator has 30,806,021 less 1,181,184: the published class allocates 1 x 1 shortcuts in two blocks that keep
their channels, and never uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.affine import RecurrentAffine
from t2i_core.clip import CLIP, Seen, similarity
from t2i_core.config import UserError
from t2i_core.data import Batch
from t2i_core.systems.base import Generated
from t2i_core.systems.one_stage import JointVerdict, OneStageConfig, OneStageSystem, conv, up_blocks
from t2i_core.text_encoder import Text

BRIDGE_BLOCKS = 4
MAPPED = 0.1  # weight of what comes out of the ViT, in the published code


@dataclass(frozen=True)
class GALIPConfig(OneStageConfig):
    # lambda of RATLIP E8, which says "the value of the FID"; its code has 4. A tiny CLIP is pleased by patterns that
    # nobody else sees, so that the smaller profiles weigh it less (ours)
    lambda_similarity: float = 4.0
    code_channels: int = 32
    middle_channels: int = 16

    SIZES: ClassVar[dict[str, dict]] = {
        "smoke": {"ngf": 8, "ndf": 8, "code_channels": 16, "middle_channels": 8, "lambda_similarity": 0.5},
        "mini": {"ngf": 12, "ndf": 8, "lambda_similarity": 0.5},
        "small": {"ngf": 32, "ndf": 32, "code_channels": 64, "middle_channels": 32, "lambda_similarity": 1.0},
        "paper": {"resolutions": (224,), "ngf": 64, "ndf": 64, "code_channels": 64, "middle_channels": 32},
    }

    def __post_init__(self):
        super().__post_init__()
        if self.resolutions[-1] < 32:
            raise UserError(f"{self.resolutions[-1]} px leave no room for the image generator: choose 32 px or more")


class BridgeBlock(nn.Module):
    """Two convolutions, each followed by two affines and leaky ReLUs, beside the input (B, C, G, G).

    The two affines behind a convolution are one of RATLIP's RATBLKs; ``second`` makes the convolution between the two.
    """

    def __init__(self, channels: int, middle: int, second: Callable[[int, int], nn.Module] = conv):
        super().__init__()
        self.conv1, self.conv2 = conv(channels, middle), second(middle, channels)

    def forward(self, x: Tensor, modulate: Callable[[Tensor], Tensor]) -> Tensor:
        residual = x
        for convolve in (self.conv1, self.conv2):
            residual = convolve(residual)
            for _ in range(2):
                residual = F.leaky_relu(modulate(residual), 0.2)
        return x + residual


class Bridge(nn.Module):
    """The code (B, code_channels, G, G) -> what the image generator starts from (B, 8 ngf, G, G), through the ViT.

    ``affine`` modulates all blocks, step by step (4 steps a block); ``second`` makes each block's second convolution.
    """

    def __init__(self, c: GALIPConfig, clip: CLIP, affine: nn.Module, second: Callable[[int, int], nn.Module] = conv):
        super().__init__()
        channels, width = c.code_channels, clip.config.width
        self.blocks = nn.ModuleList(BridgeBlock(channels, c.middle_channels, second) for _ in range(BRIDGE_BLOCKS))
        self.affine = affine
        self.prompts = nn.Linear(c.noise_dim + c.text_dim, len(clip.config.prompt_blocks) * width)
        self.into = nn.Conv2d(channels, width, 5, padding=2)
        self.out_of = nn.Conv2d(width, 8 * c.ngf, 5, padding=2)

    def forward(self, x: Tensor, sentence: Tensor, z: Tensor, clip: CLIP) -> tuple[Tensor, Tensor]:
        """Also the states h_t after each affine, (B, steps, hidden)."""
        state, states = self.affine.start(z), []

        def modulate(residual: Tensor) -> Tensor:
            nonlocal state
            residual, state = self.affine.step(len(states), residual, sentence, state)
            states.append(state.h)
            return residual

        for block in self.blocks:
            x = block(x, modulate)
        prompts = self.prompts(torch.cat([z, sentence], 1)).unflatten(1, (-1, clip.config.width))
        feature = self.into(x)
        return self.out_of(feature + MAPPED * clip.through(feature, prompts)), torch.stack(states, 1)


def affine_channels(c: GALIPConfig) -> list[int]:
    """Channels of the feature map at each of the bridge's affine steps."""
    return [c.middle_channels, c.middle_channels, c.code_channels, c.code_channels] * BRIDGE_BLOCKS


class Generator(nn.Module):
    """Text, z (B, noise_dim) and the frozen CLIP -> a picture (B, 3, R, R).

    Its last layer is linear, as published; what leaves [-1, 1] is cut off where nothing is trained.
    """

    def __init__(self, c: GALIPConfig, bridge: Bridge, grid: int, conv: Callable[[int, int], nn.Module] = conv):
        super().__init__()
        self.code_shape = (c.code_channels, grid, grid)
        self.code = nn.Linear(c.noise_dim, c.code_channels * grid * grid)
        self.bridge = bridge
        self.blocks = up_blocks(c.noise_dim + c.text_dim, c.ngf, c.resolutions[-1], conv)
        self.to_rgb = nn.Conv2d(c.ngf, 3, 3, padding=1)

    def forward(self, text: Text, noise: Tensor, clip: CLIP) -> Generated:
        x = self.code(noise).unflatten(1, self.code_shape)
        x, states = self.bridge(x, text.sentence, noise, clip)
        condition = torch.cat([noise, text.sentence], 1)
        for block in self.blocks:
            x = block(x, condition)
        picture = self.to_rgb(F.leaky_relu(x, 0.2))
        picture = picture if self.training else picture.clamp(-1, 1)
        return Generated([picture], features=[x], extras={"states": states})


class FeatureBlock(nn.Module):
    """Residual convolutions with a weight that starts at 0; with ``feature``, the ViT's next map is added likewise."""

    def __init__(self, inputs: int, outputs: int, feature: bool = False):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.LeakyReLU(0.2),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.beta = nn.Parameter(torch.zeros(1)) if feature else None

    def forward(self, x: Tensor, feature: Tensor | None = None) -> Tensor:
        out = self.shortcut(x) + self.gamma * self.residual(x)
        return out if self.beta is None else out + self.beta * feature


class Discriminator(nn.Module):
    """GALIP's Mate-D: the ViT's features (B, L, C, G, G), joined block by block, then one verdict with the sentence."""

    def __init__(self, c: GALIPConfig, clip: CLIP):
        super().__init__()
        width, levels = clip.config.width, len(clip.config.feature_blocks)
        self.join = nn.ModuleList(FeatureBlock(width, width, feature=True) for _ in range(levels - 1))
        self.narrow = FeatureBlock(width, 8 * c.ndf)
        self.verdict = JointVerdict(8 * c.ndf, c.text_dim, 2 * c.ndf, clip.config.grid, kernel=4)

    def features(self, seen: Tensor) -> Tensor:
        x = seen[:, 0]
        for level, block in enumerate(self.join, start=1):
            x = block(x, seen[:, level])
        return self.narrow(x)


class GALIP(OneStageSystem):
    """Tao et al., "GALIP: Generative Adversarial CLIPs for Text-to-Image Synthesis"."""

    name = "galip"
    paper = "GALIP"
    matchers = ("clip",)
    Config = GALIPConfig
    variants = {
        "default": {},
        "joint-penalty": {"penalty_norm": "joint"},
        "no-similarity": {"lambda_similarity": 0.0},
    }

    def __init__(self, config: GALIPConfig, matcher: CLIP):
        super().__init__(config, matcher)
        self.generator = self.build_generator()
        self.discriminators = Discriminator(config, matcher)

    def build_generator(self) -> nn.Module:
        c = self.config
        affine = RecurrentAffine(c.text_dim, c.noise_dim, 0, affine_channels(c))
        return Generator(c, Bridge(c, self.matcher, affine), self.matcher.config.grid)

    def generator_inputs(self, text: Text, noise: Tensor) -> tuple:
        return text, noise, self.matcher

    def look(self, images: Tensor) -> Tensor:
        return self.matcher.encode_image(images).features

    def look_at_drawn(self, out: Generated) -> Tensor:
        return self.seen(out).features

    def seen(self, out: Generated) -> Seen:
        """CLIP's view of the drawn pictures, computed once for both updates of a step."""
        if "seen" not in out.extras:
            found = self.matcher.encode_image(out.images[-1])
            out.extras |= {"seen": found.features, "embedded": found.image}
        return Seen(out.extras["embedded"], out.extras["seen"])

    def generator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """RATLIP E8, L_G: "g" and "similarity", -lambda cos(CLIP(picture), s)."""
        losses = super().generator_losses(batch, out)
        if self.config.lambda_similarity:
            alike = similarity(self.seen(out).image, out.text.sentence).mean()
            losses["similarity"] = -self.config.lambda_similarity * alike
        return losses
