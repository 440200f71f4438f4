"""
One number for a curve: the contractive penalty
===============================================

Points in the plane lie near a spiral, so that one number, the place along the spiral, describes each.
PCA cannot find it, an autoencoder can. The penalty ``Contractive`` makes the code change little when
the row does. What is left is the change that reconstruction needs: the code moves along the curve, at
an even lr_multiplier, and hardly at all across it.
"""

# %%
# A noisy spiral
# --------------
# The spiral is drawn at unit speed: ``s`` is the length of the way from its inner end. The noise has a
# standard deviation of 0.15 in both columns.
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
    """Points of a logarithmic spiral at length s from its inner end."""
    radius = 1 + s * GROWTH / np.hypot(1, GROWTH)
    angle = np.log(radius) / GROWTH
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def draw_rows(n, random_state):
    rng = np.random.RandomState(random_state)
    s = rng.uniform(0, LENGTH, n)
    return spiral(s) + rng.normal(scale=0.15, size=(n, 2)), s


X, s = draw_rows(400, random_state=0)
X_test, s_test = draw_rows(1000, random_state=1)

# %%
# Three models with one component
# -------------------------------
# The weight of the penalty stands against the loss of a row in working units, where the mean variance
# of the columns is 1.
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
# Thin lines join the places in the plane that get the same code, forty of them at even steps of the
# code's rank. The thick line is what the codes are decoded to. The lines of PCA are straight, and many
# cut the spiral twice: different places get one code. Those of the autoencoders cross the curve once.
# Where the plain autoencoder's cross it aslant, at the ends above all, noise across the curve changes
# the code. Those of the contractive one cross it nearly at right angles.
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
    ax.set(title=name, xlabel="first column", aspect="equal")
axes[0].set_ylabel("second column")
fig.suptitle("Lines of equal code, and the decoded curve (black)")
plt.show()

# %%
# The code along and across the curve
# -----------------------------------
# Central differences on the clean spiral tell how fast the code moves per unit of length in the
# direction of the curve and at a right angle to it, in standard deviations of the code. A code that
# grows evenly along a curve of this length moves by :math:`\sqrt{12} / 12 = 0.29` per unit of length, the
# dotted line in the figure below.
places = np.linspace(0.3, LENGTH - 0.3, 200)
tangent = (spiral(places + 1e-3) - spiral(places - 1e-3)) / 2e-3
normal = tangent[:, ::-1] * [-1, 1]


def speed(model, direction, step=0.01):
    """Change of the code per unit of length, in standard deviations of the code."""
    ahead, behind = spiral(places) + step * direction, spiral(places) - step * direction
    change = model.transform(ahead) - model.transform(behind)
    return np.abs(change[:, 0]) / (2 * step * model.transform(X).std())


table = pd.DataFrame(
    {
        name: {
            "distance²": np.square(model.inverse_transform(model.transform(X_test)) - spiral(s_test))
            .sum(axis=1)
            .mean(),
            "correlation": abs(pearsonr(model.transform(X_test)[:, 0], s_test).statistic),
            "along": speed(model, tangent).mean(),
            "across": speed(model, normal).mean(),
            "largest": lipschitz_estimate(model, X_test).max() / model.transform(X).std(),
            "shift": noise_sensitivity(model, X_test, random_state=0),
        }
        for name, model in models.items()
    }
).T
print(table.round(3).to_string())

# %%
# ``distance²`` is the mean squared distance from a reconstruction to the clean point of its row, and
# ``correlation`` that of the code with the place. ``largest`` is the fastest move of the code at any
# test row (:func:`~sklearn_ae.metrics.lipschitz_estimate`), and ``shift`` the relative move under noise of a
# tenth of the rows' spread (:func:`~sklearn_ae.metrics.noise_sensitivity`). Both autoencoders reconstruct the curve
# equally well, so the penalty costs nothing here. It makes the code steadier: the code moves less than half
# as much across the curve, and its fastest move is two thirds of the plain one's.
#
# On the left, the code of the contractive autoencoder is nearly a straight line of the place. In the
# middle and on the right, its lr_multiplier along the curve is even, and that across it is near zero.
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for name, model in models.items():
    code = model.transform(X_test)[:, 0]
    sign = np.sign(pearsonr(code, s_test).statistic)
    left.scatter(
        s_test, sign * (code - code.mean()) / code.std(), s=5, color=COLOURS[name], linewidth=0, label=name
    )
    middle.plot(places, speed(model, tangent), color=COLOURS[name])
    right.plot(places, speed(model, normal), color=COLOURS[name])
left.set(title="Code and place", ylabel="code (standard deviations)")
left.legend(frameon=False, markerscale=3)
middle.set(title="Pace along the curve", ylabel="code per unit of length (sd)")
right.set(title="Pace across the curve", ylim=middle.get_ylim())
middle.axhline(np.sqrt(12) / LENGTH, color="black", linestyle=":", linewidth=1)
for ax in (left, middle, right):
    ax.set_xlabel("place on the spiral (length)")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
