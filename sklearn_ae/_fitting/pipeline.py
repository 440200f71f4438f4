"""What ``fit`` does between validated data and fitted attributes.

    split -> anchor -> build -> train -> gate -> code_statistics

A :class:`Fit` computes everything before the estimator takes it over, so that
an error on the way leaves no half-fitted estimator.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils.random import sample_without_replacement
from threadpoolctl import threadpool_limits
from torch import Generator

from sklearn_ae._data.batches import InMemorySamples, StreamedSamples
from sklearn_ae._data.sources import LARGE, Source
from sklearn_ae._density.vae import fit_prior
from sklearn_ae._fitting.fallback import MIN_VALIDATION_SAMPLES, n_held_out, shows_a_gain, validation_split
from sklearn_ae._model.initialization import build_module
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.pca import fit_pca
from sklearn_ae._model.spec import ModelSpec, is_linear
from sklearn_ae._model.statistics import (
    calibrate_noise,
    code_statistics,
    pca_statistics,
    squared_errors,
    working_blocks,
)
from sklearn_ae._training.callbacks import BestEpoch, Progress, StopAfter
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.schedule import SMALL, batches_and_epochs
from sklearn_ae._utils.hardware import resolve_device, threads_for, use_bf16
from sklearn_ae._utils.random import MAX_SEED, forked_global_rng

_NOTHING_LEFT = 1e-10  # share of the variance under which PCA is taken to explain everything


class Fit:
    """One fit: the data, the parameters and what becomes of them.

    Parameters
    ----------
    params : estimator
        Whose constructor parameters are read, never written.
    slots : ModelSpec
        The resolved options.
    X, X_val : ndarray or sparse matrix
        Validated rows; X_val may be None.
    n_components : int, float or None
        As PCA takes it.
    rng : RandomState
    """

    def __init__(self, params: Any, slots: ModelSpec, X: Any, X_val: Any, n_components: Any, rng: Any):
        self.params = params
        self.slots = slots
        self.X = X
        self.X_val = X_val
        self.n_components = n_components
        self.device = resolve_device(params.device)
        # the linear model of PCA's own objective cannot be improved
        linear = is_linear(slots.network, slots.hidden_layer_sizes)
        self.at_optimum = self.anchored and slots.plain and linear
        self.train, self.valid = self._split(rng)
        self.seed = int(rng.randint(MAX_SEED))
        self.generator = Generator().manual_seed(self.seed)
        self.best: BestEpoch | None = None
        self.pca_loss: float | None = None  # the validation objective before the first step
        self.warm = False

    # -- split and anchor -----------------------------------------------------

    def _split(self, rng: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Row numbers for training and validation; None for all rows and for no validation."""
        if self.X_val is not None or self.at_optimum:
            return None, None
        return validation_split(self.params, self.X.shape[0], rng)

    @property
    def anchored(self) -> bool:
        return self.params.init == "pca"

    @property
    def n_valid(self) -> int:
        if self.X_val is not None:
            return self.X_val.shape[0]
        return 0 if self.valid is None else len(self.valid)

    @property
    def gated(self) -> bool:
        """Whether PCA is returned to where validation rows show no gain."""
        return self.anchored and self.params.early_stopping

    def _anchor(self, indices: np.ndarray | None) -> Any:
        """PCA of some rows."""
        X = self.X if indices is None else self.X[indices]
        k = self.n_components
        if isinstance(k, (int, np.integer)):
            k = min(k, *X.shape)
        return fit_pca(X, k, self.seed)

    def _build(self, pca: Any = None) -> None:
        """Fit the anchor, unless it is given, and build the module on it."""
        self.pca = self._anchor(self.train) if pca is None else pca
        given = isinstance(self.n_components, (int, np.integer))
        width = int(self.n_components if given else self.pca.n_components_)
        self.module = build_module(self.params, self.slots, self.pca, width, self.X, self.generator)

    # -- train ------------------------------------------------------------------

    def run(self, previous: Any = None) -> Fit:
        """Do all of it; ``previous`` is the fitted estimator that a warm start continues."""
        # what torch imports for its first optimizer changes the filters; and PCA's last bits, from
        # which training departs, would depend on the number of threads
        with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
            self._run(previous)
        return self

    def _run(self, previous: Any) -> None:
        self.warm = previous is not None
        if self.warm:
            self._check_same_shape(previous)
        self._build(None if previous is None else previous.pca_)
        self.net = self._net()
        self.gate_open = not self.anchored
        undecidable = self.gated and self.n_valid < MIN_VALIDATION_SAMPLES
        with self._resources():
            if not self.at_optimum and not undecidable:
                self._train(previous)
            if self.anchored and not self.gate_open:
                self._return_to_pca()
            self._rest()
            self._describe()

    @contextlib.contextmanager
    def _resources(self) -> Iterator[None]:
        needed = self.slots.uses_global_generator
        with (
            threads_for(self.module.n_weights, self.batch_size),
            forked_global_rng(needed, self.seed, self.device),
        ):
            yield

    def _net(self) -> AutoencoderNet:
        p = self.params
        n = self.X.shape[0] if self.train is None else len(self.train)
        self.batch_size, max_iter = batches_and_epochs(p, n)
        callbacks = list(p.callbacks or [])
        if p.verbose:
            callbacks.append(("progress", Progress()))
        net = AutoencoderNet(
            copy.deepcopy(self.module).float(),
            self.slots.objective(n, self.X.shape[1], self.module.scale, self.warm),
            lr=p.learning_rate_init,
            max_epochs=max_iter,
            batch_size=self.batch_size,
            alpha=p.alpha,
            seed=self.seed,
            bf16=use_bf16(p.precision, self.device, self.module, self.batch_size),
            capturable=self.slots.capturable(self.module.width),
            callbacks=callbacks,
            device=str(self.device),
            verbose=0,
        )
        return net.initialize()

    @property
    def offset(self) -> np.ndarray:
        return self.module.offset.double().cpu().numpy()

    def rows(self, X: Any, indices: np.ndarray | None) -> Any:
        """Rows in working units."""
        return InMemorySamples(X, indices, self.offset, self.module.scale, self.device)

    def _validation_rows(self) -> InMemorySamples | None:
        if self.X_val is not None:
            return self.rows(self.X_val, None)
        return None if self.valid is None else self.rows(self.X, self.valid)

    def _train(self, previous: Any) -> None:
        """Train the net, keep its best epoch, and see whether the gate opens."""
        net, p = self.net, self.params
        train, valid = self.rows(self.X, self.train), self._validation_rows()
        anchor = net.evaluate(valid) if valid is not None and self.gated else None
        self.pca_loss = None if anchor is None else float(anchor.mean())
        if anchor is not None and self.slots.plain and self._nothing_left():
            return
        net.criterion_.calibrated = True
        if previous is not None:
            net.module_.load_state_dict(self._weights(previous))
        if valid is not None and p.early_stopping:
            self.best = BestEpoch(p.n_iter_no_change, p.tol)
            net.callbacks_.insert(0, ("best_epoch", self.best))  # sees every epoch, whatever others do
        net.generator = Generator(self.device).manual_seed(self.seed)
        net.partial_fit((train, valid))
        net.warn_unfinished("valid_loss" if self.best else "train_loss")
        if anchor is None or self.best is None:
            self.gate_open = True
        else:
            in_nats = self.slots.divergence is not None
            self.gate_open = shows_a_gain(anchor, self.best.best_losses_, in_nats)

    def _weights(self, previous: Any) -> dict[str, Any]:
        """Where a warm start goes on."""
        return previous.net_.module_.state_dict()

    def _nothing_left(self) -> bool:
        """Whether PCA explains the validation rows already."""
        shortest = self.slots.bottleneck.shortest(self.module.width)
        errors, total = squared_errors(self.module, self._held_out(), [shortest])
        return errors[-1] <= _NOTHING_LEFT * total

    def _held_out(self) -> Any:
        """Rows that the model has not been trained on; the training rows where there are none."""
        if self.X_val is not None:
            return self.X_val
        return self.X if self.valid is None else self.X[self.valid]

    def _check_same_shape(self, previous: Any) -> None:
        """Refuse a warm start from a model of another shape."""
        same = (
            previous.net_.module_.width == self.n_components or isinstance(self.n_components, float),
            previous.module_.offset.shape[0] == self.X.shape[1],
            previous._hidden_layer_sizes == self.slots.hidden_layer_sizes,
            repr(previous.network_) == repr(self.slots.network),
            previous.module_.loss.noise == self.slots.loss.noise,
        )
        if not all(same):
            raise ValueError(
                "warm_start=True goes on with the weights of the previous fit, which are of another "
                "shape; keep n_components, the network and the columns of X, or set warm_start=False."
            )

    # -- gate and code_statistics --------------------------------------------------------

    def _return_to_pca(self) -> None:
        """Start again from the PCA of all rows; f and g are zero, in the net they can still be trained."""
        if not self._take_back() and self.best is None:
            return  # that is where the model still stands
        history, self.best = self.net.history, None
        self._build()
        self.net = self._net()
        self.net.history = history

    def _take_back(self) -> bool:
        """Put the held-out rows back among the others; whether there were any."""
        some, self.train = self.train is not None, None
        return some

    def _rest(self) -> None:
        """Leave the net on the CPU, without what only training needed."""
        net = self.net
        net.module_.eval().to("cpu")
        net.device, net.generator, net.average_ = "cpu", None, None
        net.optimizer_.state.clear()
        net.callbacks_ = [(name, cb) for name, cb in net.callbacks_ if name not in ("best_epoch", "stop")]
        shut = self.anchored and not self.gate_open
        self.inference = inference_copy(net.module_, self.module, self.X.dtype, shut)

    def _describe(self) -> None:
        self.is_pca = not self.gate_open and is_pca(self.inference, self.pca)
        if self.is_pca:
            self.description = pca_statistics(self.pca, self.inference.scale)
            return
        judged = self.inference  # by rows that it has not seen, where there are any
        if self.worth_refitting:
            self._refit()
        held_out = self._held_out()
        self.description = code_statistics(self.inference, self.X, judged, held_out)
        if self.inference.noise is not None:
            calibrate_noise(self.inference.noise, judged, working_blocks(judged, held_out), self.seed)
        if self.slots.prior is not None:
            self.inference.prior = fit_prior(
                self.slots.prior, judged, self.inference, self.X, self.X_val, self.valid
            )
        if isinstance(self.n_components, float):
            reached = np.cumsum(self.description.explained) >= self.n_components
            k = 1 + int(np.argmax(reached)) if reached.any() else judged.width
            self.inference.n_kept, self.description = k, self.description.truncated(k)

    @property
    def worth_refitting(self) -> bool:
        """Whether rows are few, some were held out, and the training was not that of a warm start."""
        trained = self.gate_open and self.best is not None and self.best.best_epoch_ > 0
        return trained and self.valid is not None and self.X.shape[0] <= SMALL and not self.warm

    def _refit(self) -> None:
        """Train again on all rows for as many epochs as were best: of few rows, each one counts.

        What the held-out rows have said of the first model (epoch, gate, errors) is kept.
        """
        assert self.best is not None
        first = self.net, self.module, self.pca, self.inference
        self.train, self.generator = None, Generator().manual_seed(self.seed)
        self._build(fit_pca(self.X, self.pca.n_components_, self.seed))
        self.net = self._net()
        self._train_again(self.best.best_epoch_)
        if self.net.interrupted_:
            self.net, self.module, self.pca, self.inference = first
            return
        self.net.history = first[0].history
        self._rest()

    def _train_again(self, n_epochs: int) -> None:
        self.net.callbacks_ = [("stop", StopAfter(n_epochs))]
        self.net.generator = Generator(self.device).manual_seed(self.seed)
        self.net.partial_fit((self.rows(self.X, None), None))

    # -- what the estimator takes over ------------------------------------------------

    @property
    def n_samples(self) -> int:
        return self.X.shape[0]

    @property
    def n_iter(self) -> int:
        """Epochs run; PCA's one pass where nothing was to be trained."""
        return max(1, len(self.net.history))

    @property
    def best_iter(self) -> int:
        if not self.gate_open:
            return 0
        return self.n_iter if self.best is None else self.best.best_epoch_

    def curve(self, name: str) -> list[float]:
        """Objective per row and column in each epoch; empty where there was none."""
        return [epoch[name] for epoch in self.net.history if name in epoch]


