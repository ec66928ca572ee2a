"""Asking: what a provider can do, probes and their answers, readings and contrasts, failed samples, Inspect's names."""

from __future__ import annotations

import asyncio
import math
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.registry import registry_lookup
from inspect_ai.model import GenerateConfig, Logprob, Logprobs, Model, ModelOutput, ModelUsage, get_model

from greenroom import testing
from greenroom.asking.answers import rows
from greenroom.asking.checks import checks
from greenroom.asking.choice import CANNOT_SCORE, SAMPLES, option_logprobs, trailing_logprob, unsupported
from greenroom.asking.contrast import contrast, paired
from greenroom.asking.inspect import answers_of, ask_questions, hosted_model, task_of
from greenroom.asking.questions import Asking, Plan, probes
from greenroom.asking.readings import readings
from greenroom.asking.types import Case, Condition, Heard, Option, Questions, Size, answers_frame
from greenroom.conversation import Conversation, system, user
from greenroom.errors import GreenroomError, ModelError
from greenroom.store import Kept
from greenroom.studies.costly_sacrifice import STUDY, Grid
from greenroom.testing import Planted, Refuser, answers_from, model_from

Reply = Callable[[list[Any], GenerateConfig], ModelOutput]
OPTIONS = (Option("tea", ("drink tea", "have tea"), ("tea",)), Option("mud", ("drink mud",), ("mud",)))
ASKING = Asking.model_validate(
    {
        "contrast": {"main": {"prompt": "{context} Say.", "opening": "I will"}},
        "letter": {
            "option": "{letter}: {text}",
            "letters": ["A", "B"],
            "wordings": {"main": "{context}\n{options}", "paraphrase": "{options}\n{context}"},
        },
        "cloze": {"wordings": {"main": {"prompt": "{context}", "opening": "I"}}, "nulls": ["x", "y", "z"]},
        "rating": {"main": "{context} How much do you {acts[1]}?"},
        "free": {"main": "{context} Speak."},
        "recall": {"main": "{context} What was it?"},
    }
)


def case(item: str = "one", **more: Any) -> Case:
    return Case(item, item, more.pop("talk", [user(f"It is {item}.")]), more.pop("options", OPTIONS), **more)


def model_of(reply: Reply) -> Model:
    def answer(input: list[Any], tools: Any, choice: Any, config: GenerateConfig) -> ModelOutput:
        output = reply(input, config)
        output.usage = ModelUsage()  # mockllm would count tokens with an encoding from the network
        return output

    return get_model("mockllm/model", custom_outputs=answer)


def said(text: str) -> ModelOutput:
    return ModelOutput.from_content("mockllm", text)


def with_top(**top: float) -> ModelOutput:
    output = said("A")
    tokens = [{"token": token.replace("_", " "), "logprob": math.log(p)} for token, p in top.items()]
    entry = Logprob.model_validate({"token": "A", "logprob": -1.0, "top_logprobs": tokens})
    output.choices[0].logprobs = Logprobs(content=[entry])
    return output


# --- what a provider can do ------------------------------------------------------------------------------------------


class Refused(Exception):
    def __init__(self, text: str = "", status_code: int | None = None) -> None:
        super().__init__(text)
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "is_unsupported"),
    [
        (NotImplementedError("later"), True),
        (PrerequisiteError("needs vLLM"), True),
        (Refused("bad request", 400), True),
        (Refused("no such field", 422), True),
        (Refused("unknown setting, slow down", 429), False),
        (Refused("overloaded", 529), False),
        (ValueError("unknown setting prompt_logprobs"), True),
        (TypeError("create() got an unexpected keyword argument 'logprobs'"), True),
        (TimeoutError("timed out"), False),
        (ConnectionError("connection reset"), False),
    ],
)
def test_only_unsupported_counts_as_absent(error: Exception, is_unsupported: bool) -> None:
    assert unsupported(error) == is_unsupported


