"""Test error relative to PCA of models fitted to few samples, with one validation set and by default.

    python examples/benchmarks/few_samples.py --data DIR          # about 15 minutes on one core
    python examples/benchmarks/few_samples.py --data DIR --quick

Of each table of adbench/*.npz and oddbench/*.npz in DIR, some normal samples are for training, and up to
3,000 others for testing; features are standardised by the training samples. The squared error of the
reconstructions is divided by that of PCA with as many components. "X_val" passes a random tenth of the
training samples as the only validation samples; "default" compares in five folds if such a tenth is too small
or shows no gain.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from versus_pca import exact_pca, standardised

from sklearn_ae import AutoencoderTransformer

SIZES = (60, 200)
N_COMPONENTS = 2
N_TEST = 3_000
MAX_FEATURES = 200


def tables(folder):
    """Yield the name and the normal samples of each table."""
    for path in sorted([*folder.glob("adbench/*.npz"), *folder.glob("oddbench/*.npz")]):
        with np.load(path) as file:
            if "X_train" in file:
                X = np.concatenate([file["X_train"], file["X_test"][file["y_test"] == 0]])
            else:
                X = file["X"][file["y"] == 0]
        yield path.stem, X.astype(float)


def ratio_and_seconds(model, pca, train, test, **fit_params):
    """Return the squared error relative to PCA, and the CPU seconds of the fit."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train, **fit_params)
    seconds = time.process_time() - start
    V = pca.components_[: model.n_components]
    centred = test - pca.mean_
    of_pca = np.square(centred - centred @ V.T @ V).sum()
    error = np.square(test - model.inverse_transform(model.transform(test))).sum()
    return error / of_pca, seconds


def run_case(name, X, n):
    """Return ratio, use of the network and seconds of both methods; None if the table has too few samples."""
    order = np.random.RandomState(0).permutation(len(X))
    train, test = standardised(X[order[:n]], X[order[n : n + N_TEST]])
    pca = exact_pca(train)
    spectrum = pca.explained_variance_
    if len(spectrum) <= N_COMPONENTS or spectrum[N_COMPONENTS] <= 1e-10 * spectrum[0]:
        return None
    case = {"name": name}
    n_valid = round(0.1 * n)
    for method in ("X_val", "default"):
        model = AutoencoderTransformer(N_COMPONENTS, random_state=0)
        one_set = {"X_val": train[:n_valid]} if method == "X_val" else {}
        samples = train[n_valid:] if method == "X_val" else train
        ratio, seconds = ratio_and_seconds(model, pca, samples, test, **one_set)
        # one validation set: PCA of all samples without a gain, as by default
        case[method] = ratio if model.uses_network_ else 1.0, model.uses_network_, seconds
    return case


def print_size(n, cases):
    """Print a row for each method."""
    for method in ("X_val", "default"):
        ratios, networks, seconds = map(np.array, zip(*(case[method] for case in cases), strict=True))
        worst = cases[int(ratios.argmax())]["name"] if ratios.max() > 1 else "-"
        print(
            f"| {n} | {method} | {len(cases)} | {networks.sum()} | {np.exp(np.log(ratios).mean()):.3f} | "
            f"{(ratios > 1.01).sum()} | {ratios.max():.3f} ({worst}) | {seconds.mean():.2f} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with adbench/ and oddbench/")
    parser.add_argument("--quick", action="store_true", help="the first three tables, 60 samples")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = [(name, X) for name, X in tables(args.data) if X.shape[1] <= MAX_FEATURES]
    print(
        "| samples | validation | tables | networks | geometric mean | over 1 % worse than PCA | worst "
        "| CPU s per fit |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for n in SIZES[:1] if args.quick else SIZES:
        usable = [(name, X) for name, X in found if len(X) >= 2 * n][: 3 if args.quick else None]
        cases = [case for name, X in usable if (case := run_case(name, X, n)) is not None]
        print_size(n, cases)


if __name__ == "__main__":
    main()
