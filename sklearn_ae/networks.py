"""Networks: the nonlinear parts f of the encoder and g of the decoder.

A network option builds the pair (f, g): f maps samples in working units, of
shape (n, d), to (n, n_codes), and g maps (n, k) back to (n, d). The parallel
linear path is not built here. Weights are drawn from a private generator, never
from torch's global one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sklearn_ae._options import Option
from sklearn_ae._utils.compat import InvalidParameterError
from sklearn_ae._utils.stored_modules import with_modules, without_modules


class GELU(nn.GELU):
    """``torch.nn.GELU``, several times faster in float64."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the normal distribution function at x."""
        if x.dtype is not torch.float64 or x.requires_grad:
            return F.gelu(x)
        return (x * math.sqrt(0.5)).erf_().add_(1.0).mul_(x).mul_(0.5)


ACTIVATIONS = {
    "gelu": GELU,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}

_WEIGHTS: Any = {"device": "cpu", "dtype": torch.float32}  # whatever torch's defaults are

_KERNEL = 3  # side of the kernels of convolutions


class Shape(NamedTuple):
    """Widths of a network: ``n_features`` -> ``n_codes`` and ``n_components`` -> ``n_features``.

    ``n_codes`` equals ``n_components`` unless the encoder outputs more than one
    value per component, such as a mean and a variance.
    """

    n_features: int
    n_components: int
    n_codes: int


class _Undrawn:
    """Layers whose weights are set afterwards: torch's own draw them from its global generator.

    ``torch.nn.utils.skip_init`` imports a computer algebra system for it.
    """

    def reset_parameters(self) -> None:
        """Leave the weights as they are."""


class Linear(_Undrawn, nn.Linear):
    """``torch.nn.Linear`` with weights to be set."""


class Conv2d(_Undrawn, nn.Conv2d):
    """``torch.nn.Conv2d`` with weights to be set."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve images."""
        return _convolved(super().forward, x, self.weight)


class ConvTranspose2d(_Undrawn, nn.ConvTranspose2d):
    """``torch.nn.ConvTranspose2d`` with weights to be set."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve images."""
        return _convolved(super().forward, x, self.weight)


def _convolved(convolution: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor) -> Tensor:
    """Return the convolution of images, on CPUs in the precision of the weights if the images are small.

    In bfloat16 there, torch leaves the gradients of weights that see nothing but the
    padding uninitialised, so that they may be NaN.
    """
    if x.device.type != "cpu" or min(x.shape[-2:]) >= _KERNEL:
        return convolution(x)
    with torch.autocast("cpu", enabled=False):
        return convolution(x.to(weight.dtype))


class TiedLinear(nn.Module):
    """``z -> z W + b`` with the weight W of a source layer, which is referenced and not owned.

    If the source is wider than z, the first ``n_inputs`` rows of W are used. A
    ``gain`` of shape (n_inputs,) is a trainable factor for each entry of z.
    """

    def __init__(
        self, source: nn.Linear, bias: bool = True, n_inputs: int | None = None, gain: Tensor | None = None
    ):
        super().__init__()
        self._source = (source,)  # a tuple, so that torch does not register the layer twice
        self.n_inputs = n_inputs
        self.in_features = source.out_features if n_inputs is None else n_inputs
        self.bias = nn.Parameter(source.weight.new_zeros(source.in_features)) if bias else None
        self.gain = None if gain is None else nn.Parameter(gain)

    def forward(self, z: Tensor) -> Tensor:
        z = z if self.gain is None else z * self.gain
        return F.linear(z, self._source[0].weight[: self.n_inputs].T, self.bias)


class TiedConvTranspose2d(nn.Module):
    """Transposed convolution with the kernel of a source convolution."""

    def __init__(self, source: nn.Conv2d, output_padding: tuple[int, int]):
        super().__init__()
        self._source = (source,)
        self.output_padding = output_padding
        self.bias = nn.Parameter(source.weight.new_zeros(source.in_channels))

    def forward(self, z: Tensor) -> Tensor:
        source = self._source[0]
        padding: Any = source.padding
        rest = self.bias, source.stride, padding, self.output_padding
        return _convolved(lambda z: F.conv_transpose2d(z, source.weight, *rest), z, source.weight)


class MarkMissing(nn.Module):
    """Append an indicator of exact zeros, which mark truncated components.

    A decoder that can distinguish a dropped component from a small one loses far
    less accuracy to nested dropout.
    """

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([z, (z == 0).to(z.dtype)], dim=1)


class Network(Option):
    """Base of the networks; a subclass defines ``build``."""

    _required = ("build",)

    #: whether only the first and last layers act on features, and both are linear
    rotation_invariant = False

    def check(self, n_features: int, tied: bool) -> None:
        """Raise an error for data or settings that the network does not support; accepts all by default."""

    def n_weights(self, shape: Shape, hidden_layer_sizes: Sequence[int]) -> int:
        """Return a lower bound of the number of weights of f, before it is built; by default 0."""
        return 0

    def build(
        self,
        shape: Shape,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        tied: bool,
        generator: Generator,
    ) -> tuple[nn.Module, nn.Module]:
        """Return the modules f, (n, d) -> (n, n_codes), and g, (n, k) -> (n, d), with fresh weights."""
        raise NotImplementedError


