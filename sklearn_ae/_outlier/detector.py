"""Outlier detection: an ensemble of autoencoders, each with a score fitted to its training rows."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.stats import median_abs_deviation
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OutlierMixin, TransformerMixin
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._estimators.vae import VAETransformer
from sklearn_ae._estimators.validation import validate_rows
from sklearn_ae._options import resolve
from sklearn_ae._outlier.ensemble import ROUNDING, FoldDetector, count_at_most, folds, training_ranks
from sklearn_ae._utils.compat import Interval, StrOptions, _fit_context
from sklearn_ae._utils.runtime import MAX_SEED, private_random_state
from sklearn_ae.outlier_scores import OUTLIER_SCORES, OutlierScore


class Judge(OutlierMixin):
    """Public methods of a detector with an ensemble of members and a threshold."""

    # set by fit
    offset_: float
    _members: list[FoldDetector]
    _training_ranks: np.ndarray

    def score_samples(self, X):
        """Score each row; higher is more normal.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Mean over the ensemble. "reconstruction": minus the squared error, in squared
            units of X. "mahalanobis": minus the squared distance. "log_likelihood": nats.
            Others: see the notes of the class.
        """
        check_is_fitted(self)
        return self._member_scores(validate_rows(self, X)).mean(axis=0)

    def _member_scores(self, X: Any) -> np.ndarray:
        """Scores of the rows by each member, of shape (n_estimators, n)."""
        return np.stack([member.score(X) for member in self._members])

    def decision_function(self, X):
        """Score of each row less ``offset_``: negative for outliers.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Tell outliers from inliers.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers, +1 for inliers.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def pvalues(self, X):
        """Conformal p-value of each row: how rare rows are that are as far out.

        Each autoencoder ranks the row among those of its fold, which it has not seen
        [1]_; the mean rank is compared with those of the training rows. For rows like
        the training rows, the p-values are uniform on (0, 1) in steps of ``1 /
        (n_samples + 1)``; outliers among the training rows make them larger. Adjusted
        by ``scipy.stats.false_discovery_control`` they keep the share of false alarms
        under its nominal rate [2]_.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that the detector was not fitted on.

        Returns
        -------
        p : ndarray of shape (n_samples,)

        References
        ----------
        .. [1] V. Vovk (2015), Cross-conformal predictors, Annals of Mathematics and
           Artificial Intelligence 74.
        .. [2] S. Bates, E. Candes, L. Lei, Y. Romano, M. Sesia (2023), Testing for
           outliers with conformal p-values, Annals of Statistics 51.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy.stats import false_discovery_control
        >>> from sklearn_ae import AEOutlierDetector
        >>> rng = np.random.RandomState(0)
        >>> detector = AEOutlierDetector(robust=False, random_state=0).fit(rng.normal(size=(500, 3)))
        >>> p = detector.pvalues(np.vstack([rng.normal(size=(50, 3)), rng.normal(8, 1, size=(5, 3))]))
        >>> np.flatnonzero(false_discovery_control(p) <= 0.1)
        array([50, 51, 52, 53, 54])
        """
        check_is_fitted(self)
        X = validate_rows(self, X)
        # NOTE[DIFF]: the mean of p-values that differ is too often near the middle; its rank is uniform
        each = zip(self._members, self._member_scores(X), strict=True)
        rank = np.mean([member.rank(scores) for member, scores in each], axis=0)
        return (1.0 + count_at_most(rank, self._training_ranks)) / (1.0 + len(self._training_ranks))

    def explain(self, X):
        """What each column contributes to how far out a row is.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        contributions : ndarray of shape (n_samples, n_features)
            The larger, the more the column makes the row an outlier; mean over the
            ensemble. "reconstruction" and "mahalanobis": parts of the squared error or
            distance, which add up to ``-score_samples(X)``. "auto", "neighbors" and
            scores joined by ``|``: parts of the squared distance that decides, divided by
            that of a typical row, so that rows in the middle have a sum of about 1.
            "log_likelihood": nats that are gained where the column's value is replaced by
            its reconstruction.
        """
        check_is_fitted(self)
        X = validate_rows(self, X)
        return np.mean([member.contributions(X) for member in self._members], axis=0)


_FENCE = 2.5  # deviations from the median to the threshold of contamination="auto"


