"""
Explore and sample the latent space of digits
=============================================

This example decodes the latent plane of a VAE with two components, draws new digits from several models, and
interpolates between digits. A classifier trained on real digits measures how realistic the new ones are: many
more are recognised when the prior is fitted to the codes than when it is N(0, I).
"""

# %%
# The latent plane of a VAE
# -------------------------
# Two components allow the whole latent space to be shown. The left panel shows the codes of the training
# digits: the classes are separated, although the labels were not used. The right panel shows a decoded
# grid, in steps of equal probability under the prior. Neighbouring digits change continuously.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/latent_space.png'
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.inspection import (
    InterpolationDisplay,
    LatentGridDisplay,
    LatentSpaceDisplay,
    TraversalDisplay,
)
from sklearn_ae.latent import apply_attribute, attribute_vector, sample_latent

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)

plane = VAETransformer(n_components=2, max_iter=100, random_state=0).fit(X_train)
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 5.6), layout="constrained")
LatentSpaceDisplay.from_estimator(plane, X_train, y_train, y_name="Digit", name="VAE", ax=left)
LatentGridDisplay.from_estimator(plane, n_steps=14, image_shape=(8, 8), name="VAE", ax=right)
plt.show()

# %%
# New digits
# ----------
# Eight components give better samples. A VAE is a generative model with a method ``sample``.
# ``prior="mixture"`` fits a mixture of normal distributions to the codes after training.
# :func:`~sklearn_ae.latent.sample_latent` fits a density to the codes of any other transformer.
models = {
    "VAE": VAETransformer(n_components=8, max_iter=60, random_state=0),
    "VAE, mixture prior": VAETransformer(n_components=8, prior="mixture", max_iter=60, random_state=0),
    "Autoencoder": AutoencoderTransformer(n_components=8, max_iter=60, random_state=0),
    "PCA": PCA(n_components=8),
}
for model in models.values():
    model.fit(X_train)

n_drawn = 1000
drawn = {name: models[name].sample(n_drawn, random_state=0, noise=False) for name in list(models)[:2]}
for density in ("gaussian", "mixture"):
    for name in ("Autoencoder", "PCA"):
        X_drawn = sample_latent(models[name], X_train, n_drawn, density=density, random_state=0)
        drawn[f"{name}, {density}"] = X_drawn

# %%
# The classifier is an ensemble of networks trained on real digits. A single network is confident on noise,
# too; the members of an ensemble disagree away from the training data. The table gives the share of 1,000
# new digits on which it is confident (a probability over 0.9), and the number of classes among these. Real
# test digits and digits with shuffled pixels are the upper and lower references.
classifier = BaggingClassifier(MLPClassifier(max_iter=500, alpha=0.01), n_estimators=5, random_state=0)
classifier.fit(X_train, y_train)
print(f"Accuracy of the classifier on test digits: {classifier.score(X_test, y_test):.1%}\n")

shuffled = np.random.RandomState(0).rand(*X_test.shape).argsort(axis=1)
noise = np.take_along_axis(X_test, shuffled, axis=1)
print("  digits                  confident   classes")
for name, images in {"Real": X_test, **drawn, "Real, pixels shuffled": noise}.items():
    probability = classifier.predict_proba(images)
    confident = probability.max(axis=1) > 0.9
    classes = np.unique(probability[confident].argmax(axis=1))
    print(f"  {name:23}   {confident.mean():7.1%}   {len(classes):7}")

# %%
# The codes of digits form clusters. A single normal distribution also draws codes between the clusters,
# where the decoder was not trained; a mixture does not. This holds for every model, including PCA, although
# its digits remain blurred.
fig, axes = plt.subplots(len(drawn), 16, figsize=(11, 4.8), layout="constrained")
for row, (name, images) in zip(axes, drawn.items(), strict=True):
    for ax, image in zip(row, images, strict=False):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name.replace(", ", ",\n"), rotation=0, ha="right", va="center")
fig.suptitle("New digits drawn from eight components")
plt.show()

# %%
# What the components mean
# ------------------------
# Each row varies one component over its quantiles, with the others fixed at their medians. Those of PCA are
# the same change at any code; those of a VAE depend on the other components.
fig, (left, right) = plt.subplots(1, 2, figsize=(13, 5.4), layout="constrained")
for ax, name in [(left, "PCA"), (right, "VAE")]:
    TraversalDisplay.from_estimator(models[name], X_train, n_steps=7, image_shape=(8, 8), name=name, ax=ax)
plt.show()

# %%
# Interpolation
# -------------
# Each row interpolates between two test digits (framed). PCA blends one digit into the other. The
# intermediate images of the VAE are sharper, and more often have the shape of a digit.
start = np.array([X_test[y_test == digit][0] for digit in (0, 1, 3, 4)])
end = np.array([X_test[y_test == digit][0] for digit in (7, 2, 8, 9)])
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 3.3), layout="constrained")
for ax, name, method in [(left, "PCA", "linear"), (right, "VAE", "spherical")]:
    InterpolationDisplay.from_estimator(
        models[name], start, end, n_steps=8, method=method, image_shape=(8, 8), name=name, ax=ax
    )
plt.show()

# %%
# Arithmetic on codes
# -------------------
# The mean code of eights minus that of threes is a direction. Moved along it, test threes are classified as
# eights. :ref:`sphx_glr_gallery_attribute_arithmetic.py` has more on this.
threes = X_test[y_test == 3]
vector = attribute_vector(models["VAE"], X_train[y_train == 8], X_train[y_train == 3])
share = np.mean(classifier.predict(apply_attribute(models["VAE"], threes, vector)) == 8)
print(f"\nOf {len(threes)} test threes moved along '8 - 3', {share:.0%} are classified as eights.")
