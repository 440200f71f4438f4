"""Reducers side by side: every estimator and size on the same folds, every measure of one fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from sklearn.utils.parallel import Parallel, delayed

from sklearn_ae._utils.compat import _safe_indexing
from sklearn_ae._utils.pipelines import by_class
from sklearn_ae._utils.runtime import as_seed
from sklearn_ae.metrics._affine import Density
from sklearn_ae.metrics._scorers import as_codes, check_rows, explained_share, squared_error

_PREDICTORS = {
    "accuracy": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "r2": lambda: make_pipeline(StandardScaler(), RidgeCV()),
}
_METRIC_OF_TARGET = dict.fromkeys(("binary", "multiclass"), "accuracy")
_METRIC_OF_TARGET |= dict.fromkeys(("continuous", "continuous-multioutput"), "r2")
_FAILURES = (ValueError, TypeError, NotImplementedError)  # of estimators that do not take what they get
_TIMES = ("fit_time", "transform_time")


def compare_reducers(
    estimators, X, n_components=None, y=None, *, cv=5, predictor="auto", n_jobs=None, random_state=None
):
    """Cross-validate reducers of dimension, each at several sizes, on the same folds.

    Each is fitted once per size and fold; all measures are of this fit, on the rows held out.

    Parameters
    ----------
    estimators : dict or list of estimator
        Unfitted transformers or pipelines, by name; they stay as they are. Those of a list
        are named after their classes (of a pipeline, the last step's), and numbered where these
        are equal.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows.
    n_components : int or list of int, default=None
        Sizes of the code, set by the parameter ``n_components`` of each estimator, or of the
        one step of a pipeline that has it. None leaves each estimator at its own size.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Classes, or numbers, that a predictor is to tell from the codes. Also handed to ``fit``,
        which only supervised reducers heed.
    cv : int, splitter or iterable, default=5
        As in ``cross_validate``: an int means consecutive folds, stratified where y holds classes.
    predictor : "auto" or estimator, default="auto"
        Fitted to the codes of the training rows and y. "auto" is StandardScaler with
        ``LogisticRegression(max_iter=1000)`` for classes, with ``RidgeCV()`` for real numbers.
        Whole numbers count as classes.
    n_jobs : int or None, default=None
        Fits at a time. The results are the same, but for the times.
    random_state : int, RandomState instance or None, default=None
        Decides a seed for all estimators, predictors included, whose own ``random_state`` is
        None; an int is the seed. None takes fresh entropy and leaves NumPy's global generator
        alone.

    Returns
    -------
    table : DataFrame
        A row for each estimator and size. A dict of arrays with the same keys where pandas
        is not installed. Its columns, means over the folds, and those that end in ``_std``,
        standard deviations over the folds:

        - ``estimator``: the name.
        - ``n_components``: the size; if it was left to the estimator, that of the codes.
        - ``reconstruction_error``: mean over the rows of the squared error, summed over columns.
        - ``explained_variance``: as :func:`explained_variance_scorer`.
        - ``log_likelihood``: as :func:`log_likelihood_scorer`, in nats per row.
        - ``accuracy`` of the predictor, or ``r2`` if it is a regressor; only if y is given.
        - ``fit_time``, ``transform_time``: seconds to fit, and to encode the rows held out.

    Raises
    ------
    ValueError
        If a size cannot be set or does not fit, or an estimator refuses its rows; the message names both.
    TypeError
        If an estimator is no transformer, or the predictor neither classifier nor regressor.

    Notes
    -----
    A measure is nan where an estimator does not have it: the reconstruction without
    ``inverse_transform``; the log-likelihood where :func:`log_likelihood_scorer` refuses the
    estimator, and where it raises LinAlgError (PCA beyond the rank of the rows has a singular
    density; nearly so, scikit-learn warns, and the numbers mean little). It is nan if it is nan
    in any fold.

    Log-likelihoods compare between models of densities; those of discrete likelihoods (Bernoulli,
    Poisson) are log-probabilities. Nonlinear autoencoders take milliseconds per row for
    them, which is in no column of times.

    An int as ``cv`` does not shuffle: pass ``KFold(5, shuffle=True, random_state=0)`` if the
    order of the rows means something.

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
    X, y = indexable(X, None if y is None else np.asarray(y))
    splits = list(check_cv(cv, y, classifier=metric == "accuracy").split(X, y))
    predictor = None if metric is None else _seeded(predictor, seed)
    # fold by fold, so that a size that does not fit is met in the first one
    results = Parallel(n_jobs=n_jobs)(
        delayed(_checked)(case, X, y, split, predictor, metric) for split in splits for case in cases
    )
    return _table(cases, [results[i :: len(cases)] for i in range(len(cases))])


# -- what is compared ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
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
                f"estimators must be transformers, with fit and transform; {name!r} is {estimator!r}."
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
            f"n_components sets the one parameter of this name, but {name!r} {has}. Set the sizes in the "
            "estimators instead, each under its own name, and pass n_components=None."
        )
    return found[0]


