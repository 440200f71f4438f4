"""
A table with numbers, categories, counts and gaps
=================================================

A data frame of households has numbers, categories and counts, some of which are missing. ``ByFeature``
gives every column its own likelihood, so that a ``VAETransformer`` encodes the whole table to three
components, draws a synthetic one, whose columns have the same kinds, distributions and associations, and
fills the gaps.
"""

# %%
# Households
# ----------
# Income and age are numbers, dwelling and region are categories, and children and journeys are counts. They
# depend on each other by way of age and wealth. A tenth of all values is missing.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/mixed_table.png'
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_ae import VAETransformer
from sklearn_ae.likelihoods import ByFeature

NUMBERS, CATEGORIES = ["age", "log_income", "floor_space"], ["dwelling", "region", "car"]
COUNTS = ["children", "journeys"]


def households(n, random_state):
    """Draw a table of households."""
    rng = np.random.RandomState(random_state)
    age, wealth = 50 + 14 * rng.normal(size=n), rng.normal(size=n)
    region = rng.choice(["city", "suburb", "country"], n, p=[0.4, 0.35, 0.25])
    rural = np.select([region == "city", region == "suburb"], [-1.0, 0.0], 1.0)
    utility = np.column_stack([1 - wealth - rural, 0.5 * wealth - 0.5 * rural, wealth + 1.5 * rural])
    dwelling = np.array(["rented flat", "own flat", "house"])[
        (2 * utility + rng.gumbel(size=utility.shape)).argmax(axis=1)
    ]
    children = rng.poisson(1.8 * np.exp(-((age - 40) ** 2) / 150))
    log_income = 8 + 0.5 * wealth - ((age - 50) / 30) ** 2 + 0.15 * rng.normal(size=n)
    space = 60 + 15 * wealth + 50 * (dwelling == "house") + 10 * children + 8 * rng.normal(size=n)
    car = np.where(rng.logistic(size=n) < 1.5 + 2 * rural + wealth, "yes", "no")
    journeys = rng.poisson(2 * np.exp(0.7 * wealth) * rng.gamma(2, 0.5, size=n))
    columns = [age, log_income, space, dwelling, region, car, children, journeys]
    return pd.DataFrame(dict(zip(NUMBERS + CATEGORIES + COUNTS, columns, strict=True)))


complete = households(3_000, random_state=0)
table = complete.mask(np.random.RandomState(1).uniform(size=complete.shape) < 0.1)
train, test = train_test_split(table, test_size=0.25, random_state=0)
truth = complete.loc[test.index].reset_index(drop=True)  # known in a simulation
test = test.reset_index(drop=True)
print(train.head(4).round(1).to_string())

# %%
# Kinds of features
# -----------------
# The one-hot columns of a category are one variable, and scaled columns are real numbers: that much a fitted
# ``ColumnTransformer`` tells. Counts are declared by name. ``negative_binomial`` learns how much more they
# scatter than ``poisson`` counts.
#
# ``OneHotEncoder`` makes a missing value a category of its own. If the known categories are listed, it
# encodes a missing one as zeros instead, like any unknown category.
known = [train[name].dropna().unique() for name in CATEGORIES]
encoder = OneHotEncoder(categories=known, handle_unknown="ignore", sparse_output=False)
prepare = ColumnTransformer(
    [
        ("numbers", StandardScaler(), NUMBERS),
        ("categories", encoder, CATEGORIES),
        ("counts", "passthrough", COUNTS),
    ]
).fit(train)
likelihood = ByFeature.from_transformer(prepare, poisson="children", negative_binomial="journeys")
for kind, features in likelihood.groups.items():
    print(f"{kind}: {features}")


# %%
# Gaps
# ----
# Numbers and counts are NaN where they are missing. A missing category is NaN in all columns of its group.
def encode(part):
    """Return households as an array with NaN for all that is missing."""
    X = prepare.transform(part)
    for group in likelihood.groups["categorical"]:
        X[np.ix_(~X[:, group].any(axis=1), group)] = np.nan
    return X


X_train, X_test = encode(train), encode(test)
print(f"{np.isnan(X_train).any(axis=1).mean():.0%} of the households have gaps")

# %%
# Codes and densities
# -------------------
# With ``missing="mask"`` the model leaves out what is missing: the code and the log-likelihood of a
# household are those of its observed values. The log-likelihood of the held-out households, in nats, is
# compared with that of independent columns, the same model without components.
vae = VAETransformer(n_components=3, likelihood=likelihood, missing="mask", random_state=0).fit(X_train)
alone = VAETransformer(n_components=0, likelihood=likelihood, missing="mask").fit(X_train)
codes = vae.transform(X_test)
print(f"codes {codes.shape}, active components {vae.n_active_units_}")
for name, model in {"VAE": vae, "independent columns": alone}.items():
    print(f"{name:20} {model.score(X_test):7.2f} nats per household")


# %%
# A synthetic table
# -----------------
# ``sample`` draws one-hot rows and whole counts, so that the encoder and the scaler give categories and
# numbers back.
def as_table(X):
    """Return encoded samples as a table like that of the households."""
    parts = {name: X[:, where] for name, where in prepare.output_indices_.items()}
    steps = prepare.named_transformers_
    return pd.DataFrame(steps["numbers"].inverse_transform(parts["numbers"]), columns=NUMBERS).assign(
        **dict(zip(CATEGORIES, steps["categories"].inverse_transform(parts["categories"]).T, strict=True)),
        **dict(zip(COUNTS, parts["counts"].T.round().astype(int), strict=True)),
    )


