"""Densities of pipelines: the log-Jacobian of the affine steps before the model.

For z = A x + b, log p(x) = log p(z) + log |det A|. The rules apply to scikit-learn's own
classes only, because a subclass may transform differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_outlier_detector
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.validation import check_is_fitted

_REMEDY = (
    "Use StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler or PCA(n_components=n_features) before the "
    "model, or transform X outside the pipeline and score in the units of the result."
)


@dataclass(frozen=True)
class Density:
    """A fitted model with a density, and the affine steps between it and the units of X.

    Attributes
    ----------
    steps : list of transformer
        Steps before the model, in order.
    model : estimator
        Model with ``score_samples``.
    log_det : float
        Logarithm of the absolute determinant of the product of all steps.
    """

    steps: list[Any]
    model: Any
    log_det: float

    @classmethod
    def of(cls, estimator: Any) -> Density:
        """Split an estimator into steps and model; raise an error if X has no density in its units."""
        named = list(_steps(estimator))
        if not named:
            raise TypeError(f"{type(estimator).__name__} has no step and hence no likelihood.")
        *before, (name, model) = named
        _check_model(name, model)
        affine = [(name, step, _affine(name, step)) for name, step in before]
        if _is_discrete(model):
            _check_unchanged(affine, model)
        return cls([step for _, step in before], model, sum(map_.log_det for *_, map_ in affine))

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log-likelihood of each sample in nats, in the units of X."""
        for step in self.steps:
            X = step.transform(X)
        return np.asarray(self.model.score_samples(X), dtype=np.float64) + self.log_det


# -- steps ---------------------------------------------------------------------------------


def _steps(estimator: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over names and estimators of a pipeline, with nested pipelines and searches opened."""
    if isinstance(estimator, Pipeline):
        for key, step in estimator.steps:
            if step is not None and step != "passthrough":
                yield from _steps(step, f"{name}__{key}" if name else key)
    elif isinstance(estimator, FrozenEstimator):
        yield from _steps(estimator.estimator, name)
    elif hasattr(estimator, "best_estimator_"):  # A search delegates score_samples
        yield from _steps(estimator.best_estimator_, name)
    else:
        yield name, estimator


def _described(name: str, step: Any) -> str:
    kind = type(step).__name__
    return f"step {name!r} ({kind})" if name else kind


def _check_model(name: str, model: Any) -> None:
    if is_outlier_detector(model):
        raise TypeError(
            f"score_samples of {_described(name, model)} is an outlier score, not a log-likelihood. "
            "Evaluate outlier detectors against labels, for example with scoring='roc_auc'."
        )
    if isinstance(model, BernoulliRBM):
        raise TypeError(
            f"score_samples of {_described(name, model)} is a pseudo-likelihood, not a log-likelihood. Use "
            "VAETransformer(likelihood='bernoulli') for binary data."
        )
    if not hasattr(model, "score_samples"):
        raise TypeError(
            f"{_described(name, model)} has no score_samples and hence no likelihood. Use a model that has "
            "one, such as PCA, FactorAnalysis, GaussianMixture or AutoencoderTransformer, or "
            "explained_variance_scorer."
        )


def _is_discrete(model: Any) -> bool:
    """Return True if the model gives log-probabilities, which no Jacobian relates to other units."""
    return any(getattr(getattr(model, name, None), "discrete", False) for name in ("loss_", "likelihood_"))


def _check_unchanged(affine: list[tuple[str, Any, Affine]], model: Any) -> None:
    for name, step, map_ in affine:
        if not map_.identity:
            raise ValueError(
                f"{type(model).__name__} gives log-probabilities of the values it is fitted to, and "
                f"{_described(name, step)} changes these values, so X has no log-probability. Transform X "
                "outside the pipeline, or use a Gaussian likelihood (loss='squared_error')."
            )


# -- Jacobians -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Affine:
    """Effect of a step on densities; ``identity`` if it leaves X unchanged."""

    log_det: float
    identity: bool = False


def _affine(name: str, step: Any) -> Affine:
    rule = _RULES.get(type(step))
    if rule is None:
        raise TypeError(
            f"{_described(name, step)} is not a known affine bijection, so the likelihood in the units of X "
            f"is not defined. {_REMEDY}"
        )
    check_is_fitted(step)
    try:
        return rule(step)
    except ValueError as error:
        raise ValueError(f"{_described(name, step)} {error} {_REMEDY}") from None


def _per_feature(factor: Any, offset: Any) -> Affine:
    """Return the effect of scaling and shifting each feature by scalars or arrays; None for neither."""
    factor = np.asarray(1.0 if factor is None else factor, dtype=np.float64)
    offset = np.asarray(0.0 if offset is None else offset, dtype=np.float64)
    return Affine(float(np.log(np.abs(factor)).sum()), bool(np.all(factor == 1) and np.all(offset == 0)))


def _divided(divisor: Any, offset: Any) -> Affine:
    return _per_feature(None if divisor is None else 1 / np.asarray(divisor, dtype=np.float64), offset)


def _min_max(step: MinMaxScaler) -> Affine:
    if step.clip:
        raise ValueError("has clip=True, which is not a bijection: set clip=False.")
    return _per_feature(step.scale_, step.min_)


def _rotation(step: PCA) -> Affine:
    k, d = step.components_.shape
    if k < d:
        raise ValueError(f"keeps {k} of {d} components, so samples of X have no density.")
    if not step.whiten:
        return Affine(0.0)
    std = np.sqrt(step.explained_variance_)
    return _divided(np.maximum(std, np.finfo(std.dtype).eps), 0.0)  # Floor of PCA.transform


def _function(step: FunctionTransformer) -> Affine:
    if step.func is not None:
        raise ValueError(f"has func={step.func!r}, whose Jacobian is not known.")
    return Affine(0.0, identity=True)


_RULES = {
    StandardScaler: lambda step: _divided(step.scale_, step.mean_ if step.with_mean else None),
    MinMaxScaler: _min_max,
    MaxAbsScaler: lambda step: _divided(step.scale_, None),
    RobustScaler: lambda step: _divided(step.scale_, step.center_),
    PCA: _rotation,
    FunctionTransformer: _function,
}
