"""Held-out log-likelihood of the variational autoencoder, compared with common density models.

Part ``mnist``: nats per image of dynamically binarised MNIST against seconds of training, for a textbook
VAE in PyTorch and for VAETransformer. Each row of the table is one training of VAETransformer; the textbook
VAE is trained once and evaluated after the same number of seconds. Both are evaluated by the importance
sampling in this file: log p(x) from draws of q(z | x), on the same binarised test images. Lower is better;
86.76 has been published after 3,280 epochs of the textbook network (Burda, Grosse, Salakhutdinov, 2016).
Both have one stochastic layer of 50 units. VAETransformer has wider layers, which gain more than they cost;
--textbook-hidden sets those of the textbook VAE. With --importance-epochs, the last VAETransformer is trained
on with the bound of 50 draws per image (published: 84.78 with one stochastic layer).

Part ``tables``: mean log-density of held-out samples in nats, with 2, 5 and 10 components. Higher is
better. The datasets are those bundled with scikit-learn and, in the folder given by --data, those found of
adbench/*.npz (normal samples), matrices/*.mat and mnist.npz (10,000 samples), or with --odd those of
oddbench/*.npz (training samples). All models use the same data: a fifth is held out, features that are
constant in the training set are dropped, ties are broken by uniform noise (see `dequantised`), and each
feature is standardised by the training set. The neural spline flow needs zuko.

    python examples/benchmarks/likelihood.py --data DIR              # both parts
    python examples/benchmarks/likelihood.py --data DIR --quick      # a few minutes
    python examples/benchmarks/likelihood.py --data DIR --full       # all draws, samples and epochs
    python examples/benchmarks/likelihood.py --part mnist --data DIR --device cuda
    python examples/benchmarks/likelihood.py --part mnist --data DIR --validation   # to choose parameters
"""

import argparse
import copy
import csv
import math
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.io import loadmat
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn import datasets
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus
from versus_pca import QUICK, QUICK_SAMPLES, exact_pca, find_sets, sizes_under_rank, split, standardised

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.likelihoods import Bernoulli, Gaussian

# -- MNIST -------------------------------------------------------------------------------

WIDTH = 50
OURS = {  # parameters of VAETransformer for images; its defaults are for tabular data
    "hidden_layer_sizes": (500, 500),
    "activation": "silu",
    "init": "random",
    "batch_size": 512,
    "learning_rate_init": 6e-3,
}
IMPORTANCE = {  # parameters of the training that goes on from there
    "n_importance_samples": 50,
    "learning_rate_init": 3e-3,
    "kl_warmup": 0.0,
    "warm_start": True,
}


