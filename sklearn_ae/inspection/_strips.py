"""How rows and their reconstructions are drawn: strips of images, heat maps, or curves upon curves.

Each drawing takes the display, the number of rows and whether residuals are wanted;
it has a ``figsize`` and a method ``draw(panel)``, which returns the axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sklearn_ae.inspection._drawing import (
    COLOURS,
    DIVERGING,
    GREYS,
    SEQUENTIAL,
    as_images,
    bare,
    plain,
    wrapped,
)

_TILE = 0.85  # inches of an image
_MAX_WIDTH, _MAX_HEIGHT = 14.0, 16.0
_MAX_NAMES = 60  # columns up to which each one is named
_EXTREME = 1.25  # how much wider all values may lie than all but the outermost hundredths
_UNLIKE = 10  # ratio of the columns' ranges from which they are brought to one unit


class Strip(NamedTuple):
    """Rows that are drawn side by side, and what they are."""

    label: str
    rows: np.ndarray
    residual: bool


class Strips:
    """Original rows, and below them each model's reconstructions and, if wanted, residuals."""

    def __init__(self, display: Any, n_rows: int, residuals: bool):
        self.X = np.asarray(display.X)
        self.n_rows = n_rows
        self.names = display.feature_names
        self.image_shape = display.image_shape
        self.original, models = self.prepared(display)
        self.strips = [Strip("Original", self.original[:n_rows], False)]
        for name, rows in models.items():
            self.strips += self._of_model(name, rows, residuals)

    def prepared(self, display: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Rows and reconstructions in the units in which they are drawn."""
        return self.X, {name: np.asarray(rows) for name, rows in display.reconstructions.items()}

    def _of_model(self, name: str, rows: np.ndarray, residuals: bool) -> Iterator[Strip]:
        yield Strip(with_error(name, self.original, rows), rows[: self.n_rows], False)
        if residuals:
            left = self.original[: self.n_rows] - rows[: self.n_rows]
            yield Strip(f"Original −\n{wrapped(name)}", left, True)

    @property
    def title(self) -> str:
        return first_of(self.n_rows, len(self.X))

    def limits(self, residual: bool) -> dict[str, float]:
        """One scale for all residuals, centred; and one for all else, that of the original rows."""
        if not residual:
            return {"vmin": float(self.strips[0].rows.min()), "vmax": float(self.strips[0].rows.max())}
        largest = max(float(np.abs(strip.rows).max()) for strip in self.strips if strip.residual)
        return {"vmin": -(largest or 1.0), "vmax": largest or 1.0}

    def draw(self, panel: Any) -> np.ndarray:
        axes = panel.subplots(len(self.strips), squeeze=False)[:, 0]
        panel.suptitle(self.title)
        pictures: dict[bool, Any] = {}
        for ax, strip in zip(axes, self.strips, strict=True):
            pictures[strip.residual] = self.draw_strip(ax, strip)
            ax.set_ylabel(strip.label, rotation=0, ha="right", va="center", fontsize=9)
        self.finish(panel, axes, pictures)
        return axes

    def draw_strip(self, ax: Any, strip: Strip) -> Any:
        raise NotImplementedError

    def finish(self, panel: Any, axes: np.ndarray, pictures: dict[bool, Any]) -> None:
        """Add the colour bars."""
        raise NotImplementedError


class ImageStrips(Strips):
    """Each strip is one picture, in which the images stand side by side."""

    @property
    def figsize(self) -> tuple[float, float]:
        height, width = self.images(self.X[:1]).shape[1:3]
        tile = min(_TILE, (_MAX_WIDTH - 2) / self.n_rows, (_MAX_HEIGHT - 1) / len(self.strips))
        bar = 1.0 if any(strip.residual for strip in self.strips) else 0.0
        return 2.2 + bar + tile * self.n_rows * width / height, 0.7 + tile * len(self.strips)

    def images(self, rows: np.ndarray) -> np.ndarray:
        images = as_images(rows, self.image_shape)
        if images.ndim == 4 and images.shape[-1] != 3:
            raise ValueError(
                f"image_shape={tuple(self.image_shape)} has {images.shape[-1]} channels; an image has 1 or 3."
            )
        return images

    def draw_strip(self, ax: Any, strip: Strip) -> Any:
        images, limits = self.images(strip.rows), self.limits(strip.residual)
        if images.ndim == 4 and strip.residual:
            images = images.mean(axis=-1)
        elif images.ndim == 4:
            span = limits["vmax"] - limits["vmin"]
            images = np.clip((images - limits["vmin"]) / (span or 1.0), 0, 1)
        bare(ax)
        ax.spines[:].set_visible(False)
        return ax.imshow(side_by_side(images), cmap=DIVERGING if strip.residual else GREYS, **limits)

    def finish(self, panel: Any, axes: np.ndarray, pictures: dict[bool, Any]) -> None:
        if True in pictures:
            bar = panel.colorbar(pictures[True], ax=list(axes), aspect=30, pad=0.02)
            bar.set_label("Original − reconstruction (units of X)")


def side_by_side(images: np.ndarray) -> np.ndarray:
    """One picture of shape (height, width in all) or (height, width in all, colours), with gaps."""
    gap = max(1, images.shape[2] // 12)
    edge = [(0, 0)] * (images.ndim - 1)
    fill = np.nan if images.ndim == 3 else 1.0  # NaN is not drawn; colours have none
    framed = [np.pad(image, [edge[0], (0, gap), *edge[2:]], constant_values=fill) for image in images]
    return np.concatenate(framed, axis=1)[:, :-gap]


class HeatMaps(Strips):
    """Each strip is a heat map, one line to a row of X and one place to a column."""

    def prepared(self, display: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rows, models = super().prepared(display)
        if comparable(rows):
            self.unit = "units of X"
            return rows, models
        self.unit = "standard deviations"
        mean, std = rows.mean(axis=0), rows.std(axis=0)
        std = np.where(std > 0, std, 1.0)
        return (rows - mean) / std, {name: (values - mean) / std for name, values in models.items()}

    @property
    def figsize(self) -> tuple[float, float]:
        strip = 0.25 + max(0.5, min(0.16 * self.n_rows, 3.0))
        width = 3.6 + max(2.4, 0.32 * self.X.shape[1])
        return min(width, _MAX_WIDTH), min(1.8 + strip * len(self.strips), _MAX_HEIGHT)

    def limits(self, residual: bool) -> dict[str, float]:
        """A few extreme values shall not take all colours; the colour bar gets tips for them."""
        scale, shown = super().limits(residual), self.strips[0].rows
        low, high = np.quantile(shown, [0.01, 0.99])
        if residual or scale["vmax"] - scale["vmin"] <= _EXTREME * (high - low) or low == high:
            return scale
        return {"vmin": float(low), "vmax": float(high)}

    def draw_strip(self, ax: Any, strip: Strip) -> Any:
        bare(ax)
        cmap = DIVERGING if strip.residual else SEQUENTIAL
        return ax.imshow(
            strip.rows, aspect="auto", interpolation="nearest", cmap=cmap, **self.limits(strip.residual)
        )

    def finish(self, panel: Any, axes: np.ndarray, pictures: dict[bool, Any]) -> None:
        labels = {False: f"Value\n({self.unit})", True: f"Difference\n({self.unit})"}
        room = {"fraction": 0.3} if panel.get_layout_engine() is None else {}
        for residual, beside in self._beside(panel, axes, True in pictures).items():
            tips = "both" if self.limits(residual) != super().limits(residual) else "neither"
            bar = panel.colorbar(pictures[residual], ax=beside, aspect=15, pad=0.02, extend=tips, **room)
            bar.set_label(labels[residual])
        name_columns(axes[-1], self.names, self.X.shape[1])

    def _beside(self, panel: Any, axes: np.ndarray, residuals: bool) -> dict[bool, list[Any]]:
        """The panels that each colour bar stands beside."""
        everywhere = list(axes)
        if not residuals:
            return {False: everywhere}
        if panel.get_layout_engine() is None:  # the panels would no longer be equally wide
            return {False: everywhere, True: everywhere}
        return {False: everywhere[:2], True: everywhere[2:]}


def comparable(rows: np.ndarray) -> bool:
    """Whether the columns can be drawn on one scale: their ranges and places are alike."""
    ranges = np.ptp(rows, axis=0)
    ranges = ranges[ranges > 0]
    if not len(ranges):
        return True
    return ranges.max() <= _UNLIKE * min(ranges.min(), np.inf) and np.ptp(rows) <= _UNLIKE * ranges.max()


def name_columns(ax: Any, names: list[str] | None, n_columns: int) -> None:
    places = np.arange(0, n_columns, -(-n_columns // _MAX_NAMES))
    if names is None:
        names = [f"x{i}" for i in range(n_columns)]
    ax.set_xticks(places, [names[i] for i in places], rotation=90, fontsize=8)


class Curves:
    """Each row has a panel, in which the reconstructions lie upon the original; residuals are below."""

    def __init__(self, display: Any, n_rows: int, residuals: bool):
        self.X, self.n_rows, self.residuals = np.asarray(display.X), n_rows, residuals
        self.models = {name: np.asarray(rows) for name, rows in display.reconstructions.items()}
        self.places = places_of(display.feature_names, self.X.shape[1])
        self.n_across = min(n_rows, 4)
        self.n_down = -(-n_rows // self.n_across)

    @property
    def figsize(self) -> tuple[float, float]:
        height = (2.6 if self.residuals else 1.7) * self.n_down
        return max(5.0, 0.8 + 2.7 * self.n_across), min(1.4 + height, _MAX_HEIGHT)

    def draw(self, panel: Any) -> np.ndarray:
        per_row = 1 + self.residuals
        ratios = ([2, 1] if self.residuals else [1]) * self.n_down
        grid = panel.subplots(
            per_row * self.n_down, self.n_across, sharex=True, squeeze=False, height_ratios=ratios
        )
        cells = grid.reshape(self.n_down, per_row, self.n_across).swapaxes(1, 2).reshape(-1, per_row)
        for ax in cells[self.n_rows :].flat:
            ax.remove()
        for i, (ax, *below) in enumerate(cells[: self.n_rows]):
            self._draw_row(ax, i)
            for residual_ax in below:
                self._draw_residuals(residual_ax, i)
        self._finish(panel, grid, cells)
        return cells[: self.n_rows]

    def _draw_row(self, ax: Any, i: int) -> None:
        ax.plot(self.places, self.X[i], color="0.6", linewidth=2.5, label="Original")
        for j, (name, rows) in enumerate(self.models.items()):
            label = with_error(name, self.X, rows, width=60).replace("\n", ", ")
            ax.plot(self.places, rows[i], color=COLOURS[j % len(COLOURS)], linewidth=1.2, label=label)
        shown = [rows[: self.n_rows] for rows in (self.X, *self.models.values())]
        low, high = min(rows.min() for rows in shown), max(rows.max() for rows in shown)
        margin = 0.05 * (high - low) or 1.0
        ax.set_ylim(low - margin, high + margin)
        plain(ax)

    def _draw_residuals(self, ax: Any, i: int) -> None:
        ax.axhline(0, color="0.6", linewidth=1)
        for j, rows in enumerate(self.models.values()):
            ax.plot(self.places, self.X[i] - rows[i], color=COLOURS[j % len(COLOURS)], linewidth=1)
        left = max(float(np.abs((self.X - rows)[: self.n_rows]).max()) for rows in self.models.values())
        ax.set_ylim(-1.05 * (left or 1.0), 1.05 * (left or 1.0))
        plain(ax)

    def _finish(self, panel: Any, grid: np.ndarray, cells: np.ndarray) -> None:
        panel.suptitle(first_of(self.n_rows, len(self.X)))
        for ax in grid[:, 1:].flat:
            ax.tick_params(labelleft=False)
        for ax in cells[: self.n_rows][-self.n_across :, -1]:
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("Column")
        for ax, *below in cells[: self.n_rows : self.n_across]:
            ax.set_ylabel("Value\n(units of X)")
            for residual_ax in below:
                residual_ax.set_ylabel("Residual")
        handles, labels = cells[0, 0].get_legend_handles_labels()
        across = int(10 * self.figsize[0] / (6 + max(map(len, labels))))  # about ten letters to an inch
        across = max(1, min(across, len(labels)))
        panel.legend(handles, labels, loc="outside lower center", ncols=across, frameon=False)


def places_of(names: list[str] | None, n_columns: int) -> np.ndarray:
    """Where columns are on the axis: at their names, if those are numbers, as wavelengths may be."""
    try:
        return np.array([float(name) for name in names or range(n_columns)])
    except ValueError:
        return np.arange(n_columns)


def with_error(name: str, X: np.ndarray, X_hat: np.ndarray, width: int = 20) -> str:
    """A model's name and, below it, its mean squared error over all rows and columns."""
    return f"{wrapped(name, width)}\nMSE {np.mean(np.square(X - X_hat)):.3g}"


def first_of(n_rows: int, n: int) -> str:
    if n_rows == n:
        return "Rows and reconstructions"
    return f"The first of {n:,} rows" if n_rows == 1 else f"The first {n_rows} of {n:,} rows"
