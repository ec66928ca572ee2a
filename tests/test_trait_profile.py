"""The trait profile: planted places between poles, and a run on a tiny random model."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from greenroom.personas import library
from greenroom.report.results import MEASURES, RunResults
from greenroom.runs.run import StageResult, open_run
from greenroom.runs.tables import write_table
from greenroom.studies import study_named
from greenroom.studies.running import measure
from greenroom.studies.study import Found, Job, StudyResult
from greenroom.studies.trait_profile.stages import REPLIES
from greenroom.subject import tiny

STUDY: Any = study_named("trait_profile")
QUICK = STUDY.sizes["quick"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    cast = study_named("persona_map").sizes["quick"].model_copy(update={"questions": 4, "calibration_replies": 24})
    sizes = {"persona_map": cast, "trait_profile": QUICK.model_copy(update={"tokens": 8})}
    out = tmp_path_factory.mktemp("runs") / "traits"
    return measure(Job("eval", tuple(sizes), "quick", sizes=sizes), tiny("llama"), out)


def test_poles_and_default_answer_the_same_held_out_questions(ran: StudyResult) -> None:
    replies = ran.table("replies")
    assert replies.schema == pl.Schema(REPLIES)
    for trait in library.traits()[: QUICK.traits]:
        held_out = {question.text for question in trait.questions if question.held_out}
        own = replies.filter(trait=trait.name)
        asked = {str(pole): set(group["question"]) for (pole,), group in own.group_by("pole")}
        assert set(asked) == {"positive", "negative", "default"}
        together = set.union(*asked.values())  # an empty reply is left out, and a random model gives some
        assert len(together) == QUICK.questions
        assert together <= held_out
    traits = ran.table("traits")
    assert traits["role_percentile"].is_between(0, 1).all()
    assert traits["reliable"].null_count() == traits.height  # no vector is stored for these weights


def test_one_measure_a_trait_and_void_ones_hold_no_number(ran: StudyResult) -> None:
    results = RunResults.of(ran.path).study("trait_profile")
    assert results is not None
    single = results.measures.filter(part="")
    assert single["name"].to_list() == [trait.name for trait in library.traits()[: QUICK.traits]]
    assert single.filter("primary")["name"].to_list() == [STUDY.primary]
    void = single.filter(grade="void")
    assert void.height  # a random model has no poles
    assert void["estimate"].null_count() == void.height
    assert void["reason"].str.contains("AUC").all()
    assert results.series("pole_auc", "trait")["grade"].to_list() == single["grade"].to_list()


def test_rows_stand_between_named_poles_and_void_ones_say_why(ran: StudyResult) -> None:
    results = RunResults.of(ran.path).study("trait_profile")
    assert results is not None
    (chapter,) = STUDY.chapters(results)
    figure = chapter.exhibits[0].rows[0]
    assert {(row.left, row.right) for row in figure.rows} >= {("lengthy", "brief"), ("assertive", "deferential")}
    for row in figure.rows:
        assert (row.dot is None) == (row.void is not None)
    page = html.unescape((ran.path / "report.html").read_text(encoding="utf-8"))
    assert '<section id="trait-profile"' in page
    assert next(row.void for row in figure.rows if row.void) in page


def planted(folder: Path, places: dict[str, float], spread: float = 0.2, contrast: float = 1.0) -> Found:
    """What the profile finds where the default character's replies lie at `places` between poles at ±contrast."""
    rng, rows, traits = np.random.default_rng(0), [], []
    for name, place in places.items():
        trait = library.trait(name)
        for number, question in enumerate([q for q in trait.questions if q.held_out][:5]):
            for pole, at in (("positive", contrast), ("negative", -contrast), ("default", place * contrast)):
                told = number + at + rng.normal(0, spread, size=1 if pole == "default" else 2)
                rows += [(name, pole, question.text, float(value), "Well.") for value in told]
        traits.append({"trait": name, "kind": trait.kind, "negative": trait.negative, "positive": trait.positive,
                       "layer": 2, "role_percentile": 0.5, "reliable": name != "malice"})  # fmt: skip
    tables = {
        "trait_profile/replies": pl.DataFrame(rows, schema=REPLIES, orient="row"),
        "trait_profile/traits": pl.DataFrame(traits),
    }
    run = open_run(folder, kind="eval", subject_name="planted", fingerprint="0", config={}, seed=0)
    with run:
        run.stage("trait_profile/traits", lambda: StageResult(tables))
    return Found(run, "trait_profile", STUDY.sizes["standard"], 0, {})


def test_places_are_found_between_the_poles(tmp_path: Path) -> None:
    places = {"warmth": 1.0, "malice": -1.0, "honesty": 0.0}
    found = {one.name: one for one in STUDY.conclude(planted(tmp_path / "run", places, contrast=6.0)) if not one.part}
    for name, place in places.items():
        one = found[name]
        assert one.estimate == pytest.approx(place, abs=0.1)
        assert one.low <= one.estimate <= one.high
        assert (one.grade, one.n) == ("A", 20)


def test_without_a_contrast_there_is_nothing_to_place_it_on(tmp_path: Path) -> None:
    measures = STUDY.conclude(planted(tmp_path / "run", {"warmth": 0.5}, spread=3.0, contrast=0.0))
    assert [(one.grade, one.estimate) for one in measures] == [("void", None)] * 2
    assert "no contrast" in measures[0].reason


def test_the_clearest_traits_are_named_and_unreliable_vectors_marked(tmp_path: Path) -> None:
    found = planted(tmp_path / "run", {"warmth": 0.9, "malice": -0.7, "honesty": 0.1}, contrast=6.0)
    rows = [{"study": "trait_profile", **one.row()} for one in STUDY.conclude(found)]
    write_table(tmp_path / "run" / MEASURES, pl.DataFrame(rows, infer_schema_length=None))
    words = Path(library.__file__).parents[1] / "studies" / "trait_profile" / "words.yaml"
    (tmp_path / "run" / "trait_profile" / "words.yaml").write_text(words.read_text(encoding="utf-8"), encoding="utf-8")
    results: Any = RunResults.of(tmp_path / "run").study("trait_profile")
    (chapter,) = STUDY.chapters(results)
    assert "warm, benevolent and honest" in chapter.finding
    rows_by = {row.label: row for row in chapter.exhibits[0].rows[0].rows}
    assert "unreliable" in rows_by["malice"].note
    assert "unreliable" not in rows_by["warmth"].note
    assert "above 50" in rows_by["warmth"].note
