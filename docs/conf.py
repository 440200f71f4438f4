"""Configuration of the documentation site: ``make docs`` builds it, offline and with warnings as errors."""

import sys
from pathlib import Path

import sklearn_ae
from sklearn_ae._utils.documentation import SITE

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
import site_tools

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
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxext.opengraph",
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
autosummary_context = {"members_of_base": site_tools.members_of_base()}
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
    "nested_sections": False,
    "thumbnail_size": (400, 280),
    "minigallery_sort_order": "site_tools.example_order",
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
html_baseurl = SITE
html_favicon = "_static/logo.svg"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "sklearn_ae", "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    # the space of the contents is for wide tables
    "secondary_sidebar_items": {
        "**": ["page-toc", "sourcelink"],
        **{f"benchmarks/{name}": [] for name in ("anomaly_detection", "table_densities", "unseen")},
    },
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_center": ["development.html"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {
    "index": [],
    "start": [],
    "install": [],
    "development": [],
    "design": [],
    "contributing": [],
    "changelog": [],
}

# Copy buttons on code, without prompts, but not on output
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_selector = "div[class*=highlight-]:not(.highlight-text):not(.highlight-none) > div.highlight pre"

# Descriptions and previews of links
ogp_site_url = SITE
ogp_site_name = "sklearn_ae: autoencoders for scikit-learn"
ogp_image = "_images/index.png"
ogp_enable_meta_description = True
ogp_social_cards = {"enable": False}  # one image for all pages
