"""Groups of features, given by names, prefixes of names, indices or slices, or by a fitted transformer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

_N_LISTED = 5  # features that an error names


class Group(NamedTuple):
    """Features of one kind; those of a one-hot encoded variable are a group of their own."""

    kind: str
    features: np.ndarray  # of int


def resolve_groups(
    groups: Mapping[str, Any], n_features: int, names: Sequence[str] | None, *, one_hot: str
) -> list[Group]:
    """Return the groups of all features, in the order of the first feature of each.

    Parameters
    ----------
    groups : mapping of str to features
        Features of each kind.
    n_features : int
    names : sequence of str or None
        Names of the features, None without any.
    one_hot : str
        The kind whose features are several groups.

    Raises
    ------
    ValueError
        If a feature is unknown, in no group or in two, or if a one-hot group has a single feature.
    """
    found = []
    for kind, given in groups.items():
        parts = _one_hot_parts(given, n_features, names) if kind == one_hot else [given]
        found += [Group(kind, _indices(part, n_features, names)) for part in parts]
    for group in found:
        _check_one_hot(group, one_hot, names)
    found = [group for group in found if len(group.features)]
    _check_partition(found, groups, n_features, names)
    return sorted(found, key=lambda group: int(group.features[0]))


def described(feature: int, names: Sequence[str] | None) -> str:
    """Return "feature 3", or "feature 'age'" if it has a name."""
    return f"feature {feature if names is None else names[feature]!r}"


def groups_of_transformer(transformer: Any, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kinds of the features that a fitted transformer returns, by their indices.

    Parameters
    ----------
    transformer : ColumnTransformer, OneHotEncoder or Pipeline
        Fitted. Of a pipeline, the last step counts.
    named : mapping of str to features
        Features of other kinds than the transformer suggests: names of input columns, or features
        as in :func:`resolve_groups`.
    """
    blocks = list(_blocks(transformer))
    names = [str(name) for name in transformer.get_feature_names_out()]
    given = {
        kind: np.concatenate([_of_input(one, names) for one in _listed_values(features)]).tolist()
        for kind, features in named.items()
    }
    taken = {feature for features in given.values() for feature in features}
    groups: dict[str, Any] = {}
    for kind, features in blocks:
        rest = [feature for feature in features if feature not in taken]
        if kind == "categorical" and len(rest) == len(features):
            groups.setdefault(kind, []).append(rest)
        elif rest:
            groups.setdefault("bernoulli" if kind == "categorical" else kind, []).extend(rest)
    for kind, features in given.items():
        groups.setdefault(kind, []).extend(features)
    return groups


# -- features of a group --------------------------------------------------------------------


def _one_hot_parts(given: Any, n_features: int, names: Sequence[str] | None) -> list[Any]:
    """Return the groups among the features of the one-hot kind: a group, or a list of groups."""
    if isinstance(given, (str, slice, range)):
        return [given]
    entries = list(given)
    whole = entries and all(_is_index(entry) or (names is not None and entry in names) for entry in entries)
    return [entries] if whole else entries


def _check_one_hot(group: Group, one_hot: str, names: Sequence[str] | None) -> None:
    if group.kind == one_hot and len(group.features) == 1:
        feature = described(int(group.features[0]), names)
        raise ValueError(
            f"The {one_hot} group of {feature} has no other feature; it needs a feature for each category. "
            "Declare a single column of zeros and ones as 'bernoulli', and encode one of several categories "
            "with OneHotEncoder."
        )


def _is_index(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, (bool, np.bool_))


def _indices(given: Any, n_features: int, names: Sequence[str] | None) -> np.ndarray:
    """Return the indices of features given by a name, a prefix, an index, a slice, or a list of those."""
    if isinstance(given, slice):
        return np.arange(n_features)[given]
    if isinstance(given, str):
        return _named(given, names)
    if _is_index(given):
        if not -n_features <= given < n_features:
            raise ValueError(f"Feature {given} of ByFeature is not one of the {n_features} features of X.")
        return np.array([given % n_features])
    if isinstance(given, Iterable):
        parts = [_indices(part, n_features, names) for part in given]
        return np.concatenate(parts) if parts else np.empty(0, dtype=int)
    raise ValueError(
        f"{given!r} is no group of features: pass names or prefixes of names, indices, slices, or lists of "
        "those."
    )


def _named(given: str, names: Sequence[str] | None) -> np.ndarray:
    """Return the feature of a name, or those that start with it and an underscore."""
    if names is None:
        raise ValueError(
            f"ByFeature names the feature {given!r}, but X has no feature names. Pass a data frame (of a "
            "pipeline: set_output(transform='pandas')), or give indices, as ByFeature.from_transformer does."
        )
    found = _matching(given, names)
    if not len(found):
        raise ValueError(
            f"{given!r} is neither a feature of X nor a prefix of one, which ends before an underscore."
            f"{_suggestion(given, names)}"
        )
    return found


