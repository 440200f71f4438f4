"""Comparison of reducers on the same folds, with all measures taken from one fit per size and fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import indexable
from sklearn.utils.multiclass import type_of_target

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.compat import _safe_indexing
from sklearn_ae._utils.parallel import call_all
from sklearn_ae._utils.parameters import check_groups
from sklearn_ae._utils.pipelines import by_class
from sklearn_ae._utils.runtime import as_seed, kept_filters
from sklearn_ae.metrics._affine import Density
from sklearn_ae.metrics._scorers import as_codes, check_samples, explained_share, squared_error

_PREDICTORS = {
    "accuracy": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "r2": lambda: make_pipeline(StandardScaler(), RidgeCV()),
}
_METRIC_OF_TARGET = dict.fromkeys(("binary", "multiclass"), "accuracy")
_METRIC_OF_TARGET |= dict.fromkeys(("continuous", "continuous-multioutput"), "r2")
_FAILURES = (ValueError, TypeError, NotImplementedError)  # Raised for unsuitable data or parameters
_TIMES = ("fit_time", "transform_time")


@kept_filters()
@numpy_only()
def compare_reducers(
    estimators: Any,
    X: Any,
    n_components: Any = None,
    y: Any = None,
    *,
    cv: Any = 5,
    groups: Any = None,
    predictor: Any = "auto",
    n_jobs: int | None = None,
    random_state: Any = None,
) -> Any:
    """Cross-validate dimensionality reduction models at several sizes on the same folds.

    Each model is fitted once per size and fold, and measured on the held-out samples.

    Parameters
    ----------
    estimators : dict or list of estimator
        Transformers or pipelines, by name, which are cloned. Those of a list
        are named after their classes (of a pipeline, the last step's), and numbered if several have
        the same class.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples.
    n_components : int or list of int, default=None
        Sizes of the code. They are set as the parameter ``n_components`` of each estimator, or of the
        only step of a pipeline that has it. None leaves each estimator at its own size.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Target that a predictor estimates from the codes. It is also passed to ``fit``, for
        supervised reducers.
    cv : int, splitter or iterable, default=5
        As in ``cross_validate``: an int means consecutive folds, stratified if y contains classes.
    groups : array-like of shape (n_samples,), default=None
        Group of each sample, which splitters such as ``GroupKFold`` keep in one fold.
    predictor : "auto" or estimator, default="auto"
        Classifier or regressor fitted to the training codes and y. "auto" is StandardScaler with
        ``LogisticRegression(max_iter=1000)`` for classes, or with ``RidgeCV()`` for real numbers.
        Integers are regarded as classes.
    n_jobs : int or None, default=None
        Number of fits in parallel. Only the times depend on it.
    random_state : int, RandomState instance or None, default=None
        Determines the seed of all estimators, including the predictor, whose own ``random_state`` is
        None; an int is the seed. None uses fresh entropy, and does not affect NumPy's global generator.

    Returns
    -------
    table : DataFrame
        One row for each estimator and size; a dict of arrays if pandas is not installed. The columns
        are means over the folds, and with the suffix ``_std`` standard deviations over the folds:

        - ``estimator``: the name.
        - ``n_components``: the size of the codes.
        - ``reconstruction_error``: mean over the samples of the squared error, summed over features.
        - ``explained_variance``: as :func:`explained_variance_scorer`.
        - ``log_likelihood``: as :func:`log_likelihood_scorer`, in nats per sample.
        - ``accuracy`` of the predictor, or ``r2`` if it is a regressor; only if y is given.
        - ``fit_time``, ``transform_time``: seconds to fit, and to encode the held-out samples.

    Raises
    ------
    ValueError
        If a size cannot be set or is too large, or an estimator does not accept X; the message names
        the estimator and the size.
    TypeError
        If an estimator is not a transformer, or the predictor neither classifier nor regressor.

    Notes
    -----
    A measure is nan if it is not defined in some fold: the reconstruction without
    ``inverse_transform``; the log-likelihood if :func:`log_likelihood_scorer` rejects the
    estimator, or if it raises LinAlgError, because the density of PCA with more components than the
    rank of X is singular. If it is nearly singular, scikit-learn warns, and the value is unreliable.

    Densities and the log-probabilities of discrete likelihoods (Bernoulli, Poisson) are not
    comparable. The log-likelihood of a nonlinear autoencoder takes milliseconds per sample, which
    are not included in the times.

    An int as ``cv`` does not shuffle: pass ``KFold(5, shuffle=True, random_state=0)`` if the
    samples are sorted.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ae.metrics import compare_reducers
    >>> X, y = load_wine(return_X_y=True)
    >>> models = {"raw": PCA(), "scaled": make_pipeline(StandardScaler(), PCA())}
    >>> table = compare_reducers(models, X, [1, 2], y, random_state=0)
    >>> table[["estimator", "n_components", "log_likelihood", "accuracy"]].round(2)
      estimator  n_components  log_likelihood  accuracy
    0       raw             1          -40.99      0.68
    1       raw             2          -29.57      0.68
    2    scaled             1          -21.47      0.84
    3    scaled             2          -20.75      0.96
    """
    predictor, metric = _task(y, predictor)
    seed = as_seed(random_state)
    cases = list(_cases(_named(estimators), _sizes(n_components), seed))
    X, y, groups = indexable(X, None if y is None else np.asarray(y), groups)
    cv = check_cv(cv, y, classifier=metric == "accuracy")
    check_groups(cv, groups)
    splits = list(cv.split(X, y, groups))
    predictor = None if metric is None else _seeded(predictor, seed)
    # Fold by fold, so that errors of any size are raised in the first fold
    calls = (partial(_checked, case, X, y, split, predictor, metric) for split in splits for case in cases)
    results = call_all(calls, n_jobs)
    return _table(cases, [results[i :: len(cases)] for i in range(len(cases))])


# -- cases -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """An estimator at one size."""

    name: Any
    estimator: Any
    n_components: int | None

    def __str__(self) -> str:
        return f"{self.name}" + ("" if self.n_components is None else f", n_components={self.n_components}")


def _named(estimators: Any) -> dict[Any, Any]:
    if not isinstance(estimators, (Mapping, list, tuple)) or not estimators:
        raise TypeError(
            f"estimators must be a dict {{name: estimator}} or a list of estimators; got {estimators!r}."
        )
    named = dict(estimators) if isinstance(estimators, Mapping) else by_class(estimators)
    for name, estimator in named.items():
        if isinstance(estimator, type) or not (hasattr(estimator, "fit") and hasattr(estimator, "transform")):
            raise TypeError(
                f"estimators must be transformers with fit and transform; {name!r} is {estimator!r}."
            )
    return named


def _sizes(n_components: Any) -> list[int | None]:
    if n_components is None:
        return [None]
    sizes = [n_components] if np.ndim(n_components) == 0 else list(n_components)
    if not sizes or not all(isinstance(k, (int, np.integer)) and k > 0 for k in sizes):
        raise ValueError(
            f"n_components must be a positive integer, a list of them, or None; got {n_components!r}."
        )
    return [int(k) for k in sizes]


def _cases(estimators: dict[Any, Any], sizes: list[int | None], seed: int) -> Iterator[_Case]:
    for name, estimator in estimators.items():
        parameter = _size_parameter(name, estimator) if sizes != [None] else None
        for size in sizes:
            sized = _seeded(estimator, seed)
            yield _Case(name, sized.set_params(**{parameter: size}) if parameter else sized, size)


def _size_parameter(name: Any, estimator: Any) -> str:
    found = list(_size_parameters(estimator))
    if len(found) != 1:
        has = f"has several: {', '.join(found)}" if found else "has none"
        raise ValueError(
            f"n_components needs estimators with one parameter of this name, but {name!r} {has}. Pass one "
            "estimator for each size, and n_components=None."
        )
    return found[0]


def _size_parameters(estimator: Any, prefix: str = "") -> Iterator[str]:
    """Iterate over names of size parameters of the estimator or its steps, but not of their options."""
    if isinstance(estimator, Pipeline):
        for name, step in estimator.steps:
            yield from _size_parameters(step, f"{prefix}{name}__")
    elif hasattr(estimator, "get_params") and "n_components" in estimator.get_params(deep=False):
        yield f"{prefix}n_components"


def _seeded(estimator: Any, seed: int) -> Any:
    """Return a clone with the seed as every ``random_state`` that is None."""
    params = estimator.get_params().items()
    unset = [key for key, value in params if key.split("__")[-1] == "random_state" and value is None]
    return clone(estimator).set_params(**dict.fromkeys(unset, seed))


def _task(y: Any, predictor: Any) -> tuple[Any, str | None]:
    """Return the predictor and the name of its score."""
    automatic = isinstance(predictor, str) and predictor == "auto"
    if y is None:
        if not automatic:
            raise ValueError(f"predictor={predictor!r} needs y: pass the target to predict.")
        return None, None
    if automatic:
        kind = type_of_target(y, input_name="y")
        if kind not in _METRIC_OF_TARGET:
            raise ValueError(f"predictor='auto' knows no model for y of type {kind!r}: pass a predictor.")
        metric = _METRIC_OF_TARGET[kind]
        return _PREDICTORS[metric](), metric
    if hasattr(predictor, "fit") and (is_classifier(predictor) or is_regressor(predictor)):
        return predictor, "accuracy" if is_classifier(predictor) else "r2"
    raise TypeError(f"predictor must be 'auto', a classifier or a regressor; got {predictor!r}.")


# -- one fit --------------------------------------------------------------------------------


def _checked(case: _Case, X: Any, y: Any, split: Any, predictor: Any, metric: str | None) -> dict[str, float]:
    """Return the measures of one fit, with errors that name the estimator and the size."""
    try:
        return _measures(case, X, y, split, predictor, metric)
    except _FAILURES as error:
        kind = next(kind for kind in _FAILURES if isinstance(error, kind))
        raise kind(f"{case} ({len(split[0])} training samples): {error}") from error


def _measures(
    case: _Case, X: Any, y: Any, split: Any, predictor: Any, metric: str | None
) -> dict[str, float]:
    train, test = (_safe_indexing(X, part) for part in split)
    y_train, y_test = (None if y is None else y[part] for part in split)
    model = clone(case.estimator)
    start = perf_counter()
    model.fit(train) if y is None else model.fit(train, y_train)
    fitted = perf_counter()
    codes = as_codes(model.transform(test))
    times = dict(zip(_TIMES, (fitted - start, perf_counter() - fitted), strict=True))
    measures = {"n_components": codes.shape[1], **_reconstruction(model, test, codes)}
    measures["log_likelihood"] = _log_likelihood(model, test)
    if metric is not None:
        predictor = clone(predictor).fit(as_codes(model.transform(train)), y_train)
        measures[metric] = get_scorer(metric)(predictor, codes, y_test)
    return measures | times


def _reconstruction(model: Any, X: Any, codes: Any) -> dict[str, float]:
    if not hasattr(model, "inverse_transform"):
        return {"reconstruction_error": np.nan, "explained_variance": np.nan}
    X = check_samples(X)
    error = squared_error(model, X, codes)
    return {"reconstruction_error": error / X.shape[0], "explained_variance": explained_share(error, X)}


def _log_likelihood(model: Any, X: Any) -> float:
    try:
        density = Density.of(model)
    except (TypeError, ValueError):  # Not defined for this estimator
        return np.nan
    try:
        return float(density.score_samples(X).mean())
    except np.linalg.LinAlgError:  # Singular density
        return np.nan


# -- the table ------------------------------------------------------------------------------


def _table(cases: list[_Case], results: list[list[dict[str, float]]]) -> Any:
    """Return means over the folds of each case, followed by standard deviations."""
    measured = {key: np.array([[fold[key] for fold in folds] for folds in results]) for key in results[0][0]}
    own = measured.pop("n_components").mean(axis=1)
    sizes = [
        k if case.n_components is None else case.n_components for case, k in zip(cases, own, strict=True)
    ]
    columns = {
        "estimator": np.array([case.name for case in cases], dtype=object),
        "n_components": np.array([int(k) for k in sizes] if all(k == int(k) for k in sizes) else sizes),
    }
    with np.errstate(invalid="ignore"):  # The standard deviation of infinite values is nan
        columns |= {key: values.mean(axis=1) for key, values in measured.items()}
        columns |= {f"{key}_std": values.std(axis=1) for key, values in measured.items() if key not in _TIMES}
    return _as_frame(columns)


def _as_frame(columns: dict[str, np.ndarray]) -> Any:
    try:
        import pandas as pd
    except ImportError:
        return columns
    return pd.DataFrame(columns)
