"""TODO"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sklearn_ae._model.objectives import Elbo, Objective
from sklearn_ae.bottlenecks import Bottleneck
from sklearn_ae.corruptions import CallableNoise, Corruption
from sklearn_ae.divergences import KL, Divergence
from sklearn_ae.losses import SquaredError
from sklearn_ae.networks import Dense, Modules, Network
from sklearn_ae.penalties import Penalty
from sklearn_ae.priors import Prior


@dataclass
class ModelSpec:
    """The resolved options of the formula; a divergence makes it a variational autoencoder."""

    network: Network
    hidden_layer_sizes: tuple[int, ...]
    bottleneck: Bottleneck
    corruption: Corruption | None
    loss: Any  # a Likelihood in a variational autoencoder
    penalty: Penalty | None = None
    divergence: Divergence | None = None
    beta: float = 1.0
    kl_warmup: float = 0.0
    prior: Prior | None = None

    @property
    def limited(self) -> bool:
        """Whether something keeps an overcomplete code from being a copy of X."""
        limits = self.corruption, self.penalty, self.divergence
        return self.bottleneck.sparse or any(limit is not None for limit in limits)

    @property
    def plain(self) -> bool:
        """Whether the objective is PCA's, so that a linear model is at its optimum at the start."""
        if self.divergence is not None:
            pca = self.loss.noise == "shared" and isinstance(self.divergence, KL) and self.beta == 1
            return pca and self.corruption is None
        return (
            isinstance(self.loss, SquaredError)
            and self.corruption is None
            and self.penalty is None
            and not self.bottleneck.sparse
        )

    @property
    def rotation_invariant(self) -> bool:
        """Whether rotated columns would be the same task."""
        options = self.network, self.loss, self.corruption, self.penalty
        return self.divergence is None and all(o is None or o.rotation_invariant for o in options)

    @property
    def uses_global_generator(self) -> bool:
        """Whether the user's own code may draw from torch's global generator."""
        return isinstance(self.corruption, CallableNoise) or isinstance(self.network, Modules)

    def capturable(self, width: int) -> bool:
        """Whether a training step for codes of this width never asks the device for a value.

        Nobody can tell that of code that is not the package's own.
        """
        options = self.network, self.bottleneck, self.corruption, self.loss, self.penalty, self.divergence
        own = all(option is None or option.is_own() for option in options)
        return own and not (self.penalty is not None and self.penalty.decomposes(width))

    def objective(self, n_rows: int, n_features: int, scale: float, warm: bool) -> Objective | Elbo:
        """What training minimises, for this many rows in working units of this scale.

        A warm start needs no other warm-up.
        """
        if self.divergence is None:
            return Objective(self.loss, self.penalty)
        log_jacobian = 0.0 if self.loss.discrete else n_features * math.log(scale)
        n_samples = self.bottleneck.n_samples  # type: ignore[attr-defined]
        return Elbo(
            self.loss,
            self.divergence,
            self.beta,
            0.0 if warm else self.kl_warmup,
            n_samples,
            n_rows,
            n_features,
            log_jacobian,
        )


def is_linear(network: Network, hidden_layer_sizes: tuple[int, ...]) -> bool:
    """Whether f and g add nothing to the linear path (behind a discrete loss's link they do)."""
    return isinstance(network, Dense) and not hidden_layer_sizes
