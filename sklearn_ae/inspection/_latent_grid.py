"""What the plane of two components is decoded to."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from sklearn.utils import check_scalar

from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import check_decoder
from sklearn_ae.inspection._cells import (
    check_kind,
    chosen_kind,
    names_of_features,
    shape_of_images,
)
from sklearn_ae.inspection._drawing import pyplot
from sklearn_ae.inspection._planes import CurvePlane, HeatMapPlane, PicturePlane
from sklearn_ae.latent import latent_grid

_DRAWINGS: dict[str, Any] = {"image": PicturePlane, "curve": CurvePlane, "heatmap": HeatMapPlane}


class LatentGridDisplay:
    """Decoded codes of a grid in the plane of two components.

    Pictures and curves stand where their codes are: the first component grows to the
    right, the second one upwards. Of a table, each column is a heat map over the plane.
    The other components stay at their medians, or at 0 where the grid comes from a prior.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    rows : ndarray of shape (n_steps, n_steps, n_features)
        Decoded rows; the first axis starts at the largest value of the second component.
    grid_values : pair of ndarray of shape (n_steps,)
        Values of the first component, ascending, and of the second one, descending, as
        :func:`~sklearn_ae.latent.latent_grid` returns them.
    components : pair of int, default=(0, 1)
        The two components.
    image_shape : tuple of (height, width) or (channels, height, width), default=None
        Shape of a row as a picture.
    kind : {"auto", "image", "curve", "heatmap"}, default="auto"
        How rows are drawn. "auto" takes pictures where there is an image_shape, otherwise
        curves for more than 30 columns and heat maps for fewer.
    feature_names : sequence of str, default=None
        Names of the columns. None takes x0, x1, ...
    features : sequence of int or str, default=None
        Columns that get a heat map: indices or names. None takes the first 16 at most.
    name : str, default=None
        Name of the model for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure with the display.
    ax_ : matplotlib Axes
        Axes with the display; of heat maps, the first panel.
    axes_ : ndarray of Axes
        Panels of the heat maps, or ax_ alone.
    image_ : AxesImage
        All pictures as one; None for other kinds.
    lines_ : LineCollection
        All curves; None for other kinds.
    heatmaps_ : list of AxesImage
        The heat maps, interpolated to even steps of the codes; empty for other kinds.

    See Also
    --------
    sklearn_ae.latent.latent_grid : The computation.
    LatentSpaceDisplay : Where the codes of rows are.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.inspection import LatentGridDisplay
    >>> from sklearn_ae.latent import latent_grid
    >>> X = load_digits().data
    >>> grid = latent_grid(PCA(2).fit(X), n=6, X=X)
    >>> LatentGridDisplay(rows=grid.rows, grid_values=grid.grid_values, image_shape=(8, 8)).plot()
    <...>
    >>> plt.show()
    """

    def __init__(
        self,
        *,
        rows,
        grid_values,
        components=(0, 1),
        image_shape=None,
        kind="auto",
        feature_names=None,
        features=None,
        name=None,
    ):
        self.rows = rows
        self.grid_values = grid_values
        self.components = components
        self.image_shape = image_shape
        self.kind = kind
        self.feature_names = feature_names
        self.features = features
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X=None,
        *,
        n_steps=15,
        components=(0, 1),
        quantile_range=(0.05, 0.95),
        image_shape=None,
        kind="auto",
        feature_names=None,
        features=None,
        name=None,
        ax=None,
        im_kwargs=None,
        line_kwargs=None,
    ):
        """Decode a grid of codes and plot it.

        Parameters
        ----------
        estimator : object
            Fitted transformer with ``inverse_transform``, and with two components at least.
        X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
            Rows whose codes the grid is to cover, such as the training rows. None covers the
            standard normal prior of models that have one, as ``VAETransformer``.
        n_steps : int, default=15
            Points along each of the two components, in steps of equal probability.
        components : pair of int, default=(0, 1)
            The two components.
        quantile_range : pair of float, default=(0.05, 0.95)
            The lowest and the highest quantile of the codes.
        image_shape : tuple of (height, width) or (channels, height, width), default=None
            Shape of a row as a picture. None takes that of a convolutional network.
        kind : {"auto", "image", "curve", "heatmap"}, default="auto"
            How rows are drawn. "auto" takes pictures where there is an image_shape,
            otherwise curves for more than 30 columns and heat maps for fewer.
        feature_names : sequence of str, default=None
            Names of the columns. None takes those of a data frame, or x0, x1, ...
        features : sequence of int or str, default=None
            Columns that get a heat map. None takes the first 16 at most.
        name : str, default=None
            Name of the model for the title. None takes that of its class.
        ax : matplotlib Axes, default=None
            Axes to plot on. None makes a figure. Heat maps split the axes.
        im_kwargs : dict, default=None
            Options for ``imshow``, such as ``cmap``, for pictures and heat maps.
        line_kwargs : dict, default=None
            Options for the ``LineCollection`` of curves, such as ``color``.

        Returns
        -------
        display : LatentGridDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If a parameter is out of range, or X is missing where there is no prior.
        TypeError
            If the estimator has no transform and inverse_transform.

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
        n_columns = grid.rows.shape[-1]
        display = cls(
            rows=grid.rows,
            grid_values=grid.grid_values,
            components=tuple(components),
            image_shape=shape_of_images(estimator, image_shape, n_columns),
            kind=kind,
            feature_names=names_of_features(feature_names, n_columns, X, estimator),
            features=features,
            name=name or type(last_step(estimator)).__name__,
        )
        return display.plot(ax, im_kwargs=im_kwargs, line_kwargs=line_kwargs)

    def plot(self, ax=None, *, im_kwargs=None, line_kwargs=None):
        """Plot the grid.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None makes a figure. Heat maps split the axes.
        im_kwargs : dict, default=None
            Options for ``imshow``, such as ``cmap``, for pictures and heat maps.
        line_kwargs : dict, default=None
            Options for the ``LineCollection`` of curves, such as ``color``.

        Returns
        -------
        self : LatentGridDisplay
            The display.
        """
        pyplot(self)
        kind = chosen_kind(self.kind, self.image_shape, self.rows.shape[-1])
        drawing = _DRAWINGS[kind](self)
        options = dict((line_kwargs if kind == "curve" else im_kwargs) or {})
        self.figure_, self.axes_, drawn = drawing.draw(ax, options)
        self.ax_ = self.axes_[0, 0]
        self.image_ = drawn if kind == "image" else None
        self.lines_ = drawn if kind == "curve" else None
        self.heatmaps_ = drawn if kind == "heatmap" else []
        return self
