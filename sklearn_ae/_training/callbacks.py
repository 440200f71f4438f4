"""Callbacks that only some fits need: a progress bar, and a fixed number of epochs."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import Callback

from sklearn_ae._training.optimization import StopTraining


class StopAfter(Callback):
    """Stop after a number of epochs, in the middle of the learning-rate schedule."""

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Stop after the last epoch."""
        if len(net.history) >= self.n_epochs:
            raise StopTraining


class Progress(Callback):
    """Progress bar over the epochs, with the losses and the remaining time."""

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
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar_.close()
        self.bar_ = None