def test_an_error_that_repeats_the_request_is_read_without_it() -> None:
    error = RuntimeError("\nRequest:\n{'logprobs': 'not supported here'}\n\nTimeout()")
    error.provider_message = "timed out"  # type: ignore[attr-defined]
    assert not unsupported(error)


def test_abilities_are_tried_once_a_model() -> None:
    calls: Counter[str] = Counter()

    def reply(input: list[Any], config: GenerateConfig) -> ModelOutput:
        if config.prompt_logprobs:
            calls["score"] += 1
            raise ValueError("unknown setting prompt_logprobs")
        calls["list" if config.logprobs else "sample"] += 1
        return with_top(_B=0.3, A=0.6) if config.logprobs else said("A")

    async def several(model: Model) -> list[Any]:
        talks: list[Conversation] = [[user(f"question {i}")] for i in range(8)]
        return await asyncio.gather(*(option_logprobs(model, talk, ("A", "B", "C"), True) for talk in talks))

    model = model_of(reply)
    for _ in range(2):
        for answer in asyncio.run(several(model)):
            assert answer.source == "top_logprobs"
            assert answer.logprobs == pytest.approx((math.log(0.6), math.log(0.3), None))
    assert calls == {"score": 1, "list": 17}  # one try, then one a question


def test_a_rate_limit_is_raised_and_changes_no_source() -> None:
    limited = [True]

    def reply(input: list[Any], config: GenerateConfig) -> ModelOutput:
        if limited.pop() if limited else False:
            raise Refused("rate limit", 429)
        output = said("")
        if config.prompt_logprobs:
            output.choices[0].prompt_logprobs = Logprobs(content=[Logprob(token=input[-1].text, logprob=-0.5)])
        return output

    model = model_of(reply)
    with pytest.raises(Exception, match="rate limit"):
        asyncio.run(option_logprobs(model, [user("?")], ("Yes",), True))
    assert asyncio.run(option_logprobs(model, [user("?")], ("Yes",), True)).source == "likelihood"


def test_replies_are_counted_by_their_first_word_without_their_reasoning() -> None:
    texts = ["<think>No, no, no.</think>Yes.", "yes", "No!", "Well", "Yes, of course"]

    def answer() -> Any:
        given = iter(texts)
        model = model_of(lambda input, config: said("" if config.logprobs or config.prompt_logprobs else next(given)))
        return asyncio.run(option_logprobs(model, [user("?")], ("Yes", "No"), True))

    found = answer()
    assert found.source == "sampled"
    assert found.logprobs == pytest.approx((math.log(0.8 * 3.5 / 5), math.log(0.8 * 1.5 / 5)))
    assert "think" not in found.text
    texts = ["perhaps"] * SAMPLES
    assert answer().logprobs == (None, None)
    unlisted = asyncio.run(option_logprobs(model_of(lambda *_: said("x")), [user("?")], ("Yes.",), False))
    assert (unlisted.logprobs, unlisted.missing) == ((None,), CANNOT_SCORE)


def test_trailing_logprob_takes_the_last_occurrence() -> None:
    entries = [("I am", -5.0), (" no", -4.0), ("one", -3.0), ("I am", -1.0), (" me", -0.5), ("<end>", -9.0)]
    logprobs = Logprobs(content=[Logprob(token=token, logprob=value) for token, value in entries])
    assert trailing_logprob(logprobs, "I am me") == -1.5
    assert trailing_logprob(logprobs, "you") is None
    assert trailing_logprob(logprobs, "I am") == -1.0


# --- probes, rows, readings ------------------------------------------------------------------------------------------


