"""Densities of curves with a known truth, and samples drawn from densities of digits and tables.

Part ``curves``: mean nats of 2,000 new samples around curves in the plane, with one component, beside the
true density and PCA, and the integral of the density over the plane.

Part ``digits``: share of 1,000 drawn digits on which a classifier trained on real digits has a probability
over 0.9, and the number of classes among these. The classifier is an ensemble of networks, whose members
disagree away from the training data. With eight components, and without noise around the decoded code, unlike
those of models without a code.

Part ``tables``: two-sample tests. A gradient-boosted classifier tells drawn rows from test rows; the table
shows its cross-validated ROC AUC. 0.5 is that of perfect samples. The neural spline flow needs zuko.

    python examples/benchmarks/densities.py --data DIR    # about 20 minutes
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from likelihood import (
    find_sets,
    fit_flow,
    fit_mixture,
    load_adbench,
    load_bundled,
    load_matrix,
    load_mnist,
    prepare,
)
from scipy.special import logsumexp
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.neural_network import MLPClassifier

from sklearn_ae import AutoencoderTransformer, VAETransformer

TABLES = ("breast_cancer", "cardio", "letter", "PageBlocks", "pendigits")
NOISE = 0.15  # around curves


# -- curves ------------------------------------------------------------------------------


def sine(t):
    return np.column_stack([3 * t, np.sin(3 * t)])


def parabola(t):
    return np.column_stack([2 * t, 2 * t**2])


def circle(t):
    return 2 * np.column_stack([np.cos(np.pi * t), np.sin(np.pi * t)])


def spiral(t):
    return (1.75 + 1.4 * t)[:, None] * np.column_stack([np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)])


def around(curve, n, rng):
    """Return samples of a curve with normal noise."""
    return curve(rng.uniform(-1, 1, n)) + NOISE * rng.normal(size=(n, 2))


def true_density(curve, X):
    """Return the log-density of samples around a curve, by quadrature."""
    points = curve((np.arange(4_000) + 0.5) / 2_000 - 1)
    squared = np.square(X[:, None] - points).sum(axis=2)
    constant = np.log(len(points)) + np.log(2 * np.pi * NOISE**2)
    return logsumexp(-0.5 * squared / NOISE**2, axis=1) - constant


def integral(model):
    """Return the integral of the density over a square around the curve."""
    grid = np.linspace(-6, 6, 241)
    points = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    return np.exp(model.score_samples(points)).sum() * (grid[1] - grid[0]) ** 2


def run_curves():
    """Print the table of part curves."""
    models = {
        "AutoencoderTransformer": AutoencoderTransformer(1, random_state=0),
        "the same, mixture prior": AutoencoderTransformer(1, prior="mixture", random_state=0),
        "VAETransformer": VAETransformer(1, random_state=0),
        "VAETransformer, auto": VAETransformer(1, likelihood="auto", prior="mixture", random_state=0),
    }
    print("\n## Curves: mean nats of new samples, and the integral of the density\n")
    print("| curve | true density | PCA | " + " | ".join(models) + " |")
    print("| --- " * (3 + len(models)) + "|", flush=True)
    for curve in (sine, parabola, circle, spiral):
        rng = np.random.RandomState(0)
        X, X_test = around(curve, 1_000, rng), around(curve, 2_000, rng)
        row = [
            curve.__name__,
            f"{true_density(curve, X_test).mean():.3f}",
            f"{PCA(1).fit(X).score(X_test):.3f}",
        ]
        for model in models.values():
            model.fit(X)
            row.append(f"{model.score(X_test):.3f}, {integral(model):.3f}")
        print("| " + " | ".join(row) + " |", flush=True)


# -- digits ------------------------------------------------------------------------------


def run_digits(n_drawn=1_000):
    """Print the table of part digits."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, _ = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    classifier = BaggingClassifier(MLPClassifier(max_iter=500, alpha=0.01), n_estimators=5, random_state=0)
    classifier.fit(X_train, y_train)
    models = {
        "VAETransformer": VAETransformer(8, random_state=0),
        "VAETransformer, mixture prior": VAETransformer(8, prior="mixture", random_state=0),
        "VAETransformer, auto": VAETransformer(8, likelihood="auto", prior="mixture", random_state=0),
    }
    drawn = {"real test digits": X_test}
    for name, model in models.items():
        drawn[name] = model.fit(X_train).sample(n_drawn, random_state=0, noise=False)
    X_noisy = dequantise_digits(X_train)
    drawn["GaussianMixture"] = fit_mixture(X_noisy, 0).sample(n_drawn)[0]
    drawn["neural spline flow"] = sample_flow(X_noisy, n_drawn)
    print("\n## Digits: drawn digits that a classifier recognises\n")
    print("| | confident | classes |")
    print("| --- | --- | --- |")
    for name, images in drawn.items():
        probability = classifier.predict_proba(images)
        confident = probability.max(axis=1) > 0.9
        classes = np.unique(probability[confident].argmax(axis=1))
        print(f"| {name} | {confident.mean():.0%} | {len(classes)} |", flush=True)


def dequantise_digits(X):
    return X + np.random.RandomState(0).uniform(size=X.shape) - 0.5


def sample_flow(X, n):
    """Draw from a flow of standardised features."""
    mean, std = X.mean(axis=0), X.std(axis=0)
    std[std == 0] = 1.0
    model = fit_flow((X - mean) / std, 0)
    with torch.no_grad():
        return model().sample((n,)).double().numpy() * std + mean


# -- tables ------------------------------------------------------------------------------


def discrepancy(X, X_drawn):
    """Return the cross-validated ROC AUC of a classifier of real against drawn rows."""
    both = np.nan_to_num(np.concatenate([X, X_drawn]), posinf=1e9, neginf=-1e9)
    y = np.repeat([0, 1], [len(X), len(X_drawn)])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    classifier = HistGradientBoostingClassifier(random_state=0)
    return roc_auc_score(y, cross_val_predict(classifier, both, y, cv=folds, method="predict_proba")[:, 1])


def run_tables(data, n_components=5):
    """Print the table of part tables."""
    sets = find_sets(data, load_bundled, load_adbench, load_matrix, load_mnist)
    print("\n## Tables: ROC AUC of a classifier of test rows against as many drawn ones\n")
    print("| dataset | test rows | PCA | GaussianMixture | neural spline flow | VAETransformer | auto |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name in (name for part in TABLES for name in sets if name.endswith(part)):
        train, test, _ = prepare(sets[name], 0, quick=False)
        n = len(test)
        k = min(n_components, train.shape[1])
        normal = PCA(k).fit(train)
        rng = np.random.RandomState(0)
        drawn = [rng.multivariate_normal(normal.mean_, normal.get_covariance(), n)]
        drawn += [fit_mixture(train, 0).sample(n)[0], sample_flow(train, n)]
        for params in ({}, {"likelihood": "auto", "prior": "mixture"}):
            model = VAETransformer(k, random_state=0, **params)
            drawn.append(model.fit(train).sample(n, random_state=0))
        scores = " | ".join(f"{discrepancy(test, X_drawn):.2f}" for X_drawn in drawn)
        print(f"| {name} | {n} | {scores} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("curves", "digits", "tables", "all"), default="all")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with more datasets")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    if args.part in ("curves", "all"):
        run_curves()
    if args.part in ("digits", "all"):
        run_digits()
    if args.part in ("tables", "all"):
        run_tables(args.data)
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes.")


if __name__ == "__main__":
    main()
