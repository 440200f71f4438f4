"""The linear model that a VAE with a full noise covariance starts from: a shrunk normal distribution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import linalg
from sklearn.utils.extmath import svd_flip

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._data.sources import Source
from sklearn_ae._model.linear_gaussian import FEW, LEAST_NOISE, LinearGaussian, Scatter, shared_noise
from sklearn_ae._model.pca import InitialPCA, fit_pca, total_variance
from sklearn_ae._model.whitening import Whitening

_MAX_FEATURES = 500  # with more, the covariance has a low rank plus a multiple of the identity
_MAX_DIRECTIONS = 100  # of that rank
_MIN_HELD_OUT = 4  # samples that choose the rank
_EPS = float(np.finfo(np.float64).eps)
_SHRINKAGES = np.geomspace(1e-6, 1.0, 49)


def shrunk_normal(samples: Any, initial: InitialPCA, k: int, seed: int) -> LinearGaussian:
    """Return N(0, S) as a linear model with full noise covariance.

    S is the covariance of the samples, shrunk towards a multiple of the identity or towards
    its diagonal, whichever has the higher likelihood on held-out samples, as has the intensity
    (cross-validated in five folds).

    Parameters
    ----------
    samples : ArraySamples or Source
    initial : InitialPCA
        Defines the working units.
    k : int
        Number of components that are signal.
    seed : int
        Of randomized solvers and of the held-out samples of wide data.
    """
    d = samples.shape[1]
    if d > _MAX_FEATURES:
        n_axes = min(initial.pca.n_components_ + _MAX_DIRECTIONS, d)  # does not depend on X, for warm starts
        return _divided(*_leading_spectrum(samples, initial, seed), k, n_axes)
    S = _shrunk_covariance(Scatter.folds(samples, initial), shared_noise(initial))
    spectrum, axes = linalg.eigh(S, check_finite=False)
    best = _divided(spectrum[::-1].copy(), axes.T[::-1].copy(), 0.0, k, d)
    return best if samples.shape[0] <= FEW else replace(best, smoother=_with_isotropic_noise(best))


def _with_isotropic_noise(linear: LinearGaussian) -> LinearGaussian:
    """Return the model with the noise variance along the axes of the signal in all directions."""
    assert linear.whitening is not None
    axes, noise = linear.whitening.axes, linear.noise / float(linear.whitening.scale) ** 2
    isotropic = Whitening(axes, torch.zeros_like(linear.whitening.stretch), mixes=True)
    return replace(linear, whitening=isotropic, noise=noise)


def _divided(spectrum: np.ndarray, axes: np.ndarray, rest: float, k: int, n_axes: int) -> LinearGaussian:
    """Divide a covariance into a signal in its k leading directions and noise.

    The noise variance in these directions is the mean of all other variances, as in
    probabilistic PCA, and all other variances are noise. Signal and noise have the same axes,
    so that the posterior has independent components.

    Parameters
    ----------
    spectrum : ndarray of shape (m,)
        Leading variances in decreasing order.
    axes : ndarray of shape (m, d)
        Their directions.
    rest : float
        Variance in all other directions, if there are others.
    k : int
    n_axes : int
        Number of axes of the whitening, at least m.
    """
    m, d = axes.shape
    spectrum = np.maximum(spectrum, LEAST_NOISE)
    rest = max(rest, LEAST_NOISE)
    noise = float((spectrum[k:].sum() + (d - m) * rest) / (d - k)) if d > k else float(spectrum[-1])
    signal = np.maximum(spectrum[:k] - noise, 0.0)
    leading = svd_flip(None, axes[:k], u_based_decision=False)[1]
    # The whitening stretches all axes until the noise along them has the variance `base`.
    base = noise if m == d else rest
    variances = np.concatenate([np.full(k, noise), spectrum[k:]])
    stretch = np.pad(np.sqrt(base / variances) - 1.0, (0, n_axes - m))
    basis = np.pad(axes, ((0, n_axes - m), (0, 0)))
    whitening = Whitening(torch.from_numpy(basis), torch.from_numpy(stretch), mixes=d <= _MAX_FEATURES)
    return LinearGaussian(
        np.sqrt(signal)[:, None] * leading,
        (np.sqrt(signal) / (signal + noise))[:, None] * leading,
        noise / (signal + noise),
        np.full(d, base * float(whitening.scale) ** 2),
        is_pca=False,
        whitening=whitening,
        gains=signal + noise,
    )


# -- all directions -------------------------------------------------------------------------


def _shrunk_covariance(folds: list[Scatter], shared: float) -> np.ndarray:
    """Return the covariance of all folds, with target and intensity chosen by cross-validation."""
    covariances = [fold.root.T @ fold.root for fold in folds]
    sizes = np.array([fold.n for fold in folds])
    whole = sum(n * C for n, C in zip(sizes, covariances, strict=True)) / max(sizes.sum(), 1)
    likelihoods = np.zeros((2, len(_SHRINKAGES)))
    for n, C in zip(sizes, covariances, strict=True):
        if 0 < n < sizes.sum():
            others = (sizes.sum() * whole - n * C) / (sizes.sum() - n)
            likelihoods += n * np.stack(
                [_log_likelihoods(others, C, unit) for unit in _units(others, shared)]
            )
    target, i = np.unravel_index(likelihoods.argmax(), likelihoods.shape)
    return _shrunk(whole, _units(whole, shared)[target], _SHRINKAGES[i])


def _units(C: np.ndarray, shared: float) -> list[np.ndarray]:
    """Return the standard deviations of the features under both targets of the shrinkage.

    Features without variance get that of the ``shared`` noise.
    """
    variances = np.diag(C)
    mean = max(float(variances.mean()), LEAST_NOISE)
    own = np.where(variances > _EPS * mean, variances, max(shared, LEAST_NOISE))
    return [np.sqrt(np.full_like(variances, mean)), np.sqrt(own)]


def _shrunk(C: np.ndarray, unit: np.ndarray, intensity: float) -> np.ndarray:
    return (1.0 - intensity) * C + intensity * np.diag(unit**2)


def _log_likelihoods(C: np.ndarray, held_out: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return twice the mean log-density of samples with covariance ``held_out`` for each intensity."""
    scale = np.outer(unit, unit)
    spectrum, axes = linalg.eigh(C / scale, check_finite=False)
    power = np.einsum("ij,ij->j", axes, (held_out / scale) @ axes)
    return _by_intensity(spectrum, power, 1.0) - 2.0 * np.log(unit).sum()