_MAX_HELD_OUT = 2**23  # entries of validation rows, which are kept in memory (32 MB as float32)


class SourceFit(Fit):
    """A fit whose rows are read in passes; those held out are kept in memory.

    The held-out rows are drawn once and never come with the others.
    """

    X: Source

    def _split(self, rng: Any) -> tuple[None, None]:
        """Take validation rows out of X, as if they had been given beside it."""
        self.whole = self.X
        n, d = self.X.n_places, self.X.shape[1]
        given = self.X_val is not None or self.at_optimum
        n_valid = 0 if given else min(n_held_out(self.params, n), max(1_000, _MAX_HELD_OUT // d))
        if n_valid:
            valid = np.sort(sample_without_replacement(n, n_valid, random_state=rng))
            self.X, self.X_val = self.whole.without(valid), self.whole[valid]
        return None, None

    def _take_back(self) -> bool:
        some, self.X = self.X is not self.whole, self.whole
        return some

    def rows(self, X: Any, indices: np.ndarray | None) -> Any:
        if isinstance(X, Source):
            return StreamedSamples(X, self.offset, self.module.scale, self.device)
        return InMemorySamples(X, indices, self.offset, self.module.scale, self.device, lazy=X.size > LARGE)

    @property
    def n_samples(self) -> int:
        return self.whole.shape[0]


def inference_copy(trained: Autoencoder, exact: Autoencoder, dtype: Any, shut: bool) -> Autoencoder:
    """A frozen copy in the precision of X; behind a shut gate, without its networks.

    Training is in float32. ``exact`` is the float64 module that it started from,
    which has the full digits of the offset and, behind a shut gate, of PCA.
    """
    twin = copy.deepcopy(exact if shut else trained).double()
    twin.offset.copy_(exact.offset)
    if shut:
        twin.encoder.network = twin.decoder.network = None
        if twin.noise is not None:
            twin.noise.network = None
        twin.__dict__.pop("n_weights", None)  # there are fewer now
    return twin.to(torch.float32 if dtype == np.float32 else torch.float64).eval().requires_grad_(False)


def is_pca(module: Autoencoder, pca: Any) -> bool:
    """Whether a model at its anchor is PCA in everything: linear, with PCA's components alone."""
    linear = module.encoder.is_affine() and module.has_affine_decoder() and not module.bottleneck.sparse
    return linear and module.width == pca.n_components_
