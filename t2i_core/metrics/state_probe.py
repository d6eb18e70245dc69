"""What of its caption and of its noise a recurrent generator's state still holds after each step.

RATLIP III-C says that an LSTM forgets its text from layer to layer. Two measurements of it: a linear probe reads an
attribute of the caption off h_t, and the variance of h_t over a grid of captions and noises says whose mark it bears.

Shapes: n captions, D features, T steps, K values of the attribute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from t2i_core.affine import RecurrentAffine
from t2i_core.config import UserError
from t2i_core.data import CaptionDataset
from t2i_core.metrics.soa import stated as parts_stated

PENALTY = 1e-2  # on the squared weights, beside a mean cross-entropy: classes that can be told apart stay finite
ITERATIONS = 200


@torch.no_grad()
def states_of(affine: RecurrentAffine, sentence: Tensor, z: Tensor) -> Tensor:
    """h_t (B, T, hidden) after each affine step, for sentences (B, D) and noise (B, Z).

    No feature map has a say in them (RATLIP E3 to E6), so no picture need be drawn.
    """
    state, states = affine.start(z), []
    for k in range(len(affine.heads)):
        _, _, state = affine.modulation(k, sentence, state)
        states.append(state.h)
    return torch.stack(states, 1)


@dataclass(frozen=True)
class Stated:
    """Captions that state one attribute, at most one an image, the value that each states, and their images."""

    captions: list[str]
    values: list[str]
    images: list[int]

    def __len__(self) -> int:
        return len(self.captions)


def stated(dataset: CaptionDataset, part: str, kind: str, at_most: int | None = None) -> Stated:
    """Of each image the first caption that states ``kind`` ("color", ...) of ``part`` ("crown", ...); toy worlds only.

    Raises UserError where no caption does.
    """
    found = Stated([], [], [])
    for image, (captions, truth) in enumerate(zip(dataset.captions, dataset.truth, strict=True)):
        wanted = {k for k, one in enumerate(truth.get("parts", ())) if one["name"] == part and kind in one}
        for k, caption in enumerate(captions):
            about = [index for index in parts_stated(truth, k, kind) if index in wanted]
            if about:
                found.captions.append(caption)
                found.values.append(truth["parts"][about[0]][kind])
                found.images.append(image)
                break
        if len(found) == at_most:
            break
    if not found.captions:
        raise UserError(f"no caption of {dataset.folder} states the {kind} of a {part}: ask for another part or kind")
    return found


@dataclass(frozen=True)
class LinearProbe:
    """Reads one of ``values`` off features (n, D): the greatest of W x + b, on features of mean 0 and deviation 1."""

    values: tuple[str, ...]
    weight: Tensor  # (K, D)
    bias: Tensor  # (K,)
    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)

    def logits(self, features: Tensor) -> Tensor:
        return F.linear((features.double() - self.mean) / self.deviation, self.weight, self.bias)

    def read(self, features: Tensor) -> list[str]:
        """The value that each of the features (n, D) says most likely."""
        return [self.values[k] for k in self.logits(features).argmax(1).tolist()]


def fit(features: Tensor, values: Sequence[str], penalty: float = PENALTY) -> LinearProbe:
    """Logistic regression of ``values`` (n of them) on features (n, D), in float64.

    Minimises the mean cross-entropy + penalty / 2 ||W||^2, which has one minimum; L-BFGS goes there from 0, so that
    the same features give the same probe. Raises UserError where all values are the same.
    """
    names = tuple(sorted(set(values)))
    if len(names) < 2:
        raise UserError(f"the {len(values)} captions state {len(names)} value(s): a probe needs two to tell apart")
    features = features.detach().double()
    target = torch.tensor([names.index(value) for value in values])
    deviation = features.std(0, unbiased=False)
    deviation = torch.where(deviation > 0, deviation, 1.0)  # a feature that never changes says nothing, and stays 0
    mean = features.mean(0)
    x = (features - mean) / deviation
    weight = torch.zeros(len(names), x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(names), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=ITERATIONS, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(F.linear(x, weight, bias), target) + 0.5 * penalty * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return LinearProbe(names, weight.detach(), bias.detach(), mean, deviation)


def hits(train: Tensor, train_values: Sequence[str], test: Tensor, test_values: Sequence[str]) -> Tensor:
    """Which test captions a probe of each step reads rightly: train (n, T, D), test (m, T, D) -> (m, T) of 0 and 1.

    The probe of a step is fitted on that step's states of the training captions alone.
    """
    right = []
    for step in range(train.shape[1]):
        read = fit(train[:, step], train_values).read(test[:, step])
        right.append([float(one == value) for one, value in zip(read, test_values, strict=True)])
    return torch.tensor(right, dtype=torch.float64).T


class Shares(NamedTuple):
    """Shares of a state's variance, each (T,), in 0..1; they add up to 1."""

    caption: Tensor
    noise: Tensor
    both: Tensor  # what only the two together decide


def variance_shares(states: Tensor) -> Shares:
    """Whose mark the state bears: states (captions, noises, T, D) of every caption with every noise.

    The two-way decomposition of the variance, summed over D: between the means of the captions, between the means of
    the noises, and the rest. Raises ValueError where a state does not vary at all.
    """
    states = states.detach().double()
    centred = states - states.mean((0, 1))
    by_caption, by_noise = centred.mean(1, keepdim=True), centred.mean(0, keepdim=True)
    rest = centred - by_caption - by_noise
    total = centred.square().mean((0, 1)).sum(-1)
    if (total == 0).any():
        raise ValueError("a state that is the same for all captions and noises has no variance to share out")
    return Shares(*(part.square().mean((0, 1)).sum(-1) / total for part in (by_caption, by_noise, rest)))
