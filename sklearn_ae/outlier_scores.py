"""Outlier scores: measures of how far out a sample is, and how much each feature adds.

An :class:`OutlierScore` is an option without learned state. It is fitted to samples
and their reconstructions, and returns objects that follow :class:`FittedScore`.
Scores depend on samples and reconstructions only, so that every contribution belongs
to a feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, Protocol

import numpy as np

from sklearn_ae._options import Option, Pair
from sklearn_ae._utils.compat import Interval
from sklearn_ae._utils.contrast import CorruptionTrees
from sklearn_ae._utils.covariance import ShrunkCovariance

_SAME = 1e-3  # difference, in standard deviations of a feature, up to which a query is a training sample
_SAME_DIGITS = 5e-7  # the same in multiples of the largest value: some units in the last place of float32

_BATCH_SIZE = 128  # Number of queries whose distances to the references fit in the cache

_SAME_POINT = 1e-6  # distance, in standard deviations of the references, up to which points are the same

_N_TYPICAL = 1000  # Number of samples that show how far out a typical one is

_SHARE_OBSERVED = 0.6  # of the references' values, to see how distances depend on the observed features
_MAX_EXPONENT = 4.0

_MAX_VALUES, _MIN_SAMPLES = 2**21, 200  # size of the training set of wide data

_N_PRIOR = 2  # Number of typical features that are averaged with the observed ones to predict missing ones


@dataclass
class ReconstructedSamples:
    """Samples and their reconstructions in the units of X, the input of outlier scores.

    Parameters
    ----------
    x : ndarray of shape (n, d)
        Samples, in double precision.
    x_hat : ndarray of shape (n, d)
        Reconstructions, in double precision.
    log_likelihood : callable
        Maps an array such as x to the log-likelihood of each sample in nats.
    observed : ndarray of shape (n, d) or None, default=None
        Mask of the observed values, if some are missing. The others are filled in: x has no
        NaN. Training samples are completed by random draws and have no mask.
    origin : ndarray of shape (n,) or None, default=None
        Indices that are equal for copies of the same training sample, if samples are
        repeated by weight.
    """

    x: np.ndarray
    x_hat: np.ndarray
    log_likelihood: Callable[[np.ndarray], np.ndarray]
    observed: np.ndarray | None = None
    origin: np.ndarray | None = None

    @property
    def residual(self) -> np.ndarray:
        """Reconstruction residuals, of shape (n, d)."""
        return self.x - self.x_hat

    @property
    def joint(self) -> np.ndarray:
        """Samples and residuals side by side, of shape (n, 2d)."""
        return np.concatenate([self.x, self.residual], axis=1)

    def __getitem__(self, selected: np.ndarray | slice) -> ReconstructedSamples:
        observed = None if self.observed is None else self.observed[selected]
        origin = None if self.origin is None else self.origin[selected]
        return ReconstructedSamples(
            self.x[selected], self.x_hat[selected], self.log_likelihood, observed, origin
        )


class FittedScore(Protocol):
    """Fitted outlier score: the members that objects returned by ``OutlierScore.fit_scores`` need."""

    #: True for squared distances, which are compared by ratios; False for values that are compared
    #: by differences, such as nats
    squared: bool

    def outlyingness(self, samples: ReconstructedSamples) -> np.ndarray:
        """Return how far out each sample is, of shape (n,); larger is farther out."""
        ...

    def contributions(self, samples: ReconstructedSamples) -> np.ndarray:
        """Return the contribution of each feature to the outlyingness, of shape (n, d)."""
        ...


class OutlierScore(Option):
    """Base class of outlier scores.

    Subclasses implement :meth:`fit_scores`, which returns objects with the members
    of :class:`FittedScore`.

    Examples
    --------
    A score of your own, the largest squared error of a single feature:

    >>> import numpy as np
    >>> from sklearn_ae import AEOutlierDetector
    >>> from sklearn_ae.outlier_scores import OutlierScore
    >>> class FittedLargestError:
    ...     squared = True
    ...
    ...     def outlyingness(self, samples):
    ...         return self.contributions(samples).max(axis=1)
    ...
    ...     def contributions(self, samples):
    ...         return np.square(samples.residual)
    >>> class LargestError(OutlierScore):
    ...     def fit_scores(self, samples, rng):
    ...         return [FittedLargestError()]
    >>> AEOutlierDetector(outlier_score=LargestError())
    AEOutlierDetector(outlier_score=LargestError())
    """

    _required = ("fit_scores",)

    @property
    def needs_network(self) -> bool:
        """Whether the default autoencoder is a network, because what it has learned matters."""
        return True

    def fit_scores(self, samples: ReconstructedSamples, rng: np.random.RandomState) -> list[FittedScore]:
        """Return one or more fitted scores, of which the largest calibrated value counts.

        Parameters
        ----------
        samples : ReconstructedSamples
            The n training samples of an autoencoder, of shape (n, d), and their
            reconstructions.
        rng : RandomState
            The only source of randomness.

        Returns
        -------
        fitted : list of FittedScore
        """
        raise NotImplementedError

    def resolve_auto(self, *, robust: bool) -> OutlierScore:
        """Return the score itself, or the choice of "auto" for contaminated or clean training samples."""
        return self

    def __or__(self, other: OutlierScore) -> Either:
        return Either(self, other)

    def __add__(self, other: OutlierScore) -> Sum:
        return Sum(self, other)


#: Terms of a sum, of whose fitted scores the largest calibrated one counts
Terms = list[list["FittedScore"]]


def fit_alternatives(
    score: OutlierScore, samples: ReconstructedSamples, rng: np.random.RandomState
) -> list[Terms]:
    """Return fitted scores, after a check of their members: sums, of which the largest counts."""
    if isinstance(score, Pair):
        first, second = (fit_alternatives(part, samples, rng) for part in (score.first, score.second))
        return [_as_terms(first) + _as_terms(second)] if isinstance(score, Sum) else first + second
    name = type(score).__name__
    fitted = score.fit_scores(samples, rng)
    if not isinstance(fitted, list) or not fitted:
        raise TypeError(
            f"{name}.fit_scores must return a list of fitted scores, as described in "
            f"sklearn_ae.outlier_scores.OutlierScore; got {fitted!r}."
        )
    for part in fitted:
        for member in ("squared", "outlyingness", "contributions"):
            if not hasattr(part, member):
                raise TypeError(
                    f"{name}.fit_scores returned a {type(part).__name__} without {member}, which is "
                    "described in sklearn_ae.outlier_scores.FittedScore."
                )
    return [[fitted]]


def _as_terms(alternatives: list[Terms]) -> Terms:
    """Return terms of a sum: those of a sum, or one that is the largest of some scores."""
    if len(alternatives) == 1:
        return alternatives[0]
    if any(len(terms) > 1 for terms in alternatives):
        raise TypeError("Scores joined by | cannot be added if one of them is a sum: (a + b | c) + d.")
    return [[fitted for (term,) in alternatives for fitted in term]]


class _Joined(Pair, OutlierScore):
    """Base of two scores that are joined into one."""

    _slot = OutlierScore
    _refusal = "Scores are joined with scores such as Mahalanobis()"

    @property
    def needs_network(self) -> bool:
        return self.first.needs_network or self.second.needs_network

    def resolve_auto(self, *, robust: bool) -> OutlierScore:
        return type(self)(self.first.resolve_auto(robust=robust), self.second.resolve_auto(robust=robust))

    def fit_scores(self, samples: ReconstructedSamples, rng: np.random.RandomState) -> list[FittedScore]:
        alternatives = fit_alternatives(self, samples, rng)
        return [fitted for terms in alternatives for term in terms for fitted in term]


class Either(_Joined):
    """Larger of two calibrated scores, built by ``first | second``.

    Parameters
    ----------
    first, second : OutlierScore
        Scores to combine. Their parameters are reached as
        ``outlier_score__first__n_neighbors``.

    Examples
    --------
    >>> from sklearn_ae.outlier_scores import Mahalanobis, Neighbors
    >>> Neighbors(n_neighbors=3) | Mahalanobis()
    Either(first=Neighbors(n_neighbors=3), second=Mahalanobis())
    """


class Sum(_Joined):
    """Sum of two calibrated scores, as far as they exceed those of typical samples.

    Built by ``first + second``. A sample that is far out by one score is an outlier, one
    that is far out by both is farther out. Sums suit scores that differ, whereas the
    sum of similar scores counts the same deviation twice; join these by ``|``.

    Parameters
    ----------
    first, second : OutlierScore
        Scores to add. Their parameters are reached as
        ``outlier_score__first__n_neighbors``.

    Examples
    --------
    >>> from sklearn_ae.outlier_scores import Contrast, Neighbors
    >>> Neighbors(n_neighbors=1) + Contrast()
    Sum(first=Neighbors(n_neighbors=1), second=Contrast())
    """


class Auto(OutlierScore):
    """Score with the best average results over many datasets.

    ``Neighbors(n_neighbors=5, max_references=500) | Mahalanobis(residuals=False)`` for a
    robust detector, ``Neighbors(n_neighbors=1) + Contrast()`` for a detector that is fitted
    on clean samples.

    Examples
    --------
    >>> from sklearn_ae.outlier_scores import Auto
    >>> Auto().resolve_auto(robust=False)
    Sum(first=Neighbors(n_neighbors=1), second=Contrast())
    """

    def resolve_auto(self, *, robust: bool) -> OutlierScore:
        if robust:
            return Neighbors(n_neighbors=5, max_references=500) | Mahalanobis(residuals=False)
        return Neighbors(n_neighbors=1) + Contrast()

    def fit_scores(self, samples: ReconstructedSamples, rng: np.random.RandomState) -> list[FittedScore]:
        return self.resolve_auto(robust=False).fit_scores(samples, rng)


class Reconstruction(OutlierScore):
    """Squared reconstruction error, summed over the features, in squared units of X.

    The usual choice, but a weak one: samples far out along the principal directions
    are still reconstructed well. Missing values are as far out as the observed ones.

    Examples
    --------
    >>> from sklearn_ae import AEOutlierDetector
    >>> AEOutlierDetector(outlier_score="reconstruction")
    AEOutlierDetector(outlier_score='reconstruction')
    """

    def fit_scores(self, samples: ReconstructedSamples, rng: np.random.RandomState) -> list[FittedScore]:
        spread = np.square(samples.x - samples.x.mean(axis=0)).sum(axis=1).mean()
        return [FittedReconstruction(_typical(np.square(samples.residual)), _SAME_POINT**2 * spread)]


class LogLikelihood(OutlierScore):
    """Log-likelihood of the sample under the autoencoder, in nats (its ``score_samples``).

    The contribution of a feature is the gain in nats when its value is replaced by
    its reconstruction. This takes one additional likelihood per feature, and the
    contributions do not add up to the score. A sample with missing values has the
    log-likelihood of the sample that is filled in.

    Examples
    --------
    >>> from sklearn_ae import AEOutlierDetector
    >>> AEOutlierDetector(outlier_score="log_likelihood")
    AEOutlierDetector(outlier_score='log_likelihood')
    """

    def fit_scores(self, samples: ReconstructedSamples, rng: np.random.RandomState) -> list[FittedScore]:
        return [FittedLogLikelihood()]


class Mahalanobis(OutlierScore):
    """Squared Mahalanobis distance of the sample and its residual, side by side.

    For a linear autoencoder, sample and residual carry the same information as code
    and residual, but in terms of the features. Features are scaled by their standard
    deviations and their correlations are shrunk [1]_, which makes the distance
    applicable to wide data. The contribution of a feature is its Shapley value [2]_;
    it is negative if the feature makes the sample less unusual. Missing values are as
    far out as the observed ones.

    Parameters
    ----------
    residuals : bool, default=True
        If False, use the sample without its residual. The score is then independent
        of the autoencoder, and an unusual value of one feature, which affects the
        residuals of all, is easier to locate.

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

    @property
    def needs_network(self) -> bool:
        return self.residuals

    def fit_scores(self, samples: ReconstructedSamples, rng: np.random.RandomState) -> list[FittedScore]:
        space = "joint" if self.residuals else "x"
        fitted = FittedMahalanobis(space, ShrunkCovariance.fit(getattr(samples, space)))
        fitted.typical = _typical(fitted.contributions(samples[:_N_TYPICAL]))
        return [fitted]


