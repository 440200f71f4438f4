"""Completion of samples with missing values (NaN), and the encoder that sees completed samples.

Under the linear model that training starts from, x = z W + noise in working units, the code
of a sample with gaps has a normal posterior given its observed features. Its mean decoded
fills the gaps, so that the linear encoder of complete samples returns the posterior mean of
incomplete ones, too. Networks also see which values were missing.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sklearn_ae._model.module import Autoencoder, ForwardOutput, Residual
from sklearn_ae.corruptions import FeatureStats

MAX_VALUES = 2**21  # entries of the posterior precisions of samples that are held at a time
_LEAST_NOISE = 1e-7
# Largest share of the observed values of a sample that is hidden from the encoder in training. The shares
# are uniformly distributed, so that some samples are almost as complete as they are.
MAX_HIDDEN = 0.5


def posterior_precision(observed: Tensor, W: Tensor, precision: Tensor) -> Tensor:
    """Return I + W_o diag(precision_o) W_o' of each sample, of shape (n, k, k).

    Parameters
    ----------
    observed : Tensor of shape (n, d)
        One for observed features and zero for missing ones.
    W : Tensor of shape (k, d)
    precision : Tensor of shape (d,)
    """
    k = len(W)
    products = (W[:, None] * W[None] * precision).flatten(0, 1)
    A = (observed @ products.T).view(len(observed), k, k)
    return A + torch.eye(k, dtype=A.dtype, device=A.device)


class Completion(nn.Module):
    """Fills missing values of samples in working units by their conditional means.

    Parameters
    ----------
    W : Tensor of shape (k, d)
    noise : Tensor of shape (d,)
    known : Tensor of shape (d,)
        Mask of the features with training values; others are missing in all samples.
    """

    W: Tensor
    precision: Tensor
    known: Tensor

    def __init__(self, W: Tensor, noise: Tensor, known: Tensor) -> None:
        super().__init__()
        self.register_buffer("W", W)
        self.register_buffer("precision", 1.0 / noise.clamp_min(_LEAST_NOISE))
        self.register_buffer("known", known)

    @classmethod
    def by(
        cls, W: np.ndarray, noise: np.ndarray, known: np.ndarray | Tensor, n_components: int
    ) -> Completion:
        """Return the completion by a linear model, with zeros as the loadings of further components."""
        loadings = F.pad(torch.from_numpy(W), (0, 0, 0, n_components - len(W)))
        noise_variances = torch.from_numpy(noise).expand(W.shape[1]).clone()
        return cls(loadings, noise_variances, torch.as_tensor(known, device="cpu"))

    def missing(self, x: Tensor) -> Tensor:
        """Return the mask of the missing values."""
        return x.isnan() | ~self.known

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return filled samples, and the mask of missing values, whose gradients are zero."""
        missing = self.missing(x)
        parts = self._incomplete(missing)
        if not parts:
            return x, missing
        with torch.no_grad():
            values = torch.zeros_like(x)
            for rows in parts:
                gaps = missing[rows]
                values[rows] = (self._mean(x[rows], gaps, self._root(gaps)) @ self.W.double()).to(x)
        return torch.where(missing, values, x), missing

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """Multiply the units of the samples by a factor."""
        self.W /= factor
        self.precision *= factor**2

    @torch.no_grad()
    def log_variance_change(self, missing: Tensor) -> Tensor:
        """Return by how much gaps increase the log posterior variance of each component, (n, k)."""
        change = self.precision.new_zeros((len(missing), len(self.W)))
        whole = self._log_variances(torch.zeros_like(missing[:1]))
        for rows in self._incomplete(missing):
            change[rows] = (self._log_variances(missing[rows]) - whole).to(change)
        return change

    def _incomplete(self, missing: Tensor) -> tuple[Tensor, ...]:
        """Return the indices of incomplete samples in parts of limited size."""
        rows = missing.any(1).nonzero()[:, 0]
        return rows.split(max(1, MAX_VALUES // max(len(self.W) ** 2, missing.shape[1]))) if len(rows) else ()

    def _mean(self, x: Tensor, missing: Tensor, root: Tensor) -> Tensor:
        """Return the posterior means of z, in double precision."""
        b = (torch.where(missing, 0.0, x.double()) * self.precision.double()) @ self.W.double().T
        return torch.cholesky_solve(b[..., None], root)[..., 0]

    def _log_variances(self, missing: Tensor) -> Tensor:
        return torch.cholesky_inverse(self._root(missing)).diagonal(dim1=1, dim2=2).log()

    def _root(self, missing: Tensor) -> Tensor:
        """Return the Cholesky factors of the posterior precisions of z, in double precision."""
        precision = posterior_precision((~missing).double(), self.W.double(), self.precision.double())
        return torch.linalg.cholesky(precision)


class IncompleteEncoder(Residual):
    """Encoder of samples with missing values: completion, then linear path and network.

    Parameters
    ----------
    encoder : Residual
        Encoder of complete samples.
    completion : Completion
    has_variances : bool
        Whether the linear path returns log-variances after the means. Those of the linear model
        grow by what is missing.
    """

    def __init__(self, encoder: Residual, completion: Completion, *, has_variances: bool) -> None:
        super().__init__(encoder.linear, encoder.network, copies=encoder.copies)
        self.gain = encoder.gain
        self.completion = completion
        self.has_variances = has_variances
        #: added to the completed values that the network sees
        self.marker = nn.Parameter(torch.zeros_like(completion.precision))

    def forward(self, x: Tensor) -> Tensor:
        """Return the codes, or moments of the posterior, of samples in working units."""
        x, missing = self.completion(x)
        residual = self.residual(torch.where(missing, x + self.marker, x))
        if self.linear is None:
            assert residual is not None
            return residual
        y = self.linear(x)
        if self.has_variances:
            width = y.shape[1] // 2
            change = self.completion.log_variance_change(missing)
            y = y + F.pad(change, (width, width - change.shape[1]))
        return y if residual is None else y + residual


class IncompleteAutoencoder(Autoencoder):
    """Autoencoder of samples with missing values, which hides more of them in training.

    The objective of a deterministic autoencoder is about all observed values, so that the
    hidden ones are predicted. That of a variational one is about those that the encoder sees:
    it is a bound of the log-likelihood of a sample with fewer features.
    """

    encoder: IncompleteEncoder

    def forward(self, x: Tensor, generator: Generator | None = None) -> ForwardOutput:
        """Pass samples in working units through the autoencoder; the generator draws what is hidden."""
        x, clean = x.chunk(2, dim=1) if x.shape[1] > len(self.offset) else (x, x)
        observed = ~self.encoder.completion.missing(clean)
        if generator is not None:
            x = self._thinned(x, generator)
            if self.encoder.has_variances:
                observed = observed & ~x.isnan()
        pairs = torch.cat([x, clean.masked_fill(~observed, 0.0)], 1)
        return super().forward(pairs, generator)._replace(observed=observed)

    def change_units(self, offset: Tensor, scale: float, seen: FeatureStats | None) -> None:
        """Switch to other working units, also those of the completion."""
        self.encoder.completion.rescale(scale / self.scale)
        super().change_units(offset, scale, seen)

    def _thinned(self, x: Tensor, generator: Generator) -> Tensor:
        """Return samples some of whose values are hidden."""
        size = len(x), 1 + x.shape[1]
        u = torch.rand(size, generator=generator, dtype=x.dtype, device=x.device)
        return x.masked_fill(u[:, 1:] < MAX_HIDDEN * u[:, :1], torch.nan)

    def _corrupted(self, x: Tensor, generator: Generator) -> Tensor:
        missing = x.isnan()
        return super()._corrupted(x.masked_fill(missing, 0.0), generator).masked_fill(missing, torch.nan)
