"""Are the drawn images like real ones, and are all kinds of real ones drawn? Two questions that one FID mixes.

A set's manifold is estimated by balls: around each of its points x one that reaches as far as NND_k(x), the distance
to x's k-th nearest neighbour in the same set. With N real features X_i and M of drawn images Y_j:

    precision = 1/M sum_j 1[|Y_j - X_i| <= NND_k(X_i) for some i]      is a drawn image among real ones?
    recall    = 1/N sum_i 1[|X_i - Y_j| <= NND_k(Y_j) for some j]      is a real image among drawn ones?
    density   = 1/(k M) sum_j sum_i 1[|Y_j - X_i| < NND_k(X_i)]        among how many real ones?
    coverage  = 1/N sum_i 1[|Y_j - X_i| < NND_k(X_i) for some j]       has a real image a drawn one nearby?

Precision and recall: Kynkaanniemi et al. 2019, with their k = 3. Density and coverage: Naeem et al. 2020, with their
k = 5; they use the real images' balls only, because a single stray image has a ball so large that it takes in
everything: stray real images raise precision, and stray drawn ones raise recall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from t2i_core.config import UserError
from t2i_core.metrics.stats import Value, as_rows, mean, proportion

NEAREST = 3  # k of precision and recall
DENSE_NEAREST = 5  # k of density and coverage
CHUNK = 512  # rows of distances at once: 40 MB for 10,000 images
ROUNDING = 1e-11  # of the squared lengths: float64 rounds a thousand times more finely


@dataclass(frozen=True)
class Balls:
    """What each image finds: precise (M,) and covered, recalled (N,) of 0 and 1; crowd (M,), in how many real images'
    balls each drawn image lies."""

    precise: Tensor
    crowd: Tensor
    recalled: Tensor
    covered: Tensor


def precision_recall(
    real_features: ArrayLike | Tensor,
    fake_features: ArrayLike | Tensor,
    protocol: Mapping[str, Any] | None = None,
    seed: int = 0,
    k: int = NEAREST,
    dense_k: int = DENSE_NEAREST,
) -> dict[str, Value]:
    """{"precision", "recall", "coverage": shares in 0..1, "density": 0 or more, 1 where both sets are alike}.

    real_features (N, d), fake_features (M, d), of one extractor; at least max(k, dense_k) + 1 rows of each (UserError).

    Intervals: precision and density are means over the drawn images, recall and coverage over the real ones (Wilson's
    for shares, BCa for density; ``seed``). Each takes all balls as they are, so it holds what other images of the first
    set would change and not what another second set, or other radii, would. The values also depend on both sizes,
    because balls shrink as a set grows: compare at equal N and M only.
    """
    real, fake = as_rows(real_features, "real images"), as_rows(fake_features, "generated images")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"real images have {real.shape[1]} features and generated {fake.shape[1]}: use one extractor")
    for name, rows in (("real", real), ("generated", fake)):
        if len(rows) <= (most := max(k, dense_k)):
            raise UserError(
                f"{len(rows)} {name} images are too few for balls that reach to the nearest neighbor no. {most}: at "
                f"least {most + 1} are needed, so measure more images"
            )
    found = balls(torch.from_numpy(real), torch.from_numpy(fake), k, dense_k)
    told = {**(protocol or {}), "real_images": len(real), "features": real.shape[1], "distance": "Euclidean"}
    close, dense = ({**told, "k": one} for one in (k, dense_k))
    given = {"interval_given": "the balls of the real images"}
    return {
        "precision": proportion(found.precise.numpy(), protocol=close | given),
        "recall": proportion(
            found.recalled.numpy(), protocol=close | {"interval_given": "the balls of the drawn images"}
        ),
        "density": mean(found.crowd.numpy() / dense_k, dense | given, seed),
        "coverage": proportion(
            found.covered.numpy(), protocol=dense | {"interval_given": "the drawn images, and the balls' radii"}
        ),
    }


def balls(real: Tensor, fake: Tensor, k: int, dense_k: int) -> Balls:
    """Which features (N, d) and (M, d), float64, lie in whose balls; one block of distances at a time.

    Balls are closed for k and open for dense_k, each as in its paper's program. Open ones make the density of a set
    within itself exactly 1.
    """
    centre = real.mean(0)  # far from 0 a difference of squares would lose digits
    real, fake = real - centre, fake - centre
    reach, dense_reach = radii(real, (k, dense_k))
    (fake_reach,) = radii(fake, (k,))
    precise, crowd = [], []
    recalled, covered = torch.zeros(2, len(real), dtype=torch.bool)
    for rows in torch.arange(len(fake)).split(CHUNK):
        apart, slack = squared_distances(fake[rows], real)
        closed = apart - slack
        precise.append((closed <= reach).any(1))
        recalled |= (closed <= fake_reach[rows, None]).any(0)
        near = apart.add_(slack) < dense_reach
        crowd.append(near.sum(1))
        covered |= near.any(0)
    return Balls(torch.cat(precise), torch.cat(crowd), recalled, covered)


def radii(points: Tensor, ks: tuple[int, ...]) -> list[Tensor]:
    """NND_k^2 (n,) of points (n, d) for each k: the squared distance to the k-th nearest of the others, copies too."""
    found = []
    for rows in points.split(CHUNK):
        # the point itself is always one of the nearest, at 0: the k-th of the others comes after it
        nearest = squared_distances(rows, points)[0].topk(max(ks) + 1, dim=1, largest=False).values
        found.append(nearest[:, list(ks)])
    return list(torch.cat(found).unbind(1))


def squared_distances(rows: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """|x - y|^2 = |x|^2 + |y|^2 - 2 x.y (a, b), and what counts as no difference between two of them.

    A product of matrices is many times as fast as differences, but its rounding depends on the block; and a point on
    the edge of a ball, such as a copy of the k-th neighbour, must lie there whatever the block.
    """
    lengths = rows.square().sum(1, keepdim=True) + others.square().sum(1)
    return torch.addmm(lengths, rows, others.T, alpha=-2), lengths.mul_(ROUNDING)
