"""``fit`` as a pipeline of values, from validated data to everything that the estimator learns.

    split    = hold_out(data, X_val, ...)         training and validation samples
    start    = initialize(spec, split.train, ...) initial PCA, and the autoencoder that equals it
    trained  = train(start, split, ...)           best epoch by the validation objective
    trained  = cross_fit(trained, split, ...)     small data: five folds instead of one, if it shows no gain
    accepted = fall_back_to_pca(trained, split)   unless validation shows a gain
    accepted = refit_on_all_samples(accepted, ..) small data
    fitted   = summarize(accepted, split)         noise variance, moments of the codes
    fitted   = with_fitted_prior(fitted, ...)     unless the prior is normal

Each step takes the values of earlier steps and returns a frozen dataclass, so that an
error leaves no half-fitted estimator. Differences between arrays and out-of-core data
are in the data (``_data``); wide data are trained in their row space, which replaces
:class:`AllFeatures`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._density.fitted_prior import fit_prior, posterior_of
from sklearn_ae._fitting.previous import Previous, check_same_shape
from sklearn_ae._fitting.retraining import Retraining, held_out_curves, lost_its_gain, silenced
from sklearn_ae._fitting.row_space import LeadingDirections, RowSpace
from sklearn_ae._model.features import FeaturewiseAutoencoder, residual_noise
from sklearn_ae._model.initialization import ModelSpec, Start, initialize
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.objectives import make_objective
from sklearn_ae._model.pca import fit_pca
from sklearn_ae._model.statistics import (
    MIN_VALIDATION_SAMPLES,
    CodeStatistics,
    Outcome,
    code_statistics,
    noise_correction,
    pca_statistics,
    shows_a_gain,
    squared_errors,
)
from sklearn_ae._training.callbacks import StopAfter, history_of
from sklearn_ae._training.net import AutoencoderNet, new_net
from sklearn_ae._training.optimization import SMALL, TrainingConfig
from sklearn_ae._utils.runtime import MAX_SEED, fit_context, forked_global_rng, threads_for
from sklearn_ae.priors import StandardNormal

MIN_SAMPLES_IN_FOLDS = 50  # samples, below which even folds rarely show a gain
_NOTHING_LEFT = 1e-10  # share of the variance below which PCA is considered to explain everything


@dataclass(frozen=True)
class Split:
    """Training and validation samples, and the seed of everything random after the split."""

    train: Any
    valid: Any  # None without validation
    whole: Any  # all samples passed as X
    seed: int

    @property
    def held_out(self) -> Any:
        """Samples that the model is not trained on, or all samples without validation."""
        return self.whole if self.valid is None else self.valid

    @property
    def n_valid(self) -> int:
        """Number of validation samples."""
        return 0 if self.valid is None else self.valid.shape[0]


@dataclass(frozen=True)
class Trained:
    """A net after training, and its validation objective against that of the initial PCA."""

    start: Start
    net: AutoencoderNet
    is_warm: bool
    has_run: bool = False
    pca_losses: np.ndarray | None = None  # objective of each validation sample under the initial PCA
    losses: np.ndarray | None = None  # and in the best epoch
    best_epoch: int | None = None  # None without validation
    n_folds: int = 1  # into which the validated samples were split
    is_explained: bool = False  # PCA leaves nothing unexplained, so that there is nothing to train

    @property
    def is_better(self) -> bool:
        """True if the network was trained and, if validated against PCA, is significantly better."""
        if not self.has_run or self.losses is None or self.pca_losses is None:
            return self.has_run
        if self.best_epoch == 0 and not self.is_warm:  # linear; its noise may be calibrated
            return False
        in_nats = self.start.spec.divergence is not None
        return shows_a_gain(self.pca_losses, self.losses, in_nats=in_nats, in_folds=self.n_folds > 1)

    def outcome(self, n_valid: int) -> Outcome:
        """Return the comparison with PCA, or why there was none."""
        start = self.start
        name = "PCA" if start.is_pca else "the linear model"
        if self.losses is not None and self.pca_losses is not None:
            means = float(self.losses.mean()), float(self.pca_losses.mean())
            return Outcome("compared", name, *means, len(self.losses), self.n_folds)
        if not start.can_fall_back:
            reason = "random" if start.spec.init == "random" else "start"
        elif self.has_run:
            reason = "warm" if self.is_warm else "early_stopping"
        elif start.is_optimal:
            reason = "optimal" if start.spec.n_components else "none"
        else:
            reason = "interrupted" if self.net.interrupted_ else "few"
        return Outcome("explained" if self.is_explained else reason, name, n_held_out=n_valid)


@dataclass(frozen=True)
class Accepted:
    """The accepted model, in the precision of X."""

    start: Start
    net: AutoencoderNet
    module: Autoencoder
    validated: Autoencoder  # module, or its predecessor that was not trained on the held-out samples
    uses_network: bool
    trained: Trained

    @property
    def is_pca(self) -> bool:
        """True if the model is PCA in every respect, with the components of PCA only."""
        same_width = self.module.width == self.start.pca.n_components_
        return not self.uses_network and self.start.is_pca and self.module.is_affine() and same_width


@dataclass(frozen=True)
class Fitted:
    """Everything that an estimator learns."""

    spec: ModelSpec
    net: AutoencoderNet
    module: Autoencoder
    pca: Any
    statistics: CodeStatistics
    uses_network: bool
    is_pca: bool
    n_samples: int
    n_iter: int
    best_iter: int
    outcome: Outcome
    stacked: Any = None  # StackedDensity, if there is one
    weight: float = 1.0  # of the density of the autoencoder beside it


def fit(
    data: Any,
    X_val: Any,
    spec: ModelSpec,
    config: TrainingConfig,
    rng: np.random.RandomState,
    previous: Previous | None = None,
) -> Fitted:
    """Fit a model to validated data.

    Parameters
    ----------
    data : ArraySamples or Source
    X_val : ArraySamples or None
        Validation samples; None holds out some of ``data``.
    spec : ModelSpec
    config : TrainingConfig
    rng : RandomState
    previous : Previous, default=None
        The fitted model that a warm start continues.
    """
    with fit_context():
        split = hold_out(data, X_val, spec, config, rng)
        return fit_split(split, spec, config, previous)[1]


def fit_split(
    split: Split, spec: ModelSpec, config: TrainingConfig, previous: Previous | None = None
) -> tuple[Accepted, Fitted]:
    """Fit a model to samples that have been split."""
    if previous is not None:
        check_same_shape(previous, spec, split.whole.shape[1])
    resolved = config.resolved(split.train.shape, spec.init)
    with forked_global_rng(spec.runs_user_code, split.seed, config.device):
        pca, offset = (None, None) if previous is None else (previous.pca, previous.offset)
        start = initialize(spec, split.train, split.seed, pca, offset)
        with threads_for(start.module.n_weights, int(resolved.batch_size)):
            trained = train(start, split, resolved, previous)
            trained, split = cross_fit(trained, split, config)
            accepted = fall_back_to_pca(trained, split, config)
            accepted = refit_on_all_samples(accepted, split, config)
            fitted = summarize(accepted, split)
            if not has_normal_prior(spec):
                fitted = with_fitted_prior(fitted, accepted, split)
            return accepted, fitted


# -- steps ----------------------------------------------------------------------------------


def hold_out(
    data: Any, X_val: Any, spec: ModelSpec, config: TrainingConfig, rng: np.random.RandomState
) -> Split:
    """Split off validation samples, unless they are given or no training can improve on PCA."""
    train = data
    valid = X_val
    if X_val is None and not spec.is_optimal_at_start:
        n_valid = n_held_out(config, data.n_places, spec.init)
        if n_valid:
            train, valid = data.hold_out(n_valid, rng)
    return Split(train, valid, data, seed=int(rng.randint(MAX_SEED)))


def n_held_out(config: TrainingConfig, n_samples: int, init: str) -> int:
    """Return the number of validation samples; 0 if too few can be held out for a decision."""
    n_valid = round(config.validation_fraction * n_samples)
    least = MIN_VALIDATION_SAMPLES if init == "pca" else 1
    enough = n_valid >= least and n_samples - n_valid >= 2
    return n_valid if config.early_stopping and enough else 0


def train(start: Start, split: Split, config: TrainingConfig, previous: Previous | None = None) -> Trained:
    """Train a net from the start, or from the weights of a previous fit, and restore its best epoch."""
    if previous is not None and not previous.can_train(start.spec):
        previous = None
    is_warm = previous is not None
    objective = make_objective(start, split.train.shape[0], has_warmup=not is_warm)
    net = new_net(start, objective, config, split.seed)
    trained = Trained(start, net, is_warm)
    can_fall_back = start.can_fall_back and config.early_stopping
    too_few = can_fall_back and split.n_valid < MIN_VALIDATION_SAMPLES
    if start.is_optimal or (too_few and not (is_warm and split.valid is None)):
        return trained
    space = training_space(split.train, split.whole, start, split.seed, previous)
    inside = space.net(net, start, config)
    train_set = space.samples(split.train, start.module, config.device)
    valid_set = None if split.valid is None else space.samples(split.valid, start.module, config.device)
    if can_fall_back and valid_set is not None:
        trained = replace(trained, pca_losses=inside.evaluate(valid_set, calibrated=False))
        inside.pca_loss_ = float(np.mean(trained.pca_losses))  # type: ignore[arg-type]
        if _pca_explains_everything(start, split):
            return replace(trained, is_explained=True)
    if previous is not None:
        inside.module_.load_state_dict(space.weights(previous.net.module_))
    elif start.smoother is not None:
        inside.module_.load_state_dict(start.smoother)
    best_epoch = losses = None
    with threads_for(inside.module_.n_weights, inside.batch_size):
        if valid_set is not None and config.early_stopping:
            best, losses = inside.run_with_validation(
                train_set, valid_set, config.n_iter_no_change, config.tol
            )
            best_epoch = best.best_epoch_
        else:
            inside.run_to_the_end(train_set, valid_set)
    net = space.outside(inside, net)
    return replace(trained, net=net, has_run=True, losses=losses, best_epoch=best_epoch)


def fall_back_to_pca(trained: Trained, split: Split, config: TrainingConfig) -> Accepted:
    """Return the trained model, or the PCA of all samples unless validation shows a gain."""
    start = trained.start
    net = trained.net
    if trained.is_better:
        module = inference_copy(net.module_, start, split.whole.dtype)
        return Accepted(start, net.release(), module, module, uses_network=True, trained=trained)
    if split.train is not split.whole or trained.has_run:
        start = initialize(start.spec, split.whole, split.seed)
    linear = replace(start, module=start.module.without_networks())
    if start is not trained.start or net.module_.n_weights > linear.module.n_weights:
        objective = make_objective(start, split.whole.shape[0], has_warmup=not trained.is_warm)
        config = config.resolved(split.whole.shape, start.spec.init)
        net = new_net(linear, objective, config, split.seed).with_history_of(net)
    module = inference_copy(linear.module, start, split.whole.dtype)
    return Accepted(start, net.release(), module, module, uses_network=False, trained=trained)


def refit_on_all_samples(accepted: Accepted, split: Split, config: TrainingConfig) -> Accepted:
    """Train again on all samples, for the best number of epochs, if every sample counts.

    Everything learned from the held-out samples is kept: the epoch, the decision
    for the network, and the errors.
    """
    best_epoch = accepted.trained.best_epoch
    first = accepted.trained.net
    small = isinstance(split.whole, ArraySamples) and split.whole.shape[0] <= SMALL
    held_out = split.train is not split.whole
    if not (small and held_out and accepted.uses_network and best_epoch) or accepted.trained.is_warm:
        return accepted
    scales = accepted.start.spec.loss.scale_
    pca = fit_pca(split.whole, accepted.start.pca.n_components_, split.seed, scales)
    start = initialize(accepted.start.spec, split.whole, split.seed, pca)
    training = retraining(start, split.whole, split, config)
    if not training.run(StopAfter(best_epoch)):
        return accepted
    if lost_its_gain(training.inside.evaluate(training.samples), accepted.trained):
        return accepted
    net = training.finished_net().with_history_of(first)
    module = inference_copy(net.module_, start, split.whole.dtype)
    return replace(accepted, start=start, net=net.release(), module=module)


def cross_fit(trained: Trained, split: Split, config: TrainingConfig) -> tuple[Trained, Split]:
    """Compare with PCA on all samples of small data, in folds, if one validation set showed no gain.

    Returns
    -------
    trained : Trained
        With the objective of all samples, each by a net that was not trained on it, after
        the number of epochs that is best on average. The net is that of the fold with the
        most typical loss.
    split : Split
        This fold if validation showed a gain, and the given split otherwise.
    """
    spec = trained.start.spec
    if not may_cross_fit(trained, split, config):
        return trained, split
    if split.valid is None and _pca_explains_everything(trained.start, split):
        return replace(trained, is_explained=True), split
    folds = list(split.whole.folds(config.n_folds, np.random.RandomState(split.seed)))
    starts = [initialize(spec, part, split.seed) for part, _ in folds]
    trainings = (
        (retraining(start, part, split, config, observed=i == 0 and not trained.has_run), held_out)
        for i, (start, (part, held_out)) in enumerate(zip(starts, folds, strict=True))
    )
    net = trained.net
    curves = held_out_curves(trainings, config.n_iter_no_change, config.tol)
    if curves is None:
        net.interrupted_ = True
        return trained, split
    first = net.history if trained.has_run else curves.history
    trained = replace(trained, has_run=True, n_folds=len(folds), **curves.of_best_epoch())
    if trained.is_better:
        i = curves.typical_fold
        split = Split(folds[i][0], folds[i][1], split.whole, split.seed)
        training = retraining(starts[i], split.train, split, config)
        interrupted = not training.run(StopAfter(curves.best_epoch))
        net = training.finished_net().with_history_of(net)
        net.interrupted_ = interrupted  # in the middle of a network that has been chosen
        trained = replace(trained, start=starts[i], net=net)
    net.history = history_of(curves.recorded, first)
    if trained.is_better:
        net.warn_unfinished("valid_loss")
    return trained, split


def summarize(accepted: Accepted, split: Split) -> Fitted:
    """Measure what scoring and whitening need, preferably on samples that the model was not trained on."""
    module = accepted.module
    spec = accepted.start.spec
    if accepted.is_pca:
        statistics = pca_statistics(accepted.start.pca, module.scale)
    else:
        statistics = code_statistics(module, split.whole, accepted.validated, split.held_out)
        if spec.masks_missing and accepted.uses_network:
            module = module.weighted(accepted.validated, split.held_out, split.seed)  # type: ignore[operator]
        if module.noise is not None and accepted.uses_network:
            change = math.log(noise_correction(accepted.validated, split.held_out, split.seed))
            module.noise.replace(spec.loss.corrected_noise(module.noise.log_variance, change))
        if isinstance(module, FeaturewiseAutoencoder) and module.noise is None:
            module = module.with_noise(residual_noise(accepted.validated, split.held_out))
        if isinstance(spec.n_components, float):
            k = statistics.n_components_for_share(spec.n_components)
            module = module.truncated(k)
            statistics = statistics.truncated(k)
    n_iter = max(1, len(accepted.net.history))  # the one pass of PCA if there was nothing to train
    best_epoch = accepted.trained.best_epoch
    best_iter = n_iter if best_epoch is None else best_epoch
    return Fitted(
        spec=spec,
        net=accepted.net,
        module=module,
        pca=accepted.start.pca,
        statistics=statistics,
        uses_network=accepted.uses_network,
        is_pca=accepted.is_pca,
        n_samples=split.whole.shape[0],
        n_iter=n_iter,
        best_iter=best_iter if accepted.uses_network else 0,
        outcome=accepted.trained.outcome(split.n_valid),
    )


def with_fitted_prior(fitted: Fitted, accepted: Accepted, split: Split) -> Fitted:
    """Fit the prior of the codes, chosen on held-out samples."""
    if isinstance(split.whole, ArraySamples) and split.train is not split.whole:
        samples, X_val, valid = split.whole, None, split.valid.indices
    else:
        samples, X_val, valid = split.train, split.valid, None
    k = fitted.module.n_kept
    final = validated = posterior_of(fitted.module, fitted.statistics, fitted.pca if fitted.is_pca else None)
    if accepted.validated is not accepted.module:
        before = accepted.validated
        statistics = code_statistics(before, split.train, before, split.held_out).truncated(k)
        validated = posterior_of(before.truncated(k), statistics, None)
    prior = fit_prior(fitted.spec.prior, validated, final, samples, X_val, valid, k)
    return replace(fitted, module=fitted.module.with_prior(prior))


# -- parts of the steps ---------------------------------------------------------------------


def has_normal_prior(spec: ModelSpec) -> bool:
    """Return whether there is no prior to fit."""
    return isinstance(spec.prior, StandardNormal)


def may_cross_fit(trained: Trained, split: Split, config: TrainingConfig) -> bool:
    """Return whether folds may show the gain that one validation set did not show."""
    n, start = split.whole.shape[0], trained.start
    is_small = isinstance(split.whole, ArraySamples) and config.n_folds and MIN_SAMPLES_IN_FOLDS <= n <= SMALL
    has_own = split.valid is not None and split.train is split.whole  # X_val
    if not is_small or has_own or trained.is_warm or not config.early_stopping:
        return False
    if start.spec.divergence is not None and 2 * start.module.width > n - n // config.n_folds:
        return False  # the density of PCA would be far from that of all samples
    is_decided = start.is_optimal or trained.is_better or trained.is_explained
    return start.can_fall_back and not is_decided and not trained.net.interrupted_


def retraining(
    start: Start, samples: ArraySamples, split: Split, config: TrainingConfig, *, observed: bool = False
) -> Retraining:
    """Return another training in the same way, with all callbacks and a progress bar if ``observed``."""
    space = training_space(samples, split.whole, start, split.seed)
    return Retraining(start, samples, space, config if observed else silenced(config), split.seed)


class AllFeatures:
    """Training on all features of X, as opposed to the coordinates of a :class:`RowSpace`."""

    def net(self, net: AutoencoderNet, start: Start, config: TrainingConfig) -> AutoencoderNet:
        """Return the net to train."""
        return net

    def samples(self, samples: Any, module: Autoencoder, device: torch.device) -> Any:
        """Return samples in working units."""
        return samples.in_working_units(module.offset.numpy(), module.scale, device)

    def weights(self, module: Autoencoder) -> dict[str, Any]:
        """Return the weights of a previous module as the net needs them."""
        return module.state_dict()

    def outside(self, trained: AutoencoderNet, net: AutoencoderNet) -> AutoencoderNet:
        """Return the trained net for all features."""
        return trained


def training_space(
    samples: Any, whole: Any, start: Start, seed: int, previous: Previous | None = None
) -> AllFeatures | RowSpace:
    """Return the row space of wide data if the options allow it, and all features otherwise."""
    if not (whole.is_wide and start.spec.is_rotation_invariant):
        return AllFeatures()
    X = samples.array
    is_sparse = sparse.issparse(X)
    space = LeadingDirections(X, start.pca, seed) if is_sparse else RowSpace(X, start.pca.mean_, seed)
    contains = previous is None or space.contains(previous.net.module_)
    return space if contains and len(space.basis) else AllFeatures()  # equal samples have no space


def _pca_explains_everything(start: Start, split: Split) -> bool:
    """Return whether PCA has no residuals, on held-out samples or, for densities, on its training samples."""
    if not start.has_pca_objective:
        return False
    if start.spec.divergence is not None and start.module.width >= split.train.shape[0] - 1:
        return True
    size = start.spec.bottleneck.n_least or start.module.width
    errors, total = squared_errors(start.module, split.held_out, [size])
    return bool(errors[-1] <= _NOTHING_LEFT * total)


def inference_copy(module: Autoencoder, start: Start, dtype: Any) -> Autoencoder:
    """Return a frozen copy in the precision of X, with the offset in full precision."""
    twin = copy.deepcopy(module).to("cpu").double()
    twin.offset.copy_(start.module.offset)
    return twin.to(torch.float32 if dtype == np.float32 else torch.float64).eval().requires_grad_(False)
