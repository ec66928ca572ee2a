"""greenroom frontier: how far a direction may be turned, what that does, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json, print_rows


def share(given: str | float) -> float:
    """A share from `5%` or `0.05`; anything else is a usage error that repeats what was given."""
    text = str(given).strip()
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise typer.BadParameter(f"{given!r} is no share; give one such as 5% or 0.05")
    return value


def strengths_of(given: str) -> list[float]:
    """Strengths from `-4,-2,2,4`."""
    try:
        return [float(part) for part in given.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{given!r} are no strengths; give numbers with commas, such as -4,-2,2,4") from error


def frontier(
    model: options.Model = "smollm2",
    direction: Annotated[
        str,
        typer.Option("--direction", "-d", help="assistant, a trait, a stored direction or a .safetensors file."),
    ] = "assistant",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run, new or to resume [default: runs/<model>-frontier-<n>].", show_default=False
        ),
    ] = None,
    budget: Annotated[
        float, typer.Option(parser=share, metavar="SHARE", help="How much capability may be lost, surely.")
    ] = 0.05,
    strengths: Annotated[
        str | None, typer.Option(metavar="LIST", help="Strengths in sd [default: -8 to 8].", show_default=False)
    ] = None,
    floors: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help='Cap floors, "" for none [default: default:p5, p25, p50].', show_default=False
        ),
    ] = None,
    layers: Annotated[str, typer.Option(help="auto, a block, or a span such as 18:22.")] = "auto",
    replies: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Replies a setting on the trait's questions.")
    ] = 32,
    tokens: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Tokens a reply may have.")
    ] = 32,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    template: options.Template = None,
    adapter: options.Adapter = None,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure what a direction does and what it costs, at each strength and cap floor.

    Effect on held-out questions, coherence, more than 1,000 capability items, leakage; and the strongest setting whose
    cost stays within the budget. Writes tables, a summary and frontier.html. Interrupted, it goes on where it stopped
    when the same command is run again.

    \b
    Examples:
      greenroom frontier smollm2 --direction sycophancy
      greenroom frontier smollm2 -d assistant --budget 3% --strengths=-4,-2,2,4
      greenroom frontier path/to/model -d my.safetensors --floors "" --json
    """
    from greenroom.runs.progress import terminal_progress
    from greenroom.studies.frontier.settings import FLOORS, STRENGTHS
    from greenroom.studies.frontier.stages import measure_frontier
    from greenroom.studies.frontier.words import rows_shown

    result = measure_frontier(
        model=model,
        direction=direction,
        out=out,
        budget=budget,
        strengths=STRENGTHS if strengths is None else strengths_of(strengths),
        floors=FLOORS if floors is None else [floor.strip() for floor in floors.split(",") if floor.strip()],
        layers=layers,
        replies=replies,
        tokens=tokens,
        seed=seed,
        device=device,
        dtype=dtype,
        template=template,
        adapter=adapter,
        progress=terminal_progress(plain=plain),
    )
    if as_json:
        print_json({"path": str(result.path), **result.summary, "settings": result.frame.to_dicts()})
        return
    print_rows(*rows_shown(result.frame.to_dicts()), plain=plain)
    typer.echo(str(result))
