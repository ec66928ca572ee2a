"""greenroom audit: which character does this model play, and how firmly?"""

from __future__ import annotations

from typing import Annotated

import typer

from greenroom.cli import options


@options.on_model()
@options.as_run
def audit(
    model: options.Model,
    run: options.Run,
    full: Annotated[
        bool,
        typer.Option("--full", help="Also the studies that take longer: half an hour on two cores."),
    ] = False,
) -> None:
    """Measure which character a model plays, and how firmly.

    The main studies in one report: maps it among other characters, presses it, tests what it gives up, asks what it takes itself for. Writes tables,
    a summary and report.html. Studies that take longer are shown when they were run before on these weights, or with
    --full. Interrupted, it goes on where it stopped when the same command is run again.

    \b
    Examples:
      greenroom audit
      greenroom audit --quick
      greenroom audit --full
      greenroom audit path/to/model --out runs/mine --seed 1
      greenroom audit base-model --adapter path/to/adapter
    """
    from greenroom.auditing.audit import audit as run_audit

    result = run_audit(model.within(run.out).load(), run.out, quick=run.quick, full=full, seed=run.seed, progress=run.progress)
    run.show(result)
