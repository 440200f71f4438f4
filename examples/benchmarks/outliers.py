"""Outlier detection on tabular sets with labels: AEOutlierDetector beside what people use today.

One class: detectors are fitted on a random half of the normal rows and judge the other half and all
outliers (``robust=False``). Unsupervised: they are fitted on all rows, outliers included, and judge the
same rows (``robust=True``). Columns are standardised by the rows that are fitted on. The means of ROC
AUC and average precision (in percent) over sets and seeds, and the seconds of all fits and all scores.

Part ``sets``: the table of methods. Its neighbours leave a row out of its own neighbourhood when it is
judged by the rows it was fitted on. PCA keeps half as many components as there are columns; "Mahalanobis"
is the empirical covariance, "MCD" the robust one. pyod's AutoEncoder and VAE take part if pyod is installed.
Part ``scores``: the scores of AEOutlierDetector, with the same networks.
Part ``contamination``: what ``robust`` gains where 0, 5, 10 and 20 % of the training rows are outliers:
half of the normal rows for training (fewer if there are too few outliers) with half of the outliers at most
mixed in; the other normal rows and outliers are judged.
Part ``speed``: fit on 10,000 x 30, and one row at a time, beside IsolationForest.

Sets: adbench/*.npz in the folder given by --data (X, and y with 1 for outliers); without it scikit-learn's
breast_cancer, wine and digits, each with a small share of one class as outliers.

    python examples/benchmarks/outliers.py --data DIR --jobs 2      # all parts
    python examples/benchmarks/outliers.py --data DIR --quick       # sets up to 2,000 rows, one seed
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
QUICK_ROWS = 2_000
MAX_LIKELIHOOD_ROWS = 2_000  # rows of a set for the log-likelihood, which takes milliseconds a row
SHARES = (0.0, 0.05, 0.1, 0.2)  # of outliers among the training rows
WITHOUT_DATA = {"breast_cancer": 0, "wine": 2, "digits": 8}  # and the class that is odd
LEAST_OUTLIERS = 15  # of a set in the part on contamination


# -- data --------------------------------------------------------------------------------


def load_adbench(path):
    with np.load(path) as file:
        return file["X"].astype(float), file["y"].astype(int)


def load_bundled(name, odd):
    """A tenth of the rows of one class among all the others."""
    X, target = getattr(datasets, f"load_{name}")(return_X_y=True)
    chosen = np.random.RandomState(0).permutation(np.flatnonzero(target == odd))
    rows = np.concatenate([np.flatnonzero(target != odd), chosen[: len(chosen) // 10 + 1]])
    return X[rows].astype(float), (target[rows] == odd).astype(int)


def find_sets(folder):
    if folder is None:
        return {name: partial(load_bundled, name, odd) for name, odd in WITHOUT_DATA.items()}
    paths = sorted((folder / "adbench").glob("*.npz"))
    return {path.stem.partition("_")[2] or path.stem: partial(load_adbench, path) for path in paths}


def prepare(X, y, setting, seed):
    """Standardised training rows, rows to judge, and which of those are outliers."""
    if setting == "unsupervised":
        X = StandardScaler().fit_transform(X)
        return X, X, y
    normal = np.random.RandomState(seed).permutation(np.flatnonzero(y == 0))
    train, rest = np.array_split(normal, 2)
    judged = np.concatenate([rest, np.flatnonzero(y == 1)])
    scaler = StandardScaler().fit(X[train])
    return scaler.transform(X[train]), scaler.transform(X[judged]), y[judged]


def contaminate(X, y, share, seed):
    """Half of the normal rows with a share of outliers among them, and all other rows to judge."""
    rng = np.random.RandomState(seed)
    train, rest = np.array_split(rng.permutation(np.flatnonzero(y == 0)), 2)
    odd = rng.permutation(np.flatnonzero(y == 1))
    n_odd = min(round(share / (1 - share) * len(train)), len(odd) // 2)
    n_normal = round((1 - share) / share * n_odd) if n_odd else len(train)  # few outliers: fewer rows
    train = np.concatenate([train[:n_normal], odd[:n_odd]])
    judged = np.concatenate([rest, odd[len(odd) // 2 :]])
    scaler = StandardScaler().fit(X[train])
    return scaler.transform(X[train]), scaler.transform(X[judged]), y[judged]


# -- methods -----------------------------------------------------------------------------
# Each is fitted by fit(X) and has score_samples(X), higher for normal rows.


class NearestFive:
    """Mean distance to the 5 nearest training rows, a row itself not counted."""

    def fit(self, X):
        self.X = X
        self.search = NearestNeighbors(n_neighbors=5).fit(X)
        return self

    def score_samples(self, X):
        distance, _ = self.search.kneighbors(None if X is self.X else X)
        return -distance.mean(axis=1)


class LocalFactor:
    def fit(self, X):
        self.X = X
        self.known = LocalOutlierFactor().fit(X)
        self.fresh = LocalOutlierFactor(novelty=True).fit(X)
        return self

    def score_samples(self, X):
        return self.known.negative_outlier_factor_ if X is self.X else self.fresh.score_samples(X)


class Reconstruction:
    def fit(self, X):
        self.pca = PCA(max(1, min(X.shape) // 2)).fit(X)
        return self

    def score_samples(self, X):
        return -np.square(X - self.pca.inverse_transform(self.pca.transform(X))).sum(axis=1)


class Distance:
    def __init__(self, covariance):
        self.covariance = covariance

    def fit(self, X):
        self.columns = X.std(axis=0) > 1e-9
        self.covariance.fit(X[:, self.columns])
        return self

    def score_samples(self, X):
        return -self.covariance.mahalanobis(X[:, self.columns])


class Pyod:
    def __init__(self, module, name, seed):
        self.module, self.name, self.seed = module, name, seed

    def fit(self, X):
        module = import_module(f"pyod.models.{self.module}")
        state = np.random.get_state(), torch.get_rng_state()
        with redirect_stderr(io.StringIO()):  # it draws progress bars
            self.model = getattr(module, self.name)(random_state=self.seed).fit(X)
        np.random.set_state(state[0])
        torch.set_rng_state(state[1])
        return self

    def score_samples(self, X):
        return -self.model.decision_function(X)


def methods(setting, seed, with_pyod):
    found = {
        "AEOutlierDetector": AEOutlierDetector(robust=setting == "unsupervised", random_state=seed),
        "IsolationForest": IsolationForest(random_state=seed),
        "LocalOutlierFactor": LocalFactor(),
        "5 nearest neighbours": NearestFive(),
        "PCA reconstruction": Reconstruction(),
        "Mahalanobis": Distance(EmpiricalCovariance()),
        "MCD": Distance(MinCovDet(random_state=seed)),
    }
    if with_pyod:
        found["pyod AutoEncoder"] = Pyod("auto_encoder", "AutoEncoder", seed)
        found["pyod VAE"] = Pyod("vae", "VAE", seed)
    return found


def scores(setting, seed):
    return {
        name: AEOutlierDetector(outlier_score=name, robust=setting == "unsupervised", random_state=seed)
        for name in OUTLIER_SCORES
    }


# -- runs --------------------------------------------------------------------------------


def judge(model, train, judged, y):
    """ROC AUC, average precision (percent), seconds of fit and of score."""
    start = time.perf_counter()
    model.fit(train)
    middle = time.perf_counter()
    odd = -model.score_samples(judged)
    end = time.perf_counter()
    return 100 * roc_auc_score(y, odd), 100 * average_precision_score(y, odd), middle - start, end - middle


def quietly(task):
    """Run on one thread, so that the methods can be compared; some of the peers warn."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return task()


