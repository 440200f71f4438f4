"""Randomised trees that tell samples from corrupted copies.

::

    samples -> corrupted copies -> values and normal scores -> trees -> share of corrupted copies

Samples in regions where copies prevail are unusual: with copies of density q, the trees
estimate ``q / (p + q)``, which is one minus a monotone function of the density ratio
``p / q`` [1]_ [2]_. Copies are of three kinds, so that q reaches from the samples to the
edges of their range and beyond: some values are exchanged with those of other samples,
which breaks the dependence between features; some are drawn uniformly from the range of
the feature; or normal noise of any scale is added to all. Trees with random thresholds
[3]_ see each feature twice, as it is and as normal scores, which spread skewed values.

Nothing depends on the units of the features.

References
----------
.. [1] I. Steinwart, D. Hush, C. Scovel (2005), A classification framework for anomaly
   detection, JMLR 6.
.. [2] T. Shi, S. Horvath (2006), Unsupervised learning with random forest predictors,
   J. Computational and Graphical Statistics 15.
.. [3] P. Geurts, D. Ernst, L. Wehenkel (2006), Extremely randomized trees, Machine
   Learning 63.
.. [4] A. Palczewska, J. Palczewski, R. Robinson, D. Neagu (2014), Interpreting random
   forest classification models using a feature contribution method, in Integration of
   Reusable Systems, Springer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import norm
from sklearn.ensemble import ExtraTreesRegressor

_COPIES = 2  # corrupted copies for each sample
_MIN_LEAF = 5
_MARGIN = 0.1  # Uniform values exceed the range of a feature on both sides by this fraction.
_MIN_NOISE, _MAX_NOISE = 0.05, 2.0  # in standard deviations of a feature
_MAX_KNOTS = 200  # of the piecewise linear normal scores

_SAME = 1e-6  # difference, in standard deviations, up to which values are ties
_DIGITS = 6  # the same as a number of decimals
_LARGEST = 1e30  # standardised value, which fits in single precision

_SAME_DIGITS = 1e-7  # the same in multiples of the value, for the rounding of single precision


class NormalScores:
    """Normal quantiles of the mid-ranks of each feature, continued with slope one beyond its range.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Standardised samples.
    """

    def __init__(self, X: np.ndarray) -> None:
        knots = [_knots(np.sort(x)) for x in X.T]
        self.low = np.array([values[0] for values, _ in knots])
        self.high = np.array([values[-1] for values, _ in knots])
        width = self.high - self.low
        self.width = np.where(width > 0, width, 1.0)
        # The knots of all features are on one line, where feature j lies between 2j and 2j + 1.
        self.starts = 2.0 * np.arange(len(knots))
        each = zip(knots, self.starts, self.low, self.width, strict=True)
        self.positions = np.concatenate([start + (x - low) / width for (x, _), start, low, width in each])
        self.scores = np.concatenate([scores for _, scores in knots])

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return the normal scores of samples, of shape (n, d)."""
        inside = np.clip(X, self.low, self.high)
        scaled = (inside - self.low) / self.width
        return X - inside + np.interp(self.starts + scaled, self.positions, self.scores)


