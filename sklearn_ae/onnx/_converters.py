"""Converters of skl2onnx for the estimators, and ``to_onnx``, which exports one method by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import skl2onnx
from onnx import ModelProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    guess_numpy_type,
)
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._estimators.autoencoder_cv import AutoencoderTransformerCV
from sklearn_ae._estimators.base import BaseAutoencoder
from sklearn_ae._estimators.vae import VAETransformer
from sklearn_ae._outlier.detector import AEOutlierDetector
from sklearn_ae._utils.namespaces import as_numpy
from sklearn_ae.onnx import _autoencoder, _detector
from sklearn_ae.onnx._graph import Graph, NotExportableError

_TRANSFORMERS = (AutoencoderTransformer, AutoencoderTransformerCV, VAETransformer)

_METHODS: dict[str, Callable[[Graph, Any, str], str]] = {
    "transform": _autoencoder.codes,
    "inverse_transform": _autoencoder.reconstructions,
    "reconstruction_error": _autoencoder.squared_errors,
}
_DETECTOR_METHODS = ("predict", "decision_function", "score_samples")

MIN_OPSET = 13  # from which sums have their axes as an input


def to_onnx(
    model: Any,
    X: Any,
    method: str | None = None,
    *,
    target_opset: int | dict[str, int] | None = None,
    options: dict[Any, Any] | None = None,
) -> ModelProto:
    """Export a fitted model to ONNX.

    It calls ``skl2onnx.to_onnx``, with the method of an estimator of this package as an
    option.

    Parameters
    ----------
    model : estimator
        Fitted estimator of this package, or anything that skl2onnx exports, such as a
        pipeline that contains one.
    X : array-like of shape (n_samples, n_features)
        A sample, ``X[:1]``, whose type and width the graph expects. The graph computes in
        float32 if all of it is float32, and in float64 otherwise, as ``transform`` does.
        Codes for ``method="inverse_transform"``.
    method : {"transform", "inverse_transform", "reconstruction_error", "predict", \
            "decision_function", "score_samples"} or None, default=None
        Method to export, of the last step of a pipeline. None is "transform" for
        transformers, and "predict" for :class:`~sklearn_ae.AEOutlierDetector`. "predict" has
        two outputs, the label and the score of ``decision_function``.
    target_opset : int, dict or None, default=None
        Version of the ONNX operators, at least 13; None is the newest that skl2onnx supports.
    options : dict or None, default=None
        Further options of skl2onnx, for example ``{"zipmap": False}`` for classifiers.

    Returns
    -------
    onnx_model : onnx.ModelProto
        Model whose ``SerializeToString()`` is the content of an ONNX file.

    Raises
    ------
    NotImplementedError
        If a part of the model cannot be exported; the message gives the reason.

    Examples
    --------
    >>> import numpy as np
    >>> from onnxruntime import InferenceSession
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.onnx import to_onnx
    >>> X = load_digits().data.astype(np.float32)
    >>> ae = AutoencoderTransformer(8, max_iter=20, random_state=0).fit(X)
    >>> file = to_onnx(ae, X[:1], method="reconstruction_error").SerializeToString()
    >>> (errors,) = InferenceSession(file).run(None, {"X": X})
    >>> np.allclose(errors, ae.reconstruction_error(X), rtol=1e-4)
    True
    """
    options = dict(options or {})
    X = np.asarray(X) if isinstance(X, list) else as_numpy(X)
    if method is not None:
        last = model.steps[-1][1] if isinstance(model, Pipeline) else model
        _check_method(last, method)
        if method == "inverse_transform" and last is not model:
            raise ValueError(
                "inverse_transform of a pipeline cannot be exported to ONNX; export that of its last step: "
                "to_onnx(model[-1], Z, method='inverse_transform')."
            )
        if method == "inverse_transform" and not last.n_components_:
            raise NotExportableError("A model without components has no codes that ONNX could decode.")
        options[id(last)] = {**options.get(id(last), {}), "method": method}
    return skl2onnx.to_onnx(model, X, target_opset=target_opset, options=options or None)


def _check_method(estimator: Any, method: str) -> None:
    """Raise an error if an estimator has no such method, or none that can be exported."""
    if not isinstance(estimator, (*_TRANSFORMERS, AEOutlierDetector)):
        raise ValueError(
            f"method={method!r} selects a method of the estimators of sklearn_ae, but the model or its last "
            f"step is {type(estimator).__name__}; pass method=None."
        )
    methods = _methods(type(estimator))
    if method not in methods:
        raise ValueError(
            f"method={method!r} of {type(estimator).__name__} cannot be exported to ONNX; use one of "
            f"{methods}."
        )


def _methods(kind: type) -> list[str]:
    """Return the methods of a class that can be exported, of which the first is the default."""
    return [*_METHODS] if issubclass(kind, BaseAutoencoder) else [*_DETECTOR_METHODS]


# -- converters -----------------------------------------------------------------------------


def _parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Declare the operator of a model and its outputs."""
    check_is_fitted(model)
    operator = scope.declare_local_operator(_alias(type(model)), model)
    operator.inputs = inputs
    real = FloatTensorType() if _precision(inputs) == np.float32 else DoubleTensorType()
    method = _method(scope, model)
    outputs = {"transform": {"variable": real}, "predict": {"label": Int64TensorType(), "scores": real}}
    for name, kind in outputs.get(method, {method: real}).items():
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return operator.outputs


