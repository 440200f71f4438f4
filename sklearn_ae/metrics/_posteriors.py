"""Posteriors of the codes: the model's own, or those of its decoder read as a density.

The mutual information with a deterministic code is infinite; read as a noisy channel,
the decoder makes it finite. Samples are modelled as ``x | z ~ N(g(z), sigma^2 I)`` with
g the decoder, as in probabilistic PCA and ``score_samples``, and the code of a sample
as an observation of z. Codes are kept in whitened coordinates u, which have no null
directions, so that one floor on the variances suits all units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import resample

from sklearn_ae._utils.arrays import check_array, dense
from sklearn_ae._utils.gaussian import LOG_2PI
from sklearn_ae._utils.pipelines import before_last_step, last_step
from sklearn_ae._utils.transformers import decode, encode

MIN_SAMPLES = 10
_STEP = 1e-3  # Step of the finite differences, in standard deviations of the codes
_BLOCK_VALUES = 2**22  # Number of values decoded at a time
_NULL = 1e-12  # Relative variance below which a direction counts as null
_EXACT = 1e-10  # Share of the variance below which residuals are rounding errors
_UNSEEN = 1e-9  # Relative squared effect below which the decoder ignores a direction
_MAX_INFORMATION = 1e12  # Precision of a whitened direction above which rounding errors dominate
_FLOOR = 1e-8  # Smallest share of the codes' variance that is not noise


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
        Mask of the components that are not constant.
    """

    mean: np.ndarray
    basis: np.ndarray
    inverse: np.ndarray
    varying: np.ndarray

    @classmethod
    def whitening(cls, mean: np.ndarray, covariance: np.ndarray) -> Coordinates:
        """Return the coordinates in which this covariance is the identity.

        They are given by the symmetric square root of the correlation, which is continuous. The
        eigenvectors are not: those of nearly uncorrelated codes depend on rounding errors.
        """
        variance = np.diag(covariance)
        varying = variance > np.finfo(float).eps ** 2 * np.maximum(mean**2, variance.max(initial=0.0))
        scale = np.sqrt(np.where(varying, variance, 1.0))
        correlation = covariance / np.outer(scale, scale) * np.outer(varying, varying)
        size, axes = np.linalg.eigh(correlation)
        kept = size > _NULL * max(size[-1], np.finfo(float).tiny)
        root, axes = np.sqrt(size[kept]), axes[:, kept]
        rotation = axes.T @ _canonical_basis(axes, varying)
        basis = rotation.T @ (axes * root).T * scale
        inverse = (axes / root) @ rotation / scale[:, None]
        return cls(mean, basis, inverse, varying)

    @property
    def dependent(self) -> bool:
        """True if some components are linear functions of others."""
        return len(self.basis) < int(self.varying.sum())

    @property
    def log_det(self) -> float:
        """Logarithm of the volume of z per volume of u, if no components are dependent."""
        return float(np.linalg.slogdet(self.basis[:, self.varying])[1])


