"""greenroom map: where the default character lies among the roles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json


def map_roles(
    model: options.Model = "smollm2",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run, new or to resume [default: runs/<model>-map-<n>].", show_default=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A fourth of the roles, shorter replies.")] = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    template: options.Template = None,
    adapter: options.Adapter = None,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw the persona map: the default character among 92 roles, and the assistant axis.

    The first two stages of an audit: tables, the axis, and a report with the map.

    \b
    Examples:
      greenroom map
      greenroom map path/to/model --out runs/map
    """
    from greenroom.auditing.audit import audit as run_audit
    from greenroom.runs.progress import terminal_progress

    result = run_audit(
        model=model,
        out=out,
        quick=quick,
        seed=seed,
        device=device,
        dtype=dtype,
        template=template,
        adapter=adapter,
        progress=terminal_progress(plain=plain),
        kind="map",
    )
    if as_json:
        print_json({"path": str(result.path), **result.summary})
    else:
        typer.echo(str(result))
