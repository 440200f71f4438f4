"""Density of the codes of all rows together: the aggregate posterior, the mean of q(z | x) over the rows.

Several estimates of the density are blended, with the weights under which draws from
the posteriors are likeliest. Each judges a draw without the row that it was drawn
for, so the cross-entropy is no less than the entropy in expectation, whatever the
estimates are. They complement each other: kernels are exact where posteriors
overlap, mixtures bridge the gaps where they do not, kernels that are stretched along
their neighbours suit thin curved sheets, and the product of the components'
densities suits codes that are independent, or were until they were mixed linearly.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors

from sklearn_ae._utils.gaussian import LOG_2PI, fit_mixture
from sklearn_ae.metrics._posteriors import Posteriors

_SIZES = (1, 2, 4, 8, 16, 32)  # of the mixtures
_MAX_ITER = 50
_N_NEIGHBORS = (10, 30)  # along which kernels are stretched
_STRETCH, _ROUND = 0.5, 0.015  # shares of the neighbours' covariance, and of its mean variance, in a kernel
_FLOOR = 1e-3  # of a stretched kernel's variances, relative to those of a round one
_N_FOLDS = 5
_BLOCK_VALUES = 2**20


class Aggregate:
    """Log-densities of draws from the posteriors, in nats, each of shape (n_draws, n).

    Parameters
    ----------
    posteriors : Posteriors
    draws : ndarray of shape (n_draws, n, r)
        As :meth:`Posteriors.draws` gives them.
    rng : RandomState

    Attributes
    ----------
    joint : ndarray
        Under the blend, of u.
    product : ndarray
        Under the product of the components' densities, of u; minus infinity where there is none.
    mixture : ndarray
        Under the posteriors of these n rows and no others, the draw's own included; none for points.

    References
    ----------
    P. Vincent, Y. Bengio (2003), Manifold Parzen windows, NeurIPS (stretched kernels).
    """

    def __init__(self, posteriors: Posteriors, draws: np.ndarray, rng: np.random.RandomState):
        q, n = posteriors, len(posteriors.means)
        covariances = q.roots @ q.roots.transpose(0, 2, 1)
        self.product = _product(q, draws)
        estimates = [self.product, *_held_out(q, covariances, draws, rng)]
        if not q.points:
            others, own = _under_each_other(Kernels(q.means, covariances), draws)
            self.mixture = np.logaddexp(own, others + np.log(n - 1)) - np.log(n)
            normal, expected = _gaussian(q.means, covariances, draws)
            self._controls = np.stack([normal.ravel() - expected, own.ravel() - q.negentropy()])
            estimates.append(others)
        if q.own:
            estimates.append(_log_standard_normal(q, draws))
        usable = [e for e in estimates if not np.isneginf(e).all()]
        self.joint = blend(np.stack([e.ravel() for e in usable])).reshape(draws.shape[:2])

    def mean(self, log_density: np.ndarray) -> float:
        """Mean over rows and posteriors: that of the draws, but for the part of their error that is known.

        Regression on two log-densities whose means are known: a row's own posterior, and a normal one.
        """
        centred = self._controls - self._controls.mean(axis=1, keepdims=True)
        slopes = np.linalg.lstsq(centred.T, log_density.ravel() - log_density.mean(), rcond=None)[0]
        return float(log_density.mean() - slopes @ self._controls.mean(axis=1))


def blend(log_densities: np.ndarray, n_iter: int = 100) -> np.ndarray:
    """Log-density (m,) of the likeliest mixture of densities (c, m), by expectation maximisation."""
    top = log_densities.max(axis=0)
    densities = np.exp(log_densities - top)
    weights = np.full(len(densities), 1.0 / len(densities))
    for _ in range(n_iter):
        weights *= (densities / (weights @ densities)).mean(axis=1)
    return top + np.log(weights @ densities)


class Kernels:
    """Normal distributions with means (n, r) and covariances (n, r, r), all evaluated by one product."""

    def __init__(self, means: np.ndarray, covariances: np.ndarray):
        precisions = np.linalg.inv(covariances)
        slopes = np.einsum("nij,nj->ni", precisions, means)
        constants = np.linalg.slogdet(covariances)[1] + np.einsum("ni,ni->n", slopes, means)
        self._rows, self._columns = np.triu_indices(means.shape[1])
        twice = np.where(self._rows == self._columns, 1.0, 2.0)
        quadratic = precisions[:, self._rows, self._columns] * twice
        constants += means.shape[1] * LOG_2PI
        self._weights = -0.5 * np.column_stack([quadratic, -2.0 * slopes, constants]).T

    def blocks(self, points: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Parts of points (m, r), and their log-densities under each kernel."""
        size = max(1, _BLOCK_VALUES // self._weights.shape[1])
        for start in range(0, len(points), size):
            x = points[start : start + size]
            squares = x[:, self._rows] * x[:, self._columns]
            yield slice(start, start + len(x)), np.column_stack([squares, x, np.ones(len(x))]) @ self._weights

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Log-density of points under all kernels with equal weights."""
        values = [_log_sum(log_q) - np.log(log_q.shape[1]) for _, log_q in self.blocks(points)]
        return np.concatenate(values)


def _log_sum(log_q: np.ndarray) -> np.ndarray:
    """Logarithm of the sum of the exponentials of each row; scipy's is several times slower."""
    top = log_q.max(axis=1, keepdims=True)
    return top[:, 0] + np.log(np.exp(log_q - top).sum(axis=1))


def _under_each_other(kernels: Kernels, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-densities of the draws under the mean of the other rows' kernels, and under their own."""
    m, n, r = draws.shape
    others, own = np.empty(m * n), np.empty(m * n)
    for part, log_q in kernels.blocks(draws.reshape(-1, r)):
        mine = np.arange(len(log_q)), np.arange(part.start, part.stop) % n
        own[part] = log_q[mine]
        log_q[mine] = -np.inf
        others[part] = _log_sum(log_q) - np.log(n - 1)
    return others.reshape(m, n), own.reshape(m, n)


def _gaussian(means: np.ndarray, covariances: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, float]:
    """Log-density of the draws under one normal distribution with the moments of all, and its mean."""
    r = means.shape[1]
    covariance = np.cov(means.T, bias=True).reshape(r, r) + covariances.mean(axis=0)
    kernel = Kernels(np.zeros((1, r)), covariance[None])
    constant = -0.5 * (np.linalg.slogdet(covariance)[1] + r * (LOG_2PI + 1))
    centred = (draws - means.mean(axis=0)).reshape(-1, r)
    return kernel.log_density(centred).reshape(draws.shape[:2]), float(constant)


def _log_standard_normal(q: Posteriors, draws: np.ndarray) -> np.ndarray:
    """Log-density of the draws under the prior N(0, I) of z; minus infinity where components are constant."""
    if not q.coordinates.varying.all() or q.coordinates.dependent:
        return np.full(draws.shape[:2], -np.inf)
    z = q.codes(draws)
    return q.coordinates.log_det - 0.5 * (np.square(z).sum(axis=2) + z.shape[2] * LOG_2PI)


# -- estimates from other rows --------------------------------------------------------------


def _held_out(
    q: Posteriors, covariances: np.ndarray, draws: np.ndarray, rng: np.random.RandomState
) -> list[np.ndarray]:
    """Log-densities under estimates from the rows of the other folds: a mixture, and widened kernels."""
    m, n, r = draws.shape
    estimates = np.empty((3 + len(_N_NEIGHBORS), m, n))
    n_components = None
    for fold in np.array_split(rng.permutation(n), _N_FOLDS):
        rest = np.setdiff1d(np.arange(n), fold)
        train, test = draws[:2, rest].reshape(-1, r), draws[:, fold].reshape(-1, r)
        if n_components is None:
            n_components = _n_components(train, test, len(rest), rng)
        densities = [fit_mixture(train, n_components, rng, _MAX_ITER).score_samples(test)]
        densities.append(_rotated_product(q, rest, train, test, rng))
        for widths in _widths(q.means[rest], q.points):
            densities.append(Kernels(q.means[rest], covariances[rest] + widths).log_density(test))
        estimates[:, :, fold] = np.reshape(densities, (-1, m, len(fold)))
    return list(estimates)


def _n_components(train: np.ndarray, test: np.ndarray, n_rows: int, rng: np.random.RandomState) -> int:
    """Size of the mixture under which held-out draws are likeliest."""
    best, chosen = -np.inf, 1
    for size in _SIZES:
        if size > 4 * chosen or (size > 1 and n_rows < 2 * size * (train.shape[1] + 1)):
            break
        score = fit_mixture(train, size, rng, _MAX_ITER).score(test)
        if score > best:
            best, chosen = score, size
    return chosen


def _widths(means: np.ndarray, points: bool) -> Iterator[np.ndarray]:
    """Covariances by which kernels are widened: the same all around, and along their neighbours."""
    n, r = means.shape
    everywhere = 0.25 * n ** (-2.0 / (r + 4)) * np.eye(r)  # half of Scott's width
    floor = (_FLOOR if points else 0.0) * everywhere  # where many points are the same
    yield everywhere
    for n_neighbors in _N_NEIGHBORS:
        nearest = NearestNeighbors(n_neighbors=min(n_neighbors, n - 1)).fit(means)
        gaps = means[nearest.kneighbors(return_distance=False)] - means[:, None]
        spread = gaps.transpose(0, 2, 1) @ gaps / gaps.shape[1]
        size = np.trace(spread, axis1=1, axis2=2)[:, None, None] / r
        yield _STRETCH * spread + _ROUND * size * np.eye(r) + floor


# -- components one by one ------------------------------------------------------------------


def _product(q: Posteriors, draws: np.ndarray) -> np.ndarray:
    """Log-density of the draws if the components were independent, as a density of u."""
    if q.coordinates.dependent:
        return np.full(draws.shape[:2], -np.inf)
    z, means, variances = q.codes(draws), q.codes(q.means), q.component_variances()
    k = z.shape[-1]
    columns = [_component(z[..., j].ravel(), means[:, j], variances[:, j], own=True) for j in range(k)]
    return np.sum(columns, axis=0).reshape(draws.shape[:2]) + q.coordinates.log_det


def _rotated_product(
    q: Posteriors, rest: np.ndarray, train: np.ndarray, test: np.ndarray, rng: np.random.RandomState
) -> np.ndarray:
    """Log-density of draws of other rows if independent components had been mixed linearly."""
    axes = _independent_axes(train, rng)
    z, means = test @ axes.T, q.means[rest] @ axes.T
    variances = np.square(q.roots[rest].transpose(0, 2, 1) @ axes.T).sum(axis=1)
    return np.sum(
        [_component(z[:, j], means[:, j], variances[:, j], own=False) for j in range(len(axes))], axis=0
    )


def _independent_axes(train: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Orthogonal axes, in rows, along which whitened draws are about independent; converged or not."""
    ica = FastICA(whiten=False, max_iter=_MAX_ITER, tol=1e-3, random_state=rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.linalg.qr(ica.fit(train).components_.T)[0].T


def _component(z: np.ndarray, means: np.ndarray, variances: np.ndarray, own: bool) -> np.ndarray:
    """Log-density of draws (m,) of one component: rows' posteriors, those widened, and a normal.

    ``own`` says that the draws are those of the same rows, in turn, each of which is left out for its own.
    """
    centre, spread = means.mean(), means.var() + variances.mean()
    scale = np.sqrt(spread)
    z, means, variances = (z - centre) / scale, (means - centre) / scale, variances / spread
    width = 0.9 * len(means) ** -0.2  # Silverman's
    widths = (0.0, 0.3 * width, width) if variances.any() else (0.3 * width, width)
    kernels = [_under_kernels(z, means, np.sqrt(variances + h**2), own) for h in widths]
    return blend(np.stack([-0.5 * (np.square(z) + LOG_2PI), *kernels])) - np.log(scale)


def _under_kernels(z: np.ndarray, means: np.ndarray, stds: np.ndarray, own: bool) -> np.ndarray:
    """Log-density of draws (m,) under the mean of rows' normal distributions."""
    n = len(means)
    x, a = z.astype(np.float32), means.astype(np.float32)  # twice as fast, and exact enough
    rate, height = (np.sqrt(0.5) / stds).astype(np.float32), (1.0 / stds).astype(np.float32)
    total, size = np.empty(len(x)), max(1, _BLOCK_VALUES // (8 * n))  # in the cache
    for start in range(0, len(x), size):
        gap = (x[start : start + size, None] - a) * rate
        np.exp(np.negative(np.square(gap, out=gap), out=gap), out=gap)
        if own:
            rows = np.arange(len(gap))
            gap[rows, (start + rows) % n] = 0.0
        total[start : start + size] = gap @ height
    with np.errstate(divide="ignore"):
        return np.log(total) - np.log(n - own) - 0.5 * LOG_2PI
