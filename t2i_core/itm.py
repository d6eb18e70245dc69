"""GR-GAN's image-text matcher (ITM): a frozen CLIP, and small layers that make words and regions of what it computes.

CLIP matches whole captions with whole images. ITM adds the finer grain: regions from the feature maps of one of the
image encoder's middle blocks, and words from the text transformer's states, compared as DAMSM compares them. It is
trained by matching alone and frozen while a GAN trains, like the other matching models.
"""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from t2i_core.captions import Tokens, Vocabulary
from t2i_core.clip import CLIP, ClipConfig
from t2i_core.clip_resnet import ResNetCLIP, ResNetClipConfig, published_resnet_folder
from t2i_core.clip_tokens import BytePairs
from t2i_core.config import Profile
from t2i_core.image_encoder import Regions
from t2i_core.matcher import RegionMatcher
from t2i_core.text_encoder import Text


@dataclass(frozen=True)
class ITMConfig:
    """``clip``: the CLIP below (a tiny one, trained on the dataset at hand; or the published RN101). The gammas are
    DAMSM's; gamma3 is the gamma of GR-GAN's E8, 10 in the paper."""

    clip: ClipConfig | ResNetClipConfig = dataclasses.field(default_factory=ClipConfig)
    gamma1: float = 4.0
    gamma2: float = 5.0
    gamma3: float = 10.0

    def __post_init__(self):
        if isinstance(self.clip, dict):  # as it comes from matcher.json
            cls = ResNetClipConfig if "feature_layer" in self.clip else ClipConfig
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in self.clip.items()}
            object.__setattr__(self, "clip", cls(**values))

    @property
    def text_dim(self) -> int:
        return self.clip.text_dim

    @classmethod
    def of(cls, p: Profile) -> ITMConfig:
        if p.name == "paper":
            return cls(ResNetClipConfig.rn101(str(published_resnet_folder())))
        return cls(ClipConfig.of(p))


class ITM(RegionMatcher):
    """Captions into ``Text``, images into ``Regions``; trained by GR-GAN E9 (E8 on sentences and on words).

    words      LayerNorm(Linear(CLIP's token states))                 (B, D, T)
    regions    a 1 x 1 convolution on the feature map of the last of CLIP's feature blocks, (B, D, h, w)
    sentence, image   a linear layer each on CLIP's embeddings, the identity at the start

    The paper names the layers of words and regions; those of sentence and image are in its code only, and without
    them E8's sentence term could not be trained at all. CLIP itself never changes.
    """

    kind, title, Config = "itm", "image-text matcher", ITMConfig
    learning_rate, clip_gradient = 5e-3, 0.25

    def __init__(self, config: ITMConfig, vocabulary: Vocabulary | BytePairs, clip: CLIP | ResNetCLIP | None = None):
        super().__init__(config, vocabulary)
        of_kind = ResNetCLIP if isinstance(config.clip, ResNetClipConfig) else CLIP
        self.clip = (of_kind(config.clip, vocabulary) if clip is None else deepcopy(clip)).freeze()
        d = config.text_dim
        self.words = nn.Sequential(nn.Linear(d, d), nn.LayerNorm(d))
        self.regions = nn.Conv2d(config.clip.width, d, 1, bias=False)
        self.sentence, self.image = _identity(d), _identity(d)
        if not self.clip.stored:  # published weights stay where they were published
            self.register_state_dict_post_hook(_without_clip)
            self.register_load_state_dict_pre_hook(_with_own_clip)

    @classmethod
    def steps(cls, profile: Profile) -> int:
        return profile.itm_steps

    @classmethod
    def rate(cls, profile: Profile) -> float:
        return 2e-4 if profile.name == "paper" else cls.learning_rate

    def knows(self, dataset) -> bool:
        return self.clip.knows(dataset)

    def train(self, mode: bool = True) -> ITM:
        super().train(mode)
        self.clip.eval()
        return self

    @classmethod
    def read_vocabulary(cls, path) -> Vocabulary | BytePairs:
        return CLIP.read_vocabulary(path)

    def encode_text(self, captions: list[str] | Tokens) -> Text:
        with torch.no_grad():
            read = self.clip.encode_text(captions)
        words = self.words(read.words.transpose(1, 2)).transpose(1, 2) * read.mask[:, None]
        return Text(words, self.sentence(read.sentence), read.mask)

    def encode_image(self, images: Tensor) -> Regions:
        seen = self.clip.encode_image(images)
        return Regions(self.regions(seen.features[:, -1]), self.image(seen.image))


def _identity(d: int) -> nn.Linear:
    layer = nn.Linear(d, d)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _without_clip(model: ITM, state: dict, prefix: str, local_metadata: dict) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}clip.")]:
        del state[name]


def _with_own_clip(model: ITM, state: dict, prefix: str, *_) -> None:
    state |= {f"{prefix}clip.{name}": tensor for name, tensor in model.clip.state_dict().items()}
