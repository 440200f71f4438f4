"""
Sparse features for a classifier with few labels
================================================

A sparse autoencoder with more components than pixels is trained on digits without labels. It represents
each digit as a sum of a few strokes. A linear classifier on these features needs fewer labels than one on
the pixels or on principal components. With more labels, a kernel machine on the pixels is more accurate
than either.
"""

# %%
# A dictionary of strokes
# -----------------------
# A single layer with 128 components for 64 pixels. With ``bottleneck="relu"`` the codes are positive or
# exactly zero. :class:`~sklearn_ae.penalties.KLSparsity` penalises deviations from a target share of active
# samples per component, here 15 %, so that all components are used, each for a part of the samples. Noise
# on the input (``corruption``) and a strong weight decay (``alpha``) make the features smooth. With
# ``tied_weights`` a component is detected by the same pattern that it draws. ``init="random"`` avoids the
# principal axes, which are a poor start for a dictionary.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/sparse_features.png'
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.penalties import KLSparsity

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)

sparse = AutoencoderTransformer(
    128,
    hidden_layer_sizes=(),
    bottleneck="relu",
    penalty=KLSparsity(weight=1, target=0.15),
    corruption=GaussianNoise(1.0),
    init="random",
    tied_weights=True,
    alpha=3,
    learning_rate_init=0.01,
    max_iter=200,
    random_state=0,
).fit(X_train)
pca = PCA(n_components=32).fit(X_train)

codes = sparse.transform(X_train)
active = (codes > 0).mean(axis=0)
print(f"features in use: {(active > 0).sum()} of 128")
print(f"active features per digit: {(codes > 0).sum(axis=1).mean():.0f} of 128")
for name, model in {"sparse": sparse, "PCA": pca}.items():
    rest = np.square(X_test - model.inverse_transform(model.transform(X_test))).sum()
    explained = 1 - rest / np.square(X_test - X.mean(axis=0)).sum()
    print(f"variance of test digits explained by {name}: {explained:.1%}")

# %%
# The contribution of a feature to an image is the decoded unit code minus the decoded zero code. Blue adds
# ink, red removes it; the images are interpolated for display. Many features are strokes and arcs that
# suppress the ink around them. Half of the features are shown.
background = sparse.inverse_transform(np.zeros((1, 128)))[0]
features = sparse.inverse_transform(np.eye(128)) - background


def show_feature(ax, feature):
    """Plot the contribution of a feature."""
    limit = np.abs(feature).max()
    image = feature.reshape(8, 8)
    ax.imshow(image, cmap="RdBu", interpolation="bicubic", vmin=-limit, vmax=limit)
    ax.set(xticks=[], yticks=[])


def show_digit(ax, image, title):
    """Plot an image of a digit."""
    ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=10)


fig, axes = plt.subplots(4, 16, figsize=(11, 3.2), layout="constrained")
for ax, feature in zip(axes.flat, features, strict=False):
    show_feature(ax, feature)
fig.suptitle("64 of the 128 features, each on its own scale")
plt.show()

# %%
# A digit is the sum of a common background and about twenty features. The figure shows the eight features
# that contribute most to three test digits, with their codes, and the full reconstruction. The digits are
# those of their class that are reconstructed best.
fig, axes = plt.subplots(3, 10, figsize=(11, 4), layout="constrained")
for row, digit in zip(axes, (2, 3, 6), strict=True):
    digits = X_test[y_test == digit]
    x = digits[sparse.reconstruction_error(digits).argmin()]
    code = sparse.transform([x])[0]
    largest = np.argsort(-code * np.linalg.norm(features, axis=1))[:8]
    show_digit(row[0], x, "test digit")
    for ax, i in zip(row[1:9], largest, strict=True):
        show_feature(ax, features[i])
        ax.set_title(f"{code[i]:.0f}", fontsize=10)
    show_digit(row[9], sparse.inverse_transform([code])[0], "sum of all")
fig.suptitle("Test digits, their largest features and codes")
plt.show()

# %%
# Few labels
# ----------
# The features are learned from all training samples, but the classifiers only from labelled ones: 2 to 100
# per digit, drawn ten times. Each representation is divided by a single scalar, so that the same ``C``
# suits all. The linear classifiers are compared with an SVM with a Gaussian kernel on the pixels.
sizes = (2, 5, 10, 20, 50, 100)


def linear():
    """Return a linear classifier."""
    return LogisticRegression(C=30, max_iter=2000)


def kernel():
    """Return a kernel machine."""
    return SVC(C=10, gamma=1)


cases = {
    "pixels": (X_train, X_test, linear),
    "PCA, 32": (pca.transform(X_train), pca.transform(X_test), linear),
    "sparse, 128": (codes, sparse.transform(X_test), linear),
    "pixels, kernel SVM": (X_train, X_test, kernel),
}


def labelled(n, draw):
    """Return the indices of n training samples per digit."""
    rng = np.random.RandomState(draw)
    return np.hstack([rng.choice(np.flatnonzero(y_train == digit), n, replace=False) for digit in range(10)])


accuracy = {}
for name, (train, test, classifier) in cases.items():
    scale = np.sqrt(train.var(axis=0).sum())
    accuracy[name] = np.array(
        [
            [
                classifier().fit(train[index] / scale, y_train[index]).score(test / scale, y_test)
                for index in (labelled(n, draw) for draw in range(10))
            ]
            for n in sizes
        ]
    )

print("\nlabels per digit    " + "".join(f"{n:8}" for n in sizes))
for name, scores in accuracy.items():
    print(f"{name:20}" + "".join(f"{mean:8.1%}" for mean in scores.mean(axis=1)))

# %%
# The linear classifier gains from sparse features at every size, most with the fewest labels. PCA has no
# advantage over the pixels, since the classifier can ignore the discarded directions by itself. The sparse
# features reconstruct less accurately than PCA, which is not their purpose. With 20 or more labels per
# digit the kernel machine on the pixels is the best: sparse codes help a simple classifier, and a strong
# one does not need them.
STYLES = {
    "pixels": ("#D55E00", "s", "-"),
    "PCA, 32": ("#E69F00", "v", "-"),
    "sparse, 128": ("#0072B2", "o", "-"),
    "pixels, kernel SVM": ("#666666", "d", "--"),
}
fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for name, scores in accuracy.items():
    colour, marker, line = STYLES[name]
    ax.plot(sizes, 1 - scores.mean(axis=1), color=colour, marker=marker, linestyle=line, label=name)
ax.set(
    xscale="log",
    yscale="log",
    xlabel="labels per digit",
    ylabel="error rate on test digits",
    title="Linear classifiers on three representations, and a kernel machine",
)
ax.set_xticks(sizes, [str(n) for n in sizes], minor=False)
ax.set_xticks([], minor=True)
ticks = (0.01, 0.02, 0.05, 0.1, 0.2)
ax.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
ax.set_yticks([], minor=True)
ax.grid(alpha=0.3)
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
