"""The matching model (DAMSM): text and image encoder, pre-trained together, frozen afterwards.

It gives the generators their words and sentence, and the DAMSM term of their loss. Its pre-training is the first step
of every run from scratch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from t2i_core.captions import Tokens, Vocabulary
from t2i_core.config import Profile
from t2i_core.image_encoder import ImageEncoder, InceptionEncoder, Regions, inception_file
from t2i_core.matcher import RegionMatcher, pretrain
from t2i_core.text_encoder import Text, TextEncoder


@dataclass(frozen=True)
class MatcherConfig:
    """gamma1, 2, 3 are DAMSM's (attention over regions, over words, contrast between captions)."""

    text_dim: int = 64
    resolution: int = 32
    width: int = 24
    image_encoder: str = "conv"  # or "inception": frozen Inception-v3, the published one
    inception_weights: str | None = None  # where a training begins to read that; afterwards its own weights hold it
    gamma1: float = 5.0
    gamma2: float = 5.0
    gamma3: float = 10.0

    @classmethod
    def of(cls, p: Profile) -> MatcherConfig:
        if p.name == "paper":  # the published constants for CUB
            weights = str(inception_file())
            return cls(p.text_dim, p.resolutions[-1], image_encoder="inception", inception_weights=weights, gamma1=4.0)
        return cls(p.text_dim, min(32, p.resolutions[-1]), width=16 if p.name == "smoke" else 24)


class DAMSM(RegionMatcher):
    """Text encoder and image encoder with one space of ``text_dim`` features between them.

    Trained by Adam with gradients clipped at 0.25, as in AttnGAN.
    """

    kind, title, Config = "damsm", "matching model", MatcherConfig
    learning_rate, clip_gradient = 2e-3, 0.25

    def __init__(self, config: MatcherConfig, vocabulary: Vocabulary):
        super().__init__(config, vocabulary)
        self.text_encoder = TextEncoder(len(vocabulary), config.text_dim)
        if config.image_encoder == "inception":
            self.image_encoder: nn.Module = InceptionEncoder(config.text_dim)
        else:
            self.image_encoder = ImageEncoder(config.text_dim, config.resolution, config.width)

    def begin(self) -> None:
        if self.config.inception_weights is not None:
            self.image_encoder.read(self.config.inception_weights)

    def encode_text(self, captions: list[str] | Tokens) -> Text:
        tokens = captions if isinstance(captions, Tokens) else self.vocabulary.tokenize(captions)
        return self.text_encoder(tokens.to(next(self.text_encoder.parameters()).device))

    def encode_image(self, images: Tensor) -> Regions:
        return self.image_encoder(images)


train_matcher = partial(pretrain, DAMSM)
