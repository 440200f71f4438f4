"""TODO"""

from __future__ import annotations

from typing import Any

import torch

_MAX_STEPS = 4_000  # optimizer steps that max_iter="auto" aims at

_MAX_EPOCHS = 150  # and the epochs that it is bounded by, if training starts at PCA

SMALL = 1_000  # rows up to which each one counts: small batches, and a second training on all rows

_LARGE = 20_000  # rows from which larger batches see more of them in as many steps

_BATCH_SIZES = (64, 128, 256)  # of batch_size="auto", up to SMALL, up to _LARGE, and beyond


def batches_and_epochs(params: Any, n: int) -> tuple[int, int]:
    """Batch size and number of epochs for n training rows, as the parameters say."""
    size, epochs = params.batch_size, params.max_iter
    if size == "auto":
        size = _BATCH_SIZES[(n > SMALL) + (n > _LARGE)]
    size = min(size, n)
    if epochs == "auto":
        epochs = -(-_MAX_STEPS // -(-n // size))
        epochs = min(_MAX_EPOCHS, epochs) if params.init == "pca" else epochs
    return size, epochs


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
        self.every = max(1, int(self.horizon / 10))  # steps between updates
        self.weights = [p.data for p in self.parameters]

    def update(self, step: int) -> None:
        if step % self.every == 0:
            share = self.every / min(self.horizon, (step + 1) / 3)
            torch._foreach_lerp_(self.average, self.weights, min(1.0, share))

    def swap(self) -> None:
        """Exchange the module's weights and their average."""
        for i, p in enumerate(self.parameters):
            p.data, self.average[i] = self.average[i], p.data
        self.weights = [p.data for p in self.parameters]