drawn = as_table(vae.sample(len(test), random_state=0))
shuffled = as_table(alone.sample(len(test), random_state=0))
print(drawn.head(4).round(1).to_string())

# %%
# Marginal distributions
# ----------------------
# Bars and lines are shares of the held-out households, without their gaps, in each bin or category.
fig, axes = plt.subplots(2, 4, figsize=(12, 5), layout="constrained")
for ax, name in zip(axes.flat, truth, strict=True):
    if name in NUMBERS:
        bins = np.histogram_bin_edges(truth[name], 15)
        shares = [np.histogram(part[name], bins)[0] / len(part) for part in (truth, drawn)]
        places = (bins[1:] + bins[:-1]) / 2
    else:
        places = sorted(truth[name].unique())[:12]
        shares = [[(part[name] == value).mean() for value in places] for part in (truth, drawn)]
    positions = np.arange(len(places)) if name in CATEGORIES else np.asarray(places)
    ax.bar(positions, shares[0], 0.9 * np.diff(positions).min(), color="#56B4E9", label="real")
    ax.plot(positions, shares[1], "o-" if name not in CATEGORIES else "o", color="#D55E00", label="synthetic")
    if name in CATEGORIES:
        ax.set_xticks(positions, places)
    ax.set_title(name)
    ax.spines[["top", "right"]].set_visible(False)
axes[0, 2].legend(frameon=False)
plt.show()


# %%
# Associations
# ------------
# The association of two columns of any kind is the normalised mutual information of their values, in tenths
# for numbers.
def associations(part):
    """Return the association of all pairs of columns."""
    edges = {name: np.quantile(truth[name], np.arange(1, 10) / 10) for name in NUMBERS}
    labels = {name: np.digitize(part[name], edges[name]) if name in edges else part[name] for name in part}
    return np.array([[normalized_mutual_info_score(labels[a], labels[b]) for b in truth] for a in truth])


found = {
    "real": associations(truth),
    "synthetic": associations(drawn),
    "independent columns": associations(shuffled),
}
fig, axes = plt.subplots(1, 3, figsize=(12, 4), layout="compressed")
for ax, (name, values) in zip(axes, found.items(), strict=True):
    image = ax.imshow(np.ma.masked_equal(values, 1.0), vmin=0, vmax=0.3, cmap="viridis")
    ax.set_title(name)
    ax.set_xticks(range(len(table.columns)), table.columns, rotation=90)
    ax.set_yticks(range(len(table.columns)), table.columns if ax is axes[0] else [])
fig.colorbar(image, ax=axes, label="normalised mutual information")
plt.show()

pairs = np.triu_indices(len(table.columns), 1)
for name in ("synthetic", "independent columns"):
    error = np.abs(found[name][pairs] - found["real"][pairs]).mean()
    print(f"{name:20} mean difference of associations to the real table {error:.3f}")

# %%
# Imputed values
# --------------
# ``impute`` returns means of missing numbers and counts given the observed values, and probabilities of
# missing categories, of which the encoder gives the most probable one back. The model without components is
# the baseline: it fills in the mean of each column and the most frequent category.
filled, baseline = as_table(vae.impute(X_test)), as_table(alone.impute(X_test))
print("root mean squared error     VAE    baseline")
for name in NUMBERS + COUNTS:
    gaps = test[name].isna()
    errors = [((part[name] - truth[name])[gaps] ** 2).mean() ** 0.5 for part in (filled, baseline)]
    print(f"{name:23} {errors[0]:7.2f}     {errors[1]:7.2f}")
print("share of right categories   VAE    baseline")
for name in CATEGORIES:
    gaps = test[name].isna()
    hits = [(part[name] == truth[name])[gaps].mean() for part in (filled, baseline)]
    print(f"{name:23} {hits[0]:7.2f}     {hits[1]:7.2f}")

# %%
# Draws
# -----
# Means vary less than the values they replace. With ``n_draws``, ``impute`` draws what is missing instead,
# also categories and whole counts. Here are a household with gaps and three of 100 draws.
draws = [as_table(X) for X in vae.impute(X_test, n_draws=100, random_state=0)]
row = test[["floor_space", "dwelling"]].isna().all(axis=1).argmax()
print(pd.concat([test.loc[[row]]] + [part.loc[[row]] for part in draws[:3]]).round(1).to_string(index=False))
shares = pd.concat([part.loc[[row]] for part in draws])["dwelling"].value_counts(normalize=True)
print(f"shares of the draws: {', '.join(f'{share:.0%} {name}' for name, share in shares.items())}")

# %%
# The spread of the draws is the uncertainty of a filled value. Lines contain 80 % of the draws.
fig, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
for ax, name in zip(axes, NUMBERS, strict=True):
    gaps = test[name].isna().to_numpy()
    low, high = np.quantile([part[name][gaps] for part in draws], [0.1, 0.9], axis=0)
    ax.vlines(truth[name][gaps], low, high, color="#56B4E9", label="80 % of the draws")
    ax.plot(truth[name][gaps], filled[name][gaps], ".", color="#D55E00", label="mean")
    ax.axline((truth[name].mean(),) * 2, slope=1, color="0.6", lw=1)
    ax.set(title=name, xlabel="hidden value", ylabel="filled in" if ax is axes[0] else None)
    ax.spines[["top", "right"]].set_visible(False)
    inside = ((low < truth[name][gaps]) & (truth[name][gaps] < high)).mean()
    print(f"{name:12} {inside:.0%} of the hidden values are within the lines")
axes[2].legend(frameon=False, loc="upper left")
plt.show()
