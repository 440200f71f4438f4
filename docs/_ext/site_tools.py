"""What the site needs beyond its extensions: order of the gallery, links, methods that are listed."""

import inspect
import os
import re
from pathlib import Path

# -- gallery ------------------------------------------------------------------------------

ORDER = (  # in which a reader meets the examples; new ones come after them, by name
    *("replace_pca", "linear_is_pca", "reconstructions", "choose_latent_size", "compression"),
    *("denoise_digits", "contractive_curve", "sparse_features", "latent_space", "attribute_arithmetic"),
    *("outliers_in_tables", "mixed_types"),
)


def example_order(file_name):
    """Key that sorts the gallery."""
    name = Path(file_name).stem
    return ORDER.index(name) if name in ORDER else len(ORDER), name


def reset_figures(gallery_conf, file_name):
    """Close what an example left open and draw as matplotlib does by default.

    An example may have changed both for the next one.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.close("all")
    plt.rcdefaults()


# -- links that work on GitHub and here ----------------------------------------------------

# files of the repository that pages link to, and the pages that show them here
SHOWN_AS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docs/benchmarks.md": "benchmarks.md",
    "docs/design.md": "design.md",
}


def point_links_here(text, folder):
    """Point Markdown links at the pages that show a file; ``folder`` is what the text links from."""
    for file, page in SHOWN_AS.items():
        link = os.path.relpath(file, folder)
        for end in (")", "#"):
            text = text.replace(f"]({link}{end}", f"]({page}{end}")
    return text


def source_read(app, name, source):
    """Rewrite links of the pages that stand in docs/."""
    if "/" not in name:
        source[0] = point_links_here(source[0], "docs")


def include_read(app, path, name, source):
    """Rewrite links of the files in the root of the repository that a page includes."""
    if Path(path).suffix == ".md":
        source[0] = point_links_here(source[0], ".")


# -- docstrings ---------------------------------------------------------------------------


MARKED = re.compile(r"(``.*?``|`.*?`|\*\*.*?\*\*)")  # literals, roles, names of parameters
REFERENCE = re.compile(r"(?<=\w)_(?![\w`])")


def skip_foreign(app, what, name, value, skip, options):
    """Leave out what scikit-learn's base classes define: the template names it in one line."""
    function = value.fget if isinstance(value, property) else value
    if not callable(function) or inspect.isclass(function):
        return None
    own = (getattr(function, "__module__", None) or "").startswith("sklearn_ae")
    return None if own else True


def keep_underscores(app, what, name, value, options, lines):
    """Escape the last underscore of names such as n_components_, which means a link in reStructuredText."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else escaped(line) for line in lines]


def escaped(line):
    parts = MARKED.split(line)
    parts[::2] = [REFERENCE.sub(r"\\_", part) for part in parts[::2]]
    return "".join(parts)


def setup(app):
    app.connect("source-read", source_read)
    app.connect("include-read", include_read)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-docstring", keep_underscores, priority=900)  # after numpydoc
    return {"parallel_read_safe": True}
