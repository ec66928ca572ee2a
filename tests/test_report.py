"""The report of a real run: one file, its chapters, its rules for void measures, its contrast."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl
import pytest

from greenroom.errors import GreenroomError
from greenroom.report.format import between, number, tint
from greenroom.report.parts import Chapter, palette
from greenroom.report.results import RunResults
from greenroom.report.tables import table_of, validity
from greenroom.studies import NAMES, about, study_named
from greenroom.studies.running import chapters_of, studies_of, write_page


@pytest.fixture(scope="module")
def folder(tiny_audit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that tests may change it."""
    copy = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(tiny_audit, copy)
    return copy


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def chapters(folder: Path) -> dict[str, list[Chapter]]:
    return {results.name: chapters_of(results) for results in studies_of(RunResults.of(folder))}


def _own(page: str) -> str:
    """The page without plotly.js."""
    return re.sub(r"<script>/\*\*\s*\* plotly\.js.*?</script>", "", page, flags=re.DOTALL)


def _section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', page, flags=re.DOTALL)
    assert found, name
    return found[0]


def test_the_first_screen_says_who_the_model_is_and_how_sure_we_are(folder: Path, page: str) -> None:
    top = page[: page.index("<main")]
    assert json.loads((folder / "summary.json").read_text())["headline"] in top
    stamp = re.search(r'<div class="stamp-line">.*?</div>', top, flags=re.DOTALL)
    assert stamp
    assert json.loads((folder / "summary.json").read_text())["verdict"] in stamp[0]
    assert "passed every check" not in stamp[0]  # one study's grade is not the audit's
    assert re.search(r"Of the \d+ figures of this run \d+ are ", stamp[0])
    assert "default replies reached" in top


def test_chapters_stand_in_the_order_of_the_registry(page: str, chapters: dict[str, list[Chapter]]) -> None:
    assert list(chapters) == [name for name in NAMES if study_named(name).audit != "never"]
    wanted = [*(one.id for own in chapters.values() for one in own), "validity"]
    assert re.findall(r'<section id="([\w-]+)"', page) == [*wanted, "methods", "repeat"]


def test_every_chapter_has_a_sentence_and_every_figure_words_and_a_table(
    page: str, chapters: dict[str, list[Chapter]]
) -> None:
    for one in (one for own in chapters.values() for one in own):
        assert one.finding
        assert one.reading
        for exhibit in one.exhibits:
            assert exhibit.caption
            assert exhibit.table
            assert exhibit.table.rows or one.grade == "void"
            assert all(figure.alt for figure in (*exhibit.panels, *exhibit.rows))
        assert _section(page, one.id).count("<details>") == len(one.exhibits)


def test_every_plot_is_a_figure_that_plotly_accepts(chapters: dict[str, list[Chapter]]) -> None:
    panels = [panel for own in chapters.values() for one in own for exhibit in one.exhibits for panel in exhibit.panels]
    assert len({panel.id for panel in panels}) == len(panels) > 8
    for panel in panels:
        go.Figure({"data": panel.spec["data"], "layout": panel.spec["layout"]})


def test_one_file_without_addresses_to_load(page: str) -> None:
    own = _own(page)
    assert page.count("plotly.js v") == 1
    assert not re.search(
        r'<(?:script|img|iframe|audio|video)[^>]*\ssrc=|<link[^>]*href="(?!data:)|@import|url\((?!#)', own
    )


def test_void_measures_show_their_reason_and_no_number(folder: Path) -> None:
    made = validity(RunResults.of(folder))
    assert made is not None
    assert made.open_table is not None
    assert made.open_table.void
    for index in made.open_table.void:
        cells = dict(zip(made.open_table.headings, made.open_table.rows[index], strict=True))
        assert cells["estimate"] == "not shown"
        assert (cells["low"], cells["high"], cells["n"]) == ("", "", "")
        assert cells["reason"]


