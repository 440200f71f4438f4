"""Methods of fitted estimators: the arrays that they take and return, and the device that they run on."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from sklearn import get_config
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sklearn_ae._model.module import Autoencoder
from sklearn_ae._utils.arrays import numpy_only, stacked
from sklearn_ae._utils.compat import (
    ADAPTERS_MANAGER,
    InvalidParameterError,
    _check_feature_names_in,
    _get_output_config,
    check_same_namespace,
)
from sklearn_ae._utils.namespaces import as_numpy, is_foreign, returned_as, widest_float
from sklearn_ae._utils.runtime import Shared, running_on, selected_device, threads_for
from sklearn_ae._utils.storage import StoredEstimator

_CPU = torch.device("cpu")

# -- arrays ---------------------------------------------------------------------------


def follows_input(*, on_tensors: bool = False) -> Callable[..., Any]:
    """Let a method return arrays of the library and on the device of X, as scikit-learn's PCA does.

    Only with ``array_api_dispatch=True``; X must then be an array of the library that the estimator was
    fitted with. The method itself gets and returns NumPy's arrays.

    Parameters
    ----------
    on_tensors : bool
        Whether the method computes with tensors where they are. It then gets and returns these.
    """

    def decorator(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def wrapped(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
            if not get_config()["array_api_dispatch"]:
                return method(self, X, *args, **kwargs)
            check_is_fitted(self)
            if not (is_foreign(X) or is_foreign(getattr(self, self._placed))):
                return method(self, X, *args, **kwargs)
            check_same_namespace(X, self, attribute=self._placed, method=method.__name__)
            if on_tensors and isinstance(X, Tensor):
                with running_on(X):
                    return method(self, X, *args, **kwargs)
            with running_on(X), numpy_only():
                return returned_as(X, method(self, as_numpy(X), *args, **kwargs))

        return wrapped

    return decorator


def as_returned(tensor: Tensor, X: Any) -> Any:
    """Return a result of a module as a tensor if X is one, and otherwise as an array."""
    return tensor if isinstance(X, Tensor) else tensor.cpu().numpy()


def joined(parts: Iterable[Any], X: Any) -> Any:
    """Return the concatenation of results for blocks of X."""
    return torch.cat(list(parts)) if isinstance(X, Tensor) else stacked(parts, X.shape[0])


def with_feature_names(estimator: Any, decoded: Any, Z: Any) -> Any:
    """Return decoded codes Z in the data frame that ``set_output`` asks for, with feature names."""
    container = _get_output_config("transform", estimator)["dense"]
    if container == "default" or isinstance(decoded, Tensor):
        return decoded
    names = _check_feature_names_in(estimator)
    return ADAPTERS_MANAGER.adapters[container].create_container(decoded, Z, columns=lambda: names)


class ArrayEstimator(StoredEstimator):
    """Estimator that takes and returns arrays of the library that it was fitted with.

    They are on one device. As in scikit-learn, that is where one of its attributes is.
    """

    _placed: str  # name of the attribute

    def _move_to(self, X: Any) -> None:
        """Take and return arrays of the library and on the device of X from now on."""
        setattr(self, self._placed, returned_as(X, as_numpy(getattr(self, self._placed))))

    def __sklearn_array_api_convert__(self, converter: Callable[[Any], Any]) -> Self:
        """Return a copy for other arrays, as ``move_estimator_to`` of scikit-learn needs it."""
        twin = copy.copy(self)
        setattr(twin, self._placed, converter(getattr(self, self._placed)))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        placed = state.get(self._placed)
        if isinstance(placed, Tensor):
            state |= {self._placed: as_numpy(placed), "_device": str(placed.device)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        device = state.get("_device")
        super().__setstate__({name: value for name, value in state.items() if name != "_device"})
        if device is not None:
            self._move_to(torch.empty(0, device=_available(device)))


# -- devices --------------------------------------------------------------------------

_COPIES: WeakKeyDictionary[nn.Module, dict[Any, tuple[Any, Autoencoder]]] = WeakKeyDictionary()


def inference_module(module: Autoencoder, device: str | torch.device, dtype: Any) -> Autoencoder:
    """Return a fitted module in the precision of samples of ``dtype``, on the device for inference.

    Copies are kept for as long as the module lives and its weights do not change.
    """
    precision = torch.float32 if dtype in (np.float32, torch.float32) else torch.float64
    place = _inference_device(device, precision)
    if module.offset.dtype is precision and place == _CPU:
        return module
    state = tuple(_version(tensor) for tensor in (*module.parameters(), *module.buffers()))
    copies = _COPIES.setdefault(module, {})
    found, twin = copies.get((precision, place), (None, module))
    if found != state:
        twin = copy.deepcopy(module).to(place, precision)
        copies[precision, place] = state, twin
    return twin


@contextlib.contextmanager
def inference(module: Autoencoder, n_samples: int) -> Iterator[None]:
    """Compute without gradients, with a number of threads that pays, and as precisely as on the CPU."""
    is_on_gpu = module.offset.device.type == "cuda"
    exact = _exact_convolutions() if is_on_gpu else contextlib.nullcontext()
    with torch.no_grad(), threads_for(module.n_weights, n_samples), exact:
        yield


def _exact_flags() -> contextlib.AbstractContextManager:
    """Return a context without TF32, to which cuDNN rounds the inputs of convolutions by default."""
    cudnn = torch.backends.cudnn
    now = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    return cudnn.flags(**now, allow_tf32=False)


_exact_convolutions = Shared(_exact_flags)


def _version(tensor: Tensor) -> tuple[int, int, int]:
    """Return numbers of a tensor and its memory, and how often it has changed.

    Tensors of inference mode do not change.
    """
    return id(tensor), tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def _inference_device(device: str | torch.device, precision: torch.dtype) -> torch.device:
    """Return the device of the tensors at hand, or else ``device``, if it is there and has this precision."""
    place = _available(device)
    return place if precision in (torch.float32, widest_float(place)) else _CPU


def _available(device: str | torch.device) -> torch.device:
    """Return a device, or the CPU where there is no such one: a model may have been stored elsewhere."""
    try:
        return selected_device(device)
    except InvalidParameterError:
        with contextlib.suppress(RuntimeError):
            torch.device(device)  # the name of a device
            return _CPU
        raise
