"""The persona posterior: contexts and priors, its arithmetic, its frame, and its verdict."""

from __future__ import annotations

from dataclasses import fields, replace
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import greenroom
from greenroom.errors import ConversationError, LibraryError
from greenroom.personas import library
from greenroom.reader.posterior.calibration import (
    Calibration,
    calibration_error,
    fit_temperature,
    probabilities,
    scope_of,
)
from greenroom.reader.posterior.contexts import OwnContext, contexts_of, prior_of
from greenroom.reader.posterior.posterior import Estimate, Posterior
from greenroom.reader.posterior.verdict import LEAST, named
from greenroom.reader.posterior.who import WhoRequest, posteriors, who
from greenroom.reader.transcripts import Transcript
from greenroom.subject import Subject
from greenroom.subject.tiny import tiny
from reader_fixture import TALK

PAIR = (
    OwnContext(name="a", instruction="You are a sailor."),
    OwnContext(name="b", agentic="false", instruction=("A list.", "What follows is a list.")),
)


@pytest.fixture(scope="module")
def small() -> Subject:
    return tiny(seed=3)


# Contexts and priors -----------------------------------------------------------------------------------------------------


def test_library_contexts_include_assistant_and_none_of_these() -> None:
    everyone, roles = contexts_of("all"), contexts_of("roles")
    assert len(everyone) == 1 + len(library.roles()) + len(library.contexts())
    assert (
        [one.name for one in everyone if one.generic] == [one.name for one in roles if one.generic] == ["generic_text"]
    )
    assert roles[0].name == "assistant"
    assert "" not in roles[0].instruction


def test_class_prior_is_equal_over_classes_then_within() -> None:
    contexts = contexts_of("all")
    prior = prior_of(contexts)
    for agentic in ("true", "partly", "false"):
        mass = sum(weight for one, weight in zip(contexts, prior, strict=True) if one.agentic == agentic)
        assert mass == pytest.approx(1 / 3)
    assert len({round(weight, 12) for weight in prior}) == 3
    assert prior_of(contexts, "flat") == pytest.approx(1 / len(contexts))
    assert prior_of(PAIR, {"a": 3, "b": 1}) == pytest.approx([0.75, 0.25])


def test_prior_is_flat_where_only_characters_compete(small: Subject) -> None:
    assert prior_of(contexts_of("roles")) == pytest.approx(1 / len(contexts_of("roles")))
    assert prior_of(contexts_of("all")) == pytest.approx(prior_of(contexts_of("all"), "classes"))
    request = WhoRequest(reader=small)
    assert request.competing == contexts_of("roles")
    assert request.weights == pytest.approx(1 / len(request.competing))


def test_contexts_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "- {name: Old Sailor, instruction: You are a sailor.}\n"
        "- {name: list, instruction: [A list., Some list.], agentic: false}\n"
    )
    found = contexts_of(file)
    assert [(one.name, one.agentic, len(one.instruction)) for one in found] == [
        ("Old Sailor", "true", 1), ("list", "false", 2), ("generic_text", "partly", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {name: a}\n", "instruction: missing"),
        ("- {name: a, instruction: x, agentic: maybe}\n", "agentic"),
        ("- {name: a, instruction: x}\n- {name: a, instruction: y}\n", "stands twice"),
        ("- {name: generic_text, instruction: x}\n", "none of these"),
        ("- {name: a, instruction: []}\n", "at least 1"),
    ],
)
def test_bad_contexts_files_say_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(LibraryError, match=words):
        contexts_of(file)


@pytest.mark.parametrize("given", [{"c": 1}, {"a": -1}, {"a": 0}, {"a": float("inf")}, {"a": True}])
def test_bad_priors_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(LibraryError):
        prior_of(PAIR, given)


# Calibration -------------------------------------------------------------------------------------------------------------


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    prior = np.full(5, 0.2)
    scores = rng.normal(0, 2, (4000, 5))
    shares = probabilities(scores, prior)
    truth = [int(rng.choice(5, p=row)) for row in shares]
    assert fit_temperature(3 * scores, prior, truth) == pytest.approx(3, rel=0.1)
    sharp = probabilities(3 * scores, prior)
    right = (shares.argmax(axis=1) == truth).astype(float)
    assert calibration_error(shares.max(axis=1), right) < 0.03 < 0.15 < calibration_error(sharp.max(axis=1), right)


def test_temperature_between_lengths_and_outside() -> None:
    found = Calibration((10, 40), (1.0, 4.0), (None, None), 1000)
    assert [found.temperature(tokens) for tokens in (1, 10, 20, 40, 500)] == pytest.approx([1, 1, 2, 4, 4])

    pair = [OwnContext(name="a", instruction="A."), OwnContext(name="b", instruction="B.")]
    measured = Calibration((10,), (1.0,), (None,), 1000, scope_of(pair, np.array([0.5, 0.5])))
    assert measured.holds(pair[::-1], np.array([0.5, 0.5]))
    assert not measured.holds(pair, np.array([0.6, 0.4]))
    assert not measured.holds(pair[:1], np.array([1.0]))
    assert not replace(measured, replies=999).holds(pair, np.array([0.5, 0.5]))


