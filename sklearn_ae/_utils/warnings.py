"""Warnings that point at the user's line."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from types import FrameType

import joblib
import sklearn
import skorch

_PACKAGES = (os.path.dirname(str(module.__file__)) for module in (sklearn, skorch, joblib))
_PREFIXES = tuple(folder + os.sep for folder in (str(Path(__file__).parents[1]), *_PACKAGES))


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the first frame outside this package, scikit-learn, skorch and joblib.

    A fixed ``stacklevel`` cannot do this: ``fit`` may be called directly, by
    ``fit_transform``, by a pipeline or by a search.
    """
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
