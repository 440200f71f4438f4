"""Points coloured by classes or by numbers, with the legend or the colour bar that explains them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.utils import column_or_1d

from sklearn_ae.inspection._drawing import COLOURS, MARKERS, SEQUENTIAL

# P. Tol's muted scheme, for more classes than have a strong colour each
TEN = (
    *("#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677"),
    *("#44AA99", "#AA4499", "#999933", "#882255", "#7F7F7F"),
)
# markers of one nominal size differ in how large they look
_LARGER = {"^": 1.2, "v": 1.2, "P": 1.3, "X": 1.3, "*": 2.0, "D": 0.8, ".": 0.8}
# classes with a strong colour each, with a name in the plot, and with an entry in the legend
FEW, SEVERAL, MANY = 7, 12, 20
OTHERS = "#BBBBBB"
_EXTREME = 0.25  # of the range of 98 in 100 numbers, beyond which the others are extreme
_GOLDEN = (np.sqrt(5) - 1) / 2


def check_y(y: Any, n: int) -> np.ndarray:
    """One entry per row, none of them missing."""
    y = column_or_1d(y)
    if len(y) != n:
        raise ValueError(f"y has {len(y)} entries, but there are {n} rows; pass one entry per row.")
    if any(value is None or value != value for value in y.tolist()):
        raise ValueError("y has missing entries: leave these rows out, or name a class for them.")
    return y


def is_discrete(y: np.ndarray) -> bool:
    """Names are classes, and so are a few whole numbers."""
    if y.dtype.kind == "O" and all(isinstance(value, (int, float)) for value in y.tolist()):
        y = y.astype(float)
    return y.dtype.kind not in "fiu" or bool(np.all(y == np.round(y)) and len(np.unique(y)) <= MANY)


def colouring(y: Any, name: str | None, n: int) -> Any:
    """What colours n points: nothing, classes or numbers."""
    if y is None:
        return Uniform(n)
    y = check_y(y, n)
    return Classes(y, name or "Class") if is_discrete(y) else Numbers(y.astype(float), name or "y")


def point_style(n: int, room: float) -> dict[str, Any]:
    """The more points or the less room, the smaller they are; many are transparent, too."""
    size, alpha = 36 * (200 / n) ** 0.5, 0.9 * (500 / n) ** 0.35
    return {
        "s": room * float(np.clip(size, 3, 36)),
        "alpha": float(np.clip(alpha, 0.12, 0.9)),
        "linewidth": 0.4,  # or thin markers vanish at few dots per inch
        "rasterized": n > 5000,  # a vector file with a path for each of them is slow to show
    }


def densest(points: np.ndarray) -> np.ndarray:
    """The point with a quarter of all points in the smallest circle; a median may lie between clusters."""
    some = points[:: len(points) // 1000 + 1]
    scale = some.std(axis=0)
    distances = cdist(some, some, "seuclidean", V=np.where(scale > 0, scale, 1) ** 2)
    return some[np.sort(distances, axis=1)[:, len(some) // 4].argmin()]


def n_bins(n: int) -> int:
    return int(np.clip(np.sqrt(n), 8, 40))


def outer_legend(ax: Any, handles: list[Any], title: str) -> Any:
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

    def __init__(self, n: int):
        self.n = n

    def scatter(
        self, ax: Any, x: np.ndarray, y: np.ndarray, options: dict[str, Any], room: float = 1
    ) -> list[Any]:
        return [ax.scatter(x, y, **{"color": COLOURS[0], **point_style(self.n, room), **options})]

    def histogram(self, ax: Any, x: np.ndarray) -> None:
        ax.hist(x, bins=n_bins(self.n), color=COLOURS[0], alpha=0.8, edgecolor="white", linewidth=0.5)

    def line(self, ax: Any, x: np.ndarray, options: dict[str, Any]) -> list[Any]:
        """Rows along one component."""
        self.histogram(ax, x)
        ax.set_ylabel("Number of rows")
        return []

    def label_points(self, ax: Any, x: np.ndarray, y: np.ndarray) -> None:
        """Names in the plot."""

    def explain(self, ax: Any, scatters: list[Any]) -> None:
        """What the colours mean, beside the axes."""

    def explain_matrix(self, canvas: Any, axes: np.ndarray, scatters: list[Any]) -> None:
        """What the colours mean, in the free corner of a scatter matrix."""


class Numbers(Uniform):
    """Points coloured by a number each."""

    def __init__(self, values: np.ndarray, name: str):
        super().__init__(len(values))
        self.values, self.name = values, name
        low, high = np.min(values), np.max(values)
        # a few extreme numbers shall not take all colours; the colour bar gets a tip for them
        self.low, self.high = np.quantile(values, [0.01, 0.99])
        margin = _EXTREME * (self.high - self.low)
        self.low = low if low >= self.low - margin else self.low
        self.high = high if high <= self.high + margin else self.high
        self.extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[
            int(low < self.low), int(high > self.high)
        ]

    def scatter(self, ax, x, y, options, room=1):
        colours = {"c": self.values, "cmap": SEQUENTIAL, "vmin": self.low, "vmax": self.high}
        return [ax.scatter(x, y, **{**colours, **point_style(self.n, room), **options})]

    def histogram(self, ax, x):
        ax.hist(x, bins=n_bins(self.n), color="0.6", edgecolor="white", linewidth=0.5)

    def line(self, ax, x, options):
        ax.set_ylabel(self.name)
        return Uniform(self.n).scatter(ax, x, self.values, options)

    def explain(self, ax, scatters):
        self._bar(ax.figure, scatters[0], ax=ax)

    def explain_matrix(self, canvas, axes, scatters):
        place = axes[0, -2].inset_axes([0.1, 0.75, 1.8, 0.1])
        place.set_in_layout(False)  # or the columns move apart
        self._bar(canvas, scatters[0], cax=place, orientation="horizontal")

    def _bar(self, canvas: Any, scatter: Any, **place: Any) -> None:
        alpha = scatter.get_alpha()
        scatter.set_alpha(None)  # the bar shall show the colours at full strength
        canvas.colorbar(scatter, label=self.name, extend=self.extend, **place)
        scatter.set_alpha(alpha)


class Classes(Uniform):
    """Points coloured by their class, each class with a marker of its own."""

    def __init__(self, y: np.ndarray, name: str):
        super().__init__(len(y))
        self.name = name
        named = y.astype(str) if y.dtype.kind in "OUST" else y
        classes, index, counts = np.unique(named, return_inverse=True, return_counts=True)
        self.labels = [str(int(label)) if y.dtype.kind == "f" else str(label) for label in classes]
        self.members = [np.flatnonzero(index == i) for i in range(len(classes))]
        self.n_others = max(0, len(classes) - MANY + 1)
        if self.n_others > 1:
            self._join(np.argsort(-counts, kind="stable"))
        self.line_size = (6.5, 1.2 + 0.4 * len(self.labels))

    def _join(self, order: np.ndarray) -> None:
        """One class of all but the largest."""
        kept, rest = np.sort(order[: MANY - 1]), order[MANY - 1 :]
        others = np.concatenate([self.members[i] for i in rest])
        self.members = [self.members[i] for i in kept] + [np.sort(others)]
        self.labels = [self.labels[i] for i in kept] + [f"{len(rest)} others"]

    def _look(self, i: int) -> tuple[str, str]:
        """Colour and marker of a class."""
        if self.n_others > 1 and i == len(self.labels) - 1:
            return OTHERS, "."
        colours = COLOURS if len(self.labels) <= FEW else TEN
        return colours[i % len(colours)], MARKERS[(i + i // len(colours)) % len(MARKERS)]

    def scatter(self, ax, x, y, options, room=1):
        style = point_style(self.n, room)
        scatters = []
        for i, (label, rows) in enumerate(zip(self.labels, self.members, strict=True)):
            colour, marker = self._look(i)
            look = {"color": colour, "marker": marker, "label": label}
            size = {"s": _LARGER.get(marker, 1) * style["s"]}
            scatters.append(ax.scatter(x[rows], y[rows], **{**look, **style, **size, **options}))
        # small classes lie on top of large ones
        for level, i in enumerate(np.argsort([-len(rows) for rows in self.members], kind="stable")):
            scatters[i].set_zorder(2 + level / 1000)
        return scatters

    def histogram(self, ax, x):
        """Outlines of few classes; many are stacked, since their outlines would be a tangle."""
        bins = np.histogram_bin_edges(x, n_bins(self.n))
        look: dict[str, Any] = {"histtype": "step", "linewidth": 1.4}
        if len(self.labels) > FEW:
            look = {"histtype": "barstacked", "linewidth": 0}
        ax.hist(
            [x[rows] for rows in self.members],
            bins,
            color=[self._look(i)[0] for i in range(len(self.members))],
            **look,
        )

    def line(self, ax, x, options):
        """A strip for each class, and a bar at its median."""
        place = np.empty(self.n)
        for i, rows in enumerate(self.members):
            place[rows] = i + 0.6 * (np.arange(len(rows)) * _GOLDEN % 1 - 0.5)
            ax.plot([np.median(x[rows])] * 2, [i - 0.4, i + 0.4], color="black", linewidth=2, zorder=3)
        ax.set(yticks=range(len(self.labels)), yticklabels=self.labels, ylabel=self.name)
        ax.invert_yaxis()
        return self.scatter(ax, x, place, options)

    def label_points(self, ax, x, y):
        """Short names of many classes where each is densest, since many colours are hard to tell apart."""
        from matplotlib.patheffects import withStroke

        if not FEW < len(self.labels) <= SEVERAL or max(map(len, self.labels)) > 12:
            return
        halo = [withStroke(linewidth=3, foreground="white")]
        for label, rows in zip(self.labels, self.members, strict=True):
            place = densest(np.column_stack([x[rows], y[rows]]))
            text = {"ha": "center", "va": "center", "fontweight": "bold", "fontsize": "large"}
            ax.annotate(label, place, path_effects=halo, zorder=4, **text)

    def explain(self, ax, scatters):
        self._strong(outer_legend(ax, scatters, self.name))

    def explain_matrix(self, canvas, axes, scatters):
        columns = 1 if len(self.labels) <= 10 else 2
        place = {"loc": "upper right", "frameon": False, "alignment": "left", "ncols": columns}
        legend = axes[0, -1].legend(handles=scatters, title=self.name, **place)
        legend.set_in_layout(False)  # or the first row grows
        self._strong(legend)

    def _strong(self, legend: Any) -> None:
        for handle in legend.legend_handles:
            handle.set(alpha=1, sizes=[40])  # large enough to tell the markers apart
