"""greenroom report: write a finished run's page again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    as_json: options.AsJson = False,
) -> None:
    """Write the page of a finished run again: of an audit, a study, a reading, a drift, a self-talk or a frontier.

    \b
    Example:
      greenroom report runs/smollm2-audit-1
    """
    from greenroom.runs.run import open_finished

    found = open_finished(run)
    path = _writer(found.kind)(found.path)
    if as_json:
        print_json({"report": str(path)})
    else:
        typer.echo(str(path))


def _writer(kind: str) -> Callable[[Path], Path]:
    """What writes the page of that kind of run."""
    if kind in ("who", "read-validation"):
        raise typer.BadParameter(f"a run of kind {kind} has no page; its figures are in summary.json")
    if kind == "drift":
        from greenroom.studies.dynamics_page import write_drift_page as write
    elif kind == "selftalk":
        from greenroom.studies.dynamics_page import write_selftalk_page as write
    elif kind == "frontier":
        from greenroom.studies.frontier.page import write_page as write
    elif kind == "read":
        from greenroom.reader.page import write_page as write
    else:
        from greenroom.report.page import write_report as write
    return write
