"""Training objectives: reconstruction loss plus penalty, and the negative evidence lower bound.

The second is that of variational autoencoders, in nats and in the units of X:

    ELBO = E_q(z|x) log p(x | z) - beta * divergence(q(z|x), p(z))

With several importance samples and the KL divergence it is the tighter bound
E log 1/K sum_i p(x | z_i) (p(z_i) / q(z_i | x))^beta. Reconstruction and
divergence are sums over features and components, respectively.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_ae._model.initialization import Start
from sklearn_ae._model.module import ForwardOutput
from sklearn_ae._utils.gaussian import log_normal, log_standard_normal
from sklearn_ae.bottlenecks import split_posterior
from sklearn_ae.divergences import Divergence
from sklearn_ae.likelihoods import Likelihood
from sklearn_ae.losses import Loss
from sklearn_ae.penalties import Penalty

Record = Callable[[Tensor], None]


class Objective(nn.Module):
    """Reconstruction loss plus penalty, in working units.

    Both are sums over the features (or components) of a sample. The objective is
    their mean over samples, divided by the number of features: for squared error,
    the share of the variance that is left unexplained. Missing values do not count; the number
    of features is then the mean number of observed ones, ``observed_share`` of all.
    """

    terms: tuple[str, ...] = ()  # recorded apart from the loss

    def __init__(self, loss: Loss, penalty: Penalty | None, observed_share: float = 1.0) -> None:
        super().__init__()
        self.loss = loss
        self.penalty = penalty
        self.observed_share = observed_share

    def schedule(self, progress: float | Tensor) -> None:
        """Adapt to the training progress in [0, 1]; this objective is constant."""

    def tolerance_scale(self, loss: float) -> float:
        """Return the scale of changes of the loss: the loss itself."""
        return abs(loss)

    def forward(self, out: ForwardOutput, record: Record | None = None) -> Tensor:
        """Return the mean over samples and features; there are no terms to record."""
        if out.observed is not None:
            return self.per_sample(out).mean()
        value = self.loss.mean(out.eta, out.target)
        return value if self.penalty is None else value + self._penalty(out).mean()

    def per_sample(
        self, out: ForwardOutput, record: Record | None = None, *, calibrated: bool = True
    ) -> Tensor:
        """Return the mean over the features of each sample, shape (n,)."""
        value = self.loss(out.eta, out.target)
        if out.observed is not None:
            value = value.masked_fill(~out.observed, 0.0) / self.observed_share
        value = value.mean(1)
        return value if self.penalty is None else value + self._penalty(out)

    def _penalty(self, out: ForwardOutput) -> Tensor:
        assert self.penalty is not None
        assert out.generator is not None
        penalty = self.penalty(out.source, out.activations, out.codes, out.generator)
        return penalty / out.target.shape[1]


class Elbo(nn.Module):
    """Negative evidence lower bound.

    Parameters
    ----------
    likelihood : Likelihood
    divergence : Divergence
    beta : float
        Weight of the divergence.
    warmup : float
        Share of the training during which the weight rises from 0 to beta;
        validation always uses beta.
    n_draws : int
        Draws of the importance-weighted bound; 1 is the ELBO.
    n_samples, n_features : int
        Size of the training data.
    log_jacobian : float
        Added to each sample: d log(scale) for densities of samples divided by a scale.
    log_units : Tensor of shape (d,) or None
        The share of each feature in it, needed if values are missing.

    References
    ----------
    D. Kingma, M. Welling (2014), Auto-encoding variational Bayes, ICLR.

    Y. Burda, R. Grosse, R. Salakhutdinov (2016), Importance weighted
    autoencoders, ICLR.

    S. Bowman et al. (2016), Generating sentences from a continuous space, CoNLL
    (the warm-up).
    """

    terms = ("reconstruction_loss", "divergence")  # means over samples; the divergence before its weight

    def __init__(
        self,
        likelihood: Likelihood,
        divergence: Divergence,
        *,
        beta: float,
        warmup: float,
        n_draws: int,
        n_samples: int,
        n_features: int,
        log_jacobian: float,
        log_units: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.divergence = divergence
        self.beta = beta
        self.warmup = warmup
        self.n_draws = n_draws
        self.n_samples = n_samples
        self.log_jacobian = log_jacobian
        self.log_units: Tensor
        self.register_buffer("log_units", log_units, persistent=False)
        self.n_features = n_features
        self.share: float | Tensor = 1.0  # of beta, during the warm-up

    def schedule(self, progress: float | Tensor) -> None:
        """Update the warm-up from the training progress in [0, 1], a number or a tensor on the device."""
        share = progress / self.warmup if self.warmup > 0 else 1.0
        self.share = share.clamp(max=1.0) if isinstance(share, Tensor) else min(1.0, share)

    def tolerance_scale(self, loss: float) -> float:
        """Return the scale of changes of the loss: one nat per feature, as it may be negative."""
        return float(self.n_features)

    def forward(self, out: ForwardOutput, record: Record | None = None) -> Tensor:
        """Return the mean over samples; ``record`` is called with the terms, shape (2,)."""
        return self._per_sample(out, self.share * self.beta, record).mean()

    def per_sample(
        self, out: ForwardOutput, record: Record | None = None, *, calibrated: bool = True
    ) -> Tensor:
        """Return the negative ELBO of each sample, shape (n,).

        A noise variance learned on training samples is too small for others; this
        is corrected after training and must not trigger early stopping. Therefore
        the noise variance is corrected for the samples if ``calibrated``.
        """
        if calibrated and out.log_noise is not None:
            misfit = self.likelihood.noise_misfit(out.eta, out.target, out.log_noise, out.observed)
            if misfit is not None:
                change = misfit.mean().clamp_min(1e-10).log()
                out = out._replace(log_noise=self.likelihood.corrected_noise(out.log_noise, change))
        return self._per_sample(out, self.beta, record)

    def _per_sample(self, out: ForwardOutput, weight: float | Tensor, record: Record | None) -> Tensor:
        mu, log_var = split_posterior(_float32(out.activations))
        z = _float32(out.codes).view(-1, *mu.shape)
        log_p = self._log_likelihood(out, len(z))
        if self.n_draws > 1:
            log_ratio = log_normal(z, mu, log_var) - log_standard_normal(z)
            log_ratio = log_ratio.sum(2)
            if record is not None:  # the terms of the ELBO, which is below this bound
                record(_means(self._unit(out) - log_p.mean(0), log_ratio.mean(0)))
            log_w = log_p - weight * log_ratio
            return self._unit(out) - (log_w.logsumexp(0) - math.log(len(z)))
        generator: Any = out.generator
        divergence = self.divergence(mu, log_var, z[0], self.n_samples, generator)
        reconstruction_loss = self._unit(out) - log_p.mean(0)
        if record is not None:
            record(_means(reconstruction_loss, divergence))
        return reconstruction_loss + weight * divergence

    def _log_likelihood(self, out: ForwardOutput, n_draws: int) -> Tensor:
        """Return log p(x | z) of each draw, shape (n_draws, n)."""
        eta = _float32(out.eta).view(n_draws, *out.target.shape)
        log_noise = out.log_noise
        if log_noise is not None and log_noise.ndim > 1:
            log_noise = _float32(log_noise).view_as(eta)
        return self.likelihood.log_likelihood_of(out.observed, eta, out.target, log_noise)

    def _unit(self, out: ForwardOutput) -> Tensor | float:
        """Return the log-Jacobian of the scaling of each sample."""
        if out.observed is None:
            return self.log_jacobian
        return out.observed.to(self.log_units) @ self.log_units


def _means(reconstruction_loss: Tensor, divergence: Tensor) -> Tensor:
    """Return the mean over samples of each term, without gradients."""
    loss = reconstruction_loss.detach()
    return torch.stack((loss, divergence.detach().expand_as(loss))).mean(1)


def _float32(x: Tensor) -> Tensor:
    """Return x in float32 if it is in bfloat16, because differences of large sums follow."""
    return x.float() if x.dtype == torch.bfloat16 else x


def make_objective(start: Start, n_samples: int, *, has_warmup: bool) -> Objective | Elbo:
    """Return the objective of an autoencoder for this number of training samples.

    Parameters
    ----------
    start : Start
    n_samples : int
    has_warmup : bool
        Whether the weight of a divergence rises from zero; a warm start does not need it.
    """
    spec, module = start.spec, start.module
    if spec.divergence is None:
        return Objective(spec.loss, spec.penalty, start.module.observed_share)
    return Elbo(
        spec.loss,
        spec.divergence,
        beta=spec.beta,
        warmup=spec.kl_warmup if has_warmup else 0.0,
        n_draws=spec.bottleneck.n_samples,  # type: ignore[attr-defined]
        n_samples=n_samples,
        n_features=len(module.offset),
        log_jacobian=module.log_jacobian,
        log_units=module.log_units.float() if spec.masks_missing else None,
    )
