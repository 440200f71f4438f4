"""Drawings of interpolations and traversals: one block of cells per walk, with any samples at its ends.

A drawing is created before any figure is made. It has a ``figsize`` and a method
``draw(ax, options)``, which returns the artists: start, walk and end of each pair.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sklearn_ae.inspection._cells import (
    cell_curves,
    format_number,
    grid_images,
    image_options,
    mosaic,
    resolve_feature_names,
    tick_indices,
)
from sklearn_ae.inspection._drawing import COLOURS, SEQUENTIAL, image_style, literal

_GAP = 0.3  # between a walk and the samples at its ends, in cell widths
_MAX_TICKS = 15
_MAX_WIDTH = 12.0  # inches of all cells
_MAX_NUMBERS = 400  # heat maps with more cells show colours only
_LINE = 0.42  # height of a feature in a heat map, in cell widths
_ORIGINAL = COLOURS[1]


class Labels(NamedTuple):
    """Names of the walks (none for a single one), labels of their steps, and of the axis of the steps."""

    walks: list[str]
    steps: list[str]
    axis: str


class Part(NamedTuple):
    """Start, walk or end of all walks."""

    samples: np.ndarray  # (n_walks, m, ...)
    left: float
    original: bool

    @property
    def n_cells(self) -> int:
        return self.samples.shape[1]


class Walks:
    """Base class of the drawings: blocks one below the other, in units of the cell width.

    Parameters
    ----------
    samples : ndarray of shape (n_walks, n_steps, n_features)
        Decoded samples.
    labels : Labels
    ends : pair of ndarray of shape (n_walks, n_features), default=None
        Original samples at both ends.
    names : sequence of str, default=None
        Names of the features.
    image_shape : tuple of int, default=None
        Shape of a sample as an image.
    """

    block_height = 1.0
    gap = 0.15  # between blocks
    header = 0.0  # above the first block
    inches = 0.75  # width of a cell
    aspect = "equal"

    def __init__(
        self, samples: Any, labels: Labels, *, ends: Any = None, names: Any = None, image_shape: Any = None
    ):
        self.labels = labels
        self.names = names
        self.image_shape = image_shape
        self.parts = [Part(np.asarray(samples), 0.0, False)]
        self.n_walks, self.n_steps, self.n_features = self.parts[0].samples.shape
        if ends is not None:
            start, end = (np.asarray(X)[:, np.newaxis] for X in ends)
            walk = self.parts[0]._replace(left=1 + _GAP)
            self.parts = [Part(start, 0.0, True), walk, Part(end, self.n_steps + 1 + 2 * _GAP, True)]

    @property
    def width(self) -> float:
        return self.parts[-1].left + self.parts[-1].n_cells

    @property
    def height(self) -> float:
        return self.n_walks * (self.block_height + self.gap) - self.gap

    @property
    def bottoms(self) -> np.ndarray:
        return (self.block_height + self.gap) * np.arange(self.n_walks)[::-1]

    @property
    def figsize(self) -> tuple[float, float]:
        across = min(self.inches, _MAX_WIDTH / self.width)
        down = across if self.aspect == "equal" else self.inches
        return 1.5 + across * self.width, 1.1 + down * (self.height + self.header)

    def draw(self, ax: Any, options: dict[str, Any]) -> list[Any]:
        """Draw all walks; ``options`` are those of the user for each artist."""
        drawn = []
        for i, bottom in enumerate(self.bottoms):
            for part in self.parts:
                drawn.append(self.draw_part(ax, part, i, bottom, options))
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        self.tick_steps(ax)
        self.tick_walks(ax)
        # set last, since imshow sets limits of its own
        top = self.height + self.header + 0.05
        ax.set(xlim=(-0.05, self.width + 0.05), ylim=(-0.05, top), aspect=self.aspect)
        return drawn

    def draw_part(self, ax: Any, part: Part, i: int, bottom: float, options: dict[str, Any]) -> Any:
        """Draw one part of walk i."""
        raise NotImplementedError

    def tick_steps(self, ax: Any) -> None:
        """Label both ends and each step."""
        steps = np.arange(self.n_steps) if self.n_steps <= _MAX_TICKS else tick_indices(self.n_steps)
        left = self.parts[len(self.parts) // 2].left
        labels = {left + step + 0.5: self.labels.steps[step] for step in steps}
        if len(self.parts) == 3:
            labels |= {0.5: "start", self.width - 0.5: "end"}
        ax.set_xticks(list(labels), list(labels.values()))
        for label in ax.get_xticklabels():
            if label.get_text() in ("start", "end"):
                label.set(color=_ORIGINAL, fontweight="bold")
        ax.set_xlabel(self.labels.axis)

    def tick_walks(self, ax: Any) -> None:
        """Name the walks."""
        places = self.bottoms + self.block_height / 2
        ax.set_yticks(places[: len(self.labels.walks)], self.labels.walks)

    def frame(self, ax: Any, part: Part, bottom: float) -> None:
        """Draw a frame around an original sample."""
        from matplotlib.patches import Rectangle

        style: dict[str, Any] = {
            "fill": False,
            "edgecolor": _ORIGINAL,
            "linewidth": 2,
            "zorder": 3,
            "clip_on": False,
        }
        if part.original:
            ax.add_patch(Rectangle((part.left, bottom), 1, self.block_height, **style))


class ImageWalks(Walks):
    """One image per cell."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.parts = [p._replace(samples=grid_images(p.samples, self.image_shape)) for p in self.parts]
        self.block_height = self.parts[0].samples.shape[2] / self.parts[0].samples.shape[3]
        # the originals define the grey scale, since reconstructions may exceed its range
        originals = [part.samples for part in self.parts if part.original]
        self.style = image_options(self.parts[0].samples)
        if originals:
            self.style |= {"vmin": np.nanmin(originals), "vmax": np.nanmax(originals)}

    def draw_part(self, ax: Any, part: Part, i: int, bottom: float, options: dict[str, Any]) -> Any:
        top = bottom + self.block_height
        place = (part.left, part.left + part.n_cells, bottom, top)
        image = ax.imshow(mosaic(part.samples[i : i + 1]), extent=place, **image_style(self.style, options))
        ax.vlines(part.left + np.arange(1, part.n_cells), bottom, top, color="white", linewidth=2)
        self.frame(ax, part, bottom)
        return image


