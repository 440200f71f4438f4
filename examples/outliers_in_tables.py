"""
Detect and explain sensor errors
================================

A pump has ten sensors whose readings depend on each other. In one sample out of ten, one sensor returns its
value of another moment: a normal value by itself, but inconsistent with the other sensors.
``AEOutlierDetector`` learns the dependencies, detects such samples, identifies the faulty sensor, and
computes p-values that control the rate of false alarms.
"""

# %%
# A pump
# ------
# Three variables are independent: the speed, the valve and the air temperature. All others are nonlinear
# functions of these. Every feature has noise of 4 % of its standard deviation.

# sphinx_gallery_thumbnail_path = '_static/thumbnails/outliers_in_tables.png'
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
    """Simulate the readings of a pump at n moments."""
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


X_train = pump(800, random_state=0)  # without faults
X = pump(1000, random_state=1)
rng = np.random.RandomState(2)
faulty = rng.uniform(size=len(X)) < 0.1
column = rng.randint(X.shape[1], size=len(X))  # the sensor that fails in a faulty sample
wrong = faulty[:, None] & (np.arange(X.shape[1]) == column[:, None])
X = X.mask(wrong, X.sample(frac=1, random_state=3).to_numpy())  # values of other moments
print(f"{faulty.sum()} of {len(X)} samples are faulty.")

# %%
# Detecting faulty samples
# ------------------------
# ``robust=False`` because the training samples are clean. A wrong value of one feature is far from its
# reconstruction, which also depends on the other features, hence ``outlier_score="reconstruction"``. The
# default score includes distances between samples and suits more kinds of outliers. The area under the ROC
# curve is 1 if all faulty samples have lower scores than all others, and 0.5 for random scores.
settings = {"robust": False, "n_estimators": 3, "random_state": 0}
detectors = {
    "AEOutlierDetector, reconstruction": AEOutlierDetector(outlier_score="reconstruction", **settings),
    "AEOutlierDetector": AEOutlierDetector(**settings),
    "IsolationForest": IsolationForest(random_state=0),
    "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
}


def areas(train, test, outlier):
    """Return the area under the ROC curve of each detector, fitted to clean samples."""
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
# The autoencoders detect the faulty samples of the pump, particularly by their reconstruction error. The
# isolation forest splits on one feature at a time, and is little better than random here. The second column
# is a real dataset: the training samples are 200 benign tumours, and the outliers are malignant ones. Many
# of their features have extreme values by themselves, which all detectors find; the forest is as good as
# the autoencoders, and much faster.
#
# The figure shows the scores of the pump's samples. ``explain`` decomposes the score of a sample into
# contributions of the features, shown for the three samples with the lowest scores.
detector = make_pipeline(StandardScaler(), detectors["AEOutlierDetector, reconstruction"]).fit(X_train)
state = np.where(faulty, "faulty", "normal")
OutlierScoreDisplay.from_estimator(detector, X, state, n_explained=3, max_features=5)
plt.show()

# %%
# False alarms
# ------------
# A p-value is the probability that a normal sample has a score at least as low; each autoencoder of the
# ensemble is calibrated on samples that were held out from its training. At a level of 5 %, about 45 of the
# normal samples raise an alarm by chance. ``false_discovery_control`` adjusts the p-values for this: at a
# level of 10 %, the expected share of false alarms among all alarms is at most 10 %.
scaler, model = detector[0], detector[-1]
X_scaled = scaler.transform(X)
p = model.pvalues(X_scaled)
alarm = false_discovery_control(p) <= 0.1
for name, raised in {"p <= 0.05": p <= 0.05, "adjusted p <= 0.1": alarm}.items():
    print(f"{name:17}  {raised.sum():3} alarms, {1 - faulty[raised].mean():.0%} of them false, ", end="")
    print(f"{raised[faulty].mean():.0%} of the faulty samples detected")

# %%
# Identifying the faulty sensor
# -----------------------------
# For each alarm, the feature with the largest contribution is compared with the sensor that failed. The
# value that is farthest from its mean is a poor indicator, because wrong values are normal by themselves.
# ``explain`` identifies nearly all sensors, except that a wrong air temperature is attributed to the
# bearing, whose temperature depends on it: the two readings are inconsistent, and either could be wrong.
identified = model.explain(X_scaled).argmax(axis=1)
extreme = np.abs(X_scaled).argmax(axis=1)
found = alarm & faulty
print(f"sensor identified in {found.sum()} samples: ", end="")
print(f"explain {(identified == column)[found].mean():.0%}, ", end="")
print(f"most extreme value {(extreme == column)[found].mean():.0%}")

fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained", width_ratios=(1, 1.2))
order = np.argsort(p)
rank = np.arange(1, len(p) + 1)
for name, mask, colour, marker in [
    ("normal", ~faulty, "#0072B2", "o"),
    ("faulty", faulty, "#D55E00", "^"),
]:
    shown = mask[order]
    left.scatter(rank[shown], p[order][shown], s=14, color=colour, marker=marker, label=name)
left.plot(rank, 0.1 * rank / len(p), color="black", label="0.1 · rank / samples")
left.axhline(0.05, color="black", linestyle=":", label="0.05")
left.set(xlim=(0, 200), ylim=(-0.002, 0.12), xlabel="rank of the sample by its p-value", ylabel="p-value")
left.set_title("Samples up to the last one below the line raise an alarm")
left.legend(frameon=False)
left.spines[["top", "right"]].set_visible(False)
names = [name.partition(" (")[0] for name in X.columns]
ConfusionMatrixDisplay.from_predictions(
    column[found],
    identified[found],
    labels=range(10),
    display_labels=names,
    ax=right,
    cmap="Blues",
    colorbar=False,
    xticks_rotation=45,
)
right.set(title="Faulty samples", xlabel="feature with the largest contribution", ylabel="faulty sensor")
plt.show()
