"""Drawings of samples and their reconstructions: strips of images, heat maps, or overlaid curves.

A drawing is created from the display, the number of samples, the user's options of the artists,
and whether to draw residuals. It has a ``figsize``, a ``title``, and a method ``draw(panel)``,
which returns the axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sklearn_ae.inspection._cells import format_number
from sklearn_ae.inspection._drawing import (
    COLOURS,
    DIVERGING,
    GREYS,
    SEQUENTIAL,
    as_images,
    hide_ticks,
    image_style,
    literal,
    style_chart,
    wrapped,
)

_UNIT = "units of X"
_TILE = 0.85  # inches of an image
_MAX_WIDTH = 14.0
_MAX_HEIGHT = 16.0
_MAX_NAMES = 60  # with more features, only some are named
_EXTREME = 1.25  # a range this many times the central 98 % is due to extreme values
_MAX_RANGE_RATIO = 10  # features whose ranges differ more are standardised


class Strip(NamedTuple):
    """Samples drawn side by side, and their label."""

    label: str
    samples: np.ndarray
    residual: bool


class Strips:
    """Original samples, with the reconstructions and optionally the residuals of each model below."""

    unit = _UNIT  # in which samples are drawn

    def __init__(self, display: Any, n_samples: int, options: dict[str, Any], *, residuals: bool):
        self.X = np.asarray(display.X)
        self.n_samples = n_samples
        self.options = options
        self.names = display.feature_names
        self.image_shape = display.image_shape
        self.original, models = self.prepare(display)
        self.strips = [Strip("Original", self.original[:n_samples], False)]
        for name, X_hat in models.items():
            error = squared_error(self.X, display.reconstructions[name])
            if self.unit != _UNIT:
                error += f"\n({_UNIT})"
            self.strips += self._strips_of_model(name, X_hat, error, residuals=residuals)

    def prepare(self, display: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return samples and reconstructions in the units in which they are drawn."""
        return self.X, {name: np.asarray(X_hat) for name, X_hat in display.reconstructions.items()}

    def _strips_of_model(
        self, name: str, X_hat: np.ndarray, error: str, *, residuals: bool
    ) -> Iterator[Strip]:
        shown = X_hat[: self.n_samples]
        yield Strip(f"{wrapped(name)}\n{error}", shown, False)
        if residuals:
            yield Strip(f"Original −\n{wrapped(name)}", self.original[: self.n_samples] - shown, True)

    @property
    def title(self) -> str:
        return title_of(self.n_samples, len(self.X))

    def limits(self, *, residual: bool) -> dict[str, float]:
        """Return a centred scale shared by all residuals, or the scale of the original samples."""
        if not residual:
            return {"vmin": float(self.strips[0].samples.min()), "vmax": float(self.strips[0].samples.max())}
        largest = max(float(np.abs(strip.samples).max()) for strip in self.strips if strip.residual)
        return {"vmin": -(largest or 1.0), "vmax": largest or 1.0}

    def draw(self, panel: Any) -> np.ndarray:
        """Draw the strips one below the other."""
        axes = panel.subplots(len(self.strips), squeeze=False)[:, 0]
        images: dict[bool, Any] = {}
        for ax, strip in zip(axes, self.strips, strict=True):
            images[strip.residual] = self.draw_strip(ax, strip)
            ax.set_ylabel(strip.label, rotation=0, ha="right", va="center", fontsize=9)
        self.finish(panel, axes, images)
        return axes

    def style(self, *, residual: bool, **defaults: Any) -> dict[str, Any]:
        """Return options of ``imshow``; the user's colours and limits are not those of residuals."""
        options = self.options
        if residual:
            options = {name: options[name] for name in options.keys() - {"cmap", "norm", "vmin", "vmax"}}
        defaults["cmap"] = DIVERGING if residual else defaults["cmap"]
        return image_style({**defaults, **self.limits(residual=residual)}, options)

    def draw_strip(self, ax: Any, strip: Strip) -> Any:
        """Draw one strip."""
        raise NotImplementedError

    def finish(self, panel: Any, axes: np.ndarray, images: dict[bool, Any]) -> None:
        """Add the colour bars."""
        raise NotImplementedError


