"""The persona posterior: its arithmetic, its frame, its race, and what the verb prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import greenroom
from greenroom.cli import main
from greenroom.errors import ConversationError, LibraryError
from greenroom.personas import Context, library
from greenroom.reader.posterior.calibration import (
    Calibration,
    calibration_error,
    fit_temperature,
    probabilities,
    scope_of,
)
from greenroom.reader.posterior.contexts import OwnContext, contexts_of, prior_of, role_contexts
from greenroom.reader.posterior.likelihoods import BASELINE, Job, Passage, race, scorer
from greenroom.reader.posterior.posterior import Posterior
from greenroom.reader.posterior.validation import validate_who
from greenroom.reader.posterior.who import WhoRequest, posteriors, who
from greenroom.reader.transcripts import Transcript
from greenroom.subject import Subject
from greenroom.subject.tiny import save_tiny, tiny

TALK = [
    {"role": "system", "content": "You are somebody else."},
    {"role": "user", "content": "Where do you live?"},
    {"role": "assistant", "content": "At sea. Far out!"},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "In a house."},
]
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


# The race ----------------------------------------------------------------------------------------------------------------


def clear_winner(lengths: Sequence[int], contexts: Sequence[Context], jobs: list[Job], *, prune: bool):
    """A race in which context k loses k hundredths of a nat a token; `jobs` hears what was read."""

    def score(asked: Sequence[Job]) -> list[np.ndarray]:
        jobs.extend(asked)
        return [
            np.full(job.end - job.start, -3.0 if job.context == BASELINE else -1 - 0.01 * job.context) for job in asked
        ]

    return race(lengths, contexts, score, prune=prune)


def test_pruning_reads_less_and_keeps_the_top() -> None:
    contexts = contexts_of("all")
    slow: list[Job] = []
    fast: list[Job] = []
    full = clear_winner([200], contexts, slow, prune=False)[0].by_token()[:, -1]
    pruned = clear_winner([200], contexts, fast, prune=True)[0]
    assert sum(job.end - job.start for job in fast) < 0.25 * sum(job.end - job.start for job in slow)
    assert np.argsort(-pruned.by_token()[:, -1])[:5].tolist() == np.argsort(-full)[:5].tolist() == [0, 1, 2, 3, 4]
    generic = next(index for index, one in enumerate(contexts) if one.generic)
    assert not pruned.pruned(generic)
    assert pruned.by_token()[generic, -1] == pytest.approx(full[generic])


def test_a_context_that_may_come_back_is_read_on_and_one_that_will_not_is_dropped() -> None:
    """Twenty contexts whose tokens scatter; the sixth is nearly level after the first tokens, the last is far behind."""
    rng = np.random.default_rng(0)
    contexts = [OwnContext(name=str(index), instruction=f"{index}.") for index in range(20)]
    levels = np.concatenate([np.full(5, -1.0), [-1.02], np.full(13, -1.6), [-3.0]])
    table = levels[:, None] + 0.3 * rng.normal(size=(20, 200))

    def score(asked: Sequence[Job]) -> list[np.ndarray]:
        return [
            np.full(200, -2.0) if job.context == BASELINE else table[job.context, job.start : job.end] for job in asked
        ]

    found = race([200], contexts, score)[0]
    assert not found.pruned(5)
    assert found.pruned(19)
    assert set(np.argsort(-found.by_token()[:, -1])[:5]) == set(np.argsort(-table.sum(axis=1))[:5])


def test_rounds_read_no_token_twice_and_end_with_the_scores_of_the_whole(
    small: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader itself: what waits between rounds is its keys and values."""
    contexts = [OwnContext(name=str(index), instruction=(f"{index}. " * 4, f"No {index}.")) for index in range(12)]
    passages = [Passage([{"role": "user", "content": "Well?"}], [5 + index % 90 for index in range(200)])]
    jobs: list[Job] = []
    score = scorer(small, passages, contexts)
    fed: list[int] = []
    run = small.network.run
    with monkeypatch.context() as patch:
        patch.setattr(small.network, "run", lambda *given: fed.append(given[1].numel()) or run(*given))
        found = race([200], contexts, lambda asked: jobs.extend(asked) or score(asked))[0]
    rows = {(job.context, job.paraphrase) for job in jobs}
    told = [contexts[context].instruction[which] if context != BASELINE else "" for context, which in rows]
    prompts = [
        small.chat.encode([{"role": "system", "content": text}, *passages[0].before], generate=True) for text in told
    ]
    assert sum(fed) < 1.05 * (sum(len(one.tokens) for one in prompts) + sum(job.end - job.start for job in jobs))
    whole = race([200], contexts, scorer(small, passages, contexts), prune=False)[0]
    read: dict[tuple[int, int], int] = {}
    for job in jobs:
        assert job.start == read.get((job.context, job.paraphrase), 0)
        read[job.context, job.paraphrase] = job.end
    assert sorted({job.end for job in jobs}) == [32, 64, 128, 200]
    for context in found.finalists:
        for paraphrase, values in found.values[context].items():
            assert values == pytest.approx(whole.values[context][paraphrase], abs=1e-4)


