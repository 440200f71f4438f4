"""Scores: how far out a row is, by itself and its reconstruction.

A score is fitted to the rows that an autoencoder was trained on (under the robust
detector: to those that lie closest together). What it learns is one or more
*gauges*, each of which measures rows and says what each column adds:

    reconstruction    ||x - x^||^2
    log_likelihood    -log p(x)
    mahalanobis       squared distance from the mean of (x, x - x^), whitened
    neighbors         squared distance to the nearest rows: of (x, x - x^), and of x^

Scores are joined by ``|``: ``Neighbors() | Mahalanobis()`` judges a row by the gauge
in which it is farthest out, on a scale set by held-out rows.
"""

from __future__ import annotations

from numbers import Integral
from operator import attrgetter

import numpy as np

from sklearn_ae._compat import Interval
from sklearn_ae._gauges import Gauge, Nats, Nearest, Rows, SquaredError, Whitened
from sklearn_ae._options import Option, Pair
from sklearn_ae._scatter import Scatter


class Score(Option):
    """Base of the scores."""

    def chosen(self, robust: bool) -> Score:
        """The score itself, or the one that it stands for."""
        return self

    def gauges(self, rows: Rows, rng: np.random.RandomState) -> list[Gauge]:
        """Fit to rows that the autoencoder was trained on."""
        raise NotImplementedError

    def __or__(self, other: Score) -> Either:
        return Either(self, other)


class Either(Pair, Score):
    """The farther out of two scores, as ``first | second`` builds it.

    Parameters
    ----------
    first, second : Score
        The parts; nested parameters are reached as ``score__first__n_neighbors``.

    Examples
    --------
    >>> from sklearn_ae.scores import Mahalanobis, Neighbors
    >>> Neighbors(n_neighbors=3) | Mahalanobis()
    Either(first=Neighbors(n_neighbors=3), second=Mahalanobis())
    """

    _slot = Score
    _refusal = "Scores are joined with scores such as Mahalanobis()"

    def chosen(self, robust):
        return Either(self.first.chosen(robust), self.second.chosen(robust))

    def gauges(self, rows, rng):
        return self.first.gauges(rows, rng) + self.second.gauges(rows, rng)


class Auto(Score):
    """The best on average over many sets: neighbours; and in contaminated data the whitened distance too.

    ``Neighbors(n_neighbors=5) | Mahalanobis(residuals=False)`` for the robust
    detector, and ``Neighbors(n_neighbors=1)`` for one that is trained on clean rows.

    Examples
    --------
    >>> from sklearn_ae.scores import Auto
    >>> Auto().chosen(robust=False)
    Neighbors(n_neighbors=1)
    """

    def chosen(self, robust):
        if robust:
            return Neighbors(n_neighbors=5) | Mahalanobis(residuals=False)
        return Neighbors(n_neighbors=1)


class Reconstruction(Score):
    """Squared error of the reconstruction, summed over the columns, in squared units of X.

    The habit of the field, and weak: what lies far out along the components is
    reconstructed well.

    Examples
    --------
    >>> from sklearn_ae import AEOutlierDetector
    >>> AEOutlierDetector(score="reconstruction")
    AEOutlierDetector(score='reconstruction')
    """

    def gauges(self, rows, rng):
        return [SquaredError()]


class LogLikelihood(Score):
    """Log-likelihood of the row under the autoencoder, in nats (its ``score_samples``).

    What a column contributes is the gain in nats where its value is replaced by
    its reconstruction; this takes one more likelihood for every column, and the
    gains do not add up to the score.

    Examples
    --------
    >>> from sklearn_ae import AEOutlierDetector
    >>> AEOutlierDetector(score="log_likelihood")
    AEOutlierDetector(score='log_likelihood')
    """

    def gauges(self, rows, rng):
        return [Nats()]


class Mahalanobis(Score):
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
    >>> AEOutlierDetector(score="mahalanobis")
    AEOutlierDetector(score='mahalanobis')
    """

    _parameter_constraints = {"residuals": ["boolean"]}

    def __init__(self, residuals: bool = True):
        self.residuals = residuals

    def gauges(self, rows, rng):
        space = attrgetter("joint" if self.residuals else "x")
        return [Whitened(space, Scatter.fit(space(rows)))]


class Neighbors(Score):
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
    >>> from sklearn_ae.scores import Neighbors
    >>> AEOutlierDetector(score=Neighbors(n_neighbors=3))
    AEOutlierDetector(score=Neighbors(n_neighbors=3))
    """

    _parameter_constraints = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "max_references": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(self, n_neighbors: int = 5, max_references: int = 1000):
        self.n_neighbors = n_neighbors
        self.max_references = max_references

    def gauges(self, rows, rng):
        references = rows[np.sort(rng.permutation(len(rows.x))[: self.max_references])]
        return [
            Nearest(space, references, self.n_neighbors)
            for space in (attrgetter("joint"), attrgetter("x_hat"))
        ]


SCORES = {
    "auto": Auto,
    "reconstruction": Reconstruction,
    "log_likelihood": LogLikelihood,
    "mahalanobis": Mahalanobis,
    "neighbors": Neighbors,
}
