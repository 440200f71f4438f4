"""Cross-validated scores of all candidate sizes, from one network trained per fold.

    fold:  train a nested code -> tune it to each size -> fall back to PCA if needed -> score

A nested code is trained for all sizes at once [1]_: a size is drawn for each sample,
and only that many leading components are kept. A short warm start then tunes a copy
to one size, which falls back to PCA under the same conditions as an autoencoder of
that size.

Linear autoencoders equal PCA, whose components are nested already. Codes of sparse
bottlenecks cannot be truncated; each size is then trained separately.

References
----------
.. [1] A. Kusupati et al. (2022), Matryoshka representation learning, NeurIPS.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.base import clone
from torch import Generator, Tensor

from sklearn_ae._fitting.pipeline import n_held_out
from sklearn_ae._utils.compat import InvalidParameterError, _safe_indexing
from sklearn_ae._utils.missing import has_missing
from sklearn_ae._utils.runtime import private_random_state
from sklearn_ae._utils.warnings import without_convergence_warnings
from sklearn_ae.bottlenecks import Ordered

# Candidate sizes of n_components="auto".
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)

# The nested code is trained for max_iter / 4 epochs and tuned to each size for max_iter / 25,
# but at least for these numbers of epochs.
_NESTED_DIVISOR, _MIN_NESTED_EPOCHS = 4, 25
_TUNING_DIVISOR, _MIN_TUNING_EPOCHS = 25, 4

# Importance samples and starting points of the default score; more would change it by at most
# 0.1 nats.
_N_DRAWS, _N_STARTS = 16, 1


class Nested(Ordered):
    """Nested dropout that is restricted to given sizes, in training and in validation.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of components to keep; the largest is the number of components.
    """

    _parameter_constraints = {"sizes": ["array-like"]}

    def __init__(self, sizes: Sequence[int] = (1,)) -> None:
        self.sizes = sizes

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        if generator is None:
            return a
        masks = _masks(tuple(self.sizes), a.shape[1], a.dtype, a.device)
        if len(masks) == 1:
            return a * masks
        # A random permutation, not independent draws, gives each size the same share of the batch.
        order = torch.randperm(len(a), generator=generator, device=a.device)
        shift = torch.randint(len(masks), (), generator=generator, device=a.device)
        return a * masks[(order + shift) % len(masks)]

    def evaluate(self, a: Tensor, generator: Generator | None) -> Tensor:
        return self(a, generator)

    @property
    def n_least(self) -> int:  # type: ignore[override]
        """The smallest size."""
        return min(self.sizes)

    @property
    def measured_size(self) -> int:  # type: ignore[override]
        """The smallest size, which is the only one once a copy is tuned."""
        return self.n_least


@lru_cache(maxsize=64)
def _masks(sizes: tuple[int, ...], width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return binary masks of the components that each size keeps, of shape (n_sizes, width)."""
    return (torch.arange(width, device=device) < torch.tensor(sizes, device=device)[:, None]).to(dtype)


# -- sizes -------------------------------------------------------------------------------


def check_sizes(n_components: Any, n_train: int, n_features: int, limited: bool) -> list[int]:
    """Return the candidate sizes in increasing order.

    Parameters
    ----------
    n_components : array-like of int, int or "auto"
        The parameter of the estimator.
    n_train : int
        Number of training samples of the smallest fold.
    n_features : int
        Number of features.
    limited : bool
        True if overcomplete codes are allowed (:attr:`ModelSpec.is_limited`).
    """
    largest = min(n_train, n_features)
    if isinstance(n_components, str):
        return [k for k in _SIZES if k < largest] or [1]
    given = np.ravel(n_components).tolist()
    if not given or not all(isinstance(k, int) and k >= 1 for k in given):
        raise InvalidParameterError(
            f"n_components must list positive integers, or be 'auto'; got {n_components!r}."
        )
    if max(given) > largest and not limited:
        raise ValueError(
            f"n_components={max(given)} must be at most min(n_samples, n_features)={largest} of the smallest "
            f"training set (n_samples={n_train}, n_features={n_features}). Remove it or use more folds."
        )
    return sorted(set(given))


