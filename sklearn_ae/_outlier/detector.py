"""Outlier detection with an ensemble of autoencoders and fitted outlier scores."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, OutlierMixin, TransformerMixin
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._estimators.autoencoder import AutoencoderTransformer
from sklearn_ae._estimators.base import BaseAutoencoder, on_all_ranks, unchanged_on_error
from sklearn_ae._estimators.inference import ArrayEstimator, follows_input, with_feature_names
from sklearn_ae._estimators.lazy import lazy_for_dask
from sklearn_ae._estimators.summary import Summarized
from sklearn_ae._estimators.vae import VAETransformer
from sklearn_ae._estimators.validation import validate_samples
from sklearn_ae._options import check_nested, resolve
from sklearn_ae._outlier.ensemble import (
    ROUNDING,
    FoldDetector,
    TrainingRanks,
    make_folds,
    repeated_folds,
)
from sklearn_ae._outlier.sample_weights import copies_by_weight, with_positive_weights
from sklearn_ae._outlier.threshold import automatic_threshold
from sklearn_ae._utils.compat import Interval, StrOptions, _fit_context
from sklearn_ae._utils.namespaces import as_numpy
from sklearn_ae._utils.parallel import call_all
from sklearn_ae._utils.runtime import MAX_SEED, private_random_state
from sklearn_ae.outlier_scores import OUTLIER_SCORES, OutlierScore


@lazy_for_dask("score_samples", "pvalues", "explain", "transform", "fit_transform", "inverse_transform")
class AEOutlierDetector(
    Summarized, OutlierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ArrayEstimator
):
    """Outlier detector based on an ensemble of autoencoders.

    ::

        samples -> inlier core (if robust) -> autoencoder -> (x, x^) -> score

    Each of the ``n_estimators`` autoencoders is trained without one fold of the
    samples, and an outlier score is fitted to its training samples and their
    reconstructions. The held-out fold calibrates the score and provides the reference
    scores of ``pvalues``. The score of the detector is the mean over the ensemble.

    With ``robust=True`` the training samples may contain outliers. Each autoencoder
    and its score are then fitted to the inlier core [1]_, the samples that lie close
    together according to a robust covariance, so that outliers affect neither the
    network nor the calibration. Use ``robust=False`` if the training samples are clean
    (novelty detection).

    NaN are missing values: distances extrapolate from the observed features, and a
    missing value is unusual if the feature is missing in less than 5 % of the training
    samples.

    Parameters
    ----------
    autoencoder : AutoencoderTransformer, VAETransformer or None, default=None
        Autoencoder to clone for each fold, with another ``random_state``. None has
        ``min(16, ceil(n_features / 4))`` components (at most a quarter of its samples). It
        is linear, which equals PCA, for "auto", "neighbors" and "contrast", which networks did
        not improve on 82 datasets. For "reconstruction", "log_likelihood" and "mahalanobis",
        it has a hidden layer of 64 units and a short training of about 350 steps.
    outlier_score : {"auto", "reconstruction", "log_likelihood", "mahalanobis", "neighbors", \
            "contrast"} or OutlierScore, default="auto"
        Measure of how far out a sample is, given its reconstruction. "auto" gave the
        best results over many datasets: ``Neighbors(n_neighbors=5, max_references=500) |
        Mahalanobis(residuals=False)`` if robust, else ``Neighbors(n_neighbors=1) +
        Contrast()``. Of scores joined by ``|`` the one that ranks the sample farther out
        counts; those joined by ``+`` are added up.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Fraction of the training samples that ``predict`` labels as outliers. With "auto",
        the threshold is the fence of a box plot for skewed distributions [3]_: the median
        plus 3 times its difference to the upper quartile. It labels up to a few per cent
        of clean samples, more if the tails are heavy. Outliers are found if they are at
        most about a tenth of the samples. See the notes for details.
    robust : bool, default=True
        If True, the training samples may contain up to a quarter of outliers, scattered or
        in one or two clumps. A clump is a group of samples close to each other that is
        separated from all others along a direction. More than a tenth of the samples in a
        group that is about as wide as the others are a cluster of normal samples, and so are
        more than two groups. Single scores, which have a unit, exclude the clump but may not
        detect it with many features.
    n_estimators : int, default=5
        Number of autoencoders. With fewer than 5, each is still trained without a fifth
        of the samples.
    n_jobs : int or None, default=None
        Number of autoencoders to fit in parallel, as in ``IsolationForest``. It does not
        change the result.
    random_state : int, RandomState instance or None, default=None
        Determines the folds, and the randomness of each autoencoder and score.
    verbose : int, default=0
        If positive, print a line with the number of fitted autoencoders and the elapsed
        time whenever one is done; more than 50 prints to stdout, as joblib does.

    Attributes
    ----------
    estimators_ : list of AutoencoderTransformer or VAETransformer
        The fitted autoencoders.
    autoencoder_ : AutoencoderTransformer or VAETransformer
        The first fitted autoencoder, used by ``transform`` and ``inverse_transform``.
    outlier_score_ : OutlierScore
        The resolved score; for "auto", the selected one.
    offset_ : float
        Threshold: ``decision_function`` is ``score_samples`` minus the offset.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has feature names that are all strings.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Faster for many samples; independent of the scales of features.
    sklearn.neighbors.LocalOutlierFactor : Better for outliers that are unusual only in their neighbourhood.

    Notes
    -----
    Standardise the features first, as for PCA or nearest neighbours:
    ``make_pipeline(StandardScaler(), AEOutlierDetector())``.

    The fence of ``contamination="auto"`` is that of the calibrated scores, or of distances:
    the square roots of squared distances, and of the differences of other scores with a
    unit to the highest score. It is computed for the training samples and, for each fold,
    for the held-out samples; the farther one of the first and of the median over the folds
    counts. The upper quartile is the median of the values above the median. If fewer than
    22 % are above the median because of ties, it is their value that 11 % exceed, and if
    these are at most 11 %, they are the outliers.

    "auto", "neighbors" and scores joined by ``|`` or ``+`` are calibrated and have no unit: 0
    corresponds to the median of the held-out samples, and -1 to the tenth that is farthest
    out. The other scores have the unit of their measure.

    Missing values, NaN, are accepted by all methods, also if there are none in the training
    samples. The features are treated as jointly normal: training samples are completed by
    random draws given the observed values, other samples by the conditional mean, which
    the autoencoder encodes. Distances and squared errors are summed over the observed
    features and extrapolated, so that incomplete samples have about the scores of complete
    ones; "log_likelihood" and scores of your own use the completed sample. A missing value
    of a feature that is missing in a share p of the training samples adds
    ``-2 log(p) (1 - p / 0.05)`` to the squared distance if p is below 5 %: 13.5 if it is
    never missing in 1,000 samples. For scores that are squared errors or distances, the
    unit is that of a typical sample per feature; for log-likelihoods it is half a nat.
    A feature without any training value is ignored.

    References
    ----------
    .. [1] P. Rousseeuw, K. Van Driessen (1999), A fast algorithm for the minimum
       covariance determinant estimator, Technometrics 41 (the inlier core).
    .. [2] V. Vovk (2015), Cross-conformal predictors, Annals of Mathematics and
       Artificial Intelligence 74 (comparison with held-out samples, fold by fold).
    .. [3] A. Kimber (1990), Exploratory data analysis for possibly censored data from
       skewed distributions, Applied Statistics 39.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import AEOutlierDetector
    >>> rng = np.random.RandomState(0)
    >>> t = rng.uniform(-2, 2, 400)
    >>> X = np.column_stack([t, t**2, np.sin(2 * t)]) + 0.05 * rng.normal(size=(400, 3))
    >>> detector = AEOutlierDetector(robust=False, n_estimators=2, random_state=0).fit(X)
    >>> detector.predict([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]])  # 3.0 is unusual only next to zeros
    array([ 1, -1])
    """

    _remedy = "pass more samples, or an autoencoder with early_stopping=False"
    _parameter_constraints = {
        "autoencoder": [AutoencoderTransformer, VAETransformer, None],
        "outlier_score": "no_validation",  # resolve validates it
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "robust": ["boolean"],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _placed = "_place"
    _place: Any = np.empty(0)  # tensors and arrays of other libraries have one of theirs

    # Set by fit
    offset_: float
    _fold_detectors: list[FoldDetector]
    _training_ranks: TrainingRanks

    def __init__(
        self,
        autoencoder: AutoencoderTransformer | VAETransformer | None = None,
        *,
        outlier_score: str | OutlierScore = "auto",
        contamination: Literal["auto"] | float = "auto",
        robust: bool = True,
        n_estimators: int = 5,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.autoencoder = autoencoder
        self.outlier_score = outlier_score
        self.contamination = contamination
        self.robust = robust
        self.n_estimators = n_estimators
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the detector, of its autoencoder and of its score, given as objects.

        Parameters
        ----------
        **params : dict
            Parameters; ``autoencoder__max_iter`` is the parameter ``max_iter`` of ``autoencoder``.

        Returns
        -------
        self : object
            The detector.
        """
        autoencoders = {"autoencoder": AutoencoderTransformer}
        check_nested(self, params, {"autoencoder": autoencoders, "outlier_score": OUTLIER_SCORES})
        return super().set_params(**params)

    # -- fit ----------------------------------------------------------------------

    @on_all_ranks
    @_fit_context(prefer_skip_nested_validation=False)
    @unchanged_on_error
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the ensemble, and set the threshold by the scores of X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training samples. With ``robust=True`` they may contain outliers.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Non-negative weights; only their ratios matter, and None means equal weights.
            Samples are copied in proportion to their weights, and all copies of a sample are
            in the same fold. With more than three copies per sample on average, numbers of
            copies are rounded at random. Samples of weight 0 are ignored. ``contamination``
            and ``pvalues`` refer to the weighted distribution.

        Returns
        -------
        self : object
            The fitted detector.
        """
        X = validate_samples(self, X, reset=True, allow_nan=True)
        X, weights = with_positive_weights(X, as_numpy(sample_weight))
        if not sparse.issparse(X) and np.isnan(X).all():
            raise ValueError("X contains NaN only. At least one value must be known.")
        score = resolve(self.outlier_score, OUTLIER_SCORES, "outlier_score", OutlierScore)
        score = score.resolve_auto(robust=self.robust)
        seeds = private_random_state(self.random_state).randint(MAX_SEED, size=1 + self.n_estimators)
        n_copies = copies_by_weight(weights, int(seeds[0]))
        folds = repeated_folds(make_folds(X.shape[0], self.n_estimators, int(seeds[0])), n_copies)
        calls = (
            partial(FoldDetector.fit, self.autoencoder, score, X, fold, robust=self.robust, seed=seed)
            for fold, seed in zip(folds, seeds[1:], strict=True)
        )
        self._fold_detectors = call_all(calls, self.n_jobs, self.verbose)
        self.outlier_score_ = score
        self.estimators_ = [fold_detector.autoencoder for fold_detector in self._fold_detectors]
        self.autoencoder_ = self.estimators_[0]
        scores = self._fold_scores(X)
        self._training_ranks = TrainingRanks(scores, folds, n_copies)
        self.__dict__.pop("_place", None)
        self.offset_ = self._threshold(np.repeat(scores.mean(axis=0), n_copies))
        return self

    def _threshold(self, scores: np.ndarray) -> float:
        if self.contamination != "auto":
            threshold = float(np.quantile(scores, self.contamination))
        else:
            threshold = automatic_threshold(scores, self._fold_detectors)
        # Samples at the threshold are inliers, although their scores may be rounded differently in a batch.
        return threshold - ROUNDING * abs(threshold)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    def _summarized(self) -> Any:
        return self.autoencoder_

    def _summary_title(self) -> str:
        return f"AEOutlierDetector, first of {len(self.estimators_)} autoencoders"

    # -- scores and labels ------------------------------------------------------------

    @follows_input()
    @np.errstate(over="ignore")  # scores of extreme samples are infinite
    def score_samples(self, X: Any) -> np.ndarray:
        """Return the score of each sample; higher is more normal.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Mean over the ensemble. "reconstruction": negated squared error, in squared
            units of X. "mahalanobis": negated squared distance. "log_likelihood": nats.
            Other scores: see the notes of the class.
        """
        return self._fold_scores(self._validated(X)).mean(axis=0)

    def _validated(self, X: Any) -> Any:
        check_is_fitted(self)
        return validate_samples(self, X, allow_nan=True)

    def _fold_scores(self, X: Any) -> np.ndarray:
        """Return the scores by the detector of each fold, of shape (n_estimators, n_samples)."""
        return np.stack([fold_detector.score_samples(X) for fold_detector in self._fold_detectors])

    @follows_input()
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the score of each sample minus ``offset_``; negative for outliers.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
        """
        return self.score_samples(X) - self.offset_

    @follows_input()
    def predict(self, X: Any) -> np.ndarray:
        """Label samples as inliers or outliers.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers, +1 for inliers.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    @follows_input()
    def pvalues(self, X: Any) -> np.ndarray:
        """Return the conformal p-value of each sample: how rare samples are that lie as far out.

        Each autoencoder ranks a sample among its held-out fold [1]_, and the mean rank is
        compared with the mean ranks of the training samples. For samples from the same
        distribution as the training samples, the p-values are uniform on (0, 1) in steps
        of ``1 / (n_samples + 1)``. Ties count as equally far out, also with training
        samples of the same score, so that the p-values of discrete samples are not uniform but
        conservative: at most a with probability at most a. Outliers among the training samples
        make them larger, too. After adjustment by ``scipy.stats.false_discovery_control``, the
        false discovery rate is below its nominal level [2]_.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples that the detector was not fitted on.

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
        >>> from sklearn_ae import AEOutlierDetector, AutoencoderTransformer
        >>> rng = np.random.RandomState(0)
        >>> linear = AutoencoderTransformer(2, hidden_layer_sizes=())
        >>> detector = AEOutlierDetector(linear, robust=False, random_state=0).fit(rng.normal(size=(500, 3)))
        >>> p = detector.pvalues(np.vstack([rng.normal(size=(50, 3)), rng.normal(8, 1, size=(5, 3))]))
        >>> np.flatnonzero(false_discovery_control(p) <= 0.1)
        array([50, 51, 52, 53, 54])
        """
        X = self._validated(X)
        # NOTE[DIFF]: The mean of p-values that differ is concentrated around 1/2; its rank is uniform.
        scores = self._fold_scores(X)
        pairs = zip(self._fold_detectors, scores, strict=True)
        ranks = np.mean([fold_detector.rank(values) for fold_detector, values in pairs], axis=0)
        return self._training_ranks.pvalues(scores.mean(axis=0), ranks)

    @follows_input()
    @np.errstate(over="ignore", invalid="ignore")
    def explain(self, X: Any) -> np.ndarray:
        """Return the contribution of each feature to the outlyingness of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        contributions : ndarray of shape (n_samples, n_features)
            Mean over the ensemble; features with larger values make the sample more of an
            outlier. "reconstruction" and "mahalanobis": parts of the squared error or
            distance, which add up to ``-score_samples(X)``. "auto", "neighbors" and
            joined scores: parts of the score that ranks the sample farthest out;
            squared distances are divided by that of a typical sample, the share of "contrast"
            by its spread. "log_likelihood": gain in nats when the value of the feature is
            replaced by its reconstruction.
        """
        X = self._validated(X)
        mean = np.mean([fold_detector.contributions(X) for fold_detector in self._fold_detectors], axis=0)
        return np.where(np.isnan(mean), 0.0, mean)  # infinite contributions of opposite signs cancel

    # -- transform --------------------------------------------------------------------

    @follows_input()
    def transform(self, X: Any) -> np.ndarray:
        """Encode samples with ``autoencoder_``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components)
            Codes.
        """
        X = self._validated(X)
        completion = self._fold_detectors[0].completion
        return self.autoencoder_._transform(completion.fill(X)[0])

    @follows_input()
    def inverse_transform(self, X: Any) -> np.ndarray:
        """Decode codes with ``autoencoder_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes, as returned by ``transform``.

        Returns
        -------
        X_original : {ndarray, DataFrame} of shape (n_samples, n_features)
            Reconstructions, in the units of X. A DataFrame with the names of the features if
            ``set_output`` selects one.
        """
        check_is_fitted(self)
        decoded = self.autoencoder_._inverse_transform(self.autoencoder_._check_codes(X))
        return with_feature_names(self, decoded, X)

    @property
    def _n_features_out(self) -> int:
        return self.autoencoder_.n_components_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        if isinstance(self.autoencoder, BaseAutoencoder):
            tags.input_tags.positive_only = get_tags(self.autoencoder).input_tags.positive_only
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
