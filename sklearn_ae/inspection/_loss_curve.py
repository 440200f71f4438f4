"""Loss curves of training, compared with the initial PCA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae.inspection._drawing import (
    COLOURS,
    artist_options,
    axes_and_figure,
    canvas,
    pyplot,
    style_chart,
)
from sklearn_ae.losses import SquaredError

_WIDE = 8  # ratio of the largest to the smallest loss above which the axis is logarithmic


class LossCurveDisplay:
    """Training and validation loss per epoch, the loss of PCA, and the epoch that was kept.

    The two terms of the loss of a VAE, reconstruction loss and divergence, have panels of
    their own.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as
    attributes.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Training loss of each epoch, from epoch 1.
    validation_curve : array-like of shape (n_epochs,), default=None
        Validation loss of each epoch. None without validation samples.
    pca_loss : float, default=None
        Loss of PCA, that is, of epoch 0. If None, no line is drawn.
    best_iter : int, default=None
        Epoch whose weights were kept, 0 for PCA. If None, no epoch is marked.
    name : str, default=None
        Name of the model for the title.
    loss_name : str, default="Loss"
        Name of the loss, with its unit.
    terms : dict of str to (array-like, array-like or None), default=None
        Training and validation curve of each term of the loss, by its name with its unit.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the loss.
    axes_ : ndarray of matplotlib Axes of shape (1 + n_terms,)
        The loss, and a panel for each term that is drawn.
    figure_ : matplotlib Figure
        Figure with the display.
    lines_ : list of matplotlib Line2D
        Training, validation, PCA and best epoch of the loss, as far as they are drawn.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Score against the number of samples.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.inspection import LossCurveDisplay
    >>> X = load_digits().data
    >>> model = AutoencoderTransformer(4, hidden_layer_sizes=(32,), max_iter=20, random_state=0)
    >>> display = LossCurveDisplay.from_estimator(model.fit(X[:600]))
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        loss_curve: ArrayLike,
        validation_curve: ArrayLike | None = None,
        *,
        pca_loss: float | None = None,
        best_iter: int | None = None,
        name: str | None = None,
        loss_name: str = "Loss",
        terms: Mapping[str, tuple[ArrayLike, ArrayLike | None]] | None = None,
    ):
        self.loss_curve = loss_curve
        self.validation_curve = validation_curve
        self.pca_loss = pca_loss
        self.best_iter = best_iter
        self.name = name
        self.loss_name = loss_name
        self.terms = terms

    @classmethod
    @numpy_only()
    def from_estimator(
        cls,
        estimator: Any,
        *,
        show_terms: bool | None = None,
        title: str | None = None,
        ax: Any = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> LossCurveDisplay:
        """Plot the loss curves of a fitted model.

        The loss of an autoencoder with squared error is the fraction of the variance left
        unexplained; that of a VAE is the negative ELBO in nats per sample, the sum of the
        reconstruction loss and ``beta`` times the divergence. The line of PCA
        is its loss on the same validation samples (``pca_loss_``). It is omitted without
        validation samples, or if training did not start from PCA.

        Parameters
        ----------
        estimator : object
            Fitted autoencoder, or a pipeline that ends in one. Other models with a
            ``loss_curve_`` are accepted.
        show_terms : bool, default=None
            Whether to draw the terms of the loss of a VAE. If None, unless ``ax`` is given.
        title : str, default=None
            Title. If None, it names the model.
        ax : matplotlib Axes, default=None
            Axes to plot on, which several panels replace. If None, a new figure is created.
        line_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.plot``, such as ``linewidth``, for the training
            and validation curves.

        Returns
        -------
        display : LossCurveDisplay
            The display, plotted.

        Raises
        ------
        TypeError
            If the model has no ``loss_curve_``.
        ValueError
            If the curve is empty because nothing was trained: the model is linear, or
            there were too few samples to validate the network against PCA.
        """
        pyplot(cls)
        check_is_fitted(last_step(estimator))
        model = _trained_model(estimator)
        display = cls(
            np.asarray(model.loss_curve_, dtype=float),
            np.asarray(getattr(model, "validation_loss_curve_", []), dtype=float),
            pca_loss=getattr(model, "pca_loss_", None),
            best_iter=getattr(model, "best_iter_", None),
            name=type(model).__name__,
            loss_name=_loss_name(model),
            terms=_terms(model),
        )
        return display.plot(ax, show_terms=show_terms, title=title, line_kwargs=line_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        show_terms: bool | None = None,
        title: str | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> LossCurveDisplay:
        """Plot the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on, which several panels replace. If None, a new figure is created.
        show_terms : bool, default=None
            Whether to draw the terms of the loss. If None, unless ``ax`` is given.
        title : str, default=None
            Title. If None, it names the model.
        line_kwargs : dict, default=None
            Options of ``matplotlib.pyplot.plot``, such as ``linewidth``, for the training
            and validation curves.

        Returns
        -------
        display : LossCurveDisplay
            The display itself.
        """
        pyplot(self)
        terms = self.terms or {}
        options = artist_options(line_kwargs, "line")
        set_title = self._make_axes(
            ax, len(terms) if show_terms or (show_terms is None and ax is None) else 0
        )
        validation = _curve(self.validation_curve)
        self.lines_ = _draw_curves(self.ax_, np.asarray(self.loss_curve), validation, options)
        if self.pca_loss is not None:
            self.lines_ += _draw_pca(self.ax_, self.pca_loss)
        best = self.best_iter or 0
        if 0 < best <= len(validation):  # partial_fit validates no epoch
            self.lines_ += _draw_best(self.ax_, best, validation[best - 1])
        _finish(self.ax_, self.loss_name)
        self.ax_.legend(frameon=False)
        for term_ax, (name, (training, validating)) in zip(self.axes_[1:], terms.items(), strict=False):
            validation_of_term = _curve(validating)
            _draw_curves(term_ax, np.asarray(training), validation_of_term, options)
            if 0 < best <= len(validation_of_term):
                _draw_best(term_ax, best, validation_of_term[best - 1])
            _finish(term_ax, name)
        set_title(self._title if title is None else title)
        return self

    def _make_axes(self, ax: Any, n_terms: int) -> Any:
        """Create the axes; return the function that sets the title."""
        if not n_terms:
            self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=(7, 4.2))
            self.axes_ = np.array([self.ax_])
            return self.ax_.set_title
        panel = canvas(self, ax, figsize=(6 + 3.5 * n_terms, 4.2))
        self.axes_ = panel.subplots(1, 1 + n_terms, sharex=True, width_ratios=[1.4] + [1] * n_terms)
        self.ax_ = self.axes_[0]
        self.figure_ = panel if ax is None else ax.figure
        return panel.suptitle

    @property
    def _title(self) -> str:
        title = f"Training of {self.name}" if self.name else "Training"
        return (
            f"{title} (fallback to PCA)"
            if self.best_iter == 0 and len(_curve(self.validation_curve))
            else title
        )


def _curve(values: Any) -> np.ndarray:
    """Return a curve as an array, empty if there is none."""
    return np.array([]) if values is None else np.asarray(values)


def _draw_curves(ax: Any, training: np.ndarray, validation: np.ndarray, options: dict[str, Any]) -> list[Any]:
    curves = {"Training": training}
    if len(validation):
        curves["Validation"] = validation
    lines = []
    for (label, curve), colour in zip(curves.items(), COLOURS, strict=False):
        marker = "o" if len(curve) == 1 else None
        style = {"color": colour, "label": label, "marker": marker, "linewidth": 2, **options}
        lines += ax.plot(np.arange(1, len(curve) + 1), curve, **style)
    return lines


def _draw_pca(ax: Any, loss: float) -> list[Any]:
    label = f"PCA ({loss:.4g})"
    return [ax.axhline(loss, color="0.35", linestyle="--", linewidth=1.5, label=label)]


def _draw_best(ax: Any, epoch: int, value: float) -> list[Any]:
    style = {"color": COLOURS[1], "markeredgecolor": "black", "markersize": 9}
    return ax.plot(epoch, value, "o", label=f"Best epoch, {epoch} ({value:.4g})", **style)


def _finish(ax: Any, name: str) -> None:
    """Set labels and scales."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

    ax.set(xlabel="Epoch", ylabel=name)
    style_chart(ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(left=0)
    values = np.concatenate([line.get_ydata() for line in ax.get_lines()])
    if values.min() > 0 and values.max() > _WIDE * values.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.yaxis.set_minor_formatter(NullFormatter())


def _trained_model(estimator: Any) -> Any:
    """Return the model with the loss curve: the estimator, its last step, or the best of a search."""
    model = last_step(estimator)
    model = last_step(getattr(model, "best_estimator_", model))
    name = type(model).__name__
    if not hasattr(model, "loss_curve_"):
        raise TypeError(
            "estimator must have a loss_curve_, such as AutoencoderTransformer and VAETransformer; got "
            f"{name}. Of an AEOutlierDetector, pass one of its estimators_, and of an AEImputer its "
            "autoencoder_."
        )
    if not len(model.loss_curve_):
        raise ValueError(
            f"This {name} has no loss curve, because nothing was trained and the model is PCA: it is linear, "
            "or there were too few samples to validate the network. Pass more samples, or X_val to fit, or "
            "set early_stopping=False."
        )
    return model


def _loss_name(model: Any) -> str:
    """Return the label of the loss axis."""
    if hasattr(model, "divergence_"):
        return "Negative ELBO (nats per sample)"
    if not (hasattr(model, "loss_") and hasattr(model, "penalty_")):  # not a model of this package
        return "Loss"
    alone = isinstance(model.loss_, SquaredError) and model.penalty_ is None
    return "Fraction of variance unexplained" if alone else "Objective (per sample and feature)"


def _terms(model: Any) -> dict[str, Any]:
    """Return the curves of the terms of the loss, of models that record them."""
    if not len(getattr(model, "divergence_curve_", [])):
        return {}
    weight = "" if model.beta == 1 else f", weight {model.beta:g}"
    divergence = f"{type(model.divergence_).__name__} divergence{weight}\n(nats per sample)"
    return {
        "Reconstruction loss\n(nats per sample)": (
            model.reconstruction_loss_curve_,
            model.validation_reconstruction_loss_curve_,
        ),
        divergence: (model.divergence_curve_, model.validation_divergence_curve_),
    }
