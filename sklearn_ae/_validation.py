"""Checks of parameters against each other and against X, before any work."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_ae._building import Slots


def check_slots(params: Any, X: Any) -> Slots:
    """Resolve the slots and refuse what cannot work."""
    slots = params._resolve_slots()
    sizes = params.hidden_layer_sizes
    if not all(isinstance(size, Integral) and int(size) > 0 for size in np.ravel(sizes).tolist()):
        raise ValueError(f"hidden_layer_sizes must hold positive integers; got {sizes!r}.")
    slots.network.check(X.shape[1], params.tied_weights)
    slots.loss.check(X)
    return slots


def check_n_components(params: Any, X: Any, slots: Slots) -> int | float:
    """The size of the code, or the share of variance that is to decide it."""
    n, d = X.shape
    k = params.n_components
    if k == "mle":
        raise ValueError(
            "n_components='mle' is not defined for autoencoders; give the share of variance to "
            "explain (n_components=0.95), or choose the size by cross-validation."
        )
    if k is None:
        return min(n, d) - (1 if sparse.issparse(X) else 0)
    if isinstance(k, Real) and k < 1:
        if not slots.bottleneck.ordered and len(np.ravel(params.hidden_layer_sizes)):
            raise ValueError(
                f"n_components={k} picks the number of components by the variance they explain, which "
                "needs ordered codes; set bottleneck='ordered', or give an integer."
            )
        return float(k)
    if k > min(n, d) and not slots.limited:
        raise ValueError(
            f"n_components={k} must be between 1 and min(n_samples, n_features)={min(n, d)} "
            f"(n_samples={n}, n_features={d}). An overcomplete code needs something that limits it, "
            "such as penalty='l1', bottleneck='topk' or a corruption."
        )
    return int(k)
