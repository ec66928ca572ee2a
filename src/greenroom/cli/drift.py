"""greenroom drift: what conversations do to a model's character, and which ways back undo it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json


def floor_of(given: str | float) -> str | float:
    """A floor by name, or a number of standard deviations."""
    try:
        return float(given)
    except ValueError:
        return str(given)


def drift(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A folder, a Hub id, a .gguf file, smollm2, or a log of greenroom/drift."),
    ] = "smollm2",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run, new or to resume [default: runs/<model>-drift-<n>].", show_default=False),
    ] = None,
    domains: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="coding, writing, emotional_support, own_nature, denial, flattery, roleplay [default: all].",
            show_default=False,
        ),
    ] = None,
    conversations: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Cases a domain and kind of user, up to 5.")
    ] = 3,
    users: Annotated[str, typer.Option(metavar="LIST", help="Who talks to it.")] = "scripted,simulated",
    turns: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Turns before the ways back.")
    ] = 12,
    return_turns: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Turns of each way back.")
    ] = 2,
    arms: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Ways back: topic, reminder, restated, summary, cap; none is always there [default: all].",
            show_default=False,
        ),
    ] = None,
    floor: Annotated[
        str, typer.Option(metavar="FLOOR", help="Of the cap: default:p25, rollouts:p25, or sd.")
    ] = "default:p25",
    tokens: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Tokens a reply may have.")
    ] = 40,
    system: Annotated[
        str | None, typer.Option(help='System prompt, "" for none [default: a plain one].', show_default=False)
    ] = None,
    player: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Plays the simulated user [default: the model itself].", show_default=False),
    ] = None,
    reader: Annotated[str, typer.Option(metavar="MODEL", help="The small model that reads a log.")] = "smollm2",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    template: options.Template = None,
    adapter: options.Adapter = None,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Let a model drift in conversations by domain, and measure what brings its character back.

    The same neutral probes are asked before the drift, after it, and after each way back, all of which go on from one
    conversation: the share of the drift undone, and what is left. Writes tables, a summary and drift.html. Interrupted,
    it goes on where it stopped when the same command is run again.

    \b
    Examples:
      greenroom drift
      greenroom drift path/to/model --domains coding,roleplay --arms topic,cap --conversations 5
      greenroom drift logs/drift.eval --json     read what inspect eval greenroom/drift left
    """
    from greenroom.runs.progress import terminal_progress
    from greenroom.studies.drift.stages import measure_drift

    result = measure_drift(
        model=model,
        out=out,
        domains=domains,
        conversations=conversations,
        users=users,
        turns=turns,
        return_turns=return_turns,
        arms=arms,
        floor=floor_of(floor),
        tokens=tokens,
        system=system,
        player=player,
        reader=reader,
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
