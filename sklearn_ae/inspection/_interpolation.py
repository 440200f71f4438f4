"""Decoded interpolations between pairs of samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import check_decoder
from sklearn_ae.inspection._cells import (
    as_samples,
    check_kind,
    infer_image_shape,
    resolve_feature_names,
    resolve_kind,
    sample_options,
)
from sklearn_ae.inspection._drawing import axes_and_figure, literal, pyplot
from sklearn_ae.inspection._walks import DRAWINGS, Labels
from sklearn_ae.latent import interpolate


class InterpolationDisplay:
    """Decoded walks through the latent space, one pair of samples below the other.

    Each walk starts and ends at the reconstructions of two samples. The samples themselves
    are drawn at both ends, in a frame or in another colour: the difference to the adjacent
    reconstruction is what the model did not encode.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    walks : ndarray of shape (n_pairs, n_steps, n_features)
        Decoded samples, as returned by :func:`~sklearn_ae.latent.interpolate`.
    X_start, X_end : ndarray of shape (n_pairs, n_features), default=None
        Original samples at both ends. If None, they are not drawn.
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
        For images and heat maps, three per pair: start, walk and end; one per pair without
        the original samples.
    lines_ : list of LineCollection
        For curves, three per pair, or one without the original samples.

    See Also
    --------
    sklearn_ae.latent.interpolate : Compute the walks.
    LatentSpaceDisplay : Latent codes of samples.

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
        self,
        *,
        walks: np.ndarray,
        X_start: np.ndarray | None = None,
        X_end: np.ndarray | None = None,
        image_shape: tuple[int, ...] | None = None,
        kind: str = "auto",
        feature_names: Any = None,
        name: str | None = None,
    ):
        self.walks = walks
        self.X_start = X_start
        self.X_end = X_end
        self.image_shape = image_shape
        self.kind = kind
        self.feature_names = feature_names
        self.name = name

    @classmethod
    @numpy_only()
    def from_estimator(
        cls,
        estimator: Any,
        X_start: Any,
        X_end: Any,
        *,
        n_steps: int = 10,
        method: str = "linear",
        image_shape: tuple[int, ...] | None = None,
        kind: str = "auto",
        feature_names: Any = None,
        name: str | None = None,
        title: str | None = None,
        ax: Any = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> InterpolationDisplay:
        """Interpolate between pairs of samples in the latent space and plot the decoded codes.

        Parameters
        ----------
        estimator : object
            Fitted transformer with ``inverse_transform``.
        X_start, X_end : {array-like, sparse matrix} of shape (n_features,) or (n_pairs, n_features)
            Samples at which the walks start and end.
        n_steps : int, default=10
            Number of decoded samples of a walk, including both ends.
        method : {"linear", "spherical"}, default="linear"
            "linear" follows a straight line between the codes, "spherical" an arc around
            the origin; see :func:`~sklearn_ae.latent.interpolate`.
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
        display : InterpolationDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If a parameter is out of range, X_start and X_end differ in length, or
            "spherical" has to connect opposite codes.
        TypeError
            If the estimator lacks ``transform`` or ``inverse_transform``.

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
            X_start=as_samples(X_start, "X_start"),
            X_end=as_samples(X_end, "X_end"),
            image_shape=infer_image_shape(estimator, image_shape, walks.shape[-1]),
            kind=kind,
            feature_names=resolve_feature_names(feature_names, walks.shape[-1], X_start, estimator),
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
    ) -> InterpolationDisplay:
        """Plot the walks.

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
        display : InterpolationDisplay
            The display itself.
        """
        pyplot(self)
        kind = resolve_kind(self.kind, self.image_shape, self.walks.shape[-1])
        drawing = DRAWINGS[kind](
            self.walks,
            self._labels(),
            ends=None if self.X_start is None or self.X_end is None else (self.X_start, self.X_end),
            names=self.feature_names,
            image_shape=self.image_shape,
        )
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=drawing.figsize)
        drawn = drawing.draw(self.ax_, sample_options(kind, im_kwargs, line_kwargs))
        self.images_ = [] if kind == "curve" else drawn
        self.lines_ = drawn if kind == "curve" else []
        default = f"Interpolation by {literal(self.name)}" if self.name else "Interpolation"
        self.ax_.set_title(default if title is None else title)
        self.axes_ = np.array([[self.ax_]])
        return self

    def _labels(self) -> Labels:
        n, n_steps = np.shape(self.walks)[:2]
        return Labels(
            walks=[f"Pair {i + 1}" for i in range(n)] if n > 1 else [],
            steps=[f"{step / (n_steps - 1):.2g}" for step in range(n_steps)],
            axis="Position between start and end",
        )
