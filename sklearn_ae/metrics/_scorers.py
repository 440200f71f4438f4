"""Scorers for dimensionality reduction: callables ``scorer(estimator, X, y=None)``, higher is better.

They can be passed as ``scoring`` to scikit-learn's searches, cross-validation and
validation curves, which hold out the samples. y is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import UndefinedMetricWarning

from sklearn_ae._utils.arrays import check_array, dense, numpy_only, sample_blocks
from sklearn_ae._utils.runtime import kept_filters
from sklearn_ae._utils.transformers import check_decoder, transform
from sklearn_ae._utils.warnings import warn_user
from sklearn_ae.metrics._affine import Density


@kept_filters()
@numpy_only()
def explained_variance_scorer(estimator: Any, X: Any, y: Any = None) -> float:
    """Return the share of the variance of X that is explained by the reconstruction.

    It is ``1 - SSE / SST``, pooled over all entries: SSE is the sum of squared errors, SST that
    of squared deviations from the feature means of the samples that are scored.

    Parameters
    ----------
    estimator : object
        Fitted transformer with ``inverse_transform``, such as PCA,
        ``KernelPCA(fit_inverse_transform=True)``, NMF, TruncatedSVD, this package's
        transformers, and pipelines of these.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        At least two samples.
    y : Ignored
        Present for API consistency.

    Returns
    -------
    score : float
        1 for a perfect reconstruction, 0 for one as good as the feature means; it may be negative.

    Raises
    ------
    TypeError
        If the estimator has no ``transform`` and ``inverse_transform``.
    ValueError
        If X contains values that are not finite, or its reconstruction has other features.

    See Also
    --------
    sklearn.metrics.r2_score : The same with ``multioutput="variance_weighted"``, except that it
        ignores the errors of features that are constant in the samples that are scored.

    Notes
    -----
    The means are those of the samples that are scored, as in ``r2_score``, so that the share
    differs slightly from one measured about the training means. A constant feature adds
    nothing to SST, and nothing to SSE if it is reconstructed.

    If all features are constant, the score is 1 for a perfect reconstruction and 0
    otherwise, as in ``r2_score``; for a single sample it is nan, with a warning. Reconstructions
    that are not finite give -inf or nan.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_ae.metrics import explained_variance_scorer
    >>> search = GridSearchCV(PCA(), {"n_components": [2, 8, 32]}, scoring=explained_variance_scorer)
    >>> search.fit(load_digits().data[:300]).cv_results_["mean_test_score"].round(2)
    array([0.26, 0.7 , 0.96])
    """
    codes, X = encode_samples(estimator, X), check_samples(X)
    return explained_share(squared_error(estimator, X, codes), X)


@kept_filters()
@numpy_only()
def neg_reconstruction_error_scorer(estimator: Any, X: Any, y: Any = None) -> float:
    """Return the negative mean over samples of the squared reconstruction error.

    Parameters
    ----------
    estimator : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples to score.
    y : Ignored
        Present for API consistency.

    Returns
    -------
    score : float
        Negative mean over the samples of the squared error, summed over features,
        in squared units of X. Reconstructions that are not finite give -inf or nan.

    Raises
    ------
    TypeError
        If the estimator has no ``transform`` and ``inverse_transform``.
    ValueError
        If X contains values that are not finite, or its reconstruction has other features.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_ae.metrics import neg_reconstruction_error_scorer
    >>> X = load_digits().data[:300]
    >>> cross_val_score(PCA(8), X, scoring=neg_reconstruction_error_scorer, cv=3).round(0)
    array([-386., -307., -380.])
    """
    codes, X = encode_samples(estimator, X), check_samples(X)
    return -squared_error(estimator, X, codes) / X.shape[0]


@kept_filters()
@numpy_only()
def log_likelihood_scorer(estimator: Any, X: Any, y: Any = None) -> float:
    """Return the mean log-likelihood per sample in nats, in the units of X.

    Unlike ``Pipeline.score``, which is in the units of the last step, it compares models that
    scale X differently. A pipeline's affine steps add the log-determinant of their Jacobian:
    StandardScaler, MinMaxScaler without ``clip``, MaxAbsScaler, RobustScaler, PCA with as many
    components as features (with or without whitening), FunctionTransformer without ``func``,
    "passthrough", and pipelines of these.

    Parameters
    ----------
    estimator : object
        Fitted model whose ``score_samples`` gives log-likelihoods, such as PCA,
        FactorAnalysis, GaussianMixture, KernelDensity, AutoencoderTransformer or
        VAETransformer, or a pipeline or search that ends in one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples to score.
    y : Ignored
        Present for API consistency.

    Returns
    -------
    score : float
        Mean over the samples of the log-density (log-probability for discrete likelihoods). -inf
        if the density of a sample is zero.

    Raises
    ------
    TypeError
        If the estimator has no likelihood (outlier detectors have ``score_samples``, but no
        likelihood), or a step before it is none of those above.
    ValueError
        If a step before the model is not a bijection with its parameters, or scales the
        values of a discrete likelihood.

    Notes
    -----
    Discrete likelihoods (``likelihood="bernoulli"``, ``loss="binary_cross_entropy"``, Poisson)
    give log-probabilities of the values of X, which no Jacobian relates to those of scaled
    values. They are not comparable with densities either.

    ``score_samples`` of a nonlinear autoencoder takes milliseconds per sample.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ae.metrics import log_likelihood_scorer
    >>> X = load_iris().data
    >>> for model in (PCA(2), make_pipeline(StandardScaler(), PCA(2))):
    ...     print(f"{log_likelihood_scorer(model.fit(X), X):.2f}")
    -2.70
    -2.95
    """
    return float(Density.of(estimator).score_samples(X).mean())


# -- shared with compare_reducers -------------------------------------------------------------


def encode_samples(estimator: Any, X: Any) -> Any:
    """Return codes as an array or sparse matrix.

    All samples are encoded together, because NMF's codes depend on the other samples.
    """
    missing = [name for name in ("transform", "inverse_transform") if not hasattr(estimator, name)]
    if missing:
        raise TypeError(
            f"{type(estimator).__name__} has no {' and no '.join(missing)}. Score a transformer that can "
            "decode, such as PCA, KernelPCA(fit_inverse_transform=True), AutoencoderTransformer, or a "
            "Pipeline of steps that all have inverse_transform."
        )
    check_decoder(estimator, "estimator")  # A class has the methods, too
    return as_codes(transform(estimator, X))


def as_codes(codes: Any) -> Any:
    """Return an array or CSR matrix, which can be sliced, whatever the ``set_output`` of the model."""
    return codes.tocsr() if sparse.issparse(codes) else np.asarray(codes)


def check_samples(X: Any) -> Any:
    """Return X as floating-point numbers, dense or CSR."""
    return check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32], input_name="X")


def squared_error(estimator: Any, X: Any, codes: Any) -> float:
    """Return the sum of squared errors over all entries, decoding the codes block by block."""
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for x, part in _blocks(X, codes):
            x_hat = np.asarray(dense(estimator.inverse_transform(part)))
            if x_hat.shape != x.shape:
                raise ValueError(
                    f"{type(estimator).__name__}.inverse_transform returns samples of shape "
                    f"{x_hat.shape[1:]}, but those of X have shape {x.shape[1:]}: score a transformer that "
                    "restores the features of X."
                )
            total += float(np.square(x_hat.astype(np.float64) - x).sum())
    return total


def _blocks(X: Any, codes: Any) -> Iterator[tuple[np.ndarray, Any]]:
    start = 0
    for x in sample_blocks(X):
        yield x, codes[start : start + len(x)]
        start += len(x)


def explained_share(error: float, X: Any) -> float:
    """Return ``1 - SSE / SST``, with the limits of ``r2_score``."""
    if X.shape[0] < 2:
        warn_user(
            "The explained variance of one sample is not defined: score at least two.",
            UndefinedMetricWarning,
        )
        return float("nan")
    total = _total_variation(X)
    if total == 0:
        return float(error == 0)
    return 1 - error / total


def _total_variation(X: Any) -> float:
    """Return the sum of squared deviations from the feature means.

    It is measured from the first sample, so that constant features contribute exactly 0.
    """
    first = dense(X[:1]).astype(np.float64)
    mean = sum((x - first).sum(axis=0) for x in sample_blocks(X)) / X.shape[0]
    return sum(float(np.square(x - first - mean).sum()) for x in sample_blocks(X))