def run_case(name, load, setting, seed, make):
    train, judged, y = prepare(*load(), setting, seed)
    return [
        (setting, method, name, *judge(model, train, judged, y))
        for method, model in make(setting, seed).items()
        if method != "log_likelihood" or len(judged) <= MAX_LIKELIHOOD_ROWS
    ]


def run_contaminated(name, load, share, seed):
    X, y = load()
    if y.sum() < LEAST_OUTLIERS:
        return []
    train, judged, labels = contaminate(X, y, share, seed)
    return [
        (f"{share:.0%}", f"robust={robust}", name, *judge(model, train, judged, labels))
        for robust in (True, False)
        for model in [AEOutlierDetector(robust=robust, random_state=seed)]
    ]


def run_all(tasks, jobs):
    done = Parallel(n_jobs=jobs)(delayed(quietly)(task) for task in tasks)
    return [row for rows in done for row in rows]


# -- tables ------------------------------------------------------------------------------


def print_means(rows, first):
    """One line per setting and method: means over sets and seeds."""
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
    names = list(dict.fromkeys(row[1] for row in rows))
    print("\nROC AUC by set:", ", ".join(f"{i} = {name}" for i, name in enumerate(names)))
    for setting in dict.fromkeys(row[0] for row in rows):
        for case in dict.fromkeys(row[2] for row in rows):
            cells = [np.mean([r[3] for r in rows if r[:3] == (setting, name, case)]) for name in names]
            print(f"{setting:14} {case:14}" + "".join(f"{cell:7.1f}" for cell in cells))


def print_speed():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(10_000, 30)) @ rng.normal(size=(30, 30))
    print(f"\n{'10,000 x 30':24} {'fit s':>8} {'one row ms':>11} {'10,000 rows s':>14}")
    for name, model in {
        "AEOutlierDetector": AEOutlierDetector(random_state=0),
        "the same, robust=False": AEOutlierDetector(robust=False, random_state=0),
        "IsolationForest": IsolationForest(random_state=0),
    }.items():
        times = [seconds(partial(model.fit, X))]
        model.score_samples(X[:1])
        times.append(min(seconds(partial(model.score_samples, X[i : i + 1])) for i in range(200)))
        times.append(seconds(partial(model.score_samples, X)))
        print(f"{name:24} {times[0]:8.2f} {1e3 * times[1]:11.2f} {times[2]:14.2f}")


def seconds(task):
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with adbench/*.npz")
    parser.add_argument("--part", choices=["sets", "scores", "contamination", "speed"], action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--quick", action="store_true", help=f"sets up to {QUICK_ROWS} rows, one seed")
    parser.add_argument("--by-set", action="store_true", help="print every set, too")
    parser.add_argument("--without-pyod", action="store_true", help="leave pyod's models out")
    return parser.parse_args()


def main():
    args = parse()
    parts = args.part or ["sets", "scores", "contamination", "speed"]
    sets = find_sets(args.data)
    if args.quick:
        sets = {name: load for name, load in sets.items() if len(load()[1]) <= QUICK_ROWS}
    seeds = range(1 if args.quick else args.seeds)
    print(f"{len(sets)} sets, {len(seeds)} seeds")
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
