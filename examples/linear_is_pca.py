"""
A linear autoencoder is PCA
===========================

Without hidden layers, the autoencoder with the smallest squared error is PCA (Baldi and Hornik, 1989). Its
attributes equal those of scikit-learn's PCA up to rounding errors. Gradient descent from random weights finds
the same subspace, but not the same axes.
"""

# %%
# The same attributes
# -------------------
# Training starts from PCA, which is already the optimum of a linear autoencoder. The model has all
# attributes of PCA, and returns the same codes and log-likelihoods.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/linear_is_pca.png'
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from skorch.callbacks import Callback

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.inspection import LossCurveDisplay

X = load_digits().data
n_components = 4
pca = PCA(n_components).fit(X)
linear = AutoencoderTransformer(n_components, hidden_layer_sizes=()).fit(X)

pairs = {
    name: (getattr(linear, name), getattr(pca, name))
    for name in (
        *("mean_", "components_", "explained_variance_", "explained_variance_ratio_"),
        *("singular_values_", "noise_variance_"),
    )
}
pairs["get_covariance()"] = linear.get_covariance(), pca.get_covariance()
pairs["transform(X)"] = linear.transform(X), pca.transform(X)
pairs["score_samples(X)"] = linear.score_samples(X), pca.score_samples(X)

print("largest difference from PCA")
for name, (ours, theirs) in pairs.items():
    print(f"  {name:26}  {np.abs(ours - theirs).max():.0e}")

# %%
# The same subspace by gradient descent
# -------------------------------------
# ``init="random"`` is the textbook autoencoder, which does not use PCA; ``alpha=0`` disables weight decay,
# which PCA does not have either. After each epoch, a callback computes the principal angles between the
# range of the decoder and the subspace of PCA. Two subspaces of four dimensions have four principal angles,
# all of which are zero if the subspaces are equal.


class SubspaceAngles(Callback):
    """Principal angles to the subspace of PCA after every epoch, in degrees."""

    def on_train_begin(self, net, **kwargs):
        self.angles_ = []

    def on_epoch_end(self, net, **kwargs):
        origin, steps = torch.zeros(1, n_components), torch.eye(n_components)
        with torch.no_grad():
            directions = net.module_.decode(steps) - net.module_.decode(origin)
        self.angles_.append(np.degrees(subspace_angles(directions.numpy().T, pca.components_.T)))


callback = SubspaceAngles()
trained = AutoencoderTransformer(
    n_components,
    hidden_layer_sizes=(),
    init="random",
    alpha=0,
    early_stopping=False,
    max_iter=300,
    callbacks=[callback],
    random_state=0,
).fit(X)

angles = np.array(callback.angles_)
print("\n  epoch  largest angle to PCA's subspace")
for epoch in (1, 10, 30, 100, 300):
    print(f"  {epoch:5}  {angles[epoch - 1].max():10.3f}")

pca_error = np.square(X - pca.inverse_transform(pca.transform(X))).sum(axis=1).mean()
print(f"\nSquared error divided by PCA's: {trained.reconstruction_error(X).mean() / pca_error:.6f}")

# %%
# The loss converges to that of PCA. It does so long before the angles vanish, since near the optimum the
# difference is quadratic in the angles. The noise of mini-batches keeps the angles at some tenths of a degree
# until the learning rate decays.

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for j, colour in enumerate(("#0072B2", "#56B4E9", "#009E73", "#E69F00")):
    left.plot(np.arange(1, len(angles) + 1), angles[:, j], color=colour, label=f"angle {j + 1}")
left.set(title="Principal angles to PCA's subspace", xlabel="Epoch", ylabel="Degrees", yscale="log")
left.set_xlim(left=0)
left.grid(alpha=0.3)
left.legend(frameon=False)
left.spines[["top", "right"]].set_visible(False)
pca_loss = 1 - pca.explained_variance_ratio_.sum()
LossCurveDisplay(trained.loss_curve_, pca_loss=pca_loss, loss_name="Unexplained share of the variance").plot(
    right
)
plt.show()

# %%
# The axes are not determined
# ---------------------------
# The decoder can invert any invertible linear map of the code, so that the squared error does not depend on
# the basis of the subspace: the axes of the trained model are linear combinations of those of PCA. Applying
# PCA to the reconstructions recovers the latter.

recovered = PCA(n_components).fit(trained.inverse_transform(trained.transform(X)))


def cosines(components):
    """Return the cosine of the angle between each component and that of PCA."""
    norms = np.linalg.norm(components, axis=1)
    return np.abs((components * pca.components_).sum(axis=1)) / norms


print("\ncosine of the angle between each axis and that of PCA")
for name, components in (("trained", trained.components_), ("recovered", recovered.components_)):
    print(f"  {name:11}  " + "  ".join(f"{value:.3f}" for value in cosines(components)))

signs = np.sign((recovered.components_ * pca.components_).sum(axis=1, keepdims=True))
images = {
    "PCA": pca.components_,
    "Trained from\nrandom weights": trained.components_,
    "Recovered\nby PCA": signs * recovered.components_,
}
fig, axes = plt.subplots(3, n_components, figsize=(5.6, 4.2), layout="constrained")
fig.suptitle("Components as images")
for line, (name, components) in zip(axes, images.items(), strict=True):
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, component in zip(line, components, strict=True):
        largest = np.abs(component).max()
        ax.imshow(component.reshape(8, 8), cmap="RdBu_r", vmin=-largest, vmax=largest)
        ax.set(xticks=[], yticks=[])
plt.show()

# %%
# P. Baldi, K. Hornik (1989), *Neural networks and principal component analysis: learning from examples
# without local minima*, Neural Networks 2.
