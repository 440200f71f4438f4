"""Rows beside what models make of them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from sklearn_ae._utils.transformers import check_decoder, decode, encode, numeric_rows
from sklearn_ae.inspection._cells import (
    check_kind,
    chosen_kind,
    names_of_features,
    shape_of_images,
)
from sklearn_ae.inspection._drawing import by_name, canvas, pyplot
from sklearn_ae.inspection._strips import Curves, HeatMaps, ImageStrips

_DRAWINGS: dict[str, Any] = {"image": ImageStrips, "curve": Curves, "heatmap": HeatMaps}


class ReconstructionDisplay:
    """Rows, their reconstructions by one or several models, and what is left over.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`. Images stand below
    one another, one model to a line, on one grey scale. Curves lie upon one another, one
    row to a panel. Heat maps have one line to a row and one place to a column of X; where
    the columns' ranges differ by more than a factor of ten, in standard deviations.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.
    reconstructions : dict of str to array-like of shape (n_samples, n_features)
        What each model makes of them.
    kind : {"auto", "image", "curve", "heatmap"}, default="auto"
        How rows are drawn. "auto" is "image" with an ``image_shape``, else "curve" for
        more than 30 columns, else "heatmap".
    image_shape : tuple of int, default=None
        (height, width) or (channels, height, width) of a row.
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the columns. Curves take them for places on the axis if they are numbers.

    Attributes
    ----------
    figure_ : matplotlib Figure
        What was drawn on.
    ax_ : matplotlib Axes
        The first panel, that of the original rows.
    axes_ : ndarray of matplotlib Axes
        All panels: of shape (n_panels,), from top to bottom, for images and heat maps;
        for curves of shape (n_rows, 1), or (n_rows, 2) with residuals.

    See Also
    --------
    LatentGridDisplay : Decoded codes of a whole plane.

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

    def __init__(self, X, reconstructions, *, kind="auto", image_shape=None, feature_names=None):
        self.X = X
        self.reconstructions = reconstructions
        self.kind = kind
        self.image_shape = image_shape
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        kind="auto",
        image_shape=None,
        n_rows=8,
        residuals=False,
        feature_names=None,
        ax=None,
    ):
        """Reconstruct rows and draw the first of them.

        Parameters
        ----------
        estimator : object, list of object or dict of str to object
            Fitted model, or several: transformers with ``inverse_transform``, pipelines
            included. A list names them by their classes.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        kind : {"auto", "image", "curve", "heatmap"}, default="auto"
            How rows are drawn. "auto" is "image" where ``image_shape`` is given or a
            model has a convolutional network, else "curve" for more than 30 columns,
            else "heatmap".
        image_shape : tuple of int, default=None
            (height, width) or (channels, height, width) of a row. None asks the models.
        n_rows : int, default=8
            Rows to draw, the first of X. The mean squared errors are those of all rows.
        residuals : bool, default=False
            Whether to draw what is left over: original less reconstruction.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the columns; None takes those of a data frame.
        ax : matplotlib Axes, default=None
            Cell of a grid of subplots that the panels take the place of. None makes a
            figure.

        Returns
        -------
        display : ReconstructionDisplay
            What was drawn.

        Raises
        ------
        TypeError
            If a model cannot transform and transform back.
        ValueError
            If a parameter does not fit X.
        """
        pyplot(cls)
        check_kind(kind)
        models = by_name(estimator)
        for model in models.values():
            check_decoder(model, "estimator")
        reconstructions = {name: _reconstruct(model, X) for name, model in models.items()}
        n_columns = next(iter(reconstructions.values())).shape[1]
        if kind in ("auto", "image"):
            shapes = (shape_of_images(model, image_shape, n_columns) for model in models.values())
            image_shape = next((shape for shape in shapes if shape is not None), None)
        return cls.from_predictions(
            X,
            reconstructions,
            kind=kind,
            image_shape=image_shape,
            n_rows=n_rows,
            residuals=residuals,
            feature_names=feature_names,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        X,
        X_hat,
        *,
        kind="auto",
        image_shape=None,
        n_rows=8,
        residuals=False,
        feature_names=None,
        ax=None,
    ):
        """Draw rows beside given reconstructions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        X_hat : array-like of shape (n_samples, n_features) or dict of str to array-like
            Their reconstructions, or those of several models by name.
        kind : {"auto", "image", "curve", "heatmap"}, default="auto"
            How rows are drawn. "auto" is "image" with an ``image_shape``, else "curve"
            for more than 30 columns, else "heatmap".
        image_shape : tuple of int, default=None
            (height, width) or (channels, height, width) of a row.
        n_rows : int, default=8
            Rows to draw, the first of X. The mean squared errors are those of all rows.
        residuals : bool, default=False
            Whether to draw what is left over: original less reconstruction.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the columns; None takes those of a data frame.
        ax : matplotlib Axes, default=None
            Cell of a grid of subplots that the panels take the place of. None makes a
            figure.

        Returns
        -------
        display : ReconstructionDisplay
            What was drawn.

        Raises
        ------
        ValueError
            If a parameter does not fit X.
        """
        pyplot(cls)
        named = X_hat if isinstance(X_hat, Mapping) else {"Reconstruction": X_hat}
        rows = numeric_rows(X)
        display = cls(
            rows,
            {name: _rows_like(rows, values, name) for name, values in named.items()},
            kind=kind,
            image_shape=image_shape,
            feature_names=names_of_features(feature_names, rows.shape[1], X),
        )
        return display.plot(ax, n_rows=n_rows, residuals=residuals)

    def plot(self, ax=None, *, n_rows=8, residuals=False):
        """Draw the first rows and their reconstructions.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Cell of a grid of subplots that the panels take the place of. None makes a
            figure.
        n_rows : int, default=8
            Rows to draw, the first of X. The mean squared errors are those of all rows.
        residuals : bool, default=False
            Whether to draw what is left over: original less reconstruction.

        Returns
        -------
        display : ReconstructionDisplay
            This object.

        Raises
        ------
        ValueError
            If a parameter does not fit X.
        """
        check_scalar(n_rows, "n_rows", Integral, min_val=1)
        kind = chosen_kind(self.kind, self.image_shape, self.X.shape[1])
        drawing = _DRAWINGS[kind](self, min(n_rows, len(self.X)), residuals)
        panel = canvas(self, ax, drawing.figsize)
        self.axes_ = drawing.draw(panel)
        self.ax_ = self.axes_.flat[0]
        self.figure_ = panel if ax is None else ax.figure
        return self


def _reconstruct(model: Any, X: Any) -> np.ndarray:
    codes = encode(model, X, "X")
    return decode(model, codes, codes.dtype)


def _rows_like(rows: np.ndarray, values: Any, name: str) -> np.ndarray:
    given = numeric_rows(values, "X_hat")
    if given.shape != rows.shape:
        raise ValueError(
            f"X_hat must have the shape of X, {rows.shape}; the reconstruction {name!r} has {given.shape}."
        )
    return given
