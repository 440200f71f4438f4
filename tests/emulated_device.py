"""A device of tensors in main memory that refuses to compute with tensors of the CPU, as a GPU does.

Importing this module registers it with PyTorch, for the rest of the process.
"""

import torch
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "privateuseone:0"
_COPIES = {"aten::copy_", "aten::_to_copy"}


class Remote(torch.Tensor):
    """Tensor that says that it is on the device."""

    @staticmethod
    def __new__(cls, values):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, values.shape, strides=values.stride(), dtype=values.dtype, device=DEVICE
        )
        tensor.values_here = values
        return tensor

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _compute(operation, *args, **(kwargs or {}))


def _refuse_others(name, value):
    is_local = isinstance(value, torch.Tensor) and not isinstance(value, Remote)
    if is_local and value.dim():  # numbers may come from the CPU
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")


def _local(value):
    return value.values_here if isinstance(value, Remote) else value


def _remote(value):
    return Remote(value) if isinstance(value, torch.Tensor) and not isinstance(value, Remote) else value


def _compute(operation, *args, **kwargs):
    name = operation.overloadpacket._qualified_op_name
    if name not in _COPIES:
        tree_map(lambda value: _refuse_others(name, value), (args, kwargs))
    to_cpu = kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cpu"
    here, options = tree_map(_local, (args, kwargs))
    result = operation(*here, **(options | {"device": "cpu"} if "device" in options else options))
    if to_cpu or not isinstance(result, (torch.Tensor, tuple, list)):
        return result
    return args[0] if name.endswith("_") else tree_map(_remote, result)


_setup_privateuseone_for_python_backend()
_library = torch.library.Library("_", "IMPL")
_library.fallback(_compute, dispatch_key="PrivateUse1")
