"""The initial PCA: scikit-learn's for arrays, covariance or subspace iteration for out-of-core data."""

from __future__ import annotations

import copy
import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, sparse
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.utils.extmath import svd_flip

from sklearn_ae._data.dask_source import DaskSource
from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._data.sources import LARGE, Source
from sklearn_ae._model.incomplete import IncompleteFactors
from sklearn_ae._utils.arrays import dense

_EPS = float(np.finfo(np.float64).eps)

_FULL_SVD_MAX = 2_000  # smaller dimension of X up to which a full SVD is affordable


@dataclass(frozen=True)
class InitialPCA:
    """A PCA, and the working units that it defines: ``(X - offset) / scale``."""

    pca: Any
    offset: np.ndarray  # (d,), in double precision
    scale: Any  # float, or (d,) if each feature has its own
    pca_unit: float = 1.0  # working unit in units of the PCA

    @classmethod
    def of(cls, pca: Any, scales: np.ndarray | None = None) -> InitialPCA:
        """Return a PCA with its working units; the scale is the root of the mean feature variance.

        A PCA of features that were divided by ``scales`` has these as working units.
        """
        if scales is not None:
            return cls(pca, scales * np.asarray(pca.mean_, dtype=np.float64), scales)
        scale = math.sqrt(max(total_variance(pca), 0.0) / pca.components_.shape[1])
        scale = scale if scale > 0 and math.isfinite(scale) else 1.0
        return cls(pca, np.asarray(pca.mean_, dtype=np.float64), scale, scale)


def initial_pca(
    samples: Any, n_components: Any, seed: int, pca: Any = None, scales: np.ndarray | None = None
) -> InitialPCA:
    """Return the given PCA, or that of samples, which has as many components as they allow.

    Parameters
    ----------
    samples : ArraySamples or Source
    n_components : int or float
        As for PCA.
    seed : int
        Of a randomized solver.
    pca : PCA, default=None
    scales : ndarray of shape (d,), default=None
        By which the features are divided.
    """
    if pca is None:
        is_size = isinstance(n_components, (int, np.integer))
        pca = fit_pca(samples, min(n_components, *samples.shape) if is_size else n_components, seed, scales)
    return InitialPCA.of(pca, scales)


def in_pca_units(X: Any, scales: np.ndarray | None) -> Any:
    """Return samples with features divided by ``scales``, in their own precision."""
    if scales is None:
        return X
    unit = (1 / scales).astype(X.dtype)
    return X @ sparse.diags_array(unit).tocsr() if sparse.issparse(X) else X * unit


def fit_pca(samples: Any, n_components: Any, seed: int, scales: np.ndarray | None = None) -> PCA:
    """Return the fitted PCA of samples, by an exact solver if it is affordable.

    Parameters
    ----------
    samples : ArraySamples or Source
    n_components : int or float
        As for PCA.
    seed : int
        Of a randomized solver.
    scales : ndarray of shape (d,), default=None
        By which the features are divided.
    """
    is_stream, is_size = isinstance(samples, Source), _is_size(n_components)
    if not is_stream and samples.clean is not None:
        samples = samples.clean
    if scales is not None and is_stream:
        return _without_rounding(_scaled_covariance_pca(samples, n_components, scales))
    if scales is not None:
        samples = ArraySamples(in_pca_units(samples.array, scales), incomplete=samples.incomplete)
    if not is_stream and samples.incomplete:
        return _incomplete_pca(samples.array, n_components, seed)
    if is_size and n_components == 0:
        return _without_rounding(_pca_without_components(samples))
    if is_stream:
        return _without_rounding(streamed_pca(samples, n_components, seed))
    (n, d), is_sparse = samples.shape, sparse.issparse(samples.X)
    if d <= n / 10 and d <= 1_000 if is_sparse else d <= min(n, _FULL_SVD_MAX):
        pca = _without_rounding(_covariance_pca(samples, n_components, np.float64))
        if is_sparse or samples.dtype == np.float32 or not _loses_digits(pca):
            return pca  # an SVD is no more precise in single precision, and none is affordable if sparse
    X, shift = _without_mean(samples.array)
    if is_sparse and n * d <= LARGE:
        is_constant = (X.max(axis=0) - X.min(axis=0)).count_nonzero() == 0
        if is_constant or not (is_size and n_components < min(n, d)):
            X = X.toarray()  # an iterative solver finds neither all components nor those of equal samples
    if not sparse.issparse(X) and (min(n, d) <= _FULL_SVD_MAX or not is_size):
        solver = "full"
    else:
        solver = "arpack" if sparse.issparse(X) else "randomized"
    if solver == "arpack" and not is_size:
        raise ValueError(
            f"n_components={n_components} needs all components of X, which is too large for that as a sparse "
            f"matrix of shape {X.shape}; pass an integer."
        )
    if solver == "arpack":
        n_components = min(n_components, min(n, d) - 1)
    pca = _quiet_pca(X, n_components, solver, seed)
    if solver == "arpack" and n * d <= LARGE and _has_null_component(pca):
        solver = "full" if min(n, d) <= _FULL_SVD_MAX else "randomized"
        pca = _quiet_pca(X.toarray(), n_components, solver, seed)
    pca.mean_ = pca.mean_ + shift
    return _without_rounding(pca)


