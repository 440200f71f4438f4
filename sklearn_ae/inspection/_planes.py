"""How decoded planes are drawn: a picture or a curve in the cell of each code, or a heat map per column.

Each drawing takes the display, before any figure is made; its method ``draw(ax, options)``
returns the figure, the array of axes and what it drew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from sklearn_ae.inspection._cells import (
    as_labels,
    curves_in_cells,
    mosaic,
    names_of_features,
    picture_options,
    pictures_of,
    some_ticks,
)
from sklearn_ae.inspection._drawing import COLOURS, SEQUENTIAL, axes_and_figure, canvas, wrapped

_SIDE = 6.5  # inches of the longer side of a plane
_PIXELS = 101  # of a heat map along each side
_MOST_PANELS = 16  # heat maps that nobody asked for


class Plane:
    """A cell for each code, 1 wide, in one axes."""

    tall = 1.0  # height of a cell

    def __init__(self, display: Any):
        self.display = display
        self.rows = np.asarray(display.rows)
        self.n_up, self.n_right = self.rows.shape[:2]
        self.right, self.up = (np.asarray(values) for values in display.grid_values)
        self.labels = [f"Component {component + 1}" for component in display.components]
        self.title = f"Latent grid of {display.name}" if display.name else "Latent grid"

    @property
    def figsize(self) -> tuple[float, float]:
        ratio = self.n_up * self.tall / self.n_right
        return 0.6 + _SIDE / max(1, ratio), 0.8 + _SIDE * min(1, ratio)

    def draw(self, ax: Any, options: dict[str, Any]) -> tuple[Any, np.ndarray, Any]:
        ax, figure = axes_and_figure(self.display, ax, figsize=self.figsize)
        drawn = self.draw_cells(ax, options)
        self.tick(ax)
        height = self.n_up * self.tall
        ax.set(xlim=(0, self.n_right), ylim=(0, height), aspect="equal", title=self.title)
        return figure, np.array([[ax]]), drawn

    def draw_cells(self, ax: Any, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def part(self, ax: Any, **look: Any) -> None:
        """Lines between the cells."""
        ax.hlines(np.arange(1, self.n_up) * self.tall, 0, self.n_right, **look)
        ax.vlines(np.arange(1, self.n_right), 0, self.n_up * self.tall, **look)

    def tick(self, ax: Any) -> None:
        """Values of the codes beside the cells."""
        columns, rows = some_ticks(self.n_right), some_ticks(self.n_up)
        ax.set_xticks(columns + 0.5, as_labels(self.right[columns]))
        ax.set_yticks((rows + 0.5) * self.tall, as_labels(self.up[::-1][rows]))
        ax.set(xlabel=self.labels[0], ylabel=self.labels[1])


class PicturePlane(Plane):
    """All pictures as one."""

    def __init__(self, display: Any):
        super().__init__(display)
        self.pictures = pictures_of(self.rows, display.image_shape)
        self.tall = self.pictures.shape[2] / self.pictures.shape[3]

    def draw_cells(self, ax, options):
        extent = (0, self.n_right, 0, self.n_up * self.tall)
        self.part(ax, color="white", linewidth=1)
        return ax.imshow(
            mosaic(self.pictures), extent=extent, **{**picture_options(self.pictures), **options}
        )


class CurvePlane(Plane):
    """A curve in each cell, all on one scale."""

    def draw_cells(self, ax, options):
        from matplotlib.collections import LineCollection

        lefts, bottoms = np.arange(self.n_right), np.arange(self.n_up)[::-1]
        lines = curves_in_cells(self.rows, lefts, bottoms, 1, self.rows.min(), self.rows.max())
        self.part(ax, color="0.85", linewidth=0.6, zorder=0)
        return ax.add_collection(LineCollection(lines, **{"color": COLOURS[0], "linewidth": 1.2, **options}))


class HeatMapPlane(Plane):
    """A panel for each column of the table, with the codes in their own units."""

    def __init__(self, display: Any):
        super().__init__(display)
        self.names = names_of_features(display.feature_names, self.rows.shape[-1])
        self.columns = _columns(display.features, self.names)
        if self.right[0] == self.right[-1] or self.up[0] == self.up[-1]:
            raise ValueError(
                f"components={tuple(display.components)} span no plane, since the codes hardly differ in one "
                "of them: choose other components, or a wider quantile_range."
            )
        if display.features is None and len(self.columns) < len(self.names):
            self.title += f" (first {len(self.columns)} of {len(self.names)} columns)"

    def draw(self, ax, options):
        m = self.panels_beside(ax)
        n = -(-len(self.columns) // m)
        panel = canvas(self.display, ax, (1 + 2.6 * m, 0.9 + 2.2 * n))
        panel.suptitle(self.title)
        axes = panel.subplots(n, m, sharex=True, sharey=True, squeeze=False)
        drawn = [
            self.draw_column(panel, *each, options) for each in zip(axes.flat, self.columns, strict=False)
        ]
        for place, each in enumerate(axes.flat):
            self.label(each, place, m)
        return (panel if ax is None else ax.figure), axes, drawn

    def panels_beside(self, ax: Any) -> int:
        """Panels in a row; in given axes as many as make them about square."""
        n = len(self.columns)
        if ax is None:
            return 3 if n in (5, 6, 9) else min(4, n)
        box = ax.get_window_extent()
        return int(np.clip(round(np.sqrt(n * box.width / box.height)), 1, n))

    def draw_column(self, panel: Any, ax: Any, column: int, options: dict[str, Any]) -> Any:
        extent = (self.right[0], self.right[-1], self.up[-1], self.up[0])
        look = {"cmap": SEQUENTIAL, "interpolation": "bilinear", "aspect": "auto"}
        image = ax.imshow(self.evenly(column), extent=extent, **{**look, **options})
        panel.colorbar(image, ax=ax)
        ax.set_title(wrapped(self.names[column]), fontsize="medium")
        return image

    def evenly(self, column: int) -> np.ndarray:
        """Values in even steps of the codes, from those in steps of equal probability."""
        x = np.linspace(self.right[0], self.right[-1], _PIXELS)
        y = np.linspace(self.up[-1], self.up[0], _PIXELS)[::-1]
        across = np.interp(x, self.right, np.arange(self.n_right))
        down = self.n_up - 1 - np.interp(y, self.up[::-1], np.arange(self.n_up))
        places = np.meshgrid(down, across, indexing="ij")
        return map_coordinates(self.rows[:, :, column].astype(float), places, order=1, mode="nearest")

    def label(self, ax: Any, place: int, m: int) -> None:
        """Labels on the left, and below the last panel of each column."""
        n = len(self.columns)
        if place >= n:
            ax.set_axis_off()
        elif place + m >= n:
            ax.set_xlabel(self.labels[0])
            ax.tick_params(labelbottom=True)
        if place % m == 0:
            ax.set_ylabel(self.labels[1])


def _columns(features: Any, names: list[str]) -> list[int]:
    if features is None:
        return list(range(min(len(names), _MOST_PANELS)))
    columns = [names.index(f) if f in names else f for f in features]
    unknown = [c for c in columns if not isinstance(c, (int, np.integer)) or not 0 <= c < len(names)]
    if unknown or not columns:
        raise ValueError(
            f"features={features!r} must hold names of columns or indices from 0 to {len(names) - 1}"
            f"{f'; {unknown[0]!r} is neither' if unknown else ', one at least'}."
        )
    return [int(c) for c in columns]
