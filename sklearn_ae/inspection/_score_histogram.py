"""Histogram of scores, its threshold, and the bars of columns beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_ae.inspection._drawing import COLOURS, plain

_MIN_BINS, _MAX_BINS = 10, 60
_TAIL = 5  # how far the scores may reach, in widths of their middle nine tenths, on a linear axis
_N_TICKS = 7  # at most, on an axis for long tails
_MAX_RUG = 300  # outliers that are marked one by one
_LINE = 0.07  # height of a line of the legend, as a share of the axes


def draw_scores(ax: Any, scores: np.ndarray, threshold: float | None, y: np.ndarray | None) -> None:
    """Histogram of the scores, of each class if there are any, and the side of the outliers."""
    width = _axis_width(scores)
    if width is not None:
        _stretch(ax, scores, width)
    bins = _bins(scores, width)
    if y is None:
        ax.hist(scores, bins, color=COLOURS[0], edgecolor="white", linewidth=0.4)
    else:
        _draw_classes(ax, scores, bins, y)
    if threshold is not None:
        _draw_threshold(ax, scores, threshold)
    ax.set(xlabel="Score (lower is odder)", ylabel="Rows" if y is None else "Share of the class's rows")
    ax.set_title("Outlier scores")
    plain(ax)
    _add_legend(ax)


def _add_legend(ax: Any) -> None:
    """Above the histogram, where room is made for it."""
    handles, labels = ax.get_legend_handles_labels()
    if not labels:
        return
    across = 1 if len(labels) <= 5 else 2
    n_lines = -(-len(labels) // across)
    ax.set_ylim(top=ax.dataLim.y1 / (1 - _LINE * (n_lines + 0.7)))
    ax.legend(handles, labels, loc="upper left", ncols=across, edgecolor="none")


def _stretch(ax: Any, scores: np.ndarray, width: float) -> None:
    """An axis that is linear in the middle and logarithmic in the tails, with round ticks."""
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

    ax.set_xscale("asinh", linear_width=width)
    low, high = np.arcsinh([scores.min() / width, scores.max() / width])
    places = width * np.sinh(np.linspace(low, high, _N_TICKS))
    ticks = np.unique([float(f"{place:.1g}") for place in places])
    ax.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.xaxis.set_minor_locator(NullLocator())


def _axis_width(scores: np.ndarray) -> float | None:
    """Where an axis for scores with long tails is linear, None where all of it can be."""
    low, lower, middle, upper, high = np.quantile(scores, [0.05, 0.25, 0.5, 0.75, 0.95])
    reach = max(middle - scores.min(), scores.max() - middle)
    return float(upper - lower) if reach > _TAIL * (high - low) and upper > lower else None


def _bins(scores: np.ndarray, width: float | None) -> np.ndarray:
    """Edges that are evenly spread on the axis."""
    places = scores if width is None else np.arcsinh(scores / width)
    n = len(np.histogram_bin_edges(places, "auto")) - 1
    edges = np.histogram_bin_edges(places, int(np.clip(n, _MIN_BINS, _MAX_BINS)))
    return edges if width is None else width * np.sinh(edges)


def _draw_classes(ax: Any, scores: np.ndarray, bins: np.ndarray, y: np.ndarray) -> None:
    """Histograms upon each other, with lines that tell which is which where they overlap."""
    classes = np.unique(y)
    for i, label in enumerate(classes):
        rows = scores[y == label]
        share = np.full(len(rows), 1 / len(rows))
        style = {"bins": bins, "weights": share, "color": COLOURS[i]}
        ax.hist(rows, histtype="stepfilled", alpha=0.25, **style)
        ax.hist(rows, histtype="step", linewidth=1.8, label=f"{label} ({len(rows):,} rows)", **style)


def _draw_threshold(ax: Any, scores: np.ndarray, threshold: float) -> None:
    left, right = ax.get_xlim()
    left, right = min(left, threshold), max(right, threshold)
    outliers = scores[scores < threshold]
    label = f"Outliers: {len(outliers):,} of {len(scores):,}"
    ax.axvspan(left, threshold, color="black", alpha=0.08, linewidth=0, zorder=0, label=label)
    style = {"color": "black", "linestyle": "--", "linewidth": 1.5}
    ax.axvline(threshold, label=f"Threshold: {threshold:.3g}", **style)
    if len(outliers) <= _MAX_RUG:  # a bar of one row can be too low to be seen
        ax.plot(outliers, np.full(len(outliers), 0.015), "|k", transform=ax.get_xaxis_transform())
    ax.set_xlim(left, right)


def draw_columns(ax: Any, contributions: np.ndarray, names: list[str], n_columns: int, narrow: bool) -> None:
    """Bars of the columns that contribute most, the largest on top."""
    largest = np.argsort(-contributions, kind="stable")[:n_columns]
    places = np.arange(len(largest))
    ax.barh(places, contributions[largest], color=COLOURS[1])
    ax.set_yticks(places, [shortened(names[j], 18 if narrow else 36) for j in largest])
    ax.invert_yaxis()
    ax.set_xlabel(f"Contribution\n(sum of all {len(contributions)}: {contributions.sum():.3g})")
    plain(ax)
    ax.grid(axis="y", visible=False)


def shortened(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"
