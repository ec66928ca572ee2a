"""drift.html and selftalk.html: one self-contained file each, in the frame and the style of the audit's report.

Everything is read from the run's folder (run.json, summary.json, tables); the chapters are in drift_chapters.py and
selftalk_chapters.py, the words in templates/dynamics.yaml.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from greenroom.report.format import number
from greenroom.report.page import environment, finite, partial
from greenroom.report.parts import Chapter, Results, palette, words
from greenroom.store import write_text
from greenroom.studies.drift.chapter import drift_chapters
from greenroom.studies.dynamics_words import dynamics, warnings
from greenroom.studies.selftalk.chapter import selftalk_chapters


def write_drift_page(folder: Path) -> Path:
    """Writes `folder`/drift.html from the run in `folder`, and returns its path. Atomic."""
    results = Results.of(folder)
    summary = results.summary
    methods = [
        line.format(
            conversations=summary["conversations"], turns=summary["turns"], tokens=_tokens(results),
            arms=len(summary[summary["reading"]]["ways"] if summary["reading"] else {}),
        )
        for line in dynamics()["drift"]["methods"]
    ]  # fmt: skip
    return _write(results, "drift", drift_chapters(results), methods)


def write_selftalk_page(folder: Path) -> Path:
    """Writes `folder`/selftalk.html from the run in `folder`, and returns its path. Atomic."""
    results = Results.of(folder)
    methods = [line.format(tokens=_tokens(results)) for line in dynamics()["selftalk"]["methods"]]
    return _write(results, "selftalk", selftalk_chapters(results), methods)


def _write(results: Results, kind: str, chapters: Sequence[Chapter], methods: Sequence[str]) -> Path:
    text = words()
    own = {
        **text,
        "page": {**text["page"], "noscript": dynamics()["noscript"]},
        "methods": {**text["methods"], "references": dynamics()["references"]},
    }
    shown = Results(results.folder, results.manifest, {**results.summary, "warnings": warnings(results.summary)})
    page = environment().get_template("report.html.j2").render(
        text=own, palette=palette()["colours"], results=shown, chapters=chapters, kicker=dynamics()["kickers"][kind],
        methods=methods, strip=None, stamp={"grade": "", "meaning": "", "tally": ""}, repeat=_repeat(results, kind),
        data=_data(chapters, own), plotly=_plotly(), css=partial("report.css"), script=partial("report.js"),
    )  # fmt: skip
    path = results.folder / f"{kind}.html"
    write_text(path, page)
    return path


def _plotly() -> Markup:
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def _data(chapters: Sequence[Chapter], text: dict[str, Any]) -> Markup:
    """Figures and interface words for report.js; safe inside a script element."""
    panels = [panel for chapter in chapters for exhibit in chapter.exhibits for panel in exhibit.panels]
    value = {
        "figures": {panel.id: panel.spec for panel in panels},
        "cards": {},
        "text": {**text["page"], **text["repeat"]},
    }
    written = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(written.replace("<", "\\u003c"))


def _tokens(results: Results) -> str:
    """The most tokens that a reply could have; a log's own where one was read."""
    given = (results.manifest.get("config") or {}).get("tokens")
    return dynamics()["nothing"] if given is None else str(given)


def _repeat(results: Results, kind: str) -> dict[str, Any]:
    """What somebody needs to run this again: the command with what was asked, weights, seed, versions and machine."""
    manifest, summary, text = results.manifest, results.summary, words()["repeat"]
    machine: dict[str, Any] = manifest.get("machine") or {}
    place = [machine.get("cpu"), machine.get("platform")]
    facts = {
        "subject": summary["model"],
        "fingerprint": manifest.get("fingerprint"),
        "seed": manifest.get("seed"),
        "version": manifest.get("version"),
        "machine": ", ".join(str(one) for one in place if one),
        "threads": machine.get("torch_threads"),
        "libraries": ", ".join(f"{name} {version}" for name, version in (machine.get("libraries") or {}).items()),
        "time": text["seconds"].format(seconds=number(float(summary["seconds"]), 0)),
        "memory": text["gib"].format(gib=number(float(summary["peak_rss_gib"]), 1)),
    }
    stages = [
        (name.replace("_", " "), number(float(stage["seconds"]), 1))
        for name, stage in (manifest.get("stages") or {}).items()
    ]
    return {
        "command": shlex.join(["greenroom", kind, *_asked(manifest, summary)]),
        "facts": [(text["facts"][name], str(value)) for name, value in facts.items() if value not in (None, "")],
        "stages": stages,
    }


def _asked(manifest: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    """The arguments of the command that did this."""
    config: dict[str, Any] = manifest.get("config") or {}
    model = config.get("source") or manifest.get("subject") or summary["model"]
    options = [word for name, value in (config.get("asked") or {}).items() for word in (f"--{name}", str(value))]
    return [str(model), *options, "--seed", str(manifest.get("seed"))]
