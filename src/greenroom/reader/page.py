"""The page of `greenroom read`: a line for each conversation, and behind it the transcript shaded by projection.

One self-contained HTML file, made from the run's journal alone. Opening a transcript needs no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from markupsafe import Markup

from greenroom.reader.journal import entries
from greenroom.reader.telling import Tally, moved, rank, short_names, words
from greenroom.reader.transcripts import Broken
from greenroom.reader.verdicts import VERDICTS, level_limit
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
MARKED = 0.25  # sd by which a sentence moves its turn's mean to be marked: a quarter of the spread of default replies

TEMPLATES = Path(__file__).parent / "templates"


def write_page(folder: Path) -> Path:
    """Writes `folder`/report.html from the journal and summary in `folder`, and returns its path. Atomic."""
    summary = read_json(folder / "summary.json")
    text = words()
    records, broken, tally, mean = _light(folder)
    shown = _with_text(folder, records[:LINES])
    low, high = _range(shown)
    names = short_names((record["source"], record["index"]) for record in shown)
    lines = [_line(record, low, high, text) | _name(record, names) for record in shown]
    _open_lowest(lines, shown)
    traits = list(dict.fromkeys(name for record in shown for name in record["traits_sd_mean"]))
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
            title=text["title_one" if len(records) == 1 else "title"].format(n=len(records), reader=summary["reader"]),
            headline=tally.headline(),
            tally=_tally(tally, summary["turns"], mean, text),
            level=text["level"].format(limit=number(level_limit(15), 2)),
            marked=text["marked"].format(value=number(MARKED)),
            legend={"from": number(-SPAN, 0), "to": number(0.0, 0)},
            zero=_height(0.0, low, high),
            scale=text["scale"].format(low=number(low, 1), high=number(high, 1, signed=True)),
            lines=lines,
            columns=[*text["columns"], *(text["trait_column"].format(name=_plain(name)) for name in traits)],
            rows=[_row(record, names, traits) for record in shown],
            hidden=_hidden(len(records), len(shown), text),
            broken=broken[:BROKEN],
            more_broken=text["more_broken"].format(n=len(broken) - BROKEN) if len(broken) > BROKEN else "",
        )
    )
    write_text(folder / NAME, page)
    return folder / NAME


def _file(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _light(folder: Path) -> tuple[list[dict[str, Any]], list[str], Tally, float | None]:
    """Records without text in the order in which they are shown; broken ones; what all of them say; the mean of turns."""
    kept: list[tuple[tuple[bool, float], int]] = []
    broken: list[str] = []
    tally = Tally()
    total = n = 0.0
    for place, record in enumerate(entries(folder)):
        unread = Broken.of(record)
        if unread is not None:
            broken.append(str(unread))
            continue
        values = [turn["axis_sd"] for turn in record["turns"] if turn["axis_sd"] is not None]
        total, n = total + sum(values), n + len(values)
        tally.add(record)
        kept.append((rank(record), place))
    return [{"place": place} for _, place in sorted(kept)], broken, tally, total / n if n else None


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
        "open": False,
        "moved": moved(record),
        "level": text["low"] if record["level"] == "low" else "",
        "traits": _traits(record["traits_sd_mean"], record["unreliable_traits"], text),
        "mean": text["mean"].format(value=number(record["axis_sd_mean"], 2, signed=True)),
        "meaning": " ".join(filter(None, (told, because, _level(record, text)))),
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


def _level(record: dict[str, Any], text: dict[str, Any]) -> str:
    """Where a low conversation lies, against what; "" for others."""
    if record["level"] != "low":
        return ""
    advice = text["low_advice"] if record["baseline"] != "folder" else ""
    return f"{text['low_meaning'].format(limit=number(record['level_limit'], 2))} {advice}".strip()


def _name(record: dict[str, Any], names: dict[tuple[str, int], str]) -> dict[str, str]:
    """The short name; the whole path in the title."""
    return {"name": names[record["source"], record["index"]], "path_of": record["source"]}


def _open_lowest(lines: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]) -> None:
    """Marks the conversation that lies lowest, of those whose text the page holds: it is open at first."""
    means = [
        (record["axis_sd_mean"], index)
        for index, record in enumerate(records)
        if record["axis_sd_mean"] is not None and record["messages"] is not None
    ]
    if means:
        lines[min(means)[1]]["open"] = True


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
            note = [
                text["turn"].format(turn=turn["turn"]), place, *_traits(turn["traits"], record["unreliable_traits"], text),
                about, text["tokens"].format(tokens=turn["tokens"]),
            ]  # fmt: skip
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
    """The text in pieces; of the sentences that moved the turn most those are marked that moved it by MARKED or more."""
    parts: list[tuple[str, str]] = []
    at = 0
    for one in sorted((one for one in sentences if abs(one["sd"]) >= MARKED), key=lambda one: one["start"]):
        end = min(one["end"], len(content))
        inside = content[one["start"] : end]
        tail = len(inside) - len(inside.rstrip())
        parts.append((content[at : one["start"]], ""))
        parts.append((inside.rstrip(), text["moved"].format(value=number(one["sd"], 2, signed=True))))
        at = end - tail
    parts.append((content[at:], ""))
    return [part for part in parts if part[0]]


def _traits(values: dict[str, float | None], unreliable: dict[str, str], text: dict[str, Any]) -> list[str]:
    """Each trait with its place, and a word where this reader reads it badly."""
    return [
        text["trait_doubted" if name in unreliable else "trait"].format(
            name=_plain(name), value=number(value, 2, signed=True)
        )
        for name, value in values.items()
    ]


def _tally(tally: Tally, turns: int, mean: float | None, text: dict[str, Any]) -> str:
    counts = tally.verdicts
    told = ", ".join(f"{counts[name]} {text['verdicts'][name]}" for name in VERDICTS if counts[name])
    numbers = text["tally"].format(verdicts=told or "0", turns=number(turns), mean=number(mean, 2, signed=True))
    return " ".join([numbers, *tally.sentences()[1:]])


def _row(record: dict[str, Any], names: dict[tuple[str, int], str], traits: Sequence[str]) -> tuple[str, ...]:
    return (
        names[record["source"], record["index"]], record["verdict"], words()["levels"][record["level"] or "none"],
        number(record["axis_sd_mean"], 2), number(record["drift"]["slope_sd_per_turn"], 3), str(len(record["turns"])),
        ", ".join(map(str, record["change_points"])), str(sum(record["skipped"].values())),
        *(number(record["traits_sd_mean"].get(name), 2, signed=True) for name in traits),
    )  # fmt: skip


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _hidden(everything: int, shown: int, text: dict[str, Any]) -> str:
    return text["hidden"].format(n=everything - shown, shown=shown) if everything > shown else ""
