"""Likelihoods p(x | z) of a VAE, given the decoder's output ``eta`` for the code z.

A likelihood takes the role of the loss. Real-valued ones are densities in working
units (X centred and divided by one scalar); discrete ones are probabilities of X
itself, with an inverse link from ``eta`` to the mean of X.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sklearn_ae import losses
from sklearn_ae._utils.arrays import sample_blocks
from sklearn_ae._utils.compat import StrOptions
from sklearn_ae._utils.feature_moments import FeatureMoments
from sklearn_ae._utils.gaussian import LOG_2PI


class Likelihood(losses.Loss):
    """Base class of the likelihoods.

    A likelihood defines ``log_prob``, and everything else has a default, except that
    drawing samples with noise also needs ``draw``. The defaults suit real-valued
    targets in working units. With ``discrete = True`` the target is X itself, and
    ``link`` and ``inverse_link`` are defined, too. A ``noise`` of "shared",
    "per_column" or "decoder" lets the model learn a noise variance, whose logarithm
    is passed as ``log_noise``. With "full", ``eta`` and ``x`` are whitened by a learned
    linear map of determinant 1, and ``log_noise`` has an entry per coordinate.
    """

    _required = ("log_prob",)

    #: whether fitting needs all samples at once, in memory
    needs_all_samples: bool = False
    #: whether normal scores of X are modelled
    normal_scores: bool = False

    def log_prob(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        """Return the log-density (or log-probability) of each entry in nats, of the shape of ``eta``.

        The shape of ``eta`` is (..., n_samples, n_features), and ``x`` and ``log_noise``
        broadcast to it; ``log_noise`` is None unless the likelihood has a ``noise``.
        """
        raise NotImplementedError

    def log_likelihood(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        """Return the sum of ``log_prob`` over the features; override it only for a faster equivalent."""
        return self.log_prob(eta, x, log_noise).sum(-1)

    def draw(self, eta: Tensor, log_noise: Tensor | None, generator: Generator) -> Tensor:
        """Return one draw of x per entry of ``eta``, of shape (n_samples, n_features)."""
        raise NotImplementedError(
            f"{type(self).__name__} does not define draw, which sampling with noise needs, described in "
            "sklearn_ae.likelihoods.Likelihood. sample(noise=False) returns the means of x given z instead."
        )

    def log_likelihood_of(
        self, observed: Tensor | None, eta: Tensor, x: Tensor, log_noise: Tensor | None = None
    ) -> Tensor:
        """Return the sum of ``log_prob`` over the observed features; other entries of x may be any number.

        The mask ``observed`` is None if all features are.
        """
        if observed is None:
            return self.log_likelihood(eta, x, log_noise)
        return self.log_prob(eta, x, log_noise).masked_fill(~observed, 0.0).sum(-1)

    def noise_misfit(
        self, eta: Tensor, x: Tensor, log_noise: Tensor, observed: Tensor | None = None
    ) -> Tensor | None:
        """Return the mean squared residual of each sample in units of the noise variance.

        None if ``log_noise`` is not that of a variance, which residuals could correct.

        Parameters
        ----------
        eta : Tensor of shape (m * n, d)
            m decoded draws of each sample.
        x : Tensor of shape (n, d)
        log_noise : Tensor of shape (1,), (d,) or (m * n, d)
        observed : Tensor of shape (n, d), default=None
            Mask of the values that count; None for all.
        """
        precision = (-log_noise).exp()
        precision = precision.view(-1, *x.shape) if precision.ndim > 1 else precision
        residual = (eta.view(-1, *x.shape) - x).square() * precision
        if observed is None:
            return residual.mean((0, 2))
        residual = torch.where(observed, residual, 0.0).mean(0)
        return residual.sum(1) / observed.sum(1).clamp_min(1)

    def corrected_noise(self, log_noise: Tensor, change: float | Tensor) -> Tensor:
        """Return the noise variance, multiplied by a factor whose logarithm is given, as a logarithm."""
        return log_noise + change

    def _entries(self, eta: Tensor, x: Tensor, log_noise: Tensor | None) -> Tensor:
        return self.log_prob(eta, x, log_noise)


class Gaussian(Likelihood):
    """Normal distribution around the decoded code, with a learned noise variance.

    Parameters
    ----------
    noise : {"shared", "per_column", "full", "decoder"}, default="shared"
        One variance for all features, as in probabilistic PCA; one for each
        feature, as in factor analysis; a full covariance; or one variance for each
        entry of each sample, given by a second output of the decoder. For "full",
        ``log_prob`` is that of the entries of whitened samples, whose sum is the
        log-density.
    normal_scores : bool, default=False
        Describe samples by their normal scores: the features are mapped to normal
        distributions by monotone functions of each, learned from the training samples,
        and the autoencoder reconstructs these scores [1]_. Densities are still those of
        X. This suits skewed features, those with several modes and counts;
        ``inverse_transform`` returns medians of X given the code, not means, and
        ``mean_``, ``pca_`` and ``loss_curve_`` are those of the scores.

    References
    ----------
    .. [1] H. Liu, J. Lafferty, L. Wasserman (2009), The nonparanormal: semiparametric
       estimation of high dimensional undirected graphs, JMLR 10.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.likelihoods import Gaussian
    >>> eta, x, log_noise = torch.zeros(1, 2), torch.tensor([[0.0, 2.0]]), torch.zeros(1)
    >>> Gaussian().log_prob(eta, x, log_noise)
    tensor([[-0.9189, -2.9189]])
    """

    _parameter_constraints = {
        "noise": [StrOptions({"shared", "per_column", "full", "decoder"})],
        "normal_scores": ["boolean"],
    }

    def __init__(self, noise: str = "shared", normal_scores: bool = False):
        self.noise = noise
        self.normal_scores = normal_scores

    @property
    def needs_all_samples(self) -> bool:  # type: ignore[override]
        """Whether the model depends on all samples at once: quantiles have no update by chunks."""
        return self.normal_scores

    def log_prob(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        assert log_noise is not None
        return -0.5 * ((x - eta).square() * (-log_noise).exp() + log_noise + LOG_2PI)

    def log_likelihood(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        if self.noise != "shared" or not is_gaussian(self):
            return super().log_likelihood(eta, x, log_noise)
        assert log_noise is not None
        distance = (x - eta).square().sum(-1)  # one factor for all features
        return -0.5 * (distance * (-log_noise).exp() + x.shape[-1] * (log_noise + LOG_2PI))

    def draw(self, eta: Tensor, log_noise: Tensor | None, generator: Generator) -> Tensor:
        assert log_noise is not None
        normal = torch.randn(eta.shape, generator=generator, device=eta.device, dtype=eta.dtype)
        return eta + (0.5 * log_noise).exp() * normal


class Auto(Gaussian):
    """Density that held-out samples choose among nested ones.

    The candidates are normal distributions with shrunk covariance and mixtures of them,
    of X and of its normal scores, for wide data also factor analysis, and a VAE with
    ``Gaussian(noise="full")``, of normal scores if these are closer to a normal
    distribution than X. ``score_samples`` is the density of their average with the
    weights that are best for held-out samples [1]_ (``density_weights_``), and ``sample``
    draws from it. Codes, reconstructions, ``posterior`` and ``elbo`` are those of the VAE.

    The other densities add about a third to the time of a fit. X must be dense and in
    memory; at most 10,000 samples are used for them.

    References
    ----------
    .. [1] P. Smyth, D. Wolpert (1999), Linearly combining density estimators via
       stacking, Machine Learning 36.

    Examples
    --------
    >>> from sklearn_ae import VAETransformer
    >>> VAETransformer(8, likelihood="auto").likelihood
    'auto'
    """

    _parameter_constraints = {}
    noise = "full"
    normal_scores = False
    needs_all_samples = True  # type: ignore[assignment]

    def __init__(self) -> None:
        pass


def is_gaussian(likelihood: losses.Loss) -> bool:
    """Return True for a Gaussian whose density is not overridden, so that its closed forms hold."""
    return isinstance(likelihood, Gaussian) and type(likelihood).log_prob is Gaussian.log_prob


class Bernoulli(losses.BinaryCrossEntropy, Likelihood):
    """Bernoulli distribution of X in [0, 1], with sigmoid outputs.

    Values strictly between 0 and 1 are treated as probabilities, and their
    log-probability is the expected one.

    Parameters
    ----------
    dynamic_binarization : bool, default=False
        Draw binary samples with these probabilities anew in every training step
        (dynamic binarisation [1]_), so that encoder and decoder are trained on
        binary samples only.

    References
    ----------
    .. [1] R. Salakhutdinov, I. Murray (2008), On the quantitative analysis of
       deep belief networks, ICML.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.likelihoods import Bernoulli
    >>> Bernoulli().log_prob(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    tensor([[-0.6931]])
    """

    _parameter_constraints = {"dynamic_binarization": ["boolean"]}
    _names = "likelihood='bernoulli'", "likelihood='gaussian'"

    def __init__(self, dynamic_binarization: bool = False):
        self.dynamic_binarization = dynamic_binarization

    def log_prob(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return -F.binary_cross_entropy_with_logits(eta, x.expand_as(eta), reduction="none")


class Poisson(losses.Poisson, Likelihood):
    """Poisson distribution of counts, with exponential outputs.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.likelihoods import Poisson
    >>> Poisson().log_prob(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    tensor([[-1.6931]])
    """

    _names = "likelihood='poisson'", "likelihood='gaussian'"

    def log_prob(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        x = x.clamp(min=0)  # rounding may turn a count of zero into -1e-9
        eta = eta.clamp(max=self._max_eta)
        return x * eta - eta.exp() - torch.lgamma(x + 1)


class NegativeBinomial(Poisson):
    """Negative binomial distribution of counts, exponential outputs and a learned dispersion per feature.

    The variance of a count with mean m is ``m + a m^2``. The logarithm of the dispersion a
    is passed as ``log_noise``; it is at least that of 1e-4, where the distribution is
    nearly Poisson.

    References
    ----------
    .. [1] R. Lopez, J. Regier, M. Cole, M. Jordan, N. Yosef (2018), Deep generative
       modeling for single-cell transcriptomics, Nature Methods 15.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.likelihoods import NegativeBinomial
    >>> NegativeBinomial().log_prob(torch.tensor([[0.0]]), torch.tensor([[2.0]]), torch.zeros(1))
    tensor([[-2.0794]])
    """

    noise = "per_column"
    needs_samples = True

    _names = "likelihood='negative_binomial'", "likelihood='gaussian'"
    least = math.log(1e-4)  # of the logarithm of the dispersion

    __call__ = losses.Loss.__call__  # the loss depends on the dispersion

    def for_samples(
        self, samples: Any, names: Sequence[str] | None, previous: losses.Loss | None = None
    ) -> NegativeBinomial:
        """Return a copy with the dispersions by the method of moments."""
        samples = getattr(samples, "clean", None) or samples
        twin = copy.copy(self)
        twin.start_ = losses.start_of_dispersion(FeatureMoments.of(samples, sample_blocks(samples)))
        return twin

    def check(self, X: Any) -> None:
        for block in sample_blocks(X):
            fault = self.fault(block)
            if fault is not None:
                raise ValueError(f"{self._names[0]} needs counts in feature {fault[0]}, {fault[1]}.")

    def log_prob(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        x, r, logit = self._terms(eta, x, log_noise)
        coefficient = torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1)
        return coefficient + x * logit - (x + r) * F.softplus(logit)

    def slope(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        x, r, logit = self._terms(eta, x, log_noise)
        return x - (x + r) * torch.sigmoid(logit)

    def information(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        _, r, logit = self._terms(eta, x, log_noise)
        return r * torch.sigmoid(logit)

    def pairwise_misfit(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        x, r, logit = self._terms(eta, x, log_noise)
        total = F.softplus(logit)
        return (r * total).sum(1) + x @ (total - logit).T

    def draw(self, eta: Tensor, log_noise: Tensor | None, generator: Generator) -> Tensor:
        _, r, _ = self._terms(eta, eta, log_noise)
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        shape = r.expand_as(eta).double().cpu().numpy()
        gamma = np.random.RandomState(seed).gamma(shape, 1 / shape)
        rate = self.inverse_link(eta) * torch.from_numpy(gamma).to(eta)
        return torch.poisson(rate, generator=generator)

    def noise_misfit(
        self, eta: Tensor, x: Tensor, log_noise: Tensor, observed: Tensor | None = None
    ) -> Tensor | None:
        return None

    def _terms(self, eta: Tensor, x: Tensor, log_noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return counts, inverse dispersions, and logits of the probability of a further count."""
        assert log_noise is not None
        log_noise = log_noise.clamp(min=self.least)
        return x.clamp(min=0), (-log_noise).exp(), eta.clamp(max=self._max_eta) + log_noise


class Categorical(losses.Categorical, Likelihood):
    """Categorical distribution of one-hot encoded variables, with softmax outputs.

    The features are consecutive groups, one for each variable. The entries of a group add up
    to the log-probability of its category. A group of zeros has no category, and adds nothing.

    Parameters
    ----------
    n_categories : int, default=2
        Number of features of each group.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.likelihoods import Categorical
    >>> Categorical(3).log_prob(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.0]]))
    tensor([[-0.0000, -1.0986, -0.0000]])
    """

    def log_prob(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return super().log_prob(eta, x)


class _FeatureGaussian(losses._FeatureGaussian, Likelihood):
    """Normal distribution of standardised features, as one kind of :class:`ByFeature`."""

    def log_prob(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return losses._FeatureGaussian._entries(self, eta, x, log_noise)


class ByFeature(losses.ByFeature, Likelihood):
    """Likelihoods of features of different kinds, as tables of numbers, categories and counts have them.

    Log-densities of real features and log-probabilities of others add up to the
    log-likelihood of a sample, in nats and in the units of X, so that there are no weights to
    choose. The noise variance of each real feature and the dispersion of each negative
    binomial one are learned.

    Working units, in which the encoder sees the samples and the initial PCA is computed, are
    those of a factor analysis of mixed data [1]_: each feature is divided by its standard
    deviation, and a category by the root of its frequency.

    Parameters
    ----------
    groups : dict of str to features
        Features of each kind: "gaussian", "bernoulli" (in [0, 1]), "poisson" and
        "negative_binomial" (counts), and "categorical" (one-hot encoded). Features are names,
        prefixes of names up to an underscore (``"cat__colour"`` for ``"cat__colour_red"`` and so
        on), indices, slices, or lists of those. Each variable of "categorical" is an entry of a
        list: ``{"categorical": ["cat__colour", "cat__size"]}`` or
        ``{"categorical": [[2, 3, 4], [5, 6]]}``. Each feature of X belongs to one group.

    Notes
    -----
    Training samples must be one-hot in each categorical group. In other samples a group
    may be zero, as ``OneHotEncoder(handle_unknown="ignore")`` encodes unknown categories;
    its log-probability is that of no observation, 0. With ``missing="mask"`` a missing category
    is NaN in all features of its group, in training samples, too.

    References
    ----------
    .. [1] J. Pages (2004), Analyse factorielle de donnees mixtes, Revue de statistique
       appliquee 52(4).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import VAETransformer
    >>> from sklearn_ae.likelihoods import ByFeature
    >>> rng = np.random.RandomState(0)
    >>> z = rng.normal(size=300)
    >>> colour = np.eye(3)[np.digitize(z + 0.3 * rng.normal(size=300), [-0.5, 0.5])]
    >>> X = np.column_stack([z + 0.1 * rng.normal(size=300), colour, rng.poisson(np.exp(z))])
    >>> likelihood = ByFeature({"gaussian": 0, "categorical": [[1, 2, 3]], "poisson": 4})
    >>> vae = VAETransformer(1, likelihood=likelihood, max_iter=5, random_state=0).fit(X)
    >>> vae.sample(1, random_state=0)[:, 1:4].sum()
    np.float64(1.0)
    """

    noise = "by_feature"
    _what = "likelihood"

    __call__ = losses.Loss.__call__  # the loss depends on the noise

    def log_prob(self, eta: Tensor, x: Tensor, log_noise: Tensor | None = None) -> Tensor:
        return self.parts_.mapped("log_prob", eta, x, log_noise)

    def noise_misfit(
        self, eta: Tensor, x: Tensor, log_noise: Tensor, observed: Tensor | None = None
    ) -> Tensor | None:
        parts = zip(self.parts_.kinds, *map(self.parts_.split, (eta, x, log_noise, observed)), strict=True)
        real = [part for kind, *part in parts if kind == "gaussian"]
        return super().noise_misfit(*real[0]) if real else None

    def corrected_noise(self, log_noise: Tensor, change: float | Tensor) -> Tensor:
        parts = zip(self.parts_.kinds, self.parts_.split(log_noise), strict=True)
        return self.parts_.joined([part + change if kind == "gaussian" else part for kind, part in parts])


ByFeature._kinds = {
    "gaussian": _FeatureGaussian,
    "bernoulli": Bernoulli,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "categorical": Categorical,
}

LIKELIHOODS = {
    "auto": Auto,
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
}
