"""The matching model (DAMSM): text and image encoder, pre-trained together, frozen afterwards.

It gives the generators their words and sentence, and the DAMSM term of their loss. Its pre-training is the first step
of every run from scratch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from t2i_core.captions import Tokens, Vocabulary
from t2i_core.config import Profile, UserError
from t2i_core.data import Batch
from t2i_core.image_encoder import ImageEncoder, InceptionEncoder, Regions, inception_file
from t2i_core.matcher import RegionMatcher
from t2i_core.matching import FalseSentences
from t2i_core.pretraining import pretrain
from t2i_core.text_encoder import Text, TextEncoder
from t2i_core.word_reader import WordReader

WITHSTANDS = 2 / 3  # the share of the training after which images are perturbed


@dataclass(frozen=True)
class MatcherConfig:
    """gamma1, 2, 3 are DAMSM's (attention over regions, over words, contrast between captions).

    The last four are ours: they make it a better teacher of a generator. ``residual`` makes the image encoder deeper.
    With ``falsified``, an image has to tell its caption from six more that are false in one respect (`falsify`).
    ``perturbation`` is the largest Euclidean norm of a change to each training image that raises its sentence loss
    most: a model that withstands such changes is not pleased by patterns nobody sees, and a thing must look like one.
    It is asked to in the last third of its training: it reads better if it has first learned to read (`WITHSTANDS`).
    ``lambda_said`` weighs a term that reads the names and colours of the caption off the image and off the sentence,
    each word for itself (`word_reader`); 0 is none.
    """

    text_dim: int = 64
    resolution: int = 32
    width: int = 24
    image_encoder: str = "conv"  # or "inception": frozen Inception-v3, the published one
    inception_weights: str | None = None  # where a training begins to read that; afterwards its own weights hold it
    gamma1: float = 5.0
    gamma2: float = 5.0
    gamma3: float = 10.0
    residual: bool = False
    falsified: bool = False
    perturbation: float = 0.0
    lambda_said: float = 0.0

    def __post_init__(self):
        if self.lambda_said < 0:
            raise UserError(f"lambda_said {self.lambda_said} is negative: choose 0 (none) or more")
        if self.lambda_said and not self.falsified:
            raise UserError("lambda_said is for the words that are falsified: choose falsified=True as well")
        if self.perturbation < 0:
            raise UserError(f"perturbation {self.perturbation} is negative: choose 0 (none) or more")

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
            self.image_encoder = ImageEncoder(config.text_dim, config.resolution, config.width, config.residual)
        self.word_reader = WordReader(config.text_dim, len(vocabulary)) if config.lambda_said else None

    def begin(self) -> None:
        if self.config.inception_weights is not None:
            self.image_encoder.read(self.config.inception_weights)

    def encode_text(self, captions: list[str] | Tokens) -> Text:
        tokens = captions if isinstance(captions, Tokens) else self.vocabulary.tokenize(captions)
        return self.text_encoder(tokens.to(next(self.text_encoder.parameters()).device))

    def encode_image(self, images: Tensor) -> Regions:
        return self.image_encoder(images)

    @property
    def falsifies(self) -> bool:
        return self.config.falsified

    def training_losses(self, batch: Batch, draw: torch.Generator, done: float = 1.0) -> dict[str, Tensor]:
        text, false, images = self.encode_text(batch.tokens), self.encode_false(batch.falsified), batch.images[-1]
        if self.config.perturbation and done >= WITHSTANDS:
            radius = self.config.perturbation * torch.rand(len(images), generator=draw).to(images.device)
            start = torch.randn(images.shape, generator=draw).to(images.device)
            images = self.perturbed(images, text, batch.class_ids, false, radius, start)
        seen = self.encode_image(images)
        losses = self.compared(seen, text, batch.class_ids, false=false)
        if self.word_reader is not None:
            said = self.word_reader.loss(batch.tokens, batch.falsified.words, seen.image, text.sentence)
            losses["said"] = self.config.lambda_said * said
        return losses

    def perturbed(
        self,
        images: Tensor,
        text: Text,
        class_ids: Tensor,
        false: FalseSentences | None,
        radius: Tensor,
        start: Tensor,
    ) -> Tensor:
        """x + d with ||d|| = r, d = r g / ||g||, g the gradient of the sentence loss at x + r start / ||start||.

        One step of adversarial training in the Euclidean norm (Madry et al. 2018) for each image (B, 3, R, R);
        ``radius`` (B,), ``start`` like the images. The captions stay as they are.
        """
        words, sentence, mask = text
        text = Text(words.detach(), sentence.detach(), mask)
        false = false and false._replace(sentences=false.sentences.detach())
        at = (images + _of_length(start, radius)).requires_grad_()
        (loss,) = self.losses(at, text, class_ids, ("sentence",), false).values()
        (gradient,) = torch.autograd.grad(loss, at)
        return images + _of_length(gradient, radius)


def _of_length(directions: Tensor, lengths: Tensor) -> Tensor:
    """Each of the images (B, 3, R, R) brought to the Euclidean norm that ``lengths`` (B,) says."""
    norms = directions.flatten(1).norm(dim=1).clamp_min(torch.finfo(directions.dtype).tiny)
    return directions * (lengths / norms)[:, None, None, None]


train_matcher = partial(pretrain, DAMSM)
