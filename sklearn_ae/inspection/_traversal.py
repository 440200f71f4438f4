"""Decoded traversals of the components of a latent space."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.parameters import index
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import check_decoder
from sklearn_ae.inspection._cells import (
    check_kind,
    format_number,
    format_values,
    infer_image_shape,
    resolve_feature_names,
    resolve_kind,
    sample_options,
)
from sklearn_ae.inspection._drawing import axes_and_figure, literal, pyplot
from sklearn_ae.inspection._walks import DRAWINGS, Labels
from sklearn_ae.latent import traverse

_MAX_COMPONENTS = 10  # components by default
_MAX_LINES = 40  # lines of all heat maps by default, unless a single component has more


class TraversalDisplay:
    """Decoded codes in which one component after the other is varied.

    There is one row per component, in which its value increases from left to right. The
    other components are fixed, at their medians or at the code of a sample. Rows in which
    nothing changes are components that the decoder does not use.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    samples : ndarray of shape (n_shown, n_steps, n_features)
        Decoded samples, as returned by :func:`~sklearn_ae.latent.traverse`.
    values : array-like of shape (n_steps,) or (n_shown, n_steps)
        Values of the components, in the units of the code.
    components : sequence of int of length n_shown, default=None
        Indices of the components. If None, the first ones.
    levels : array-like of shape (n_steps,), default=None
        Levels of the quantiles that the values are, from 0 to 1. If None, the columns are
        labelled by the values.
    n_components : int, default=None
        Number of components of the codes, for the title.
    image_shape : tuple of (height, width) or (channels, height, width), default=None
        Shape of a sample as an image.
    kind : {"auto", "image", "curve", "heatmap"}, default="auto"
        How samples are drawn. "auto" uses "image" if ``image_shape`` is given, otherwise
        "curve" for more than 30 features and "heatmap" for fewer. A heat map has one line
        per feature, coloured from its minimum to its maximum.
    feature_names : sequence of str, default=None
        Names of the features for the heat map. If None, x0, x1, ...
    name : str, default=None
        Name of the model for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure with the display.
    ax_ : matplotlib Axes
        Axes with the display.
    axes_ : ndarray of shape (1, 1)
        Array that holds ``ax_``.
    images_ : list of AxesImage
        For images and heat maps, one per component.
    lines_ : list of LineCollection
        For curves, one per component.

    See Also
    --------
    sklearn_ae.latent.traverse : Compute the traversals.
    LatentGridDisplay : Two components varied together.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.inspection import TraversalDisplay
    >>> from sklearn_ae.latent import traverse
    >>> X = load_digits().data
    >>> values = [-20, 0, 20]
    >>> samples = traverse(PCA(4).fit(X), X[0], [0, 1, 2, 3], values)
    >>> TraversalDisplay(samples=samples, values=values, image_shape=(8, 8)).plot()
    <...>
    >>> plt.show()
    """

    def __init__(
        self,
        *,
        samples: np.ndarray,
        values: ArrayLike,
        components: Any = None,
        levels: ArrayLike | None = None,
        n_components: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        kind: str = "auto",
        feature_names: Any = None,
        name: str | None = None,
    ):
        self.samples = samples
        self.values = values
        self.components = components
        self.levels = levels
        self.n_components = n_components
        self.image_shape = image_shape
        self.kind = kind
        self.feature_names = feature_names
        self.name = name

    @classmethod
    @numpy_only()
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        x: Any = None,
        components: Any = None,
        values: ArrayLike | None = None,
        n_steps: int = 10,
        quantile_range: tuple[float, float] = (0.05, 0.95),
        image_shape: tuple[int, ...] | None = None,
        kind: str = "auto",
        feature_names: Any = None,
        name: str | None = None,
        title: str | None = None,
        ax: Any = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> TraversalDisplay:
        """Vary each component of a code and plot the decoded codes.

        Parameters
        ----------
        estimator : object
            Fitted transformer with ``inverse_transform``.
        X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
            Samples whose codes determine the values and the medians of the components,
            such as the training samples. If None, those of the standard normal prior of
            models that have one, such as ``VAETransformer``.
        x : {array-like, sparse matrix} of shape (n_features,) or (1, n_features), default=None
            A single sample, whose code is varied. If None, the medians are varied.
        components : int or sequence of int, default=None
            Indices of the components to vary, from 0. If None, the first ten at most, and
            for heat maps as many as have 40 lines.
        values : array-like of shape (n_steps,), default=None
            Values of the components, in the units of the code. If None, quantiles of each
            component.
        n_steps : int, default=10
            Number of quantiles, at equal distances of probability.
        quantile_range : pair of float, default=(0.05, 0.95)
            Lowest and highest quantile.
        image_shape : tuple of (height, width) or (channels, height, width), default=None
            Shape of a sample as an image. If None, that of a convolutional network.
        kind : {"auto", "image", "curve", "heatmap"}, default="auto"
            How samples are drawn. "auto" uses "image" if there is an ``image_shape``,
            otherwise "curve" for more than 30 features and "heatmap" for fewer.
        feature_names : sequence of str, default=None
            Names of the features. If None, those of a data frame, or x0, x1, ...
        name : str, default=None
            Name of the model for the title. If None, the name of its class.
        title : str, default=None
            Title. If None, it names the model.
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.
        im_kwargs : dict, default=None
            Options of ``imshow``, such as ``cmap``, for images and heat maps.
        line_kwargs : dict, default=None
            Options of the ``LineCollection`` of curves, such as ``linewidth``.

        Returns
        -------
        display : TraversalDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If a parameter is out of range, or X is None and the model has no prior.
        TypeError
            If the estimator lacks ``transform`` or ``inverse_transform``.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits, load_iris
        >>> from sklearn.decomposition import PCA
        >>> from sklearn_ae.inspection import TraversalDisplay
        >>> X = load_digits().data
        >>> TraversalDisplay.from_estimator(PCA(6).fit(X), X, image_shape=(8, 8))
        <...>
        >>> iris = load_iris(as_frame=True).data
        >>> TraversalDisplay.from_estimator(PCA(2).fit(iris), iris, x=iris.iloc[0], values=[-2, 0, 2])
        <...>
        >>> plt.show()
        """
        pyplot(cls)
        check_scalar(n_steps, "n_steps", Integral, min_val=2)
        check_decoder(estimator, "estimator")
        check_kind(kind)
        if getattr(last_step(estimator), "n_components_", None) == 0:
            raise ValueError("estimator has no components (n_components=0), and hence none to vary.")
        options = {"X": X, "n_steps": n_steps, "quantile_range": quantile_range, "return_codes": True}
        first, code = traverse(estimator, x, 0, values, **options)
        n_components = code.shape[-1]
        if components is None:
            shape = infer_image_shape(estimator, image_shape, first.shape[1])
            components = _default_components(resolve_kind(kind, shape, first.shape[1]), first, code)
        shown = [index(c, n_components, "components") for c in np.ravel(components).tolist()]
        if not shown:
            raise ValueError("components must hold at least one index.")
        samples, codes = traverse(estimator, x, shown, values, **options)
        n_features = samples.shape[-1]
        display = cls(
            samples=samples,
            values=np.stack([of_row[:, c] for of_row, c in zip(codes, shown, strict=True)]),
            components=shown,
            levels=np.linspace(*quantile_range, n_steps) if values is None else None,
            n_components=codes.shape[-1],
            image_shape=infer_image_shape(estimator, image_shape, n_features),
            kind=kind,
            feature_names=resolve_feature_names(feature_names, n_features, X, estimator),
            name=name or type(last_step(estimator)).__name__,
        )
        return display.plot(ax, title=title, im_kwargs=im_kwargs, line_kwargs=line_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        title: str | None = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> TraversalDisplay:
        """Plot the traversals.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.
        title : str, default=None
            Title. If None, it names the model.
        im_kwargs : dict, default=None
            Options of ``imshow``, such as ``cmap``, for images and heat maps.
        line_kwargs : dict, default=None
            Options of the ``LineCollection`` of curves, such as ``linewidth``.

        Returns
        -------
        display : TraversalDisplay
            The display itself.
        """
        pyplot(self)
        kind = resolve_kind(self.kind, self.image_shape, self.samples.shape[-1])
        drawing = DRAWINGS[kind](
            self.samples, self._labels(), names=self.feature_names, image_shape=self.image_shape
        )
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=drawing.figsize)
        drawn = drawing.draw(self.ax_, sample_options(kind, im_kwargs, line_kwargs))
        self.images_ = [] if kind == "curve" else drawn
        self.lines_ = drawn if kind == "curve" else []
        self.ax_.set_title(self._title if title is None else title)
        self.axes_ = np.array([[self.ax_]])
        return self

    @property
    def _title(self) -> str:
        title = f"Traversal of {literal(self.name)}" if self.name else "Traversal"
        n = len(self.samples)
        is_part = self.n_components is not None and n < self.n_components
        return f"{title} ({n} of {self.n_components} components)" if is_part else title

    def _labels(self) -> Labels:
        """Name the components, and the steps by their quantiles or their values."""
        n, n_steps = np.shape(self.samples)[:2]
        components = range(n) if self.components is None else self.components
        names = [f"Component {c + 1}" for c in components]
        values = np.broadcast_to(np.asarray(self.values, dtype=float), (n, n_steps))
        if self.levels is None:
            return Labels(names, format_values(values[0]), "Value of the component")
        ranges = [f"{format_number(v[0])} to {format_number(v[-1])}" for v in values]
        walks = [f"{name}\n{of_name}" for name, of_name in zip(names, ranges, strict=True)]
        steps = [_percent(level) for level in np.asarray(self.levels)]
        return Labels(
            [walk.replace("-", "\N{MINUS SIGN}") for walk in walks], steps, "Quantile of the component"
        )


def _percent(level: float) -> str:
    """Return a level in per cent, without decimals unless it has exactly one."""
    exact = np.isclose(1000 * level, np.round(1000 * level), rtol=0, atol=1e-9)
    return f"{100 * level:.3g} %" if exact else f"{100 * level:.0f} %"


def _default_components(kind: str, samples: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the indices of the components to show."""
    n = _MAX_COMPONENTS if kind != "heatmap" else max(1, _MAX_LINES // samples.shape[1])
    return np.arange(min(n, _MAX_COMPONENTS, codes.shape[1]))