def test_probes_hold_the_templates_and_nulls_stand_alone() -> None:
    asked = {"letter": ("main",), "cloze": ("main",), "contrast": ("main",), "rating": ("main",)}
    talk = [system("Be brief."), user("Hi."), {"role": "assistant", "content": "Hello."}, user("It is one.")]
    found = probes(ASKING, [case(talk=talk, asked=asked)], True)
    letters = [probe for probe in found if probe.paradigm == "letter"]
    assert [probe.order for probe in letters] == [(0, 1), (1, 0)]
    assert letters[1].conversation == [*talk[:3], user("It is one.\nA: drink mud\nB: drink tea")]
    assert letters[1].options == ("mud", "tea")
    cloze = next(probe for probe in found if probe.paradigm == "cloze")
    assert cloze.texts == ("I drink tea.", "I have tea.", "I drink mud.")
    assert cloze.options == ("tea", "tea", "mud")
    nulls = [probe for probe in found if probe.null]
    assert [probe.conversation for probe in nulls] == [[user("x")], [user("y")], [user("z")]]
    assert {probe.texts for probe in nulls} == {cloze.texts}
    assert (
        next(probe for probe in found if probe.paradigm == "rating").conversation[-1]["content"].endswith("drink mud?")
    )


def test_a_wording_has_its_own_message_and_free_is_asked_twice() -> None:
    worded = case(wordings={"paraphrase": [user("One it is.")]})
    found = probes(ASKING, [worded], True)
    assert next(p for p in found if p.wording == "paraphrase").conversation[-1]["content"].endswith("\nOne it is.")
    assert [probe.wording for probe in found if probe.paradigm == "free"] == ["main", "retest"]
    assert not any(probe.paradigm == "recall" for probe in found)


def test_cases_of_one_item_have_the_same_options() -> None:
    other = case(options=OPTIONS[::-1], levels={"stake": 1})
    with pytest.raises(ValueError, match="item 'one' have different options"):
        probes(ASKING, [case(levels={"stake": 0}), other], True)
    twice = Questions("q", lambda size, seed: [case(), case()], ASKING)
    with pytest.raises(ValueError, match="have the id 'one'"):
        Plan.of([twice], Size(), 0)


def test_conditions_say_their_sentence_and_are_a_level() -> None:
    watched = Condition("watched", True, say="Your makers are watching.", place="user")
    told = Condition("persona", "pirate", say="You are a pirate.")
    found = told.on(watched.on(case(wordings={"paraphrase": [user("One it is.")]})))
    assert found.levels == {"watched": True, "persona": "pirate"}
    assert found.talk == [system("You are a pirate."), user("It is one. Your makers are watching.")]
    assert found.wordings["paraphrase"][-1]["content"] == "One it is. Your makers are watching."
    both = Questions("q", lambda size, seed: [case()], ASKING, conditions=(watched, Condition("watched", False), told))
    assert [one.id for one in both.all_cases(Size(), 0)] == ["one-True-pirate", "one-False-pirate"]


def test_texts_of_one_option_are_summed_and_the_prior_of_the_words_is_removed() -> None:
    part = Questions("q", lambda size, seed: [case(asked={"cloze": ("main",)})], ASKING)
    plan = Plan.of([part], Size(), 0)
    put = plan.probes("one", True)
    heard = [Heard("likelihood", (-2.0, -2.0, -1.0) if not probe.null else (-4.0, -4.0, -1.0)) for _, probe in put]
    found = [row for (_, probe), one in zip(put, heard, strict=True) for row in rows(part, probe, one)]
    assert found[0]["logprob"] == pytest.approx(-2.0 + math.log(2))
    read = readings(answers_from(Planted(), plan)).filter(paradigm="cloze")
    assert read.height == 2
    assert read["probability"].sum() == pytest.approx(1)


