"""
One number for a curve: the contractive penalty
===============================================

Samples in the plane lie near a spiral, so that one number, the position along the spiral, describes each of
them. An autoencoder can find it, PCA cannot. The penalty ``Contractive`` keeps the code from changing when
the input changes, except where the reconstruction requires it: the code changes at a constant rate along
the curve, and hardly at all across it.
"""

# %%
# A noisy spiral
# --------------
# The spiral is parametrised by arc length: ``s`` is the length of the curve from its inner end. The noise
# has a standard deviation of 0.15 in both features.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/contractive_curve.png'
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import pearsonr
from sklearn.decomposition import PCA

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.metrics import lipschitz_estimate, noise_sensitivity
from sklearn_ae.penalties import Contractive

LENGTH, GROWTH = 12.0, 0.25


def spiral(s):
    """Return points of a logarithmic spiral at arc length s from its inner end."""
    radius = 1 + s * GROWTH / np.hypot(1, GROWTH)
    angle = np.log(radius) / GROWTH
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def noisy_spiral(n, random_state):
    """Draw n samples near the spiral and their positions along it."""
    rng = np.random.RandomState(random_state)
    s = rng.uniform(0, LENGTH, n)
    return spiral(s) + rng.normal(scale=0.15, size=(n, 2)), s


X, s = noisy_spiral(400, random_state=0)
X_test, s_test = noisy_spiral(1000, random_state=1)

# %%
# Three models with one component
# -------------------------------
# The weight of the penalty is relative to the loss per sample in working units, where the mean variance of
# the features is 1.
models = {
    "PCA": PCA(n_components=1),
    "Autoencoder": AutoencoderTransformer(1, hidden_layer_sizes=(64, 64), max_iter=150, random_state=0),
    "Contractive": AutoencoderTransformer(
        1, hidden_layer_sizes=(64, 64), penalty=Contractive(0.03), max_iter=150, random_state=0
    ),
}
for model in models.values():
    model.fit(X)

# %%
# Thin lines are level sets of the code, at forty equally spaced quantiles. The thick line is the decoded
# curve. The level sets of PCA are straight, and many intersect the spiral twice: different positions have
# the same code. Those of the autoencoders intersect the curve once. Those of the plain autoencoder are
# oblique to the curve in places, particularly at its ends, and there noise across the curve changes the
# code. Those of the contractive autoencoder are nearly perpendicular to the curve.
COLOURS = {"PCA": "#D55E00", "Autoencoder": "#0072B2", "Contractive": "#009E73"}

ticks = np.linspace(X.min(axis=0) - 0.5, X.max(axis=0) + 0.5, 200)
plane = np.stack(np.meshgrid(*ticks.T), axis=-1)
distance = np.linalg.norm(plane[:, :, None] - spiral(np.linspace(0, LENGTH, 100)), axis=-1).min(axis=2)

fig, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained", sharex=True, sharey=True)
for ax, (name, model) in zip(axes, models.items(), strict=True):
    codes = np.sort(model.transform(X)[:, 0])
    everywhere = model.transform(plane.reshape(-1, 2)).reshape(plane.shape[:2])
    near = np.ma.array(everywhere, mask=(distance > 0.6) & (name != "PCA"))
    ax.scatter(*X.T, s=6, color="#999999", linewidth=0)
    ax.contour(*ticks.T, near, levels=codes[5::10], colors=COLOURS[name], linestyles="solid", linewidths=0.7)
    decoded = model.inverse_transform(np.linspace(codes[0], codes[-1], 300)[:, None])
    ax.plot(*decoded.T, color="black", linewidth=2.2)
    ax.set(title=name, xlabel="first feature", aspect="equal")
axes[0].set_ylabel("second feature")
fig.suptitle("Level sets of the code and the decoded curve (black)")
plt.show()

# %%
# The code along and across the curve
# -----------------------------------
# Central differences on the noise-free spiral estimate the rate of change of the code along the curve and
# perpendicular to it, in standard deviations of the code per unit of length. A code that is linear in the
# position on a curve of this length has a rate of :math:`\sqrt{12} / 12 = 0.29`, the dotted line in the
# figure below.
positions = np.linspace(0.3, LENGTH - 0.3, 200)
tangent = (spiral(positions + 1e-3) - spiral(positions - 1e-3)) / 2e-3
normal = tangent[:, ::-1] * [-1, 1]


def rate_of_change(model, direction, step=0.01):
    """Return the change of the code per unit of length, in standard deviations of the code."""
    ahead, behind = spiral(positions) + step * direction, spiral(positions) - step * direction
    change = model.transform(ahead) - model.transform(behind)
    return np.abs(change[:, 0]) / (2 * step * model.transform(X).std())


table = pd.DataFrame(
    {
        name: {
            "distance²": np.square(model.inverse_transform(model.transform(X_test)) - spiral(s_test))
            .sum(axis=1)
            .mean(),
            "correlation": abs(pearsonr(model.transform(X_test)[:, 0], s_test).statistic),
            "along": rate_of_change(model, tangent).mean(),
            "across": rate_of_change(model, normal).mean(),
            "largest": lipschitz_estimate(model, X_test).max() / model.transform(X).std(),
            "shift": noise_sensitivity(model, X_test, random_state=0),
        }
        for name, model in models.items()
    }
).T
print(table.round(3).to_string())

# %%
# ``distance²`` is the mean squared distance between the reconstruction and the noise-free sample, and
# ``correlation`` that between the code and the position. ``largest`` is the largest rate of change at any
# test sample (:func:`~sklearn_ae.metrics.lipschitz_estimate`), and ``shift`` the relative change under
# noise of a tenth of the spread of the data (:func:`~sklearn_ae.metrics.noise_sensitivity`). Both
# autoencoders reconstruct the curve equally well: the penalty has no cost here. It makes the code more
# robust, with less than half the rate of change across the curve, and two thirds of the largest rate of
# change.
#
# The left panel shows that the code of the contractive autoencoder is nearly linear in the position, the
# others that its rate of change is nearly constant along the curve, and nearly zero across it.
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for name, model in models.items():
    code = model.transform(X_test)[:, 0]
    sign = np.sign(pearsonr(code, s_test).statistic)
    left.scatter(
        s_test, sign * (code - code.mean()) / code.std(), s=5, color=COLOURS[name], linewidth=0, label=name
    )
    middle.plot(positions, rate_of_change(model, tangent), color=COLOURS[name])
    right.plot(positions, rate_of_change(model, normal), color=COLOURS[name])
left.set(title="Code and position", ylabel="code (standard deviations)")
left.legend(frameon=False, markerscale=3)
middle.set(title="Rate of change along the curve", ylabel="code per unit of length (sd)")
right.set(title="Rate of change across the curve", ylim=middle.get_ylim())
middle.axhline(np.sqrt(12) / LENGTH, color="black", linestyle=":", linewidth=1)
for ax in (left, middle, right):
    ax.set_xlabel("position on the spiral (arc length)")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