class CurveWalks(Walks):
    """One curve per cell, all on the same scale."""

    block_height = 0.75
    gap = 0.3
    inches = 0.85

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.limits = _limits(self.parts, None)

    def draw_part(self, ax: Any, part: Part, i: int, bottom: float, options: dict[str, Any]) -> Any:
        from matplotlib.collections import LineCollection

        lefts = part.left + np.arange(part.n_cells)
        bottoms = np.array([bottom])
        lines = cell_curves(
            part.samples[i : i + 1], lefts, bottoms, height=self.block_height, limits=self.limits
        )
        style = {"color": _ORIGINAL if part.original else COLOURS[0], "linewidth": 1.2}
        return ax.add_collection(LineCollection(lines, **{**style, **options}))


class HeatMapWalks(Walks):
    """One line per feature, coloured from its minimum to its maximum."""

    gap = 2 * _LINE
    inches = 0.62
    aspect = "auto"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.block_height = self.n_features * _LINE
        self.header = _LINE if self.labels.walks else 0.0
        self.names = resolve_feature_names(self.names, self.n_features)
        self.low, self.high = _limits(self.parts, (0, 1))
        self.numbers = self.n_walks * self.n_features * self.width <= _MAX_NUMBERS

    def draw(self, ax: Any, options: dict[str, Any]) -> list[Any]:
        images = super().draw(ax, options)
        bar = ax.figure.colorbar(images[0], ax=ax, ticks=[0, 1])
        bar.ax.set_yticklabels(["min", "max"])
        bar.set_label("Value relative to the feature's range", labelpad=-15)
        return images

    def draw_part(self, ax: Any, part: Part, i: int, bottom: float, options: dict[str, Any]) -> Any:
        place = (part.left, part.left + part.n_cells, bottom, bottom + self.block_height)
        spans = np.where(self.high > self.low, self.high - self.low, 1)
        style = {"cmap": SEQUENTIAL, "interpolation": "nearest", "vmin": 0, "vmax": 1}
        image = ax.imshow(
            ((part.samples[i] - self.low) / spans).T, extent=place, **image_style(style, options)
        )
        self.frame(ax, part, bottom)
        if self.numbers:
            self.write(ax, image, part.samples[i].T, (part.left, bottom + self.block_height))
        return image

    def write(self, ax: Any, image: Any, values: np.ndarray, corner: tuple[float, float]) -> None:
        """Write each value into its cell, in black or white depending on the background."""
        left, top = corner
        colours = image.cmap(image.norm(image.get_array()))
        for (j, step), value in np.ndenumerate(values):
            light = colours[j, step, :3] @ [0.3, 0.6, 0.1] > 0.5
            place = (left + step + 0.5, top - (j + 0.5) * _LINE)
            style = {"color": "black" if light else "white", "fontsize": 8, "ha": "center", "va": "center"}
            ax.text(*place, format_number(value), **style)

    def tick_walks(self, ax: Any) -> None:
        """Name the features of each walk."""
        downwards = np.arange(self.n_features)[::-1] + 0.5
        places = np.concatenate([bottom + _LINE * downwards for bottom in self.bottoms])
        ax.set_yticks(places, [literal(name) for name in self.names] * self.n_walks)
        for name, bottom in zip(self.labels.walks, self.bottoms, strict=False):
            place = bottom + self.block_height + 0.3 * _LINE
            ax.text(0, place, name.replace("\n", "  "), fontweight="bold")


DRAWINGS: dict[str, Any] = {"image": ImageWalks, "curve": CurveWalks, "heatmap": HeatMapWalks}


def _limits(parts: list[Part], axis: tuple[int, int] | None) -> tuple[Any, Any]:
    """Return the minimum and the maximum, of all features together or of each."""
    samples = np.concatenate([part.samples for part in parts], axis=1)
    return np.nanmin(samples, axis=axis), np.nanmax(samples, axis=axis)
