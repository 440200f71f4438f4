"""Information in codes, and the information that their components share.

The measures take any fitted transformer with ``transform`` and ``inverse_transform``,
including pipelines. If the model or the last step of the pipeline has a ``posterior``,
such as ``VAETransformer``, the code is the random variable q(z | x). Otherwise
:func:`mutual_information`, which would be infinite, reads the decoder g as a density,
``x | z ~ N(g(z), sigma^2 I)``, as in probabilistic PCA; the other measures use the codes
as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import entropy
from sklearn.feature_selection import mutual_info_classif
from sklearn.utils import check_consistent_length, check_scalar

from sklearn_ae._utils.arrays import check_array, numpy_only
from sklearn_ae._utils.runtime import MAX_SEED, kept_filters, private_random_state
from sklearn_ae._utils.transformers import encode
from sklearn_ae.metrics._aggregate import Aggregate
from sklearn_ae.metrics._posteriors import (
    MIN_SAMPLES,
    Posteriors,
    count_samples,
    model_posterior,
    posteriors,
    posteriors_or_codes,
    subsample,
)


@kept_filters()
@numpy_only()
def mutual_information(
    model: Any,
    X: Any,
    *,
    n_draws: int = 2,
    n_repeats: int = 4,
    max_samples: int = 2000,
    return_lower: bool = False,
    return_std: bool = False,
    random_state: Any = None,
) -> float | tuple[float, ...]:
    r"""Estimate the mutual information of samples and codes, in nats: how *informative* codes are.

    .. math:: I(x; z) = E_x \, KL(q(z | x) \,\|\, q(z)), \qquad q(z) = E_x \, q(z | x)

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        At least 10 samples; held-out ones for models that fit their training data closely.
    n_draws : int, default=2
        Number of draws from the posterior of each sample, in each repetition.
    n_repeats : int, default=4
        Number of repetitions with different draws and folds, whose mean is returned.
    max_samples : int, default=2000
        Maximum number of samples that a repetition uses, chosen at random. Time grows as
        n^2 + n k^2, memory as n k^2.
    return_lower : bool, default=False
        Also return a lower bound.
    return_std : bool, default=False
        Also return the standard error of ``information``.
    random_state : int, RandomState instance or None, default=None
        Determines the draws, the folds and the choice of samples. None uses fresh entropy.

    Returns
    -------
    information : float
        Upper bound in expectation. Infinite if the decoder reconstructs X without error, as PCA with
        all components does.
    lower : float
        Lower bound in expectation, at most log(n_samples). Only if ``return_lower``.
    std : float
        Standard error due to the draws, the folds and the choice of samples, computed from the
        repetitions. It does not include that X is a sample itself. Only if ``return_std``.

    Raises
    ------
    ValueError
        If X has fewer than 10 samples, or a parameter is out of range.

    See Also
    --------
    total_correlation : Dependence between the components.

    Notes
    -----
    Models without a ``posterior`` are given that of the decoder's Gauss-Newton
    approximation: precision ``J'J / sigma^2 + S^-1`` with J the decoder's Jacobian at
    the code, by finite differences, ``sigma^2`` the residual variance by PCA's formula
    ``SSE / (n (d - k))`` with k the rank of J, and S the covariance of the codes less the
    noise's share in it. For PCA this is the posterior of probabilistic PCA, and for normal data the
    information is ``1/2 sum_i log(lambda_i / sigma^2)``. For discrete losses it is an
    approximation.

    The density q(z) is not known. Any other density m gives an upper bound that is too
    large by KL(q(z) || m) [1]_ [2]_. Here m blends kernels, Gaussian mixtures and products of
    one-dimensional densities, each fitted without the sample that it is evaluated at (leaving out
    only its own kernel gives the bound of [2]_). For models with a posterior it also includes N(0, I),
    so that the estimate exceeds the mean of ``kl_divergence`` by no more than its own error. The
    excess is about ``n_components**2 / (4 n)`` for normal codes. It is largest if posteriors are
    narrow and the codes fill many dimensions in a way that is far from normal: for a code on three
    independent circles with 2,000 samples and noise of a tenth of their radius the estimate is 8.7
    nats; the true value is 8.2.

    The lower bound uses the n posteriors themselves as q(z): it is the information about which of these
    samples was encoded [3]_. A bound close to log(n) is not informative.

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
    >>> X = load_digits().data[:300]
    >>> pca = PCA(n_components=4).fit(X)
    >>> information, std = mutual_information(pca, X, return_std=True, random_state=0)
    >>> bool(4.7 < information < 4.9), bool(std < 0.05)
    (True, True)
    """
    _check_options(n_draws=n_draws, n_repeats=n_repeats, max_samples=max_samples, return_std=return_std)
    repetitions = _repetitions(posteriors, model, X, n_repeats, max_samples, random_state)
    bounds = np.array([_information_bounds(q, n_draws, rng) for q, rng in repetitions])
    upper, std = _mean_and_error(bounds[:, 0])
    lower = max(0.0, min(float(bounds[:, 1].mean()), upper))
    found = (upper, *((lower,) if return_lower else ()), *((std,) if return_std else ()))
    return found if len(found) > 1 else upper


def _information_bounds(q: Posteriors, n_draws: int, rng: np.random.RandomState) -> tuple[float, float]:
    """Return an upper and a lower bound of the information."""
    n, r = q.means.shape
    if q.deterministic:
        return (np.inf, np.log(n)) if r else (0.0, 0.0)
    aggregate = Aggregate(q, q.draws(n_draws, rng), rng)
    upper = q.negentropy() - aggregate.mean(aggregate.joint)
    return upper, min(q.negentropy() - aggregate.mean(aggregate.mixture), np.log(n))


@kept_filters()
@numpy_only()
def total_correlation(
    model: Any,
    X: Any,
    *,
    n_draws: int = 2,
    n_repeats: int = 4,
    max_samples: int = 2000,
    return_std: bool = False,
    random_state: Any = None,
) -> float | tuple[float, ...]:
    r"""Estimate the total correlation of the code's components, in nats: how *entangled* they are.

    .. math:: TC = KL\Big(q(z) \,\Big\|\, \prod_j q(z_j)\Big)

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        At least 10 samples.
    n_draws : int, default=2
        Number of draws from the posterior of each sample, in each repetition, if the model has one.
    n_repeats : int, default=4
        Number of repetitions with different draws and folds, whose mean is returned.
    max_samples : int, default=2000
        Maximum number of samples that a repetition uses, chosen at random. Time grows as
        n^2 + n k^2, memory as n k^2.
    return_std : bool, default=False
        Also return the standard error of ``correlation``.
    random_state : int, RandomState instance or None, default=None
        Determines the draws, the folds and the choice of samples. None uses fresh entropy.

    Returns
    -------
    correlation : float
        0 if the components are independent, infinite if some are linear functions of others.
        Constant components do not count.
    std : float
        Standard error due to the draws, the folds and the choice of samples, computed from the
        repetitions. It does not include that X is a sample itself. Only if ``return_std``.

    Raises
    ------
    ValueError
        If X has fewer than 10 samples, or a parameter is out of range.

    See Also
    --------
    mutual_information : The estimate of q(z) is described there.
    sklearn_ae.divergences.BetaTC : Training with a weight on the total correlation.

    Notes
    -----
    No labels are needed. For models with a ``posterior``, q(z) is the distribution of draws from it,
    for others that of the codes. The estimate is the difference of two cross-entropies (see
    :func:`mutual_information`). That of the joint density is too large by more, so that the
    estimate is too small if many components depend on each other in a complicated way. PCA's codes
    are uncorrelated, but have a positive total correlation unless the data are normal.

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
    _check_options(n_draws=n_draws, n_repeats=n_repeats, max_samples=max_samples, return_std=return_std)
    repetitions = _repetitions(posteriors_or_codes, model, X, n_repeats, max_samples, random_state)
    values = np.array([_correlation(q, n_draws, rng) for q, rng in repetitions])
    correlation, std = _mean_and_error(values)
    return (correlation, std) if return_std else correlation


