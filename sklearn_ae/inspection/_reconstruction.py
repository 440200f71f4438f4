"""Samples and their reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.transformers import check_decoder, decode, dense_samples, encode
from sklearn_ae.inspection._cells import (
    check_kind,
    infer_image_shape,
    resolve_feature_names,
    resolve_kind,
)
from sklearn_ae.inspection._drawing import artist_options, by_name, canvas, pyplot
from sklearn_ae.inspection._strips import Curves, HeatMaps, ImageStrips

_DRAWINGS: dict[str, Any] = {"image": ImageStrips, "curve": Curves, "heatmap": HeatMaps}


class ReconstructionDisplay:
    """Samples, their reconstructions by one or several models, and the residuals.

    Images are arranged in strips, one per model, on a shared grey scale. Curves are
    overlaid, in one panel per sample. Heat maps have one line per sample and one column
    per feature; features are standardised if their ranges differ by more than a factor of
    ten.

    The error of each model is that of ``reconstruction_error``: the squared error of a
    sample, summed over features, in the units of X, as a mean over all samples of X.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Original samples.
    reconstructions : dict of str to array-like of shape (n_samples, n_features)
        Reconstructions by each model.
    kind : {"auto", "image", "curve", "heatmap"}, default="auto"
        How samples are drawn. "auto" uses "image" if ``image_shape`` is given, otherwise
        "curve" for more than 30 features and "heatmap" for fewer.
    image_shape : tuple of int, default=None
        Shape of a sample as an image, (height, width) or (channels, height, width).
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the features. If they are numbers, curves use them as positions.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure with the display.
    ax_ : matplotlib Axes
        The first panel, which shows original samples.
    axes_ : ndarray of matplotlib Axes
        All panels: of shape (n_panels,), from top to bottom, for images and heat maps;
        of shape (n_drawn, 1), or (n_drawn, 2) with residuals, for curves.

    See Also
    --------
    LatentGridDisplay : Decoded codes of a plane.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.inspection import ReconstructionDisplay
    >>> X = load_digits().data
    >>> models = {f"PCA, {k} components": PCA(k).fit(X) for k in (4, 16)}
    >>> display = ReconstructionDisplay.from_estimator(models, X, image_shape=(8, 8), residuals=True)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        X: ArrayLike,
        reconstructions: Mapping[str, ArrayLike],
        *,
        kind: str = "auto",
        image_shape: tuple[int, ...] | None = None,
        feature_names: Any = None,
    ):
        self.X = X
        self.reconstructions = reconstructions
        self.kind = kind
        self.image_shape = image_shape
        self.feature_names = feature_names

    @classmethod
    @numpy_only()
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        kind: str = "auto",
        image_shape: tuple[int, ...] | None = None,
        max_samples: int = 8,
        residuals: bool = False,
        feature_names: Any = None,
        title: str | None = None,
        ax: Any = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ReconstructionDisplay:
        """Reconstruct samples and plot the first of them.

        Parameters
        ----------
        estimator : object, list of object or dict of str to object
            Fitted model, or several: transformers with ``inverse_transform``, including
            pipelines. Models in a list are named after their classes.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        kind : {"auto", "image", "curve", "heatmap"}, default="auto"
            How samples are drawn. "auto" uses "image" if ``image_shape`` is given or a
            model has a convolutional network, otherwise "curve" for more than 30 features
            and "heatmap" for fewer.
        image_shape : tuple of int, default=None
            Shape of a sample as an image, (height, width) or (channels, height, width).
            If None, it is taken from a convolutional network among the models.
        max_samples : int, default=8
            Largest number of samples to draw, the first of X. The errors are means over all
            samples.
        residuals : bool, default=False
            Whether to draw the residuals, original minus reconstruction.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the features. If None, they are taken from a data frame.
        title : str, default=None
            Title. If None, it says how many samples are shown.
        ax : matplotlib Axes, default=None
            Axes in a grid of subplots, which the panels replace. If None, a new figure is
            created.
        im_kwargs : dict, default=None
            Options of ``imshow``, such as ``cmap``, for images and heat maps; the colours and
            limits of residuals are fixed.
        line_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.plot``, such as ``linewidth``, for the curves of
            reconstructions and residuals.

        Returns
        -------
        display : ReconstructionDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If a model lacks ``transform`` or ``inverse_transform``.
        ValueError
            If a parameter does not fit X.
        """
        pyplot(cls)
        check_kind(kind)
        models = by_name(estimator)
        for model in models.values():
            check_decoder(model, "estimator")
        reconstructions = {name: _reconstruct(model, X) for name, model in models.items()}
        n_features = next(iter(reconstructions.values())).shape[1]
        if kind in ("auto", "image"):
            shapes = (infer_image_shape(model, image_shape, n_features) for model in models.values())
            image_shape = next((shape for shape in shapes if shape is not None), None)
        return cls.from_predictions(
            X,
            reconstructions,
            kind=kind,
            image_shape=image_shape,
            max_samples=max_samples,
            residuals=residuals,
            feature_names=feature_names,
            title=title,
            ax=ax,
            im_kwargs=im_kwargs,
            line_kwargs=line_kwargs,
        )

    @classmethod
    @numpy_only()
    def from_predictions(
        cls,
        X: Any,
        X_hat: Any,
        *,
        kind: str = "auto",
        image_shape: tuple[int, ...] | None = None,
        max_samples: int = 8,
        residuals: bool = False,
        feature_names: Any = None,
        title: str | None = None,
        ax: Any = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ReconstructionDisplay:
        """Plot samples and given reconstructions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        X_hat : array-like of shape (n_samples, n_features) or dict of str to array-like
            Their reconstructions, or those of several models by name.
        kind : {"auto", "image", "curve", "heatmap"}, default="auto"
            How samples are drawn. "auto" uses "image" if ``image_shape`` is given,
            otherwise "curve" for more than 30 features and "heatmap" for fewer.
        image_shape : tuple of int, default=None
            Shape of a sample as an image, (height, width) or (channels, height, width).
        max_samples : int, default=8
            Largest number of samples to draw, the first of X. The errors are means over all
            samples.
        residuals : bool, default=False
            Whether to draw the residuals, original minus reconstruction.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the features. If None, they are taken from a data frame.
        title : str, default=None
            Title. If None, it says how many samples are shown.
        ax : matplotlib Axes, default=None
            Axes in a grid of subplots, which the panels replace. If None, a new figure is
            created.
        im_kwargs : dict, default=None
            Options of ``imshow``, such as ``cmap``, for images and heat maps; the colours and
            limits of residuals are fixed.
        line_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.plot``, such as ``linewidth``, for the curves of
            reconstructions and residuals.

        Returns
        -------
        display : ReconstructionDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If a parameter does not fit X.
        """
        pyplot(cls)
        named = X_hat if isinstance(X_hat, Mapping) else {"Reconstruction": X_hat}
        samples = dense_samples(X)
        display = cls(
            samples,
            {name: _check_reconstruction(values, name, samples.shape) for name, values in named.items()},
            kind=kind,
            image_shape=image_shape,
            feature_names=resolve_feature_names(feature_names, samples.shape[1], X),
        )
        return display.plot(
            ax,
            max_samples=max_samples,
            residuals=residuals,
            title=title,
            im_kwargs=im_kwargs,
            line_kwargs=line_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        max_samples: int = 8,
        residuals: bool = False,
        title: str | None = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ReconstructionDisplay:
        """Plot the first samples and their reconstructions.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes in a grid of subplots, which the panels replace. If None, a new figure is
            created.
        max_samples : int, default=8
            Largest number of samples to draw, the first of X. The errors are means over all
            samples.
        residuals : bool, default=False
            Whether to draw the residuals, original minus reconstruction.
        title : str, default=None
            Title. If None, it says how many samples are shown.
        im_kwargs : dict, default=None
            Options of ``imshow``, such as ``cmap``, for images and heat maps; the colours and
            limits of residuals are fixed.
        line_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.plot``, such as ``linewidth``, for the curves of
            reconstructions and residuals.

        Returns
        -------
        display : ReconstructionDisplay
            The display itself.

        Raises
        ------
        ValueError
            If a parameter does not fit X.
        """
        check_scalar(max_samples, "max_samples", Integral, min_val=1)
        n_samples, n_features = np.shape(self.X)
        kind = resolve_kind(self.kind, self.image_shape, n_features)
        is_curve = kind == "curve"
        options = artist_options(line_kwargs, "line") if is_curve else artist_options(im_kwargs, "image")
        drawing = _DRAWINGS[kind](self, min(max_samples, n_samples), options, residuals=residuals)
        panel = canvas(self, ax, drawing.figsize)
        self.axes_ = drawing.draw(panel)
        panel.suptitle(drawing.title if title is None else title)
        self.ax_ = self.axes_.flat[0]
        self.figure_ = panel if ax is None else ax.figure
        return self


def _reconstruct(model: Any, X: Any) -> np.ndarray:
    codes = encode(model, X, "X")
    return decode(model, codes, codes.dtype)


def _check_reconstruction(values: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a reconstruction as a numeric array of the given shape."""
    X_hat = dense_samples(values, "X_hat")
    if X_hat.shape != shape:
        raise ValueError(
            f"X_hat must have the shape of X, {shape}; the reconstruction {name!r} has {X_hat.shape}."
        )
    return X_hat
