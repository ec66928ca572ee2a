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
    """Write the page of a finished run again.

    \b
    Example:
      greenroom report runs/smollm2-audit-1
    """
    from greenroom.runs.run import open_finished

    found = open_finished(run)
    if found.kind in ("who", "read-validation"):
        raise typer.BadParameter(f"a run of kind {found.kind} has no page; its figures are in summary.json")
    if found.kind == "read":
        from greenroom.reader.page import write_page
    else:
        from greenroom.studies.running import write_page
    path = write_page(found.path)
    if as_json:
        print_json({"report": str(path)})
    else:
        typer.echo(str(path))
