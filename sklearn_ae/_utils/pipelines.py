"""First and last steps of pipelines, the input of the last step, and names in tables and figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sklearn.pipeline import Pipeline


def first_step(model: Any) -> Any:
    """Return the first estimator of a pipeline, or the model itself."""
    return first_step(model[0]) if isinstance(model, Pipeline) else model


def last_step(model: Any) -> Any:
    """Return the last estimator of a pipeline, or the model itself."""
    return last_step(model.steps[-1][1]) if isinstance(model, Pipeline) else model


def before_last_step(model: Any, X: Any) -> Any:
    """Return X transformed to the input of :func:`last_step`."""
    if not isinstance(model, Pipeline):
        return X
    return before_last_step(model[-1], model[:-1].transform(X) if len(model) > 1 else X)


def names_before_last_step(model: Any, names: Any) -> Any:
    """Return the feature names of the input of :func:`last_step`, None if a step does not name its output.

    Parameters
    ----------
    model : estimator
    names : array-like of str or None
        Names of the features of X, None for those that the first step has seen in ``fit``.
    """
    if not isinstance(model, Pipeline):
        return names
    if len(model) > 1:
        try:
            names = model[:-1].get_feature_names_out(names)
        except (AttributeError, ValueError):
            return None
    return names_before_last_step(model[-1], names)


def by_class(models: Iterable[Any]) -> dict[str, Any]:
    """Return models by the names of their classes (of a pipeline, its last step), numbered if equal."""
    named: dict[str, Any] = {}
    for model in models:
        name = base = type(last_step(model)).__name__
        number = 2
        while name in named:
            name, number = f"{base} {number}", number + 1
        named[name] = model
    return named