class TextbookVAE(nn.Module):
    """Variational autoencoder 784-200-200-50-200-200-784 with tanh, for a hidden width of 200."""

    def __init__(self, hidden, d=784, k=WIDTH):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(d, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 2 * k)
        )
        self.decoder = nn.Sequential(
            nn.Linear(k, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, d)
        )

    def encode(self, x):
        """Return the mean and the standard deviation of the posterior."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, torch.exp(0.5 * log_variance)

    def loss(self, x):
        """Return the negative evidence lower bound per image."""
        mean, std = self.encode(x)
        z = mean + std * torch.randn_like(std)
        reconstruction = binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = 0.5 * (mean**2 + std**2 - 1 - 2 * torch.log(std)).sum()
        return (reconstruction + kl) / len(x)


def train_textbook(X, hidden, moments, device, seed):
    """Train with Adam; yield the model and the number of epochs at each of the given seconds of training."""
    torch.manual_seed(seed)
    X = torch.from_numpy(X).to(device)
    vae = TextbookVAE(hidden).to(device)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
    moments, n_steps, seconds = list(moments), 0, 0.0
    while moments:
        start = time.perf_counter()
        for index in torch.randperm(len(X), device=device).split(100):
            grey = X[index]
            x = (torch.rand_like(grey) < grey).float()  # binarised again at every step
            optimizer.zero_grad()
            loss = vae.loss(x)
            loss.backward()
            optimizer.step()
            n_steps += 1
            if seconds + time.perf_counter() - start >= moments[0]:
                synchronise(device)
                seconds += time.perf_counter() - start
                yield vae, n_steps * 100 / len(X)
                start = time.perf_counter()
                moments.pop(0)
                if not moments:
                    return
        seconds += time.perf_counter() - start


def train_ours(X, epochs, device, seed):
    """Fit VAETransformer with Bernoulli likelihood."""
    vae = VAETransformer(
        WIDTH,
        likelihood=Bernoulli(dynamic_binarization=True),
        max_iter=epochs,
        early_stopping=False,
        random_state=seed,
        device=device,
        **OURS,
    )
    return vae.fit(X)


def encode_ours(vae, x):
    """Return the mean and the standard deviation of the posterior as tensors on the device of x."""
    mean, std = vae.posterior(x.cpu().numpy())
    return (torch.as_tensor(part, dtype=torch.float32, device=x.device) for part in (mean, std))


@torch.no_grad()
def log_likelihood(encode, decode, x, n_draws, seed=0, at_once=20_000):
    """Estimate log p(x) of binary samples by the mean of p(x, z) / q(z | x) over draws from q(z | x).

    ``encode`` returns the mean and the standard deviation of the posterior, ``decode`` maps codes to
    logits; the prior is N(0, I). The expectation of the estimate is a lower bound, which increases with the
    number of draws.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    mean, std = encode(x)
    total = torch.empty(len(x), dtype=torch.float64, device=x.device)
    n_samples = max(1, at_once // n_draws)
    for index in torch.arange(len(x), device=x.device).split(n_samples):
        weights = []
        for n in [min(at_once, n_draws - done) for done in range(0, n_draws, at_once)]:
            noise = torch.randn(len(index), n, mean.shape[1], generator=generator, device=x.device)
            z = mean[index, None] + std[index, None] * noise
            logits = decode(z.flatten(0, 1)).float().view(len(index), n, -1)
            log_p_x = (logits @ x[index, :, None])[:, :, 0] - softplus(logits).sum(2)
            log_p_z_over_q = 0.5 * (noise**2 - z**2).sum(2) + std[index].log().sum(1, keepdim=True)
            weights.append((log_p_x + log_p_z_over_q).double())
        total[index] = torch.logsumexp(torch.cat(weights, 1), 1) - math.log(n_draws)
    return total


def run_mnist(args):
    """Print the table of part mnist."""
    device = resolve(args.device)
    with np.load(args.data / "mnist.npz") as file:
        X, X_test = (file[name].reshape(-1, 784).astype(np.float32) / 255 for name in ("X_train", "X_test"))
    images = "test images"
    if args.validation:  # to choose parameters
        order = np.random.RandomState(1).permutation(len(X))
        X, X_test, images = X[order[len(X) // 6 :]], X[order[: len(X) // 6]], "training images held out"
    X = X[:10_000] if args.quick else X
    x = np.random.RandomState(0).uniform(size=X_test.shape) < X_test
    x = torch.from_numpy(x[: args.samples].astype(np.float32)).to(device)
    print(f"\n## MNIST, dynamically binarised: nats per image ({len(x):,} {images}, ", end="")
    print(f"{args.draws:,} draws, {device}; lower is better)\n")
    print("| seed | seconds | textbook epochs | textbook | VAETransformer epochs | VAETransformer | gain |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for seed in range(args.mnist_seeds):
        ours = []
        for epochs in args.epochs:
            start = time.perf_counter()
            vae = train_ours(X, epochs, device, seed)
            synchronise(device)
            seconds = time.perf_counter() - start
            ours.append((seconds, epochs, nats_of(vae, x, args.draws, device)))
        textbook = train_textbook(X, args.textbook_hidden, sorted(row[0] for row in ours), device, seed)
        for (own_seconds, own_epochs, own), (peer, peer_epochs) in zip(sorted(ours), textbook, strict=True):
            other = -log_likelihood(peer.encode, peer.decoder, x, args.draws).mean().item()
            row = (seed, f"{own_seconds:.0f}", f"{peer_epochs:.1f}", f"{other:.2f}")
            row += (own_epochs, f"{own:.2f}", f"{other - own:.2f}")
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
        if args.importance_epochs:
            start = time.perf_counter()
            vae.set_params(max_iter=args.importance_epochs, **IMPORTANCE).fit(X)
            synchronise(device)
            seconds += time.perf_counter() - start
            about = f"{epochs} + {args.importance_epochs} with {vae.n_importance_samples} draws"
            own = nats_of(vae, x, args.draws, device)
            print(f"| {seed} | {seconds:.0f} | - | - | {about} | {own:.2f} | - |", flush=True)


def nats_of(vae, x, n_draws, device):
    """Return the mean negative log-likelihood of binary images under VAETransformer."""
    decoder = copy.deepcopy(vae.module_).float().to(device)
    return -log_likelihood(partial(encode_ours, vae), decoder.decode, x, n_draws).mean().item()


def resolve(device):
    """Return the name of the device that "auto" stands for."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def synchronise(device):
    """Wait until a CUDA device has finished its work."""
    if str(device).startswith("cuda"):
        torch.cuda.synchronize()


# -- tables: the data --------------------------------------------------------------------

MNIST_SAMPLES = 10_000
TEST_SAMPLES = 1_000
COARSE = 1_000  # largest number of steps of a coarse lattice
TIED = 0.05  # a feature has ties if one value is more frequent, or if distinct values are fewer
RESOLUTION = 0.01  # smallest step of a feature with ties, in its standard deviations


def load_bundled(name):
    return getattr(datasets, f"load_{name}")().data


def load_adbench(path):
    with np.load(path) as file:
        return file["X"][file["y"] == 0]


def load_matrix(path):
    return loadmat(path)["X"]


def load_mnist(path):
    with np.load(path) as file:
        X = file["X_train"].reshape(-1, 784)
    return X[np.random.RandomState(0).permutation(len(X))[:MNIST_SAMPLES]]


def step_of(feature):
    """Return the width of the uniform noise that gives a feature a density; 0 if none is needed.

    Values on a lattice of at most 1,000 steps need noise of one step. Other features need noise if they
    have ties: if more than 5 % of the samples share a value, or if the distinct values are fewer than 5 %
    of the samples. The width is the median difference between distinct values, but at least 1 % of the
    standard deviation.
    """
    values, counts = np.unique(feature, return_counts=True)
    if len(values) < 2:
        return 0.0
    gaps = np.diff(values)
    step = gaps[gaps > 1e-9 * np.ptp(values)].min()
    n_steps = (values - values[0]) / step
    if n_steps[-1] <= COARSE and np.abs(n_steps - n_steps.round()).max() < 0.01:
        return step
    tied = counts.max() > TIED * len(feature) or len(values) < TIED * len(feature)
    return max(np.median(gaps), RESOLUTION * feature.std()) if tied else 0.0


def dequantised(X, rng):
    """Add uniform noise of one step to each feature, because densities of tied values are unbounded."""
    steps = np.array([step_of(feature) for feature in X.T])
    return X + steps * rng.uniform(size=X.shape), np.mean(steps > 0)


def prepare(load, seed, quick):
    """Return the training and test samples, and the share of dequantised features."""
    X = load().astype(float)
    train, _ = split(X, seed)
    varies = np.ptp(train, axis=0) > 1e-12 * np.abs(train).max(axis=0)
    X, share = dequantised(X[:, varies], np.random.RandomState(seed))
    train, test = standardised(*split(X, seed))
    return train[: QUICK_SAMPLES if quick else None], test[:TEST_SAMPLES], share


# -- tables: the models ------------------------------------------------------------------
# Each function fits a model to the training samples and returns the log-density of the test samples.

GRID = np.geomspace(0.03, 10, 24)  # bandwidths
FLOW_SECONDS = 60
FLOW_PATIENCE = 100  # epochs


def pca(train, test, k, seed):
    return PCA(k, svd_solver="full", random_state=seed).fit(train).score_samples(test)


def factor_analysis(train, test, k, seed):
    return FactorAnalysis(k, random_state=seed).fit(train).score_samples(test)


def shrunk_normal(train, test, k, seed):
    """The shrinkage is that of Ledoit and Wolf."""
    normal = LedoitWolf().fit(train)
    return multivariate_normal(normal.location_, normal.covariance_, allow_singular=True).logpdf(test)


def mixture(train, test, k, seed):
    return fit_mixture(train, seed).score_samples(test)


def fit_mixture(train, seed):
    """Return the mixture with full covariances and 1 to 10 components, those with the least BIC."""
    sizes = [c for c in range(1, 11) if c <= len(train)]
    mixtures = [GaussianMixture(c, random_state=seed).fit(train) for c in sizes]
    return min(mixtures, key=lambda fitted: fitted.bic(train))


def flow(train, test, k, seed):
    model = fit_flow(train, seed)
    with torch.no_grad():
        return model().log_prob(torch.from_numpy(test).float()).double().numpy()


def fit_flow(train, seed):
    """Return a flow after a minute of CPU time, or earlier, at its best density of a tenth held out."""
    import zuko

    torch.manual_seed(seed)
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(train)))
    samples = torch.from_numpy(train).float()[order]
    n_valid = max(2, len(train) // 10)
    valid, samples = samples[:n_valid], samples[n_valid:]
    model = zuko.flows.NSF(train.shape[1], transforms=3, hidden_features=(64, 64))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    best, weights, waited = -math.inf, model.state_dict(), 0
    start = time.process_time()
    while time.process_time() - start < FLOW_SECONDS and waited < FLOW_PATIENCE:
        for batch in samples[torch.randperm(len(samples))].split(256):
            optimizer.zero_grad()
            (-model().log_prob(batch).mean()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
        with torch.no_grad():
            nats = float(model().log_prob(valid).mean())
        waited += 1
        if nats > best:
            best, weights, waited = nats, copy.deepcopy(model.state_dict()), 0
    model.load_state_dict(weights)
    return model


def kernel_density(train, test, k, seed):
    """Use the bandwidth with the best leave-one-out density of at most 2,000 training samples."""
    own = np.random.RandomState(seed).permutation(len(train))[:2_000]
    squared = cdist(train[own], train, "sqeuclidean")
    squared[np.arange(len(own)), own] = np.inf
    scores = [logsumexp(-0.5 * squared / h**2, axis=1).mean() - train.shape[1] * math.log(h) for h in GRID]
    bandwidth = GRID[int(np.argmax(scores))]
    return KernelDensity(bandwidth=bandwidth).fit(train).score_samples(test)


def autoencoder(train, test, k, seed):
    return AutoencoderTransformer(k, random_state=seed).fit(train).score_samples(test)


def vae(train, test, k, seed):
    return VAETransformer(k, random_state=seed).fit(train).score_samples(test)


def vae_per_column(train, test, k, seed):
    likelihood = Gaussian(noise="per_column")
    return VAETransformer(k, likelihood=likelihood, random_state=seed).fit(train).score_samples(test)


def vae_full(train, test, k, seed):
    likelihood = Gaussian(noise="full")
    return VAETransformer(k, likelihood=likelihood, random_state=seed).fit(train).score_samples(test)


def vae_mixture_prior(train, test, k, seed):
    return VAETransformer(k, prior="mixture", random_state=seed).fit(train).score_samples(test)


def vae_auto(train, test, k, seed):
    return (
        VAETransformer(k, likelihood="auto", prior="mixture", random_state=seed)
        .fit(train)
        .score_samples(test)
    )


METHODS = {
    "PCA": pca,
    "FactorAnalysis": factor_analysis,
    "shrunk normal": shrunk_normal,
    "GaussianMixture": mixture,
    "KernelDensity": kernel_density,
    "neural spline flow": flow,
    "VAETransformer, auto": vae_auto,
    "AutoencoderTransformer": autoencoder,
    "VAETransformer": vae,
    "VAE, mixture prior": vae_mixture_prior,
    "VAE, per column": vae_per_column,
    "VAE, full": vae_full,
}
DEFAULT = list(METHODS)[:7]
WITHOUT_K = ("shrunk normal", "GaussianMixture", "KernelDensity", "neural spline flow")
OURS_AUTO = "VAETransformer, auto"
SIMPLE = ("PCA", "FactorAnalysis", "shrunk normal")  # which no other model should be below
NEAR = 0.1  # nats from the first that count as first


# -- tables: the cases -------------------------------------------------------------------


def run_cases(name, train, test, sizes, seed, share, methods):
    """Return for each number of components the mean nats per test sample of each method, and the seconds.

    Seconds are CPU time of fitting and scoring. Methods without components run once.
    """
    torch.set_num_threads(1)
    done, cases = {}, []
    for k in sizes:
        about = {
            "set": name,
            "n": len(train),
            "d": train.shape[1],
            "dequantised": share,
            "k": k,
            "seed": seed,
        }
        nats = {}
        for method in methods:
            if method not in done or method not in WITHOUT_K:
                start = time.process_time()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    log_p = METHODS[method](train, test, k, seed)
                done[method] = log_p, time.process_time() - start
            nats[method], about[f"{method}_s"] = done[method]
            about[method] = nats[method].mean()
        about["standard errors above"] = least_gain(nats)
        cases.append(about)
    return cases


def least_gain(nats):
    """Return the least gain of ours over a simple model, in standard errors of the gain."""
    if OURS_AUTO not in nats:
        return math.nan
    gains = [nats[OURS_AUTO] - nats[method] for method in SIMPLE if method in nats]
    return min((g.mean() / (g.std(ddof=1) / math.sqrt(len(g)) + 1e-12) for g in gains), default=math.nan)


def load_one_class(path):
    with np.load(path) as file:
        return file["X_train"]


def find_tables(args):
    """Return a loader for each dataset."""
    if args.odd:
        return {
            f"oddbench/{path.stem}": partial(load_one_class, path)
            for path in args.data.glob("oddbench/*.npz")
        }
    return find_sets(args.data, load_bundled, load_adbench, load_matrix, load_mnist)


def cases(sets, args):
    """Yield the cases as delayed calls; each dataset is loaded just before its first case."""
    for name, load in sorted(sets.items()):
        for seed in range(args.seeds):
            train, test, share = prepare(load, seed, args.quick)
            spectrum = exact_pca(train)
            sizes = sizes_under_rank(spectrum)
            if args.quick or args.odd:
                sizes = [k for k in sizes if k == 5] or sizes[-1:]
            yield delayed(run_cases)(name, train, test, sizes, seed, share, args.methods)


def run_tables(args):
    """Print the tables of part tables."""
    sets = find_tables(args)
    selected = args.only or (QUICK if args.quick else [""])
    sets = {name: load for name, load in sets.items() if any(part in name for part in selected)}
    if not sets:
        raise SystemExit(f"No dataset is called {' or '.join(selected)}.")
    print("\n## Held-out samples: mean nats per sample (higher is better)\n")
    print("| dataset | samples | features | dequantised | k | seed | " + " | ".join(args.methods) + " |")
    print("| --- " * (6 + len(args.methods)) + "|", flush=True)
    results = []
    for some in Parallel(args.jobs, return_as="generator", pre_dispatch="n_jobs")(cases(sets, args)):
        for case in some:
            print_case(case, args.methods)
        results += some
        if args.save is not None:
            save(results, args.save)
    names = sorted({case["set"] for case in results})
    for title, half in (("all", names), ("one half", names[::2]), ("other half", names[1::2])):
        print_summary(title, [case for case in results if case["set"] in half], args.methods)


def print_case(case, methods):
    """Print a Markdown row, with the best method in bold."""
    best = max(case[method] for method in methods)
    nats = [f"**{case[m]:.2f}**" if case[m] == best else f"{case[m]:.2f}" for m in methods]
    about = [case["set"], case["n"], case["d"], f"{case['dequantised']:.0%}", case["k"], case["seed"]]
    print("| " + " | ".join(map(str, about + nats)) + " |", flush=True)


def print_summary(title, results, methods):
    """Print a Markdown table with one row per method."""
    nats = np.array([[case[method] for method in methods] for case in results])
    nats = np.where(np.isnan(nats), -np.inf, nats)
    near = nats >= nats.max(axis=1, keepdims=True) - NEAR
    rank = (nats[:, :, None] < nats[:, None, :]).sum(2) + 1
    n_sets = len({case["set"] for case in results})
    print(f"\nHeld-out samples, {title}: {len(results)} cases of {n_sets} datasets. ", end="")
    print(f"First: within {NEAR} nats of the first\n")
    print("| | first | mean rank | worst against PCA | nats above PCA, mean | median | CPU seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for i, method in enumerate(methods):
        row = [method, f"{near[:, i].mean():.0%}", f"{rank[:, i].mean():.2f}"]
        if "PCA" in methods:
            gain = nats[:, i] - nats[:, methods.index("PCA")]
            worst = results[int(gain.argmin())]
            row += [f"{gain.min():.2f} ({worst['set']}, k={worst['k']})", f"{gain.mean():.2f}"]
            row.append(f"{np.median(gain):.2f}")
        else:
            row += ["-", "-", "-"]
        row.append(f"{np.mean([case[f'{method}_s'] for case in results]):.1f}")
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
    if OURS_AUTO in methods:
        below = sum(case["standard errors above"] < -2 for case in results)
        print(
            f"\n{OURS_AUTO} is below one of {', '.join(SIMPLE)} by over two standard errors in {below} cases."
        )


def save(results, path):
    """Write all cases to a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, results[0])
        writer.writeheader()
        writer.writerows(results)


# -- command line ------------------------------------------------------------------------


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("mnist", "tables", "both"), default="both")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with mnist.npz and more datasets")
    parser.add_argument(
        "--quick", action="store_true", help="short trainings; few datasets, one split, k = 5"
    )
    parser.add_argument("--full", action="store_true", help="long trainings, 10,000 images x 5,000 draws")
    parser.add_argument(
        "--epochs", type=int, nargs="+", help="number of epochs of each training of VAETransformer on MNIST"
    )
    parser.add_argument(
        "--importance-epochs", type=int, help="epochs with the bound of 50 draws (default: 0; with --full 14)"
    )
    parser.add_argument(
        "--validation", action="store_true", help="evaluate on a sixth of MNIST's training images, held out"
    )
    parser.add_argument("--samples", type=int, help="test images of MNIST")
    parser.add_argument("--draws", type=int, help="importance samples per test image")
    parser.add_argument(
        "--textbook-hidden",
        type=int,
        default=200,
        help="width of the layers of the textbook VAE (default: 200)",
    )
    parser.add_argument(
        "--mnist-seeds", type=int, default=1, help="number of trainings of each length (default: 1)"
    )
    parser.add_argument(
        "--device", default="cpu", help="device of part mnist: cpu, cuda or auto (default: cpu)"
    )
    parser.add_argument("--seeds", type=int, help="splits of each dataset (default: 1; with --full 3)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=DEFAULT, metavar="NAME")
    parser.add_argument("--odd", action="store_true", help="the datasets of oddbench, with 5 components")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="datasets whose name contains NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes for part tables (default: 1)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="CSV file for the results of part tables")
    args = parser.parse_args()
    short, long = (args.quick, args.full) if args.quick != args.full else (False, False)
    args.epochs = args.epochs or ([2, 5] if short else [300] if long else [5, 20, 60])
    if args.importance_epochs is None:
        args.importance_epochs = 14 if long else 0
    args.samples = args.samples or (200 if short else 10_000 if long else 1_000)
    args.draws = args.draws or (200 if short else 5_000 if long else 1_000)
    args.seeds = args.seeds or (3 if long else 1)
    return args


def main():
    args = parse_args()
    start = time.perf_counter()
    if args.part != "tables":
        if args.data is None or not (args.data / "mnist.npz").exists():
            print("Part mnist needs mnist.npz in the folder given by --data; skipped.")
        else:
            run_mnist(args)
    if args.part != "mnist":
        run_tables(args)
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes with {args.jobs} process(es).")


if __name__ == "__main__":
    main()
