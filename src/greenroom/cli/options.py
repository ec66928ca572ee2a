"""Options that several verbs share, worded once.

`on_model` and `as_run` are decorators: they add their options to a verb's own and hand it what these say, as `model` and
`run`. The model is loaded when the verb calls `model.load()`, which is after everything else that was asked is checked.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli.show import print_json

if TYPE_CHECKING:
    from inspect_ai.model import Model as Hosted

    from greenroom.runs.progress import Progress
    from greenroom.subject import Subject

Verb = Callable[..., None]


def whole_number(given: str | int) -> int:
    """A whole number of 0 or more; anything else is a usage error that repeats what was given."""
    if not str(given).isdecimal():  # the default comes as a number
        raise typer.BadParameter(f"{given!r} is no whole number of 0 or more")
    return int(given)


def model_help(*others: str) -> str:
    """What MODEL may be."""
    *names, last = ("A folder", "a Hub id", "a .gguf file", "smollm2", *others)
    return f"{', '.join(names)}, or {last}."


Seed = Annotated[int, typer.Option(parser=whole_number, metavar="N", help="Seed of everything random.")]
Quick = Annotated[bool, typer.Option("--quick", help="Ask less: sooner done, wider intervals.")]
Plain = Annotated[bool, typer.Option("--plain", help="Plain lines: no colours, no redrawing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the run, new or to resume [default: runs/<model>-<verb>-<n>].", show_default=False),
]
Adapter = Annotated[Path | None, typer.Option(help="A PEFT adapter folder to put on the model.", show_default=False)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[
    str,
    typer.Option(
        help="float32, bfloat16, float16, mixed (drawn in bfloat16, read in float32) or auto (greenroom doctor says which)."
    ),
]
Template = Annotated[
    str | None,
    typer.Option(help="Chat template of a model that has none: chatml, plain or a Jinja file.", show_default=False),
]
Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILES", help="Transcripts: files, folders, or - for standard input.", show_default=False),
]
Reader = Annotated[str, typer.Option(metavar="MODEL", help="The small model that reads.")]
Format = Annotated[
    str | None,
    typer.Option(
        help="openai, sharegpt, assistant-axis, claude, chatgpt, inspect or text [default: each record's own].",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Model:
    """The model that was asked for, not yet loaded."""

    name: str
    adapter: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    template: str | None = None

    @property
    def how(self) -> dict[str, Any]:
        return {"adapter": self.adapter, "device": self.device, "dtype": self.dtype, "template": self.template}

    @property
    def asked(self) -> dict[str, Any]:
        """The options that are not as they are by themselves, for the command that a page shows. Without the number format,
        which a run notes as it turned out."""
        given = {name: value for name, value in self.how.items() if name != "dtype"}
        return {name: str(value) for name, value in given.items() if value not in (None, "auto")}

    def within(self, out: Path | None) -> Model:
        """The same, in the number format in which the run in that folder was begun, unless one was asked for."""
        from greenroom.runs.folder import begun_dtype

        return replace(self, dtype=begun_dtype(out)) if self.dtype == "auto" else self

    def load(self) -> Subject:
        """The local model; GreenroomError in one line when there is none."""
        from greenroom.subject import load

        self._caution()
        return load(self.name, **self.how)

    def open(self) -> Subject | Hosted:
        """The local model, or the one that Inspect knows by this name."""
        from greenroom.studies.running import opened

        self._caution()
        return opened(self.name, **self.how)

    def _caution(self) -> None:
        if self.dtype == "mixed":
            from greenroom.processor import instructions

            if instructions() is None:
                typer.echo(
                    "note: this processor has no instructions for bfloat16, in which replies are drawn: it is slow, and "
                    "replies can differ from another machine's; --dtype float32 is faster here",
                    err=True,
                )


@dataclass(frozen=True)
class Run:
    """How a run was asked for, and how its result is shown."""

    out: Path | None
    seed: int
    quick: bool
    plain: bool
    as_json: bool

    @property
    def progress(self) -> Progress:
        from greenroom.runs.progress import terminal_progress

        return terminal_progress(plain=self.plain)

    def show(self, result: Any) -> None:
        """What a person reads, or all headline numbers as JSON."""
        if self.as_json:
            print_json({"path": str(result.path), **result.summary})
        else:
            typer.echo(str(result))


def on_model(default: Any = "smollm2", *, help: str | None = None, option: bool = False) -> Callable[[Verb], Verb]:
    """Adds MODEL (with `option`: --model), --adapter, --device, --dtype and --template; gives the verb `model: Model`.

    default: inspect.Parameter.empty where MODEL must be given; None where there may be none, and then `model` is None.
    """
    how: dict[str, Any] = {"metavar": "MODEL", "help": help or model_help(), "show_default": default is not None}
    kind = typer.Option("--model", **how) if option else typer.Argument(**how)
    here = _parameter("model", Annotated[str | None if default is None else str, kind], default)
    last = [
        _parameter("device", Device, "auto"),
        _parameter("dtype", Dtype, "auto"),
        _parameter("template", Template, None),
        _parameter("adapter", Adapter, None),
    ]

    def made(model: str | None, **how: Any) -> Model | None:
        return None if model is None else Model(model, **how)

    return lambda verb: _with(verb, "model", made, [here], last)


def as_run(verb: Verb) -> Verb:
    """Adds --out, --quick, --seed, --plain and --json; gives the verb `run: Run`."""
    last = [
        _parameter("out", Out, None),
        _parameter("quick", Quick, False),
        _parameter("seed", Seed, 0),
        _parameter("plain", Plain, False),
        _parameter("as_json", AsJson, False),
    ]
    return _with(verb, "run", Run, [], last)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _with(
    verb: Verb,
    name: str,
    make: Callable[..., Any],
    here: Sequence[inspect.Parameter],
    last: Sequence[inspect.Parameter],
) -> Verb:
    """The verb with the parameters `here` in the place of its parameter `name`, and `last` after all others; it is given
    what `make` makes of them."""
    shown: list[inspect.Parameter] = []
    for one in inspect.signature(verb, eval_str=True).parameters.values():
        # Only by name: then one without a default may follow one that has it.
        shown += here if one.name == name else [one.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    shown += last

    @functools.wraps(verb)
    def called(**given: Any) -> None:
        added = {one.name: given.pop(one.name) for one in (*here, *last)}
        verb(**given, **{name: make(**added)})

    # Typer reads both.
    called.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in shown}
    return called
