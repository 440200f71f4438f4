# make demo      set up, replace PCA on digits, print and plot the comparison
# make test      set up, lint, check types and layers, run the unit tests, the doctests and the code of the documents
# make check     make test with its coverage, slow tests, random tests, benchmark scripts, gallery, site, package,
#                minimum versions
# make coverage  unit tests with their line coverage, which must reach the floor in pyproject.toml
# make docs      set up, run the changed examples, build the site in docs/_build/html
# make package   build wheel and sdist in dist/, install them in a new environment and use them
# make test-min  unit tests with the lowest versions that pyproject.toml allows (constraints-min.txt)
# make clean     remove the environments and everything that was built

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

# The lowest versions have wheels for Python 3.11 and 3.12 only.
MIN_PYTHON ?= python3.11
MIN_VENV ?= .venv-min
MIN_BIN := $(MIN_VENV)/bin
MIN_INSTALL := $(MIN_BIN)/python -m pip install --quiet --constraint constraints-min.txt

# One thread per pytest process: threads of several processes would compete for the cores.
# With worksteal, neighbouring tests run in one process and share their fixtures.
PYTEST_FLAGS ?=
PYTEST := -m pytest -n auto --dist worksteal $(PYTEST_FLAGS)
UNIT := -m "not slow" --ignore=tests/check

.PHONY: demo test lint unit check slow fuzz gallery coverage docs package test-min clean

# A stamp per set of extras, so that the demo needs no development tools.
demo: $(VENV)/.demo
	$(BIN)/python -u examples/replace_pca.py

test: lint unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) $(UNIT)

check: lint coverage slow fuzz gallery docs package test-min

slow: $(VENV)/.ray
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) -m slow --ignore=tests/check

# Random examples of tests/test_fuzz.py, some minutes; another number with make fuzz N_FUZZ=2000
N_FUZZ ?= 500
fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) tests/test_fuzz.py --fuzz $(N_FUZZ)

# Examples and benchmark scripts, and what the site must contain
gallery: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) tests/check

# Not part of make test, because tracing every line takes a third more time before Python 3.12.
# Later versions of Python monitor lines at little cost.
coverage: $(VENV)/.dev
	OMP_NUM_THREADS=1 COVERAGE_CORE=$$($(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') \
	$(BIN)/python $(PYTEST) $(UNIT) --cov --cov-report=term

docs: $(VENV)/.dev
	@start=$$(date +%s); \
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html && \
	echo "The site is in docs/_build/html. It took $$(($$(date +%s) - start)) s."

# `build` makes the sdist from the checkout, and the wheel from the sdist.
package: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tools/check_package.py dist

test-min: $(MIN_VENV)/.installed
	OMP_NUM_THREADS=1 $(MIN_BIN)/python $(PYTEST) $(UNIT)

# torch goes first: the constraint selects a build without GPU packages where one is at hand.
$(VENV)/.demo: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): PyTorch and scikit-learn are downloaded, which takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) --editable ".[plot]"
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "Installing the development tools in $(VENV), which takes a minute or two."
	$(INSTALL) --editable ".[dev]"
	touch $@

# Ray is large, and only one slow test needs it.
$(VENV)/.ray: $(VENV)/.dev
	@echo "Installing Ray in $(VENV)."
	$(INSTALL) --editable ".[dev,ray]"
	touch $@

$(MIN_VENV)/.installed: pyproject.toml constraints-min.txt
	@echo "Setting up $(MIN_VENV) with the lowest versions, which takes some minutes."
	$(MIN_PYTHON) -m venv $(MIN_VENV)
	$(MIN_INSTALL) torch
	$(MIN_INSTALL) --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(MIN_VENV) build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	rm -rf .coverage .coverage.* htmlcov docs/_build docs/generated docs/gallery
