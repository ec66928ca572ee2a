"""Drift and ways back: the design, planted drifts found again, any model and its log, and the verb from end to end."""

from __future__ import annotations

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
from greenroom.asking.inspect_talk import talk_task
from greenroom.asking.local_talk import _Lent, by_step, hold_talks
from greenroom.asking.talk import chat_lengths
from greenroom.asking.types import Answer
from greenroom.cli import main
from greenroom.directions import Direction
from greenroom.directions.direction import Calibration, SignTest
from greenroom.errors import GreenroomError, LibraryError
from greenroom.measures import Measure
from greenroom.report.results import RunResults
from greenroom.runs.run import StageResult
from greenroom.runs.tables import differences
from greenroom.studies.drift import ARMS, STUDY, Conversations, design, measure_drift, scripts, stages
from greenroom.studies.drift.findings import ALL, PREDICTED, REPLIES, measures, own_worded, predicted
from greenroom.studies.running import measure
from greenroom.studies.study import Job
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


def played(case: scripts.Case, arms: tuple[str, ...] = ARMS) -> tuple[dict[str, Any], Any]:
    """Every ask of a script by name, answered by its own name, and the conversation that it returns."""
    script, asked = scripts.script(case, 3, 2, arms, "Be plain."), {}
    asks = next(script)
    while True:
        asked |= {ask.name: ask for ask in asks}
        try:
            asks = script.send([Answer(f"<{ask.name}>") for ask in asks])
        except StopIteration as end:
            return asked, end.value


def test_all_ways_back_go_on_from_one_conversation_and_probes_leave_no_trace():
    asked, conversation = played(scripts.Case("denial", 1, "simulated"))
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
    asked, _ = played(scripts.Case("coding", 0, "scripted"))
    probes = scripts.stimuli().probes
    assert len(probes) >= 4
    moments = ["fresh", "before", "after", *(f"back/{arm}" for arm in (*ARMS, scripts.CAP_ON))]
    for moment in moments:
        assert [asked[f"{moment}/{place}"].message for place in range(len(probes))] == list(probes)
    assert [message["role"] for message in asked["fresh/0"].conversation] == ["system", "user"]
    edited = {name.rpartition("/")[0] for name, ask in asked.items() if ask.edited}
    assert edited == {"cap", f"back/{scripts.CAP_ON}"}
    asks = 1 + 3 + 1 + 2 * len(ARMS) + len(moments) * len(probes)  # warm-up, turns, a summary, ways back, probes
    assert len(asked) == asks
    assert asked["back/cap/0"].conversation[:-1] == asked[f"back/{scripts.CAP_ON}/0"].conversation[:-1]


def test_a_simulated_user_sees_the_conversation_from_the_other_side():
    asked, _ = played(scripts.Case("flattery", 2, "simulated"))
    seen = asked["user/3"].conversation
    assert seen[0]["role"] == "system"
    assert seen[-1] == {"role": "user", "content": "<turn/2>"}
    assert {"role": "assistant", "content": "<user/2>"} in seen
    scripted, _ = played(scripts.Case("flattery", 2, "scripted"))
    assert asked.keys() - scripted.keys() == {"user/2", "user/3"}
    assert not any(ask.by == "user" for ask in scripted.values())


