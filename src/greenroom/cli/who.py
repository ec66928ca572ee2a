"""greenroom who: which character wrote a reply?"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from greenroom.cli import options
from greenroom.cli.show import print_json, print_rows

if TYPE_CHECKING:
    from greenroom.reader.posterior.posterior import Posterior


T = TypeVar("T")


class By(StrEnum):
    sentence = "sentence"
    turn = "turn"


def who(
    files: options.Files = None,
    text: Annotated[str | None, typer.Option(help="Judge this reply instead of a file.", show_default=False)] = None,
    user: Annotated[
        str | None, typer.Option(help="With --text: the message that it answers.", show_default=False)
    ] = None,
    contexts: Annotated[
        str,
        typer.Option(
            metavar="roles|all|FILE",
            help="Contexts that compete: the assistant and the roles, also texts that nobody speaks, or a YAML list of "
            "name, instruction, agentic.",
        ),
    ] = "roles",
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="classes|flat|FILE",
            help="Prior: by class, equal, or YAML weights by name [default: flat where only characters compete, else classes].",
            show_default=False,
        ),
    ] = None,
    turn: Annotated[
        int | None,
        typer.Option(min=1, help="The assistant turn to judge, from 1 [default: the last].", show_default=False),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Read it after all that was said before (explains the gain away).")
    ] = False,
    by: Annotated[
        By | None, typer.Option(help="Also show the posterior after every sentence, or turn.", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Contexts shown.")] = 5,
    reader: options.Reader = "smollm2",
    format: options.Format = None,
    own: Annotated[
        bool, typer.Option("--own", help="The reader itself wrote the text, so its calibration holds.")
    ] = False,
    no_prune: Annotated[
        bool, typer.Option("--no-prune", help="Read every token under every context (slower).")
    ] = False,
    validate: Annotated[
        bool, typer.Option("--validate", help="Measure how well it tells 31 roles, or the library, apart.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="With --validate: 62 replies under one wording of each context.")
    ] = False,
    replies: Annotated[
        int | None,
        typer.Option(min=2, help="With --validate: how many replies to make [default: 310].", show_default=False),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="With --validate: tokens of each.")] = 40,
    paraphrases: Annotated[
        int | None,
        typer.Option(min=1, help="With --validate: of each context [default: all of them].", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --validate: run folder, new or to resume.", show_default=False)
    ] = None,
    seed: options.Seed = 0,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Say which character most likely wrote a reply.

    The default assistant or one of the library's roles; with --contexts all also a text that nobody speaks. First comes a
    verdict: who it sounds like, or that it is too short to tell, that nothing explains it better than an empty prompt, or
    that several do about equally. The reader's own likelihood of the reply under each context gives P(context | text), and
    the gain in bits per token over an empty system message; a context without a gain is not ranked. In a file the last
    assistant turn of each conversation is judged. --json prints one object a line for each conversation, in input order;
    records that cannot be judged go to standard error.

    \b
    Examples:
      greenroom who --text "Arr, the sea be my only home." --user "Where do you live?"
      greenroom who chat.json --by turn
      greenroom who logs.jsonl --contexts all --json
      greenroom who chat.json --contexts mine.yaml --turn 3 --by sentence
      greenroom who --validate --quick
    """
    if validate:
        if files or text is not None:
            raise typer.BadParameter("--validate makes its own replies; leave FILES and --text out")
        how = _size(quick, replies, paraphrases)
        _validate(reader, contexts, *how, tokens, seed=seed, out=out, plain=plain, as_json=as_json)
        return
    if quick:
        raise typer.BadParameter("--quick goes with --validate; a text is read whole")
    if (text is None) == (not files):
        raise typer.BadParameter("give either FILES or --text; see --validate for how well this works")
    if user is not None and text is None:
        raise typer.BadParameter("--user goes with --text; a file holds its own user messages")
    from greenroom.errors import ConversationError
    from greenroom.reader.posterior.verdict import said
    from greenroom.reader.posterior.who import WhoRequest, as_transcript, posteriors
    from greenroom.reader.transcripts import Broken, read_transcripts

    transcripts = read_transcripts(files or (), format=format) if text is None else [as_transcript(text, user)]
    request = WhoRequest(
        reader=reader, contexts=contexts, prior=prior, turn=turn, history=history, by=None if by is None else by.value,
        own=own, prune=not no_prune,
    )  # fmt: skip
    judged: list[bool] = []
    for one in _awaited(posteriors(request, transcripts), f"Reading under {len(request.competing)} contexts"):
        if isinstance(one, Broken):
            print(f"not read: {one}", file=sys.stderr)
            continue
        judged.append(one.calibrated)
        if as_json:
            _print_line(one.as_dict(top))
        else:
            _print_posterior(one, _place(one, files or ()), top, plain)
    if not judged:
        raise ConversationError("no conversation could be judged; see the lines above, or judge bare text with --text")
    if not as_json and not all(judged):
        typer.echo(said("uncalibrated"))


