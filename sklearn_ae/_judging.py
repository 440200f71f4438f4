"""What a fitted detector says of rows: scores, labels, p-values, and which columns are odd."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._detecting import Member, count_at_most
from sklearn_ae._validation import validate_rows


class Judge(OutlierMixin):
    """Public methods of a detector with an ensemble of members and a threshold."""

    # set by fit
    offset_: float
    _members: list[Member]
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
