"""ALR-GAN: AttnGAN whose refining stages also learn where things belong, from the real image's own layout.

The reconstruction path gives the real image a layout in the generator's terms. For stage i, E_i brings the real image
I*_i to H*_{i-1}, in the space and size of H_{i-1}; the generator's own stage i, with the caption's words, takes it on
to Theta*_i and H*_i and decodes it to I**_i (L_REC). Theta_i is then aligned with Theta*_i (L_ALR), and the masked H_i
with the masked H*_i (L_LVR). The paper draws one H*_i; both are needed: Theta_i comes before the stage, H_i after.

    L_G = sum_i L_Gi + sum_{i>=1} [L_ALR,i + lambda_1 L_REC,i + L_LVR,i] + lambda_2 L_DAMSM      (E14)

L_REC's norm is a mean over the values, so that lambda_1 means the same at every image size.

The paper gives no lambda_1, lambda_2 or gamma. With 1/(N D) before norms that grow like sqrt(N D), L_ALR and L_LVR are
thousands of times smaller than the adversarial terms; ``lambda_alr`` and ``lambda_lvr`` (1 as printed) scale them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.alr import ALRModule
from t2i_core.blocks import gated_conv
from t2i_core.config import UserError
from t2i_core.data import Batch
from t2i_core.lvr import LVRLoss, layout_mask
from t2i_core.systems.attngan import AttnGAN, AttnGANConfig, Generator
from t2i_core.systems.base import Generated
from t2i_core.text_encoder import Text


@dataclass(frozen=True)
class ALRGANConfig(AttnGANConfig):
    alr: bool = True
    weights: str = "adaptive"  # "fixed": alpha = beta = 1; "as_printed": phi learned by the loss it weights
    weight_floor: float = 0.1
    gamma: float = 0.1  # ours: a residual of a tenth is hard
    perception: bool = True
    style: bool = True
    lambda_rec: float = 1.0  # lambda_1, not given in the paper
    lambda_alr: float = 1.0
    lambda_lvr: float = 1.0


class RealEncoder(nn.Module):
    """E_i: real image I*_i (B, 3, 2R, 2R) -> H*_{i-1} (B, ngf, R, R), batch-normed and gated as H_{i-1} is."""

    def __init__(self, ngf: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 2 * ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * ngf),
            nn.LeakyReLU(0.2, inplace=True),
            *gated_conv(2 * ngf, ngf),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)


class ALRGenerator(Generator):
    def __init__(self, config: ALRGANConfig):
        module = partial(ALRModule, gamma=config.gamma, weights=config.weights, weight_floor=config.weight_floor)
        super().__init__(config, module)
        self.encoders = nn.ModuleList(RealEncoder(config.ngf) for _ in self.stages)

    def reconstruct(self, images: list[Tensor], text: Text) -> tuple[list[Tensor], Generated]:
        """Real images, one a stage -> [H*_{i-1}] and, for i >= 1, I**_i, Theta*_i, H*_i."""
        before = [encode(real) for encode, real in zip(self.encoders, images[1:], strict=True)]
        refined = [stage(h, text) for stage, h in zip(self.stages, before, strict=True)]
        features = [h for h, _ in refined]
        rebuilt = [head(h) for head, h in zip(self.heads[1:], features, strict=True)]
        return before, Generated(rebuilt, [theta for _, theta in refined], features, text)


class ALRGAN(AttnGAN):
    """Tan et al., "ALR-GAN: Adaptive Layout Refinement for Text-to-Image Synthesis", IEEE TMM 2023."""

    name = "alr-gan"
    paper = "ALR-GAN"
    Config = ALRGANConfig
    backbones = {"attention": ALRModule}  # what it refines is attention: there is no ALR-GAN without
    variants = {
        "default": {},
        "brief": {},  # the same, trained as briefly as the ablations are
        "no-alr": {"alr": False},
        "fixed-weights": {"weights": "fixed"},
        "no-pr": {"perception": False},
        "no-sr": {"style": False},
        "as-printed": {"weights": "as_printed"},
        "mismatch": {"mismatch": True},
    }

    def __init__(self, config: ALRGANConfig, matcher):
        if config.max_words > config.ngf:
            raise UserError(
                f"the layout residual of {config.max_words} words is padded to the {config.ngf} features of H*: "
                "choose ngf of at least max_words"
            )
        super().__init__(config, matcher)
        self.lvr = LVRLoss(config.perception, config.style)

    def build_generator(self) -> nn.Module:
        return ALRGenerator(self.config)

    def generator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ALR-GAN E14: AttnGAN's terms, and for every stage i >= 1 "rec{i}" (E2), "alr{i}" (E7), "pr{i}", "sr{i}"."""
        losses = super().generator_losses(batch, out)
        c = self.config
        before, real = self.generator.reconstruct(batch.images, out.text)
        for i, stage in enumerate(self.generator.stages, start=1):
            k = i - 1
            losses[f"rec{i}"] = c.lambda_rec * F.l1_loss(real.images[k], batch.images[i])
            theta, theta_real = out.attention[k], real.attention[k].detach()
            if c.alr:
                terms = stage.attention.alignment(theta, theta_real, before[k])
                losses[f"alr{i}"] = c.lambda_alr * terms.loss
                out.extras |= {f"alpha_max{i}": terms.alpha.detach().amax(), f"beta_min{i}": terms.beta.detach().amin()}
            fake_mask = self._fine_mask(theta, out.text.mask, out.features[i])
            real_mask = self._fine_mask(theta_real, out.text.mask, out.features[i])
            refinement = self.lvr.terms(out.features[i], real.features[k].detach(), fake_mask, real_mask)
            losses |= {f"{name}{i}": c.lambda_lvr * loss for name, loss in refinement.items()}
        return losses

    @staticmethod
    def _fine_mask(theta: Tensor, words_mask: Tensor, features: Tensor) -> Tensor:
        """The layout mask of Theta_i, which has H_{i-1}'s regions, at the size of H_i: (B, 1, H, W)."""
        size = features.shape[-1] // 2
        coarse = layout_mask(theta, words_mask).unflatten(2, (size, size))
        return F.interpolate(coarse, scale_factor=2, mode="nearest")
