"""How much codes tell of their rows, and how the components share it.

The measures take any fitted transformer with ``transform`` and
``inverse_transform``, pipelines among them. Where the model or the last step of the
pipeline has a ``posterior``, as ``VAETransformer``, the code is the random variable
q(z | x). Otherwise :func:`mutual_information`, which would be infinite, reads the
decoder g as a density, ``x | z ~ N(g(z), sigma^2 I)``, as in probabilistic PCA; the
other measures take the codes as they are.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from scipy.stats import entropy
from sklearn.feature_selection import mutual_info_classif
from sklearn.utils import check_array, check_consistent_length, check_scalar

from sklearn_ae._utils.runtime import private_random_state
from sklearn_ae._utils.transformers import encode
from sklearn_ae.metrics._aggregate import Aggregate
from sklearn_ae.metrics._posteriors import (
    MIN_ROWS,
    own_posterior,
    posteriors,
    posteriors_or_points,
    some_rows,
)


def mutual_information(model, X, *, n_draws=2, max_samples=2000, return_lower=False, random_state=None):
    r"""Mutual information of rows and codes, in nats: how *informative* a representation is.

    .. math:: I(x; z) = E_x \, KL(q(z | x) \,\|\, q(z)), \qquad q(z) = E_x \, q(z | x)

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows, at least 10; held-out ones for models that fit their training rows closely.
    n_draws : int, default=2
        Draws from the posterior of each row.
    max_samples : int, default=2000
        Of more rows, so many are chosen at random. Time grows as n^2 + n k^2, memory as n k^2.
    return_lower : bool, default=False
        Also return a lower bound.
    random_state : int, RandomState instance or None, default=None
        Decides draws, folds and the choice of rows. None takes fresh entropy.

    Returns
    -------
    information : float
        In expectation an upper bound. Infinite where the decoder gives the rows back
        without error, as PCA with all components.
    lower : float
        Only if ``return_lower``: in expectation a lower bound, no more than log(n_samples).

    Raises
    ------
    ValueError
        If X has fewer than 10 rows, or a parameter is out of range.

    See Also
    --------
    total_correlation : How far the components are from independent.

    Notes
    -----
    Models without a ``posterior`` are given that of the decoder's Gauss-Newton
    approximation: precision ``J'J / sigma^2 + S^-1`` with J the decoder's Jacobian at
    the code, by finite differences, ``sigma^2`` the residuals' variance by PCA's formula
    ``SSE / (n (d - k))`` with k the rank of J, and S the covariance of the codes less the
    noise's share in it. For PCA this is the posterior of probabilistic PCA, and for normal data the
    information is ``1/2 sum_i log(lambda_i / sigma^2)``. For discrete losses it is an
    approximation.

    The density q(z) is not known. Any density m in its place gives an upper bound, too
    large by KL(q(z) || m) [1]_ [2]_. Here m blends kernels, Gaussian mixtures and products of
    one-dimensional densities, none of which has seen the row that it judges (a row's
    kernel left out is the bound of [2]_); for models with a posterior also N(0, I), so the
    estimate exceeds the mean of ``kl_divergence`` by the error of the draws at most. The
    excess is about ``n_components**2 / (4 n)`` for normal codes. It is largest where
    posteriors are narrow and codes fill many dimensions in a way that is far from
    normal: a code on three independent circles with 2,000 rows and noise of a tenth of
    their radius, which tells 8.2 nats, is said to tell 8.7.

    The lower bound puts the n posteriors themselves for q(z): it is the information on
    which of these rows was coded [3]_. Close to log(n) it says only that there is more.

    References
    ----------
    .. [1] A. Alemi et al. (2018), Fixing a broken ELBO, ICML.
    .. [2] B. Poole et al. (2019), On variational bounds of mutual information, ICML.
    .. [3] M. Hoffman, M. Johnson (2016), ELBO surgery, NeurIPS workshop on advances in
       approximate Bayesian inference.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.metrics import mutual_information
    >>> X = load_digits().data[:600]
    >>> information = mutual_information(PCA(n_components=4).fit(X), X, random_state=0)
    >>> 4.5 < information < 4.7
    True
    """
    _check(n_draws, max_samples)
    rng = private_random_state(random_state)
    q = posteriors(model, *some_rows(max_samples, rng, X))
    n, r = q.means.shape
    if q.points:
        upper, lower = (np.inf, float(np.log(n))) if r else (0.0, 0.0)
        return (upper, lower) if return_lower else upper
    aggregate = Aggregate(q, q.draws(n_draws, rng), rng)
    upper = max(0.0, q.negentropy() - aggregate.mean(aggregate.joint))
    lower = max(0.0, min(q.negentropy() - aggregate.mean(aggregate.mixture), upper, float(np.log(n))))
    return (upper, lower) if return_lower else upper


def total_correlation(model, X, *, n_draws=2, max_samples=2000, random_state=None):
    r"""Total correlation of the components of the code, in nats: how *entangled* they are, without labels.

    .. math:: TC = KL\Big(q(z) \,\Big\|\, \prod_j q(z_j)\Big)

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows, at least 10.
    n_draws : int, default=2
        Draws from the posterior of each row, where the model has one.
    max_samples : int, default=2000
        Of more rows, so many are chosen at random. Time grows as n^2 + n k^2, memory as n k^2.
    random_state : int, RandomState instance or None, default=None
        Decides draws, folds and the choice of rows. None takes fresh entropy.

    Returns
    -------
    correlation : float
        0 where the components are independent, infinite where some are linear
        functions of others. Constant components do not count.

    Raises
    ------
    ValueError
        If X has fewer than 10 rows, or a parameter is out of range.

    See Also
    --------
    mutual_information : How q(z) is estimated.
    sklearn_ae.divergences.BetaTC : Training with a weight on it.

    Notes
    -----
    For models with a ``posterior`` q(z) is the distribution of draws from it, for others
    that of the codes. It is the difference of two cross-entropies (see
    :func:`mutual_information`), of which that of the joint density is too large by more:
    where many components depend on each other in a complicated way the estimate is too
    small. PCA's codes are uncorrelated, and still have a total correlation where the data
    are not normal.

    References
    ----------
    S. Watanabe (1960), Information theoretical analysis of multivariate correlation, IBM
    Journal of Research and Development 4(1); R. Chen, X. Li, R. Grosse, D. Duvenaud (2018),
    Isolating sources of disentanglement in variational autoencoders, NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA, FastICA
    >>> from sklearn_ae.metrics import total_correlation
    >>> sources = np.random.RandomState(0).uniform(size=(500, 2))
    >>> X = sources @ [[1, 1, 0], [1, -1, 1]]
    >>> ica = FastICA(n_components=2, random_state=0).fit(X)
    >>> round(total_correlation(ica, X, random_state=0), 1)
    0.0
    >>> rotated = PCA(n_components=2).fit(sources @ [[1, 1], [1, -1]])
    >>> total_correlation(rotated, sources @ [[1, 1], [1, -1]], random_state=0) > 0.05
    True
    """
    _check(n_draws, max_samples)
    rng = private_random_state(random_state)
    q = posteriors_or_points(model, *some_rows(max_samples, rng, X))
    if q.coordinates.dependent:
        return np.inf
    if q.means.shape[1] < 2:
        return 0.0
    aggregate = Aggregate(q, q.draws(n_draws, rng), rng)
    excess = aggregate.joint - aggregate.product
    return max(0.0, float(excess.mean()) if q.points else aggregate.mean(excess))


def mutual_information_gap(
    model, X, factors, *, discrete_factors="auto", n_bins=20, max_samples=10_000, random_state=None
):
    r"""Mutual information gap: whether each known factor is in one component, and in no other.

    .. math:: MIG = \frac{1}{K} \sum_k \frac{I(z_{(1)}; v_k) - I(z_{(2)}; v_k)}{H(v_k)}

    with z_(1) and z_(2) the components that tell most of factor v_k, one by one.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows, at least 10.
    factors : array-like of shape (n_samples,) or (n_samples, n_factors)
        What generated the rows, or is known of them, such as labels.
    discrete_factors : {"auto"}, bool or array-like of bool of shape (n_factors,), default="auto"
        Which factors are discrete. "auto" takes those for it that are not numbers, or have no more
        than ``n_bins`` different values. Continuous ones are cut into bins.
    n_bins : int, default=20
        Bins of a continuous factor, each with as many rows.
    max_samples : int, default=10_000
        Of more rows, so many are chosen at random.
    random_state : int, RandomState instance or None, default=None
        Decides draws, ties and the choice of rows. None takes fresh entropy.

    Returns
    -------
    gap : float
        From 0 to 1. 1 where each factor is a function of one component and the others
        tell nothing of it. A single component has no second: the gap is all of its share.

    Raises
    ------
    ValueError
        If a factor is constant, or the numbers of rows differ.

    Notes
    -----
    Information is estimated from nearest neighbours [2]_, which needs no bins for the
    codes: with as many rows, histograms are biased several times as much. For models
    with a ``posterior`` a code is a draw from it, as in [1]_, so that what is smaller than
    the posterior's noise does not count; otherwise it is what ``transform`` gives.

    References
    ----------
    .. [1] R. Chen, X. Li, R. Grosse, D. Duvenaud (2018), Isolating sources of
       disentanglement in variational autoencoders, NeurIPS.
    .. [2] B. Ross (2014), Mutual information between discrete and continuous data sets,
       PLoS ONE 9(2).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.metrics import mutual_information_gap
    >>> factors = np.random.RandomState(0).uniform(size=(500, 2)) * [2, 1]
    >>> X = factors @ [[3, 4, 0], [4, -3, 5]]
    >>> pca = PCA(n_components=2).fit(X)
    >>> mutual_information_gap(pca, X, factors, random_state=0) > 0.85
    True
    >>> mutual_information_gap(pca, X @ [[1, 0, 0], [0, 0, 1], [0, 1, 0]], factors, random_state=0) < 0.5
    True
    """
    check_scalar(n_bins, "n_bins", Integral, min_val=2)
    check_scalar(max_samples, "max_samples", Integral, min_val=MIN_ROWS)
    columns = _factor_columns(factors)
    discrete = _are_discrete(discrete_factors, columns, n_bins)
    check_consistent_length(X, *columns)
    rng = private_random_state(random_state)
    X, *columns = some_rows(max_samples, rng, X, *columns)
    labels = [_labels(column, discrete[i], n_bins, i) for i, column in enumerate(columns)]
    codes = _codes(model, X, rng)
    return float(np.mean([_gap(codes, values, rng) for values in labels]))


def _check(n_draws: Any, max_samples: Any) -> None:
    check_scalar(n_draws, "n_draws", Integral, min_val=1)
    check_scalar(max_samples, "max_samples", Integral, min_val=MIN_ROWS)


# -- factors ------------------------------------------------------------------------------


def _factor_columns(factors: Any) -> list[np.ndarray]:
    """Each factor as an array; columns of data frames keep their types."""
    if np.ndim(factors) not in (1, 2):
        raise ValueError(f"factors must have 1 or 2 dimensions; got {np.ndim(factors)}.")
    if np.ndim(factors) == 1:
        return [np.asarray(factors)]
    if hasattr(factors, "columns"):
        return [np.asarray(factors[name]) for name in factors.columns]
    return list(np.asarray(factors).T)


def _are_discrete(wanted: Any, columns: list[np.ndarray], n_bins: int) -> list[bool]:
    if isinstance(wanted, str) and wanted == "auto":
        return [column.dtype.kind not in "fiu" or len(np.unique(column)) <= n_bins for column in columns]
    flags = np.ravel(wanted)
    if flags.dtype != bool or len(flags) not in (1, len(columns)):
        raise ValueError(
            f"discrete_factors must be 'auto', a bool, or {len(columns)} of them, one for each factor; got "
            f"{wanted!r}."
        )
    return np.broadcast_to(flags, len(columns)).tolist()


def _labels(column: np.ndarray, discrete: bool, n_bins: int, index: int) -> np.ndarray:
    """A factor as integers from 0: its values, or its bins with as many rows each."""
    if not discrete:
        values = check_array(column, ensure_2d=False, dtype=np.float64, input_name="factors")
        edges = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1])
        column = np.searchsorted(edges, values, side="right")
    labels = np.unique(column, return_inverse=True)[1].ravel()
    if not labels.any():
        raise ValueError(f"Factor {index} is constant, so it holds no information: leave it out.")
    return labels


def _codes(model: Any, X: Any, rng: np.random.RandomState) -> np.ndarray:
    """Codes of rows; draws from the posterior where there is one."""
    own = own_posterior(model, X)
    return encode(model, X, "X") if own is None else own[0] + own[1] * rng.standard_normal(own[0].shape)


def _gap(codes: np.ndarray, labels: np.ndarray, rng: np.random.RandomState) -> float:
    """How much more the best component tells than the second, in shares of the factor's entropy."""
    most = float(entropy(np.bincount(labels)))
    information = mutual_info_classif(codes, labels, discrete_features=False, random_state=rng)
    second, first = np.sort(np.concatenate([[0.0], np.clip(information, 0.0, most)]))[-2:]
    return float(first - second) / most
