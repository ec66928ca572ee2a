"""greenroom doctor: is everything here that an audit needs, and can this model be measured?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json


def doctor(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="Also load this model and check the instrument on it.", show_default=False
        ),
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    template: options.Template = None,
    adapter: options.Adapter = None,
    as_json: options.AsJson = False,
) -> None:
    """Check this machine and, if named, a model.

    With MODEL, loads it and checks that Greenroom reads and changes its activations rightly. Says how to mend what is
    missing; exit code 1 when something is.

    \b
    Examples:
      greenroom doctor
      greenroom doctor smollm2
      greenroom doctor path/to/model --template chatml
    """
    from greenroom.runs.machine import Finding, findings

    found = findings(_embedded)
    if model is not None:
        from greenroom.subject import check_instrument, load

        subject = load(model, adapter=adapter, device=device, dtype=dtype, template=template)
        found += [Finding(check.name, check.ok, check.detail) for check in check_instrument(subject)]
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            typer.echo(f"{'ok ' if finding.ok else 'NOT'}  {finding.name}: {finding.detail}")
            if finding.fix:
                typer.echo(f"     → {finding.fix}")
    if not all(finding.ok for finding in found):
        raise typer.Exit(1)


def _embedded() -> Path:
    from greenroom.subject.loading import embedded_gguf  # imports torch, which may be what is missing

    return embedded_gguf()
