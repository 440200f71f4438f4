"""
Compare reconstructions with those of PCA
=========================================

Digits of 64 pixels are reduced to 2, 4, 8, 16 and 32 components by PCA, by an autoencoder with dense layers
and by one with convolutional layers. The fewer the components, the larger the differences; with 32
components the errors of all three are small.
"""

# %%
# Fifteen models
# --------------
# A quarter of the digits is held out for the comparison. Each autoencoder starts from PCA and is trained
# for some seconds.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/reconstructions.png'
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.inspection import ExplainedVarianceDisplay, ReconstructionDisplay
from sklearn_ae.networks import Conv

X_train, X_test = train_test_split(load_digits().data, test_size=0.25, random_state=0)
sizes = [2, 4, 8, 16, 32]
conv = Conv(image_shape=(1, 8, 8), channels=(16,))
settings = {"max_iter": 30, "random_state": 0}
models = {
    "PCA": [PCA(k) for k in sizes],
    "Dense": [AutoencoderTransformer(k, **settings) for k in sizes],
    "Convolutional": [AutoencoderTransformer(k, network=conv, **settings) for k in sizes],
}
for fitted in models.values():
    for model in fitted:
        model.fit(X_train)

print("squared error per test image")
print("  size  PCA  dense  convolutional")
errors = {
    name: [
        np.square(X_test - model.inverse_transform(model.transform(X_test))).sum(axis=1).mean()
        for model in fitted
    ]
    for name, fitted in models.items()
}
for k, pca, dense, convolutional in zip(sizes, *errors.values(), strict=True):
    print(f"  {k:4}  {pca:3.0f}  {dense:5.0f}  {convolutional:13.0f}")

# %%
# Reconstructions of six digits
# -----------------------------
# One panel for each number of components. The squared errors are those of the table, per image over all test
# digits. From two components PCA reconstructs blurred averages of several digits. The autoencoders
# reconstruct digits, but not always the right one, as the second sample, an 8, shows: a sharp image is not
# necessarily an accurate one.

fig, axes = plt.subplots(2, 3, figsize=(14, 6.6), layout="constrained")
for i, (k, ax) in enumerate(zip(sizes, axes.flat, strict=False)):
    of_size = {name: fitted[i] for name, fitted in models.items()}
    ReconstructionDisplay.from_estimator(
        of_size, X_test, image_shape=(8, 8), max_samples=6, title=f"{k} components", ax=ax
    )

display = ExplainedVarianceDisplay.from_estimator(models, X_test, n_components=sizes, ax=axes[1, 2])
display.ax_.set_xscale("log", base=2)
display.ax_.set_xticks(sizes, [str(k) for k in sizes])
display.ax_.set_ylim(0, 1)
plt.show()

# %%
# Convolutions have no advantage over dense layers on images of 8 x 8 pixels, where few layers cover the whole
# image. With 32 components every model explains nearly all of the variance, and PCA is the fastest by far.
