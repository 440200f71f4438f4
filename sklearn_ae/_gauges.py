"""Gauges: ways to measure how far out rows are, and what each column adds.

They see rows and their reconstructions, nothing else, so that every difference
belongs to a column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from sklearn_ae._scatter import Scatter


@dataclass
class Rows:
    """Rows as the scores see them, in the units of X.

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

    def __getitem__(self, chosen: np.ndarray) -> Rows:
        return Rows(self.x[chosen], self.x_hat[chosen], self.log_likelihood)


class Gauge(Protocol):
    """One way to measure how far out rows are."""

    #: whether measures are squared distances, compared by ratios; else nats, compared by differences
    squared: bool

    def measure(self, rows: Rows) -> np.ndarray:
        """How far out each row is, of shape (n,)."""
        ...

    def contributions(self, rows: Rows) -> np.ndarray:
        """What each column adds to it, of shape (n, d)."""
        ...


class SquaredError:
    squared = True

    def measure(self, rows: Rows) -> np.ndarray:
        return self.contributions(rows).sum(axis=1)

    def contributions(self, rows: Rows) -> np.ndarray:
        return np.square(rows.residual)


class Nats:
    squared = False

    def measure(self, rows: Rows) -> np.ndarray:
        return -rows.log_likelihood(rows.x)

    def contributions(self, rows: Rows) -> np.ndarray:
        before = rows.log_likelihood(rows.x)
        return np.column_stack([self._mended(rows, j) - before for j in range(rows.x.shape[1])])

    @staticmethod
    def _mended(rows: Rows, j: int) -> np.ndarray:
        x = rows.x.copy()
        x[:, j] = rows.x_hat[:, j]
        return rows.log_likelihood(x)


@dataclass
class Whitened:
    space: Callable[[Rows], np.ndarray]
    scatter: Scatter
    squared = True

    def measure(self, rows: Rows) -> np.ndarray:
        return self.scatter.distance(self.space(rows))

    def contributions(self, rows: Rows) -> np.ndarray:
        parts = self.scatter.contributions(self.space(rows))
        return parts.reshape(len(parts), -1, rows.x.shape[1]).sum(axis=1)


class Nearest:
    """Mean squared distance to the nearest references in one space."""

    squared = True

    def __init__(self, space: Callable[[Rows], np.ndarray], references: Rows, n_neighbors: int):
        self.space = space
        self.x = references.x
        self.k = min(n_neighbors, max(1, len(self.x) - 1))
        places = space(references)
        self.centre = places.mean(axis=0)
        self.places = places - self.centre
        self.lengths = np.square(self.places).sum(axis=1)

    def measure(self, rows: Rows) -> np.ndarray:
        return self._differences(rows).sum(axis=(1, 2)) / self.k

    def contributions(self, rows: Rows) -> np.ndarray:
        n, d = rows.x.shape
        return self._differences(rows).reshape(n, self.k, -1, d).sum(axis=(1, 2)) / self.k

    def _differences(self, rows: Rows) -> np.ndarray:
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
