"""Drawings of decoded planes: an image or a curve in the cell of each code, or one heat map per feature.

A drawing is created from the display before any figure is made. Its method ``draw(ax, options)``
returns the figure, the array of axes and the artists.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from sklearn_ae.inspection._cells import (
    cell_curves,
    format_values,
    grid_images,
    image_options,
    mosaic,
    resolve_feature_names,
    tick_indices,
)
from sklearn_ae.inspection._drawing import (
    COLOURS,
    SEQUENTIAL,
    axes_and_figure,
    canvas,
    image_style,
    literal,
    wrapped,
)

_SIDE = 6.5  # inches of the longer side of a plane
_PIXELS = 101  # resolution of a heat map along each side
_MAX_PANELS = 16  # heat maps by default


class Plane:
    """Base class of the drawings: one cell of width 1 per code, all in one axes."""

    cell_height = 1.0

    def __init__(self, display: Any, title: str | None):
        self.display = display
        self.samples = np.asarray(display.samples)
        self.n_up, self.n_right = self.samples.shape[:2]
        self.right, self.up = (np.asarray(values) for values in display.grid_values)
        self.labels = [f"Component {component + 1}" for component in display.components]
        self.title = self.default_title if title is None else title

    @property
    def default_title(self) -> str:
        name = self.display.name
        return f"Latent grid of {literal(name)}" if name else "Latent grid"

    @property
    def height(self) -> float:
        return self.n_up * self.cell_height

    @property
    def figsize(self) -> tuple[float, float]:
        ratio = self.height / self.n_right
        return 0.6 + _SIDE / max(1, ratio), 0.8 + _SIDE * min(1, ratio)

    def draw(self, ax: Any, options: dict[str, Any]) -> tuple[Any, np.ndarray, Any]:
        """Draw the plane; ``options`` are those of the user for each artist."""
        ax, figure = axes_and_figure(self.display, ax, figsize=self.figsize)
        drawn = self.draw_cells(ax, options)
        self.tick(ax)
        ax.set(xlim=(0, self.n_right), ylim=(0, self.height), aspect="equal", title=self.title)
        return figure, np.array([[ax]]), drawn

    def draw_cells(self, ax: Any, options: dict[str, Any]) -> Any:
        """Draw the samples."""
        raise NotImplementedError

    def draw_borders(self, ax: Any, **style: Any) -> None:
        """Draw lines between the cells."""
        ax.hlines(np.arange(1, self.n_up) * self.cell_height, 0, self.n_right, **style)
        ax.vlines(np.arange(1, self.n_right), 0, self.height, **style)

    def tick(self, ax: Any) -> None:
        """Label the cells with the values of the codes."""
        across = tick_indices(self.n_right)
        upwards = tick_indices(self.n_up)
        ax.set_xticks(across + 0.5, format_values(self.right[across]))
        ax.set_yticks((upwards + 0.5) * self.cell_height, format_values(self.up[::-1][upwards]))
        ax.set(xlabel=self.labels[0], ylabel=self.labels[1])


class ImagePlane(Plane):
    """All images joined into one."""

    def __init__(self, display: Any, title: str | None):
        super().__init__(display, title)
        self.images = grid_images(self.samples, display.image_shape)
        self.cell_height = self.images.shape[2] / self.images.shape[3]

    def draw_cells(self, ax: Any, options: dict[str, Any]) -> Any:
        extent = (0, self.n_right, 0, self.height)
        self.draw_borders(ax, color="white", linewidth=1)
        style = image_style(image_options(self.images), options)
        return ax.imshow(mosaic(self.images), extent=extent, **style)


class CurvePlane(Plane):
    """One curve per cell, all on the same scale."""

    def draw_cells(self, ax: Any, options: dict[str, Any]) -> Any:
        from matplotlib.collections import LineCollection

        lefts = np.arange(self.n_right)
        bottoms = np.arange(self.n_up)[::-1]
        limits = (self.samples.min(), self.samples.max())
        lines = cell_curves(self.samples, lefts, bottoms, height=1, limits=limits)
        self.draw_borders(ax, color="0.85", linewidth=0.6, zorder=0)
        return ax.add_collection(LineCollection(lines, **{"color": COLOURS[0], "linewidth": 1.2, **options}))


class HeatMapPlane(Plane):
    """One panel per feature, with the codes in their own units."""

    def __init__(self, display: Any, title: str | None):
        self.names = resolve_feature_names(display.feature_names, np.shape(display.samples)[-1])
        self.features = _select_features(display.features, self.names)
        super().__init__(display, title)
        if self.right[0] == self.right[-1] or self.up[0] == self.up[-1]:
            raise ValueError(
                f"components={tuple(display.components)} do not span a plane, since the codes are nearly "
                "constant in one of them: choose other components, or a wider quantile_range."
            )

    @property
    def default_title(self) -> str:
        title = super().default_title
        if self.display.features is None and len(self.features) < len(self.names):
            title += f" (first {len(self.features)} of {len(self.names)} features)"
        return title

    def draw(self, ax: Any, options: dict[str, Any]) -> tuple[Any, np.ndarray, Any]:
        m = self.panels_across(ax)
        n = -(-len(self.features) // m)
        panel = canvas(self.display, ax, (1 + 2.6 * m, 0.9 + 2.2 * n))
        panel.suptitle(self.title)
        axes = panel.subplots(n, m, sharex=True, sharey=True, squeeze=False)
        drawn = [
            self.draw_feature(panel, *each, options) for each in zip(axes.flat, self.features, strict=False)
        ]
        for place, each in enumerate(axes.flat):
            self.label(each, place, m)
        return (panel if ax is None else ax.figure), axes, drawn

    def panels_across(self, ax: Any) -> int:
        """Return the number of panels per row; in given axes, the panels are about square."""
        n = len(self.features)
        if ax is None:
            return 3 if n in (5, 6, 9) else min(4, n)
        box = ax.get_window_extent()
        return int(np.clip(round(np.sqrt(n * box.width / box.height)), 1, n))

    def draw_feature(self, panel: Any, ax: Any, feature: int, options: dict[str, Any]) -> Any:
        """Draw the heat map of one feature and its colour bar."""
        extent = (self.right[0], self.right[-1], self.up[-1], self.up[0])
        style = {"cmap": SEQUENTIAL, "interpolation": "bilinear", "aspect": "auto"}
        image = ax.imshow(self.interpolated(feature), extent=extent, **image_style(style, options))
        panel.colorbar(image, ax=ax)
        ax.set_title(wrapped(self.names[feature]), fontsize="medium")
        return image

    def interpolated(self, feature: int) -> np.ndarray:
        """Interpolate a feature from steps of equal probability to even steps of the codes."""
        x = np.linspace(self.right[0], self.right[-1], _PIXELS)
        y = np.linspace(self.up[-1], self.up[0], _PIXELS)[::-1]
        across = np.interp(x, self.right, np.arange(self.n_right))
        down = self.n_up - 1 - np.interp(y, self.up[::-1], np.arange(self.n_up))
        places = np.meshgrid(down, across, indexing="ij")
        return map_coordinates(self.samples[:, :, feature].astype(float), places, order=1, mode="nearest")

    def label(self, ax: Any, place: int, m: int) -> None:
        """Label the panels on the left and the lowest of each column, and hide unused ones."""
        n = len(self.features)
        if place >= n:
            ax.set_axis_off()
        elif place + m >= n:
            ax.set_xlabel(self.labels[0])
            ax.tick_params(labelbottom=True)
        if place % m == 0:
            ax.set_ylabel(self.labels[1])


def _select_features(features: Any, names: list[str]) -> list[int]:
    """Return the indices of the features to draw."""
    if features is None:
        return list(range(min(len(names), _MAX_PANELS)))
    indices = [names.index(feature) if feature in names else feature for feature in features]
    unknown = [i for i in indices if not isinstance(i, (int, np.integer)) or not 0 <= i < len(names)]
    if unknown or not indices:
        raise ValueError(
            f"features={features!r} must hold names of features or indices from 0 to {len(names) - 1}"
            f"{f'; {unknown[0]!r} is neither' if unknown else ', at least one'}."
        )
    return [int(i) for i in indices]
