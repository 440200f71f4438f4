"""Warnings that point at the user's line, and warnings that are not shown."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

import joblib
import sklearn
import skorch
from sklearn.exceptions import ConvergenceWarning

from sklearn_ae._utils.ranks import RANKS

_PACKAGES = (os.path.dirname(str(module.__file__)) for module in (sklearn, skorch, joblib))
_PREFIXES = tuple(folder + os.sep for folder in (str(Path(__file__).parents[1]), *_PACKAGES))

_IGNORED: ContextVar[tuple[type[Warning], ...]] = ContextVar("_IGNORED", default=())


@contextlib.contextmanager
def without_convergence_warnings() -> Iterator[None]:
    """Let no fit of this package emit a ConvergenceWarning in this thread."""
    token = _IGNORED.set((*_IGNORED.get(), ConvergenceWarning))
    try:
        yield
    finally:
        _IGNORED.reset(token)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the first frame outside this package, scikit-learn, skorch and joblib.

    A fixed ``stacklevel`` cannot do this: ``fit`` may be called directly, by
    ``fit_transform``, by a pipeline or by a search.
    """
    ranks = RANKS.get()
    if issubclass(category, _IGNORED.get()) or (ranks is not None and not ranks.is_first):
        return
    if sys.version_info >= (3, 12):
        warnings.warn(message, category, skip_file_prefixes=_PREFIXES)
    else:
        warnings.warn(message, category, stacklevel=_stacklevel())


def _stacklevel() -> int:
    """Return the ``stacklevel`` for a warning issued in the caller."""
    level = 1
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PREFIXES):
        level += 1
        frame = frame.f_back
    return level