# Posteriors --------------------------------------------------------------------------------------------------------------


def test_posterior_is_bayes_over_the_subjects_own_scores(small: Subject) -> None:
    reply, asked = "At sea. Far out!", {"role": "user", "content": "Where do you live?"}
    found = who(reply, user=asked["content"], contexts=PAIR, reader=small, own=True)

    def score(instruction: str) -> float:
        return small.score([[{"role": "system", "content": instruction}, asked]], [reply]).total[0]  # type: ignore[list-item]

    contexts, empty, tokens = contexts_of(PAIR), score(""), len(small.chat.continuation(reply))
    totals = [[score(text) for text in one.instruction] for one in contexts]
    joint = np.exp([np.mean(of) - empty for of in totals]) * prior_of(contexts)
    expected = dict(zip([one.name for one in contexts], joint / joint.sum(), strict=True))
    gains = {one.name: (np.mean(of) - empty) / tokens / np.log(2) for one, of in zip(contexts, totals, strict=True)}
    for one in found.estimates:
        assert one.probability == pytest.approx(expected[one.context], rel=1e-3)
        assert one.bits_per_token == pytest.approx(gains[one.context], abs=1e-4)
        if one.context == "a":
            assert (one.low, one.high) == (None, None)
        else:
            assert one.low is not None
            assert one.high is not None
            assert one.low <= one.bits_per_token <= one.high
    assert found.none_of_these == pytest.approx(expected["generic_text"], rel=1e-3)
    if found.none_of_these < 0.5:
        assert found.agentic_mass == pytest.approx(expected["a"] / (expected["a"] + expected["b"]), rel=1e-3)
    assert sum(one.probability for one in found.estimates) == pytest.approx(1)
    assert found.tokens == tokens
    assert not found.calibrated


def test_only_the_turns_own_user_message_stands_before_it(small: Subject) -> None:
    whole = who(TALK, contexts=PAIR, reader=small)
    alone = who("In a house.", user="And now?", contexts=PAIR, reader=small)
    after = who(TALK, contexts=PAIR, reader=small, history=True)
    first = who(TALK, contexts=PAIR, reader=small, turn=1)
    assert whole.estimates == alone.estimates
    assert after.estimates != whole.estimates
    assert first.estimates == who(TALK[:3], contexts=PAIR, reader=small).estimates
    assert (whole.turn, first.turn) == (2, 1)


def test_by_turn_and_by_sentence(small: Subject) -> None:
    turns = who(TALK, contexts=PAIR, reader=small, by="turn")
    assert [step.turn for step in turns.steps] == [1, 2]
    assert turns.steps[1].estimates == turns.estimates
    sentences = who(TALK, contexts=PAIR, reader=small, turn=1, by="sentence")
    assert [step.text for step in sentences.steps] == ["At sea.", "Far out!"]
    assert sentences.steps[-1].estimates == sentences.estimates
    cut = who("At sea. ", user="Where do you live?", contexts=PAIR, reader=small)
    assert sentences.steps[0].tokens == cut.tokens
    assert sentences.steps[0].top(1)[0].probability == pytest.approx(cut.top(1)[0].probability, rel=1e-3)
    frame = sentences.frame()
    assert frame.height == 2 * 3
    assert frame["sentence"].unique().sort().to_list() == [1, 2]
    assert len(sentences.figure().data) == 4  # type: ignore[arg-type]
    assert len(whole_bars := who("Hm.", contexts=PAIR, reader=small).figure().data) == 1, whole_bars  # type: ignore[arg-type]


def test_conversations_do_not_influence_each_other(small: Subject) -> None:
    asked = WhoRequest(reader=small, contexts=PAIR)
    talks = [TALK, TALK[:3], [{"role": "user", "content": "Nobody answers."}], TALK[1:]]
    found = list(posteriors(asked, [Transcript("f", index, talk) for index, talk in enumerate(talks)]))  # type: ignore[arg-type]
    assert str(found[2]) == "f: no turn to judge: it has no assistant turn with text"
    for index in (0, 1, 3):
        one = found[index]
        assert isinstance(one, Posterior)
        assert one.index == index
        alone = who(talks[index], contexts=PAIR, reader=small)  # type: ignore[arg-type]
        assert [e.probability for e in one.estimates] == pytest.approx(
            [e.probability for e in alone.estimates], rel=1e-3
        )


def test_templates_without_a_system_role_are_read_too() -> None:
    folding = tiny(seed=1)
    folding.chat.tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    assert folding.chat.folds_system
    found = who("At sea.", contexts=PAIR, reader=folding)
    assert len({one.bits_per_token for one in found.estimates}) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [({"turn": 3}, "not turn 3"), ({"turn": 0}, "from 1"), ({"by": "word"}, "sentence or turn")],
)
def test_what_cannot_be_judged_is_said(small: Subject, options: dict, words: str) -> None:
    with pytest.raises(ConversationError, match=words):
        who(TALK, contexts=PAIR, reader=small, **options)  # type: ignore[arg-type]
    with pytest.raises(ConversationError, match="no assistant turn"):
        who("  ", contexts=PAIR, reader=small)


