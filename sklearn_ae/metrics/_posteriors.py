"""Posterior of the code given a row: a model's own, or that of the decoder read as a density.

A code that is a function of its row tells infinitely much of it. What it tells
beyond the noise is finite: rows are read as ``x | z ~ N(g(z), sigma^2 I)`` with g
the decoder, as probabilistic PCA and ``score_samples`` read them, and the code of a
row as what it says of z. Codes are kept in whitened coordinates u, in which one
floor fits all units and null directions are gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_array, resample

from sklearn_ae._utils.arrays import dense
from sklearn_ae._utils.gaussian import LOG_2PI
from sklearn_ae._utils.pipelines import before_last_step, last_step
from sklearn_ae._utils.transformers import decode, encode

MIN_ROWS = 10
_STEP = 1e-3  # of the finite differences, in standard deviations of the codes
_BLOCK_VALUES = 2**22  # decoded at a time
_NULL = 1e-12  # variance of a direction, relative to the largest, under which there is none
_EXACT = 1e-10  # share of the variance under which residuals are rounding errors
_BLIND = 1e-9  # squared effect of a direction on decoded rows, relative to the largest, that is none
_MAX_INFORMATION = 1e12  # of a row about a whitened direction: beyond it rounding errors decide
_FLOOR = 1e-8  # least share of the codes' variance that is not noise


@dataclass(frozen=True)
class Coordinates:
    """Affine coordinates u of the codes: ``z = mean + u @ basis``.

    Attributes
    ----------
    mean : ndarray of shape (k,)
    basis : ndarray of shape (r, k)
    inverse : ndarray of shape (k, r)
        ``u = (z - mean) @ inverse``.
    varying : ndarray of bool, shape (k,)
        The components that are not constant.
    """

    mean: np.ndarray
    basis: np.ndarray
    inverse: np.ndarray
    varying: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, covariance: np.ndarray) -> Coordinates:
        """Those in which this covariance is the identity."""
        variance = np.diag(covariance)
        varying = variance > np.finfo(float).eps ** 2 * np.maximum(mean**2, variance.max(initial=0.0))
        scale = np.sqrt(np.where(varying, variance, 1.0))
        correlation = covariance / np.outer(scale, scale) * np.outer(varying, varying)
        size, axes = np.linalg.eigh(correlation)
        kept = size > _NULL * max(size[-1], np.finfo(float).tiny)
        root = np.sqrt(size[kept])
        return cls(mean, (axes[:, kept] * root).T * scale, axes[:, kept] / root / scale[:, None], varying)

    @property
    def dependent(self) -> bool:
        """Whether some components are linear functions of others."""
        return len(self.basis) < int(self.varying.sum())

    @property
    def log_det(self) -> float:
        """Logarithm of the volume of z per volume of u, where no components are dependent."""
        return float(np.linalg.slogdet(self.basis[:, self.varying])[1])


@dataclass(frozen=True)
class Posteriors:
    """Normal posteriors of the codes of n rows, in whitened coordinates.

    Attributes
    ----------
    means : ndarray of shape (n, r)
    roots : ndarray of shape (n, r, r)
        Lower-triangular L with L L' the covariance.
    coordinates : Coordinates
    points : bool
        Whether a row determines its code, so that the covariances are zero.
    own : bool
        Whether the model has posteriors itself, and with them a prior N(0, I).
    """

    means: np.ndarray
    roots: np.ndarray
    coordinates: Coordinates
    points: bool
    own: bool

    def draws(self, n_draws: int, rng: np.random.RandomState) -> np.ndarray:
        """Draws of shape (n_draws, n, r), in pairs on either side of the mean; points are drawn once."""
        if self.points:
            return self.means[None]
        normal = rng.standard_normal(((n_draws + 1) // 2, *self.means.shape))
        normal = np.concatenate([normal, -normal])[:n_draws]
        return self.means + np.einsum("nij,mnj->mni", self.roots, normal)

    def negentropy(self) -> float:
        """Mean over the rows of E log q(u | x)."""
        log_det = np.log(np.diagonal(self.roots, axis1=1, axis2=2)).sum(axis=1).mean()
        return float(-log_det - 0.5 * self.means.shape[1] * (LOG_2PI + 1))

    def codes(self, u: np.ndarray) -> np.ndarray:
        """Components that vary, of coordinates (..., r)."""
        where = self.coordinates
        return where.mean[where.varying] + u @ where.basis[:, where.varying]

    def component_variances(self) -> np.ndarray:
        """Posterior variance of each component that varies, of shape (n, k)."""
        basis = self.coordinates.basis[:, self.coordinates.varying]
        return np.square(np.einsum("nij,ik->njk", self.roots, basis)).sum(axis=1)


def some_rows(max_samples: int, rng: np.random.RandomState, X: Any, *others: Any) -> list[Any]:
    """X and what has as many rows; a random choice of rows where there are more."""
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if n < MIN_ROWS:
        raise ValueError(f"X must have at least {MIN_ROWS} rows, whose codes are compared; got {n}.")
    if n <= max_samples:
        return [X, *others]
    chosen = resample(X, *others, replace=False, n_samples=max_samples, random_state=rng)
    return chosen if others else [chosen]


def own_posterior(model: Any, X: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Means and standard deviations by the model's ``posterior``, where it has one."""
    last = last_step(model)
    if not hasattr(last, "posterior"):
        return None
    mean, std = (np.asarray(part, dtype=np.float64) for part in last.posterior(before_last_step(model, X)))
    return mean, std


