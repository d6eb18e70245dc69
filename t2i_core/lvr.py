"""ALR-GAN's layout visual refinement: texture (PR) and style (SR) inside the refined layout.

What the paper leaves open, decided here: L_LVR = PR + SR (the paper never writes it out); N is the number of regions
and D the number of features; the layout mask of an image is how far one word rules a region, max_j theta_{j,k}
rescaled so that undecided attention gives 0 and a single word gives 1. The overview's sketch has one mask for both
images, the paper's equations have one each: ``LVRLoss`` takes both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2i_core.attention import flatten_regions


def layout_mask(theta: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mask_Theta (ours): m_k = (max_j theta_{j,k} - 1/T) / (1 - 1/T) with T real words.

    Theta (B, T, N), mask (B, T) True where a token is real -> (B, 1, N) in [0, 1].
    """
    words = theta.shape[1] if mask is None else mask.sum(1).clamp(min=1)[:, None, None]
    uniform = 1 / words
    strongest = theta.amax(1, keepdim=True)
    # a caption of one word attends everywhere alike: its mask is 1, not 0/0
    span = torch.as_tensor(1 - uniform, dtype=theta.dtype, device=theta.device)
    return torch.where(span > 0, (strongest - uniform) / span.clamp(min=1e-6), torch.ones_like(strongest)).clamp(0, 1)


def perception_loss(gen_masked: Tensor, real_masked: Tensor) -> Tensor:
    """ALR-GAN E10 (PR): 1/(N D) ||Mask.H - Mask*.H*||_F on masked features (B, D, N) or (B, D, H, W); mean over B."""
    gen_masked, real_masked = flatten_regions(gen_masked), flatten_regions(real_masked)
    size = gen_masked.shape[1] * gen_masked.shape[2]
    return torch.linalg.vector_norm(gen_masked - real_masked, dim=(1, 2)).mean() / size


def gram_matrix(features: Tensor) -> Tensor:
    """G(F) = F F^T over the regions: (B, D, N) or (B, D, H, W) -> (B, D, D). It forgets where a feature was."""
    features = flatten_regions(features)
    return features @ features.transpose(1, 2)


def style_loss(gen_masked: Tensor, real_masked: Tensor) -> Tensor:
    """ALR-GAN E11 (SR): 1/(N D) ||G(Mask.H) - G(Mask*.H*)||_F on masked features; mean over B."""
    size = flatten_regions(gen_masked).shape[1] * flatten_regions(gen_masked).shape[2]
    difference = gram_matrix(gen_masked) - gram_matrix(real_masked)
    return torch.linalg.vector_norm(difference, dim=(1, 2)).mean() / size


class LVRLoss(nn.Module):
    """L_LVR = PR + SR. Features (B, D, N) or (B, D, H, W); masks (B, 1, N) or (B, 1, H, W), in [0, 1].

    Without ``real_layout_mask`` one mask serves both images (the overview's sketch). ``perception`` and ``style``
    switch the two terms on and off for the ablations.
    """

    def __init__(self, perception: bool = True, style: bool = True):
        super().__init__()
        self.perception, self.style = perception, style

    def terms(
        self, gen_features: Tensor, real_features: Tensor, layout_mask: Tensor, real_layout_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The switched-on terms by name, "pr" and "sr"."""
        gen_masked = gen_features * layout_mask
        real_masked = real_features * (layout_mask if real_layout_mask is None else real_layout_mask)
        terms = {}
        if self.perception:
            terms["pr"] = perception_loss(gen_masked, real_masked)
        if self.style:
            terms["sr"] = style_loss(gen_masked, real_masked)
        return terms

    def forward(
        self, gen_features: Tensor, real_features: Tensor, layout_mask: Tensor, real_layout_mask: Tensor | None = None
    ) -> Tensor:
        terms = self.terms(gen_features, real_features, layout_mask, real_layout_mask)
        return sum(terms.values(), gen_features.new_zeros(()))