def _by_intensity(spectrum: np.ndarray, power: np.ndarray, target: float) -> np.ndarray:
    """Return twice the log-density for variances shrunk to ``target``, given the mean squares of samples."""
    a = _SHRINKAGES[:, None]
    variances = (1.0 - a) * np.maximum(spectrum, 0.0) + a * target
    return -(np.log(variances) + power / variances).sum(axis=1)


# -- leading directions ---------------------------------------------------------------------


def _leading_spectrum(samples: Any, initial: InitialPCA, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the leading variances, their directions, and the variance in all others.

    Held-out samples choose the rank and the shrinkage towards the mean variance. Of out-of-core
    data, ten samples for each direction are enough.
    """
    n, d = samples.shape
    k = initial.pca.n_components_
    most = min(k + _MAX_DIRECTIONS, n - 2, d - 1)
    if isinstance(samples, Source):
        rank, intensity = min(most, max(k, n // 10)), 0.0
    else:
        rank, intensity = _best_rank(samples.array, k, min(most, n - n // 5 - 2), initial, seed)
    pca = fit_pca(samples, rank, seed) if rank > k else initial.pca
    spectrum, rest = _spectrum(pca, initial.scale)
    mean = (spectrum.sum() + (d - len(spectrum)) * rest) / d
    shrunk = (1.0 - intensity) * np.append(spectrum, rest) + intensity * mean
    return shrunk[:-1], np.array(pca.components_, dtype=np.float64), float(shrunk[-1])


def _best_rank(X: Any, k: int, most: int, initial: InitialPCA, seed: int) -> tuple[int, float]:
    """Return the rank and the shrinkage with the highest likelihood on every fifth sample."""
    order = np.random.RandomState(seed).permutation(X.shape[0])
    n_held_out = X.shape[0] // 5
    if most <= k or n_held_out < _MIN_HELD_OUT:
        return k, 0.0
    d = X.shape[1]
    pca = fit_pca(ArraySamples(X[order[n_held_out:]]), most, seed)
    spectrum, rest = _spectrum(pca, initial.scale)
    power, total = np.zeros(len(spectrum)), 0.0
    for block in ArraySamples(X[order[:n_held_out]]).blocks():
        x = (block - pca.mean_) / initial.scale
        power += np.square(x @ pca.components_.T).sum(axis=0) / n_held_out
        total += np.square(x).sum() / n_held_out
    mean = (spectrum.sum() + (d - len(spectrum)) * rest) / d
    best = -np.inf, k, 0.0
    for rank in range(k, len(spectrum) + 1):
        n_rest = d - rank
        average = (spectrum[rank:].sum() + (d - len(spectrum)) * rest) / n_rest
        own = _by_intensity(spectrum[:rank], power[:rank], mean)
        variance = (1.0 - _SHRINKAGES) * average + _SHRINKAGES * mean
        own -= n_rest * np.log(variance) + (total - power[:rank].sum()) / variance
        best = max(best, (own.max(), rank, float(_SHRINKAGES[own.argmax()])))
    return best[1:]


def _spectrum(pca: Any, scale: float) -> tuple[np.ndarray, float]:
    """Return the variances of a PCA and the mean variance in all other directions, in working units.

    NOTE[DIFF]: with fewer samples than features, scikit-learn's noise variance is the mean over the
    directions that the samples span, which is far more than that over all other directions.
    """
    m, d = pca.components_.shape
    variances = np.asarray(pca.explained_variance_, dtype=np.float64)
    rest = (total_variance(pca) - variances.sum()) / max(d - m, 1)
    return np.maximum(variances / scale**2, LEAST_NOISE), max(rest / scale**2, LEAST_NOISE)