class ImageStrips(Strips):
    """Strips of images, each joined into one."""

    @property
    def figsize(self) -> tuple[float, float]:
        height, width = self.images(self.X[:1]).shape[1:3]
        tile = min(_TILE, (_MAX_WIDTH - 2) / self.n_samples, (_MAX_HEIGHT - 1) / len(self.strips))
        bar = 1.0 if any(strip.residual for strip in self.strips) else 0.0
        return 2.2 + bar + tile * self.n_samples * width / height, 0.7 + tile * len(self.strips)

    def images(self, samples: np.ndarray) -> np.ndarray:
        """Reshape samples to images of one or three channels."""
        images = as_images(samples, self.image_shape)
        if images.ndim == 4 and images.shape[-1] != 3:
            raise ValueError(
                f"image_shape={tuple(self.image_shape)} has {images.shape[-1]} channels; pass 1 or 3."
            )
        return images

    def draw_strip(self, ax: Any, strip: Strip) -> Any:
        images = self.images(strip.samples)
        limits = self.limits(residual=strip.residual)
        if images.ndim == 4 and strip.residual:
            images = images.mean(axis=-1)
        elif images.ndim == 4:
            span = limits["vmax"] - limits["vmin"]
            images = np.clip((images - limits["vmin"]) / (span or 1.0), 0, 1)
        hide_ticks(ax)
        ax.spines[:].set_visible(False)
        return ax.imshow(side_by_side(images), **self.style(residual=strip.residual, cmap=GREYS))

    def finish(self, panel: Any, axes: np.ndarray, images: dict[bool, Any]) -> None:
        if True in images:
            bar = panel.colorbar(images[True], ax=list(axes), aspect=30, pad=0.02)
            bar.set_label("Original − reconstruction (units of X)")


