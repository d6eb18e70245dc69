"""SDN, the symmetrical distillation network: a network that reads images teaches one that draws them, layer by layer.

    L_distill = mean over layers l of ||S_l(z, s) - T_l(x)||^2 / (C_l H_l W_l)

T is the teacher, a frozen discriminative network such as VGG-19 (the "source discriminator"), x a real image and s its
sentence. S is the student, the generator: T's layers in reverse, each with the shape of the one it mirrors, behind
three fully connected ones. So S's first features learn what T's last make of x, and its last what T's first do.

The comparison study's: this loss, the symmetry, and 3 fully connected and 16 convolutional layers of 3 x 3. In one
sentence it calls the source discriminator the student; everywhere else it is the teacher, as in Yuan and Peng's paper.
That paper trains in two phases, of which the study says nothing.

Ours: one phase, beside the matching-aware loss of GAN-CLS (the study compares GANs and does not say which loss this one
has); every layer is matched, after its pooling if it has one; batch norm and leaky ReLU in S, and how wide its fully
connected layers are at small sizes; and there the teacher. At the paper profile it is ImageNet's VGG-19, whose file
$T2I_VGG19 names: S has its 16 convolutions in reverse. Elsewhere it is the image encoder of the frozen matching model,
five convolutions that have learned which caption belongs to an image: nothing to download, and it knows what is drawn
here. Its convolutions of stride 2 take the place of VGG's pooling.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.blocks import conv3x3, doublings_from_four, resize
from t2i_core.config import UserError, nearest, published_file
from t2i_core.data import Batch
from t2i_core.image_encoder import ImageEncoder
from t2i_core.matcher import Matcher
from t2i_core.systems.base import Generated
from t2i_core.systems.cgan import CGAN, CGANConfig, positive
from t2i_core.systems.gan_cls import matching_aware
from t2i_core.text_encoder import Text

WEIGHTS = "T2I_VGG19"  # the environment variable that names torchvision's file of VGG-19
VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions between its poolings


class Layer(NamedTuple):
    """A teacher's features of an image: (B, channels, size, size)."""

    channels: int
    size: int


@dataclass(frozen=True)
class SDNConfig(CGANConfig):
    """``teacher``: "matcher" (the frozen matching model's image encoder) or "vgg19". The student's widths are the
    teacher's; ``ngf`` is not asked. ``fc_width``: of its first two fully connected layers."""

    teacher: str = "matcher"
    fc_width: int = 256
    lambda_distill: float = 1.0

    SIZES: ClassVar[dict[str, dict]] = {
        "smoke": {"text_features": 16, "fc_width": 64},
        "small": {"text_features": 64, "fc_width": 512},
        "paper": {"text_features": 128, "resolutions": (256,), "teacher": "vgg19", "fc_width": 4096},
    }

    def __post_init__(self):
        super().__post_init__()
        nearest(self.teacher, ("matcher", "vgg19"), "teacher")
        positive(self, "fc_width")
        if self.lambda_distill < 0:
            raise UserError(f"lambda_distill {self.lambda_distill} is negative: choose 0 (no teacher) or more")


# ---------------------------------------------------------------- teachers


class MatcherTeacher:
    """The image encoder of a matching model; features after each of its convolutions, fine to coarse."""

    def __init__(self, matcher: Matcher):
        self.encoder = getattr(matcher, "image_encoder", None)
        if not isinstance(self.encoder, ImageEncoder):
            raise UserError(
                'the matching model\'s image encoder has other layers than a student can mirror: choose teacher="vgg19"'
            )

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        x, found = resize(images, self.encoder.resolution), []
        for layer in (*self.encoder.body, *self.encoder.tail):
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                found.append(x)
        return found

    def layers(self) -> list[Layer]:
        like = next(self.encoder.parameters())
        size = self.encoder.resolution
        return [Layer(*f.shape[1:3]) for f in self(like.new_zeros(1, 3, size, size))]


