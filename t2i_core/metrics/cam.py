"""Grad-CAM: which places of a picture bring it near its caption, in the eyes of a scoring encoder (RATLIP Fig. 3)?

    cam = ReLU(sum_k alpha_k A_k)     alpha_k = mean over all places of d cos(image, sentence) / d A_k

after Selvaraju et al. 2017, with the cosine in the place of a class's score; A_k are the feature maps at the end of the
encoder's convolutions (`image_encoder.body`). Captum computes it. The encoder must never be one that trained the
generator: that one's gradients say what the generator was paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from t2i_core.clip import similarity
from t2i_core.damsm import DAMSM
from t2i_core.metrics.inspector import Inspector
from t2i_core.metrics.probes import box_cover


class Cams(NamedTuple):
    """maps (B, h, w) >= 0; boxes (B, 4) of the part in 0..1; found (B,) whether it is there; inside (B,), what
    :func:`mass_inside` says, nan where the part is not found."""

    maps: Tensor
    boxes: Tensor
    found: Tensor
    inside: Tensor


def sentence_cam(scorer: DAMSM, images: Tensor, captions: Sequence[str], batch_size: int = 100) -> Tensor:
    """Grad-CAM maps (B, h, w) of images (B, 3, R, R) in [-1, 1] for the cosine with their captions, on the CPU.

    ``batch_size`` does not change a map. A map is 0 everywhere where no place speaks for the caption. Raises ValueError
    where images and captions are not as many.
    """
    from captum.attr import LayerGradCam

    if len(images) != len(captions):
        raise ValueError(f"images and captions must be as many, not {len(images)} and {len(captions)}")
    place = next(scorer.parameters()).device
    cam = LayerGradCam(
        lambda x, sentence: similarity(scorer.encode_image(x).image, sentence), scorer.image_encoder.body
    )
    maps = []
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        shown = images[rows].detach().float().to(place).requires_grad_()  # the weights are frozen and carry no gradient
        sentence = scorer.encode_text(list(captions[rows])).sentence.detach()
        found = cam.attribute(shown, additional_forward_args=(sentence,), relu_attributions=True)
        maps.append(found[:, 0].detach().cpu())
    return torch.cat(maps)


def mass_inside(maps: Tensor, boxes: Tensor) -> Tensor:
    """The share of each map's mass (B, h, w) inside its box (B, 4), less the share of the picture that the box covers.

    (B,) float64 in -1..1: 0 is what an even map has, nan where a map is 0 everywhere.
    """
    shares = []
    for heat, box in zip(maps.double(), boxes, strict=True):
        cover = box_cover(box, heat.shape[-1]).double()
        shares.append((heat.flatten() * cover).sum() / heat.sum() - cover.mean())
    return torch.stack(shares)


def cam_on_part(scorer: DAMSM, inspector: Inspector, images: Tensor, captions: Sequence[str], part: str) -> Cams:
    """Grad-CAM of each image with its caption, and how much of it lies on ``part``, whose box the inspector finds in
    that very image. Raises ValueError for a part that the inspector does not know."""
    column = list(inspector.config.parts).index(part)
    reading = inspector.read(images)
    maps, boxes, found = sentence_cam(scorer, images, captions), reading.box[:, column], reading.found[:, column]
    return Cams(maps, boxes, found, mass_inside(maps, boxes).masked_fill(~found, float("nan")))
