"""Scores of an outlier detector, its threshold, and the features behind the lowest scores."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar, column_or_1d

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.pipelines import before_last_step, last_step, names_before_last_step
from sklearn_ae._utils.transformers import kind
from sklearn_ae.inspection._cells import resolve_feature_names
from sklearn_ae.inspection._colouring import check_y, is_discrete
from sklearn_ae.inspection._drawing import COLOURS, artist_options, axes_and_figure, canvas, pyplot
from sklearn_ae.inspection._score_histogram import draw_contributions, draw_scores

_NARROW = 5.5  # in given axes of less width (inches), the bars are below the histogram


class OutlierScoreDisplay:
    """Histogram of outlier scores, with the features that contribute most to the lowest ones.

    As everywhere in scikit-learn, the lower the score, the more abnormal the sample.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        Score of each sample.
    threshold : float, default=None
        Samples with lower scores are outliers. If None, no threshold is drawn.
    y : array-like of shape (n_samples,), default=None
        Classes of the samples. Each class has its own histogram.
    explained : array-like of int of shape (n_explained,), default=None
        Indices of the most abnormal samples, in the order of their scores.
    contributions : array-like of shape (n_explained, n_features), default=None
        Contribution of each feature to the abnormality of these samples. If None, only the
        histogram is drawn.
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the features.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure with the display.
    ax_ : matplotlib Axes
        Axes with the histogram.
    axes_ : ndarray of matplotlib Axes of shape (1 + n_explained,)
        The histogram, and a panel of bars for each of the most abnormal samples.

    See Also
    --------
    sklearn_ae.AEOutlierDetector.explain : Compute the contributions.

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
        self,
        scores: ArrayLike,
        *,
        threshold: float | None = None,
        y: ArrayLike | None = None,
        explained: Any = None,
        contributions: Any = None,
        feature_names: Any = None,
    ):
        self.scores = scores
        self.threshold = threshold
        self.y = y
        self.explained = explained
        self.contributions = contributions
        self.feature_names = feature_names

    @classmethod
    @numpy_only()
    def from_estimator(
        cls,
        detector: Any,
        X: Any,
        y: Any = None,
        *,
        feature_names: Any = None,
        max_features: int = 8,
        n_explained: int = 1,
        title: str | None = None,
        ax: Any = None,
        hist_kwargs: dict[str, Any] | None = None,
        bar_kwargs: dict[str, Any] | None = None,
    ) -> OutlierScoreDisplay:
        """Score samples and plot the scores.

        Parameters
        ----------
        detector : object
            Fitted outlier detector with ``score_samples``, or a pipeline that ends in one.
            Its ``offset_``, if any, is the threshold. Contributions are drawn if it has
            ``explain``, as :class:`~sklearn_ae.AEOutlierDetector` does.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,), default=None
            Classes of the samples, such as known outliers. Each class has its own histogram.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the features. If None, they are taken from a data frame.
        max_features : int, default=8
            Largest number of features drawn for each of the most abnormal samples.
        n_explained : int, default=1
            Number of most abnormal samples whose contributions are drawn.
        title : str, default=None
            Title of the histogram. If None, "Outlier scores".
        ax : matplotlib Axes, default=None
            Axes to plot on; several panels replace axes in a grid of subplots. If None, a
            new figure is created.
        hist_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.hist``, such as ``bins``.
        bar_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.barh`` for the contributions, such as ``color``.

        Returns
        -------
        display : OutlierScoreDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If the detector has no ``score_samples``.
        ValueError
            If a parameter does not fit X.
        """
        pyplot(cls)
        check_scalar(n_explained, "n_explained", Integral, min_val=1)
        if not hasattr(detector, "score_samples") or isinstance(detector, type):
            raise TypeError(
                "detector must have score_samples, such as a fitted AEOutlierDetector or IsolationForest; "
                f"got {kind(detector)}."
            )
        scores = np.asarray(detector.score_samples(X))
        explained = _lowest(scores, n_explained)
        contributions, names = _explain(detector, X, explained, feature_names)
        threshold = getattr(last_step(detector), "offset_", None)
        display = cls(
            scores,
            threshold=None if threshold is None else float(threshold),
            y=_check_classes(y, len(scores)),
            explained=explained,
            contributions=contributions,
            feature_names=names,
        )
        return display.plot(
            ax, max_features=max_features, title=title, hist_kwargs=hist_kwargs, bar_kwargs=bar_kwargs
        )

    @classmethod
    @numpy_only()
    def from_predictions(
        cls,
        scores: ArrayLike,
        threshold: float | None = None,
        y: Any = None,
        contributions: Any = None,
        *,
        feature_names: Any = None,
        max_features: int = 8,
        n_explained: int = 1,
        title: str | None = None,
        ax: Any = None,
        hist_kwargs: dict[str, Any] | None = None,
        bar_kwargs: dict[str, Any] | None = None,
    ) -> OutlierScoreDisplay:
        """Plot given scores.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            Score of each sample, lower for more abnormal ones.
        threshold : float, default=None
            Samples with lower scores are outliers. If None, no threshold is drawn.
        y : array-like of shape (n_samples,), default=None
            Classes of the samples. Each class has its own histogram.
        contributions : array-like of shape (n_samples, n_features), default=None
            Contribution of each feature to the abnormality of each sample, as returned by
            ``explain``. If None, only the histogram is drawn.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the features.
        max_features : int, default=8
            Largest number of features drawn for each of the most abnormal samples.
        n_explained : int, default=1
            Number of most abnormal samples whose contributions are drawn.
        title : str, default=None
            Title of the histogram. If None, "Outlier scores".
        ax : matplotlib Axes, default=None
            Axes to plot on; several panels replace axes in a grid of subplots. If None, a
            new figure is created.
        hist_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.hist``, such as ``bins``.
        bar_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.barh`` for the contributions, such as ``color``.

        Returns
        -------
        display : OutlierScoreDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If the parameters do not fit each other.
        """
        pyplot(cls)
        check_scalar(n_explained, "n_explained", Integral, min_val=1)
        scores = np.asarray(column_or_1d(scores), dtype=float)
        explained = _lowest(scores, n_explained)
        names = None
        if contributions is not None:
            if np.ndim(contributions) != 2 or len(contributions) != len(scores):
                raise ValueError(
                    f"contributions must have shape (n_samples, n_features), with n_samples={len(scores)} as "
                    f"scores; got shape {np.shape(contributions)}."
                )
            names = resolve_feature_names(feature_names, np.shape(contributions)[1], contributions)
            contributions = np.asarray(contributions, dtype=float)[explained]
        display = cls(
            scores,
            threshold=threshold,
            y=_check_classes(y, len(scores)),
            explained=explained,
            contributions=contributions,
            feature_names=names,
        )
        return display.plot(
            ax, max_features=max_features, title=title, hist_kwargs=hist_kwargs, bar_kwargs=bar_kwargs
        )

    def plot(
        self,
        ax: Any = None,
        *,
        max_features: int = 8,
        title: str | None = None,
        hist_kwargs: dict[str, Any] | None = None,
        bar_kwargs: dict[str, Any] | None = None,
    ) -> OutlierScoreDisplay:
        """Plot the histogram and the contributions.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on; several panels replace axes in a grid of subplots. If None, a
            new figure is created.
        max_features : int, default=8
            Largest number of features drawn for each of the most abnormal samples.
        title : str, default=None
            Title of the histogram. If None, "Outlier scores".
        hist_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.hist``, such as ``bins``.
        bar_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.barh`` for the contributions, such as ``color``.

        Returns
        -------
        display : OutlierScoreDisplay
            The display itself.
        """
        check_scalar(max_features, "max_features", Integral, min_val=1)
        scores = np.asarray(self.scores)
        narrow = ax is not None and ax.get_window_extent().width < _NARROW * ax.figure.dpi
        self._make_axes(ax, max_features, narrow=narrow)
        y = None if self.y is None else np.asarray(self.y)
        draw_scores(self.ax_, scores, self.threshold, y, artist_options(hist_kwargs, "bars"))
        if title is not None:
            self.ax_.set_title(title)
        bar_options = artist_options(bar_kwargs, "bars")
        for i, bars in enumerate(self.axes_[1:]):
            contributions = np.asarray(self.contributions[i])
            names = resolve_feature_names(self.feature_names, len(contributions))
            draw_contributions(bars, contributions, names, max_features, bar_options, narrow=narrow)
            bars.set_title(f"Sample {self.explained[i]}: contributions")
        return self

    def _make_axes(self, ax: Any, max_features: int, *, narrow: bool) -> None:
        """Create the axes of the histogram, and of the bars beside or below it."""
        n = 0 if self.contributions is None else len(self.contributions)
        if n == 0:
            self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=(7, 4.2))
            self.axes_ = np.array([self.ax_])
            return
        height = max(4.2, n * (1.0 + 0.25 * max_features))
        panel = canvas(self, ax, figsize=(11, min(height, 14)))
        self.axes_ = np.array(_axes_below(panel, n) if narrow else _axes_beside(panel, n))
        self.ax_ = self.axes_[0]
        self.figure_ = panel if ax is None else ax.figure