def test_a_short_text_is_read_whole_even_when_pruned() -> None:
    jobs: list[Job] = []
    clear_winner([40], role_contexts(), jobs, prune=True)
    assert {(job.start, job.end) for job in jobs} == {(0, 40)}


# Posteriors --------------------------------------------------------------------------------------------------------------


def test_posterior_is_bayes_over_the_subjects_own_scores(small: Subject) -> None:
    reply, asked = "At sea. Far out!", {"role": "user", "content": "Where do you live?"}
    found = who(reply, user=asked["content"], contexts=PAIR, reader=small)

    def score(instruction: str) -> float:
        return small.score([[{"role": "system", "content": instruction}, asked]], [reply]).total[0]  # type: ignore[list-item]

    contexts, empty, tokens = contexts_of(PAIR), score(""), len(small.chat.continuation(reply))
    totals = [[score(text) for text in one.instruction] for one in contexts]
    joint = np.exp([np.log(np.mean(np.exp(np.array(of) - empty))) for of in totals]) * prior_of(contexts)
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
    assert found.agentic_mass == pytest.approx(expected["a"] + expected["generic_text"] / 2, rel=1e-3)
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


# Validation --------------------------------------------------------------------------------------------------------------


def test_validation_resumes_to_equal_figures(
    small: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"design": "roles", "replies": 14, "tokens": 10}
    one = validate_who(small, out=tmp_path / "a", **options)
    again = validate_who(small, out=tmp_path / "a", **options)
    assert one.figures == again.figures
    assert one.contexts == 31
    assert one.figures["chance of top 1"].estimate == pytest.approx(1 / 31)
    assert one.calibration.lengths == (10,)
    assert 0 <= (one.figures["top 5 at 10 tokens"].estimate or 0) <= 1
    assert json.loads(json.dumps(one.as_dict()))["design"] == "roles"
    assert main(["report", str(tmp_path / "a")]) == 2
    assert "a run of kind who has no page" in capsys.readouterr().err


# The verb ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("who") / "model")


def run(folder: Path, tmp_path: Path, *words: str) -> int:
    contexts = tmp_path / "contexts.yaml"
    contexts.write_text(
        "- {name: sailor, instruction: You sail.}\n- {name: bill, instruction: A bill., agentic: false}\n"
    )
    return main(["who", *words, "--reader", str(folder), "--contexts", str(contexts)])


def test_json_lines_in_input_order(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "talks.jsonl"
    records = [{"messages": TALK, "id": 7}, {"nothing": 1}, {"messages": TALK[:3]}]
    file.write_text("\n".join(map(json.dumps, records)))
    assert run(folder, tmp_path, str(file), "--json") == 0
    printed, told = capsys.readouterr()
    found = [json.loads(line) for line in printed.splitlines()]
    assert [(one["source"], one["index"], one["turn"]) for one in found] == [(str(file), 0, 2), (str(file), 2, 1)]
    for one in found:
        assert {"top", "agentic_mass", "none_of_these"} <= one.keys()
        assert [set(entry) for entry in one["top"]] == [{"context", "probability", "bits_per_token", "low", "high"}] * 2
        shares = [entry["probability"] for entry in one["top"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) + one["none_of_these"] == pytest.approx(1, abs=1e-5)
        assert one["calibrated"] is False
    assert f"{file}:2" in told


def test_table_and_steps(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, tmp_path, "--text", "At sea. Far out!", "--user", "Where?", "--by", "sentence") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("text 0, turn 1: agentic ")
    assert "uncalibrated" in lines[0]
    assert [line.split("\t")[0] for line in lines[1:]] in (
        ["context", "sailor", "bill", "sentence", "1", "2"],
        ["context", "bill", "sailor", "sentence", "1", "2"],
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "either FILES or --text"),
        (("x.json", "--text", "Hm."), "either FILES or --text"),
        (("missing.json",), "missing.json does not exist"),
        (("--text", "Hm.", "--by", "word"), "sentence"),
        (("--text", "Hm.", "--turn", "0"), "--turn"),
        (("--text", "Hm.", "--prior", "none.yaml"), "no such file"),
        (("--text", ""), "no conversation could be judged"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    assert run(folder, tmp_path, *words) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert told.out == ""
    assert told.err.splitlines()[-1].startswith("error: ")


@pytest.mark.model
def test_smollm2_tells_a_pirate_from_a_forecast(smollm2: Subject) -> None:
    contexts = (
        *[one for one in contexts_of("all") if one.name in ("assistant", "pirate", "weather_bulletin", "generic_text")],
    )
    said = "Arr, matey! The sea be me home, and me rum be me only friend. We sail at dawn."
    pirate = who(said, user="Where do you live?", contexts=contexts, reader=smollm2)
    forecast = who(
        "Tomorrow: rain in the north, 12 degrees, wind from the west at 20 km/h.", contexts=contexts, reader=smollm2
    )
    assert pirate.top(1)[0].context == "pirate"
    assert pirate.top(1)[0].bits_per_token > 0.3
    assert pirate.agentic_mass > 0.9
    assert forecast.top(1)[0].context == "weather_bulletin"
    assert forecast.agentic_mass < 0.5
