"""Draw the figures of the user guide into docs/guide/figures.

python docs/figures             # all figures, a few minutes
python docs/figures loss prior  # only these
"""

import sys
import warnings
from pathlib import Path

import matplotlib
from sklearn.exceptions import ConvergenceWarning

matplotlib.use("Agg")  # figures are saved without a display
import autoencoders
import contributions
import densities
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parents[1] / "guide" / "figures"
FIGURES = {
    autoencoders: ("index", "corruption", "network", "start", "bottleneck", "loss", "penalty", "weights"),
    densities: ("likelihood", "divergence", "prior", "score", "outliers", "reconstruction", "latent_space"),
    contributions: ("loadings", "loadings_images"),
}


def main(selected):
    """Draw the selected figures, or all if none is selected."""
    for module, names in FIGURES.items():
        for name in names:
            if not selected or name in selected:
                draw(getattr(module, name), FOLDER / f"{name}.png")


def draw(function, path):
    """Save the figure that a function returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs on purpose
        fig = function()
    fig.savefig(path, dpi=110)
    plt.close(fig)
    print(path.name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
