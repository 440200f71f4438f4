"""Held-out nats of tables of numbers, categories and counts, by likelihoods of features and by others.

Part ``nats``: mean log-likelihood of held-out rows over splits, with two components. "gaussian" is the same
VAE with ``Gaussian(noise="per_column")`` of standardised numbers and counts and one-hot columns; given the
code, its densities are normalised over the categories and over the integers, so that they are probabilities.
"independent" is ``ByFeature`` without components. "truth" is the density that drew the synthetic tables.

Part ``kinds``: nats by which the code of a row, drawn from its posterior, raises the log-probability of the
features of each kind above that of the independent model. It is a lower bound of their mutual information
with the code, up to what the independent model lacks. Above 0, a kind is described by the code.

    python examples/benchmarks/mixed_tables.py    # about 5 minutes
"""

import argparse
import time
import warnings

import numpy as np
import torch
from scipy.special import gammaln, logsumexp, softmax
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import train_test_split

from sklearn_ae import VAETransformer
from sklearn_ae.likelihoods import ByFeature, Gaussian

K = 2
N_SPLITS = 3
N_DRAWS = 1_000  # codes of each row, half from the posterior and half from the prior


# -- synthetic tables: a number of parameters that are functions of a normal code ----------


def curve(z):
    """Return means, probabilities and rates given a code of one dimension."""
    z = z[:, 0]
    means = np.column_stack([z, z**2, np.sin(2 * z)])
    categories = [
        softmax(np.column_stack([2 * z, 0 * z, -2 * z]), 1),
        softmax(3 * np.sin(z[:, None] + np.arange(4) * np.pi / 2), 1),
    ]
    rates = np.exp(np.column_stack([0.8 * z, 1 - 0.5 * z**2]))
    return means, categories, rates, 1 / (1 + np.exp(-3 * z))[:, None]


def plane(z):
    """Return the same given a code of two dimensions; the third number is independent of it."""
    a, b = z.T
    means = np.column_stack([a, a * b, 0 * a])
    categories = [
        softmax(np.column_stack([2 * a, 2 * b, -2 * a, -2 * b, 0 * a]), 1),
        softmax(np.column_stack([a + b, 0 * a, b - a]), 1),
    ]
    rates = np.exp(np.column_stack([0.7 * b + 0.5, 0.5 * a - 0.5]))
    return means, categories, rates, 1 / (1 + np.exp(-2 * a * b))[:, None]


NOISE = np.array([0.2, 0.3, 0.2])
UNIT = np.array([1e4, 1.0, 1e-2])  # of the numbers


def draw(parts, dim, n, rng):
    means, categories, rates, p = parts(rng.normal(size=(n, dim)))
    numbers = (means + NOISE * rng.normal(size=means.shape)) * UNIT
    one_hot = [np.eye(q.shape[1])[(rng.uniform(size=(n, 1)) > q.cumsum(1)).sum(1)] for q in categories]
    return np.column_stack([numbers, *one_hot, rng.poisson(rates), rng.uniform(size=p.shape) < p])


def log_probabilities(parts, z, X):
    """Return log p(x | z) of all pairs."""
    means, categories, rates, p = parts(z)
    n = means.shape[1]
    residual = (X[:, None, :n] / UNIT - means) / NOISE
    log_p = (-0.5 * residual**2 - np.log(NOISE * UNIT) - 0.5 * np.log(2 * np.pi)).sum(2)
    at = n
    for q in categories:
        log_p = log_p + X[:, at : at + q.shape[1]] @ np.log(q).T
        at += q.shape[1]
    counts = X[:, at : at + rates.shape[1]]
    log_p += counts @ np.log(rates).T - rates.sum(1) - gammaln(counts + 1).sum(1)[:, None]
    binary = X[:, -1:]
    return log_p + binary @ np.log(p).T + (1 - binary) @ np.log1p(-p).T


