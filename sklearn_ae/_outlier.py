"""Outlier detection: an ensemble of autoencoders, each with a score fitted to its training rows."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from scipy.stats import median_abs_deviation
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._autoencoder import AutoencoderTransformer
from sklearn_ae._compat import Interval, StrOptions, _fit_context
from sklearn_ae._detecting import ROUNDING, Member, folds, training_ranks
from sklearn_ae._judging import Judge
from sklearn_ae._options import resolve
from sklearn_ae._resources import MAX_SEED, private_random_state
from sklearn_ae._score_parameter import ScoreParameter
from sklearn_ae._vae import VAETransformer
from sklearn_ae._validation import validate_rows
from sklearn_ae.scores import SCORES, Score

_FENCE = 2.5  # deviations from the median to the threshold of contamination="auto"


class AEOutlierDetector(
    ScoreParameter, Judge, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
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
    score : {"auto", "reconstruction", "log_likelihood", "mahalanobis", "neighbors"} \
            or Score, default="auto"
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
    score_ : Score
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
        "score": [str, Score],
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
        score="auto",
        contamination="auto",
        robust=True,
        n_estimators=5,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.autoencoder = autoencoder
        self.score = score
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
        score = resolve(self.__dict__["score"], SCORES, "score", Score).chosen(self.robust)
        seeds = private_random_state(self.random_state).randint(MAX_SEED, size=1 + self.n_estimators)
        splits = folds(X.shape[0], self.n_estimators, int(seeds[0]))
        self._members = Parallel(n_jobs=self.n_jobs, verbose=self.verbose)(
            delayed(Member.fit)(self.autoencoder, score, X, *split, self.robust, seed)
            for split, seed in zip(splits, seeds[1:], strict=True)
        )
        self.score_ = score
        self.estimators_ = [member.autoencoder for member in self._members]
        self.autoencoder_ = self.estimators_[0]
        scores = self._member_scores(X)
        self._training_ranks = training_ranks(scores, splits)
        self.offset_ = self._threshold(scores.mean(axis=0))
        return self

    def _threshold(self, scores: np.ndarray) -> float:
        if self.contamination != "auto":
            cut = float(np.quantile(scores, self.contamination))
        elif self._members[0].natural and self._members[0].gauges[0].squared:
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