# -- models of all sizes -----------------------------------------------------------------


def fit_sizes(estimator: Any, sizes: Sequence[int], X: Any) -> list[Any]:
    """Fit a model of each size to the same samples.

    Parameters
    ----------
    estimator : AutoencoderTransformer
        Unfitted estimator; its ``n_components`` is ignored.
    sizes : sequence of int
        Candidate sizes in increasing order.
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Training samples.

    Returns
    -------
    models : list of AutoencoderTransformer
        Fitted estimators.
    """
    spec = estimator._model_spec()
    wide = clone(estimator).set_params(n_components=sizes[-1])
    wide._n_folds = 0  # all sizes share one validation set
    if not spec.bottleneck.identity:
        return [_fit_quietly(clone(estimator).set_params(n_components=k), X) for k in sizes]
    pca = clone(wide).set_params(hidden_layer_sizes=(), network="dense", bottleneck="identity", init="pca")
    if spec.is_optimal_at_start:
        return _linear_models(pca, sizes, X)
    models = _fit_nested(wide, sizes, X)
    if not spec.has_pca_objective or all(model.uses_network_ for model in models):
        return models
    # As in AutoencoderTransformer, the fallback is the PCA of all samples.
    fallbacks = _linear_models(pca, sizes, X)
    pairs = zip(models, fallbacks, strict=True)
    return [model if model.uses_network_ else fallback for model, fallback in pairs]


def _fit_nested(wide: Any, sizes: Sequence[int], X: Any) -> list[Any]:
    """Train a nested code and tune a copy to each size."""
    train, held_out = _split(wide, X)
    epochs = wide._training_config().resolved(train.shape, wide.init).max_iter
    n_nested = _fraction(epochs, _NESTED_DIVISOR, _MIN_NESTED_EPOCHS)
    n_tuning = _fraction(epochs, _TUNING_DIVISOR, _MIN_TUNING_EPOCHS)
    wide.set_params(bottleneck=Nested(tuple(sizes)), max_iter=n_nested, warm_start=True)
    nested = _fit_quietly(wide, train, **held_out)
    models = []
    for k in sizes:
        model = copy.copy(nested).set_params(bottleneck=Nested((k,)), max_iter=n_tuning)
        models.append(_fit_quietly(model, train, **held_out).truncate(k))
    return models


