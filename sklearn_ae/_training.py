"""Training engine: a skorch net at the speed of a hand-written loop.

skorch's loop is kept (callbacks, history, Ctrl-C, pickling); what costs time in
it is replaced: batches are slices of one tensor in memory, the step is bare, and
the loss is read once an epoch. AdamW (fused) follows a short warm-up and a cosine
decay; :class:`BestEpoch` keeps the best weights, with epoch 0 (PCA, before the
first step) as a candidate.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import sparse
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Generator, Tensor
from torch.utils.data import Dataset

from sklearn_ae._module import Autoencoder, Objective

_BLOCK_BYTES = 2**26  # of rows converted at a time


class Rows(Dataset):
    """Rows of X in working units: centred in X's precision, divided by one scalar, float32.

    Data in memory is converted once. Memory-mapped and sparse data stay as they
    are, and each batch is converted when it is asked for.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, d)
    indices : ndarray of int or None
        The rows to use, None for all.
    offset : ndarray of shape (d,)
    scale : float
        Working rows are ``(X - offset) / scale``.
    device : torch.device
    lazy : bool
        Convert batch by batch.
    """

    def __init__(
        self,
        X: Any,
        indices: np.ndarray | None,
        offset: np.ndarray,
        scale: float,
        device: torch.device,
        lazy: bool = False,
    ):
        self.X = X
        self.indices = np.arange(X.shape[0]) if indices is None else indices
        self.offset = offset
        self.scale = scale
        self.device = device
        self.tensor = None if lazy or sparse.issparse(X) else self._convert_all()
        if self.tensor is not None:
            self.X = None

    def _convert_all(self) -> Tensor:
        n, d = len(self.indices), self.X.shape[1]
        out = torch.empty((n, d), dtype=torch.float32)
        block = max(1, _BLOCK_BYTES // (8 * d))
        for start in range(0, n, block):
            part = slice(start, start + block)
            out[part] = torch.from_numpy(self._convert(self.indices[part]))
        return out.to(self.device)

    def _convert(self, indices: np.ndarray) -> np.ndarray:
        part = self.X[indices]
        part = part.toarray() if sparse.issparse(part) else part
        return ((part - self.offset) / self.scale).astype(np.float32)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Tensor:
        if self.tensor is not None:
            return self.tensor[index]
        rows = self.indices[index.numpy() if isinstance(index, Tensor) else index]
        return torch.from_numpy(self._convert(np.atleast_1d(rows))).to(self.device)


class Batches:
    """Iterate over nearly equal batches, in a fresh random order where a generator is given."""

    def __init__(self, rows: Rows, batch_size: int, generator: Generator | None = None):
        self.rows = rows
        self.n_batches = max(1, math.ceil(len(rows) / batch_size))
        self.generator = generator

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        n, whole = len(self.rows), self.rows.tensor
        if self.n_batches == 1 and whole is not None:
            yield whole  # the order of the rows within a full batch has no effect
        elif self.generator is None:
            for index in torch.arange(n).tensor_split(self.n_batches):
                yield self.rows[index]
        else:
            order = torch.randperm(n, generator=self.generator, device=self.generator.device)
            for index in order.tensor_split(self.n_batches):
                yield self.rows[index]


class AutoencoderNet(NeuralNet):
    """skorch net for an :class:`~sklearn_ae._module.Autoencoder` and its objective.

    Parameters beyond skorch's:

    alpha : float
        Decoupled weight decay on the weights of f and g.
    seed : int
        Of the generators for batches, corruption and bottleneck.
    bf16 : bool
        Run the steps under bfloat16 autocast.
    warmup : float
        Share of the steps in which the learning rate rises; None keeps it constant.
    """

    def __init__(
        self,
        module: Autoencoder,
        criterion: Objective,
        *,
        alpha: float = 0.0,
        seed: int = 0,
        bf16: bool = False,
        warmup: float | None = 0.05,
        **kwargs: Any,
    ):
        super().__init__(module, criterion, **kwargs)
        self.alpha = alpha
        self.seed = seed
        self.bf16 = bf16
        self.warmup = warmup

    # -- what skorch asks for ------------------------------------------------

    @property
    def _default_callbacks(self) -> list:
        return []

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> AutoencoderNet:
        groups = self.module_.param_groups(self.alpha)
        self.optimizer_ = torch.optim.AdamW(groups, lr=self.lr, fused=True)
        return self

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple:
        return X

    def get_iterator(self, dataset: Rows, training: bool = False) -> Batches:
        if training:
            return Batches(dataset, self.batch_size, self.generator)
        return Batches(dataset, max(self.batch_size, 4096))

    # -- the loop --------------------------------------------------------------

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> AutoencoderNet:
        epochs = self.max_epochs if epochs is None else epochs
        self.step_, self.n_steps_ = 0, epochs * len(self.get_iterator(X[0], training=True))
        self.interrupted_ = False
        for group in self.optimizer_.param_groups:
            group["lr"] = self.lr
        self.average_ = None if self.warmup is None else WeightAverage(self.module_, self.n_steps_)
        # hooks within an epoch cost a call per batch, so they are called only where there are any
        self.batch_callbacks_ = self._overridden("on_batch_begin") or self._overridden("on_batch_end")
        self.gradient_callbacks_ = self._overridden("on_grad_computed")
        try:
            super().fit_loop(X, y, epochs, **kwargs)
        except StopTraining:
            pass
        except KeyboardInterrupt:
            self.interrupted_ = True
        if self.average_ is not None:
            self.average_.swap()
        return self

    def _overridden(self, hook: str) -> bool:
        return any(getattr(type(cb), hook) is not getattr(Callback, hook) for _, cb in self.callbacks_)

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        if iterator is None:
            return
        self._set_training(training)
        with self.averaged(not training):
            loss = self._run_batches(iterator, training, step_fn)
        if not math.isfinite(loss):
            raise ValueError(
                f"Training diverged: the {prefix} loss is {loss} in epoch {len(self.history)}. Lower "
                f"learning_rate_init={self.lr:g}, or look for extreme values in X."
            )
        self.history.record(f"{prefix}_loss", loss)

    def _run_batches(self, iterator: Any, training: bool, step_fn: Any) -> float:
        losses, sizes = [], []
        for batch in iterator:
            if self.batch_callbacks_:
                self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            losses.append(step["loss"].detach())
            sizes.append(len(batch))
            if self.batch_callbacks_:
                self.notify("on_batch_end", batch=batch, training=training, **step)
        return float(np.average(torch.stack(losses).tolist(), weights=sizes))

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
        self.optimizer_.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self.criterion_(self.module_(batch, self.generator))
        loss.backward()
        if self.gradient_callbacks_:
            parameters = list(self.module_.named_parameters())
            self.notify("on_grad_computed", named_parameters=parameters, batch=batch, training=True)
        self.optimizer_.step()
        if self.average_ is not None:
            self.average_.update(self.step_)
        return {"loss": loss, "y_pred": None}

    def validation_step(self, batch: Tensor, **fit_params: Any) -> dict:
        return {"loss": self.objective_per_row(batch).mean(), "y_pred": None}

    def objective_per_row(self, batch: Tensor) -> Tensor:
        """Objective of each row in evaluation mode, with the same noise at every call."""
        self._set_training(False)
        generator = Generator(batch.device).manual_seed(self.seed)
        with torch.set_grad_enabled(self.module_.needs_input_grad), self._autocast():
            return self.criterion_.per_row(self.module_(batch, generator)).detach()

    def evaluate(self, rows: Rows) -> np.ndarray:
        """Objective of each row of a set, shape (n,)."""
        parts = [self.objective_per_row(batch) for batch in self.get_iterator(rows)]
        return torch.cat(parts).double().cpu().numpy()

    def _schedule(self) -> None:
        if self.warmup is None:
            return
        n_warm = max(1.0, self.warmup * self.n_steps_)
        t, self.step_ = self.step_, self.step_ + 1
        rate = 0.5 * self.lr * (1 + math.cos(math.pi * t / self.n_steps_))
        for group in self.optimizer_.param_groups:
            group["lr"] = min(1.0, (t + 1) / n_warm) * rate

    def _autocast(self) -> Any:
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)


class WeightAverage:
    """Running average of the weights over about the last tenth of the steps so far to come.

    What is validated and kept is the average: it costs next to nothing and is
    less noisy than the weights of any one step (B. Polyak, A. Juditsky (1992),
    Acceleration of stochastic approximation by averaging, SIAM J. Control
    Optim. 30(4)).

    Parameters
    ----------
    module : torch.nn.Module
    n_steps : int
        Steps of the whole training, of which a tenth is the horizon.
    """

    def __init__(self, module: torch.nn.Module, n_steps: int):
        self.parameters = list(module.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.horizon = max(1.0, 0.1 * n_steps)
        self.every = 4 if self.horizon >= 40 else 1  # steps between updates

    def update(self, step: int) -> None:
        if step % self.every == 0:
            share = self.every / min(self.horizon, (step + 1) / 3)
            torch._foreach_lerp_(self.average, [p.data for p in self.parameters], min(1.0, share))

    def swap(self) -> None:
        """Exchange the module's weights and their average."""
        for i, p in enumerate(self.parameters):
            p.data, self.average[i] = self.average[i], p.data


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
                for name, value in net.module_.state_dict().items():
                    self.weights_[name].copy_(value)
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
