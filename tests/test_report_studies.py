"""The chapters of studies in an audit's report: shown when their results lie in its folder, left out when they do not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import plotly.graph_objects as go
import polars as pl
import pytest

from greenroom.auditing.contents import chapters
from greenroom.report.page import write_report
from greenroom.report.parts import Results
from report_fixture import write_run
from studies_fixture import write_studies

STUDIES = ("behaviour", "archetypes", "frontier")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_studies(write_run(tmp_path_factory.mktemp("run")))
    write_report(made)
    return made


def section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', page, flags=re.DOTALL)
    assert found, name
    return found[0]


def test_studies_stand_in_order_each_with_sentence_figure_and_table(folder: Path) -> None:
    made = [one for one in chapters(Results.of(folder)) if one.id in STUDIES]
    assert [one.id for one in made] == list(STUDIES)
    for one in made:
        assert one.finding
        for exhibit in one.exhibits:
            assert exhibit.caption
            assert exhibit.table
            assert exhibit.table.rows
            assert all(panel.alt for panel in [*exhibit.panels, *exhibit.rows])
            for panel in exhibit.panels:
                go.Figure({"data": panel.spec["data"], "layout": panel.spec["layout"]})


def test_a_study_says_where_it_comes_from_and_how_it_was_measured(folder: Path, tmp_path: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    for name, command in zip(STUDIES, ("map --behaviour", "archetypes", "frontier"), strict=True):
        assert f"greenroom {command}, seed 3" in section(page, name)
    methods = section(page, "methods")
    assert all(word in methods for word in ("Distance in words", "Archetypes.", "Price."))
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "behaviour" / "run.json").write_text("{}")  # as `audit --full` leaves it
    own = section(write_report(tmp_path / "run").read_text(encoding="utf-8"), "behaviour")
    assert "kept since" not in own
    assert "kept since" in section(page, "behaviour")


def test_every_archetype_has_a_card_and_unstable_ones_say_so(folder: Path) -> None:
    frame = pl.read_parquet(folder / "archetypes" / "tables" / "archetypes.parquet")
    chapter = next(one for one in chapters(Results.of(folder)) if one.id == "archetypes")
    assert chapter.open_table is not None
    names = [row[0] for row in chapter.open_table.rows]
    assert len(set(names)) == frame.height
    assert sum("unstable" in name for name in names) == frame.filter(~pl.col("stable")).height > 0
    assert {quote.role for quote in chapter.quotes}


@pytest.mark.parametrize("absent", STUDIES)
def test_a_study_that_is_not_there_leaves_its_chapter_out(folder: Path, tmp_path: Path, absent: str) -> None:
    shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / absent)
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert [name for name in STUDIES if f'<section id="{name}"' in page] == [name for name in STUDIES if name != absent]


def test_a_map_without_an_axis_and_without_an_interval_is_still_drawn(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    at = run / "behaviour" / "summary.json"
    missing = dict.fromkeys(("mantel_low", "mantel_high", "floor_bits", "split_half"))
    at.write_text(json.dumps({**json.loads(at.read_text()), **missing}))
    for kind, table, column in (
        ("behaviour", "behaviour_places", "axis_sd"),
        ("archetypes", "archetype_places", "axis"),
    ):
        path = run / kind / "tables" / f"{table}.parquet"
        pl.read_parquet(path).with_columns(pl.lit(None, pl.Float64).alias(column)).write_parquet(path)
    page = write_report(run).read_text(encoding="utf-8")
    assert all(f'<section id="{name}"' in page for name in STUDIES)
