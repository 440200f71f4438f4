"""Gauges: ways to measure how far out rows are, and what each column adds.

They see rows and their reconstructions, nothing else, so that every difference
belongs to a column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from operator import attrgetter
from typing import Protocol

import numpy as np
import torch

from sklearn_ae._options import Option, Pair
from sklearn_ae._utils.compat import Interval
from sklearn_ae._utils.covariance import ShrunkCovariance


@dataclass
class ReconstructedSamples:
    """ReconstructedSamples as the scores see them, in the units of X.

    Parameters
    ----------
    x, x_hat : ndarray of shape (n, d)
        The rows and their reconstructions, in double precision.
    log_likelihood : callable
        Maps rows like x to their log-likelihoods in nats.
    """

    x: np.ndarray
    x_hat: np.ndarray
    log_likelihood: Callable[[np.ndarray], np.ndarray]

    @property
    def residual(self) -> np.ndarray:
        return self.x - self.x_hat

    @property
    def joint(self) -> np.ndarray:
        """The row and its residual side by side, of shape (n, 2d)."""
        return np.hstack([self.x, self.residual])

    def __getitem__(self, chosen: np.ndarray) -> ReconstructedSamples:
        return ReconstructedSamples(self.x[chosen], self.x_hat[chosen], self.log_likelihood)


class FittedScore(Protocol):
    """One way to measure how far out rows are."""

    #: whether measures are squared distances, compared by ratios; else nats, compared by differences
    squared: bool

    def measure(self, rows: ReconstructedSamples) -> np.ndarray:
        """How far out each row is, of shape (n,)."""
        ...

    def contributions(self, rows: ReconstructedSamples) -> np.ndarray:
        """What each column adds to it, of shape (n, d)."""
        ...


class SquaredError:
    squared = True

    def measure(self, rows: ReconstructedSamples) -> np.ndarray:
        return self.contributions(rows).sum(axis=1)

    def contributions(self, rows: ReconstructedSamples) -> np.ndarray:
        return np.square(rows.residual)


class Nats:
    squared = False

    def measure(self, rows: ReconstructedSamples) -> np.ndarray:
        return -rows.log_likelihood(rows.x)

    def contributions(self, rows: ReconstructedSamples) -> np.ndarray:
        before = rows.log_likelihood(rows.x)
        return np.column_stack([self._mended(rows, j) - before for j in range(rows.x.shape[1])])

    @staticmethod
    def _mended(rows: ReconstructedSamples, j: int) -> np.ndarray:
        x = rows.x.copy()
        x[:, j] = rows.x_hat[:, j]
        return rows.log_likelihood(x)


@dataclass
class Whitened:
    space: Callable[[ReconstructedSamples], np.ndarray]
    scatter: ShrunkCovariance
    squared = True

    def measure(self, rows: ReconstructedSamples) -> np.ndarray:
        return self.scatter.distance(self.space(rows))

    def contributions(self, rows: ReconstructedSamples) -> np.ndarray:
        parts = self.scatter.contributions(self.space(rows))
        return parts.reshape(len(parts), -1, rows.x.shape[1]).sum(axis=1)


class Nearest:
    """Mean squared distance to the nearest references in one space."""

    squared = True

    def __init__(
        self,
        space: Callable[[ReconstructedSamples], np.ndarray],
        references: ReconstructedSamples,
        n_neighbors: int,
    ):
        self.space = space
        self.x = references.x
        self.k = min(n_neighbors, max(1, len(self.x) - 1))
        places = space(references)
        self.centre = places.mean(axis=0)
        self.places = places - self.centre
        self.lengths = np.square(self.places).sum(axis=1)

    def measure(self, rows: ReconstructedSamples) -> np.ndarray:
        return self._differences(rows).sum(axis=(1, 2)) / self.k

    def contributions(self, rows: ReconstructedSamples) -> np.ndarray:
        n, d = rows.x.shape
        return self._differences(rows).reshape(n, self.k, -1, d).sum(axis=(1, 2)) / self.k

    def _differences(self, rows: ReconstructedSamples) -> np.ndarray:
        """Squared difference from the k nearest, in each column of the space: (n, k, columns).

        They are taken anew, since distances from a matrix product lose digits where they are short.
        """
        places = self.space(rows) - self.centre
        found = self._nearest(places)
        differences = np.square(places[:, None] - self.places[found])
        distance = differences.sum(axis=2)
        same = (rows.x[:, None] == self.x[found]).all(axis=2)
        if found.shape[1] > self.k:
            distance[same & (same.cumsum(axis=1) == 1)] = np.inf
        order = np.argsort(distance, axis=1, kind="stable")[:, : self.k]
        return np.take_along_axis(differences, order[:, :, None], axis=1)

    def _nearest(self, places: np.ndarray) -> np.ndarray:
        """Numbers of one reference more than wanted: one may be the row itself."""
        lengths, product = torch.from_numpy(self.lengths), torch.from_numpy(self.places.T)
        distance = torch.addmm(lengths, torch.from_numpy(places), product, alpha=-2.0)
        return distance.topk(min(self.k + 1, len(self.x)), largest=False).indices.numpy()


class OutlierScore(Option):
    """Base of the scores."""

    def chosen(self, robust: bool) -> OutlierScore:
        """The score itself, or the one that it stands for."""
        return self

    def fitted_scores(self, rows: ReconstructedSamples, rng: np.random.RandomState) -> list[FittedScore]:
        """Fit to rows that the autoencoder was trained on."""
        raise NotImplementedError

    def __or__(self, other: OutlierScore) -> Either:
        return Either(self, other)


class Either(Pair, OutlierScore):
    """The farther out of two scores, as ``first | second`` builds it.

    Parameters
    ----------
    first, second : OutlierScore
        The parts; nested parameters are reached as ``score__first__n_neighbors``.

    Examples
    --------
    >>> from sklearn_ae.outlier_scores import Mahalanobis, Neighbors
    >>> Neighbors(n_neighbors=3) | Mahalanobis()
    Either(first=Neighbors(n_neighbors=3), second=Mahalanobis())
    """

    _slot = OutlierScore
    _refusal = "Scores are joined with scores such as Mahalanobis()"

    def chosen(self, robust):
        return Either(self.first.chosen(robust), self.second.chosen(robust))

    def fitted_scores(self, rows, rng):
        return self.first.fitted_scores(rows, rng) + self.second.fitted_scores(rows, rng)


class Auto(OutlierScore):
    """The best on average over many sets: neighbours; and in contaminated data the whitened distance too.

    ``Neighbors(n_neighbors=5) | Mahalanobis(residuals=False)`` for the robust
    detector, and ``Neighbors(n_neighbors=1)`` for one that is trained on clean rows.

    Examples
    --------
    >>> from sklearn_ae.outlier_scores import Auto
    >>> Auto().chosen(robust=False)
    Neighbors(n_neighbors=1)
    """

    def chosen(self, robust):
        if robust:
            return Neighbors(n_neighbors=5) | Mahalanobis(residuals=False)
        return Neighbors(n_neighbors=1)


class Reconstruction(OutlierScore):
    """Squared error of the reconstruction, summed over the columns, in squared units of X.

    The habit of the field, and weak: what lies far out along the components is
    reconstructed well.

    Examples
    --------
    >>> from sklearn_ae import AEOutlierDetector
    >>> AEOutlierDetector(outlier_score="reconstruction")
    AEOutlierDetector(outlier_score='reconstruction')
    """

    def fitted_scores(self, rows, rng):
        return [SquaredError()]


class LogLikelihood(OutlierScore):
    """Log-likelihood of the row under the autoencoder, in nats (its ``score_samples``).

    What a column contributes is the gain in nats where its value is replaced by
    its reconstruction; this takes one more likelihood for every column, and the
    gains do not add up to the score.

    Examples
    --------
    >>> from sklearn_ae import AEOutlierDetector
    >>> AEOutlierDetector(outlier_score="log_likelihood")
    AEOutlierDetector(outlier_score='log_likelihood')
    """

    def fitted_scores(self, rows, rng):
        return [Nats()]


class Mahalanobis(OutlierScore):
    """Squared distance of the row and its residual from their mean, whitened by their covariance.

    Row and residual side by side hold what code and residual hold, column by
    column: where the autoencoder is linear, they are the same. Columns are scaled
    by their standard deviations and their correlations shrunk [1]_, so that it
    works for wide data. What a column contributes is its Shapley value [2]_, which
    is negative where it makes the row less odd.

    Parameters
    ----------
    residuals : bool, default=True
        Whether the residuals stand beside the rows. False takes the rows alone: the
        autoencoder then has no part, and an odd value of one column, which changes
        the residuals of all, is easier to place.

    References
    ----------
    .. [1] O. Ledoit, M. Wolf (2004), A well-conditioned estimator for
       large-dimensional covariance matrices, J. Multivariate Analysis 88.
    .. [2] M. Mayrhofer, P. Filzmoser (2023), Multivariate outlier explanations using
       Shapley values and Mahalanobis distances, Econometrics and Statistics.

    Examples
    --------
    >>> from sklearn_ae import AEOutlierDetector
    >>> AEOutlierDetector(outlier_score="mahalanobis")
    AEOutlierDetector(outlier_score='mahalanobis')
    """

    _parameter_constraints = {"residuals": ["boolean"]}

    def __init__(self, residuals: bool = True):
        self.residuals = residuals

    def fitted_scores(self, rows, rng):
        space = attrgetter("joint" if self.residuals else "x")
        return [Whitened(space, ShrunkCovariance.fit(space(rows)))]


class Neighbors(OutlierScore):
    """Distance to the nearest of the reference rows, in two spaces: the farther out decides.

    One space is that of the row and its residual side by side, the other that of
    the reconstruction, which tells the codes apart. References are a random part
    of the training rows: over an ensemble few are as good as many [1]_. A row that
    is equal to a reference is taken for it, and judged by the others.

    Parameters
    ----------
    n_neighbors : int, default=5
        The squared distance is the mean over so many. 1 is best for clean training
        rows, more where outliers may have come in clumps.
    max_references : int, default=1000
        Reference rows of each autoencoder of the ensemble.

    References
    ----------
    .. [1] M. Sugiyama, K. Borgwardt (2013), Rapid distance-based outlier detection
       via sampling, NeurIPS.

    Examples
    --------
    >>> from sklearn_ae import AEOutlierDetector
    >>> from sklearn_ae.outlier_scores import Neighbors
    >>> AEOutlierDetector(outlier_score=Neighbors(n_neighbors=3))
    AEOutlierDetector(outlier_score=Neighbors(n_neighbors=3))
    """

    _parameter_constraints = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "max_references": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(self, n_neighbors: int = 5, max_references: int = 1000):
        self.n_neighbors = n_neighbors
        self.max_references = max_references

    def fitted_scores(self, rows, rng):
        references = rows[np.sort(rng.permutation(len(rows.x))[: self.max_references])]
        return [
            Nearest(space, references, self.n_neighbors)
            for space in (attrgetter("joint"), attrgetter("x_hat"))
        ]


OUTLIER_SCORES = {
    "auto": Auto,
    "reconstruction": Reconstruction,
    "log_likelihood": LogLikelihood,
    "mahalanobis": Mahalanobis,
    "neighbors": Neighbors,
}
