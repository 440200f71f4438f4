"""
Sparse features for a classifier with few labels
================================================

A sparse autoencoder with more features than pixels is trained on digits without their labels. Each
digit becomes a sum of a few strokes. A linear classifier on these features needs fewer labels than one
on the pixels or on principal components. The page also shows where the gain ends: a kernel machine on
the pixels has no need of them.
"""

# %%
# A dictionary of strokes
# -----------------------
# One layer without hidden ones, 128 features for 64 pixels. ``bottleneck="relu"`` makes codes
# that are positive or exactly zero. :class:`~sklearn_ae.penalties.KLSparsity` asks that each feature be
# active in 15 % of the rows: all are in use, each now and then. Noise on the input (``corruption``) and
# a strong weight decay (``alpha``) make the features smooth. ``tied_weights`` has a feature look for what
# it draws, and ``init="random"`` leaves out PCA, whose axes are no dictionary to start from.
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
print(f"features that are used: {(active > 0).sum()} of 128")
print(f"active in a digit: {(codes > 0).sum(axis=1).mean():.0f} of 128")
for name, model in {"sparse": sparse, "PCA": pca}.items():
    rest = np.square(X_test - model.inverse_transform(model.transform(X_test))).sum()
    print(
        f"variance of test digits that {name} explains: {1 - rest / np.square(X_test - X.mean(0)).sum():.1%}"
    )

# %%
# What a feature adds to a picture is the decoded unit code less the decoded zero. Blue adds ink, red
# takes it away; the pictures of features are smoothed for the eye. Many are strokes and bows, with
# their surroundings wiped clean. Half of them are shown.
background = sparse.inverse_transform(np.zeros((1, 128)))[0]
features = sparse.inverse_transform(np.eye(128)) - background


def show_feature(ax, feature):
    limit = np.abs(feature).max()
    image = feature.reshape(8, 8)
    ax.imshow(image, cmap="RdBu", interpolation="bicubic", vmin=-limit, vmax=limit)
    ax.set(xticks=[], yticks=[])


def show_digit(ax, picture, title):
    ax.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=10)


fig, axes = plt.subplots(4, 16, figsize=(11, 3.2), layout="constrained")
for ax, feature in zip(axes.flat, features, strict=False):
    show_feature(ax, feature)
fig.suptitle("64 of the 128 features, each in a scale of its own")
plt.show()

# %%
# A digit is one common background and a sum of about twenty features. These are the eight that add most
# to three test digits, with their codes, and the sum of all. The digits are the best reconstructed ones
# of their kind.
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
fig.suptitle("Test digits, their largest features and the codes of these")
plt.show()

# %%
# Few labels
# ----------
# All training rows have shaped the features, but the classifiers see only some labels: 2 to 100 of each
# digit, drawn ten times. Each representation is divided by one number, so that the same ``C`` fits
# all. An SVM with a Gaussian kernel on the pixels stands beside the linear classifiers.
sizes = (2, 5, 10, 20, 50, 100)


def linear():
    return LogisticRegression(C=30, max_iter=2000)


def kernel():
    return SVC(C=10, gamma=1)


cases = {
    "pixels": (X_train, X_test, linear),
    "PCA, 32": (pca.transform(X_train), pca.transform(X_test), linear),
    "sparse, 128": (codes, sparse.transform(X_test), linear),
    "pixels, kernel SVM": (X_train, X_test, kernel),
}


def labelled(n, draw):
    """Row numbers of n training digits of each kind."""
    rng = np.random.RandomState(draw)
    return np.hstack([rng.choice(np.flatnonzero(y_train == digit), n, replace=False) for digit in range(10)])


accuracy = {}
for name, (train, test, classifier) in cases.items():
    scale = np.sqrt(train.var(axis=0).sum())
    accuracy[name] = np.array(
        [
            [
                classifier().fit(train[rows] / scale, y_train[rows]).score(test / scale, y_test)
                for rows in (labelled(n, draw) for draw in range(10))
            ]
            for n in sizes
        ]
    )

print("\nlabels per digit    " + "".join(f"{n:8}" for n in sizes))
for name, scores in accuracy.items():
    print(f"{name:20}" + "".join(f"{mean:8.1%}" for mean in scores.mean(axis=1)))

# %%
# The linear classifier gains from sparse features at every size, most with the fewest labels. PCA gains
# nothing: it only leaves out what the classifier could have ignored. The features reconstruct worse than
# PCA; that is not what they are for. With 20 labels or more of each digit the kernel machine does best,
# without any features: sparse codes make a cheap classifier strong, and a strong one does not need them.
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
    ylabel="share of test digits misjudged",
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
