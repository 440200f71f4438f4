"""The documentation site builds without warnings and covers all public objects.

The gallery is not run here, but by ``make docs`` and in test_gallery.py.
"""

import importlib
import inspect
import json
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from html import unescape
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import sklearn_ae
from sklearn_ae._options import Option
from sklearn_ae._utils.documentation import SITE, Documented

NEEDED = (
    *("sphinx", "numpydoc", "pydata_sphinx_theme", "sphinx_gallery", "myst_parser", "matplotlib"),
    *("sphinx_copybutton", "sphinx_design", "sphinxext.opengraph"),
)
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
    assert {"fit", "transform"} <= set(methods)
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


# -- front page, navigation and search ------------------------------------------------------


def test_front_page_shows_how_to_install_and_what_replaces_pca(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    shown = " ".join(unescape(re.sub(r"<[^>]+>", "", text)).split())
    for expected in (
        "use them wherever you use PCA",
        "pip install sklearn-ae",
        "pip install .",
        "AutoencoderTransformer(n_components=4",
        "falls back to PCA unless held-out data show a gain",
    ):
        assert expected in shown
    assert len(re.findall(r'class="sd-card ', text)) == 3
    buttons = re.findall(r'class="[^"]*sd-btn [^"]*" href="([^"]+)"', text)
    assert buttons == ["start.html", "guide/index.html", "gallery/index.html", "api/index.html"]
    assert re.search(r'<link rel="icon" href="_static/logo.svg', text)
    assert re.search(r'<meta property="og:image" content="https://\S+/_images/index\S*.png"', text)


def test_every_page_has_a_description(site):
    pages = [path for part in ("guide", "benchmarks", "gallery") for path in (site / part).glob("*.html")]
    assert len(pages) > 60
    described = re.compile(r'<meta (?:name="description" content|content)="[^"]{10,}"')
    assert [path.name for path in pages if not described.search(path.read_text(encoding="utf-8"))] == []


def test_no_page_shows_comments_for_the_gallery(site):
    pages = [path for path in site.rglob("*.html") if "thumbnail_path" in path.read_text(encoding="utf-8")]
    assert pages == []


def test_pages_for_developers_are_not_in_the_navigation(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    links = [link.partition(".html")[0] for link in re.findall(r'href="([^"#]+)"', page)]
    assert "development" in links
    assert not {"design", "contributing"} & set(links)
    links = Page(site / "development.html").links
    assert {"design.html", "contributing.html"} <= links


@pytest.mark.parametrize(
    "page", ["api/index", "api/estimators", "api/options", "gallery/index", "benchmarks/index"]
)
def test_lists_link_to_each_page_once(site, page):
    text = (site / f"{page}.html").read_text(encoding="utf-8")
    article = text.partition("<article")[2].partition("</article")[0]
    links = re.findall(r'class="reference internal" href="([^"#]+\.html)', article)
    assert len(links) >= 4
    assert len(links) == len(set(links))


def test_examples_are_in_one_group_with_a_thumbnail():
    header = (ROOT / "examples" / "GALLERY_HEADER.rst").read_text(encoding="utf-8")
    examples = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
    assert sorted(re.findall(r"^   \.\./examples/(\w+)\.py$", header, re.MULTILINE)) == examples
    assert sorted(re.findall(r"^   (\w+)$", header, re.MULTILINE)) == examples  # hidden tables of contents
    for name in examples:
        source = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
        (path,) = re.findall(r"sphinx_gallery_thumbnail_path = '(.+)'", source)
        assert path.endswith(f"/{name}.png")
        assert (DOCS / path).exists()


def test_answers_in_the_summary_of_the_benchmarks_are_those_of_the_pages():
    summary = (DOCS / "benchmarks" / "index.md").read_text(encoding="utf-8")
    rows = {
        name: (title, answer)
        for title, name, answer in re.findall(r"^\| \[(.+)\]\((\w+)\.md\) \| (.+) \|$", summary, re.MULTILINE)
    }
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "benchmarks").glob("*.md")}
    del pages["index"]
    assert rows.keys() == pages.keys()
    for name, (title, answer) in rows.items():
        assert pages[name].startswith(f"# {title}\n\n{answer}\n\n")
        assert re.search(r"\d", answer)


