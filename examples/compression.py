"""
Compress images
===============

A latent code is a compressed image. Autoencoders need about half as many components as PCA for the same
error. But the codes have to be quantised, and the decoder has to be stored as well. With all costs counted,
PCA is the better choice for small archives.
"""

# %%
# The number of components alone
# ------------------------------
# Digits of 64 pixels: three quarters for training, the rest for testing. The ordered autoencoder is fitted
# once, and its codes are truncated to each size. The small autoencoder has one hidden layer of 64 units.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/compression.png'
import zlib

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF, PCA
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.inspection import ReconstructionDisplay

X_train, X_test = train_test_split(load_digits().data, test_size=0.25, random_state=0)
sizes = [2, 4, 8, 12, 16, 24, 32]
ordered = AutoencoderTransformer(32, bottleneck="ordered", max_iter=60, random_state=0).fit(X_train)
models = {
    "PCA": [PCA(k).fit(X_train) for k in sizes],
    "NMF": [NMF(k, init="nndsvda", max_iter=2000, random_state=0).fit(X_train) for k in sizes],
    "Autoencoder": [AutoencoderTransformer(k, max_iter=40, random_state=0).fit(X_train) for k in sizes],
    "Small autoencoder": [
        AutoencoderTransformer(k, hidden_layer_sizes=(64,), max_iter=60, random_state=0).fit(X_train)
        for k in sizes
    ],
    "Ordered autoencoder": [ordered.truncate(k) for k in sizes],
}
colours = dict(zip(models, ("#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73"), strict=True))
markers = dict(zip(models, "sDov^", strict=True))


def squared_error(X_reconstructed):
    """Return the mean squared error per test image, summed over the pixels."""
    return np.square(X_reconstructed - X_test).sum(axis=1).mean()


errors = {
    name: np.array([squared_error(model.inverse_transform(model.transform(X_test))) for model in fitted])
    for name, fitted in models.items()
}
print("squared error per image  " + "  ".join(f"{k:5}" for k in sizes))
for name, values in errors.items():
    print(f"  {name:21}  " + "  ".join(f"{value:5.0f}" for value in values))

# %%
# Quantisation
# ------------
# The range of each component on the training samples is divided into 2^b equal steps, so that a code takes b
# bits per component. Five bits suffice for all methods: they add a few per cent to the error.


def quantised(model, n_bits):
    """Reconstruct the test images from codes of n_bits per component."""
    codes = model.transform(X_train)
    low, high = codes.min(axis=0), codes.max(axis=0)
    step = (high - low) / 2**n_bits
    cells = np.clip(np.floor((model.transform(X_test) - low) / step), 0, 2**n_bits - 1)
    return model.inverse_transform((low + (cells + 0.5) * step).astype(codes.dtype))


n_bits = 5
added = {
    name: squared_error(quantised(fitted[sizes.index(8)], n_bits)) / errors[name][sizes.index(8)] - 1
    for name, fitted in models.items()
}
print(f"\nincrease of the error of 8 components by quantising to {n_bits} bits")
for name, share in added.items():
    print(f"  {name:21}  {100 * share:4.1f} %")

fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
bits = [2, 3, 4, 5, 6, 8]
for name, values in errors.items():
    style = {"color": colours[name], "marker": markers[name]}
    left.plot(sizes, values, label=name, **style)
    of_8 = models[name][sizes.index(8)]
    right.plot(bits, [squared_error(quantised(of_8, b)) for b in bits], label=name, **style)
left.set(title="Size of the code", xlabel="Components", xscale="log", yscale="log")
left.set_xticks(sizes, [str(k) for k in sizes])
left.xaxis.minorticks_off()
right.set(title="8 components, quantised", xlabel="Bits per component")
right.set_ylim(bottom=0)
for ax in (left, right):
    ax.set_ylabel("Squared error per test image")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# With the decoder
# ----------------
# Reading the archive requires the decoder: the components and the mean for PCA, the weights of the decoder
# for an autoencoder, here as 32-bit floats. Each method uses the smallest size whose error is at most that
# of PCA with 16 components. An archive of n images then costs 5 k + 32 p / n bits per image, where p is the
# number of parameters of the decoder.


def n_decoder_parameters(model):
    """Return the number of floats that decoding requires."""
    if isinstance(model, AutoencoderTransformer):
        return sum(weights.numel() for weights in model.module_.decoder.parameters()) + model.mean_.size
    return model.components_.size + (model.mean_.size if isinstance(model, PCA) else 0)


target = errors["PCA"][sizes.index(16)]
as_good = {name: np.argmax(values <= target) for name, values in errors.items()}
per_image = {name: n_bits * sizes[i] for name, i in as_good.items()}
decoder = {name: 32 * n_decoder_parameters(models[name][i]) for name, i in as_good.items()}
packed = 8 * len(zlib.compress(X_test.astype(np.uint8).tobytes(), 9)) / len(X_test)

print("\nerror of PCA with 16     bits per image  decoder (bits)  cheaper than PCA from (images)")
for name in models:
    gain = per_image["PCA"] - per_image[name]
    least = f"{(decoder[name] - decoder['PCA']) / gain:14.0f}" if gain > 0 else "-"
    print(f"  {name:21}  {per_image[name]:14}  {decoder[name]:14}  {least}")
print(f"\nlossless compression by zlib: {packed:.0f} bits per image")

fig, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6), width_ratios=(1.15, 1), layout="constrained")
n_images = np.logspace(2, 6, 100)
for name in models:
    cost = per_image[name] + decoder[name] / n_images
    left.plot(n_images, cost, color=colours[name], label=f"{name}, {per_image[name] // n_bits} components")
left.axhline(packed, color="0.4", linestyle=":")
left.text(n_images[-1], packed, "zlib, lossless", ha="right", va="bottom", color="0.4")
left.set(title="At most the error of PCA with 16 components", xscale="log", ylim=(0, 360))
left.set(xlabel="Images in the archive", ylabel="Bits per image")
left.grid(alpha=0.3)
left.legend(frameon=False)
left.spines[["top", "right"]].set_visible(False)

restored = {name: quantised(fitted[sizes.index(8)], n_bits) for name, fitted in models.items()}
title = "Test digits from 40 bits: 8 components of 5 bits"
ReconstructionDisplay.from_predictions(
    X_test, restored, image_shape=(8, 8), max_samples=8, title=title, ax=right
)
plt.show()

# %%
# Which method to use
# -------------------
# - Up to some thousand images: PCA. The decoder of an autoencoder costs more than its codes save.
# - More images of one kind: an autoencoder, a small one at first. For very large archives, a large one halves
#   the size of the codes.
# - The size is unknown or varies: the ordered autoencoder. One model serves every size, with an error between
#   those of PCA and of an autoencoder trained for that size.
# - NMF needs more components than PCA: its parts serve interpretation, not compression.
# - All of these methods are lossy. Lossless compression by zlib takes five times the bits of the codes.