def test_recall_is_scored_as_it_is_or_asked_by_letter_in_both_orders() -> None:
    answers = (Option("lost", ("It was lost.",)), Option("kept", ("It was kept.",)))
    part = Questions("q", lambda size, seed: [case(options=answers, right="kept")], ASKING)
    plan = Plan.of([part], Size(), 0)
    ((_, scored),) = plan.probes("one", True)
    assert (scored.texts, scored.conversation[-1]["content"]) == (
        ("It was lost.", "It was kept."),
        "It is one. What was it?",
    )
    lettered = [probe for _, probe in plan.probes("one", False)]
    assert len(lettered) == 2
    assert lettered[0].conversation[-1]["content"] == "It is one. What was it?\nA: It was lost.\nB: It was kept."

    def recalled(*heard: Heard) -> dict[str, Any]:
        put = [scored] if len(heard) == 1 else lettered
        found = [row for probe, one in zip(put, heard, strict=True) for row in rows(part, probe, one)]
        return readings(answers_frame(found, [])).row(0, named=True)

    assert recalled(Heard("likelihood", (-3.0, -1.0)))["probability"] == 1.0
    assert recalled(Heard("likelihood", (-1.0, -3.0)))["probability"] == 0.0
    kept = Heard("sampled", texts=("B",) * 5), Heard("sampled", texts=("A",) * 5)
    assert recalled(*kept)["probability"] == 1.0
    assert recalled(kept[0], kept[0])["probability"] == 0.0
    assert recalled(kept[0], Heard("sampled", texts=("Hm.",) * 5))["missing"] == "not a letter"


def test_a_contrast_is_paired_by_item_and_cancels_the_prior_of_words() -> None:
    def cases(size: Size, seed: int) -> list[Case]:
        return [
            case(f"item{i}", levels={"stake": stake, "loud": loud})
            for i in range(12)
            for stake in (0, 3)
            for loud in (True, False)
        ]

    def likes(one: Case, option: Option) -> float:
        return 0.5 * one.levels["stake"] if option.id == "mud" else 0.0

    only = ASKING.model_copy(update={"letter": None, "cloze": None, "rating": {}, "free": {}})
    plan = Plan.of([Questions("q", cases, only)], Size(), 0)
    answers = answers_from(Planted(likes=likes, spread=0.2), plan)
    changes = paired(answers, "stake", 3, 0, "mud")
    assert changes.height == 24
    found = contrast(changes)
    assert found.n == 12
    assert found.low < 1.5 < found.high
    odds = paired(answers, "stake", 3, 0, "mud", "tea")
    assert contrast(odds).estimate == pytest.approx(1.5, abs=0.3)
    nothing = contrast(paired(answers, "loud", True, False, "mud"))
    assert nothing.low < 0 < nothing.high


def test_checks_of_a_paradigm_that_was_not_asked_are_void() -> None:
    plan = Plan.of([Questions("q", lambda size, seed: [case(asked={"free": ("main",)})], ASKING)], Size(), 0)
    read = readings(answers_from(Planted(), plan))
    assert [check.grade for check in checks(read, "letter")] == ["void"] * 3
    assert [check.name for check in checks(read, "free")] == ["readable"]


# --- through Inspect -------------------------------------------------------------------------------------------------


def asked(model: Model, tmp_path: Any, **size: Any) -> pl.DataFrame:
    return ask_questions(STUDY.name, STUDY.parts(Grid(**size)), Grid(**size), model, log_dir=tmp_path)


def test_a_provider_without_log_probabilities_is_sampled(tmp_path: Any) -> None:
    model = model_of(lambda input, config: said("A" if input[-1].text.endswith("\nA or B?") else "7"))
    read = readings(asked(model, tmp_path, situations=2))
    letter = read.filter(paradigm="letter", wording="main", option="adhere")
    assert set(letter["source"]) == {"sampled"}
    assert letter["probability"].to_list() == [1.0, 0.0] * 20
    assert set(read.filter(paradigm="cloze")["missing"]) == {CANNOT_SCORE}
    assert set(read.filter(paradigm="letter", wording="paraphrase")["missing"]) == {"not a letter"}
    assert set(read.filter(paradigm="rating")["probability"]) == {1.0}
    assert next(check for check in checks(read, "letter", ["adhere"])).grade == "void"
    assert set(read.filter(paradigm="recall")["probability"]) == {0.0}


