"""Training engine: a skorch net at the speed of a hand-written loop.

skorch's loop is kept (callbacks, history, Ctrl-C, pickling); what costs time in
it is replaced: batches are slices of one tensor in memory, the step is bare, and
the loss is read once an epoch. AdamW (fused) follows a short warm-up and a cosine
decay; :class:`BestEpoch` keeps the best weights, with epoch 0 (PCA, before the
first step) as a candidate.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Generator, Tensor

from sklearn_ae._data.batches import Batches, InMemorySamples, StreamedBatches, StreamedSamples
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.objectives import Elbo, Objective
from sklearn_ae._training.adamw import FusedAdamW
from sklearn_ae._training.callbacks import StopTraining
from sklearn_ae._training.cuda_graphs import CapturedEpochs, obstacle
from sklearn_ae._training.schedule import WeightAverage
from sklearn_ae._utils.warnings import warn_user

_ALIVE = 64  # losses that are tensors of their own

_STEEP = 0.05  # fall of the loss over the last tenth of the epochs that calls for a warning


class AutoencoderNet(NeuralNet):
    """skorch net for an :class:`~sklearn_ae._module.Autoencoder` and its objective.

    Parameters beyond skorch's:

    alpha : float
        Decoupled weight decay on the weights of f and g.
    seed : int
        Of the generators for batches, corruption and bottleneck.
    bf16 : bool
        Run the steps under bfloat16 autocast.
    capturable : bool
        Whether no slot asks for a value in the middle of a step (:meth:`ModelSpec.capturable`).
    warmup : float
        Share of the steps in which the learning rate rises; None keeps it constant.
    """

    def __init__(
        self,
        module: Autoencoder,
        criterion: Objective | Elbo,
        *,
        alpha: float = 0.0,
        seed: int = 0,
        bf16: bool = False,
        capturable: bool = False,
        warmup: float | None = 0.05,
        **kwargs: Any,
    ):
        super().__init__(module, criterion, **kwargs)
        self.alpha = alpha
        self.seed = seed
        self.bf16 = bf16
        self.capturable = capturable
        self.warmup = warmup

    graph_fallback_reason_: str | None = (
        "nothing has been trained yet"  # why steps were not captured, None if they were
    )

    # -- what skorch asks for ------------------------------------------------

    @property
    def _default_callbacks(self) -> list:
        return []

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> AutoencoderNet:
        groups = self.module_.param_groups(self.alpha)
        self.optimizer_ = FusedAdamW(groups, lr=self.lr, fused=True)
        return self

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple:
        return X

    def get_iterator(
        self, dataset: InMemorySamples | StreamedSamples, training: bool = False
    ) -> Batches | StreamedBatches:
        if training:
            return dataset.batches(self.batch_size, self.generator)
        return dataset.batches(max(self.batch_size, 4096))

    # -- the loop --------------------------------------------------------------

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> AutoencoderNet:
        epochs = self.max_epochs if epochs is None else epochs
        self.step_, self.n_steps_ = 0, epochs * len(self.get_iterator(X[0], training=True))
        self.interrupted_ = False
        for group in self.optimizer_.param_groups:
            group["lr"] = self.lr * group["lr_multiplier"]
        self.average_ = None if self.warmup is None else WeightAverage(self.module_, self.n_steps_)
        # hooks within an epoch cost a call per batch, so they are called only where there are any
        self.batch_callbacks_ = self._overridden("on_batch_begin") or self._overridden("on_batch_end")
        self.gradient_callbacks_ = self._overridden("on_grad_computed")
        self.resident_ = self._resident(*X)
        try:
            super().fit_loop(X, y, epochs, **kwargs)
        except StopTraining:
            pass
        except KeyboardInterrupt:
            self.interrupted_ = True
        finally:
            if self.resident_ is not None:
                self.graph_fallback_reason_ = self.resident_.close()
            self.resident_ = None
        if self.average_ is not None:
            self.average_.swap()
        return self

    def _resident(self, train: InMemorySamples, valid: InMemorySamples | None) -> CapturedEpochs | None:
        """Epochs on the device, where they gain something; ``graph_fallback_reason_`` says why not."""
        self.graph_fallback_reason_ = obstacle(self, train)
        return CapturedEpochs(self, train, valid) if self.graph_fallback_reason_ is None else None

    def _set_training(self, training: bool = True) -> None:
        if self.module_.training != training:  # to walk through all modules takes as long as a small step
            super()._set_training(training)

    def _overridden(self, hook: str) -> bool:
        return any(getattr(type(cb), hook) is not getattr(Callback, hook) for _, cb in self.callbacks_)

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        if iterator is None:
            return
        self._set_training(training)
        with self.averaged(not training):
            if self.resident_ is not None and self.resident_.serves(training):
                losses, sizes = self.resident_.epoch(training)
            else:
                losses, sizes = self._run_batches(iterator, training, step_fn)
        loss = math.fsum(map(operator.mul, losses, sizes)) / sum(sizes)
        if not math.isfinite(loss):
            raise ValueError(
                f"Training diverged: the {prefix} loss is {loss} in epoch {len(self.history)}. Lower "
                f"learning_rate_init={self.lr:g}, or look for extreme values in X."
            )
        self.history.record(f"{prefix}_loss", loss)

    def _run_batches(self, iterator: Any, training: bool, step_fn: Any) -> tuple[list[float], list[int]]:
        """Losses of all batches, and their numbers of rows."""
        losses, sizes = _Record(len(iterator)), []
        for batch in iterator:
            if self.batch_callbacks_:
                self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            losses.add(step["loss"].detach())
            sizes.append(len(batch))
            if self.batch_callbacks_:
                self.notify("on_batch_end", batch=batch, training=training, **step)
        return losses.values(), sizes

    @contextlib.contextmanager
    def averaged(self, needed: bool = True) -> Iterator[None]:
        """Put the averaged weights into the module for a while."""
        if not needed or self.average_ is None:
            yield
            return
        self.average_.swap()
        try:
            yield
        finally:
            self.average_.swap()

    def train_step(self, batch: Tensor, **fit_params: Any) -> dict:
        self._schedule()
        self.optimizer_.clear_gradients()
        with self.autocast():
            loss = self.criterion_(self.module_(batch, self.generator))
        loss.backward()
        if self.gradient_callbacks_:
            parameters = list(self.module_.named_parameters())
            self.notify("on_grad_computed", named_parameters=parameters, batch=batch, training=True)
        self.optimizer_.advance()
        if self.average_ is not None:
            self.average_.update(self.step_)
        return {"loss": loss, "y_pred": None}

    def validation_step(self, batch: Tensor, **fit_params: Any) -> dict:
        return {"loss": self.objective_per_row(batch).mean(), "y_pred": None}

    def objective_per_row(self, batch: Tensor, generator: Generator | None = None) -> Tensor:
        """Objective of each row in evaluation mode, with the same noise at every call."""
        self._set_training(False)
        if generator is None:
            generator = Generator(batch.device).manual_seed(self.seed)
        with torch.set_grad_enabled(self.module_.needs_input_grad), self.autocast():
            return self.criterion_.per_row(self.module_(batch, generator)).detach()

    def evaluate(self, rows: InMemorySamples) -> np.ndarray:
        """Objective of each row of a set, shape (n,)."""
        parts = [self.objective_per_row(batch) for batch in self.get_iterator(rows)]
        return torch.cat(parts).cpu().double().numpy()  # mps has no float64

    def warn_unfinished(self, name: str) -> None:
        """Warn where training was interrupted, or the named loss was still falling when it ended."""
        if self.interrupted_:
            self._warn(
                f"Training was interrupted in epoch {len(self.history)}; the best model so far is kept."
            )
            return
        curve = [epoch[name] for epoch in self.history]
        tail = max(2, len(curve) // 10)
        if len(curve) < max(self.max_epochs, 2 * tail):
            return
        last, before = np.array(curve[-tail:]), np.array(curve[-2 * tail : -tail])
        fall = np.median(before) - np.median(last)
        if fall > _STEEP * self.criterion_.size(np.median(before)) and last.max() < before.min():
            self._warn(
                f"The loss was still falling steeply after max_iter={self.max_epochs} epochs; raise max_iter."
            )

    def _warn(self, message: str) -> None:
        warn_user(message, ConvergenceWarning)

    def _schedule(self) -> None:
        if self.warmup is None:
            return
        t, self.step_ = self.step_, self.step_ + 1
        self.criterion_.schedule(t / self.n_steps_)
        rate = self.rate(t)
        for group in self.optimizer_.param_groups:
            group["lr"] = rate * group["lr_multiplier"]

    def rate(self, t: int) -> float:
        """Learning rate of step t: up in a short warm-up, and down along a cosine."""
        if self.warmup is None:
            return self.lr
        n_warm = max(1.0, self.warmup * self.n_steps_)
        return min(1.0, (t + 1) / n_warm) * (0.5 * self.lr * (1 + math.cos(math.pi * t / self.n_steps_)))

    def autocast(self) -> Any:
        """Context of a pass in the training's precision."""
        if not self.bf16:
            return contextlib.nullcontext()
        device = torch.device(self.device).type
        # a captured step may not keep the weights that it has converted
        return torch.autocast(device, torch.bfloat16, cache_enabled=device == "cpu")


class _Record:
    """Scalars of an epoch's steps, read once.

    Each one that is alive keeps the allocator from giving the memory around it, of a batch and
    more, to the next step; so only some are.
    """

    def __init__(self, n: int):
        self.n = n
        self.alive: list[Tensor] = []
        self.kept: Tensor | None = None
        self.n_kept = 0

    def add(self, value: Tensor) -> None:
        self.alive.append(value)
        if len(self.alive) == _ALIVE:
            self._keep()

    def _keep(self) -> None:
        kept = self.alive[0].new_empty(self.n) if self.kept is None else self.kept
        part = slice(self.n_kept, self.n_kept + len(self.alive))
        torch.stack(self.alive, out=kept[part])
        self.kept, self.n_kept, self.alive = kept, part.stop, []

    def values(self) -> list[float]:
        if self.alive:
            self._keep()
        assert self.kept is not None
        return self.kept[: self.n_kept].tolist()
