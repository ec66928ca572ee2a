"""Options that several verbs share, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def whole_number(given: str | int) -> int:
    """A whole number of 0 or more; anything else is a usage error that repeats what was given."""
    if not str(given).isdecimal():  # the default comes as a number
        raise typer.BadParameter(f"{given!r} is no whole number of 0 or more")
    return int(given)


Model = Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a Hub id, a .gguf file, or smollm2.")]
Seed = Annotated[int, typer.Option(parser=whole_number, metavar="N", help="Seed of everything random.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Template = Annotated[
    str | None,
    typer.Option(help="Chat template of a model that has none: chatml, plain or a Jinja file.", show_default=False),
]
Adapter = Annotated[Path | None, typer.Option(help="A PEFT adapter folder to put on the model.", show_default=False)]
Plain = Annotated[bool, typer.Option("--plain", help="Plain lines: no colours, no redrawing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
