"""The verbs, put together, in groups by what a person wants. A verb is made when it is asked for: --help stays quick."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from greenroom.cli import study_verbs

MEASURE = "Measure a model"
STEER = "Steer it"
READ = "Read transcripts"
LOOK_UP = "Look things up"

# Verbs written by hand, by their module in this folder; those of studies stand after them (`study_verbs`).
GROUPS: dict[str, tuple[str, ...]] = {
    MEASURE: ("audit", "eval", "compare", "report"),
    STEER: ("trait", "chat", "directions"),
    READ: ("read", "who"),
    LOOK_UP: ("personas", "doctor", "cache"),
}
HELP = {"help_option_names": ["-h", "--help"]}


class Interrupted(Exception):
    """Ctrl-C, as it leaves a verb: its cause is the KeyboardInterrupt, of which typer would keep the exit code alone."""


class Verbs(TyperGroup):
    """The verbs as typer sees them, each made at its first use."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Interrupted from stop

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for names in grouped().values() for name in names]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return made(cmd_name) if cmd_name in self.list_commands(ctx) else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        names = self.list_commands(ctx)
        if args[0] not in names:
            from difflib import get_close_matches

            near = get_close_matches(args[0], names, 1)
            ctx.fail(f"No such command {args[0]!r}{f'; did you mean {near[0]}?' if near else ''}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for group, names in grouped().items():
            with formatter.section(group):
                formatter.write_dl([(name, _line(name)) for name in names])


app = typer.Typer(
    name="greenroom",
    cls=Verbs,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings=HELP,
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
      greenroom eval                     list the studies; name some to run them
      greenroom doctor                   check that this machine has what an audit needs

    A model is a folder, a Hub id, a .gguf file, or smollm2, the embedded default.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def grouped() -> dict[str, tuple[str, ...]]:
    """Group → its verbs, those written by hand first."""
    studies = study_verbs.ways()
    return {
        group: (*names, *(verb for verb, ways in studies.items() if ways[0].words.get("group", MEASURE) == group))
        for group, names in GROUPS.items()
    }


def made(name: str) -> Any:
    """The command object of one verb."""
    if name in study_verbs.ways():
        return _command(name, study_verbs.verb(name))
    found = _by_hand(name)
    return typer.main.get_command(found) if isinstance(found, typer.Typer) else _command(name, found)


def command() -> Any:
    """The command object of typer (or of click, in older versions)."""
    return typer.main.get_command(app)


def _command(name: str, verb: Callable[..., None]) -> Any:
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    alone.command(name, context_settings=HELP)(verb)
    return typer.main.get_command(alone)


def _by_hand(name: str) -> Any:
    """A verb's function, or its typer where it has verbs of its own."""
    module = import_module(f"greenroom.cli.{name}")
    return getattr(module, "app", None) or getattr(module, name)


def _line(name: str) -> str:
    if name in study_verbs.ways():
        return study_verbs.line(name)
    found = _by_hand(name)
    told = found.registered_callback and found.registered_callback.callback if isinstance(found, typer.Typer) else found
    return (inspect.getdoc(told) or "").partition("\n")[0]