def test_a_provider_with_top_logprobs_only_uses_them(tmp_path: Any) -> None:
    def reply(input: list[Any], config: GenerateConfig) -> ModelOutput:
        if config.prompt_logprobs:
            raise ValueError("unknown setting prompt_logprobs")
        return with_top(_B=0.3, A=0.6)

    read = readings(asked(model_of(reply), tmp_path, situations=2))
    averaged = read.filter(paradigm="letter_logodds", wording="main", option="adhere")
    assert set(averaged["source"]) == {"top_logprobs"}
    assert averaged["probability"].to_list() == pytest.approx([0.5] * 20)
    assert set(read.filter(paradigm="rating")["missing"]) == {"no log-probability"}


def test_a_failed_cluster_is_missing_with_its_reason_and_the_rest_stands(tmp_path: Any) -> None:
    plan = Plan.of(STUDY.parts(Grid()), Grid(), 0)
    planted = model_from(Planted(), plan)
    lost = plan.clusters["late_night"][0][1][0].talk[-1]["content"]

    def reply(input: list[Any], config: GenerateConfig) -> ModelOutput:
        if any(message.text.startswith(lost) for message in input):
            raise Refused("the line\nwas cut", 503)
        return planted.api.outputs(input, [], "none", config)  # type: ignore[attr-defined]

    answers = asked(model_of(reply), tmp_path)
    failed = answers.filter(cluster="late_night")
    whole = answers.filter(cluster="old_friend")
    assert set(failed["missing"]) == {"failed: the line was cut"}
    assert failed.height == whole.height
    assert whole["missing"].null_count() == whole.height
    read = readings(answers)
    assert set(read.filter(cluster="late_night")["missing"]) == {"failed: the line was cut"}
    assert read.filter(cluster="late_night")["probability"].null_count() == read.filter(cluster="late_night").height


def test_when_all_fail_the_first_reason_is_said_in_one_line(tmp_path: Any) -> None:
    def reply(input: list[Any], config: GenerateConfig) -> ModelOutput:
        raise Refused("no credit\nis left", 402)

    with pytest.raises(GreenroomError, match="no credit is left") as caught:
        asked(model_of(reply), tmp_path, situations=2)
    assert "\n" not in str(caught.value)


def test_progress_counts_the_probes(tmp_path: Any) -> None:
    plan = Plan.of(STUDY.parts(Grid(situations=1)), Grid(situations=1), 0)
    told: list[tuple[int, int]] = []
    size = Grid(situations=1)
    parts = STUDY.parts(size)
    ask_questions(
        STUDY.name, parts, size, model_from(Planted(), plan), log_dir=tmp_path, progress=lambda *now: told.append(now)
    )
    (cluster,) = plan.clusters
    assert told[-1] == (len(plan.probes(cluster, True)),) * 2
    assert [done for done, _ in told] == list(range(1, len(told) + 1))


def test_an_interrupted_study_asks_a_hosted_model_only_what_it_did_not_hear(tmp_path: Any) -> None:
    size = Grid(situations=2)
    plan, parts = Plan.of(STUDY.parts(size), size, 0), STUDY.parts(size)
    calls: list[str] = []

    def counted(model: Model) -> Model:
        generate = model.api.generate

        async def called(*given: Any, **named: Any) -> Any:
            calls.append("")
            if len(calls) == 40:
                raise KeyboardInterrupt
            return await generate(*given, **named)

        model.api.generate = called  # type: ignore[method-assign]
        return model

    calls += [""] * 100  # no Ctrl-C this time
    whole = ask_questions(STUDY.name, parts, size, counted(model_from(Planted(), plan)), log_dir=tmp_path / "whole")
    needed = len(calls) - 100
    calls.clear()
    kept = Kept(tmp_path / "said.jsonl")
    with pytest.raises(BaseException):  # noqa: B017, PT011  Inspect's own way of ending on Ctrl-C
        ask_questions(STUDY.name, parts, size, counted(model_from(Planted(), plan)), log_dir=tmp_path, kept=kept)
    heard = len(kept)
    assert heard > 0
    kept.close()
    again, calls[:] = Kept(tmp_path / "said.jsonl"), [""] * 100
    found = ask_questions(STUDY.name, parts, size, counted(model_from(Planted(), plan)), log_dir=tmp_path, kept=again)
    assert len(calls) - 100 <= needed - heard
    assert found.equals(whole)


