"""GR-GAN: images from coarse to fine, under text from coarse to fine. Each of the three stages has one role:

    I  image      D judges the image alone                                                             E1
    S  sentence   the memory reads the sentence; D judges image and sentence; lambda_2 L_s             E2 to E4
    W  words      the memory reads the words; D judges image and mean word; lambda_1 L_s + lambda_2 L_w   E5 to E7

in the order I, S, W by default. The weights of L_s are as printed: lambda_2 in E4 and lambda_1 in E7. KL of the
conditioning augmentation is added, as in the published code and in no equation. A discriminator has only the verdict
of its role.

At the paper profile (ngf 64, ndf 32, text 512, three residual blocks) the generator has the published 22,503,762
parameters; the discriminators have 27,059,876 less 1,773,825: the published first one has a verdict with the sentence
that its loss never asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from t2i_core.adversarial import bce_discriminator, bce_fake, bce_real
from t2i_core.blocks import StageDiscriminator, conditioning_kl
from t2i_core.config import Profile, UserError
from t2i_core.data import Batch
from t2i_core.systems.attngan import Generator
from t2i_core.systems.base import Generated
from t2i_core.systems.dm_gan import DMGAN, DMGANConfig
from t2i_core.text_encoder import Text

ROLES = {"I": "image", "S": "sentence", "W": "words"}


@dataclass(frozen=True)
class GRGANConfig(DMGANConfig):
    """``order``: the roles of the three stages. With ``mismatch``, real images under another image's caption are half
    of the fakes of S and W: in the published code, not in the paper."""

    encoder: str = "itm"
    lambda1: float = 4.0
    lambda2: float = 1.0
    order: str = "ISW"

    def __post_init__(self):
        super().__post_init__()
        if self.falsified:
            raise UserError("GR-GAN's stages judge words too, and falsified captions are for sentences: choose False")
        if sorted(self.order) != sorted(ROLES):
            raise UserError(f"order {self.order!r}: I, S and W each once, such as ISW, IWS or SWI")
        if len(self.resolutions) != len(self.order):
            raise UserError(f"{len(self.resolutions)} image sizes for {len(self.order)} stages: give one a stage")

    @classmethod
    def of(cls, p: Profile, **switches) -> GRGANConfig:
        published = {"residual_blocks": 3} if p.name == "paper" else {}
        return super().of(p, **(published | switches))


class WithoutText(nn.Module):
    """The attention of a refining stage with the role I: none. H (B, D, H, W) -> [H; H], and no Theta."""

    def layout(self, words: Tensor, features: Tensor, mask: Tensor | None = None) -> tuple[None, Tensor]:
        return None, torch.cat([features, features], 1)


class GradualGenerator(Generator):
    """The stages of DM-GAN or AttnGAN, each reading what its role lets it read.

    The first stage makes features of noise and CA(s) whatever its role. A refining stage with the role I reads nothing
    (ours: the paper does not say what it reads where I is last).
    """

    def __init__(self, config: GRGANConfig, backbone: Callable[[int, int], nn.Module]):
        roles = iter(config.order[1:])
        super().__init__(config, lambda *sizes: WithoutText() if next(roles) == "I" else backbone(*sizes))
        self.order, self.copies = config.order, config.max_words

    def read(self, stage: int, text: Text) -> Text:
        """E2: a stage with the role S reads L copies of the sentence, L the most words of a caption. E5: W, words."""
        if self.order[stage] != "S":
            return text
        copies = text.sentence[:, :, None].expand(-1, -1, self.copies)
        return Text(copies, text.sentence, torch.ones_like(copies[:, 0], dtype=torch.bool))


def mean_word(text: Text) -> Tensor:
    """E6's c_w with a bar: the mean of the real words, (B, text_dim). The published code averages the padding too."""
    mask = text.mask[:, None].to(text.words.dtype)
    return (text.words * mask).sum(2) / mask.sum(2).clamp_min(1)


class GRGAN(DMGAN):
    """Yang, Feng and Wang, "GR-GAN: Gradual Refinement Text-to-image Generation"."""

    name = "gr-gan"
    paper = "GR-GAN"
    matchers = ("itm", "damsm")
    Config = GRGANConfig
    variants = {
        "default": {},
        "brief": {},
        "iws": {"order": "IWS"},
        "swi": {"order": "SWI"},
        "damsm": {"encoder": "damsm", "lambda1": 1.0},  # Table 2's DA + GRG
        "attention": {"backbone": "attention"},  # GRG on AttnGAN
        "attention-damsm": {"backbone": "attention", "encoder": "damsm", "lambda1": 1.0},
        "mismatch": {"mismatch": True},
    }

    def build_generator(self) -> nn.Module:
        return GradualGenerator(self.config, self.backbones[self.config.backbone])

    def build_discriminator(self, resolution: int) -> nn.Module:
        c = self.config
        role = c.order[c.resolutions.index(resolution)]
        norm = "spectral" if c.backbone == "memory" else "batch"
        return StageDiscriminator(resolution, c.ndf, c.text_dim, norm, ("alone",) if role == "I" else ("with",))

    def verdict(self, stage: int, features: Tensor, text: Text, roll: int = 0) -> Tensor:
        """D_i's logits (B,) on features of images, by its role; ``roll`` gives each image a later one's caption."""
        judge, role = self.discriminators[stage], self.config.order[stage]
        if role == "I":
            return judge.judge_alone(features)
        return judge.judge_with(features, (text.sentence if role == "S" else mean_word(text)).roll(roll, 0))

    def discriminator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """E1, E3, E6, the lines of D: "d0", "d1", "d2", each -1/2 E[log D(real)] - 1/2 E[log(1 - D(drawn))]."""
        losses = {}
        for i, (judge, real, fake) in enumerate(zip(self.discriminators, batch.images, out.images, strict=True)):
            seen, drawn = judge.features(real), judge.features(fake.detach())
            on_fake = self.verdict(i, drawn, out.text)
            losses[f"d{i}"] = bce_discriminator(self.verdict(i, seen, out.text), on_fake)
            if self.config.mismatch and self.config.order[i] != "I":
                wrong = bce_fake(self.verdict(i, seen, out.text, roll=1))
                losses[f"d{i}"] = losses[f"d{i}"] + 0.25 * (wrong - bce_fake(on_fake))
        return losses

    def generator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """E1, E4, E7: "g0", "g1", "g2", -1/2 E[log D(drawn)] each; "itm1_sentence" and the like; "kl"."""
        c, losses = self.config, {}
        weights = {"I": {}, "S": {"sentence": c.lambda2}, "W": {"words": c.lambda2, "sentence": c.lambda1}}
        for i, (role, judge, fake) in enumerate(zip(c.order, self.discriminators, out.images, strict=True)):
            losses[f"g{i}"] = 0.5 * bce_real(self.verdict(i, judge.features(fake), out.text))
            if weights[role]:
                losses |= self.matching(fake, out.text, batch.class_ids, str(i), **weights[role])
        if c.lambda_kl:
            losses["kl"] = c.lambda_kl * conditioning_kl(out.extras["mu"], out.extras["log_variance"])
        return losses
