"""GR-GAN's Cross-Model Distance: images against real ones, and both against the captions, in one feature space.

    CMD = Dis(f, r) + ITDis        ITDis = |bias|        bias = Dis(f, l) - Dis(r, l)                  (E10, E11)

f, r, l are the features of generated images, real images and captions by an encoder of both (the paper: CLIP's ViT),
and Dis is the Frechet distance of their Gaussians. E12 writes the same out and is only a test here, because its
second branch has Tr(cov_f) in the place of Tr(cov_r).

What it does not see: which image belongs to which caption. Only the three clouds of features enter, so captions that
are dealt out anew leave every number as it was; whether an image fits *its* caption is what a CLIP score says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from t2i_core.config import UserError, nearest
from t2i_core.metrics.frechet import distance
from t2i_core.metrics.moments import Features, Gaussian, is_rows
from t2i_core.metrics.stats import SET_RESAMPLES, Value, as_rows, how_redrawn, recentred, redrawn

# (image, text): what the authors' program makes of features of length 1, so that Dis(f, r) counts 100 times and the
# bias is between images of length 10 and captions of length 1. Image .npz files it wrote hold the 10 already.
PUBLISHED_SCALES = (10.0, 1.0)
SCALES = {"published": PUBLISHED_SCALES}
SETS = {"fake": "generated images", "real": "real images", "text": "captions"}
SIZES, DRAWS = 5, 4  # of a curve over sizes: how many sizes, and how many orders of the rows it is the mean of


@dataclass(frozen=True)
class CrossModelDistance:
    """The three Frechet distances, what E10 and E11 make of them, the ``sizes`` of the sets and the protocol.

    E12 is E10 written out in means and covariances, by the sign of the bias; its second branch is wrong as printed.
    """

    image_distance: float  # Dis(f, r)
    fake_to_text: float  # Dis(f, l)
    real_to_text: float  # Dis(r, l)
    sizes: dict[str, int | None] = field(default_factory=dict)  # None: statistics that do not say it
    signed: bool = False
    protocol: dict[str, Any] = field(default_factory=dict)

    @property
    def signed_bias(self) -> float:
        """Dis(f, l) - Dis(r, l): below 0 where generated images lie nearer to the captions than real ones do."""
        return self.fake_to_text - self.real_to_text

    @property
    def itdis(self) -> float:
        """E11's bias, |Dis(f, l) - Dis(r, l)|; the paper's ITDis."""
        return abs(self.signed_bias)

    @property
    def cmd(self) -> float:
        """E10, 0 or more; with ``signed`` what the authors' program prints, which may be negative."""
        return self.image_distance + (self.signed_bias if self.signed else self.itdis)


def cross_model_distance(
    fake: Features,
    real: Features,
    text: Features,
    image_scale: float = 1.0,
    text_scale: float = 1.0,
    *,
    scales: str | None = None,
    unit: bool = False,
    signed: bool = False,
    protocol: Mapping[str, Any] | None = None,
) -> CrossModelDistance:
    """GR-GAN E10 and E11 in float64: `.cmd`, `.itdis`, `.image_distance`, `.signed_bias`, `.sizes`, `.protocol`.

    Each of fake, real, text: features (n, d), n >= 2; a tuple (mu (d,), cov (d, d)); `moments.Moments`; or the path of
    an .npz with `mu` and `sigma`, which is never unpickled. They need one d and no common n; but a Frechet distance
    falls as n grows, so two values compare only at equal sizes (see :func:`distance_by_size`). Covariances may have any
    rank. The scales multiply features before all else; ``scales="published"`` sets `PUBLISHED_SCALES`. ``unit``: rows
    are brought to length 1 first, which needs the features. ``signed``: CMD without the absolute value.

    Raises UserError for too few rows, a file that is none, or scales that are none; ValueError for shapes that do not
    fit and matrices that are no covariances; FloatingPointError for what is not finite.
    """
    image_scale, text_scale = _scales(image_scale, text_scale, scales)
    sets = {}
    for (key, name), what in zip(SETS.items(), (fake, real, text), strict=True):
        what = _unit(what, name) if unit else what
        sets[key] = Gaussian.of(what, name).scaled(text_scale if key == "text" else image_scale)
    found = _between(sets, signed)
    said = {"image_scale": image_scale, "text_scale": text_scale, "rows_of_length_1": unit, "bias": _sign(signed)}
    said |= {"features": len(sets["fake"].mu), **{SETS[k].replace(" ", "_"): n for k, n in found.sizes.items()}}
    if min(n or math.inf for n in found.sizes.values()) <= said["features"]:
        said["warning"] = f"no more rows than the {said['features']} features: mostly bias, see distance_by_size"
    elif len({found.sizes["fake"], found.sizes["real"]} - {None}) == 2:
        said["warning"] = "generated and real images are not as many: what their sizes add does not cancel in ITDis"
    return replace(found, protocol={**(protocol or {}), **said})


