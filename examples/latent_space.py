"""Walk, sweep and draw from the latent space of digits.

Draws digits from a variational autoencoder, with its normal prior and with a mixture,
and from an autoencoder and PCA with a density fitted to their codes. A classifier
trained on real digits judges them: how many it is sure of, and how many of the ten it
finds. Then walks from digit to digit, sweeps a plane, and turns threes into eights.
Prints a table and saves latent_space.png. Takes a minute.

    python examples/latent_space.py
"""

import time

import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.latent import apply_attribute, attribute_vector, interpolate, latent_grid, sample_latent

matplotlib.use("Agg")  # the figure goes to a file; no window is needed
import matplotlib.pyplot as plt

N_COMPONENTS = 8
N_DRAWN = 1000  # digits of each kind that are judged
SURE = 0.9  # probability from which the judge is sure
N_SHOWN = 10  # digits in a row of the figure
WALK = (0, 7)  # digits that the walks join
ATTRIBUTE = (3, 8)  # from, to
STRENGTHS = (0.0, 0.5, 1.0)
N_GRID = 12
FIGURE = "latent_space.png"


def train_judge(X, y):
    """Networks that disagree where there were no digits: a single one is sure of noise, too."""
    network = MLPClassifier(max_iter=1000, alpha=0.01)
    return BaggingClassifier(network, n_estimators=8, random_state=0).fit(X, y)


def draw_digits(models, X):
    """New digits of every kind, as {name: rows}."""
    vaes = ("VAE", "VAE, mixture prior")
    drawn = {name: models[name].sample(N_DRAWN, random_state=0, noise=False) for name in vaes}
    for density in ("gaussian", "mixture"):
        for name in ("Autoencoder", "PCA"):
            drawn[f"{name}, {density}"] = sample_latent(
                models[name], X, N_DRAWN, density=density, random_state=0
            )
    return drawn


def print_table(judge, kinds):
    print("  digits                   sure of   kinds of digit")
    for name, rows in kinds.items():
        probability = judge.predict_proba(rows)
        sure = probability.max(axis=1) > SURE
        found = np.unique(probability[sure].argmax(axis=1))
        print(f"  {name:23}   {sure.mean():6.1%}   {len(found):14}")


def show(ax, image):
    ax.imshow(image, cmap="gray_r", vmin=0, vmax=16)
    ax.set(xticks=[], yticks=[])


def draw_rows(fig, title, rows):
    """Draw named rows of digits, one below the other."""
    fig.suptitle(title, fontsize=12)
    for cells, (name, pictures) in zip(fig.subplots(len(rows), N_SHOWN), rows.items(), strict=True):
        for ax, picture in zip(cells, pictures, strict=True):
            show(ax, picture.reshape(8, 8))
        cells[0].set_ylabel(name, fontsize=10, rotation=0, ha="right", va="center")


def draw_grid(fig, grid):
    """Draw the digits of a plane as one picture, with the code on its axes."""
    fig.suptitle("The plane of a VAE with two components", fontsize=12)
    n, _, n_pixels = grid.rows.shape
    images = np.pad(grid.rows.reshape(n, n, 8, n_pixels // 8), [(0, 0), (0, 0), (1, 1), (1, 1)])
    ax = fig.subplots()
    show(ax, images.swapaxes(1, 2).reshape(10 * n, 10 * n))
    shown = np.linspace(0, n - 1, 4).astype(int)
    right, up = ([f"{value:.1f}" for value in values[shown]] for values in grid.grid_values)
    ax.set_xticks(10 * shown + 4.5, right)
    ax.set_yticks(10 * shown + 4.5, up)
    ax.set_xlabel("First component")
    ax.set_ylabel("Second component")


def walks(models, X, y):
    """Four ways from one digit to another, as {name: rows}."""
    start, end = (X[y == digit][0] for digit in WALK)
    return {
        "Pixels": np.linspace(start, end, N_SHOWN),
        "PCA": interpolate(models["PCA"], start, end, N_SHOWN),
        "Autoencoder": interpolate(models["Autoencoder"], start, end, N_SHOWN),
        "VAE": interpolate(models["VAE"], start, end, N_SHOWN, method="spherical"),
    }


def draw(drawn, walked, grid, moved):
    """Draw the four panels."""
    fig = plt.figure(figsize=(13, 7.5), layout="constrained")
    panels = fig.subfigures(2, 2, height_ratios=(1, 1.15))
    shown = ("VAE", "VAE, mixture prior", "Autoencoder, mixture", "PCA, mixture")
    rows = {name.replace(", ", ",\n"): drawn[name][:N_SHOWN] for name in shown}
    draw_rows(panels[0, 0], f"New digits, drawn in {N_COMPONENTS} components", rows)
    draw_rows(panels[0, 1], f"From a {WALK[0]} to a {WALK[1]}", walked)
    draw_grid(panels[1, 0], grid)
    before, after = ATTRIBUTE
    rows = {k if k == "Original" else f"{k:+g}": digits[:N_SHOWN] for k, digits in moved.items()}
    draw_rows(panels[1, 1], f"Digits {before}, moved along '{after} less {before}'", rows)
    fig.savefig(FIGURE, dpi=150)


def main():
    start = time.perf_counter()
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    models = {
        "VAE": VAETransformer(n_components=N_COMPONENTS, random_state=0),
        "VAE, mixture prior": VAETransformer(n_components=N_COMPONENTS, prior="mixture", random_state=0),
        "Autoencoder": AutoencoderTransformer(n_components=N_COMPONENTS, random_state=0),
        "PCA": PCA(n_components=N_COMPONENTS),
    }
    for model in models.values():
        model.fit(X_train)
    judge = train_judge(X_train, y_train)
    print(f"The judge tells {judge.score(X_test, y_test):.1%} of real digits that it has not seen.\n")

    drawn = draw_digits(models, X_train)
    shuffled = np.random.RandomState(0).rand(*X_test.shape).argsort(axis=1)
    noise = np.take_along_axis(X_test, shuffled, axis=1)
    print_table(judge, {"Real": X_test, **drawn, "Real, pixels shuffled": noise})

    before, after = ATTRIBUTE
    threes = X_test[y_test == before]
    vector = attribute_vector(models["VAE"], X_train[y_train == after], X_train[y_train == before])
    moved = {s: apply_attribute(models["VAE"], threes, vector, strength=s) for s in STRENGTHS}
    share = np.mean(judge.predict(moved[STRENGTHS[-1]]) == after)
    print(f"\nOf {len(threes)} test digits {before}, moved along '{after} less {before}', ", end="")
    print(f"the judge calls {share:.0%} a digit {after}.")

    grid = latent_grid(VAETransformer(2, random_state=0).fit(X_train), N_GRID)
    draw(drawn, walks(models, X_test, y_test), grid, {"Original": threes} | moved)
    print(f"Saved {FIGURE}. Took {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
