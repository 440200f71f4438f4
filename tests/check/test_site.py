"""The documentation site builds without warnings and covers all public objects.

The gallery is not run here, but by ``make docs`` and in test_gallery.py.
"""

import importlib
import inspect
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import sklearn_ae
from sklearn_ae._options import Option

NEEDED = ("sphinx", "numpydoc", "pydata_sphinx_theme", "sphinx_gallery", "myst_parser", "matplotlib")
missing = [name for name in NEEDED if find_spec(name) is None]
REASON = f"the site needs {', '.join(missing)}: pip install .[docs]"
pytestmark = pytest.mark.skipif(bool(missing), reason=REASON)

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDE = DOCS / "guide"
# Modules of options: page of the guide, and registry.
SLOTS = {
    "corruptions": ("corruption", "CORRUPTIONS"),
    "networks": ("network", "NETWORKS"),
    "bottlenecks": ("bottleneck", "BOTTLENECKS"),
    "losses": ("loss", "LOSSES"),
    "penalties": ("penalty", "PENALTIES"),
    "likelihoods": ("likelihood", "LIKELIHOODS"),
    "divergences": ("divergence", "DIVERGENCES"),
    "priors": ("prior", "PRIORS"),
    "outlier_scores": ("outlier_score", "OUTLIER_SCORES"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the built site; a copy of the sources is built, because Sphinx writes next to them."""
    folder = tmp_path_factory.mktemp("site")
    for name, built in (("docs", ("_build", "generated", "gallery")), ("examples", ("benchmarks",))):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*built))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-b",
        "html",
        "-W",
        "--keep-going",
        "-D",
        "plot_gallery=0",
    ]
    done = subprocess.run(
        [*command, folder / "docs", folder / "html"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def public_objects():
    """Yield the dotted names of all public objects."""
    for name in sklearn_ae.__all__:
        yield f"sklearn_ae.{name}"
    for part in ("metrics", "inspection", "latent", "onnx", *SLOTS):
        module = importlib.import_module(f"sklearn_ae.{part}")
        for name in getattr(module, "__all__", None) or vars(module):
            value = getattr(module, name)
            own = getattr(value, "__module__", "").startswith(module.__name__)
            option = inspect.isclass(value) and issubclass(value, Option)
            function = inspect.isfunction(value) and part not in SLOTS
            if own and not name.startswith("_") and (option or function or part in ("metrics", "inspection")):
                yield f"{module.__name__}.{name}"


@pytest.mark.parametrize("name", sorted(public_objects()))
def test_every_public_object_has_a_page(site, name):
    page = (site / "generated" / f"{name}.html").read_text(encoding="utf-8")
    assert f'id="{name}"' in page  # the documentation of the object, not only its name


@pytest.mark.parametrize("name", sorted(f"sklearn_ae.{name}" for name in sklearn_ae.__all__))
def test_every_method_of_an_estimator_is_documented(site, name):
    page = (site / "generated" / f"{name}.html").read_text(encoding="utf-8")
    cls = getattr(sklearn_ae, name.rpartition(".")[2])
    methods = [
        method
        for method, value in inspect.getmembers(cls, inspect.isfunction)
        if value.__module__.startswith("sklearn_ae") and not method.startswith("_")
    ]
    as_in_sklearn = {"get_metadata_routing", "get_params", "set_params"}
    assert len(methods) > 5
    missing = [method for method in methods if f'id="{name}.{method}"' not in page]
    assert set(missing) <= as_in_sklearn


class Page(HTMLParser):
    """Links of a page, and the ids of its elements."""

    def __init__(self, path):
        super().__init__()
        self.links, self.ids = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes.get("id"), attributes.get("name")}
        for kind in ("href", "src"):
            link = attributes.get(kind) or ""
            if link and not re.match(r"[a-z]+:|//|#$", link):
                self.links.add(link)


def test_internal_links_resolve(site):
    pages = {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    assert len(pages) > 80
    broken = []
    for path, page in pages.items():
        for link in page.links:
            file, fragment = urldefrag(link)
            target = (path.parent / unquote(file.partition("?")[0])).resolve() if file else path
            known = target.exists() and (not fragment or target not in pages or fragment in pages[target].ids)
            if not known:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


@pytest.mark.parametrize("module", SLOTS)
def test_every_registered_option_is_in_the_guide(module):
    page, registry = SLOTS[module]
    text = (GUIDE / f"{page}.md").read_text(encoding="utf-8")
    options = getattr(importlib.import_module(f"sklearn_ae.{module}"), registry)
    assert [name for name in options if f'`"{name}"`' not in text] == []
    if module != "outlier_scores":  # "auto" combines others
        overview = (GUIDE / "index.md").read_text(encoding="utf-8")
        assert [name for name in options if f'`"{name}"`' not in overview] == []


@pytest.mark.parametrize("module", SLOTS)
def test_defaults_in_the_guide_are_those_of_the_code(module):
    """The tables of the guide list every parameter with its default, as in ``GaussianNoise(scale=0.1)``."""
    page, registry = SLOTS[module]
    text = (GUIDE / f"{page}.md").read_text(encoding="utf-8")
    for name, cls in getattr(importlib.import_module(f"sklearn_ae.{module}"), registry).items():
        row = re.search(rf'^\| `"{name}"`, `{cls.__name__}\((.*?)\)`', text, re.MULTILINE)
        assert row, f"{page}.md has no table row that begins with `{name}`"
        documented = dict(part.split("=") for part in re.split(r", (?=\w+=)", row[1]) if part)
        parameters = inspect.signature(cls).parameters.values()
        assert documented == {p.name: repr(p.default).replace("'", '"') for p in parameters}


def test_figures_of_the_guide_are_drawn_by_the_script():
    source = (DOCS / "figures" / "__main__.py").read_text(encoding="utf-8")
    listed = re.search(r"^FIGURES = \{(.*?)^\}", source, re.MULTILINE | re.DOTALL)[1]
    drawn = set(re.findall(r'"(\w+)"', listed))
    assert drawn == {path.stem for path in (GUIDE / "figures").glob("*.png")}
    pages = [path.read_text(encoding="utf-8") for path in [*GUIDE.glob("*.md"), DOCS / "index.md"]]
    assert set(re.findall(r"figures/(\w+)\.png", "".join(pages))) == drawn
