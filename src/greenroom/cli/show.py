"""How verbs print: JSON, or rows as a table on a terminal and tab-separated lines in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer


def print_json(value: Any) -> None:
    """JSON on stdout, nothing else."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_rows(heads: Sequence[str], rows: Sequence[Sequence[object]], *, plain: bool = False) -> None:
    """A table as wide as the terminal; in a pipe, or when plain, tab-separated lines that grep and cut understand."""
    texts = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    if plain or not sys.stdout.isatty():
        for line in (list(heads), *texts):
            typer.echo("\t".join(line))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    # What does not fit goes on below: names that are cut look alike.
    table = Table(*(Column(head, overflow="fold") for head in heads), box=box.SIMPLE_HEAD)
    for line in texts:
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)
