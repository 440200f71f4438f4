"""Helpers shared by the displays: matplotlib on demand, colours, model names, samples as images."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from sklearn_ae._utils.pipelines import by_class

# Palette of Okabe and Ito, ordered so that neighbours are easy to distinguish with any colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEQUENTIAL = "viridis"
DIVERGING = "RdBu_r"
GREYS = "gray_r"


def pyplot(display: Any) -> Any:
    """Return ``matplotlib.pyplot``, or raise an error that says how to install it.

    ``display`` is a display, or its class when called before anything is computed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        cls = display if isinstance(display, type) else type(display)
        raise ImportError(f"{cls.__name__} needs matplotlib: pip install matplotlib") from error
    return plt


def axes_and_figure(display: Any, ax: Any, **figure_options: Any) -> tuple[Any, Any]:
    """Return ``ax``, or the axes of a new figure if it is None, and the figure."""
    if ax is None:
        _, ax = pyplot(display).subplots(layout="constrained", **figure_options)
    return ax, ax.figure


def canvas(display: Any, ax: Any, figsize: tuple[float, float]) -> Any:
    """Return a new figure, or a subfigure that replaces ``ax``, for several panels.

    Both have ``subplots``, ``suptitle``, ``legend`` and ``colorbar``.
    """
    if ax is None:
        return pyplot(display).figure(figsize=figsize, layout="constrained")
    if ax.get_subplotspec() is None:
        raise ValueError(
            f"ax must be a cell of a grid, as created by plt.subplots: {type(display).__name__} replaces it "
            "with several panels."
        )
    ax.set_axis_off()
    panel = ax.figure.add_subfigure(ax.get_subplotspec())
    if panel.get_layout_engine() is None:  # without a layout engine, labels need room made by hand
        panel.subplots_adjust(left=0.28, bottom=0.2, right=0.92, top=0.88, wspace=0.6)
    return panel


def by_name(models: Any) -> dict[str, Any]:
    """Return one model, a list of models, or a mapping of names to models as a dict."""
    if isinstance(models, (Mapping, list, tuple)) and not models:
        raise ValueError(
            "estimator must be a fitted model, or a list or dict of at least one; got an empty one."
        )
    if isinstance(models, Mapping):
        return {str(name): model for name, model in models.items()}
    several = isinstance(models, Sequence) and not isinstance(models, Pipeline)
    return by_class(models if several else [models])


def as_images(samples: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Reshape samples to images of shape (n, height, width) or (n, height, width, channels).

    ``image_shape`` is (height, width), or (channels, height, width) as for convolutional networks.
    """
    shape = tuple(int(size) for size in image_shape)
    n_features = samples.shape[1]
    if len(shape) not in (2, 3) or int(np.prod(shape)) != n_features:
        raise ValueError(
            f"image_shape={tuple(image_shape)} does not fit samples of {n_features} features; pass "
            f"(height, width) or (channels, height, width) with a product of {n_features}."
        )
    images = samples.reshape(len(samples), *shape)
    if len(shape) == 2:
        return images
    return images[:, 0] if shape[0] == 1 else np.moveaxis(images, 1, -1)


def wrapped(name: str, width: int = 20) -> str:
    """Wrap a long name; identifiers may break before a capital letter or after an underscore."""
    if len(name) <= width:
        return literal(name)
    breakable = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=_)", " \u200b", name)
    lines = textwrap.wrap(breakable, width)
    return literal("\n".join(line.replace(" \u200b", "").strip("\u200b") for line in lines))


def literal(name: Any) -> str:
    """Return a text that matplotlib shows as the name: between dollar signs it would read mathematics."""
    return str(name).replace("$", r"\$")


def artist_options(options: Mapping[str, Any] | None, kind: str) -> dict[str, Any]:
    """Return a user's options of an artist under their canonical names, so that aliases replace defaults.

    ``kind`` is "line", "lines" (a collection), "points", "image" or "bars".
    """
    from matplotlib import collections, image, lines, patches
    from matplotlib.cbook import normalize_kwargs

    artists: dict[str, Any] = {
        "line": lines.Line2D,
        "lines": collections.LineCollection,
        "points": collections.PathCollection,
        "image": image.AxesImage,
        "bars": patches.Patch,
    }
    return normalize_kwargs(dict(options or {}), artists[kind])


def image_style(defaults: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return options of ``imshow`` with those of the user; a norm replaces the default limits."""
    limits = ("vmin", "vmax") if options.get("norm") is not None else ()
    return {**{name: value for name, value in defaults.items() if name not in limits}, **options}


def hide_ticks(ax: Any) -> None:
    """Remove the ticks of both axes."""
    ax.set(xticks=[], yticks=[])


def style_chart(ax: Any) -> None:
    """Remove the box around a chart and add a light grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3, linewidth=0.8)
    ax.set_axisbelow(True)