def _size_parameters(estimator: Any, prefix: str = "") -> Iterator[str]:
    """Of the estimator or its steps, not of the options within them (a prior's, say)."""
    if isinstance(estimator, Pipeline):
        for name, step in estimator.steps:
            yield from _size_parameters(step, f"{prefix}{name}__")
    elif hasattr(estimator, "get_params") and "n_components" in estimator.get_params(deep=False):
        yield f"{prefix}n_components"


def _seeded(estimator: Any, seed: int) -> Any:
    """A clone whose random states that are None are the seed."""
    params = estimator.get_params().items()
    unset = [key for key, value in params if key.split("__")[-1] == "random_state" and value is None]
    return clone(estimator).set_params(**dict.fromkeys(unset, seed))


def _task(y: Any, predictor: Any) -> tuple[Any, str | None]:
    """The predictor, and the name of its score."""
    automatic = isinstance(predictor, str) and predictor == "auto"
    if y is None:
        if not automatic:
            raise ValueError(f"predictor={predictor!r} needs y: pass what it is to predict.")
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
    """:func:`_measures`, with errors that name the estimator and the size."""
    try:
        return _measures(case, X, y, split, predictor, metric)
    except _FAILURES as error:
        kind = next(kind for kind in _FAILURES if isinstance(error, kind))
        raise kind(f"{case} ({len(split[0])} training rows): {error}") from error


def _measures(
    case: _Case, X: Any, y: Any, split: Any, predictor: Any, metric: str | None
) -> dict[str, float]:
    train, test = (_safe_indexing(X, rows) for rows in split)
    y_train, y_test = (None if y is None else y[rows] for rows in split)
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
    X = check_rows(X)
    error = squared_error(model, X, codes)
    return {"reconstruction_error": error / X.shape[0], "explained_variance": explained_share(error, X)}


def _log_likelihood(model: Any, X: Any) -> float:
    try:
        density = Density.of(model)
    except (TypeError, ValueError):  # it has none
        return np.nan
    try:
        return float(density.score_samples(X).mean())
    except np.linalg.LinAlgError:  # it is singular
        return np.nan


# -- the table ------------------------------------------------------------------------------


def _table(cases: list[_Case], results: list[list[dict[str, float]]]) -> Any:
    """Means over the folds of each case, then standard deviations."""
    measured = {key: np.array([[fold[key] for fold in folds] for folds in results]) for key in results[0][0]}
    own = measured.pop("n_components").mean(axis=1)
    sizes = [
        k if case.n_components is None else case.n_components for case, k in zip(cases, own, strict=True)
    ]
    columns = {
        "estimator": np.array([case.name for case in cases], dtype=object),
        "n_components": np.array([int(k) for k in sizes] if all(k == int(k) for k in sizes) else sizes),
    }
    with np.errstate(invalid="ignore"):  # the spread about an infinite mean is nan
        columns |= {key: values.mean(axis=1) for key, values in measured.items()}
        columns |= {f"{key}_std": values.std(axis=1) for key, values in measured.items() if key not in _TIMES}
    return _as_frame(columns)


def _as_frame(columns: dict[str, np.ndarray]) -> Any:
    try:
        import pandas as pd
    except ImportError:
        return columns
    return pd.DataFrame(columns)
