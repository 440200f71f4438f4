"""Scores of an outlier detector, its threshold, and why the oddest rows are odd."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_scalar, column_or_1d

from sklearn_ae._utils.pipelines import before_last_step, last_step
from sklearn_ae._utils.transformers import kind
from sklearn_ae.inspection._cells import names_of_features
from sklearn_ae.inspection._colouring import check_y, is_discrete
from sklearn_ae.inspection._drawing import COLOURS, axes_and_figure, canvas, pyplot
from sklearn_ae.inspection._score_histogram import draw_columns, draw_scores

_NARROW = 5.5  # inches of the given axes under which the bars stand below the histogram


class OutlierScoreDisplay:
    """Histogram of scores with the threshold, and the columns that make the oddest rows odd.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`. As everywhere in
    scikit-learn, lower scores are odder.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        Score of each row.
    threshold : float, default=None
        Rows with lower scores are outliers; None draws none.
    y : array-like of shape (n_samples,), default=None
        Classes of the rows, each of which gets a histogram.
    oddest : array-like of int of shape (n_oddest,), default=None
        Row numbers of the oddest rows, the oddest first.
    contributions : array-like of shape (n_oddest, n_features), default=None
        What each column adds to how odd they are. None draws the histogram alone.
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the columns.

    Attributes
    ----------
    figure_ : matplotlib Figure
        What was drawn on.
    ax_ : matplotlib Axes
        The histogram.
    axes_ : ndarray of matplotlib Axes of shape (1 + n_oddest,)
        The histogram, and beside or below it a panel of bars for each of the oddest rows.

    See Also
    --------
    sklearn_ae.AEOutlierDetector.explain : What the contributions are.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ae import AEOutlierDetector
    >>> from sklearn_ae.inspection import OutlierScoreDisplay
    >>> wine = load_wine()
    >>> detector = AEOutlierDetector(n_estimators=1, random_state=0)
    >>> detector = make_pipeline(StandardScaler(), detector).fit(wine.data)
    >>> display = OutlierScoreDisplay.from_estimator(
    ...     detector, wine.data, feature_names=wine.feature_names
    ... )
    >>> plt.close(display.figure_)
    """

    def __init__(
        self, scores, *, threshold=None, y=None, oddest=None, contributions=None, feature_names=None
    ):
        self.scores = scores
        self.threshold = threshold
        self.y = y
        self.oddest = oddest
        self.contributions = contributions
        self.feature_names = feature_names

    @classmethod
    def from_estimator(cls, detector, X, y=None, *, feature_names=None, n_columns=8, n_oddest=1, ax=None):
        """Score rows and draw the scores.

        Parameters
        ----------
        detector : object
            Fitted outlier detector with ``score_samples``, or a pipeline that ends in one.
            The threshold is its ``offset_``, if it has one. The columns are drawn if it
            has ``explain``, as :class:`~sklearn_ae.AEOutlierDetector` does.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            Classes of the rows, such as known outliers, each of which gets a histogram.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the columns; None takes those of a data frame.
        n_columns : int, default=8
            Columns to draw for each of the oddest rows.
        n_oddest : int, default=1
            Rows whose columns are drawn.
        ax : matplotlib Axes, default=None
            What to draw on; several panels take its place in a grid of subplots. None
            makes a figure.

        Returns
        -------
        display : OutlierScoreDisplay
            What was drawn.

        Raises
        ------
        TypeError
            If the detector has no ``score_samples``.
        ValueError
            If a parameter does not fit X.
        """
        pyplot(cls)
        check_scalar(n_oddest, "n_oddest", Integral, min_val=1)
        if not hasattr(detector, "score_samples") or isinstance(detector, type):
            raise TypeError(
                "detector must have score_samples, as fitted AEOutlierDetector and IsolationForest do; got "
                f"{kind(detector)}."
            )
        scores = np.asarray(detector.score_samples(X))
        oddest = np.argsort(scores, kind="stable")[:n_oddest]
        contributions, names = _explained(detector, X, oddest, feature_names)
        threshold = getattr(last_step(detector), "offset_", None)
        display = cls(
            scores,
            threshold=None if threshold is None else float(threshold),
            y=_classes(y, len(scores)),
            oddest=oddest,
            contributions=contributions,
            feature_names=names,
        )
        return display.plot(ax, n_columns=n_columns)

    @classmethod
    def from_predictions(
        cls,
        scores,
        threshold=None,
        y=None,
        contributions=None,
        *,
        feature_names=None,
        n_columns=8,
        n_oddest=1,
        ax=None,
    ):
        """Draw given scores.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            Score of each row; lower is odder.
        threshold : float, default=None
            Rows with lower scores are outliers; None draws none.
        y : array-like of shape (n_samples,), default=None
            Classes of the rows, each of which gets a histogram.
        contributions : array-like of shape (n_samples, n_features), default=None
            What each column adds to how odd each row is, as ``explain`` tells. None
            draws the histogram alone.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the columns.
        n_columns : int, default=8
            Columns to draw for each of the oddest rows.
        n_oddest : int, default=1
            Rows whose columns are drawn.
        ax : matplotlib Axes, default=None
            What to draw on; several panels take its place in a grid of subplots. None
            makes a figure.

        Returns
        -------
        display : OutlierScoreDisplay
            What was drawn.

        Raises
        ------
        ValueError
            If the parameters do not fit each other.
        """
        pyplot(cls)
        check_scalar(n_oddest, "n_oddest", Integral, min_val=1)
        scores = np.asarray(column_or_1d(scores), dtype=float)
        oddest = np.argsort(scores, kind="stable")[:n_oddest]
        names = None
        if contributions is not None:
            if np.ndim(contributions) != 2 or len(contributions) != len(scores):
                raise ValueError(
                    f"contributions must have a row for each of the {len(scores)} scores and a place for "
                    f"each column; got shape {np.shape(contributions)}."
                )
            names = names_of_features(feature_names, np.shape(contributions)[1], contributions)
            contributions = np.asarray(contributions, dtype=float)[oddest]
        display = cls(
            scores,
            threshold=threshold,
            y=_classes(y, len(scores)),
            oddest=oddest,
            contributions=contributions,
            feature_names=names,
        )
        return display.plot(ax, n_columns=n_columns)

    def plot(self, ax=None, *, n_columns=8):
        """Draw the histogram and the bars.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on; several panels take its place in a grid of subplots. None
            makes a figure.
        n_columns : int, default=8
            Columns to draw for each of the oddest rows.

        Returns
        -------
        display : OutlierScoreDisplay
            This object.
        """
        check_scalar(n_columns, "n_columns", Integral, min_val=1)
        scores = np.asarray(self.scores)
        narrow = ax is not None and ax.get_window_extent().width < _NARROW * ax.figure.dpi
        self._make_axes(ax, n_columns, narrow)
        draw_scores(self.ax_, scores, self.threshold, None if self.y is None else np.asarray(self.y))
        for i, bars in enumerate(self.axes_[1:]):
            contributions = np.asarray(self.contributions[i])
            names = names_of_features(self.feature_names, len(contributions))
            draw_columns(bars, contributions, names, n_columns, narrow)
            bars.set_title(f"Why row {self.oddest[i]} is odd")
        return self

    def _make_axes(self, ax: Any, n_columns: int, narrow: bool) -> None:
        """The histogram, on its own or with the panels of bars on its right."""
        n = 0 if self.contributions is None else len(self.contributions)
        if n == 0:
            self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=(7, 4.2))
            self.axes_ = np.array([self.ax_])
            return
        height = max(4.2, n * (1.0 + 0.25 * n_columns))
        panel = canvas(self, ax, figsize=(11, min(height, 14)))
        self.axes_ = np.array(_below(panel, n) if narrow else _beside(panel, n))
        self.ax_, self.figure_ = self.axes_[0], panel if ax is None else ax.figure


def _beside(panel: Any, n: int) -> list[Any]:
    """The histogram on the left and n panels on the right."""
    grid = panel.add_gridspec(n, 2, width_ratios=(1.35, 1), hspace=0.2 if n > 1 else None)
    return [panel.add_subplot(grid[:, 0]), *(panel.add_subplot(grid[i, 1]) for i in range(n))]


def _below(panel: Any, n: int) -> list[Any]:
    room = {"hspace": 0.9} if panel.get_layout_engine() is None else {}
    return list(panel.subplots(n + 1, 1, gridspec_kw=room))


def _classes(y: Any, n: int) -> np.ndarray | None:
    if y is None:
        return None
    y = check_y(y, n)
    n_classes = len(np.unique(y))
    if not is_discrete(y) or n_classes > len(COLOURS):
        raise ValueError(
            f"y must hold at most {len(COLOURS)} classes, each of which gets a histogram; it has {n_classes} "
            "different values. Leave y out, or join classes."
        )
    return y


def _explained(detector: Any, X: Any, oddest: np.ndarray, feature_names: Any) -> tuple[Any, Any]:
    """Contributions of the columns to the oddest rows and their names; None without ``explain``."""
    last = last_step(detector)
    if not hasattr(last, "explain"):
        return None, None
    rows = before_last_step(detector, X)
    rows = rows.iloc[oddest] if hasattr(rows, "iloc") else _indexable(rows)[oddest]
    contributions = np.asarray(last.explain(rows))
    n = contributions.shape[1]
    return contributions, names_of_features(feature_names, n, rows, last, X)


def _indexable(rows: Any) -> Any:
    return rows if hasattr(rows, "shape") else np.asarray(rows)
