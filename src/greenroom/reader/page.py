"""The page of `greenroom read`: a line for each conversation, and behind it the transcript shaded by projection.

One self-contained HTML file, made from the run's journal alone. Opening a transcript needs no script.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from greenroom.reader.journal import entries
from greenroom.reader.transcripts import Broken
from greenroom.reader.verdicts import VERDICTS
from greenroom.report.format import number, tint
from greenroom.report.page import environment, partial
from greenroom.report.parts import palette
from greenroom.runs.machine import version
from greenroom.store import read_json, write_text

NAME = "report.html"
# What a page holds, so that a browser opens it whatever was read: lines, and transcripts of the most notable ones.
LINES, TRANSCRIPTS, CHARACTERS, BROKEN = 2000, 200, 8_000_000, 50
HEIGHT, WIDTH, MARGIN = 56, 1000, 5
SPAN = 3.0  # sd below the default at which the shading is all rust
FIRST = ("departed", "drifting", "returned", "steady", "uncalibrated")

TEMPLATES = Path(__file__).parent / "templates"


def write_page(folder: Path) -> Path:
    """Writes `folder`/report.html from the journal and summary in `folder`, and returns its path. Atomic."""
    summary = read_json(folder / "summary.json")
    text = yaml.safe_load(_file("reading.yaml"))
    records, broken, mean = _light(folder)
    shown = _with_text(folder, records[:LINES])
    low, high = _range(shown)
    several = {source for source, n in Counter(record["source"] for record in shown).items() if n > 1}
    page = (
        environment(TEMPLATES)
        .get_template("reading.html.j2")
        .render(
            text=text,
            palette=palette()["colours"],
            css=partial("report.css") + Markup(_file("reading.css")),
            script=Markup(_file("reading.js")),
            reader=summary["reader"],
            version=version(),
            title=text["title"].format(n=len(records), reader=summary["reader"]),
            headline=_headline(summary, text),
            tally=_tally(summary, mean, text),
            zero=_height(0.0, low, high),
            scale=text["scale"].format(low=number(low, 1), high=number(high, 1, signed=True)),
            lines=[_line(record, low, high, text) | _name(record, several, text) for record in shown],
            rows=[_row(record) for record in shown],
            hidden=_hidden(len(records), len(shown), text),
            broken=broken[:BROKEN],
            more_broken=text["more_broken"].format(n=len(broken) - BROKEN) if len(broken) > BROKEN else "",
        )
    )
    write_text(folder / NAME, page)
    return folder / NAME


def _file(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _light(folder: Path) -> tuple[list[dict[str, Any]], list[str], float | None]:
    """Records without text, the most notable first and no more than are shown in full order; broken ones; the mean."""
    kept: list[dict[str, Any]] = []
    broken: list[str] = []
    total = n = 0.0
    for place, record in enumerate(entries(folder)):
        unread = Broken.of(record)
        if unread is not None:
            broken.append(str(unread))
            continue
        values = [turn["axis_sd"] for turn in record["turns"] if turn["axis_sd"] is not None]
        total, n = total + sum(values), n + len(values)
        kept.append({"place": place, "verdict": record["verdict"], "axis_sd_mean": record["axis_sd_mean"]})
    notable = heapq.nsmallest(len(kept), kept, key=_notable)
    return notable, broken, total / n if n else None


def _notable(record: dict[str, Any]) -> tuple[int, float, int]:
    mean = record["axis_sd_mean"]
    return FIRST.index(record["verdict"]), float("inf") if mean is None else mean, record["place"]


def _with_text(folder: Path, chosen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The chosen records in full and in order; text only for as many as a page holds."""
    order = {record["place"]: rank for rank, record in enumerate(chosen)}
    found: list[dict[str, Any] | None] = [None] * len(chosen)
    for place, record in enumerate(entries(folder)):
        rank = order.get(place)
        if rank is None:
            continue
        if rank >= TRANSCRIPTS:
            record["messages"] = None
        found[rank] = record
    size = 0
    for record in found:
        if record is not None and record["messages"] is not None:
            size += sum(len(message["content"]) for message in record["messages"])
            if size > CHARACTERS:
                record["messages"] = None
    return [record for record in found if record is not None]


def _range(records: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """The one scale of all lines, sd: it holds 0, and one odd turn among very many does not flatten the rest."""
    values = sorted(turn["axis_sd"] for record in records for turn in record["turns"] if turn["axis_sd"] is not None)
    if not values:
        return -1.0, 1.0
    cut = len(values) // 1000
    return min(-1.0, values[cut]), max(1.0, values[-1 - cut])


def _height(value: float, low: float, high: float) -> float:
    share = (min(max(value, low), high) - low) / (high - low)
    return round(HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN), 1)


