"""Further trainings of small data: in folds, and on all samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from skorch.callbacks import Callback

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._model.initialization import Start
from sklearn_ae._model.objectives import make_objective
from sklearn_ae._training.callbacks import of_training
from sklearn_ae._training.net import AutoencoderNet, new_net
from sklearn_ae._training.optimization import LossesOfEpochs, TrainingConfig
from sklearn_ae._utils.runtime import threads_for


def silenced(config: TrainingConfig) -> TrainingConfig:
    """Return the config without a progress bar, and without callbacks that only observe."""
    return replace(config, callbacks=of_training(config.callbacks), verbose=0)


class Retraining:
    """Training of a new net in the same way.

    Parameters
    ----------
    start : Start
    samples : ArraySamples
        Training samples.
    space : AllFeatures or RowSpace
        That of the samples.
    config : TrainingConfig
        Not resolved.
    seed : int
        Of the batches and the noise.
    """

    def __init__(
        self, start: Start, samples: ArraySamples, space: Any, config: TrainingConfig, seed: int
    ) -> None:
        resolved = config.resolved(samples.shape, start.spec.init)
        objective = make_objective(start, samples.shape[0], has_warmup=True)
        self.start = start
        self.space = space
        self.device = resolved.device
        self.net = new_net(start, objective, resolved, seed)
        self.inside = space.net(self.net, start, resolved)
        self.samples = self.working(samples)

    def working(self, samples: ArraySamples) -> Any:
        """Return samples in the units of the net."""
        return self.space.samples(samples, self.start.module, self.device)

    def run(self, watch: Callback, valid: Any = None) -> bool:
        """Train until a callback stops; return False if the user interrupted it."""
        if self.start.smoother is not None:
            self.inside.module_.load_state_dict(self.start.smoother)
        with threads_for(self.inside.module_.n_weights, self.inside.batch_size):
            self.inside.run(self.samples, valid, watch=watch)
        return not self.inside.interrupted_

    def finished_net(self) -> AutoencoderNet:
        """Return the trained net, for all features."""
        return self.space.outside(self.inside, self.net)


class Curves(NamedTuple):
    """Losses of several trainings, each with its own held-out samples, up to the longest one."""

    pca_losses: np.ndarray  # (n_samples,)
    losses: np.ndarray  # (1 + n_epochs, n_samples), from the untrained model on
    recorded: dict[str, np.ndarray]  # (n_epochs,), means over the trainings of all losses that a net records
    history: Any  # of the first training
    sizes: list[int]  # numbers of held-out samples

    @property
    def typical_fold(self) -> int:
        """Training whose mean loss in the best epoch is nearest to that of all samples."""
        losses = self.losses[self.best_epoch]
        parts = np.split(losses, np.cumsum(self.sizes)[:-1])
        return int(np.argmin([abs(part.mean() - losses.mean()) for part in parts]))

    @property
    def best_epoch(self) -> int:
        """Epoch with the smallest mean loss."""
        return int(self.losses.mean(axis=1).argmin())

    def of_best_epoch(self) -> dict[str, Any]:
        """Return the best epoch and the losses of all samples in it, as fields of a training."""
        best = self.best_epoch
        return {"best_epoch": best, "losses": self.losses[best], "pca_losses": self.pca_losses}


def held_out_curves(
    trainings: Iterable[tuple[Retraining, ArraySamples]], patience: float, tol: float
) -> Curves | None:
    """Run trainings until their held-out loss stops improving; None if the user interrupted one."""
    pca_losses, curves, nets = [], [], []
    for training, held_out in trainings:
        valid = training.working(held_out)
        pca_losses.append(training.inside.evaluate(valid, calibrated=False))
        watch = LossesOfEpochs(valid, patience, tol)
        if not training.run(watch, valid):
            return None
        curves.append(watch.losses_)
        nets.append(training.inside)
    n = max(map(len, curves))
    losses = np.hstack([_padded(curve, n) for curve in curves])
    names = [f"{part}_{name}" for part in ("train", "valid") for name in ("loss", *nets[0].criterion_.terms)]
    names = [name for name in names if name in nets[0].history[0]]
    sizes = [len(part) for part in pca_losses]
    recorded = {
        name: np.average([_padded(net.losses(name), n - 1) for net in nets], axis=0, weights=sizes)
        for name in names
    }
    recorded["valid_loss"] = losses[1:].mean(axis=1)
    return Curves(np.concatenate(pca_losses), losses, recorded, nets[0].history, sizes)


def lost_its_gain(losses: np.ndarray, trained: Any) -> bool:
    """Return whether a second training lost more than half of the first one's gain over PCA."""
    if trained.losses is None or trained.pca_losses is None:
        return False
    return bool(losses.mean() > 0.5 * (trained.losses.mean() + trained.pca_losses.mean()))


def _padded(values: list[Any], n: int) -> np.ndarray:
    """Return values of epochs, of which the last one is repeated up to n epochs."""
    return np.array(values + [values[-1]] * (n - len(values)))
