"""Errors and seconds of imputation: mean, KNNImputer, IterativeImputer and AEImputer.

    python examples/benchmarks/imputation.py --data DIR

DIR holds ADBench sets in adbench/; without it, only the sets of scikit-learn are used. Values are hidden
completely at random, or where another feature is large (the share of hidden values of a feature rises with
the rank of the next one), 10 or 30 %. Errors are mean squared errors of the hidden values, in units of the
standard deviation of each feature. The coverage is that of the central 90 % of 100 draws. The accuracy is
that of a logistic regression behind each imputer, with 30 % hidden in training and test samples.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEImputer

# The constants of AEImputer were chosen on the first three sets and diabetes, and others that are not here.
FILES = [
    "27_PageBlocks",
    "41_Waveform",
    "20_letter",
    "12_fault",
    "19_landsat",
    "28_pendigits",
    "2_annthyroid",
]
CASES = [("at random", 0.1), ("at random", 0.3), ("by a feature", 0.1), ("by a feature", 0.3)]
MANY = 1_000
N_DRAWS = 100


def sets(folder, max_samples):
    """Return arrays by name."""
    bundled = {"breast_cancer": load_breast_cancer, "diabetes": load_diabetes, "digits": load_digits}
    found = {}
    for name in FILES if folder else []:
        with np.load(Path(folder) / "adbench" / f"{name}.npz") as file:
            found[name.partition("_")[2]] = file["X"][file["y"] == 0]
    found |= {name: load().data for name, load in bundled.items()}
    rng = np.random.RandomState(0)
    chosen = {name: X[rng.permutation(len(X))[:max_samples]].astype(float) for name, X in found.items()}
    return {name: X[:, X.std(axis=0) > 0] for name, X in chosen.items()}


def hidden(X, kind, share, rng):
    """Return the mask of the values to hide; one value of each feature stays."""
    n, d = X.shape
    if kind == "at random":
        mask = rng.random_sample((n, d)) < share
    else:
        rank = np.roll(X, -1, axis=1).argsort(axis=0, kind="stable").argsort(axis=0) / n
        mask = rng.random_sample((n, d)) < 2 * share * rank
    mask[0, mask.all(axis=0)] = False
    return mask


def imputers(**params):
    """Return the methods by name."""
    return {
        "mean": SimpleImputer(),
        "KNN": KNNImputer(),
        "iterative": IterativeImputer(random_state=0),
        "AEImputer": AEImputer(random_state=0, **params),
    }


def compare(X, mask, methods):
    """Return error and seconds of each method, and the coverage of draws."""
    gaps = np.where(mask, np.nan, X)
    unit = X.std(axis=0)
    results = {}
    for name, method in methods.items():
        start = time.perf_counter()
        filled = method.fit_transform(gaps)
        seconds = time.perf_counter() - start
        results[name] = float((((filled - X) / unit)[mask] ** 2).mean()), seconds
    return results, coverage(X, gaps, mask, methods["AEImputer"])


def coverage(X, gaps, mask, imputer):
    """Return the share of hidden values between the 5 % and the 95 % quantile of draws."""
    some = np.random.RandomState(0).permutation(len(X))[:500]
    draws = imputer.impute(gaps[some], n_draws=N_DRAWS, random_state=0)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return float(((low <= X[some]) & (X[some] <= high))[mask[some]].mean())


def geometric_mean(values):
    """Return the geometric mean."""
    return float(np.exp(np.log(values).mean()))


def errors(folder, max_samples, cases):
    """Print a row per set and case, and the geometric means of the ratios."""
    rows = []
    print("| set | n x d | hidden | mean | KNN | iterative | AEImputer | seconds of the last three | 90 % |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, X in sets(folder, max_samples).items():
        for kind, share in cases:
            mask = hidden(X, kind, share, np.random.RandomState(0))
            found, covered = compare(X, mask, imputers())
            rows.append((name, len(X), found, covered))
            error = " | ".join(f"{e:.3f}" for e, _ in found.values())
            seconds = ", ".join(f"{s:.1f}" for _, s in list(found.values())[1:])
            print(
                f"| {name} | {len(X)} x {X.shape[1]} | {100 * share:.0f} % {kind} | {error} | {seconds} "
                f"| {100 * covered:.0f} % |",
                flush=True,
            )
    print()
    for other in ("KNN", "iterative"):
        ratio = geometric_mean([found["AEImputer"][0] / found[other][0] for _, _, found, _ in rows])
        large = [found["AEImputer"][1] / found[other][1] for _, n, found, _ in rows if n > MANY]
        duration = f"{geometric_mean(large):.2f}" if large else "-"
        print(f"squared error over that of {other}: {ratio:.2f}; time, n > {MANY}: {duration}")
    worst = max(found["AEImputer"][0] / found["mean"][0] for _, _, found, _ in rows)
    covered = [row[3] for row in rows]
    print(f"largest squared error over that of the mean: {worst:.2f}")
    print(f"coverage of 90 % intervals: mean {100 * np.mean(covered):.0f} %, ", end="")
    print(f"{100 * min(covered):.0f} to {100 * max(covered):.0f} %")


def accuracies(n_folds, max_samples):
    """Print the accuracy of a classifier behind each imputer."""
    print("\n| set | mean | KNN | iterative | AEImputer |")
    print("| --- | --- | --- | --- | --- |")
    table = []
    for load in (load_digits, load_breast_cancer, load_wine):
        X, y = load(return_X_y=True)
        X, y = X[:max_samples], y[:max_samples]
        mask = hidden(X, "at random", 0.3, np.random.RandomState(0))
        gaps = np.where(mask, np.nan, X)
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=0)
        row = []
        for method in imputers().values():
            pipeline = make_pipeline(method, StandardScaler(), LogisticRegression(max_iter=5000))
            row.append(cross_val_score(pipeline, gaps, y, cv=folds).mean())
        table.append(row)
        name = load.__name__.removeprefix("load_")
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row) + " |", flush=True)
    print("| average | " + " | ".join(f"{value:.3f}" for value in np.mean(table, axis=0)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with the ADBench sets")
    parser.add_argument("--max-samples", type=int, default=5_000)
    parser.add_argument("--quick", action="store_true", help="200 samples, one case, 2 folds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)  # of IterativeImputer
    if args.quick:
        args.max_samples = 200
    errors(args.data, args.max_samples, CASES[1:2] if args.quick else CASES)
    accuracies(2 if args.quick else 5, args.max_samples)


if __name__ == "__main__":
    main()
