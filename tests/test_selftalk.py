"""Self-talk: planted attractors and single clouds told apart, loops set apart, and the verb from end to end."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from greenroom.asking import inspect as asked
from greenroom.asking.types import Answer
from greenroom.cli import main
from greenroom.directions.cast import Cast, usual_cast
from greenroom.errors import GreenroomError, LibraryError
from greenroom.measures.one_cloud import one_cloud
from greenroom.runs.tables import differences
from greenroom.studies.drift.stages import measure_drift
from greenroom.studies.dynamics_page import write_selftalk_page
from greenroom.studies.dynamics_words import selftalk_sentences, selftalk_spoken
from greenroom.studies.selftalk import design
from greenroom.studies.selftalk import stages as job
from greenroom.studies.selftalk.findings import LOOP, MESSAGES, findings
from greenroom.studies.selftalk.stages import measure_selftalk
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
    script = design.script(design.Talk("lonely", 0), 4, "Be kind.")
    (ask,) = next(script)
    seen = []
    while True:
        seen.append(ask.conversation)
        try:
            (ask,) = script.send([Answer(f"<{ask.name}>")])
        except StopIteration as end:
            conversation = end.value
            break
    opening = design.opening_text("lonely")
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
    found = design.stimuli().openings
    assert len(found) >= 24
    assert len({opening.kind for opening in found}) >= 6
    assert len({opening.id for opening in found}) == len(found)
    some = design.design(5, 3)
    assert len(some) == 15
    assert len({talk.id for talk in some}) == 15
    assert design.design(5, 3) == some != design.design(5, 3, seed=1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"openings": 1}, "openings is 1"), ({"repeats": 0}, "repeats is 0"), ({"messages": 2}, "messages is 2"), ({"tokens": 1}, "tokens is 1")],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_before_anything_is_written(wrong, words, subject, tmp_path):
    with pytest.raises(LibraryError, match=words):
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


def said(summary: dict[str, Any]) -> dict[str, Any]:
    whole = {"model": "tiny", "reliable": True, **summary}
    return whole | {"sentences": selftalk_sentences(whole)}


def test_planted_attractors_their_basins_and_the_loop_are_found():
    side = np.where(np.arange(40) % 4 < 3, 4.0, -4.0)  # three in four
    frame = planted(
        np.stack([side, np.zeros(40)], axis=1) + 0.3 * np.random.default_rng(1).normal(size=(40, 2)), looped=6
    )
    found = findings(frame, PLACES)
    summary = said(found.summary)
    assert summary["attractors"] == 2
    assert summary["one_cloud_p"] < 0.05
    table = {row["attractor"]: row for row in found.attractors.to_dicts()}
    assert set(table) == {"A", "B", LOOP}
    assert table[LOOP]["basin"] == pytest.approx(6 / 40)
    assert table["A"]["basin"] + table["B"]["basin"] == pytest.approx(34 / 40)
    assert table["A"]["basin_low"] < table["A"]["basin"] < table["A"]["basin_high"]
    assert (table["A"]["roles"][0], table["B"]["roles"][0]) == ("poet", "ghost")
    assert found.talks.filter(pl.col("end") == LOOP)["loop_onset"].to_list() == [7] * 6
    assert summary["gibberish_share"] == pytest.approx(1 / frame.height)
    assert summary["contraction"]["talks"] == 40
    assert summary["contraction_without_loops"]["talks"] == 34
    assert "in 2 different places" in summary["sentences"]["headline"]
    spoken = selftalk_spoken(summary)
    assert len(spoken.splitlines()) <= 25
    assert "nearest roles poet" in spoken


def test_one_cloud_is_no_attractors_and_coming_together_is_seen():
    found = findings(planted(0.5 * np.random.default_rng(2).normal(size=(40, 2))), PLACES)
    summary = said(found.summary)
    assert summary["attractors"] == 1
    assert "one cloud" in summary["sentences"]["headline"]
    assert summary["contraction"]["converges"] is True
    assert summary["contraction"]["spread_ratio"] < summary["contraction"]["spread_ratio_null_low"]
    assert "come together" in summary["sentences"]["together"]
    assert found.spread["spread"][0] > found.spread["high"][0]  # apart at first, more than shuffled turns are


def test_too_few_ends_are_not_searched():
    found = findings(planted(np.random.default_rng(3).normal(size=(12, 2)), looped=6), PLACES)
    summary = said(found.summary)
    assert (summary["attractors"], summary["attractors_missing"]) == (None, "few")
    assert "too few" in summary["sentences"]["headline"]
    assert found.talks["end"].to_list().count(None) == 6


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


def test_the_score_is_the_share_before_the_loop_and_the_log_is_read(subject, tmp_path):
    log = asked.run(design.selftalk(openings=6, messages=8), stuck_after(4), tmp_path)
    value = log.results.scores[0].metrics["mean"].value
    assert 0.3 < value < 0.7
    result = measure_selftalk(log.location, tmp_path / "run", reader=subject, axis=axis_of(subject), cast=small_cast())
    assert result.summary["talks"] == 12
    assert result.summary["loop_share"] == 1
    assert result.messages["axis_sd_hot"].null_count() == result.messages.height
    assert "mockllm" in (result.path / "selftalk.html").read_text(encoding="utf-8")
    with pytest.raises(GreenroomError, match=r"is a log of .*expected one of greenroom/drift"):
        measure_drift(log.location, tmp_path / "other", reader=subject, axis=axis_of(subject))


def test_the_task_is_registered_with_inspect():
    from inspect_ai._util.registry import registry_lookup

    import greenroom.inspect_plugin  # noqa: F401

    assert registry_lookup("task", "greenroom/selftalk") is not None


# From end to end -----------------------------------------------------------------------------------------------------


def test_a_run_leaves_tables_a_summary_and_a_page(finished):
    summary = finished.summary
    assert (summary["talks"], summary["openings"], summary["messages"]) == (12, 6, 6)
    assert finished.messages.height == 72
    talks = finished.messages.filter(pl.col("turn") == 1)
    assert talks["message"].n_unique() > 6  # repeats of one opening differ
    assert {"messages", "talks", "attractors", "spread", "places"} <= {
        path.stem for path in (finished.path / "tables").iterdir()
    }
    page = (finished.path / "selftalk.html").read_text(encoding="utf-8")
    assert summary["sentences"]["headline"] in page
    assert "greenroom selftalk tiny-llama --openings 6 --repeats 2 --messages 6 --tokens 6 --seed 0" in page
    assert 'src="http' not in page
    before = (finished.path / "selftalk.html").read_bytes()
    assert write_selftalk_page(finished.path).read_bytes() == before
    json.dumps(summary, allow_nan=False)


def test_interrupted_it_goes_on_and_gives_the_same_tables(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "WAVE", 5)  # repeats of one opening in two waves
    given = {"axis": axis_of(subject), "cast": small_cast(), **SMALL}
    whole = measure_selftalk(subject, tmp_path / "whole", **given)
    first = whole.messages.filter(pl.col("turn") == 1)
    assert first.group_by("opening").agg(pl.col("message").n_unique())["message"].min() == 2
    play, calls = job.hold_talks, []

    def once(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return play(*arguments, **named)

    monkeypatch.setattr(job, "hold_talks", once)
    with pytest.raises(KeyboardInterrupt):
        measure_selftalk(subject, tmp_path / "broken", **given)
    measure_selftalk(subject, tmp_path / "broken", **given)
    assert len(calls) == 4
    assert differences(tmp_path / "whole", tmp_path / "broken") == []


def test_the_verb_passes_on_what_was_asked_and_prints_json(finished, monkeypatch, capsys):
    heard: dict[str, Any] = {}

    def measure(**arguments: Any) -> Any:
        heard.update(arguments)
        return finished

    monkeypatch.setattr(job, "measure_selftalk", measure)
    assert main(["selftalk", "m", "--openings", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["basins"].keys() == finished.summary["basins"].keys()
    assert (heard["model"], heard["openings"]) == ("m", 4)
    defaults = {name: one.default for name, one in inspect.signature(measure_selftalk).parameters.items()}
    unasked = {
        name: value for name, value in heard.items() if name in ("repeats", "messages", "tokens", "system", "reader")
    }
    assert unasked == {name: defaults[name] for name in unasked}
    assert main(["selftalk", "m"]) == 0
    assert finished.summary["sentences"]["headline"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--openings", "some"], "'some' is no whole number"),
        (["--messages", "1"], "messages is 1"),
        (["no-such.eval"], "there is no file no-such.eval"),
    ],
)
def test_a_mistake_is_one_line(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["selftalk", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert words in printed.err
    assert list(tmp_path.iterdir()) == []