def _set_shapes(operator: Any) -> None:
    """Set the shapes of the outputs: those of scikit-learn."""
    n = operator.inputs[0].get_first_dimension()
    model = operator.raw_operator
    method = _method(operator.scope_inst, model)
    widths = {"transform": "n_components_", "inverse_transform": "n_features_in_"}
    for output in operator.outputs:
        output.type.shape = [n, getattr(model, widths[method])] if method in widths else [n]


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a fitted estimator."""
    model, method = operator.raw_operator, _method(container, operator.raw_operator)
    _check_opset(container.target_opset_any_domain(""))
    _check_width(model, method, operator.inputs)
    graph = Graph(scope, container, _precision(operator.inputs))
    # Data frames have an input for each feature.
    parts = [graph.cast(part.full_name) for part in operator.inputs]
    X = parts[0] if len(parts) == 1 else graph("Concat", *parts, axis=1)
    if isinstance(model, BaseAutoencoder):
        results = [_METHODS[method](graph, model, X)]
    else:
        results = _detector_results(graph, model, X, method)
    for result, output in zip(results, operator.outputs, strict=True):
        name = scope.get_unique_operator_name("ae_output")
        container.add_node("Identity", result, output.full_name, name=name)


def _detector_results(graph: Graph, detector: Any, X: str, method: str) -> list[str]:
    scores = _detector.score_samples(graph, detector, X)
    if method == "score_samples":
        return [graph.cast(scores)]
    double = graph.in_precision(np.float64)
    decision = double("Sub", scores, detector.offset_)
    if method == "decision_function":
        return [graph.cast(decision)]
    label = double("Where", double("Less", decision, 0.0), np.array(-1), np.array(1))
    return [label, graph.cast(decision)]


def _method(holder: Any, model: Any) -> str:
    """Return the method to export, an option that the scope or the container of skl2onnx holds."""
    default = _methods(type(model))[0]
    return holder.get_options(model, {"method": default}, fail=False)["method"]


def _precision(inputs: Any) -> Any:
    """Return float32 if all inputs are, and otherwise float64, as in ``transform``."""
    is_single = all(guess_numpy_type(variable.type) == np.float32 for variable in inputs)
    return np.float32 if is_single else np.float64


def _check_opset(opset: int) -> None:
    if opset < MIN_OPSET:
        raise NotExportableError(f"sklearn_ae needs target_opset >= {MIN_OPSET}; got {opset}.")


def _check_width(model: Any, method: str, inputs: Any) -> None:
    """Raise an error if the sample that was passed does not have the width that the method expects."""
    if any(len(variable.type.shape) == 1 for variable in inputs):
        raise ValueError("X must have two dimensions; pass a sample as X[:1].")
    widths: list[Any] = [variable.type.shape[-1] if variable.type.shape else None for variable in inputs]
    name = "n_components_" if method == "inverse_transform" else "n_features_in_"
    expected = getattr(model, name)
    if all(isinstance(width, int) for width in widths) and sum(widths) != expected:
        raise ValueError(f"X has {sum(widths)} features, but {method} is exported for {name}={expected}.")


def _alias(kind: type) -> str:
    return f"SklearnAE{kind.__name__}"


def register() -> None:
    """Register the converters of all estimators with skl2onnx."""
    for kind in (*_TRANSFORMERS, AEOutlierDetector):
        update_registered_converter(
            kind, _alias(kind), _set_shapes, _convert, parser=_parse, options={"method": _methods(kind)}
        )
