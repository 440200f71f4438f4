"""torch modules as arrays and plain values, for files that hold none of torch's types.

    module -> {"kind", "values", "tensors", "parts"} -> module

A module is stored as its class, by name, its plain attributes, its parameters and buffers as
arrays, and its parts. float64 values are stored in float32 where that loses nothing. Modules
that are not made of torch's layers and those of the package are stored as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_PACKAGES = ("torch.nn.modules.", f"{__name__.partition('.')[0]}.")
_INTERNAL = frozenset(vars(nn.Module())) - {"training"}
_HOOKS = tuple(name for name in _INTERNAL if "hooks" in name)

_TREE = "_modules"  # key of a state under which its modules are

Tree = dict[str, Any]


class StoredTensor(NamedTuple):
    """A parameter or buffer; without values it is that of another module at the same place."""

    values: np.ndarray | None
    dtype: str
    is_parameter: bool
    requires_grad: bool


class Reference:
    """Modules that another one uses without owning them, by their places in the whole."""

    def __init__(self, places: list[str]) -> None:
        self.places = places


class PickledModule:
    """Module whose only stored form is its pickle."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return PickledModule, (self.module,)

    def __reduce__(self) -> tuple:
        """Refuse formats other than pickle, such as that of skops."""
        parts = self.module if isinstance(self.module, nn.ModuleList) else [self.module]
        names = " or ".join(sorted({type(part).__name__ for part in parts}))
        raise TypeError(
            f"{names} is not one of torch's layers, or has layers that share weights or have hooks: it can "
            "be stored by joblib or pickle, but not by skops."
        )


def to_tree(module: nn.Module, like: nn.Module | None = None) -> Tree:
    """Return the stored form of a module.

    Parameters
    ----------
    module : Module
    like : Module, default=None
        Module that is stored as well. Tensors that are its own, in another precision, are not
        stored again.
    """
    places = {id(part): place for place, part in module.named_modules()}
    return _tree(module, "", places, {} if like is None else _tensors(like))


def from_tree(tree: Tree, like: nn.Module | None = None) -> Any:
    """Return the module of a tree; ``like`` is that of :func:`to_tree`."""
    module = _module(tree, "", {} if like is None else _tensors(like))
    parts = dict(module.named_modules())
    for part in parts.values():
        for name, value in vars(part).items():
            if isinstance(value, Reference):
                setattr(part, name, tuple(parts[place] for place in value.places))
    return module


def without_modules(state: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the state of an object with the modules, and tuples of them, under some names as one tree.

    Weights that several of them share stay shared.
    """
    values = {name: _entries(state.get(name)) for name in names}
    found = {name: parts for name, parts in values.items() if _are_modules(parts)}
    if not found:
        return state
    whole = nn.ModuleList(part for parts in found.values() for part in parts)
    places = iter(range(len(whole)))
    references = {name: Reference([str(next(places)) for _ in parts]) for name, parts in found.items()}
    return state | references | {_TREE: to_tree(whole)}


def with_modules(state: dict[str, Any]) -> dict[str, Any]:
    """Invert :func:`without_modules`."""
    if _TREE not in state:
        return state
    whole = from_tree(state[_TREE])
    restored = {name: value for name, value in state.items() if name != _TREE}
    for name, value in restored.items():
        if isinstance(value, Reference):
            parts = tuple(whole[int(place)] for place in value.places)
            restored[name] = parts if len(parts) > 1 else parts[0]
    return restored


def _are_modules(values: Any) -> bool:
    return len(values) > 0 and all(isinstance(value, nn.Module) for value in values)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _tree(module: nn.Module, prefix: str, places: dict[int, str], known: dict[str, Tensor]) -> Tree:
    kind = type(module)
    values = {name: _value(value, places) for name, value in vars(module).items() if name not in _INTERNAL}
    if not _is_plain(module, values):
        return {"object": PickledModule(module)}
    tree = {"kind": [kind.__module__, kind.__qualname__], "values": values}
    if hasattr(kind, "rebuilt"):
        tensors, parts = dict(module.state_dict()), {}
    else:
        tensors, parts = module._parameters | module._buffers, module._modules
    tree["tensors"] = {
        name: None if tensor is None else _stored(tensor, known.get(prefix + name))
        for name, tensor in tensors.items()
    }
    tree["parts"] = {
        name: None if part is None else _tree(part, f"{prefix}{name}.", places, known)
        for name, part in parts.items()
    }
    return tree


def _value(value: Any, places: dict[int, str]) -> Any:
    """Return an attribute, with modules replaced by their places."""
    is_owned_elsewhere = isinstance(value, tuple) and value and all(id(part) in places for part in value)
    return Reference([places[id(part)] for part in value]) if is_owned_elsewhere else value


def _is_plain(module: nn.Module, values: dict[str, Any]) -> bool:
    """Return whether a module is one of torch's layers or the package's, without hooks or shared weights."""
    kind = f"{type(module).__module__}."
    if not kind.startswith(_PACKAGES) or any(getattr(module, name) for name in _HOOKS):
        return False
    if any(isinstance(part, (Tensor, nn.Module)) for value in values.values() for part in _entries(value)):
        return False
    weights = [id(weight) for _, weight in module.named_parameters(remove_duplicate=False)]
    return len(set(weights)) == len(weights)


def _entries(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else (value,)


def _stored(tensor: Tensor, known: Tensor | None) -> StoredTensor:
    is_parameter = isinstance(tensor, nn.Parameter)
    kind = str(tensor.dtype).removeprefix("torch."), is_parameter, tensor.requires_grad
    tensor = tensor.detach().cpu()
    if known is not None and torch.equal(known.to(tensor.dtype), tensor):
        return StoredTensor(None, *kind)
    if tensor.is_floating_point():
        rounded = tensor.float()
        tensor = rounded if torch.equal(rounded.to(tensor.dtype), tensor) else tensor
    return StoredTensor(tensor.numpy().copy(), *kind)


def _module(tree: Tree, prefix: str, known: dict[str, Tensor]) -> nn.Module:
    if "object" in tree:
        module: nn.Module = tree["object"].module
        return module
    tensors = {
        name: None if stored is None else _restored(StoredTensor(*stored), known.get(prefix + name))
        for name, stored in tree["tensors"].items()
    }
    kind = _class(*tree["kind"])
    if hasattr(kind, "rebuilt"):
        module = kind.rebuilt(tree["values"])
        module.load_state_dict(tensors, assign=True)
        return module
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    vars(module).update(tree["values"])
    for name, tensor in tensors.items():
        if tensor is None or isinstance(tensor, nn.Parameter):  # layers without a bias have one that is None
            module.register_parameter(name, tensor)
        else:
            module.register_buffer(name, tensor)
    for name, part in tree["parts"].items():
        module._modules[name] = None if part is None else _module(part, f"{prefix}{name}.", known)
    return module


def _class(package: str, name: str) -> Any:
    """Return a class of modules of torch or the package, and refuse any other."""
    if f"{package}.".startswith(_PACKAGES):
        kind = getattr(sys.modules.get(package) or import_module(package), name, None)
        if isinstance(kind, type) and issubclass(kind, nn.Module):
            return kind
    raise ValueError(f"The file holds {package}.{name}, which is not a module of torch or this package.")


def _restored(stored: StoredTensor, known: Tensor | None) -> Tensor:
    values = known if stored.values is None else torch.from_numpy(np.array(stored.values))
    assert values is not None
    tensor = values.detach().to("cpu", getattr(torch, stored.dtype), copy=True)
    return nn.Parameter(tensor, stored.requires_grad) if stored.is_parameter else tensor