class Neighbors(OutlierScore):
    """Squared distance to the nearest reference samples, the larger one of two spaces.

    The first space holds the sample and its residual side by side, the second one the
    reconstruction, which separates the codes. References are a random subset of the
    training samples: in an ensemble, few perform as well as many [1]_. A sample that is
    equal to a reference is compared with the other references. If values are missing,
    distances over the observed features are extrapolated.

    Parameters
    ----------
    n_neighbors : int, default=5
        Number of nearest references over which the squared distance is averaged. 1 is
        best for clean training samples; use more if outliers may form clusters.
    max_references : int, default=1000
        Maximum number of references for each autoencoder of the ensemble.

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

    needs_network = False
    _parameter_constraints = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "max_references": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(self, n_neighbors: int = 5, max_references: int = 1000):
        self.n_neighbors = n_neighbors
        self.max_references = max_references

    def fit_scores(self, samples: ReconstructedSamples, rng: np.random.RandomState) -> list[FittedScore]:
        order = rng.permutation(len(samples.x))
        if samples.origin is not None:  # copies are one reference
            order = order[np.sort(np.unique(samples.origin[order], return_index=True)[1])]
        references = samples[np.sort(order[: self.max_references])]
        return [FittedNeighbors(space, references, self.n_neighbors) for space in ("joint", "x_hat")]


class Contrast(OutlierScore):
    """Share of corrupted copies among the samples and copies around the sample, between 0 and 1.

    Randomised trees tell the training samples from copies in which values are exchanged
    between samples, drawn uniformly, or noisy [1]_ [2]_. The score does not use the
    autoencoder and does not depend on the units of the features. It finds unusual
    combinations of values that are not far from others, and adapts to skewed features
    and to regions of different density. A training sample does not count itself. The
    contribution of a feature is the sum of the changes of the share at its splits.

    Parameters
    ----------
    n_trees : int, default=20
        Number of trees for each autoencoder of the ensemble.
    max_samples : int, default=2000
        Maximum number of training samples for each autoencoder of the ensemble. With more
        than 1,000 features there are fewer, inversely proportional to the number of features.

    References
    ----------
    .. [1] I. Steinwart, D. Hush, C. Scovel (2005), A classification framework for anomaly
       detection, JMLR 6.
    .. [2] T. Shi, S. Horvath (2006), Unsupervised learning with random forest predictors,
       J. Computational and Graphical Statistics 15.

    Examples
    --------
    >>> from sklearn_ae import AEOutlierDetector
    >>> AEOutlierDetector(outlier_score="contrast")
    AEOutlierDetector(outlier_score='contrast')
    """

    needs_network = False
    _parameter_constraints = {
        "n_trees": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(self, n_trees: int = 20, max_samples: int = 2000):
        self.n_trees = n_trees
        self.max_samples = max_samples

    def fit_scores(self, samples: ReconstructedSamples, rng: np.random.RandomState) -> list[FittedScore]:
        n = min(self.max_samples, max(_MIN_SAMPLES, _MAX_VALUES // samples.x.shape[1]))
        x = samples.x[np.sort(rng.permutation(len(samples.x))[:n])]
        return [FittedContrast(CorruptionTrees(x, self.n_trees, rng))]


OUTLIER_SCORES = {
    "auto": Auto,
    "reconstruction": Reconstruction,
    "log_likelihood": LogLikelihood,
    "mahalanobis": Mahalanobis,
    "neighbors": Neighbors,
    "contrast": Contrast,
}


# -- fitted scores ------------------------------------------------------------------------


@dataclass
class FittedReconstruction:
    """Squared reconstruction error; negligible errors are 0, because they consist of rounding."""

    typical: np.ndarray  # contributions of the features to a typical sample, of shape (d,)
    negligible: float
    squared = True

    def outlyingness(self, samples: ReconstructedSamples) -> np.ndarray:
        return self.contributions(samples).sum(axis=1)

    def contributions(self, samples: ReconstructedSamples) -> np.ndarray:
        errors = np.square(samples.residual)
        errors = np.where(errors.sum(axis=1, keepdims=True) > self.negligible, errors, 0.0)
        return _extrapolated(errors, samples.observed, self.typical)


class FittedLogLikelihood:
    """Negative log-likelihood in nats."""

    squared = False

    def outlyingness(self, samples: ReconstructedSamples) -> np.ndarray:
        return -samples.log_likelihood(samples.x)

    def contributions(self, samples: ReconstructedSamples) -> np.ndarray:
        before = samples.log_likelihood(samples.x)
        n_features = samples.x.shape[1]
        after = np.column_stack([self._with_reconstructed(samples, j) for j in range(n_features)])
        # The log-likelihood of an extreme sample may be infinite with and without the feature.
        gains = np.where(after == before[:, None], 0.0, after - before[:, None])
        return gains if samples.observed is None else np.where(samples.observed, gains, 0.0)

    @staticmethod
    def _with_reconstructed(samples: ReconstructedSamples, j: int) -> np.ndarray:
        """Return the log-likelihoods after feature j is replaced by its reconstruction."""
        x = samples.x.copy()
        x[:, j] = samples.x_hat[:, j]
        return samples.log_likelihood(x)


@dataclass
class FittedMahalanobis:
    """Squared Mahalanobis distance in one space, an attribute of the samples such as ``"joint"``."""

    space: str
    covariance: ShrunkCovariance
    typical: np.ndarray | None = None  # contributions of the features to a typical sample, of shape (d,)
    squared = True

    def outlyingness(self, samples: ReconstructedSamples) -> np.ndarray:
        if samples.observed is not None:
            return np.maximum(self.contributions(samples).sum(axis=1), 0.0)
        return self.covariance.squared_distance(getattr(samples, self.space))

    def contributions(self, samples: ReconstructedSamples) -> np.ndarray:
        parts = self.covariance.contributions(getattr(samples, self.space))
        parts = parts.reshape(len(parts), -1, samples.x.shape[1]).sum(axis=1)
        return _extrapolated(parts, samples.observed, self.typical)


@dataclass
class FittedContrast:
    """Estimated share of corrupted copies at a sample."""

    trees: CorruptionTrees
    squared = False

    def outlyingness(self, samples: ReconstructedSamples) -> np.ndarray:
        return self.trees.share(samples.x)

    def contributions(self, samples: ReconstructedSamples) -> np.ndarray:
        return self.trees.contributions(samples.x)


class FittedNeighbors:
    """Mean squared distance to the nearest references in one space, an attribute of the samples.

    A query that is a reference does not count as its own neighbour. It is recognised
    up to rounding, so that training samples have the same scores in single precision,
    or read from a file with four decimals.
    """

    squared = True

    def __init__(self, space: str, references: ReconstructedSamples, n_neighbors: int):
        self.space = space
        self.x, self.x_hat = references.x, references.x_hat
        self.tolerance = _SAME * self.x.std(axis=0) + _SAME_DIGITS * np.abs(self.x).max(axis=0)
        self.sums, self.tolerance_of_sum = self.x.sum(axis=1), self.tolerance.sum()
        self.n_neighbors = min(n_neighbors, max(1, len(self.x) - 1))
        points = getattr(references, space)
        self.centre = points.mean(axis=0)
        self.points = points - self.centre
        self.squared_norms = np.square(self.points).sum(axis=1)
        self.negligible = _SAME_POINT**2 * self.squared_norms.mean()

    def __getstate__(self) -> dict[str, Any]:
        """Return what the rest is computed from."""
        names = "space", "x", "x_hat", "n_neighbors"
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        references = ReconstructedSamples(state["x"], state["x_hat"], np.zeros_like)
        self.__init__(state["space"], references, state["n_neighbors"])  # type: ignore[misc]

    @cached_property
    def typical(self) -> np.ndarray:
        """Contributions of the features to the distance of a typical reference, of shape (d,)."""
        return _typical(self._parts(self.x, self.points, None))

    @cached_property
    def exponent(self) -> float:
        """Exponent of the share of the observed features to which distances are proportional.

        It is above 1, because the nearest of the references are closer in fewer features.
        It is estimated from the references, with values left out at random.
        """
        observed = np.random.RandomState(0).uniform(size=self.x.shape) < _SHARE_OBSERVED
        distances = self._parts(self.x, self.points, observed).sum(axis=1)
        total = self.typical.sum()
        shares = observed @ self.typical / (total or 1.0)
        usable = (distances > 0) & (shares > 0) & ~observed.all(axis=1)
        if not usable.any():
            return 1.0
        exponent = np.log(np.median(distances[usable]) / total) / np.log(np.median(shares[usable]))
        return float(np.clip(exponent, 1.0, _MAX_EXPONENT))

    def outlyingness(self, samples: ReconstructedSamples) -> np.ndarray:
        if samples.observed is not None:
            return self.contributions(samples).sum(axis=1)
        points = self._centred(samples)
        return self._nearest(samples.x, points, None)[1].sum(axis=1) / self.n_neighbors

    def contributions(self, samples: ReconstructedSamples) -> np.ndarray:
        parts = self._parts(samples.x, self._centred(samples), samples.observed)
        return (
            parts
            if samples.observed is None
            else _extrapolated(parts, samples.observed, self.typical, self.exponent)
        )

    def _parts(self, x: np.ndarray, points: np.ndarray, observed: np.ndarray | None) -> np.ndarray:
        """Return contributions to the distance over the observed features, of shape (n, d)."""
        nearest, distances = self._nearest(x, points, observed)
        differences = np.square(points[:, None] - self.points[nearest])
        differences[distances == 0.0] = 0.0
        n, d = x.shape
        parts = differences.reshape(n, -1, d).sum(axis=1) / self.n_neighbors
        return parts if observed is None else np.where(observed, parts, 0.0)

    def _centred(self, samples: ReconstructedSamples) -> np.ndarray:
        return getattr(samples, self.space) - self.centre

    def _nearest(
        self, x: np.ndarray, points: np.ndarray, observed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return indices and squared distances of the nearest references, of shape (n, n_neighbors)."""
        candidates, distances = self._candidates(points, observed)
        if candidates.shape[1] > self.n_neighbors:
            same = self._is_same(x, candidates, observed)
            known = np.flatnonzero(same.any(axis=1))
            distances[known, same[known].argmax(axis=1)] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")[:, : self.n_neighbors]
        rows = np.arange(len(points))[:, None]
        return candidates[rows, order], distances[rows, order]

    def _candidates(self, points: np.ndarray, observed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return indices and distances of the n_neighbors + 1 nearest, since one may be the query itself.

        The distances are computed anew, because short ones lose digits in a matrix product.
        """
        shape = len(points), min(self.n_neighbors + 1, len(self.x))
        candidates, distances = np.empty(shape, dtype=np.intp), np.empty(shape)
        if observed is not None:
            mask = np.tile(observed, points.shape[1] // observed.shape[1])
            squares = np.square(self.points).T
        for start in range(0, len(points), _BATCH_SIZE):
            batch = slice(start, start + _BATCH_SIZE)
            if observed is None:
                product = -2.0 * points[batch] @ self.points.T
                product += self.squared_norms
            else:
                product = -2.0 * np.where(mask[batch], points[batch], 0.0) @ self.points.T
                product += mask[batch].astype(float) @ squares
            rows = np.arange(len(product))
            for nearest in candidates[batch].T:  # a few passes are faster than a partial sort
                nearest[:] = product.argmin(axis=1)
                product[rows, nearest] = np.inf
            differences = points[batch, None] - self.points[candidates[batch]]
            if observed is not None:
                differences *= mask[batch, None]
            np.einsum("ijk,ijk->ij", differences, differences, out=distances[batch])
        distances[distances <= self.negligible] = 0.0
        return candidates, distances

    def _is_same(self, x: np.ndarray, candidates: np.ndarray, observed: np.ndarray | None) -> np.ndarray:
        """Return a mask of the candidates that equal the query, of shape (n, n_candidates).

        All features are compared only where the sums of the features agree.
        """
        if observed is not None:
            same = np.abs(x[:, None] - self.x[candidates]) <= self.tolerance
            return (same | ~observed[:, None]).all(axis=2)
        same = np.abs(x.sum(axis=1)[:, None] - self.sums[candidates]) <= self.tolerance_of_sum
        i, j = np.nonzero(same)
        same[i, j] = (np.abs(x[i] - self.x[candidates[i, j]]) <= self.tolerance).all(axis=1)
        return same


# -- missing values -----------------------------------------------------------------------


def _typical(parts: np.ndarray) -> np.ndarray:
    """Return contributions that add up to the median outlyingness and are divided as the mean is."""
    totals, mean = parts.sum(axis=1), np.maximum(parts.mean(axis=0), 0.0)
    positive = totals[totals > 0]
    return mean * (np.median(positive) / mean.sum()) if len(positive) else mean


def _extrapolated(
    parts: np.ndarray, observed: np.ndarray | None, typical: np.ndarray | None, exponent: float = 1.0
) -> np.ndarray:
    """Return contributions whose sum is extrapolated from the observed features to all.

    The missing features are as far out, relative to typical samples, as the observed ones
    on average. Two features' share of a typical sample is included in that average, as
    little follows from few features.

    Parameters
    ----------
    parts : ndarray of shape (n, d)
        Contributions; those of missing features are ignored.
    observed : ndarray of shape (n, d) or None
        Mask of the observed features; None for all.
    typical : ndarray of shape (d,)
        Contributions to a typical sample.
    exponent : float
        The sum over the observed features of typical samples is proportional to this power
        of their share.
    """
    if observed is None or typical is None:
        return parts
    total = typical.sum()
    seen = total * (observed @ typical / (total or 1.0)) ** exponent
    prior = _N_PRIOR * total / len(typical) or 1.0
    ratio = ((total - seen) / (seen + prior))[:, None]
    # The part of the missing features that follows from the observed ones is attributed to these.
    filled = typical * (prior / (seen + prior))[:, None]
    return np.where(observed, parts * (1.0 + ratio), filled)
