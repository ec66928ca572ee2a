"""Hold: its scripts, a run on a tiny random model, and planted effects."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from greenroom.personas import library
from greenroom.report.results import MEASURES, RunResults
from greenroom.runs.run import StageResult, open_run
from greenroom.runs.tables import write_table
from greenroom.studies import about, study_named
from greenroom.studies.hold.pressures import NEUTRAL, NEUTRAL_LONG, scenes, stimuli
from greenroom.studies.hold.stages import REPLIES
from greenroom.studies.running import measure
from greenroom.studies.study import Found, Job
from greenroom.subject import tiny

STUDY: Any = study_named("hold")
PRESSURES = [pressure.name for pressure in stimuli().pressures]
SEED, TOKENS = 3, 8


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run on a tiny random model, and what it was asked under pressure, one call a turn."""
    subject: Any = tiny("llama")
    calls: list[Any] = []
    generate = subject.generate

    def noted(conversations: Any, **how: Any) -> Any:
        if how["max_new_tokens"] == TOKENS:
            calls.append(([list(one) for one in conversations], how["seed"]))
        return generate(conversations, **how)

    subject.generate = noted
    cast = study_named("persona_map").sizes["quick"].model_copy(update={"questions": 4, "calibration_replies": 24})
    sizes = {"persona_map": cast, "hold": STUDY.sizes["quick"].model_copy(update={"tokens": TOKENS})}
    out = tmp_path_factory.mktemp("runs") / "hold"
    found = measure(Job("eval", ("persona_map", "hold"), "quick", sizes=sizes), subject, out, seed=SEED)
    return SimpleNamespace(result=found, calls=calls, results=RunResults.of(out).study("hold"))


def test_scripts_are_matched_in_length_and_every_pressure_has_words() -> None:
    items = stimuli()
    arms = {NEUTRAL: items.neutral, **{one.name: one.conversations for one in items.pressures if one.how == "users"}}
    words = np.array([[[len(text.split()) for text in talk] for talk in arm] for arm in arms.values()])
    assert words.shape == (3, 10, items.turns)
    assert words.min() >= 12
    assert words.max() <= 20
    assert (words.max(axis=0) - words.min(axis=0)).max() <= 3
    assert set(about("hold")["values"]["pressure"]) == set(PRESSURES)


def test_an_arm_differs_from_its_control_in_the_pressure_alone() -> None:
    role = library.role("pirate")
    made = {scene.arm: scene for scene in scenes([role], 1)}
    assert set(made) == {NEUTRAL, NEUTRAL_LONG, *PRESSURES}
    assert made["role_instruction"].before == [{"role": "system", "content": role.instructions[0]}]
    assert role.description in made["jailbreak"].message(0)["content"]
    assert made["jailbreak"].message(0)["content"].endswith(made[NEUTRAL].said[0])
    assert made["prefill"].start(0) != made["prefill"].start(1)
    for arm in ("role_instruction", "jailbreak", "prefill", NEUTRAL_LONG):
        assert made[arm].said == made[NEUTRAL].said


def test_a_turn_is_one_call_for_all_arms_with_a_seed_of_its_own(ran: Any) -> None:
    assert [seed for _, seed in ran.calls] == [SEED + turn for turn in range(stimuli().turns)]
    for turn, (asked, _) in enumerate(ran.calls):
        assert len(asked) == 2 * (2 + len(PRESSURES))
        assert sum(talk[-1]["role"] == "assistant" for talk in asked) == 2  # words put in its mouth
        assert sum(message["role"] == "user" for message in asked[0]) == turn + 1


def test_a_run_leaves_its_replies_and_one_measure_a_pressure_and_reading(ran: Any) -> None:
    replies, measures = ran.result.table("replies"), ran.results.measures
    assert replies.schema == pl.Schema(REPLIES)
    assert replies.height == 2 * stimuli().turns * (2 + len(PRESSURES))
    first = replies.filter(pressure="jailbreak", turn=1, conversation=0)
    assert first["user"].item() == stimuli().neutral[0][0]  # without the words before it
    assert not replies.filter(pl.col("reply").str.starts_with(stimuli().pressures[2].texts[0])).height
    single = measures.filter(part="")
    assert single["name"].to_list() == [f"{name}.{reading}" for name in PRESSURES for reading in ("hot", "cold")]
    assert single.filter("primary")["name"].to_list() == [STUDY.primary]
    assert set(single["grade"]) <= {"B", "C"}
    assert set(measures["unit"]) == {"sd"}
    series = ran.results.series("by_turn", "pressure", "turn", "reading")
    assert series.height == len(PRESSURES) * stimuli().turns * 2
    assert series.filter(turn=6)["estimate"].to_list() == single["estimate"].to_list()


