"""greenroom compare: what differs between finished runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json, print_rows

if TYPE_CHECKING:
    from greenroom.auditing.compare import Difference
    from greenroom.runs.run import Run

SCREEN = 30  # rows on a terminal: never more than a screen


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of finished runs, the base first.")],
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what differs between finished runs, with intervals.

    Each measure of the later runs minus that of the first. The runs may differ in model, adapter, persona and seed; their
    studies, items, sizes and dtype must be the same. The main measure of a study comes first, then the differences whose
    interval leaves 0 out. Intervals take the runs as
    independent. A measure that is void in a run has no number, and the reason is given.

    \b
    Examples:
      greenroom compare runs/base-audit-1 runs/tuned-audit-1
      greenroom compare runs/smollm2-eval-1 runs/smollm2-eval-2 runs/smollm2-eval-3 --json
    """
    if len(runs) < 2:
        raise typer.BadParameter("give at least two RUNs; the others are compared with the first")
    from greenroom.auditing.compare import compare as differences
    from greenroom.runs.run import open_finished

    base, *others = [open_finished(run) for run in runs]
    found = [(other, differences(base, other)) for other in others]
    if as_json:
        rows = [{**_facts(other), "differences": [asdict(row) for row in own]} for other, own in found]
        print_json({"base": _facts(base), "runs": rows})
        return
    for other, own in found:
        _print(base, other, own, plain)


def _facts(run: Run) -> dict[str, Any]:
    told = run.manifest
    return {"path": str(run.path), "model": told["subject"], "system": told["config"]["system"], "seed": told["seed"]}


def _print(base: Run, other: Run, found: Sequence[Difference], plain: bool) -> None:
    from greenroom.report.format import number

    for letter, run in (("A", base), ("B", other)):
        facts = _facts(run)
        system = "" if facts["system"] is None else f", told “{facts['system'][:60]}”"
        typer.echo(f"{letter}  {facts['path']}: {facts['model']}{system}, seed {facts['seed']}")
    shown = found[:SCREEN] if sys.stdout.isatty() and not plain else found
    rows = [
        (
            " · ".join(filter(None, (row.study, row.part, row.name, row.paradigm, row.split))).replace("_", " "),
            row.unit or "",
            number(row.a),
            number(row.b),
            number(row.difference, signed=True),
            row.reason or _between(row),
        )
        for row in shown
    ]
    print_rows(("measure", "unit", "A", "B", "B − A", "95 % interval"), rows, plain=plain)
    apart = sum(row.apart for row in found)
    typer.echo(f"{apart} of {len(found)} differences leave 0 out; nothing is adjusted for how many were looked at")
    if len(shown) < len(found):
        typer.echo(f"{len(found) - len(shown)} more; --plain, a pipe or --json shows all")


def _between(row: Difference) -> str:
    from greenroom.report.format import interval

    ends = interval(row.low, row.high, signed=True)
    return "no interval" if row.low is None else f"{ends['low']} to {ends['high']}"
