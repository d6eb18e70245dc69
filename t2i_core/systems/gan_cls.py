"""GAN-CLS: the matching-aware DCGAN; GAN-INT and GAN-INT-CLS: taught between captions as well.

D sees real images with a wrong caption among its fakes, so that it must learn to read (CLS):

    L_D = -log D(x, s) - 1/2 [log(1 - D(x, s')) + log(1 - D(G(z, s), s))],    L_G = -log D(G(z, s), s)

G also draws for a point between two captions (INT), beta s + (1 - beta) s', and is to satisfy D there:
L_G - log D(G(z, s_b), s_b). D is never shown these. s' is the sentence of another image of the batch, in both.

The layers are those of :mod:`t2i_core.systems.cgan`, whose docstring says which are the paper's; its text encoder was a
character-level network trained beside images, ours is DAMSM's. The plain GAN of its comparisons is `cgan`. It prints
the term of the interpolation as log(1 - D), which G minimises; ours is -log D, which its algorithm has for L_G.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from t2i_core.adversarial import bce_matching, bce_real
from t2i_core.config import UserError
from t2i_core.data import Batch
from t2i_core.systems.base import Generated
from t2i_core.systems.cgan import CGAN, CGANConfig, PairDiscriminator
from t2i_core.text_encoder import Text


@dataclass(frozen=True)
class GANCLSConfig(CGANConfig):
    """``mismatch``: D sees wrong captions (CLS). ``interpolation``: G draws between captions (INT), at ``beta``."""

    mismatch: bool = True
    interpolation: bool = False
    beta: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.beta <= 1:
            raise UserError(f"beta {self.beta} lies not between two captions: choose a number from 0 to 1")


def matching_aware(judge: PairDiscriminator, real: Tensor, drawn: Tensor, sentence: Tensor) -> Tensor:
    """L_D on images (B, 3, R, R) and their sentences (B, text_dim), a scalar; the drawn ones get no gradient."""
    seen, fake = judge.features(real), judge.verdict(judge.features(drawn.detach()), sentence)
    return bce_matching(judge.verdict(seen, sentence), fake, judge.verdict(seen, sentence.roll(1, 0)))


class GANCLS(CGAN):
    """Reed et al., "Generative Adversarial Text to Image Synthesis"."""

    name = "gan-cls"
    paper = "GAN-CLS"
    Config = GANCLSConfig
    variants = {
        "default": {},
        "int": {"mismatch": False, "interpolation": True},
        "int-cls": {"interpolation": True},
    }

    def draw(self, text: Text, noise: Tensor) -> Generated:
        out = super().draw(text, noise)
        if self.config.interpolation:
            out.extras["noise"] = noise  # to draw between captions with, in the generator's loss
        return out

    def discriminator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ "d": the matching-aware loss; without ``mismatch``, the conditional GAN's."""
        if not self.config.mismatch:
            return super().discriminator_losses(batch, out)
        return {"d": matching_aware(self.discriminators, batch.images[-1], out.images[-1], out.text.sentence)}

    def generator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ "g": -E[log D(drawn)]; with ``interpolation`` "between": the same for captions in between."""
        losses, c, judge = super().generator_losses(batch, out), self.config, self.discriminators
        if c.interpolation:
            one = out.text.sentence
            between = c.beta * one + (1 - c.beta) * one.roll(1, 0)
            drawn = self.generator(out.text._replace(sentence=between), out.extras["noise"]).images[-1]
            losses["between"] = bce_real(judge.verdict(judge.features(drawn), between))
        return losses
