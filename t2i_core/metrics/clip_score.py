"""CLIP score: how near does a scoring encoder put an image and the caption it was drawn for?

    CLIP score = 1/n sum_i cos(image_i, text_i)            CLIP score x 100 = 100 times that

after Hessel et al. 2021 (CLIPScore) and RATLIP's "CS", which is 100 times the cosine. Hessel's score clips negative
cosines at 0 and multiplies by 2.5; here they are kept, because a caption that the image contradicts is worse than one
it has nothing to do with, and a mean over clipped values would hide it.

The encoder must never be one that the generator saw in training. How large a cosine is depends on the encoder, so two
scores compare only where the protocol names the same one; beside a system's score belongs that of real images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor

from t2i_core.metrics.retrieval import unit_rows
from t2i_core.metrics.stats import Value, mean

HUNDRED = 100.0


def clip_score(
    image_features: ArrayLike | Tensor,
    text_features: ArrayLike | Tensor,
    protocol: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, Value]:
    """{"clip_score": the mean cosine, in -1..1, "clip_score_x100": the same times 100}, float64.

    image_features, text_features (n, d), n >= 2, row i of one belongs to row i of the other; their lengths do not
    matter, and a row of zeros has cosine 0. ``protocol`` should name the encoder. ``seed`` fixes the bootstrap of the
    interval; the order of the pairs does not change the mean. Raises UserError for fewer than two pairs, ValueError for
    features that are no pairs, FloatingPointError for features that are not finite.
    """
    image, text = unit_rows(image_features, text_features)
    cosines = (image * text).sum(1).clamp(-1, 1)
    told = {**(protocol or {}), "score": "cosine", "negative_cosines": "kept"}
    # a rounding error is no spread to make an interval of
    found = mean(cosines.numpy().round(12), told, seed)
    return {"clip_score": found, "clip_score_x100": _times_hundred(found)}


def _times_hundred(found: Value) -> Value:
    told = found.protocol | {"score": "100 x cosine"}
    return Value(HUNDRED * found.value, HUNDRED * found.low, HUNDRED * found.high, found.n, told)
