"""Score every size of the code on held-out folds, with one training per fold that serves all sizes.

    fold:  train one code, nested for all sizes -> tune it to each size, gate it against PCA, score it

A nested code is trained for all sizes at once [1]_: each row is cut to its first
components, as many as the size drawn for it. A short warm start then tunes a copy to
one size, and the gate decides, as for an autoencoder of that size, whether PCA takes
its place.

Linear autoencoders are PCA, which is nested as it is. Sparse bottlenecks cannot be
cut; there each size is trained by itself.

References
----------
.. [1] A. Kusupati et al. (2022), Matryoshka representation learning, NeurIPS.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from torch import Generator, Tensor

from sklearn_ae._fitting.pipeline import n_held_out
from sklearn_ae._utils.compat import _safe_indexing
from sklearn_ae._utils.runtime import private_random_state
from sklearn_ae.bottlenecks import Ordered

_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # that "auto" tries

_NESTED_SHARE, _NESTED_LEAST = 4, 30  # a quarter of the epochs of an autoencoder of one size, but for few

_TUNING_SHARE, _TUNING_LEAST = 10, 10  # and for each size a tenth more

_N_DRAWS, _N_STARTS = 16, 2  # of the default score; more change it by a tenth of a nat at most


class Nested(Ordered):
    """Ordered codes for some sizes alone; validation asks for all of them, too.

    Parameters
    ----------
    sizes : sequence of int
        The largest is the width of the code.
    """

    _parameter_constraints = {"sizes": ["array-like"]}

    def __init__(self, sizes: Sequence[int] = (1,)):
        self.sizes = sizes

    def __call__(self, a: Tensor, generator: Generator | None = None) -> Tensor:
        if generator is None:
            return a
        masks = _masks(tuple(self.sizes), a.shape[1], a.dtype, a.device)
        if len(masks) == 1:
            return a * masks
        order = torch.randperm(len(a), generator=generator, device=a.device)  # sizes in equal shares
        shift = torch.randint(len(masks), (), generator=generator, device=a.device)
        return a * masks[(order + shift) % len(masks)]

    def evaluate(self, a: Tensor, generator: Generator | None) -> Tensor:
        return self(a, generator)

    @property
    def n_least(self) -> int:  # type: ignore[override]
        return min(self.sizes)


@lru_cache(maxsize=64)
def _masks(sizes: tuple[int, ...], width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Ones for what each size keeps, shape (n_sizes, width)."""
    return (torch.arange(width, device=device) < torch.tensor(sizes, device=device)[:, None]).to(dtype)


# -- sizes -------------------------------------------------------------------------------


def check_sizes(n_components: Any, n_train: int, n_features: int, limited: bool) -> list[int]:
    """The sizes to try, in increasing order.

    Parameters
    ----------
    n_components : array-like of int, int or "auto"
        As the user gives it.
    n_train : int
        Rows of the smallest training part.
    n_features : int
    limited : bool
        Whether a code may be larger than the data (:attr:`ModelSpec.is_limited`).
    """
    largest = min(n_train, n_features)
    if isinstance(n_components, str):
        return [k for k in _SIZES if k < largest] or [1]
    given = np.ravel(n_components).tolist()
    if not given or not all(isinstance(k, int) and k >= 1 for k in given):
        raise ValueError(f"n_components must list positive integers, or be 'auto'; got {n_components!r}.")
    if max(given) > largest and not limited:
        raise ValueError(
            f"n_components={max(given)} must be at most min(n_samples, n_features)={largest} of the smallest "
            f"training part (n_samples={n_train}, n_features={n_features}). Leave it out, or use fewer folds."
        )
    return sorted(set(given))


# -- models of all sizes -----------------------------------------------------------------


def models_of_sizes(estimator: Any, sizes: Sequence[int], X: Any) -> list[Any]:
    """Fit a model of each size to the same rows.

    Parameters
    ----------
    estimator : AutoencoderTransformer
        What it says of ``n_components`` is not looked at.
    sizes : sequence of int
        In increasing order.
    X : ndarray or sparse matrix
    """
    spec = estimator._model_spec()
    wide = clone(estimator).set_params(n_components=sizes[-1])
    if not spec.bottleneck.identity:
        return [_train(clone(estimator).set_params(n_components=k), X) for k in sizes]
    pca = clone(wide).set_params(hidden_layer_sizes=(), network="dense", bottleneck="identity", init="pca")
    if spec.is_optimal_at_start:
        return _cut(pca.fit(X), sizes)
    models = _tuned(wide, sizes, X)
    if not spec.has_pca_objective or all(model.uses_network_ for model in models):
        return models
    floors = _cut(pca.fit(X), sizes)  # of all rows, as for an autoencoder whose gate is shut
    return [model if model.uses_network_ else floor for model, floor in zip(models, floors, strict=True)]


