"""What the displays share: matplotlib when it is needed, colours, names of models, rows as pictures."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from sklearn_ae._utils.pipelines import by_class

# Okabe and Ito's colours, in an order in which neighbours differ most, also for colour-blind readers
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEQUENTIAL, DIVERGING, GREYS = "viridis", "RdBu_r", "gray_r"


def pyplot(display: Any) -> Any:
    """``matplotlib.pyplot``, or an error that says how to get it.

    ``display`` is the display or its class, which asks before it computes anything.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        cls = display if isinstance(display, type) else type(display)
        raise ImportError(f"{cls.__name__} needs matplotlib: pip install matplotlib") from error
    return plt


def axes_and_figure(display: Any, ax: Any, **figure_options: Any) -> tuple[Any, Any]:
    """The axes that were given, or new ones in a figure of their own, and their figure."""
    if ax is None:
        _, ax = pyplot(display).subplots(layout="constrained", **figure_options)
    return ax, ax.figure


def canvas(display: Any, ax: Any, figsize: tuple[float, float]) -> Any:
    """Where several panels are drawn: a new figure, or a part of one in place of the axes that were given.

    Both have ``subplots``, ``suptitle``, ``legend`` and ``colorbar``.
    """
    if ax is None:
        return pyplot(display).figure(figsize=figsize, layout="constrained")
    if ax.get_subplotspec() is None:
        raise ValueError(
            f"ax must be a cell of a grid, as plt.subplots makes them: {type(display).__name__} puts "
            "several panels in its place."
        )
    ax.set_axis_off()
    panel = ax.figure.add_subfigure(ax.get_subplotspec())
    if panel.get_layout_engine() is None:  # nobody makes room for labels
        panel.subplots_adjust(left=0.28, bottom=0.2, right=0.92, top=0.88, wspace=0.6)
    return panel


def by_name(models: Any) -> dict[str, Any]:
    """One model, several, or a mapping of names to models, as a mapping."""
    if isinstance(models, (Mapping, list, tuple)) and not models:
        raise ValueError("estimator must be a fitted model, or at least one in a list or dict; got none.")
    if isinstance(models, Mapping):
        return {str(name): model for name, model in models.items()}
    several = isinstance(models, Sequence) and not isinstance(models, Pipeline)
    return by_class(models if several else [models])


def as_images(rows: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Rows as pictures of shape (n, height, width) or (n, height, width, colours).

    ``image_shape`` is (height, width), or (channels, height, width) as networks take it.
    """
    shape = tuple(int(size) for size in image_shape)
    if len(shape) not in (2, 3) or int(np.prod(shape)) != rows.shape[1]:
        raise ValueError(
            f"image_shape={tuple(image_shape)} does not fit rows of {rows.shape[1]} columns; give "
            f"(height, width) or (channels, height, width) whose product is {rows.shape[1]}."
        )
    pictures = rows.reshape(len(rows), *shape)
    if len(shape) == 2:
        return pictures
    return pictures[:, 0] if shape[0] == 1 else np.moveaxis(pictures, 1, -1)


def wrapped(name: str, width: int = 20) -> str:
    """A long name on several lines; identifiers may break before a capital or after an underscore."""
    if len(name) <= width:
        return name
    breakable = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=_)", " \u200b", name)
    lines = textwrap.wrap(breakable, width)
    return "\n".join(line.replace(" \u200b", "").strip("\u200b") for line in lines)


def bare(ax: Any) -> None:
    """No ticks: the picture says it all."""
    ax.set(xticks=[], yticks=[])


def plain(ax: Any) -> None:
    """The look of a chart: no box, a light grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3, linewidth=0.8)
    ax.set_axisbelow(True)
