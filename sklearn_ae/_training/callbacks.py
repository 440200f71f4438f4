"""Callbacks: those of users, a progress bar, and a fixed number of epochs."""

from __future__ import annotations

import copy
import dis
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler, ParamMapper, PrintLog

from sklearn_ae._training.optimization import StopTraining
from sklearn_ae._utils.compat import InvalidParameterError
from sklearn_ae._utils.ranks import is_first_rank

_RECORDED = "train_loss and valid_loss, and whether they are the best so far, are always recorded"
_UNUSABLE = {  # callbacks of skorch: why they cannot be used, and what can
    "InputShapeSetter": "the sizes of the network follow from X, n_components and hidden_layer_sizes",
    "PassthroughScoring": _RECORDED,
    "BatchScoring": f"an autoencoder predicts no target; write a callback with on_batch_end. {_RECORDED}",
    "EpochScoring": "an autoencoder predicts no target; pass a function scoring(net, samples, y), and "
    f"use_caching=False. {_RECORDED}",
    "LRScheduler": "partial_fit does not know how many chunks follow, and lowers the rate as 1/sqrt(step); "
    "set learning_rate_init before each chunk",
}


def check_callbacks(callbacks: Sequence[Any], *, in_chunks: bool) -> None:
    """Raise an error that names the first callback that cannot be used here, and the reason."""
    for callback in map(_without_name, callbacks):
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise InvalidParameterError(
                f"callbacks holds {callback!r}; pass instances of skorch.callbacks.Callback, or of your own "
                "subclasses."
            )
        names = {base.__name__ for base in kind.__mro__ if base.__module__.startswith("skorch.")}
        if not in_chunks:
            names.discard("LRScheduler")
        if callable(getattr(callback, "scoring", None)) and not callback.use_caching:
            names.discard("EpochScoring")
        for name in names & _UNUSABLE.keys():
            raise InvalidParameterError(f"{kind.__name__} in callbacks cannot be used: {_UNUSABLE[name]}.")


def _without_name(given: Any) -> Any:
    """Return the callback of a pair of a name and a callback."""
    return given[1] if isinstance(given, tuple) and len(given) == 2 else given


def check_monitors(callbacks: Sequence[tuple[str, Callback]], has_validation: bool) -> None:
    """Raise an error for a callback that monitors a loss which is not computed."""
    for _, callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if not has_validation and isinstance(monitor, str) and monitor.startswith("valid_loss"):
            raise ValueError(
                f"{type(callback).__name__} in callbacks monitors {monitor!r}, but there are no validation "
                f"samples; pass X_val or early_stopping=True, or monitor={'train' + monitor[5:]!r}."
            )


def of_training(callbacks: Sequence[Any] | None) -> list[Any]:
    """Return copies of the callbacks that change how a model is trained, to train another one likewise."""
    kinds = LRScheduler, GradientNormClipping, ParamMapper
    copies = copy.deepcopy([given for given in callbacks or () if isinstance(_without_name(given), kinds)])
    for callback in map(_without_name, copies):
        if getattr(callback, "monitor", None) == "valid_loss":
            callback.monitor = "train_loss"  # the other one is trained on all samples
    return copies


def has_scheduler(callbacks: Sequence[tuple[str, Callback]]) -> bool:
    """Return whether a callback sets the learning rate."""
    return any(isinstance(callback, LRScheduler) for _, callback in callbacks)


def has_log(callbacks: Sequence[Any]) -> bool:
    """Return whether a callback prints a table of the epochs, for which the net must be verbose."""
    if not is_first_rank():
        return False
    kinds = (c if isinstance(c, type) else type(c) for c in map(_without_name, callbacks))
    return any(issubclass(kind, PrintLog) for kind in kinds)


def raised_by_callback(error: BaseException, callbacks: Sequence[tuple[str, Callback]]) -> bool:
    """Return whether a callback raised KeyboardInterrupt to stop, as those of skorch do, and not the user."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    frame = trace.tb_frame
    raises = dis.opname[frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"  # Ctrl-C comes anywhere else
    return raises and any(frame.f_locals.get("self") is callback for _, callback in callbacks)


def record_epoch(
    history: Any, prefix: str, losses: list[float], sizes: list[int], *, has_batches: bool
) -> None:
    """Add to an epoch with its loss the other entries that skorch's callbacks read."""
    name = f"{prefix}_loss"
    loss = history[-1][name]
    history.record(f"{name}_best", all(loss < epoch.get(name, math.inf) for epoch in history[:-1]))
    history.record(f"{prefix}_batch_count", len(sizes))
    if not has_batches:
        for of_batch, size in zip(losses, sizes, strict=True):
            history.new_batch()
            record_batch(history, prefix, of_batch, size)


def record_batch(history: Any, prefix: str, loss: float, size: int) -> None:
    """Record a batch as skorch does."""
    history.record_batch(f"{prefix}_loss", loss)
    history.record_batch(f"{prefix}_batch_size", size)


def history_of(recorded: dict[str, Any], first: Any) -> Any:
    """Return the history of several trainings: mean losses, and what users recorded in the first one."""
    history = type(first)()
    for i in range(len(recorded["train_loss"])):
        history.new_epoch()
        epoch = first[i] if i < len(first) else {"epoch": i + 1}
        for name, value in epoch.items():
            if name != "batches" and not name.startswith(("train_", "valid_")):
                history.record(name, value)
        for name, values in recorded.items():
            history.record(name, float(values[i]))
            if f"{name}_best" in first[0]:
                history.record(f"{name}_best", bool(values[i] <= np.min(values[: i + 1])))
    return history


class StopAfter(Callback):
    """Stop after a number of epochs, in the middle of the learning-rate schedule."""

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Stop after the last epoch."""
        if len(net.history) >= self.n_epochs:
            raise StopTraining


class Progress(Callback):
    """Progress bar over the epochs, with the losses, that of PCA, and the remaining time."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the bar."""
        from tqdm.auto import tqdm

        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", desc="autoencoder")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Advance the bar."""
        losses = {
            key: f"{net.history[-1, key]:.4g}"
            for key in ("train_loss", "valid_loss")
            if key in net.history[-1]
        }
        if net.pca_loss_ is not None:
            losses["pca_loss"] = f"{net.pca_loss_:.4g}"
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar_.close()
        self.bar_ = None
