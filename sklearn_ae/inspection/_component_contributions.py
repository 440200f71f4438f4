"""Contributions of the features to each component, as images, curves or a heat map."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from sklearn_ae._utils.arrays import check_array, numpy_only
from sklearn_ae._utils.parameters import index
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import check_decoder
from sklearn_ae.inspection._cells import (
    check_kind,
    infer_image_shape,
    resolve_feature_names,
    resolve_kind,
)
from sklearn_ae.inspection._component_panels import CurvePanels, HeatMapPanel, ImagePanels
from sklearn_ae.inspection._contributions import check_feature_scale, component_contributions
from sklearn_ae.inspection._drawing import artist_options, literal, pyplot

_DRAWINGS: dict[str, Any] = {"image": ImagePanels, "curve": CurvePanels, "heatmap": HeatMapPanel}
_MAX_COMPONENTS = 16  # components shown by default


class ComponentContributionsDisplay:
    """Contributions of the features to each component: the loadings of linear and nonlinear models.

    Images show the contributions to each component as one image, blue for negative and red
    for positive ones. A heat map has one line per feature, the largest first, and one
    column per component. The label of a component gives the linear share of its
    contributions, averaged with their squares as weights.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    contributions : array-like of shape (n_components, n_features)
        Contributions, as ``decoder`` or ``encoder`` of :func:`component_contributions`.
    linear_share : array-like of shape (n_components, n_features), default=None
        Share of each contribution that is linear. If None, it is not shown.
    side : {"decoder", "encoder"}, default="decoder"
        Which contributions are given; determines the labels.
    feature_scale : {"per_column", "shared"}, default="per_column"
        Standard deviation of the features that is the unit; determines the labels.
    components : int or sequence of int, default=None
        Indices of the components to show, from 0. If None, the first 16 at most.
    kind : {"auto", "image", "curve", "heatmap"}, default="auto"
        How contributions are drawn. "auto" uses "image" if ``image_shape`` is given,
        otherwise "curve" for more than 30 features and "heatmap" for fewer.
    image_shape : tuple of int, default=None
        Shape of a sample as an image, (height, width) or (channels, height, width).
        Channels are averaged.
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the features. If None, x0, x1, ... If they are numbers, curves use them as
        positions.
    name : str, default=None
        Name of the model for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure with the display.
    ax_ : matplotlib Axes
        Axes with the display; the first panel of images and curves.
    axes_ : ndarray of matplotlib Axes
        Panels: of shape (n_rows, n_columns) for images, (n_shown, 1) for curves, and (1, 1)
        for a heat map.
    artists_ : list of AxesImage or Line2D
        One image or line per component, or the heat map.

    See Also
    --------
    component_contributions : Compute the contributions.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.inspection import ComponentContributionsDisplay
    >>> X = load_digits().data
    >>> pca = PCA(4).fit(X)
    >>> display = ComponentContributionsDisplay.from_estimator(
    ...     pca, X, feature_scale="shared", image_shape=(8, 8)
    ... )
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        contributions: ArrayLike,
        linear_share: ArrayLike | None = None,
        *,
        side: str = "decoder",
        feature_scale: str = "per_column",
        components: Any = None,
        kind: str = "auto",
        image_shape: tuple[int, ...] | None = None,
        feature_names: Any = None,
        name: str | None = None,
    ):
        self.contributions = contributions
        self.linear_share = linear_share
        self.side = side
        self.feature_scale = feature_scale
        self.components = components
        self.kind = kind
        self.image_shape = image_shape
        self.feature_names = feature_names
        self.name = name

    @classmethod
    @numpy_only()
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        side: str = "decoder",
        feature_scale: str = "per_column",
        components: Any = None,
        kind: str = "auto",
        image_shape: tuple[int, ...] | None = None,
        feature_names: Any = None,
        max_features: int = 20,
        max_samples: int = 2000,
        random_state: Any = None,
        name: str | None = None,
        title: str | None = None,
        ax: Any = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ComponentContributionsDisplay:
        """Compute the contributions of a fitted transformer and plot them.

        Parameters
        ----------
        estimator : object
            Fitted transformer with ``inverse_transform``, including pipelines.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            At least 2 samples, such as the training samples.
        side : {"decoder", "encoder"}, default="decoder"
            "decoder" shows how much the reconstructed features change with a component,
            "encoder" how much a component changes with the features.
        feature_scale : {"per_column", "shared"}, default="per_column"
            Unit of the features: the standard deviation of each of them, or the root of their
            mean variance. "shared" suits images, since pixels that hardly vary are then pale.
        components : int or sequence of int, default=None
            Indices of the components to show, from 0. If None, the first 16 at most.
        kind : {"auto", "image", "curve", "heatmap"}, default="auto"
            How contributions are drawn. "auto" uses "image" if there is an ``image_shape``,
            otherwise "curve" for more than 30 features and "heatmap" for fewer.
        image_shape : tuple of int, default=None
            Shape of a sample as an image, (height, width) or (channels, height, width). If
            None, that of a convolutional network. Channels are averaged.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the features. If None, those of a data frame, or x0, x1, ...
        max_features : int, default=20
            Largest number of features in a heat map, those with the largest contributions.
        max_samples : int, default=2000
            Maximum number of samples that are used, chosen at random.
        random_state : int, RandomState instance or None, default=None
            Determines the choice of samples. None uses fresh entropy.
        name : str, default=None
            Name of the model for the title. If None, the name of its class.
        title : str, default=None
            Title of the figure. If None, it names the model.
        ax : matplotlib Axes, default=None
            Axes to plot on, which images and curves replace. If None, a new figure is
            created.
        im_kwargs : dict, default=None
            Options of ``imshow`` for images and heat maps, such as ``cmap``.
        line_kwargs : dict, default=None
            Options of ``plot`` for curves, such as ``color``.

        Returns
        -------
        display : ComponentContributionsDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If the estimator lacks ``transform`` or ``inverse_transform``.
        ValueError
            If a parameter does not fit X, or the estimator has no components.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_wine
        >>> from sklearn.decomposition import PCA
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from sklearn_ae.inspection import ComponentContributionsDisplay
        >>> wine = load_wine()
        >>> pca = make_pipeline(StandardScaler(), PCA(2)).fit(wine.data)
        >>> ComponentContributionsDisplay.from_estimator(
        ...     pca, wine.data, feature_names=wine.feature_names, max_features=8
        ... )
        <...>
        >>> plt.show()
        """
        pyplot(cls)
        check_kind(kind)
        _check_side(side)
        check_decoder(estimator, "estimator")
        found = component_contributions(
            estimator,
            X,
            feature_scale=feature_scale,
            feature_names=feature_names,
            max_samples=max_samples,
            random_state=random_state,
        )
        return cls.from_predictions(
            found[side],
            found[f"{side}_linear_share"],
            side=side,
            feature_scale=feature_scale,
            components=components,
            kind=kind,
            image_shape=infer_image_shape(estimator, image_shape, found[side].shape[1]),
            feature_names=found.feature_names,
            max_features=max_features,
            name=name or type(last_step(estimator)).__name__,
            title=title,
            ax=ax,
            im_kwargs=im_kwargs,
            line_kwargs=line_kwargs,
        )

    @classmethod
    @numpy_only()
    def from_predictions(
        cls,
        contributions: Any,
        linear_share: Any = None,
        *,
        side: str = "decoder",
        feature_scale: str = "per_column",
        components: Any = None,
        kind: str = "auto",
        image_shape: tuple[int, ...] | None = None,
        feature_names: Any = None,
        max_features: int = 20,
        name: str | None = None,
        title: str | None = None,
        ax: Any = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ComponentContributionsDisplay:
        """Plot given contributions, or loadings computed otherwise.

        Parameters
        ----------
        contributions : array-like of shape (n_components, n_features)
            Contributions, as ``decoder`` or ``encoder`` of :func:`component_contributions`.
        linear_share : array-like of shape (n_components, n_features), default=None
            Share of each contribution that is linear. If None, it is not shown.
        side : {"decoder", "encoder"}, default="decoder"
            Which contributions are given; determines the labels.
        feature_scale : {"per_column", "shared"}, default="per_column"
            Standard deviation of the features that is the unit; determines the labels.
        components : int or sequence of int, default=None
            Indices of the components to show, from 0. If None, the first 16 at most.
        kind : {"auto", "image", "curve", "heatmap"}, default="auto"
            How contributions are drawn. "auto" uses "image" if ``image_shape`` is given,
            otherwise "curve" for more than 30 features and "heatmap" for fewer.
        image_shape : tuple of int, default=None
            Shape of a sample as an image, (height, width) or (channels, height, width).
            Channels are averaged.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the features. If None, those of a data frame of contributions, or x0, x1, ...
        max_features : int, default=20
            Largest number of features in a heat map, those with the largest contributions.
        name : str, default=None
            Name of the model for the title.
        title : str, default=None
            Title of the figure. If None, it names the model.
        ax : matplotlib Axes, default=None
            Axes to plot on, which images and curves replace. If None, a new figure is
            created.
        im_kwargs : dict, default=None
            Options of ``imshow`` for images and heat maps, such as ``cmap``.
        line_kwargs : dict, default=None
            Options of ``plot`` for curves, such as ``color``.

        Returns
        -------
        display : ComponentContributionsDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If a parameter does not fit the contributions.
        """
        pyplot(cls)
        values = check_array(contributions, dtype=np.float64, input_name="contributions")
        if linear_share is not None and np.shape(linear_share) != values.shape:
            raise ValueError(
                f"linear_share must have the shape of contributions, {values.shape}; got "
                f"{np.shape(linear_share)}."
            )
        display = cls(
            values,
            None if linear_share is None else np.asarray(linear_share, dtype=np.float64),
            side=side,
            feature_scale=feature_scale,
            components=components,
            kind=kind,
            image_shape=image_shape,
            feature_names=resolve_feature_names(feature_names, values.shape[1], contributions),
            name=name,
        )
        return display.plot(
            ax, max_features=max_features, title=title, im_kwargs=im_kwargs, line_kwargs=line_kwargs
        )

    def plot(
        self,
        ax: Any = None,
        *,
        max_features: int = 20,
        title: str | None = None,
        im_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ComponentContributionsDisplay:
        """Plot the contributions.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on, which images and curves replace. If None, a new figure is
            created.
        max_features : int, default=20
            Largest number of features in a heat map, those with the largest contributions.
        title : str, default=None
            Title of the figure. If None, it names the model.
        im_kwargs : dict, default=None
            Options of ``imshow`` for images and heat maps, such as ``cmap``.
        line_kwargs : dict, default=None
            Options of ``plot`` for curves, such as ``color``.

        Returns
        -------
        display : ComponentContributionsDisplay
            The display itself.

        Raises
        ------
        ValueError
            If a parameter does not fit the contributions.
        """
        pyplot(self)
        check_scalar(max_features, "max_features", Integral, min_val=1)
        _check_side(self.side)
        check_feature_scale(self.feature_scale)
        n_components, n_features = np.shape(self.contributions)
        kind = resolve_kind(self.kind, self.image_shape, n_features)
        drawing = _DRAWINGS[kind](self, _shown(self.components, n_components), max_features)
        if title is None:
            title = self._title(drawing.omitted)
        self.figure_, self.axes_, self.artists_ = drawing.draw(
            ax,
            title,
            artist_options(line_kwargs, "line") if kind == "curve" else artist_options(im_kwargs, "image"),
        )
        self.ax_ = self.axes_[0, 0]
        return self

    def _title(self, omitted: str) -> str:
        title = f"{self.side.capitalize()} contributions"
        if self.name:
            title += f" of {literal(self.name)}"
        return f"{title}\n({omitted})" if omitted else title


def _check_side(side: Any) -> None:
    if side not in ("decoder", "encoder"):
        raise ValueError(f"side={side!r} is not known; valid strings are 'decoder' and 'encoder'.")


def _shown(components: Any, n_components: int) -> list[int]:
    """Return the indices of the components to show."""
    if components is None:
        return list(range(min(n_components, _MAX_COMPONENTS)))
    shown = [index(c, n_components, "components") for c in np.ravel(components).tolist()]
    if not shown:
        raise ValueError("components must hold at least one index.")
    return shown
