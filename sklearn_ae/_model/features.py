"""Autoencoders of features of different kinds, each of which has its own unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._model.linear_gaussian import LEAST_NOISE, LinearGaussian
from sklearn_ae._model.module import Autoencoder, Noise
from sklearn_ae._model.statistics import working_blocks
from sklearn_ae._utils.feature_moments import FeatureMoments
from sklearn_ae.corruptions import FeatureStats

_LEAST_REST = 1e-2  # share of the variance of a feature that the noise has at the start


class FeaturewiseAutoencoder(Autoencoder):
    """Autoencoder with one scale for each feature.

    Outputs and targets of the loss are in working units for real features, and in those of X for
    others.

    Parameters
    ----------
    *parts
        Of the autoencoder. The scale is an array of shape (d,).
    **more
    """

    unit: Tensor
    real: Tensor

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self.register_buffer("unit", torch.tensor(np.asarray(self.scale), dtype=torch.float64, device="cpu"))
        self.register_buffer("real", torch.tensor(self.loss.real_, device="cpu"))

    def in_units(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.offset, self.unit, x)

    def target(self, x: Tensor) -> Tensor:
        return torch.where(self.real, x, self.in_units(x))

    def from_target(self, target: Tensor) -> Tensor:
        return torch.where(self.real, self.in_units(target), target)

    @property
    def log_units(self) -> Tensor:
        """Logarithms of the units of real features and zeros for others, of shape (d,)."""
        return torch.where(self.real, self.unit.double().log(), 0.0)

    @property
    def log_jacobian(self) -> float:
        return float(self.log_units.sum())

    @torch.no_grad()
    def change_units(self, offset: Tensor, scale: float, seen: FeatureStats | None) -> None:
        shift = (self.offset - offset) / self.unit
        for name in FeatureStats._fields:
            feature = getattr(self, name)
            if len(feature):
                feature.add_(shift)
        self._extend_ranges(seen)
        self.offset.copy_(offset)

    @torch.no_grad()
    def squared_errors(self, x: Tensor, sizes: list[int]) -> Tensor:
        z = self.encode(x)
        reconstructions = ((self.reconstruct(z[:, :j]) - self.offset) / self.unit for j in sizes)
        return torch.stack([(x - x_hat).square().sum() for x_hat in reconstructions])

    @torch.no_grad()
    def real_residuals(self, x: Tensor) -> Tensor:
        """Return the squared residuals of samples in working units."""
        return (self.target(x) - self.decode(self.encode(x))).square()

    def with_noise(self, log_variance: Tensor) -> FeaturewiseAutoencoder:
        """Return an autoencoder with a noise variance of each feature, which shares the weights."""
        twin: Any = self.with_prior(self.prior)
        twin.noise = Noise(log_variance).requires_grad_(False)
        return twin

    def noise_variances(self) -> np.ndarray:
        """Return the noise variance of each real feature in squared units of X, NaN for others."""
        assert self.noise is not None
        variances = self.noise.common.double().exp() * self.unit.double().square()
        return torch.where(self.real, variances, torch.nan).numpy()


def residual_noise(module: Any, samples: Any) -> Tensor:
    """Return the log noise variance of each feature of samples, from the residuals of an autoencoder."""
    residuals = (module.real_residuals(x).double().numpy() for x in working_blocks(module, samples))
    moments = FeatureMoments.of(samples, residuals)
    share = max(1, len(moments.mean) - module.width) / len(moments.mean)  # as the formula of PCA
    return torch.from_numpy(np.maximum(moments.mean / share, LEAST_NOISE)).log().to(module.offset)


def start_of_noise(loss: Any, linear: LinearGaussian | None) -> np.ndarray:
    """Return the log noise variance of real features and the log dispersion of others, of shape (d,).

    The variance of a real feature is what the linear model leaves of it.
    """
    start = np.array(loss.start_)
    if loss.real_ is not None:
        explained = np.zeros(len(start)) if linear is None else np.square(linear.W).sum(axis=0)
        start[loss.real_] = np.log(np.maximum(1.0 - explained, _LEAST_REST))[loss.real_]
    return start
