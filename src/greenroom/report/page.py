"""The report of an audit: one self-contained HTML file that opens from disk, without network, in any theme, on paper.

`write_report` reads what the run left (run.json, summary.json, tables/*.parquet) and computes nothing that the tables
do not hold, except intervals of plain means. Words, colours, style and behaviour are files in templates/.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from greenroom.report.evidence import tally
from greenroom.report.format import interval, number, tint
from greenroom.report.parts import TEMPLATES, Chapter, Results, palette, words
from greenroom.store import write_text
from greenroom.studies.persona_map.roles import roles_of

NAME = "report.html"


def write_report(folder: Path) -> Path:
    """Writes `folder`/report.html from the run in `folder` and returns its path.

    A chapter whose table is absent is left out. Atomic; the same tables give the same bytes. Raises GreenroomError
    when run.json or summary.json is missing or broken, or when the folder cannot be written.
    """
    from greenroom.auditing.contents import chapters  # until the registry is here

    results = Results.of(folder)
    parts = chapters(results)
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            text=words(),
            palette=palette()["colours"],
            results=results,
            chapters=parts,
            kicker=words()["page"]["kickers"].get(_kind(results), words()["page"]["kickers"]["audit"]),
            methods=_methods(results, parts),
            strip=_strip(results),
            stamp=_stamp(results),
            repeat=_repeat(results),
            data=_data(parts),
            plotly=_plotly(parts),
            css=partial("report.css"),
            script=partial("report.js"),
        )
    )
    write_text(folder / NAME, page)
    return folder / NAME


def _kind(results: Results) -> str:
    return str(results.manifest.get("kind") or "audit")


def _methods(results: Results, parts: list[Chapter]) -> list[str]:
    """How it was measured: the audit's own methods, and those of every study whose chapter is on the page."""
    text = words()["methods"]
    studies = [line for chapter in parts for line in text["chapters"].get(chapter.id, ())]
    return studies if _kind(results) in text["chapters"] else [*text["paragraphs"], *studies]


def environment(*folders: Traversable) -> jinja2.Environment:
    """Templates of templates/ and of further folders, escaped; the filter `rich` sets **strong** words."""

    def text_of(name: str) -> str | None:
        files = [folder / name for folder in (TEMPLATES, *folders)]
        return next((file.read_text(encoding="utf-8") for file in files if file.is_file()), None)

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(text_of),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["rich"] = _rich
    return environment


def _rich(text: str) -> Markup:
    """Escapes a text of report.yaml and sets **strong** words."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))


def partial(name: str) -> Markup:
    """A file of templates/, as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _data(parts: list[Chapter]) -> Markup:
    """Plots, map cards and interface words for report.js; safe inside a script element."""
    exhibits = [exhibit for chapter in parts for exhibit in chapter.exhibits]
    value = {
        "figures": {panel.id: panel.spec for exhibit in exhibits for panel in exhibit.panels},
        "cards": next((exhibit.extra["cards"] for exhibit in exhibits if exhibit.kind == "map"), {}),
        "text": {**words()["page"], **words()["chapters"]["map"], **words()["repeat"]},
    }
    written = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(written.replace("<", "\\u003c"))


def finite(value: Any) -> Any:
    """The value with null for every number that JSON has no word for."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plotly(parts: list[Chapter]) -> Markup:
    """plotly.js, once; nothing when no chapter has a plot. The Python package ships only the full bundle."""
    if not any(exhibit.panels for chapter in parts for exhibit in chapter.exhibits):
        return Markup("")
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def _strip(results: Results) -> dict[str, Any] | None:
    """The first picture: every role as a tick on the axis, the default character as a ring with its interval."""
    found, text = roles_of(results), words()["strip"]
    if found is None:
        return None
    roles, default, span = found
    values = roles["axis_sd"].to_list()
    low, high = (default or {}).get("axis_sd_low"), (default or {}).get("axis_sd_high")
    left, right = -span * 1.04, max(0.0, *values, high or 0.0) + 0.08 * span

    def place(value: float) -> float:
        return round(100 * (value - left) / (right - left), 2)

    step = next(step for step in (0.5, 1, 2, 5, 10, 20, 50, 1e9) if span / step <= 6)
    marks = [-step * index for index in range(int(span / step) + 1)]
    bounds = interval(low, high, 1)
    ends = {
        end: ", ".join(name.replace("_", " ") for name in (results.summary.get(f"{end}_roles") or [])[:3])
        for end in ("nearest", "farthest")
    }
    return {
        "alt": text["alt"].format(n=len(values), far=number(min(values), 1), near=number(max(values), 1), **bounds),
        "ticks": [(place(value), tint(value, span)) for value in values],
        # Where the map's own default replies lie: near 0, the mean of the longer replies that calibrate the axis.
        "ring": place((default or {}).get("axis_sd") or 0.0),
        "bar": None if low is None or high is None else (place(low), place(high)),
        "scale": [(place(mark), number(float(mark), 0 if step >= 1 else 1)) for mark in marks],
        **{end: text[end].format(roles=names) if names else "" for end, names in ends.items()},
    }


def _stamp(results: Results) -> dict[str, str]:
    """The grade of the headline measure (the axis), and how many measures have which grade."""
    measures, page = results.table("measures"), words()["page"]
    grade = results.grade("axis_auc")
    counts = "" if measures is None else ", ".join(f"{n} {name}" for name, n in tally(measures))
    return {
        "grade": grade or "",
        "meaning": words()["grades"].get(grade or "", ""),
        "tally": "" if measures is None else page["tally"].format(n=measures.height, counts=counts),
    }


def _repeat(results: Results) -> dict[str, Any]:
    """What somebody needs to run this again: the command, the subject, seed, versions and machine."""
    manifest, summary, text = results.manifest, results.summary, words()["repeat"]
    machine: dict[str, Any] = manifest.get("machine") or {}
    subject, seed = str(manifest.get("subject") or results.model), manifest.get("seed", summary.get("seed"))
    quick = bool(summary.get("quick") or (manifest.get("config") or {}).get("quick"))
    config = manifest.get("config") or {}
    verb = words()["studies"]["commands"].get(_kind(results), f"greenroom {_kind(results)}").split()
    options = [word for word in ("quick", "full") if config.get(word) or (word == "quick" and quick)]
    words_of_command = [*verb, subject, *(f"--{word}" for word in options), "--seed", str(seed)]
    seconds, memory = summary.get("seconds"), summary.get("peak_rss_gib")
    place = [
        machine.get("cpu"),
        text["cores"].format(cores=machine["cores"]) if machine.get("cores") else None,
        machine.get("platform"),
    ]
    facts = {
        "subject": subject,
        "fingerprint": manifest.get("fingerprint") or summary.get("fingerprint"),
        "seed": seed,
        "version": manifest.get("version"),
        "machine": ", ".join(str(one) for one in place if one),
        "threads": machine.get("torch_threads"),
        "libraries": ", ".join(f"{name} {version}" for name, version in (machine.get("libraries") or {}).items()),
        "time": None if seconds is None else text["seconds"].format(seconds=number(float(seconds), 0)),
        "memory": None if memory is None else text["gib"].format(gib=number(float(memory), 1)),
    }
    stages = [
        (name.replace("_", " "), number(float(stage["seconds"]), 1))
        for name, stage in (manifest.get("stages") or {}).items()
        if isinstance(stage, dict) and stage.get("seconds") is not None
    ]
    return {
        "command": manifest.get("command") or shlex.join(words_of_command),
        "facts": [(text["facts"][name], str(value)) for name, value in facts.items() if value not in (None, "")],
        "stages": stages,
    }
