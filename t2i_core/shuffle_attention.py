"""Shuffle attention: channels in groups, half of each group weighed by channel, half by place, then shuffled.

RATLIP III-C names it and gives no equation; this is the module of Zhang and Yang, "SA-Net: Shuffle Attention for Deep
Convolutional Neural Networks" (2021), which the published code of RATLIP uses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2i_core.config import UserError


class ShuffleAttention(nn.Module):
    """x (B, C, H, W) -> the same shape, every value weighed by a number in (0, 1).

    Each of G groups of C/G channels is halved:
    channel branch  x_1 . sigma(w_1 mean_{H,W}(x_1) + b_1)
    spatial branch  x_2 . sigma(w_2 GroupNorm(x_2) + b_2)
    with one weight and bias a channel of a half, the same in all groups (3 C/G parameters in all). Then channels of the
    first and the second half of all are interleaved, so that groups mix in what follows. w = 0 and b = 1 at the start:
    every value is weighed by sigma(1), about 0.73.

    Raises UserError where ``channels`` cannot be cut into 2 ``groups`` halves.
    """

    def __init__(self, channels: int, groups: int = 8):
        super().__init__()
        if groups < 1 or channels % (2 * groups):
            raise UserError(
                f"{channels} channels cannot be cut into {groups} groups of two halves: choose other groups"
            )
        self.groups = groups
        half = channels // (2 * groups)
        self.channel_weight, self.channel_bias = _line(half)
        self.place_weight, self.place_bias = _line(half)
        self.norm = nn.GroupNorm(half, half)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        by_channel, by_place = x.reshape(batch * self.groups, -1, height, width).chunk(2, dim=1)
        channel_gate = self.channel_weight * by_channel.mean((2, 3), keepdim=True) + self.channel_bias
        place_gate = self.place_weight * self.norm(by_place) + self.place_bias
        weighed = torch.cat([by_channel * channel_gate.sigmoid(), by_place * place_gate.sigmoid()], 1)
        halves = weighed.view(batch, 2, channels // 2, height, width)
        return halves.transpose(1, 2).reshape(batch, channels, height, width)


def _line(channels: int) -> tuple[nn.Parameter, nn.Parameter]:
    return nn.Parameter(torch.zeros(1, channels, 1, 1)), nn.Parameter(torch.ones(1, channels, 1, 1))
