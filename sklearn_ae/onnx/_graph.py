"""Nodes of an ONNX graph in one floating-point precision, added to the container of skl2onnx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

Value = str | np.ndarray | Tensor | float

_TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int64): TensorProto.INT64,
}


class NotExportableError(NotImplementedError):
    """Error for a fitted estimator that has no ONNX graph, with the reason."""


class Graph:
    """Builder of nodes: ``graph("Add", x, y)`` returns the name of the sum.

    Inputs are names, or arrays, tensors and floats, which become constants in the precision of
    the graph.

    Parameters
    ----------
    scope, container : object
        Of skl2onnx's converters.
    dtype : dtype
        Floating-point precision of constants and results.
    """

    def __init__(self, scope: Any, container: Any, dtype: Any):
        self.scope = scope
        self.container = container
        self.dtype = np.dtype(dtype)

    def __call__(self, op: str, *inputs: Value, **attributes: Any) -> str:
        """Add a node and return the name of its first output."""
        return self.outputs(op, 1, *inputs, **attributes)[0]

    def outputs(self, op: str, n: int, *inputs: Value, **attributes: Any) -> list[str]:
        """Add a node and return the names of its n outputs."""
        names = [self.scope.get_unique_variable_name(f"ae_{op.lower()}") for _ in range(n)]
        self.container.add_node(
            op,
            [x if isinstance(x, str) else self.constant(x) for x in inputs],
            names,
            name=self.scope.get_unique_operator_name(f"ae_{op}"),
            **attributes,
        )
        return names

    def constant(self, value: np.ndarray | Tensor | float) -> str:
        """Add a constant and return its name; integers and bools keep their type."""
        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        dtype = {"i": np.int64, "b": np.bool_}.get(array.dtype.kind, self.dtype)
        name = self.scope.get_unique_variable_name("ae_constant")
        tensor = numpy_helper.from_array(np.ascontiguousarray(array, dtype).reshape(array.shape), name)
        self.container.add_initializer(name, tensor.data_type, array.shape, tensor)
        return name

    def cast(self, x: str, dtype: Any = None) -> str:
        """Convert a value to a type, by default to the precision of the graph."""
        return self("Cast", x, to=_TYPES[np.dtype(self.dtype if dtype is None else dtype)])

    def in_precision(self, dtype: Any) -> Graph:
        """Return a builder of nodes of another precision in the same graph."""
        return Graph(self.scope, self.container, dtype)

    def sum(self, x: str, axis: int = 1, *, keepdims: bool = False) -> str:
        """Return the sum over one axis."""
        return self("ReduceSum", x, np.array([axis]), keepdims=int(keepdims))

    def squared_norm(self, x: str, axis: int = 1) -> str:
        """Return the sum of the squares over one axis."""
        return self.sum(self("Mul", x, x), axis)

    def affine(self, x: str, matrix: np.ndarray | Tensor, bias: np.ndarray | Tensor | None = None) -> str:
        """Return ``x @ matrix + bias``."""
        y = self("MatMul", x, matrix)
        return y if bias is None else self("Add", y, bias)

    def single(self, op: str, *inputs: Value, **attributes: Any) -> str:
        """Add a node that onnxruntime has in single precision only, and casts if the graph is in double."""
        if self.dtype == np.float32:
            return self(op, *inputs, **attributes)
        single = self.in_precision(np.float32)
        cast = [single.cast(x) if isinstance(x, str) else x for x in inputs]
        return self.cast(single(op, *cast, **attributes))

    def iterated(self, n: int, initial: list[str], fixed: list[str], step: Callable[..., list[str]]) -> str:
        """Return the last of some values after n steps.

        ``step(body, values, fixed)`` returns the next values; ``body`` is a builder of nodes. All are
        passed as values of the loop, since skl2onnx does not sort by what a body refers to.
        """
        body = _Body(self)
        names = [body.name("value") for _ in (*initial, *fixed)]
        values, kept = names[: len(initial)], names[len(initial) :]
        results = [*step(body, values, kept), *(body("Identity", x) for x in kept)]
        counter, condition = body.name("counter"), body.name("condition")
        going = body("Identity", condition)
        graph = helper.make_graph(
            body.nodes,
            "step",
            [
                helper.make_tensor_value_info(counter, TensorProto.INT64, []),
                helper.make_tensor_value_info(condition, TensorProto.BOOL, []),
                *self._typed(names),
            ],
            [helper.make_tensor_value_info(going, TensorProto.BOOL, []), *self._typed(results)],
        )
        limits = np.array(n), np.array(True)
        return self.outputs("Loop", len(names), *limits, *initial, *fixed, body=graph)[len(initial) - 1]

    def _typed(self, names: list[str]) -> list[Any]:
        return [helper.make_tensor_value_info(name, _TYPES[self.dtype], None) for name in names]


class _Body(Graph):
    """Nodes of the body of a loop; constants are added to the graph around it."""

    def __init__(self, graph: Graph):
        super().__init__(graph.scope, graph.container, graph.dtype)
        self.nodes: list[Any] = []

    def name(self, role: str) -> str:
        """Return a name that is unique in the whole graph."""
        return self.scope.get_unique_variable_name(f"ae_{role}")

    def outputs(self, op: str, n: int, *inputs: Value, **attributes: Any) -> list[str]:
        names = [self.name(op.lower()) for _ in range(n)]
        known = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        self.nodes.append(helper.make_node(op, known, names, **attributes))
        return names
