"""
Compress images
===============

A code is a compressed image. Autoencoders need about half as many numbers as PCA for the same error. But
numbers have to be rounded to bits, and the decoder has to be kept as well. All of it counts here, and for
small archives PCA wins.
"""

# %%
# Numbers per image, and nothing else
# -----------------------------------
# Digits of 64 pixels: three quarters to fit, the rest to measure. The ordered autoencoder is fitted once,
# and its codes are cut to each size. The small autoencoder has one hidden layer of 64 units.

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


def squared_error(rows):
    return np.square(rows - X_test).sum(axis=1).mean()


errors = {
    name: np.array([squared_error(model.inverse_transform(model.transform(X_test))) for model in fitted])
    for name, fitted in models.items()
}
print("squared error per image  " + "  ".join(f"{k:5}" for k in sizes))
for name, values in errors.items():
    print(f"  {name:21}  " + "  ".join(f"{value:5.0f}" for value in values))

# %%
# Rounded to bits
# ---------------
# Each component is cut into 2^b equal steps between its extremes on the training rows, so that a
# number takes b bits. Five are enough for all methods: they add a few per cent to the error.


def rounded(model, n_bits):
    """Test rows from rounded codes."""
    codes = model.transform(X_train)
    low, high = codes.min(axis=0), codes.max(axis=0)
    step = (high - low) / 2**n_bits
    cells = np.clip(np.floor((model.transform(X_test) - low) / step), 0, 2**n_bits - 1)
    return model.inverse_transform((low + (cells + 0.5) * step).astype(codes.dtype))


n_bits = 5
added = {
    name: squared_error(rounded(fitted[sizes.index(8)], n_bits)) / errors[name][sizes.index(8)] - 1
    for name, fitted in models.items()
}
print(f"\nadded to the error of 8 numbers by rounding to {n_bits} bits")
for name, share in added.items():
    print(f"  {name:21}  {100 * share:4.1f} %")

fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
bits = [2, 3, 4, 5, 6, 8]
for name, values in errors.items():
    style = {"color": colours[name], "marker": markers[name]}
    left.plot(sizes, values, label=name, **style)
    of_8 = models[name][sizes.index(8)]
    right.plot(bits, [squared_error(rounded(of_8, b)) for b in bits], label=name, **style)
left.set(title="Size of the code", xlabel="Numbers per image", xscale="log", yscale="log")
left.set_xticks(sizes, [str(k) for k in sizes])
left.xaxis.minorticks_off()
right.set(title="8 numbers per image, rounded", xlabel="Bits per number")
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
# Who opens the archive needs the decoder: the components and a mean for PCA, all weights of the second
# half for an autoencoder, here as floats of 32 bits. Each method takes the smallest size that is as good
# as PCA with 16 numbers. An archive of n images then costs 5 k + 32 (numbers of the decoder) / n bits per
# image.


def decoder_numbers(model):
    if isinstance(model, AutoencoderTransformer):
        return sum(weights.numel() for weights in model.module_.decoder.parameters()) + model.mean_.size
    return model.components_.size + (model.mean_.size if isinstance(model, PCA) else 0)


target = errors["PCA"][sizes.index(16)]
as_good = {name: np.argmax(values <= target) for name, values in errors.items()}
per_image = {name: n_bits * sizes[i] for name, i in as_good.items()}
decoder = {name: 32 * decoder_numbers(models[name][i]) for name, i in as_good.items()}
packed = 8 * len(zlib.compress(X_test.astype(np.uint8).tobytes(), 9)) / len(X_test)

print("\nas good as PCA with 16   bits per image  decoder (bits)  cheaper than PCA from (images)")
for name in models:
    gain = per_image["PCA"] - per_image[name]
    least = f"{(decoder[name] - decoder['PCA']) / gain:14.0f}" if gain > 0 else "-"
    print(f"  {name:21}  {per_image[name]:14}  {decoder[name]:14}  {least}")
print(f"\nwithout loss: {packed:.0f} bits per image by zlib")

fig, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6), width_ratios=(1.15, 1), layout="constrained")
n_images = np.logspace(2, 6, 100)
for name in models:
    cost = per_image[name] + decoder[name] / n_images
    left.plot(n_images, cost, color=colours[name], label=f"{name}, {per_image[name] // n_bits} numbers")
left.axhline(packed, color="0.4", linestyle=":")
left.text(n_images[-1], packed, "zlib, without loss", ha="right", va="bottom", color="0.4")
left.set(title="As good as PCA with 16 numbers", xlabel="Images in the archive", ylabel="Bits per image")
left.set(xscale="log", ylim=(0, 360))
left.grid(alpha=0.3)
left.legend(frameon=False)
left.spines[["top", "right"]].set_visible(False)

restored = {name: rounded(fitted[sizes.index(8)], n_bits) for name, fitted in models.items()}
display = ReconstructionDisplay.from_predictions(X_test, restored, image_shape=(8, 8), n_rows=8, ax=right)
display.axes_[0].figure.suptitle("Test digits of 40 bits: 8 numbers of 5 bits")
plt.show()

# %%
# Which to take
# -------------
# - Up to some thousand images: PCA. A network's decoder costs more than it saves.
# - More images, all of one kind: an autoencoder, at first a small one. For very many, a large one
#   halves the code.
# - The size is not known, or differs from reader to reader: the ordered autoencoder. One model
#   serves every size; at each it lies between PCA and an autoencoder made for that size.
# - NMF needs more numbers than PCA: its parts are for reading, not for compression.
# - All of them lose something. Without loss zlib takes five times the bits of the autoencoder's codes.
