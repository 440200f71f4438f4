"""
Draw, sweep and walk the latent space of digits
===============================================

What does a point of a latent space stand for, and what lies between two of them? This page draws the
plane of a VAE with two components, new digits from several models, and ways from digit to digit. A
classifier trained on real digits judges the new ones: a prior that is fitted to the codes makes many
more of them look real than N(0, I) does.
"""

# %%
# The plane of a VAE
# ------------------
# With two components all of the latent space can be seen. On the left are the codes of the training
# digits: the classes fall apart, though the model has not seen their labels. On the right is what the
# plane is decoded to, in steps of equal probability of the prior. Neighbours turn into each other.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from sklearn_ae import AutoencoderTransformer, VAETransformer
from sklearn_ae.inspection import InterpolationDisplay, LatentGridDisplay, LatentSpaceDisplay
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
# For new digits eight components do better. A VAE has a density of its own and draws with ``sample``.
# ``prior="mixture"`` fits a mixture of normal distributions to the codes once the networks are trained.
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
        rows = sample_latent(models[name], X_train, n_drawn, density=density, random_state=0)
        drawn[f"{name}, {density}"] = rows

# %%
# The judge is a bag of networks trained on real digits. A single network is sure of noise, too; a bag
# disagrees where there were no digits. The table says how many of 1,000 new digits it is sure of (a
# probability over 0.9), and how many of the ten kinds are among them. Real test digits are the upper
# mark, digits with shuffled pixels the lower one.
judge = BaggingClassifier(MLPClassifier(max_iter=500, alpha=0.01), n_estimators=5, random_state=0)
judge.fit(X_train, y_train)
print(f"The judge is right about {judge.score(X_test, y_test):.1%} of the test digits.\n")

shuffled = np.random.RandomState(0).rand(*X_test.shape).argsort(axis=1)
noise = np.take_along_axis(X_test, shuffled, axis=1)
print("  digits                   sure of   kinds of digit")
for name, rows in {"Real": X_test, **drawn, "Real, pixels shuffled": noise}.items():
    probability = judge.predict_proba(rows)
    sure = probability.max(axis=1) > 0.9
    kinds = np.unique(probability[sure].argmax(axis=1))
    print(f"  {name:23}   {sure.mean():6.1%}   {len(kinds):14}")

# %%
# The codes of digits fall into groups. A single normal distribution also draws from the gaps between
# these, where the decoder has to make something up; a mixture does not. That holds for every model,
# PCA included, whose digits stay blurred all the same.
fig, axes = plt.subplots(len(drawn), 16, figsize=(11, 4.8), layout="constrained")
for row, (name, rows) in zip(axes, drawn.items(), strict=True):
    for ax, picture in zip(row, rows, strict=False):
        ax.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name.replace(", ", ",\n"), rotation=0, ha="right", va="center")
fig.suptitle("New digits drawn from eight components")
plt.show()

# %%
# From digit to digit
# -------------------
# Each row walks from one test digit (framed, on the left) to another. PCA fades one digit into the
# other. What the VAE passes through is sharper, and more often a shape that could be a digit.
start = np.array([X_test[y_test == digit][0] for digit in (0, 1, 3, 4)])
end = np.array([X_test[y_test == digit][0] for digit in (7, 2, 8, 9)])
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 3.3), layout="constrained")
for ax, name, method in [(left, "PCA", "linear"), (right, "VAE", "spherical")]:
    InterpolationDisplay.from_estimator(
        models[name], start, end, n_steps=8, method=method, image_shape=(8, 8), name=name, ax=ax
    )
plt.show()

# %%
# Arithmetic of codes
# -------------------
# The mean code of eights less that of threes is a direction. Test threes that are moved along it
# become eights, as the judge says. :ref:`sphx_glr_gallery_attribute_arithmetic.py` does more of this.
threes = X_test[y_test == 3]
vector = attribute_vector(models["VAE"], X_train[y_train == 8], X_train[y_train == 3])
share = np.mean(judge.predict(apply_attribute(models["VAE"], threes, vector)) == 8)
print(f"\nOf {len(threes)} test digits 3, moved along '8 less 3', the judge calls {share:.0%} a digit 8.")
