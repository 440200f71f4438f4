"""Codes of rows as points."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array

from sklearn_ae._utils.arrays import dense
from sklearn_ae._utils.parameters import index
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import kind
from sklearn_ae.inspection._colouring import check_y, colouring
from sklearn_ae.inspection._drawing import axes_and_figure, canvas, plain, pyplot

_MOST_COMPONENTS = 5  # of a scatter matrix that nobody asked for
_PANEL = 0.35  # size of points in a panel, compared with that in a figure
_SCORE = "Log-likelihood (nats)"


class LatentSpaceDisplay:
    """Codes of rows, coloured by a target or by how likely the rows are.

    Two components make a scatter plot, more a scatter matrix with histograms on the
    diagonal. One component makes a strip per class, a scatter plot against a continuous
    target, or a histogram where there is no target.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_components)
        Codes, as ``transform`` gives them.
    y : array-like of shape (n_samples,), default=None
        What the points are coloured by. Strings, booleans and at most 20 different whole
        numbers are classes, with a legend; other numbers are continuous, with a colour bar.
    components : int or sequence of int, default=None
        Indices of the components to show, from 0. None takes the first five at most.
    y_name : str, default=None
        What y is: title of the legend or label of the colour bar. None takes "Class" or "y".
    name : str, default=None
        Name of the model for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure with the display.
    ax_ : matplotlib Axes
        Axes with the display; of a scatter matrix, the first panel.
    axes_ : ndarray of Axes of shape (n_shown, n_shown), or (1, 1) for one or two components
        Panels. Those above the diagonal are empty.
    scatters_ : list of PathCollection
        Points of the last panel, one collection per class.

    See Also
    --------
    LatentGridDisplay : What the codes of a plane are decoded to.
    InterpolationDisplay : What lies between two rows.

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

    def __init__(self, *, codes, y=None, components=None, y_name=None, name=None):
        self.codes = codes
        self.y = y
        self.components = components
        self.y_name = y_name
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        components=None,
        color_by="y",
        y_name=None,
        name=None,
        ax=None,
        scatter_kwargs=None,
    ):
        """Plot the codes that a fitted transformer gives to rows.

        Parameters
        ----------
        estimator : object
            Fitted transformer, such as PCA, an autoencoder or a pipeline.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            Target: classes or numbers.
        components : int or sequence of int, default=None
            Indices of the components to show, from 0. None takes the first five at most.
        color_by : {"y", "score"}, default="y"
            "score" colours by the log-likelihood of each row, in nats, as
            ``estimator.score_samples`` gives it; y is not shown then.
        y_name : str, default=None
            What y is. None takes the name of a Series, else "Class" or "y".
        name : str, default=None
            Name of the model for the title. None takes that of its class.
        ax : matplotlib Axes, default=None
            Axes to plot on. None makes a figure.
        scatter_kwargs : dict, default=None
            Options for ``matplotlib.pyplot.scatter``, such as ``s`` and ``alpha``.

        Returns
        -------
        display : LatentSpaceDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If y and X differ in length, a component does not exist, or color_by is not known.
        TypeError
            If the estimator has no transform, or no score_samples for color_by="score".

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
        codes = _codes(estimator, X)
        if color_by == "score":
            y, y_name = np.asarray(estimator.score_samples(X)), _SCORE
        return cls.from_predictions(
            codes,
            y,
            components=components,
            y_name=y_name,
            name=name or type(last_step(estimator)).__name__,
            ax=ax,
            scatter_kwargs=scatter_kwargs,
        )

    @classmethod
    def from_predictions(
        cls, codes, y=None, *, components=None, y_name=None, name=None, ax=None, scatter_kwargs=None
    ):
        """Plot codes that are at hand.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_components) or (n_samples,)
            Codes.
        y : array-like of shape (n_samples,), default=None
            Target: classes or numbers.
        components : int or sequence of int, default=None
            Indices of the components to show, from 0. None takes the first five at most.
        y_name : str, default=None
            What y is. None takes the name of a Series, else "Class" or "y".
        name : str, default=None
            Name of the model for the title.
        ax : matplotlib Axes, default=None
            Axes to plot on. None makes a figure.
        scatter_kwargs : dict, default=None
            Options for ``matplotlib.pyplot.scatter``, such as ``s`` and ``alpha``.

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
        codes = check_array(
            np.reshape(codes, (-1, 1)) if np.ndim(codes) == 1 else codes, dtype="numeric", input_name="codes"
        )
        y = None if y is None else check_y(y, len(codes))
        display = cls(codes=codes, y=y, components=components, y_name=y_name, name=name)
        return display.plot(ax, scatter_kwargs=scatter_kwargs)

    def plot(self, ax=None, *, scatter_kwargs=None):
        """Plot the codes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None makes a figure. A scatter matrix splits the axes.
        scatter_kwargs : dict, default=None
            Options for ``matplotlib.pyplot.scatter``, such as ``s`` and ``alpha``.

        Returns
        -------
        self : LatentSpaceDisplay
            The display.
        """
        pyplot(self)
        shown = _shown(self.components, self.codes.shape[1])
        points = colouring(self.y, self.y_name, len(self.codes))
        draw = {1: self._plot_line, 2: self._plot_plane}.get(len(shown), self._plot_matrix)
        draw(ax, shown, points, _scatter_options(scatter_kwargs))
        return self

    @property
    def _title(self) -> str:
        return f"Latent space of {self.name}" if self.name else "Latent space"

    def _plot_line(self, ax: Any, shown: list[int], points: Any, options: dict[str, Any]) -> None:
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=points.line_size)
        plain(self.ax_)
        self.scatters_ = points.line(self.ax_, self.codes[:, shown[0]], options)
        self.ax_.set(xlabel=f"Component {shown[0] + 1}", title=self._title)
        self.axes_ = np.array([[self.ax_]])

    def _plot_plane(self, ax: Any, shown: list[int], points: Any, options: dict[str, Any]) -> None:
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=(7.5, 6))
        plain(self.ax_)
        x, y = self.codes[:, shown].T
        self.scatters_ = points.scatter(self.ax_, x, y, options)
        points.label_points(self.ax_, x, y)
        points.explain(self.ax_, self.scatters_)
        labels = {"xlabel": f"Component {shown[0] + 1}", "ylabel": f"Component {shown[1] + 1}"}
        self.ax_.set(title=self._title, **labels)
        self.axes_ = np.array([[self.ax_]])

    def _plot_matrix(self, ax: Any, shown: list[int], points: Any, options: dict[str, Any]) -> None:
        n = len(shown)
        figure = canvas(self, ax, (1.5 + 1.8 * n, 1 + 1.7 * n))
        figure.suptitle(self._title)
        self.axes_ = figure.subplots(n, n, sharex="col", squeeze=False)
        for (i, j), panel in np.ndenumerate(self.axes_):
            if i >= j:
                self._plot_pair(panel, shown, i, j, points, options)
            else:
                panel.set_axis_off()
        points.explain_matrix(figure, self.axes_, self.scatters_)
        self.ax_ = self.axes_[0, 0]
        self.figure_ = figure if ax is None else ax.figure

    def _plot_pair(
        self, panel: Any, shown: list[int], i: int, j: int, points: Any, options: dict[str, Any]
    ) -> None:
        plain(panel)
        x, y = self.codes[:, shown[j]], self.codes[:, shown[i]]
        if i == len(shown) - 1:
            panel.set_xlabel(f"Component {shown[j] + 1}")
        if i == j:  # counts of rows, which need no numbers
            points.histogram(panel, x)
            panel.yaxis.set_visible(False)
            panel.spines["left"].set_visible(False)
            return
        self.scatters_ = points.scatter(panel, x, y, options, room=_PANEL)
        panel.set_ylabel(f"Component {shown[i] + 1}")
        if j > 0:
            panel.sharey(self.axes_[i, 0])
            panel.label_outer()


