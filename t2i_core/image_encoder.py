"""Regions and a global vector: the image side of the matching model (AttnGAN's image encoder)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.blocks import resize
from t2i_core.config import UserError, published_file

WEIGHTS = "T2I_INCEPTION"  # the environment variable that names torchvision's file of Inception-v3


class Regions(NamedTuple):
    """regions (B, D, h, w), image (B, D)."""

    regions: Tensor
    image: Tensor


class Residual(nn.Module):
    """Two convolutions, each with its group norm, beside the input: (B, C, H, W) -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.body(x), 0.2)


class ImageEncoder(nn.Module):
    """Images (B, 3, R, R) in [-1, 1] -> :class:`Regions` with 8 x 8 regions of an image resized to ``resolution``.

    A small convolutional network, trained from scratch on the dataset at hand: nothing to download. It has no batch
    norm, so an image means the same alone and in a batch, in training too. ``residual`` makes it deeper: two more
    convolutions with a shortcut at each size.
    """

    def __init__(self, text_dim: int, resolution: int = 32, width: int = 32, residual: bool = False):
        super().__init__()
        self.resolution = resolution
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.LeakyReLU(0.2)]
        size = resolution
        while size > 8:
            layers += [nn.Conv2d(width, 2 * width, 4, 2, 1), nn.GroupNorm(8, 2 * width), nn.LeakyReLU(0.2)]
            width, size = 2 * width, size // 2
            layers += [Residual(width)] if residual else []
        if not residual:
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers)
        self.region_head = nn.Conv2d(width, text_dim, 1, bias=False)
        self.tail = nn.Sequential(nn.Conv2d(width, width, 4, 2, 1), nn.GroupNorm(8, width), nn.LeakyReLU(0.2))
        self.image_head = nn.Linear(width * 4 * 4, text_dim)

    def forward(self, images: Tensor) -> Regions:
        features = self.body(resize(images, self.resolution))
        return Regions(self.region_head(features), self.image_head(self.tail(features).flatten(1)))


def inception_file() -> Path:
    """The file of Inception-v3 that $T2I_INCEPTION names; a UserError where there is none."""
    what = "the matching model at this profile looks through ImageNet's Inception-v3"
    return published_file(WEIGHTS, "inception_v3_google-0cc3c7bd.pth", what)


class InceptionEncoder(nn.Module):
    """AttnGAN's published image encoder: a frozen Inception-v3, 17 x 17 x 768 regions and the pooled 2048 features,
    each brought to text_dim by one trained layer. Images (B, 3, R, R) in [-1, 1], resized to 299.

    The network is random until :meth:`read` gives it the published weights.
    """

    def __init__(self, text_dim: int):
        super().__init__()
        from torchvision.models import inception_v3
        from torchvision.models.feature_extraction import create_feature_extractor

        network = inception_v3(weights=None, aux_logits=True, init_weights=False)
        self.network = create_feature_extractor(network.eval(), {"Mixed_6e": "regions", "avgpool": "pooled"})
        self.network.requires_grad_(False)
        self.region_head = nn.Conv2d(768, text_dim, 1, bias=False)
        self.image_head = nn.Linear(2048, text_dim)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def read(self, weights: str | Path) -> None:
        """Take the network of the file that torchvision publishes (:func:`inception_file`); a UserError for another."""
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            missing = self.network.load_state_dict(state, strict=False).missing_keys  # it has heads that are not used
            if missing:
                raise KeyError(missing[0])
        except Exception as error:  # torch reports a damaged or foreign file by many exception types
            said = f"{type(error).__name__}: {error}"
            raise UserError(f"{weights} is not torchvision's Inception-v3 ({said})") from error

    def train(self, mode: bool = True) -> InceptionEncoder:
        super().train(mode)
        self.network.eval()  # frozen: its batch norms keep their published statistics
        return self

    def forward(self, images: Tensor) -> Regions:
        features = self.network(((resize(images, 299) + 1) / 2 - self.mean) / self.deviation)
        return Regions(self.region_head(features["regions"]), self.image_head(features["pooled"].flatten(1)))
