"""Options: the values that fill a slot of the autoencoder's formula.

    x -> corruption -> encoder -> bottleneck -> decoder -> loss  (+ penalty)

An option is a tiny estimator: constructor parameters and one pure tensor
function, no learnt state. ``clone``, ``repr``, ``get_params`` and nested grid
searches (``GridSearchCV(..., {"corruption__scale": [...]})``) therefore come
from scikit-learn. :func:`resolve` is the only code that compares option
strings.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from sklearn.base import BaseEstimator, clone


class Option(BaseEstimator):
    """Base of every slot value; subclasses add parameters and one function."""

    _parameter_constraints: dict[str, list[Any]] = {}

    def is_own(self) -> bool:
        """Whether the package wrote all of it: the class, and what runs among its parameters."""
        own = type(self).__module__.partition(".")[0] == __name__.partition(".")[0]
        parts = [value for value in self.get_params(deep=False).values() if callable(value)]
        return own and all(isinstance(part, Option) and part.is_own() for part in parts)


class Pair(Option):
    """Base of two options of one slot that are joined into one.

    Subclasses name the slot's base class and what is said of anything else.
    """

    _slot: type[Option]
    _refusal: str

    def __init__(self, first: Any, second: Any):
        self.first = first
        self.second = second

    def _validate_params(self) -> None:
        for part in (self.first, self.second):
            if not isinstance(part, self._slot):
                raise TypeError(f"{self._refusal}; got {part!r}.")
            part._validate_params()


def resolve(
    value: Any,
    registry: Mapping[str, type[Option]],
    name: str,
    base: type[Option],
    optional: bool = False,
) -> Any:
    """Turn None, a string or an option object into a checked copy of the option.

    Parameters
    ----------
    value : None, str or Option
        What the user passed.
    registry : mapping of str to class
        The strings that the slot knows.
    name : str
        The parameter's name, for the error messages.
    base : type
        The class that every object in this slot derives from.
    optional : bool
        Whether None leaves the slot empty.

    Returns
    -------
    option : Option or None
        A clone: changing the user's object later does not change a fitted model.

    Raises
    ------
    ValueError
        If the string is unknown or a parameter of the option is out of range.
    TypeError
        If the object does not belong into this slot.
    """
    if value is None and optional:
        return None
    if isinstance(value, str):
        if value not in registry:
            raise ValueError(_unknown(value, registry, name))
        option = registry[value]()
    elif isinstance(value, base):
        option = clone(value)
    else:
        raise TypeError(
            f"{name}={value!r} is not valid: pass one of {_choices(registry)} or an object such as "
            f"{next(iter(registry.values())).__name__}()."
        )
    option._validate_params()
    return option


def _choices(registry: Mapping[str, type[Option]]) -> str:
    return ", ".join(repr(key) for key in registry)


def _unknown(value: str, registry: Mapping[str, type[Option]], name: str) -> str:
    close = difflib.get_close_matches(value, registry, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{name}={value!r} is not known; valid strings are {_choices(registry)}.{hint}"
