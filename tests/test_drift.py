"""Drift and ways back: the design, planted drifts found again, the task on any model, and the verb from end to end."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from greenroom.asking import inspect as asked
from greenroom.asking.local_talk import _Lent, by_step, hold_talks
from greenroom.asking.types import Answer
from greenroom.cli import main
from greenroom.directions import Direction
from greenroom.directions.direction import Calibration, SignTest
from greenroom.errors import GreenroomError, LibraryError
from greenroom.runs.tables import differences
from greenroom.studies.drift import design
from greenroom.studies.drift import stages as job
from greenroom.studies.drift.findings import ALL, REPLIES, drift_table, findings, own_worded, predicted
from greenroom.studies.drift.stages import measure_drift
from greenroom.studies.dynamics_words import drift_sentences, drift_spoken
from greenroom.subject import PrefixCache, tiny

SMALL: dict[str, Any] = {
    "domains": "coding,roleplay", "conversations": 2, "users": "scripted,simulated", "turns": 2, "return_turns": 1, "tokens": 6,
}  # fmt: skip


def axis_of(subject: Any) -> Direction:
    vector = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(3))
    scale = Calibration.of(np.random.default_rng(0).normal(0, 30, (6, 8)))
    return Direction(
        name="north", kind="axis", layer=2, vectors={2: vector / vector.norm()}, calibration={2: scale},
        subject=subject.name, fingerprint=subject.fingerprint, sign_test=SignTest("northern", "southern", 2.0, -1.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


@pytest.fixture(scope="module")
def finished(subject, tmp_path_factory):
    return measure_drift(subject, tmp_path_factory.mktemp("drift") / "run", axis=axis_of(subject), **SMALL)


# The design ----------------------------------------------------------------------------------------------------------


def played(case: design.Case, arms: tuple[str, ...] = design.ARMS) -> tuple[dict[str, Any], Any]:
    """Every ask of a script by name, answered by its own name, and the conversation that it returns."""
    script, asked = design.script(case, 3, 2, arms, "Be plain."), {}
    asks = next(script)
    while True:
        asked |= {ask.name: ask for ask in asks}
        try:
            asks = script.send([Answer(f"<{ask.name}>") for ask in asks])
        except StopIteration as end:
            return asked, end.value


def test_all_ways_back_go_on_from_one_conversation_and_probes_leave_no_trace():
    asked, conversation = played(design.Case("denial", 1, "simulated"))
    drifted = asked["after/0"].conversation[:-1]
    assert [message["content"] for message in conversation] == [message["content"] for message in drifted]
    assert not any("probe" in message["content"] or "after/" in message["content"] for message in drifted)
    for arm in ("none", "topic", "reminder", "restated", "cap"):
        assert asked[f"{arm}/1"].conversation[:-1] == drifted
        assert asked[f"{arm}/2"].conversation[: len(drifted)] == drifted
    fresh = asked["summary/1"].conversation
    assert [message["role"] for message in fresh] == ["system", "user"]
    assert "<summary>" in fresh[-1]["content"]
    assert "Be plain." in asked["restated/1"].message
    assert asked["reminder/2"].message == asked["none/2"].message  # said once; then it just goes on
    assert asked["reminder/1"].message.endswith(asked["none/1"].message)


def test_the_same_probes_are_asked_at_every_moment_and_the_cap_is_lifted_before_them():
    asked, _ = played(design.Case("coding", 0, "scripted"))
    probes = design.stimuli().probes
    assert len(probes) >= 4
    moments = ["fresh", "before", "after", *(f"back/{arm}" for arm in (*design.ARMS, design.CAP_ON))]
    for moment in moments:
        assert [asked[f"{moment}/{place}"].message for place in range(len(probes))] == list(probes)
    assert [message["role"] for message in asked["fresh/0"].conversation] == ["system", "user"]
    edited = {name.rpartition("/")[0] for name, ask in asked.items() if ask.edited}
    assert edited == {"cap", f"back/{design.CAP_ON}"}
    assert len(asked) == design.replies_of(design.Case("coding", 0, "scripted"), 3, 2, design.ARMS)
    assert asked["back/cap/0"].conversation[:-1] == asked[f"back/{design.CAP_ON}/0"].conversation[:-1]


def test_a_simulated_user_sees_the_conversation_from_the_other_side():
    asked, _ = played(design.Case("flattery", 2, "simulated"))
    seen = asked["user/3"].conversation
    assert seen[0]["role"] == "system"
    assert seen[-1] == {"role": "user", "content": "<turn/2>"}
    assert {"role": "assistant", "content": "<user/2>"} in seen
    assert len(asked) == design.replies_of(design.Case("flattery", 2, "simulated"), 3, 2, design.ARMS)
    scripted, _ = played(design.Case("flattery", 2, "scripted"))
    assert not any(ask.by == "user" for ask in scripted.values())


def test_every_line_of_every_case_can_be_said():
    found = design.stimuli()
    assert set(found.domains) >= {
        "coding",
        "writing",
        "emotional_support",
        "own_nature",
        "denial",
        "flattery",
        "roleplay",
    }
    for case in design.cases():
        lines = [design.line(case, turn) for turn in range(design.TURNS)]
        assert len(set(lines)) == design.TURNS, case.id
        assert not any("{" in line for line in lines)
    assert len({case.id for case in design.cases()}) == len(design.cases())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"domains": "cooking"}, "domains names 'cooking'; expected some of coding"),
        ({"conversations": 99}, "conversations is 99; expected 1 to"),
        ({"users": "aliens"}, "users names 'aliens'"),
        ({"turns": 0}, "turns is 0; expected 1 to"),
        ({"return_turns": 9}, "return_turns is 9"),
        ({"arms": "hypnosis"}, "arms names 'hypnosis'"),
        ({"arms": "restated", "system": ""}, "there is none"),
        ({"tokens": 2}, "tokens is 2"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_anything_is_written(wrong, words, subject, tmp_path):
    with pytest.raises(LibraryError, match=words):
        measure_drift(subject, tmp_path / "run", axis=axis_of(subject), **wrong)
    assert not (tmp_path / "run").exists()


# Planted drifts ------------------------------------------------------------------------------------------------------


def planted(drift: float, shares: dict[str, float], *, n: int = 40, noise: float = 0.4, seed: int = 0) -> pl.DataFrame:
    """Conversations that drift by `drift` sd on average, of which each arm undoes its share."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(n):
        own, base = rng.normal(drift, 0.5), rng.normal(0, 0.5)
        moments = {"fresh": base, "before": base, "after": base - own}
        moments |= {f"back/{arm}": base - own + share * own for arm, share in shares.items()}
        head = {
            "conversation": f"c{number}",
            "domain": "coding" if number % 2 else "denial",
            "case": number,
            "user": "scripted",
        }
        for moment, level in moments.items():
            name, _, arm = moment.partition("/")
            for place in range(6):
                value = level + rng.normal(0, noise)
                hot = None if arm == design.CAP_ON else value
                rows.append(
                    {
                        **head,
                        "moment": name,
                        "arm": arm or None,
                        "place": place,
                        "axis_sd_cold": value,
                        "axis_sd_hot": hot,
                    }
                )
        for turn in range(5):
            value = base - own * turn / 4 + rng.normal(0, noise)
            rows.append(
                {
                    **head,
                    "moment": "turn" if turn else "warm",
                    "place": turn,
                    "axis_sd_cold": value,
                    "axis_sd_hot": value,
                }
            )
    return pl.DataFrame([dict.fromkeys(REPLIES) | row | {"message": "m", "reply": "abcdefgh"[row["place"]] * 8, "cut": False} for row in rows], schema=REPLIES)  # fmt: skip


