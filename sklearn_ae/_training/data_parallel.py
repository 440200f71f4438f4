"""Training by several ranks: each has its part of every batch, and gradients are averaged.

All ranks draw the same batches, take the same steps, and see the same losses, so that they stop in the same
epoch. Noise differs between them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Generator, Tensor

from sklearn_ae._training.net import AutoencoderNet, EpochValues, weighted_sum
from sklearn_ae._utils.ranks import RANKS, Ranks
from sklearn_ae._utils.runtime import forked_global_rng


class DataParallelNet(AutoencoderNet):
    """Net that the ranks of a fit train together; :meth:`release` returns an ordinary one."""

    order: Generator | None = None  # of the batches, the same on all ranks, unlike ``generator``
    n_own_ = 0  # samples of the current batch that this rank has

    @property
    def ranks(self) -> Ranks:
        """The ranks of the fit that is going on."""
        ranks = RANKS.get()
        assert ranks is not None
        return ranks

    @property
    def _default_callbacks(self) -> list:
        return [("gradients", _AverageGradients())]  # before those of users, which may clip them

    def initialize(self) -> DataParallelNet:
        """Start from the weights of rank 0."""
        super().initialize()
        self.ranks.copy_first(list(self.module_.state_dict().values()))
        return self

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return this rank's part of the batches of an epoch."""
        return dataset.batches(self.batch_size, self.order) if training else super().get_iterator(dataset)

    def run(self, train: Any, valid: Any = None, **kwargs: Any) -> DataParallelNet:
        """Train; an interrupt ends the fit, because the other ranks may not have had it."""
        super().run(train, valid, **kwargs)
        if self.interrupted_:
            raise KeyboardInterrupt("Training was interrupted; it has ended on all ranks.")
        return self

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> DataParallelNet:
        """Run all epochs, with noise that differs between the ranks."""
        device, seed = torch.device(self.device), self.seed + len(self.history or ())
        own = self.ranks.own_seed(seed)
        self.order, self.generator = self.generator, Generator(device).manual_seed(own)
        with forked_global_rng(True, own, device):  # of user code, such as dropout
            super().fit_loop(X, y, epochs, **kwargs)
        return self

    def train_step(self, batch: Tensor, **fit_params: Any) -> dict:
        """Take one optimizer step; a rank without samples passes the mean, with weight 0."""
        self.n_own_ = len(batch)
        return super().train_step(batch if self.n_own_ else batch.new_zeros((1, batch.shape[1])))

    def _reason_against_graphs(self, samples: Any) -> str | None:
        return "several ranks train the net"

    def _run_batches(self, iterator: Any, training: bool, step_fn: Any) -> EpochValues:
        """Return the mean loss of all ranks, the number of their samples, and the mean terms."""
        kind = "training" if training else "validation"
        at = f"{kind} in epoch {len(self.history)}"
        self.ranks.gathered(None, f"start of {at}")  # a callback may have ended it on one rank alone
        losses, sizes, terms = super()._run_batches(iterator, training, step_fn)
        by_term = zip(*terms, strict=True) if terms else [()] * len(self.criterion_.terms)
        totals = [weighted_sum(values, sizes) for values in (losses, *by_term)]
        (loss, *means), n = self.ranks.means(totals, sum(sizes), f"end of {at}")
        return [loss], [n], [means]

    def evaluate(self, samples: Any, *, calibrated: bool = True) -> np.ndarray:
        """Return the objective of each sample, shape (n,); each rank evaluates every n-th batch."""
        batches = self.get_iterator(samples)
        own = [self.objective_per_sample(batch, calibrated=calibrated).cpu() for batch in batches]
        parts = self.ranks.gathered(own, f"evaluation after {len(self.history)} epochs")
        return torch.cat(self.ranks.in_order(parts)).double().numpy()

    def release(self, *, keeps_moments: bool = False) -> AutoencoderNet:
        """Return an ordinary net with the same state."""
        super().release(keeps_moments=keeps_moments)
        self.callbacks_ = [(name, cb) for name, cb in self.callbacks_ if type(cb) is not _AverageGradients]
        net = AutoencoderNet.__new__(AutoencoderNet)
        net.__dict__ = {name: value for name, value in vars(self).items() if name not in ("order", "n_own_")}
        return net


class _AverageGradients(Callback):
    """Average the gradients of all ranks before anything else is done with them."""

    def on_grad_computed(self, net: Any, named_parameters: Any, **kwargs: Any) -> None:
        """Replace the gradients."""
        net.ranks.average_gradients([p for _, p in named_parameters], net.n_own_)
