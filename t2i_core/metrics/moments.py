"""Mean and covariance of features: batch by batch, from a pair, from an .npz; and the root that distances need.

A covariance C is kept as a root A with C = A A^T (d, r), r its rank. A root is never complex whatever the rank, and for
fewer rows than features it is the centred rows themselves, so that no (d, d) matrix is ever made.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.lapack import dpotrf, dpstrf
from torch import Tensor

from t2i_core.config import UserError, atomic_write
from t2i_core.metrics.stats import as_rows

INDEFINITE = 1e-4  # a more negative eigenvalue than this share of the largest is no rounding, float32's included


class Moments:
    """Mean and covariance of rows that come in batches, so that 30,000 images need no stored features; float64.

    The parallel update of Chan, Golub and LeVeque (1979): with n rows of mean mu and scatter S, and m more of nu and T,
    the scatter of all is S + T + n m / (n + m) (nu - mu)(nu - mu)^T. Nothing cancels, however far the mean is from 0.
    """

    def __init__(self, name: str = "features"):
        self.name, self.n = name, 0
        self._mu: NDArray[np.float64] = np.zeros(0)
        self._scatter: NDArray[np.float64] = np.zeros((0, 0))

    def update(self, features: ArrayLike | Tensor) -> Moments:
        """Count the rows of features (m, d), m >= 1, and return itself. Rows that are refused leave it as it was."""
        rows = as_rows(features, self.name, at_least=1)
        mu = rows.mean(0)
        centred = rows - mu
        self._join(len(rows), mu, centred.T @ centred)
        return self

    def merge(self, other: Moments) -> Moments:
        """Count all rows of ``other`` too, such as those of another process, and return itself."""
        if other.n:
            self._join(other.n, other._mu, other._scatter)
        return self

    def _join(self, m: int, mu: NDArray, scatter: NDArray) -> None:
        if not self.n:
            self._mu, self._scatter = np.zeros_like(mu), np.zeros_like(scatter)
        if mu.shape != self._mu.shape:
            raise ValueError(f"{self.name} have {len(self._mu)} columns so far and now {len(mu)}: use one extractor")
        apart, total = mu - self._mu, self.n + m
        self._scatter = self._scatter + scatter + np.outer(apart, apart) * (self.n * m / total)
        self._mu = self._mu + apart * (m / total)
        self.n = total

    @property
    def mu(self) -> Tensor:
        """Mean (d,); no rows raise UserError."""
        self._needs(1)
        return torch.from_numpy(self._mu.copy())

    @property
    def cov(self) -> Tensor:
        """Unbiased covariance (d, d); fewer than two rows raise UserError."""
        self._needs(2)
        return torch.from_numpy(self._scatter / (self.n - 1))

    def _needs(self, rows: int) -> None:
        if self.n < rows:
            raise UserError(f"{self.n} {self.name} are too few: at least {rows} are needed, so measure more images")

    def save(self, path: str | Path) -> Path:
        """Write `mu`, `sigma` and `n` as the .npz that FID's and CMD's programs exchange; whole or not at all."""
        content = io.BytesIO()
        np.savez(content, mu=self.mu.numpy(), sigma=self.cov.numpy(), n=self.n)
        return atomic_write(path, content.getvalue())


Features = ArrayLike | Tensor | Moments | tuple[Tensor, Tensor] | str | os.PathLike


@dataclass(frozen=True)
class Gaussian:
    """N(mu, A A^T): mu (d,), root A (d, r), float64; ``n`` rows it was estimated from, None where nobody said."""

    mu: NDArray[np.float64]
    root: NDArray[np.float64]
    n: int | None = None

    @classmethod
    def of(cls, what: Features, name: str = "features") -> Gaussian:
        """Features (n, d), a pair (mu, cov), `Moments`, or the path of an .npz with `mu` and `sigma`.

        UserError: too few rows, or no such file; ValueError: shapes that do not fit, or no covariance;
        FloatingPointError: numbers that are not finite.
        """
        if isinstance(what, str | os.PathLike):
            return cls._of_file(Path(what), name)
        if isinstance(what, Moments):
            return cls.of_moments(what.mu, what.cov, name, what.n)
        if _is_pair(what):
            return cls.of_moments(*what, name)
        return cls.of_rows(what, name)

    @classmethod
    def of_rows(cls, features: ArrayLike | Tensor, name: str = "features") -> Gaussian:
        """Features (n, d), n >= 2; for n <= d the root is the centred rows, which costs no decomposition."""
        rows = as_rows(features, name)
        mu = rows.mean(0)
        centred = rows - mu
        if len(rows) <= rows.shape[1]:
            return cls(mu, centred.T / np.sqrt(len(rows) - 1), len(rows))
        # written out, because np.cov takes twice as long and a bootstrap calls this hundreds of times
        return cls(mu, square_root(centred.T @ centred / (len(rows) - 1), name), len(rows))

    @classmethod
    def of_moments(
        cls, mu: ArrayLike | Tensor, cov: ArrayLike | Tensor, name: str = "features", n: int | None = None
    ) -> Gaussian:
        """Mean (d,) and covariance (d, d), symmetric and positive semidefinite up to rounding, of any rank."""
        mu, cov = _float64(mu, f"the mean of {name}"), _float64(cov, f"the covariance of {name}")
        if mu.ndim != 1 or cov.shape != (len(mu), len(mu)):
            raise ValueError(f"{name}: a mean must be (d,) and its covariance (d, d), not {mu.shape} and {cov.shape}")
        return cls(mu, square_root(cov, name), n)

    @classmethod
    def _of_file(cls, path: Path, name: str) -> Gaussian:
        if not path.is_file():
            raise UserError(f"{name}: there is no file {path}; give the path of an .npz with `mu` and `sigma`")
        try:
            with np.load(path, allow_pickle=False) as held:
                n = int(held["n"]) if "n" in held else None
                mu, cov = held["mu"], held["sigma"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{name}: {path} is no .npz with `mu` and `sigma`: {error}; write one with Moments.save"
            ) from error
        return cls.of_moments(mu, cov, f"{name} ({path.name})", n)

    def scaled(self, scale: float) -> Gaussian:
        """That of ``scale`` times the features."""
        return self if scale == 1 else Gaussian(scale * self.mu, scale * self.root, self.n)


def is_rows(what: Features) -> bool:
    """Are these the features themselves, and not statistics of them?"""
    return not (isinstance(what, str | os.PathLike | Moments) or _is_pair(what))


def _is_pair(what: object) -> bool:
    """Is it a (mu, cov) tuple? A tuple of feature rows has one-dimensional members."""
    return isinstance(what, tuple) and len(what) == 2 and np.ndim(what[1]) == 2


def square_root(cov: NDArray[np.float64], name: str = "features") -> NDArray[np.float64]:
    """Covariance C (d, d) -> A (d, r) with A A^T = C: Cholesky's, or with pivots, which stops at the rank.

    C may lack symmetry and definiteness by rounding; what is more raises ValueError.
    """
    largest = np.abs(cov).max(initial=0.0)
    probe = np.random.default_rng(0).normal(size=len(cov))  # a product costs a tenth of what comparing entries does
    if np.abs(cov @ probe - probe @ cov).max(initial=0.0) > INDEFINITE * len(cov) ** 0.5 * largest:
        raise ValueError(f"{name}: a covariance is symmetric, and this matrix is not")
    cov = cov.T  # lies in memory as LAPACK wants it
    factor, stopped_at = dpotrf(cov, lower=1, clean=1)
    if not stopped_at:
        return factor
    factor, pivots, rank, _ = dpstrf(cov, lower=1)
    root = np.empty((len(cov), rank))
    root[pivots - 1] = np.tril(factor)[:, :rank]
    # what is left behind is rounding; where a matrix came in float32 it may be more, and poison the last columns
    if rank < len(cov) and np.abs(cov - root @ root.T).max() > 1e-10 * largest:
        values, vectors = np.linalg.eigh(cov)
        if values[0] < -INDEFINITE * values[-1]:
            raise ValueError(f"{name}: a covariance has no negative eigenvalue, and this matrix has {values[0]:.3g}")
        root = vectors * np.sqrt(values.clip(min=0))
    return root


def _float64(values: ArrayLike | Tensor, name: str) -> NDArray[np.float64]:
    values = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if np.iscomplexobj(values) or values.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be real numbers, not {values.dtype}")
    if not np.isfinite(values).all():
        raise FloatingPointError(f"{name} is not finite: an image holds NaN or infinity")
    return values.astype(np.float64)
