"""Data and functions shared by the figures."""

import numpy as np
from sklearn.datasets import load_digits

# Colours by Okabe and Ito, which colour-blind readers can distinguish.
BLUE, RED, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
GREY = "#999999"


def digits():
    """Return training and test digits, and the labels of the latter."""
    X, y = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    return X[order[:1400]], X[order[1400:]], y[order[1400:]]


def curve(n=400, noise=0.06, seed=0, frequency=2.0):
    """Draw samples near a curve in the plane."""
    rng = np.random.RandomState(seed)
    t = rng.uniform(-2.2, 2.2, n)
    return np.column_stack([t, np.sin(frequency * t)]) + noise * rng.normal(size=(n, 2))


def show_images(ax, images, title, vmax=16):
    """Plot digits side by side."""
    ax.imshow(np.hstack(list(np.clip(images, 0, vmax).reshape(-1, 8, 8))), cmap="gray_r", vmin=0, vmax=vmax)
    ax.set(xticks=[], yticks=[])
    ax.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=10)


def plain(ax, **labels):
    """Set labels and a simple style."""
    ax.set(**labels)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def unexplained(model, X, centre):
    """Return the share of the variance that a model does not explain."""
    residual = np.square(X - model.inverse_transform(model.transform(X))).sum()
    return residual / np.square(X - centre).sum()
