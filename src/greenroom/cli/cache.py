"""greenroom cache: what is kept between runs, how large it is, and how to be rid of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json, print_rows

if TYPE_CHECKING:
    from greenroom.runs.cached import Entry

app = typer.Typer(name="cache", rich_markup_mode=None)

WHAT = {
    "models": "weights converted from a GGUF file; converted again at the next load",
    "directions": "axes and trait vectors; built again when they are next asked for",
    "prompts": "contexts that the reader of greenroom who has read; read again at their next use",
    "results": "what runs and trials found, for later ones; found again when it is next needed",
}


@app.callback(invoke_without_command=True)
def cache(context: typer.Context, plain: options.Plain = False, as_json: options.AsJson = False) -> None:
    """List what is kept between runs with its size, or clear it.

    The cache lies in the folder that GREENROOM_CACHE names, else in the user's own cache folder.

    \b
    Examples:
      greenroom cache
      greenroom cache clear models
      greenroom cache clear
    """
    if context.invoked_subcommand is not None:
        return
    from greenroom.runs.cached import size_of
    from greenroom.store import cache_dir

    root, found = cache_dir().absolute(), _entries()
    rows = [_row(kind, [entry for entry in found if entry.kind == kind]) for kind in WHAT]
    whole = size_of(root)
    if as_json:
        print_json({"folder": str(root), "bytes": whole, "kept": rows})
        return
    print_rows(
        ("what", "items", "size", "can be cleared", "what it is"),
        [(row["what"], row["items"], _mib(row["bytes"]), _mib(row["clearable"]), WHAT[row["what"]]) for row in rows],
        plain=plain,
    )
    typer.echo(f"{_mib(whole)} in {root}; greenroom cache clear frees {_mib(sum(row['clearable'] for row in rows))}")


@app.command()
def clear(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT…", help="models, directions, prompts, results [default: all of them].", show_default=False
        ),
    ] = None,
) -> None:
    """Remove what can be built again, and say how much that freed.

    Directions that were imported or made from somebody's own words stay: greenroom directions remove takes them away. So
    does everything that Greenroom did not write. Links are not followed.

    \b
    Examples:
      greenroom cache clear
      greenroom cache clear models results
    """
    for name in what or ():
        if name not in WHAT:
            raise typer.BadParameter(f"there is no {name!r} to clear; expected {', '.join(WHAT)}")
    from greenroom.runs.cached import remove

    found = [entry for entry in _entries() if entry.kind in (what or WHAT)]
    going = [entry for entry in found if entry.again]
    remove(going)
    counts = [f"{kind} {sum(entry.kind == kind for entry in going)}" for kind in (what or WHAT)]
    typer.echo(f"freed {_mib(sum(entry.size for entry in going))} ({', '.join(counts)})")
    staying = [entry.path.stem for entry in found if not entry.again]
    if staying:
        typer.echo(f"kept, since they could not be built again: {', '.join(staying)}")


def _entries() -> list[Entry]:
    from greenroom.runs.cached import entries

    return entries(_direction_again)


def _direction_again(path: Path) -> bool:
    from greenroom.directions.again import comes_back  # imports torch, and not every cache holds a direction

    return comes_back(path)


def _row(kind: str, found: list[Entry]) -> dict[str, Any]:
    return {
        "what": kind,
        "items": len(found),
        "bytes": sum(entry.size for entry in found),
        "clearable": sum(entry.size for entry in found if entry.again),
    }


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
