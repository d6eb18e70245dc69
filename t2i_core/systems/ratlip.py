"""RATLIP: GALIP with one LSTM cell through all affines of the bridge, and shuffle attention inside its blocks.

The published code differs from the paper (one modulation for a whole batch, no state between affines, no start from
noise, other convolutions in the image generator). Its structure is here as ``as_published``: 53,771,379 trainable
parameters at the paper profile with 64 units, and the counts of the paper's Table II for every other number of units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from t2i_core.affine import PublishedRecurrentAffine, RecurrentAffine
from t2i_core.clip import CLIP, ClipConfig
from t2i_core.clip_tokens import Ends
from t2i_core.config import UserError, nearest, profile
from t2i_core.shuffle_attention import ShuffleAttention
from t2i_core.systems.base import System
from t2i_core.systems.galip import GALIP, Bridge, GALIPConfig, Generator, affine_channels
from t2i_core.systems.one_stage import conv

HIDDEN = (0, 4, 8, 16, 32, 64, 128)  # the paper's Table II
UNUSED = 2 * (768 * 768 + 768)  # parameters of the published discriminator that take no part
MEBI = 2**20  # the table's unit: its "(B)" are 2^20 parameters


@dataclass(frozen=True)
class RATLIPConfig(GALIPConfig):
    """``hidden`` 0 is CAT, so that without attention the system is GALIP."""

    hidden: int = 64
    attention: bool = True
    lstm: str = "shared"  # "per-affine": a cell of its own for each affine
    as_published: bool = False  # only to be shown: a sample then hangs on the rest of its batch

    SIZES: ClassVar[dict[str, dict]] = GALIPConfig.SIZES

    def __post_init__(self):
        super().__post_init__()
        nearest(self.lstm, ("shared", "per-affine"), "lstm")
        if self.hidden < 0:
            raise UserError(f"hidden {self.hidden} is negative: choose 0 (no recurrence) or more")


def attended(inputs: int, outputs: int) -> nn.Sequential:
    """Shuffle attention between two RATBLKs (RATLIP III-C): on what the convolution between them gives."""
    return nn.Sequential(conv(inputs, outputs), ShuffleAttention(outputs))


class SAConv(nn.Module):
    """The published code's convolution with attention: no bias, batch norm, leaky ReLU, shuffle attention.

    It stands for the second convolution of each bridge block and for all of the image generator, so that the paper's
    "ATT" also means batch norm. The counts say which layers it has; their order is ours.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.01),
            ShuffleAttention(outputs, math.gcd(8, outputs // 2)),  # 8 groups at the published sizes
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class RATLIP(GALIP):
    """Lin, Lu and Chen, "RATLIP: Generative Adversarial CLIP Text-to-Image Synthesis Based on Recurrent Affine
    Transformations"."""

    name = "ratlip"
    paper = "RATLIP"
    Config = RATLIPConfig
    variants = {
        "default": {},
        "no-attention": {"attention": False},
        **{f"hidden-{h}": {"hidden": h} for h in HIDDEN},
        "per-affine": {"lstm": "per-affine"},
        "joint-penalty": {"penalty_norm": "joint"},
        "as-published": {"as_published": True},
    }

    def build_generator(self) -> nn.Module:
        c, grid = self.config, self.matcher.config.grid
        channels = affine_channels(c)
        if c.as_published:
            affine: nn.Module = PublishedRecurrentAffine(c.text_dim, c.noise_dim, c.hidden, channels)
            bridge = Bridge(c, self.matcher, affine, second=SAConv)
            return Generator(c, bridge, grid, conv=SAConv)
        affine = RecurrentAffine(c.text_dim, c.noise_dim, c.hidden, channels, c.lstm)
        return Generator(c, Bridge(c, self.matcher, affine, attended if c.attention else conv), grid)

    @classmethod
    def check_training(cls, config: RATLIPConfig, variant: str) -> None:
        if config.as_published and variant != "as-published":
            raise UserError(
                "as_published is for looking at: a picture hangs on the other captions of its batch. To train it all "
                'the same, ask for it by name: variant "as-published"'
            )


def at_paper_size(system: type[System] = RATLIP, **switches) -> System:
    """A GALIP or RATLIP of the paper profile without memory or weights (on torch's meta device), to be counted."""
    with torch.device("meta"):
        clip = CLIP(ClipConfig.vit_b_32(), Ends(49406, 49407))
        given = {"text_dim": clip.config.text_dim}
        return system(system.Config.of(profile("paper"), **(given | switches)), clip)


def table_ii() -> list[dict]:
    """Parameters for each number of units of the paper's Table II, in units of 2^20 as there.

    generator: trainable parameters and the frozen ViT, as the table's "GPs"; total: with the discriminator, "TPs". The
    published discriminator's two unused shortcuts (1,181,184 parameters) are counted in, as there. "published" is the
    structure of the published code (it has no 0: its table's row there fits neither code nor paper), "ours" the
    default of this project, one LSTM for all affines.
    """
    published = {0: (131.01, 160.39), 4: (132.09, 161.47), 8: (132.27, 161.65), 16: (132.57, 161.95)}
    published |= {32: (133.25, 162.63), 64: (134.68, 164.06), 128: (137.93, 167.31)}
    rows = []
    for hidden in HIDDEN:
        row: dict = {"hidden": hidden, "table": published[hidden]}
        for name, switches in (("as published", {"as_published": True}), ("ours", {})):
            if name == "as published" and not hidden:
                continue
            built = at_paper_size(hidden=hidden, **switches)
            counts, frozen = built.parameter_counts(), built.matcher.frozen_parameters
            generator = counts["generator"] + frozen
            row[name] = (generator / MEBI, (generator + counts["discriminators"] + UNUSED) / MEBI)
            row[f"trainable, {name}"] = counts["generator"]
        rows.append(row)
    return rows
