"""Scorers of reducers: callables ``scorer(estimator, X, y=None)``, higher is better.

They go where scikit-learn takes ``scoring``: searches, cross-validation, validation
curves. Rows are held out by whoever calls them; y is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_array

from sklearn_ae._utils.arrays import dense, sample_blocks
from sklearn_ae._utils.transformers import check_decoder
from sklearn_ae._utils.warnings import warn_user
from sklearn_ae.metrics._affine import Density


def explained_variance_scorer(estimator, X, y=None):
    """Share of the variance of X that the reconstruction explains.

    ``1 - SSE / SST``, pooled over all entries: SSE is the sum of squared errors, SST that
    of squared deviations from the column means of the rows that are scored.

    Parameters
    ----------
    estimator : object
        Fitted transformer with ``inverse_transform``, such as PCA,
        ``KernelPCA(fit_inverse_transform=True)``, NMF, TruncatedSVD, this package's
        transformers, and pipelines of such.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows, two at least.
    y : Ignored
        Present for API consistency.

    Returns
    -------
    score : float
        1 is a perfect reconstruction, 0 is as good as the column means; it may be negative.

    Raises
    ------
    TypeError
        If the estimator has no ``transform`` and ``inverse_transform``.
    ValueError
        If X holds values that are not finite, or rows do not come back as wide as they were.

    See Also
    --------
    sklearn.metrics.r2_score : The same with ``multioutput="variance_weighted"``, but for columns
        that are constant in the rows that are scored, whose errors it leaves out.

    Notes
    -----
    The means are those of the rows that are scored, as in ``r2_score``, so that the share
    differs a little from one that is measured about the training means. A constant column adds
    nothing to SST, and nothing to SSE where it is reconstructed.

    Where all columns are constant the score is 1 if the reconstruction is perfect and 0
    otherwise, as in ``r2_score``; of one row it is nan, with a warning. Reconstructions
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
    codes, X = encode_rows(estimator, X), check_rows(X)
    return explained_share(squared_error(estimator, X, codes), X)


def neg_reconstruction_error_scorer(estimator, X, y=None):
    """Minus the mean squared error of a row's reconstruction.

    Parameters
    ----------
    estimator : object
        Fitted transformer with ``inverse_transform``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows.
    y : Ignored
        Present for API consistency.

    Returns
    -------
    score : float
        Minus the mean over the rows of the squared error, which is summed over the columns,
        in squared units of X. Reconstructions that are not finite give -inf or nan.

    Raises
    ------
    TypeError
        If the estimator has no ``transform`` and ``inverse_transform``.
    ValueError
        If X holds values that are not finite, or rows do not come back as wide as they were.

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
    codes, X = encode_rows(estimator, X), check_rows(X)
    return -squared_error(estimator, X, codes) / X.shape[0]


def log_likelihood_scorer(estimator, X, y=None):
    """Mean log-likelihood of the rows, in nats, in the units of X.

    Models compare by it even if they scale X in their own ways, as they do not by
    ``Pipeline.score``, which is in the units of the last step. A pipeline's affine steps
    add the log-determinant of their Jacobian: StandardScaler, MinMaxScaler without
    ``clip``, MaxAbsScaler, RobustScaler, PCA with as many components as columns
    (whitening or not), FunctionTransformer without ``func``, "passthrough", and pipelines
    of these.

    Parameters
    ----------
    estimator : object
        Fitted model whose ``score_samples`` gives log-likelihoods, such as PCA,
        FactorAnalysis, GaussianMixture, KernelDensity, AutoencoderTransformer or
        VAETransformer, or a pipeline or search that ends in one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows.
    y : Ignored
        Present for API consistency.

    Returns
    -------
    score : float
        Mean over the rows of the log-density (log-probability for discrete likelihoods). -inf
        where the density of a row is zero.

    Raises
    ------
    TypeError
        If the estimator has no likelihood (outlier detectors have none, though they have
        ``score_samples``), or a step before it is none of those above.
    ValueError
        If a step before the model is not a bijection as it is set up, or scales the
        values of a discrete likelihood.

    Notes
    -----
    Of discrete likelihoods (``likelihood="bernoulli"``, ``loss="binary_cross_entropy"``, Poisson)
    the values of X have log-probabilities, which no Jacobian relates to those of scaled
    values. They do not compare with densities either.

    ``score_samples`` of a nonlinear autoencoder takes milliseconds per row.

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


# -- what compare_reducers shares --------------------------------------------------------------


def encode_rows(estimator: Any, X: Any) -> Any:
    """Codes, as an array or a sparse matrix: all at once, since some depend on the rows beside them (NMF)."""
    missing = [name for name in ("transform", "inverse_transform") if not hasattr(estimator, name)]
    if missing:
        raise TypeError(
            f"{type(estimator).__name__} has no {' and no '.join(missing)}. Score a transformer that can "
            "decode, such as PCA, KernelPCA(fit_inverse_transform=True), AutoencoderTransformer, or a "
            "Pipeline of steps that all have inverse_transform."
        )
    check_decoder(estimator, "estimator")  # and no class
    return as_codes(estimator.transform(X))


def as_codes(codes: Any) -> Any:
    """An array or a sparse matrix, of which slices are rows, whatever ``set_output`` says."""
    return codes.tocsr() if sparse.issparse(codes) else np.asarray(codes)


def check_rows(X: Any) -> Any:
    """X as numbers to subtract from."""
    return check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32], input_name="X")


def squared_error(estimator: Any, X: Any, codes: Any) -> float:
    """Sum of squared errors of the decoded codes over all entries, decoded block by block."""
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for x, part in _blocks(X, codes):
            x_hat = np.asarray(dense(estimator.inverse_transform(part)))
            if x_hat.shape != x.shape:
                raise ValueError(
                    f"{type(estimator).__name__}.inverse_transform gives rows of {x_hat.shape[1:]} columns, "
                    f"but X has {x.shape[1]}: score a transformer that comes back to the columns of X."
                )
            total += float(np.square(x_hat.astype(np.float64) - x).sum())
    return total


def _blocks(X: Any, codes: Any) -> Iterator[tuple[np.ndarray, Any]]:
    start = 0
    for x in sample_blocks(X):
        yield x, codes[start : start + len(x)]
        start += len(x)


def explained_share(error: float, X: Any) -> float:
    """``1 - SSE / SST``, with the limits of ``r2_score``."""
    if X.shape[0] < 2:
        warn_user(
            "The explained variance of one row is not defined: score two at least.",
            UndefinedMetricWarning,
        )
        return float("nan")
    total = _total_variation(X)
    if total == 0:
        return float(error == 0)
    return 1 - error / total


def _total_variation(X: Any) -> float:
    """Sum of squared deviations from the column means.

    Measured from the first row, so that a constant column has exactly none.
    """
    first = dense(X[:1]).astype(np.float64)
    mean = sum((x - first).sum(axis=0) for x in sample_blocks(X)) / X.shape[0]
    return sum(float(np.square(x - first - mean).sum()) for x in sample_blocks(X))
