"""Jacobians of the encoder and the decoder of any transformer, at blocks of samples.

Models of this package are differentiated automatically, and other models by central
differences. Scalers before the former add one factor for each feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.decomposition import PCA, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from sklearn_ae._utils.arrays import dense
from sklearn_ae._utils.differences import STEP, jacobian_blocks, varying
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae._utils.transformers import decode, encode, in_frame_of, minimum_input

_BLOCK_VALUES = 2**21  # Number of derivatives computed at a time

# The rules apply to scikit-learn's own classes only, because a subclass may transform differently.
_AFFINE = {PCA, IncrementalPCA, TruncatedSVD, FastICA, StandardScaler, RobustScaler}
_FEATUREWISE = {
    *(StandardScaler, RobustScaler, MinMaxScaler, MaxAbsScaler),
    *(PowerTransformer, QuantileTransformer),
}


class Jacobians:
    """Jacobians of a fitted transformer at samples and their codes.

    Parameters
    ----------
    model : object
    X : {array-like, sparse matrix} of shape (n, d)
    samples, codes : ndarray of shape (n, d) and (n, k)
        X and its codes, in float64.
    std, code_std : ndarray of shape (d,) and (k,)
        Standard deviations, which determine the steps of differences; those of constants are 0.
    """

    def __init__(
        self,
        model: Any,
        X: Any,
        samples: np.ndarray,
        codes: np.ndarray,
        *,
        std: np.ndarray,
        code_std: np.ndarray,
    ) -> None:
        self.model = model
        self.X = X
        self.samples = samples
        self.codes = codes
        self.steps = np.where(std > 0, std, 1.0)
        self.code_steps = np.where(code_std > 0, code_std, 1.0)
        self.is_affine = all(type(step) in _AFFINE for step in _steps(model))
        self.differentiable: Any = None if self.is_affine else _differentiable(model)
        self.before = model[:-1] if isinstance(model, Pipeline) and len(model) > 1 else None

    def encoder(self) -> Iterator[np.ndarray]:
        """Iterate over derivatives dz_i / dx_j, of shape (n, k, d), at blocks of samples."""
        if self.differentiable is not None:
            yield from (self._exact_encoder(part) for part in self._blocks(self.samples))
            return
        k, minimum = self.codes.shape[1], minimum_input(self.model)
        for jac in jacobian_blocks(self._encode, *self._differences(self.samples, self.steps), k, minimum):
            yield jac.swapaxes(1, 2)

    def decoder(self) -> Iterator[np.ndarray]:
        """Iterate over derivatives dx_j / dz_i, of shape (n, k, d), at blocks of codes."""
        if self.differentiable is not None:
            yield from (self._exact_decoder(part) for part in self._blocks(self.codes))
            return
        d = self.samples.shape[1]
        yield from jacobian_blocks(self._decode, *self._differences(self.codes, self.code_steps), d)

    def _encode(self, samples: np.ndarray) -> np.ndarray:
        return encode(self.model, in_frame_of(self.X, samples), "X").astype(np.float64)

    def _decode(self, codes: np.ndarray) -> np.ndarray:
        return decode(self.model, codes, np.float64).astype(np.float64)

    def _differences(self, points: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return points and steps: one point and large steps for affine maps, to reduce rounding errors."""
        return (points[:1], steps) if self.is_affine else (points, STEP * steps)

    def _blocks(self, points: np.ndarray) -> Iterator[np.ndarray]:
        size = max(1, _BLOCK_VALUES // (self.samples.shape[1] * self.codes.shape[1]))
        for start in range(0, len(points), size):
            yield points[start : start + size]

    def _exact_encoder(self, samples: np.ndarray) -> np.ndarray:
        if self.before is None:
            return self.differentiable._encoder_jacobians(samples)
        values, slopes = _featurewise(self._scale, samples, STEP * self.steps)
        return self.differentiable._encoder_jacobians(values) * slopes[:, None]

    def _exact_decoder(self, codes: np.ndarray) -> np.ndarray:
        jac = self.differentiable._decoder_jacobians(codes).swapaxes(1, 2)
        if self.before is None:
            return jac
        decoded = decode(self.model[-1], codes, np.float64)
        slopes = _featurewise(self.before.inverse_transform, decoded, STEP * self._scaled_steps)[1]
        return jac * slopes[:, None]

    def _scale(self, samples: np.ndarray) -> Any:
        return self.before.transform(in_frame_of(self.X, samples))  # type: ignore[union-attr]

    @cached_property
    def _scaled_steps(self) -> np.ndarray:
        """Standard deviations of the scaled features, or 1 for constants."""
        scaled = np.asarray(dense(self._scale(self.samples)))
        std = scaled.std(axis=0)
        return np.where(varying(scaled, std), std, 1.0)


def _steps(model: Any) -> list[Any]:
    """Return the steps of a pipeline, without those that change nothing, or the model itself."""
    if not isinstance(model, Pipeline):
        return [model]
    return [step for _, step in model.steps if step is not None and step != "passthrough"]


def _differentiable(model: Any) -> Any:
    """Return the model of this package behind steps that map each feature separately, or None."""
    *before, last = _steps(model) or [None]
    last = getattr(last, "autoencoder_", last)
    known = last is getattr(last_step(model), "autoencoder_", last_step(model))
    known &= hasattr(last, "_encoder_jacobians") and all(type(step) in _FEATUREWISE for step in before)
    return last if known else None


def _featurewise(
    function: Callable[[Any], Any], points: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return values and slopes, of shape (n, d), of a function that maps each feature separately."""
    up, down, values = (
        np.asarray(dense(function(points + shift)), dtype=np.float64) for shift in (steps, -steps, 0.0)
    )
    return values, (up - down) / (2 * steps)
