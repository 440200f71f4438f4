"""Links from the HTML representation of estimators and options to their pages of the documentation."""

from __future__ import annotations

import sys
from typing import Any

from sklearn.base import BaseEstimator

SITE = "https://sklearn-ae.github.io/sklearn-ae/"


class Documented(BaseEstimator):
    """Estimator or option whose HTML representation links to its API page on the site.

    The attributes are those of scikit-learn's developer API for the HTML representation. Classes that users
    derive from ours belong to another module and have no link.
    """

    _doc_link_module = __name__.partition(".")[0]
    _doc_link_template = SITE + "{page}.html"

    def _doc_link_url_param_generator(self) -> dict[str, Any]:
        names = filter(None, map(_public_name, type(self).__mro__))
        return {"page": next((f"generated/{name}" for name in names), "api/index")}


def _public_name(cls: type) -> str:
    """Return the name under which users import a class of this package, or an empty string."""
    parts = cls.__module__.split(".")
    private = [part.startswith("_") for part in parts]
    module = ".".join(parts[: private.index(True)] if any(private) else parts)
    exported = getattr(sys.modules.get(module), cls.__name__, None) is cls
    public = exported and parts[0] == Documented._doc_link_module and not cls.__name__.startswith("_")
    return f"{module}.{cls.__name__}" if public else ""
