"""Options: the values that fill a slot of the autoencoder's formula.

    x -> corruption -> encoder -> bottleneck -> decoder -> loss  (+ penalty)

An option is a tiny estimator: constructor parameters and one pure tensor
function, no learned state. ``clone``, ``repr``, ``get_params`` and nested grid
searches (``GridSearchCV(..., {"corruption__scale": [...]})``) therefore come
from scikit-learn. :func:`resolve` is the only code that compares option
strings.

The base class of a slot lists in ``_required`` the members that every option
of the slot must define; all others have a default.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from sklearn.base import clone

from sklearn_ae._utils.compat import InvalidParameterError
from sklearn_ae._utils.documentation import Documented


class Option(Documented):
    """Base of every slot value; subclasses add parameters and one function."""

    _parameter_constraints: dict[str, list[Any]] = {}
    _required: tuple[str, ...] = ()

    def _is_own(self) -> bool:
        """Return whether the package wrote the class and every callable among its parameters."""
        own = type(self).__module__.partition(".")[0] == __name__.partition(".")[0]
        parts = [value for value in self.get_params(deep=False).values() if callable(value)]
        return own and all(isinstance(part, Option) and part._is_own() for part in parts)


class Pair(Option):
    """Base of two options of one slot that are joined into one.

    Subclasses name the base class of the slot and the message that refuses anything else.
    """

    _slot: type[Option]
    _refusal: str

    def __init__(self, first: Any, second: Any) -> None:
        self.first = first
        self.second = second

    def _validate_params(self) -> None:
        for part in (self.first, self.second):
            if not isinstance(part, self._slot):
                raise InvalidParameterError(f"{self._refusal}; got {part!r}.")
            _check_members(part, self._slot)
            part._validate_params()


def resolve(
    value: Any,
    registry: Mapping[str, type[Option]],
    name: str,
    base: type[Option],
    *,
    optional: bool = False,
    wrapper: Callable[[Any], Option | None] | None = None,
) -> Any:
    """Turn None, a string, an option or a function into a checked copy of the option.

    Parameters
    ----------
    value : None, str, Option or callable
        The value that the user passed.
    registry : mapping of str to class
        The strings of the slot.
    name : str
        Name of the parameter, for the error messages.
    base : type
        Base class of the slot.
    optional : bool, default=False
        Whether None leaves the slot empty.
    wrapper : callable, default=None
        Turns other values, such as a plain function, into an option, or returns None.

    Returns
    -------
    option : Option or None
        A clone: changing the user's object later does not change a fitted model.

    Raises
    ------
    InvalidParameterError
        A ValueError and TypeError: if the string is unknown, a parameter of the option is out of
        range, or the object does not belong in this slot or lacks a required member.
    """
    if value is None and optional:
        return None
    if isinstance(value, str):
        if value not in registry:
            raise InvalidParameterError(_unknown(value, registry, name))
        option: Option | None = registry[value]()
    elif isinstance(value, base):
        option = clone(value)
    else:
        option = None if wrapper is None or isinstance(value, (Option, type)) else wrapper(value)
    if option is None:
        raise InvalidParameterError(_misplaced(value, registry, name, base, wrapper))
    _check_members(option, base)
    option._validate_params()
    return option


def _check_members(option: Option, base: type[Option]) -> None:
    """Refuse an option that lacks a member which its slot requires."""
    for member in base._required:
        inherited = inspect.getattr_static(base, member)
        if inspect.getattr_static(type(option), member) is inherited:
            purpose = (inspect.getdoc(inherited) or "").partition("\n")[0].rstrip(".")
            raise InvalidParameterError(
                f"{type(option).__name__} must define {member} ({purpose}); it is described in "
                f"{base.__module__}.{base.__name__}.{_namesake(option, base)}"
            )


def _misplaced(
    value: Any,
    registry: Mapping[str, type[Option]],
    name: str,
    base: type[Option],
    wrapper: Callable[[Any], Option | None] | None,
) -> str:
    if isinstance(value, type) and issubclass(value, base):
        return f"{name}={value.__name__} is a class; pass an instance: {name}={value.__name__}()."
    choices = [_choices(registry), f"an object such as {next(iter(registry.values())).__name__}()"]
    if wrapper is not None:
        choices.append("a pair of modules" if name == "network" else "a function")
    own = f"derive your own from {base.__module__}.{base.__name__}"
    valid = f"{', '.join(choices[:-1])} or {choices[-1]}; {own}.{_namesake(value, base)}"
    return f"{name}={value!r} is not valid: pass one of {valid}"


def _namesake(value: Any, base: type[Option]) -> str:
    """Return a hint at the option of the same name in the module of a slot, or an empty string."""
    kind = getattr(sys.modules[base.__module__], type(value).__name__, None)
    is_other = isinstance(kind, type) and issubclass(kind, base) and kind is not type(value)
    return f" Did you mean {base.__module__}.{type(value).__name__}?" if is_other else ""


def _choices(registry: Mapping[str, type[Option]]) -> str:
    return ", ".join(repr(key) for key in registry)


def _unknown(value: str, registry: Mapping[str, type[Option]], name: str) -> str:
    if name == "penalty" and _plain(value) in ("l2", "ridge", "weightdecay"):
        hint = " For weight decay, set alpha."
    else:
        hint = suggestion(value, registry)
    return f"{name}={value!r} is not known; valid strings are {_choices(registry)}.{hint}"


# What other packages (Keras, torch, PyOD) call the strings, in lower case without separators and "loss".
_ALIASES = {
    "squared_error": "mse l2 meansquared meansquarederror squared gaussian normal",
    "absolute_error": "mae l1 meanabsolute meanabsoluteerror absolute laplace",
    "huber": "smoothl1",
    "binary_cross_entropy": "bce bcewithlogits binarycrossentropy crossentropy log bernoulli",
    "gaussian": "normal mse l2 squarederror meansquarederror",
    "bernoulli": "bce bcewithlogits binarycrossentropy crossentropy binary",
    "poisson": "poissonnll",
    "masking": "dropout mask zero",
    "salt_and_pepper": "saltpepper impulse",
    "identity": "none linear plain",
    "ordered": "nested nesteddropout matryoshka",
    "topk": "ksparse sparse",
    "relu": "rectified thresholded jumprelu leakyrelu",
    "l1": "sparse sparsity lasso",
    "kl_sparsity": "kl kld kldiv kldivergence",
    "contractive": "jacobian",
    "kl": "kld kldiv kldivergence",
    "beta_tc": "tc btcvae tcvae factorvae totalcorrelation",
    "mmd": "wae infovae",
    "normal": "gaussian standard standardnormal",
    "mixture": "gmm gaussianmixture vamp vampprior",
    "flow": "normalizingflow normalisingflow nsf maf realnvp nice splineflow",
    "dense": "mlp linear fc fullyconnected",
    "conv": "cnn conv2d convolution convolutional",
    "reconstruction": "mse l2 reconstructionerror squarederror autoencoder",
    "log_likelihood": "likelihood logprob nll density",
    "mahalanobis": "mcd ellipticenvelope",
    "neighbors": "knn nn lof kneighbors nearestneighbors neighbours",
    "logistic": "sigmoid",
    "silu": "swish",
    "elu": "selu",
}


def _plain(value: str) -> str:
    """Return a name in lower case without separators and the word "loss"."""
    return re.sub("[^a-z0-9]|loss", "", value.lower())


def suggestion(value: Any, valid: Iterable[str]) -> str:
    """Return the question whether the user meant one of some valid strings, or an empty string."""
    if not isinstance(value, str):
        return ""
    same = [key for key in valid if _plain(value) in (_plain(key), *_ALIASES.get(key, "").split())]
    close = same or difflib.get_close_matches(value, valid, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


class Slot(NamedTuple):
    """Declaration of a slot: the values that it accepts, and the field of the spec that it fills."""

    registry: Mapping[str, type[Option]]
    base: type[Option]
    optional: bool = False
    wrapper: Callable[[Any], Option | None] | None = None
    field: str | None = None  # None for the name of the parameter


def wrapping(option: type[Option]) -> Callable[[Any], Option | None]:
    """Return a wrapper for :func:`resolve` that turns plain functions into ``option``."""
    return lambda value: option(value) if callable(value) else None


def check_nested(
    estimator: Any, params: Mapping[str, Any], registries: Mapping[str, Mapping[str, type]]
) -> None:
    """Raise an error if ``set_params`` would set a parameter of a string, None or a function.

    Parameters
    ----------
    estimator : estimator
    params : mapping of str to object
        Arguments of ``set_params``.
    registries : mapping of str to mapping of str to class
        The classes that each parameter accepts an instance of.
    """
    for name in params:
        slot, _, nested = name.partition("__")
        value = params.get(slot, getattr(estimator, slot, None))
        is_object = hasattr(value, "set_params") and not isinstance(value, type)
        if nested and slot in registries and not is_object:
            option = _with_parameter(registries[slot], value, nested.partition("__")[0])
            raise ValueError(
                f"{name} cannot be set, because {slot}={value!r} is not an object with parameters: pass "
                f"{slot}={option.__name__}()."
            )


def _with_parameter(registry: Mapping[str, Any], value: Any, parameter: str) -> type:
    """Return the class that a string stands for, or the first one with the parameter if it has none."""
    meant = [registry[value]] if isinstance(value, str) and value in registry else []
    classes = [*meant, *registry.values()]
    return next((option for option in classes if parameter in option._get_param_names()), classes[0])