def _correlation(q: Posteriors, n_draws: int, rng: np.random.RandomState) -> float:
    if q.coordinates.dependent:
        return np.inf
    if q.means.shape[1] < 2:
        return 0.0
    aggregate = Aggregate(q, q.draws(n_draws, rng), rng)
    excess = aggregate.joint - aggregate.product
    return float(excess.mean()) if q.deterministic else aggregate.mean(excess)


@kept_filters()
@numpy_only()
def mutual_information_gap(
    model: Any,
    X: Any,
    factors: ArrayLike,
    *,
    discrete_factors: Any = "auto",
    n_bins: int = 20,
    n_repeats: int = 4,
    max_samples: int = 10_000,
    return_std: bool = False,
    random_state: Any = None,
) -> float | tuple[float, ...]:
    r"""Mutual information gap: how exclusively single components encode the known factors.

    .. math:: MIG = \frac{1}{K} \sum_k \frac{I(z_{(1)}; v_k) - I(z_{(2)}; v_k)}{H(v_k)}

    with z_(1) and z_(2) the components that have the most information about factor v_k.

    Parameters
    ----------
    model : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        At least 10 samples.
    factors : array-like of shape (n_samples,) or (n_samples, n_factors)
        Factors that generated the samples, or known properties of them, such as labels.
    discrete_factors : {"auto"}, bool or array-like of bool of shape (n_factors,), default="auto"
        Discrete factors are used as they are, others in bins. "auto" regards all factors as discrete
        that are not numbers or have at most ``n_bins`` values.
    n_bins : int, default=20
        Number of bins for factors that are not discrete, with as many samples each.
    n_repeats : int, default=4
        Number of repetitions with different draws, whose mean is returned.
    max_samples : int, default=10_000
        Maximum number of samples that a repetition uses, chosen at random.
    return_std : bool, default=False
        Also return the standard error of ``gap``.
    random_state : int, RandomState instance or None, default=None
        Determines the draws, ties and the choice of samples. None uses fresh entropy.

    Returns
    -------
    gap : float
        Between 0 and 1. 1 if each factor is a function of one component and the others have no
        information about it. With a single component, its share of the factor's entropy.
    std : float
        Standard error due to the draws, ties and the choice of samples, computed from the
        repetitions. It does not include that X is a sample itself. Only if ``return_std``.

    Raises
    ------
    ValueError
        If a factor is constant, or the numbers of samples differ.

    Notes
    -----
    The information is estimated from nearest neighbours [2]_, which needs no bins for the
    codes: with as many samples, the bias of histograms is several times as large. For models
    with a ``posterior`` a code is a draw from it, as in [1]_, so that differences smaller than
    the posterior's noise do not count; for others it is the output of ``transform``.

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
    _check_options(n_repeats=n_repeats, max_samples=max_samples, return_std=return_std)
    columns = _factor_columns(factors)
    discrete = _are_discrete(discrete_factors, columns, n_bins)
    check_consistent_length(X, *columns)
    gaps = []
    for rng in _generators(n_repeats, random_state):
        part, *chosen = subsample(max_samples, rng, X, *columns)
        labels = [_labels(column, discrete[i], n_bins, i) for i, column in enumerate(chosen)]
        codes = _codes(model, part, rng)
        gaps.append(np.mean([_gap(codes, values, rng) for values in labels]))
    gap, std = _mean_and_error(np.array(gaps))
    return (gap, std) if return_std else gap


# -- repetitions --------------------------------------------------------------------------


def _check_options(*, n_repeats: Any, max_samples: Any, return_std: Any, n_draws: Any = 1) -> None:
    check_scalar(n_draws, "n_draws", Integral, min_val=1)
    check_scalar(n_repeats, "n_repeats", Integral, min_val=1)
    check_scalar(max_samples, "max_samples", Integral, min_val=MIN_SAMPLES)
    if return_std and n_repeats < 2:
        raise ValueError("return_std=True needs at least two repetitions: pass n_repeats=2 or more.")


def _generators(n_repeats: int, random_state: Any) -> Iterator[np.random.RandomState]:
    for seed in private_random_state(random_state).randint(MAX_SEED, size=n_repeats):
        yield np.random.RandomState(seed)


def _repetitions(
    make: Callable[[Any, Any], Posteriors],
    model: Any,
    X: Any,
    n_repeats: int,
    max_samples: int,
    random_state: Any,
) -> Iterator[tuple[Posteriors, np.random.RandomState]]:
    """Iterate over posteriors and generators; all use the same posteriors if they use all samples."""
    shared = make(model, X) if count_samples(X) <= max_samples else None
    for rng in _generators(n_repeats, random_state):
        yield (make(model, *subsample(max_samples, rng, X)) if shared is None else shared), rng


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean, which is not negative, and its standard error; infinite values have none."""
    mean = max(0.0, float(values.mean()))
    if len(values) < 2 or not np.isfinite(mean):
        return mean, 0.0
    return mean, float(values.std(ddof=1) / np.sqrt(len(values)))


