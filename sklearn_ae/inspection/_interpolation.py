"""What lies between rows in the latent space."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import check_decoder
from sklearn_ae.inspection._cells import (
    check_kind,
    chosen_kind,
    names_of_features,
    rows_as_given,
    shape_of_images,
)
from sklearn_ae.inspection._drawing import axes_and_figure, pyplot
from sklearn_ae.inspection._walks import CurveWalks, HeatMapWalks, PictureWalks
from sklearn_ae.latent import interpolate

_DRAWINGS: dict[str, Any] = {"image": PictureWalks, "curve": CurveWalks, "heatmap": HeatMapWalks}


class InterpolationDisplay:
    """Decoded walks from rows to other rows, one pair below the other.

    Each walk starts and ends at the reconstructions of two rows. The rows themselves stand
    at both ends, in a frame or in another colour: what differs between them and their
    neighbours, the model has lost.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    walks : ndarray of shape (n_pairs, n_steps, n_features)
        Decoded rows, as :func:`~sklearn_ae.latent.interpolate` returns them.
    X_start, X_end : ndarray of shape (n_pairs, n_features), default=None
        The rows at both ends. None leaves them out.
    image_shape : tuple of (height, width) or (channels, height, width), default=None
        Shape of a row as a picture.
    kind : {"auto", "image", "curve", "heatmap"}, default="auto"
        How rows are drawn. "auto" takes pictures where there is an image_shape, otherwise
        curves for more than 30 columns and a heat map for fewer. In a heat map, a row of
        cells is a column of the table, coloured from its least to its largest value.
    feature_names : sequence of str, default=None
        Names of the columns for the heat map. None takes x0, x1, ...
    name : str, default=None
        Name of the model for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure with the display.
    ax_ : matplotlib Axes
        Axes with the display.
    axes_ : ndarray of shape (1, 1)
        The same.
    images_ : list of AxesImage
        For pictures and heat maps, three per pair: start, walk and end. One without originals.
    lines_ : list of LineCollection
        For curves, three per pair. One without originals.

    See Also
    --------
    sklearn_ae.latent.interpolate : The computation.
    LatentSpaceDisplay : Where the codes of rows are.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.inspection import InterpolationDisplay
    >>> from sklearn_ae.latent import interpolate
    >>> X = load_digits().data
    >>> walks = interpolate(PCA(8).fit(X), X[:3], X[3:6])
    >>> InterpolationDisplay(walks=walks, image_shape=(8, 8)).plot()
    <...>
    >>> plt.show()
    """

    def __init__(
        self, *, walks, X_start=None, X_end=None, image_shape=None, kind="auto", feature_names=None, name=None
    ):
        self.walks = walks
        self.X_start = X_start
        self.X_end = X_end
        self.image_shape = image_shape
        self.kind = kind
        self.feature_names = feature_names
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X_start,
        X_end,
        *,
        n_steps=10,
        method="linear",
        image_shape=None,
        kind="auto",
        feature_names=None,
        name=None,
        ax=None,
        im_kwargs=None,
        line_kwargs=None,
    ):
        """Walk from rows to other rows and plot what is decoded on the way.

        Parameters
        ----------
        estimator : object
            Fitted transformer with ``inverse_transform``.
        X_start, X_end : {array-like, sparse matrix} of shape (n_features,) or (n_pairs, n_features)
            Where the walks start and end.
        n_steps : int, default=10
            Rows of a walk, both ends included.
        method : {"linear", "spherical"}, default="linear"
            "linear" goes straight from code to code, "spherical" turns about the origin; see
            :func:`~sklearn_ae.latent.interpolate`.
        image_shape : tuple of (height, width) or (channels, height, width), default=None
            Shape of a row as a picture. None takes that of a convolutional network.
        kind : {"auto", "image", "curve", "heatmap"}, default="auto"
            How rows are drawn. "auto" takes pictures where there is an image_shape,
            otherwise curves for more than 30 columns and a heat map for fewer.
        feature_names : sequence of str, default=None
            Names of the columns. None takes those of a data frame, or x0, x1, ...
        name : str, default=None
            Name of the model for the title. None takes that of its class.
        ax : matplotlib Axes, default=None
            Axes to plot on. None makes a figure.
        im_kwargs : dict, default=None
            Options for ``imshow``, such as ``cmap``, for pictures and heat maps.
        line_kwargs : dict, default=None
            Options for the ``LineCollection`` of curves, such as ``linewidth``.

        Returns
        -------
        display : InterpolationDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If a parameter is out of range, the numbers of rows differ, or "spherical" meets
            opposite codes.
        TypeError
            If the estimator has no transform and inverse_transform.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.decomposition import PCA
        >>> from sklearn_ae.inspection import InterpolationDisplay
        >>> X = load_digits().data
        >>> InterpolationDisplay.from_estimator(
        ...     PCA(8).fit(X), X[:3], X[3:6], method="spherical", image_shape=(8, 8)
        ... )
        <...>
        >>> plt.show()
        """
        pyplot(cls)
        check_decoder(estimator, "estimator")
        check_kind(kind)
        walks = interpolate(estimator, X_start, X_end, n_steps, method)
        walks = walks.reshape(-1, *walks.shape[-2:])
        display = cls(
            walks=walks,
            X_start=rows_as_given(X_start, "X_start"),
            X_end=rows_as_given(X_end, "X_end"),
            image_shape=shape_of_images(estimator, image_shape, walks.shape[-1]),
            kind=kind,
            feature_names=names_of_features(feature_names, walks.shape[-1], X_start, estimator),
            name=name or type(last_step(estimator)).__name__,
        )
        return display.plot(ax, im_kwargs=im_kwargs, line_kwargs=line_kwargs)

    def plot(self, ax=None, *, im_kwargs=None, line_kwargs=None):
        """Plot the walks.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None makes a figure.
        im_kwargs : dict, default=None
            Options for ``imshow``, such as ``cmap``, for pictures and heat maps.
        line_kwargs : dict, default=None
            Options for the ``LineCollection`` of curves, such as ``linewidth``.

        Returns
        -------
        self : InterpolationDisplay
            The display.
        """
        pyplot(self)
        kind = chosen_kind(self.kind, self.image_shape, self.walks.shape[-1])
        drawing = _DRAWINGS[kind](self)
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=drawing.figsize)
        drawn = drawing.draw(self.ax_, dict((line_kwargs if kind == "curve" else im_kwargs) or {}))
        self.images_ = [] if kind == "curve" else drawn
        self.lines_ = drawn if kind == "curve" else []
        self.ax_.set_title(f"Interpolation by {self.name}" if self.name else "Interpolation")
        self.axes_ = np.array([[self.ax_]])
        return self