class AEOutlierDetector(Judge, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Outlier detector that judges rows by what autoencoders make of them.

    ::

        rows -> core (if robust) -> autoencoder -> (x, x^) -> score

    Each of ``n_estimators`` autoencoders is trained without one fold of the rows.
    A score is fitted to what it makes of its training rows; the fold's rows, which
    it has not seen, set the score's scale and are what ``pvalues`` compares with.
    The detector's score is the mean over the ensemble.

    With ``robust=True`` the rows may hold outliers: each autoencoder, and its
    score, learns from the core of its rows, those that lie close together by a
    robust covariance. Outliers then neither bend the network nor widen the
    scales. Set it to False where the training rows are clean (novelty detection).

    Parameters
    ----------
    autoencoder : AutoencoderTransformer, VAETransformer or None, default=None
        What to make copies of; its ``random_state`` is replaced. None takes a small
        AutoencoderTransformer of ``min(16, ceil(n_features / 4))`` components (at most
        a quarter of its rows), trained for about 500 steps.
    outlier_score : {"auto", "reconstruction", "log_likelihood", "mahalanobis", "neighbors"} \
            or OutlierScore, default="auto"
        How far out a row is, by itself and its reconstruction. "auto" is what won
        over many sets: ``Neighbors(n_neighbors=5) | Mahalanobis(residuals=False)`` if
        robust, ``Neighbors(n_neighbors=1)`` if not. Scores joined by ``|`` take the
        farther out.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows that ``predict`` calls outliers. "auto" asks how far
        a row is from the others [3]_: more than 2.5 robust standard deviations (1.48
        times the median absolute deviation) under the median of the training scores.
        Of scores that are squared distances, the roots are compared.
    robust : bool, default=True
        Whether the training rows may hold outliers, up to a quarter of them. Normal rows
        should then be one cloud: where they fall into many clusters, the core loses some.
    n_estimators : int, default=5
        Autoencoders. With fewer than 5, each is still trained without a fifth of the rows.
    n_jobs : int or None, default=None
        Autoencoders fitted at a time, as in ``IsolationForest``. The result is the same.
    random_state : int, RandomState instance or None, default=None
        Decides the folds, and all that is random in each autoencoder and score.
    verbose : int, default=0
        Passed to joblib, which then reports how many autoencoders are fitted.

    Attributes
    ----------
    estimators_ : list of AutoencoderTransformer or VAETransformer
        The fitted autoencoders.
    autoencoder_ : AutoencoderTransformer or VAETransformer
        The first of them, by which ``transform`` and ``inverse_transform`` go.
    outlier_score_ : OutlierScore
        The resolved score; what "auto" stands for.
    offset_ : float
        ``decision_function`` is ``score_samples`` minus this.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X had any.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Faster on many rows, and indifferent to the scales of columns.
    sklearn.neighbors.LocalOutlierFactor : Better where outliers are odd only beside their neighbours.

    Notes
    -----
    Scale the columns first, as for PCA or nearest neighbours:
    ``make_pipeline(StandardScaler(), AEOutlierDetector())``.

    The scores "auto" and "neighbors", and scores joined by ``|``, have no unit: 0
    is a row in the middle of the held-out ones, -1 one that is farther out than
    nine tenths of them. The others have that of their measure.

    References
    ----------
    .. [1] P. Rousseeuw, K. Van Driessen (1999), A fast algorithm for the minimum
       covariance determinant estimator, Technometrics 41 (the core).
    .. [2] V. Vovk (2015), Cross-conformal predictors, Annals of Mathematics and
       Artificial Intelligence 74 (held-out comparison, fold by fold).
    .. [3] C. Leys, C. Ley, O. Klein, P. Bernard, L. Licata (2013), Detecting outliers:
       do not use standard deviation around the mean, use absolute deviation around
       the median, J. Experimental Social Psychology 49.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import AEOutlierDetector
    >>> rng = np.random.RandomState(0)
    >>> t = rng.uniform(-2, 2, 500)
    >>> X = np.column_stack([t, t**2, np.sin(2 * t)]) + 0.05 * rng.normal(size=(500, 3))
    >>> detector = AEOutlierDetector(robust=False, random_state=0).fit(X)
    >>> detector.predict([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]])  # 3 is usual, beside zeros it is not
    array([ 1, -1])
    """

    _parameter_constraints = {
        "autoencoder": [AutoencoderTransformer, VAETransformer, None],
        "outlier_score": [str, OutlierScore],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "robust": ["boolean"],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        autoencoder=None,
        *,
        outlier_score="auto",
        contamination="auto",
        robust=True,
        n_estimators=5,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.autoencoder = autoencoder
        self.outlier_score = outlier_score
        self.contamination = contamination
        self.robust = robust
        self.n_estimators = n_estimators
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # -- fit ----------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit the ensemble, and the threshold to the scores of X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows; with ``robust`` they may hold outliers.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The fitted detector.
        """
        X = validate_rows(self, X, reset=True)
        score = resolve(self.outlier_score, OUTLIER_SCORES, "outlier_score", OutlierScore).chosen(self.robust)
        seeds = private_random_state(self.random_state).randint(MAX_SEED, size=1 + self.n_estimators)
        splits = folds(X.shape[0], self.n_estimators, int(seeds[0]))
        self._members = Parallel(n_jobs=self.n_jobs, verbose=self.verbose)(
            delayed(FoldDetector.fit)(self.autoencoder, score, X, *split, self.robust, seed)
            for split, seed in zip(splits, seeds[1:], strict=True)
        )
        self.outlier_score_ = score
        self.estimators_ = [member.autoencoder for member in self._members]
        self.autoencoder_ = self.estimators_[0]
        scores = self._member_scores(X)
        self._training_ranks = training_ranks(scores, splits)
        self.offset_ = self._threshold(scores.mean(axis=0))
        return self

    def _threshold(self, scores: np.ndarray) -> float:
        if self.contamination != "auto":
            cut = float(np.quantile(scores, self.contamination))
        elif self._members[0].natural and self._members[0].fitted_scores[0].squared:
            cut = -(_fence(np.sqrt(-scores)) ** 2)
        else:
            cut = -_fence(-scores)
        return cut - ROUNDING * abs(cut)  # a row at the threshold is an inlier, whatever its batch

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    # -- transform --------------------------------------------------------------------

    def transform(self, X):
        """Encode rows by ``autoencoder_``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components)
            Codes.
        """
        check_is_fitted(self)
        return self.autoencoder_._transform(validate_rows(self, X))

    def inverse_transform(self, X):
        """Decode codes by ``autoencoder_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes, as ``transform`` gives them.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Reconstructed rows, in the units of X.
        """
        check_is_fitted(self)
        return self.autoencoder_.inverse_transform(X)

    @property
    def _n_features_out(self) -> int:
        return self.autoencoder_.n_components_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _fence(distances: np.ndarray) -> float:
    return float(np.median(distances) + _FENCE * median_abs_deviation(distances, scale="normal"))