class Dense(Network):
    """Fully connected layers of ``hidden_layer_sizes``; the decoder mirrors the encoder.

    Examples
    --------
    >>> from sklearn_ae import AutoencoderTransformer
    >>> AutoencoderTransformer(8, hidden_layer_sizes=(128,), network="dense")
    AutoencoderTransformer(hidden_layer_sizes=(128,), n_components=8)
    """

    rotation_invariant = True

    def n_weights(self, shape: Shape, hidden_layer_sizes: Sequence[int]) -> int:
        sizes = (shape.n_features, *hidden_layer_sizes, shape.n_codes)
        return sum(n_in * n_out for n_in, n_out in pairwise(sizes))

    def build(
        self,
        shape: Shape,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        tied: bool,
        generator: Generator,
    ) -> tuple[nn.Sequential, nn.Sequential]:
        encoder = _dense((shape.n_features, *hidden_layer_sizes, shape.n_codes), activation, generator)
        if tied:
            return nn.Sequential(*encoder), nn.Sequential(*_transposed(encoder, shape.n_components))
        sizes = (shape.n_components, *reversed(hidden_layer_sizes), shape.n_features)
        return nn.Sequential(*encoder), nn.Sequential(*_dense(sizes, activation, generator))


class Conv(Network):
    """Strided convolutions for flattened images, followed by the dense hidden layers.

    Each entry of ``channels`` is a 3 x 3 convolution that halves height and
    width (rounding up); the decoder mirrors them with transposed convolutions. Any
    image size and number of channels is supported.

    Parameters
    ----------
    image_shape : tuple of (channels, height, width) or (height, width), default=None
        Layout of a sample. None assumes square images with one channel. A shape such as
        (28, 28, 3) is refused, because it usually means channels at the end: transpose
        such images to (3, 28, 28) before they are flattened. Images of 28 channels that
        are 3 pixels wide can be given with height and width exchanged, (28, 3, 28).
    channels : tuple of int, default=(16, 32)
        Feature maps of each convolution.

    Examples
    --------
    >>> from sklearn_ae.networks import Conv
    >>> Conv(image_shape=(3, 32, 32))
    Conv(image_shape=(3, 32, 32))
    """

    def __init__(self, image_shape: tuple[int, ...] | None = None, channels: tuple[int, ...] = (16, 32)):
        self.image_shape = image_shape
        self.channels = channels

    _parameter_constraints = {"image_shape": [None, tuple, list], "channels": [tuple, list]}

    def check(self, n_features: int, tied: bool) -> None:
        for name in ("image_shape", "channels"):
            sizes = getattr(self, name) or ()
            if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
                raise InvalidParameterError(f"{name} of Conv must hold positive integers; got {sizes!r}.")
        if not self.channels:
            raise InvalidParameterError("channels of Conv is empty; use network='dense' for no convolution.")
        shape = self._image_shape(n_features)
        if math.prod(shape) != n_features:
            raise ValueError(
                f"image_shape={self.image_shape} of Conv holds {math.prod(shape)} pixels, "
                f"but X has {n_features} features; pass (channels, height, width) with a product of "
                f"{n_features}."
            )

    def _image_shape(self, n_features: int) -> tuple[int, int, int]:
        if self.image_shape is None:
            side = math.isqrt(n_features)
            if side * side != n_features:
                raise ValueError(
                    f"network='conv' assumes square images, but X has {n_features} features; "
                    "pass network=Conv(image_shape=(channels, height, width))."
                )
            return 1, side, side
        if len(self.image_shape) not in (2, 3):
            raise InvalidParameterError(
                f"image_shape={self.image_shape} of Conv must be (channels, height, width) "
                "or (height, width)."
            )
        c, h, w = (int(size) for size in (1, *self.image_shape)[-3:])
        if min(c, h) > 4 and (w in (3, 4) or (w == 1 and c == h)):
            raise ValueError(
                f"image_shape={self.image_shape} of Conv seems to have its channels at the end, but must be "
                f"(channels, height, width): pass image_shape={(w, c, h)}, and transpose the images, "
                f"X.reshape(-1, {c}, {h}, {w}).transpose(0, 3, 1, 2).reshape(len(X), -1). For images of "
                f"{c} channels, exchange height and width: {(c, w, h)}."
            )
        return c, h, w

    def _sides(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return height and width before each convolution, and after the last."""
        sides = [(height, width)]
        for _ in self.channels:
            sides.append(((sides[-1][0] + 1) // 2, (sides[-1][1] + 1) // 2))
        return sides

    def n_weights(self, shape: Shape, hidden_layer_sizes: Sequence[int]) -> int:
        c, h, w = self._image_shape(shape.n_features)
        flat = self.channels[-1] * math.prod(self._sides(h, w)[-1])
        convs = sum(9 * n_in * n_out for n_in, n_out in pairwise((c, *self.channels)))
        return convs + Dense().n_weights(shape._replace(n_features=flat), hidden_layer_sizes)

    def build(
        self,
        shape: Shape,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        tied: bool,
        generator: Generator,
    ) -> tuple[nn.Module, nn.Module]:
        c, h, w = self._image_shape(shape.n_features)
        maps = (c, *self.channels)
        sides = self._sides(h, w)
        # A transposed convolution produces odd sides; even ones need padding by one.
        paddings = [(1 - side[0] % 2, 1 - side[1] % 2) for side in sides[:-1]]
        convs = [
            _drawn(Conv2d(i, o, _KERNEL, stride=2, padding=1, **_WEIGHTS), generator)
            for i, o in pairwise(maps)
        ]
        flat = (maps[-1], *sides[-1])
        inner = Shape(math.prod(flat), shape.n_components, shape.n_codes)
        dense = Dense().build(inner, hidden_layer_sizes, activation, tied, generator)
        act = ACTIVATIONS[activation]
        encoder: list[nn.Module] = [nn.Unflatten(1, (c, h, w))]
        for conv in convs:
            encoder += [conv, act()]
        encoder += [nn.Flatten(1), *dense[0]]
        decoder: list[nn.Module] = [*dense[1], nn.Unflatten(1, flat)]
        for conv, padding in zip(reversed(convs), reversed(paddings), strict=True):
            decoder += [act(), _mirrored(conv, padding, tied, generator)]
        return nn.Sequential(*encoder), nn.Sequential(*decoder, nn.Flatten(1))


class JoinedOutputs(nn.Module):
    """Module that returns a tuple (means, log-variances), which are joined to one tensor.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (n, d) to two tensors of shape (n, k).
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(tuple(self.network(x)), dim=1)


class Modules(Network):
    """Pair of the user's own modules, as ``network=(encoder, decoder)`` builds it.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps samples of shape (n, d), centred and divided by one scalar, to (n, k);
        in a VAE to (n, 2k), the means followed by the log-variances, or to a tuple
        (means, log-variances) of two tensors of shape (n, k).
    decoder : torch.nn.Module
        Maps codes of shape (n, k) to (n, d).

    Notes
    -----
    The modules are copied with their current weights. ``hidden_layer_sizes`` and
    ``activation`` do not apply to them.

    Examples
    --------
    >>> from torch import nn
    >>> from sklearn_ae import AutoencoderTransformer
    >>> network = nn.Linear(64, 8), nn.Linear(8, 64)
    >>> ae = AutoencoderTransformer(8, network=network)
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        self.encoder = encoder
        self.decoder = decoder

    def __getstate__(self) -> dict[str, Any]:
        return without_modules(super().__getstate__(), ("encoder", "decoder"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(with_modules(state))

    def check(self, n_features: int, tied: bool) -> None:
        if tied:
            raise ValueError(
                "tied_weights=True needs a network that the package builds (network='dense' or 'conv'); "
                "tie your own modules within themselves."
            )

    def build(
        self,
        shape: Shape,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        tied: bool,
        generator: Generator,
    ) -> tuple[nn.Module, nn.Module]:
        return copy.deepcopy((self.encoder, self.decoder))


NETWORKS = {"dense": Dense, "conv": Conv}


def as_modules(value: Any) -> Modules | None:
    """Return the option for a pair of modules, None for anything that holds no module."""
    parts = value if isinstance(value, (tuple, list)) else (value,)
    if len(parts) == 2 and all(isinstance(part, nn.Module) for part in parts):
        return Modules(*parts)
    kinds = [part if isinstance(part, type) else type(part) for part in parts]
    if any(issubclass(kind, nn.Module) for kind in kinds):
        names = " and ".join(kind.__name__ for kind in kinds)
        raise TypeError(
            f"network={names} is not a pair of modules: pass network=(encoder, decoder), two instances of "
            "torch.nn.Module."
        )
    return None


def _dense(sizes: Sequence[int], activation: str, generator: Generator) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [_drawn(Linear(n_in, n_out, **_WEIGHTS), generator), ACTIVATIONS[activation]()]
    return layers[:-1]


def _transposed(layers: Sequence[Any], n_components: int) -> list[nn.Module]:
    """Return the mirror image of dense layers, with transposed weights."""
    first = TiedLinear(layers[-1], n_inputs=n_components)
    return [first, *(TiedLinear(x) if isinstance(x, nn.Linear) else x for x in reversed(layers[:-1]))]


def _mirrored(
    conv: nn.Conv2d, output_padding: tuple[int, int], tied: bool, generator: Generator
) -> nn.Module:
    if tied:
        return TiedConvTranspose2d(conv, output_padding)
    n_in, n_out = conv.out_channels, conv.in_channels
    layer = ConvTranspose2d(
        n_in, n_out, _KERNEL, stride=2, padding=1, output_padding=output_padding, **_WEIGHTS
    )
    return _drawn(layer, generator)


def _drawn(layer: Any, generator: Generator) -> Any:
    """Draw weight and bias as torch's own layers do, uniformly within 1 / sqrt(fan in)."""
    bound = 1 / math.sqrt(max(1, layer.weight[0].numel()))
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
