"""``partial_fit``: one training epoch per chunk of data."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import IncrementalPCA

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._density.fitted_prior import fit_to_chunks, posterior_of
from sklearn_ae._fitting.pipeline import (
    Accepted,
    AllFeatures,
    Fitted,
    Previous,
    Split,
    Trained,
    has_normal_prior,
    inference_copy,
    summarize,
)
from sklearn_ae._model.initialization import (
    ModelSpec,
    Start,
    feature_stats,
    initialize,
)
from sklearn_ae._model.objectives import make_objective
from sklearn_ae._model.pca import InitialPCA, as_incremental, in_pca_units, with_chunk
from sklearn_ae._training.net import AutoencoderNet, new_net
from sklearn_ae._training.optimization import TrainingConfig
from sklearn_ae._utils.runtime import fit_context, forked_global_rng, threads_for

_PART = 100  # minimum number of samples of an update of the initial PCA
_MAX_DISTANCE = 1_000  # standard deviations from the mean so far beyond which a value is refused
_REMEMBERED = 1_000  # minimum number of earlier samples that the statistics represent


def fit_chunk(
    samples: ArraySamples,
    spec: ModelSpec,
    config: TrainingConfig,
    seed: int,
    previous: Previous | None = None,
) -> Fitted:
    """Train for one epoch on a chunk, continuing a fitted model.

    The first chunk gives the initial PCA, whose mean and scale are updated, as are
    the moments of Adam. A linear model with the objective of PCA is scikit-learn's
    ``IncrementalPCA``.
    """
    split = Split(samples, None, samples, seed)
    config = config.resolved(samples.shape, spec.init)
    with fit_context(), forked_global_rng(spec.runs_user_code, seed, config.device):
        if previous is None or spec.is_optimal_at_start or not previous.can_train(spec):
            start = initialize(spec, samples, seed, _first_pca(samples, spec, previous))
            objective = make_objective(start, samples.shape[0], has_warmup=True)
            net = new_net(start, objective, config, seed)
            if start.smoother is not None:
                net.module_.load_state_dict(start.smoother)
            return _after_one_epoch(start, net, split, config, previous)
        _check_extremes(samples, previous)
        net = previous.net if previous.net.is_trainable else copy.deepcopy(previous.net)
        net.is_shared = False
        with restored_on_error(net):
            start = _continued(samples, spec, replace(previous, net=net))
            return _after_one_epoch(start, net, split, config, previous)


@contextlib.contextmanager
def restored_on_error(net: AutoencoderNet) -> Iterator[None]:
    """Undo changes of its weights, units, moments, averages and history unless training succeeds."""
    weights = {name: tensor.clone() for name, tensor in net.module_.state_dict().items()}
    moments = {
        p: {name: moment.clone() for name, moment in state.items()}
        for p, state in net.optimizer_.state.items()
    }
    averages = {name: copy.copy(vars(callback)) for name, callback in net.callbacks_}
    scale, n_epochs = net.module_.scale, len(net.history)
    try:
        yield
    except BaseException:
        net.release(keeps_moments=True)
        net.module_.load_state_dict(weights)
        net.module_.scale = scale
        net.optimizer_.state.clear()
        net.optimizer_.state.update(moments)
        net.callbacks_ = [(name, callback) for name, callback in net.callbacks_ if name in averages]
        for name, callback in net.callbacks_:
            vars(callback).update(averages[name])
        del net.history[n_epochs:]
        raise


def _after_one_epoch(
    start: Start, net: AutoencoderNet, split: Split, config: TrainingConfig, previous: Previous | None
) -> Fitted:
    """Return the fitted model after an epoch, with the statistics of earlier chunks."""
    with threads_for(start.module.n_weights, int(config.batch_size)):
        accepted = _train_one_epoch(start, net, split, config)
        fitted = replace(summarize(accepted, split), n_samples=n_samples_seen(start, split.whole))
        if fitted.uses_network:
            fitted = replace(fitted, outcome=replace(fitted.outcome, comparison="chunks"))
    if previous is not None and not fitted.is_pca:
        fitted = _joined(fitted, previous)
    return fitted if has_normal_prior(fitted.spec) else _with_fitted_prior(fitted, split.whole, previous)


def _check_extremes(samples: ArraySamples, previous: Previous) -> None:
    """Raise an error for a value so extreme that the change of units would undo what was learned."""
    offset = previous.module.offset.numpy()
    scale = np.broadcast_to(previous.module.scale, len(offset))
    low, high = (np.asarray(values, dtype=np.float64) - offset for values in samples.feature_range())
    j = int((np.maximum(-low, high) / scale).argmax())
    distance = max(-low[j], high[j]) / scale[j]
    if distance > _MAX_DISTANCE and previous.statistics.total > 0:
        value = offset[j] + (low[j] if -low[j] > high[j] else high[j])
        raise ValueError(
            f"Feature {j} of this chunk reaches {value:.3g}, {distance:.0f} standard deviations (of all "
            "features) from its mean so far. Remove or clip such values; if they are right, scale the "
            "features, or call fit with all chunks."
        )


def _first_pca(samples: ArraySamples, spec: ModelSpec, previous: Previous | None) -> IncrementalPCA:
    """Return the PCA of the first chunk, or that of all chunks of a linear model."""
    if previous is not None:
        return with_chunk(as_incremental(previous.pca), in_pca_units(samples.array, spec.loss.scale_))
    n, d = samples.shape
    r = min(int(spec.n_components), d)
    if n < r:
        raise ValueError(
            f"n_components={r} must be at most the number of samples of the first chunk, {n}; "
            "pass a larger chunk to the first call of partial_fit."
        )
    return with_chunk(IncrementalPCA(r), in_pca_units(samples.array, spec.loss.scale_))


def _continued(samples: ArraySamples, spec: ModelSpec, previous: Previous) -> Start:
    """Return a start with the current weights, in the working units of all samples so far."""
    pca = as_incremental(previous.pca)
    X = in_pca_units(samples.array, spec.loss.scale_)
    # Several small decompositions are faster than a large one; the result is only reported.
    n_parts = max(1, X.shape[0] // max(_PART, 4 * pca.n_components_))
    for part in np.array_split(np.arange(X.shape[0]), n_parts):
        with_chunk(pca, X[part])
    initial = InitialPCA.of(pca, spec.loss.scale_)
    offset = torch.from_numpy(initial.offset)
    trained = previous.net.module_
    seen = feature_stats(samples, initial) if len(trained.low) else None
    trained.change_units(offset, initial.scale, seen)
    module = copy.deepcopy(trained).double()
    module.offset.copy_(offset)
    return Start.of(spec, pca, module, can_fall_back=False)


def _train_one_epoch(start: Start, net: AutoencoderNet, split: Split, config: TrainingConfig) -> Accepted:
    """Return the model after an epoch; a linear model with the objective of PCA is not trained."""
    trains = not start.is_optimal
    if trains:
        n_seen = n_samples_seen(start, split.whole)
        net.resume(make_objective(start, n_seen, has_warmup=False), config)
        net.run(AllFeatures().samples(split.whole, start.module, config.device), epochs=1)
        if net.interrupted_:
            raise KeyboardInterrupt("The chunk was not used; the model is that of the earlier chunks.")
    net.release(keeps_moments=True)
    module = net.module_ if trains else start.module.without_networks()
    module = inference_copy(module, start, split.whole.dtype)
    trained = Trained(start, net, is_warm=False, has_run=trains)
    return Accepted(start, net, module, module, uses_network=trains, trained=trained)


def n_samples_seen(start: Start, samples: ArraySamples) -> int:
    """Return the number of samples of all chunks."""
    return int(getattr(start.pca, "n_samples_seen_", samples.shape[0]))


def _joined(fitted: Fitted, previous: Previous) -> Fitted:
    """Average the statistics with earlier ones, which count less and less because weights have changed."""
    k = previous.n_components
    module = fitted.module.truncated(k)
    n = min(previous.statistics.moments.n, max(_REMEMBERED, fitted.n_samples / 3))
    unit = float(np.mean(previous.module.scale / module.scale)) ** 2
    statistics = fitted.statistics.truncated(k).after(previous.statistics, n, unit)
    return replace(fitted, module=module, statistics=statistics)


def _with_fitted_prior(fitted: Fitted, samples: ArraySamples, previous: Previous | None) -> Fitted:
    """Fit the prior to the codes of this and earlier chunks, as they were then."""
    posterior = posterior_of(fitted.module, fitted.statistics, fitted.pca if fitted.is_pca else None)
    earlier = None if previous is None else previous.statistics.draws
    k = fitted.module.n_kept
    prior, draws = fit_to_chunks(fitted.spec.prior, posterior, samples, k, fitted.n_samples, earlier)
    statistics = replace(fitted.statistics, draws=draws)
    return replace(fitted, module=fitted.module.with_prior(prior), statistics=statistics)


# -- parameters -----------------------------------------------------------------------------

_ARCHITECTURE = ("network", "bottleneck", "corruption", "loss")  # parts of the module, unlike other slots


def check_unchanged(previous: Previous, spec: ModelSpec, fields: dict[str, str], n_components: Any) -> None:
    """Raise an error if a parameter that the weights depend on has changed since the first chunk.

    Parameters
    ----------
    previous : Previous
    spec : ModelSpec
    fields : dict
        Field of the spec for each slot.
    n_components : int, float, str or None
        The parameter.
    """
    parts = {name: name for name in ("hidden_layer_sizes", "activation", "tied_weights", "init")}
    parts |= {name: field for name, field in fields.items() if field in _ARCHITECTURE}
    parts["missing"] = "masks_missing"
    changed = [
        n for n, field in parts.items() if repr(getattr(spec, field)) != repr(getattr(previous.spec, field))
    ]
    if isinstance(n_components, Integral) and n_components != previous.n_components:
        changed.insert(0, "n_components")
    if changed:
        raise ValueError(
            f"partial_fit continues with the weights of the earlier chunks, but {' and '.join(changed)} "
            "changed; restore the earlier values, or fit a clone."
        )
