"""Cost of ordered codes at the full number of components: test squared error relative to plain codes.

Nested dropout makes every prefix of the code decodable, at the expense of the full code. All parameters
except the bottleneck are defaults.

    python examples/benchmarks/ordered.py --data DIR      # about ten minutes
"""

import argparse
from pathlib import Path

import numpy as np
from versus_pca import LOADERS, find_sets

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.bottlenecks import Ordered

CASES = {
    "matrices/colon": 8,
    "matrices/lung_small": 8,
    "matrices/ORL": 16,
    "adbench/Ionosphere": 6,
    "matrices/Isolet": 16,
    "adbench/musk": 10,
    "adbench/shuttle": 3,
}
FULL_RATES = (0.5, 0.8)


def test_error(train, test, k, seed, bottleneck):
    """Return the squared error of the test set, and whether the fit uses its network or fell back to PCA."""
    model = AutoencoderTransformer(k, bottleneck=bottleneck, random_state=seed).fit(train)
    return model.reconstruction_error(test).sum(), model.uses_network_


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", required=True, help="folder with the datasets")
    parser.add_argument("--seeds", type=int, default=2, help="splits of each dataset (default: 2)")
    args = parser.parse_args()
    sets = find_sets(args.data, *LOADERS)
    columns = [f"full_rate={rate}" for rate in FULL_RATES]
    print(f"{'dataset':22} {'k':>3} {'seed':>4} {columns[0]:>14} {columns[1]:>14}  plain model")
    ratios = []
    for name, k in CASES.items():
        for seed in range(args.seeds if name in sets else 0):
            train, test = sets[name](seed)
            plain, uses_network = test_error(train, test, k, seed, "identity")
            row = [test_error(train, test, k, seed, Ordered(rate))[0] / plain for rate in FULL_RATES]
            ratios.append(row)
            kind = "network" if uses_network else "PCA"
            print(f"{name:22} {k:3} {seed:4} {row[0]:14.3f} {row[1]:14.3f}  {kind}", flush=True)
    means = np.exp(np.log(ratios).mean(axis=0))
    print(f"{'geometric mean':31} {means[0]:14.3f} {means[1]:14.3f}")


if __name__ == "__main__":
    main()
