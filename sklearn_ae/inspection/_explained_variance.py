"""Explained variance against the number of components."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.pipeline import Pipeline

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import check_decoder, decode, dense_samples, encode
from sklearn_ae.inspection._drawing import (
    COLOURS,
    MARKERS,
    artist_options,
    axes_and_figure,
    by_name,
    literal,
    pyplot,
    style_chart,
)

_MAX_SIZES = 50  # sizes evaluated per model by default
_MAX_MARKERS = 30


class ExplainedVarianceDisplay:
    """Explained variance ratio against the number of components (scree plot).

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All
    parameters are stored as attributes.

    Parameters
    ----------
    curves : dict of str to (array-like of int, array-like of float)
        Numbers of components and explained variance ratios of each model.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the display.
    figure_ : matplotlib Figure
        Figure with the display.
    lines_ : list of matplotlib Line2D
        One line per model.

    Notes
    -----
    The ratio is ``1 - SSE / SST``, both summed over all samples and features: squared
    errors of the reconstructions, and squared distances from the mean of the samples
    given. It equals ``r2_score(X, X_hat, multioutput="variance_weighted")`` and, on the
    training samples of PCA, the cumulative sum of ``explained_variance_ratio_``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.inspection import ExplainedVarianceDisplay
    >>> X = load_digits().data
    >>> models = {"PCA": PCA(20).fit(X), "PCA of 100 samples": PCA(20).fit(X[:100])}
    >>> display = ExplainedVarianceDisplay.from_estimator(models, X)
    >>> plt.close(display.figure_)
    """

    def __init__(self, curves: Mapping[str, tuple[ArrayLike, ArrayLike]]):
        self.curves = curves

    @classmethod
    @numpy_only()
    def from_estimator(
        cls,
        estimators: Any,
        X: Any,
        *,
        n_components: Any = None,
        title: str | None = None,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ExplainedVarianceDisplay:
        """Reconstruct samples from codes of each size and plot the explained variance.

        Parameters
        ----------
        estimators : object, list of object, or dict of str to object or list of object
            Fitted transformers with ``inverse_transform``, including pipelines. PCA and
            the linear and ordered models of this package give a whole curve, from their
            leading components; other models give one point. A list of models in a dict,
            such as models of different sizes, is joined by a line.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples, preferably not those that the models were fitted on.
        n_components : int or array-like of int, default=None
            The largest size, or all sizes, for models that give a curve. Sizes larger than
            a model are ignored. None uses all sizes, or 50 evenly spaced ones if there are
            more.
        title : str, default=None
            Title. If None, "Explained variance".
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.
        line_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.plot``, such as ``linewidth``, for all models.

        Returns
        -------
        display : ExplainedVarianceDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If a model lacks ``transform`` or ``inverse_transform``.
        ValueError
            If X has no variance, or ``n_components`` is not positive.
        """
        pyplot(cls)
        sizes = None if n_components is None else _check_sizes(n_components)
        samples = dense_samples(X)
        total = float(np.square(samples - samples.mean(axis=0, dtype=np.float64)).sum())
        if not total > 0:
            raise ValueError("X has no variance to explain, since all samples are equal.")
        groups = _group(estimators)
        for model in (model for models in groups.values() for model in models):
            check_decoder(model, "estimators")
        curves = {}
        for name, models in groups.items():
            points = sorted(
                (k, 1.0 - error / total)
                for model in models
                for k, error in _squared_errors(model, X, samples, sizes)
            )
            if points:
                curves[name] = tuple(np.array(values) for values in zip(*points, strict=True))
        return cls.from_predictions(curves, title=title, ax=ax, line_kwargs=line_kwargs)

    @classmethod
    @numpy_only()
    def from_predictions(
        cls,
        curves: Any,
        *,
        title: str | None = None,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ExplainedVarianceDisplay:
        """Plot given explained variance ratios.

        Parameters
        ----------
        curves : dict of str to (array-like of int, array-like of float)
            Numbers of components and explained variance ratios of each model.
        title : str, default=None
            Title. If None, "Explained variance".
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.
        line_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.plot``, such as ``linewidth``, for all models.

        Returns
        -------
        display : ExplainedVarianceDisplay
            The display, plotted.

        Raises
        ------
        ValueError
            If the numbers of components and the ratios of a model differ in length.
        """
        pyplot(cls)
        if not isinstance(curves, Mapping) or not curves:
            raise ValueError("curves must be a dict of at least one model, {name: (sizes, ratios)}.")
        for name, (sizes, ratios) in curves.items():
            if np.ndim(sizes) != 1 or np.shape(sizes) != np.shape(ratios):
                raise ValueError(
                    f"curves[{name!r}] must be a pair of sizes and ratios of equal length; got shapes "
                    f"{np.shape(sizes)} and {np.shape(ratios)}."
                )
        return cls(dict(curves)).plot(ax, title=title, line_kwargs=line_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        title: str | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ExplainedVarianceDisplay:
        """Plot the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.
        title : str, default=None
            Title. If None, "Explained variance".
        line_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.plot``, such as ``linewidth``, for all models.

        Returns
        -------
        display : ExplainedVarianceDisplay
            The display itself.
        """
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=(7, 4.2))
        options = artist_options(line_kwargs, "line")
        self.lines_: list[Any] = []
        for i, (name, (sizes, ratios)) in enumerate(self.curves.items()):
            look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
            style = {"label": literal(name), **look, **_line_style(np.size(sizes)), **options}
            self.lines_ += self.ax_.plot(sizes, ratios, **style)
        self._finish("Explained variance" if title is None else title)
        return self

    def _finish(self, title: str) -> None:
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        style_chart(self.ax_)
        self.ax_.set(xlabel="Number of components", ylabel="Explained variance ratio", title=title)
        self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True))
        self.ax_.yaxis.set_major_formatter(PercentFormatter(1.0))
        self.ax_.legend(frameon=False)


def _line_style(n: int) -> dict[str, Any]:
    """Omit the markers of long lines; single points are hollow, since they may coincide."""
    if n > 1:
        return {"linewidth": 1.8, "markersize": 5 if n <= _MAX_MARKERS else 0}
    return {"linestyle": "none", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 2}


def _check_sizes(n_components: Any) -> np.ndarray:
    """Return the sizes to evaluate: those given, or all up to a single number."""
    sizes = np.atleast_1d(n_components)
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or not len(sizes) or sizes.min() < 1:
        raise ValueError(
            f"n_components must be a positive integer or a list of positive integers; got {n_components!r}."
        )
    return np.arange(1, sizes[0] + 1) if np.ndim(n_components) == 0 else np.unique(sizes)


def _group(estimators: Any) -> dict[str, list[Any]]:
    """Return the models of each line, by name."""
    if not isinstance(estimators, Mapping):
        return {name: [model] for name, model in by_name(estimators).items()}
    return {
        str(name): list(models) if isinstance(models, (list, tuple)) else [models]
        for name, models in estimators.items()
    }


def _squared_errors(model: Any, X: Any, samples: np.ndarray, wanted: Any) -> Iterable[tuple[int, float]]:
    """Yield each size of the code and the sum of squared errors of its reconstructions."""
    codes = encode(model, X, "X")
    for k in _sizes(model, codes.shape[1], wanted):
        error = np.square(samples - _decode_leading(model, codes, k)).sum(dtype=np.float64)
        yield k, float(error)


def _sizes(model: Any, n: int, wanted: Any) -> list[int]:
    """Return the sizes to evaluate, only n if the components have no order."""
    if not _is_nested(last_step(model)):
        return [n]
    if wanted is None:
        wanted = np.linspace(1, n, min(n, _MAX_SIZES)).round()
    return [int(k) for k in wanted if k <= n]


def _is_nested(model: Any) -> bool:
    """Return whether the first k components are the model of k components."""
    if isinstance(model, (PCA, IncrementalPCA, TruncatedSVD)):
        return True
    return hasattr(model, "truncate") and hasattr(model, "explained_variance_ratio_")


def _decode_leading(model: Any, codes: np.ndarray, k: int) -> np.ndarray:
    """Reconstruct samples from their first k components."""
    if k == codes.shape[1]:
        return decode(model, codes, codes.dtype)
    if isinstance(model, Pipeline):
        samples = _decode_leading(model[-1], codes, k)
        return decode(model[:-1], samples, samples.dtype) if len(model) > 1 else samples
    if hasattr(model, "truncate"):
        return decode(model.truncate(k), codes[:, :k], codes.dtype)
    leading = codes.copy()
    leading[:, k:] = 0
    return decode(model, leading, codes.dtype)
