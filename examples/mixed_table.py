"""
A synthetic table with numbers, categories and counts
=====================================================

A data frame of households has numbers, categories and counts. ``ByFeature`` gives every column its own
likelihood, so that a ``VAETransformer`` encodes the whole table to three components and draws a synthetic
one, whose columns have the same kinds, distributions and associations.
"""

# %%
# Households
# ----------
# Income and age are numbers, dwelling and region are categories, and children and journeys are counts. They
# depend on each other by way of age and wealth.
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


table = households(3_000, random_state=0)
train, test = train_test_split(table, test_size=0.25, random_state=0)
print(train.head(4).round(1).to_string())

# %%
# Kinds of features
# -----------------
# The one-hot columns of a category are one variable, and scaled columns are real numbers: that much a fitted
# ``ColumnTransformer`` tells. Counts are declared by name. ``negative_binomial`` learns how much more they
# scatter than ``poisson`` counts.
encoder = OneHotEncoder(sparse_output=False, drop="if_binary")
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
# Codes and densities
# -------------------
# The log-likelihood of the held-out households, in nats, is compared with that of independent columns, the
# same model without components.
vae = VAETransformer(n_components=3, likelihood=likelihood, random_state=0).fit(prepare.transform(train))
alone = VAETransformer(n_components=0, likelihood=likelihood).fit(prepare.transform(train))
codes = vae.transform(prepare.transform(test))
print(f"codes {codes.shape}, active components {vae.n_active_units_}")
for name, model in {"VAE": vae, "independent columns": alone}.items():
    print(f"{name:20} {model.score(prepare.transform(test)):7.2f} nats per household")


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
        **dict(zip(COUNTS, parts["counts"].T.astype(int), strict=True)),
    )


drawn = as_table(vae.sample(len(test), random_state=0))
shuffled = as_table(alone.sample(len(test), random_state=0))
print(drawn.head(4).round(1).to_string())

# %%
# Marginal distributions
# ----------------------
# Bars and lines are shares of the households in each bin or category.
fig, axes = plt.subplots(2, 4, figsize=(12, 5), layout="constrained")
for ax, name in zip(axes.flat, table, strict=True):
    if name in NUMBERS:
        bins = np.histogram_bin_edges(table[name], 15)
        shares = [np.histogram(part[name], bins)[0] / len(part) for part in (test, drawn)]
        places = (bins[1:] + bins[:-1]) / 2
    else:
        places = sorted(table[name].unique())[:12]
        shares = [[(part[name] == value).mean() for value in places] for part in (test, drawn)]
    positions = np.arange(len(places)) if name in CATEGORIES else np.asarray(places)
    ax.bar(positions, shares[0], 0.9 * np.diff(positions).min(), color="#56B4E9", label="real")
    ax.plot(positions, shares[1], "o-" if name not in CATEGORIES else "o", color="#D55E00", label="synthetic")
    if name in CATEGORIES:
        ax.set_xticks(positions, places)
    ax.set_title(name)
    ax.spines[["top", "right"]].set_visible(False)
axes[0, 0].legend(frameon=False)
plt.show()


# %%
# Associations
# ------------
# The association of two columns of any kind is the normalised mutual information of their values, in tenths
# for numbers.
def associations(part):
    """Return the association of all pairs of columns."""
    edges = {name: np.quantile(table[name], np.arange(1, 10) / 10) for name in NUMBERS}
    labels = {name: np.digitize(part[name], edges[name]) if name in edges else part[name] for name in part}
    return np.array([[normalized_mutual_info_score(labels[a], labels[b]) for b in table] for a in table])


found = {
    "real": associations(test),
    "synthetic": associations(drawn),
    "independent columns": associations(shuffled),
}
fig, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
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
# Gaps
# ----
# All values of this table are known. A missing category can be encoded as a category of its own; other
# missing values need an imputer before the model.
