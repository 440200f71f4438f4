"""Parts of the features of samples, each with an option of its own, and functions of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._utils.arrays import sample_blocks
from sklearn_ae._utils.feature_groups import described, resolve_groups

_INDICES: WeakKeyDictionary[FeatureParts, dict[Any, Tensor]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class FeatureParts:
    """Options of different features: one for each kind, and one for each number of categories.

    Attributes
    ----------
    kinds : list of str
    options : list of Loss
    sizes : list of int
        Number of features of each option.
    order : ndarray of shape (d,)
        The features in the order of the options.
    names : list of str or None
        Names of the features.
    """

    kinds: list[str]
    options: list[Any]
    sizes: list[int]
    order: np.ndarray
    names: list[str] | None

    @classmethod
    def of(
        cls, groups: Mapping[str, Any], kinds: Mapping[str, Any], n_features: int, names: Sequence[str] | None
    ) -> FeatureParts:
        """Return the parts for groups of features, given the class of the option of each kind."""
        names = None if names is None else [str(name) for name in names]
        parts: dict[tuple[str, int], list[np.ndarray]] = {}
        for group in resolve_groups(groups, n_features, names, one_hot="categorical"):
            n_categories = len(group.features) if group.kind == "categorical" else 0
            parts.setdefault((group.kind, n_categories), []).append(group.features)
        options = [kinds[kind](*([n_categories] if n_categories else [])) for kind, n_categories in parts]
        sizes = [sum(map(len, features)) for features in parts.values()]
        order = np.concatenate([features for part in parts.values() for features in part])
        return cls([kind for kind, _ in parts], options, sizes, order, names)

    def are(self, kind: str) -> np.ndarray:
        """Return which features are of a kind, of shape (d,)."""
        return np.repeat([name == kind for name in self.kinds], self.sizes)[np.argsort(self.order)]

    def variables(self) -> np.ndarray:
        """Return the number of the variable of each feature, which the features of a group share."""
        widths = [getattr(option, "n_categories", 1) for option in self.options]
        n_each = [size // width for size, width in zip(self.sizes, widths, strict=True)]
        numbers = np.repeat(np.arange(sum(n_each)), np.repeat(widths, n_each))
        return numbers[np.argsort(self.order)]

    def equals(self, other: FeatureParts) -> bool:
        """Return whether other parts have the same features of the same kinds."""
        same = self.kinds == other.kinds and self.sizes == other.sizes
        return same and np.array_equal(self.order, other.order)

    # -- samples ------------------------------------------------------------------

    def checked_blocks(self, X: Any, *, for_training: bool) -> Iterator[np.ndarray]:
        """Iterate over blocks of samples, and raise an error at the first feature that is not of its kind."""
        places = np.split(self.order, np.cumsum(self.sizes)[:-1])
        for block in sample_blocks(X):
            for option, kind, place in zip(self.options, self.kinds, places, strict=True):
                x = block[:, place]
                fault = option.fault(x)
                if fault is not None:
                    feature = described(int(place[fault[0]]), self.names)
                    raise ValueError(f"ByFeature has {feature} among the {kind!r} ones, {fault[1]}.")
                empty = option.first_empty(x) if for_training and kind == "categorical" else None
                if empty is not None:
                    raise ValueError(
                        f"The categorical group of {described(int(place[empty]), self.names)} is zero in a "
                        "training sample, which then has no category. Use OneHotEncoder(drop=None), without "
                        "categories that are left out. Encode a missing value as a category of its own, or, "
                        "with missing='mask', as NaN in all features of the group."
                    )
            yield block

    # -- entries ------------------------------------------------------------------

    def split(self, entries: Tensor | None) -> Sequence[Any]:
        """Return the entries of the features of each option, or None for each."""
        if entries is None:
            return [None] * len(self.sizes)
        return entries.index_select(-1, self._index(entries, inverse=False)).split(self.sizes, -1)

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the entries of all features, given those of each option."""
        whole = torch.cat(list(parts), -1)
        return whole.index_select(-1, self._index(whole, inverse=True))

    def results(self, function: str, *entries: Tensor | None) -> list[Tensor]:
        """Return the results of a function of each option."""
        parts = zip(self.options, *map(self.split, entries), strict=True)
        return [getattr(option, function)(*part) for option, *part in parts]

    def mapped(self, function: str, *entries: Tensor | None) -> Tensor:
        """Return the results of a function of all options, in the order of the features."""
        return self.joined(self.results(function, *entries))

    def _index(self, like: Tensor, *, inverse: bool) -> Tensor:
        """Return the order of the features as a tensor on a device, or its inverse."""
        known = _INDICES.setdefault(self, {})
        key = like.device, inverse
        if key not in known:
            with torch.inference_mode(False):
                order = np.argsort(self.order) if inverse else self.order
                known[key] = torch.from_numpy(np.array(order)).to(like.device)
        return known[key]
