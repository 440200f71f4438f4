"""Completion of samples with missing values (NaN), and the encoder that sees completed samples.

Under the linear model that training starts from, x = z W + noise in working units, the code
of a sample with gaps has a normal posterior given its observed features. Its mean decoded
fills the gaps, so that the linear encoder of complete samples returns the posterior mean of
incomplete ones, too. Networks also see which values were missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sklearn_ae._model.features import FeaturewiseAutoencoder
from sklearn_ae._model.incomplete import MAX_VALUES, posterior_precision
from sklearn_ae._model.linear_gaussian import LinearGaussian
from sklearn_ae._model.module import Autoencoder, ForwardOutput, Residual
from sklearn_ae._model.statistics import working_blocks
from sklearn_ae.corruptions import FeatureStats

_LEAST_NOISE = 1e-7
# Largest share of the observed values of a sample that is hidden from the encoder in training. The shares
# are uniformly distributed, so that some samples are almost as complete as they are.
MAX_HIDDEN = 0.5


class Completion(nn.Module):
    """Fills missing values of samples in working units by their conditional means.

    Parameters
    ----------
    W : Tensor of shape (k, d)
    noise : Tensor of shape (d,)
    known : Tensor of shape (d,)
        Mask of the features with training values; others are missing in all samples.
    observed_share : float
        Share of the observed values of the training samples.
    """

    W: Tensor
    precision: Tensor
    known: Tensor

    def __init__(self, W: Tensor, noise: Tensor, known: Tensor, observed_share: float) -> None:
        super().__init__()
        self.observed_share = observed_share
        self.register_buffer("W", W)
        self.register_buffer("precision", 1.0 / noise.clamp_min(_LEAST_NOISE))
        self.register_buffer("known", known)

    @classmethod
    def by(
        cls, linear: LinearGaussian, n_components: int, known: Tensor, observed_share: float
    ) -> Completion:
        """Return the completion by a linear model; the loadings of further components are zero."""
        W, noise = torch.from_numpy(linear.W), torch.from_numpy(linear.noise)
        noise = noise.expand(W.shape[1]).clone()
        return cls(F.pad(W, (0, 0, 0, n_components - len(W))), noise, known, observed_share)

    def like(self, linear: LinearGaussian) -> Completion:
        """Return the completion by another linear model."""
        return self.by(linear, len(self.W), self.known, self.observed_share)

    def missing(self, x: Tensor) -> Tensor:
        """Return the mask of the missing values."""
        return x.isnan() | ~self.known

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return filled samples, with no gradients of what was filled in, and the mask of the gaps."""
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


def completion_by(linear: LinearGaussian, samples: Any, n_components: int) -> Completion:
    """Return the completion of training samples by a linear model in working units."""
    missing = np.isnan(samples.array)
    known = torch.from_numpy(~missing.all(axis=0))
    return Completion.by(linear, n_components, known, max(1.0 - float(missing.mean()), 1e-12))


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
    network_share = 0.0  # weight of the decoder in imputed values, beside the completion

    @property
    def observed_share(self) -> float:  # type: ignore[override]
        """Share of the observed values of the training samples."""
        return self.encoder.completion.observed_share

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

    def imputed(self, x: Tensor) -> Tensor:
        """Return conditional means of samples in working units, in the units of X.

        They are an average of the decoder's output and the completion by the linear model, as
        held-out samples weight them. The means of discrete distributions are the decoder's alone.
        """
        if self.loss.discrete:
            return self.reconstruct(self.encode(x))
        filled = self.in_units(self.encoder.completion(x)[0])
        if not self.network_share:
            return filled
        return torch.lerp(filled, self.reconstruct(self.encode(x)), self.network_share)

    def weighted(self, validated: IncompleteAutoencoder, held_out: Any, seed: int) -> Self:
        """Return an autoencoder with the weight that is best for hidden values of held-out samples.

        Parameters
        ----------
        validated : IncompleteAutoencoder
            The model itself, or one that was trained in the same way without the held-out samples.
        held_out : ArraySamples
        seed : int
            Of the choice of the hidden values.
        """
        twin: Any = self.with_prior(self.prior)
        if not self.loss.discrete:
            twin.network_share = validated._best_share(working_blocks(validated, held_out), seed)
        return twin

    @torch.no_grad()
    def _best_share(self, blocks: Iterable[Tensor], seed: int) -> float:
        generator = Generator().manual_seed(seed)
        product, square = 0.0, 0.0
        for x in blocks:
            thinned = self._thinned(x, generator)
            filled, _ = self.encoder.completion(thinned)
            change = self.output(self.encode(thinned)) - filled
            change = change.masked_fill(x.isnan() | ~thinned.isnan(), 0.0)
            product += float((change * (x.nan_to_num(0.0) - filled)).sum())
            square += float(change.square().sum())
        return min(max(product / square, 0.0), 1.0) if square > 0 else 0.0

    def change_units(self, offset: Tensor, scale: float, seen: FeatureStats | None) -> None:
        """Switch to other working units, also those of the completion."""
        self.encoder.completion.rescale(scale / self.scale)
        super().change_units(offset, scale, seen)

    def _thinned(self, x: Tensor, generator: Generator) -> Tensor:
        """Return samples some of whose values are hidden."""
        size = len(x), 1 + x.shape[1]
        u = torch.rand(size, generator=generator, dtype=x.dtype, device=x.device)
        return x.masked_fill(self._hidden(u[:, 1:], MAX_HIDDEN * u[:, :1]), torch.nan)

    def _hidden(self, u: Tensor, share: Tensor) -> Tensor:
        """Return the mask of what is hidden, from uniform random numbers."""
        return u < share

    def _corrupted(self, x: Tensor, generator: Generator) -> Tensor:
        missing = x.isnan()
        return super()._corrupted(x.masked_fill(missing, 0.0), generator).masked_fill(missing, torch.nan)


class IncompleteFeaturewiseAutoencoder(IncompleteAutoencoder, FeaturewiseAutoencoder):
    """Autoencoder of samples with missing values and features of different kinds.

    The features of a categorical group are hidden together.
    """

    def _hidden(self, u: Tensor, share: Tensor) -> Tensor:
        return super()._hidden(u[:, torch.from_numpy(self.loss.parts_.variables()).to(u.device)], share)
