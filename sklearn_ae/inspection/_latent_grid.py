"""Decoded codes of a plane in the latent space."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import check_decoder
from sklearn_ae.inspection._cells import (
    check_kind,
    infer_image_shape,
    resolve_feature_names,
    resolve_kind,
    sample_options,
)
from sklearn_ae.inspection._drawing import pyplot
from sklearn_ae.inspection._planes import CurvePlane, HeatMapPlane, ImagePlane
from sklearn_ae.latent import latent_grid

_DRAWINGS: dict[str, Any] = {"image": ImagePlane, "curve": CurvePlane, "heatmap": HeatMapPlane}


class LatentGridDisplay:
    """Decoded codes of a grid in the plane of two components.

    Images and curves are drawn at the positions of their codes: the first component
    increases to the right, the second upwards. Otherwise, each feature is drawn as a heat
    map over the plane. The other components are fixed at their medians, or at 0 if the
    grid covers a prior.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    samples : ndarray of shape (n_steps, n_steps, n_features)
        Decoded samples; the first axis starts at the largest value of the second component.
    grid_values : pair of ndarray of shape (n_steps,)
        Values of the first component, ascending, and of the second, descending, as
        returned by :func:`~sklearn_ae.latent.latent_grid`.
    components : pair of int, default=(0, 1)
        Indices of the two components.
    image_shape : tuple of (height, width) or (channels, height, width), default=None
        Shape of a sample as an image.
    kind : {"auto", "image", "curve", "heatmap"}, default="auto"
        How samples are drawn. "auto" uses "image" if ``image_shape`` is given, otherwise
        "curve" for more than 30 features and "heatmap" for fewer.
    feature_names : sequence of str, default=None
        Names of the features. If None, x0, x1, ...
    features : sequence of int or str, default=None
        Indices or names of the features drawn as heat maps. If None, the first 16 at most.
    name : str, default=None
        Name of the model for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure with the display.
    ax_ : matplotlib Axes
        Axes with the display; the first panel of heat maps.
    axes_ : ndarray of Axes
        Panels of the heat maps, or ``ax_`` alone.
    image_ : AxesImage
        All images joined into one; None for other kinds.
    lines_ : LineCollection
        All curves; None for other kinds.
    heatmaps_ : list of AxesImage
        Heat maps, interpolated to even steps of the codes; empty for other kinds.

    See Also
    --------
    sklearn_ae.latent.latent_grid : Compute the grid.
    LatentSpaceDisplay : Latent codes of samples.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.inspection import LatentGridDisplay
    >>> from sklearn_ae.latent import latent_grid
    >>> X = load_digits().data
    >>> grid = latent_grid(PCA(2).fit(X), n=6, X=X)
    >>> LatentGridDisplay(samples=grid.samples, grid_values=grid.grid_values, image_shape=(8, 8)).plot()
    <...>
    >>> plt.show()
    """

    def __init__(
        self,
        *,
        samples: np.ndarray,
        grid_values: Any,
        components: tuple[int, int] = (0, 1),
        image_shape: tuple[int, ...] | None = None,
        kind: str = "auto",
        feature_names: Any = None,
        features: Any = None,
        name: str | None = None,
    ):
        self.samples = samples
        self.grid_values = grid_values
        self.components = components
        self.image_shape = image_shape
        self.kind = kind
        self.feature_names = feature_names
        self.features = features
        self.name = name

    @classmethod
    @numpy_only()
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        n_steps: int = 15,
        components: Any = (0, 1),
        quantile_range: tuple[float, float] = (0.05, 0.95),
        image_shape: tuple[int, ...] | None = None,
        kind: str = "auto",
        feature_names: Any = None,
        features: Any = None,
        name: str | None = None,
        title: str | None = None,
        ax: Any = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> LatentGridDisplay:
        """Decode a grid of codes and plot it.

        Parameters
        ----------
        estimator : object
            Fitted transformer with ``inverse_transform`` and at least two components.
        X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
            Samples whose codes the grid covers, such as the training samples. If None, the
            grid covers the standard normal prior of models that have one, such as
            ``VAETransformer``.
        n_steps : int, default=15
            Number of points along each of the two components, in steps of equal
            probability.
        components : pair of int, default=(0, 1)
            Indices of the two components.
        quantile_range : pair of float, default=(0.05, 0.95)
            Lowest and highest quantile of the codes.
        image_shape : tuple of (height, width) or (channels, height, width), default=None
            Shape of a sample as an image. If None, that of a convolutional network.
        kind : {"auto", "image", "curve", "heatmap"}, default="auto"
            How samples are drawn. "auto" uses "image" if there is an ``image_shape``,
            otherwise "curve" for more than 30 features and "heatmap" for fewer.
        feature_names : sequence of str, default=None
            Names of the features. If None, those of a data frame, or x0, x1, ...
        features : sequence of int or str, default=None
            Indices or names of the features drawn as heat maps. If None, the first 16 at
            most.
        name : str, default=None
            Name of the model for the title. If None, the name of its class.
        title : str, default=None
            Title. If None, it names the model.
        ax : matplotlib Axes, default=None
            Axes to plot on, which heat maps replace. If None, a new figure is created.
        im_kwargs : dict, default=None
            Options of ``imshow``, such as ``cmap``, for images and heat maps.
        line_kwargs : dict, default=None
            Options of the ``LineCollection`` of curves, such as ``color``.

        Returns
        -------
        display : LatentGridDisplay
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
        >>> from sklearn_ae.inspection import LatentGridDisplay
        >>> X = load_digits().data
        >>> LatentGridDisplay.from_estimator(PCA(2).fit(X), X, n_steps=8, image_shape=(8, 8))
        <...>
        >>> iris = load_iris()
        >>> pca = PCA(2).fit(iris.data)
        >>> LatentGridDisplay.from_estimator(pca, iris.data, feature_names=iris.feature_names)
        <...>
        >>> plt.show()
        """
        pyplot(cls)
        check_scalar(n_steps, "n_steps", Integral, min_val=2)
        check_decoder(estimator, "estimator")
        check_kind(kind)
        grid = latent_grid(estimator, n_steps, X=X, components=components, quantile_range=quantile_range)
        n_features = grid.samples.shape[-1]
        display = cls(
            samples=grid.samples,
            grid_values=grid.grid_values,
            components=tuple(components),
            image_shape=infer_image_shape(estimator, image_shape, n_features),
            kind=kind,
            feature_names=resolve_feature_names(feature_names, n_features, X, estimator),
            features=features,
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
    ) -> LatentGridDisplay:
        """Plot the grid.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on, which heat maps replace. If None, a new figure is created.
        title : str, default=None
            Title. If None, it names the model.
        im_kwargs : dict, default=None
            Options of ``imshow``, such as ``cmap``, for images and heat maps.
        line_kwargs : dict, default=None
            Options of the ``LineCollection`` of curves, such as ``color``.

        Returns
        -------
        display : LatentGridDisplay
            The display itself.
        """
        pyplot(self)
        kind = resolve_kind(self.kind, self.image_shape, self.samples.shape[-1])
        drawing = _DRAWINGS[kind](self, title)
        options = sample_options(kind, im_kwargs, line_kwargs)
        self.figure_, self.axes_, drawn = drawing.draw(ax, options)
        self.ax_ = self.axes_[0, 0]
        self.image_ = drawn if kind == "image" else None
        self.lines_ = drawn if kind == "curve" else None
        self.heatmaps_ = drawn if kind == "heatmap" else []
        return self