def _incomplete_pca(X: np.ndarray, n_components: Any, seed: int) -> PCA:
    """Return probabilistic PCA of samples with missing values."""
    most = min(X.shape)
    if not _is_size(n_components):  # a share of the variance
        spectrum = IncompleteFactors.fit(X, most, shared=True, seed=seed).as_pca(most)
        shares = np.cumsum(spectrum.explained_variance_ratio_)
        n_components = min(most, 1 + int(np.searchsorted(shares, n_components)))
    return IncompleteFactors.fit(X, n_components, shared=True, seed=seed).as_pca(n_components)


def _without_mean(X: Any) -> tuple[Any, Any]:
    """Return float32 samples less their mean, and that mean, because sums of float32 lose the digits of X.

    NOTE[DIFF]: scikit-learn's PCA adds up float32 in single precision, so that features
    whose mean is large compared with their spread are not centred. Sparse samples are
    converted to float64 instead.
    """
    if X.dtype != np.float32:
        return X, 0.0
    if sparse.issparse(X):
        return X.astype(np.float64), 0.0
    mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = X - mean
    if not 1e-12 < np.abs(centred).max() < 1e12:
        return X.astype(np.float64), 0.0  # sums of squares may leave the range of float32
    return centred, mean.astype(np.float64)


def _quiet_pca(X: Any, n_components: Any, solver: str, seed: int) -> PCA:
    with np.errstate(invalid="ignore", divide="ignore"):  # ratios of zero variance
        return PCA(n_components, svd_solver=solver, random_state=seed).fit(X)


def _loses_digits(pca: PCA) -> bool:
    """Return whether the smallest variance is close to the rounding errors of a covariance matrix.

    They are about ``_EPS`` of the largest variance; a singular value decomposition of X
    leaves that of the standard deviation.
    """
    variances = pca.explained_variance_
    return bool(variances[-1] <= math.sqrt(_EPS) * variances[0])


def _has_null_component(pca: PCA) -> bool:
    """Return whether the samples have a lower rank, for which ARPACK restarts from random vectors."""
    return bool(pca.explained_variance_[-1] <= _EPS * pca.explained_variance_[0])


def _without_rounding(pca: Any, tolerance: float = (10 * _EPS) ** 2) -> Any:
    """Set the spectrum of constant features to zero, which rounding makes positive.

    Parameters
    ----------
    pca : PCA
    tolerance : float
        Largest variance of a constant feature relative to its squared mean.
    """
    if total_variance(pca) <= tolerance * float(np.square(pca.mean_, dtype=float).sum()):
        pca.explained_variance_ = np.zeros_like(pca.explained_variance_)
        pca.singular_values_ = np.zeros_like(pca.singular_values_)
        pca.noise_variance_ = 0.0
    return pca


def truncated_pca(pca: PCA, k: int, n_samples: int) -> PCA:
    """Return the PCA of the first k components, equal to one fitted with ``n_components=k``."""
    twin = copy.copy(pca)
    rest = total_variance(pca) - pca.explained_variance_[:k].sum()
    for name in ("components_", "explained_variance_", "explained_variance_ratio_", "singular_values_"):
        setattr(twin, name, getattr(pca, name)[:k])
    twin.n_components = twin.n_components_ = k
    n_rest = min(n_samples, pca.components_.shape[1]) - k
    twin.noise_variance_ = rest / n_rest if n_rest else 0.0
    return twin


def as_incremental(pca: Any) -> IncrementalPCA:
    """Return an equivalent IncrementalPCA, which can be updated with further chunks."""
    if isinstance(pca, IncrementalPCA):
        return copy.deepcopy(pca)
    twin = IncrementalPCA(pca.n_components_)
    for name in ("components_", "singular_values_", "mean_", "n_components_"):
        setattr(twin, name, getattr(pca, name))
    n, d = pca.n_samples_, pca.components_.shape[1]
    twin.n_samples_seen_ = n
    twin.batch_size_ = None
    # Only the sum of the feature variances affects public attributes, so that any split of it will do.
    twin.var_ = np.full(d, total_variance(pca) * (n - 1) / n / d)
    return twin


