"""make bench: Greenroom's engine beside transformers, repeng and steering-vectors, and the machine's matrix rate.

    python bench/engine.py [--pairs N] [--real-pairs N] [--only even capture …] [--dtypes …] [--small] [--seed N] [--out FILE]

All in one run on one machine: contestants take turns, ratios are taken pair by pair, and the median pair is the
figure. Prints a table and writes bench/results/engine-<date>.json with every raw time. bench/README.md says what each
workload is.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from contestants import SMALL, Bench, Sizes, warm_up
from measure import Finding, MatrixRate, Operations, Result
from rich.console import Console
from rich.table import Table
from transformers.utils import logging as library_logging
from worker import INSTALLS, Worker
from workloads import WORKLOADS

from greenroom.processor import instructions
from greenroom.runs.machine import facts, version
from greenroom.store import write_json
from greenroom.subject import load
from greenroom.subject.loading import EMBEDDED, converted, embedded_gguf

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Parses, races, prints, writes."""
    options = _parsed()
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module="transformers")
    notes = Console(stderr=True, highlight=False)
    sizes = SMALL if options.small else Sizes()
    folder = converted(embedded_gguf())
    results: dict[str, Result] = {}
    rates: dict[str, MatrixRate] = {}
    versions: dict[str, Any] = {}
    for dtype in options.dtypes:
        # In bfloat16 replies are drawn as `mixed` draws them, and text is read by the model as it is loaded.
        reader = load(dtype=dtype)
        subject = load(dtype="mixed") if dtype == "bfloat16" else reader
        with ExitStack() as stack:
            workers = [stack.enter_context(Worker(package, folder, dtype)) for package in INSTALLS]
            rates[dtype] = MatrixRate(sizes.square, getattr(torch, dtype))
            operations = Operations(subject)
            bench = Bench(subject, reader, dtype, sizes, options.seed, rates[dtype], operations, workers, notes.print)
            warm_up(bench)
            for name in options.only:
                notes.print(f"[bold]{name}, {dtype}[/bold]")
                rounds = options.real_pairs if name == "real" else options.pairs
                results[f"{name}, {dtype}"] = WORKLOADS[name](bench, rounds)
            versions |= {worker.package: worker.versions or worker.failure for worker in workers}
    _print(results, rates)
    path = options.out or _default_path(options)
    settings = {"pairs": options.pairs, "real_pairs": options.real_pairs, "seed": options.seed, "small": options.small}
    write_json(path, {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "greenroom": version(),
        "machine": facts(),
        "subject": EMBEDDED,
        "settings": {**settings, "sizes": asdict(sizes)},
        "peers": versions,
        "matrix_rate": {dtype: rate.facts() for dtype, rate in rates.items()},
        "workloads": {name: _facts(result) for name, result in results.items()},
    })  # fmt: skip
    notes.print(f"written to {path}")


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Greenroom's engine beside its peers; see bench/README.md.")
    parser.add_argument("--pairs", type=_count, default=5, metavar="N", help="alternating rounds a workload [5]")
    parser.add_argument("--real-pairs", type=_count, default=5, metavar="N", help="rounds of the real workload [5]")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="these workloads alone")
    parser.add_argument(
        "--dtypes", nargs="+", choices=["float32", "bfloat16"],
        default=["float32", "bfloat16"] if instructions() else ["float32"],
        help="number formats, of all contestants alike [float32, and bfloat16 where the processor multiplies it]",
    )  # fmt: skip
    parser.add_argument("--small", action="store_true", help="tiny workloads: does it run? Its figures mean nothing.")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is asked and what is drawn [0]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="results [bench/results/engine-<date>.json]")
    return parser.parse_args()


def _count(given: str) -> int:
    if not given.isdecimal() or not int(given):
        raise argparse.ArgumentTypeError(f"{given!r} is no whole number of 1 or more")
    return int(given)


def _default_path(options: argparse.Namespace) -> Path:
    """A run of parts, or a small one, never takes the place of the day's whole one."""
    parts = [] if set(options.only) == set(WORKLOADS) else list(options.only)
    parts += [] if len(options.dtypes) > 1 or not instructions() else list(options.dtypes)
    small = ["small"] if options.small else []
    return RESULTS / f"{'-'.join(['engine', f'{datetime.now(UTC):%Y-%m-%d}', *parts, *small])}.json"


def _facts(result: Result) -> dict[str, Any]:
    return {
        "what": result.what,
        "findings": [finding.facts() for finding in result.findings],
        "missing": result.missing,
        "runs": {name: [asdict(timed) for timed in runs] for name, runs in result.runs.items()},
    }


def _print(results: dict[str, Result], rates: dict[str, MatrixRate]) -> None:
    """The machine, then a table a workload; where no terminal tells a width, one wide enough for every line."""
    console = Console() if sys.stdout.isatty() else Console(width=110)
    machine = facts()
    libraries = ", ".join(f"{name} {machine['libraries'].get(name)}" for name in ("torch", "transformers"))
    console.print(f"{machine['cpu']}, {machine['torch_threads']} threads, {libraries}", highlight=False)
    for dtype, rate in rates.items():
        console.print(f"{dtype} matrix rate, GFLOP/s", highlight=False)
        for one in rate.facts().values():
            line = f"  {one['gflops']:.0f} (from {one['low']:.0f} to {one['high']:.0f})  {one['shape']}"
            console.print(line, highlight=False)
    for name, result in results.items():
        table = Table(title=f"\n[bold]{name}[/bold]  {result.what}", title_justify="left", title_style="")
        table.add_column()
        table.add_column("median", justify="right")
        table.add_column("lowest – highest", justify="right")
        table.add_column("target")
        for finding in result.findings:
            span = f"{_shown(finding, min(finding.values))} – {_shown(finding, max(finding.values))}"
            table.add_row(finding.name, _shown(finding, finding.median), span, _verdict(finding))
        for missing, reason in result.missing.items():
            table.add_row(f"{missing}: not run ({reason})")
        console.print(table)


def _shown(finding: Finding, value: float) -> str:
    if finding.unit == "×":
        return f"{value:.2f}×"
    if finding.unit == "%":
        return f"{value:+.1f} %"
    return f"{value:.2f}" if finding.unit == "share" else f"{value:.0f} {finding.unit}"


def _verdict(finding: Finding) -> str:
    if finding.target is None:
        return ""
    bound = f"≤ {finding.target:g} %" if finding.unit == "%" else f"≥ {finding.target:g}"
    return f"{bound}: [green]met[/green]" if finding.met else f"{bound}: [red]missed[/red]"


if __name__ == "__main__":
    main()
