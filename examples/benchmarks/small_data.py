"""Seconds of default fits on scikit-learn's small sets, and of a grid search with one job and with two.

    python examples/benchmarks/small_data.py

The grid is 8 code sizes x 5 folds on digits, scored by held-out nats, with
default parameters. Two jobs run on a core each: joblib gives each process one
thread.
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
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def fits(max_iter):
    digits = load_digits().data
    wine = StandardScaler().fit_transform(load_wine().data)
    AutoencoderTransformer(2, max_iter=2).fit(wine)  # what libraries do once per process
    for name, X in (("digits", digits), ("wine", wine)):
        for k in (2, 8):
            seconds = seconds_of(
                lambda X=X, k=k: AutoencoderTransformer(k, random_state=0, max_iter=max_iter).fit(X)
            )
            print(f"fit {name} {len(X)} x {X.shape[1]}, k={k}: {seconds:.2f} s", flush=True)


def grids(sizes, n_folds, max_iter):
    X = load_digits().data
    model = AutoencoderTransformer(random_state=0, max_iter=max_iter)
    taken = []
    for n_jobs in (1, 2):
        search = GridSearchCV(model, {"n_components": sizes}, cv=n_folds, n_jobs=n_jobs)
        taken.append(seconds_of(lambda search=search: search.fit(X)))
        found = f"chose {search.best_params_['n_components']}, {search.best_score_:.3f} nats"
        print(
            f"grid of {len(sizes)} sizes x {n_folds} folds, n_jobs={n_jobs}: {taken[-1]:.1f} s, {found}",
            flush=True,
        )
    print(f"speed-up: {taken[0] / taken[1]:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two sizes, two folds, three epochs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes, n_folds, max_iter = (SIZES[1:3], 2, 3) if args.quick else (SIZES, 5, "auto")
    fits(max_iter)
    grids(sizes, n_folds, max_iter)


if __name__ == "__main__":
    main()
