"""Self-talk: planted attractors and single clouds told apart, loops set apart, and the verb from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from greenroom.asking import inspect as asked
from greenroom.asking.inspect_talk import talk_task
from greenroom.asking.types import Answer
from greenroom.cli import main
from greenroom.directions.cast import Cast, usual_cast
from greenroom.errors import GreenroomError
from greenroom.measures.one_cloud import one_cloud
from greenroom.report.results import RunResults
from greenroom.runs.run import StageResult
from greenroom.runs.tables import differences
from greenroom.studies.drift import measure_drift
from greenroom.studies.running import measure, write_page
from greenroom.studies.selftalk import STUDY, Openings, measure_selftalk, scripts, stages
from greenroom.studies.selftalk.ends import LOOP, MESSAGES, ends_of
from greenroom.studies.study import Job
from greenroom.subject import tiny
from test_drift import axis_of

SMALL: dict[str, Any] = {"openings": 6, "repeats": 2, "messages": 6, "tokens": 6}


def small_cast() -> Cast:
    cast = usual_cast(every=15, questions=2, tokens=4)
    return Cast(cast.roles, cast.questions, cast.instructions[:2], 4)


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


@pytest.fixture(scope="module")
def finished(subject, tmp_path_factory):
    out = tmp_path_factory.mktemp("selftalk") / "run"
    return measure_selftalk(subject, out, axis=axis_of(subject), cast=small_cast(), **SMALL)


# The design ----------------------------------------------------------------------------------------------------------


def test_each_copy_sees_the_other_as_its_user():
    script = scripts.script("lonely", 4, "Be kind.")
    (ask,) = next(script)
    seen = []
    while True:
        seen.append(ask.conversation)
        try:
            (ask,) = script.send([Answer(f"<{ask.name}>")])
        except StopIteration as end:
            conversation = end.value
            break
    opening = scripts.opening_text("lonely")
    assert [message["role"] for message in seen[0]] == ["system", "user"]
    assert seen[0][-1]["content"] == opening
    second = seen[1]
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert (second[2]["content"], second[3]["content"]) == (opening, "<turn/1>")
    assert all(message["content"] == "Be kind." for message in (one[0] for one in seen))
    assert [message["content"] for message in conversation[1:]] == [
        opening,
        *(f"<turn/{turn}>" for turn in range(1, 5)),
    ]


def test_openings_are_many_and_of_many_kinds():
    found = scripts.stimuli().openings
    assert len(found) >= 24
    assert len({opening.kind for opening in found}) >= 6
    assert len({opening.id for opening in found}) == len(found)
    size = Openings(openings=5, repeats=3)
    some = [talk.id for talk in scripts.talks(size, 0)]
    assert len(set(some)) == 15
    assert [talk.id for talk in scripts.talks(size, 0)] == some != [talk.id for talk in scripts.talks(size, 1)]
    assert all(stage.cost is not None for stage in STUDY.parts(size))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"openings": 1}, "openings is 1"), ({"repeats": 0}, "repeats is 0"), ({"messages": 2}, "messages is 2"), ({"tokens": 1}, "tokens is 1: input should be")],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_before_anything_is_written(wrong, words, subject, tmp_path):
    with pytest.raises(GreenroomError, match=words):
        measure_selftalk(subject, tmp_path / "run", axis=axis_of(subject), cast=small_cast(), **wrong)
    assert not (tmp_path / "run").exists()


# One cloud, or several? ----------------------------------------------------------------------------------------------


def test_several_clouds_are_told_from_one():
    rng = np.random.default_rng(0)
    centres = 6 * rng.normal(size=(3, 4))
    found = one_cloud(centres[np.arange(45) % 3] + rng.normal(size=(45, 4)), 5, draws=39)
    assert found.gain > found.null_high
    assert found.p == pytest.approx(1 / 40)


def test_one_long_oblique_cloud_is_not_called_several():
    """Clusters with one diagonal covariance always split a long oblique cloud; the null of the same shape knows."""
    called = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        mix = np.array([[3.0, 0, 0], [2.8, 0.5, 0], [0, 0, 1]])
        called += one_cloud(rng.normal(size=(40, 3)) @ mix.T, 4, draws=19, seed=seed).p <= 0.05
    assert called <= 5


def test_one_cloud_says_nothing_where_there_is_nothing():
    assert one_cloud(np.zeros((20, 2)), 3).p is None
    assert one_cloud(np.random.default_rng(0).normal(size=(20, 2)), 1).p is None
    assert one_cloud(np.random.default_rng(0).normal(size=(2, 2)), 4).p is None


# Planted talks -------------------------------------------------------------------------------------------------------


def planted(ends: np.ndarray, looped: int = 0, *, turns: int = 12, seed: int = 0) -> pl.DataFrame:
    """Talks that go from their opening to their end; two repeats an opening. The first `looped` say one thing again."""
    rng, rows = np.random.default_rng(seed), []
    begin = 3 * rng.normal(size=(len(ends) // 2, 2))
    for talk, goal in enumerate(ends):
        for turn in range(1, turns + 1):
            at = goal + (begin[talk // 2] - goal) * 0.6**turn + 0.15 * rng.normal(size=2)
            stuck = talk < looped and turn > 5
            text = "We agree with each other about everything." if stuck else " ".join(rng.choice(list("abcdefghij"), 12)) + f" {talk} {turn}"  # fmt: skip
            rows.append(
                dict.fromkeys(MESSAGES)
                | {"talk": f"t{talk:02}", "opening": f"o{talk // 2}", "turn": turn, "answers": "…", "message": text,
                   "repeats": stuck, "gibberish": "circles" if talk == 0 and turn == 1 else None, "axis_sd_cold": -goal[0],
                   "pc1": at[0], "pc2": at[1]}
            )  # fmt: skip
    return pl.DataFrame(rows, schema={**MESSAGES, "pc1": pl.Float64, "pc2": pl.Float64})


PLACES = pl.DataFrame(
    {"role": ["default", "poet", "ghost", "clerk"], "pc1": [0.0, 4.0, -4.0, 0.0], "pc2": [0.0, 0.0, 0.0, 5.0]}
)


def ran(frame: pl.DataFrame, subject: Any, folder: Path) -> Any:
    """A run in which only the messages are planted."""
    axes = ["pc1", "pc2"]
    answers = frame.select(
        pl.lit("selftalk").alias("part"), pl.col("talk").alias("case"), "opening", wording=pl.format("turn/{}", "turn"),
        message="answers", reply="message", gibberish="gibberish", surprise="surprise", axis_sd_hot="axis_sd_hot",
        axis_sd_cold="axis_sd_cold", **{name: pl.col(name) for name in axes},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "draw_space", lambda work: StageResult({"places": PLACES}, {"explained": [0.5, 0.2]}))
        patch.setattr(stages, "hold", lambda work, wave, number: StageResult({f"answers_{number}": answers}))
        patch.setattr(scripts, "opening_text", lambda name: "Hello.")
        patch.setattr(stages, "opening_text", lambda name: "Hello.")
        return measure_selftalk(subject, folder / "run", axis=axis_of(subject), openings=2, repeats=1)


def findings(result: Any) -> dict[str, str]:
    return {title: finding for title, finding, _ in result.summary["findings"]}


def test_planted_attractors_their_basins_and_the_loop_are_found(subject, tmp_path):
    side = np.where(np.arange(40) % 4 < 3, 4.0, -4.0)  # three in four
    frame = planted(
        np.stack([side, np.zeros(40)], axis=1) + 0.3 * np.random.default_rng(1).normal(size=(40, 2)), looped=6
    )
    result = ran(frame, subject, tmp_path)
    results = RunResults.of(result.path).study("selftalk")
    assert results is not None
    found = results.measure("attractors")
    assert (found["estimate"], found["grade"]) == (2, "A")
    assert found["p"] < 0.05
    table = {row["attractor"]: row for row in result.attractors.to_dicts()}
    assert set(table) == {"A", "B", LOOP}
    basins = {row["end"]: row for row in results.series("basin", "end").to_dicts()}
    assert basins[LOOP]["estimate"] == pytest.approx(6 / 40) == results.measure("loop_share")["estimate"]
    assert basins["A"]["estimate"] + basins["B"]["estimate"] == pytest.approx(34 / 40)
    assert basins["A"]["low"] < basins["A"]["estimate"] < basins["A"]["high"]
    assert (table["A"]["roles"][0], table["B"]["roles"][0]) == ("poet", "ghost")
    talks = results.table("talks")
    assert talks.filter(pl.col("end") == LOOP)["loop_onset"].to_list() == [7] * 6
    assert results.measure("gibberish_share")["estimate"] == pytest.approx(1 / frame.height)
    tests = {row["whose"]: row["n"] for row in results.series("contraction", "whose", "test").to_dicts()}
    assert tests == {"all": 40, "without_loops": 34}
    assert "in 2 different places" in result.summary["headline"]
    assert len(str(result).splitlines()) <= 25
    assert "nearest roles poet" in str(result)


def test_one_cloud_is_no_attractors_and_coming_together_is_seen(subject, tmp_path):
    result = ran(planted(0.5 * np.random.default_rng(2).normal(size=(40, 2))), subject, tmp_path)
    numbers, spread = result.summary["results"]["selftalk"]["ends"], result.table("spread")
    assert numbers["attractors"] == 1
    together = numbers["contraction"]
    assert together["converges"] is True
    assert together["spread_ratio"] < together["spread_ratio_null_low"]
    assert spread["spread"][0] > spread["high"][0]  # apart at first, more than shuffled turns are
    assert "one cloud" in result.summary["headline"]
    assert "come together" in findings(result)["Do they come together?"]


def test_too_few_ends_are_not_searched(subject, tmp_path):
    frame = planted(np.random.default_rng(3).normal(size=(12, 2)), looped=6)
    found = ends_of(frame, PLACES)
    assert (found.numbers["attractors"], found.numbers["attractors_missing"]) == (None, "few")
    assert found.talks["end"].to_list().count(None) == 6
    result = ran(frame, subject, tmp_path)
    assert "too few" in result.summary["headline"]
    (measured,) = (one for one in result.summary["measures"] if one["name"] == "attractors")
    assert (measured["grade"], measured["reason"]) == (
        "void", "Too few talks end outside a loop to look for attractors.",
    )  # fmt: skip


# The task on any model, and its log ----------------------------------------------------------------------------------


def stuck_after(turns: int):
    def reply(messages: list[Any], *_: Any) -> ModelOutput:
        number = len(messages)
        text = (
            "I think exactly the same as you do."
            if number > turns
            else f"{number} reasons to speak of {'abcdefgh'[number % 8] * 9}."
        )
        output = ModelOutput.from_content("mockllm", text)
        output.usage = ModelUsage()
        return output

    return get_model("mockllm/model", custom_outputs=reply, memoize=False)


FEW = Openings(openings=6, messages=8)


def test_the_score_is_the_share_before_the_loop_and_the_log_is_read(subject, tmp_path):
    log = asked.run(talk_task(STUDY, FEW), stuck_after(4), tmp_path)
    value = log.results.scores[0].metrics["mean"].value
    assert 0.3 < value < 0.7
    result = measure_selftalk(log.location, tmp_path / "run", reader=subject, axis=axis_of(subject), cast=small_cast())
    assert result.messages["talk"].n_unique() == 12
    measured = {one["name"]: one["estimate"] for one in result.summary["measures"]}
    assert measured["loop_share"] == 1
    assert result.messages["axis_sd_hot"].null_count() == result.messages.height
    assert "mockllm" in (result.path / "report.html").read_text(encoding="utf-8")
    with pytest.raises(GreenroomError, match=r"is a log of .*expected one of greenroom/drift"):
        measure_drift(log.location, tmp_path / "other", reader=subject, axis=axis_of(subject))


def test_a_hosted_model_is_asked_and_read_as_its_log_is(subject, tmp_path):
    """What was asked now and what a log holds give the same measures."""
    given = {"reader": subject, "axis": axis_of(subject), "cast": small_cast()}
    job = Job("eval", ("selftalk",), sizes={"selftalk": FEW}, given=given)
    now = measure(job, stuck_after(4), tmp_path / "now")
    (log,) = (now.path / "selftalk" / "logs").glob("*.eval")
    then = measure_selftalk(log, tmp_path / "then", **given)
    one, other = (pl.read_parquet(path / "tables" / "measures.parquet") for path in (now.path, then.path))
    assert one.equals(other, null_equal=True)


def test_the_task_is_registered_with_inspect():
    from inspect_ai._util.registry import registry_lookup

    import greenroom.inspect_plugin  # noqa: F401

    assert registry_lookup("task", "greenroom/selftalk") is not None


# From end to end -----------------------------------------------------------------------------------------------------


def test_a_run_leaves_tables_a_summary_and_a_page(finished):
    summary = finished.summary
    assert finished.messages.height == 72
    assert finished.messages["talk"].n_unique() == 12
    talks = finished.messages.filter(pl.col("turn") == 1)
    assert talks["message"].n_unique() > 6  # repeats of one opening differ
    tables = {path.stem for path in (finished.path / "selftalk" / "tables").iterdir()}
    assert {"messages", "talks", "attractors", "spread", "places"} <= tables
    assert RunResults.of(finished.path).measures.filter("primary")["name"].to_list() == ["attractors"]
    page = (finished.path / "report.html").read_text(encoding="utf-8")
    assert summary["headline"] in page
    assert "greenroom selftalk tiny-llama --openings 6 --messages 6 --tokens 6 --dtype float32 --seed 0" in page
    assert 'src="http' not in page
    before = (finished.path / "report.html").read_bytes()
    assert write_page(finished.path).read_bytes() == before
    json.dumps(summary, allow_nan=False)


def test_interrupted_it_goes_on_and_gives_the_same_tables(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(scripts, "WAVE", 5)  # repeats of one opening in two waves
    given = {"axis": axis_of(subject), "cast": small_cast(), **SMALL}
    whole = measure_selftalk(subject, tmp_path / "whole", **given)
    first = whole.messages.filter(pl.col("turn") == 1)
    assert first.group_by("opening").agg(pl.col("message").n_unique())["message"].min() == 2
    hold, calls = stages.hold_and_read, []

    def once(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return hold(*arguments, **named)

    monkeypatch.setattr(stages, "hold_and_read", once)
    with pytest.raises(KeyboardInterrupt):
        measure_selftalk(subject, tmp_path / "broken", **given)
    measure_selftalk(subject, tmp_path / "broken", **given)
    assert len(calls) == 4  # the finished wave was not held twice
    assert differences(whole.path, tmp_path / "broken") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--openings", "some"], "--openings 'some'"),
        (["--messages", "1"], "messages is 1"),
        (["no-such.eval"], "there is no file no-such.eval"),
    ],
)
def test_a_mistake_is_one_line(arguments, words, subject, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("greenroom.subject.loading.load", lambda *_, **__: subject)
    assert main(["selftalk", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert words in printed.err
    assert list(tmp_path.iterdir()) == []