class SearchIndex:
    """Index of the site, ranked like Sphinx's searchtools.js."""

    def __init__(self, site):
        text = (site / "searchindex.js").read_text(encoding="utf-8")
        self.index = json.loads(re.fullmatch(r"Search.setIndex\((.*)\)", text, re.DOTALL)[1])
        from sphinx.search.en import SearchEnglish

        self.stem = SearchEnglish({}).stem

    def pages(self, query):
        """Return the names of the pages that match, best first."""
        query = query.lower()
        scores = {}
        for kind, weight in (("alltitles", 15), ("indexentries", 100)):
            for entry, places in self.index[kind].items():
                if query in entry.lower() and 2 * len(query) >= len(entry):
                    for place in places:
                        if kind == "alltitles" or place[2]:
                            whole = kind == "alltitles" and self.index["titles"][place[0]] == entry
                            scores.setdefault(place[0], []).append(
                                round(weight * len(query) / len(entry)) + whole
                            )
        words = [self.stem(word) for word in re.findall(r"\w+", query)]
        found = [self.with_word(word) for word in words]
        for page in set.intersection(*map(set, found)):
            scores.setdefault(page, []).append(max(pages[page] for pages in found))
        ranked = sorted(scores, key=lambda page: (-max(scores[page]), self.index["titles"][page].lower()))
        return [self.index["docnames"][page] for page in ranked]

    def with_word(self, word):
        """Return the score of each page that has a word in its text or its headings."""
        scores = {}
        for kind, weight, partial in (("terms", 5, 2), ("titleterms", 15, 7)):
            terms = self.index[kind]
            matches = [word] if word in terms else [term for term in terms if word in term and len(word) > 2]
            for term in matches:
                pages = terms[term] if isinstance(terms[term], list) else [terms[term]]
                scores |= dict.fromkeys(pages, weight if term == word else partial)
        return scores


QUERIES = {
    "slow": "start",
    "time": "start",
    "cost": "start",
    "when not to use": "start",
    "isolation forest": "guide/outliers",
    "install": "install",
    "pip install": "install",
    "dimensionality reduction": "start",
    "embedding": "start",
    "representation learning": "start",
    "drop-in": "start",
    "loadings": "guide/loadings",
    "feature importance": "guide/loadings",
    "number of components": "guide/choosing_size",
    "denoise": "guide/corruption",
    "denoising": "guide/corruption",
    "synthetic data": "guide/densities",
    "sampling": "guide/densities",
    "anomaly detection": "guide/outliers",
    "novelty detection": "guide/outliers",
    "outlier detection": "guide/outliers",
    "missing values": "guide/missing_values",
    "imputation": "guide/missing_values",
    "impute": "guide/missing_values",
    "time series": "guide/time_series",
    "categorical": "guide/mixed_tables",
    "gpu": "guide/big_data",
    "out-of-core": "guide/large_data",
    "save": "guide/persistence",
    "load": "guide/persistence",
    "save/load": "guide/persistence",
    "pickle": "guide/persistence",
    "checkpoint": "guide/callbacks",
    "onnx": "guide/onnx",
    "deploy": "guide/onnx",
    "compression": "gallery/compression",
    "latent space": "guide/measuring",
}


@pytest.mark.parametrize("query", QUERIES)
def test_search_leads_to_the_page(site, query):
    assert SearchIndex(site).pages(query)[0] == QUERIES[query]


# -- links of the HTML representation -------------------------------------------------------


def documented_classes():
    """Yield every class whose HTML representation has a link."""
    for info in pkgutil.walk_packages(sklearn_ae.__path__, "sklearn_ae."):
        importlib.import_module(info.name)
    classes = Documented.__subclasses__()
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        if cls.__module__.startswith("sklearn_ae"):
            yield cls


def test_links_of_html_representations_lead_to_pages(site):
    links = {cls: cls._get_doc_link(object.__new__(cls)) for cls in documented_classes()}
    assert len(links) > 50
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Documentation"] == SITE
    for cls, link in links.items():
        assert (site / link.removeprefix(SITE)).exists(), (cls, link)
    public = [name for name in public_objects() if inspect.isclass(resolve(name))]
    for name in public:
        if issubclass(resolve(name), Documented):
            assert links[resolve(name)] == f"{SITE}generated/{name}.html"


def resolve(name):
    """Return the object with a dotted name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


# -- guide ----------------------------------------------------------------------------------


def test_figures_of_the_guide_are_drawn_by_the_script():
    source = (DOCS / "figures" / "__main__.py").read_text(encoding="utf-8")
    listed = re.search(r"^FIGURES = \{(.*?)^\}", source, re.MULTILINE | re.DOTALL)[1]
    drawn = set(re.findall(r'"(\w+)"', listed))
    assert drawn == {path.stem for path in (GUIDE / "figures").glob("*.png")}
    pages = [path.read_text(encoding="utf-8") for path in [*GUIDE.glob("*.md"), DOCS / "index.md"]]
    assert set(re.findall(r"figures/(\w+)\.png", "".join(pages))) == drawn
