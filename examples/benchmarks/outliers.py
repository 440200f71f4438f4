"""Outlier detection on labelled tabular data: AEOutlierDetector and other detectors.

One class: detectors are fitted on a random half of the normal samples and evaluated on the other half and
all outliers (``robust=False``). Unsupervised: they are fitted and evaluated on all samples, including the
outliers (``robust=True``). Features are standardised by the training set. The tables give means of ROC AUC
and average precision (in per cent) over datasets and seeds, and the total seconds of fitting and scoring.

Part ``sets``: comparison of the methods. Neighbour methods exclude a training sample from its own
neighbourhood. PCA keeps half as many components as there are features; "Mahalanobis" uses the empirical
covariance, "MCD" a robust one. AutoEncoder and VAE of pyod are included if pyod is installed. Part
``scores``: the scores of AEOutlierDetector, with the same networks. Part ``contamination``: gain of
``robust`` if 0, 5, 10 and 20 % of the training samples are outliers. Half of the normal samples (fewer if
there are too few outliers) and at most half of the outliers are for training, the others for evaluation.
Part ``speed``: CPU time to fit 1,000 and 10,000 samples of 30 features, and to score 10,000 and one,
compared with IsolationForest.

Datasets: adbench/*.npz in the folder given by --data (X, and y with 1 for outliers); without it,
scikit-learn's breast_cancer, wine and digits, each with a few samples of one class as outliers.

    python examples/benchmarks/outliers.py --data DIR --jobs 2      # all parts
    python examples/benchmarks/outliers.py --data DIR --quick       # datasets up to 2,000 samples, one seed
    python examples/benchmarks/outliers.py --data DIR --part sets --by-set
"""

import argparse
import io
import time
import warnings
from contextlib import redirect_stderr
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn import datasets
from sklearn.covariance import EmpiricalCovariance, MinCovDet
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEOutlierDetector
from sklearn_ae.outlier_scores import OUTLIER_SCORES

SETTINGS = ("one class", "unsupervised")
QUICK_SAMPLES = 2_000
MAX_LIKELIHOOD_SAMPLES = 2_000  # the log-likelihood takes milliseconds per sample
SHARES = (0.0, 0.05, 0.1, 0.2)  # shares of outliers among the training samples
WITHOUT_DATA = {"breast_cancer": 0, "wine": 2, "digits": 8}  # dataset, and its class of outliers
MIN_OUTLIERS = 15  # of a dataset in part contamination


# -- data --------------------------------------------------------------------------------


def load_adbench(path):
    with np.load(path) as file:
        return file["X"].astype(float), file["y"].astype(int)


