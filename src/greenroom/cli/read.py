"""greenroom read: follow the character in anybody's transcripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from greenroom.cli import options
from greenroom.cli.show import print_rows

if TYPE_CHECKING:
    from greenroom.reader.reader import Reader
    from greenroom.reader.transcripts import Broken, Transcript
    from greenroom.reader.verdicts import Baseline
    from greenroom.runs.progress import Progress

# Rows on a terminal: never more than a screen.
SCREEN = 30
VERDICTS = ("steady", "drifting", "departed", "returned", "uncalibrated")


def _verdict(given: str | None) -> str | None:
    if given is not None and given not in VERDICTS:
        raise typer.BadParameter(f"{given!r} is no verdict; expected one of {', '.join(VERDICTS)}")
    return given


def read(
    files: options.Files = None,
    reader: options.Reader = "smollm2",
    trait: Annotated[
        list[str] | None, typer.Option(help="Also read this trait of the library; may be repeated.", show_default=False)
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="The model's own normal conversations (folder or file) to judge by.", show_default=False),
    ] = None,
    format: options.Format = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for tables and report.html, new or to resume.", show_default=False),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            callback=_verdict,
            metavar="VERDICT",
            help="Exit with code 1 if any has it, e.g. departed.",
            show_default=False,
        ),
    ] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Measure how well this reader reads, on replies that it makes itself.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="With --validate: fewer replies, wider intervals.")] = False,
    seed: options.Seed = 0,
    plain: options.Plain = False,
    as_json: options.AsJson = False,
) -> None:
    """Follow the character through anybody's transcripts, turn by turn.

    A small model reads the conversations of any model and says where each assistant turn lies on the assistant axis. Two
    columns follow. The verdict says whether the character held: steady, drifting, departed, returned, or uncalibrated (too
    short to be judged by itself). The level is "low" where the mean of all turns lies below that of 95 % of conversations
    made of the reader's own default replies; models differ in level, so a low one needs --baseline. Those that moved away
    come first, then the lowest. --json prints one object a line for each conversation, in input order; broken records go
    to standard error. With --out each conversation is kept as soon as it is read, and the same command goes on; a folder
    that was begun with other transcripts is refused.

    \b
    Examples:
      greenroom read chat.json
      greenroom read logs/ --out runs/logs --trait mysticism
      greenroom read new.jsonl --baseline normal/ --fail-on departed
      cat chat.txt | greenroom read - --json
      greenroom read --validate --quick
    """
    if validate:
        named = {"FILES": files, "--trait": trait, "--baseline": baseline, "--format": format, "--fail-on": fail_on}
        for name, given in named.items():
            if given:
                raise typer.BadParameter(
                    f"{name} does not go with --validate, which reads replies that the reader makes"
                )
        _validate(reader, quick=quick, seed=seed, out=out, plain=plain, as_json=as_json)
        return
    if quick:
        raise typer.BadParameter("--quick goes with --validate; transcripts are read whole")
    if not files:
        raise typer.BadParameter("no FILES given; name files or folders, - for standard input, or use --validate")
    from greenroom.errors import ConversationError
    from greenroom.reader.read import limits_of
    from greenroom.reader.reader import load_reader
    from greenroom.reader.telling import Tally, rank
    from greenroom.reader.transcripts import Broken, read_transcripts

    transcripts = read_transcripts(files, format=format)  # a path that does not exist is told before a model is loaded
    if baseline is not None:
        read_transcripts(baseline, format=format)
    loaded = load_reader(reader, trait or ())
    for name, why in loaded.unreliable.items():
        print(f"{name}: unreliable on this reader, {why}", file=sys.stderr)
    progress = _progress(out, plain, as_json)
    limits = None if baseline is None else limits_of(loaded, baseline, format, progress)
    tally = Tally()
    rows: list[tuple[Any, Row]] = []
    for record in _records(loaded, transcripts, limits, out, progress, (files, format)):
        broken = Broken.of(record)
        if broken is not None:
            print(f"not read: {broken}", file=sys.stderr)
            continue
        tally.add(record)
        if as_json:
            _print_line(record)
        else:
            rows.append((rank(record), _row(record)))
    if not tally.conversations:
        raise ConversationError("no conversation could be read; see the lines above, or name the format with --format")
    if not as_json:
        _print_table([row for _, row in sorted(rows, key=lambda one: one[0])], tally.unreliable, plain)
        if out is not None:
            typer.echo(str(out / "report.html"))
        typer.echo(tally.verdict())
    if fail_on in tally.verdicts:
        raise typer.Exit(1)


def _progress(out: Path | None, plain: bool, as_json: bool) -> Progress | None:
    """What shows how far the reading is. Without --out a bar on a terminal alone, and none where JSON lines already run
    over the same screen."""
    from greenroom.runs.progress import terminal_progress

    if out is None and (not sys.stderr.isatty() or (as_json and sys.stdout.isatty())):
        return None
    return terminal_progress(plain=plain)


def _records(
    reader: Reader,
    transcripts: Iterator[Transcript | Broken],
    limits: Baseline | None,
    out: Path | None,
    progress: Progress | None,
    asked: tuple[list[str], str | None],
) -> Iterator[dict[str, Any]]:
    """Every record's object in input order: as they come, or from the run folder when it is complete. asked: files and
    format, to find out how much there is to read."""
    from greenroom.reader.journal import keeping, records
    from greenroom.reader.page import write_page
    from greenroom.reader.read import Extent, read_into, read_shown

    extent = None if progress is None else Extent.of(*asked)
    if out is None:
        yield from (one.as_dict() for one in read_shown(reader, transcripts, limits, extent, progress))
        return
    read_into(out, reader, transcripts, limits, progress, extent)
    with keeping(out, extent and extent.conversations):
        write_page(out)
    yield from records(out)


def _print_line(record: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(record, ensure_ascii=False, allow_nan=False))


def _print_table(rows: list[Row], unreliable: dict[str, str], plain: bool) -> None:
    from greenroom.reader.telling import short_names

    names = short_names(row.place for row in rows)
    cut = SCREEN if sys.stdout.isatty() and not plain else len(rows)
    traits = list(dict.fromkeys(name for row in rows for name in row.traits))
    heads = (
        "verdict", "level", "mean, sd",
        *(f"{name}, sd{' (unreliable)' if name in unreliable else ''}" for name in traits),
        "drift, sd a turn", "turns", "new level at turn", "conversation",
    )  # fmt: skip
    shown = [
        (*row.first, *(_sd(row.traits.get(name)) for name in traits), *row.rest, names[row.place]) for row in rows[:cut]
    ]
    print_rows(heads, shown, plain=plain)
    if len(rows) > cut:
        typer.echo(f"{len(rows) - cut} more; --json or a pipe shows all, --out DIR writes a report")


class Row(NamedTuple):
    """What is printed of a conversation: the cells before and after its traits. place: its file and number."""

    first: tuple[str, ...]
    traits: dict[str, float | None]
    rest: tuple[str, ...]
    place: tuple[str, int]


def _row(record: dict[str, Any]) -> Row:
    from greenroom.reader.telling import level_words

    drift = record["drift"]
    slope = "–" if drift["low"] is None else (
        f"{drift['slope_sd_per_turn']:+.2f} ({drift['low']:+.2f} to {drift['high']:+.2f})"
    )  # fmt: skip
    return Row(
        (record["verdict"], level_words(record), _sd(record["axis_sd_mean"])),
        record["traits_sd_mean"],
        (slope, str(len(record["turns"])), ", ".join(map(str, record["change_points"])) or "–"),
        (record["source"], record["index"]),
    )


def _sd(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _validate(reader: str, *, quick: bool, seed: int, out: Path | None, plain: bool, as_json: bool) -> None:
    from greenroom.cli.show import print_json
    from greenroom.reader.validation import validate_reader
    from greenroom.runs.progress import terminal_progress

    result = validate_reader(reader, quick=quick, seed=seed, out=out, progress=terminal_progress(plain=plain))
    if as_json:
        print_json(result.as_dict())
    else:
        print_rows(("measure", "estimate", "low", "high", "n"), result.rows(), plain=plain)
        typer.echo(result.verdict())
