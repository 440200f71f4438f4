"""Training engine: a skorch net at the speed of a hand-written loop.

skorch's loop is kept (callbacks, history, Ctrl-C, pickling), and its expensive parts
are replaced: batches are slices of one tensor in memory, the step is bare, and the
loss is read once per epoch. Fused AdamW follows a short warm-up and a cosine decay;
:class:`~sklearn_ae._training.optimization.BestEpoch` keeps the best weights, with
epoch 0 (PCA, before the first step) as a candidate.
"""

from __future__ import annotations

import contextlib
import copy
import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Generator, Tensor

from sklearn_ae._data.in_memory import Batches
from sklearn_ae._model.initialization import Start
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.objectives import Elbo, Objective, Record
from sklearn_ae._training import callbacks as hooks
from sklearn_ae._training.cuda_graphs import CapturedEpochs
from sklearn_ae._training.optimization import (
    BestEpoch,
    FusedAdamW,
    OnlineAverage,
    StopTraining,
    TrainingConfig,
    WeightAverage,
)
from sklearn_ae._utils.ranks import RANKS
from sklearn_ae._utils.runtime import use_bf16
from sklearn_ae._utils.warnings import warn_user

_ALIVE = 8  # losses that are kept as separate tensors
_STEEP = 0.05  # decrease of the loss over the last tenth of the epochs that calls for a warning
_MIN_CAPTURED_STEPS = 300  # steps of a training from which capturing graphs (tens of milliseconds) pays
_MAX_CAPTURED_FLOPS = 1e12  # operations per step beyond which launching kernels is no bottleneck

EpochValues = tuple[list[float], list[int], list[list[float]]]  # losses, sizes and terms of the batches


def new_net(start: Start, objective: Objective | Elbo, config: TrainingConfig, seed: int) -> AutoencoderNet:
    """Return an initialised net.

    Parameters
    ----------
    start : Start
    objective : Objective or Elbo
    config : TrainingConfig
        Resolved for the number of training samples.
    seed : int
        Of the batches and the noise.
    """
    batch_size: Any = config.batch_size
    callbacks = list(config.callbacks or [])
    prints = config.verbose or (callbacks and hooks.has_log(callbacks))
    if config.verbose:
        callbacks.append(("progress", hooks.Progress()))
    ranks = RANKS.get()
    net = (AutoencoderNet if ranks is None else ranks.net_class)(
        copy.deepcopy(start.module).float(),
        objective,
        lr=config.learning_rate_init,
        max_epochs=config.max_iter,
        batch_size=batch_size,
        alpha=config.alpha,
        betas=config.schedule.betas,
        seed=seed,
        bf16=use_bf16(config.precision, config.device, start.module, batch_size),
        capturable=start.is_capturable,
        callbacks=callbacks,
        device=str(config.device),
        verbose=int(bool(prints)),
    )
    return net.initialize()


