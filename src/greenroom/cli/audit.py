"""greenroom audit: who is this model being, and how firmly?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json


def audit(
    model: options.Model = "smollm2",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run, new or to resume [default: runs/<model>-audit-<n>].", show_default=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer replies: sooner done, wider intervals.")] = False,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also the behavioural map, the archetypes and the frontier of the axis: far longer."
        ),
    ] = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    template: options.Template = None,
    adapter: options.Adapter = None,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Audit a model: which character it plays, and how firmly.

    Maps it among other characters, presses it, tests what it gives up, asks what it takes itself for. Writes tables,
    a summary and report.html; chapters on the frontier of the axis, archetypes and the behavioural map are in it when
    those were kept for this model (greenroom frontier, archetypes, map --behaviour) or with --full. Interrupted, it goes on where it stopped when the same command is run again.

    \b
    Examples:
      greenroom audit
      greenroom audit --quick
      greenroom audit --full
      greenroom audit path/to/model --out runs/mine --seed 1
      greenroom audit base-model --adapter path/to/adapter
    """
    from greenroom.auditing.audit import audit as run_audit
    from greenroom.runs.progress import terminal_progress

    result = run_audit(
        model=model,
        out=out,
        quick=quick,
        full=full,
        seed=seed,
        device=device,
        dtype=dtype,
        template=template,
        adapter=adapter,
        progress=terminal_progress(plain=plain),
    )
    if as_json:
        print_json({"path": str(result.path), **result.summary})
    else:
        typer.echo(str(result))