def with_chunk(pca: IncrementalPCA, X: Any) -> IncrementalPCA:
    """Update an IncrementalPCA with a chunk and return it.

    NOTE[DIFF]: scikit-learn computes the noise variance from the last update only, which forgets the
    variance that earlier updates discarded; here it is that of PCA, from the variance of all samples.
    """
    with np.errstate(invalid="ignore", divide="ignore"):  # ratios of zero variance
        _without_rounding(pca.partial_fit(dense(X)))
    n_rest = min(int(pca.n_samples_seen_), X.shape[1]) - pca.n_components_
    rest = total_variance(pca) - float(pca.explained_variance_.sum())
    pca.noise_variance_ = max(rest, 0.0) / n_rest if n_rest else 0.0
    return pca


def total_variance(pca: Any) -> float:
    """Return the sum of the feature variances, from the spectrum without another pass over X."""
    if not len(pca.components_):
        return float(pca.noise_variance_) * min(pca.n_samples_, pca.components_.shape[1])
    share = float(np.sum(pca.explained_variance_ratio_, dtype=float))
    return float(np.sum(pca.explained_variance_, dtype=float)) / share if share > 0 else 0.0


def _is_size(n_components: Any) -> bool:
    return isinstance(n_components, (int, np.integer))


def _pca_without_components(samples: Any) -> PCA:
    """Return the PCA of no components, which most solvers refuse: the mean and the total variance."""
    n, mean, total = _mean_and_total(samples)
    d = samples.shape[1]
    return _as_pca(n, mean, np.zeros(0), np.zeros((0, d)), total / (n - 1), 0)


def mle_components(samples: Any) -> int:
    """Return the number of components that PCA finds by maximum likelihood.

    References
    ----------
    T. Minka (2000), Automatic choice of dimensionality for PCA, NIPS.
    """
    n, d = samples.shape
    if isinstance(samples, Source) or n < d:
        raise ValueError(
            f"n_components='mle' needs samples in memory, at least as many as features; got {n} samples of "
            f"{d} features. Pass an integer."
        )
    return int(_quiet_pca(dense(_without_mean(samples.array)[0]), "mle", "full", 0).n_components_)


_COVARIANCE_MAX = 4_000  # features up to which a covariance matrix is affordable (128 MB)

_N_PASSES = 7  # of the subspace iteration, as many as in scikit-learn's randomized solver

_N_OVERSAMPLES = 10


def streamed_pca(source: Source, n_components: Any, seed: int) -> PCA:
    """Return the PCA of a source, exact up to 4,000 features.

    Beyond that, the leading eigenvectors of the covariance come from subspace
    iteration, which reads the data once per product with the covariance.

    Parameters
    ----------
    source : Source
    n_components : int or float
        As for PCA; an integer if there are more than 4,000 features.
    seed : int
    """
    n, d = source.shape
    if d <= _COVARIANCE_MAX:
        return _covariance_pca(source, n_components)
    if not isinstance(n_components, (int, np.integer)):
        raise ValueError(
            f"n_components={n_components} needs the full covariance matrix, which is too large for "
            f"out-of-core data with {d} features; pass an integer, or at most {_COVARIANCE_MAX} features."
        )
    mean, total = _pooled(source, _mean_and_total(source))
    variances, vectors = _leading(source, mean, int(n_components), seed)
    return _as_pca(n, mean, variances, vectors, total / (n - 1), n_components)


def _covariance_pca(samples: Any, n_components: Any, precision: Any = np.float32) -> PCA:
    """Return the PCA of samples or a source, from the covariance matrix in at least the given precision."""
    mean, scatter = _pooled(samples, _mean_and_scatter(samples, precision))
    n = samples.shape[0]
    variances, vectors = _spectrum(scatter / (n - 1), n_components)
    return _as_pca(n, mean, variances, vectors, np.trace(scatter) / (n - 1), n_components)


def _scaled_covariance_pca(source: Source, n_components: Any, scales: np.ndarray) -> PCA:
    """Return the PCA of features divided by ``scales``, from the covariance matrix."""
    n, d = source.shape
    if d > _COVARIANCE_MAX:
        raise ValueError(
            f"ByFeature needs the covariance matrix of out-of-core data, which is too large for {d} "
            f"features: pass X in memory, or at most {_COVARIANCE_MAX} features."
        )
    mean, scatter = _pooled(source, _mean_and_scatter(source, np.float64))
    covariance = scatter / (n - 1) / np.outer(scales, scales)
    variances, vectors = _spectrum(covariance, n_components)
    return _as_pca(n, mean / scales, variances, vectors, np.trace(covariance), n_components)


