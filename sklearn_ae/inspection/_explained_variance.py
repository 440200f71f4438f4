"""How much of the variance codes of each size explain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.pipeline import Pipeline

from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import check_decoder, decode, encode, numeric_rows
from sklearn_ae.inspection._drawing import (
    COLOURS,
    MARKERS,
    axes_and_figure,
    by_name,
    plain,
    pyplot,
)

_MANY = 50  # sizes of one model that are looked at unless asked for more
_MANY_MARKERS = 30


class ExplainedVarianceDisplay:
    """Share of the variance that is explained, against the number of components (scree plot).

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    curves : dict of str to (array-like of int, array-like of float)
        For each model, numbers of components and the shares of the variance that they
        explain.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        One for each model.

    Notes
    -----
    The share is ``1 - SSE / SST``, both pooled over all rows and columns: squared errors
    of the reconstructions, and squared distances from the means of the rows given. It is
    ``r2_score(X, X_hat, multioutput="variance_weighted")``, and on its training rows the
    cumulative sum of PCA's ``explained_variance_ratio_``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.inspection import ExplainedVarianceDisplay
    >>> X = load_digits().data
    >>> models = {"PCA": PCA(20).fit(X), "PCA of 100 rows": PCA(20).fit(X[:100])}
    >>> display = ExplainedVarianceDisplay.from_estimator(models, X)
    >>> plt.close(display.figure_)
    """

    def __init__(self, curves):
        self.curves = curves

    @classmethod
    def from_estimator(cls, estimators, X, *, n_components=None, ax=None):
        """Reconstruct rows from codes of each size and draw what they explain.

        Parameters
        ----------
        estimators : object, list of object, or dict of str to object or list of object
            Fitted transformers with ``inverse_transform``, pipelines included. PCA and
            this package's linear and ordered models give a whole curve, from the leading
            components; others a point each. Models of different sizes in a list of a
            dict are joined by a line.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, best of all rows that the models were not fitted on.
        n_components : int or array-like of int, default=None
            The largest size, or all sizes, of models that give a curve; sizes that a
            model does not have are left out. None takes all sizes, or 50 of them, evenly
            spread, where there are more.
        ax : matplotlib Axes, default=None
            What to draw on. None makes a figure.

        Returns
        -------
        display : ExplainedVarianceDisplay
            What was drawn.

        Raises
        ------
        TypeError
            If a model cannot transform and transform back.
        ValueError
            If X has no variance, or n_components no positive integers.
        """
        pyplot(cls)
        sizes = None if n_components is None else _wanted(n_components)
        rows = numeric_rows(X)
        total = float(np.square(rows - rows.mean(axis=0, dtype=np.float64)).sum())
        if not total > 0:
            raise ValueError("X has no variance to explain: all rows are equal.")
        curves = {}
        groups = _groups(estimators)
        for model in (model for models in groups.values() for model in models):
            check_decoder(model, "estimators")
        for name, models in groups.items():
            points = sorted(point for model in models for point in _points(model, X, rows, total, sizes))
            if points:
                curves[name] = tuple(np.array(values) for values in zip(*points, strict=True))
        return cls.from_predictions(curves, ax=ax)

    @classmethod
    def from_predictions(cls, curves, *, ax=None):
        """Draw given shares.

        Parameters
        ----------
        curves : dict of str to (array-like of int, array-like of float)
            For each model, numbers of components and the shares of the variance that they
            explain.
        ax : matplotlib Axes, default=None
            What to draw on. None makes a figure.

        Returns
        -------
        display : ExplainedVarianceDisplay
            What was drawn.

        Raises
        ------
        ValueError
            If a model's numbers and shares are not as many.
        """
        pyplot(cls)
        if not isinstance(curves, Mapping) or not curves:
            raise ValueError("curves must be a dict of at least one model, {name: (sizes, shares)}.")
        for name, (sizes, shares) in curves.items():
            if np.ndim(sizes) != 1 or np.shape(sizes) != np.shape(shares):
                raise ValueError(
                    f"curves[{name!r}] must be a pair of sizes and shares of one length; got shapes "
                    f"{np.shape(sizes)} and {np.shape(shares)}."
                )
        return cls(dict(curves)).plot(ax)

    def plot(self, ax=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on. None makes a figure.

        Returns
        -------
        display : ExplainedVarianceDisplay
            This object.
        """
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=(7, 4.2))
        self.lines_ = []
        for i, (name, (sizes, shares)) in enumerate(self.curves.items()):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            style = {"color": colour, "marker": marker, **_weight(len(sizes))}
            self.lines_ += self.ax_.plot(sizes, shares, label=name, **style)
        self._finish()
        return self

    def _finish(self) -> None:
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        plain(self.ax_)
        self.ax_.set(
            xlabel="Number of components",
            ylabel="Explained share of the variance",
            title="Explained variance",
        )
        self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True))
        self.ax_.yaxis.set_major_formatter(PercentFormatter(1.0))
        self.ax_.legend(frameon=False)


def _weight(n: int) -> dict[str, Any]:
    """Lines of many points have no markers; single points are hollow, since they may lie upon each other."""
    if n > 1:
        return {"linewidth": 1.8, "markersize": 5 if n <= _MANY_MARKERS else 0}
    return {"linestyle": "none", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 2}


def _wanted(n_components: Any) -> np.ndarray:
    sizes = np.atleast_1d(n_components)
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or not len(sizes) or sizes.min() < 1:
        raise ValueError(f"n_components must be a positive integer, or several; got {n_components!r}.")
    return np.arange(1, sizes[0] + 1) if np.ndim(n_components) == 0 else np.unique(sizes)


def _groups(estimators: Any) -> dict[str, list[Any]]:
    """Models that belong to one line, by name."""
    if not isinstance(estimators, Mapping):
        return {name: [model] for name, model in by_name(estimators).items()}
    return {
        str(name): list(models) if isinstance(models, (list, tuple)) else [models]
        for name, models in estimators.items()
    }


def _points(model: Any, X: Any, rows: np.ndarray, total: float, wanted: Any) -> Iterable[tuple[int, float]]:
    """Sizes and shares of one model."""
    codes = encode(model, X, "X")
    for k in _sizes(model, codes.shape[1], wanted):
        error = np.square(rows - _decode_leading(model, codes, k)).sum(dtype=np.float64)
        yield k, 1.0 - float(error) / total


def _sizes(model: Any, n: int, wanted: Any) -> list[int]:
    """The sizes of the code that are looked at: only its own where components have no order."""
    if not _nested(last_step(model)):
        return [n]
    if wanted is None:
        wanted = np.linspace(1, n, min(n, _MANY)).round()
    return [int(k) for k in wanted if k <= n]


def _nested(model: Any) -> bool:
    """Whether the first k components are the model of k components."""
    if isinstance(model, (PCA, IncrementalPCA, TruncatedSVD)):
        return True
    return hasattr(model, "truncate") and hasattr(model, "explained_variance_ratio_")


def _decode_leading(model: Any, codes: np.ndarray, k: int) -> np.ndarray:
    """Reconstructions from the first k components."""
    if k == codes.shape[1]:
        return decode(model, codes, codes.dtype)
    if isinstance(model, Pipeline):
        rows = _decode_leading(model[-1], codes, k)
        return decode(model[:-1], rows, rows.dtype) if len(model) > 1 else rows
    if hasattr(model, "truncate"):
        return decode(model.truncate(k), codes[:, :k], codes.dtype)
    leading = codes.copy()
    leading[:, k:] = 0
    return decode(model, leading, codes.dtype)
