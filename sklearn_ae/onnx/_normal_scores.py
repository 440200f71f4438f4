"""Normal scores of features, and the values that have them, as ONNX nodes.

The maps of the features are piecewise cubic and are tabulated together: entry ``j * m + i`` of a
table belongs to piece i of feature j. All is computed in double precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_ae.onnx._graph import Graph

_N_HALVINGS = 54  # of a piece, up to the last digit


class _Tables:
    """Tables of monotone maps, padded to the same number of pieces.

    Parameters
    ----------
    features : sequence of Feature
        Maps of the features.
    """

    def __init__(self, features: Any):
        m = max(1, *(len(feature.knots) - 1 for feature in features))
        self.n_pieces = m
        self.low, self.high = _ends(features, "knots")
        self.low_scores, self.high_scores = _ends(features, "scores")
        self.low_slopes, self.high_slopes = np.array([feature.slopes for feature in features]).T
        # Between knots; without any, all is linear beyond the mean.
        self.inner = np.stack([_padded(f.knots[1:-1], m - 1, np.inf) for f in features])
        self.inner_scores = np.stack([_padded(f.scores[1:-1], m - 1, np.inf) for f in features])
        self.starts = np.concatenate([_padded(f.knots[: max(1, len(f.knots) - 1)], m, 0.0) for f in features])
        self.widths = np.concatenate([_padded(np.diff(f.knots), m, 0.0) for f in features])
        polynomials = [np.zeros((4, 0)) if f.map is None else f.map.c for f in features]
        self.coefficients = [
            np.concatenate([_padded(c[degree], m, 0.0) for c in polynomials]) for degree in range(4)
        ]

    def pieces(self, graph: Graph, x: str, inner: np.ndarray) -> str:
        """Return the places in the tables of the pieces that hold each value."""
        first = np.arange(len(self.low)) * self.n_pieces
        if not inner.shape[1]:
            return graph("Add", graph.cast(graph("Mul", x, 0.0), np.int64), first)
        beyond = graph("GreaterOrEqual", graph("Unsqueeze", x, np.array([2])), inner)
        return graph("Add", graph.sum(graph.cast(beyond, np.int64), 2), first)


def scores(graph: Graph, maps: Any, X: str) -> str:
    """Return the normal scores of X."""
    tables = _Tables(maps.features)
    x = graph("Min", graph("Max", X, tables.low), tables.high)
    pieces = tables.pieces(graph, x, tables.inner)
    coefficients = [graph("Gather", c, pieces) for c in tables.coefficients]
    inside = _polynomial(graph, coefficients, graph("Sub", x, graph("Gather", tables.starts, pieces)))
    below = graph("Mul", graph("Min", graph("Sub", X, tables.low), 0.0), tables.low_slopes)
    beyond = graph("Mul", graph("Max", graph("Sub", X, tables.high), 0.0), tables.high_slopes)
    return graph("Add", graph("Add", inside, below), beyond)


def inverse(graph: Graph, maps: Any, U: str) -> str:
    """Return the values whose normal scores are U, by bisection of the piece that holds each score."""
    tables = _Tables(maps.features)
    u = graph("Min", graph("Max", U, tables.low_scores), tables.high_scores)
    pieces = tables.pieces(graph, u, tables.inner_scores)
    coefficients = [graph("Gather", c, pieces) for c in tables.coefficients]

    ends = [graph("Mul", u, 0.0), graph("Gather", tables.widths, pieces)]
    end = graph.iterated(_N_HALVINGS, ends, [u, *coefficients], _halved)
    inside = graph("Add", end, graph("Gather", tables.starts, pieces))
    below = graph("Div", graph("Min", graph("Sub", U, tables.low_scores), 0.0), tables.low_slopes)
    beyond = graph("Div", graph("Max", graph("Sub", U, tables.high_scores), 0.0), tables.high_slopes)
    return graph("Add", graph("Add", inside, below), beyond)


def _halved(graph: Graph, ends: list[str], fixed: list[str]) -> list[str]:
    """Return the ends of the half of an interval in which a polynomial has the value u."""
    u, *coefficients = fixed
    middle = graph("Mul", graph("Add", *ends), 0.5)
    is_low = graph("Less", _polynomial(graph, coefficients, middle), u)
    return [graph("Where", is_low, middle, ends[0]), graph("Where", is_low, ends[1], middle)]


def _polynomial(graph: Graph, coefficients: list[str], x: str) -> str:
    y = coefficients[0]
    for c in coefficients[1:]:
        y = graph("Add", graph("Mul", y, x), c)
    return y


def _ends(features: Any, name: str) -> np.ndarray:
    return np.array([getattr(feature, name)[[0, -1]] for feature in features]).T


def _padded(values: np.ndarray, n: int, fill: float) -> np.ndarray:
    return np.concatenate([values, np.full(n - len(values), fill)])
