"""Measure this machine: Leadglass beside Orthanc in one run, a large index, memory, the first image at home.

    make bench                              # everything, at most 15 minutes; writes docs/benchmarks.md, its plot, README's table
    make bench-quick                        # under a minute: the ratios of C-STORE, STOW-RS, study and frames; writes nothing
    make bench ARGS="--only first-image"    # one part; prints it, writes nothing

Each figure is measured against real servers in their own processes, on the loopback. Nothing is switched off for it that
is on for a user.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from bench_alone import measure_alone  # noqa: E402
from bench_beside import Row, measure_beside  # noqa: E402
from bench_first_image import measure as measure_first_image  # noqa: E402
from bench_plot import draw  # noqa: E402

DOC = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "images" / "benchmarks.svg"
README = ROOT / "README.md"
MARKS = ("<!-- figures: make bench -->\n", "<!-- end of figures -->")
HOW_FAST = f"""## How fast

The same work on Leadglass (TLS, encryption at rest, policy and ledger on) and on Orthanc (in clear, no login), on one machine in one
run. `make bench` measured it; [benchmarks](docs/benchmarks.md) has the rest.

{MARKS[0]}{MARKS[1]}
"""
ROUNDS = 5
FIRST_IMAGE = {  # what bench_first_image measures -> (in words, bound)
    "cold": ("First image, nothing of the viewer in the browser", "4.7 s"),
    "warm": ("First image, the viewer's files in the browser", "3.3 s"),
    "cold further": ("40 slices further, after that first one", "3.0 s"),
    "warm further": ("40 slices further, after the second", "3.0 s"),
    "list": ("First image in our page, after the study list", ""),
    "preview": ("Picture of the middle slice on the study page", "0.5 s"),
}
PROGRAMS = ("wrk", "curl", "/usr/sbin/Orthanc", "chromium")
Figures = list[tuple[str, str, str]]  # (what, figure, bound)


def figures_of_first_image() -> Figures:
    """Return the rows of a reader at home."""
    found = measure_first_image()
    return [(FIRST_IMAGE.get(name, (name, ""))[0], f"{seconds:.2f} s", FIRST_IMAGE.get(name, ("", ""))[1])
            for name, seconds in found.items()]


PARTS: dict[str, tuple[str, Callable[[Path], Figures]]] = {
    "alone": ("By itself", measure_alone),
    "first-image": ("The first image for a reader at home, behind 20 Mbit/s and 40 ms", lambda _: figures_of_first_image()),
}


def say(what: str) -> None:
    """Tell progress on standard error."""
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", file=sys.stderr, flush=True)


def table_of_ratios(rows: list[Row], *, has_spread: bool) -> str:
    """Return the table; `has_spread` shows the least and the most of the runs beside the median."""

    def figure(values: list[float], unit: str) -> str:
        median = f"{statistics.median(values):.3g} {unit}"
        return f"{median} ({min(values):.3g} - {max(values):.3g})" if has_spread else median

    lines = ["| work | Leadglass | Orthanc | ratio | to reach | |", "|---|---|---|---|---|---|"]
    lines += [f"| {r.what} | {figure(r.ours, r.unit)} | {figure(r.peer, r.unit)} | {r.ratio:.2f} x | {r.bar:.3g} x | "
              f"{'reached' if r.is_reached else 'not reached'} |" for r in rows]
    notes = [f"{r.what}: {r.note}." for r in rows if r.note]
    return "\n".join(lines + (["", *notes] if notes else []))


def table_of(figures: Figures) -> str:
    """Return the table of one part."""
    return "\n".join(["| what | measured | bound |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in figures)])


def document(rows: list[Row], parts: dict[str, Figures], took: float) -> str:
    """Return the page."""
    orthanc = subprocess.run(["/usr/sbin/Orthanc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    pieces = [
        "# Benchmarks",
        ("Made by `make bench` (tools/bench.py): real servers in their own processes and the clients on the same cores, over the\n"
        "loopback. Leadglass has TLS on the web, encryption at rest, policy and ledger on, as users have them; Orthanc stands in\n"
        "clear, without a login. Figures of one run on one machine: compare the ratios, not machines.\n"
        "[Performance](explanation/performance.md) says where the time goes."),
        f"{datetime.now(UTC):%Y-%m-%d}, {machine}, Orthanc {orthanc}; {took / 60:.0f} minutes.",
        (f"## Beside Orthanc\nMedians of {ROUNDS} runs in turns, with the least and the most. 300 CT slices of 525 kB"
        " (120 for one association).\n\n"
        f"{table_of_ratios(rows, has_spread=True)}\n\n![How many times better than Orthanc](images/benchmarks.svg)"),
        *(f"## {PARTS[name][0]}\n{table_of(figures)}" for name, figures in parts.items()),
    ]
    return "\n\n".join(pieces) + "\n"


def write_readme(rows: list[Row]) -> None:
    """Put the table of ratios between README's marks."""
    text = README.read_text("utf-8")
    if MARKS[0] not in text:
        text = text.replace("## The map of rooms", f"{HOW_FAST}\n## The map of rooms", 1)
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    README.write_text(f"{before}{MARKS[0]}{table_of_ratios(rows, has_spread=False)}\n{MARKS[1]}{after}", "utf-8")


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Measure this machine.", epilog='Example: make bench ARGS="--only alone"')
    parser.add_argument("--quick", action="store_true", help="C-STORE 1 and 4, STOW-RS, study and frames; writes nothing")
    parser.add_argument("--only", choices=["beside", *PARTS], help="one part; writes nothing")
    options = parser.parse_args()
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        print(f"Missing: {', '.join(missing)}. Install with: tools/debian-packages.sh wrk curl", file=sys.stderr)
        return 1
    started = time.monotonic()
    rows: list[Row] = []
    parts: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-") as folder:
        if options.only in {None, "beside"}:
            root = Path(folder) / "beside"
            root.mkdir()
            rows = measure_beside(root, rounds=3 if options.quick else ROUNDS, is_quick=options.quick, say=say)
            print(table_of_ratios(rows, has_spread=False), flush=True)
            shutil.rmtree(root)
        for name, (title, measure) in PARTS.items():
            if options.quick or options.only not in {None, name}:
                continue
            say(title)
            root = Path(folder) / name
            root.mkdir()
            parts[name] = measure(root)
            print(f"\n{title}\n{table_of(parts[name])}", flush=True)
            shutil.rmtree(root)
    took = time.monotonic() - started
    say(f"done in {took:.0f} s")
    if not options.quick and options.only is None:
        DOC.write_text(document(rows, parts, took), "utf-8")
        draw(rows, PLOT)
        write_readme(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
