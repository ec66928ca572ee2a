"""greenroom map: where the default character lies among the roles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    behaviour: Annotated[
        bool, typer.Option("--behaviour", help="Map what the characters would say, beside the map by activations.")
    ] = False,
    roles: Annotated[
        int | None,
        typer.Option(
            help="With --behaviour: characters, the default one among them [default: 24].", show_default=False
        ),
    ] = None,
    questions: Annotated[
        int | None, typer.Option(help="With --behaviour: replies of each character [default: 6].", show_default=False)
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    template: options.Template = None,
    adapter: options.Adapter = None,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw the persona map: the default character among 92 roles, and the assistant axis.

    The first two stages of an audit: tables, the axis, and a report with the map. With --behaviour another map: how
    many bits a token each character's replies lose under every other character's instruction, scaled to the plane, and
    its correlation with the distances of activations (Mantel test).

    \b
    Examples:
      greenroom map
      greenroom map path/to/model --out runs/map
      greenroom map --behaviour
      greenroom map --behaviour --roles 12 --questions 4 --json
    """
    from greenroom.runs.progress import terminal_progress

    common: dict[str, Any] = {
        "model": model, "out": out, "seed": seed, "device": device, "dtype": dtype, "template": template,
        "adapter": adapter, "progress": terminal_progress(plain=plain),
    }  # fmt: skip
    if behaviour:
        from greenroom.studies.behavioural_map.stages import map_behaviour

        if quick:
            roles, questions = roles or 8, questions or 3
        result = map_behaviour(**common, roles=roles, questions=questions)
    elif roles is not None or questions is not None:
        raise typer.BadParameter("--roles and --questions belong to --behaviour; add it")
    else:
        from greenroom.auditing.audit import audit as run_audit

        result = run_audit(**common, quick=quick, kind="map")
    if as_json:
        print_json({"path": str(result.path), **result.summary})
    else:
        typer.echo(str(result))
