"""greenroom trait: a trait vector, from the library or from a sentence, with its evidence."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json, print_rows

if TYPE_CHECKING:
    from greenroom.directions import Direction
    from greenroom.directions.trial import Trial
    from greenroom.personas import Trait
    from greenroom.subject import Subject

ENDS = 3  # replies shown of each end; --json has all that are kept


@options.on_model(inspect.Parameter.empty)
def trait(
    model: options.Model,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A trait of the library, or the name of a new one.")
    ] = None,
    describe: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A new trait: what the speaker does.", show_default=False),
    ] = None,
    opposite: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What a speaker of the opposite pole does.", show_default=False),
    ] = None,
    author: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="An Inspect model that writes instructions and questions.", show_default=False
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A trait of your own, as --save writes it.", show_default=False)
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the trait as YAML, to edit and keep.", show_default=False)
    ] = None,
    method: Annotated[str, typer.Option(help="mean, last, pca or logistic.")] = "mean",
    filter_by: Annotated[
        str, typer.Option("--filter", help="Replies that make the vector: auto, checker, projection or none.")
    ] = "auto",
    questions: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="At most N questions of each half.")
    ] = 20,
    tokens: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Tokens a reply may have.")
    ] = 32,
    monitoring: Annotated[
        bool, typer.Option("--monitoring", help="Also: does the prompt foretell the trait of the reply?")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Build it anew, even if one is stored.")] = False,
    seed: options.Seed = 0,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Build the direction of a trait, and test it.

    Shows how well it tells the trait's poles apart on questions that did not make it, and tries at what strength steering
    is heard. The vector is stored for these weights, and known by its name wherever a direction is asked for.

    \b
    Examples:
      greenroom trait smollm2 humor
      greenroom trait smollm2 humor --method logistic
      greenroom trait smollm2 --describe "talks like a pirate" --opposite "talks like a clerk"
      greenroom trait smollm2 gloating --describe "gloats over others" --author openai/gpt-4o-mini --save gloating.yaml
      greenroom trait smollm2 --file gloating.yaml
    """
    from greenroom.directions.contrast import method_named
    from greenroom.directions.traits import kept_vector, trait_vector
    from greenroom.directions.trial import trial
    from greenroom.directions.verdict import verdict
    from greenroom.personas.describe import save_trait
    from greenroom.runs.progress import terminal_progress

    if min(questions, tokens) < 2:
        raise typer.BadParameter(f"--questions and --tokens must be at least 2, got {questions} and {tokens}")
    method_named(method)
    wanted = _wanted(name, describe, opposite, author, file)
    if save is not None:
        save_trait(wanted, save)
    subject = model.load()
    if again or kept_vector(subject, wanted, method) is None:
        _estimate(subject, wanted, questions, tokens)
    progress = terminal_progress(plain=plain)
    progress.plan({"trait": wanted.name, "trial": "strengths"})
    progress.start("trait")
    try:
        direction = trait_vector(
            subject, wanted, seed=seed, method=method, filter=filter_by, questions=questions, tokens=tokens,  # pyright: ignore[reportArgumentType]
            again=again, progress=lambda done, total: progress.advance("trait", done, total),
        )  # fmt: skip
        told = _monitoring(subject, wanted, direction, seed) if monitoring else None
        progress.finish("trait")
        progress.start("trial")
        tried = None
        if direction.reliable:
            tried = trial(
                subject, wanted, direction, seed=seed, again=again,
                progress=lambda done, total: progress.advance("trial", done, total),
            )  # fmt: skip
        progress.finish("trial")
    finally:
        progress.stop()
    found = verdict(direction)
    if as_json:
        card = direction.card()
        # The calibration of every block is long; the file has it.
        print_json(
            {**card, "calibration": card["calibration"].get(str(direction.layer)), "monitoring": told,
             "trial": None if tried is None else tried.plain(), "verdict": {"grade": found.grade, "said": str(found)}}
        )  # fmt: skip
        return
    _show(direction, plain)
    if told is not None:
        typer.echo(
            f"{'monitoring':<16}r {_interval(told['pooled'])} pooled, {_interval(told['within'])} within a prompt type"
        )
    if save is not None:
        typer.echo(f"{'trait':<16}{save}")
    _show_end(direction, tried, model, plain)


def _estimate(subject: Subject, wanted: Trait, questions: int, tokens: int) -> None:
    """Says how long building will take, before it begins."""
    from greenroom.auditing.plan import speed, total
    from greenroom.directions.traits import asked_for
    from greenroom.runs.progress import duration
    from greenroom.studies.study import Cost

    whole = total([Cost.of(*asked) for asked in asked_for(wanted, questions=questions, tokens=tokens)])
    assert whole is not None
    typer.echo(
        f"building it takes up to {duration(60 * speed(subject).minutes(whole))} here, once for these weights", err=True
    )