def _place(one: Posterior, files: Sequence[str]) -> str:
    """Where a posterior's text stands, shortly: below the folder or by the file's name where that is clear."""
    source = Path(one.source)
    name = one.source
    if [Path(given).name for given in files].count(source.name) == 1:
        name = source.name
    elif len(files) == 1 and source.is_relative_to(files[0]):
        name = str(source.relative_to(files[0]))
    return f"{name} {one.index}, turn {one.turn}" if files else ""


def _awaited(found: Iterator[T], what: str) -> Iterator[T]:
    """The same, with a spinner on a terminal's standard error while the next one is worked out."""
    from rich.console import Console

    console = Console(stderr=True)
    while True:
        with console.status(what):
            one = next(found, None)
        if one is None:
            return
        yield one


def _print_line(record: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(record, ensure_ascii=False, allow_nan=False))


def _print_posterior(one: Posterior, place: str, top: int, plain: bool) -> None:
    verdict, *more = one.told()
    typer.echo(f"{verdict}: {place}" if place else verdict)
    for line in more:
        typer.echo(line)
    rows = [
        (
            estimate.context, f"{estimate.probability:.3f}", f"{estimate.bits_per_token:+.2f}",
            "–" if estimate.low is None or estimate.high is None else f"{estimate.low:+.2f} to {estimate.high:+.2f}",
        )
        for estimate in one.top(top)
    ]  # fmt: skip
    if rows:
        print_rows(("context", "probability", "bits a token", "over wordings"), rows, plain=plain)
    if one.steps:
        steps = [
            (str(number if one.by == "sentence" else step.turn), str(step.verdict), f"{step.none_of_these:.2f}", step.text[:60])
            for number, step in enumerate(one.steps, start=1)
        ]  # fmt: skip
        print_rows((str(one.by), "verdict", "none of these", "text"), steps, plain=plain)


def _size(quick: bool, replies: int | None, paraphrases: int | None) -> tuple[int, int | None]:
    """How many replies --validate makes, and how many wordings of each context it reads (None: all)."""
    from greenroom.reader.posterior.validation import QUICK_REPLIES, REPLIES

    return replies or (QUICK_REPLIES if quick else REPLIES), paraphrases or (1 if quick else None)


def _validate(
    reader: str, contexts: str, replies: int, paraphrases: int | None, tokens: int, *, seed: int, out: Path | None,
    plain: bool, as_json: bool,
) -> None:  # fmt: skip
    if contexts not in ("roles", "all"):
        raise typer.BadParameter("--validate knows --contexts roles (31 of them) and all (the library)")
    from greenroom.reader.posterior.validation import validate_who
    from greenroom.runs.progress import terminal_progress

    result = validate_who(
        reader, design="roles" if contexts == "roles" else "all", replies=replies, tokens=tokens,
        paraphrases=paraphrases, seed=seed, out=out, progress=terminal_progress(plain=plain),
        tell=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    if as_json:
        print_json(result.as_dict())
        return
    print_rows(("measure", "estimate", "low", "high", "n"), result.rows(), plain=plain)
    found = result.calibration
    rows = [
        (str(length), f"{temperature:.2f}", "–" if error is None else f"{error:.3f}")
        for length, temperature, error in zip(found.lengths, found.temperatures, found.errors, strict=True)
    ]
    print_rows(("tokens", "temperature", "calibration error"), rows, plain=plain)
    typer.echo(result.verdict())
