"""Draw the thumbnails of the gallery into docs/_static/thumbnails, from the figures of the examples.

python docs/figures/thumbnails.py              # all examples, some minutes
python docs/figures/thumbnails.py replace_pca  # only these
"""

import contextlib
import io
import os
import runpy
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # figures are saved without a display
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.image import imread, imsave
from shared import BLUE, RED

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "_static" / "thumbnails"
SIZE = (400, 280)  # pixels; shown at half the size

# An axes of a figure, redrawn at the size of a thumbnail: (number of the figure, number of the axes) ...
AXES = {
    "choose_latent_size": (1, 1),
    "compression": (1, 0),
    "contractive_curve": (1, 2),
    "linear_is_pca": (1, 0),
    "mixed_types": (2, 1),
    "outliers_in_tables": (1, 0),
    "mixed_table": (1, 2),
}
# ... or a part of a figure: (number of the figure, left, top, right, bottom), as shares of its size
PARTS = {
    "replace_pca": (1, 0.065, 0.17, 0.285, 0.84),
    "reconstructions": (1, 0.075, 0.04, 0.32, 0.45),
    "denoise_digits": (1, 0.085, 0.04, 0.30, 0.335),
    "sparse_features": (2, 0.0, 0.09, 0.60, 0.94),
    "latent_space": (1, 0.575, 0.04, 0.975, 0.56),
    "attribute_arithmetic": (1, 0.0, 0.10, 0.46, 0.98),
    "impute_missing_values": (1, 0.255, 0.06, 0.745, 0.60),
}


def bars(values, labels):
    """Draw horizontal bars with their labels inside."""
    _, ax = plt.subplots()
    ax.barh([1, 0], values, height=0.5, color=[RED, BLUE])
    for y, label in zip((1, 0), labels, strict=True):
        ax.text(0.01 * max(values), y + 0.3, label)
    ax.set(yticks=[], ylim=(-0.35, 1.6))
    return ax


def export_to_onnx(found):
    """Draw the times of one prediction."""
    times = [1e6 * found["seconds"], 1e6 * found["found"]["seconds"]]
    return bars(times, ["scikit-learn, PyTorch", "ONNX"]).set_xlabel("µs per sample")


def train_with_torchrun(found):
    """Draw the errors of PCA and of the autoencoder."""
    errors = [found["of_pca"], found["ae"].reconstruction_error(found["X"]).mean()]
    return bars(errors, ["PCA", "autoencoder"]).set_xlabel("squared error")


def search_on_a_cluster(found):
    """Draw the scores of the search."""
    _, ax = plt.subplots()
    scores = found["distributed"].reshape(2, 2)
    for values, label, colour in zip(scores, ("no noise", "noise"), (BLUE, RED), strict=True):
        ax.plot([2, 8], values, "o-", color=colour, label=label)
    ax.set(xlabel="components", ylabel="nats", xticks=[2, 8])
    ax.legend()


DRAWN = {
    function.__name__: function for function in (export_to_onnx, train_with_torchrun, search_on_a_cluster)
}


def run(name):
    """Run an example in a temporary folder; return its variables and leave its figures open."""
    plt.close("all")
    plt.rcdefaults()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        here = Path.cwd()
        os.chdir(folder)
        try:
            return runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
        finally:
            os.chdir(here)


def draw(name):
    """Save the thumbnail of an example."""
    show, plt.show = plt.show, lambda: None
    found = run(name)
    plt.show = show
    path = FOLDER / f"{name}.png"
    if name in PARTS:
        number, *box = PARTS[name]
        imsave(path, part(plt.figure(number), *box))
        return
    if name in DRAWN:
        plt.close("all")
        DRAWN[name](found)
        number, index = plt.get_fignums()[-1], 0
    else:
        number, index = AXES[name]
    fig = plt.figure(number)
    shrink(fig, fig.axes[index])
    fig.savefig(path, dpi=200)


def shrink(fig, ax):
    """Keep one axes of a figure, at the size and with the text of a thumbnail."""
    for other in fig.axes:
        if other is not ax:
            other.remove()
    fig.suptitle("")
    fig.set_size_inches(SIZE[0] / 200, SIZE[1] / 200)
    fig.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    ax.set_subplotspec(fig.add_gridspec(1, 1)[0])
    ax.set_title("")
    ax.set_aspect("auto")
    for text in (*ax.texts, ax.xaxis.label, ax.yaxis.label):
        text.set_fontsize(min(7, 140 / max(1, len(text.get_text()))))
    for line in ax.lines:
        line.set(markersize=3, linewidth=1.2)
    for points in ax.collections:
        if isinstance(points, PathCollection):
            points.set_sizes(0.3 * points.get_sizes())
    ax.tick_params(labelsize=6, pad=1, length=2)
    fig.canvas.draw()
    for axis, low, high in ((ax.xaxis, *sorted(ax.get_xlim())), (ax.yaxis, *sorted(ax.get_ylim()))):
        ticks = [x for x in axis.get_majorticklocs() if low <= x <= high]
        labels = axis.get_major_formatter().format_ticks(ticks)
        step = max(1, -(-len(ticks) // 4))
        axis.set_ticks(ticks[::step], labels[::step])
    ax.minorticks_off()
    if ax.get_legend():
        handles, labels = ax.get_legend_handles_labels()
        ax.get_legend().remove()
        if len(labels) < 4:
            ax.legend(handles, labels, fontsize=6, frameon=False, borderpad=0.1, handlelength=1)


def part(fig, left, top, right, bottom):
    """Return a part of a figure as an image of the size of a thumbnail, on white."""
    with io.BytesIO() as file:
        fig.savefig(file, dpi=200)
        file.seek(0)
        image = imread(file)[..., :3]
    height, width = image.shape[:2]
    image = image[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
    step = max(image.shape[1] / SIZE[0], image.shape[0] / SIZE[1])
    rows, columns = (np.arange(int(n / step)) * step for n in image.shape[:2])
    image = image[rows.astype(int)][:, columns.astype(int)]
    canvas = np.ones((SIZE[1], SIZE[0], 3))
    y, x = (SIZE[1] - image.shape[0]) // 2, (SIZE[0] - image.shape[1]) // 2
    canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    return canvas


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for selected in sys.argv[1:] or [*AXES, *PARTS, *DRAWN]:
        draw(selected)
        print(selected, flush=True)
