"""The anchor: PCA as the linear path of the network, and the gate that returns to it.

With ``init="pca"`` the encoder is ``z = P x + f(x)`` and the decoder
``x^ = Q z + g(z)`` in working units, with P = Q' = PCA's components at the start
and f = g = 0. :func:`gate_opens` says afterwards, from the objective on
validation rows, whether f and g are worth keeping.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse, stats
from sklearn.decomposition import PCA, IncrementalPCA
from torch import Generator, nn
from torch.nn.utils import skip_init

from sklearn_ae._batches import dense
from sklearn_ae._module import Residual
from sklearn_ae._sources import Source
from sklearn_ae._streamed_pca import streamed_pca
from sklearn_ae.bottlenecks import LOG_VARIANCE_BOUNDS
from sklearn_ae.networks import Dense, MarkMissing, Modules, Network, Shape, TiedLinear

_FULL_SVD_MAX = 2_000  # smaller side of X up to which an exact decomposition is affordable
GATE_MIN_ROWS = 10  # validation rows under which nothing can be said


def fit_pca(X: Any, n_components: Any, seed: int) -> PCA:
    """Fit scikit-learn's PCA, by an exact solver wherever that is affordable."""
    if isinstance(X, Source):
        return streamed_pca(X, n_components, seed)
    n, d = X.shape
    if d <= 1_000 and n >= 10 * d:
        solver = "covariance_eigh"
    elif not sparse.issparse(X) and (min(n, d) <= _FULL_SVD_MAX or not _is_size(n_components)):
        solver = "full"
    else:
        solver = "arpack" if sparse.issparse(X) else "randomized"
    if solver == "arpack" and not (_is_size(n_components) and n_components < min(n, d)):
        raise ValueError(
            f"Sparse X of fewer than 10 rows per column needs an integer n_components under "
            f"min(n_samples, n_features)={min(n, d)}, as for PCA; got n_components={n_components}."
        )
    pca = _quiet_pca(X, n_components, solver, seed)
    if solver == "covariance_eigh" and not sparse.issparse(X) and _cancels(pca):
        pca = _quiet_pca(X, n_components, "full", seed)
    return pca


def _quiet_pca(X: Any, n_components: Any, solver: str, seed: int) -> PCA:
    with np.errstate(invalid="ignore", divide="ignore"):  # shares of no variance at all
        return PCA(n_components, svd_solver=solver, random_state=seed).fit(X)


def _cancels(pca: PCA) -> bool:
    """Whether means far from zero have eaten the digits of a covariance taken without centring."""
    return bool(np.max(pca.mean_**2) > 1e6 * total_variance(pca) / len(pca.mean_))


def truncated_pca(pca: PCA, k: int, n_samples: int) -> PCA:
    """PCA with the first k components, equal to one that was fitted with k."""
    twin = copy.copy(pca)
    rest = total_variance(pca) - pca.explained_variance_[:k].sum()
    for name in ("components_", "explained_variance_", "explained_variance_ratio_", "singular_values_"):
        setattr(twin, name, getattr(pca, name)[:k])
    twin.n_components = twin.n_components_ = k
    n_rest = min(n_samples, pca.components_.shape[1]) - k
    twin.noise_variance_ = rest / n_rest if n_rest else 0.0
    return twin


def as_incremental(pca: Any) -> IncrementalPCA:
    """A PCA that can take further chunks."""
    if isinstance(pca, IncrementalPCA):
        return copy.deepcopy(pca)
    twin = IncrementalPCA(pca.n_components_)
    for name in ("components_", "singular_values_", "mean_", "n_components_"):
        setattr(twin, name, getattr(pca, name))
    n, d = pca.n_samples_, pca.components_.shape[1]
    twin.n_samples_seen_ = n
    twin.batch_size_ = None
    # only the sum of the column variances enters what is exposed, so any share will do
    twin.var_ = np.full(d, total_variance(pca) * (n - 1) / n / d)
    return twin


