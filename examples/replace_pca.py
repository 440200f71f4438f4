"""
Replace PCA in a pipeline
=========================

Digits are reduced to 2, 4, 8 or 16 numbers, from which a linear classifier tells the digit. The
autoencoder takes PCA's place in the pipeline, and one grid search compares both at every size, on the
same folds: by accuracy, and by the error of the reconstructed images.
"""

# %%
# The pipeline
# ------------
# Its first step is a parameter like any other: the search puts PCA or the autoencoder there, and
# sets ``n_components`` of either.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.inspection import ReconstructionDisplay
from sklearn_ae.metrics import neg_reconstruction_error_scorer

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)

pipeline = Pipeline(
    [("reduce", PCA()), ("scale", StandardScaler()), ("classify", LogisticRegression(max_iter=1000))]
)
reducers = {"PCA": PCA(), "Autoencoder": AutoencoderTransformer(max_iter=30, random_state=0)}
sizes = [2, 4, 8, 16]

# %%
# One search over both
# --------------------
# The classifier's accuracy decides. The second score looks at the first step alone: minus the squared
# error of a reconstructed image, summed over its pixels.


def neg_squared_error(pipeline, X, y=None):
    return neg_reconstruction_error_scorer(pipeline["reduce"], X)


search = GridSearchCV(
    pipeline,
    {"reduce": list(reducers.values()), "reduce__n_components": sizes},
    scoring={"accuracy": "accuracy", "neg_squared_error": neg_squared_error},
    refit="accuracy",
    cv=3,
)
search.fit(X_train, y_train)

accuracy_pca, accuracy_ae = search.cv_results_["mean_test_accuracy"].reshape(2, -1)
error_pca, error_ae = -search.cv_results_["mean_test_neg_squared_error"].reshape(2, -1)

print("            accuracy                    squared error per image")
print("  size      PCA  autoencoder            PCA  autoencoder   ratio")
for row in zip(sizes, accuracy_pca, accuracy_ae, error_pca, error_ae, error_ae / error_pca, strict=True):
    print("  {:4}   {:6.1%}  {:11.1%}       {:8.0f}  {:11.0f}   {:5.2f}".format(*row))
print(
    f"\nThe search picks {type(search.best_estimator_['reduce']).__name__} with "
    f"{search.best_params_['reduce__n_components']} components; accuracy on the {len(X_test)} test rows: "
    f"{search.score(X_test, y_test):.1%}."
)

# %%
# What is left of a digit in four numbers
# ---------------------------------------
# The smaller the code, the more the autoencoder gains: a bent surface follows the digits where a
# plane of the same dimension does not. The classifier gains less than the images, and at 16
# components PCA serves it as well.

images = np.array([X_test[y_test == digit][0] for digit in range(10)])
models = {
    "PCA": PCA(4).fit(X_train),
    "Autoencoder": AutoencoderTransformer(4, max_iter=30, random_state=0).fit(X_train),
}

fig, (left, middle, right) = plt.subplots(
    1, 3, figsize=(15, 3.6), width_ratios=(2.3, 1, 1), layout="constrained"
)
display = ReconstructionDisplay.from_estimator(models, images, image_shape=(8, 8), n_rows=10, ax=left)
display.axes_[0].figure.suptitle("Test digits, and what is left of them in 4 numbers")

for name, error, accuracy, style in (
    ("PCA", error_pca, accuracy_pca, {"color": "#D55E00", "marker": "s"}),
    ("Autoencoder", error_ae, accuracy_ae, {"color": "#0072B2", "marker": "o"}),
):
    middle.plot(sizes, error, label=name, linewidth=2, **style)
    right.plot(sizes, 100 * accuracy, label=name, linewidth=2, **style)
middle.set(title="Reconstruction of held-out folds", ylabel="Squared error per image (grey levels²)")
right.set(title="Classifier on held-out folds", ylabel="Accuracy (%)")
middle.set_ylim(bottom=0)
for ax in (middle, right):
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(k) for k in sizes])
    ax.set_xlabel("Components")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)

fig.savefig("replace_pca.png", dpi=150)
print("Saved replace_pca.png.")
plt.show()