def _wanted(
    name: str | None, describe: str | None, opposite: str | None, author: str | None, file: Path | None
) -> Trait:
    """The trait that is asked for: of the library, of a file, or from a description."""
    from greenroom.errors import LibraryError
    from greenroom.personas import library
    from greenroom.personas.describe import authored, described

    if describe is None:
        if opposite is not None or author is not None:
            raise typer.BadParameter("--opposite and --author belong to --describe, which is missing")
        if file is not None:
            found = library.traits(file)
            if name is not None:
                return _own_name(library.trait(name, file))
            if len(found) != 1:
                raise typer.BadParameter(f"{file} holds {len(found)} traits; give the NAME of one")
            return _own_name(next(iter(found)))
        if name is None:
            raise typer.BadParameter("expected the NAME of a library trait, --describe TEXT or --file FILE")
        return library.trait(name)
    if file is not None:
        raise typer.BadParameter("expected either --describe or --file")
    if name is not None and not name.isidentifier():
        raise LibraryError(f"{name!r} is no name of a trait; expected a name such as old_sailor (a–z, 0–9, _)")
    made = (
        described(describe, opposite, name=name) if author is None else authored(describe, author, opposite, name=name)
    )
    return _own_name(made)


def _own_name(made: Trait) -> Trait:
    """Refuses the name of another library trait, whose stored vector this one would replace."""
    from greenroom.errors import LibraryError
    from greenroom.personas import library

    taken = {one.name: one for one in library.traits()}
    if made.name.startswith("assistant") or made.name.endswith("axis"):
        raise LibraryError(f"{made.name} is the name of another direction; give the trait another one")
    if made.name in taken and taken[made.name] != made:
        raise LibraryError(f"the library has a trait {made.name} of its own; give this one another name")
    return made


def _monitoring(subject: Any, wanted: Trait, direction: Direction, seed: int) -> dict[str, Any]:
    from greenroom.directions.monitoring import monitor
    from greenroom.directions.scorers import scorer_for

    return monitor(subject, wanted, direction, scorer_for(subject, direction, seed=seed), seed=seed).plain()


def _show(direction: Direction, plain: bool) -> None:
    """The evidence, line by line, and the replies at both ends."""
    from greenroom.directions.verdict import auc_said

    told, test, recipe = direction.validity, direction.sign_test, direction.recipe
    lines = {
        "name": direction.name,
        "held-out AUC": auc_said(told) + ("" if direction.reliable else ", unreliable")
        + ": how often a reply of the one pole lies above one of the other, with its instruction in the context (hot)",
        "read cold": "never" if told.get("cold_auc") is None
        else f"AUC {auc_said(told, 'cold_auc')}: the same replies without the instruction, as anybody's text is read",
        "random": _random(told),
        "block": f"{direction.layer}, chosen on other questions",
        "points to": "never tested" if test is None
        else f"{test.towards} ({test.towards_mean:+.2f}), away from {test.away} ({test.away_mean:+.2f})",
        "method": recipe.get("method", "unknown"),
    }  # fmt: skip
    if "filter" in recipe:
        lines["filtered"] = f"{100 * recipe['filtered_share']:.0f} % of the replies, by {recipe['filter']}"
    for key, head in (("cosines", "cosine with"), ("specificity", "AUC of others")):
        others = sorted(
            told.get(key, {}).items(), key=lambda item: -abs(item[1] - (0.5 if key == "specificity" else 0))
        )
        if others:
            lines[head] = ", ".join(
                f"{name} {value:+.2f}" if key == "cosines" else f"{name} {value:.2f}" for name, value in others[:4]
            )
    for head, text in lines.items():
        typer.echo(f"{head:<16}{text}")
    rows = [
        [end, f"{row['sd']:+.1f}", row["question"], row["reply"]]
        for end in ("most", "least")
        for row in told.get(end, ())[:ENDS]
    ]
    if rows:
        typer.echo("")
        print_rows(("end", "sd", "question", "reply"), rows, plain=plain)


def _random(told: Mapping[str, Any]) -> str:
    known = [
        f"AUC {told[key]:.2f} {reading}"
        for key, reading in (("random_auc_p95", "hot"), ("random_cold_auc_p95", "cold"))
        if told.get(key) is not None
    ]
    return f"{', '.join(known)}: 95 in 100 random directions stay below" if known else "not tried"


def _show_end(direction: Direction, tried: Trial | None, model: options.Model, plain: bool) -> None:
    """What was tried, the verdict, and what to do next."""
    from greenroom.directions.verdict import trial_said, verdict

    if tried is not None:
        rows = [
            [at, "–" if one.score is None else f"{one.score:+.2f}", "–" if one.above is None else f"{100 * one.above:.0f} %",
             f"{one.broken} of {one.n}", one.reply]
            for at, one in (
                ("0", tried.unsteered), *((f"{at:+g}", one) for at, one in tried.strengths.items()),
                ("instructed", tried.instructed),
            )
        ]  # fmt: skip
        typer.echo("")
        print_rows(("strength, sd", "score", "above unsteered", "broken", tried.question), rows, plain=plain)
    typer.echo("")
    typer.echo(f"{'for reading':<16}{verdict(direction)}.")
    typer.echo(f"{'for steering':<16}{trial_said(tried)}.")
    if tried is not None and tried.heard is not None:
        named = ["" if model.name == "smollm2" else f" {shlex.quote(model.name)}"]
        named += [f" --{option} {shlex.quote(value)}" for option, value in model.asked.items()]
        typer.echo(f"{'try':<16}greenroom chat{''.join(named)} --steer {direction.name}:{tried.heard:+g}")


def _interval(told: dict[str, Any]) -> str:
    if told.get("estimate") is None:
        return "–"
    if told.get("low") is None or told.get("high") is None:
        return f"{told['estimate']:.2f}"
    return f"{told['estimate']:.2f} ({told['low']:.2f}–{told['high']:.2f})"