def cross_model_values(
    fake: ArrayLike | Tensor,
    real: ArrayLike | Tensor,
    text: ArrayLike | Tensor,
    protocol: Mapping[str, Any] | None = None,
    resamples: int = SET_RESAMPLES,
    seed: int = 0,
    *,
    signed: bool = False,
    **how: Any,
) -> dict[str, Value]:
    """{"cmd": ..., "itdis": ...} of features (n, d) with intervals by resampling; ``how``: scales and ``unit``.

    Sets of one size are taken as pairs, row i belonging to row i, and resampled together; others by themselves. The
    protocol of each has the distances that it is made of.
    """
    found = cross_model_distance(fake, real, text, signed=signed, protocol=protocol, **how)
    rows = _rows((fake, real, text), **how)
    drawn = redrawn(lambda *of: _between(_chosen(rows, of), signed), _sizes(rows), resamples, seed)
    parts = {name: getattr(found, name) for name in ("image_distance", "fake_to_text", "real_to_text", "signed_bias")}
    told = found.protocol | {"parts": parts, "resampled": _together(rows)} | how_redrawn(resamples, seed)
    values = {}
    for name in ("cmd", "itdis"):
        bound = None if name == "cmd" and signed else 0.0
        value = getattr(found, name)
        low, high = recentred(value, [getattr(one, name) for one in drawn], bound)
        values[name] = Value(value, low, high, len(rows["fake"]), told)
    return values


@dataclass(frozen=True)
class DistanceBySize:
    """What CMD and its parts are on the first N rows, for each N of ``sizes``, and where they go as 1/N goes to 0."""

    sizes: tuple[int, ...]
    cmd: tuple[float, ...]
    itdis: tuple[float, ...]
    image_distance: tuple[float, ...]
    signed_bias: tuple[float, ...]
    at_infinity: dict[str, float]  # the same four names
    protocol: dict[str, Any] = field(default_factory=dict)