# -- factors ------------------------------------------------------------------------------


def _factor_columns(factors: Any) -> list[np.ndarray]:
    """Return each factor as an array; columns of data frames keep their types."""
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
            f"discrete_factors must be 'auto', a bool, or a list of {len(columns)}, one for each factor; "
            f"got {wanted!r}."
        )
    return np.broadcast_to(flags, len(columns)).tolist()


def _labels(column: np.ndarray, discrete: bool, n_bins: int, index: int) -> np.ndarray:
    """Return a factor as integers from 0: its distinct values, or bins with as many samples each."""
    if not discrete:
        values = check_array(column, ensure_2d=False, dtype=np.float64, input_name="factors")
        edges = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1])
        column = np.searchsorted(edges, values, side="right")
    labels = np.unique(column, return_inverse=True)[1].ravel()
    if not labels.any():
        raise ValueError(f"Factor {index} is constant and has no information: leave it out.")
    return labels


def _codes(model: Any, X: Any, rng: np.random.RandomState) -> np.ndarray:
    """Return draws from the model's posterior, or the codes of a model without one."""
    own = model_posterior(model, X)
    return encode(model, X, "X") if own is None else own[0] + own[1] * rng.standard_normal(own[0].shape)


def _gap(codes: np.ndarray, labels: np.ndarray, rng: np.random.RandomState) -> float:
    """Return the information of the best component less the second's, in shares of the entropy."""
    most = float(entropy(np.bincount(labels)))
    information = mutual_info_classif(codes, labels, discrete_features=False, random_state=rng)
    second, first = np.sort(np.concatenate([[0.0], np.clip(information, 0.0, most)]))[-2:]
    return float(first - second) / most
