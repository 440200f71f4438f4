"""
Choose the size of the code
===========================

``AutoencoderTransformerCV`` chooses the number of components by cross-validation, as ``LassoCV`` chooses its
penalty. Held-out nats find the true number where there is one: that of flat data as PCA does, and that
of curved data, where PCA needs more. The share of the variance that is explained does not choose: it
grows with every component, and is for saying how much one wants.
"""

# %%
# Data of which the truth is known
# --------------------------------
# Flat: three hidden numbers, mapped linearly to ten columns, and noise. Curved: two hidden numbers, their
# squares and their product, mapped to ten columns, and noise. The curved rows lie near a surface of two
# dimensions, which bends into five.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold, train_test_split

from sklearn_ae import AutoencoderTransformer, AutoencoderTransformerCV
from sklearn_ae.inspection import ExplainedVarianceDisplay
from sklearn_ae.metrics import explained_variance_scorer

n, n_columns = 400, 10
rng = np.random.RandomState(0)
hidden = 2 * rng.normal(size=(n, 3))
flat = hidden @ np.linalg.qr(rng.normal(size=(n_columns, 3)))[0].T + 0.3 * rng.normal(size=(n, n_columns))

s, t = rng.uniform(-1, 1, size=(2, n))
bent = np.column_stack([s, t, s * t, s**2, t**2])
curved = bent @ np.linalg.qr(rng.normal(size=(n_columns, 5)))[0].T + 0.05 * rng.normal(size=(n, n_columns))

# %%
# Held-out nats
# -------------
# The default score is the mean log-likelihood of held-out rows, in nats. PCA has the same score, so that both
# compare. On flat data the autoencoder's gate stays shut: it *is* PCA, and both find three.
# On curved data PCA takes five components, as many as the surface bends into. The autoencoder takes
# two, and its density is the higher one. Further components only code_statistics noise; from five on the gate
# finds no gain over PCA, which stands in.

sizes = [1, 2, 3, 4, 5, 6]


def results(search):
    """Means over the folds, and their standard errors."""
    folds = [search.cv_results_[f"split{i}_test_score"] for i in range(search.n_splits_)]
    return np.mean(folds, axis=0), np.std(folds, axis=0, ddof=1) / np.sqrt(len(folds))


fig, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
print("held-out nats per row    size chosen  nats")
for ax, (kind, X, truth) in zip(axes, (("Flat", flat, 3), ("Curved", curved, 2)), strict=True):
    pca = GridSearchCV(PCA(), {"n_components": sizes}).fit(X)
    ae = AutoencoderTransformerCV(sizes, max_iter=40, random_state=0).fit(X)
    for name, search, place, style in (
        ("PCA", pca, -0.04, {"color": "#D55E00", "marker": "s"}),
        ("Autoencoder", ae, 0.04, {"color": "#0072B2", "marker": "o"}),
    ):
        chosen, (means, errors) = search.best_params_["n_components"], results(search)
        ax.errorbar(np.array(sizes) + place, means, yerr=errors, label=name, capsize=3, **style)
        ax.plot(chosen + place, means.max(), "o", markersize=16, mfc="none", mew=2, color=style["color"])
        print(f"  {kind + ', ' + name.lower():21}  {chosen:11}  {means.max():5.2f}")
    ax.axvline(truth, color="0.6", linestyle=":", label=f"Hidden numbers: {truth}")
    ax.set(title=f"{kind} data", xlabel="Number of components", ylabel="Held-out nats per row")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Bars are standard errors over five folds; the chosen sizes are circled.
#
# The share that is explained
# ---------------------------
# The same curved data, scored by the share of the variance that is explained on held-out rows. It rises with
# every component, since each takes up some of the noise, too. ``rule="1se"`` takes the
# smallest size within one standard error of the best; but where little is left to explain, that error is
# small as well: the rule takes all six.
#
# Of digits no size is the true one. Even nats rise as far as we look.

X_train, X_test = train_test_split(load_digits().data, test_size=0.25, random_state=0)
folds = KFold(3, shuffle=True, random_state=0)
digit_sizes = [2, 4, 8, 16, 24, 32, 48]

by_share = AutoencoderTransformerCV(
    sizes, scoring=explained_variance_scorer, rule="1se", cv=3, max_iter=40, random_state=0
).fit(curved)
nats = GridSearchCV(PCA(), {"n_components": digit_sizes}, cv=folds).fit(X_train)
print(f"\ncurved data, explained variance and 1se: {by_share.n_components_} of {sizes[-1]} components")
print(f"digits, nats of PCA: {nats.best_params_['n_components']} of {digit_sizes[-1]} components")

# %%
# Choose by the share that you want
# ---------------------------------
# ``bottleneck="ordered"`` makes the first components worth most, as PCA's are. One fit can be cut to any
# size and gives a whole curve; as for PCA, ``n_components=0.9`` would cut it at nine tenths of the
# variance. A plain autoencoder has to be fitted anew for each size.

wanted = 0.9
ordered = AutoencoderTransformer(24, bottleneck="ordered", max_iter=50, random_state=0).fit(X_train)
plain = [AutoencoderTransformer(k, max_iter=40, random_state=0).fit(X_train) for k in (4, 8, 16)]
display = ExplainedVarianceDisplay.from_estimator(
    {"PCA": PCA(24).fit(X_train), "Ordered autoencoder": ordered, "Identity autoencoders": plain}, X_test
)
print(f"\nto explain {wanted:.0%} of held-out digits")
for name in ("PCA", "Ordered autoencoder"):
    k, shares = display.curves[name]
    print(f"  {name:20}  {k[np.argmax(shares >= wanted)]:2} components")
print("share that 8 components explain")
for name, (k, shares) in display.curves.items():
    print(f"  {name + ', 8':23}  {100 * shares[k == 8][0]:4.1f} %")
display.ax_.axhline(wanted, color="0.6", linestyle=":")
display.ax_.set(title="Test digits", ylim=(0, 1))
plt.show()

# %%
# Both autoencoders need fewer components for the same share. The plain ones do better than the ordered one
# cut to their size, which has to serve all sizes; that is the price of the curve.
