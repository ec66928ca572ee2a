"""greenroom report: write a finished run's page again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    as_json: options.AsJson = False,
) -> None:
    """Write the report of a finished run again.

    \b
    Example:
      greenroom report runs/smollm2-audit-1
    """
    from greenroom.auditing.report import write_report
    from greenroom.runs.run import open_finished

    path = write_report(open_finished(run).path)
    if as_json:
        print_json({"report": str(path)})
    else:
        typer.echo(str(path))
