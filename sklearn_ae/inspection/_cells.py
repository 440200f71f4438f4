"""Helpers of the displays that draw samples: choice of the drawing, and samples in the cells of a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_ae._utils.arrays import check_array, dense
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae.inspection._drawing import GREYS, artist_options, as_images

KINDS = ("image", "curve", "heatmap")
_MANY_FEATURES = 30  # more features than this are drawn as a curve
_MAX_TICKS = 8
_MARGIN = 0.08  # margin around a curve, relative to its cell


# -- parameters ---------------------------------------------------------------------------


def check_kind(kind: Any) -> None:
    """Raise a ValueError if ``kind`` is not a known drawing."""
    if kind not in ("auto", *KINDS):
        raise ValueError(
            f"kind={kind!r} is not known; valid strings are 'auto', 'image', 'curve' and 'heatmap'."
        )


def infer_image_shape(estimator: Any, image_shape: Any, n_features: int) -> Any:
    """Return ``image_shape``, or that of the estimator's convolutional network if it is None."""
    last = last_step(estimator)
    network: Any = getattr(getattr(last, "autoencoder_", last), "network_", None)
    if image_shape is not None or not hasattr(network, "image_shape"):
        return image_shape
    # earlier steps of a pipeline may have changed the number of features
    if last.n_features_in_ != n_features:
        return None
    side = math.isqrt(n_features)
    return (1, *(network.image_shape or (side, side)))[-3:]


def resolve_kind(kind: str, image_shape: Any, n_features: int) -> str:
    """Return the drawing to use, resolving "auto"."""
    check_kind(kind)
    if kind == "image" and image_shape is None:
        raise ValueError(
            "kind='image' needs the shape of an image: pass image_shape=(height, width) "
            "or (channels, height, width)."
        )
    if kind != "auto":
        return kind
    if image_shape is not None:
        return "image"
    return "curve" if n_features > _MANY_FEATURES else "heatmap"


def sample_options(kind: str, im_kwargs: Any, line_kwargs: Any) -> dict[str, Any]:
    """Return the user's options of the artists that draw samples in this way."""
    return artist_options(line_kwargs, "lines") if kind == "curve" else artist_options(im_kwargs, "image")


def resolve_feature_names(feature_names: Any, n_features: int, *sources: Any) -> list[str]:
    """Return the names given, those of a data frame or a model among the sources, or x0, x1, ..."""
    if feature_names is None:
        known = (getattr(s, "columns", getattr(s, "feature_names_in_", None)) for s in sources)
        matching = [names for names in known if names is not None and len(names) == n_features]
        feature_names = matching[0] if matching else [f"x{j}" for j in range(n_features)]
    if len(feature_names) != n_features:
        raise ValueError(
            f"feature_names has {len(feature_names)} names, but samples have {n_features} features; "
            "pass one name per feature."
        )
    return [str(name) for name in feature_names]


def as_samples(X: Any, name: str) -> np.ndarray:
    """Return one or several samples as a 2D array, in which values may be missing."""
    samples = np.atleast_2d(np.asarray(dense(X)))
    return check_array(samples, dtype=np.float64, ensure_all_finite="allow-nan", input_name=name)


# -- cells --------------------------------------------------------------------------------


def grid_images(samples: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Reshape samples of shape (..., n_features) to images of shape (..., height, width[, 3 or 4])."""
    images = as_images(samples.reshape(-1, samples.shape[-1]), image_shape)
    if images.ndim == 4:
        if images.shape[-1] not in (3, 4):
            raise ValueError(
                f"image_shape={tuple(image_shape)} has {images.shape[-1]} channels; pass 1, 3 or 4."
            )
        # colours range up to 1 or 255, and reconstructions may exceed that range
        images = np.clip(images / (255 if np.nanmax(images) > 2 else 1), 0, 1)
    return images.reshape(*samples.shape[:-1], *images.shape[1:])


def mosaic(images: np.ndarray) -> np.ndarray:
    """Join images of shape (n, m, height, width, ...) into one image of n by m tiles."""
    n, m, height, width = images.shape[:4]
    return images.swapaxes(1, 2).reshape(n * height, m * width, *images.shape[4:])


def image_options(images: np.ndarray) -> dict[str, Any]:
    """Return options of ``imshow`` with one scale for all images, robust to a few extreme values."""
    low, high = np.nanquantile(images, [0.01, 0.99])
    return {"cmap": GREYS, "interpolation": "nearest", "vmin": low, "vmax": high}


def cell_curves(
    samples: np.ndarray,
    lefts: np.ndarray,
    bottoms: np.ndarray,
    *,
    height: float,
    limits: tuple[float, float],
) -> list[np.ndarray]:
    """Return one curve per sample of shape (n, m, n_features), scaled from ``limits`` to its cell."""
    low, high = limits
    x = np.linspace(_MARGIN, 1 - _MARGIN, samples.shape[-1])
    fraction = (samples - low) / (high - low or 1)
    y = height * (_MARGIN + (1 - 2 * _MARGIN) * fraction)
    return [
        np.column_stack([lefts[j] + x, bottoms[i] + y[i, j]]) for i in range(len(y)) for j in range(len(y[i]))
    ]


def tick_indices(n: int) -> np.ndarray:
    """Return at most eight evenly spaced indices of n cells."""
    return np.arange(0, n, max(1, -(-(n - 1) // (_MAX_TICKS - 1))))


def format_values(values: np.ndarray) -> list[str]:
    """Format numbers with the decimals needed to distinguish neighbours."""
    steps = np.abs(np.diff(values))
    step = steps[steps > 0].min(initial=1.0)
    decimals = int(np.clip(np.ceil(-np.log10(step)), 0, 4))
    labels = [f"{np.round(value, decimals) + 0.0:.{decimals}f}" for value in values]
    return [label.replace("-", "\N{MINUS SIGN}") for label in labels]


def format_number(value: float) -> str:
    """Format a number with two or three digits, or all digits of its integer part, to stay short."""
    size = abs(value)
    if 1000 <= size < 1e5:
        return f"{value:.0f}"
    if 1e-3 <= size < 1e-2:
        return f"{value:.2g}"
    return f"{value:.3g}" if value == 0 or 1e-2 <= size < 1000 else f"{value:.0e}"