def with_chunk(pca: IncrementalPCA, X: Any) -> IncrementalPCA:
    """The PCA of all chunks and one more.

    NOTE[DIFF]: scikit-learn's noise variance is that of what it left out of the last chunk's update,
    which forgets what was left out before; here it is PCA's, from the variance of all rows.
    """
    pca.partial_fit(dense(X))
    n_rest = min(int(pca.n_samples_seen_), X.shape[1]) - pca.n_components_
    rest = total_variance(pca) - float(pca.explained_variance_.sum())
    pca.noise_variance_ = max(rest, 0.0) / n_rest if n_rest else 0.0
    return pca


def total_variance(pca: Any) -> float:
    """Sum of the column variances, told from the spectrum without another pass over X."""
    share = float(np.sum(pca.explained_variance_ratio_, dtype=float))
    return float(np.sum(pca.explained_variance_, dtype=float)) / share if share > 0 else 0.0


def _is_size(n_components: Any) -> bool:
    return n_components is not None and n_components >= 1


def linear_paths(
    components: np.ndarray, n_codes: int, tied: bool, bias: bool, generator: Generator
) -> tuple[nn.Module, nn.Module]:
    """Return the encoder's and the decoder's linear layer, biases at zero.

    Components beyond PCA's (overcomplete codes) start with random directions in
    the encoder and zeros in the decoder, so that the model is still PCA; tied
    ones start small.
    """
    r, d = components.shape
    extra = torch.randn((n_codes - r, d), generator=generator, dtype=torch.float64) / math.sqrt(d)
    basis = torch.from_numpy(np.array(components, dtype=np.float64))
    encoder = skip_init(nn.Linear, d, n_codes, bias=bias, dtype=torch.float64)
    if tied:
        encoder.weight.data = torch.cat([basis, 0.01 * extra])
        decoder: nn.Module = TiedLinear(encoder, bias)
    else:
        encoder.weight.data = torch.cat([basis, extra])
        decoder = skip_init(nn.Linear, n_codes, d, bias=bias, dtype=torch.float64)
        decoder.weight.data = torch.cat([basis, torch.zeros_like(extra)]).T.contiguous()
    if bias:
        encoder.bias.data.zero_()
        decoder.bias.data.zero_()  # type: ignore[union-attr, operator]
    return encoder, decoder


def probabilistic_paths(
    pca: Any, n_components: int, scale: float, tied: bool, bias: bool, generator: Generator
) -> tuple[nn.Module, nn.Module]:
    """Linear layers of probabilistic PCA: posterior means and log-variances, and the decoder of u ~ N(0, I).

    In working units the decoder is W = U (L - s^2)^1/2 and the posterior of a
    row x is N(L^-1 W'x, s^2 L^-1), with axes U, variances L and noise s^2: on
    these axes it has independent components, so the ELBO is the log-likelihood.
    Components beyond PCA's start at the prior, with small random directions.

    References
    ----------
    M. Tipping, C. Bishop (1999), Probabilistic principal component analysis,
    Journal of the Royal Statistical Society B 61(3).
    """
    r, d = pca.components_.shape
    noise = noise_floor(pca, scale)
    variances = torch.from_numpy(np.maximum(pca.explained_variance_ / scale**2, noise).astype(np.float64))
    axes = torch.from_numpy(np.array(pca.components_, dtype=np.float64))
    root = (variances - noise).sqrt()[:, None]
    rest = n_components - r
    extra = 0.01 * torch.randn((rest, d), generator=generator, dtype=torch.float64) / math.sqrt(d)
    encoder = skip_init(nn.Linear, d, 2 * n_components, dtype=torch.float64)
    encoder.weight.data = torch.cat(
        [root / variances[:, None] * axes, extra, torch.zeros(n_components, d, dtype=torch.float64)]
    )
    encoder.bias.data = F.pad((noise / variances).log(), (n_components, rest))
    if tied:
        return encoder, TiedLinear(encoder, bias, n_components, F.pad(variances, (0, rest), value=1.0))
    decoder = skip_init(nn.Linear, n_components, d, bias=bias, dtype=torch.float64)
    decoder.weight.data = torch.cat([root * axes, torch.zeros_like(extra)]).T.contiguous()
    if bias:
        decoder.bias.data.zero_()
    return encoder, decoder


