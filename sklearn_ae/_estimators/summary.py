"""Summary of a fit: whether the networks are in use, why, and at what cost."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from sklearn.utils.validation import check_is_fitted

from sklearn_ae._model.statistics import Outcome

_REASONS = {  # that there was no comparison with PCA
    "early_stopping": "early_stopping=False",
    "warm": "a warm start has held out no samples",
    "random": "init='random'",
    "start": "the untrained model is not PCA",
    "chunks": "chunks of partial_fit are not validated",
}


@dataclass(frozen=True)
class FitSummary:
    """Summary of a fit, returned by the method ``summary`` of estimators.

    ``print(summary)`` shows it as text, and notebooks as a table.

    Attributes
    ----------
    estimator : str
        Name of the class.
    uses_network : bool
        Whether the networks are in use; otherwise the model is PCA or another linear model.
    decision : str
        Whether the networks are in use and why, in one sentence.
    loss, pca_loss : float or None
        Validation objective of the best epoch and of the initial PCA, as in
        ``validation_loss_curve_`` and ``pca_loss_``. None without a comparison.
    loss_unit : str
        "nats per sample" for variational autoencoders, "share of the variance" that is
        left unexplained for squared error, and otherwise "mean over scaled features".
    n_held_out : int
        Number of samples that were held out.
    n_folds : int
        Number of folds in which these samples were held out; 1 is a single validation set.
    n_samples, n_features, n_components : int
        Size of the training data and of the code.
    n_active_units : int or None
        Number of components that carry information, of variational autoencoders only.
    n_iter, best_iter : int
        Number of epochs, and the one that was kept.
    seconds : float
        Duration of the fit; NaN after ``partial_fit``.
    """

    estimator: str
    uses_network: bool
    decision: str
    loss: float | None
    pca_loss: float | None
    loss_unit: str
    n_held_out: int
    n_folds: int
    n_samples: int
    n_features: int
    n_components: int
    n_active_units: int | None
    n_iter: int
    best_iter: int
    seconds: float

    def rows(self) -> list[tuple[str, str]]:
        """Return pairs of a name and its formatted value.

        Returns
        -------
        rows : list of tuple of str
            Entries that do not apply are left out.
        """
        parts = (self.n_samples, "sample"), (self.n_features, "feature"), (self.n_components, "component")
        size = ", ".join(f"{n:,} {name}{'' if n == 1 else 's'}" for n, name in parts)
        rows = [("decision", self.decision), ("size", size)]
        if self.loss is not None and self.pca_loss is not None:
            losses = f"{self.loss:.4g}, of the untrained model {self.pca_loss:.4g}"
            rows.append(("validation loss", f"{losses} ({self.loss_unit})"))
        if self.n_held_out:
            folds = "" if self.n_folds == 1 else f" in {self.n_folds} folds"
            rows.append(("held out", f"{self.n_held_out} samples{folds}"))
        if self.n_active_units is not None:
            rows.append(("active units", f"{self.n_active_units} of {self.n_components}"))
        epochs = f"{self.n_iter}, of which the weights of epoch {self.best_iter} are kept"
        rows.append(("epochs", epochs if self.best_iter else f"{self.n_iter}"))
        if self.seconds == self.seconds:
            rows.append(("duration", f"{self.seconds:.1f} s"))
        return rows

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows())
        lines = [f"  {name:{width}}  {value}" for name, value in self.rows()]
        return "\n".join([self.estimator, *lines])

    def _repr_html_(self) -> str:
        cells = (
            f"<tr><th style='text-align: left'>{html.escape(name)}</th>"
            f"<td style='text-align: left'>{html.escape(value)}</td></tr>"
            for name, value in self.rows()
        )
        caption = f"<caption style='text-align: left'>Summary of {html.escape(self.estimator)}</caption>"
        return f"<table>{caption}<tbody>{''.join(cells)}</tbody></table>"


class Summarized:
    """Method ``summary``, and its table below the diagram in notebooks."""

    # With too few samples for a comparison
    _remedy = "pass more samples or X_val, or train without a comparison by early_stopping=False"

    def summary(self) -> FitSummary:
        """Summarize the last fit: whether the networks are in use and why, losses, epochs and duration.

        Returns
        -------
        summary : FitSummary
            Its attributes are the single values; ``print`` shows it as text.
        """
        check_is_fitted(self)
        model: Any = self._summarized()
        outcome: Outcome = model._outcome
        decision = decide(model, outcome, self._remedy)
        if model.net_.interrupted_:
            n_epochs = len(model.loss_curve_)
            decision += f"; interrupted in epoch {n_epochs}" if n_epochs else "; interrupted"
        return FitSummary(
            self._summary_title(),
            uses_network=model.uses_network_,
            decision=decision,
            loss=outcome.loss,
            pca_loss=outcome.pca_loss,
            loss_unit=_loss_unit(model._spec),
            n_held_out=outcome.n_held_out,
            n_folds=outcome.n_folds,
            n_samples=model.n_samples_,
            n_features=model.n_features_in_,
            n_components=model.n_components_,
            n_active_units=getattr(model, "n_active_units_", None),
            n_iter=model.n_iter_,
            best_iter=model.best_iter_,
            seconds=outcome.seconds,
        )

    def _summarized(self) -> Any:
        """Return the autoencoder that the summary is about."""
        return self

    def _summary_title(self) -> str:
        return type(self).__name__

    def _summary_html(self) -> str:
        return self.summary()._repr_html_() if self.__sklearn_is_fitted__() else ""  # type: ignore[attr-defined]

    @property
    def _repr_html_(self) -> Any:
        diagram = super()._repr_html_  # type: ignore[misc]
        return lambda: diagram() + self._summary_html()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in bundle:
            bundle["text/html"] += self._summary_html()
        return bundle


# -- the decision in words ------------------------------------------------------------------


def decide(model: Any, outcome: Outcome, remedy: str) -> str:
    """Return whether the networks are in use and why; with too few samples, also the remedy."""
    kept, n = f"kept {outcome.start}", outcome.n_held_out
    if outcome.comparison in _REASONS:
        return f"network in use: not compared with PCA, because {_REASONS[outcome.comparison]}"
    if outcome.comparison == "none":
        return "no components: mean of the samples"
    if outcome.comparison == "optimal":
        state = "equal to PCA" if outcome.start == "PCA" else "at its optimum"
        return f"linear model: {state}, nothing to train"
    if outcome.comparison == "explained":
        return f"{kept}: it leaves nothing unexplained"
    if outcome.comparison == "truncated":
        return f"{'network in use' if model.uses_network_ else kept}: truncated after the comparison"
    if outcome.comparison == "interrupted":
        return f"{kept}: no network was compared with it"
    if outcome.comparison == "few":
        few = f"{n} validation samples" if n else f"{model.n_samples_} samples"
        return f"{kept}: {few} are too few to compare a network with it; {remedy}"
    where = f"on {_held_out(n, outcome.n_folds)}"
    assert outcome.loss is not None
    assert outcome.pca_loss is not None
    in_nats = model._spec.divergence is not None
    if model.uses_network_:
        return f"network in use: {_gain(outcome, model, in_nats)} than {outcome.start} {where}"
    digits, unit = (".2f", " nats") if in_nats else (".3g", "")
    losses = f"network {outcome.loss:{digits}}, {outcome.start} {outcome.pca_loss:{digits}}{unit}"
    why = "gain below the threshold" if outcome.loss < outcome.pca_loss else "no gain"
    return f"{kept}: {losses} {where} ({why})"


def _loss_unit(spec: Any) -> str:
    if spec.divergence is not None:
        return "nats per sample"
    return "share of the variance" if spec.has_pca_objective else "mean over scaled features"


def _held_out(n: int, n_folds: int) -> str:
    return f"{n} validation samples" if n_folds == 1 else f"{n} held-out samples in {n_folds} folds"


def _gain(outcome: Outcome, model: Any, in_nats: bool) -> str:
    assert outcome.loss is not None
    assert outcome.pca_loss is not None
    if in_nats:
        return f"{outcome.pca_loss - outcome.loss:.2f} nats more per sample"
    name = "error" if model._spec.has_pca_objective else "loss"
    if outcome.pca_loss <= 0:  # losses of users may be negative
        return f"{outcome.pca_loss - outcome.loss:.3g} less {name}"
    return f"{100 * (1 - outcome.loss / outcome.pca_loss):.0f} % less {name}"