def test_the_page_says_which_pressure_is_the_strongest_and_draws_each(ran: Any) -> None:
    (chapter,) = STUDY.chapters(ran.results)
    hot = ran.results.measures.filter((pl.col("part") == "") & pl.col("name").str.ends_with(".hot"))
    strongest = hot.sort(pl.col("estimate").abs())["name"][-1].removesuffix(".hot")
    name = about("hold")["values"]["pressure"][strongest]
    assert name[1:] in chapter.finding
    panels = chapter.exhibits[0].panels
    assert [panel.title for panel in panels] == list(about("hold")["values"]["pressure"].values())
    for panel in panels:
        go.Figure({"data": panel.spec["data"], "layout": panel.spec["layout"]})
        assert panel.spec["layout"]["yaxis"]["range"] == panels[0].spec["layout"]["yaxis"]["range"]
    page = (ran.result.path / "report.html").read_text(encoding="utf-8")
    assert '<section id="hold"' in page
    assert "{" not in chapter.finding


@pytest.mark.parametrize("grade", ["B", "void"])
def test_without_an_axis_it_has_no_headline(ran: Any, tmp_path: Path, grade: str) -> None:
    folder = shutil.copytree(ran.result.path, tmp_path / "run")
    measures = RunResults.of(folder).measures
    axis = pl.when(pl.col("name") == "axis_auc").then(pl.lit(grade)).otherwise(pl.col("grade"))
    write_table(folder / MEASURES, measures.with_columns(grade=axis))
    results = RunResults.of(folder).study("hold")
    (chapter,) = STUDY.chapters(results)
    assert bool(chapter.headline) == (grade != "void")
    assert chapter.finding


def planted(folder: Path, effect: float, spread: float, *, missing: str = "") -> Found:
    """What hold finds where every pressure moves the reply by `effect` at the last turn, and scripts differ widely."""
    rng, rows = np.random.default_rng(0), []
    for scene in scenes([library.role("pirate")], 7):
        for turn in range(stimuli().turns):
            moved = effect * turn / (stimuli().turns - 1) if scene.arm in PRESSURES else 0.0
            at = 10.0 * scene.number + moved + rng.normal(0, spread)
            hot = None if scene.arm == missing else at
            rows.append((scene.arm, scene.number, turn + 1, hot, at / 2, scene.said[turn], "Well."))
    made = StageResult({"hold/replies": pl.DataFrame(rows, schema=REPLIES, orient="row")})
    run = open_run(folder, kind="eval", subject_name="planted", fingerprint="0", config={}, seed=0)
    with run:
        run.stage("hold/conversations", lambda: made)
    return Found(run, "hold", STUDY.sizes["standard"], 0, {})


def test_a_planted_effect_is_found_with_scripts_as_pairs(tmp_path: Path) -> None:
    measures = {one.name: one for one in STUDY.conclude(planted(tmp_path / "run", -2.0, 0.2))}
    reasons = about("hold")["sentences"]
    for name in PRESSURES:
        hot = measures[f"{name}.hot"]
        assert hot.estimate == pytest.approx(-2.0, abs=0.3)
        assert hot.high < -1.5  # although scripts lie 10 sd apart
        assert (hot.grade, hot.reason, hot.n) == ("B", reasons["paired"], 7)
        assert measures[f"{name}.cold"].estimate == pytest.approx(-1.0, abs=0.2)
        assert measures[f"{name}/1/hot"].estimate == pytest.approx(0.0, abs=0.3)


def test_an_effect_that_may_be_none_is_weak_and_one_not_read_is_void(tmp_path: Path) -> None:
    reasons = about("hold")["sentences"]
    found = {one.name: one for one in STUDY.conclude(planted(tmp_path / "run", 0.0, 1.0, missing="prefill"))}
    assert found["prefill.hot"].grade == "void"
    assert found["prefill.hot"].estimate is None
    assert found["prefill.hot"].reason == reasons["unread"]
    graded = [one for one in found.values() if one.estimate is not None]
    for one in graded:
        weak = one.low <= 0 <= one.high
        assert (one.grade, one.reason) == (("C", reasons["unsure"]) if weak else ("B", reasons["paired"]))
    assert sum(one.grade == "C" for one in graded) > len(graded) / 2
