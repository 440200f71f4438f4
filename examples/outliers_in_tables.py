"""
Sensor errors in a table: which row, which column, how sure
===========================================================

A pump has ten sensors whose values depend on each other. One row in ten holds the value of another moment
in one column: usual by itself, impossible beside the others. ``AEOutlierDetector`` learns how the values
depend on each other, finds such rows, names the column, and gives p-values that bound the share of
false alarms.
"""

# %%
# A pump
# ------
# Three things vary freely: the speed, the valve and the temperature of the air. All else follows from
# them, not linearly. Noise is added to every column, of 4 % of its standard deviation.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import ConfusionMatrixDisplay, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AEOutlierDetector
from sklearn_ae.inspection import OutlierScoreDisplay


def pump(n, random_state):
    """Readings of a pump at n moments."""
    rng = np.random.RandomState(random_state)
    speed, valve, air = rng.uniform(0.4, 1, n), rng.uniform(0.3, 1, n), rng.uniform(10, 30, n)
    flow = speed * valve / np.sqrt(valve**2 + 0.25)
    head = speed**2 - 0.5 * flow**2
    power = 0.15 * speed**3 + flow * head
    readings = pd.DataFrame(
        {
            "speed (1/min)": 2900 * speed,
            "valve (%)": 100 * valve,
            "flow (m³/h)": 120 * flow,
            "outlet (bar)": 1 + 6 * head,
            "power (kW)": 20 * power,
            "current (A)": 8 + 32 * power,
            "motor (°C)": air + 70 * power,
            "bearing (°C)": air + 25 * speed**2,
            "vibration (mm/s)": 0.8 + 2.2 * speed**2 * (1.3 - flow),
            "air (°C)": air,
        }
    )
    return readings + 0.04 * readings.std().to_numpy() * rng.normal(size=readings.shape)


X_train = pump(800, random_state=0)  # all sensors work
X = pump(1000, random_state=1)
rng = np.random.RandomState(2)
faulty = rng.uniform(size=len(X)) < 0.1
column = rng.randint(X.shape[1], size=len(X))  # the sensor that fails, if one does
wrong = faulty[:, None] & (np.arange(X.shape[1]) == column[:, None])
X = X.mask(wrong, X.sample(frac=1, random_state=3).to_numpy())  # values of other moments
print(f"{faulty.sum()} of {len(X)} rows hold a wrong value.")

# %%
# Which rows?
# -----------
# ``robust=False`` because the training rows are clean. A wrong value in one column is far from its
# reconstruction, which the other columns have a say in, hence ``outlier_score="reconstruction"``. The default score
# goes by distances between rows and suits more kinds of outliers. The area under the ROC curve is 1 if all
# wrong rows have lower scores than all right ones, and 0.5 for guesses.
settings = {"robust": False, "n_estimators": 3, "random_state": 0}
detectors = {
    "AEOutlierDetector, reconstruction": AEOutlierDetector(outlier_score="reconstruction", **settings),
    "AEOutlierDetector": AEOutlierDetector(**settings),
    "IsolationForest": IsolationForest(random_state=0),
    "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
}


def areas(train, test, outlier):
    """Area under the ROC curve of each detector, fitted to clean rows."""
    scores = {
        name: make_pipeline(StandardScaler(), clone(detector)).fit(train).score_samples(test)
        for name, detector in detectors.items()
    }
    return {name: roc_auc_score(~outlier, score) for name, score in scores.items()}


data = load_breast_cancer()
benign = np.random.RandomState(0).permutation(np.flatnonzero(data.target == 1))
new = np.concatenate([benign[200:], np.flatnonzero(data.target == 0)])
table = {
    "pump": areas(X_train, X, faulty),
    "tumours": areas(data.data[benign[:200]], data.data[new], data.target[new] == 0),
}
print(pd.DataFrame(table).round(3).to_string())

# %%
# The wrong values of the pump are found by the autoencoders, above all by their reconstructions. The forest
# looks at one column at a time, and nearly guesses. The second table is measured, not made:
# 200 benign tumours to learn from, and malignant ones among the new rows. Many columns of these are large
# by themselves. Any of the detectors sees that, and the forest is as good as the autoencoders and
# much faster.
#
# The figure shows the scores of the pump's rows. ``explain`` splits a row's score over the columns; the
# bars are those of the three oddest rows.
detector = make_pipeline(StandardScaler(), detectors["AEOutlierDetector, reconstruction"]).fit(X_train)
state = np.where(faulty, "wrong value", "right")
OutlierScoreDisplay.from_estimator(detector, X, state, n_oddest=3, n_columns=5)
plt.show()

# %%
# How sure?
# ---------
# A p-value says how rare rows are that are as far out; each autoencoder compares with rows that it has not
# seen. An alarm at 5 % would be raised by 45 of the right rows, by chance. ``false_discovery_control``
# adjusts the p-values for that: of the alarms at 10 %, at most 10 % are false, on average over
# such tables.
scaler, model = detector[0], detector[-1]
rows = scaler.transform(X)
p = model.pvalues(rows)
alarm = false_discovery_control(p) <= 0.1
for name, raised in {"p <= 0.05": p <= 0.05, "adjusted p <= 0.1": alarm}.items():
    print(f"{name:17}  {raised.sum():3} alarms, {1 - faulty[raised].mean():.0%} of them false, ", end="")
    print(f"{raised[faulty].mean():.0%} of the wrong values found")

# %%
# Which column?
# -------------
# For each alarm, the column with the largest contribution is compared with the sensor that failed. The
# value that is farthest from its mean says little: wrong values are usual by themselves.
# ``explain`` names the column of nearly all, but that a wrong temperature of the air is laid to the
# bearing, which follows it: the two readings contradict each other, and either could be the wrong one.
named = model.explain(rows).argmax(axis=1)
extreme = np.abs(rows).argmax(axis=1)
found = alarm & faulty
print(f"right column among the {found.sum()} found: explain {(named == column)[found].mean():.0%}, ", end="")
print(f"most extreme value {(extreme == column)[found].mean():.0%}")

fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained", width_ratios=(1, 1.2))
order = np.argsort(p)
rank = np.arange(1, len(p) + 1)
for name, rows_, colour, marker in [
    ("right", ~faulty, "#0072B2", "o"),
    ("wrong value", faulty, "#D55E00", "^"),
]:
    of_kind = rows_[order]
    left.scatter(rank[of_kind], p[order][of_kind], s=14, color=colour, marker=marker, label=name)
left.plot(rank, 0.1 * rank / len(p), color="black", label="0.1 · rank / rows")
left.axhline(0.05, color="black", linestyle=":", label="0.05")
left.set(xlim=(0, 200), ylim=(-0.002, 0.12), xlabel="rank of the row by its p-value", ylabel="p-value")
left.set_title("Rows up to the last one under the line raise an alarm")
left.legend(frameon=False)
left.spines[["top", "right"]].set_visible(False)
names = [name.partition(" (")[0] for name in X.columns]
ConfusionMatrixDisplay.from_predictions(
    column[found],
    named[found],
    labels=range(10),
    display_labels=names,
    ax=right,
    cmap="Blues",
    colorbar=False,
    xticks_rotation=45,
)
right.set(title="Wrong values that were found", xlabel="column named by explain", ylabel="sensor that failed")
plt.show()
