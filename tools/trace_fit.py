"""Print the way of ``AutoencoderTransformer.fit`` through the package: files, functions, changes of file.

A function is counted once, at its first call. A change of file is a step between two functions
in this order that are defined in different files. A call upwards goes from a file of a lower layer
to one of a higher layer (the layers of ``pyproject.toml``); calls that pass through other packages,
such as skorch, count from the last file of this package that they left.

    python tools/trace_fit.py            # the default fit of digits
    python tools/trace_fit.py --verbose  # every function, in the order of the first calls
"""

import argparse
import sys
import threading
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
    """Record of first calls, and of calls from a lower to a higher layer."""

    def __init__(self):
        self.functions = {}  # code object -> file, in the order of the first calls
        self.upwards = set()
        self.heights = {name: height for height, layer in enumerate(layers()) for name in layer}

    def __call__(self, frame, event, argument):
        if event != "call":
            return
        file = self.own(frame)
        name = frame.f_code.co_name
        if file is None or name in ("<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>", "<module>"):
            return
        if frame.f_lasti > 5 and frame.f_code.co_flags & 0x20:  # a generator that is resumed
            return
        self.functions.setdefault(frame.f_code, file)
        caller = frame.f_back
        while caller is not None and self.own(caller) is None:
            caller = caller.f_back
        if caller is not None and self.height(self.own(caller)) < self.height(file):
            self.upwards.add(f"{self.own(caller)}:{caller.f_code.co_name} -> {file}:{name}")

    @staticmethod
    def own(frame):
        path = Path(frame.f_code.co_filename)
        return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else None

    def height(self, file):
        return self.heights.get(file.split("/")[0].removesuffix(".py"), -1)


def traced(model, X):
    trace = Trace()
    sys.setprofile(trace)
    threading.setprofile(trace)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return trace


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    trace = traced(AutoencoderTransformer(8, max_iter=3, random_state=0), load_digits().data)
    files = list(trace.functions.values())
    changes = sum(a != b for a, b in zip(files, files[1:], strict=False))
    if args.verbose:
        for code, file in trace.functions.items():
            print(f"{file:32} {code.co_qualname}")
    print("\n".join(dict.fromkeys(files)))
    print(
        f"{len(set(files))} files, {len(files)} functions, {changes} changes of file, {len(trace.upwards)} calls upwards"
    )
    print("\n".join(sorted(trace.upwards)))


if __name__ == "__main__":
    main()