def _fraction(epochs: int, divisor: int, minimum: int) -> int:
    """Return ``epochs / divisor`` rounded up, but at least ``minimum`` unless there are fewer epochs."""
    return max(-(-epochs // divisor), min(epochs, minimum))


def _split(wide: Any, X: Any) -> tuple[Any, dict[str, Any]]:
    """Return the training samples and, if ``fit`` would hold out any, the validation samples.

    All sizes share the same split.
    """
    n_valid = n_held_out(wide._training_config(), X.shape[0], wide.init)
    if not n_valid:
        return X, {}
    order = private_random_state(wide.random_state).permutation(X.shape[0])
    return X[order[n_valid:]], {"X_val": X[order[:n_valid]]}


def _fit_quietly(estimator: Any, X: Any, **fit_params: Any) -> Any:
    """Fit with ConvergenceWarning suppressed; the final refit emits it."""
    with without_convergence_warnings():
        return estimator.fit(X, **fit_params)


def _linear_models(pca: Any, sizes: Sequence[int], X: Any) -> list[Any]:
    """Fit linear models, of which the smaller ones are truncations of the largest without missing values."""
    if has_missing(X):
        return [clone(pca).set_params(n_components=k).fit(X) for k in sizes]
    return _truncations(pca.fit(X), sizes)


def _truncations(model: Any, sizes: Sequence[int]) -> list[Any]:
    return [model.truncate(k) for k in sizes]


# -- scores ------------------------------------------------------------------------------


class FoldScores(NamedTuple):
    """Scores of all sizes on the test samples of one fold.

    Attributes
    ----------
    scores : ndarray of shape (n_sizes,)
    score_times : ndarray of shape (n_sizes,)
        Seconds used to score each size.
    fit_time : float
        Seconds used to fit all sizes together.
    """

    scores: np.ndarray
    score_times: np.ndarray
    fit_time: float


def score_fold(
    estimator: Any,
    sizes: Sequence[int],
    X: Any,
    y: Any,
    split: tuple[np.ndarray, np.ndarray],
    scorer: Callable[..., float],
) -> FoldScores:
    """Fit models of all sizes to the training samples of a split and score them on its test samples."""
    train, test = split
    start = time.perf_counter()
    models = fit_sizes(estimator, sizes, _safe_indexing(X, train))
    fit_time = time.perf_counter() - start
    X_test = _safe_indexing(X, test)
    y_test = None if y is None else _safe_indexing(y, test)
    scores, times = [], []
    for model in models:
        start = time.perf_counter()
        scores.append(float(scorer(model, X_test, y_test)))
        times.append(time.perf_counter() - start)
    return FoldScores(np.array(scores), np.array(times), fit_time)


def mean_log_likelihood(estimator: Any, X: Any, y: Any = None) -> float:
    """Return the estimator's ``score`` computed with fewer draws, enough to compare sizes."""
    log_p, _ = estimator._score_samples(X, _N_DRAWS, _N_STARTS)
    return float(np.mean(log_p))


def tabulate(sizes: Sequence[int], folds: Sequence[FoldScores]) -> dict[str, Any]:
    """Return the scores in the format of ``cv_results_`` of ``GridSearchCV``."""
    scores = np.array([fold.scores for fold in folds])
    fit_times = np.array([fold.fit_time for fold in folds]) / len(sizes)
    score_times = np.array([fold.score_times for fold in folds])
    return {
        "mean_fit_time": np.full(len(sizes), fit_times.mean()),
        "std_fit_time": np.full(len(sizes), fit_times.std()),
        "mean_score_time": score_times.mean(axis=0),
        "std_score_time": score_times.std(axis=0),
        "param_n_components": np.ma.array(sizes, mask=False),
        "params": [{"n_components": int(k)} for k in sizes],
        **{f"split{i}_test_score": fold_scores for i, fold_scores in enumerate(scores)},
        "mean_test_score": scores.mean(axis=0),
        "std_test_score": scores.std(axis=0),
        "rank_test_score": rankdata(-scores.mean(axis=0), method="min").astype(np.int32),
    }


# -- rules -------------------------------------------------------------------------------


def best(scores: np.ndarray) -> int:
    """Return the index of the size with the highest mean score, the smallest one among ties.

    Parameters
    ----------
    scores : ndarray of shape (n_folds, n_sizes)
        Test scores, with sizes in increasing order.

    Returns
    -------
    index : int
    """
    mean = scores.mean(axis=0)
    if not np.isfinite(mean).any():
        raise ValueError("No size has a finite mean score; check the values that scoring returns.")
    return int(np.where(np.isnan(mean), -np.inf, mean).argmax())


def one_standard_error(scores: np.ndarray) -> int:
    """Return the index of the smallest size within one standard error of the best mean score [1]_.

    References
    ----------
    .. [1] T. Hastie, R. Tibshirani, J. Friedman (2009), The elements of statistical learning, 7.10.
    """
    mean, top = scores.mean(axis=0), best(scores)
    error = scores[:, top].std(ddof=1) / np.sqrt(len(scores))
    return int(np.flatnonzero(mean >= mean[top] - error)[0])


RULES: dict[str, Callable[[np.ndarray], int]] = {"best": best, "1se": one_standard_error}
