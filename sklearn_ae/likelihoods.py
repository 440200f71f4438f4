"""Likelihoods p(x | z) of a VAE, given the decoder's output ``eta`` for the code z.

A likelihood takes the role of the loss. Real-valued ones are densities in working
units (X centred and divided by one scalar); discrete ones are probabilities of X
itself, with an inverse link from ``eta`` to the mean of X.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from sklearn_ae import losses
from sklearn_ae._utils.compat import StrOptions
from sklearn_ae._utils.gaussian import LOG_2PI


class Likelihood(losses.Loss):
    """Base class of the likelihoods.

    A likelihood defines ``log_prob``, and everything else has a default, except that
    drawing samples with noise also needs ``draw``. The defaults suit real-valued
    targets in working units. With ``discrete = True`` the target is X itself, and
    ``link`` and ``inverse_link`` are defined, too. A ``noise`` of "shared",
    "per_column" or "decoder" lets the model learn a noise variance, whose logarithm
    is passed as ``log_noise``. With "full", ``eta`` and ``x`` are whitened by a learnt
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

    def _entries(self, eta: Tensor, x: Tensor, log_noise: Tensor | None) -> Tensor:
        return self.log_prob(eta, x, log_noise)


class Gaussian(Likelihood):
    """Normal distribution around the decoded code, with a learnt noise variance.

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


LIKELIHOODS = {
    "auto": Auto,
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "poisson": Poisson,
}
