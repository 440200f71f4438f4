"""Mixtures of normal distributions of the features and of their normal scores, stacked.

    X -> (normal scores) -> principal directions with unit variance -> mixture

Samples are described as they are and by their normal scores, monotone maps of single
features. In each of these spaces the candidates are nested: the shrunk normal
distribution, mixtures with more components, whose covariances are more or less like the
pooled one, and a heavy-tailed distribution for samples unlike all others. Few samples of
many features are described by the factors of a factor analysis as well. Held-out samples
give the weights with which the candidates are averaged.

References
----------
P. Smyth, D. Wolpert (1999), Linearly combining density estimators via stacking,
Machine Learning 36.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from sklearn_ae._utils.normal_scores import NormalScores
from sklearn_ae._utils.shrunk_mixture import Components, Concentric, FactorNormal, Normal, ShrunkNormal

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
_FACTORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_WIDE = 6  # samples per feature up to which factors are tried
_N_KEPT = 6  # mixtures in each space
_TAIL_WEIGHT = 1e-3

_MAX_ITER = 200
_LEAST_WEIGHT = 1e-3


Mixture = Components | Concentric

Start = tuple[Mixture | None, np.ndarray]  # a mixture at which to start, and the samples' coordinates for it


@dataclass(frozen=True)
class Candidate:
    """Hyperparameters of a density.

    Attributes
    ----------
    scored : bool
        Whether it is a density of normal scores.
    factored : bool
        Whether its coordinates are factors.
    size : int
        Number of components.
    strength : float
        Of the prior of the components' covariances.
    """

    scored: bool
    factored: bool = False
    size: int = 1
    strength: float = 0.0

    @property
    def place(self) -> str:
        """Name of its space."""
        place = "normal scores" if self.scored else "features"
        return f"factors of {place}" if self.factored else place

    def __str__(self) -> str:
        kind = "normal distribution" if self.size == 1 else f"{self.size} components"
        if self.factored:
            kind = "factor analysis" if self.size == 1 else f"{kind} of factors"
        return f"{kind} of normal scores" if self.scored else kind


@dataclass(frozen=True)
class Space:
    """Coordinates along principal directions of the features or of their normal scores.

    Attributes
    ----------
    scores : NormalScores or None
        None for the features.
    normal : Normal
        Defines directions and variances.
    shrinkage : float
        Multiple of that of Ledoit and Wolf, if there are no factors.
    n_factors : int
        0 if directions are those of the shrunk covariance.
    """

    scores: NormalScores | None
    normal: Normal
    shrinkage: float = 1.0
    n_factors: int = 0

    def refit(self, X: np.ndarray) -> Space:
        """Return the same space for other samples of shape (n, d)."""
        scores = None if self.scores is None else self.scores.refit(X)
        U = X if scores is None else scores(X)
        if self.n_factors:
            return replace(self, scores=scores, normal=FactorNormal.fit(U, self.n_factors))
        return replace(self, scores=scores, normal=ShrunkNormal.fit(U).shrunk(self.shrinkage))

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


def _mixture(Z: np.ndarray, candidate: Candidate, seed: int, start: Start) -> Mixture:
    """Return the mixture of a candidate for coordinates of shape (n, m)."""
    if candidate.size == 1:
        return Concentric()
    Z, (like, coordinates) = Z[:, :_MAX_DIRECTIONS], start
    if isinstance(like, Components):
        return Components.from_shares(Z, like.shares(coordinates)[0], candidate.strength)
    return Components.fit(Z, candidate.size, candidate.strength, seed)


class Tried(NamedTuple):
    """Mixture of a candidate, and its log-densities of held-out samples.

    Attributes
    ----------
    candidate : Candidate
    mixture : Mixture
    log_p : ndarray of shape (n,)
    score : float
        Mean log-density with heavy tails.
    """

    candidate: Candidate
    mixture: Mixture
    log_p: np.ndarray
    score: float


@dataclass(frozen=True)
class StackedDensity:
    """Weighted average of densities, with heavy tails for samples unlike all others.

    Attributes
    ----------
    candidates : list of Candidate
    weights : ndarray of shape (n_candidates,)
        Their sum is 1.
    spaces : dict of str to Space
    mixtures : list of Components or Concentric
    prefers_scores : bool
        Whether held-out samples have a higher density if normal scores, and not features, are
        taken as normally distributed.
    """

    candidates: list[Candidate]
    weights: np.ndarray
    spaces: dict[str, Space]
    mixtures: list[Mixture]
    prefers_scores: bool = False

    @classmethod
    def fit(cls, X: np.ndarray, seed: int) -> StackedDensity:
        """Choose candidates and weights by cross-validation, and fit them to all samples (n, d)."""
        first, log_p = _cross_validated(_shuffled(X, seed), seed)
        candidates, weights = first.candidates, stacking_weights(log_p)
        normal = [log_p[:, i].mean() for i, candidate in enumerate(candidates) if candidate.size == 1]
        used = np.flatnonzero((weights >= _LEAST_WEIGHT) | [c.size == 1 for c in candidates])
        chosen = replace(
            first,
            candidates=[candidates[i] for i in used],
            mixtures=[first.mixtures[i] for i in used],
            weights=weights[used] / weights[used].sum(),
            prefers_scores=bool(normal[1] > normal[0]),
        )
        return chosen.refit(X, seed)

    def refit(self, X: np.ndarray, seed: int) -> StackedDensity:
        """Return the same average of the same candidates for other samples, starting at the mixtures here."""
        X = _shuffled(X, seed)
        before = {place: space.coordinates(X)[0] for place, space in self.spaces.items()}
        pairs = zip(self.candidates, self.mixtures, strict=True)
        return self._fitted(X, seed, [(mixture, before[c.place]) for c, mixture in pairs])

    def preferred_scores(self, X: np.ndarray) -> NormalScores | None:
        """Return the normal scores, fitted to samples of shape (n, d), or None if features are preferred."""
        scores = self.spaces["normal scores"].scores
        return scores.refit(X) if self.prefers_scores and scores is not None else None

    def _fitted(self, X: np.ndarray, seed: int, like: list[Start] | None = None) -> StackedDensity:
        spaces = {place: space.refit(X) for place, space in self.spaces.items()}
        Z = {place: space.coordinates(X)[0] for place, space in spaces.items()}
        pairs = zip(self.candidates, like or [(None, X)] * len(self.candidates), strict=True)
        mixtures = [_mixture(Z[candidate.place], candidate, seed, start) for candidate, start in pairs]
        return replace(self, spaces=spaces, mixtures=mixtures)

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Return the log-density of samples of shape (n, d), of shape (n,)."""
        log_p, tails = self.log_densities(X)
        return _with_tails(logsumexp(log_p + np.log(self.weights), axis=1), tails)

    def log_densities(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log-densities of samples (n, d): of candidates, (n, n_candidates), and of tails, (n,)."""
        placed = {place: space.coordinates(X) for place, space in self.spaces.items()}
        columns = [
            mixture.log_prob(placed[c.place][0]) + placed[c.place][1]
            for c, mixture in zip(self.candidates, self.mixtures, strict=True)
        ]
        return np.stack(columns, axis=1), _tails(*placed["features"])

    def draw(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Return n samples, of shape (n, d), none of them from the heavy tails."""
        counts = rng.multinomial(n, self.weights)
        parts = []
        for candidate, mixture, count in zip(self.candidates, self.mixtures, counts, strict=True):
            space = self.spaces[candidate.place]
            parts.append(space.samples(mixture.draw(count, len(space.normal.axes), rng), rng))
        return np.concatenate(parts)[rng.permutation(n)]


def _tails(Z: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return the log-density of the heavy-tailed distribution at coordinates Z (n, m), of shape (n,)."""
    return Concentric(_TAILS).log_prob(Z) + rest


def _with_tails(log_p: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Return the log-density of an average with the heavy-tailed distribution."""
    return np.logaddexp(log_p + math.log1p(-_TAIL_WEIGHT), tails + math.log(_TAIL_WEIGHT))


def _shuffled(X: np.ndarray, seed: int) -> np.ndarray:
    return X[np.random.RandomState(seed).permutation(len(X))[:_MAX_SAMPLES]].astype(np.float64)


def _cross_validated(X: np.ndarray, seed: int) -> tuple[StackedDensity, np.ndarray]:
    """Return candidates with equal weights, and log-densities of held-out samples (n_held_out, n_candidates).

    The first fold chooses the candidates. Very few samples cannot choose.
    """
    if len(X) < _FEW:
        candidates = [Candidate(scored) for scored in (False, True)]
        spaces = {
            c.place: _shrunk_space(X, X, NormalScores.fit(X, seed) if c.scored else None, (1.0,))
            for c in candidates
        }
        return StackedDensity(candidates, np.ones(2), spaces, [Concentric(), Concentric()]), np.zeros((1, 2))
    n_folds = next((folds for size, folds in _FOLDS if len(X) <= size), 1)
    fold = np.arange(len(X)) % max(n_folds, 5)
    train, held_out = X[fold != 0], X[fold == 0][:_MAX_HELD_OUT]
    described = _spaces(train, held_out, seed)
    found = [
        tried
        for normal, space in described.items()
        for tried in _search(train, held_out, normal, space, seed)
    ]
    spaces = {normal.place: space for normal, space in described.items()}
    candidates = [tried.candidate for tried in found]
    weights, mixtures = np.full(len(found), 1.0 / len(found)), [tried.mixture for tried in found]
    stacked = StackedDensity(candidates, weights, spaces, mixtures)
    tails = _tails(*spaces["features"].coordinates(held_out))
    parts = [_with_tails(np.stack([tried.log_p for tried in found], axis=1), tails[:, None])]
    for i in range(1, n_folds):
        fitted = stacked._fitted(X[fold != i], seed)
        log_p, tails = fitted.log_densities(X[fold == i][:_MAX_HELD_OUT])
        parts.append(_with_tails(log_p, tails[:, None]))
    return stacked, np.concatenate(parts)


def _spaces(train: np.ndarray, held_out: np.ndarray, seed: int) -> dict[Candidate, Space]:
    """Return the normal distributions, and their spaces that suit held-out samples."""
    described = {False: None, True: NormalScores.fit(train, seed)}
    spaces: dict[Candidate, Space | None] = {
        Candidate(scored): _shrunk_space(train, held_out, scores, _SHRINKAGES)
        for scored, scores in described.items()
    }
    if len(train) <= _WIDE * train.shape[1]:
        for scored, scores in described.items():
            spaces[Candidate(scored, factored=True)] = _factor_space(train, held_out, scores)
    return {normal: space for normal, space in spaces.items() if space is not None}


def _shrunk_space(
    train: np.ndarray, held_out: np.ndarray, scores: NormalScores | None, factors: tuple[float, ...]
) -> Space:
    """Return the space with the shrinkage that suits held-out samples."""
    U, other = (train, held_out) if scores is None else (scores(train), scores(held_out))
    normal = ShrunkNormal.fit(U)
    factor = normal.best_shrinkage(other, factors)
    return Space(scores, normal.shrunk(factor), factor)


def _factor_space(train: np.ndarray, held_out: np.ndarray, scores: NormalScores | None) -> Space | None:
    """Return the space with the number of factors that suits held-out samples, or None if there is none."""
    U, other = (train, held_out) if scores is None else (scores(train), scores(held_out))
    found: list[tuple[float, Space]] = []
    best = 0
    for n_factors in _FACTORS:
        if not _determined(U, n_factors) or len(found) - best > _PATIENCE:
            break
        space = Space(scores, FactorNormal.fit(U, n_factors), n_factors=n_factors)
        Z, rest = space.normal.whiten(other)
        found.append((float((Concentric().log_prob(Z) + rest).mean()), space))
        best = max(range(len(found)), key=lambda i: found[i][0])
    return found[best][1] if found else None


def _determined(U: np.ndarray, n_factors: int) -> bool:
    """Return whether there are two samples per factor, and fewer parameters than in a covariance matrix."""
    n, d = U.shape
    return 2 * n_factors < n and (d - n_factors) ** 2 > d + n_factors


def _search(
    train: np.ndarray, held_out: np.ndarray, normal: Candidate, space: Space, seed: int
) -> list[Tried]:
    """Return the normal distribution and the best mixtures.

    The first strength finds the size. The others are tried at sizes next to it, from the mixtures found on.
    """
    Z, (Z_held_out, rest) = space.coordinates(train)[0], space.coordinates(held_out)
    tails = _tails(Z_held_out, rest)

    def tried(candidate: Candidate, like: Mixture | None = None) -> Tried:
        mixture = _mixture(Z, candidate, seed, (like, Z))
        log_p = mixture.log_prob(Z_held_out) + rest
        # Samples unlike all others are left to the tails, and do not decide.
        return Tried(candidate, mixture, log_p, float(_with_tails(log_p, tails).mean()))

    found: list[Tried] = []
    best = 0
    for size in _SIZES:
        if size * _PER_COMPONENT > len(train) or len(found) - best > _PATIENCE:
            break
        found.append(tried(replace(normal, size=size, strength=_STRENGTHS[0])))
        best = max(range(len(found)), key=lambda i: found[i].score)
    near = found[max(best - 1, 0) : best + 2]
    others = [(replace(t.candidate, strength=strength), t) for strength in _STRENGTHS[1:] for t in near]
    found += [tried(candidate, t.mixture) for candidate, t in others]
    kept = sorted(found, key=lambda t: -t.score)[:_N_KEPT]
    return [tried(normal), *kept]


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