def _lowest(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the indices of the n lowest scores, the lowest first."""
    return np.argsort(scores, kind="stable")[:n]


def _axes_beside(panel: Any, n: int) -> list[Any]:
    """Create the histogram on the left and n panels on the right."""
    grid = panel.add_gridspec(n, 2, width_ratios=(1.35, 1), hspace=0.2 if n > 1 else None)
    return [panel.add_subplot(grid[:, 0]), *(panel.add_subplot(grid[i, 1]) for i in range(n))]


def _axes_below(panel: Any, n: int) -> list[Any]:
    """Create the histogram and n panels below it."""
    room = {"hspace": 0.9} if panel.get_layout_engine() is None else {}
    return list(panel.subplots(n + 1, 1, gridspec_kw=room))


def _check_classes(y: Any, n: int) -> np.ndarray | None:
    if y is None:
        return None
    y = check_y(y, n)
    n_classes = len(np.unique(y))
    if not is_discrete(y) or n_classes > len(COLOURS):
        raise ValueError(
            f"y must hold at most {len(COLOURS)} classes, since each has its own histogram; got {n_classes} "
            "different values. Omit y, or join classes."
        )
    return y


def _explain(detector: Any, X: Any, explained: np.ndarray, feature_names: Any) -> tuple[Any, Any]:
    """Return the contributions of the features and their names, or None without ``explain``."""
    last = last_step(detector)
    if not hasattr(last, "explain"):
        return None, None
    samples = before_last_step(detector, X)
    samples = samples.iloc[explained] if hasattr(samples, "iloc") else _indexable(samples)[explained]
    contributions = np.asarray(last.explain(samples))
    if feature_names is None:
        feature_names = names_before_last_step(detector, getattr(X, "columns", None))
    return contributions, resolve_feature_names(feature_names, contributions.shape[1], samples, last)


def _indexable(X: Any) -> Any:
    return X if hasattr(X, "shape") else np.asarray(X)