def noise_floor(pca: Any, scale: float) -> float:
    """PCA's noise variance in working units, not under what a VAE can learn."""
    return max(float(pca.noise_variance_) / scale**2, math.exp(LOG_VARIANCE_BOUNDS[0]))


def build_residuals(
    network: Network,
    paths: tuple[nn.Module, nn.Module] | None,
    shape: Shape,
    hidden_layer_sizes: tuple[int, ...],
    activation: str,
    tied: bool,
    discrete: bool,
    ordered: bool,
    generator: Generator,
) -> tuple[Residual, Residual]:
    """Build encoder and decoder: beside linear paths, or textbook networks if there are none."""
    own = isinstance(network, Modules)
    marked = ordered and not tied and not own and not is_linear(network, hidden_layer_sizes)
    if marked:
        shape = shape._replace(n_components=2 * shape.n_components)
    f, g = network.build(shape, hidden_layer_sizes, activation, tied, generator)
    if marked:
        g = nn.Sequential(MarkMissing(), g)
    if paths is None:
        return Residual(None, f), Residual(None, g)
    P, Q = paths
    if is_linear(network, hidden_layer_sizes) and not discrete:
        return Residual(P, None), Residual(Q, None)
    gained = tied or own
    if not gained:
        zero_last_layer(f)
        zero_last_layer(g)
    return Residual(P, f, gained), Residual(Q, g, gained)


def is_linear(network: Network, hidden_layer_sizes: tuple[int, ...]) -> bool:
    """Whether f and g add nothing to the linear path (behind a discrete loss's link they do)."""
    return isinstance(network, Dense) and not hidden_layer_sizes


def zero_last_layer(network: nn.Module) -> None:
    *_, last = (m for m in network.modules() if isinstance(m, (nn.Linear, nn.ConvTranspose2d)))
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)


def validation_split(params: Any, n: int, rng: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Row numbers for training and for validation; None twice where none are, or can be, held out."""
    n_valid = n_held_out(params, n)
    if not n_valid:
        return None, None
    order = rng.permutation(n)
    return order[n_valid:], order[:n_valid]


def n_held_out(params: Any, n: int) -> int:
    """How many of n rows are for validation; 0 where none are, or can be."""
    n_valid = round(params.validation_fraction * n)
    least = GATE_MIN_ROWS if params.init == "pca" else 1
    return n_valid if params.early_stopping and n_valid >= least and n - n_valid >= 2 else 0


def gate_opens(anchor: np.ndarray, network: np.ndarray, in_nats: bool = False) -> bool:
    """Whether the network's objective on validation rows is credibly below the anchor's.

    Two paired t statistics must be high. That of the root of each row's
    objective, because in the objective itself a few rows can carry the mean: as
    improbable by chance as 2.5 standard errors are with many rows. And that of
    the objective itself, over one; in nats, whose mean is the promise and where a
    few rows far from the model can outweigh all others, as high as the first.

    Parameters
    ----------
    anchor, network : ndarray of shape (n,)
        Objective of each validation row.
    in_nats : bool
        Whether the objective is minus a log-likelihood.
    """
    n = len(anchor)
    if n < GATE_MIN_ROWS:
        return False
    low = min(0.0, float(np.min(anchor)), float(np.min(network)))  # a user's loss may be negative
    roots = _t(np.sqrt(anchor - low) - np.sqrt(network - low))
    high = float(stats.t.ppf(stats.norm.cdf(2.5), n - 1))
    return roots > high and _t(anchor - network) > (high if in_nats else 1.0)


def _t(gain: np.ndarray) -> float:
    """Mean over its standard error."""
    spread = gain.std(ddof=1) / math.sqrt(len(gain))
    return float(gain.mean() / spread) if spread > 0 else 0.0
