"""Choice of the number of components: one fit per fold for all sizes, against a grid search.

Part "agreement": on each dataset AutoencoderTransformerCV and GridSearchCV over AutoencoderTransformer try
the same eight sizes on the same folds, scored by the held-out log-likelihood in nats. They agree if the
mean score of the grid search at the size chosen by AutoencoderTransformerCV is within one standard error
(over the folds) of its best. Part "rank": both rules are applied to random low-rank data with noise.

    python examples/benchmarks/latent_size.py --data DIR      # about 15 minutes
    python examples/benchmarks/latent_size.py --part rank     # five minutes, without data
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from versus_pca import LOADERS, find_sets

from sklearn_ae import AutoencoderTransformer, AutoencoderTransformerCV

SETS = (
    *("sklearn/digits", "sklearn/wine", "sklearn/breast_cancer", "adbench/Ionosphere", "adbench/WDBC"),
    *("adbench/cardio", "adbench/letter", "adbench/fault"),
)
N_SIZES = 8
LARGEST = 32
N_SPLITS = 5
N_DRAWS = 40  # datasets of known rank
RANKS = range(1, 9)  # of those datasets; the sizes tried exceed them by two


def sizes_for(X):
    """Return eight sizes in nearly geometric progression, up to the number of features."""
    largest = min(LARGEST, X.shape[1] - 1, len(X) // 2)
    sizes = np.unique(np.geomspace(1, largest, N_SIZES).round().astype(int))
    missing = [k for k in range(1, largest) if k not in sizes][: N_SIZES - len(sizes)]
    return sorted([*sizes.tolist(), *missing])


def timed(model, X):
    """Fit a model; return it with the CPU seconds that this took."""
    start = time.process_time()
    model.fit(X)
    return model, time.process_time() - start


def fold_scores(results):
    """Return the scores of the splits, of shape (n_splits, n_sizes)."""
    return np.array([results[f"split{i}_test_score"] for i in range(N_SPLITS)])


def one_se(scores):
    """Return the index of the smallest size within one standard error of the best, and that error."""
    mean = scores.mean(axis=0)
    error = scores[:, mean.argmax()].std(ddof=1) / np.sqrt(len(scores))
    return int(np.flatnonzero(mean >= mean.max() - error)[0]), error


def compare(name, X, max_iter):
    """Print a row of the table; return the agreement and the ratio of the times."""
    sizes = sizes_for(X)
    cv = AutoencoderTransformerCV(sizes, cv=N_SPLITS, max_iter=max_iter, random_state=0)
    one = AutoencoderTransformer(max_iter=max_iter, random_state=0)
    ours, our_time = timed(cv, X)
    grid, grid_time = timed(GridSearchCV(one, {"n_components": sizes}, cv=N_SPLITS), X)
    scores, path = fold_scores(grid.cv_results_), fold_scores(ours.cv_results_)
    small, error = one_se(scores)
    below = scores.mean(axis=0).max() - scores.mean(axis=0)[ours.best_index_]
    agree = "yes" if below <= error else "NO"
    print(
        f"{name:22} {X.shape[0]:5} {X.shape[1]:4} {sizes[-1]:4}  {ours.n_components_:4} "
        f"{grid.best_params_['n_components']:5} {below:8.3f} {error:8.3f}  {agree:5}"
        f"{sizes[one_se(path)[0]]:5} {sizes[small]:5} {our_time:8.1f} {grid_time:8.1f} "
        f"{our_time / grid_time:6.2f}",
        flush=True,
    )
    for label, table in (("grid", scores), ("cv", path)):
        print(f"    {label:5}", *(f"{k}: {m:.2f}" for k, m in zip(sizes, table.mean(axis=0), strict=True)))
    return below <= error, our_time / grid_time


def agreement(args):
    """Compare AutoencoderTransformerCV with a grid search on each dataset."""
    print("                                             chosen   nats under   one")
    print(
        f"{'set':22} {'n':>5} {'d':>4} {'to k':>4}  {'CV':>4} {'grid':>5} {'the best':>8} {'error':>8}  "
        f"{'agree':5}{'1se':>5} {'grid':>5} {'CV s':>8} {'grid s':>8} {'ratio':>6}"
    )
    sets = find_sets(args.data, *LOADERS)
    rows = [compare(name, sets[name](0)[0], args.max_iter) for name in args.only or SETS if name in sets]
    agree, ratios = zip(*rows, strict=True)
    print(
        f"agree: {sum(agree)} of {len(agree)}; time, median {np.median(ratios):.2f}, most {max(ratios):.2f}, "
        f"at most a quarter: {sum(ratio <= 0.25 for ratio in ratios)}"
    )


def low_rank(seed):
    """Draw data of known rank: 100 to 500 samples, 12 to 40 features, noise of standard deviation 0.5."""
    rng = np.random.RandomState(seed)
    rank, n, d = rng.choice(RANKS), rng.choice([100, 200, 300, 500]), rng.choice([12, 20, 40])
    X = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d))
    return X + 0.5 * rng.normal(size=(n, d)), rank


def rank(args):
    """Count how often each rule finds the rank of low-rank data."""
    found = {"best": 0, "1se": 0}
    sizes = range(1, RANKS[-1] + 3)
    cv = AutoencoderTransformerCV(sizes, cv=N_SPLITS, max_iter=args.max_iter, random_state=0)
    for seed in range(args.draws):
        X, true = low_rank(seed)
        model = clone(cv).fit(X)
        chosen = {"best": model.n_components_, "1se": 1 + one_se(fold_scores(model.cv_results_))[0]}
        for rule, k in chosen.items():
            found[rule] += k == true
            if k != true:
                print(f"draw {seed}: {X.shape[0]} x {X.shape[1]} of rank {true}, rule={rule!r} chooses {k}")
    for rule, count in found.items():
        print(f"rank found by rule={rule!r}: {count} of {args.draws}", flush=True)


PARTS = {"rank": rank, "agreement": agreement}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the datasets of ADBench")
    parser.add_argument("--part", choices=PARTS, action="append", help="part to run (default: all)")
    parser.add_argument("--only", nargs="+", metavar="SET", help="datasets by name, such as sklearn/wine")
    parser.add_argument(
        "--draws", type=int, default=N_DRAWS, help=f"datasets of known rank (default: {N_DRAWS})"
    )
    parser.add_argument("--max-iter", type=int, help="epochs (default: the estimator's)")
    args = parser.parse_args()
    args.max_iter = args.max_iter or "auto"
    warnings.simplefilter("ignore", ConvergenceWarning)
    for part in args.part or PARTS:
        print(f"\n## {part}")
        PARTS[part](args)


if __name__ == "__main__":
    main()
