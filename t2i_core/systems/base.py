"""The one small interface that every system offers: all that loop, metrics, report and explorer know."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from t2i_core.captions import Tokens, Vocabulary
from t2i_core.config import Profile, UserError, nearest
from t2i_core.data import Batch, random_generator
from t2i_core.matcher import Matcher
from t2i_core.text_encoder import Text


@dataclass
class Generated:
    """What a system draws for B captions.

    images: one (B, 3, R, R) in [-1, 1] a stage, coarse to fine. attention: one Theta (B, T, N) a stage that has any.
    features: H_i (B, D, H, W) a stage. text: what the caption became. extras: whatever else a system's notebook shows.
    """

    images: list[Tensor]
    attention: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    text: Text | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class SystemConfig:
    """What every system's configuration holds; a system adds its own switches."""

    resolutions: tuple[int, ...] = (8, 16, 32)
    ngf: int = 24
    ndf: int = 24
    noise_dim: int = 32
    condition_dim: int = 32
    residual_blocks: int = 1
    text_dim: int = 64
    max_words: int = 18

    @classmethod
    def of(cls, p: Profile, **switches) -> SystemConfig:
        """The profile's values with ``switches`` on top; an unknown switch raises, naming the nearest known one."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in switches:
            nearest(name, known, "switch")
        shared = {name: getattr(p, name) for name in known if hasattr(p, name)}
        return cls(**(shared | switches))

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)


class System(nn.Module):
    """A text-to-image GAN: a frozen matching model, a generator, discriminators, and their losses.

    Subclasses set ``name``, ``Config`` and ``variants`` (a paper's ablations, as switches of the configuration), build
    ``generator`` and ``discriminators``, and define the two losses.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    matchers: ClassVar[tuple[str, ...]] = ("damsm",)  # kinds it can be built on, the default first
    Config: ClassVar[type[SystemConfig]] = SystemConfig
    variants: ClassVar[dict[str, dict]] = {"default": {}}

    generator: nn.Module
    discriminators: nn.Module

    def __init__(self, config: SystemConfig, matcher: Matcher):
        super().__init__()
        if matcher.kind not in self.matchers:
            raise UserError(f"{self.name} is built on {' or '.join(self.matchers)}, not on {matcher.kind}")
        if matcher.kind != getattr(config, "encoder", matcher.kind):
            raise UserError(
                f"this {self.name} reads {config.encoder}'s sentences and is given a model of kind {matcher.kind}: "
                f'choose encoder="{matcher.kind}" or another model'
            )
        self.config = config
        self.matcher = matcher.freeze()

    @property
    def vocabulary(self) -> Vocabulary:
        return self.matcher.vocabulary

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def falsifies(self) -> bool:
        """Do its losses want the batch's captions made false as well?"""
        return False

    @property
    def noise_size(self) -> int:
        """One row of noise holds all that is random in an image: z and the conditioning augmentation's epsilon."""
        return self.config.noise_dim + self.config.condition_dim

    def noise(self, count: int, seed: int = 0) -> Tensor:
        """Standard normal noise (count, noise_size); row k depends on (seed, k) only, whatever the count or device."""
        # torch draws normal numbers in blocks of 16 and the last block anew: whole blocks a row keep rows the same
        width = 16 * math.ceil(self.noise_size / 16)
        drawn = torch.randn(count, width, generator=random_generator(seed, purpose=3))
        return drawn[:, : self.noise_size].to(self.device)

    def train(self, mode: bool = True) -> System:
        super().train(mode)
        self.matcher.eval()  # frozen
        return self

    @classmethod
    def check_training(cls, config: SystemConfig, variant: str) -> None:
        """Raise a UserError where this configuration is only to be looked at and not to be trained."""

    def generate(
        self, captions: Sequence[str] | Tokens | Text, noise: Tensor | None = None, seed: int = 0
    ) -> Generated:
        """Draw one image a caption. The same caption and noise give the same image, alone or in a batch (in eval mode).

        ``noise`` is (B, noise_size); without it, :meth:`noise` of ``seed``. An empty caption raises a UserError.
        """
        count = len(captions.sentence if isinstance(captions, Text) else captions)
        if count == 0:
            raise UserError("no caption to draw: give at least one")
        text = captions if isinstance(captions, Text) else self.matcher.encode_text(captions)
        if noise is None:
            noise = self.noise(count, seed)
        if noise.shape != (count, self.noise_size):
            raise ValueError(f"noise must be ({count}, {self.noise_size}), not {tuple(noise.shape)}")
        out = self.draw(text, noise)
        out.text = text
        return out

    def draw(self, text: Text, noise: Tensor) -> Generated:
        return self.generator(*self.generator_inputs(text, noise))

    def generator_inputs(self, text: Text, noise: Tensor) -> tuple:
        """What the generator's forward takes; systems whose generator runs through the matching model add that."""
        return text, noise

    def discriminator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """Named scalars whose sum the discriminators minimise; the drawn images carry no gradient."""
        raise TypeError(f"{type(self).__name__} must define discriminator_losses")

    def generator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """Named scalars, already weighted, whose sum the generator minimises."""
        raise TypeError(f"{type(self).__name__} must define generator_losses")

    def parameter_counts(self) -> dict[str, int]:
        """Trainable parameters of the generator and the discriminators."""
        return {
            part: sum(p.numel() for p in getattr(self, part).parameters() if p.requires_grad)
            for part in ("generator", "discriminators")
        }
