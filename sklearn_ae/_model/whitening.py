"""Linear map to coordinates in which the noise of a VAE with a full noise covariance is independent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WITH_AUTOCAST = ("cpu", "cuda")  # devices that train in bfloat16


class Whitening(nn.Module):
    """Map x to ``u = (I + L) c (I + V' diag(t) V) x``, whose noise is independent, with determinant 1.

    The noise variances of u are those of :class:`~sklearn_ae._model.module.Noise`, so that a
    likelihood of u with a noise variance per entry is one of x with a full noise covariance.
    Densities of u are those of x, because the map keeps volumes. c, V and t come from the linear
    model that training starts from, the strictly lower triangular L is trained.

    Parameters
    ----------
    axes : Tensor of shape (m, d)
        V, orthonormal rows, or zeros.
    stretch : Tensor of shape (m,)
        t, above -1.
    mixes : bool
        Whether L is trained; it has d^2 entries.
    """

    axes: Tensor
    stretch: Tensor
    scale: Tensor
    matrix: Tensor

    def __init__(self, axes: Tensor, stretch: Tensor, *, mixes: bool) -> None:
        super().__init__()
        d = axes.shape[1]
        self.register_buffer("axes", axes)
        self.register_buffer("stretch", stretch)
        self.register_buffer("scale", (-stretch.log1p().sum() / d).exp())
        self.mix = nn.Parameter(axes.new_zeros(d, d)) if mixes else None
        if mixes:  # one product instead of two
            self.register_buffer("matrix", self._at_start(torch.eye(d, dtype=axes.dtype, device=axes.device)))

    def forward(self, x: Tensor) -> Tensor:
        """Return u for x of shape (..., d), in the precision of x; of bfloat16 in float32."""
        device = x.device.type
        if device not in _WITH_AUTOCAST or not torch.is_autocast_enabled(device):
            return self._whitened(x)
        with torch.autocast(device, enabled=False):
            return self._whitened(x.float())

    def _whitened(self, x: Tensor) -> Tensor:
        if self.mix is None:
            return self._at_start(x)
        u = F.linear(x, self.matrix)
        return u + F.linear(u, self.mix.tril(-1))

    def _at_start(self, x: Tensor) -> Tensor:
        """Return u without L."""
        return self.scale * (x + (x @ self.axes.T * self.stretch) @ self.axes)

    def inverse(self, u: Tensor) -> Tensor:
        """Return x for u of shape (n, d)."""
        if self.mix is not None:
            u = torch.linalg.solve_triangular(self.mix.tril(-1), u.T, upper=False, unitriangular=True).T
        return (u - (u @ self.axes.T * self._shrinkage) @ self.axes) / self.scale

    @property
    def _shrinkage(self) -> Tensor:
        return self.stretch / (1.0 + self.stretch)

    @property
    def gain(self) -> float:
        """Upper bound of the length of u for x of unit length."""
        mixed = 0.0 if self.mix is None else float(torch.linalg.matrix_norm(self.mix.tril(-1), 2))
        return float(self.scale * (1.0 + F.pad(self.stretch, (0, 1)).max())) * (1.0 + mixed)

    def covariance(self, variance: Tensor) -> Tensor:
        """Return the covariance (d, d) of x if u has independent entries with variances (d,)."""
        root = self.inverse(torch.diag(variance.sqrt()))
        return root.T @ root

    def variances(self, variance: Tensor) -> Tensor:
        """Return the diagonal of ``covariance``, without forming it unless L is trained."""
        if self.mix is not None:
            return self.covariance(variance).diagonal()
        shrunk = self._shrinkage[:, None] * self.axes
        gram = (self.axes * variance) @ self.axes.T
        crossed = variance * (shrunk * self.axes).sum(0)
        return (variance - 2.0 * crossed + (shrunk * (gram @ shrunk)).sum(0)) / self.scale.square()
