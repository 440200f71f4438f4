"""
Choose the number of components
===============================

``AutoencoderTransformerCV`` chooses the number of components by cross-validation, as ``LassoCV`` chooses its
penalty. The held-out log-likelihood finds the true number where there is one: the same as PCA on data near a
plane, and fewer than PCA on data near a curved surface. The explained variance cannot choose, because it
grows with every component; it is useful when the share of the variance to keep is given.
"""

# %%
# Data of known dimension
# -----------------------
# Flat: three latent variables, mapped linearly to ten features, plus noise. Curved: two latent variables,
# their squares and their product, mapped linearly to ten features, plus noise. The curved samples lie near
# a two-dimensional surface that spans five dimensions.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/choose_latent_size.png'
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold, train_test_split

from sklearn_ae import AutoencoderTransformer, AutoencoderTransformerCV
from sklearn_ae.inspection import ExplainedVarianceDisplay
from sklearn_ae.metrics import explained_variance_scorer

n, n_features = 400, 10
rng = np.random.RandomState(0)
latent = 2 * rng.normal(size=(n, 3))
flat = latent @ np.linalg.qr(rng.normal(size=(n_features, 3)))[0].T + 0.3 * rng.normal(size=(n, n_features))

s, t = rng.uniform(-1, 1, size=(2, n))
bent = np.column_stack([s, t, s * t, s**2, t**2])
curved = bent @ np.linalg.qr(rng.normal(size=(n_features, 5)))[0].T + 0.05 * rng.normal(size=(n, n_features))

# %%
# Held-out log-likelihood
# -----------------------
# The default score is the mean log-likelihood of held-out samples, in nats. PCA has the same score, so that
# the two can be compared. On flat data the autoencoder falls back to PCA, and both find three components.
# On curved data PCA needs five components, the dimension of the span. The autoencoder needs two, with a
# higher density. Further components only describe noise; from five on, validation shows no gain over PCA,
# and the autoencoder falls back to it.

sizes = [1, 2, 3, 4, 5, 6]


def results(search):
    """Return the means over the folds and their standard errors."""
    folds = [search.cv_results_[f"split{i}_test_score"] for i in range(search.n_splits_)]
    return np.mean(folds, axis=0), np.std(folds, axis=0, ddof=1) / np.sqrt(len(folds))


fig, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
print("held-out nats per sample size chosen  nats")
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
    ax.axvline(truth, color="0.6", linestyle=":", label=f"Latent variables: {truth}")
    ax.set(title=f"{kind} data", xlabel="Number of components", ylabel="Held-out nats per sample")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The error bars are standard errors over five folds; the chosen sizes are circled.
#
# Explained variance
# ------------------
# The same curved data, scored by the explained variance of held-out samples. It rises with every component,
# since each also captures some of the noise. ``rule="1se"`` takes the smallest size within one standard
# error of the best; but when little variance remains, that error is small as well, and the rule takes all
# six.
#
# Digits have no true number of components: even the log-likelihood rises over the whole range.

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
# Choose a share of the variance
# ------------------------------
# With ``bottleneck="ordered"`` the components are sorted by importance, as in PCA. One fit can be truncated
# to any size, which gives the whole curve; as in PCA, ``n_components=0.9`` would keep 90 % of the variance.
# A plain autoencoder must be fitted again for each size.

share = 0.9
ordered = AutoencoderTransformer(24, bottleneck="ordered", max_iter=50, random_state=0).fit(X_train)
plain = [AutoencoderTransformer(k, max_iter=40, random_state=0).fit(X_train) for k in (4, 8, 16)]
display = ExplainedVarianceDisplay.from_estimator(
    {"PCA": PCA(24).fit(X_train), "Ordered autoencoder": ordered, "Plain autoencoders": plain}, X_test
)
print(f"\nto explain {share:.0%} of held-out digits")
for name in ("PCA", "Ordered autoencoder"):
    k, shares = display.curves[name]
    print(f"  {name:20}  {k[np.argmax(shares >= share)]:2} components")
print("variance explained by 8 components")
for name, (k, shares) in display.curves.items():
    print(f"  {name + ', 8':23}  {100 * shares[k == 8][0]:4.1f} %")
display.ax_.axhline(share, color="0.6", linestyle=":")
display.ax_.set(title="Test digits", ylim=(0, 1))
plt.show()

# %%
# Both autoencoders need fewer components than PCA for the same share. The plain ones explain more than the
# ordered one truncated to their size, which is trained for all sizes at once.