def posteriors(model: Any, X: Any) -> Posteriors:
    """Posteriors of the codes of rows X: the model's own ones, or those of its decoder."""
    own = own_posterior(model, X)
    return _own(*own) if own is not None else _of_decoder(model, X)


def posteriors_or_points(model: Any, X: Any) -> Posteriors:
    """The model's own posteriors of the codes of rows X, or else the codes as they are."""
    own = own_posterior(model, X)
    return _own(*own) if own is not None else _points(encode(model, X, "X"))


def _own(mean: np.ndarray, std: np.ndarray) -> Posteriors:
    where = Coordinates.of(mean.mean(axis=0), _covariance(mean) + np.diag(np.square(std).mean(axis=0)))
    scaled = where.inverse.T * std[:, None]
    roots = _lower_root(scaled @ scaled.transpose(0, 2, 1))
    return Posteriors((mean - where.mean) @ where.inverse, roots, where, points=False, own=True)


def _points(codes: np.ndarray) -> Posteriors:
    codes = codes.astype(np.float64)
    where = Coordinates.of(codes.mean(axis=0), _covariance(codes))
    u = (codes - where.mean) @ where.inverse
    return Posteriors(u, np.zeros((*u.shape, u.shape[1])), where, points=True, own=False)


def _covariance(codes: np.ndarray) -> np.ndarray:
    return np.cov(codes.T, bias=True).reshape(codes.shape[1], -1)


def _of_decoder(model: Any, X: Any) -> Posteriors:
    """Gauss-Newton posteriors: precision ``J'J / sigma^2 + S^-1``, and the mean between code and prior mean.

    The code counts as an estimate of z with information ``J'J / sigma^2``. S is the covariance of the
    codes less the noise's share in it, as in probabilistic PCA.
    """
    codes = encode(model, X, "X").astype(np.float64)
    points = _points(codes)
    u, where = points.means, points.coordinates
    rows = check_array(dense(X), dtype=np.float64, input_name="X")
    error = np.square(rows - decode(model, codes, np.float64)).sum(axis=1).mean()
    if not u.size or error <= _EXACT * rows.var(axis=0).sum():
        return points
    power, axes = np.linalg.eigh(_squared_jacobians(model, codes, where))
    seen = power > _BLIND * np.maximum(power[:, -1:], np.finfo(float).tiny)
    noise = error / max(1.0, rows.shape[1] - seen.sum(axis=1).mean())  # PCA's formula
    information = np.where(seen, np.minimum(power / noise, _MAX_INFORMATION), 0.0)
    prior = np.linalg.inv(_signal(information, axes))
    weight = (axes * information[:, None]) @ axes.transpose(0, 2, 1)
    means = np.linalg.solve(weight + prior, weight @ u[..., None])[..., 0]
    roots = _lower_root(np.linalg.inv(weight + prior))
    return Posteriors(means, roots, where, points=False, own=False)


def _lower_root(covariances: np.ndarray) -> np.ndarray:
    """Cholesky factors, floored at standard deviations of 1e-6 of the codes'."""
    size, axes = np.linalg.eigh(covariances)
    root = axes * np.sqrt(np.maximum(size, 1.0 / _MAX_INFORMATION))[:, None]
    upper = np.linalg.qr(root.transpose(0, 2, 1), mode="r")
    sign = np.sign(np.diagonal(upper, axis1=1, axis2=2))[..., None]
    return (upper * sign).transpose(0, 2, 1)


def _squared_jacobians(model: Any, codes: np.ndarray, where: Coordinates) -> np.ndarray:
    """J'J of the decoder in whitened coordinates at each code, by central differences: (n, r, r)."""
    r = len(where.basis)
    n_features = decode(model, codes[:1], np.float64).shape[1]
    steps = _STEP * np.concatenate([where.basis, -where.basis])
    size = max(1, _BLOCK_VALUES // (2 * max(r, 1) * n_features))
    parts = []
    for start in range(0, len(codes), size):
        moved = decode(model, codes[start : start + size, None] + steps, np.float64)
        jacobian = (moved[:, :r] - moved[:, r:]) / (2 * _STEP)
        parts.append(jacobian @ jacobian.transpose(0, 2, 1))
    return np.concatenate(parts)


def _signal(information: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Prior covariance: the identity less the mean of the noise's covariance, floored.

    Directions in which the decoder is blind tell nothing of the noise, and take no share of it.
    """
    part = np.where(information > 0, 1.0 / np.maximum(information, 1.0), 0.0)
    share = np.mean((axes * part[:, None]) @ axes.transpose(0, 2, 1), axis=0)
    size, basis = np.linalg.eigh(share)
    return (basis * np.maximum(1.0 - size, _FLOOR)) @ basis.T
