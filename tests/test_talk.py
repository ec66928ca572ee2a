"""Talks: one script and two drivers, what they write down, and how a dry run counts."""

from __future__ import annotations

from functools import partial
from typing import Any

import polars as pl
import pytest
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from greenroom import provider
from greenroom.asking.inspect_talk import hold_on_inspect, talk_task
from greenroom.asking.local_talk import CACHE_BYTES, _Lent, by_step, hold_locally, hold_talks
from greenroom.asking.talk import Plan, as_asked, flipped, listed, planned, spoken
from greenroom.asking.types import ANSWERS, Ask, Lengths, Script, Size, Talk, Talks
from greenroom.conversation import Conversation, assistant, system, user
from greenroom.errors import GreenroomError
from greenroom.studies.study import Study
from greenroom.subject import PrefixCache, tiny

GREEDY = Lengths({"turn": 6, "probe": 4}, {"turn": 0.0, "probe": 0.0})
DRAWN = Lengths({"turn": 6, "probe": 4}, {"turn": 1.0, "probe": 0.0}, top_p=0.9)


def script(topic: str, turns: int = 2) -> Script:
    """Talks with a simulated user; every turn has a probe and a comparison on branches."""
    talk: Conversation = [system("Be brief."), user(f"Let us talk about {topic}.")]
    for turn in range(1, turns + 1):
        (reply,) = yield [Ask(f"turn/{turn}", list(talk))]
        talk.append(assistant(spoken(reply.text, "…")))
        asks = [
            Ask(f"probe/{turn}", [*talk, user("What is your name?")], kind="probe", branch=True),
            Ask(f"choice/{turn}", [*talk, user("Yes or No?")], ("Yes", "No"), kind="probe", branch=True),
        ]
        if turn < turns:
            asks.append(Ask(f"user/{turn}", flipped(talk, "You are curious.", "Begin."), by="user"))
        *_, said = yield asks
        talk.append(user(spoken(said.text, "…")))
    return talk


def talks(*topics: str, **levels: Any) -> list[Talk]:
    return [
        Talk(f"{topic}-{place}", topic, partial(script, topic), {"topic": topic, **levels})
        for place, topic in enumerate(topics)
    ]


@pytest.fixture(scope="module")
def subject():
    return tiny()


def answering(texts: Any, stop: Any = "stop") -> Any:
    """A hosted model without log-probabilities; texts: of the messages, what it says."""

    def reply(messages: list[Any], *_: Any) -> ModelOutput:
        output = ModelOutput.from_content("mockllm", texts(messages), stop_reason=stop)
        output.usage = ModelUsage()
        return output

    return get_model("mockllm/model", custom_outputs=reply, memoize=False)


# Both drivers ----------------------------------------------------------------------------------------------------------


def test_both_drivers_hold_the_same_talks(subject, tmp_path):
    asked = talks("bread", "rain", "bread")
    local = hold_locally(subject, "talks", asked, GREEDY, seed=0, system="You are Otto.")
    hosted = hold_on_inspect(
        provider.model_for(subject), "talks", asked, GREEDY, system="You are Otto.", log_dir=tmp_path
    )
    key = ["case", "wording", "position"]
    local, hosted = local.sort(key), hosted.sort(key)
    assert local.columns == hosted.columns == [*list(ANSWERS)[:5], "topic", *list(ANSWERS)[5:]]
    assert local.drop("logprob", "mass").equals(hosted.drop("logprob", "mass"))
    assert (local["logprob"] - hosted["logprob"]).abs().max() < 1e-4
    assert (
        local.height == 3 * 2 * 4
    )  # a turn, a probe and two options each turn; the user's replies are none of its own


def test_a_reply_does_not_depend_on_the_wave(subject):
    asked = talks("bread", "rain", "bread", "soup")
    whole = hold_locally(subject, "talks", asked, DRAWN, seed=1)
    waves = pl.concat([hold_locally(subject, "talks", asked[at : at + 2], DRAWN, seed=1) for at in (2, 0)])
    key = ["case", "wording", "position"]
    assert whole.sort(key)["reply"].equals(waves.sort(key)["reply"])
    other = hold_locally(subject, "talks", asked, DRAWN, seed=2)
    assert not whole["reply"].equals(other["reply"])
    # Two talks that are alike are two draws.
    first = whole.filter(pl.col("wording") == "turn/1")
    assert first["message"][0] == first["message"][2]
    assert first["reply"][0] != first["reply"][2]


def test_caches_change_no_answer(subject, monkeypatch):
    asked = talks("bread", "rain")
    kept = hold_locally(subject, "talks", asked, DRAWN, seed=1)
    monkeypatch.setattr(PrefixCache, "longest", lambda *_: None)
    monkeypatch.setattr(_Lent, "longest", lambda *_: None)
    plain = hold_locally(subject, "talks", asked, DRAWN, seed=1)
    assert kept["reply"].equals(plain["reply"])
    assert (kept["logprob"] - plain["logprob"]).abs().max() < 1e-4
    assert CACHE_BYTES > 1 << 30