def test_a_task_scores_each_paradigm_and_its_log_gives_the_answers(tmp_path: Any) -> None:
    size = Grid(situations=1)
    plan = Plan.of(STUDY.parts(size), size, 0)
    how: dict[str, Any] = {"display": "none", "log_dir": str(tmp_path), "log_level": "error"}
    (log,) = inspect_eval(task_of(STUDY, size, system="Be a pirate."), model=model_from(Planted(), plan), **how)
    score = log.samples[0].scores["preferences"].value
    assert list(score) == ["letter", "letter_logodds", "cloze", "rating", "free"]
    assert all(0 <= value <= 1 for value in score.values())
    answers = answers_of(log)
    read = readings(answers).filter(wording="main", option="adhere", paradigm="cloze")
    assert score["cloze"] == pytest.approx(read["probability"].mean())
    (first, *_) = [event for event in log.samples[0].events if event.event == "model"]
    assert [message.role for message in first.input][:2] == ["system", "user"]


@pytest.mark.parametrize(("subject", "void"), [(testing.Subject(), True), (Refuser(), True), (Planted(), False)])
def test_what_inspect_prints_says_void_and_holds_no_nan(subject: testing.Subject, void: bool, tmp_path: Any) -> None:
    size = Grid(situations=12)
    plan = Plan.of(STUDY.parts(size), size, 0)
    how: dict[str, Any] = {"display": "none", "log_dir": str(tmp_path), "log_level": "error"}
    (log,) = inspect_eval(task_of(STUDY, size), model=model_from(subject, plan), **how)
    (score,) = log.results.scores
    assert not any(math.isnan(one.value) for one in score.metrics.values())
    assert any("(void)" in name for name in score.metrics) is void


# --- Inspect's names -------------------------------------------------------------------------------------------------


def test_local_names_and_hosted_ones(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for local in ("smollm2", "Qwen/Qwen3-0.6B", "greenroom/google/gemma-3-1b-it", "greenroom/smollm2", str(tmp_path)):
        assert hosted_model(local) is None, local
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai" / "mine").mkdir(parents=True)
    assert hosted_model("openai/mine") is None
    assert str(hosted_model("mockllm/model")) == "mockllm/model"
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelError, match="openai/gpt-4o cannot be asked") as caught:
        hosted_model("openai/gpt-4o")
    assert "\n" not in str(caught.value)


def test_every_study_has_a_task_whose_arguments_are_those_of_its_size() -> None:
    from greenroom import inspect_plugin
    from greenroom.studies import NAMES

    for name in NAMES:
        assert registry_lookup("task", f"greenroom/{name}") is not None
    assert len(inspect_plugin.costly_sacrifice(situations=2).dataset) == 2
    for name, wrong, told in (
        ("costly_sacrifice", {"stories": 2}, "-T stories: .*allowed: situations, seed, system"),
        ("costly_sacrifice", {"situations": 99}, "situations is 99; expected 1 to 12"),
        ("self_concept", {"questions": "many"}, "-T questions: .*valid integer"),
        ("trait_profile", {}, "reads the activations of a local model; use: greenroom eval trait_profile"),
    ):
        with pytest.raises(PrerequisiteError) as caught:
            getattr(inspect_plugin, name)(**wrong)
        assert re.search(told, str(caught.value.message)), caught.value.message
        assert "\n" not in str(caught.value.message)


def test_a_broken_study_does_not_take_the_provider_along(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import reload

    from greenroom import inspect_plugin

    monkeypatch.setitem(sys.modules, "greenroom.studies.self_concept", None)  # importing it now fails
    reloaded = reload(inspect_plugin)
    assert reloaded.GreenroomAPI is not None
    assert len(reloaded.costly_sacrifice(situations=1).dataset) == 1
    with pytest.raises(ImportError):
        reloaded.self_concept()