def _check_estimator(estimator: Any, color_by: Any) -> None:
    name = kind(estimator)
    if not hasattr(estimator, "transform") or isinstance(estimator, type):
        raise TypeError(
            f"estimator must be a fitted transformer; got {name}. Codes from elsewhere, such as "
            "TSNE().fit_transform(X), go to LatentSpaceDisplay.from_predictions."
        )
    if color_by not in ("y", "score"):
        raise ValueError(f"color_by={color_by!r} is not known; valid strings are 'y' and 'score'.")
    if color_by == "score" and not hasattr(estimator, "score_samples"):
        raise TypeError(
            f"color_by='score' needs an estimator with score_samples, and {name} has none: use "
            "color_by='y', or a model with a likelihood, such as PCA or VAETransformer."
        )


def _codes(estimator: Any, X: Any) -> np.ndarray:
    return check_array(dense(estimator.transform(X)), dtype="numeric", input_name="transform(X)")


def _shown(components: Any, n_components: int) -> list[int]:
    if components is None:
        return list(range(min(n_components, _MOST_COMPONENTS)))
    shown = [index(c, n_components, "components") for c in np.ravel(components).tolist()]
    if not shown or len(set(shown)) < len(shown):
        raise ValueError(f"components must hold different indices, one at least; got {components!r}.")
    return shown


def _scatter_options(scatter_kwargs: Any) -> dict[str, Any]:
    """Options under one name each, so that they replace the defaults."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.collections import PathCollection

    return normalize_kwargs(scatter_kwargs or {}, PathCollection)