def test_activations_are_caught_and_progress_is_told(subject):
    told: list[tuple[int, int]] = []
    asked = talks("bread", "rain")
    said = hold_talks(
        subject, [talk.script() for talk in asked], GREEDY, seeds=by_step(0), layer=1,
        asks=planned(asked, GREEDY).calls, progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert [one.ask.name for one in said if one.talk == 0][:3] == ["turn/1", "probe/1", "choice/1"]
    for one in said:
        assert (one.reply is None) == bool(one.ask.options)
        assert one.reply is None or not one.reply.tokens or one.reply.activations.shape == (1, subject.d_model)
    with pytest.raises(ValueError, match="choice/1 compared options"):
        _ = said[2].own
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


# The Inspect driver ----------------------------------------------------------------------------------------------------


def test_reasoning_is_taken_off_and_never_goes_on(tmp_path):
    heard: list[str] = []

    def texts(messages: list[Any]) -> str:
        heard.extend(message.text for message in messages)
        return "<think>They ask me.</think>\n\nYes, gladly."

    answers = hold_on_inspect(answering(texts), "talks", talks("bread"), GREEDY, log_dir=tmp_path)
    assert set(answers.filter(pl.col("reply").is_not_null() & pl.col("option").is_null())["reply"]) == {"Yes, gladly."}
    assert not any("think" in text for text in heard)
    # Without log-probabilities the choice is counted: five replies that say Yes.
    chosen = answers.filter(pl.col("option") == "Yes")
    assert set(chosen["source"]) == {"sampled"}
    assert chosen["logprob"].max() < 0


def test_a_reply_cut_while_thinking_is_missing(tmp_path):
    model = answering(lambda _: "<think>They ask me", "max_tokens")
    answers = hold_on_inspect(model, "talks", talks("bread"), GREEDY, log_dir=tmp_path)
    talk = answers.filter(pl.col("paradigm") == "talk")
    assert set(talk["missing"]) == {"cut off"}
    assert set(talk["reply"]) == {""}


def test_a_cluster_that_fails_is_missing_with_its_reason(tmp_path):
    def texts(messages: list[Any]) -> str:
        if any("rain" in message.text for message in messages):
            raise RuntimeError("the line is down")
        return "Yes."

    answers = hold_on_inspect(answering(texts), "talks", talks("bread", "rain"), GREEDY, log_dir=tmp_path)
    failed = answers.filter(pl.col("cluster") == "rain")
    assert failed["missing"].to_list() == ["failed: the line is down"]
    assert failed["topic"].to_list() == ["rain"]
    assert answers.filter(pl.col("cluster") == "bread")["missing"].null_count() == answers.height - 1
    with pytest.raises(GreenroomError, match="failed in every sample: the line is down"):
        hold_on_inspect(answering(texts), "talks", talks("rain"), GREEDY, log_dir=tmp_path)


def test_another_model_may_play_the_user(tmp_path):
    from inspect_ai import eval as inspect_eval

    from greenroom.asking.inspect import answers_of

    study = Study(
        "chat", lambda size: (Talks("talks", lambda size, seed: talks("bread", "rain"), lambda size: GREEDY),),
        lambda found: [], {"standard": Size()}, "none",
    )  # fmt: skip
    task = talk_task(study, Size())
    (log,) = inspect_eval(
        task, model=answering(lambda _: "Yes."), model_roles={"user": answering(lambda _: "Tell me more.")}, epochs=2,
        log_dir=str(tmp_path), display="none",
    )  # fmt: skip
    answers = answers_of(log)
    assert answers.filter(pl.col("wording") == "turn/2")["message"].to_list() == ["Tell me more."] * 4
    assert set(answers["case"]) == {"bread-0", "bread-0-2", "rain-1", "rain-1-2"}
    assert log.results.scores[0].metrics["mean"].value == 1


def test_talks_of_a_cluster_that_share_a_comparison_ask_it_once(tmp_path):
    calls: list[str] = []

    def texts(messages: list[Any]) -> str:
        calls.append(messages[-1].text)
        return "No."

    hold_on_inspect(answering(texts), "talks", talks("bread", "bread"), GREEDY, log_dir=tmp_path)
    first = calls.count("Yes or No?")
    calls.clear()
    hold_on_inspect(answering(texts), "talks", talks("bread"), GREEDY, log_dir=tmp_path)
    assert first == calls.count("Yes or No?")


# What they share -------------------------------------------------------------------------------------------------------


def test_a_system_message_goes_before_the_one_that_is_there():
    plain, told = [user("Hi.")], [system("Be brief."), user("Hi.")]
    assert as_asked(Ask("a", plain), "You are Otto.") == [system("You are Otto."), *plain]
    assert as_asked(Ask("a", told), "You are Otto.")[0] == system("You are Otto.\nBe brief.")
    assert as_asked(Ask("a", told), None) == told
    assert as_asked(Ask("a", told, by="user"), "You are Otto.") == told


def test_the_user_sees_the_conversation_turned_round():
    talk = [system("Be brief."), user("Hi."), assistant("Hello.")]
    assert flipped(talk, "You are curious.", "Begin.") == [
        system("You are curious."), user("Begin."), assistant("Hi."), user("Hello."),
    ]  # fmt: skip
    assert spoken("  ", "…") == "…"
    assert listed(("Yes", "No"))
    assert not listed(("Yes", "Not at all"))


def test_a_dry_run_counts_calls_prompts_and_replies():
    plan = planned(talks("bread", "rain"), GREEDY)
    # A talk: two turns of a reply, a probe and two options, and one reply of the user.
    assert plan.calls == 2 * (2 * 4 + 1)
    assert plan.tokens == 2 * (2 * (6 + 4 + 2) + 6)
    assert plan.characters > 2 * 9 * len("Be brief.")
    assert planned([], GREEDY) == Plan(0, 0, 0)
