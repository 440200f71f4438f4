"""Test error of autoencoders relative to PCA on many datasets; below 1 is better than PCA.

Each case is a dataset, a number of components and a seed. The model is fitted to 80 % of the samples
(MNIST: to its training set). The squared error of its reconstructions of the others is divided by that of
PCA with the same number of components.

Methods: AutoencoderTransformer with defaults, scikit-learn's MLPRegressor(X, X), and a textbook autoencoder
in PyTorch, all with the same layers. The latter two are run on the first seed only unless --peer-seeds is
given.

Datasets: those bundled with scikit-learn and, in the folder given by --data, those found of adbench/*.npz
(normal samples), matrices/*.mat and mnist.npz. With --unseen: the normal samples of oddbench/*.npz instead,
which were not used to choose any default of AutoencoderTransformer.

    python examples/benchmarks/versus_pca.py --data DIR              # about an hour
    python examples/benchmarks/versus_pca.py --data DIR --jobs 2     # about half of that
    python examples/benchmarks/versus_pca.py --data DIR --quick      # under 3 minutes
    python examples/benchmarks/versus_pca.py --data DIR --unseen --only oddbench --seeds 1
"""

import argparse
import time
import warnings
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.io import loadmat
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from torch import nn

from sklearn_ae import AutoencoderTransformer

SIZES = (2, 5, 10)
HIDDEN = (256, 128)
MLP_STEPS = 5_000  # limit for MLPRegressor on large datasets, over twice the steps of the others
LARGE = 1_000  # datasets with more samples are large
BUNDLED = ("iris", "wine", "breast_cancer", "digits", "diabetes", "linnerud")
QUICK = ("glass", "Ionosphere", "cardio", "pendigits", "musk", "ORL", "colon", "sklearn/wine", "digits")
QUICK_SAMPLES = 3_000  # training samples of a dataset in a quick run
COLUMNS = "{:24} {:>6} {:>5} {:>3} {:>4}  {:>7} {:>7} {:>7}  {:>7}  {:>7} {:>7} {:>7}"
HEADER = ("dataset", "n", "d", "k", "seed", "AE", "MLP", "torch", "AE uses", "AE s", "MLP s", "torch s")


# -- data --------------------------------------------------------------------------------


def find_sets(folder, bundled, adbench, matrix, mnist):
    """Return a loader for each dataset found, as {name: function}, from the functions of each kind."""
    sets = {f"sklearn/{name}": partial(bundled, name) for name in BUNDLED}
    if folder is None:
        return sets
    for path in sorted(folder.glob("adbench/*.npz")):
        sets[f"adbench/{path.stem.partition('_')[2] or path.stem}"] = partial(adbench, path)
    for path in sorted(folder.glob("matrices/*.mat")):
        sets[f"matrices/{path.stem}"] = partial(matrix, path)
    if (folder / "mnist.npz").exists():
        sets["mnist"] = partial(mnist, folder / "mnist.npz")
    return sets


def find_unseen(folder):
    """Return a loader for each dataset not used to choose the defaults, as {name: function}."""
    return {path.stem: partial(load_oddbench, path) for path in sorted(folder.glob("oddbench/*.npz"))}


def load_bundled(name, seed):
    X = getattr(datasets, f"load_{name}")().data
    parts = split(X, seed)
    return [part / 16 for part in parts] if name == "digits" else standardised(*parts)


def load_adbench(path, seed):
    with np.load(path) as file:
        X = file["X"][file["y"] == 0]
    return standardised(*split(X, seed))


def load_oddbench(path, seed):
    with np.load(path) as file:
        X = np.concatenate([file["X_train"], file["X_test"][file["y_test"] == 0]])
    return standardised(*split(X, seed))


def load_matrix(path, seed):
    X = loadmat(path)["X"]
    parts = split(X, seed)
    is_image = X.min() >= 0 and 100 < X.max() <= 255  # grey levels
    return [part / 255 for part in parts] if is_image else standardised(*parts)


def load_mnist(path, seed):
    with np.load(path) as file:
        return [file[name].reshape(-1, 784) / 255 for name in ("X_train", "X_test")]


