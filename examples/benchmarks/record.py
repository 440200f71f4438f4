"""Run a benchmark and append its headline figures to results.json.

    python examples/benchmarks/record.py engine --repeats 7
    python examples/benchmarks/record.py versus_pca --data DIR --jobs 2

The first argument is the name of a script in this folder; all others except --results FILE are passed on to
it. The output is shown as it comes. A record has the command, the date, the machine, the versions and the
headline figures, which are parsed from the printed tables.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent
PACKAGES = ("sklearn-ae", "scikit-learn", "torch", "skorch", "numpy")
NUMBER = r">?-?[\d.]+"

# Patterns of headings and of lines with figures, in which N stands for a number. The heading and the group
# `case` name an entry of the record; the other groups are its figures.
HEADINGS = {
    "latent_size": r"## (\w+)$",
    "densities": r"## (\w+): ",
    "likelihood": r"(?:## )?(MNIST|Held-out samples(?:, [a-z ]+)?)",
    "memory": r"(\d+ x .*|held-out squared error)",
    "time_to_quality": r"(\w+), \d+ x \d+, ",
}
FIGURES = {
    "classic": [r"squared error per image: test (?P<test>N), training (?P<training>N), PCA (?P<pca>N)"],
    "densities": [
        r"\| (?P<case>[a-z]+) \| (?P<truth>N) \| (?P<pca>N) \| N, N \| (?P<mixture_prior>N), "
        r"(?P<mixture_prior_integral>N) \| N, N \| (?P<auto>N), (?P<auto_integral>N) \|$",
        r"\| (?P<case>[^|]+) \| (?P<confident_percent>\d+)% \| (?P<classes>\d+) \|$",
        r"\| (?P<case>[^|]+) \| \d+ \| N \| (?P<mixture_auc>N) \| (?P<flow_auc>N) \| N "
        r"\| (?P<auto_auc>N) \|$",
    ],
    "engine": [r"(?P<case>\S.*(?:both|neither)) +(?P<bare_ms>N) +(?P<sklearn_ae_ms>N) +(?P<ratio>N)$"],
    "gpu": [r"(?P<case>\S.*(?:both|neither)) +(?P<bare_ms>N) +(?P<sklearn_ae_ms>N) +(?P<speed_up>N)x"],
    "latent_size": [
        r"rank found by rule='(?P<case>\w+)': (?P<found>N) of (?P<draws>N)$",
        r"agree: (?P<agree>N) of (?P<datasets>N); time, median (?P<median_time>N), most (?P<largest_time>N), "
        r"at most a quarter: (?P<at_most_a_quarter>N)$",
    ],
    "likelihood": [
        r"\| (?P<case>\d+ \| \d+) \| N \| (?P<textbook>N) \| \d+ \| (?P<vae>N) \| N \|$",
        r"\| (?P<case>[A-Za-z][^|]+) \| (?P<first_percent>\d+)% \| (?P<mean_rank>N) \| [^|]+ "
        r"\| (?P<nats_above_pca>N) \| (?P<median_nats_above_pca>N) \| N \|$",
    ],
    "memory": [
        r"(?P<case>(?:fit|transform|reconstruction|score)\S*).* +(?P<peak_mb>\d+) +(?P<increase_mb>-?\d+) "
        r"+(?P<seconds>N) +N$",
        r"(?P<case>\w+) +\d+ +\d+ +(?P<fit>N) +(?P<partial_fit_ratio>N)",
    ],
    "ordered": [r"geometric mean +(?P<full_rate_05>N) +(?P<full_rate_08>N)$"],
    "outliers": [
        r"(?P<case>\S+, (?:one class|unsupervised|\d+% outliers) +\S.*\S)  +(?P<roc_auc>N) +(?P<ap>N) "
        r"+(?P<rank>N|-) +(?:N|-) +(?:N|-) +\d+$",
        r"(?P<case>(?:normal|curved), \S.*\S)  +(?P<fit_1000>N) +(?P<fit_10000>N) "
        r"+(?P<score>N) +(?P<one_ms>N)$",
    ],
    "scaling": [
        r"time of (?P<case>.+): exponent (?P<exponent>N); (?P<upper_half>N) from",
        r"(?P<case>\d+ x \d+.*\S) +(?P<training_s>N) +(?P<fit_s>N) +N$",
    ],
    "scoring": [
        r"(?P<case>\w[^:]*\S) +(?P<ms_a_sample>N) +(?P<error>N) +N +N$",
        r"text .*: fit (?P<text_fit>N) s, TruncatedSVD N s",
        r"transform of (?P<case>one sample, \w+, \w+): (?P<microseconds>\d+) us, (?P<to_pca>N) x PCA$",
    ],
    "small_data": [
        r"(?P<case>(?:fit|grid) .*): (?P<seconds>N) s",
        r"speed-up: (?P<speed_up>N)$",
    ],
    "time_to_quality": [r"(?P<case>\S.*\S) {2,}(?P<error>N) +(?P<seconds>N)(?: +(?P<ratio>N)x)?\s*$"],
    "versus_pca": [
        r"\| (?P<case>[^|]+) \| (?P<cases>N) \| (?P<over_1000_samples>N|-) \| (?P<all_datasets>N) "
        r"\| (?P<worse_by_1_percent>N) [^|]+\| (?P<worse_by_5_percent>N) [^|]+\| (?P<worst>N) [^|]+"
        r"\| (?P<seconds_per_fit>N) \| (?P<seconds>N) \|$",
        r"median of (?P<case>.+): (?P<median>N)$",
    ],
}


def parse_figures(name, output):
    """Return the headline figures in the output of a benchmark, as {case: {figure: number}}."""
    patterns = [re.compile(pattern.replace("N", NUMBER)) for pattern in FIGURES[name]]
    heading, figures = "", {}
    for line in output.splitlines():
        found = re.match(HEADINGS.get(name, "(?!)"), line)
        heading = f"{found[1]}: " if found else heading
        for match in filter(None, (pattern.match(line) for pattern in patterns)):
            groups = match.groupdict()
            case = re.sub(r"\s{2,}| \| ", ", ", heading + groups.pop("case", "all"))
            values = {key: as_number(text) for key, text in groups.items() if text not in (None, "-")}
            figures.setdefault(case, {}).update(values)
    return figures


def as_number(text):
    """Return a printed figure as a number, or as text if it is only a bound, such as ">25.0"."""
    return text if text.startswith(">") else json.loads(text)


def run(name, arguments):
    """Run a benchmark script, show its output as it comes, and return it."""
    command = [sys.executable, "-u", str(FOLDER / f"{name}.py"), *arguments]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise SystemExit(f"{name}.py failed; nothing was recorded.")
    return "".join(lines)


def machine():
    """Return a description of the machine in words."""
    info = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else []
    model = models[0] if models else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores, {model}, {platform.system()}"


def make_record(name, arguments, figures):
    """Return the entry of results.json for a run."""
    shown = [
        "DIR" if before == "--data" else text
        for before, text in zip(["", *arguments], arguments, strict=False)
    ]
    return {
        "benchmark": name,
        "command": " ".join(["python", f"examples/benchmarks/{name}.py", *shown]),
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": {package: version(package) for package in PACKAGES},
        "figures": figures,
    }


def append(record, path):
    """Append a record to a JSON file with a list of records."""
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    text = json.dumps([*records, record], indent=1, ensure_ascii=False)
    one_line = re.sub(r"\{[^{}]*\}", lambda innermost: " ".join(innermost[0].split()), text)
    path.write_text(one_line + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("name", choices=FIGURES)
    parser.add_argument("--results", type=Path, default=FOLDER / "results.json", metavar="FILE")
    args, arguments = parser.parse_known_args()
    figures = parse_figures(args.name, run(args.name, arguments))
    if not figures:
        raise SystemExit("The output has no headline figures; nothing was recorded.")
    append(make_record(args.name, arguments, figures), args.results)
    print(f"Recorded {len(figures)} entries in {args.results}.")


if __name__ == "__main__":
    main()