class VGG19Teacher:
    """ImageNet's VGG-19; features after each of its 16 convolutions (and its pooling where one follows)."""

    def __init__(self, weights: Path, device: torch.device):
        from torchvision.models.vgg import cfgs, make_layers

        network = make_layers(cfgs["E"])
        try:
            stored = torch.load(weights, map_location="cpu", weights_only=True).items()
            network.load_state_dict({k.removeprefix("features."): v for k, v in stored if k.startswith("features.")})
        except Exception as error:  # torch reports a damaged or foreign file by many exception types
            raise UserError(f"{weights} is not torchvision's VGG-19 ({type(error).__name__}: {error})") from error
        self.network = network.eval().requires_grad_(False).to(device)
        self.mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
        self.deviation = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        x, found = ((images + 1) / 2 - self.mean) / self.deviation, []
        for layer in self.network:
            if isinstance(layer, nn.Conv2d):
                found.append(x)  # what the layers before made, pooling included
            x = layer(x)
        return [*found[1:], x]

    @staticmethod
    def layers(resolution: int) -> list[Layer]:
        found = []
        for block, (channels, count) in enumerate(VGG19):
            size = resolution // 2**block
            found += [Layer(channels, size)] * (count - 1) + [Layer(channels, size // 2)]
        return found


def vgg19_weights() -> Path:
    """The file that $T2I_VGG19 names; a UserError where there is none."""
    what = "the teacher of SDN at this profile is ImageNet's VGG-19"
    return published_file(WEIGHTS, "vgg19-dcbb9e9d.pth", what, ", or train the variant no-distillation")


# ---------------------------------------------------------------- the student


class Student(nn.Module):
    """[z; s] through three fully connected layers, then the teacher's layers in reverse: (B, 3, R, R) in [-1, 1].

    ``layers`` are the teacher's, fine to coarse. Those finer than R are not mirrored; where R is finer than all of
    them, convolutions of the last width follow that no layer teaches. Features: one a mirrored layer, coarse to fine.
    """

    def __init__(self, c: SDNConfig, layers: list[Layer]):
        super().__init__()
        resolution = c.resolutions[-1]
        doublings_from_four(resolution)  # a power of two
        mirrored = [layer for layer in layers if layer.size <= resolution][::-1]
        self.taught = len(mirrored)
        while mirrored[-1].size < resolution:
            mirrored.append(Layer(mirrored[-1].channels, 2 * mirrored[-1].size))
        first = mirrored[0]
        if not first.size:
            raise UserError(f"images of {resolution} px vanish in VGG-19: choose 32 px or more")
        sizes = c.noise_dim + c.text_dim, c.fc_width, c.fc_width, first.channels * first.size**2
        self.start = nn.Sequential(*(fully_connected(*pair) for pair in zip(sizes, sizes[1:], strict=False)))
        self.shape = first.channels, first.size, first.size
        self.convolutions = nn.ModuleList(reversed_layer(*pair) for pair in zip(mirrored, mirrored[1:], strict=False))
        self.to_rgb = nn.Sequential(nn.Conv2d(mirrored[-1].channels, 3, 3, padding=1), nn.Tanh())

    def forward(self, text: Text, noise: Tensor) -> Generated:
        features = [self.start(torch.cat([noise, text.sentence], 1)).unflatten(1, self.shape)]
        for convolution in self.convolutions:
            features.append(convolution(features[-1]))
        return Generated([self.to_rgb(features[-1])], features=features[: self.taught])


def fully_connected(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.LeakyReLU(0.2))


def reversed_layer(coarse: Layer, fine: Layer) -> nn.Sequential:
    """From the mirror of one layer to that of the one before it: up if it is larger, then a 3 x 3 convolution."""
    up = [nn.Upsample(scale_factor=2)] if fine.size > coarse.size else []
    conv = conv3x3(coarse.channels, fine.channels)
    return nn.Sequential(*up, conv, nn.BatchNorm2d(fine.channels), nn.LeakyReLU(0.2))


class SDN(CGAN):
    """Yuan and Peng, "Text-to-image Synthesis via Symmetrical Distillation Networks"."""

    name = "sdn"
    paper = "SDN"
    Config = SDNConfig
    variants = {"default": {}, "no-distillation": {"lambda_distill": 0.0}}

    def build_generator(self) -> nn.Module:
        c = self.config
        layers = (
            VGG19Teacher.layers(c.resolutions[-1]) if c.teacher == "vgg19" else MatcherTeacher(self.matcher).layers()
        )
        return Student(c, layers)

    @classmethod
    def check_training(cls, config: SDNConfig, variant: str) -> None:
        if config.teacher == "vgg19" and config.lambda_distill:
            vgg19_weights()

    def teach(self, images: Tensor) -> list[Tensor]:
        """T's features of real images, in the order of the student's: coarse to fine."""
        if not hasattr(self, "_teacher"):  # only training needs VGG-19's file
            vgg = self.config.teacher == "vgg19"
            self._teacher = VGG19Teacher(vgg19_weights(), images.device) if vgg else MatcherTeacher(self.matcher)
        return self._teacher(images)[::-1]

    def discriminator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ "d": the matching-aware loss of GAN-CLS."""
        return {"d": matching_aware(self.discriminators, batch.images[-1], out.images[-1], out.text.sentence)}

    def generator_losses(self, batch: Batch, out: Generated) -> dict[str, Tensor]:
        """ "g": -E[log D(drawn)]; "distill": lambda L_distill."""
        losses = super().generator_losses(batch, out)
        if self.config.lambda_distill:
            pairs = zip(out.features, self.teach(batch.images[-1]), strict=False)  # finer layers are not mirrored
            apart = torch.stack([F.mse_loss(student, teacher) for student, teacher in pairs])
            losses["distill"] = self.config.lambda_distill * apart.mean()
        return losses
