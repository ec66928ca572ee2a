"""greenroom archetypes: what recurs in a model's roles that nobody named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json


def archetypes(
    model: options.Model = "smollm2",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run, new or to resume [default: runs/<model>-archetypes-<n>].", show_default=False
        ),
    ] = None,
    questions: Annotated[int, typer.Option(help="Questions that every role answers.")] = 12,
    tokens: Annotated[int, typer.Option(help="Tokens a reply may have.")] = 32,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    template: options.Template = None,
    adapter: options.Adapter = None,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Find archetypes that nobody named: clusters and sparse factors of what goes on inside while it plays roles.

    How many there are is decided on roles left out; each is described by its roles and replies, set beside the library
    and beside Jung's archetypes, and marked unstable unless it returns when the questions are drawn anew. Writes
    tables, a summary and report.html. Interrupted, it goes on where it stopped when the same command is run again.

    \b
    Examples:
      greenroom archetypes
      greenroom archetypes path/to/model --questions 18 --out runs/archetypes
      greenroom archetypes --json
    """
    from greenroom.runs.progress import terminal_progress
    from greenroom.studies.archetypes.stages import find_archetypes

    result = find_archetypes(
        model=model,
        out=out,
        questions=questions,
        tokens=tokens,
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
