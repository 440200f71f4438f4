"""Density of the aggregate posterior: the mean of q(z | x) over the samples.

Several estimates of the density are blended, with the weights that maximise the
likelihood of draws from the posteriors. Each is evaluated at a draw without the sample
that it was drawn for, so that the expected cross-entropy is no less than the entropy,
whatever the estimates are. They complement each other: kernels are exact where
posteriors overlap, mixtures bridge the gaps where they do not, kernels stretched along
their neighbours suit thin curved sheets, and the product of the components' densities
suits codes that are independent, or linear mixtures of independent ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.decomposition import FastICA
from sklearn.neighbors import NearestNeighbors

from sklearn_ae._utils.gaussian import LOG_2PI
from sklearn_ae._utils.runtime import without_foreign_warnings
from sklearn_ae.metrics._normals import FoldMixtures, Normals, log_sum_exp
from sklearn_ae.metrics._posteriors import Posteriors

_MIXTURE_SIZES = (1, 2, 4, 8, 16, 32)
_OVERFIT = 0.2  # Nats below the best mixture at which larger ones are left out
_MAX_ITER_ICA = 50
_N_NEIGHBORS = (10, 30)  # Neighbours along which kernels are stretched
_STRETCH = 0.5  # Share of the neighbours' covariance in a stretched kernel
_ROUND = 0.015  # Share of the neighbours' mean variance in a stretched kernel
_FLOOR = 1e-3  # Floor on the variances of a stretched kernel, relative to those of a round one
_N_FOLDS = 10
_BLOCK_VALUES = 2**17  # Number of values that fit the cache


class Aggregate:
    """Log-densities of draws from the posteriors, in nats, each of shape (n_draws, n).

    Parameters
    ----------
    posteriors : Posteriors
    draws : ndarray of shape (n_draws, n, r)
        Draws returned by :meth:`Posteriors.draws`.
    rng : RandomState

    Attributes
    ----------
    joint : ndarray
        Log-density of u under the blend.
    product : ndarray
        Log-density of u under the product of the components' densities; minus infinity if there is
        none.
    mixture : ndarray
        Log-density of u under the mean of the posteriors of these n samples, the draw's own included;
        not set for deterministic posteriors.

    References
    ----------
    P. Vincent, Y. Bengio (2003), Manifold Parzen windows, NeurIPS (stretched kernels).
    """

    def __init__(self, posteriors: Posteriors, draws: np.ndarray, rng: np.random.RandomState):
        q, n = posteriors, len(posteriors.means)
        covariances = q.roots @ q.roots.transpose(0, 2, 1)
        self.product = _product(q, draws)
        estimates = [self.product, *_held_out(q, covariances, draws, rng)]
        if not q.deterministic:
            others, own = _under_posteriors(Normals(q.means, covariances), draws)
            self.mixture = np.logaddexp(own, others + np.log(n - 1)) - np.log(n)
            normal, expected = _single_normal(q.means, covariances, draws)
            self._controls = np.stack([normal.ravel() - expected, own.ravel() - q.negentropy()])
            estimates.append(others)
        if q.from_model:
            estimates.append(_log_standard_normal(q, draws))
        usable = [e for e in estimates if not np.isneginf(e).all()]
        self.joint = blend(np.stack([e.ravel() for e in usable])).reshape(draws.shape[:2])

    def mean(self, log_density: np.ndarray) -> float:
        """Return the mean over samples and posteriors, estimated from the draws with control variates.

        The controls are two log-densities whose means are known: those under the sample's own
        posterior, and under one normal distribution.
        """
        centred = self._controls - self._controls.mean(axis=1, keepdims=True)
        slopes = np.linalg.lstsq(centred.T, log_density.ravel() - log_density.mean(), rcond=None)[0]
        return float(log_density.mean() - slopes @ self._controls.mean(axis=1))


def blend(log_densities: np.ndarray, n_iter: int = 100) -> np.ndarray:
    """Return the log-density (m,) of the most likely mixture of densities (c, m).

    The weights are found by expectation maximisation.
    """
    top = log_densities.max(axis=0)
    densities = np.exp(log_densities - top)
    weights = np.full(len(densities), 1.0 / len(densities))
    for _ in range(n_iter):
        weights *= (densities / (weights @ densities)).mean(axis=1)
    return top + np.log(weights @ densities)


def _under_posteriors(normals: Normals, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-densities of draws under the other samples' posteriors, and under their own."""
    m, n, r = draws.shape
    others, own = np.empty(m * n), np.empty(m * n)
    for part, log_q in normals.blocks(draws.reshape(-1, r)):
        diagonal = np.arange(len(log_q)), np.arange(part.start, part.stop) % n
        own[part] = log_q[diagonal]
        log_q[diagonal] = -np.inf
        others[part] = log_sum_exp(log_q) - np.log(n - 1)
    return others.reshape(m, n), own.reshape(m, n)


