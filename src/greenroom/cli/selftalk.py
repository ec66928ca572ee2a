"""greenroom selftalk: two copies of a model talk with each other; where do such talks end?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json


def selftalk(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A folder, a Hub id, a .gguf file, smollm2, or a log of greenroom/selftalk."
        ),
    ] = "smollm2",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run, new or to resume [default: runs/<model>-selftalk-<n>].", show_default=False
        ),
    ] = None,
    openings: Annotated[
        int | None,
        typer.Option(
            parser=options.whole_number,
            metavar="N",
            help="How many opening lines [default: all 30].",
            show_default=False,
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Talks from each opening.")
    ] = 2,
    messages: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Messages of a talk, both copies together.")
    ] = 18,
    tokens: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Tokens a message may have.")
    ] = 40,
    system: Annotated[str, typer.Option(help="System prompt of both copies, such as a persona.")] = "",
    reader: Annotated[str, typer.Option(metavar="MODEL", help="The small model that reads a log.")] = "smollm2",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    template: options.Template = None,
    adapter: options.Adapter = None,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Let two copies of a model talk from many openings, and find where their talks end.

    Trajectories in persona space: attractors and their basins, tested against one cloud; degenerate loops and gibberish
    apart; whether talks come together, against shuffled turns and other seeds. Writes tables, a summary and
    selftalk.html. Interrupted, it goes on where it stopped when the same command is run again.

    \b
    Examples:
      greenroom selftalk
      greenroom selftalk path/to/model --openings 12 --repeats 3 --messages 24
      greenroom selftalk logs/selftalk.eval --json     read what inspect eval greenroom/selftalk left
    """
    from greenroom.runs.progress import terminal_progress
    from greenroom.studies.selftalk.stages import measure_selftalk

    result = measure_selftalk(
        model=model,
        out=out,
        openings=openings,
        repeats=repeats,
        messages=messages,
        tokens=tokens,
        system=system,
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
