"""``fit`` of models of normal scores, and of densities that held-out samples choose.

stacked  = StackedDensity.fit(split.train)    nested densities without networks
scores   = those of the stacked densities     monotone maps of single features
fitted   = fit_split(split in scores)         the pipeline, on normal scores
weight   = share of the autoencoder in the average, from the validation samples
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sklearn_ae._data.in_memory import ArraySamples
from sklearn_ae._density.stacked import StackedDensity, stacking_weights
from sklearn_ae._density.vae import FittedVAE
from sklearn_ae._fitting.pipeline import (
    Fitted,
    Previous,
    Split,
    fit_split,
    has_normal_prior,
    hold_out,
    with_fitted_prior,
)
from sklearn_ae._model.initialization import ModelSpec
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.statistics import CodeStatistics
from sklearn_ae._training.optimization import TrainingConfig
from sklearn_ae._utils.normal_scores import NormalScores
from sklearn_ae._utils.runtime import fit_context
from sklearn_ae.likelihoods import Auto, Gaussian

_N_DRAWS = 64  # of the log-likelihoods of validation samples
_MAX_VALIDATION = 2_000
_LEAST_WEIGHT = 0.01  # of the autoencoder, whose density takes longer to compute than all others


def fit_density(
    data: ArraySamples,
    X_val: ArraySamples | None,
    spec: ModelSpec,
    config: TrainingConfig,
    rng: np.random.RandomState,
    previous: Previous | None = None,
) -> Fitted:
    """Fit a model whose likelihood is chosen, or one of normal scores.

    Parameters are those of :func:`sklearn_ae._fitting.pipeline.fit`.
    """
    with fit_context():
        config = replace(config, n_folds=0)  # all parts of the density share one validation set
        split = hold_out(data, X_val, spec, config, rng)
        X = split.train.array
        if not isinstance(spec.loss, Auto):
            scores = NormalScores.fit(X, split.seed) if previous is None else previous.module.scores
            return _fit(split, spec, config, previous, scores)[0]
        stacked = StackedDensity.fit(X, split.seed)
        scores = stacked.preferred_scores(X) if previous is None else previous.module.scores
        spec = replace(spec, loss=Gaussian(noise="full", normal_scores=scores is not None))
        fitted, validated = _fit(split, spec, config, previous, scores)
        weight = 0.0
        if fitted.uses_network and split.valid is not None:
            weight = _weight(validated, fitted.statistics, split.valid.array[:_MAX_VALIDATION], stacked)
        if split.train is not split.whole:
            stacked = stacked.refit(split.whole.array, split.seed)
        return replace(fitted, stacked=stacked, weight=weight)


def _fit(
    split: Split,
    spec: ModelSpec,
    config: TrainingConfig,
    previous: Previous | None,
    scores: NormalScores | None,
) -> tuple[Fitted, Autoencoder]:
    """Fit a model to samples or their normal scores; return the one before any refit on all samples, too."""
    if scores is not None:
        split = _in_scores(split, scores)
    accepted, fitted = fit_split(split, spec, config, previous)
    module, validated = fitted.module, accepted.validated
    if validated is accepted.module:
        validated = module
    elif not has_normal_prior(spec):
        unseen = replace(split, whole=split.train, valid=None)
        before = replace(fitted, module=validated), replace(accepted, module=validated)
        validated = with_fitted_prior(*before, unseen).module
    return replace(fitted, module=module.with_scores(scores)), validated.with_scores(scores)


def _in_scores(split: Split, scores: NormalScores) -> Split:
    """Return the split with the normal scores of all samples."""
    whole = split.whole.of(scores(split.whole.X).astype(split.whole.dtype))
    train = whole if split.train is split.whole else split.train.of(whole.X)
    valid = split.valid
    if valid is not None:
        is_part = valid.X is split.whole.X
        valid = valid.of(whole.X if is_part else scores(valid.X).astype(valid.dtype))
    return replace(split, train=train, valid=valid, whole=whole)


def _weight(module: Autoencoder, statistics: CodeStatistics, X: np.ndarray, stacked: StackedDensity) -> float:
    """Return the weight of an autoencoder in the average that is best for samples not seen by any model."""
    own, _ = FittedVAE(module).score_samples(X, statistics.moments.landmarks, _N_DRAWS)
    weight = float(stacking_weights(np.stack([own, stacked.log_prob(X)], axis=1))[0])
    return weight if weight >= _LEAST_WEIGHT else 0.0
