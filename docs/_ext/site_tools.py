"""Sphinx extension of the site: gallery, words for the search, links between pages, and listed methods."""

import importlib
import inspect
import os
import re
from pathlib import Path

from docutils import nodes
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (sphinx-gallery resolves it in an example)

from sklearn_ae import _SLOTS
from sklearn_ae._options import Option

# -- gallery ------------------------------------------------------------------------------

HEADER = Path(__file__).parents[2] / "examples" / "GALLERY_HEADER.rst"
ORDER = re.findall(r"\.\./examples/(\w+)\.py", HEADER.read_text(encoding="utf-8"))
UNGROUPED = ".. raw:: html"  # the beginning of what sphinx-gallery adds to the header


def example_order(path):
    """Return the sort key of an example: its position in the header of the gallery."""
    return ORDER.index(Path(path).stem)


def reset_figures(gallery_conf, file_name):
    """Close all figures and restore the defaults of matplotlib, which an example may have changed."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.close("all")
    plt.rcdefaults()


# -- search -------------------------------------------------------------------------------

# Words that users type and the pages, or sections of pages, that answer them. They become entries of the
# index, which the search ranks above titles and text.
WORDS = {
    "install": ("install", "pip install", "requirements"),
    "start": (
        "dimensionality reduction",
        "embedding",
        "representation learning",
        "drop-in",
        "replace pca",
        "tutorial",
    ),
    "start#Limitations": ("slow", "time", "cost", "when not to use", "limitations"),
    "coming_from/pca": ("components_",),
    "coming_from/mlpregressor": ("mlpregressor",),
    "guide/start": ("fallback", "early stopping", "overfitting", "small data"),
    "guide/choosing_size": ("number of components", "n_components", "grid search", "cross-validation"),
    "guide/loadings": ("loadings", "feature importance", "interpretation"),
    "guide/corruption": ("denoise", "denoising", "noise"),
    "guide/bottleneck": ("sparse codes", "ordered codes"),
    "guide/densities": (
        *("synthetic data", "sampling", "generative model", "density estimation", "log-likelihood"),
        *("vae", "variational autoencoder"),
    ),
    "guide/divergence": ("disentanglement", "disentangled", "beta-vae"),
    "guide/outliers": (
        *("anomaly detection", "novelty detection", "outlier detection", "one-class"),
        "isolation forest",
    ),
    "guide/missing_values": ("missing values", "missing data", "imputation", "impute", "nan"),
    "guide/mixed_tables": ("categorical", "mixed data", "tabular data"),
    "guide/images": ("images", "convolutional", "cnn"),
    "guide/text": ("text", "tf-idf"),
    "guide/time_series": ("time series",),
    "guide/arrays": ("data frames", "pandas", "tensors"),
    "guide/big_data": ("gpu", "cuda", "large data", "sparse matrix", "speed"),
    "guide/large_data": ("out-of-core", "streaming", "memory", "incremental learning"),
    "guide/persistence": ("save", "load", "save/load", "saving", "loading", "pickle", "joblib"),
    "guide/callbacks": ("checkpoint", "checkpoints", "callbacks", "resume"),
    "guide/onnx": ("onnx", "deploy", "deployment", "production"),
    "guide/measuring": ("metrics", "plot", "displays", "latent space"),
    "guide/own": ("custom loss", "custom network"),
}


def with_words(text, name):
    """Add a page's words before its title or the section that they lead to, as entries of the index."""
    for place, words in WORDS.items():
        page, _, section = place.partition("#")
        if page == name:
            entries = "".join(f"```{{index}} ! {word}\n```\n" for word in words)
            heading = f"## {section}$" if section else "# "
            text = re.sub(f"^(?={heading})", f"{entries}\n", text, count=1, flags=re.MULTILINE)
    return text


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
    """Rewrite the links of the pages in docs/, add words, and drop the gallery's list of all examples.

    The header of the gallery lists them in groups.
    """
    if name == "gallery/index":
        source[0] = source[0].partition(UNGROUPED)[0]
    elif "/" not in name:
        source[0] = link_to_pages(source[0], "docs")
    source[0] = with_words(source[0], name)


def include_read(app, path, name, source):
    """Rewrite the links of included files, which are in the root of the repository."""
    if Path(path).suffix == ".md":
        source[0] = link_to_pages(source[0], ".").replace("](docs/", "](")


# -- docstrings ---------------------------------------------------------------------------


def members_of_base():
    """Return the names of the members that each option inherits from the base class of its slot.

    The page of the base class describes them.
    """
    found = {}
    for slot in _SLOTS:
        module = importlib.import_module(f"sklearn_ae.{slot}")
        options = [value for value in vars(module).values() if isinstance(value, type)]
        options = [
            value for value in options if issubclass(value, Option) and value.__module__ == module.__name__
        ]
        bases = {parent for option in options for parent in option.__mro__ if Option in parent.__bases__}
        for option in options:
            parents = [base for base in bases if issubclass(option, base) and option is not base]
            found[f"{module.__name__}.{option.__name__}"] = sorted(
                {name for base in parents for name in dir(base)}
            )
    return found


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


LABEL = re.compile(r"\[R[0-9a-f]+-\d+\]")


def drop_references(app, doctree, name):
    """Remove numpydoc's references to literature from tables of summaries, where they have no list."""
    for node in list(doctree.findall(lambda node: isinstance(node, nodes.reference | nodes.inline))):
        if LABEL.fullmatch(node.astext()) and node.parent is not None:
            parent, index = node.parent, node.parent.index(node)
            parent.remove(node)
            if index and isinstance(parent[index - 1], nodes.Text):
                parent[index - 1] = nodes.Text(parent[index - 1].rstrip())


def setup(app):
    """Connect the functions of this extension to the events of Sphinx."""
    app.connect("source-read", source_read)
    app.connect("include-read", include_read)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-docstring", keep_underscores, priority=900)  # after numpydoc
    app.connect("doctree-resolved", drop_references)
    return {"parallel_read_safe": True}
