"""Corruptions: input noise for denoising autoencoders, which reconstruct the clean sample.

A corruption is a function of the clean batch, a private random generator and
the :class:`FeatureStats` of the training samples. Scales are in working units
(1 is the root of the mean feature variance of X), so that a scale means the
same amount of noise on every dataset. Inputs are corrupted in training only.

Reference: P. Vincent et al. (2010), Stacked denoising autoencoders, JMLR 11.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from sklearn_ae._options import Option
from sklearn_ae._utils.callables import checked_result
from sklearn_ae._utils.compat import Interval


class FeatureStats(NamedTuple):
    """Zero, minimum and maximum of each feature of the training samples, in working units."""

    zero: Tensor
    low: Tensor
    high: Tensor


class Corruption(Option):
    """Base of the corruptions; a subclass defines ``__call__``."""

    _required = ("__call__",)

    #: whether the distribution is the same in any other orthonormal basis of the features
    rotation_invariant = False

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        """Return a noisy copy of the batch ``x`` of shape (n, d), in working units."""
        raise NotImplementedError


def _rand(x: Tensor, generator: Generator) -> Tensor:
    return torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def _randn(x: Tensor, generator: Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


class GaussianNoise(Corruption):
    """Add independent normal noise to every entry.

    Parameters
    ----------
    scale : float, default=0.1
        Standard deviation, in working units.

    Examples
    --------
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.corruptions import GaussianNoise
    >>> AutoencoderTransformer(8, corruption=GaussianNoise(scale=0.3)).corruption
    GaussianNoise(scale=0.3)
    """

    rotation_invariant = True
    _parameter_constraints = {"scale": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = scale

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        return x + self.scale * _randn(x, generator)


class Masking(Corruption):
    """Replace a random share of the entries by zero (in the units of X).

    Parameters
    ----------
    rate : float in [0, 1], default=0.3
        Probability that an entry is masked.

    Examples
    --------
    >>> from sklearn_ae.corruptions import Masking
    >>> Masking(rate=0.5)
    Masking(rate=0.5)
    """

    _parameter_constraints = {"rate": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, rate: float = 0.3) -> None:
        self.rate = rate

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        return torch.where(_rand(x, generator) < self.rate, stats.zero, x)


class SaltAndPepper(Corruption):
    """Replace a random share of the entries by the minimum or maximum of the feature in training.

    Parameters
    ----------
    rate : float in [0, 1], default=0.1
        Probability that an entry is replaced, by the minimum or the maximum with
        equal probability.

    Examples
    --------
    >>> from sklearn_ae.corruptions import SaltAndPepper
    >>> SaltAndPepper(rate=0.2)
    SaltAndPepper(rate=0.2)
    """

    _parameter_constraints = {"rate": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = rate

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        u = _rand(x, generator)
        x = torch.where(u < self.rate / 2, stats.low, x)
        return torch.where(u > 1 - self.rate / 2, stats.high, x)


class RayleighNoise(Corruption):
    """Add Rayleigh noise, which is positive and skewed like that of magnitude images [1]_.

    Parameters
    ----------
    scale : float, default=0.1
        Scale of the Rayleigh distribution, in working units; the noise has mean
        1.25 ``scale`` and standard deviation 0.66 ``scale``.

    References
    ----------
    .. [1] H. Gudbjartsson, S. Patz (1995), The Rician distribution of noisy MRI
       data, Magnetic Resonance in Medicine 34(6).

    Examples
    --------
    >>> from sklearn_ae.corruptions import RayleighNoise
    >>> RayleighNoise(scale=0.2)
    RayleighNoise(scale=0.2)
    """

    _parameter_constraints = {"scale": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = scale

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        # 1 - u is in (0, 1], so that the logarithm is finite.
        return x + self.scale * torch.sqrt(-2 * torch.log1p(-_rand(x, generator)))


class CallableNoise(Corruption):
    """Wrapper of a plain function of the batch.

    Parameters
    ----------
    function : callable
        Maps a tensor of shape (n, d), in working units, to a noisy copy of the
        same shape. Random numbers from torch's global generator are reproducible:
        ``fit`` seeds it from ``random_state`` and restores its state afterwards.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae import AutoencoderTransformer
    >>> def dropout(x):
    ...     return torch.nn.functional.dropout(x, 0.2)
    >>> ae = AutoencoderTransformer(8, corruption=dropout)
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        return checked_result(self.function(x), x.shape, "corruption")


CORRUPTIONS = {
    "gaussian": GaussianNoise,
    "masking": Masking,
    "salt_and_pepper": SaltAndPepper,
    "rayleigh": RayleighNoise,
}
