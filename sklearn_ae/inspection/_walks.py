"""How walks between rows are drawn: a block of cells for each pair, with the rows themselves at both ends.

Each drawing takes the display, before any figure is made; it has a ``figsize`` and a
method ``draw(ax, options)``, which returns what it drew: start, walk and end of each pair.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sklearn_ae.inspection._cells import (
    curves_in_cells,
    mosaic,
    names_of_features,
    picture_options,
    pictures_of,
    some_ticks,
)
from sklearn_ae.inspection._drawing import COLOURS, SEQUENTIAL

_GAP = 0.3  # between a walk and the rows at its ends, in widths of a cell
_MAX_TICKS = 15
_MAX_NUMBERS = 400  # cells of a heat map that can carry their values
_LINE = 0.42  # height of a column of the table in a heat map, in widths of a cell
_ORIGINAL = COLOURS[1]


class Part(NamedTuple):
    """Start, walk or end of all pairs."""

    rows: np.ndarray  # (n_pairs, m, ...)
    left: float
    original: bool

    @property
    def n_cells(self) -> int:
        return self.rows.shape[1]


class Walks:
    """What all drawings have: blocks one below the other, in units of the width of a cell."""

    tall, gap, inches = 1.0, 0.15, 0.75  # of a block, between blocks, and of a cell
    aspect = "equal"

    def __init__(self, display: Any):
        self.names = display.feature_names
        self.n_pairs, self.n_steps, self.n_features = display.walks.shape
        self.parts = [Part(np.asarray(display.walks), 0.0, False)]
        if display.X_start is not None and display.X_end is not None:
            start, end = (np.asarray(X)[:, np.newaxis] for X in (display.X_start, display.X_end))
            walk = self.parts[0]._replace(left=1 + _GAP)
            self.parts = [Part(start, 0.0, True), walk, Part(end, self.n_steps + 1 + 2 * _GAP, True)]

    @property
    def width(self) -> float:
        return self.parts[-1].left + self.parts[-1].n_cells

    @property
    def height(self) -> float:
        return self.n_pairs * (self.tall + self.gap) - self.gap

    @property
    def bottoms(self) -> np.ndarray:
        return (self.tall + self.gap) * np.arange(self.n_pairs)[::-1]

    @property
    def figsize(self) -> tuple[float, float]:
        return 1.5 + self.inches * self.width, 1.1 + self.inches * self.height

    def draw(self, ax: Any, options: dict[str, Any]) -> list[Any]:
        drawn = []
        for i, bottom in enumerate(self.bottoms):
            for part in self.parts:
                drawn.append(self.draw_part(ax, part, i, bottom, options))
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        self.tick_steps(ax)
        self.tick_pairs(ax)
        # last, since pictures set limits of their own
        ax.set(xlim=(-0.05, self.width + 0.05), ylim=(-0.05, self.height + 0.05), aspect=self.aspect)
        return drawn

    def draw_part(self, ax: Any, part: Part, i: int, bottom: float, options: dict[str, Any]) -> Any:
        """Draw one part of pair i."""
        raise NotImplementedError

    def tick_steps(self, ax: Any) -> None:
        """Names of the ends, and how far each step has gone."""
        steps = np.arange(self.n_steps) if self.n_steps <= _MAX_TICKS else some_ticks(self.n_steps)
        labels = {
            self.parts[len(self.parts) // 2].left + s + 0.5: f"{s / (self.n_steps - 1):.2g}" for s in steps
        }
        if len(self.parts) == 3:
            labels |= {0.5: "start", self.width - 0.5: "end"}
        ax.set_xticks(list(labels), list(labels.values()))
        for label in ax.get_xticklabels():
            if label.get_text() in ("start", "end"):
                label.set(color=_ORIGINAL, fontweight="bold")
        ax.set_xlabel("Share of the way from the reconstruction of start to that of end")

    def tick_pairs(self, ax: Any) -> None:
        names = [f"Pair {i + 1}" for i in range(self.n_pairs)]
        if self.n_pairs > 1:
            ax.set_yticks(self.bottoms + self.tall / 2, names)
        else:
            ax.set_yticks([])

    def frame(self, ax: Any, part: Part, bottom: float) -> None:
        """Mark what is no reconstruction."""
        from matplotlib.patches import Rectangle

        look: dict[str, Any] = {
            "fill": False,
            "edgecolor": _ORIGINAL,
            "linewidth": 2,
            "zorder": 3,
            "clip_on": False,
        }
        if part.original:
            ax.add_patch(Rectangle((part.left, bottom), 1, self.tall, **look))


class PictureWalks(Walks):
    """A picture in each cell."""

    def __init__(self, display: Any):
        super().__init__(display)
        self.parts = [p._replace(rows=pictures_of(p.rows, display.image_shape)) for p in self.parts]
        self.tall = self.parts[0].rows.shape[2] / self.parts[0].rows.shape[3]
        # a decoder may overshoot; the original pictures say what is black and white
        given = [part.rows for part in self.parts if part.original]
        self.look = picture_options(self.parts[0].rows)
        if given:
            self.look |= {"vmin": np.nanmin(given), "vmax": np.nanmax(given)}

    def draw_part(self, ax, part, i, bottom, options):
        place = (part.left, part.left + part.n_cells, bottom, bottom + self.tall)
        image = ax.imshow(mosaic(part.rows[i : i + 1]), extent=place, **{**self.look, **options})
        borders = part.left + np.arange(1, part.n_cells)
        ax.vlines(borders, bottom, bottom + self.tall, color="white", linewidth=2)
        self.frame(ax, part, bottom)
        return image


class CurveWalks(Walks):
    """A curve in each cell, all on one scale."""

    tall, gap, inches = 0.75, 0.3, 0.85

    def __init__(self, display: Any):
        super().__init__(display)
        self.low, self.high = _limits(self.parts, None)

    def draw_part(self, ax, part, i, bottom, options):
        from matplotlib.collections import LineCollection

        lefts = part.left + np.arange(part.n_cells)
        rows, bottoms = part.rows[i : i + 1], np.array([bottom])
        lines = curves_in_cells(rows, lefts, bottoms, self.tall, self.low, self.high)
        look = {"color": _ORIGINAL if part.original else COLOURS[0], "linewidth": 1.2}
        return ax.add_collection(LineCollection(lines, **{**look, **options}))


class HeatMapWalks(Walks):
    """A line for each column of the table, coloured from its least to its largest value."""

    gap, inches = 2 * _LINE, 0.62
    aspect = "auto"

    def __init__(self, display: Any):
        super().__init__(display)
        self.tall = self.n_features * _LINE
        self.names = names_of_features(self.names, self.n_features)
        self.low, self.high = _limits(self.parts, (0, 1))
        self.numbers = self.n_pairs * self.n_features * self.width <= _MAX_NUMBERS

    def draw(self, ax, options):
        images = super().draw(ax, options)
        bar = ax.figure.colorbar(images[0], ax=ax, ticks=[0, 1])
        bar.ax.set_yticklabels(["least", "largest"])
        bar.set_label("Value among those of its column", labelpad=-25)
        return images

    def draw_part(self, ax, part, i, bottom, options):
        place = (part.left, part.left + part.n_cells, bottom, bottom + self.tall)
        shares = (part.rows[i] - self.low) / np.where(self.high > self.low, self.high - self.low, 1)
        look = {"cmap": SEQUENTIAL, "interpolation": "nearest", "vmin": 0, "vmax": 1}
        image = ax.imshow(shares.T, extent=place, **{**look, **options})
        self.frame(ax, part, bottom)
        if self.numbers:
            self.write(ax, image, part.rows[i].T, part.left, bottom + self.tall)
        return image

    def write(self, ax: Any, image: Any, values: np.ndarray, left: float, top: float) -> None:
        """Each value in its cell, in black or white, whichever can be read."""
        colours = image.cmap(image.norm(image.get_array()))
        for (j, step), value in np.ndenumerate(values):
            light = colours[j, step, :3] @ [0.3, 0.6, 0.1] > 0.5
            place = (left + step + 0.5, top - (j + 0.5) * _LINE)
            look = {"color": "black" if light else "white", "fontsize": 8, "ha": "center", "va": "center"}
            ax.text(*place, _short(value), **look)

    def tick_pairs(self, ax):
        downwards = np.arange(self.n_features)[::-1] + 0.5
        places = np.concatenate([bottom + _LINE * downwards for bottom in self.bottoms])
        ax.set_yticks(places, self.names * self.n_pairs)
        if self.n_pairs > 1:
            for i, bottom in enumerate(self.bottoms):
                ax.text(0, bottom + self.tall + 0.3 * _LINE, f"Pair {i + 1}", fontweight="bold")


def _limits(parts: list[Part], axis: tuple[int, int] | None) -> tuple[Any, Any]:
    """Least and largest value, of all columns or of each."""
    rows = np.concatenate([part.rows for part in parts], axis=1)
    return np.nanmin(rows, axis=axis), np.nanmax(rows, axis=axis)


def _short(value: float) -> str:
    """Three digits, or all before the point, in the width of a cell."""
    if 1000 <= abs(value) < 1e5:
        return f"{value:.0f}"
    return f"{value:.3g}" if value == 0 or 1e-3 <= abs(value) < 1000 else f"{value:.0e}"
