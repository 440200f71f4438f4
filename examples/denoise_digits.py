"""
Denoise digits
==============

A denoising autoencoder is trained to reconstruct clean samples from noisy ones. This example shows the four
kinds of noise in the package, and compares denoising autoencoders with PCA, a linear denoiser and a plain
autoencoder on noisy digits. Training should use the noise that is expected in the data.
"""

# %%
# Four kinds of noise
# -------------------
# The noise of the test digits is drawn with NumPy. Scales are in working units: 1 is the square root of the
# mean variance of the features, here 4.3 of 16 grey levels.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/denoise_digits.png'
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.corruptions import GaussianNoise, Masking, RayleighNoise, SaltAndPepper
from sklearn_ae.inspection import ReconstructionDisplay

X_train, X_test = train_test_split(load_digits().data, test_size=0.25, random_state=0)
rng = np.random.RandomState(0)
shape = X_test.shape
unit = np.sqrt(X_train.var(axis=0).mean())
masked = rng.uniform(size=shape) < 0.4
salted, salt = rng.uniform(size=shape) < 0.2, rng.uniform(size=shape) < 0.5

noisy = {
    "Gaussian": X_test + unit * rng.normal(size=shape),
    "masking": np.where(masked, 0, X_test),
    "salt and pepper": np.where(salted, np.where(salt, X_train.max(axis=0), X_train.min(axis=0)), X_test),
    "Rayleigh": X_test + unit * rng.rayleigh(size=shape),
}
corruptions = {
    "Gaussian": GaussianNoise(scale=1.0),
    "masking": Masking(rate=0.4),
    "salt and pepper": SaltAndPepper(rate=0.2),
    "Rayleigh": RayleighNoise(scale=1.0),
}

# %%
# Five models
# -----------
# All are fitted to clean digits and have 32 components. PCA and the plain autoencoder are trained without
# noise. The two denoisers are trained with it: the linear one has no hidden layers, so that the difference
# between them is the gain from nonlinearity. PCA is also tried with every number of components up to 32;
# the best is selected on the test digits themselves, which favours PCA.

n_components = 32
pca = PCA(n_components).fit(X_train)
plain = AutoencoderTransformer(n_components, max_iter=60, random_state=0).fit(X_train)
linear, denoising = {}, {}
for name, corruption in corruptions.items():
    linear[name] = AutoencoderTransformer(
        n_components, hidden_layer_sizes=(), corruption=corruption, max_iter=60, random_state=0
    ).fit(X_train)
    denoising[name] = AutoencoderTransformer(
        n_components, corruption=corruption, max_iter=60, random_state=0
    ).fit(X_train)


def restore(model, X_noisy):
    """Reconstruct clean images from noisy ones."""
    return model.inverse_transform(model.transform(X_noisy))


def squared_error(X_restored):
    """Return the mean squared error per image, relative to the clean digits."""
    return np.square(X_restored - X_test).sum(axis=1).mean()


print("squared error per image, relative to the clean digits")
print("                    noisy    PCA  PCA, best size  plain AE  linear denoiser  denoising AE")
for name, X_noisy in noisy.items():
    best_size = min(squared_error(restore(PCA(k).fit(X_train), X_noisy)) for k in range(1, n_components + 1))
    errors = [squared_error(restore(model, X_noisy)) for model in (pca, plain, linear[name], denoising[name])]
    values = (squared_error(X_noisy), errors[0], best_size, *errors[1:])
    print(
        f"  {name:15}  "
        + "  ".join(f"{v:{w}.0f}" for v, w in zip(values, (6, 5, 14, 8, 15, 12), strict=True))
    )

# %%
# Denoised images
# ---------------
# The labels give the squared error per image, as in the table. Rayleigh noise is positive: PCA and the plain
# autoencoder leave a grey background, which even the linear denoiser removes.

fig, axes = plt.subplots(2, 2, figsize=(15, 9.5), layout="constrained")
for ax, (name, X_noisy) in zip(axes.flat, noisy.items(), strict=True):
    restored = {
        "Noisy": X_noisy,
        "PCA": restore(pca, X_noisy),
        "Plain autoencoder": restore(plain, X_noisy),
        "Linear denoiser": restore(linear[name], X_noisy),
        "Denoising autoencoder": restore(denoising[name], X_noisy),
    }
    title = f"{name[0].upper()}{name[1:]} noise"
    ReconstructionDisplay.from_predictions(
        X_test, restored, image_shape=(8, 8), max_samples=10, title=title, ax=ax
    )
plt.show()

# %%
# The noise to train with
# -----------------------
# Each model is the best on the noise that it was trained with, and the plain autoencoder on clean digits:
# training with noise has a cost when there is none. Noise that was absent from training may even be
# amplified, as Rayleigh noise is by the model trained with masking. Salt-and-pepper and Gaussian noise are
# similar enough to be exchangeable.

models = {"none": plain, **denoising}
inputs = {"none": X_test, **noisy}
errors = np.array(
    [[squared_error(restore(model, X_input)) for X_input in inputs.values()] for model in models.values()]
)

fig, ax = plt.subplots(figsize=(6.6, 4.6), layout="constrained")
picture = ax.imshow(errors, cmap="cividis", norm="log")
ax.set_xticks(range(len(inputs)), [name.replace("and ", "and\n") for name in inputs])
ax.set_yticks(range(len(models)), list(models))
ax.set(xlabel="Noise of the test digits", ylabel="Noise in training", title="Squared error per image")
for (i, j), error in np.ndenumerate(errors):
    colour = "white" if error < np.sqrt(errors.min() * errors.max()) else "black"
    weight = "bold" if error == errors[:, j].min() else "normal"
    ax.text(j, i, f"{error:.0f}", ha="center", va="center", color=colour, weight=weight)
fig.colorbar(picture, label="Squared error relative to clean digits")
best = [list(models)[i] for i in errors.argmin(axis=0)]
print("\nbest model on clean digits and on each noise: " + ", ".join(best))
plt.show()
