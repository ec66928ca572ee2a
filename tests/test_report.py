"""The report: one file, its chapters, its rules for void measures, its contrast, and how it behaves in a browser."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl
import pytest

from greenroom.auditing.contents import chapters
from greenroom.errors import GreenroomError
from greenroom.report.format import number, tint
from greenroom.report.page import write_report
from greenroom.report.parts import Results, palette
from report_fixture import LETTER_REASON, write_run

CHAPTERS = ["map", "layers", "traits", "hold", "sacrifice", "self-concept", "validity", "replies"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_run(tmp_path_factory.mktemp("run"))
    write_report(made)
    return made


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def _own(page: str) -> str:
    """The page without plotly.js."""
    return re.sub(r"<script>/\*\*\s*\* plotly\.js.*?</script>", "", page, flags=re.DOTALL)


def _section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', page, flags=re.DOTALL)
    assert found, name
    return found[0]


def test_first_screen_says_who_the_model_is_and_how_sure_we_are(page: str) -> None:
    top = page[: page.index("<main")]
    assert "SmolLM2 plays the assistant, loosely" in top
    assert "axis: grade A" in top
    assert "Replies are short" in top


def test_chapters_stand_in_order_each_with_sentence_figure_and_table(folder: Path, page: str) -> None:
    made = chapters(Results.of(folder))
    assert [chapter.id for chapter in made] == CHAPTERS
    for chapter in made:
        section = _section(page, chapter.id)
        assert chapter.finding
        for exhibit in chapter.exhibits:
            assert exhibit.caption
            assert exhibit.table
            assert exhibit.table.rows
            assert all(panel.alt for panel in [*exhibit.panels, *exhibit.rows])
        assert section.count("<details>") == len(chapter.exhibits)


def test_every_plot_is_a_figure_that_plotly_accepts(folder: Path) -> None:
    panels = [
        panel for chapter in chapters(Results.of(folder)) for exhibit in chapter.exhibits for panel in exhibit.panels
    ]
    assert len({panel.id for panel in panels}) == len(panels) == 11
    for panel in panels:
        go.Figure({"data": panel.spec["data"], "layout": panel.spec["layout"]})


def test_one_file_without_addresses_to_load(page: str) -> None:
    own = _own(page)
    assert len(own) < 400_000
    assert page.count("plotly.js v") == 1
    assert not re.search(
        r'<(?:script|img|iframe|audio|video)[^>]*\ssrc=|<link[^>]*href="(?!data:)|@import|url\((?!#)', own
    )


def test_void_measures_show_their_reason_and_no_number(folder: Path, page: str) -> None:
    made = {chapter.id: chapter for chapter in chapters(Results.of(folder))}
    table = made["validity"].open_table
    assert table is not None
    assert len(table.void) == 3
    for index in table.void:
        cells = dict(zip(table.headings, table.rows[index], strict=True))
        assert cells["estimate"] == "not shown"
        assert (cells["low"], cells["high"], cells["n"]) == ("", "", "")
        assert cells["reason"]
    letter = next(panel for panel in made["sacrifice"].exhibits[0].panels if panel.id == "dose-letter")
    assert letter.void == LETTER_REASON
    assert not re.search(r"\d", letter.alt.replace(LETTER_REASON, ""))
    assert any(trace.get("fillpattern") for trace in letter.spec["data"])
    assert all(trace["hoverinfo"] == "skip" for trace in letter.spec["data"])
    curve = made["sacrifice"].exhibits[0].table
    assert curve is not None
    assert all(curve.rows[index][curve.headings.index("adherence")] == "not shown" for index in curve.void)
    assert "hallucination" in _section(page, "traits")
    assert "AUC 0.54" in _section(page, "traits")


def test_the_first_paradigm_that_is_not_void_leads(folder: Path) -> None:
    panels = next(chapter for chapter in chapters(Results.of(folder)) if chapter.id == "sacrifice").exhibits[0].panels
    assert [panel.id for panel in panels] == ["dose-letter-logodds", "dose-rating", "dose-letter", "dose-cloze"]
    assert [panel.headline for panel in panels] == [True, False, False, False]
    assert "breaking point 2.90 (2.30 to 3.70)" in panels[0].note


def test_poles_and_boundaries_have_names(page: str) -> None:
    traits = _section(page, "traits")
    assert all(name in traits for name in ("assertive", "deferential", "least malice", "most malice"))
    assert "all running copies" in _section(page, "self-concept")


def test_text_of_models_is_escaped(page: str) -> None:
    own = _own(page)
    assert "<someone>" not in own
    assert "&lt;someone&gt;" in own
    assert "\\u003csomeone>" in own


GONE: dict[str, set[str]] = {
    "persona_map": {"map", "replies"},
    "layers": {"layers"},
    "traits": {"traits"},
    "hold_effects": {"hold"},
    "sacrifice_curve": {"sacrifice"},
    "self_concept": {"self-concept"},
    "measures": {"validity"},
    "replies": {"replies"},
    "components": set(),
    "sacrifice": set(),
    "hold_replies": set(),
}


@pytest.mark.parametrize("absent", GONE)
def test_a_missing_table_leaves_its_chapter_out(folder: Path, tmp_path: Path, absent: str) -> None:
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "tables" / f"{absent}.parquet").unlink()
    written = write_report(tmp_path / "run").read_text(encoding="utf-8")
    shown = [name for name in CHAPTERS if f'<section id="{name}"' in written]
    assert shown == [name for name in CHAPTERS if name not in GONE[absent]]


def test_a_run_with_no_tables_still_gives_a_page(folder: Path, tmp_path: Path) -> None:
    for name in ("run.json", "summary.json"):
        shutil.copy(folder / name, tmp_path / name)
    written = write_report(tmp_path).read_text(encoding="utf-8")
    assert "plotly.js v" not in written
    assert "greenroom audit smollm2 --seed 0" in written


def test_everything_void_and_numbers_missing_still_gives_a_page(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    summary = json.loads((run / "summary.json").read_text())
    for part in ("sacrifice", "self_concept"):
        for one in summary[part].values():
            one.update({key: None for key in one if key != "reason"}, grade="void")
    summary |= {
        "breaking_point": None,
        "breaking_point_reason": "every paradigm is void",
        "sentences": {},
        "warnings": [],
    }
    (run / "summary.json").write_text(json.dumps(summary))
    for name in ("traits", "sacrifice_curve", "hold_effects"):
        frame = pl.read_parquet(run / "tables" / f"{name}.parquet")
        frame = frame.with_columns(pl.lit(None, pl.Float64).alias(column) for column in ("low", "high"))
        if "grade" in frame.columns:
            frame = frame.with_columns(pl.lit("void").alias("grade"), pl.lit(None, pl.Float64).alias("estimate_pole"))
        frame.write_parquet(run / "tables" / f"{name}.parquet")
    written = write_report(run).read_text(encoding="utf-8")
    assert "No breaking point: every paradigm is void" in written
    assert "NaN" not in _own(written)


def test_the_same_run_gives_the_same_bytes(folder: Path, page: str) -> None:
    assert write_report(folder).read_text(encoding="utf-8") == page


def test_a_folder_that_is_no_run_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(GreenroomError, match=r"run\.json"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "said"), [(-0.001, "0.00"), (-1.5, "−1.50"), (None, "–"), (float("nan"), "–"), (1200, "1,200")]
)
def test_numbers_as_printed(value: Any, said: str) -> None:
    assert number(value) == said


def test_colours_run_from_teal_through_stone_to_rust() -> None:
    assert tint(0.0, 6.0) == "color-mix(in srgb, var(--teal) 100%, var(--stone))"
    assert tint(-3.0, 6.0).endswith("0%, var(--stone))")
    assert tint(-9.0, 6.0) == "color-mix(in srgb, var(--rust) 100%, var(--stone))"


def _variables(page: str) -> dict[str, dict[str, str]]:
    """The colours of the written page by theme, parsed from its CSS."""
    blocks = {
        "light": r":root \{ (.*?) \}",
        "dark": r':root\[data-theme="dark"\] \{ (.*?) \}',
        "system": r":root:not\(.*?\) \{ (.*?) \}",
    }
    found = {}
    for theme, pattern in blocks.items():
        block = re.search(pattern, page, flags=re.DOTALL)
        assert block, theme
        found[theme] = dict(re.findall(r"--([\w-]+): ([^;]+);", block[1]))
    return found


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark", "system"])
def test_contrast_in_both_themes(page: str, theme: str) -> None:
    colours = _variables(page)[theme]
    assert set(colours) == set(palette()["colours"])
    for pairs, least in (("text_pairs", 4.5), ("mark_pairs", 3.0)):
        for one, ground in palette()[pairs]:
            assert _contrast(colours[one], colours[ground]) >= least, (theme, one, ground)


def test_colours_are_named_once(page: str) -> None:
    """Every colour used in CSS, script and figures is one of the palette's."""
    used = set(re.findall(r"var\(--([\w-]+)", _own(page)))
    assert used <= {*palette()["colours"], "serif", "sans", "mono", "text", "tint", "aspect"}