def distance_by_size(
    fake: ArrayLike | Tensor,
    real: ArrayLike | Tensor,
    text: ArrayLike | Tensor,
    sizes: Sequence[int] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    protocol: Mapping[str, Any] | None = None,
    **how: Any,
) -> DistanceBySize:
    """How the distances of features (n, d) fall with the number of rows N, all three sets cut to N.

    The subsets of one order of the rows are nested, and each value is the mean over ``draws`` orders. A Frechet
    distance is its limit plus about c / N where N exceeds d (Chong and Forsyth 2020), so a line through Dis(f, r) and
    one through the signed bias, both over 1/N, give the limits; CMD and ITDis follow from these, because an absolute
    value does not fall along a line. ``sizes``: at least two, from 2 to the smallest set; by default that set's size
    over 1, 2, 3, 4, 5. ``how``: scales and ``unit`` of :func:`cross_model_distance`. Too few rows raise a UserError.
    """
    rows = _rows((fake, real, text), **how)
    most = min(len(one) for one in rows.values())
    wanted = (most // k for k in range(1, SIZES + 1)) if sizes is None else map(int, sizes)
    chosen = tuple(sorted(set(wanted), reverse=True))
    if len(chosen) < 2 or chosen[-1] < 2 or chosen[0] > most:
        raise UserError(
            f"a curve over sizes needs two or more, each from 2 to the {most} rows of the smallest set, not {chosen}: "
            "measure more images or name other sizes"
        )
    curves: dict[str, list[float]] = {name: [] for name in ("cmd", "itdis", "image_distance", "signed_bias")}
    rng = np.random.default_rng(seed)
    orders = [[rng.permutation(size) for size in _sizes(rows)] for _ in range(draws)]
    for size in chosen:
        found = [_between(_chosen(rows, [order[:size] for order in one])) for one in orders]
        for name, curve in curves.items():
            curve.append(float(np.mean([getattr(one, name) for one in found])))
    over = 1 / np.asarray(chosen, np.float64)
    image, bias = (float(np.polyfit(over, curves[name], 1)[1]) for name in ("image_distance", "signed_bias"))
    image = max(0.0, image)
    limits = {"cmd": image + abs(bias), "itdis": abs(bias), "image_distance": image, "signed_bias": bias}
    said: dict[str, Any] = {"draws": draws, "seed": seed, "fit": "a line over 1/N through Dis(f, r) and the bias"}
    d = rows["fake"].shape[1]
    if chosen[-1] <= d:
        said["warning"] = f"sizes up to the {d} features do not lie on a line over 1/N: the limits are rough"
    means = {name: tuple(curve) for name, curve in curves.items()}
    return DistanceBySize(chosen, **means, at_infinity=limits, protocol={**(protocol or {}), **said})


def _between(sets: Mapping[str, Gaussian], signed: bool = False) -> CrossModelDistance:
    fake, real, text = (sets[name] for name in SETS)
    sizes = {name: one.n for name, one in sets.items()}
    return CrossModelDistance(distance(fake, real), distance(fake, text), distance(real, text), sizes, signed)


def _scales(image_scale: float, text_scale: float, scales: str | None) -> tuple[float, float]:
    if scales is not None:
        if (image_scale, text_scale) != (1.0, 1.0):
            raise ValueError(f"scales={scales!r} sets both scales: give it, or the two numbers")
        return SCALES[nearest(scales, SCALES, "scales")]
    for name, scale in (("image_scale", image_scale), ("text_scale", text_scale)):
        if not (math.isfinite(scale) and scale > 0):
            raise UserError(f"{name} {scale}: it is a positive number")
    return float(image_scale), float(text_scale)


def _sign(signed: bool) -> str:
    return "signed, as the authors' program" if signed else "absolute, E11"


def _unit(what: Features, name: str) -> NDArray[np.float64]:
    """Features with rows of length 1; a row of zeros stays."""
    if not is_rows(what):
        raise ValueError(f"{name}: a mean and a covariance do not tell the rows' lengths; give the features")
    rows = as_rows(what, name)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def _rows(sets: Sequence, image_scale=1.0, text_scale=1.0, *, scales=None, unit=False) -> dict[str, NDArray]:
    """{"fake", "real", "text"}: the rows themselves, of length 1 if asked, times their scale."""
    image_scale, text_scale = _scales(image_scale, text_scale, scales)
    rows = {}
    for (key, name), what in zip(SETS.items(), sets, strict=True):
        rows[key] = (_unit if unit else as_rows)(what, name) * (text_scale if key == "text" else image_scale)
    return rows


def _sizes(rows: Mapping[str, NDArray]) -> list[int]:
    """The different sizes of the sets: one choice of rows is made for each."""
    return sorted({len(one) for one in rows.values()})


def _chosen(rows: Mapping[str, NDArray], of: Sequence[NDArray]) -> dict[str, Gaussian]:
    """The Gaussians of chosen rows, ``of`` as long as :func:`_sizes`; sets of one size have one choice, as pairs."""
    which = dict(zip(_sizes(rows), of, strict=True))
    return {name: Gaussian.of_rows(one[which[len(one)]], SETS[name]) for name, one in rows.items()}


def _together(rows: Mapping[str, NDArray]) -> str:
    groups = [[SETS[name] for name, one in rows.items() if len(one) == size] for size in _sizes(rows)]
    return "; ".join(" and ".join(names) + (" together" if len(names) > 1 else " alone") for names in groups)
