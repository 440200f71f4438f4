"""Draws the figures of the user guide into docs/guide/figures. Takes a few minutes.

python docs/figures             # all of them
python docs/figures loss prior  # some of them
"""

import sys
import warnings
from pathlib import Path

import matplotlib
from sklearn.exceptions import ConvergenceWarning

matplotlib.use("Agg")  # figures go to files; no window is needed
import autoencoders
import densities
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parents[1] / "guide" / "figures"
FIGURES = {
    autoencoders: ("index", "corruption", "network", "start", "bottleneck", "loss", "penalty", "weights"),
    densities: ("likelihood", "divergence", "prior", "score", "outliers", "reconstruction", "latent_space"),
}


def main(wanted):
    for module, names in FIGURES.items():
        for name in names:
            if not wanted or name in wanted:
                draw(getattr(module, name), FOLDER / f"{name}.png")


def draw(function, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # small budgets are meant here
        fig = function()
    fig.savefig(path, dpi=110)
    plt.close(fig)
    print(path.name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
