"""ALR-GAN's adaptive layout refinement: align the layout Theta of the drawn image with Theta* of the real one.

Steps (ALR-GAN, section 3.2): the residual R = |Theta* - Theta| is split at gamma into easy and hard elements; both are
zero-padded into the space of H*; phi_alpha and phi_beta turn R (.) H* into weights alpha and beta; the weighted
residuals, and a term that asks for beta > alpha, are the loss.

What the paper leaves open, decided here:

* N is the number of regions, D the number of features of H*; a residual of T words sits in the first T of D channels.
* phi is two 3x3 convolutions with a leaky ReLU between, and a sigmoid that keeps weights inside [floor, 1].
* The weights are constants for the residual terms (stop-gradient); phi learns from the softplus term alone. As printed,
  the weights are learned by the very loss they weight, whose optimum is alpha = beta = 0: the loss is then
  ln 2 / (N D) whatever the layout, and nothing is aligned. ``weights="as_printed"`` keeps that, to be looked at.
  What phi learns from the softplus term is little more than two constants, alpha at its floor and beta near 1: hard
  elements count ten times as much as easy ones, in every image alike. Nothing in the paper's loss asks for more.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.ssm import similarity_matrix, text_vision_matrix

WEIGHTS = ("adaptive", "fixed", "as_printed")


def layout_residual(theta: Tensor, theta_real: Tensor) -> Tensor:
    """ALR-GAN E3 (step 1): R = abs(Theta* - Theta), elementwise in [0, 1]; (B, T, N)."""
    return (theta_real - theta).abs()


def split_residual(theta: Tensor, theta_real: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """ALR-GAN E4 (steps 2 and 3a): R split into easy (r < gamma) and hard (r >= gamma) elements, zero elsewhere.

    Theta and Theta* are (B, T, N); so are both results, and they add up to R. An element of exactly gamma is hard.
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must lie in [0, 1], where the residual of two distributions lives; not {gamma}")
    residual = layout_residual(theta, theta_real)
    hard = residual >= gamma
    return residual.masked_fill(hard, 0), residual.masked_fill(~hard, 0)


def pad_to_features(residual: Tensor, features: int) -> Tensor:
    """ALR-GAN step 3b: zero-pad R (B, T, N) along the words to the D features of H*: (B, D, N). Needs T <= D."""
    words = residual.shape[1]
    if words > features:
        raise ValueError(
            f"a residual of {words} words does not fit into {features} features: use more features or cut captions"
        )
    return F.pad(residual, (0, 0, 0, features - words))


def alr_loss(alpha: Tensor, beta: Tensor, easy: Tensor, hard: Tensor) -> Tensor:
    """ALR-GAN E7: 1/(N D) (||alpha . R_easy||_F + ||beta . R_hard||_F + ||softplus(max alpha - min beta)||_F).

    All four are (B, D, N), padded to the features of H*. Norms, maximum and minimum are taken per sample; the result is
    the mean over the batch (a scalar).
    """
    regularised = F.softplus(alpha.amax((1, 2)) - beta.amin((1, 2)))  # of one number, the norm is the number itself
    per_sample = _frobenius(alpha * easy) + _frobenius(beta * hard) + regularised
    return per_sample.mean() / (easy.shape[1] * easy.shape[2])


def _frobenius(matrix: Tensor) -> Tensor:
    # linalg's norm has gradient 0 (not NaN) at an all-zero matrix, as when no element is hard
    return torch.linalg.vector_norm(matrix, dim=(1, 2))


class ALRTerms(NamedTuple):
    """What one stage's layout refinement computes; the loss is a scalar, the rest is there to be looked at."""

    loss: Tensor
    alpha: Tensor  # (B, D, N)
    beta: Tensor  # (B, D, N)
    easy: Tensor  # (B, T, N)
    hard: Tensor  # (B, T, N)


class ALRModule(nn.Module):
    """ALR-GAN, Fig. 2: SSM and TVM on the way to the next stage, and the ALR loss against a real image's layout.

    ``forward(text_features, image_features, real_image_features=None)`` gives ``(features, loss)`` in training (with
    real features) and ``features`` at inference. Text (B, text_dim, T); image features H (B, feature_dim, H, W);
    ``features`` is [H; Q] (B, 2 feature_dim, H, W), ready for residual blocks and upsampling.
    """

    def __init__(
        self, feature_dim: int, text_dim: int, gamma: float = 0.1, weights: str = "adaptive", weight_floor: float = 0.1
    ):
        super().__init__()
        if weights not in WEIGHTS:
            raise ValueError(f"weights must be one of {WEIGHTS}, not {weights!r}")
        if not 0 <= weight_floor < 1:
            raise ValueError(f"weight_floor must lie in [0, 1), not {weight_floor}")
        self.gamma, self.weights, self.weight_floor = gamma, weights, weight_floor
        self.project = nn.Conv1d(text_dim, feature_dim, 1, bias=False)  # words into the regions' space, as in AttnGAN
        if weights != "fixed":
            self.phi_alpha, self.phi_beta = _weight_network(feature_dim), _weight_network(feature_dim)

    def layout(self, words: Tensor, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Theta (B, T, N) and [H; Q] (B, 2D, H, W) from words (B, text_dim, T) and H (B, D, H, W)."""
        words = self.project(words)
        theta = similarity_matrix(features, words, mask)
        q = text_vision_matrix(theta, words).view_as(features)
        return theta, torch.cat([features, q], 1)

    def alignment(self, theta: Tensor, theta_real: Tensor, real_features: Tensor) -> ALRTerms:
        """Steps 1 to 4 for Theta, Theta* (B, T, N) and H* (B, D, H, W). The real side is a target: no gradient."""
        theta_real, real_features = theta_real.detach(), real_features.detach()
        easy, hard = split_residual(theta, theta_real, self.gamma)
        size = real_features.shape[1]
        easy_padded, hard_padded = pad_to_features(easy, size), pad_to_features(hard, size)
        if self.weights == "fixed":
            alpha = beta = torch.ones_like(easy_padded)
        else:
            alpha = self._weigh(self.phi_alpha, easy_padded, real_features)
            beta = self._weigh(self.phi_beta, hard_padded, real_features)
        if self.weights == "adaptive":
            # the value is E7; the weights get their gradient from the softplus term alone
            zero = torch.zeros_like(easy_padded)
            weighted = alr_loss(alpha.detach(), beta.detach(), easy_padded, hard_padded)
            order = alr_loss(alpha, beta, zero, zero)
            loss = weighted + order - order.detach()
        else:
            loss = alr_loss(alpha, beta, easy_padded, hard_padded)
        return ALRTerms(loss, alpha, beta, easy, hard)

    def _weigh(self, network: nn.Module, residual: Tensor, real_features: Tensor) -> Tensor:
        """ALR-GAN E5, E6 (steps 3c, 3d): alpha = phi(R . H*), kept inside [floor, 1] unless as printed."""
        raw = network(residual.detach().view_as(real_features) * real_features).flatten(2)
        if self.weights == "as_printed":
            return F.softplus(raw)
        return self.weight_floor + (1 - self.weight_floor) * raw.sigmoid()

    def forward(
        self,
        text_features: Tensor,
        image_features: Tensor,
        real_image_features: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        theta, features = self.layout(text_features, image_features, mask)
        if real_image_features is None:
            return features
        theta_real, _ = self.layout(text_features, real_image_features, mask)
        return features, self.alignment(theta, theta_real, real_image_features).loss


def _weight_network(features: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(features, features, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(features, features, 3, padding=1)
    )