LOADERS = (load_bundled, load_adbench, load_matrix, load_mnist)


def split(X, seed):
    return train_test_split(X.astype(float), test_size=0.2, random_state=seed)


def standardised(train, test):
    """Standardise by the training set; features that are constant there are only centred."""
    mean, scale = train.mean(axis=0), train.std(axis=0)
    scale[scale <= 1e-12 * np.abs(mean)] = 1
    return [(train - mean) / scale, (test - mean) / scale]


# -- methods -----------------------------------------------------------------------------
# Each is fitted to the training set and returns the reconstruction of the test set.


def ours(train, test, k, seed):
    """Return the reconstruction, and whether the model uses its network or fell back to PCA."""
    model = AutoencoderTransformer(k, random_state=seed).fit(train)
    return model.inverse_transform(model.transform(test)), model.uses_network_


def mlp_regressor(train, test, k, seed):
    """Return the reconstruction by MLPRegressor(X, X)."""
    sizes = (*HIDDEN, k, *reversed(HIDDEN))
    max_iter = min(200, -(-MLP_STEPS // -(-len(train) // 200)))  # 200 epochs, batches of 200
    model = MLPRegressor(hidden_layer_sizes=sizes, early_stopping=True, max_iter=max_iter, random_state=seed)
    return model.fit(train, train).predict(test)


def textbook(train, test, k, seed):
    """Return the reconstruction by a textbook autoencoder in PyTorch."""
    torch.manual_seed(seed)
    d = train.shape[1]
    sizes = (d, *HIDDEN, k, *reversed(HIDDEN), d)
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        if i not in (0, len(HIDDEN) + 1):  # no activation on the input or on the code
            layers.append(nn.GELU())
        layers.append(nn.Linear(n_in, n_out))
    net = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    X = torch.tensor(train, dtype=torch.float32)
    n_batches = -(-len(X) // 128)
    for _ in range(min(100, -(-2_000 // n_batches))):
        for index in torch.randperm(len(X)).split(128):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(X[index]), X[index])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return net(torch.tensor(test, dtype=torch.float32)).numpy()


# -- cases -------------------------------------------------------------------------------


def exact_pca(train):
    """Return PCA with one component more than the largest size, if there are that many."""
    n, d = train.shape
    solver = "covariance_eigh" if n >= 10 * d else "full"
    return PCA(min(max(SIZES) + 1, n, d), svd_solver=solver).fit(train)


def sizes_under_rank(pca):
    """Return the numbers of components that are less than the rank."""
    spectrum = pca.explained_variance_
    return [k for k in SIZES if k < len(spectrum) and spectrum[k] > 1e-10 * spectrum[0]]


def run_case(name, train, test, pca, k, seed, with_peers):
    """Return the ratios and fit times of one case."""
    V = pca.components_[:k]
    centred = test - pca.mean_
    reference = np.square(centred - centred @ V.T @ V).sum(dtype=float)
    case = {"name": name, "n": len(train) + len(test), "d": train.shape[1], "k": k, "seed": seed}
    methods = {"ours": ours, "mlp": mlp_regressor, "torch": textbook}
    torch.set_num_threads(1)
    for method in methods if with_peers else ["ours"]:
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            reconstruction = methods[method](train, test, k, seed)
        if method == "ours":
            reconstruction, case["uses_network"] = reconstruction
        case[f"{method}_s"] = time.process_time() - start
        case[method] = np.square(test - reconstruction).sum(dtype=float) / reference
    return case


def cases(sets, seeds, peer_seeds, quick):
    """Yield the cases as delayed calls; each dataset is loaded just before its first case."""
    for name, load in sets.items():
        for seed in range(seeds):
            train, test = load(seed)
            train = train[:QUICK_SAMPLES] if quick else train
            pca = exact_pca(train)
            for k in sizes_under_rank(pca):
                if not quick or k == 5 or len(pca.components_) <= 5:
                    yield delayed(run_case)(name, train, test, pca, k, seed, seed < peer_seeds)


# -- report ------------------------------------------------------------------------------


def print_case(case):
    """Print a row of the table of cases."""
    ratios = [f"{case[m]:.3f}" if m in case else "-" for m in ("ours", "mlp", "torch")]
    times = [f"{case[m + '_s']:.1f}" if m in case else "-" for m in ("ours", "mlp", "torch")]
    about = [case[key] for key in ("name", "n", "d", "k", "seed")]
    print(COLUMNS.format(*about, *ratios, "network" if case["uses_network"] else "PCA", *times), flush=True)


def print_summary(results):
    """Print a Markdown table with one row per method."""
    print("\nTest squared error / PCA's at the same number of components\n")
    print(
        "| | cases | over 1,000 samples | all datasets | more than 1 % worse than PCA "
        "| more than 5 % worse | worst | CPU s per fit | sum |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    peers_ran = [case for case in results if "mlp" in case]
    if 0 < len(peers_ran) < len(results):
        print_method("AutoencoderTransformer", "ours", results)
        print_method("AutoencoderTransformer, same cases as below", "ours", peers_ran)
    else:
        print_method("AutoencoderTransformer", "ours", results)
    if peers_ran:
        print_method("MLPRegressor(X, X)", "mlp", peers_ran)
        print_method("textbook PyTorch autoencoder", "torch", peers_ran)
    print()
    for title, method in (
        ("AutoencoderTransformer", "ours"),
        ("MLPRegressor(X, X)", "mlp"),
        ("textbook PyTorch autoencoder", "torch"),
    ):
        ratios = [case[method] for case in results if method in case]
        if ratios:
            print(f"median of {title}: {np.median(ratios):.3f}")
    n_networks = sum(case["uses_network"] for case in results)
    print(
        f"\nGeometric means over the cases. {len(results) - n_networks} of {len(results)} fell back to PCA."
    )


def print_method(title, method, results):
    """Print a row of the summary."""
    ratios = np.array([case[method] for case in results])
    large = np.array([case["n"] > LARGE for case in results])
    means = [f"{np.exp(np.log(r).mean()):.3f}" if len(r) else "-" for r in (ratios[large], ratios)]
    over = [f"{np.sum(ratios > bound)} ({np.mean(ratios > bound):.1%})" for bound in (1.01, 1.05)]
    worst = results[int(ratios.argmax())]
    where = f"{ratios.max():.3f} ({worst['name']}, k={worst['k']})"
    seconds = [case[f"{method}_s"] for case in results]
    row = (title, len(ratios), *means, *over, where, f"{np.mean(seconds):.1f}", f"{sum(seconds):.0f}")
    print("| " + " | ".join(map(str, row)) + " |", flush=True)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with more datasets")
    parser.add_argument("--seeds", type=int, default=3, help="splits of each dataset (default: 3)")
    parser.add_argument("--peer-seeds", type=int, default=1, help="splits for the other methods (default: 1)")
    parser.add_argument("--no-peers", action="store_true", help="AutoencoderTransformer only")
    parser.add_argument("--quick", action="store_true", help="ten datasets, one split, k = 5, 3,000 samples")
    parser.add_argument(
        "--unseen", action="store_true", help="datasets not used to choose the defaults (needs --data)"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="datasets whose name contains NAME")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    args = parser.parse_args()
    if args.unseen and args.data is None:
        parser.error("--unseen needs --data")
    args.seeds = 1 if args.quick else args.seeds
    args.peer_seeds = 0 if args.no_peers else args.peer_seeds
    return args


def main():
    args = parse_args()
    sets = find_unseen(args.data) if args.unseen else find_sets(args.data, *LOADERS)
    selected = args.only or (QUICK if args.quick else [""])
    sets = {
        name: load
        for name, load in sets.items()
        if any(part in name for part in selected) or (name == "mnist" and args.quick and not args.only)
    }
    if not sets:
        raise SystemExit(f"No dataset is called {' or '.join(selected)}.")
    start = time.perf_counter()
    print(COLUMNS.format(*HEADER))
    results = []
    parallel = Parallel(args.jobs, return_as="generator", pre_dispatch="n_jobs")
    for case in parallel(cases(sets, args.seeds, args.peer_seeds, args.quick)):
        print_case(case)
        results.append(case)
    print_summary(results)
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes with {args.jobs} process(es), one thread each.")


if __name__ == "__main__":
    main()