def _tuned(wide: Any, sizes: Sequence[int], X: Any) -> list[Any]:
    """Train a nested code, and tune a copy to each size."""
    train, held_out = _split(wide, X)
    epochs = wide._training_config().resolved(train.shape[0], wide.init).max_iter
    long, short = _part(epochs, _NESTED_SHARE, _NESTED_LEAST), _part(epochs, _TUNING_SHARE, _TUNING_LEAST)
    wide.set_params(bottleneck=Nested(tuple(sizes)), max_iter=long, warm_start=True)
    nested = _train(wide, train, **held_out)
    models = []
    for k in sizes:
        model = copy.copy(nested).set_params(bottleneck=Nested((k,)), max_iter=short)
        models.append(_train(model, train, **held_out).truncate(k))
    return models


def _part(epochs: int, share: int, least: int) -> int:
    """A share of the epochs, but not so few that nothing is learnt."""
    return max(-(-epochs // share), min(epochs, least))


def _split(wide: Any, X: Any) -> tuple[Any, dict[str, Any]]:
    """Training rows, and validation rows that all sizes share, where ``fit`` would hold out some."""
    n_valid = n_held_out(wide._training_config(), X.shape[0], wide.init)
    if not n_valid:
        return X, {}
    order = private_random_state(wide.random_state).permutation(X.shape[0])
    return X[order[n_valid:]], {"X_val": X[order[:n_valid]]}


def _train(estimator: Any, X: Any, **fit_params: Any) -> Any:
    """Fit without a word on convergence: the model that is kept is trained later, and will say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, **fit_params)


def _cut(model: Any, sizes: Sequence[int]) -> list[Any]:
    return [model.truncate(k) for k in sizes]


# -- scores ------------------------------------------------------------------------------


class FoldScores(NamedTuple):
    """What one fold says of each size."""

    scores: np.ndarray  # (n_sizes,)
    score_times: np.ndarray  # (n_sizes,), seconds
    fit_time: float  # seconds, of all sizes together


def score_fold(
    estimator: Any,
    sizes: Sequence[int],
    X: Any,
    y: Any,
    split: tuple[np.ndarray, np.ndarray],
    scorer: Callable[..., float],
) -> FoldScores:
    """Fit models of all sizes to the training rows of a split, and score them on its test rows."""
    train, test = split
    start = time.perf_counter()
    models = models_of_sizes(estimator, sizes, _safe_indexing(X, train))
    fit_time = time.perf_counter() - start
    rows = _safe_indexing(X, test), None if y is None else _safe_indexing(y, test)
    scores, times = [], []
    for model in models:
        start = time.perf_counter()
        scores.append(float(scorer(model, *rows)))
        times.append(time.perf_counter() - start)
    return FoldScores(np.array(scores), np.array(times), fit_time)


def mean_log_likelihood(estimator: Any, X: Any, y: Any = None) -> float:
    """The estimator's own score from fewer draws, which suffice to compare sizes."""
    log_p, _ = estimator._score_samples(X, _N_DRAWS, _N_STARTS)
    return float(np.mean(log_p))


def tabulate(sizes: Sequence[int], folds: Sequence[FoldScores]) -> dict[str, Any]:
    """Lay the scores out as ``GridSearchCV`` does in ``cv_results_``."""
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
        **{f"split{i}_test_score": row for i, row in enumerate(scores)},
        "mean_test_score": scores.mean(axis=0),
        "std_test_score": scores.std(axis=0),
        "rank_test_score": rankdata(-scores.mean(axis=0), method="min").astype(np.int32),
    }


# -- rules -------------------------------------------------------------------------------


def best(scores: np.ndarray) -> int:
    """Index of the size with the highest mean score; the smaller of equals.

    Parameters
    ----------
    scores : ndarray of shape (n_folds, n_sizes)
    """
    mean = scores.mean(axis=0)
    if not np.isfinite(mean).any():
        raise ValueError("No size has a finite mean score; look at what scoring returns.")
    return int(np.where(np.isnan(mean), -np.inf, mean).argmax())


def one_standard_error(scores: np.ndarray) -> int:
    """Index of the smallest size whose mean is within one standard error of the best mean [1]_.

    References
    ----------
    .. [1] T. Hastie, R. Tibshirani, J. Friedman (2009), The elements of statistical learning, 7.10.
    """
    mean, top = scores.mean(axis=0), best(scores)
    error = scores[:, top].std(ddof=1) / np.sqrt(len(scores))
    return int(np.flatnonzero(mean >= mean[top] - error)[0])


RULES: dict[str, Callable[[np.ndarray], int]] = {"best": best, "1se": one_standard_error}
