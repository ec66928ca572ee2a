"""greenroom personas: the characters, traits, contexts and questions that Greenroom works with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json, print_rows


class Shelf(StrEnum):
    """What can be listed."""

    roles = "roles"
    traits = "traits"
    contexts = "contexts"
    questions = "questions"


COLUMNS = {
    Shelf.roles: ("name", "kind", "description"),
    Shelf.traits: ("name", "kind", "description"),
    Shelf.contexts: ("name", "kind", "agentic", "description"),
    Shelf.questions: ("id", "topic", "text"),
}


def personas(
    shelf: Annotated[Shelf | None, typer.Argument(help="What to list.", show_default=False)] = None,
    file: Annotated[
        Path | None, typer.Option(help="Read this YAML file instead of the library; needs a shelf.", show_default=False)
    ] = None,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """List the roles, traits, contexts and questions of the library.

    Without one of these words: how many there are of each.

    \b
    Examples:
      greenroom personas
      greenroom personas roles
      greenroom personas traits --json
      greenroom personas roles --file my-roles.yaml
    """
    if shelf is None and file is not None:
        raise typer.BadParameter("say what the file holds: greenroom personas roles --file …", param_hint="--file")
    from greenroom.personas import library

    readers = {
        Shelf.roles: library.roles,
        Shelf.traits: library.traits,
        Shelf.contexts: library.contexts,
        Shelf.questions: library.questions,
    }
    if shelf is None:
        counts = {name.value: len(read()) for name, read in readers.items()}
        if as_json:
            print_json(counts)
        else:
            print_rows(("shelf", "entries"), list(counts.items()), plain=plain)
        return
    entries = readers[shelf](file) if file else readers[shelf]()
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in entries])
    else:
        columns = COLUMNS[shelf]
        print_rows(columns, [[getattr(entry, column) for column in columns] for entry in entries], plain=plain)