def test_every_line_of_every_case_can_be_said():
    found = scripts.stimuli()
    assert set(found.domains) >= {
        "coding",
        "writing",
        "emotional_support",
        "own_nature",
        "denial",
        "flattery",
        "roleplay",
    }
    turns = STUDY.sizes["standard"].turns
    for case in design.cases():
        lines = [scripts.line(case, turn) for turn in range(turns)]
        assert len(set(lines)) == turns, case.id
        assert not any("{" in line for line in lines)
    assert len({case.id for case in design.cases()}) == len(design.cases())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"domains": "cooking"}, "domains names 'cooking'; expected some of coding"),
        ({"domains": ""}, "domains names none; expected some of coding"),
        ({"conversations": 99}, "conversations is 99; expected 1 to"),
        ({"users": "aliens"}, "users names 'aliens'"),
        ({"turns": 0}, "turns is 0; expected 1 to"),
        ({"return_turns": 9}, "return_turns is 9"),
        ({"arms": "hypnosis"}, "arms names 'hypnosis'"),
        ({"arms": "restated", "system": ""}, "there is none"),
        ({"tokens": 2}, "tokens is 2: input should be greater than or equal to 4"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_anything_is_written(wrong, words, subject, tmp_path):
    with pytest.raises(GreenroomError, match=words):
        measure_drift(subject, tmp_path / "run", axis=axis_of(subject), **wrong)
    assert not (tmp_path / "run").exists()


def test_a_model_whose_activations_are_closed_is_not_capped():
    talks, reading = STUDY.hosted(Conversations())
    assert (talks.name, reading.needs) == ("drift", "reader")
    asked, _ = played(scripts.Case("coding", 0, "scripted"), design.arms_of(None, "Be plain.", edits=False))
    assert not any(ask.edited for ask in asked.values())
    with pytest.raises(LibraryError, match="which this model does not show"):
        STUDY.hosted(Conversations(arms="cap"))
    with pytest.raises(LibraryError, match="a hosted model is played with by itself"):
        STUDY.hosted(Conversations(player="smollm2"))


def test_a_size_reads_what_is_typed():
    size = Conversations(domains="coding, denial", users="scripted", arms="topic,cap", floor="-1.5")
    assert (size.domains, size.users, size.floor) == (("coding", "denial"), ("scripted",), -1.5)
    assert Conversations(floor="rollouts:p25").floor == "rollouts:p25"
    assert all(stage.cost is not None for stage in STUDY.parts(size))
    assert STUDY.parts(size)[0].cost(size).calls > 100


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
                hot = None if arm == scripts.CAP_ON else value
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


NOTHING = pl.DataFrame(schema=PREDICTED)


def by_name(found: list[Measure], part: str) -> dict[str, Measure]:
    return {one.name: one for one in found if one.part == part}


def ran(frame: pl.DataFrame, subject: Any, folder: Path) -> Any:
    """A run in which only the replies are planted."""
    about = {"reader": "tiny", "axis": "north", "cold_axis": "north", "layer": 2, "reliable": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "converse", lambda work, wave, number: StageResult())
        patch.setattr(stages, "read", lambda work: StageResult({"replies": frame, "predicted": NOTHING}, about))
        return measure_drift(subject, folder / "run", conversations=1)


def findings(result: Any) -> dict[str, str]:
    return {title: finding for title, finding, _ in result.summary["findings"]}


def test_planted_drift_and_ways_back_are_found_with_their_intervals():
    frame = planted(1.5, {"none": 0.1, "topic": 0.8, "cap": 0.1, scripts.CAP_ON: 0.9})
    found = measures(frame, NOTHING)
    alone = by_name(found, "")
    assert {"drift", "slope", "undone.none", "undone.topic"} <= alone.keys()
    assert alone["drift"].low <= 1.5 <= alone["drift"].high
    assert alone["drift"].grade == "A"
    undone, beyond, left = (by_name(found, part)["cold/all/topic"] for part in ("undone", "beyond", "left"))
    assert undone.low <= 0.8 <= undone.high
    assert undone.estimate == alone["undone.topic"].estimate
    assert beyond.low <= 0.7 <= beyond.high
    assert left.low <= 0.3 <= left.high
    assert undone.n == 40
    assert {name.split("/")[1] for name in by_name(found, "drift")} == {ALL, "coding", "denial"}
    # Under the cap the hot projection is what the cap makes it: it is not read, and says why.
    edited = by_name(found, "undone")[f"hot/all/{scripts.CAP_ON}"]
    assert (edited.grade, edited.estimate, edited.reason) == ("void", None, "It was edited while it was read.")
    assert by_name(found, "undone")["hot/all/cap"].estimate is not None
    curve = by_name(found, "curve")
    assert curve["cold/all/all/4"].estimate == pytest.approx(-1.5, abs=0.3)


def test_without_a_drift_the_share_is_void_and_says_so(subject, tmp_path):
    frame = planted(0.0, {"none": 0.0, "topic": 0.9}, seed=4)
    found = measures(frame, NOTHING)
    for part, names in (("undone", ("none", "topic")), ("beyond", ("topic",))):
        for name in names:
            one = by_name(found, part)[f"cold/all/{name}"]
            assert (one.grade, one.estimate) == ("void", None)
            assert "no drift to undo" in one.reason
    assert by_name(found, "left")["cold/all/topic"].estimate is not None
    result = ran(frame, subject, tmp_path)
    assert "no drift" in result.summary["headline"]
    assert "is void" in findings(result)["Ways back"]
    said = str(result)
    assert "change of topic: no share undone can be told, still " in said
    assert "undone void" not in said
    assert "sd farther from the assistant than before the conversation" in said


@pytest.mark.parametrize(("drift", "words"), [(1.5, "farther from"), (-1.5, "nearer to")])
def test_the_headline_says_which_way(drift, words, subject, tmp_path):
    result = ran(planted(drift, {"none": 0.1, "topic": 0.8, "reminder": 0.1}), subject, tmp_path)
    assert words in result.summary["headline"]
    assert "−1.5" not in result.summary["headline"]  # which way is said in words
    said = findings(result)["Ways back"]
    assert "change of topic by 0." in said
    assert "plain reminder by" not in said  # no surer than going on
    assert len(str(result).splitlines()) <= 25
    assert "change of topic: undone 0." in str(result)
    assert "After 4 turns" in result.summary["headline"]  # as many as the replies have


def test_a_moment_with_too_few_readings_has_no_place():
    frame = planted(1.0, {"none": 0.0}, n=3)
    gone = (pl.col("conversation") == "c0") & (pl.col("moment") == "after") & (pl.col("place") < 4)
    blank = frame.with_columns(pl.when(gone).then(None).otherwise(pl.col("axis_sd_cold")).alias("axis_sd_cold"))
    assert by_name(measures(blank, NOTHING), "left")["cold/all/none"].n == 2
    one = measures(frame.filter(pl.col("conversation") == "c0"), NOTHING)
    assert (by_name(one, "")["drift"].low, by_name(one, "")["drift"].estimate is None) == (None, False)
    assert by_name(one, "undone")["cold/all/none"].reason == "Too few conversations could be read."


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


def stuck(frame: pl.DataFrame, at: pl.Expr) -> pl.DataFrame:
    same = pl.when(at & (pl.col("place") < 4)).then(pl.lit("the same words again"))
    return frame.with_columns(same.otherwise(pl.col("reply")).alias("reply"))


def test_a_drift_of_stuck_replies_is_void_and_a_way_back_that_stays_stuck_has_no_share(subject, tmp_path):
    frame = stuck(planted(1.5, {"none": 0.1, "topic": 0.8}), pl.col("moment") == "after")
    found = measures(frame, NOTHING)
    assert (by_name(found, "")["drift"].grade, by_name(found, "")["drift"].estimate) == ("void", None)
    assert {one.grade for part in ("drift", "undone", "left") for one in by_name(found, part).values()} == {"void"}
    assert all("words of their own" in one.reason for one in by_name(found, "drift").values())
    result = ran(frame, subject, tmp_path)
    assert "33% of 240 replies have words of their own" in result.summary["headline"].replace("\xa0", "")
    assert "before 100\xa0%, after the conversation 33\xa0%" in findings(result)["Ways back"]
    one = measures(stuck(planted(1.5, {"none": 0.1, "topic": 0.8}), pl.col("arm") == "topic"), NOTHING)
    assert by_name(one, "undone")["cold/all/topic"].grade == "void"
    assert "words of their own" in by_name(one, "undone")["cold/all/topic"].reason
    assert by_name(one, "undone")["cold/all/none"].estimate is not None


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


def hosted(texts: Any = talker) -> Any:
    return get_model("mockllm/model", custom_outputs=texts, memoize=False)


FEW = Conversations(domains="coding", conversations=1, turns=2, return_turns=1)


def test_the_task_leaves_a_log_that_a_reader_reads(subject, tmp_path):
    log = asked.run(talk_task(STUDY, FEW), hosted(), tmp_path)
    assert log.results.scores[0].metrics["mean"].value == 1
    result = measure_drift(log.location, tmp_path / "run", reader=subject, axis=axis_of(subject))
    assert result.summary["model"] == "mockllm-model"
    assert set(result.ways["reading"]) == {"cold"}
    assert set(result.ways["arm"]) == {"none", "topic", "reminder", "restated", "summary"}
    assert result.replies["conversation"].n_unique() == 2
    assert result.replies["axis_sd_hot"].null_count() == result.replies.height
    assert result.replies["axis_sd_cold"].null_count() == 0
    page = (result.path / "report.html").read_text(encoding="utf-8")
    assert "mockllm" in page
    assert f"greenroom drift {Path(log.location).name} --seed 0" in page


def test_a_hosted_model_is_asked_and_read_as_its_log_is(subject, tmp_path):
    """What was asked now and what a log holds give the same measures."""
    given = {"reader": subject, "axis": axis_of(subject)}
    job = Job("eval", ("drift",), sizes={"drift": FEW}, given=given)
    now = measure(job, hosted(), tmp_path / "now")
    (log,) = (now.path / "drift" / "logs").glob("*.eval")
    then = measure_drift(log, tmp_path / "then", **given)
    table = "measures.parquet"
    one, other = (pl.read_parquet(path / "tables" / table) for path in (now.path, then.path))
    assert one.equals(other, null_equal=True)


def test_a_conversation_that_failed_is_left_out_and_told(subject, tmp_path):
    def texts(messages: list[Any], *more: Any) -> ModelOutput:
        if any("JavaScript" in message.text for message in messages):
            raise RuntimeError("the line is down")
        return talker(messages, *more)

    size = Conversations(domains="coding", conversations=2, users="scripted", turns=2, return_turns=1)
    job = Job("eval", ("drift",), sizes={"drift": size}, given={"reader": subject, "axis": axis_of(subject)})
    result = measure(job, hosted(texts), tmp_path / "run")
    assert "1 conversations could not be held and are left out." in result.summary["warnings"]
    assert result.table("replies")["conversation"].n_unique() == 1
    assert "is void" in result.summary["headline"]  # it says the same whatever it is asked


def test_the_task_is_registered_with_inspect():
    from inspect_ai._util.registry import registry_lookup

    import greenroom.inspect_plugin  # noqa: F401

    assert registry_lookup("task", "greenroom/drift") is not None


def test_caches_change_no_reply(subject, monkeypatch):
    """Conversations in step, with and without what was kept of them."""
    cases = [scripts.Case("coding", 0, "simulated"), scripts.Case("roleplay", 1, "scripted")]
    how: dict[str, Any] = {"seeds": by_step(5), "layer": 2, "edits": [axis_of(subject).cap("default:p25")]}

    def texts() -> list[tuple[int, str, str]]:
        held = [scripts.script(case, 2, 1, ("none", "topic", "cap"), "Be plain.") for case in cases]
        said = hold_talks(subject, held, chat_lengths(6), **how)
        return [(one.talk, one.ask.name, one.own.text) for one in said]

    kept = texts()
    assert [name for talk, name, _ in kept if talk == 0][:2] == ["warm", "fresh/0"]
    monkeypatch.setattr(PrefixCache, "longest", lambda *_: None)
    monkeypatch.setattr(_Lent, "longest", lambda *_: None)
    assert texts() == kept


# From end to end -----------------------------------------------------------------------------------------------------


def test_a_run_leaves_tables_a_summary_and_a_page(finished):
    summary, probes = finished.summary, len(scripts.stimuli().probes)
    assert finished.replies["conversation"].n_unique() == 8
    back = finished.replies.filter(pl.col("moment") == "back")
    assert back.group_by("conversation", "arm").len()["len"].unique().to_list() == [probes]
    assert set(back["arm"]) == {*ARMS, scripts.CAP_ON}
    # Read in the context that made it, except under the cap; re-read cold everywhere.
    under = (pl.col("arm") == scripts.CAP_ON) | ((pl.col("moment") == "return") & (pl.col("arm") == "cap"))
    kept = finished.replies.filter(pl.col("reply") != "")
    assert kept.filter(under)["axis_sd_hot"].null_count() == kept.filter(under).height
    assert kept.filter(~under)["axis_sd_hot"].null_count() == 0
    assert {"replies", "predicted"} <= {path.stem for path in (finished.path / "drift" / "tables").iterdir()}
    assert finished.ways.height == 2 * 3 * 7
    assert {"undone", "undone_low", "beyond", "left", "left_high", "n", "missing"} <= set(finished.ways.columns)
    page = (finished.path / "report.html").read_text(encoding="utf-8")
    assert summary["headline"] in page
    command = (
        "greenroom drift tiny-llama --domains coding,roleplay --conversations 2 --turns 2 --return-turns 1 --tokens 6"
    )
    assert command in page
    assert 'src="http' not in page
    assert len(str(finished).splitlines()) <= 25
    json.dumps(summary, allow_nan=False)


def test_every_interval_of_the_page_is_a_measure(finished):
    found = RunResults.of(finished.path).measures
    assert set(found["part"]) == {"", "drift", "slope", "place", "undone", "beyond", "left", "curve", "r2"}
    assert found.filter("primary")["name"].to_list() == ["drift"]


def test_the_page_can_be_written_again_from_the_folder(finished):
    before = (finished.path / "report.html").read_bytes()
    (finished.path / "report.html").unlink()
    assert main(["report", str(finished.path)]) == 0
    assert (finished.path / "report.html").read_bytes() == before


def test_fresh_conversations_of_two_waves_are_not_the_same_replies(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(design, "WAVE", 2)
    found = measure_drift(subject, tmp_path / "run", axis=axis_of(subject), **SMALL).replies
    fresh = found.filter((pl.col("moment") == "fresh") & (pl.col("place") == 0))["reply"]
    assert fresh.len() == 8
    assert fresh.n_unique() > 4


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from greenroom.studies.drift import design, measure_drift, stages
from test_drift import SMALL, axis_of, tiny
design.WAVE = 3
hold, calls = stages.hold_and_read, []
def once(*arguments, **named):
    calls.append(1)
    if len(calls) == 2 and {stop}:
        os.kill(os.getpid(), signal.SIGKILL)
    return hold(*arguments, **named)
stages.hold_and_read = once
subject = tiny("llama")
measure_drift(subject, Path({out!r}), axis=axis_of(subject), **SMALL)
print(len(calls))
"""


def test_killed_it_goes_on_after_the_last_finished_wave(subject, tmp_path, monkeypatch):
    def run(stop: bool) -> subprocess.CompletedProcess[str]:
        code = KILLED.format(tests=str(Path(__file__).parent), stop=stop, out=str(tmp_path / "killed"))
        return subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, timeout=300)

    assert run(True).returncode == -signal.SIGKILL
    again = run(False)
    assert (again.returncode, again.stdout) == (0, "2\n"), again.stderr  # the finished wave was not held twice
    monkeypatch.setattr(design, "WAVE", 3)
    whole = measure_drift(subject, tmp_path / "whole", axis=axis_of(subject), **SMALL)
    assert differences(whole.path, tmp_path / "killed") == []


def test_the_persona_of_a_run_stands_before_the_system_prompt_and_another_model_may_play_the_user(subject, tmp_path):
    heard: list[Any] = []

    other = tiny("llama")
    say = other.generate

    def generate(conversations: Any, **how: Any) -> Any:
        heard.extend(conversations)
        return say(conversations, **how)

    other.generate = generate
    size = Conversations(
        domains="coding", conversations=1, users="simulated", turns=2, return_turns=1, arms=(), tokens=6
    )
    given = {"axis": axis_of(subject), "player": other}
    job = Job("eval", ("drift",), sizes={"drift": size}, system="You are Otto.", given=given)
    measure(job, subject, tmp_path / "run")
    assert [talk[0]["role"] for talk in heard] == ["system"]
    assert "You are Otto" not in heard[0][0]["content"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--turns", "many"], "--turns 'many'"),
        (["--domains", "cooking"], "domains names 'cooking'"),
        (["--tokens", "2"], "--tokens '2': input should be greater than or equal to 4"),
        (["no-such.eval"], "there is no file no-such.eval"),
        (["no-such.eval", "--turns", "3"], "--turns is not read with a log"),
    ],
)
def test_a_mistake_is_one_line(arguments, words, subject, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("greenroom.subject.loading.load", lambda *_, **__: subject)
    assert main(["drift", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert words in printed.err
    assert list(tmp_path.iterdir()) == []


def test_a_log_of_another_task_is_refused(subject, tmp_path):
    (tmp_path / "broken.eval").write_bytes(b"nothing")
    with pytest.raises(GreenroomError, match="no readable Inspect log"):
        measure_drift(tmp_path / "broken.eval", tmp_path / "run", reader=subject, axis=axis_of(subject))
