"""Scatter plots of latent codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ae._utils.arrays import check_array, dense, numpy_only
from sklearn_ae._utils.parameters import index
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import kind, transform
from sklearn_ae.inspection._colouring import Uniform, check_y, colouring
from sklearn_ae.inspection._drawing import (
    artist_options,
    axes_and_figure,
    canvas,
    literal,
    pyplot,
    style_chart,
)

_MAX_COMPONENTS = 5  # components of a scatter matrix by default
_PANEL_SCALE = 0.35  # size of the points in a panel relative to those in a figure
_SCORE = "Log-likelihood (nats)"


class LatentSpaceDisplay:
    """Latent codes, coloured by a target or by the log-likelihood of the samples.

    Two components are drawn as a scatter plot, more as a scatter matrix with histograms
    on the diagonal. One component is drawn as a strip per class, as a scatter plot
    against a continuous target, or as a histogram without a target.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_components)
        Codes, as returned by ``transform``.
    y : array-like of shape (n_samples,), default=None
        Target that determines the colours. Strings, booleans and at most 20 different
        integers are classes, with a legend; other numbers are continuous, with a colour
        bar.
    components : int or sequence of int, default=None
        Indices of the components to show, from 0. If None, the first five at most.
    y_name : str, default=None
        Name of y, for the legend or the colour bar. If None, "Class" or "y".
    name : str, default=None
        Name of the model for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure with the display.
    ax_ : matplotlib Axes
        Axes with the display; the first panel of a scatter matrix.
    axes_ : ndarray of Axes of shape (n_shown, n_shown), or (1, 1) for one or two components
        Panels. Those above the diagonal are empty.
    scatters_ : list of PathCollection
        Points of the last panel, one collection per class.

    See Also
    --------
    LatentGridDisplay : Decoded codes of a plane.
    InterpolationDisplay : Decoded codes between pairs of samples.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.inspection import LatentSpaceDisplay
    >>> X, y = load_wine(return_X_y=True)
    >>> codes = PCA(2).fit_transform(X)
    >>> LatentSpaceDisplay(codes=codes, y=y).plot()
    <...>
    >>> plt.show()
    """

    def __init__(
        self,
        *,
        codes: np.ndarray,
        y: ArrayLike | None = None,
        components: Any = None,
        y_name: str | None = None,
        name: str | None = None,
    ):
        self.codes = codes
        self.y = y
        self.components = components
        self.y_name = y_name
        self.name = name

    @classmethod
    @numpy_only()
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        components: Any = None,
        color_by: str = "y",
        y_name: str | None = None,
        name: str | None = None,
        title: str | None = None,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        hist_kwargs: dict[str, Any] | None = None,
    ) -> LatentSpaceDisplay:
        """Encode samples with a fitted transformer and plot their codes.

        Parameters
        ----------
        estimator : object
            Fitted transformer, such as PCA, an autoencoder or a pipeline.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,), default=None
            Target: classes or numbers.
        components : int or sequence of int, default=None
            Indices of the components to show, from 0. If None, the first five at most.
        color_by : {"y", "score"}, default="y"
            "score" colours the points by the log-likelihood of each sample in nats,
            ``estimator.score_samples(X)``, instead of y.
        y_name : str, default=None
            Name of y. If None, the name of a Series, otherwise "Class" or "y".
        name : str, default=None
            Name of the model for the title. If None, the name of its class.
        title : str, default=None
            Title. If None, it names the model.
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.
        scatter_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.scatter``, such as ``s`` and ``alpha``.
        hist_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.hist``, such as ``bins``, for the histograms of
            single components.

        Returns
        -------
        display : LatentSpaceDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If y and X differ in length, a component does not exist, or ``color_by`` is
            not known.
        TypeError
            If the estimator has no ``transform``, or no ``score_samples`` for
            ``color_by="score"``.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_wine
        >>> from sklearn.decomposition import PCA
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from sklearn_ae.inspection import LatentSpaceDisplay
        >>> wine = load_wine()
        >>> model = make_pipeline(StandardScaler(), PCA(3)).fit(wine.data)
        >>> LatentSpaceDisplay.from_estimator(model, wine.data, wine.target_names[wine.target])
        <...>
        >>> LatentSpaceDisplay.from_estimator(model, wine.data, color_by="score", components=(0, 1))
        <...>
        >>> plt.show()
        """
        pyplot(cls)
        _check_estimator(estimator, color_by)
        if y is not None:
            y_name = y_name or getattr(y, "name", None)
            y = check_y(y, np.shape(X)[0])
        codes = _encode(estimator, X)
        if color_by == "score":
            y = np.asarray(estimator.score_samples(X))
            y_name = _SCORE
        return cls.from_predictions(
            codes,
            y,
            components=components,
            y_name=y_name,
            name=name or type(last_step(estimator)).__name__,
            title=title,
            ax=ax,
            scatter_kwargs=scatter_kwargs,
            hist_kwargs=hist_kwargs,
        )

    @classmethod
    @numpy_only()
    def from_predictions(
        cls,
        codes: ArrayLike,
        y: Any = None,
        *,
        components: Any = None,
        y_name: str | None = None,
        name: str | None = None,
        title: str | None = None,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        hist_kwargs: dict[str, Any] | None = None,
    ) -> LatentSpaceDisplay:
        """Plot given codes.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_components) or (n_samples,)
            Codes.
        y : array-like of shape (n_samples,), default=None
            Target: classes or numbers.
        components : int or sequence of int, default=None
            Indices of the components to show, from 0. If None, the first five at most.
        y_name : str, default=None
            Name of y. If None, the name of a Series, otherwise "Class" or "y".
        name : str, default=None
            Name of the model for the title.
        title : str, default=None
            Title. If None, it names the model.
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.
        scatter_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.scatter``, such as ``s`` and ``alpha``.
        hist_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.hist``, such as ``bins``, for the histograms of
            single components.

        Returns
        -------
        display : LatentSpaceDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If y and the codes differ in length, or a component does not exist.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.decomposition import PCA
        >>> from sklearn_ae.inspection import LatentSpaceDisplay
        >>> X, y = load_diabetes(return_X_y=True)
        >>> LatentSpaceDisplay.from_predictions(PCA(2).fit_transform(X), y, y_name="Disease progression")
        <...>
        >>> plt.show()
        """
        y_name = y_name or getattr(y, "name", None)
        two_dimensional = np.reshape(codes, (-1, 1)) if np.ndim(codes) == 1 else codes
        checked = check_array(two_dimensional, dtype="numeric", input_name="codes")
        y = None if y is None else check_y(y, len(checked))
        display = cls(codes=checked, y=y, components=components, y_name=y_name, name=name)
        return display.plot(ax, title=title, scatter_kwargs=scatter_kwargs, hist_kwargs=hist_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        title: str | None = None,
        scatter_kwargs: dict[str, Any] | None = None,
        hist_kwargs: dict[str, Any] | None = None,
    ) -> LatentSpaceDisplay:
        """Plot the codes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on, which a scatter matrix replaces. If None, a new figure is
            created.
        title : str, default=None
            Title. If None, it names the model.
        scatter_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.scatter``, such as ``s`` and ``alpha``.
        hist_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.hist``, such as ``bins``, for the histograms of
            single components.

        Returns
        -------
        display : LatentSpaceDisplay
            The display itself.
        """
        pyplot(self)
        shown = _select_components(self.components, self.codes.shape[1])
        points = colouring(self.y, self.y_name, len(self.codes), artist_options(hist_kwargs, "bars"))
        draw = {1: self._plot_line, 2: self._plot_plane}.get(len(shown), self._plot_matrix)
        set_title = draw(ax, shown, points, artist_options(scatter_kwargs, "points"))
        default = f"Latent space of {literal(self.name)}" if self.name else "Latent space"
        set_title(default if title is None else title)
        return self

    def _plot_line(self, ax: Any, shown: list[int], points: Uniform, options: dict[str, Any]) -> Any:
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=points.line_size)
        style_chart(self.ax_)
        self.scatters_ = points.line(self.ax_, self.codes[:, shown[0]], options)
        self.ax_.set_xlabel(f"Component {shown[0] + 1}")
        self.axes_ = np.array([[self.ax_]])
        return self.ax_.set_title

    def _plot_plane(self, ax: Any, shown: list[int], points: Uniform, options: dict[str, Any]) -> Any:
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=(7.5, 6))
        style_chart(self.ax_)
        x, y = self.codes[:, shown].T
        self.scatters_ = points.scatter(self.ax_, x, y, options)
        points.label_points(self.ax_, x, y)
        points.add_legend(self.ax_, self.scatters_)
        self.ax_.set(xlabel=f"Component {shown[0] + 1}", ylabel=f"Component {shown[1] + 1}")
        self.axes_ = np.array([[self.ax_]])
        return self.ax_.set_title

    def _plot_matrix(self, ax: Any, shown: list[int], points: Uniform, options: dict[str, Any]) -> Any:
        n = len(shown)
        figure = canvas(self, ax, (1.5 + 1.8 * n, 1 + 1.7 * n))
        self.axes_ = figure.subplots(n, n, sharex="col", squeeze=False)
        for (i, j), panel in np.ndenumerate(self.axes_):
            if i == j:
                self._plot_diagonal(panel, shown[i], points)
            elif i > j:
                self._plot_pair(panel, (shown[j], shown[i]), points, options)
            else:
                panel.set_axis_off()
            if i > j > 0:
                panel.sharey(self.axes_[i, 0])
                panel.label_outer()
            if i == n - 1:
                panel.set_xlabel(f"Component {shown[j] + 1}")
        points.add_matrix_legend(figure, self.axes_, self.scatters_)
        self.ax_ = self.axes_[0, 0]
        self.figure_ = figure if ax is None else ax.figure
        return figure.suptitle

    def _plot_diagonal(self, panel: Any, component: int, points: Uniform) -> None:
        """Draw a histogram, whose counts need no axis."""
        style_chart(panel)
        points.histogram(panel, self.codes[:, component])
        panel.yaxis.set_visible(False)
        panel.spines["left"].set_visible(False)

    def _plot_pair(self, panel: Any, pair: tuple[int, int], points: Uniform, options: dict[str, Any]) -> None:
        style_chart(panel)
        x, y = self.codes[:, list(pair)].T
        self.scatters_ = points.scatter(panel, x, y, options, scale=_PANEL_SCALE)
        panel.set_ylabel(f"Component {pair[1] + 1}")


def _check_estimator(estimator: Any, color_by: Any) -> None:
    name = kind(estimator)
    if not hasattr(estimator, "transform") or isinstance(estimator, type):
        raise TypeError(
            f"estimator must be a fitted transformer; got {name}. To plot codes computed otherwise, such as "
            "TSNE().fit_transform(X), use LatentSpaceDisplay.from_predictions."
        )
    if color_by not in ("y", "score"):
        raise ValueError(f"color_by={color_by!r} is not known; valid strings are 'y' and 'score'.")
    if color_by == "score" and not hasattr(estimator, "score_samples"):
        raise TypeError(
            f"color_by='score' needs an estimator with score_samples, and {name} has none: use "
            "color_by='y', or a model with a likelihood, such as PCA or VAETransformer."
        )


def _encode(estimator: Any, X: Any) -> np.ndarray:
    """Return the codes of samples; unlike ``encode``, it needs no ``inverse_transform``."""
    return check_array(dense(transform(estimator, X)), dtype="numeric", input_name="transform(X)")


def _select_components(components: Any, n_components: int) -> list[int]:
    """Return the indices of the components to show."""
    if components is None:
        return list(range(min(n_components, _MAX_COMPONENTS)))
    shown = [index(c, n_components, "components") for c in np.ravel(components).tolist()]
    if not shown or len(set(shown)) < len(shown):
        raise ValueError(f"components must hold different indices, at least one; got {components!r}.")
    return shown