def summary_of(frame: pl.DataFrame, **more: Any) -> dict[str, Any]:
    told = {"model": "tiny", "turns": 12, "return_turns": 2, "predicted": [], "reliable": True, "empty_replies": 0}
    summary = {**told, **findings(frame).summary, **more}
    return summary | {"sentences": drift_sentences(summary)}


def test_planted_drift_and_ways_back_are_found_with_their_intervals():
    found = findings(planted(1.5, {"none": 0.1, "topic": 0.8, "cap": 0.1, design.CAP_ON: 0.9}))
    cold = found.summary["cold"]
    assert cold["drift_sd_low"] <= 1.5 <= cold["drift_sd_high"]
    assert set(cold["ways"]) == {"none", "topic", "cap", design.CAP_ON}
    topic = cold["ways"]["topic"]
    assert topic["undone_low"] <= 0.8 <= topic["undone_high"]
    assert topic["beyond_low"] <= 0.7 <= topic["beyond_high"]
    assert topic["left_sd_low"] <= 0.3 <= topic["left_sd_high"]
    assert topic["n"] == 40
    assert set(cold["domains"]) == {"coding", "denial"}
    # Under the cap the hot projection is what the cap makes it: it is not read, and says why.
    hot = found.summary["hot"]["ways"]
    assert (hot[design.CAP_ON]["undone"], hot[design.CAP_ON]["missing"]) == (None, "edited")
    assert hot["cap"]["undone"] is not None
    assert found.summary["reading"] == "cold"
    turn = found.curve.filter((pl.col("domain") == ALL) & (pl.col("user") == ALL) & (pl.col("reading") == "cold"))
    assert turn.sort("turn")["axis_sd"].to_list()[-1] == pytest.approx(-1.5, abs=0.3)