def side_by_side(images: np.ndarray) -> np.ndarray:
    """Join images of shape (n, height, width[, channels]) into one, with gaps between them."""
    gap = max(1, images.shape[2] // 12)
    edge = [(0, 0)] * (images.ndim - 1)
    fill = np.nan if images.ndim == 3 else 1.0  # NaN is transparent, but not in colour images
    framed = [np.pad(image, [edge[0], (0, gap), *edge[2:]], constant_values=fill) for image in images]
    return np.concatenate(framed, axis=1)[:, :-gap]


class HeatMaps(Strips):
    """Heat maps with one line per sample and one column per feature."""

    def prepare(self, display: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        X, models = super().prepare(display)
        if comparable(X):
            return X, models
        self.unit = "standard deviations"
        mean = X.mean(axis=0)
        std = X.std(axis=0)
        std = np.where(std > 0, std, 1.0)
        return (X - mean) / std, {name: (X_hat - mean) / std for name, X_hat in models.items()}

    @property
    def figsize(self) -> tuple[float, float]:
        strip = 0.25 + max(0.5, min(0.16 * self.n_samples, 3.0))
        width = 3.6 + max(2.4, 0.32 * self.X.shape[1])
        return min(width, _MAX_WIDTH), min(1.8 + strip * len(self.strips), _MAX_HEIGHT)

    def limits(self, *, residual: bool) -> dict[str, float]:
        """Return a scale that ignores a few extreme values, which the ends of the colour bar show."""
        scale = super().limits(residual=residual)
        low, high = np.quantile(self.strips[0].samples, [0.01, 0.99])
        if residual or scale["vmax"] - scale["vmin"] <= _EXTREME * (high - low) or low == high:
            return scale
        return {"vmin": float(low), "vmax": float(high)}

    def draw_strip(self, ax: Any, strip: Strip) -> Any:
        hide_ticks(ax)
        defaults = {"aspect": "auto", "interpolation": "nearest", "cmap": SEQUENTIAL}
        return ax.imshow(strip.samples, **self.style(residual=strip.residual, **defaults))

    def finish(self, panel: Any, axes: np.ndarray, images: dict[bool, Any]) -> None:
        labels = {False: f"Value\n({self.unit})", True: f"Difference\n({self.unit})"}
        room = {"fraction": 0.3} if panel.get_layout_engine() is None else {}
        for residual, beside in self._bar_axes(panel, axes, residuals=True in images).items():
            clipped = self.limits(residual=residual) != super().limits(residual=residual)
            extend = "both" if clipped else "neither"
            bar = panel.colorbar(images[residual], ax=beside, aspect=15, pad=0.02, extend=extend, **room)
            bar.set_label(labels[residual])
        label_features(axes[-1], self.names, self.X.shape[1])

    def _bar_axes(self, panel: Any, axes: np.ndarray, *, residuals: bool) -> dict[bool, list[Any]]:
        """Return the panels beside which each colour bar is drawn."""
        everywhere = list(axes)
        if not residuals:
            return {False: everywhere}
        if panel.get_layout_engine() is None:  # bars beside some panels only would make these narrower
            return {False: everywhere, True: everywhere}
        return {False: everywhere[:2], True: everywhere[2:]}


def comparable(X: np.ndarray) -> bool:
    """Return whether features can share a scale: similar ranges and locations."""
    ranges = np.ptp(X, axis=0)
    ranges = ranges[ranges > 0]
    if not len(ranges):
        return True
    largest = _MAX_RANGE_RATIO * ranges.max()
    return ranges.max() <= _MAX_RANGE_RATIO * min(ranges.min(), np.inf) and np.ptp(X) <= largest


def label_features(ax: Any, names: list[str] | None, n_features: int) -> None:
    """Label the columns of a heat map with the names of the features."""
    places = np.arange(0, n_features, -(-n_features // _MAX_NAMES))
    if names is None:
        names = [f"x{i}" for i in range(n_features)]
    ax.set_xticks(places, [literal(names[i]) for i in places], rotation=90, fontsize=8)


class Curves:
    """One panel per sample, with the reconstructions drawn over the original and residuals below."""

    def __init__(self, display: Any, n_samples: int, options: dict[str, Any], *, residuals: bool):
        self.X = np.asarray(display.X)
        self.n_samples = n_samples
        self.options = options
        self.residuals = residuals
        self.models = {name: np.asarray(X_hat) for name, X_hat in display.reconstructions.items()}
        self.places = feature_places(display.feature_names, self.X.shape[1])
        self.n_across = min(n_samples, 4)
        self.n_down = -(-n_samples // self.n_across)

    @property
    def title(self) -> str:
        return title_of(self.n_samples, len(self.X))

    @property
    def figsize(self) -> tuple[float, float]:
        height = (2.6 if self.residuals else 1.7) * self.n_down
        return max(5.0, 0.8 + 2.7 * self.n_across), min(1.4 + height, _MAX_HEIGHT)

    def draw(self, panel: Any) -> np.ndarray:
        """Draw all panels; return their axes, of shape (n_samples, 1 or 2)."""
        per_sample = 1 + self.residuals
        ratios = ([2, 1] if self.residuals else [1]) * self.n_down
        grid = panel.subplots(
            per_sample * self.n_down, self.n_across, sharex=True, squeeze=False, height_ratios=ratios
        )
        cells = grid.reshape(self.n_down, per_sample, self.n_across).swapaxes(1, 2).reshape(-1, per_sample)
        for ax in cells[self.n_samples :].flat:
            ax.remove()
        for i, (ax, *below) in enumerate(cells[: self.n_samples]):
            self._draw_sample(ax, i)
            for residual_ax in below:
                self._draw_residuals(residual_ax, i)
        self._finish(panel, grid, cells)
        return cells[: self.n_samples]

    def _draw_sample(self, ax: Any, i: int) -> None:
        ax.plot(self.places, self.X[i], color="0.6", linewidth=2.5, label="Original")
        for j, (name, X_hat) in enumerate(self.models.items()):
            label = f"{wrapped(name, 60)}, {squared_error(self.X, X_hat)}".replace("\n", " ")
            style = {"color": COLOURS[j % len(COLOURS)], "linewidth": 1.2, "label": label}
            ax.plot(self.places, X_hat[i], **{**style, **self.options})
        shown = [samples[: self.n_samples] for samples in (self.X, *self.models.values())]
        low = min(samples.min() for samples in shown)
        high = max(samples.max() for samples in shown)
        margin = 0.05 * (high - low) or 1.0
        ax.set_ylim(low - margin, high + margin)
        style_chart(ax)

    def _draw_residuals(self, ax: Any, i: int) -> None:
        ax.axhline(0, color="0.6", linewidth=1)
        for j, X_hat in enumerate(self.models.values()):
            style = {"color": COLOURS[j % len(COLOURS)], "linewidth": 1}
            ax.plot(self.places, self.X[i] - X_hat[i], **{**style, **self.options})
        residuals = [(self.X - X_hat)[: self.n_samples] for X_hat in self.models.values()]
        largest = max(float(np.abs(residual).max()) for residual in residuals) or 1.0
        ax.set_ylim(-1.05 * largest, 1.05 * largest)
        style_chart(ax)

    def _finish(self, panel: Any, grid: np.ndarray, cells: np.ndarray) -> None:
        for ax in grid[:, 1:].flat:
            ax.tick_params(labelleft=False)
        for ax in cells[: self.n_samples][-self.n_across :, -1]:
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("Feature")
        for ax, *below in cells[: self.n_samples : self.n_across]:
            ax.set_ylabel("Value\n(units of X)")
            for residual_ax in below:
                residual_ax.set_ylabel("Residual")
        handles, labels = cells[0, 0].get_legend_handles_labels()
        across = int(10 * self.figsize[0] / (6 + max(map(len, labels))))  # about ten letters per inch
        across = max(1, min(across, len(labels)))
        panel.legend(handles, labels, loc="outside lower center", ncols=across, frameon=False)


def feature_places(names: list[str] | None, n_features: int) -> np.ndarray:
    """Return the positions of features on the axis: numeric names, such as wavelengths, or indices."""
    try:
        return np.array([float(name) for name in names or range(n_features)])
    except ValueError:
        return np.arange(n_features)


def squared_error(X: np.ndarray, X_hat: Any) -> str:
    """Return the mean over samples of the squared error summed over features, with its name."""
    return f"squared error {format_number(np.square(X - np.asarray(X_hat)).sum(axis=1).mean())}"


def title_of(n_shown: int, n: int) -> str:
    """Return a title that says how many of n samples are shown."""
    if n_shown == n:
        return "Samples and reconstructions"
    return f"First of {n:,} samples" if n_shown == 1 else f"First {n_shown} of {n:,} samples"
