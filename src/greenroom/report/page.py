"""The page of a run: one self-contained HTML file that opens from disk, without network, in any theme, on paper.

`write_page` is given the chapters that the run's studies made; it adds the chapter on validity, the methods and how to
repeat the run. Words, colours, style and behaviour are files in templates/.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from greenroom.measures.validity import in_words
from greenroom.report.format import number, plain
from greenroom.report.parts import TEMPLATES, Chapter, palette, words
from greenroom.report.results import Results, RunResults
from greenroom.report.tables import headline_measures, tally, validity, verdict
from greenroom.store import write_text

NAME = "report.html"


def write_page(run: RunResults, chapters: Sequence[Chapter], headline: str, studies: Sequence[Results]) -> Path:
    """Writes report.html into the run's folder and returns its path.

    studies: those on the page, in order, for their methods and sources. Atomic; the same tables give the same bytes.
    """
    last = validity(run)
    shown = [*chapters, *([last] if last else [])]
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            text=words(),
            palette=palette()["colours"],
            model=run.model,
            headline=headline,
            seed=run.manifest["seed"],
            quick=run.manifest["config"].get("size") == "quick",
            version=run.manifest["version"],
            warnings=[warning for chapter in chapters for warning in chapter.warnings],
            chapters=shown,
            kicker=words()["page"]["kicker"].format(kind=_kicker(run, studies)),
            methods=[paragraph for study in studies for paragraph in study.words.get("methods", ())]
            + words()["methods"]["paragraphs"],
            references=_references(studies),
            strip=next((chapter.strip for chapter in chapters if chapter.strip), None),
            stamp=_stamp(run),
            verdict=verdict(run, studies),
            repeat=_repeat(run),
            data=_data(shown),
            plotly=_plotly(shown),
            css=partial("report.css"),
            script=partial("report.js"),
        )
    )
    write_text(run.folder / NAME, page)
    return run.folder / NAME


def environment(folder: Traversable = TEMPLATES) -> jinja2.Environment:
    """The one Jinja environment: files of a package's templates, else those of all pages, escaped; the filter `rich`
    sets **strong** words."""

    def source(name: str) -> str:
        own = folder / name
        return (own if own.is_file() else TEMPLATES / name).read_text(encoding="utf-8")

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["rich"] = _rich
    return made


def _rich(text: str) -> Markup:
    """Escapes a text and sets **strong** words."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))


def partial(name: str, folder: Traversable = TEMPLATES) -> Markup:
    """A file of templates, as it is."""
    return Markup((folder / name).read_text(encoding="utf-8"))


def _kicker(run: RunResults, studies: Sequence[Results]) -> str:
    """What kind of run it was, in words: the title of its one study, else the verb's own."""
    if len(studies) == 1:
        return str(studies[0].words["title"]).lower()
    kind = str(run.manifest["kind"])
    return words()["page"]["kinds"].get(kind, kind)


def _references(studies: Sequence[Results]) -> list[dict[str, str]]:
    """The sources of the studies, each once."""
    found = {source["id"]: source for study in studies for source in study.words.get("references", ())}
    return list(found.values())


def _data(chapters: Sequence[Chapter]) -> Markup:
    """Plots, cards and interface words for report.js; safe inside a script element."""
    exhibits = [exhibit for chapter in chapters for exhibit in chapter.exhibits]
    extra = next((exhibit.extra for exhibit in exhibits if exhibit.kind == "map"), {})
    value = {
        "figures": {panel.id: panel.spec for exhibit in exhibits for panel in exhibit.panels},
        "cards": extra.get("cards", {}),
        "text": {**words()["page"], **extra.get("words", {}), **words()["repeat"]},
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


def _plotly(chapters: Sequence[Chapter]) -> Markup:
    """plotly.js, once; nothing when no chapter has a plot. The Python package ships only the full bundle."""
    if not any(exhibit.panels for chapter in chapters for exhibit in chapter.exhibits):
        return Markup("")
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def _stamp(run: RunResults) -> dict[str, str]:
    """The grade of a run's one main figure, none where there are several (one of many is not the run's), and how many
    figures can be used."""
    measures, page = headline_measures(run), words()["page"]
    primary = measures.filter("primary")
    first = primary.row(0, named=True) if primary.height == 1 else None
    counts: dict[str, int] = {}
    for grade, n in tally(measures):
        counts[in_words(grade)] = counts.get(in_words(grade), 0) + n  # type: ignore[arg-type]
    told = ", ".join(f"{n} are {meaning}" for meaning, n in counts.items())
    return {
        "grade": first["grade"] if first else "",
        "of": plain(first["name"]) if first else "",
        "tally": page["tally"].format(n=measures.height, counts=told) if measures.height else "",
    }


def _repeat(run: RunResults) -> dict[str, Any]:
    """What somebody needs to run this again: the command, the subject, seed, versions and machine."""
    manifest, text = run.manifest, words()["repeat"]
    machine: dict[str, Any] = manifest["machine"]
    place = [
        machine.get("cpu") if not machine.get("bfloat16") else f"{machine.get('cpu')} ({machine['bfloat16']})",
        text["cores"].format(cores=machine["cores"]) if machine.get("cores") else None,
        machine.get("platform"),
    ]
    stages: dict[str, Any] = manifest["stages"]
    memory = max((stage["peak_rss_gib"] for stage in stages.values()), default=None)
    facts = {
        "subject": manifest["subject"],
        "fingerprint": manifest["fingerprint"],
        "dtype": text["dtypes"].get(manifest["config"].get("dtype"), manifest["config"].get("dtype")),
        "seed": manifest["seed"],
        "version": manifest["version"],
        "machine": ", ".join(str(one) for one in place if one),
        "threads": machine.get("torch_threads"),
        "libraries": ", ".join(f"{name} {version}" for name, version in (machine.get("libraries") or {}).items()),
        "time": text["seconds"].format(seconds=number(float(sum(stage["seconds"] for stage in stages.values())), 0)),
        "memory": None if memory is None else text["gib"].format(gib=number(float(memory), 1)),
    }
    return {
        "command": command_of(manifest),
        "facts": [(text["facts"][name], str(value)) for name, value in facts.items() if value not in (None, "")],
        "stages": [(plain(name.replace("/", ": ")), number(float(one["seconds"]), 1)) for name, one in stages.items()],
    }


def command_of(manifest: Any) -> str:
    """The command that makes the same run, from what the manifest says was asked: of its model, or of a `source`."""
    asked = manifest["config"].get("asked") or {}
    verb = asked.get("verb") or [str(manifest["kind"])]
    model = str(asked.get("source") or manifest["subject"])
    # What `auto` is differs from machine to machine.
    asked = {**asked, "dtype": manifest["config"].get("dtype")}
    return shlex.join(["greenroom", *verb, model, *_options(asked), "--seed", str(manifest["seed"])])


def _options(asked: dict[str, Any]) -> Iterator[str]:
    for name, value in asked.items():
        if name in ("verb", "source") or value in (None, False):
            continue
        yield f"--{name}"
        if value is not True:
            yield str(value)
