"""Penalties: regularisation terms added to the reconstruction loss of each sample.

A penalty is a function of the encoder input ``x``, the activations ``a``, the
codes ``z`` (``a`` after the bottleneck) and a random generator. It returns one
value per sample, on the scale of the losses (which are summed over features, in
working units). Penalties add: ``Contractive(0.1) + L1(0.01)``.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real

import torch
from torch import Generator, Tensor

from sklearn_ae._options import Option, Pair
from sklearn_ae._utils.callables import checked_result
from sklearn_ae._utils.compat import Interval


class Penalty(Option):
    """Base of the penalties; a subclass defines ``__call__``."""

    _required = ("__call__",)

    #: whether the penalty differentiates the code with respect to the input
    needs_input_grad = False
    #: whether the penalty is the same in any other orthonormal basis of the features
    rotation_invariant = False

    def __call__(self, x: Tensor, a: Tensor, z: Tensor, generator: Generator) -> Tensor:
        """Return the penalty of each sample, of shape (n,), from x (n, d), a (n, k) and z (n, k)."""
        raise NotImplementedError

    def __add__(self, other: Penalty) -> Sum:
        return Sum(self, other)

    def decomposes(self, width: int) -> bool:
        """Return whether codes of this width need matrix decompositions, which CUDA graphs cannot capture."""
        return False


class Sum(Pair, Penalty):
    """Sum of two penalties, as ``first + second`` builds it.

    Parameters
    ----------
    first, second : Penalty
        The terms; nested parameters are reached as ``penalty__first__weight``.

    Examples
    --------
    >>> from sklearn_ae.penalties import L1, Contractive
    >>> Contractive(0.1) + L1(0.01)
    Sum(first=Contractive(), second=L1())
    """

    _slot = Penalty
    _refusal = "Only penalties can be added to a penalty"

    @property
    def needs_input_grad(self) -> bool:  # type: ignore[override]
        return self.first.needs_input_grad or self.second.needs_input_grad

    def decomposes(self, width: int) -> bool:
        return self.first.decomposes(width) or self.second.decomposes(width)

    @property
    def rotation_invariant(self) -> bool:  # type: ignore[override]
        return self.first.rotation_invariant and self.second.rotation_invariant

    def __call__(self, x: Tensor, a: Tensor, z: Tensor, generator: Generator) -> Tensor:
        return self.first(x, a, z, generator) + self.second(x, a, z, generator)


class L1(Penalty):
    """``weight * sum_j |z_j|``: a few large components instead of many small ones.

    Parameters
    ----------
    weight : float, default=0.01
        Relative to the loss of a sample, which is summed over features.

    Notes
    -----
    Gradients shrink codes towards zero; exact zeros need a sparse bottleneck,
    such as ``bottleneck="relu"``.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.penalties import L1
    >>> z = torch.tensor([[1.0, -2.0]])
    >>> L1(weight=0.5)(z, z, z, None)
    tensor([1.5000])
    """

    rotation_invariant = True
    _parameter_constraints = {"weight": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, weight: float = 0.01) -> None:
        self.weight = weight

    def __call__(self, x: Tensor, a: Tensor, z: Tensor, generator: Generator) -> Tensor:
        return self.weight * z.abs().sum(1)


class KLSparsity(Penalty):
    """``weight * sum_j KL(target || rate_j)``: each component is active in a target share of samples.

    ``rate_j`` is the batch mean of ``sigmoid(a_j / temperature)``, a smooth version
    of the share of samples with a positive activation; with ``bottleneck="relu"``
    all others have a code of exactly zero.

    Parameters
    ----------
    weight : float, default=30.0
        Relative to the loss of a sample, which is summed over features. The loss
        pulls the rate above the target, less so with a larger weight.
    target : float in (0, 1), default=0.05
        Target rate of activity.
    temperature : float, default=0.1
        Width of the sigmoid, in working units; 1 gives the sigmoid units of the
        reference.

    References
    ----------
    .. [1] A. Ng (2011), Sparse autoencoder, CS294A lecture notes, Stanford.

    Examples
    --------
    >>> from sklearn_ae.penalties import KLSparsity
    >>> KLSparsity(target=0.1)
    KLSparsity(target=0.1)
    """

    rotation_invariant = True
    _parameter_constraints = {
        "weight": [Interval(Real, 0, None, closed="left")],
        "target": [Interval(Real, 0, 1, closed="neither")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, weight: float = 30.0, target: float = 0.05, temperature: float = 0.1) -> None:
        self.weight = weight
        self.target = target
        self.temperature = temperature

    def __call__(self, x: Tensor, a: Tensor, z: Tensor, generator: Generator) -> Tensor:
        eps = 1e-6
        rate = torch.sigmoid(a / self.temperature).mean(0).clamp(eps, 1 - eps)
        p = torch.full_like(rate, self.target)
        kl = p * torch.log(p / rate) + (1 - p) * torch.log((1 - p) / (1 - rate))
        return (self.weight * kl.sum()).expand(len(a))


class Contractive(Penalty):
    """``weight * ||dz/dx||_F^2``: codes that change little with the input [1]_.

    The squared Frobenius norm of the Jacobian of encoder and bottleneck, in
    working units on both sides. It is exact for codes of up to ``n_probes``
    components, with one backward pass per component. Wider codes use the unbiased
    estimate ``k / n_probes * sum_p ||v_p' J||^2`` with random orthonormal
    directions v_p.

    Parameters
    ----------
    weight : float, default=0.1
        Relative to the loss of a sample, which is summed over features.
    n_probes : int, default=8
        Backward passes per step.

    References
    ----------
    .. [1] S. Rifai et al. (2011), Contractive auto-encoders: explicit invariance
       during feature extraction, ICML.

    Examples
    --------
    >>> from sklearn_ae.penalties import Contractive
    >>> Contractive(weight=1.0)
    Contractive(weight=1.0)
    """

    needs_input_grad = True
    rotation_invariant = True
    _parameter_constraints = {
        "weight": [Interval(Real, 0, None, closed="left")],
        "n_probes": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, weight: float = 0.1, n_probes: int = 8) -> None:
        self.weight = weight
        self.n_probes = n_probes

    def decomposes(self, width: int) -> bool:
        return width > self.n_probes

    def __call__(self, x: Tensor, a: Tensor, z: Tensor, generator: Generator) -> Tensor:
        if self.weight == 0:
            return z.new_zeros(len(z))
        k = z.shape[1]
        probes = self._directions(z, generator)
        norms = torch.zeros(len(z), device=z.device, dtype=z.dtype)
        for v in probes:
            (vjp,) = torch.autograd.grad((z * v).sum(), x, create_graph=True)
            norms = norms + vjp.square().sum(1)
        return self.weight * k / len(probes) * norms

    def _directions(self, z: Tensor, generator: Generator) -> Tensor:
        """Return orthonormal directions: all k unit vectors, or ``n_probes`` uniformly random ones."""
        k = z.shape[1]
        if k <= self.n_probes:
            return torch.eye(k, device=z.device, dtype=z.dtype)
        normal = torch.randn((k, self.n_probes), generator=generator, dtype=torch.float32, device=z.device)
        return torch.linalg.qr(normal).Q.T.to(z.dtype)


class CallablePenalty(Penalty):
    """Wrapper of a plain function of the codes.

    Parameters
    ----------
    function : callable
        Maps codes of shape (n, k) to the penalty of each sample, of shape (n,).

    Examples
    --------
    >>> from sklearn_ae import AutoencoderTransformer
    >>> def squared_norm(z):
    ...     return 0.01 * z.square().sum(1)
    >>> ae = AutoencoderTransformer(8, penalty=squared_norm)
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, x: Tensor, a: Tensor, z: Tensor, generator: Generator) -> Tensor:
        return checked_result(self.function(z), (len(z),), "penalty")


PENALTIES = {
    "l1": L1,
    "kl_sparsity": KLSparsity,
    "contractive": Contractive,
}
