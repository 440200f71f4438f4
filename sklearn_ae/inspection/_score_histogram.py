"""Histogram of outlier scores with the threshold, and bars of feature contributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sklearn_ae.inspection._drawing import COLOURS, literal, style_chart

_MIN_BINS = 10
_MAX_BINS = 60
_TAIL = 5  # scores farther from the median, in widths of the central 90 %, need a nonlinear axis
_N_TICKS = 7  # at most, on an axis for long tails
_MAX_RUG = 300  # with more outliers, single ones are not marked
_LINE = 0.07  # height of a legend entry relative to the axes


def draw_scores(
    ax: Any,
    scores: np.ndarray,
    threshold: float | None,
    y: np.ndarray | None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Draw the histogram of the scores, one per class if y is given, and the threshold.

    ``options`` are those of the user for ``hist``.
    """
    width = _linear_width(scores)
    if width is not None:
        _stretch(ax, scores, width)
    options = {"bins": _bins(scores, width), **(options or {})}
    if y is None:
        ax.hist(scores, **{"color": COLOURS[0], "edgecolor": "white", "linewidth": 0.4, **options})
    else:
        _draw_classes(ax, scores, y, options)
    if threshold is not None:
        _draw_threshold(ax, scores, threshold)
    ylabel = "Number of samples" if y is None else "Fraction of the class"
    ax.set(xlabel="Score (lower is more abnormal)", ylabel=ylabel, title="Outlier scores")
    style_chart(ax)
    _add_legend(ax)


def _add_legend(ax: Any) -> None:
    """Add a legend above the histogram, extending the axis to make room for it."""
    handles, labels = ax.get_legend_handles_labels()
    if not labels:
        return
    across = 1 if len(labels) <= 5 else 2
    n_lines = -(-len(labels) // across)
    ax.set_ylim(top=ax.dataLim.y1 / (1 - _LINE * (n_lines + 0.7)))
    ax.legend(handles, labels, loc="upper left", ncols=across, edgecolor="none")


def _stretch(ax: Any, scores: np.ndarray, width: float) -> None:
    """Make the axis linear in the middle and logarithmic in the tails, with round ticks."""
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

    ax.set_xscale("asinh", linear_width=width)
    low, high = np.arcsinh([scores.min() / width, scores.max() / width])
    places = width * np.sinh(np.linspace(low, high, _N_TICKS))
    ticks = np.unique([float(f"{place:.1g}") for place in places])
    ax.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.xaxis.set_minor_locator(NullLocator())


def _linear_width(scores: np.ndarray) -> float | None:
    """Return the width of the linear part of the axis for long tails, None without long tails."""
    low, lower, middle, upper, high = np.quantile(scores, [0.05, 0.25, 0.5, 0.75, 0.95])
    reach = max(middle - scores.min(), scores.max() - middle)
    return float(upper - lower) if reach > _TAIL * (high - low) and upper > lower else None


def _bins(scores: np.ndarray, width: float | None) -> np.ndarray:
    """Return edges that are evenly spaced on the axis."""
    places = scores if width is None else np.arcsinh(scores / width)
    n = len(np.histogram_bin_edges(places, "auto")) - 1
    edges = np.histogram_bin_edges(places, int(np.clip(n, _MIN_BINS, _MAX_BINS)))
    return edges if width is None else width * np.sinh(edges)


def _draw_classes(ax: Any, scores: np.ndarray, y: np.ndarray, options: dict[str, Any]) -> None:
    """Overlay one histogram per class, with outlines that remain visible where they overlap."""
    options["bins"] = np.histogram_bin_edges(scores, options["bins"])  # the same for all classes
    for i, label in enumerate(np.unique(y)):
        chosen = scores[y == label]
        weights = np.full(len(chosen), 1 / len(chosen))
        style = {"weights": weights, "color": COLOURS[i]}
        ax.hist(chosen, **{"histtype": "stepfilled", "alpha": 0.25, **style, **options})
        name = f"{literal(label)} ({len(chosen):,} samples)"
        ax.hist(chosen, **{"histtype": "step", "linewidth": 1.8, "label": name, **style, **options})


def _draw_threshold(ax: Any, scores: np.ndarray, threshold: float) -> None:
    left, right = ax.get_xlim()
    left = min(left, threshold)
    right = max(right, threshold)
    outliers = scores[scores < threshold]
    label = f"Outliers: {len(outliers):,} of {len(scores):,}"
    ax.axvspan(left, threshold, color="black", alpha=0.08, linewidth=0, zorder=0, label=label)
    style = {"color": "black", "linestyle": "--", "linewidth": 1.5}
    ax.axvline(threshold, label=f"Threshold: {threshold:.3g}", **style)
    if len(outliers) <= _MAX_RUG:  # the bar of a single sample may be too low to be visible
        ax.plot(outliers, np.full(len(outliers), 0.015), "|k", transform=ax.get_xaxis_transform())
    ax.set_xlim(left, right)


def draw_contributions(
    ax: Any,
    contributions: np.ndarray,
    names: list[str],
    n_shown: int,
    options: Mapping[str, Any] | None = None,
    *,
    narrow: bool,
) -> None:
    """Draw the largest contributions as bars, the largest on top; ``options`` are those of the user."""
    largest = np.argsort(-contributions, kind="stable")[:n_shown]
    places = np.arange(len(largest))
    ax.barh(places, contributions[largest], **{"color": COLOURS[1], **(options or {})})
    ax.set_yticks(places, [literal(shortened(names[j], 18 if narrow else 36)) for j in largest])
    ax.invert_yaxis()
    ax.set_xlabel(f"Contribution\n(sum of all {len(contributions)}: {contributions.sum():.3g})")
    style_chart(ax)
    ax.grid(axis="y", visible=False)


def shortened(name: str, width: int) -> str:
    """Cut a long name."""
    return name if len(name) <= width else f"{name[: width - 1]}…"
