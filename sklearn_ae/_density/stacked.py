"""Mixtures of normal distributions of the features and of their normal scores, stacked.

    X -> (normal scores) -> principal directions with unit variance -> mixture

Samples are described as they are and by their normal scores, monotone maps of single
features. In each of these spaces the candidates are nested: the shrunk normal
distribution, mixtures with more components, whose covariances are more or less like the
pooled one, and a heavy-tailed distribution for samples unlike all others. Held-out
samples give the weights with which the candidates are averaged.

References
----------
P. Smyth, D. Wolpert (1999), Linearly combining density estimators via stacking,
Machine Learning 36.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from sklearn_ae._utils.normal_scores import NormalScores
from sklearn_ae._utils.shrunk_mixture import Components, Concentric, ShrunkNormal

_MAX_SAMPLES = 10_000  # to which candidates are fitted
_MAX_HELD_OUT = 2_000
_MAX_DIRECTIONS = 100  # principal directions in which the components of a mixture differ
_PER_COMPONENT = 5  # samples, at least
_FEW = 10
_FOLDS = ((600, 5), (3_000, 3))  # numbers of folds up to a number of samples; one beyond

_SHRINKAGES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # multiples of that of Ledoit and Wolf
_SIZES = (2, 4, 8, 16, 32, 64, 128)
_STRENGTHS = (0.5, 2.0, 0.125)  # the first one is used to choose the size
_TAILS = (4.0, 32.0, 256.0)  # standard deviations
_PATIENCE = 2  # sizes without a gain
_N_KEPT = 6  # mixtures in each space
_TAIL_WEIGHT = 1e-3

_MAX_ITER = 200
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class Candidate:
    """Hyperparameters of a density.

    Attributes
    ----------
    scored : bool
        Whether it is a density of normal scores.
    shrinkage : float
        Multiple of the shrinkage of the covariance.
    size : int
        Number of components.
    strength : float
        Of the prior of the components' covariances.
    """

    scored: bool
    shrinkage: float
    size: int = 1
    strength: float = 0.0

    def __str__(self) -> str:
        kind = "normal distribution" if self.size == 1 else f"{self.size} components"
        return f"{kind} of normal scores" if self.scored else kind


@dataclass(frozen=True)
class Space:
    """Coordinates along principal directions of the features or of their normal scores."""

    scores: NormalScores | None
    normal: ShrunkNormal

    @classmethod
    def fit(cls, X: np.ndarray, candidate: Candidate, seed: int, like: NormalScores | None = None) -> Space:
        """Return the space of a candidate for samples of shape (n, d)."""
        scores = NormalScores.fit(X, seed, like) if candidate.scored else None
        normal = ShrunkNormal.fit(X if scores is None else scores(X))
        return cls(scores, normal.shrunk(candidate.shrinkage))

    def coordinates(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates (n, m) of samples and the log-density of the rest, (n,)."""
        if self.scores is None:
            return self.normal.whiten(X)
        Z, rest = self.normal.whiten(self.scores(X))
        return Z, rest + self.scores.log_slopes(X)

    def samples(self, Z: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        """Return samples with these coordinates."""
        U = self.normal.colour(Z, rng)
        return U if self.scores is None else self.scores.inverse(U)


def _mixture(Z: np.ndarray, candidate: Candidate, seed: int) -> Components | Concentric:
    """Return the mixture of a candidate for coordinates of shape (n, m)."""
    if candidate.size == 1:
        return Concentric()
    return Components.fit(Z[:, :_MAX_DIRECTIONS], candidate.size, candidate.strength, seed)


@dataclass(frozen=True)
class StackedDensity:
    """Weighted average of densities, with heavy tails for samples unlike all others.

    Attributes
    ----------
    candidates : list of Candidate
    weights : ndarray of shape (n_candidates,)
        Their sum is 1.
    spaces : dict of bool to Space
        By whether they are of normal scores.
    mixtures : list of Components or Concentric
    scores : NormalScores
        Of the samples that chose the candidates.
    prefers_scores : bool
        Whether held-out samples have a higher density if normal scores, and not features, are
        taken as normally distributed.
    """

    candidates: list[Candidate]
    weights: np.ndarray
    spaces: dict[bool, Space]
    mixtures: list[Components | Concentric]
    scores: NormalScores
    prefers_scores: bool = False

    @classmethod
    def fit(cls, X: np.ndarray, seed: int) -> StackedDensity:
        """Choose candidates and weights by cross-validation, and fit them to all samples (n, d)."""
        X = _shuffled(X, seed)
        first, log_p = _cross_validated(X, seed)
        candidates, weights = first.candidates, stacking_weights(log_p)
        normal = [log_p[:, i].mean() for i, candidate in enumerate(candidates) if candidate.size == 1]
        used = np.flatnonzero((weights >= _LEAST_WEIGHT) | [c.size == 1 for c in candidates])
        chosen = replace(
            first,
            candidates=[candidates[i] for i in used],
            weights=weights[used] / weights[used].sum(),
            prefers_scores=bool(normal[1] > normal[0]),
        )
        return chosen._fitted(X, seed)

    def refit(self, X: np.ndarray, seed: int) -> StackedDensity:
        """Return the same average of the same candidates for other samples."""
        return self._fitted(_shuffled(X, seed), seed)

    def _fitted(self, X: np.ndarray, seed: int) -> StackedDensity:
        spaces = {c.scored: Space.fit(X, c, seed, self.scores) for c in self.candidates if c.size == 1}
        Z = {scored: space.coordinates(X)[0] for scored, space in spaces.items()}
        mixtures = [_mixture(Z[c.scored], c, seed) for c in self.candidates]
        return replace(self, spaces=spaces, mixtures=mixtures)

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Return the log-density of samples of shape (n, d), of shape (n,)."""
        return logsumexp(self.log_densities(X) + np.log(self.weights), axis=1)

    def log_densities(self, X: np.ndarray) -> np.ndarray:
        """Return the log-density of samples (n, d) under each candidate with tails, (n, n_candidates)."""
        placed = {scored: space.coordinates(X) for scored, space in self.spaces.items()}
        columns = [
            mixture.log_prob(placed[c.scored][0]) + placed[c.scored][1]
            for c, mixture in zip(self.candidates, self.mixtures, strict=True)
        ]
        return np.stack([_with_tails(column, *placed[False]) for column in columns], axis=1)

    def draw(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Return n samples, of shape (n, d), none of them from the heavy tails."""
        counts = rng.multinomial(n, self.weights)
        parts = []
        for candidate, mixture, count in zip(self.candidates, self.mixtures, counts, strict=True):
            space = self.spaces[candidate.scored]
            parts.append(space.samples(mixture.draw(count, len(space.normal.axes), rng), rng))
        return np.concatenate(parts)[rng.permutation(n)]


def _with_tails(log_p: np.ndarray, Z: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return the log-density of an average with the heavy-tailed distribution, at coordinates Z (n, m)."""
    tails = Concentric(_TAILS).log_prob(Z) + rest
    return np.logaddexp(log_p + math.log1p(-_TAIL_WEIGHT), tails + math.log(_TAIL_WEIGHT))


def _shuffled(X: np.ndarray, seed: int) -> np.ndarray:
    return X[np.random.RandomState(seed).permutation(len(X))[:_MAX_SAMPLES]].astype(np.float64)


def _cross_validated(X: np.ndarray, seed: int) -> tuple[StackedDensity, np.ndarray]:
    """Return candidates with equal weights, and log-densities of held-out samples (n_held_out, n_candidates).

    The first fold chooses the candidates. Very few samples cannot choose.
    """
    if len(X) < _FEW:
        candidates = [Candidate(scored, 1.0) for scored in (False, True)]
        return StackedDensity(candidates, np.ones(2), {}, [], NormalScores.fit(X, seed)), np.zeros((1, 2))
    n_folds = next((folds for size, folds in _FOLDS if len(X) <= size), 1)
    fold = np.arange(len(X)) % max(n_folds, 5)
    train, held_out = X[fold != 0], X[fold == 0][:_MAX_HELD_OUT]
    scores = NormalScores.fit(train, seed)
    candidates = [c for some in (None, scores) for c in _search(train, held_out, some, seed)]
    stacked = StackedDensity(candidates, np.full(len(candidates), 1.0 / len(candidates)), {}, [], scores)
    parts = [
        stacked._fitted(X[fold != i], seed).log_densities(X[fold == i][:_MAX_HELD_OUT])
        for i in range(n_folds)
    ]
    return stacked, np.concatenate(parts)


def _search(
    train: np.ndarray, held_out: np.ndarray, scores: NormalScores | None, seed: int
) -> list[Candidate]:
    """Return the normal distribution and the best mixtures of features or normal scores."""
    U, other = (train, held_out) if scores is None else (scores(train), scores(held_out))
    normal = ShrunkNormal.fit(U)
    shrinkage = normal.best_shrinkage(other, _SHRINKAGES)
    scored, space = scores is not None, Space(scores, normal.shrunk(shrinkage))
    Z, (Z_held_out, rest) = space.coordinates(train)[0], space.coordinates(held_out)
    found: dict[Candidate, float] = {}
    for strength in _STRENGTHS:
        best, n_worse = -np.inf, 0
        for size in _SIZES:
            if size * _PER_COMPONENT > len(train) or n_worse == _PATIENCE:
                break
            candidate = Candidate(scored, shrinkage, size, strength)
            log_p = _mixture(Z, candidate, seed).log_prob(Z_held_out) + rest
            # Samples unlike all others are left to the tails, and do not decide.
            score = found[candidate] = float(_with_tails(log_p, Z_held_out, rest).mean())
            n_worse = 0 if score > best else n_worse + 1
            best = max(best, score)
    return [Candidate(scored, shrinkage), *sorted(found, key=lambda c: -found[c])[:_N_KEPT]]


def stacking_weights(log_p: np.ndarray) -> np.ndarray:
    """Return the weights (m,) with the highest log-density of held-out samples.

    They are found by expectation maximisation, with a prior that counts as one sample.

    Parameters
    ----------
    log_p : ndarray of shape (n, m)
        Log-densities of the samples under each model.
    """
    n, m = log_p.shape
    weights = np.full(m, 1.0 / m)
    relative = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    for _ in range(_MAX_ITER):
        share = relative * weights
        share /= share.sum(axis=1, keepdims=True)
        weights = (share.sum(axis=0) + 1.0 / m) / (n + 1)
    return weights
