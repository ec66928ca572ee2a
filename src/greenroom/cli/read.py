"""greenroom read: follow the character in anybody's transcripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import options
from greenroom.cli.show import print_rows

if TYPE_CHECKING:
    from greenroom.reader.reader import Reader
    from greenroom.reader.transcripts import Broken, Transcript
    from greenroom.reader.verdicts import Baseline

# Rows on a terminal: never more than a screen.
SCREEN = 30
# What is shown first when not everything is.
ORDER = ("departed", "drifting", "returned", "uncalibrated", "steady")


def _verdict(given: str | None) -> str | None:
    if given is not None and given not in ORDER:
        raise typer.BadParameter(f"{given!r} is no verdict; expected one of {', '.join(ORDER)}")
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

    A small model reads the conversations of any model and says where each assistant turn lies on the assistant axis, and
    whether the character held: steady, drifting, departed, returned, or uncalibrated (too short to be judged by itself).
    --json prints one object a line for each conversation, in input order; broken records go to standard error.

    \b
    Examples:
      greenroom read chat.json
      greenroom read logs/ --out runs/logs --trait sycophancy
      greenroom read new.jsonl --baseline normal/ --fail-on departed
      cat chat.txt | greenroom read - --json
      greenroom read --validate
    """
    if validate:
        _validate(reader, quick=quick, seed=seed, out=out, plain=plain, as_json=as_json)
        return
    if not files:
        raise typer.BadParameter("no FILES given; name files or folders, - for standard input, or use --validate")
    from greenroom.errors import ConversationError
    from greenroom.reader.reader import load_reader
    from greenroom.reader.stream import read_baseline
    from greenroom.reader.transcripts import Broken, read_transcripts

    transcripts = read_transcripts(files, format=format)  # a path that does not exist is told before a model is loaded
    normal = None if baseline is None else read_transcripts(baseline, format=format)
    loaded = load_reader(reader, trait or ())
    limits = None if normal is None else read_baseline(loaded, normal)
    verdicts: set[str] = set()
    rows: list[tuple[str, ...]] = []
    for record in _records(loaded, transcripts, limits, out, plain):
        broken = Broken.of(record)
        if broken is not None:
            print(f"not read: {broken}", file=sys.stderr)
            continue
        verdicts.add(record["verdict"])
        if as_json:
            _print_line(record)
        else:
            rows.append(_row(record))
    if not verdicts:
        raise ConversationError("no conversation could be read; see the lines above, or name the format with --format")
    if not as_json:
        _print_table(rows, plain)
        if out is not None:
            typer.echo(str(out / "report.html"))
    if fail_on in verdicts:
        raise typer.Exit(1)


def _records(
    reader: Reader, transcripts: Iterator[Transcript | Broken], limits: Baseline | None, out: Path | None, plain: bool
) -> Iterator[dict[str, Any]]:
    """Every record's object in input order: as they come, or from the run folder when it is complete."""
    from greenroom.reader.journal import records
    from greenroom.reader.page import write_page
    from greenroom.reader.read import read_into
    from greenroom.reader.stream import read_stream
    from greenroom.runs.progress import terminal_progress

    if out is None:
        yield from (one.as_dict() for one in read_stream(reader, transcripts, limits))
        return
    read_into(out, reader, transcripts, limits, terminal_progress(plain=plain))
    write_page(out)
    yield from records(out)


def _print_line(record: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(record, ensure_ascii=False, allow_nan=False))


def _print_table(rows: list[tuple[str, ...]], plain: bool) -> None:
    shown, note = rows, ""
    if sys.stdout.isatty() and not plain and len(rows) > SCREEN:
        shown = sorted(rows, key=lambda row: ORDER.index(row[2]))[:SCREEN]
        note = f"{len(rows) - SCREEN} more; --json or a pipe shows all, --out DIR writes a report"
    heads = ("source", "record", "verdict", "mean, sd", "drift, sd a turn", "turns", "new level at turn")
    print_rows(heads, shown, plain=plain)
    if note:
        typer.echo(note)


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    drift, mean = record["drift"], record["axis_sd_mean"]
    slope = "–" if drift["low"] is None else (
        f"{drift['slope_sd_per_turn']:+.2f} ({drift['low']:+.2f} to {drift['high']:+.2f})"
    )  # fmt: skip
    return (
        record["source"], str(record["index"]), record["verdict"], "–" if mean is None else f"{mean:+.2f}", slope,
        str(len(record["turns"])), ", ".join(map(str, record["change_points"])) or "–",
    )  # fmt: skip


def _validate(reader: str, *, quick: bool, seed: int, out: Path | None, plain: bool, as_json: bool) -> None:
    from greenroom.cli.show import print_json
    from greenroom.reader.validation import validate_reader
    from greenroom.runs.progress import terminal_progress

    result = validate_reader(reader, quick=quick, seed=seed, out=out, progress=terminal_progress(plain=plain))
    if as_json:
        print_json(result.as_dict())
    else:
        print_rows(("measure", "estimate", "low", "high", "n"), result.rows(), plain=plain)
