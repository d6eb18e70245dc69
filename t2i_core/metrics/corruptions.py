"""Pictures and captions spoilt on purpose, by a known amount, to see which metric notices.

Every strength is in 0..1, where 0 leaves all as it was, and every choice follows from a seed. Where the strength is a
share of the rows, the rows of a smaller share are among those of a larger one and are spoilt in the same way, so that a
curve over strengths is one of more damage and not of other damage.

Shapes: n rows, R pixels a side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from t2i_core.config import UserError

WIDEST_BLUR = 0.1  # standard deviation at strength 1, in widths of the image


def blur(images: Tensor, strength: float) -> Tensor:
    """Images (n, 3, R, R) under a Gaussian of ``strength`` times a tenth of their width."""
    from torchvision.transforms.functional import gaussian_blur

    sigma = _checked(strength) * WIDEST_BLUR * images.shape[-1]
    reach = min(int(3 * sigma + 0.5), images.shape[-1] - 1)
    return gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2) if reach else images.clone()


def noise(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Images (n, 3, R, R) in [-1, 1] plus ``strength`` times standard normal noise, clipped to that range."""
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(images)
    return (images + _checked(strength) * drawn).clamp(-1, 1)


def dealt_out(n: int, share: float, seed: int = 0) -> Tensor:
    """Row numbers (n,): which row each row gets, a ``share`` of them another's and the rest their own.

    Nothing is lost and nothing comes twice, so that the set stays what it was. A share of a single row changes nothing.
    """
    rows = torch.arange(n)
    chosen = _first(n, share, seed)
    rows[chosen] = chosen.roll(1)
    return rows


def swap_objects(
    images: Tensor, masks: Tensor, truths: Sequence[Mapping[str, Any]], share: float, seed: int = 0
) -> Tensor:
    """In a ``share`` of the images one object's pixels give way to an object of another class from another image.

    images (n, 3, R, R), masks (n, R, R) with k where the part is whose "mask" is k, 0 for the background. The new
    object is stretched to the extent of the old one; around it the background goes on, each row of pixels in its mean.
    An image without an object that can be seen stays as it is.
    """
    if not len(images) == len(masks) == len(truths):
        raise ValueError(f"{len(images)} images, {len(masks)} masks and {len(truths)} truths must be as many")
    order = _order(len(images), seed).tolist()
    generator = torch.Generator().manual_seed(seed)
    pick = torch.rand(len(images), generator=generator)
    spoilt, visible = images.clone(), [_visible(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
    for place in range(len(_first(len(images), share, seed))):
        i = order[place]
        if not visible[i]:
            continue
        name, number = visible[i][int(pick[i] * len(visible[i]))]
        others = ((j, k) for j in order[place + 1 :] + order[:place] for other, k in visible[j] if other != name)
        if (donor := next(others, None)) is not None:
            j, k = donor
            spoilt[i] = _replaced(images[i], masks[i], number, images[j], masks[j] == k)
    return spoilt


def change_colors(
    captions: Sequence[str],
    truths: Sequence[Mapping[str, Any]],
    caption_index: Sequence[int],
    share: float,
    colors: Sequence[str],
    seed: int = 0,
) -> list[str]:
    """In a ``share`` of the captions every colour word becomes another one of ``colors``.

    ``truths`` and ``caption_index`` say whose caption it is, and which. A word that has no other in ``colors``, and a
    caption without a colour, stay as they are.
    """
    changed = list(captions)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(len(changed), 16, generator=generator).tolist()
    for i in _first(len(changed), share, seed).tolist():
        stated = [(start, end) for start, end, _, kind in truths[i]["words"][caption_index[i]] if kind == "color"]
        for (start, end), draw in sorted(zip(stated, draws[i], strict=False), reverse=True):
            others = [color for color in colors if color != captions[i][start:end]]
            if others:
                changed[i] = changed[i][:start] + others[int(draw * len(others))] + changed[i][end:]
    return changed


def _checked(strength: float) -> float:
    if not 0 <= strength <= 1:
        raise UserError(f"a strength of {strength}: it goes from 0, which changes nothing, to 1")
    return strength


def _order(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def _first(n: int, share: float, seed: int) -> Tensor:
    """The rows of a share, in a seeded order."""
    return _order(n, seed)[: round(_checked(share) * n)]


def _visible(mask: Tensor, truth: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Name and number of the parts that have pixels at this resolution."""
    seen = set(mask.unique().tolist())
    return [(part["name"], part["mask"]) for part in truth["parts"] if part["mask"] in seen]


def _replaced(image: Tensor, mask: Tensor, number: int, donor: Tensor, there: Tensor) -> Tensor:
    """The image with its object ``number`` taken out and the donor's object (where ``there``) in its place."""
    old, new = _extent(mask == number), _extent(there)
    cleaned = _without(image, mask, number)
    size = old[0].stop - old[0].start, old[1].stop - old[1].start
    shape = torch.cat([donor, there[None].to(donor)])[(slice(None), *new)]
    *pixels, covered = F.interpolate(shape[None], size, mode="bilinear", align_corners=False)[0]
    where = (slice(None), *old)
    cleaned[where] = torch.where(covered > 0.5, torch.stack(pixels), cleaned[where])
    return cleaned


def _without(image: Tensor, mask: Tensor, number: int) -> Tensor:
    """The object's pixels, and their neighbours that it shines into, in the mean of the background of their row."""
    edge = F.max_pool2d((mask == number).float()[None, None], 3, 1, 1)[0, 0] > 0
    taken = edge & ((mask == number) | (mask == 0))
    background = ((mask == 0) & ~edge).to(image)
    count = background.sum(1)
    overall = (image * background).sum((1, 2)) / count.sum().clamp(min=1)
    rows = torch.where(count > 0, (image * background).sum(2) / count.clamp(min=1), overall[:, None])
    return torch.where(taken, rows[:, :, None], image)


def _extent(where: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the smallest rectangle around True."""
    rows, columns = where.any(1).nonzero().flatten(), where.any(0).nonzero().flatten()
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