def _knots(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return some distinct values of an ordered feature, and the normal quantiles of their mid-ranks."""
    starts = np.flatnonzero(np.diff(x, prepend=-np.inf) > _SAME)
    ends = np.append(starts[1:], len(x))
    kept = np.unique(np.linspace(0, len(starts) - 1, _MAX_KNOTS).astype(int))
    return x[starts[kept]], norm.ppf((starts + ends)[kept] / (2 * len(x)))


def corrupted(X: np.ndarray, n: int, rng: np.random.RandomState) -> np.ndarray:
    """Return n corrupted copies of random samples, of shape (n, d)."""
    d = X.shape[1]
    copies = X[rng.randint(len(X), size=n)]
    kind = rng.randint(3, size=(n, 1))
    replaced = rng.uniform(size=(n, d)) < rng.uniform(size=(n, 1))
    replaced[np.arange(n), rng.randint(d, size=n)] = True
    exchanged = X[rng.randint(len(X), size=(n, d)), np.arange(d)]
    low, width = X.min(axis=0), np.ptp(X, axis=0)
    uniform = low + width * rng.uniform(-_MARGIN, 1.0 + _MARGIN, size=(n, d))
    scale = np.exp(rng.uniform(np.log(_MIN_NOISE), np.log(_MAX_NOISE), size=(n, 1))) * X.std(axis=0)
    noisy = copies + scale * rng.normal(size=(n, d))
    return np.where(kind == 2, noisy, np.where(replaced, np.where(kind == 1, uniform, exchanged), copies))


class CorruptionTrees:
    """Trees that estimate the share of corrupted copies at a sample, between 0 and 1.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Samples, in double precision.
    n_trees : int
        Number of trees.
    rng : RandomState
        The only source of randomness.
    """

    def __init__(self, X: np.ndarray, n_trees: int, rng: np.random.RandomState) -> None:
        self.mean, std = X.mean(axis=0), X.std(axis=0)
        self.std = np.where(std > _SAME_DIGITS * np.abs(self.mean), std, 1.0)
        X = self._standardised(X)
        self.normal_scores = NormalScores(X)
        n_copies = _COPIES * len(X)
        copies = corrupted(X, n_copies, rng)
        tolerance = _SAME + _SAME_DIGITS * np.abs(self.mean) / self.std
        self.low = np.minimum(copies.min(axis=0), X.min(axis=0)) - tolerance
        self.high = np.maximum(copies.max(axis=0), X.max(axis=0)) + tolerance
        inputs = self._inputs(np.concatenate([X, copies]))
        is_copy = np.repeat([0.0, 1.0], [len(X), n_copies])
        forest = ExtraTreesRegressor(
            n_estimators=n_trees,
            min_samples_leaf=min(_MIN_LEAF, 1 + len(X) // 40),
            max_features="sqrt",
            random_state=rng,
        )
        forest.fit(inputs, is_copy, sample_weight=np.where(is_copy, 1.0 / _COPIES, 1.0))
        self.trees = [tree.tree_ for tree in forest.estimators_]
        self.offsets = np.cumsum([0] + [tree.node_count for tree in self.trees[:-1]])
        self.shares = np.concatenate([tree.value[:, 0, 0] for tree in self.trees])
        weights = np.concatenate([tree.weighted_n_node_samples for tree in self.trees])
        others = np.maximum(weights - 1.0, 1.0 / _COPIES)
        self.shares_of_others = np.minimum(self.shares * weights / others, 1.0)
        self.factors = rng.randint(np.iinfo(np.int64).max, size=n_trees)
        self.known = [np.unique(codes) for codes in self._codes(self._leaves(inputs[: len(X)]))]

    def share(self, X: np.ndarray) -> np.ndarray:
        """Return the estimated share of corrupted copies at each sample, of shape (n,).

        It is 1 if a value is beyond those of all samples and copies. A training sample does
        not count itself: it is known by the leaves of half of the trees, as other samples
        share all of them only if they are almost equal.
        """
        Z = self._standardised(X)
        leaves = self._leaves(self._inputs(Z))
        pairs = zip(self._codes(leaves), self.known, strict=True)
        is_known = np.any(
            [known[np.searchsorted(known[:-1], codes)] == codes for codes, known in pairs], axis=0
        )
        share = np.where(is_known, self.shares_of_others[leaves].T, self.shares[leaves].T).mean(axis=0)
        return np.where((self._excess(Z) > 0).any(axis=1), 1.0, share)

    def _codes(self, leaves: np.ndarray) -> list[np.ndarray]:
        """Return a hash of the leaves of each half of the trees; one is needed if rounding changes a leaf."""
        return [leaves[:, half::2] @ self.factors[half::2] for half in (0, 1)]

    def _leaves(self, inputs: np.ndarray) -> np.ndarray:
        """Return the index of the leaf in each tree, of shape (n, n_trees)."""
        return np.stack([tree.apply(inputs) for tree in self.trees], axis=1) + self.offsets

    def contributions(self, X: np.ndarray) -> np.ndarray:
        """Return the changes of the share at the splits of each feature [4]_, of shape (n, d).

        Together with one half, the share at the root, they add up to the share of a new sample.
        """
        Z = self._standardised(X)
        inputs = self._inputs(Z)
        paths = (tree.decision_path(inputs) @ _gains(tree, X.shape[1]) for tree in self.trees)
        gains = np.mean([path.toarray() for path in paths], axis=0)
        excess = np.minimum(self._excess(Z), _LARGEST)
        total = excess.sum(axis=1, keepdims=True)
        return np.where(total > 0, 0.5 * excess / np.where(total > 0, total, 1.0), gains)

    def _excess(self, Z: np.ndarray) -> np.ndarray:
        """Return how far standardised values are beyond all samples and copies, of shape (n, d)."""
        return np.maximum(np.maximum(self.low - Z, Z - self.high), 0.0)

    def _standardised(self, X: np.ndarray) -> np.ndarray:
        """Return standardised values, rounded because ties and constants matter to the draws of trees."""
        return np.round(np.clip((X - self.mean) / self.std, -_LARGEST, _LARGEST), _DIGITS)

    def _inputs(self, X: np.ndarray) -> np.ndarray:
        """Return standardised values and normal scores side by side, in the precision of the trees."""
        return np.concatenate([X, self.normal_scores(X)], axis=1).astype(np.float32)


def _gains(tree: Any, n_features: int) -> csr_array:
    """Return by how much the share at each node differs from its parent's, at the feature of the split.

    Of shape (n_nodes, n_features); values and normal scores belong to the same feature.
    """
    values = tree.value[:, 0, 0]
    parents = np.flatnonzero(tree.feature >= 0)
    nodes = np.concatenate([tree.children_left[parents], tree.children_right[parents]])
    parents = np.tile(parents, 2)
    gains = values[nodes] - values[parents]
    return csr_array((gains, (nodes, tree.feature[parents] % n_features)), shape=(len(values), n_features))
