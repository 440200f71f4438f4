"""Trace ``AutoencoderTransformer.fit`` through the package: files, functions, changes of file, calls upwards.

A change of file is a pair of functions in different files of which one calls the other
directly; each pair counts once. A call upwards is such a call from a lower to a higher
layer (the layers of ``pyproject.toml``).

    python tools/trace_fit.py            # the default fit of the digits
    python tools/trace_fit.py --verbose  # with all functions and changes of file
"""

import argparse
import functools
import sys
import tomllib
import warnings
from pathlib import Path

from sklearn.datasets import load_digits

import sklearn_ae
from sklearn_ae import AutoencoderTransformer

PACKAGE = Path(sklearn_ae.__file__).parent
ROOT = Path(__file__).parents[1]


def layers():
    """Names of the layers, the lowest first; each is a set of top-level names of the package."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config.get("tool", {}).get("importlinter", {}).get("contracts", [])
    found = next((contract["layers"] for contract in contracts if contract["type"] == "layers"), [])
    return [
        {name.strip("() ").split(".")[-1] for name in layer.replace(":", "|").split("|")}
        for layer in reversed(found)
    ]


class Trace:
    """Functions that are called, and direct calls between files."""

    def __init__(self):
        self.functions = {}  # code object -> file, in the order of the first calls
        self.changes = {}  # (caller, callee) -> (file, file)

    def __call__(self, frame, event, argument):
        """Record a call; the signature is that of ``sys.setprofile``."""
        file = relative_path(frame.f_code.co_filename) if event == "call" else None
        if file is None:
            return
        self.functions.setdefault(frame.f_code, file)
        caller = frame.f_back
        origin = None if caller is None else relative_path(caller.f_code.co_filename)
        if origin is not None and origin != file:
            self.changes.setdefault((caller.f_code, frame.f_code), (origin, file))

    @property
    def files(self):
        """Files in the order of their first calls."""
        return list(dict.fromkeys(self.functions.values()))

    @property
    def upwards(self):
        """Calls from a lower to a higher layer."""
        heights = {name: height for height, layer in enumerate(layers()) for name in layer}
        return [
            f"{origin}:{a.co_qualname} -> {file}:{b.co_qualname}"
            for (a, b), (origin, file) in self.changes.items()
            if heights[part(origin)] < heights[part(file)]
        ]


@functools.cache
def relative_path(filename):
    """Return the path of a file within the package, or None outside."""
    path = Path(filename)
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else None


def part(file):
    """Return the top-level name of the package that a file belongs to."""
    return file.split("/")[0].removesuffix(".py")


def traced(model, X):
    """Return the trace of a fit."""
    trace = Trace()
    sys.setprofile(trace)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X)
    finally:
        sys.setprofile(None)
    return trace


def main():
    """Print the trace of the default fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    trace = traced(AutoencoderTransformer(8, max_iter=3, random_state=0), load_digits().data)
    if args.verbose:
        for code, file in trace.functions.items():
            print(f"{file:32} {code.co_qualname}")
        for (a, b), (origin, file) in trace.changes.items():
            print(f"{origin}:{a.co_qualname} -> {file}:{b.co_qualname}")
    print("\n".join(trace.files))
    print(
        f"{len(trace.files)} files, {len(trace.functions)} functions, {len(trace.changes)} changes of file, "
        f"{len(trace.upwards)} calls upwards"
    )
    print("\n".join(trace.upwards))


if __name__ == "__main__":
    main()