def test_without_a_drift_the_share_is_void_and_says_so():
    frame = planted(0.0, {"none": 0.0, "topic": 0.9}, seed=4)
    ways = findings(frame).summary["cold"]["ways"]
    assert [(one["undone"], one["beyond"], one["missing"]) for one in ways.values()] == [(None, None, "no_drift")] * 2
    assert ways["topic"]["left_sd"] is not None
    said = summary_of(frame)["sentences"]
    assert "no drift" in said["headline"]
    assert "is void" in said["ways"]


@pytest.mark.parametrize(("drift", "words"), [(1.5, "farther from"), (-1.5, "nearer to")])
def test_the_headline_says_which_way(drift, words):
    summary = summary_of(planted(drift, {"none": 0.1, "topic": 0.8, "reminder": 0.1}))
    assert words in summary["sentences"]["headline"]
    assert "change of topic by 0." in summary["sentences"]["ways"]
    assert "plain reminder by" not in summary["sentences"]["ways"]  # no surer than going on
    spoken = drift_spoken(summary)
    assert len(spoken.splitlines()) <= 25
    assert "change of topic: undone 0." in spoken
    assert "−1.5" not in summary["sentences"]["headline"]  # which way is said in words


def test_a_moment_with_too_few_readings_has_no_place():
    frame = planted(1.0, {"none": 0.0}, n=3)
    gone = (pl.col("conversation") == "c0") & (pl.col("moment") == "after") & (pl.col("place") < 4)
    blank = frame.with_columns(pl.when(gone).then(None).otherwise(pl.col("axis_sd_cold")).alias("axis_sd_cold"))
    assert findings(blank).summary["cold"]["ways"]["none"]["n"] == 2
    one = findings(frame.filter(pl.col("conversation") == "c0")).summary["cold"]
    assert (one["drift_sd_low"], one["ways"]["none"]["missing"]) == (None, "few")


def test_a_model_that_goes_on_with_its_last_words_is_told_from_a_character():
    said = {
        "before": ["Boil it for six minutes.", "Weather is today.", "Call it Leaves."],
        "after": ["A keeper's memory."] * 2 + ["Arr."],
    }
    rows = [
        {"conversation": "c", "moment": moment, "place": place, "reply": reply}
        for moment, replies in said.items()
        for place, reply in enumerate(replies)
    ]
    frame = pl.DataFrame([dict.fromkeys(REPLIES) | row for row in rows], schema=REPLIES)
    assert {moment: check.value for moment, check in own_worded(frame).items()} == {
        "before": 1,
        "after": pytest.approx(1 / 3),
    }


def test_a_drift_of_stuck_replies_is_void_and_a_way_back_that_stays_stuck_has_no_share():
    sticks = pl.when((pl.col("moment") == "after") & (pl.col("place") < 4)).then(pl.lit("the same words again"))
    frame = planted(1.5, {"none": 0.1, "topic": 0.8}).with_columns(sticks.otherwise(pl.col("reply")).alias("reply"))
    summary = summary_of(frame)
    assert (summary["grade"], summary["own_words"]["before"]) == ("void", 1)
    assert summary["own_words"]["after"] == pytest.approx(1 / 3)
    assert summary["cold"]["drift_sd"] is None
    assert {way["missing"] for way in summary["cold"]["ways"].values()} == {"stuck"}
    assert "33% of 240 replies have words of their own" in summary["sentences"]["headline"].replace("\xa0", "")
    assert drift_table(findings(frame))["missing"].to_list() == ["stuck"] * 6
    sticks = pl.when((pl.col("arm") == "topic") & (pl.col("place") < 4)).then(pl.lit("the same words again"))
    one = planted(1.5, {"none": 0.1, "topic": 0.8}).with_columns(sticks.otherwise(pl.col("reply")).alias("reply"))
    ways = findings(one).summary["cold"]["ways"]
    assert (ways["topic"]["undone"], ways["topic"]["missing"], ways["none"]["missing"]) == (None, "stuck", None)


