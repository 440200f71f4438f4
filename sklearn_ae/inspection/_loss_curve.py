"""Loss curves of training, compared with the initial PCA."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._utils.arrays import numpy_only
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae.inspection._drawing import COLOURS, axes_and_figure, pyplot, style_chart
from sklearn_ae.losses import SquaredError

_WIDE = 8  # ratio of the largest to the smallest loss above which the axis is logarithmic


class LossCurveDisplay:
    """Training and validation loss per epoch, the loss of PCA, and the epoch that was kept.

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

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the display.
    figure_ : matplotlib Figure
        Figure with the display.
    lines_ : list of matplotlib Line2D
        Training, validation, PCA and best epoch, as far as they are drawn.

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
    ):
        self.loss_curve = loss_curve
        self.validation_curve = validation_curve
        self.pca_loss = pca_loss
        self.best_iter = best_iter
        self.name = name
        self.loss_name = loss_name

    @classmethod
    @numpy_only()
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> LossCurveDisplay:
        """Plot the loss curves of a fitted model.

        The loss of an autoencoder with squared error is the fraction of the variance left
        unexplained; that of a VAE is the negative ELBO in nats per sample. The line of PCA
        is its loss on the same validation samples (``pca_loss_``). It is omitted without
        validation samples, or if training did not start from PCA.

        Parameters
        ----------
        estimator : object
            Fitted autoencoder, or a pipeline that ends in one. Other models with a
            ``loss_curve_`` are accepted.
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.

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
        )
        return display.plot(ax)

    def plot(self, ax: Any = None) -> LossCurveDisplay:
        """Plot the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.

        Returns
        -------
        display : LossCurveDisplay
            The display itself.
        """
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=(7, 4.2))
        validation = np.array([]) if self.validation_curve is None else np.asarray(self.validation_curve)
        self.lines_: list[Any] = []
        self._draw_curves(validation)
        if self.pca_loss is not None:
            self._draw_pca(self.pca_loss)
        if len(validation) and self.best_iter:
            self._draw_best(self.best_iter, validation[self.best_iter - 1])
        title = f"Training of {self.name}" if self.name else "Training"
        if len(validation) and self.best_iter == 0:
            title += " (fallback to PCA)"
        self.ax_.set(xlabel="Epoch", ylabel=self.loss_name, title=title)
        self._scale()
        self.ax_.legend(frameon=False)
        return self

    def _draw_curves(self, validation: np.ndarray) -> None:
        curves = {"Training": np.asarray(self.loss_curve)}
        if len(validation):
            curves["Validation"] = validation
        for (label, curve), colour in zip(curves.items(), COLOURS, strict=False):
            marker = "o" if len(curve) == 1 else None
            epochs = np.arange(1, len(curve) + 1)
            self.lines_ += self.ax_.plot(epochs, curve, color=colour, label=label, marker=marker, linewidth=2)

    def _draw_pca(self, loss: float) -> None:
        label = f"PCA ({loss:.4g})"
        line = self.ax_.axhline(loss, color="0.35", linestyle="--", linewidth=1.5, label=label)
        self.lines_.append(line)

    def _draw_best(self, epoch: int, loss: float) -> None:
        label = f"Best epoch, {epoch} ({loss:.4g})"
        self.lines_ += self.ax_.plot(
            epoch, loss, "o", color=COLOURS[1], markeredgecolor="black", markersize=9, label=label
        )

    def _scale(self) -> None:
        from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

        style_chart(self.ax_)
        self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True))
        self.ax_.set_xlim(left=0)
        values = np.concatenate([line.get_ydata() for line in self.lines_])
        if values.min() > 0 and values.max() > _WIDE * values.min():
            self.ax_.set_yscale("log")
            self.ax_.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            self.ax_.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            self.ax_.yaxis.set_minor_formatter(NullFormatter())


def _trained_model(estimator: Any) -> Any:
    """Return the model with the loss curve: the estimator, its last step, or the best of a search."""
    model = last_step(estimator)
    model = last_step(getattr(model, "best_estimator_", model))
    name = type(model).__name__
    if not hasattr(model, "loss_curve_"):
        raise TypeError(
            "estimator must have a loss_curve_, such as AutoencoderTransformer and VAETransformer; got "
            f"{name}. For an AEOutlierDetector, pass one of its estimators_."
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
