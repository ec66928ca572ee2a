"""Prompt drift: rules with checkers, and what is found on models that forget, get stuck or never keep a rule."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from greenroom.asking.inspect_talk import hold_on_inspect
from greenroom.asking.local_talk import hold_locally
from greenroom.errors import LibraryError
from greenroom.measures.checkers import VERDICTS, checker
from greenroom.studies.prompt_drift import STUDY, Rounds, scripts
from greenroom.studies.prompt_drift.findings import kept_rules, measures, stability

KEPT = {
    "letter_case": [("ALL GOOD", True), ("Not so", False), ("12", False)],
    "starts_with": [("Well, yes.", True), ("**Well** yes", True), ("Wellness", False)],
    "ends_with": [("It is high. Over.", True), ("Moreover", False), ("over and out", False)],
    "sentence_marks": [("Snow! It falls!", True), ("Snow! It falls.", False), ("Snow", False)],
    "word_count": [("Paris.", True), ("The city Paris", False), ("", False)],
    "sentence_count": [("To rest.", True), ("To rest. To dream.", False), ("A line\nB line", False)],
    "line_starts": [("- a\n- b", True), ("Fruits:\n- a", False)],
    "wrapped": [("[snow]", True), ("snow", False), ("[snow", False)],
    "only": [("Banana!", True), ("Banana bread", False)],
    "contains": [("Yes, indeed.", True), ("Indeedy", False)],
    "avoids": [("Red and blue", True), ("Red, blue", False), ("", False)],
    "spelled_number": [("It is twelve.", True), ("It is 12.", False), ("It is much.", False)],
    "language": [("Je mange une pomme et du pain", True), ("I eat an apple with bread", False)],
    "first_of": [("Tea, not coffee", True), ("Coffee, not tea", False), ("Juice", False)],
}
RULES = {rule.id: rule for rule in scripts.stimuli().rules}


@pytest.mark.parametrize("name", VERDICTS)
def test_each_checker_knows_what_keeps_and_what_breaks_a_rule(name):
    rule = next(rule for rule in RULES.values() if rule.check["name"] == name)
    overrides = {"ends_with": {"phrases": ["over"]}, "word_count": {"most": 1}}
    judge = checker(rule.check | overrides.get(name, {}), "test")
    assert {kept for _, kept in KEPT[name]} == {True, False}
    for text, kept in KEPT[name]:
        assert judge(text, False) is kept, (name, text)


def test_what_a_cut_reply_leaves_open_is_not_judged():
    assert checker({"name": "ends_with", "phrases": ["over"]}, "")("It is high. Over", True) is None
    few = checker({"name": "word_count", "most": 2}, "")
    assert (few("one two", True), few("one two three", True)) == (None, False)
    assert checker({"name": "wrapped", "opens": "[", "closes": "]"}, "")("[a", True) is None


def test_rules_are_many_and_name_real_checkers():
    assert len(RULES) >= 40
    assert len({rule.kind for rule in RULES.values()}) >= 5
    with pytest.raises(LibraryError, match="expected one of"):
        checker({"name": "rhymes"}, "rule x, field check")
    with pytest.raises(LibraryError, match="rule x, field check: only takes words"):
        checker({"name": "only", "word": "a"}, "rule x, field check")


def test_partners_are_other_rules_each_once_and_of_other_kinds():
    pairs = {talk.id: str(talk.levels["partner"]) for talk in scripts.talks(Rounds(), 0)}
    assert sorted(pairs.values()) == sorted(pairs)
    assert all(rule != partner for rule, partner in pairs.items())
    assert sum(RULES[rule].kind == RULES[partner].kind for rule, partner in pairs.items()) < len(pairs) / 3


GOOD = {  # a reply that keeps each rule
    rule.id: next(
        text
        for text in (
            "GRASS", "rome", "Well.", "Ahoy.", "#", "Honestly.", "Dear friend.", "It is. Over", "Is it?", "It is. Amen",
            "It is!", "- a", "1. a", "[a]", '"a"', "Banana", "It is twelve.", "7", "indeed", "Captain", "sorry",
            "thanks", "the moon", "my cat", "Je suis une est", "Vivo en la y", "Das ist ein", "Mara", "Otto", "pilot",
            "Oslo", "ninety", "goat", "orange", "arr", "Falcon", "Thursday", "blue pot", "42", "Lisbon", "Helen", "tea",
            "dogs", "winter", "no", "yes", "x",
        )
        if checker(rule.check, "")(text, False)
    )
    for rule in RULES.values()
}  # fmt: skip
BAD = "This is Bad, 12 twelve seven. And so, on it goes. Quite long and plain it is, my dear."


def forgets(after: int, reminded: bool = True, stuck: int = 99):
    """A model that keeps its own rule for `after` turns, and later the partner's; a reminder brings its own back. After
    `stuck` turns it says the same whatever it is asked."""

    def reply(messages: list[Any], *_: Any) -> ModelOutput:
        told = messages[0].text if messages[0].role == "system" else ""
        own = next((rule for rule in RULES.values() if rule.rule == told), None)
        turns, asked, text = sum(message.role == "assistant" for message in messages), messages[-1].text, BAD
        probed = next((rule for rule in RULES.values() if asked.endswith(rule.probe)), None)
        if own is not None and probed is not None:
            keeps = turns <= after or (reminded and asked.startswith("Remember"))
            if turns < stuck and keeps == (probed.id == own.id):
                text = GOOD[probed.id]
        output = ModelOutput.from_content("mockllm", text)
        output.usage = ModelUsage()
        return output

    return get_model("mockllm/model", custom_outputs=reply, memoize=False)


def held(model: Any, tmp_path: Any, **fields: Any) -> pl.DataFrame:
    size = Rounds(**fields)
    return hold_on_inspect(model, "talks", scripts.talks(size, 0), scripts.lengths(size), log_dir=tmp_path)


def found_in(answers: pl.DataFrame) -> dict[str, Any]:
    """The measures by name, those of a series as part/name."""
    return {"/".join(filter(None, (one.part, one.name))): one for one in measures(kept_rules(answers))}


def test_drift_adoption_and_remedy_are_found_as_planted(tmp_path):
    answers = held(forgets(2), tmp_path, rounds=4)
    frame, found = kept_rules(answers), found_in(answers)
    assert len(frame) == len(RULES) * (5 * 3 + 1)
    own = [found[f"by_round/own/{number}"].estimate for number in range(5)]
    assert own[:3] == [1, 1, 1]
    assert max(own[3:]) < 0.15  # some checks pass the plain text anyway, as the control says
    assert found["lost"].grade == "A"
    assert found["own_slope"].high < 0
    assert found["lost"].low > 0.5
    assert found["adopted"].low > 0.5
    assert found["own_over_partner"].high < 0
    assert found["remedy"].low > 0.3
    assert found["followed"].n == len(RULES)
    assert abs(found["own_over_control"].estimate) < 0.1  # what is kept at the end, anybody keeps
    assert found["by_kind/memory/start"].estimate == 1
    assert stability(answers) == pytest.approx(
        frame.filter((pl.col("probe") == "own") & (pl.col("round") > 0))["kept"].mean()
    )
    # The probes left no trace in the talk.
    turns = answers.filter(pl.col("paradigm") == "talk")
    assert turns["wording"].unique().sort().to_list() == [f"turn/{number}" for number in range(1, 5)]


def test_an_agent_that_ends_up_saying_the_same_to_everything_is_void(tmp_path):
    """The share kept falls here too, but what fell is the answering."""
    found = found_in(held(forgets(2, stuck=2), tmp_path, rounds=2))
    checks = {check.name: check for check in found["lost"].validity.checks}
    assert checks["followed"].grade == "A"
    assert checks["own_words"].grade == "void"
    assert found["lost"].grade == "void"
    assert "nly 0% of 100 replies have words of their own" in found["lost"].reason
    assert found["lost"].estimate is None


def test_rules_that_nobody_keeps_are_void_not_stable(tmp_path):
    found = found_in(held(forgets(-1, False), tmp_path, rules=12, rounds=1))
    assert found["lost"].grade == "void"
    assert "nothing to drift from" in found["lost"].reason
    assert all(measure.estimate is None for measure in found.values())
    assert STUDY.primary in found


def test_sizes_out_of_range_are_refused():
    for wrong in ({"rules": 1}, {"rounds": 0}, {"probes": "own,none"}):
        with pytest.raises(LibraryError, match="expected"):
            scripts.talks(Rounds(**wrong), 0)


def test_the_agent_hears_the_system_message_and_the_partner_does_not(tmp_path):
    heard: list[str] = []

    def reply(messages: list[Any], *_: Any) -> ModelOutput:
        heard.append(messages[0].text if messages[0].role == "system" else "")
        output = ModelOutput.from_content("mockllm", "Fine.")
        output.usage = ModelUsage()
        return output

    size = Rounds(rules=2, rounds=2)
    model = get_model("mockllm/model", custom_outputs=reply, memoize=False)
    talks = scripts.talks(size, 0)
    hold_on_inspect(model, "talks", talks, scripts.lengths(size), system="Be kind.", log_dir=tmp_path)
    rules = {RULES[talk.id].rule for talk in talks}
    assert {text for text in heard if text.startswith("Be kind.")} == {"Be kind."} | {
        f"Be kind.\n{rule}" for rule in rules
    }
    assert [text for text in heard if not text.startswith("Be kind.")] == [text for text in heard if text in rules]
    assert sum(text in rules for text in heard) == 2  # one turn of each partner


def test_a_random_subject_is_void(tmp_path):
    from greenroom.subject.tiny import tiny

    size = Rounds(rules=3, rounds=2, reply_tokens=6, probe_tokens=6)
    answers = hold_locally(tiny(), "talks", scripts.talks(size, 0), scripts.lengths(size), seed=0)
    assert {one.grade for one in measures(kept_rules(answers))} == {"void"}
