"""
A linear autoencoder is PCA
===========================

Without hidden layers the best autoencoder for squared error is PCA (Baldi and Hornik, 1989). Here it has
PCA's attributes to the last digit; and one that starts at random weights and is trained by gradient
finds the same subspace, though not the same axes.
"""

# %%
# The same numbers
# ----------------
# Training starts at PCA, which is the optimum of a linear autoencoder: there is nothing to train. The
# model has every attribute of PCA, and gives the same codes and log-likelihoods.

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

print("largest difference to PCA")
for name, (ours, theirs) in pairs.items():
    print(f"  {name:26}  {np.abs(ours - theirs).max():.0e}")

# %%
# The same subspace, by gradient
# ------------------------------
# ``init="random"`` is the textbook autoencoder, which knows nothing of PCA; ``alpha=0`` takes away the
# weight decay, which PCA does not have either. A callback watches the training: after each epoch it
# measures the principal angles between the subspace that the decoder maps to and PCA's. Two subspaces of
# four dimensions have four of them, which are all zero where the subspaces are the same.


class SubspaceAngles(Callback):
    """Keep the principal angles, in degrees, of every epoch."""

    def on_train_begin(self, net, **kwargs):
        self.angles_ = []

    def on_epoch_end(self, net, **kwargs):
        origin, steps = torch.zeros(1, n_components), torch.eye(n_components)
        with torch.no_grad():
            directions = net.module_.decode(steps) - net.module_.decode(origin)
        self.angles_.append(np.degrees(subspace_angles(directions.numpy().T, pca.components_.T)))


watch = SubspaceAngles()
trained = AutoencoderTransformer(
    n_components,
    hidden_layer_sizes=(),
    init="random",
    alpha=0,
    early_stopping=False,
    max_iter=300,
    callbacks=[watch],
    random_state=0,
).fit(X)

angles = np.array(watch.angles_)
print("\n  epoch  largest angle to PCA's subspace")
for epoch in (1, 10, 30, 100, 300):
    print(f"  {epoch:5}  {angles[epoch - 1].max():10.3f}")

pca_error = np.square(X - pca.inverse_transform(pca.transform(X))).sum(axis=1).mean()
print(f"\nSquared error divided by PCA's: {trained.reconstruction_error(X).mean() / pca_error:.6f}")

# %%
# The loss falls to PCA's and no further. It is there long before the angles are zero: near the optimum it
# differs by the order of their squares. Steps on batches keep the angles at some tenths of a degree, until
# the learning rate decays.

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
# Any invertible map of the code can be undone by the decoder, so that squared error does not care which
# axes span the subspace: those of the trained model are mixtures of PCA's. PCA of its
# reconstructions turns them back.

turned = PCA(n_components).fit(trained.inverse_transform(trained.transform(X)))


def cosines(components):
    """Of the angle between each of the components and PCA's."""
    norms = np.linalg.norm(components, axis=1)
    return np.abs((components * pca.components_).sum(axis=1)) / norms


print("\ncosine of each axis to PCA's axis of the same number")
for name, components in (("trained", trained.components_), ("turned back", turned.components_)):
    print(f"  {name:11}  " + "  ".join(f"{value:.3f}" for value in cosines(components)))

rows = {
    "PCA": pca.components_,
    "Trained from\nrandom weights": trained.components_,
    "Turned back\nby PCA": turned.components_ * np.sign(turned.components_ * pca.components_).sum(1)[:, None],
}
fig, axes = plt.subplots(3, n_components, figsize=(5.6, 4.2), layout="constrained")
fig.suptitle("Components as images")
for line, (name, components) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, component in zip(line, components, strict=True):
        largest = np.abs(component).max()
        ax.imshow(component.reshape(8, 8), cmap="RdBu_r", vmin=-largest, vmax=largest)
        ax.set(xticks=[], yticks=[])
plt.show()

# %%
# P. Baldi, K. Hornik (1989), *Neural networks and principal component analysis: learning from examples
# without local minima*, Neural Networks 2.
