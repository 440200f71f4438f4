"""What ordered codes cost at full size: test squared error divided by that of plain codes.

Nested dropout makes every prefix of the code decodable; the price is paid at
the full number of components. Sets and sizes are those of the design's table;
default parameters but for the bottleneck.

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
    model = AutoencoderTransformer(k, bottleneck=bottleneck, random_state=seed).fit(train)
    return model.reconstruction_error(test).sum(), model.uses_network_


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", required=True, help="folder with the sets")
    parser.add_argument("--seeds", type=int, default=2, help="splits of each set (default: 2)")
    args = parser.parse_args()
    sets = find_sets(args.data, *LOADERS)
    columns = [f"full_rate={rate}" for rate in FULL_RATES]
    print(f"{'set':22} {'k':>3} {'seed':>4} {columns[0]:>14} {columns[1]:>14}  gate (plain)")
    ratios = []
    for name, k in CASES.items():
        for seed in range(args.seeds if name in sets else 0):
            train, test = sets[name](seed)
            plain, opened = test_error(train, test, k, seed, "identity")
            row = [test_error(train, test, k, seed, Ordered(rate))[0] / plain for rate in FULL_RATES]
            ratios.append(row)
            gate = "open" if opened else "shut"
            print(f"{name:22} {k:3} {seed:4} {row[0]:14.3f} {row[1]:14.3f}  {gate}", flush=True)
    means = np.exp(np.log(ratios).mean(axis=0))
    print(f"{'geometric mean':31} {means[0]:14.3f} {means[1]:14.3f}")


if __name__ == "__main__":
    main()
