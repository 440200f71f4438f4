"""Decoders as functions of the code, with their derivatives.

The Jacobian of a dense network is propagated layer by layer, which takes as long as
decoding k codes. Its second derivatives then cost little more: the network bends at its
activations only. Other functions are differentiated by backward passes, once.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sklearn_ae._model.module import Autoencoder
from sklearn_ae._utils.derivatives import curvature, entrywise_derivatives, jacobian
from sklearn_ae.networks import ACTIVATIONS, Linear, MarkMissing, TiedLinear

# Standard deviation of the noise, in working units, from which the rounding errors of float32
# are far below the errors of the estimates.
_MIN_NOISE_STD = 1e-3

_ROWS = 8

Decode = Callable[[Tensor], Tensor]

AFFINE = (nn.Linear, Linear, TiedLinear)
_ENTRYWISE = (*ACTIVATIONS.values(), nn.GELU)


class Decoder:
    """Function of codes, computed sample by sample.

    Parameters
    ----------
    function : callable
        Maps float64 codes (n, k) to outputs (n, d) with PyTorch operations.
    """

    def __init__(self, function: Decode) -> None:
        self.function = function

    @classmethod
    def of(cls, function: Decoder | Decode) -> Decoder:
        """Return a decoder as it is, and one that computes a function otherwise."""
        return function if isinstance(function, Decoder) else cls(function)

    def __call__(self, z: Tensor) -> Tensor:
        """Return the outputs (n, d) for codes (n, k)."""
        return self.function(z)

    def expand(self, z: Tensor, directions: Tensor, *, order: int = 2) -> Expansion:
        """Return the outputs and their derivatives, up to the second if they are known.

        Parameters
        ----------
        z : Tensor of shape (n, k)
            Codes.
        directions : Tensor of shape (k, m)
            Columns along which the derivatives are taken.
        order : int, default=2
            Highest derivative that is needed.
        """
        value, jac = jacobian(self.function, z)
        bend = partial(curvature, self.function, z)
        return Expansion(value, jac @ directions, lambda weights: directions.T @ bend(weights) @ directions)

    def vjp(self, z: Tensor, weigh: Decode) -> Tensor:
        """Return the vector-Jacobian products (n, k) for weights that are a function of the outputs."""
        with torch.inference_mode(False), torch.enable_grad():
            z = z.detach().clone().requires_grad_()
            value = self(z)
            if not value.requires_grad:  # it is constant
                return torch.zeros_like(z)
            (product,) = torch.autograd.grad(value, z, weigh(value.detach()), materialize_grads=True)
        return product.nan_to_num(0.0, 0.0, 0.0)


class ModuleDecoder(Decoder):
    """Decoder of an autoencoder: ``eta``, followed by the log noise variance if it depends on the code.

    Codes and outputs are float64. The networks in between are evaluated in float32, in
    which they were trained, unless the noise is so small that rounding errors would matter.

    Parameters
    ----------
    module : Autoencoder
        In float64.
    noise_variance : Tensor, float or None
        Of a normal distribution of x given z, in working units; None for other distributions.
    """

    def __init__(self, module: Autoencoder, noise_variance: Tensor | float | None = None) -> None:
        super().__init__(self._decode)
        self.has_noise = module.noise is not None and module.noise.network is not None
        least = 1.0 if noise_variance is None else float(np.min(np.asarray(noise_variance)))
        if module.whitening is not None:
            least /= module.whitening.gain**2
        is_precise = least >= _MIN_NOISE_STD**2 and not self.has_noise
        self.dtype = torch.float32 if is_precise else torch.float64
        self.module = copy.deepcopy(module).to(self.dtype)

    def __call__(self, z: Tensor) -> Tensor:
        return self._decode(_padded(z).to(self.dtype))[: len(z)].double()

    def expand(self, z: Tensor, directions: Tensor, *, order: int = 2) -> Expansion:
        n, z, directions = len(z), _padded(z).to(self.dtype), directions.to(self.dtype)
        try:
            with torch.inference_mode(False), torch.set_grad_enabled(order > 1):
                output = self._propagated(z.detach().clone().requires_grad_(order > 1), directions)
        except NotImplementedError:
            value, jac, bend = super().expand(z, directions)
        else:
            # Derivatives where the function overflows are replaced by 0, since NaN would spread.
            jac = output.columns.detach().nan_to_num_(0.0, 0.0, 0.0).expand(len(z), -1, -1).mT
            value, bend = output.value.detach(), output.curvature
        return Expansion(
            value[:n].double(), jac[:n], lambda weights: bend(_padded(weights).to(z))[:n].double()
        )

    def _decode(self, z: Tensor) -> Tensor:
        eta = self.module.decode(z)
        if not self.has_noise:
            return eta
        log_noise = self.module.log_noise(z)
        assert log_noise is not None
        return torch.cat([eta, log_noise], 1)

    def _propagated(self, z: Tensor, directions: Tensor) -> _Dual:
        """Do what ``_decode`` does, layer by layer with derivatives."""
        module = self.module
        bends: list[_Bend] = []
        codes = _Dual(z, directions.T[None], bends)
        padded = codes.padded(module.width - z.shape[1])
        linear, network, gain = module.decoder.linear, module.decoder.network, module.decoder.gain
        zero = torch.zeros_like(module.offset)
        eta = _Dual(zero.expand(len(z), -1), zero[None, None], bends)
        if linear is not None:
            eta = padded.through(linear)
        if module.loss.discrete:
            eta = eta.mapped(lambda y: module.loss.link(module.target(y)))
        if network is not None:
            y = padded.through(network)
            if gain is not None:
                y = _Dual(gain * y.value, gain * y.columns, bends)
            eta = _Dual(eta.value + y.value, eta.columns + y.columns, bends)
        if module.whitening is not None:
            with torch.no_grad():
                columns = module.whitening(eta.columns)
            eta = _Dual(module.whitening(eta.value), columns, bends)
        if not self.has_noise:
            return eta
        log_noise = codes.through(module.noise.network).mapped(module.noise.bounded)  # type: ignore[union-attr]
        columns = [part.columns.expand(len(z), -1, -1) for part in (eta, log_noise)]
        return _Dual(torch.cat([eta.value, log_noise.value], 1), torch.cat(columns, 2), bends)


class Expansion(NamedTuple):
    """Outputs of a decoder for n codes, and their derivatives along m directions.

    Attributes
    ----------
    value : Tensor of shape (n, d)
    jac : Tensor of shape (n, d, m)
        In the dtype of the decoder's networks.
    curvature : callable
        Maps weights (n, d) to the weighted sums of the second derivatives of the outputs,
        of shape (n, m, m). May be called once.
    """

    value: Tensor
    jac: Tensor
    curvature: Decode


class _Bend(NamedTuple):
    """An entrywise function y of w values: its second derivative, and columns (n, m, w) of the values."""

    y: Tensor
    second: Tensor
    columns: Tensor


class _Dual(NamedTuple):
    """Values (n, w), their derivatives along m directions, (n, m, w) or (1, m, w), and all bends."""

    value: Tensor
    columns: Tensor
    bends: list[_Bend]

    def padded(self, n: int) -> _Dual:
        """Append n zeros to the values."""
        return _Dual(F.pad(self.value, (0, n)), F.pad(self.columns, (0, n)), self.bends)

    def through(self, layer: Any) -> _Dual:
        """Apply a layer; raise NotImplementedError if its type is unknown."""
        if type(layer) is nn.Sequential:
            dual = self
            for part in layer:
                dual = dual.through(part)
            return dual
        if type(layer) in AFFINE:
            with torch.no_grad():
                columns = without_bias(layer, self.columns)
            return self._replace(value=layer(self.value), columns=columns)
        if type(layer) in _ENTRYWISE:
            return self.mapped(layer)
        if type(layer) is MarkMissing:
            return self.padded(self.value.shape[1])._replace(value=layer(self.value))
        raise NotImplementedError

    def mapped(self, function: Decode) -> _Dual:
        """Apply an entrywise function."""
        value = function(self.value)
        if isinstance(function, nn.GELU) and function.approximate == "none":
            first, second = _gelu_derivatives(self.value.detach())
        else:  # arguments that are clipped have no second derivative
            first, second = (part.nan_to_num(0.0) for part in entrywise_derivatives(function, self.value))
        if value.requires_grad:
            self.bends.append(_Bend(value, second, self.columns))
        return self._replace(value=value, columns=first[:, None] * self.columns)

    def curvature(self, weights: Tensor) -> Tensor:
        """Return the weighted sums of the second derivatives of the values, of shape (n, m, m)."""
        if not self.bends:  # the map is linear
            return weights.new_zeros((len(weights), self.columns.shape[1], self.columns.shape[1]))
        with torch.inference_mode(False), torch.enable_grad():
            total = (self.value * weights.clone()).sum()
            slopes = torch.autograd.grad(total, [bend.y for bend in self.bends], materialize_grads=True)
        parts = [
            (bend.columns * (slope * bend.second)[:, None]) @ bend.columns.mT
            for slope, bend in zip(slopes, self.bends, strict=True)
        ]
        return torch.stack(parts).sum(0).nan_to_num(0.0, 0.0, 0.0)


def _padded(z: Tensor) -> Tensor:
    """Append rows of zeros up to a multiple of _ROWS.

    Matrix products sum the entries of the last rows in another order than those of others, and
    results should not depend on the batch.
    """
    return torch.cat([z, z.new_zeros((-len(z) % _ROWS, z.shape[1]))])


def without_bias(layer: Any, z: Tensor) -> Tensor:
    """Return the linear part of an affine layer."""
    if isinstance(layer, nn.Linear):
        return F.linear(z, layer.weight)
    return layer(z) - layer(z.new_zeros(z.shape[-1]))


def _gelu_derivatives(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return both derivatives of x times the normal distribution function."""
    density = x.square().mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
    distribution = (x * math.sqrt(0.5)).erf_().add_(1.0).mul_(0.5)
    return distribution.addcmul_(x, density), (2.0 - x.square()).mul_(density)