def test_the_message_tells_the_level_and_not_the_change_where_it_is_so():
    """The level is the message's own theme; what is left of the change is noise that no message tells."""
    rng, rows, values = np.random.default_rng(0), [], []
    for number in range(40):
        theme = rng.normal(0, 2)
        for turn in range(1, 9):
            rows.append({"conversation": f"c{number}", "domain": "coding", "case": number, "user": "scripted", "moment": "turn",
                         "place": turn, "axis_sd_cold": theme + rng.normal(0, 0.5)})  # fmt: skip
            values.append([theme + rng.normal(0, 0.1), *rng.normal(size=4)])
    talk = pl.DataFrame([dict.fromkeys(REPLIES) | row for row in rows], schema=REPLIES)
    found = {(row["of"], row["by"]): row for row in predicted(talk, np.array(values))}
    assert found["level", "message"]["r2_low"] > 0.8
    assert found["change", "message"]["r2"] < 0.05
    assert found["level", "domain"]["r2"] < 0.05  # one domain tells nothing
    alone = predicted(talk.filter(pl.col("case") == 0), np.array(values[:8]))
    assert [row["r2"] for row in alone if row["by"] == "domain"] == [None, None]  # no other case to learn from
    assert {row["reading"] for row in found.values()} == {"cold"}


# The task on any model, and its log ----------------------------------------------------------------------------------


def talker(messages: list[Any], *_: Any) -> ModelOutput:
    output = ModelOutput.from_content("mockllm", f"I heard {len(messages)} messages.")
    output.usage = ModelUsage()
    return output


def test_the_task_leaves_a_log_that_a_reader_reads(subject, tmp_path, capsys):
    task = design.drift(domains="coding", conversations=1, turns=2, return_turns=1)
    log = asked.run(task, get_model("mockllm/model", custom_outputs=talker, memoize=False), tmp_path)
    assert len(log.samples or []) == 2
    assert log.results.scores[0].metrics["mean"].value == 1
    result = measure_drift(log.location, tmp_path / "run", reader=subject, axis=axis_of(subject))
    assert result.summary["model"] == "mockllm/model"
    assert "hot" not in result.summary
    assert set(result.summary["cold"]["ways"]) == {"none", "topic", "reminder", "restated", "summary"}
    assert result.replies["axis_sd_hot"].null_count() == result.replies.height
    assert result.replies["axis_sd_cold"].null_count() == 0
    assert "mockllm" in (result.path / "drift.html").read_text(encoding="utf-8")
    with pytest.raises(LibraryError, match="which this model does not show"):
        design.drift(arms="cap")


def test_the_task_is_registered_with_inspect():
    from inspect_ai._util.registry import registry_lookup

    import greenroom.inspect_plugin  # noqa: F401

    assert registry_lookup("task", "greenroom/drift") is not None


def test_caches_change_no_reply(subject, monkeypatch):
    """Conversations in step, with and without what was kept of them."""
    cases = [design.Case("coding", 0, "simulated"), design.Case("roleplay", 1, "scripted")]
    how: dict[str, Any] = {"seeds": by_step(5), "layer": 2, "edits": [axis_of(subject).cap("default:p25")]}

    def texts() -> list[tuple[int, str, str]]:
        scripts = [design.script(case, 2, 1, ("none", "topic", "cap"), "Be plain.") for case in cases]
        said = hold_talks(subject, scripts, design.lengths_of(6), **how)
        return [(one.talk, one.ask.name, one.own.text) for one in said]

    kept = texts()
    assert [name for talk, name, _ in kept if talk == 0][:2] == ["warm", "fresh/0"]
    monkeypatch.setattr(PrefixCache, "longest", lambda *_: None)
    monkeypatch.setattr(_Lent, "longest", lambda *_: None)
    assert texts() == kept


# From end to end -----------------------------------------------------------------------------------------------------


def test_a_run_leaves_tables_a_summary_and_a_page(finished):
    summary, probes = finished.summary, len(design.stimuli().probes)
    assert summary["conversations"] == 8
    back = finished.replies.filter(pl.col("moment") == "back")
    assert back.group_by("conversation", "arm").len()["len"].unique().to_list() == [probes]
    assert set(back["arm"]) == {*design.ARMS, design.CAP_ON}
    # Read in the context that made it, except under the cap; re-read cold everywhere.
    under = (pl.col("arm") == design.CAP_ON) | ((pl.col("moment") == "return") & (pl.col("arm") == "cap"))
    kept = finished.replies.filter(pl.col("reply") != "")
    assert kept.filter(under)["axis_sd_hot"].null_count() == kept.filter(under).height
    assert kept.filter(~under)["axis_sd_hot"].null_count() == 0
    assert {"replies", "curve", "ways", "drift", "predicted"} <= {
        path.stem for path in (finished.path / "tables").iterdir()
    }
    page = (finished.path / "drift.html").read_text(encoding="utf-8")
    assert summary["sentences"]["headline"] in page
    assert (
        "greenroom drift tiny-llama --conversations 2 --turns 2 --return-turns 1 --tokens 6 --domains coding,roleplay"
        in page
    )
    assert 'src="http' not in page
    assert len(str(finished).splitlines()) <= 25
    json.dumps(summary, allow_nan=False)


