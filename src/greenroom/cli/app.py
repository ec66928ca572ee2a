"""The verbs, put together. A verb imports what it needs when it runs, so that --help stays quick."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from greenroom.cli import (
    archetypes,
    audit,
    chat,
    directions,
    doctor,
    drift,
    frontier,
    map,
    personas,
    read,
    report,
    selftalk,
    trait,
    who,
)

app = typer.Typer(
    name="greenroom",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        from greenroom.runs.machine import version

        typer.echo(f"greenroom {version()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def greenroom(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find out which character a language model plays, and how firmly.

    \b
    Examples:
      greenroom audit                    audit the embedded model, SmolLM2-135M-Instruct
      greenroom audit Qwen/Qwen3-0.6B    audit a model of the Hugging Face Hub
      greenroom doctor                   is everything here that an audit needs?
      greenroom personas roles           the characters that Greenroom knows

    A model is a folder, a Hub id, a .gguf file, or smollm2, the embedded default.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("audit")(audit.audit)
app.command("map")(map.map_roles)
app.command("archetypes")(archetypes.archetypes)
app.command("report")(report.report)
app.command("read")(read.read)
app.command("who")(who.who)
app.command("personas")(personas.personas)
app.command("chat")(chat.chat)
app.command("trait")(trait.trait)
app.command("frontier")(frontier.frontier)
app.command("drift")(drift.drift)
app.command("selftalk")(selftalk.selftalk)
app.add_typer(directions.app)
app.command("doctor")(doctor.doctor)


def command() -> Any:
    """The command object of typer (or of click, in older versions)."""
    return typer.main.get_command(app)
