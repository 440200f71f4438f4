"""Seconds of default fits on small datasets of scikit-learn, and of a grid search with one and with two jobs.

    python examples/benchmarks/small_data.py

The grid search tries 8 numbers of components with 5 folds on digits, scored by held-out nats, with default
parameters. Each job uses one thread.
"""

import argparse
import time

import torch
from sklearn.datasets import load_digits, load_wine
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer

SIZES = [1, 2, 4, 8, 12, 16, 24, 32]


def seconds_of(action):
    """Return the seconds that a function takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def fits(max_iter):
    """Print the seconds of single fits."""
    digits = load_digits().data
    wine = StandardScaler().fit_transform(load_wine().data)
    AutoencoderTransformer(2, max_iter=2).fit(wine)  # the first fit imports libraries
    for name, X in (("digits", digits), ("wine", wine)):
        for k in (2, 8):
            seconds = seconds_of(
                lambda X=X, k=k: AutoencoderTransformer(k, random_state=0, max_iter=max_iter).fit(X)
            )
            print(f"fit {name} {len(X)} x {X.shape[1]}, k={k}: {seconds:.2f} s", flush=True)


def grids(X, sizes, n_folds, max_iter):
    """Print the seconds of the grid search with one and with two jobs."""
    model = AutoencoderTransformer(random_state=0, max_iter=max_iter)
    seconds = []
    for n_jobs in (1, 2):
        search = GridSearchCV(model, {"n_components": sizes}, cv=n_folds, n_jobs=n_jobs)
        seconds.append(seconds_of(lambda search=search: search.fit(X)))
        result = f"chose {search.best_params_['n_components']}, {search.best_score_:.3f} nats"
        print(
            f"grid of {len(sizes)} sizes x {n_folds} folds, n_jobs={n_jobs}: {seconds[-1]:.1f} s, {result}",
            flush=True,
        )
    print(f"speed-up: {seconds[0] / seconds[1]:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two sizes, 2 folds, 3 epochs, 300 samples")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes, n_folds, max_iter = (SIZES[1:3], 2, 3) if args.quick else (SIZES, 5, "auto")
    fits(max_iter)
    X = load_digits().data
    grids(X[:300] if args.quick else X, sizes, n_folds, max_iter)


if __name__ == "__main__":
    main()