def test_the_page_can_be_written_again_from_the_folder(finished):
    before = (finished.path / "drift.html").read_bytes()
    (finished.path / "drift.html").unlink()
    assert main(["report", str(finished.path)]) == 0
    assert (finished.path / "drift.html").read_bytes() == before


def test_fresh_conversations_of_two_waves_are_not_the_same_replies(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "WAVE", 2)
    found = measure_drift(subject, tmp_path / "run", axis=axis_of(subject), **SMALL).replies
    fresh = found.filter((pl.col("moment") == "fresh") & (pl.col("place") == 0))["reply"]
    assert fresh.len() == 8
    assert fresh.n_unique() > 4


def test_interrupted_it_goes_on_and_gives_the_same_tables(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "WAVE", 3)
    whole = measure_drift(subject, tmp_path / "whole", axis=axis_of(subject), **SMALL)
    play, calls = job.hold_talks, []

    def once(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return play(*arguments, **named)

    monkeypatch.setattr(job, "hold_talks", once)
    with pytest.raises(KeyboardInterrupt):
        measure_drift(subject, tmp_path / "broken", axis=axis_of(subject), **SMALL)
    again = measure_drift(subject, tmp_path / "broken", axis=axis_of(subject), **SMALL)
    assert len(calls) == 4  # the finished wave was not played twice
    assert differences(tmp_path / "whole", tmp_path / "broken") == []
    assert again.summary["cold"] == whole.summary["cold"]


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from greenroom.studies.drift import stages as job
from test_drift import SMALL, axis_of, tiny
job.WAVE = 3
play, calls = job.hold_talks, []
def once(*arguments, **named):
    calls.append(1)
    if len(calls) == 2 and {stop}:
        os.kill(os.getpid(), signal.SIGKILL)
    return play(*arguments, **named)
job.hold_talks = once
subject = tiny("llama")
job.measure_drift(subject, Path({out!r}), axis=axis_of(subject), **SMALL)
print(len(calls))
"""


def test_killed_it_goes_on_after_the_last_finished_wave(subject, tmp_path, monkeypatch):
    def run(stop: bool) -> subprocess.CompletedProcess[str]:
        code = KILLED.format(tests=str(Path(__file__).parent), stop=stop, out=str(tmp_path / "killed"))
        return subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, timeout=300)

    assert run(True).returncode == -signal.SIGKILL
    again = run(False)
    assert (again.returncode, again.stdout) == (0, "2\n"), again.stderr
    monkeypatch.setattr(job, "WAVE", 3)
    measure_drift(subject, tmp_path / "whole", axis=axis_of(subject), **SMALL)
    assert differences(tmp_path / "whole", tmp_path / "killed") == []


def test_the_verb_passes_on_what_was_asked_and_prints_json(finished, monkeypatch, capsys):
    heard: dict[str, Any] = {}

    def measure(**arguments: Any) -> Any:
        heard.update(arguments)
        return finished

    monkeypatch.setattr(job, "measure_drift", measure)
    assert main(["drift", "m", "--domains", "coding", "--turns", "3", "--floor", "-1.5", "--system", "", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["path"] == str(finished.path)
    assert printed["cold"]["ways"].keys() == finished.summary["cold"]["ways"].keys()
    assert (heard["model"], heard["domains"], heard["turns"], heard["floor"], heard["system"]) == (
        "m",
        "coding",
        3,
        -1.5,
        "",
    )
    defaults = {name: one.default for name, one in inspect.signature(measure_drift).parameters.items()}
    unasked = {
        name: value for name, value in heard.items() if name in ("conversations", "return_turns", "tokens", "reader")
    }
    assert unasked == {name: defaults[name] for name in unasked}
    assert heard["users"].split(",") == list(defaults["users"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--turns", "many"], "'many' is no whole number"),
        (["--domains", "cooking"], "domains names 'cooking'"),
        (["no-such.eval"], "there is no file no-such.eval"),
    ],
)
def test_a_mistake_is_one_line(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["drift", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert words in printed.err
    assert list(tmp_path.iterdir()) == []


def test_a_log_of_another_task_is_refused(subject, tmp_path):
    (tmp_path / "broken.eval").write_bytes(b"nothing")
    with pytest.raises(GreenroomError, match="no readable Inspect log"):
        measure_drift(tmp_path / "broken.eval", tmp_path / "run", reader=subject, axis=axis_of(subject))
