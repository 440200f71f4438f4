"""Replace PCA by an autoencoder in a pipeline, and let one grid search compare them.

Digits are reduced to 2, 4, 8 or 16 numbers, from which a linear classifier tells
the digit. The grid search tries PCA and the autoencoder at each size, on the same
folds. Prints a table and saves replace_pca.png. Takes half a minute.

    python examples/replace_pca.py
"""

import time

import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer

matplotlib.use("Agg")  # the figure goes to a file; no window is needed
import matplotlib.pyplot as plt

SIZES = (2, 4, 8, 16)
SHOWN = 4  # size of the code whose reconstructions are drawn
COLOURS = {"PCA": "#D55E00", "Autoencoder": "#0072B2"}  # Okabe and Ito's, safe for colour-blind readers
MARKERS = {"PCA": "s", "Autoencoder": "o"}
FIGURE = "replace_pca.png"


def accuracy(pipeline, X, y):
    return pipeline.score(X, y)


def squared_error(pipeline, X, y=None):
    """Squared error of a reconstructed image, summed over its pixels."""
    reducer = pipeline[0]
    return np.square(X - reducer.inverse_transform(reducer.transform(X))).sum(axis=1).mean()


def search(X, y):
    """Compare both reducers at every size, by accuracy and by reconstruction, on held-out folds."""
    reducers = [PCA(random_state=0), AutoencoderTransformer(max_iter=60, random_state=0)]
    pipeline = Pipeline(
        [("reduce", PCA()), ("scale", StandardScaler()), ("classify", LogisticRegression(max_iter=1000))]
    )
    return GridSearchCV(
        pipeline,
        {"reduce": reducers, "reduce__n_components": SIZES},
        scoring={"accuracy": accuracy, "squared_error": squared_error},
        refit="accuracy",
        cv=3,
        n_jobs=2,
    ).fit(X, y)


def by_size(results, metric):
    """Mean test score of each reducer, as {name: array over SIZES}."""
    scores = np.reshape(results[f"mean_test_{metric}"], (2, len(SIZES)))
    return {"PCA": scores[0], "Autoencoder": scores[1]}


def print_table(accuracies, errors):
    print("            accuracy                    squared error per image")
    print("  size      PCA  autoencoder            PCA  autoencoder   ratio")
    for i, k in enumerate(SIZES):
        pca, ae = errors["PCA"][i], errors["Autoencoder"][i]
        print(
            f"  {k:4}   {accuracies['PCA'][i]:6.1%}  {accuracies['Autoencoder'][i]:11.1%}"
            f"       {pca:8.0f}  {ae:11.0f}   {ae / pca:5.2f}"
        )


def draw(images, reconstructions, errors):
    """Draw originals above their reconstructions, and the error against the size."""
    fig = plt.figure(figsize=(12, 3.4), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=(1.9, 1))
    left.suptitle(f"Test digits, and what is left of them in {SHOWN} numbers", fontsize=12)
    rows = {"Original": images, **reconstructions}
    for cells, (name, pictures) in zip(left.subplots(len(rows), len(images)), rows.items(), strict=True):
        for ax, picture in zip(cells, pictures, strict=True):
            ax.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
            ax.set(xticks=[], yticks=[])
        cells[0].set_ylabel(
            name, color=COLOURS.get(name, "black"), fontsize=11, rotation=0, ha="right", va="center"
        )

    ax = right.subplots()
    for name, values in errors.items():
        ax.plot(SIZES, values, color=COLOURS[name], marker=MARKERS[name], linewidth=2, label=name)
    ax.set_xscale("log", base=2)
    ax.set_xticks(SIZES, [str(k) for k in SIZES])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("Components")
    ax.set_ylabel("Squared error per image (grey levels²)")
    ax.set_title("Reconstruction of held-out folds", fontsize=12)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(FIGURE, dpi=150)


def main():
    start = time.perf_counter()
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    print(f"{len(X)} digits of 8 x 8 pixels; 3 folds of {len(X_train)} rows, one grid search over both.\n")

    grid = search(X_train, y_train)
    accuracies, errors = (by_size(grid.cv_results_, metric) for metric in ("accuracy", "squared_error"))
    print_table(accuracies, errors)
    winner = grid.best_params_["reduce"]
    print(
        f"\nThe search picks {type(winner).__name__} with {grid.best_params_['reduce__n_components']} "
        f"components; accuracy on the {len(X_test)} test rows: {grid.score(X_test, y_test):.1%}."
    )

    images = np.array([X_test[y_test == digit][0] for digit in range(10)])
    reducers = {"PCA": PCA(SHOWN), "Autoencoder": AutoencoderTransformer(SHOWN, max_iter=60, random_state=0)}
    reconstructions = {
        name: reducer.fit(X_train).inverse_transform(reducer.transform(images))
        for name, reducer in reducers.items()
    }
    draw(images, reconstructions, errors)
    print(f"Saved {FIGURE}. Took {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
