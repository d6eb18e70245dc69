"""AttnGAN: three stages, each refining the last with the words; the baseline of ALR-GAN and GR-GAN.

H_0 = F_0(z, CA(s)),  H_i = F_i(H_{i-1}, F_attn(W, H_{i-1})),  I_i = G_i(H_i). At the paper profile (ngf 32, ndf 64,
z 100, text 256; 64 -> 128 -> 256) the generator has 7,084,592 parameters and the three discriminators 97,596,678, as
the published classes do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from t2i_core.adversarial import bce_discriminator, bce_fake, bce_generator
from t2i_core.blocks import (
    ConditioningAugmentation,
    InitialTransform,
    ResidualBlock,
    StageDiscriminator,
    conditioning_kl,
    conv3x3,
    initialise,
    up_block,
)
from t2i_core.config import Profile, UserError, nearest
from t2i_core.data import Batch
from t2i_core.matcher import Matcher
from t2i_core.matching import FalseSentences
from t2i_core.ssm import similarity_matrix, text_vision_matrix
from t2i_core.systems.base import Generated, System, SystemConfig
from t2i_core.text_encoder import Text

PUBLISHED_LAMBDA = 5.0


@dataclass(frozen=True)
class AttnGANConfig(SystemConfig):
    """``encoder``: the matching model that reads the captions and judges the images, "damsm" or GR-GAN's "itm".
    ``backbone``: what a refining stage does with the words, a name of the system's ``backbones``.

    The matching loss is lambda (lambda_1 L_sentence + lambda_2 L_words): lambda is AttnGAN's, ALR-GAN's lambda_2;
    lambda_1 and lambda_2 are GR-GAN's (E9). Published are 5 (CUB; 50 on COCO), 1, 1 with DAMSM, and 1, 4, 1 with ITM. A
    smaller profile weighs all matching losses less (ours), by the same factor: lambda is 1/5 of its DAMSM's with ITM.

    ``falsified`` and ``matching_noise`` are ours, and off unless asked for. The first teaches to obey every word, where
    a batch's other captions teach to obey a few; under the second, what pleases the matching model has to be large
    enough to be seen through noise.
    """

    encoder: str = "damsm"
    backbone: str = "attention"
    lambda_damsm: float = PUBLISHED_LAMBDA
    lambda1: float = 1.0
    lambda2: float = 1.0
    lambda_kl: float = 1.0  # of the conditioning augmentation, in the published code
    mismatch: bool = False  # real images with another image's caption as fakes: in the published code, in no equation
    falsified: bool = False  # captions made false in one respect: such a fake too, and more negatives of L_sentence
    matching_noise: float = 0.0  # standard deviation, at most, of what is added to the images that L_DAMSM judges

    def __post_init__(self):
        nearest(self.encoder, AttnGAN.matchers, "encoder")
        for name in ("lambda_damsm", "lambda1", "lambda2", "lambda_kl", "matching_noise"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} {getattr(self, name)} is negative: choose 0 (none of it) or more")
        if self.falsified and not self.mismatch:
            raise UserError("falsified captions are a kind of mismatched ones: choose mismatch=True as well")

    @classmethod
    def of(cls, p: Profile, **switches) -> AttnGANConfig:
        itm = switches.get("encoder", cls.encoder) == "itm"
        own = {"lambda_damsm": p.lambda_damsm / PUBLISHED_LAMBDA} if itm else {}
        return super().of(p, **(own | switches))


class WordAttention(nn.Module):
    """F_attn: H (B, D, H, W) and W (B, text_dim, T) -> theta (B, T, N) and [H; Q] (B, 2D, H, W)."""

    def __init__(self, feature_dim: int, text_dim: int):
        super().__init__()
        self.project = nn.Conv1d(text_dim, feature_dim, 1, bias=False)

    def layout(self, words: Tensor, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        words = self.project(words)
        theta = similarity_matrix(features, words, mask)
        return theta, torch.cat([features, text_vision_matrix(theta, words).view_as(features)], 1)


class MeanWord(WordAttention):
    """The ablation of attention: the same layers, with Theta even over the real words, so that no region chooses."""

    def layout(self, words: Tensor, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        words = self.project(words)
        mask = torch.ones_like(words[:, 0], dtype=torch.bool) if mask is None else mask
        even = mask.to(words.dtype) / mask.sum(1, keepdim=True).clamp_min(1)
        theta = even[:, :, None].expand(-1, -1, features.shape[2:].numel())
        return theta, torch.cat([features, text_vision_matrix(theta, words).view_as(features)], 1)


class RefiningStage(nn.Module):
    """F_i, ALR-GAN E9: attention over the words, residual blocks on [H; Q], twice the size.

    H_{i-1} (B, D, H, W) and the text -> H_i (B, D, 2H, 2W) and Theta_i (B, T, N).
    """

    def __init__(self, attention: nn.Module, ngf: int, residual_blocks: int):
        super().__init__()
        self.attention = attention
        self.refine = nn.Sequential(*(ResidualBlock(2 * ngf) for _ in range(residual_blocks)), up_block(2 * ngf, ngf))

    def forward(self, features: Tensor, text: Text) -> tuple[Tensor, Tensor]:
        theta, joined = self.attention.layout(text.words, features, text.mask)
        return self.refine(joined), theta


def image_head(ngf: int) -> nn.Sequential:
    """G_i: H_i (B, ngf, R, R) -> image (B, 3, R, R) in [-1, 1]."""
    return nn.Sequential(conv3x3(ngf, 3), nn.Tanh())


class Generator(nn.Module):
    """All stages. ``make_attention(feature_dim, text_dim)`` builds the part in which systems differ."""

    def __init__(self, config: AttnGANConfig, make_attention: Callable[[int, int], nn.Module]):
        super().__init__()
        c = config
        for coarse, fine in zip(c.resolutions, c.resolutions[1:], strict=False):
            if fine != 2 * coarse:
                raise UserError(f"each stage doubles the image: sizes {c.resolutions} do not")
        self.noise_dim = c.noise_dim
        self.condition = ConditioningAugmentation(c.text_dim, c.condition_dim)
        self.initial = InitialTransform(c.noise_dim + c.condition_dim, c.ngf, c.resolutions[0])
        self.stages = nn.ModuleList(
            RefiningStage(make_attention(c.ngf, c.text_dim), c.ngf, c.residual_blocks) for _ in c.resolutions[1:]
        )
        self.heads = nn.ModuleList(image_head(c.ngf) for _ in c.resolutions)

    def read(self, stage: int, text: Text) -> Text:
        """What stage 1, 2, ... reads of the text: here all of it."""
        return text

    def forward(self, text: Text, noise: Tensor) -> Generated:
        z, epsilon = noise[:, : self.noise_dim], noise[:, self.noise_dim :]
        condition, mu, log_variance = self.condition(text.sentence, epsilon)
        features = [self.initial(torch.cat([condition, z], 1))]
        attention = []
        for stage in self.stages:
            refined, theta = stage(features[-1], self.read(len(features), text))
            features.append(refined)
            attention += [] if theta is None else [theta]
        images = [head(h) for head, h in zip(self.heads, features, strict=True)]
        return Generated(images, attention, features, extras={"mu": mu, "log_variance": log_variance})


FALSIFIED = {"mismatch": True, "falsified": True, "matching_noise": 0.3, "lambda1": 5.0, "lambda2": 0.2}
ITM = {"encoder": "itm", "lambda1": 4.0, "lambda2": 1.0}  # as GR-GAN weighs it


class AttnGAN(System):
    """Xu et al., "AttnGAN: Fine-Grained Text to Image Generation with Attentional Generative Adversarial Networks"."""

    name = "attngan"
    paper = "AttnGAN"
    matchers = ("damsm", "itm")
    backbones: ClassVar[dict[str, Callable[[int, int], nn.Module]]] = {"attention": WordAttention, "mean": MeanWord}
    Config = AttnGANConfig
    variants = {
        "default": {},
        "brief": {},  # the whole system, trained as briefly as its ablations
        "mismatch": {"mismatch": True},
        "falsified": FALSIFIED,
        "no-attention": {"backbone": "mean"},
        "no-damsm": {"lambda_damsm": 0.0},
        "itm": ITM,
    }

    def __init__(self, config: AttnGANConfig, matcher: Matcher):
        nearest(config.backbone, self.backbones, "backbone")
        super().__init__(config, matcher)
        self.generator = self.build_generator()
        self.discriminators = nn.ModuleList(self.build_discriminator(r) for r in config.resolutions)
        initialise(self.generator)
        initialise(self.discriminators)

    def build_generator(self) -> nn.Module:
        return Generator(self.config, self.backbones[self.config.backbone])

    def build_discriminator(self, resolution: int) -> nn.Module:
        return StageDiscriminator(resolution, self.config.ndf, self.config.text_dim)

    @property
    def falsifies(self) -> bool:
        return self.config.falsified

    def false_sentences(self, batch: Batch, out: Generated) -> FalseSentences | None:
        """Of the batch's captions made false, where the losses want them; read once for both updates of a step."""
        if not self.falsifies:
            return None
        if batch.falsified is None:
            raise TypeError("the batch has no captions made false: ask for them, BatchStream(..., falsify=True)")
        if "false" not in out.extras:
            with torch.no_grad():
                out.extras["false"] = self.matcher.encode_false(batch.falsified).sentences
        return FalseSentences(out.extras["false"], batch.falsified.possible)

    def discriminator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ALR-GAN E13, E15 (AttnGAN's own): for each stage an unconditional and a conditional pair, "d0", "d1", ...

        With ``mismatch``, the conditional fake half is shared by drawn images and by real images with a wrong caption;
        ``falsified`` gives the wrong captions another quarter, for real images with their own made false.
        """
        sentence, false = out.text.sentence, self.false_sentences(batch, out)
        falsified = None if false is None else false.of(batch.falsified.chosen, sentence.roll(1, 0))
        losses = {}
        for i, (judge, real, fake) in enumerate(zip(self.discriminators, batch.images, out.images, strict=True)):
            seen, drawn = judge.features(real), judge.features(fake.detach())
            alone = bce_discriminator(judge.judge_alone(seen), judge.judge_alone(drawn))
            with_real, with_fake = judge.judge_with(seen, sentence), judge.judge_with(drawn, sentence)
            matched = bce_discriminator(with_real, with_fake)
            if self.config.mismatch:
                wrong = bce_fake(judge.judge_with(seen, sentence.roll(1, 0)))
                matched = matched + 0.25 * (wrong - bce_fake(with_fake))
            if falsified is not None:
                matched = matched + 0.25 * bce_fake(judge.judge_with(seen, falsified))
            losses[f"d{i}"] = alone + matched
        return losses

    def generator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ALR-GAN E12 for each stage ("g0", ...), KL of the conditioning, DAMSM on the finest image; weighted."""
        losses = {}
        for i, (judge, fake) in enumerate(zip(self.discriminators, out.images, strict=True)):
            drawn = judge.features(fake)
            losses[f"g{i}"] = bce_generator(judge.judge_alone(drawn), judge.judge_with(drawn, out.text.sentence))
        if self.config.lambda_kl:
            losses["kl"] = self.config.lambda_kl * conditioning_kl(out.extras["mu"], out.extras["log_variance"])
        false = self.false_sentences(batch, out)
        return losses | self.matching(out.images[-1], out.text, batch.class_ids, false=false)

    def matching(
        self,
        images: Tensor,
        text: Text,
        class_ids: Tensor,
        stage: str = "",
        false: FalseSentences | None = None,
        **weights: float,
    ) -> dict[str, Tensor]:
        """lambda (lambda_1 L_sentence + lambda_2 L_words), as "damsm_sentence", "itm_words", ...; what weighs 0 is not
        computed. ``weights`` (sentence, words) take the place of lambda_1 and lambda_2."""
        c = self.config
        if c.matching_noise:
            deviation = c.matching_noise * torch.rand(len(images), 1, 1, 1, device=images.device)
            images = images + deviation * torch.randn_like(images)
        weights = {n: c.lambda_damsm * w for n, w in (weights or {"words": c.lambda2, "sentence": c.lambda1}).items()}
        terms = [name for name, weight in weights.items() if weight]
        found = self.matcher.losses(images, text, class_ids, terms, false) if terms else {}
        return {f"{self.matcher.kind}{stage}_{name}": weights[name] * loss for name, loss in found.items()}