def load_bundled(name, outlier_class):
    """Return a dataset in which nine tenths of the samples of one class are removed."""
    X, target = getattr(datasets, f"load_{name}")(return_X_y=True)
    outliers = np.random.RandomState(0).permutation(np.flatnonzero(target == outlier_class))
    index = np.concatenate([np.flatnonzero(target != outlier_class), outliers[: len(outliers) // 10 + 1]])
    return X[index].astype(float), (target[index] == outlier_class).astype(int)


def find_sets(folder):
    """Return a loader for each dataset, as {name: function}."""
    if folder is None:
        return {name: partial(load_bundled, name, label) for name, label in WITHOUT_DATA.items()}
    paths = sorted((folder / "adbench").glob("*.npz"))
    return {path.stem.partition("_")[2] or path.stem: partial(load_adbench, path) for path in paths}


def prepare(X, y, setting, seed):
    """Return standardised training and test samples, and the labels of the latter."""
    if setting == "unsupervised":
        X = StandardScaler().fit_transform(X)
        return X, X, y
    normal = np.random.RandomState(seed).permutation(np.flatnonzero(y == 0))
    train, rest = np.array_split(normal, 2)
    return standardised(X, y, train, np.concatenate([rest, np.flatnonzero(y == 1)]))


def standardised(X, y, train, test):
    """Return training and test samples, standardised by the former, and the labels of the latter."""
    scaler = StandardScaler().fit(X[train])
    return scaler.transform(X[train]), scaler.transform(X[test]), y[test]


def contaminate(X, y, share, seed):
    """Return half of the normal samples with a share of outliers, all other samples, and their labels."""
    rng = np.random.RandomState(seed)
    train, rest = np.array_split(rng.permutation(np.flatnonzero(y == 0)), 2)
    outliers = rng.permutation(np.flatnonzero(y == 1))
    n_outliers = min(round(share / (1 - share) * len(train)), len(outliers) // 2)
    # Fewer normal samples keep the share where there are few outliers.
    n_normal = round((1 - share) / share * n_outliers) if n_outliers else len(train)
    train = np.concatenate([train[:n_normal], outliers[:n_outliers]])
    return standardised(X, y, train, np.concatenate([rest, outliers[len(outliers) // 2 :]]))


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


def methods(setting, seed, with_pyod):
    """Return the detectors of part sets, as {name: detector}."""
    detectors = {
        "AEOutlierDetector": AEOutlierDetector(robust=setting == "unsupervised", random_state=seed),
        "IsolationForest": IsolationForest(random_state=seed),
        "LocalOutlierFactor": LocalFactor(),
        "5 nearest neighbours": NearestFive(),
        "PCA reconstruction": Reconstruction(),
        "Mahalanobis": Distance(EmpiricalCovariance()),
        "MCD": Distance(MinCovDet(random_state=seed)),
    }
    if with_pyod:
        detectors["pyod AutoEncoder"] = Pyod("auto_encoder", "AutoEncoder", seed)
        detectors["pyod VAE"] = Pyod("vae", "VAE", seed)
    return detectors


def scores(setting, seed):
    """Return a detector for each outlier score, as {name: detector}."""
    return {
        name: AEOutlierDetector(outlier_score=name, robust=setting == "unsupervised", random_state=seed)
        for name in OUTLIER_SCORES
    }


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


def run_case(name, load, setting, seed, make):
    """Evaluate all detectors on one dataset."""
    train, test, y = prepare(*load(), setting, seed)
    return [
        (setting, method, name, *evaluate(model, train, test, y))
        for method, model in make(setting, seed).items()
        if method != "log_likelihood" or len(test) <= MAX_LIKELIHOOD_SAMPLES
    ]


def run_contaminated(name, load, share, seed):
    """Evaluate both values of robust on one dataset with a share of outliers."""
    X, y = load()
    if y.sum() < MIN_OUTLIERS:
        return []
    train, test, labels = contaminate(X, y, share, seed)
    return [
        (f"{share:.0%}", f"robust={robust}", name, *evaluate(model, train, test, labels))
        for robust in (True, False)
        for model in [AEOutlierDetector(robust=robust, random_state=seed)]
    ]


def run_all(tasks, jobs):
    """Run all tasks; return their results in one list."""
    return list(chain.from_iterable(Parallel(n_jobs=jobs)(delayed(quietly)(task) for task in tasks)))


# -- tables ------------------------------------------------------------------------------


def print_means(rows, first):
    """Print a line per setting and method: means over datasets and seeds."""
    print(f"\n{first:14} {'method':22} {'ROC AUC':>8} {'AP':>6} {'fit s':>8} {'score s':>8} {'cases':>6}")
    for setting in dict.fromkeys(row[0] for row in rows):
        for method in dict.fromkeys(row[1] for row in rows):
            values = np.array([row[3:] for row in rows if row[:2] == (setting, method)])
            if len(values):
                auc, precision = values[:, :2].mean(axis=0)
                fit, score = values[:, 2:].sum(axis=0)
                print(
                    f"{setting:14} {method:22} {auc:8.2f} {precision:6.1f} "
                    f"{fit:8.1f} {score:8.1f} {len(values):6}"
                )


def print_by_set(rows):
    """Print a line per setting and dataset: mean ROC AUC of each method over the seeds."""
    names = list(dict.fromkeys(row[1] for row in rows))
    print("\nROC AUC by dataset:", ", ".join(f"{i} = {name}" for i, name in enumerate(names)))
    for setting in dict.fromkeys(row[0] for row in rows):
        for case in dict.fromkeys(row[2] for row in rows):
            cells = [np.mean([r[3] for r in rows if r[:3] == (setting, name, case)]) for name in names]
            print(f"{setting:14} {case:14}" + "".join(f"{cell:7.1f}" for cell in cells))


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
    parser.add_argument("--data", type=Path, help="folder with adbench/*.npz")
    parser.add_argument("--part", choices=["sets", "scores", "contamination", "speed"], action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--quick", action="store_true", help=f"datasets up to {QUICK_SAMPLES} samples, one seed"
    )
    parser.add_argument("--by-set", action="store_true", help="print a table by dataset as well")
    parser.add_argument("--without-pyod", action="store_true", help="exclude the detectors of pyod")
    return parser.parse_args()


def main():
    args = parse()
    parts = args.part or ["sets", "scores", "contamination", "speed"]
    sets = find_sets(args.data)
    if args.quick:
        sets = {name: load for name, load in sets.items() if len(load()[1]) <= QUICK_SAMPLES}
    seeds = range(1 if args.quick else args.seeds)
    print(f"{len(sets)} datasets, {len(seeds)} seeds")
    with_pyod = find_spec("pyod") is not None and not args.without_pyod
    for part, make in (("sets", partial(methods, with_pyod=with_pyod)), ("scores", scores)):
        if part not in parts:
            continue
        cases = [(*item, setting, seed) for seed in seeds for item in sets.items() for setting in SETTINGS]
        rows = run_all([partial(run_case, *case, make) for case in cases], args.jobs)
        print_means(rows, "setting")
        if args.by_set:
            print_by_set(rows)
    if "contamination" in parts:
        cases = [(*item, share, seed) for seed in seeds for item in sets.items() for share in SHARES]
        print_means(run_all([partial(run_contaminated, *case) for case in cases], args.jobs), "outliers")
    if "speed" in parts:
        quietly(print_speed)


if __name__ == "__main__":
    main()