def _matching(given: str, names: Sequence[str]) -> np.ndarray:
    exact = [i for i, name in enumerate(names) if name == given]
    prefix = given if given.endswith("_") else f"{given}_"
    return np.array(exact or [i for i, name in enumerate(names) if name.startswith(prefix)], dtype=int)


def _suggestion(given: str, names: Sequence[str]) -> str:
    prefixes = {name[:i] for name in names for i, letter in enumerate(name) if letter == "_" and i}
    close = difflib.get_close_matches(given, [*names, *sorted(prefixes)], n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _check_partition(
    found: list[Group], groups: Mapping[str, Any], n_features: int, names: Sequence[str] | None
) -> None:
    """Raise an error unless each feature is in one group."""
    counts = np.zeros(n_features, dtype=int)
    for group in found:
        np.add.at(counts, group.features, 1)
    twice, missing = np.flatnonzero(counts > 1), np.flatnonzero(counts == 0)
    if len(twice):
        j = int(twice[0])
        kinds = [group.kind for group in found for feature in group.features if feature == j]
        raise ValueError(
            f"ByFeature has {described(j, names)} in more than one group ({', '.join(kinds)}); each feature "
            "belongs to one. A prefix that is too short may match it, too: list the features of each group."
        )
    if len(missing):
        listed = ", ".join(str(j) if names is None else repr(names[j]) for j in missing[:_N_LISTED])
        rest = f" and {len(missing) - _N_LISTED} more" if len(missing) > _N_LISTED else ""
        raise ValueError(
            f"ByFeature has no group for {len(missing)} feature{'s' * (len(missing) > 1)} of X: "
            f"{listed}{rest}. Add them to a group, such as 'gaussian' for real values."
        )


# -- features of a transformer --------------------------------------------------------------


def _blocks(transformer: Any, start: int = 0) -> Iterable[tuple[str, list[int]]]:
    """Yield the kind and the features of every block that a fitted transformer returns."""
    while hasattr(transformer, "steps"):
        transformer = transformer.steps[-1][1]
    if hasattr(transformer, "output_indices_"):
        parts = {name: part for name, part, _ in transformer.transformers_}
        for name, where in transformer.output_indices_.items():
            width = where.stop - where.start
            if width:
                yield from _shifted(parts[name], where.start, width)
    else:
        yield from _shifted(transformer, start, len(transformer.get_feature_names_out()))


def _shifted(part: Any, start: int, width: int) -> Iterable[tuple[str, list[int]]]:
    while hasattr(part, "steps"):
        part = part.steps[-1][1]
    if type(part).__name__ in ("OrdinalEncoder", "TargetEncoder"):
        raise ValueError(
            f"{type(part).__name__} turns categories into numbers, whose distribution is none of ByFeature: "
            "use OneHotEncoder."
        )
    if hasattr(part, "output_indices_"):
        for kind, features in _blocks(part):
            yield kind, [start + feature for feature in features]
    elif hasattr(part, "categories_") and hasattr(part, "drop_idx_"):
        yield from _one_hot_blocks(part, start)
    else:
        yield "gaussian", list(range(start, start + width))


def _one_hot_blocks(encoder: Any, start: int) -> Iterable[tuple[str, list[int]]]:
    """Yield the groups of a OneHotEncoder, one for each of its input columns."""
    for i, categories in enumerate(encoder.categories_):
        size, dropped = len(categories), encoder.drop_idx_ is not None and encoder.drop_idx_[i] is not None
        rare = getattr(encoder, "infrequent_categories_", [None] * (i + 1))[i]
        size -= 0 if rare is None else max(0, len(rare) - 1)
        if dropped and size > 2:
            raise ValueError(
                f"OneHotEncoder(drop={encoder.drop!r}) drops a category of column {i}, so that its rows are "
                "not one-hot; use drop=None or drop='if_binary'."
            )
        width = size - dropped
        if width:
            yield "categorical" if width > 1 else "bernoulli", list(range(start, start + width))
        start += width


def _listed_values(features: Any) -> list[Any]:
    return [features] if isinstance(features, (str, slice)) or _is_index(features) else list(features)


def _of_input(given: Any, names: Sequence[str]) -> np.ndarray:
    """Return the features that a user names, also by the name of the input column."""
    if isinstance(given, str) and not len(_matching(given, names)):
        plain = [name.partition("__")[2] for name in names]
        found = _matching(given, plain)
        if len(found):
            return found
    return _indices(given, len(names), names)
