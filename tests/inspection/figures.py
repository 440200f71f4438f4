"""Helpers to inspect figures."""

from matplotlib.text import Text


def drawn(display):
    """Render the figure of a display, which emits the warnings of the layout, and return the display."""
    display.figure_.canvas.draw()
    return display


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def texts_of(figure):
    return {text.get_text() for text in figure.findobj(Text)}


def bar_labels(display):
    """Return the labels of the colour bars."""
    return [ax.get_ylabel() for ax in display.figure_.axes if ax not in display.axes_]


def reconstruct(model, X):
    return model.inverse_transform(model.transform(X))
