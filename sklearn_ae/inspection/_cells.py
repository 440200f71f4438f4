"""What the displays of decoded rows share: kinds of drawings, and rows in the cells of one axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_array

from sklearn_ae._utils.arrays import dense
from sklearn_ae._utils.pipelines import last_step
from sklearn_ae.inspection._drawing import GREYS, as_images
from sklearn_ae.networks import Conv

KINDS = ("image", "curve", "heatmap")
_MANY_COLUMNS = 30  # beyond these, a table is read as a curve
_MAX_TICKS = 8
_MARGIN = 0.08  # of a cell, around its curve


# -- what is asked for --------------------------------------------------------------------


def check_kind(kind: Any) -> None:
    if kind not in ("auto", *KINDS):
        raise ValueError(
            f"kind={kind!r} is not known; valid strings are 'auto', 'image', 'curve' and 'heatmap'."
        )


def shape_of_images(estimator: Any, image_shape: Any, n_features: int) -> Any:
    """The shape that was given, or that of the pictures a convolutional network was fitted to."""
    last = last_step(estimator)
    network = getattr(getattr(last, "autoencoder_", last), "network_", None)
    if image_shape is not None or not isinstance(network, Conv):
        return image_shape
    # steps before the network may have changed the columns
    return network._image_shape(n_features) if last.n_features_in_ == n_features else None


def chosen_kind(kind: str, image_shape: Any, n_features: int) -> str:
    """What "auto" stands for."""
    check_kind(kind)
    if kind == "image" and image_shape is None:
        raise ValueError(
            "kind='image' needs the shape of a picture: pass image_shape=(height, width) "
            "or (channels, height, width)."
        )
    if kind != "auto":
        return kind
    if image_shape is not None:
        return "image"
    return "curve" if n_features > _MANY_COLUMNS else "heatmap"


def names_of_features(feature_names: Any, n_features: int, *sources: Any) -> list[str]:
    """The names that were given, those of a data frame or of a model fitted to one, or x0, x1, ..."""
    if feature_names is None:
        known = (getattr(s, "columns", getattr(s, "feature_names_in_", None)) for s in sources)
        fitting = [names for names in known if names is not None and len(names) == n_features]
        feature_names = fitting[0] if fitting else [f"x{j}" for j in range(n_features)]
    if len(feature_names) != n_features:
        raise ValueError(
            f"feature_names has {len(feature_names)} names, but rows have {n_features} columns; "
            "give one name per column."
        )
    return [str(name) for name in feature_names]


def rows_as_given(X: Any, name: str) -> np.ndarray:
    """Rows in two dimensions; entries may be missing."""
    rows = np.atleast_2d(np.asarray(dense(X)))
    return check_array(rows, dtype=np.float64, ensure_all_finite="allow-nan", input_name=name)


# -- cells --------------------------------------------------------------------------------


def pictures_of(rows: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Rows of shape (..., n_features) as pictures of shape (..., height, width[, 3 or 4])."""
    pictures = as_images(rows.reshape(-1, rows.shape[-1]), image_shape)
    if pictures.ndim == 4:
        if pictures.shape[-1] not in (3, 4):
            raise ValueError(
                f"image_shape={tuple(image_shape)} has {pictures.shape[-1]} channels; give 1, 3 or 4."
            )
        # colours are shares of 1 or of 255, and a decoder may overshoot
        pictures = np.clip(pictures / (255 if np.nanmax(pictures) > 2 else 1), 0, 1)
    return pictures.reshape(*rows.shape[:-1], *pictures.shape[1:])


def mosaic(pictures: np.ndarray) -> np.ndarray:
    """Pictures of shape (n, m, height, width, ...) as one picture of n by m."""
    n, m, height, width = pictures.shape[:4]
    return pictures.swapaxes(1, 2).reshape(n * height, m * width, *pictures.shape[4:])


def picture_options(pictures: np.ndarray) -> dict[str, Any]:
    """One scale for all pictures; the few values with which a decoder overshoots do not stretch it."""
    low, high = np.nanquantile(pictures, [0.01, 0.99])
    return {"cmap": GREYS, "interpolation": "nearest", "vmin": low, "vmax": high}


def curves_in_cells(
    rows: np.ndarray, lefts: np.ndarray, bottoms: np.ndarray, height: float, low: float, high: float
) -> list[np.ndarray]:
    """Lines of one curve per cell; rows of shape (n, m, n_features), from low to high."""
    x = np.linspace(_MARGIN, 1 - _MARGIN, rows.shape[-1])
    share = (rows - low) / (high - low or 1)
    y = height * (_MARGIN + (1 - 2 * _MARGIN) * share)
    return [
        np.column_stack([lefts[j] + x, bottoms[i] + y[i, j]]) for i in range(len(y)) for j in range(len(y[i]))
    ]


def some_ticks(n: int) -> np.ndarray:
    """Indices of at most eight of n cells, in equal steps."""
    return np.arange(0, n, max(1, -(-(n - 1) // (_MAX_TICKS - 1))))


def as_labels(values: np.ndarray) -> list[str]:
    """Numbers with as many decimals as tell neighbours apart."""
    steps = np.abs(np.diff(values))
    step = steps[steps > 0].min(initial=1.0)
    decimals = int(np.clip(np.ceil(-np.log10(step)), 0, 4))
    labels = [f"{np.round(value, decimals) + 0.0:.{decimals}f}" for value in values]
    return [label.replace("-", "\N{MINUS SIGN}") for label in labels]
