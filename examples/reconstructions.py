"""
Reconstructions beside PCA's
============================

Digits of 64 pixels are squeezed into 2, 4, 8, 16 and 32 numbers, by PCA, by an autoencoder with dense layers
and by one with convolutions. The smaller the code, the more the pictures differ; with 32 numbers the errors
of all three are small.
"""

# %%
# Fifteen models
# --------------
# A quarter of the digits is kept for the comparison. The autoencoders start at PCA and take some seconds
# where PCA takes none.

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
# What is left of six digits
# --------------------------
# One panel for each size of the code. Mean squared errors, per pixel, are those of all test digits. Of two
# numbers PCA makes blurred means of several digits; the autoencoders make digits, but at times another one:
# of the 8, the second, they make something else. A sharp picture need not be a true one.

fig, axes = plt.subplots(2, 3, figsize=(14, 6.6), layout="constrained")
for i, (k, ax) in enumerate(zip(sizes, axes.flat, strict=False)):
    of_size = {name: fitted[i] for name, fitted in models.items()}
    display = ReconstructionDisplay.from_estimator(of_size, X_test, image_shape=(8, 8), n_rows=6, ax=ax)
    display.axes_[0].figure.suptitle(f"{k} components")

display = ExplainedVarianceDisplay.from_estimator(models, X_test, n_components=sizes, ax=axes[1, 2])
display.ax_.set_xscale("log", base=2)
display.ax_.set_xticks(sizes, [str(k) for k in sizes])
display.ax_.set_ylim(0, 1)
plt.show()

# %%
# Convolutions gain nothing over dense layers here: with 8 x 8 pixels each layer sees the whole image anyway.
# With 32 components every model explains nearly all of the variance, and PCA is the quickest by far.
