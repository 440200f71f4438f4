"""What watches the training: best epoch, early stopping, progress; and the averaged weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from skorch.callbacks import Callback

_WARM_STEPS = 100  # in which the rate rises, where the end of training is not known

_STEADY_STEPS = 1_000  # after about which it begins to fall

_AVERAGED = 10  # one over the share of the steps so far that the average is of


class StopTraining(KeyboardInterrupt):
    """Ends training from a callback, unlike the user's Ctrl-C."""


class BestEpoch(Callback):
    """Keep the weights of the best validation epoch in memory; stop when it stays unbeaten.

    Parameters
    ----------
    patience : int
        Epochs without an improvement of the share ``tol`` after which training stops.
    tol : float
        Relative to the best validation loss.
    """

    def __init__(self, patience: float, tol: float):
        self.patience = patience
        self.tol = tol

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        self.best_epoch_ = 0
        self.best_loss_ = self.target_ = float(net.evaluate(X[1]).mean())
        self.n_misses_ = 0
        self.weights_ = copy.deepcopy(net.module_.state_dict())

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        loss = net.history[-1, "valid_loss"]
        if loss < self.best_loss_:
            self.best_loss_, self.best_epoch_ = loss, net.history[-1, "epoch"]
            with net.averaged():
                found = net.module_.state_dict()
                torch._foreach_copy_([self.weights_[name] for name in found], list(found.values()))
        if loss < self.target_ - self.tol * abs(self.target_):
            self.target_, self.n_misses_ = loss, 0
            return
        self.n_misses_ += 1
        if self.n_misses_ >= self.patience:
            raise StopTraining

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        net.module_.load_state_dict(self.weights_)
        self.weights_ = None
        self.best_losses_ = net.evaluate(X[1])


class StopAfter(Callback):
    """Stop after a number of epochs, in the middle of the schedule."""

    def __init__(self, n_epochs: int):
        self.n_epochs = n_epochs

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if len(net.history) >= self.n_epochs:
            raise StopTraining


class OnlineAverage(Callback):
    """Training without an end in sight: the rate falls with the root of time, and weights are averaged.

    The average is over about the last tenth of all steps so far [1]_. Between two
    calls the module has the average; the weights themselves are kept here, and
    training goes on with them.

    References
    ----------
    .. [1] O. Shamir, T. Zhang (2013), Stochastic gradient descent for non-smooth
       optimization: convergence results and optimal averaging schemes, ICML.
    """

    def __init__(self) -> None:
        self.step = 0
        self.weights: list[torch.Tensor] = []
        self.average: list[torch.Tensor] = []

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        self.parameters_ = [p.data for p in net.module_.parameters()]
        self.average = [p.clone() for p in self.parameters_]
        if self.weights:
            torch._foreach_copy_(self.parameters_, self.weights)

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        rate = net.lr * min(1.0, (self.step + 1) / _WARM_STEPS) / math.sqrt(1 + self.step / _STEADY_STEPS)
        for group in net.optimizer_.param_groups:
            group["lr"] = rate * group["lr_multiplier"]

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        self.step += 1
        torch._foreach_lerp_(self.average, self.parameters_, min(1.0, _AVERAGED / self.step))

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        self.weights = [p.to("cpu", copy=True) for p in self.parameters_]  # can be loaded anywhere
        torch._foreach_copy_(self.parameters_, self.average)
        self.parameters_ = self.average = []


class Progress(Callback):
    """One progress bar over the epochs, with the losses and the time left."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        from tqdm.auto import tqdm

        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", desc="autoencoder")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        losses = {
            key: f"{net.history[-1, key]:.4g}"
            for key in ("train_loss", "valid_loss")
            if key in net.history[-1]
        }
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.bar_.close()
        self.bar_ = None
