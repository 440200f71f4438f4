"""Configuration of the documentation site: ``make docs`` builds it, offline and with warnings as errors."""

import sys
from pathlib import Path

import sklearn_ae

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

# -- project ------------------------------------------------------------------------------

project = "sklearn_ae"
author = "The sklearn_ae developers"
copyright = author
version = release = sklearn_ae.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # bundles MathJax, so that formulas are rendered offline
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "site_tools",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "code"  # docstrings use single backticks for code
nitpicky = False  # types in docstrings are not links

# -- pages --------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

# -- docstrings ---------------------------------------------------------------------------

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the numpydoc sections describe the types
numpydoc_show_class_members = False  # the class template lists them
numpydoc_xref_param_type = False

# -- gallery ------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"\.py$",  # run every script
    "ignore_pattern": r"__init__\.py|conftest\.py",
    "within_subsection_order": "site_tools.example_order",
    "nested_sections": False,
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("site_tools.reset_figures",),
    "remove_config_comments": True,
    "doc_module": ("sklearn_ae",),
    "backreferences_dir": "generated/backreferences",
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1,
    "write_computation_times": False,
    "capture_repr": ("_repr_html_",),
}

# -- site ---------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_ae"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "sklearn_ae"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {
    "index": [],
    "start": [],
    "benchmarks": [],
    "design": [],
    "contributing": [],
    "changelog": [],
}