def _canonical_basis(axes: np.ndarray, varying: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (k, r) that depends on the span of the axes only, and continuously."""
    if axes.shape[1] == varying.sum():
        return np.eye(len(varying))[:, varying]
    generic = np.random.RandomState(0).standard_normal(axes.shape)
    basis, upper = np.linalg.qr(axes @ (axes.T @ generic))
    return basis * np.sign(np.diag(upper))


@dataclass(frozen=True)
class Posteriors:
    """Normal posteriors of the codes of n samples, in whitened coordinates.

    Attributes
    ----------
    means : ndarray of shape (n, r)
    roots : ndarray of shape (n, r, r)
        Lower-triangular L with L L' the covariance.
    coordinates : Coordinates
    deterministic : bool
        True if a sample determines its code, so that the covariances are zero.
    from_model : bool
        True if the posteriors are the model's own. It then has the prior N(0, I) as well.
    """

    means: np.ndarray
    roots: np.ndarray
    coordinates: Coordinates
    deterministic: bool
    from_model: bool

    def draws(self, n_draws: int, rng: np.random.RandomState) -> np.ndarray:
        """Return antithetic draws of shape (n_draws, n, r), or the codes once if deterministic."""
        if self.deterministic:
            return self.means[None]
        normal = rng.standard_normal(((n_draws + 1) // 2, *self.means.shape))
        normal = np.concatenate([normal, -normal])[:n_draws]
        return self.means + np.einsum("nij,mnj->mni", self.roots, normal)

    def negentropy(self) -> float:
        """Return the mean over the samples of E log q(u | x)."""
        log_det = np.log(np.diagonal(self.roots, axis1=1, axis2=2)).sum(axis=1).mean()
        return float(-log_det - 0.5 * self.means.shape[1] * (LOG_2PI + 1))

    def codes(self, u: np.ndarray) -> np.ndarray:
        """Return the varying components of the codes with coordinates (..., r)."""
        varying = self.coordinates.varying
        return self.coordinates.mean[varying] + u @ self.coordinates.basis[:, varying]

    def component_variances(self) -> np.ndarray:
        """Return the posterior variances of the varying components, of shape (n, k)."""
        basis = self.coordinates.basis[:, self.coordinates.varying]
        return np.square(np.einsum("nij,ik->njk", self.roots, basis)).sum(axis=1)


def count_samples(X: Any) -> int:
    """Return the number of samples; raise ValueError if there are fewer than ``MIN_SAMPLES``."""
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if n < MIN_SAMPLES:
        raise ValueError(f"X must have at least {MIN_SAMPLES} samples to compare their codes; got {n}.")
    return n


def subsample(max_samples: int, rng: np.random.RandomState, X: Any, *others: Any) -> list[Any]:
    """Return X and the arrays beside it, or the same random choice from all of them."""
    if count_samples(X) <= max_samples:
        return [X, *others]
    chosen = resample(X, *others, replace=False, n_samples=max_samples, random_state=rng)
    return chosen if others else [chosen]


def model_posterior(model: Any, X: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return means and standard deviations from the model's ``posterior``, or None without one."""
    last = last_step(model)
    if not hasattr(last, "posterior"):
        return None
    mean, std = (np.asarray(part, dtype=np.float64) for part in last.posterior(before_last_step(model, X)))
    return mean, std


def posteriors(model: Any, X: Any) -> Posteriors:
    """Return the model's own posteriors of the codes of X, or those of its decoder."""
    own = model_posterior(model, X)
    return _from_model(*own) if own is not None else _from_decoder(model, X)


def posteriors_or_codes(model: Any, X: Any) -> Posteriors:
    """Return the model's own posteriors of the codes of X, or the codes as deterministic posteriors."""
    own = model_posterior(model, X)
    return _from_model(*own) if own is not None else _from_codes(encode(model, X, "X"))


def _from_model(mean: np.ndarray, std: np.ndarray) -> Posteriors:
    covariance = _covariance(mean) + np.diag(np.square(std).mean(axis=0))
    coordinates = Coordinates.whitening(mean.mean(axis=0), covariance)
    scaled = coordinates.inverse.T * std[:, None]
    roots = _lower_root(scaled @ scaled.transpose(0, 2, 1))
    means = (mean - coordinates.mean) @ coordinates.inverse
    return Posteriors(means, roots, coordinates, deterministic=False, from_model=True)


def _from_codes(codes: np.ndarray) -> Posteriors:
    codes = codes.astype(np.float64)
    coordinates = Coordinates.whitening(codes.mean(axis=0), _covariance(codes))
    u = (codes - coordinates.mean) @ coordinates.inverse
    roots = np.zeros((*u.shape, u.shape[1]))
    return Posteriors(u, roots, coordinates, deterministic=True, from_model=False)


def _covariance(codes: np.ndarray) -> np.ndarray:
    return np.cov(codes.T, bias=True).reshape(codes.shape[1], -1)


def _from_decoder(model: Any, X: Any) -> Posteriors:
    """Return Gauss-Newton posteriors with precision ``J'J / sigma^2 + S^-1``.

    The code is an estimate of z with information ``J'J / sigma^2``, and the posterior mean lies
    between it and the prior mean. S is the covariance of the codes less the noise's share in it, as in
    probabilistic PCA.
    """
    codes = encode(model, X, "X").astype(np.float64)
    exact = _from_codes(codes)
    u, coordinates = exact.means, exact.coordinates
    X = check_array(dense(X), dtype=np.float64, input_name="X")
    error = np.square(X - decode(model, codes, np.float64)).sum(axis=1).mean()
    if not u.size or error <= _EXACT * X.var(axis=0).sum():
        return exact
    power, axes = np.linalg.eigh(_squared_jacobians(model, codes, coordinates))
    seen = power > _UNSEEN * np.maximum(power[:, -1:], np.finfo(float).tiny)
    noise = error / max(1.0, X.shape[1] - seen.sum(axis=1).mean())  # As in probabilistic PCA
    information = np.where(seen, np.minimum(power / noise, _MAX_INFORMATION), 0.0)
    prior = np.linalg.inv(_signal_covariance(information, axes))
    weight = (axes * information[:, None]) @ axes.transpose(0, 2, 1)
    means = np.linalg.solve(weight + prior, weight @ u[..., None])[..., 0]
    roots = _lower_root(np.linalg.inv(weight + prior))
    return Posteriors(means, roots, coordinates, deterministic=False, from_model=False)


def _lower_root(covariances: np.ndarray) -> np.ndarray:
    """Return Cholesky factors, floored at 1e-6 standard deviations of the codes."""
    size, axes = np.linalg.eigh(covariances)
    root = axes * np.sqrt(np.maximum(size, 1.0 / _MAX_INFORMATION))[:, None]
    upper = np.linalg.qr(root.transpose(0, 2, 1), mode="r")
    sign = np.sign(np.diagonal(upper, axis1=1, axis2=2))[..., None]
    return (upper * sign).transpose(0, 2, 1)


def _squared_jacobians(model: Any, codes: np.ndarray, coordinates: Coordinates) -> np.ndarray:
    """Return J'J (n, r, r) of the decoder in whitened coordinates, by central differences."""
    r = len(coordinates.basis)
    n_features = decode(model, codes[:1], np.float64).shape[1]
    steps = _STEP * np.concatenate([coordinates.basis, -coordinates.basis])
    size = max(1, _BLOCK_VALUES // (2 * max(r, 1) * n_features))
    parts = []
    for start in range(0, len(codes), size):
        moved = decode(model, codes[start : start + size, None] + steps, np.float64)
        jacobian = (moved[:, :r] - moved[:, r:]) / (2 * _STEP)
        parts.append(jacobian @ jacobian.transpose(0, 2, 1))
    return np.concatenate(parts)


def _signal_covariance(information: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the prior covariance: the identity less the mean covariance of the noise, floored.

    Directions that the decoder ignores carry no estimate of the noise, and are left out of it.
    """
    variance = np.where(information > 0, 1.0 / np.maximum(information, 1.0), 0.0)
    share = np.mean((axes * variance[:, None]) @ axes.transpose(0, 2, 1), axis=0)
    size, basis = np.linalg.eigh(share)
    return (basis * np.maximum(1.0 - size, _FLOOR)) @ basis.T