def test_a_page_shows_no_interval_that_is_not_in_the_measures(folder: Path, chapters: dict[str, list[Chapter]]) -> None:
    """Every "a (b to c)" in the words of a chapter has both bounds among the measures or the results of its study."""
    run = RunResults.of(folder)
    ends = {number(value, digits, signed=signed, percent=percent)
            for frame in (run.measures,) for column in ("estimate", "low", "high") for value in frame[column]
            for digits in (0, 1, 2, 3) for signed in (False, True) for percent in (False, True)}  # fmt: skip
    for name, own in chapters.items():
        results = run.study(name)
        assert results is not None
        known = ends | {number(value, digits) for part in results.parts.values() for value in part.values()
                        if isinstance(value, float) for digits in (0, 1, 2, 3)}  # fmt: skip
        for one in own:
            said = " ".join(
                [
                    one.finding,
                    *one.lines,
                    *(row.value for exhibit in one.exhibits for rows in exhibit.rows for row in rows.rows),
                ]
            )
            for low, high in re.findall(r"\(([+−]?\d[\d.]*\u00a0?%?) to ([+−]?\d[\d.]*\u00a0?%?)", said):
                assert {low, high} <= known, (name, low, high)


def test_text_of_models_is_escaped(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    at = run / "persona_map" / "tables" / "replies.parquet"
    pl.read_parquet(at).with_columns(reply=pl.lit('I am <someone> & "me"')).write_parquet(at)
    own = _own(write_page(run).read_text(encoding="utf-8"))
    assert "<someone>" not in own
    assert "&lt;someone&gt;" in own
    assert "\\u003csomeone>" in own


@pytest.mark.parametrize("absent", NAMES)
def test_a_study_that_is_not_there_leaves_its_chapters_out(folder: Path, tmp_path: Path, absent: str) -> None:
    if not (folder / absent).exists() or any(absent in study_named(name).after for name in NAMES):
        pytest.skip("not in an audit, or others build on it")
    shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / absent)
    written = write_page(tmp_path / "run").read_text(encoding="utf-8")
    assert f'<section id="{absent.replace("_", "-")}' not in written


def test_a_study_kept_from_before_says_so(
    tiny_audit: Path, tiny_model: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from greenroom.auditing.audit import audit

    monkeypatch.setenv("GREENROOM_CACHE", str(shared / "cache"))
    run = audit(str(tiny_model), tmp_path / "run", quick=True).path
    page = (run / "report.html").read_text(encoding="utf-8")
    longer = [name for name in NAMES if study_named(name).audit == "full"]
    kept = [name for name in longer if (run / name / "kept.json").exists()]
    assert kept
    for name in kept:
        assert "kept since" in _section(page, name.replace("_", "-"))
    assert not list(tiny_audit.glob("*/kept.json"))


def test_the_same_run_gives_the_same_bytes(folder: Path, page: str) -> None:
    assert write_page(folder).read_text(encoding="utf-8") == page


def test_a_folder_that_is_no_run_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(GreenroomError, match=r"run\.json"):
        write_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_words_of_a_study_are_there(name: str) -> None:
    words = about(name)
    assert {"title", "about", "not_shown", "primary"} <= words.keys()
    assert words["about"][0].islower() or words["about"].split()[0].isupper()
    assert len(words["about"]) < 100


@pytest.mark.parametrize(
    ("value", "said"), [(-0.001, "0.00"), (-1.5, "−1.50"), (None, "–"), (float("nan"), "–"), (1200, "1,200")]
)
def test_numbers_as_printed(value: Any, said: str) -> None:
    assert number(value) == said


def test_intervals_as_printed() -> None:
    row = {"estimate": 0.412, "low": -0.3, "high": None, "loss": 0.05, "loss_low": 0.01, "loss_high": 0.094}
    assert between(row) == "0.41 (−0.30 to open)"
    assert between(row, "loss", 1, percent=True) == "5.0\u00a0% (1.0\u00a0% to 9.4\u00a0%)"
    assert between({**row, "estimate": None}) == between(None) == "–"


def test_a_table_withholds_the_numbers_of_void_rows() -> None:
    frame = pl.DataFrame({"name": ["a", "b"], "estimate": [1.234, 5.0], "n": [3, 4], "grade": ["A", "void"]})
    table = table_of(frame, {"name": None, "estimate": 1, "n": 0, "grade": None, "absent": 2})
    assert table.rows == (("a", "1.2", "3", "A"), ("b", "not shown", "", "void"))
    assert table.void == {1}


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
