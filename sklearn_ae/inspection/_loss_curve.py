"""The course of training, beside PCA, from which it starts."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._utils.pipelines import last_step
from sklearn_ae.inspection._drawing import COLOURS, axes_and_figure, plain, pyplot
from sklearn_ae.losses import SquaredError

_WIDE = 8  # ratio of the largest to the smallest loss from which a logarithmic axis is easier to read


class LossCurveDisplay:
    """Training and validation loss of each epoch, the loss of PCA, and the epoch that was kept.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Training loss of each epoch, from epoch 1.
    validation_curve : array-like of shape (n_epochs,), default=None
        Validation loss of each epoch, None where no rows were held out.
    pca_loss : float, default=None
        Loss of PCA, which is epoch 0; None draws no line.
    best_iter : int, default=None
        Epoch whose weights were kept. 0 is PCA; None marks no epoch.
    name : str, default=None
        Name of the model, for the title.
    loss_name : str, default="Loss"
        What the loss is, with its unit.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        Training, validation, PCA and best epoch, those that there are.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Score against the number of rows.

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
        loss_curve,
        validation_curve=None,
        *,
        pca_loss=None,
        best_iter=None,
        name=None,
        loss_name="Loss",
    ):
        self.loss_curve = loss_curve
        self.validation_curve = validation_curve
        self.pca_loss = pca_loss
        self.best_iter = best_iter
        self.name = name
        self.loss_name = loss_name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the loss curves of a fitted model.

        The curves of an autoencoder with squared error are the share of the variance
        that is left unexplained; those of a VAE are negative ELBOs, in nats per row.
        The line of PCA is its loss on the same validation rows (``pca_loss_``); there is
        none where no rows were held out or training did not start at PCA.

        Parameters
        ----------
        estimator : object
            Fitted autoencoder, or a pipeline that ends in one. Other models with a
            ``loss_curve_`` will do.
        ax : matplotlib Axes, default=None
            What to draw on. None makes a figure.

        Returns
        -------
        display : LossCurveDisplay
            What was drawn.

        Raises
        ------
        TypeError
            If the model has no ``loss_curve_``.
        ValueError
            If nothing was trained, so that there is no curve: the model is linear, or
            too few rows could be held out to tell the networks from PCA.
        """
        pyplot(cls)
        check_is_fitted(last_step(estimator))
        model = _trained(estimator)
        display = cls(
            np.asarray(model.loss_curve_, dtype=float),
            np.asarray(getattr(model, "validation_loss_curve_", []), dtype=float),
            pca_loss=getattr(model, "pca_loss_", None),
            best_iter=getattr(model, "best_iter_", None),
            name=type(model).__name__,
            loss_name=_loss_name(model),
        )
        return display.plot(ax)

    def plot(self, ax=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on. None makes a figure.

        Returns
        -------
        display : LossCurveDisplay
            This object.
        """
        self.ax_, self.figure_ = axes_and_figure(self, ax, figsize=(7, 4.2))
        self._draw_curves()
        if self.pca_loss is not None:
            self._draw_pca()
        if self._validated and self.best_iter:
            self._draw_best()
        self.ax_.set(xlabel="Epoch", ylabel=self.loss_name, title=self._title())
        self._scale()
        self.ax_.legend(frameon=False)
        return self

    @property
    def _validated(self) -> bool:
        return self.validation_curve is not None and len(self.validation_curve) > 0

    def _draw_curves(self) -> None:
        curves = {"Training": self.loss_curve}
        if self._validated:
            curves["Validation"] = self.validation_curve
        self.lines_: list[Any] = []
        for (label, curve), colour in zip(curves.items(), COLOURS, strict=False):
            marker = "o" if len(curve) == 1 else None
            epochs = np.arange(1, len(curve) + 1)
            self.lines_ += self.ax_.plot(epochs, curve, color=colour, label=label, marker=marker, linewidth=2)

    def _draw_pca(self) -> None:
        label = f"PCA ({self.pca_loss:.4g})"
        line = self.ax_.axhline(self.pca_loss, color="0.35", linestyle="--", linewidth=1.5, label=label)
        self.lines_.append(line)

    def _draw_best(self) -> None:
        best = self.validation_curve[self.best_iter - 1]
        label = f"Best epoch, {self.best_iter} ({best:.4g})"
        self.lines_ += self.ax_.plot(
            self.best_iter, best, "o", color=COLOURS[1], markeredgecolor="black", markersize=9, label=label
        )

    def _title(self) -> str:
        title = f"Training of {self.name}" if self.name else "Training"
        shut = self._validated and self.best_iter == 0
        return f"{title}: gate shut, PCA was kept" if shut else title

    def _scale(self) -> None:
        from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

        plain(self.ax_)
        self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True))
        self.ax_.set_xlim(left=0)
        values = np.concatenate([line.get_ydata() for line in self.lines_])
        if values.min() > 0 and values.max() > _WIDE * values.min():
            self.ax_.set_yscale("log")
            self.ax_.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            self.ax_.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            self.ax_.yaxis.set_minor_formatter(NullFormatter())


def _trained(estimator: Any) -> Any:
    """The model with the curves, or an error that says why there are none."""
    model = last_step(estimator)
    model = last_step(getattr(model, "best_estimator_", model))  # of a search
    name = type(model).__name__
    if not hasattr(model, "loss_curve_"):
        raise TypeError(
            f"estimator must have a loss_curve_, as AutoencoderTransformer and VAETransformer do; got {name}."
            " Of an AEOutlierDetector, pass one of its estimators_."
        )
    if not len(model.loss_curve_):
        raise ValueError(
            f"This {name} has no loss curve: nothing was trained, and the model is PCA. It is linear, or "
            "too few rows could be held out to tell whether networks do better; pass more rows or X_val to "
            "fit, or set early_stopping=False."
        )
    return model


def _in_nats(model: Any) -> bool:
    return hasattr(model, "divergence_")


def _loss_name(model: Any) -> str:
    if _in_nats(model):
        return "Negative ELBO (nats per row)"
    if not hasattr(model, "loss_"):
        return "Loss"
    alone = isinstance(model.loss_, SquaredError) and model.penalty_ is None
    return "Unexplained share of the variance" if alone else "Objective (per row and column)"
