"""Layers of torch as ONNX nodes, by their exact type: a subclass may compute something else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from sklearn_ae import networks
from sklearn_ae.onnx._graph import Graph, NotExportableError


def apply(graph: Graph, layer: nn.Module, x: str) -> str:
    """Return the output of a layer in evaluation mode, or raise an error that names it."""
    convert = _LAYERS.get(type(layer))
    if convert is None:
        raise NotExportableError(
            f"The network contains the layer {type(layer).__name__}, which cannot be exported to ONNX. "
            f"Supported layers are {', '.join(sorted({kind.__name__ for kind in _LAYERS}))}."
        )
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise NotExportableError(
            f"The layer {type(layer).__name__} has forward hooks, which cannot be exported to ONNX."
        )
    return convert(graph, layer, x)


def _sequential(graph: Graph, layers: Any, x: str) -> str:
    for layer in layers:
        x = apply(graph, layer, x)
    return x


def _same(graph: Graph, layer: Any, x: str) -> str:
    return x


# -- layers with weights --------------------------------------------------------------------


def _linear(graph: Graph, layer: Any, x: str) -> str:
    return graph.affine(x, layer.weight.T, layer.bias)


def _tied_linear(graph: Graph, layer: Any, z: str) -> str:
    z = z if layer.gain is None else graph("Mul", z, layer.gain)
    return graph.affine(z, layer._source[0].weight[: layer.n_inputs], layer.bias)


def _convolution(graph: Graph, layer: Any, x: str) -> str:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise NotExportableError(
            f"{layer!r} cannot be exported to ONNX: only zeros as padding, given by integers, are supported."
        )
    return graph.single("Conv", x, *_weights(layer), **_geometry(layer))


def _transposed_convolution(graph: Graph, layer: Any, x: str) -> str:
    more = {"output_padding": list(layer.output_padding)}
    return graph.single("ConvTranspose", x, *_weights(layer), **_geometry(layer), **more)


def _tied_transposed_convolution(graph: Graph, layer: Any, x: str) -> str:
    source = layer._source[0]
    weights = source.weight, layer.bias
    more = {"output_padding": list(layer.output_padding)}
    return graph.single("ConvTranspose", x, *weights, **_geometry(source), **more)


def _weights(layer: Any) -> tuple:
    return (layer.weight,) if layer.bias is None else (layer.weight, layer.bias)


def _geometry(layer: Any) -> dict[str, Any]:
    return {
        "strides": list(layer.stride),
        "pads": 2 * list(layer.padding),
        "dilations": list(layer.dilation),
        "group": layer.groups,
    }


def _batch_norm(graph: Graph, layer: Any, x: str) -> str:
    if layer.running_mean is None:
        raise NotExportableError(f"{layer!r} has no running statistics, and cannot be exported to ONNX.")
    n = layer.num_features
    weight = np.ones(n) if layer.weight is None else layer.weight
    bias = np.zeros(n) if layer.bias is None else layer.bias
    moments = layer.running_mean, layer.running_var
    return graph("BatchNormalization", x, weight, bias, *moments, epsilon=layer.eps)


def _layer_norm(graph: Graph, layer: Any, x: str) -> str:
    if len(layer.normalized_shape) > 1:
        raise NotExportableError(f"{layer!r} normalises several axes, and cannot be exported to ONNX.")
    n = float(layer.normalized_shape[0])
    centred = graph("Sub", x, graph("Div", graph.sum(x, -1, keepdims=True), n))
    squares = graph.sum(graph("Mul", centred, centred), -1, keepdims=True)
    y = graph("Div", centred, graph("Sqrt", graph("Add", graph("Div", squares, n), layer.eps)))
    y = y if layer.weight is None else graph("Mul", y, layer.weight)
    return y if layer.bias is None else graph("Add", y, layer.bias)


# -- shapes ---------------------------------------------------------------------------------


def _flatten(graph: Graph, layer: Any, x: str) -> str:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise NotExportableError(f"{layer!r} cannot be exported to ONNX; use Flatten(1).")
    return graph("Flatten", x, axis=1)


def _unflatten(graph: Graph, layer: Any, x: str) -> str:
    sizes = layer.unflattened_size
    if layer.dim != 1 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise NotExportableError(f"{layer!r} cannot be exported to ONNX; use Unflatten(1, sizes).")
    return graph("Reshape", x, np.array([-1, *sizes]))


def _mark_missing(graph: Graph, layer: Any, z: str) -> str:
    return graph("Concat", z, graph.cast(graph("Equal", z, 0.0)), axis=1)


# -- activations ----------------------------------------------------------------------------


def _gelu(graph: Graph, layer: Any, x: str) -> str:
    if layer.approximate == "tanh":
        cubic = graph("Mul", graph("Mul", x, x), graph("Mul", x, 0.044715))
        inner = graph("Tanh", graph("Mul", graph("Add", x, cubic), math.sqrt(2 / math.pi)))
    else:
        inner = graph.single("Erf", graph("Mul", x, math.sqrt(0.5)))
    return graph("Mul", graph("Mul", x, graph("Add", inner, 1.0)), 0.5)


def _elu(graph: Graph, layer: Any, x: str) -> str:
    negative = graph("Sub", graph("Exp", graph("Min", x, 0.0)), 1.0)
    return graph("Where", graph("Greater", x, 0.0), x, graph("Mul", negative, layer.alpha))


def _silu(graph: Graph, layer: Any, x: str) -> str:
    # onnxruntime 1.20 fuses a product with a sigmoid into a node that it has in single precision only.
    return graph("Div", x, graph("Add", graph("Exp", graph("Neg", x)), 1.0))


def softplus(graph: Graph, x: str, beta: float = 1.0) -> str:
    """Return ``log(1 + exp(beta x)) / beta``."""
    x = graph("Mul", x, beta)
    tail = graph("Log", graph("Add", graph("Exp", graph("Neg", graph("Abs", x))), 1.0))
    return graph("Div", graph("Add", graph("Max", x, 0.0), tail), beta)


def _leaky_relu(graph: Graph, layer: Any, x: str) -> str:
    below = graph("Mul", graph("Min", x, 0.0), layer.negative_slope)
    return graph("Add", graph("Max", x, 0.0), below)


def _named(op: str) -> Callable[[Graph, Any, str], str]:
    return lambda graph, layer, x: graph(op, x)


_LAYERS: dict[type, Callable[[Graph, Any, str], str]] = {
    nn.Sequential: _sequential,
    nn.Identity: _same,
    nn.Dropout: _same,  # in evaluation mode
    nn.Linear: _linear,
    networks.Linear: _linear,
    networks.TiedLinear: _tied_linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    networks.Conv2d: _convolution,
    nn.ConvTranspose1d: _transposed_convolution,
    nn.ConvTranspose2d: _transposed_convolution,
    networks.ConvTranspose2d: _transposed_convolution,
    networks.TiedConvTranspose2d: _tied_transposed_convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    networks.MarkMissing: _mark_missing,
    networks.GELU: _gelu,
    nn.GELU: _gelu,
    nn.ReLU: _named("Relu"),
    nn.ELU: _elu,
    nn.SiLU: _silu,
    nn.Tanh: _named("Tanh"),
    nn.Sigmoid: _named("Sigmoid"),
    nn.Softplus: lambda graph, layer, x: softplus(graph, x, layer.beta),
    nn.LeakyReLU: _leaky_relu,
}
