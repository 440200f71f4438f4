"""Names of models in tables and figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sklearn.pipeline import Pipeline


def last_step(model: Any) -> Any:
    """The model itself, or the estimator at the end of a pipeline."""
    return last_step(model.steps[-1][1]) if isinstance(model, Pipeline) else model


def by_class(models: Iterable[Any]) -> dict[str, Any]:
    """Models by name: that of the class (of a pipeline, the last step's), numbered where these are equal."""
    named: dict[str, Any] = {}
    for model in models:
        name = base = type(last_step(model)).__name__
        number = 2
        while name in named:
            name, number = f"{base} {number}", number + 1
        named[name] = model
    return named