def true_density(parts, dim, X):
    from scipy.stats import norm

    levels = (np.arange(4_000) + 0.5) / 4_000 if dim == 1 else (np.arange(120) + 0.5) / 120
    grid = np.stack(np.meshgrid(*[norm.ppf(levels)] * dim), -1).reshape(-1, dim)
    parts_of_X = np.array_split(X, max(1, len(X) // 50))
    return np.concatenate(
        [logsumexp(log_probabilities(parts, grid, part), axis=1) - np.log(len(grid)) for part in parts_of_X]
    )


SYNTHETIC_GROUPS = {
    "curve": {
        "gaussian": [0, 1, 2],
        "categorical": [[3, 4, 5], [6, 7, 8, 9]],
        "poisson": [10, 11],
        "bernoulli": 12,
    },
    "plane": {
        "gaussian": [0, 1, 2],
        "categorical": [[3, 4, 5, 6, 7], [8, 9, 10]],
        "poisson": [11, 12],
        "bernoulli": 13,
    },
}


# -- real tables ------------------------------------------------------------------------------


def quantile_groups(column, n):
    edges = np.quantile(column, np.arange(1, n) / n)
    return np.eye(n)[np.digitize(column, edges)]


def cancer():
    """Return cell measurements, some as grades and one as a count, and the diagnosis."""
    data = load_breast_cancer()
    X = data.data
    numbers = X[:, [0, 1, 4, 8, 9]]
    grades = [quantile_groups(X[:, j], n) for j, n in ((5, 3), (6, 4), (7, 5))]
    count = np.round(40 * X[:, 27:28])  # worst concave points, as a number of points
    groups = {
        "gaussian": slice(0, 5),
        "categorical": [slice(5, 8), slice(8, 12), slice(12, 17)],
        "negative_binomial": 17,
        "bernoulli": 18,
    }
    return np.column_stack([numbers, *grades, count, data.target]), groups


def diabetes():
    """Return blood values, sex, age in years as a count, and body mass index and pressure in classes."""
    data = load_diabetes(scaled=False)
    X = data.data
    classes = [quantile_groups(X[:, 2], 4), quantile_groups(X[:, 3], 3)]
    groups = {
        "gaussian": slice(0, 5),
        "categorical": [slice(5, 9), slice(9, 12)],
        "negative_binomial": [12, 13],
        "bernoulli": 14,
    }
    numbers = X[:, [4, 5, 6, 8, 9]]
    return np.column_stack([numbers, *classes, X[:, 0], np.round(data.target / 10), X[:, 1] == 2]), groups


# -- models -----------------------------------------------------------------------------------


def gaussian_score(X, T, groups, seed):
    """Return the mean log-likelihood of T by a Gaussian VAE, read as probabilities given the code."""
    kinds = ByFeature(groups).for_features(X.shape[1])
    is_scaled = (
        kinds.parts_.are("gaussian") | kinds.parts_.are("poisson") | kinds.parts_.are("negative_binomial")
    )
    mean, unit = np.where(is_scaled, X.mean(0), 0.0), np.where(is_scaled, X.std(0), 1.0)
    vae = VAETransformer(K, likelihood=Gaussian("per_column"), random_state=seed).fit((X - mean) / unit)
    center, std = vae.posterior((T - mean) / unit)
    rng = np.random.RandomState(0)
    scores = []
    for x, m, s in zip(T, center, std, strict=True):
        z = np.concatenate([m + s * rng.normal(size=(N_DRAWS // 2, K)), rng.normal(size=(N_DRAWS // 2, K))])
        prior = -0.5 * (z**2).sum(1)
        proposal = np.logaddexp(-0.5 * (((z - m) / s) ** 2).sum(1) - np.log(s).sum(), prior) - np.log(2)
        decoded = vae.inverse_transform(z) * unit + mean
        variance = np.broadcast_to(vae.noise_variance_, len(x)) * unit**2
        log_p = read_as_probabilities(kinds.parts_, x, decoded, variance, X.max(0))
        scores.append(logsumexp(log_p + prior - proposal) - np.log(N_DRAWS))
    return np.mean(scores)


def read_as_probabilities(parts, x, decoded, variance, largest):
    """Return log p(x | z) of normal densities that are normalised over categories and integers."""
    energy = -0.5 * (x - decoded) ** 2 / variance
    total = np.zeros(len(decoded))
    places = np.split(parts.order, np.cumsum(parts.sizes)[:-1])
    for kind, option, place in zip(parts.kinds, parts.options, places, strict=True):
        if kind == "gaussian":
            total += (energy[:, place] - 0.5 * np.log(2 * np.pi * variance[place])).sum(1)
        elif kind == "categorical":
            for group in place.reshape(-1, option.n_categories):
                points = np.eye(len(group))
                others = -0.5 * ((points - decoded[:, None, group]) ** 2 / variance[group]).sum(2)
                total += energy[:, group].sum(1) - logsumexp(others, axis=1)
        else:
            for j in place:
                values = np.arange(2 if kind == "bernoulli" else 2 * largest[j] + 10)
                others = -0.5 * (values - decoded[:, j, None]) ** 2 / variance[j]
                total += energy[:, j] - logsumexp(others, axis=1)
    return total


def information_by_kind(vae, alone, T):
    """Return the nats that drawn codes add to the log-probability of the features of each kind."""
    mean, std = vae.posterior(T)
    z = mean + std * np.random.RandomState(0).normal(size=mean.shape)
    entries = [log_entries(model, T, codes) for model, codes in ((vae, z), (alone, z[:, :0]))]
    gain = (entries[0] - entries[1]).mean(axis=0)
    parts = vae.likelihood_.parts_
    return {kind: gain[parts.are(kind)].sum() for kind in dict.fromkeys(parts.kinds)}


@torch.no_grad()
def log_entries(model, X, codes):
    module, z = model.module_, torch.from_numpy(codes)
    target = module.target(torch.from_numpy((X - model.mean_) / model.scale_))
    log_noise = module.log_noise(z)
    return model.likelihood_.log_prob(module.decode(z), target, log_noise).numpy()


# -- tables of results ----------------------------------------------------------------------------


def splits(name, n_splits):
    """Yield training rows, test rows, groups and the true log-likelihood of the test rows, if it is known."""
    for seed in range(n_splits):
        if name in SYNTHETIC_GROUPS:
            parts, dim = {"curve": (curve, 1), "plane": (plane, 2)}[name]
            rng = np.random.RandomState(seed)
            X, T = draw(parts, dim, 2_000, rng), draw(parts, dim, 1_000, rng)
            yield X, T, SYNTHETIC_GROUPS[name], true_density(parts, dim, T).mean()
        else:
            table, groups = {"cancer": cancer, "diabetes": diabetes}[name]()
            X, T = train_test_split(table, test_size=0.3, random_state=seed)
            yield X, T, groups, np.nan


def run(name, n_splits):
    rows, gains, seconds = [], [], 0.0
    for seed, (X, T, groups, truth) in enumerate(splits(name, n_splits)):
        start = time.perf_counter()
        vae = VAETransformer(K, likelihood=ByFeature(groups), random_state=seed).fit(X)
        seconds += time.perf_counter() - start
        alone = VAETransformer(0, likelihood=ByFeature(groups)).fit(X)
        rows.append([vae.score(T), gaussian_score(X, T, groups, seed), alone.score(T), truth])
        gains.append(information_by_kind(vae, alone, T))
    scores = np.mean(rows, axis=0)
    print(f"{name:10s}" + "".join(f"{score:13.2f}" for score in scores) + f"{seconds / n_splits:10.1f}")
    return {kind: np.mean([gain[kind] for gain in gains]) for kind in gains[0]}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--splits", type=int, default=N_SPLITS)
    parser.add_argument("--tables", nargs="+", default=["curve", "plane", "cancer", "diabetes"])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    heads = ("by feature", "gaussian", "independent", "truth")
    print(f"{'table':10s}" + "".join(f"{head:>13s}" for head in heads) + f"{'fit (s)':>10s}")
    gains = {name: run(name, args.splits) for name in args.tables}
    print("\nNats that the code adds, by kind")
    for name, gain in gains.items():
        print(f"{name:10s} " + ", ".join(f"{kind} {value:.2f}" for kind, value in gain.items()))


if __name__ == "__main__":
    main()
