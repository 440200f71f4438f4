"""Scores of a fitted outlier detector as ONNX nodes, in double precision for any input."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_ae._outlier.ensemble import SAME_LEVEL, SHARPNESS, Calibration, FittedDeviation, FoldDetector
from sklearn_ae._utils.missing import surprisal_of_missing
from sklearn_ae.onnx import _autoencoder
from sklearn_ae.onnx._graph import Graph, NotExportableError
from sklearn_ae.onnx._layers import softplus
from sklearn_ae.outlier_scores import (
    FittedContrast,
    FittedLogLikelihood,
    FittedMahalanobis,
    FittedNeighbors,
    FittedReconstruction,
)


def score_samples(graph: Graph, detector: Any, X: str) -> str:
    """Return what ``score_samples`` returns for X, in double precision."""
    check_exportable(detector)
    scores = [_fold_score(graph, fold_detector, X) for fold_detector in detector._fold_detectors]
    double = graph.in_precision(np.float64)
    return double("Div", double("Sum", *scores), float(len(scores)))


def check_exportable(detector: Any) -> None:
    """Raise an error with the reason if the scores of a detector have no ONNX graph."""
    for fold_detector in detector._fold_detectors:
        for fitted in fold_detector.fitted_scores:
            if type(fitted) not in _SCORES:
                name = type(fitted).__name__.removeprefix("Fitted")
                reason = _REASONS.get(type(fitted), "is code of your own")
                raise NotExportableError(
                    f"outlier_score={detector.outlier_score_!r} cannot be exported to ONNX: {name} {reason}. "
                    "Reconstruction, Mahalanobis, Neighbors and scores joined from these can be exported."
                )
        if _has_seen_gaps(fold_detector):
            raise NotExportableError(
                "A detector that was fitted to samples with missing values cannot be exported to ONNX, "
                "because their completion is iterative. Fill them in first, for example with SimpleImputer."
            )


def _has_seen_gaps(fold_detector: FoldDetector) -> bool:
    """Return whether values were missing, from how unusual gaps are."""
    completion, n = fold_detector.completion, fold_detector.autoencoder.n_samples_
    without = surprisal_of_missing(np.zeros((n, 1), dtype=bool))
    return not (completion.known.all() and np.allclose(completion.surprisal, without))


class _Samples:
    """Samples and reconstructions in double precision; those that no score needs are not computed."""

    def __init__(self, graph: Graph, model: Any, X: str):
        self.graph = graph
        self.model = model
        self.X = X
        self.double = graph.in_precision(np.float64)
        self.x = self.double.cast(X)
        self._spaces: dict[str, str] = {"x": self.x}

    def __getitem__(self, space: str) -> str:
        """Return the samples in a space of the outlier scores."""
        if space not in self._spaces:
            self._spaces[space] = getattr(self, f"_{space}")()
        return self._spaces[space]

    def _x_hat(self) -> str:
        return self.double.cast(_autoencoder.reconstructed(self.graph, self.model, self.X))

    def _residual(self) -> str:
        return self.double("Sub", self.x, self["x_hat"])

    def _joint(self) -> str:
        return self.double("Concat", self.x, self["residual"], axis=1)


# -- fitted scores --------------------------------------------------------------------------


def _reconstruction(graph: Graph, fitted: Any, samples: _Samples) -> str:
    error = graph.squared_norm(samples["residual"])
    return graph("Where", graph("Greater", error, fitted.negligible), error, 0.0)


def _mahalanobis(graph: Graph, fitted: Any, samples: _Samples) -> str:
    covariance = fitted.covariance
    a = graph("Div", graph("Sub", samples[fitted.space], covariance.mean), covariance.scale)
    along = graph("MatMul", a, covariance.axes.T)
    weighted = graph.sum(graph("Mul", graph("Mul", along, along), covariance.weights))
    squared = graph("Add", graph("Mul", graph.squared_norm(a), covariance.rest), weighted)
    return graph("Max", squared, 0.0)


def _deviation(graph: Graph, fitted: Any, samples: _Samples) -> str:
    clump = fitted.clump
    projected = graph("MatMul", graph("Sub", samples.x, clump.mean), clump.direction[:, None])
    return graph.sum(projected)


def _neighbors(graph: Graph, fitted: Any, samples: _Samples) -> str:
    """Return the mean squared distance to the nearest references other than the sample itself."""
    points = graph("Sub", samples[fitted.space], fitted.centre)
    product = graph.affine(points, -2.0 * fitted.points.T, fitted.squared_norms)
    n_candidates = np.array([min(fitted.n_neighbors + 1, len(fitted.points))])
    nearest = graph.outputs("TopK", 2, product, n_candidates, axis=1, largest=0)[1]
    # The distances are computed anew, because short ones lose digits in a matrix product.
    difference = graph("Sub", _as_queries(graph, points), graph("Gather", fitted.points, nearest))
    distances = graph.squared_norm(difference, 2)
    is_point = graph("LessOrEqual", distances, fitted.negligible)
    distances = graph("Where", is_point, 0.0, distances)
    if n_candidates > fitted.n_neighbors:
        is_itself = _is_first_same(graph, fitted, samples.x, nearest)
        distances = graph("Where", is_itself, np.inf, distances)
    n_neighbors = np.array([fitted.n_neighbors])
    smallest = graph.outputs("TopK", 2, distances, n_neighbors, axis=1, largest=0)[0]
    return graph("Div", graph.sum(smallest), float(fitted.n_neighbors))


def _is_first_same(graph: Graph, fitted: Any, x: str, nearest: str) -> str:
    """Return a mask of the nearest candidate that equals the sample, of shape (n, n_candidates)."""
    apart = graph("Abs", graph("Sub", _as_queries(graph, x), graph("Gather", fitted.x, nearest)))
    others = graph.sum(graph.cast(graph("Greater", apart, fitted.tolerance)), 2)
    total = graph("Sub", graph.sum(x, keepdims=True), graph("Gather", fitted.sums, nearest))
    same_total = graph("LessOrEqual", graph("Abs", total), fitted.tolerance_of_sum)
    same = graph("And", graph("Equal", others, 0.0), same_total)
    count = graph("CumSum", graph.cast(same), np.array(1))
    return graph("And", same, graph("Equal", count, 1.0))


def _as_queries(graph: Graph, x: str) -> str:
    """Return x of shape (n, 1, d), to be compared with candidates."""
    return graph("Unsqueeze", x, np.array([1]))


_SCORES = {
    FittedReconstruction: _reconstruction,
    FittedMahalanobis: _mahalanobis,
    FittedNeighbors: _neighbors,
    FittedDeviation: _deviation,
}

_REASONS: dict[type, str] = {
    FittedContrast: "is an ensemble of trees",
    FittedLogLikelihood: "is estimated by importance sampling",
}


# -- calibration ----------------------------------------------------------------------------


def _fold_score(graph: Graph, fold_detector: FoldDetector, X: str) -> str:
    """Return the score by one detector; minus infinity if it cannot be computed, as with missing values."""
    samples = _Samples(graph, fold_detector.autoencoder, X)
    double = samples.double
    values = [_SCORES[type(fitted)](double, fitted, samples) for fitted in fold_detector.fitted_scores]
    joined = values[0] if fold_detector.has_unit else _joined(double, fold_detector, values)
    unknown = double("IsNaN", double("Sum", joined, *values))
    return double("Where", unknown, -np.inf, double("Neg", joined))


def _joined(graph: Graph, fold_detector: FoldDetector, values: list[str]) -> str:
    """Return the largest of the alternatives, of which sums are calibrated again."""
    pairs = zip(fold_detector.calibrations, values, strict=True)
    standardised = iter([_standardised(graph, calibration, v) for calibration, v in pairs])
    alternatives = []
    for sizes, joint in zip(fold_detector.sizes, fold_detector.joint, strict=True):
        terms = [_largest(graph, [next(standardised) for _ in range(size)]) for size in sizes]
        alternatives.append(terms[0] if len(terms) == 1 else _standardised(graph, joint, _sum(graph, terms)))
    return _largest(graph, alternatives)


def _sum(graph: Graph, terms: list[str]) -> str:
    """Return the sum of how far terms exceed 0."""
    return graph("Sum", *(softplus(graph, term, SHARPNESS) for term in terms))


def _largest(graph: Graph, values: list[str]) -> str:
    return values[0] if len(values) == 1 else graph("Max", *values)


def _standardised(graph: Graph, calibration: Calibration, values: str) -> str:
    if calibration.squared:
        values = graph("Log", graph("Max", values, calibration.floor))
    standardised = graph("Div", graph("Sub", values, calibration.centre), calibration.spread)
    is_median = graph("LessOrEqual", graph("Abs", standardised), SAME_LEVEL)
    return graph("Where", is_median, 0.0, standardised)
