"""Input noise for denoising autoencoders: training sees noisy rows, the target is clean.

A corruption is a function of the clean batch, a private random generator and
the :class:`FeatureStats` of the training rows. Scales are in working units
(1 is the root of the mean column variance of X), so the same scale means the
same amount of noise on every data set. Nothing is corrupted outside of training.

Reference: P. Vincent et al. (2010), Stacked denoising autoencoders, JMLR 11.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from sklearn_ae._options import Option, resolve
from sklearn_ae._utils.compat import Interval


class FeatureStats(NamedTuple):
    """Where zero, the smallest and the largest value of each column lie in working units."""

    zero: Tensor
    low: Tensor
    high: Tensor


class Corruption(Option):
    """Base of the input noises."""

    #: whether its distribution is the same in any other orthonormal basis of the columns
    rotation_invariant = False

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        """Return the noisy twin of the batch ``x`` of shape (n, d)."""
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

    def __init__(self, scale: float = 0.1):
        self.scale = scale

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        return x + self.scale * _randn(x, generator)


class Masking(Corruption):
    """Set a random share of the entries to zero (zero in the units of X).

    Parameters
    ----------
    rate : float in [0, 1], default=0.3
        Probability of each entry to be masked.

    Examples
    --------
    >>> from sklearn_ae.corruptions import Masking
    >>> Masking(rate=0.5)
    Masking(rate=0.5)
    """

    _parameter_constraints = {"rate": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, rate: float = 0.3):
        self.rate = rate

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        return torch.where(_rand(x, generator) < self.rate, stats.zero, x)


class SaltAndPepper(Corruption):
    """Set a random share of the entries to their column's training minimum or maximum.

    Parameters
    ----------
    rate : float in [0, 1], default=0.1
        Probability of each entry to be replaced; half of those become the
        minimum, half the maximum.

    Examples
    --------
    >>> from sklearn_ae.corruptions import SaltAndPepper
    >>> SaltAndPepper(rate=0.2)
    SaltAndPepper(rate=0.2)
    """

    _parameter_constraints = {"rate": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, rate: float = 0.1):
        self.rate = rate

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        u = _rand(x, generator)
        x = torch.where(u < self.rate / 2, stats.low, x)
        return torch.where(u > 1 - self.rate / 2, stats.high, x)


class RayleighNoise(Corruption):
    """Add Rayleigh noise, which is positive and skewed, as in magnitude images [1]_.

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

    def __init__(self, scale: float = 0.1):
        self.scale = scale

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        # 1 - u lies in (0, 1], so the logarithm is finite
        return x + self.scale * torch.sqrt(-2 * torch.log1p(-_rand(x, generator)))


class CallableNoise(Corruption):
    """Wrap a user's function of the batch.

    Parameters
    ----------
    function : callable
        Maps a tensor of shape (n, d), in working units, to its noisy twin of the
        same shape. Random numbers drawn from torch's global generator are
        reproducible: it is seeded from ``random_state`` within ``fit`` and
        restored afterwards.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae import AutoencoderTransformer
    >>> def dropout(x):
    ...     return torch.nn.functional.dropout(x, 0.2)
    >>> ae = AutoencoderTransformer(8, corruption=dropout)
    """

    def __init__(self, function: Callable[[Tensor], Tensor]):
        self.function = function

    def __call__(self, x: Tensor, generator: Generator, stats: FeatureStats) -> Tensor:
        noisy = self.function(x)
        if not isinstance(noisy, Tensor) or noisy.shape != x.shape:
            got = tuple(noisy.shape) if isinstance(noisy, Tensor) else type(noisy).__name__
            raise ValueError(
                f"The callable passed as corruption must return a tensor of shape {tuple(x.shape)}; "
                f"got {got}."
            )
        return noisy


CORRUPTIONS = {
    "gaussian": GaussianNoise,
    "masking": Masking,
    "salt_and_pepper": SaltAndPepper,
    "rayleigh": RayleighNoise,
}


def resolve_corruption(value: Any) -> Corruption | None:
    """Resolve the slot ``corruption``, which also takes a plain function."""
    if callable(value) and not isinstance(value, (Option, type)):
        return CallableNoise(value)
    return resolve(value, CORRUPTIONS, "corruption", Corruption, optional=True)