def test_too_much_before_a_turn_is_said_and_the_rest_goes_on(small: Subject) -> None:
    long = [{"role": "user", "content": "far " * 2000}, {"role": "assistant", "content": "Yes."}]
    asked = WhoRequest(reader=small, contexts=PAIR, history=True)
    found = list(posteriors(asked, [Transcript("f", 0, [*long, *TALK[1:]]), Transcript("f", 1, TALK)]))  # type: ignore[list-item]
    assert "drop --history" in str(found[0])
    assert isinstance(found[1], Posterior)


def test_who_takes_the_options_of_its_request(small: Subject) -> None:
    assert list(signature(who).parameters) == ["text", *(one.name for one in fields(WhoRequest))]
    with pytest.raises(TypeError, match="trun"):
        who("Hm.", contexts=PAIR, reader=small, trun=1)  # type: ignore[call-arg]


def test_public_name_can_be_called_twice(small: Subject) -> None:
    assert greenroom.who("Hm.", contexts=PAIR, reader=small) == greenroom.who("Hm.", contexts=PAIR, reader=small)


# Verdicts ----------------------------------------------------------------------------------------------------------------


def posterior(*shares: tuple[str, float, float], tokens: int = 40, agentic: str = "true") -> Posterior:
    """Of (context, probability, bits a token); the generic context is called generic_text."""
    estimates = [
        Estimate(name, "role", "partly" if name == "generic_text" else agentic, 0.1, probability, bits, None, None,
                 generic=name == "generic_text")
        for name, probability, bits in shares
    ]  # fmt: skip
    return Posterior(tuple(sorted(estimates, key=lambda one: -one.probability)), 1, tokens, 1.0, False, "reader")


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        (posterior(("pirate", 0.9, 0.5), ("assistant", 0.1, -0.1)), "sounds_like", "sounds like a pirate"),
        (posterior(("assistant", 0.9, 0.1), ("outlaw", 0.1, -0.1)), "sounds_like", "sounds like the assistant"),
        (posterior(("assistant", 0.9, -0.1), ("outlaw", 0.1, -0.4)), "nothing_better", "better than an empty prompt"),
        (posterior(("generic_text", 0.9, 0.4), ("pirate", 0.1, 0.1)), "none_of_these", "none of these contexts"),
        (posterior(("pirate", 0.5, 0.5), ("viking", 0.4, 0.4)), "none_stands_out", "no context stands out"),
        (posterior(*((f"r{i}", 0.1, 0.3) for i in range(10))), "none_stands_out", "no context stands out"),
        (posterior(("pirate", 0.5, 0.5), tokens=LEAST - 1), "too_short", f"too short to tell ({LEAST - 1} tokens)"),
        (posterior(("pirate", 0.9, 0.5), tokens=LEAST - 1), "sounds_like", "sounds like a pirate"),
    ],
)
def test_the_verdict_says_who_or_why_not(found: Posterior, expected: str, words: str) -> None:
    assert found.verdict.id == expected
    assert words in found.verdict.sentence
    assert str(found).startswith(found.verdict.sentence)
    assert found.as_dict()["verdict"] == {
        "id": expected,
        "context": found.top(1)[0].context if expected == "sounds_like" else None,
        "sentence": found.verdict.sentence,
    }


def test_a_context_without_a_gain_is_not_ranked_and_the_assistant_keeps_its_place() -> None:
    found = posterior(("hermit", 0.6, -0.2), ("assistant", 0.3, -0.3), ("poet", 0.1, 0.1))
    assert [one.context for one in found.top()] == ["poet"]
    told = found.as_dict()
    assert (told["assistant"]["place"], told["assistant"]["of"], told["assistant"]["probability"]) == (2, 3, 0.3)
    assert "the assistant: 2 of 3" in str(found)
    assert posterior(("poet", 1.0, 0.1)).as_dict()["assistant"] is None


def test_agentic_mass_never_contradicts_none_of_these() -> None:
    """It is of what the named contexts hold, and is left out where that is little, or where only characters compete."""
    mixed = (("generic_text", 0.4, 0.1), ("letter", 0.6, 0.1))
    assert posterior(*mixed, agentic="partly").agentic_mass == pytest.approx(0.5)
    assert posterior(*mixed, agentic="true").agentic_mass is None
    assert posterior(("generic_text", 0.92, 0.1), ("letter", 0.08, 0.1), agentic="partly").agentic_mass is None
    assert posterior(*mixed).as_dict()["agentic_mass"] is None


def test_names_in_a_sentence() -> None:
    told = [named(posterior((name, 1.0, 0.1)).estimates[0]) for name in ("oracle", "yes_bot", "sports_results", "Ahab")]
    assert told == ["an oracle", "a yes bot", "sports results", "Ahab"]
