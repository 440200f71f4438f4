"""Fitted autoencoders as ONNX nodes: codes, reconstructions and their errors, in the units of X."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from sklearn_ae import bottlenecks, losses
from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._model.completion import IncompleteEncoder
from sklearn_ae.onnx import _normal_scores
from sklearn_ae.onnx._graph import Graph, NotExportableError
from sklearn_ae.onnx._layers import apply


def codes(graph: Graph, model: Any, X: str) -> str:
    """Return what ``transform`` returns for X."""
    module = model.module_
    z = _encoded(graph, module, _working_units(graph, module, X))
    if not isinstance(model, AutoencoderTransformer):
        return z
    if not (model.whiten and model.n_components_):
        return graph("Mul", z, model._code_unit)
    double = graph.in_precision(np.float64)
    mean, L = model._whitening()
    inverse = solve_triangular(L, np.eye(len(L)), lower=True)
    return graph.cast(double.affine(double("Sub", double.cast(z), mean), inverse.T))


def reconstructions(graph: Graph, model: Any, Z: str) -> str:
    """Return what ``inverse_transform`` returns for codes."""
    return _in_X(graph, model.module_, _output(graph, model.module_, _working_codes(graph, model, Z)))


def reconstructed(graph: Graph, model: Any, X: str) -> str:
    """Return the reconstructions of X."""
    module = model.module_
    z = _encoded(graph, module, _working_units(graph, module, X))
    return _in_X(graph, module, _output(graph, module, z))


def squared_errors(graph: Graph, model: Any, X: str) -> str:
    """Return what ``reconstruction_error`` returns for X.

    Errors of samples with large means lose no digits, because they are taken in working units.
    """
    module = model.module_
    if module.loss.discrete or module.scores is not None:
        return graph.squared_norm(graph("Sub", X, reconstructed(graph, model, X)))
    x = _working_units(graph, module, X)
    error = graph("Sub", x, _output(graph, module, _encoded(graph, module, x)))
    return graph.squared_norm(graph("Mul", error, module.scale))


# -- units ----------------------------------------------------------------------------------


def _working_units(graph: Graph, module: Any, X: str) -> str:
    """Return ``(X - offset) / scale``, where the offset is subtracted as exactly as in double precision."""
    offset = module.offset.double().numpy()
    if module.scores is not None:
        double = graph.in_precision(np.float64)
        scores = _normal_scores.scores(double, module.scores, double.cast(X))
        return graph.cast(double("Div", double("Sub", scores, offset), module.scale))
    high = offset.astype(graph.dtype)
    low = offset - high
    x = graph("Sub", X, high)
    x = graph("Sub", x, low) if low.any() else x
    return graph("Div", x, module.scale)


def _in_units(graph: Graph, module: Any, x: str) -> str:
    return graph("Add", graph("Mul", x, module.scale), module.offset)


def _in_X(graph: Graph, module: Any, eta: str) -> str:
    """Return samples in the units of X, given outputs of the decoder."""
    if module.loss.discrete:
        return _links(module.loss)[1](graph, module.loss, eta)
    X = _in_units(graph, module, eta)
    if module.scores is None:
        return X
    double = graph.in_precision(np.float64)
    return graph.cast(_normal_scores.inverse(double, module.scores, double.cast(X)))


def _working_codes(graph: Graph, model: Any, Z: str) -> str:
    if not isinstance(model, AutoencoderTransformer):
        return Z
    if not model.whiten:
        return graph("Div", Z, model._code_unit)
    double = graph.in_precision(np.float64)
    mean, L = model._whitening()
    return graph.cast(double.affine(double.cast(Z), L.T, mean))


# -- encoder and decoder --------------------------------------------------------------------


def _encoded(graph: Graph, module: Any, x: str) -> str:
    if isinstance(module.encoder, IncompleteEncoder):
        raise NotExportableError(
            "The encoder of a model with missing='mask' cannot be exported to ONNX, because it computes the "
            "conditional means of missing values. Fill them in first, and set missing='error'."
        )
    a = _sum_of_parts(graph, module.encoder, x)
    convert = _BOTTLENECKS.get(type(module.bottleneck))
    if convert is None:
        raise NotExportableError(
            f"The bottleneck {type(module.bottleneck).__name__} is code of your own, which cannot be "
            "exported to ONNX."
        )
    z = convert(graph, module.bottleneck, a, module.width)
    return z if module.n_kept == module.width else _first(graph, z, module.n_kept)


def _output(graph: Graph, module: Any, z: str) -> str:
    """Return the output of the decoder, in working units or in those of a discrete loss."""
    missing = module.width - module.n_kept
    if missing:  # truncated components are zero
        z = graph("Pad", z, np.array([0, 0, 0, missing]))
    decoder, loss = module.decoder, module.loss
    if not loss.discrete:
        return _sum_of_parts(graph, decoder, z)
    if decoder.linear is None:
        eta = graph.constant(loss.link(module.offset))
    else:
        eta = _links(loss)[0](graph, loss, _in_units(graph, module, apply(graph, decoder.linear, z)))
    return eta if decoder.network is None else graph("Add", eta, _residual(graph, decoder, z))


def _sum_of_parts(graph: Graph, part: Any, x: str) -> str:
    if part.network is None:
        return apply(graph, part.linear, x)
    y = _residual(graph, part, x)
    return y if part.linear is None else graph("Add", apply(graph, part.linear, x), y)


def _residual(graph: Graph, part: Any, x: str) -> str:
    y = apply(graph, part.network, x)
    return y if part.gain is None else graph("Mul", y, part.gain)


# -- bottlenecks ----------------------------------------------------------------------------


def _identity(graph: Graph, bottleneck: Any, a: str, width: int) -> str:
    return a


def _first(graph: Graph, a: str, n: int) -> str:
    """Return the first n components."""
    return graph("Slice", a, np.array([0]), np.array([n]), np.array([1]))


def _means(graph: Graph, bottleneck: Any, a: str, width: int) -> str:
    return _first(graph, a, width)


def _top_k(graph: Graph, bottleneck: Any, a: str, width: int) -> str:
    n_active = np.array([min(bottleneck.n_active, width)])
    largest = graph.outputs("TopK", 2, graph("Abs", a), n_active, axis=1)[1]
    kept = graph("GatherElements", a, largest, axis=1)
    return graph("ScatterElements", graph("Mul", a, 0.0), largest, kept, axis=1)


def _thresholded(graph: Graph, bottleneck: Any, a: str, width: int) -> str:
    return graph("Where", graph("Greater", a, bottleneck.threshold), a, 0.0)


_BOTTLENECKS = {
    bottlenecks.Identity: _identity,
    bottlenecks.Ordered: _identity,
    bottlenecks.TopK: _top_k,
    bottlenecks.ThresholdedReLU: _thresholded,
    bottlenecks.GaussianSampling: _means,
}


# -- links of discrete losses ---------------------------------------------------------------


def _logit(graph: Graph, loss: Any, mean: str) -> str:
    p = graph("Min", graph("Max", mean, loss._margin), 1.0 - loss._margin)
    return graph("Log", graph("Div", p, graph("Sub", 1.0, p)))


def _sigmoid(graph: Graph, loss: Any, eta: str) -> str:
    return graph("Sigmoid", eta)


def _log(graph: Graph, loss: Any, mean: str) -> str:
    return graph("Log", graph("Max", mean, loss._margin))


def _exp(graph: Graph, loss: Any, eta: str) -> str:
    return graph("Exp", graph("Min", eta, loss._max_eta))


_LINKS = {losses.BinaryCrossEntropy: (_logit, _sigmoid), losses.Poisson: (_log, _exp)}


def _links(loss: Any) -> tuple[Any, Any]:
    """Return the converters of link and inverse link, which must be those of a loss of the package."""
    for known, converters in _LINKS.items():
        if type(loss).link is known.link and type(loss).inverse_link is known.inverse_link:
            return converters
    if isinstance(loss, losses.ByFeature):
        raise NotExportableError("Reconstructions of ByFeature cannot be exported to ONNX; codes can.")
    raise NotExportableError(
        f"The link of {type(loss).__name__} is code of your own, which cannot be exported to ONNX."
    )
