"""The chapters of studies in an audit's report: shown when their results lie in its folder, left out when they do not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import plotly.graph_objects as go
import pytest
from greenroom.auditing.contents import chapters
from report_fixture import write_run

from greenroom.report.page import write_report
from greenroom.report.parts import Results
from studies_fixture import write_studies

STUDIES = ("frontier",)


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
    for name, command in zip(STUDIES, ("frontier",), strict=True):
        assert f"greenroom {command}, seed 3" in section(page, name)
    methods = section(page, "methods")
    assert "Price." in methods
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "frontier" / "run.json").write_text("{}")  # as `audit --full` leaves it
    own = section(write_report(tmp_path / "run").read_text(encoding="utf-8"), "frontier")
    assert "kept since" not in own
    assert "kept since" in section(page, "frontier")


@pytest.mark.parametrize("absent", STUDIES)
def test_a_study_that_is_not_there_leaves_its_chapter_out(folder: Path, tmp_path: Path, absent: str) -> None:
    shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / absent)
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert [name for name in STUDIES if f'<section id="{name}"' in page] == [name for name in STUDIES if name != absent]
