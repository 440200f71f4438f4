"""Drawings of contributions: a signed image or a curve per component, or a heat map of all.

A drawing is created from the display before any figure is made. Its method ``draw(ax, title, options)``
returns the figure, the array of axes and the list of artists.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_ae.inspection._cells import resolve_feature_names
from sklearn_ae.inspection._drawing import (
    COLOURS,
    DIVERGING,
    as_images,
    axes_and_figure,
    canvas,
    hide_ticks,
    image_style,
    style_chart,
    wrapped,
)
from sklearn_ae.inspection._strips import feature_places

_TILE = 1.7  # inches of an image
_MAX_ACROSS = 5
_EXTREME = 1.25  # a range this many times that of 99 % of the values is due to extreme ones
_MAX_NUMBERS = 300  # heat maps with more cells show colours only
_LINEAR = 0.995  # linear share from which a contribution counts as linear


class Panels:
    """Base class of the drawings: contributions of the shown components, of shape (n_shown, n_features)."""

    def __init__(self, display: Any, shown: list[int], max_features: int):
        self.display = display
        self.shown = shown
        self.values = np.asarray(display.contributions, dtype=float)[shown]
        self.shares = None if display.linear_share is None else np.asarray(display.linear_share)[shown]
        self.unit = _unit(display.side, display.feature_scale)
        self.max_features = max_features

    @property
    def omitted(self) -> str:
        """How many components and features are shown, unless these are all or the user chose them."""
        n, n_shown = len(self.display.contributions), len(self.shown)
        by_user = self.display.components is not None
        return "" if by_user or n_shown == n else f"first {n_shown} of {n} components"

    def heading(self, i: int, separator: str = "\n") -> str:
        """Return the name of a shown component, and the linear share of its contributions."""
        name = f"Component {self.shown[i] + 1}"
        if self.shares is None:
            return name
        weights = np.square(self.values[i])
        total = weights.sum()
        share = float(weights @ self.shares[i] / total) if total > 0 else 1.0
        return f"{name}{separator}{share:.0%} linear"

    def limit(self, values: np.ndarray) -> tuple[float, str]:
        """Return the end of a symmetric scale that ignores a few extreme values, and where it is exceeded."""
        sizes = np.abs(values)
        largest, usual = sizes.max(), np.quantile(sizes, 0.99)
        if largest <= _EXTREME * usual or usual == 0:
            return float(largest) or 1.0, "neither"
        return float(usual), "both"

    def draw(self, ax: Any, title: str, options: dict[str, Any]) -> tuple[Any, np.ndarray, list[Any]]:
        """Draw all components; ``options`` are those of the user for each artist."""
        raise NotImplementedError


def _unit(side: str, feature_scale: str) -> str:
    """Return the unit of the contributions."""
    feature = "feature" if feature_scale == "per_column" else "features (rms)"
    changed, per = ("component", feature) if side == "encoder" else (feature, "component")
    return f"sd of the {changed}\nper sd of the {per}"


class ImagePanels(Panels):
    """One image per component, on a shared scale from blue (negative) to red (positive)."""

    def __init__(self, display: Any, shown: list[int], max_features: int):
        super().__init__(display, shown, max_features)
        images = as_images(self.values, display.image_shape)
        self.images = images if images.ndim == 3 else images.mean(axis=-1)

    def draw(self, ax: Any, title: str, options: dict[str, Any]) -> tuple[Any, np.ndarray, list[Any]]:
        n = len(self.shown)
        m = self.panels_across(ax)
        ratio = self.images.shape[1] / self.images.shape[2]
        rows = -(-n // m)
        panel = canvas(self.display, ax, (max(4.5, 1.6 + _TILE * m), 0.6 + (0.5 + _TILE * ratio) * rows))
        panel.suptitle(title)
        axes = panel.subplots(rows, m, squeeze=False)
        limit, extend = self.limit(self.images)
        style = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
        drawn = []
        for i, each in enumerate(axes.flat):
            hide_ticks(each)
            if i >= n:
                each.set_axis_off()
                continue
            each.spines[:].set_color("0.8")
            each.set_title(self.heading(i), fontsize=9)
            drawn.append(each.imshow(self.images[i], **image_style(style, options)))
        pad = 0.1 if panel.get_layout_engine() is None else 0.02
        bar = panel.colorbar(drawn[0], ax=axes, aspect=25, extend=extend, pad=pad)
        bar.set_label(self.unit)
        return (panel if ax is None else ax.figure), axes, drawn

    def panels_across(self, ax: Any) -> int:
        """Return the number of panels per row; in given axes, the panels are about square."""
        n = len(self.shown)
        if ax is None:
            return -(-n // -(-n // _MAX_ACROSS))  # rows of about equal length
        box = ax.get_window_extent()
        return int(np.clip(round(np.sqrt(n * box.width / box.height)), 1, n))


class CurvePanels(Panels):
    """One curve over the features per component, all on the same scale."""

    def draw(self, ax: Any, title: str, options: dict[str, Any]) -> tuple[Any, np.ndarray, list[Any]]:

        n = len(self.shown)
        options = {"color": COLOURS[0], "linewidth": 1.4, **options}
        panel = canvas(self.display, ax, (7.5, min(1.2 + 1.3 * n, 14)))
        panel.suptitle(title)
        room = {"left": 0.42} if panel.get_layout_engine() is None else {}
        axes = panel.subplots(n, 1, sharex=True, sharey=True, squeeze=False, gridspec_kw=room)
        places = feature_places(self.display.feature_names, self.values.shape[1])
        drawn = []
        for i, each in enumerate(axes[:, 0]):
            each.axhline(0, color="0.6", linewidth=1)
            drawn += each.plot(places, self.values[i], **options)
            each.set_ylabel(self.heading(i), rotation=0, ha="right", va="center", fontsize=9)
            style_chart(each)
        axes[-1, 0].set_xlabel("Feature")
        panel.supylabel(self.unit, fontsize="medium")
        return (panel if ax is None else ax.figure), axes, drawn


class HeatMapPanel(Panels):
    """One line per feature, the largest first, and one column per component."""

    def __init__(self, display: Any, shown: list[int], max_features: int):
        super().__init__(display, shown, max_features)
        self.names = resolve_feature_names(display.feature_names, self.values.shape[1])
        largest = np.argsort(-np.abs(self.values).max(axis=0), kind="stable")
        self.features = largest[:max_features]

    @property
    def omitted(self) -> str:
        n, d = len(self.features), self.values.shape[1]
        parts = [super().omitted, f"largest {n} of {d} features" if n < d else ""]
        return ", ".join(part for part in parts if part)

    def draw(self, ax: Any, title: str, options: dict[str, Any]) -> tuple[Any, np.ndarray, list[Any]]:
        n, d = len(self.shown), len(self.features)
        labels = [wrapped(self.names[j], 36) for j in self.features]
        letters = max(len(line) for label in labels for line in label.split("\n"))
        width = 1.8 + 0.08 * letters + n
        ax, figure = axes_and_figure(self.display, ax, figsize=(max(4.5, width), 1.4 + 0.32 * d))
        values = self.values[:, self.features].T
        limit = float(np.abs(values).max()) or 1.0
        style = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit, "aspect": "auto"}
        image = ax.imshow(values, **image_style({**style, "interpolation": "nearest"}, options))
        ax.set_xticks(np.arange(n), [self.heading(i) for i in range(n)], fontsize=8)
        ax.set_yticks(np.arange(d), labels)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title(title)
        figure.colorbar(image, ax=ax, aspect=25, pad=0.03).set_label(self.unit)
        if n * d <= _MAX_NUMBERS:
            self.write(ax, image, values)
        return figure, np.array([[ax]]), [image]

    def write(self, ax: Any, image: Any, values: np.ndarray) -> None:
        """Write each value into its cell, in black or white depending on the background.

        Linear shares follow unless the model is linear.
        """
        colours = image.cmap(image.norm(values))
        shares = np.ones(values.shape) if self.shares is None else self.shares[:, self.features].T
        is_linear = bool(np.all(shares >= _LINEAR))
        for (j, i), value in np.ndenumerate(values):
            light = colours[j, i, :3] @ [0.3, 0.6, 0.1] > 0.5
            text = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")
            text += "" if is_linear else f" ({shares[j, i]:.0%})"
            ax.text(i, j, text, color="black" if light else "white", fontsize=8, ha="center", va="center")
