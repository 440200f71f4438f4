"""Derivatives of encoder and decoder at each sample, in the units of the user."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sklearn_ae._estimators.inference import inference, inference_module
from sklearn_ae._model.statistics import working_blocks
from sklearn_ae._utils.derivatives import jacobian


class Jacobians:
    """Mixin for the derivatives of ``transform`` and ``inverse_transform``, by automatic differentiation.

    They are computed on the CPU, as log-likelihoods are.
    """

    module_: Any
    _to_user: Any
    _from_user: Any

    def _encoder_jacobians(self, X: np.ndarray) -> np.ndarray:
        """Return the Jacobians of ``transform``, of shape (n, k, d), at samples in float64."""
        module = inference_module(self.module_, "cpu", X.dtype)
        plain, scores = module.with_scores(None), module.scores
        with inference(module, len(X)):
            x = torch.cat(list(working_blocks(plain, X if scores is None else scores(X))))
            derivatives = jacobian(lambda x: self._to_user(plain.encode(x)), x, by_rows=True)[1]
        jac = derivatives.numpy() / module.scale
        return jac if scores is None else jac * scores.slopes(X)[:, None]

    def _decoder_jacobians(self, Z: np.ndarray) -> np.ndarray:
        """Return the Jacobians of ``inverse_transform``, of shape (n, d, k), at codes in float64."""
        module = inference_module(self.module_, "cpu", Z.dtype)
        plain, scores = module.with_scores(None), module.scores
        with inference(module, len(Z)):
            z = torch.tensor(Z, device="cpu")
            decoded, derivatives = jacobian(lambda z: plain.reconstruct(self._from_user(z)), z)
        jac = derivatives.numpy()
        if scores is None:
            return jac
        return jac / scores.slopes(scores.inverse(decoded.numpy()))[..., None]
