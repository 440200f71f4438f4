"""Points coloured by class or by a number, with the legend or the colour bar."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.utils import column_or_1d

from sklearn_ae.inspection._drawing import COLOURS, MARKERS, SEQUENTIAL, literal

# Muted palette of P. Tol, for more classes than there are saturated colours
TEN = (
    *("#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677"),
    *("#44AA99", "#AA4499", "#999933", "#882255", "#7F7F7F"),
)
# Markers of equal nominal size differ in apparent size
_MARKER_SCALE = {"^": 1.2, "v": 1.2, "P": 1.3, "X": 1.3, "*": 2.0, "D": 0.8, ".": 0.8}
FEW = 7  # classes with a saturated colour each
SEVERAL = 12  # classes labelled inside the plot
MANY = 20  # entries of a legend
OTHERS = "#BBBBBB"
_EXTREME = 0.25  # numbers this far outside the central 98 % are extreme, relative to its range
_GOLDEN = (np.sqrt(5) - 1) / 2


def check_y(y: Any, n: int) -> np.ndarray:
    """Return y as an array of n values, none of them missing."""
    y = column_or_1d(y)
    if len(y) != n:
        raise ValueError(f"y has {len(y)} values, but there are {n} samples; pass one value per sample.")
    if any(value is None or value != value for value in y.tolist()):
        raise ValueError("y has missing values: remove these samples, or give them a class of their own.")
    return y


def is_discrete(y: np.ndarray) -> bool:
    """Return whether y holds classes: anything but numbers, or a few different integers."""
    if y.dtype.kind == "O" and all(isinstance(value, (int, float)) for value in y.tolist()):
        y = y.astype(float)
    return y.dtype.kind not in "fiu" or bool(np.all(y == np.round(y)) and len(np.unique(y)) <= MANY)


def colouring(y: Any, name: str | None, n: int, hist_options: dict[str, Any] | None = None) -> Uniform:
    """Return the colouring of n points by y: uniform, by number or by class.

    ``hist_options`` are the user's options of histograms.
    """
    if y is None:
        return Uniform(n, hist_options)
    y = check_y(y, n)
    if is_discrete(y):
        return Classes(y, literal(name or "Class"), hist_options)
    return Numbers(y.astype(float), literal(name or "y"), hist_options)


def point_style(n: int, scale: float) -> dict[str, Any]:
    """Return options of ``scatter``: many points are smaller and more transparent."""
    size = 36 * (200 / n) ** 0.5
    alpha = 0.9 * (500 / n) ** 0.35
    return {
        "s": scale * float(np.clip(size, 3, 36)),
        "alpha": float(np.clip(alpha, 0.12, 0.9)),
        "linewidth": 0.4,  # thinner markers vanish at low resolution
        "rasterized": n > 5000,  # vector files with one path per point are slow to render
    }


def densest(points: np.ndarray) -> np.ndarray:
    """Return the point in the densest region; unlike a median, it never lies between clusters.

    The density at a point is measured by the distance within which a quarter of all points lie.
    """
    some = points[:: len(points) // 1000 + 1]
    scale = some.std(axis=0)
    distances = cdist(some, some, "seuclidean", V=np.where(scale > 0, scale, 1) ** 2)
    return some[np.sort(distances, axis=1)[:, len(some) // 4].argmin()]


def n_bins(n: int) -> int:
    """Return the number of bins of a histogram of n points."""
    return int(np.clip(np.sqrt(n), 8, 40))


def outer_legend(ax: Any, handles: list[Any], title: str) -> Any:
    """Add a legend to the right of the axes."""
    return ax.legend(
        handles=handles,
        title=title,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        alignment="left",
    )


class Uniform:
    """Points of one colour."""

    line_size = (6.5, 4.0)  # inches of a figure for one component

    def __init__(self, n: int, hist_options: dict[str, Any] | None = None):
        self.n = n
        self.hist_options = hist_options or {}

    def scatter(
        self, ax: Any, x: np.ndarray, y: np.ndarray, options: dict[str, Any], scale: float = 1
    ) -> list[Any]:
        """Draw the points, in one collection per class."""
        return [ax.scatter(x, y, **{"color": COLOURS[0], **point_style(self.n, scale), **options})]

    def histogram(self, ax: Any, x: np.ndarray) -> None:
        """Draw the distribution of one component."""
        style = {"color": COLOURS[0], "alpha": 0.8, "edgecolor": "white", "linewidth": 0.5}
        ax.hist(x, **{"bins": n_bins(self.n), **style, **self.hist_options})

    def line(self, ax: Any, x: np.ndarray, options: dict[str, Any]) -> list[Any]:
        """Draw the points along a single component."""
        self.histogram(ax, x)
        ax.set_ylabel("Number of samples")
        return []

    def label_points(self, ax: Any, x: np.ndarray, y: np.ndarray) -> None:
        """Write the names of the classes into the plot."""

    def add_legend(self, ax: Any, scatters: list[Any]) -> None:
        """Explain the colours beside the axes."""

    def add_matrix_legend(self, canvas: Any, axes: np.ndarray, scatters: list[Any]) -> None:
        """Explain the colours in the empty corner of a scatter matrix."""


class Numbers(Uniform):
    """Points coloured by a continuous target."""

    def __init__(self, values: np.ndarray, name: str, hist_options: dict[str, Any] | None = None):
        super().__init__(len(values), hist_options)
        self.values = values
        self.name = name
        low = np.min(values)
        high = np.max(values)
        # the colours cover the central 98 % if others are extreme, which the ends of the colour bar show
        self.low, self.high = np.quantile(values, [0.01, 0.99])
        margin = _EXTREME * (self.high - self.low)
        self.low = low if low >= self.low - margin else self.low
        self.high = high if high <= self.high + margin else self.high
        self.extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[
            int(low < self.low), int(high > self.high)
        ]

    def scatter(
        self, ax: Any, x: np.ndarray, y: np.ndarray, options: dict[str, Any], scale: float = 1
    ) -> list[Any]:
        colours = {"c": self.values, "cmap": SEQUENTIAL, "vmin": self.low, "vmax": self.high}
        return [ax.scatter(x, y, **{**colours, **point_style(self.n, scale), **options})]

    def histogram(self, ax: Any, x: np.ndarray) -> None:
        style = {"color": "0.6", "edgecolor": "white", "linewidth": 0.5}
        ax.hist(x, **{"bins": n_bins(self.n), **style, **self.hist_options})

    def line(self, ax: Any, x: np.ndarray, options: dict[str, Any]) -> list[Any]:
        ax.set_ylabel(self.name)
        return Uniform(self.n).scatter(ax, x, self.values, options)

    def add_legend(self, ax: Any, scatters: list[Any]) -> None:
        self._add_bar(ax.figure, scatters[0], ax=ax)

    def add_matrix_legend(self, canvas: Any, axes: np.ndarray, scatters: list[Any]) -> None:
        place = axes[0, -2].inset_axes([0.1, 0.75, 1.8, 0.1])
        place.set_in_layout(False)  # otherwise the columns of panels move apart
        self._add_bar(canvas, scatters[0], cax=place, orientation="horizontal")

    def _add_bar(self, canvas: Any, scatter: Any, **place: Any) -> None:
        alpha = scatter.get_alpha()
        scatter.set_alpha(None)  # the colour bar copies the transparency of the points
        canvas.colorbar(scatter, label=self.name, extend=self.extend, **place)
        scatter.set_alpha(alpha)


class Classes(Uniform):
    """Points coloured by class, with one marker per class."""

    def __init__(self, y: np.ndarray, name: str, hist_options: dict[str, Any] | None = None):
        super().__init__(len(y), hist_options)
        self.name = name
        named = y.astype(str) if y.dtype.kind in "OUST" else y
        classes, codes, counts = np.unique(named, return_inverse=True, return_counts=True)
        self.labels = [literal(int(label) if y.dtype.kind == "f" else label) for label in classes]
        self.indices = [np.flatnonzero(codes == i) for i in range(len(classes))]
        self.n_others = max(0, len(classes) - MANY + 1)
        if self.n_others > 1:
            self._join(np.argsort(-counts, kind="stable"))
        self.line_size = (6.5, 1.2 + 0.4 * len(self.labels))

    def _join(self, order: np.ndarray) -> None:
        """Join all but the largest classes, the first of ``order``, into one."""
        kept = np.sort(order[: MANY - 1])
        rest = order[MANY - 1 :]
        others = np.concatenate([self.indices[i] for i in rest])
        self.indices = [self.indices[i] for i in kept] + [np.sort(others)]
        self.labels = [self.labels[i] for i in kept] + [f"{len(rest)} others"]

    def _colour_and_marker(self, i: int) -> tuple[str, str]:
        if self.n_others > 1 and i == len(self.labels) - 1:
            return OTHERS, "."
        colours = COLOURS if len(self.labels) <= FEW else TEN
        return colours[i % len(colours)], MARKERS[(i + i // len(colours)) % len(MARKERS)]

    def scatter(
        self, ax: Any, x: np.ndarray, y: np.ndarray, options: dict[str, Any], scale: float = 1
    ) -> list[Any]:
        base = point_style(self.n, scale)
        scatters = []
        for i, (label, chosen) in enumerate(zip(self.labels, self.indices, strict=True)):
            colour, marker = self._colour_and_marker(i)
            style = {"color": colour, "marker": marker, "label": label, **base}
            style["s"] = _MARKER_SCALE.get(marker, 1) * base["s"]
            scatters.append(ax.scatter(x[chosen], y[chosen], **{**style, **options}))
        # small classes lie on top of large ones
        for level, i in enumerate(np.argsort([-len(chosen) for chosen in self.indices], kind="stable")):
            scatters[i].set_zorder(2 + level / 1000)
        return scatters

    def histogram(self, ax: Any, x: np.ndarray) -> None:
        """Draw outlines of few classes, and stack many, whose outlines would overlap too much."""
        style: dict[str, Any] = {"histtype": "step", "linewidth": 1.4}
        if len(self.labels) > FEW:
            style = {"histtype": "barstacked", "linewidth": 0}
        style["bins"] = np.histogram_bin_edges(x, self.hist_options.get("bins", n_bins(self.n)))
        style["color"] = [self._colour_and_marker(i)[0] for i in range(len(self.indices))]
        others = {name: value for name, value in self.hist_options.items() if name != "bins"}
        ax.hist([x[chosen] for chosen in self.indices], **{**style, **others})

    def line(self, ax: Any, x: np.ndarray, options: dict[str, Any]) -> list[Any]:
        """Draw a strip per class, with a bar at its median."""
        place = np.empty(self.n)
        for i, chosen in enumerate(self.indices):
            place[chosen] = i + 0.6 * (np.arange(len(chosen)) * _GOLDEN % 1 - 0.5)
            ax.plot([np.median(x[chosen])] * 2, [i - 0.4, i + 0.4], color="black", linewidth=2, zorder=3)
        ax.set(yticks=range(len(self.labels)), yticklabels=self.labels, ylabel=self.name)
        ax.invert_yaxis()
        return self.scatter(ax, x, place, options)

    def label_points(self, ax: Any, x: np.ndarray, y: np.ndarray) -> None:
        """Label many classes where they are densest, since many colours are hard to distinguish."""
        from matplotlib.patheffects import withStroke

        if not FEW < len(self.labels) <= SEVERAL or max(map(len, self.labels)) > 12:
            return
        halo = [withStroke(linewidth=3, foreground="white")]
        for label, chosen in zip(self.labels, self.indices, strict=True):
            place = densest(np.column_stack([x[chosen], y[chosen]]))
            text = {"ha": "center", "va": "center", "fontweight": "bold", "fontsize": "large"}
            ax.annotate(label, place, path_effects=halo, zorder=4, **text)

    def add_legend(self, ax: Any, scatters: list[Any]) -> None:
        _enlarge_handles(outer_legend(ax, scatters, self.name))

    def add_matrix_legend(self, canvas: Any, axes: np.ndarray, scatters: list[Any]) -> None:
        columns = 1 if len(self.labels) <= 10 else 2
        place = {"loc": "upper right", "frameon": False, "alignment": "left", "ncols": columns}
        legend = axes[0, -1].legend(handles=scatters, title=self.name, **place)
        legend.set_in_layout(False)  # otherwise the first row of panels grows
        _enlarge_handles(legend)


def _enlarge_handles(legend: Any) -> None:
    """Draw the markers of a legend opaque and large enough to be distinguished."""
    for handle in legend.legend_handles:
        handle.set(alpha=1, sizes=[40])
