"""Text into feature maps: the isolated affine transform (CAT) of DF-GAN and GALIP, and RATLIP's recurrent one (RAT).

Shapes: B batch, C channels of the feature map, s the condition (B, cond_dim), z the noise (B, noise_dim), hidden the
LSTM's units. Steps are numbered from 0 here; the paper's t is k + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from t2i_core.config import UserError, nearest

LSTMS = ("shared", "per-affine")


def scale_and_shift(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """RATLIP E1: gamma . x + beta, channel by channel; x (B, C, H, W), gamma and beta (B, C)."""
    return gamma[:, :, None, None] * x + beta[:, :, None, None]


class Heads(nn.Module):
    """RATLIP E2: gamma and beta (B, C), each by a perceptron with one hidden layer of C units.

    The last layers start at zero weights with bias 1 (gamma) and 0 (beta): the transform starts as the identity. The
    paper says "single-layer perceptron"; its code, like DF-GAN's, has two linear layers, and so has this.
    """

    def __init__(self, inputs: int, channels: int):
        super().__init__()
        self.gamma, self.beta = _perceptron(inputs, channels, bias=1.0), _perceptron(inputs, channels, bias=0.0)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        return self.gamma(condition), self.beta(condition)


class Affine(nn.Module):
    """CAT (RATLIP Fig. 2a): gamma(s) . x + beta(s), each affine on its own; the identity at the start."""

    def __init__(self, cond_dim: int, features: int):
        super().__init__()
        self.heads = Heads(cond_dim, features)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return scale_and_shift(x, *self.heads(condition))


class State(NamedTuple):
    """What passes from one affine to the next: h_t and c_t (B, hidden); without a cell (hidden 0), only the noise."""

    h: Tensor
    c: Tensor | None = None


class RecurrentAffine(nn.Module):
    """RAT (RATLIP E1-E7): one LSTM cell runs through all affine steps and says gamma and beta at each.

    E3  h_0 = MLP_3(z), c_0 = MLP_4(z)                       `start(z)`
    E4  i, f, o, u = sigma, sigma, sigma, tanh of T [s; h_{t-1}], T affine from cond_dim + hidden to 4 hidden
    E5  c_t = f . c_{t-1} + i . u
    E6  h_t = o . tanh(c_t)                                  `step(k, x, s, state)`
    E7  gamma_t, beta_t = MLP_1^t(h_t), MLP_2^t(h_t)

    ``features`` are the channels of x at each step. E4 is `torch.nn.LSTMCell`, whose weights all steps share;
    ``lstm="per-affine"`` gives each step a cell of its own (the parameters that the paper's Table II counts), the state
    still passing through. ``hidden=0`` is CAT: no cell, and every step's heads see [s; z].

    Raises UserError for a negative ``hidden`` or an unknown ``lstm``.
    """

    def __init__(self, cond_dim: int, noise_dim: int, hidden: int, features: Sequence[int], lstm: str = "shared"):
        super().__init__()
        if hidden < 0:
            raise UserError(f"hidden {hidden} is negative: choose 0 (no recurrence) or more")
        nearest(lstm, LSTMS, "lstm")
        self.hidden = hidden
        if hidden:
            self.initial_h, self.initial_c = nn.Linear(noise_dim, hidden), nn.Linear(noise_dim, hidden)
            count = 1 if lstm == "shared" else len(features)
            self.cells = nn.ModuleList(nn.LSTMCell(cond_dim, hidden) for _ in range(count))
        self.heads = nn.ModuleList(Heads(hidden or cond_dim + noise_dim, c) for c in features)

    def start(self, z: Tensor) -> State:
        """The state before the first step, from the noise z (B, noise_dim)."""
        return State(self.initial_h(z), self.initial_c(z)) if self.hidden else State(z)

    def step(self, k: int, x: Tensor, s: Tensor, state: State) -> tuple[Tensor, State]:
        """Affine number k of x (B, C, H, W) under s (B, cond_dim): the new x and the new state."""
        gamma, beta, state = self.modulation(k, s, state)
        return scale_and_shift(x, gamma, beta), state

    def modulation(self, k: int, s: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """gamma_k, beta_k (B, C_k) and the state after step k."""
        if not self.hidden:
            return *self.heads[k](torch.cat([s, state.h], 1)), state
        state = State(*self.cells[k % len(self.cells)](s, (state.h, state.c)))
        return *self.heads[k](state.h), state


class PublishedRecurrentAffine(nn.Module):
    """What RATLIP's published code computes in the place of E1-E7, to be put beside :class:`RecurrentAffine`.

    One batch-first LSTM an affine reads the whole batch as one sequence: sample j is time step j. Its last state gives
    a single gamma and beta for all samples, so that every image hangs on every caption of its batch, and on their
    order. No state passes from affine to affine, none starts from the noise; the input is [z; s].
    """

    def __init__(self, cond_dim: int, noise_dim: int, hidden: int, features: Sequence[int]):
        super().__init__()
        if hidden < 1:
            raise UserError(f"hidden {hidden}: the published affine has an LSTM; choose 1 or more")
        inputs = noise_dim + cond_dim
        self.hidden = hidden
        self.lstms = nn.ModuleList(nn.LSTM(inputs, hidden, batch_first=True) for _ in features)
        self.heads = nn.ModuleList(Heads(hidden, c) for c in features)

    def start(self, z: Tensor) -> State:
        return State(z)

    def step(self, k: int, x: Tensor, s: Tensor, state: State) -> tuple[Tensor, State]:
        gamma, beta, state = self.modulation(k, s, state)
        return scale_and_shift(x, gamma, beta), state

    def modulation(self, k: int, s: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """gamma_k and beta_k (1, C_k): the same for every sample of the batch."""
        sequence = torch.cat([state.h, s], 1)[None]  # (1, B, inputs): the batch stands where time belongs
        _, (last, _) = self.lstms[k](sequence)
        return *self.heads[k](last[0]), state


def _perceptron(inputs: int, outputs: int, bias: float) -> nn.Sequential:
    last = nn.Linear(outputs, outputs)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, bias)
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), last)