def _joined_by(join: Callable[[Any, Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compute a function of samples block by block, where the blocks are, if the samples are dask's."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(samples: Any, *args: Any) -> Any:
            if isinstance(samples, DaskSource):
                return samples.reduced(wrapped, join, *args)
            return function(samples, *args)

        return wrapped

    return decorate


def _join_moments(first: tuple, second: tuple) -> tuple:
    """Return the number, mean, and scatter matrix or sum of squares, of the samples of both.

    References
    ----------
    T. Chan, G. Golub, R. LeVeque (1983), Algorithms for computing the sample variance, The American
    Statistician 37(3).
    """
    (n, mean, spread), (m, centre, more) = first, second
    shift = centre - mean
    between = np.outer(shift, shift) if np.ndim(spread) else float(shift @ shift)
    return n + m, mean + m / (n + m) * shift, spread + more + n * m / (n + m) * between


@_joined_by(_join_moments)
def _mean_and_scatter(samples: Any, precision: Any) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the number, mean and scatter matrix; blocks are centred separately to avoid cancellation."""
    d = samples.shape[1]
    n, mean, scatter = 0, np.zeros(d), np.zeros((d, d))
    for part in samples.blocks():
        block = part.astype(np.promote_types(part.dtype, precision), copy=False)
        centre = block.mean(axis=0, dtype=np.float64)
        centred = block - centre.astype(block.dtype)
        rest = centred.mean(axis=0, dtype=np.float64)  # left by the rounding of the centre
        scatter += centred.T @ centred
        m, centre = len(block), centre.astype(block.dtype) + rest
        scatter -= m * np.outer(rest, rest)
        shift = centre - mean
        scatter += n * m / (n + m) * np.outer(shift, shift)
        n, mean = n + m, mean + m / (n + m) * shift
    return n, mean, scatter


def _pooled(samples: Any, moments: tuple) -> tuple[np.ndarray, Any]:
    """Return mean and spread of the samples of all ranks that share a source."""
    _, mean, spread = moments
    return samples.pooled(mean, spread) if isinstance(samples, Source) else (mean, spread)


def _spectrum(covariance: np.ndarray, n_components: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues in decreasing order and eigenvectors as rows, all if a share is wanted."""
    d = len(covariance)
    wanted = [d - n_components, d - 1] if isinstance(n_components, (int, np.integer)) else None
    values, vectors = linalg.eigh(covariance, subset_by_index=wanted, check_finite=False)
    return values[::-1].clip(0.0), vectors.T[::-1]


@_joined_by(_join_moments)
def _mean_and_total(source: Any) -> tuple[int, np.ndarray, float]:
    """Return the number of samples, the mean and the sum of squared distances from it."""
    n, mean, total = 0, np.zeros(source.shape[1]), 0.0
    for block in source.blocks():
        centre = block.mean(axis=0, dtype=np.float64)
        m, shift = len(block), centre - mean
        total += float(np.square(block - centre).sum()) + n * m / (n + m) * float(shift @ shift)
        n, mean = n + m, mean + m / (n + m) * shift
    return n, mean, total


def _leading(source: Source, mean: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues and their eigenvectors, by subspace iteration.

    References
    ----------
    N. Halko, P.-G. Martinsson, J. Tropp (2011), Finding structure with randomness, SIAM Review 53(2).
    """
    n, d = source.shape
    basis = np.random.RandomState(seed).normal(size=(d, min(k + _N_OVERSAMPLES, n, d)))
    for _ in range(_N_PASSES):
        basis, _ = np.linalg.qr(basis)
        leading, basis = basis, source.summed(_times_scatter(source, mean, basis))[0]
    variances, rotation = _spectrum(leading.T @ basis / (n - 1), k)
    return variances, rotation @ leading.T


@_joined_by(operator.add)
def _times_scatter(source: Source, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return the product of the scatter matrix and a basis (d, l), in one pass."""
    product = np.zeros_like(basis)
    for block in source.blocks():
        centred = block - mean
        product += centred.T @ (centred @ basis)
    return product


def _as_pca(
    n: int, mean: np.ndarray, variances: np.ndarray, vectors: np.ndarray, total: float, n_components: Any
) -> PCA:
    """Return a fitted PCA with the given spectrum."""
    d = len(mean)
    shares = variances / total if total > 0 else np.zeros_like(variances)
    k = n_components
    if not isinstance(k, (int, np.integer)):  # the smallest number that explains more than this share
        k = min(1 + int(np.searchsorted(np.cumsum(shares), k, side="right")), d)
    pca = PCA(n_components, svd_solver="covariance_eigh")
    pca.n_samples_ = n
    pca.n_features_in_ = d
    pca.n_components_ = int(k)
    pca.mean_ = mean
    pca.components_ = svd_flip(None, vectors[:k].copy(), u_based_decision=False)[1]
    pca.explained_variance_ = variances[:k].copy()
    pca.explained_variance_ratio_ = shares[:k].copy()
    pca.singular_values_ = np.sqrt((n - 1) * pca.explained_variance_)
    n_rest = min(n, d) - k
    pca.noise_variance_ = max(total - pca.explained_variance_.sum(), 0.0) / n_rest if n_rest else 0.0
    return pca
