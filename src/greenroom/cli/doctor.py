"""greenroom doctor: is everything here that an audit needs, and can this model be measured?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json

UNFIT = "measure no activations of {}: they are not read or changed as meant; please report it with these lines"


@options.on_model(None, help="Also load this model and self-test how it is read and steered.")
def doctor(model: options.Model | None, as_json: options.AsJson = False) -> None:
    """Check this machine, or self-test activation capture and steering.

    With MODEL, loads it and tests that activations are read and changed as meant. The last line says that all is well, or
    what to do; then the exit code is 1.

    \b
    Examples:
      greenroom doctor
      greenroom doctor smollm2
      greenroom doctor path/to/model --template chatml
    """
    from greenroom.runs.machine import MachineCheck, machine_checks, verdict

    found = machine_checks(_embedded)
    if model is not None:
        from greenroom.subject import check_instrument
        from greenroom.subject.check import same_in_any_batch

        subject = model.load()
        found += [
            MachineCheck(check.name, check.ok, check.detail, "" if check.ok else UNFIT.format(model.name))
            for check in check_instrument(subject)
        ]
        exact = "to the bit" if same_in_any_batch(subject.sampler) else "but for ties that rounding decides"
        found.append(MachineCheck("replies do not depend on their batch", True, f"{exact} ({subject.dtype})"))
    if as_json:
        print_json([asdict(check) for check in found])
    else:
        for check in found:
            typer.echo(f"{'ok ' if check.ok else 'NOT'}  {check.name}: {check.detail}")
            if check.fix:
                typer.echo(f"     → {check.fix}")
        typer.echo(verdict(found))
    if not all(check.ok for check in found):
        raise typer.Exit(1)


def _embedded() -> Path:
    from greenroom.subject.loading import embedded_gguf  # imports torch, which may be what is missing

    return embedded_gguf()
