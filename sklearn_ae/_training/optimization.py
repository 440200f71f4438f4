"""Optimisation: batch size and number of epochs, AdamW, averaged weights, early stopping.

AdamW is torch's fused kernel with little Python around it. What torch does around the
kernel takes longer than the kernel itself if networks are small, and its first step
imports torch's compiler, which costs a process a second or more.
"""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor

SMALL = 1_000  # samples up to which batches are small and accepted models are retrained on all samples
_LARGE = 20_000  # samples from which larger batches cover more of them in the same number of steps
_CHEAP = 100  # features up to which more steps on a large dataset cost little, and rare samples need them
_BATCH_SIZES = (64, 128, 256)  # of batch_size="auto": up to SMALL, up to _LARGE, and beyond
_WARM_STEPS = 100  # warm-up of open-ended training
_STEADY_STEPS = 1_000  # steps after which the learning rate of open-ended training starts to decay
_AVERAGED = 10  # open-ended training averages the last 1 / _AVERAGED of all steps


class Schedule(NamedTuple):
    """Length of a training with ``max_iter="auto"``, and the decay rates of AdamW's moments."""

    n_steps: int
    n_steps_large: int  # of large datasets with few features
    max_epochs: int  # upper bound if training starts at PCA
    betas: tuple[float, float]


# The usual decay rate 0.999 averages squared gradients over 1,000 steps. While the loss falls by orders of
# magnitude, such an average is too large, and the steps are too short: with 0.95, less than half of them
# suffice.
SHORT = Schedule(1_800, 2_400, 100, (0.9, 0.95))

# The gradients of a VAE stay noisy, because codes are sampled, and need long averages.
LONG = Schedule(4_000, 4_000, 150, (0.9, 0.999))


@dataclass(frozen=True)
class TrainingConfig:
    """Training parameters of the estimators, with the device resolved."""

    batch_size: int | str
    learning_rate_init: float
    max_iter: int | str
    alpha: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: float
    tol: float
    device: torch.device
    precision: str
    callbacks: Any
    verbose: int
    schedule: Schedule
    n_folds: int  # of small data, if one validation set shows no gain over PCA; 0 for none

    def resolved(self, shape: tuple[int, ...], init: str) -> TrainingConfig:
        """Return the config with batch size and number of epochs for training samples of a shape."""
        size, epochs = batch_size_and_epochs(self.batch_size, self.max_iter, shape, init, self.schedule)
        return replace(self, batch_size=size, max_iter=epochs)


def batch_size_and_epochs(
    batch_size: int | str, max_iter: int | str, shape: tuple[int, ...], init: str, schedule: Schedule
) -> tuple[int, int]:
    """Resolve "auto" for training samples of a shape, and limit the batch size to their number."""
    n_samples, n_features = shape
    if isinstance(batch_size, str):
        batch_size = _BATCH_SIZES[(n_samples > SMALL) + (n_samples > _LARGE)]
    size = min(batch_size, n_samples)
    if isinstance(max_iter, str):
        has_rare = n_samples > _LARGE and n_features <= _CHEAP
        n_steps = schedule.n_steps_large if has_rare else schedule.n_steps
        max_iter = -(-n_steps // -(-n_samples // size))
        max_iter = min(schedule.max_epochs, max_iter) if init == "pca" else max_iter
    return size, max_iter


class FusedAdamW(torch.optim.AdamW):
    """torch's fused AdamW; :meth:`advance` is its step with less overhead.

    Kernel, state and results are the same. On devices other than the CPU,
    ``advance`` is ``step``.
    """

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)  # without the guard for the compiler

    def clear_gradients(self) -> None:
        """Do what ``zero_grad(set_to_none=True)`` does, without a record for profilers."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def advance(self) -> None:
        """Update all parameters that have a gradient."""
        if self.param_groups[0]["params"][0].device.type != "cpu":
            self.step()
            return
        with torch.no_grad():
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                if params:
                    self._update(group, params)

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        states = [self.state[p] or self._new_state(p) for p in params]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            params,
            [p.grad for p in params],  # type: ignore[misc]
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            grad_scale=None,
            found_inf=None,
        )

    def _new_state(self, p: Tensor) -> dict[str, Tensor]:
        """Return the state of a parameter before its first step, as torch initialises it."""
        averages = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
        self.state[p] = {"step": torch.zeros((), dtype=torch.float32, device="cpu"), **averages}
        return self.state[p]

    def set_rate(self, rate: float) -> None:
        """Set the learning rate, multiplied by the ``lr_multiplier`` of each group."""
        for group in self.param_groups:
            group["lr"] = rate * group["lr_multiplier"]

    def move_state(self) -> None:
        """Move the moments to the device of the parameters."""
        self.load_state_dict(self.state_dict())


class WeightAverage:
    """Moving average of the weights over about a tenth of the planned steps.

    The average is validated and kept: it costs next to nothing and is less noisy
    than the weights of a single step (B. Polyak, A. Juditsky (1992), Acceleration
    of stochastic approximation by averaging, SIAM J. Control Optim. 30(4)).

    Parameters
    ----------
    module : torch.nn.Module
    n_steps : int
        Steps of the whole training.
    """

    def __init__(self, module: torch.nn.Module, n_steps: int) -> None:
        self.parameters = list(module.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.horizon = max(1.0, 0.1 * n_steps)
        self.every = max(1, int(self.horizon / 10))  # steps between updates
        self.weights = [p.data for p in self.parameters]

    def update(self, step: int) -> None:
        """Include the current weights."""
        if step % self.every == 0:
            share = self.every / min(self.horizon, (step + 1) / 3)
            torch._foreach_lerp_(self.average, self.weights, min(1.0, share))

    def swap(self) -> None:
        """Exchange the weights of the module and their average."""
        for i, p in enumerate(self.parameters):
            p.data, self.average[i] = self.average[i], p.data
        self.weights = [p.data for p in self.parameters]


class StopTraining(KeyboardInterrupt):
    """Raised by a callback to end training, as opposed to the user's Ctrl-C."""


