"""Sphinx extension of the site: figures of the gallery, links between pages, and listed methods."""

import inspect
import os
import re
from pathlib import Path

# -- gallery ------------------------------------------------------------------------------

def reset_figures(gallery_conf, file_name):
    """Close all figures and restore the defaults of matplotlib, which an example may have changed."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.close("all")
    plt.rcdefaults()


# -- links that work on GitHub and on the site ---------------------------------------------

# Files of the repository that pages link to, and the pages of the site that show them.
SHOWN_AS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def link_to_pages(text, folder):
    """Replace Markdown links to files, relative to a folder, by links to the pages that show them."""
    for file, page in SHOWN_AS.items():
        link = os.path.relpath(file, folder)
        for end in (")", "#"):
            text = text.replace(f"]({link}{end}", f"]({page}{end}")
    return text


def source_read(app, name, source):
    """Rewrite the links of the pages in docs/."""
    if "/" not in name:
        source[0] = link_to_pages(source[0], "docs")


def include_read(app, path, name, source):
    """Rewrite the links of included files, which are in the root of the repository."""
    if Path(path).suffix == ".md":
        source[0] = link_to_pages(source[0], ".").replace("](docs/", "](")


# -- docstrings ---------------------------------------------------------------------------


MARKED = re.compile(r"(``.*?``|`.*?`|\*\*.*?\*\*)")  # literals, roles and parameter names
REFERENCE = re.compile(r"(?<=\w)_(?![\w`])")


def skip_foreign(app, what, name, value, skip, options):
    """Skip members defined by the base classes of scikit-learn, which the template lists by name only."""
    function = value.fget if isinstance(value, property) else value
    if not callable(function) or inspect.isclass(function):
        return None
    own = (getattr(function, "__module__", None) or "").startswith("sklearn_ae")
    return None if own else True


def keep_underscores(app, what, name, value, options, lines):
    """Escape trailing underscores, as in n_components_, which denote links in reStructuredText."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else escaped(line) for line in lines]


def escaped(line):
    """Escape the trailing underscores in a line, except in literals and roles."""
    parts = MARKED.split(line)
    parts[::2] = [REFERENCE.sub(r"\\_", part) for part in parts[::2]]
    return "".join(parts)


def setup(app):
    """Connect the functions of this extension to the events of Sphinx."""
    app.connect("source-read", source_read)
    app.connect("include-read", include_read)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-docstring", keep_underscores, priority=900)  # after numpydoc
    return {"parallel_read_safe": True}