def _single_normal(means: np.ndarray, covariances: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the log-density of draws under the normal with the overall moments, and its expectation."""
    r = means.shape[1]
    covariance = np.cov(means.T, bias=True).reshape(r, r) + covariances.mean(axis=0)
    normal = Normals(np.zeros((1, r)), covariance[None])
    expected = -0.5 * (np.linalg.slogdet(covariance)[1] + r * (LOG_2PI + 1))
    centred = (draws - means.mean(axis=0)).reshape(-1, r)
    return normal.log_density(centred).reshape(draws.shape[:2]), float(expected)


def _log_standard_normal(q: Posteriors, draws: np.ndarray) -> np.ndarray:
    """Return the log-density of draws under the prior N(0, I) of z; minus infinity if u has none."""
    if not q.coordinates.varying.all() or q.coordinates.dependent:
        return np.full(draws.shape[:2], -np.inf)
    z = q.codes(draws)
    return q.coordinates.log_det - 0.5 * (np.square(z).sum(axis=2) + z.shape[2] * LOG_2PI)


# -- estimates from the other folds ---------------------------------------------------------


def _held_out(
    q: Posteriors, covariances: np.ndarray, draws: np.ndarray, rng: np.random.RandomState
) -> list[np.ndarray]:
    """Return the log-densities under mixtures, products and kernels fitted to the other folds.

    Mixtures of several sizes are returned. Choosing the best one would make the estimate
    discontinuous in the samples.
    """
    m, n, r = draws.shape
    folds = np.empty(n, dtype=int)
    folds[rng.permutation(n)] = np.arange(n) % _N_FOLDS
    estimates = np.empty((2 + len(_N_NEIGHBORS), m, n))
    for fold in range(_N_FOLDS):
        rest = folds != fold
        train, test = draws[:2, rest].reshape(-1, r), draws[:, ~rest].reshape(-1, r)
        densities = [_rotated_product(q, rest, train, test, rng)]
        for widths in _kernel_covariances(q.means[rest], q.deterministic):
            densities.append(Normals(q.means[rest], covariances[rest] + widths).log_density(test))
        estimates[:, :, ~rest] = np.reshape(densities, (len(densities), m, -1))
    return [*_mixtures(draws, folds, rng), *estimates]


def _mixtures(draws: np.ndarray, folds: np.ndarray, rng: np.random.RandomState) -> list[np.ndarray]:
    """Return the log-densities under mixtures, up to the first size that is clearly overfitted.

    The sizes leave at least twice as many samples as a component needs.
    """
    n, r = draws.shape[1:]
    n_train = n * (_N_FOLDS - 1) // _N_FOLDS
    sizes = [size for size in _MIXTURE_SIZES if size == 1 or 2 * size * (r + 1) <= n_train]
    train = draws[:2].reshape(-1, r)
    mixtures = FoldMixtures(train, np.resize(folds, len(train)), sizes[-1], rng)
    densities: list[np.ndarray] = []
    best = -np.inf
    for size in sizes:
        mixtures.fit(size)
        densities.append(np.stack([mixtures.log_density(u, folds) for u in draws]))
        best = max(best, densities[-1].mean())
        if densities[-1].mean() < best - _OVERFIT:
            break
    return densities


def _kernel_covariances(means: np.ndarray, deterministic: bool) -> Iterator[np.ndarray]:
    """Iterate over covariances to widen kernels by: one for all, then those along their neighbours."""
    n, r = means.shape
    round_kernel = 0.25 * n ** (-2.0 / (r + 4)) * np.eye(r)  # Half of Scott's bandwidth
    floor = (_FLOOR if deterministic else 0.0) * round_kernel  # Many codes may be equal
    yield round_kernel
    for n_neighbors in _N_NEIGHBORS:
        nearest = NearestNeighbors(n_neighbors=min(n_neighbors, n - 1)).fit(means)
        gaps = means[nearest.kneighbors(return_distance=False)] - means[:, None]
        spread = gaps.transpose(0, 2, 1) @ gaps / gaps.shape[1]
        size = np.trace(spread, axis1=1, axis2=2)[:, None, None] / r
        yield _STRETCH * spread + _ROUND * size * np.eye(r) + floor


# -- products of one-dimensional densities --------------------------------------------------


def _product(q: Posteriors, draws: np.ndarray) -> np.ndarray:
    """Return the log-density of u if the components of the code were independent."""
    if q.coordinates.dependent:
        return np.full(draws.shape[:2], -np.inf)
    z, means, variances = q.codes(draws), q.codes(q.means), q.component_variances()
    columns = [
        _component(z[..., j].ravel(), means[:, j], variances[:, j], leave_out=True)
        for j in range(z.shape[-1])
    ]
    return np.sum(columns, axis=0).reshape(draws.shape[:2]) + q.coordinates.log_det


def _rotated_product(
    q: Posteriors, rest: np.ndarray, train: np.ndarray, test: np.ndarray, rng: np.random.RandomState
) -> np.ndarray:
    """Return the log-density of test draws if the codes were rotated independent components."""
    axes = _independent_axes(train, rng)
    z, means = test @ axes.T, q.means[rest] @ axes.T
    variances = np.square(q.roots[rest].transpose(0, 2, 1) @ axes.T).sum(axis=1)
    columns = [_component(z[:, j], means[:, j], variances[:, j], leave_out=False) for j in range(len(axes))]
    return np.sum(columns, axis=0)


def _independent_axes(train: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return orthonormal axes along which whitened draws are nearly independent, converged or not."""
    ica = FastICA(whiten=False, max_iter=_MAX_ITER_ICA, tol=1e-3, random_state=rng)
    with without_foreign_warnings():
        return np.linalg.qr(ica.fit(train).components_.T)[0].T


def _component(z: np.ndarray, means: np.ndarray, variances: np.ndarray, *, leave_out: bool) -> np.ndarray:
    """Return the log-density (m,) of draws of one component.

    It blends the posteriors of the samples, the same widened, and a normal density. With
    ``leave_out`` the draws are those of the same samples in turn, each of which is left out of the
    density of its own draws.
    """
    centre, spread = means.mean(), means.var() + variances.mean()
    scale = np.sqrt(spread)
    z, means, variances = (z - centre) / scale, (means - centre) / scale, variances / spread
    width = 0.9 * len(means) ** -0.2  # Silverman's bandwidth
    widths = (0.0, 0.3 * width, width) if variances.any() else (0.3 * width, width)
    kernels = [_under_kernels(z, means, np.sqrt(variances + h**2), leave_out=leave_out) for h in widths]
    return blend(np.stack([-0.5 * (np.square(z) + LOG_2PI), *kernels])) - np.log(scale)


def _under_kernels(z: np.ndarray, means: np.ndarray, stds: np.ndarray, *, leave_out: bool) -> np.ndarray:
    """Return the log-density (m,) of draws under the mean of normal kernels, in single precision."""
    n = len(means)
    x, a = z.astype(np.float32), means.astype(np.float32)  # Accurate enough, and twice as fast
    rate, height = (np.sqrt(0.5) / stds).astype(np.float32), (1.0 / stds).astype(np.float32)
    total, size = np.empty(len(x)), max(1, _BLOCK_VALUES // n)
    for start in range(0, len(x), size):
        gap = (x[start : start + size, None] - a) * rate
        np.exp(np.negative(np.square(gap, out=gap), out=gap), out=gap)
        if leave_out:
            draw = np.arange(len(gap))
            gap[draw, (start + draw) % n] = 0.0
        total[start : start + size] = gap @ height
    with np.errstate(divide="ignore"):
        return np.log(total) - np.log(n - leave_out) - 0.5 * LOG_2PI
