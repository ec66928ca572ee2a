"""greenroom eval: any studies on any model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json, print_rows

if TYPE_CHECKING:
    from greenroom.auditing.plan import Planned, Speed

NEEDS = {
    "text": "replies",
    "logprobs": "replies, log-probabilities if there are any",
    "reader": "replies, and a small model that reads them",
    "activations": "a local model",
}


@options.on_model(option=True, help=options.model_help("a hosted model as Inspect names it"))
@options.as_run
def eval(
    model: options.Model,
    run: options.Run,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Studies; without any, lists them.", show_default=False)
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|TEXT|@FILE",
            help="System message: a role of the library, a text, or a file.",
            show_default=False,
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would cost, and run nothing.")] = False,
) -> None:
    """Run any studies on a local or hosted model; alone, list them.

    One folder, one report. Studies that the named ones build on are run too. --plan counts calls, tokens and minutes
    before anything is paid. Interrupted, it goes on where it stopped when the same command is run again.

    \b
    Examples:
      greenroom eval
      greenroom eval costly_sacrifice self_concept
      greenroom eval costly_sacrifice --model openai/gpt-4o-mini --plan
      greenroom eval self_concept --system pirate --quick
    """
    if not names:
        _list(run)
        return
    from greenroom.auditing.suite import job
    from greenroom.studies import NAMES
    from greenroom.studies.running import measure

    asked = {
        "verb": ["eval", *(name for name in NAMES if name in names), "--model"],
        "system": system, **model.asked, "quick": run.quick,
    }  # fmt: skip
    told = None if system is None else system_message(system)
    made = job(names, quick=run.quick, system=told, asked=asked)  # what is wrong is told before a model is loaded
    if plan:
        _plan(names, model, run)
    else:
        run.show(measure(made, model.within(run.out).open(), run.out, seed=run.seed, progress=run.progress))


def system_message(given: str) -> str:
    """A role's first instruction by the role's name, the text of @FILE, or the text itself."""
    from greenroom.personas import library

    if given.startswith("@"):
        try:
            return Path(given[1:]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"--system cannot read {given[1:]}: {error}") from error
    if given.isidentifier():  # one word is meant as a name: a slip of the pen would else be a persona
        return library.role(given).instructions[0]
    return given


def _list(run: options.Run) -> None:
    from greenroom.studies import NAMES, about, study_named

    rows = [(name, about(name)["about"], study_named(name).needs) for name in NAMES]
    if run.as_json:
        print_json([{"name": name, "about": about, "needs": needs} for name, about, needs in rows])
    else:
        shown = [(name, about, NEEDS[needs]) for name, about, needs in rows]
        print_rows(("study", "about", "needs"), shown, plain=run.plain)


def _plan(names: Sequence[str], model: options.Model, run: options.Run) -> None:
    from greenroom.asking.inspect import is_hosted
    from greenroom.auditing.plan import CALLS_A_SECOND, Planned, speed, total
    from greenroom.auditing.plan import plan as planned
    from greenroom.report.format import number
    from greenroom.studies.study import is_local

    # A hosted model need not be within reach to be planned for.
    opened: Any = model.name if is_hosted(model.name) else model.open()
    found = planned(names, opened, quick=run.quick, seed=run.seed)
    costs = [one.cost for one in found if one.cost is not None]
    fast = speed(opened) if is_local(opened) and costs else None  # type: ignore[arg-type]
    whole = Planned("in all", total(costs), tuple(title for one in found for title in one.unknown))
    if run.as_json:
        print_json({"studies": [_told(one, fast) for one in found], "total": _told(whole, fast)})
        return
    heads = ("study", "calls", "prompt tokens", "reply tokens", "minutes")
    print_rows(heads, [_row(one, fast) for one in (*found, whole)], plain=run.plain)
    for one in found:
        if one.unknown:
            typer.echo(f"{one.study} does not say what these cost: {', '.join(one.unknown)}")
    if fast is not None:
        read, written = number(round(fast.prompt)), number(round(fast.reply))
        typer.echo(f"{model.name} reads about {read} and writes about {written} tokens a second here")
    elif whole.cost is not None and not is_local(opened):
        at = [f"{whole.cost.calls / rate / 60:.0f} minutes at {rate} calls a second" for rate in CALLS_A_SECOND]
        typer.echo(f"how long it takes depends on the provider: {', '.join(at)}")
        typer.echo("counts are the most there may be; a provider that shows log-probabilities is asked less often")


def _told(one: Planned, speed: Speed | None) -> dict[str, Any]:
    cost = one.cost
    return {
        "study": one.study,
        "calls": None if cost is None else cost.calls,
        "prompt_tokens": None if cost is None else cost.prompt_tokens,
        "reply_tokens": None if cost is None else cost.reply_tokens,
        "minutes": None if cost is None or speed is None else round(speed.minutes(cost), 1),
        "unknown": list(one.unknown),
    }


def _row(one: Planned, speed: Speed | None) -> list[str]:
    """Numbers as printed. Where a part does not say what it costs, what is known is less than the whole."""
    told = _told(one, speed)
    if one.cost is None:
        return [one.study, *["unknown"] * 4]
    more = " + unknown" if one.unknown else ""
    counts = [f"{told[name]:,}{more}" for name in ("calls", "prompt_tokens", "reply_tokens")]
    return [one.study, *counts, "–" if told["minutes"] is None else f"{told['minutes']:.1f}{more}"]