def _line(record: dict[str, Any], low: float, high: float, text: dict[str, Any]) -> dict[str, Any]:
    turns = [turn for turn in record["turns"] if turn["axis_sd"] is not None]
    values = [turn["axis_sd"] for turn in turns]
    step = (WIDTH - 20) / max(len(turns) - 1, 1)
    places = [round(10 + step * index, 1) for index in range(len(turns))]
    heights = [_height(value, low, high) for value in values]
    starts = {turn["turn"]: place for turn, place in zip(turns, places, strict=True)}
    told = text["meanings"][record["verdict"]]
    because = text["reasons"].get(record["reason"] or "") or text["baselines"].get(record["baseline"] or "", "")
    drift = record["drift"]
    return {
        "verdict": record["verdict"],
        "mean": text["mean"].format(value=number(record["axis_sd_mean"], 2, signed=True)),
        "meaning": f"{told} {because}",
        "slope": text["no_slope"] if drift["low"] is None else text["slope"].format(
            value=number(drift["slope_sd_per_turn"], 2, signed=True), low=number(drift["low"], 2, signed=True),
            high=number(drift["high"], 2, signed=True),
        ),
        "alt": text["alt"].format(
            n=len(values), first=number(values[0], 1), last=number(values[-1], 1), low=number(min(values), 1),
            high=number(max(values), 1),
        ) if values else text["no_turns_alt"],
        "path": " ".join(f"{x},{y}" for x, y in zip(places, heights, strict=True)) if len(places) > 1 else "",
        "dots": [(x, y, tint(value, SPAN)) for x, y, value in zip(places, heights, values, strict=True)],
        "changes": [starts[turn] - step / 2 for turn in record["change_points"]],
        "skipped": ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in record["skipped"].items()),
        "messages": None if record["messages"] is None else _messages(record, text),
        "closed": text["closed"].format(n=TRANSCRIPTS),
    }  # fmt: skip


def _name(record: dict[str, Any], several: set[str], text: dict[str, Any]) -> dict[str, str]:
    """The file's name, with the record's number where the file has several; the whole path in the title."""
    source, folder = record["source"], len(Path(record["source"]).parts) > 1
    short = Path(source).name if folder else source
    number_of = text["record"].format(index=record["index"]) if source in several else ""
    return {"name": short, "record": number_of, "path_of": source}


def _messages(record: dict[str, Any], text: dict[str, Any]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    turns = iter(record["turns"])
    levels = _levels(record)
    for message in record["messages"]:
        one: dict[str, Any] = {"role": message["role"], "note": "", "tint": "", "change": ""}
        one["parts"] = [(message["content"], "")]
        if message["role"] == "assistant":
            turn = next(turns)
            value = turn["axis_sd"]
            place = text["no_place"] if value is None else text["place"].format(value=number(value, 2, signed=True))
            about = text["topic"].format(topic=turn["topic"].replace("_", " ")) if turn["topic"] else ""
            note = [text["turn"].format(turn=turn["turn"]), place, about, text["tokens"].format(tokens=turn["tokens"])]
            one |= {"note": " · ".join(part for part in note if part), "tint": tint(value, SPAN)}
            one["parts"] = _parts(message["content"], turn["sentences"], text)
            if turn["turn"] in levels:
                before, after = levels[turn["turn"]]
                one["change"] = text["new_level"].format(
                    turn=turn["turn"], before=number(before, 1, signed=True), after=number(after, 1, signed=True)
                )  # fmt: skip
        shown.append(one)
    return shown


def _levels(record: dict[str, Any]) -> dict[int, tuple[float, float]]:
    """Turn of each change point → the mean of the level before it and of the one it begins."""
    bounds = [0, *record["change_points"], float("inf")]
    means = []
    for begin, end in pairwise(bounds):
        part = [t["axis_sd"] for t in record["turns"] if begin <= t["turn"] < end and t["axis_sd"] is not None]
        means.append(sum(part) / len(part) if part else 0.0)
    return {turn: (means[i], means[i + 1]) for i, turn in enumerate(record["change_points"])}


def _parts(content: str, sentences: Sequence[dict[str, Any]], text: dict[str, Any]) -> list[tuple[str, str]]:
    """The text in pieces, those sentences marked that moved the turn most."""
    parts: list[tuple[str, str]] = []
    at = 0
    for one in sorted(sentences, key=lambda one: one["start"]):
        end = min(one["end"], len(content))
        inside = content[one["start"] : end]
        tail = len(inside) - len(inside.rstrip())
        parts.append((content[at : one["start"]], ""))
        parts.append((inside.rstrip(), text["moved"].format(value=number(one["sd"], 2, signed=True))))
        at = end - tail
    parts.append((content[at:], ""))
    return [part for part in parts if part[0]]


def _headline(summary: dict[str, Any], text: dict[str, Any]) -> str:
    counts, everything = summary["verdicts"], summary["conversations"]
    said = text["headline"]
    away = counts["departed"] + counts["drifting"] + counts["returned"]
    if everything and counts["uncalibrated"] == everything:
        return said["uncalibrated"].format(all=everything)
    if not away:
        return said["none"].format(all=everything)
    return said["one"].format(n=away, all=everything, verb=said["left"])


def _tally(summary: dict[str, Any], mean: float | None, text: dict[str, Any]) -> str:
    counts = Counter(summary["verdicts"])
    told = ", ".join(f"{counts[name]} {text['verdicts'][name]}" for name in VERDICTS if counts[name])
    return text["tally"].format(
        verdicts=told or "0", turns=number(summary["turns"]), mean=number(mean, 2, signed=True)
    )  # fmt: skip


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        record["source"], str(record["index"]), record["verdict"], number(record["axis_sd_mean"], 2),
        number(record["drift"]["slope_sd_per_turn"], 3), str(len(record["turns"])),
        ", ".join(map(str, record["change_points"])), str(sum(record["skipped"].values())),
    )  # fmt: skip


def _hidden(everything: int, shown: int, text: dict[str, Any]) -> str:
    return text["hidden"].format(n=everything - shown, shown=shown) if everything > shown else ""
