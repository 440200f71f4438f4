"""
Missing values: imputation before a classifier
==============================================

A third of the pixels of the digits is missing. Five imputers fill them in before the same classifier:
the mean, nearest neighbours, ``IterativeImputer`` with linear regressions and with a forest, and
:class:`~sklearn_ae.AEImputer`. A sixth pipeline has no imputer: codes of incomplete samples.
"""

# sphinx_gallery_thumbnail_path = '_static/thumbnails/impute_missing_values.png'
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEImputer, AutoencoderTransformer

# %%
# Hide a third of the pixels
# --------------------------

X, y = load_digits(return_X_y=True)
X = X[:, X.std(axis=0) > 0]
rng = np.random.RandomState(0)
mask = rng.uniform(size=X.shape) < 1 / 3
gaps = np.where(mask, np.nan, X)
train, test = train_test_split(np.arange(len(X)), random_state=0)

# %%
# Compare
# -------
#
# ``IterativeImputer`` with a forest regresses each pixel on the ten most correlated ones only, which takes
# seconds instead of minutes.

warnings.simplefilter("ignore", ConvergenceWarning)  # few iterations suffice here
forest = ExtraTreesRegressor(n_estimators=5, random_state=0)
imputers = {
    "mean": SimpleImputer(),
    "nearest neighbours": KNNImputer(),
    "IterativeImputer": IterativeImputer(max_iter=3, random_state=0),
    "IterativeImputer, forest": IterativeImputer(forest, n_nearest_features=10, max_iter=1, random_state=0),
    "AEImputer": AEImputer(random_state=0),
}


def classifier():
    """Return the last steps of each pipeline."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))


unit = X.std(axis=0)
errors, accuracies, filled = {}, {}, {}
for name, imputer in imputers.items():
    pipeline = make_pipeline(imputer, classifier()).fit(gaps[train], y[train])
    filled[name] = pipeline[0].transform(gaps[test])
    errors[name] = np.mean((((filled[name] - X[test]) / unit)[mask[test]]) ** 2)
    accuracies[name] = pipeline.score(gaps[test], y[test])

mean_and_pca = make_pipeline(SimpleImputer(), PCA(24), classifier()).fit(gaps[train], y[train])
codes = make_pipeline(AutoencoderTransformer(24, missing="mask", random_state=0), classifier())
codes.fit(gaps[train], y[train])
accuracies["mean, then 24 principal components"] = mean_and_pca.score(gaps[test], y[test])
accuracies["24 codes of incomplete samples"] = codes.score(gaps[test], y[test])

for name, accuracy in accuracies.items():
    error = f", squared error of hidden pixels {errors[name]:.2f}" if name in errors else ""
    print(f"{name}: accuracy {accuracy:.3f}{error}")

# %%
# Look at the imputed digits
# --------------------------

shown = ["mean", "IterativeImputer", "AEImputer"]
used = load_digits().data.std(axis=0) > 0
rows = {"complete": X[test], "with gaps": gaps[test]} | {name: filled[name] for name in shown}
figure, axes = plt.subplots(len(rows), 8, figsize=(8, 5.4), layout="constrained")
for axis_row, (name, samples) in zip(axes, rows.items(), strict=True):
    for axis, sample in zip(axis_row, samples, strict=False):
        image = np.zeros(64)
        image[used] = sample
        axis.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        axis.set(xticks=[], yticks=[])
    axis_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
for axis in axes[1]:
    axis.set_facecolor("tab:orange")  # what is missing
figure.suptitle("A third of the pixels is missing")

# %%
# The images
plt.show()
