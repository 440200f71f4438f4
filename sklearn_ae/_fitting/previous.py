"""Fitted models that a warm start or ``partial_fit`` continues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_ae._model.initialization import ModelSpec
from sklearn_ae._model.module import Autoencoder
from sklearn_ae._model.statistics import CodeStatistics
from sklearn_ae._training.net import AutoencoderNet


@dataclass(frozen=True)
class Previous:
    """A fitted model that a warm start or ``partial_fit`` continues."""

    net: AutoencoderNet
    module: Autoencoder
    pca: Any
    n_components: int
    statistics: CodeStatistics
    spec: ModelSpec

    @property
    def offset(self) -> np.ndarray:
        """Offset of the working units, in double precision."""
        return self.module.offset.double().numpy()

    def can_train(self, spec: ModelSpec) -> bool:
        """Return whether its net can be trained; that of a model that fell back has lost its networks."""
        return spec.is_linear or spec.n_components == 0 or self.net.module_.encoder.network is not None


def check_same_shape(previous: Previous, spec: ModelSpec, n_features: int) -> None:
    """Raise an error if a warm start would continue from weights of another shape or meaning."""
    before = previous.spec
    same = {
        "n_components": previous.net.module_.width == spec.n_components
        or isinstance(spec.n_components, float),
        "the features of X": len(previous.module.offset) == n_features,
        "hidden_layer_sizes": before.hidden_layer_sizes == spec.hidden_layer_sizes,
        "network": repr(before.network) == repr(spec.network),
        "tied_weights": before.tied_weights == spec.tied_weights,
        "init": before.init == spec.init,
        "bottleneck": type(before.bottleneck) is type(spec.bottleneck),
        "corruption": (before.corruption is None) == (spec.corruption is None),
        "the noise of the likelihood": before.loss.noise == spec.loss.noise,
        "loss": before.loss.discrete == spec.loss.discrete
        and (before.loss.scale_ is None) == (spec.loss.scale_ is None),
        "missing": before.masks_missing == spec.masks_missing,
    }
    changed = [name for name, is_same in same.items() if not is_same]
    if changed:
        raise ValueError(
            f"warm_start=True continues with the weights of the previous fit, but {' and '.join(changed)} "
            "changed; restore the earlier values, or set warm_start=False."
        )