class AutoencoderNet(NeuralNet):
    """skorch net for an :class:`~sklearn_ae._model.module.Autoencoder` and its objective.

    Parameters beyond those of skorch:

    alpha : float
        Decoupled weight decay on the weights of f and g.
    betas : tuple of float
        Decay rates of AdamW's moments.
    seed : int
        Of the generators for batches, corruption and bottleneck.
    bf16 : bool
        Run the steps under bfloat16 autocast.
    capturable : bool
        Whether steps run without a device-to-host synchronisation.
    warmup : float or None
        Share of the steps during which the learning rate rises; None is open-ended
        training, whose learning rate is set by a callback.
    """

    def __init__(
        self,
        module: Autoencoder,
        criterion: Objective | Elbo,
        *,
        alpha: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        seed: int = 0,
        bf16: bool = False,
        capturable: bool = False,
        warmup: float | None = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion, **kwargs)
        self.alpha = alpha
        self.betas = betas
        self.seed = seed
        self.bf16 = bf16
        self.capturable = capturable
        self.warmup = warmup

    is_shared = False  # True if several estimators hold the net, so that none may train it
    graph_fallback_reason_: str | None = "nothing has been trained yet"  # None if steps were captured
    interrupted_ = False
    pca_loss_: float | None = None  # validation loss of the initial PCA
    batch_size: Any
    history: Any
    callbacks_: list[tuple[str, Callback]]
    generator: Generator | None = None
    average_: WeightAverage | None = None
    uses_average_ = False  # True while the averaged weights are in the module
    record_: Record | None = None  # of the terms of the objective, while an epoch runs
    has_user_callbacks_ = False
    has_scheduler_ = False  # True if a callback sets the learning rate

    @property
    def is_trainable(self) -> bool:
        """Whether weights may be changed: nobody else holds them, and torch allows it."""
        return not (self.is_shared or any(p.is_inference() for p in self.module_.parameters()))

    # -- hooks of skorch -------------------------------------------------------

    @property
    def _default_callbacks(self) -> list:
        return []

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> AutoencoderNet:
        """Create the optimizer."""
        groups = self.module_.param_groups(self.alpha)
        self.optimizer_ = FusedAdamW(groups, lr=self.lr, betas=self.betas, fused=True)
        return self

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple:
        """Return training and validation samples, which are passed as a pair."""
        return X

    def get_iterator(self, dataset: Any, training: bool = False) -> Batches:
        """Return the batches of an epoch."""
        if training:
            return dataset.batches(self.batch_size, self.generator)
        return dataset.batches(max(self.batch_size, 4096))

    # -- training ----------------------------------------------------------------

    def run(
        self, train: Any, valid: Any = None, *, watch: Callback | None = None, epochs: int | None = None
    ) -> AutoencoderNet:
        """Train on samples in working units.

        Parameters
        ----------
        train, valid : WorkingSamples or StreamedWorkingSamples
        watch : Callback, default=None
            Called before the user's callbacks, so that it sees every epoch.
        epochs : int, default=None
            None trains for ``max_epochs``.
        """
        if watch is not None:
            self.callbacks_.insert(0, ("watch", watch))
        self.generator = Generator(torch.device(self.device)).manual_seed(self.seed + len(self.history or ()))
        self.has_user_callbacks_ = any(
            not type(callback).__module__.startswith("sklearn_ae.") for _, callback in self.callbacks_
        )
        if self.has_user_callbacks_:
            hooks.check_monitors(self.callbacks_, valid is not None)
            self.has_scheduler_ = hooks.has_scheduler(self.callbacks_)
            self.optimizer_.set_rate(self.lr)  # from which a scheduler starts
        try:
            self.partial_fit((train, valid), epochs=epochs)
        finally:
            self.callbacks_ = [(name, callback) for name, callback in self.callbacks_ if name != "watch"]
        return self

    def run_with_validation(
        self, train: Any, valid: Any, patience: float, tol: float
    ) -> tuple[BestEpoch, np.ndarray]:
        """Train until the validation loss stops improving, and restore the best epoch.

        Returns
        -------
        best : BestEpoch
        losses : ndarray of shape (n_valid,)
            Objective of each validation sample in the best epoch.
        """
        best = BestEpoch(patience, tol, first_loss=float(self.evaluate(valid).mean()))
        self.run(train, valid, watch=best)
        self.warn_unfinished("valid_loss")
        return best, self.evaluate(valid)

    def run_to_the_end(self, train: Any, valid: Any = None) -> None:
        """Train for all epochs."""
        self.run(train, valid)
        self.warn_unfinished("train_loss")

    def resume(self, objective: Objective | Elbo, config: TrainingConfig) -> None:
        """Prepare for open-ended training with the current weights and moments."""
        self.criterion_ = objective
        self.batch_size = config.batch_size
        self.warmup = None
        self.device = str(config.device)
        self.lr = config.learning_rate_init
        self.module_.to(config.device)
        self.optimizer_.move_state()
        if not any(name == "online_average" for name, _ in self.callbacks_):
            self.callbacks_.append(("online_average", OnlineAverage()))

    def release(self, *, keeps_moments: bool = False) -> AutoencoderNet:
        """Move the net to the CPU, and drop everything that only training needs."""
        self.module_.eval().to("cpu")
        self.device = "cpu"
        self.generator = None
        self.average_ = None
        if keeps_moments:
            self.optimizer_.move_state()
        else:
            self.optimizer_.state.clear()
        return self

    def losses(self, name: str) -> list[float]:
        """Return a loss of all epochs in which it was computed."""
        return [epoch[name] for epoch in self.history if name in epoch]

    def with_history_of(self, other: AutoencoderNet) -> AutoencoderNet:
        """Take over the history, and whether training was interrupted."""
        self.history = other.history
        self.interrupted_ = other.interrupted_
        self.graph_fallback_reason_ = other.graph_fallback_reason_
        return self

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> AutoencoderNet:
        """Run all epochs; averaged weights are left in the module."""
        epochs = self.max_epochs if epochs is None else epochs
        self.step_ = 0
        self.n_steps_ = epochs * self.get_iterator(X[0], training=True).n_batches
        self.interrupted_ = False
        self.average_ = None if self.warmup is None else WeightAverage(self.module_, self.n_steps_)
        # Hooks within an epoch cost a call per batch, so that they are called only if there are any.
        self.batch_callbacks_ = self._overridden("on_batch_begin") or self._overridden("on_batch_end")
        self.gradient_callbacks_ = self._overridden("on_grad_computed")
        self.graph_fallback_reason_ = self._reason_against_graphs(X[0])
        self.captured_ = CapturedEpochs(self, *X) if self.graph_fallback_reason_ is None else None
        try:
            super().fit_loop(X, y, epochs, **kwargs)
        except StopTraining:
            pass
        except KeyboardInterrupt as error:
            self.interrupted_ = not hooks.raised_by_callback(error, self.callbacks_)
        finally:
            if self.captured_ is not None:
                self.graph_fallback_reason_ = self.captured_.close()
            self.captured_ = None
            self.record_ = None
        self._swap_average()
        return self

    def _reason_against_graphs(self, samples: Any) -> str | None:
        """Return why steps are not captured as CUDA graphs; None if they are."""
        device = torch.device(self.device).type
        flops = 6 * self.batch_size * self.module_.n_weights
        reasons = {
            "an option or a network is user code, or decomposes matrices": not self.capturable,
            "samples are not in memory, but read batch by batch": samples.tensor is None,
            "a callback inspects batches": self.batch_callbacks_,
            "a callback inspects gradients": self.gradient_callbacks_,
            f"{self.n_steps_} steps are too few": self.n_steps_ < _MIN_CAPTURED_STEPS,
            f"steps of {flops:.0e} operations gain nothing": flops > _MAX_CAPTURED_FLOPS,
            f"graphs are for cuda, not for {device}": device != "cuda",
        }
        return next((reason for reason, applies in reasons.items() if applies), None)

    def _set_training(self, training: bool = True) -> None:
        if self.module_.training != training:  # walking through all modules takes as long as a small step
            super()._set_training(training)

    def _overridden(self, hook: str) -> bool:
        return any(getattr(type(cb), hook) is not getattr(Callback, hook) for _, cb in self.callbacks_)

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        """Run an epoch of training or validation and record its loss and the terms of the objective."""
        if iterator is None:
            return
        self._set_training(training)
        with self.averaged(not training):
            if self.captured_ is not None and self.captured_.serves(training):
                losses, sizes, terms = self.captured_.epoch(training)
            else:
                losses, sizes, terms = self._run_batches(iterator, training, step_fn)
        loss = weighted_sum(losses, sizes) / sum(sizes)
        if not math.isfinite(loss):
            raise ValueError(
                f"Training diverged: the {prefix} loss is {loss} in epoch {len(self.history)}. Lower "
                f"learning_rate_init={self.lr:g}, or check X for extreme values."
            )
        self.history.record(f"{prefix}_loss", loss)
        for name, values in zip(self.criterion_.terms, zip(*terms, strict=True), strict=False):
            self.history.record(f"{prefix}_{name}", weighted_sum(values, sizes) / sum(sizes))
        if self.has_user_callbacks_:
            hooks.record_epoch(self.history, prefix, losses, sizes, has_batches=self.batch_callbacks_)

    def _run_batches(self, iterator: Any, training: bool, step_fn: Any) -> EpochValues:
        """Return the losses, sizes and terms of all batches."""
        losses = _Record(iterator.n_batches)
        sizes = []
        terms = _Record(iterator.n_batches)
        self.record_ = terms.add
        for batch in iterator:
            if self.batch_callbacks_:
                self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            losses.add(step["loss"].detach())
            sizes.append(len(batch))
            if self.batch_callbacks_:
                if self.has_user_callbacks_:
                    prefix = "train" if training else "valid"
                    hooks.record_batch(self.history, prefix, float(step["loss"].detach()), len(batch))
                self.notify("on_batch_end", batch=batch, training=training, **step)
        self.record_ = None
        return losses.values(), sizes, terms.values()

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Call a hook of all callbacks; at the end of an epoch those of users find the averaged weights."""
        with self.averaged(method_name == "on_epoch_end" and self.has_user_callbacks_):
            super().notify(method_name, **kwargs)

    @contextlib.contextmanager
    def averaged(self, needed: bool = True) -> Iterator[None]:
        """Use the averaged weights temporarily."""
        if not needed or self.uses_average_:
            yield
            return
        self._swap_average()
        self.uses_average_ = True
        try:
            yield
        finally:
            self._swap_average()
            self.uses_average_ = False

    def _swap_average(self) -> None:
        if self.average_ is not None:
            self.average_.swap()

    def train_step(self, batch: Tensor, **fit_params: Any) -> dict:
        """Take one optimizer step."""
        self._schedule()
        self.optimizer_.clear_gradients()
        with self.autocast():
            loss = self.criterion_(self.module_(batch, self.generator), self.record_)
        loss.backward()
        if self.gradient_callbacks_:
            parameters = list(self.module_.named_parameters())
            self.notify("on_grad_computed", named_parameters=parameters, batch=batch, training=True)
        if self.has_scheduler_:
            self.optimizer_.step()  # schedulers of torch check that it is called
        else:
            self.optimizer_.advance()
        if self.average_ is not None:
            self.average_.update(self.step_)
        return {"loss": loss, "y_pred": None}

    def validation_step(self, batch: Tensor, **fit_params: Any) -> dict:
        """Evaluate the objective on a batch of validation samples."""
        return {"loss": self.objective_per_sample(batch, record=self.record_).mean(), "y_pred": None}

    def objective_per_sample(
        self, batch: Tensor, generator: Generator | None = None, **options: Any
    ) -> Tensor:
        """Return the objective of each sample in evaluation mode, with the same noise in every call.

        ``options`` are those of the objective: ``record`` is called with its terms, if it has any, and
        the noise variance of a likelihood is corrected for the samples unless ``calibrated=False``.
        """
        self._set_training(False)
        if generator is None:
            generator = Generator(batch.device).manual_seed(self.seed)
        with torch.set_grad_enabled(self.module_.needs_input_grad), self.autocast():
            out = self.module_(batch, generator)
            return self.criterion_.per_sample(out, **options).detach()

    def evaluate(self, samples: Any, *, calibrated: bool = True) -> np.ndarray:
        """Return the objective of each sample, shape (n,)."""
        batches = self.get_iterator(samples)
        parts = [self.objective_per_sample(batch, calibrated=calibrated) for batch in batches]
        return torch.cat(parts).cpu().double().numpy()  # mps has no float64

    def warn_unfinished(self, name: str) -> None:
        """Warn if the named loss was still decreasing at the end of a training that nobody interrupted."""
        if self.interrupted_:
            return
        curve = [epoch[name] for epoch in self.history]
        tail = max(2, len(curve) // 10)
        if len(curve) < max(self.max_epochs, 2 * tail):
            return
        last = np.array(curve[-tail:])
        before = np.array(curve[-2 * tail : -tail])
        fall = np.median(before) - np.median(last)
        steep = fall > _STEEP * self.criterion_.tolerance_scale(float(np.median(before)))
        if steep and last.max() < before.min():
            warn_user(
                f"The loss was still decreasing steeply in the last of {self.max_epochs} epochs; "
                f"set max_iter above {self.max_epochs}.",
                ConvergenceWarning,
            )

    # -- schedule ------------------------------------------------------------------

    def _schedule(self) -> None:
        if self.warmup is None:
            return
        t, self.step_ = self.step_, self.step_ + 1
        self.criterion_.schedule(t / self.n_steps_)
        if not self.has_scheduler_:
            self.optimizer_.set_rate(self.rate(t))

    def rate(self, t: int) -> float:
        """Return the learning rate of step t: a short warm-up, then a cosine decay."""
        if self.warmup is None:
            return self.lr
        n_warm = max(1.0, self.warmup * self.n_steps_)
        return min(1.0, (t + 1) / n_warm) * (0.5 * self.lr * (1 + math.cos(math.pi * t / self.n_steps_)))

    def autocast(self) -> Any:
        """Return the context of a forward pass in the precision of training."""
        if not self.bf16:
            return contextlib.nullcontext()
        device = torch.device(self.device).type
        # A captured step must not keep converted weights.
        return torch.autocast(device, torch.bfloat16, cache_enabled=device == "cpu")


def weighted_sum(values: Iterable[float], sizes: Iterable[int]) -> float:
    """Return the sum of the means of batches, times their sizes."""
    return math.fsum(map(operator.mul, values, sizes))


class _Record:
    """Losses, or their terms, of the steps of an epoch, read once.

    Each living scalar keeps the allocator from reusing the memory around it, of a
    batch and more, in the next step, so that only a few are kept.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.alive: list[Tensor] = []
        self.kept: Tensor | None = None
        self.n_kept = 0

    def add(self, value: Tensor) -> None:
        self.alive.append(value)
        if len(self.alive) == _ALIVE:
            self._keep()

    def _keep(self) -> None:
        kept = self.alive[0].new_empty((self.n, *self.alive[0].shape)) if self.kept is None else self.kept
        part = slice(self.n_kept, self.n_kept + len(self.alive))
        torch.stack(self.alive, out=kept[part])
        self.kept = kept
        self.n_kept = part.stop
        self.alive = []

    def values(self) -> list[Any]:
        if self.alive:
            self._keep()
        return [] if self.kept is None else self.kept[: self.n_kept].tolist()