class Patience:
    """End of a training that no longer improves.

    Parameters
    ----------
    n_epochs : float
        Epochs without an improvement by the share ``tol`` after which training stops.
    tol : float
        Relative to the best validation loss.
    first_loss : float
        Validation loss of the untrained model, which is epoch 0.
    """

    def __init__(self, n_epochs: float, tol: float, first_loss: float) -> None:
        self.n_epochs = n_epochs
        self.tol = tol
        self.target = first_loss
        self.n_misses = 0

    def update(self, loss: float) -> None:
        """Take account of an epoch, and stop after too many misses."""
        if loss < self.target - self.tol * abs(self.target):
            self.target = loss
            self.n_misses = 0
            return
        self.n_misses += 1
        if self.n_misses >= self.n_epochs:
            raise StopTraining


class BestEpoch(Callback):
    """Early stopping that keeps the weights of the best validation epoch in memory.

    Parameters
    ----------
    patience, tol, first_loss : float
        Of :class:`Patience`.
    """

    def __init__(self, patience: float, tol: float, first_loss: float) -> None:
        self.patience = Patience(patience, tol, first_loss)
        self.best_loss_ = first_loss
        self.best_epoch_ = 0

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Take the untrained model as epoch 0."""
        self.weights_ = copy.deepcopy(net.module_.state_dict())

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Keep the weights of a better epoch; stop after too many others."""
        loss = net.history[-1, "valid_loss"]
        if loss < self.best_loss_:
            self.best_loss_ = loss
            self.best_epoch_ = net.history[-1, "epoch"]
            with net.averaged():
                found = net.module_.state_dict()
                torch._foreach_copy_([self.weights_[name] for name in found], list(found.values()))
        self.patience.update(loss)

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Restore the weights of the best epoch."""
        net.module_.load_state_dict(self.weights_)
        self.weights_ = None


class LossesOfEpochs(Callback):
    """Objective of each validation sample in each epoch, until it stops improving.

    Parameters
    ----------
    samples : WorkingSamples
        Validation samples.
    n_epochs, tol : float
        Of :class:`Patience`.

    Attributes
    ----------
    losses_ : list of ndarray of shape (n_samples,)
        Of the untrained model, which is epoch 0, and of each epoch.
    """

    def __init__(self, samples: Any, n_epochs: float, tol: float) -> None:
        self.samples = samples
        self.n_epochs = n_epochs
        self.tol = tol

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Evaluate the untrained model."""
        self.losses_ = [net.evaluate(self.samples)]
        self.patience_ = Patience(self.n_epochs, self.tol, float(self.losses_[0].mean()))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Evaluate the averaged weights."""
        with net.averaged():
            self.losses_.append(net.evaluate(self.samples))
        self.patience_.update(float(self.losses_[-1].mean()))


class OnlineAverage(Callback):
    """Open-ended training: the learning rate decays as 1/sqrt(step), and weights are averaged.

    The average covers about the last tenth of all steps so far [1]_. Between two
    calls the module holds the average; the weights themselves are kept here, and
    training continues from them.

    References
    ----------
    .. [1] O. Shamir, T. Zhang (2013), Stochastic gradient descent for non-smooth
       optimization: convergence results and optimal averaging schemes, ICML.
    """

    def __init__(self) -> None:
        self.step = 0
        self.weights: list[Tensor] = []
        self.average: list[Tensor] = []

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Continue from the weights of the last call."""
        self.parameters_ = [p.data for p in net.module_.parameters()]
        self.average = [p.clone() for p in self.parameters_]
        if self.weights:
            torch._foreach_copy_(self.parameters_, self.weights)

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        """Set the learning rate of this step."""
        warm_up = min(1.0, (self.step + 1) / _WARM_STEPS)
        net.optimizer_.set_rate(net.lr * warm_up / math.sqrt(1 + self.step / _STEADY_STEPS))

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        """Include the new weights in the average."""
        self.step += 1
        torch._foreach_lerp_(self.average, self.parameters_, min(1.0, _AVERAGED / self.step))

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Leave the average in the module."""
        self.weights = [p.to("cpu", copy=True) for p in self.parameters_]  # can be loaded on any machine
        torch._foreach_copy_(self.parameters_, self.average)
        self.parameters_ = self.average = []

    def __getstate__(self) -> dict[str, Any]:
        """Return the state between two calls, without types of torch."""
        return {"step": self.step, "weights": [p.numpy() for p in self.weights]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self.step = state["step"]
        self.weights = [torch.from_numpy(np.array(p)) for p in state["weights"]]
