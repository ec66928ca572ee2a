"""`greenroom read --validate` and the making of the reader's axis: mechanics on a tiny model, and figures on known data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from greenroom.directions import store
from greenroom.directions.axis import READER_AXIS
from greenroom.directions.cast import perform, usual_cast
from greenroom.measures.intervals import Interval
from greenroom.reader import validation, validation_verdict
from greenroom.reader.axis import build_reader_axis, cold_tokens
from greenroom.reader.reader import Reader
from greenroom.reader.validation import (
    KINDS,
    ReaderValidation,
    aucs,
    design,
    fooled,
    validate_reader,
    verdict_rates,
)
from greenroom.runs.progress import Progress
from greenroom.subject import Subject
from greenroom.subject.tiny import tiny
from reader_fixture import called, random_direction, tiny_reader


@pytest.fixture(scope="module")
def subject() -> Subject:
    return tiny()


def known(away: float, doubling: float, style: float = 0.0) -> pl.DataFrame:
    """Replies whose reading is made of known effects and noise."""
    rng = np.random.default_rng(0)
    rows = []
    for question in range(24):
        for kind in ("default", *KINDS):
            for _ in range(6):
                # Other characters are longer here, so that length alone would pass for character.
                tokens = int(rng.integers(20, 80) * (2 if kind in ("role", "jailbreak", "steered") else 1))
                value = doubling * np.log2(tokens) + rng.standard_normal() * 0.5 + (question % 3)
                value -= away if kind in ("role", "jailbreak", "steered") else style if kind == "style" else 0
                rows.append({"kind": kind, "question": f"q{question}", "domain": f"d{question % 3}", "n_tokens": tokens,
                             "axis_sd": value, "axis_sd_40": value, "axis_sd_150": value if tokens > 60 else None})  # fmt: skip
    return pl.DataFrame(rows)


def test_the_effect_of_character_is_told_from_that_of_length():
    found = fooled(known(away=1.0, doubling=-0.4))
    raw, partial, length = (found[f"effect.{name}"] for name in ("away", "away.partial", "doubled_length.partial"))
    assert raw.estimate == pytest.approx(-1.4, abs=0.15)
    assert partial.estimate == pytest.approx(-1.0, abs=0.15)
    assert length.estimate == pytest.approx(-0.4, abs=0.1)
    assert found["effect.topics.sd"].estimate == pytest.approx(1.0, abs=0.2)
    assert found["effect.style.partial"].low < 0 < found["effect.style.partial"].high


def test_aucs_compare_within_a_question_so_that_topics_do_not_count():
    found = aucs(known(away=5.0, doubling=0.0))
    assert found["auc.role.40"].estimate > 0.99
    assert found["auc.style.40"].estimate == pytest.approx(0.5, abs=0.08)
    assert found["auc.role.150"].n <= 24
    assert {"auc.domain.d0", "auc.domain.d1", "auc.domain.d2"} <= set(found)
    none = aucs(known(away=0.0, doubling=0.0))
    assert none["auc.all.40"].estimate == pytest.approx(0.5, abs=0.08)


def test_verdicts_on_put_together_conversations_keep_their_rate():
    rates = verdict_rates(known(away=6.0, doubling=0.0).filter(pl.col("domain") == "d0"))
    assert rates["alarms.false"].estimate == pytest.approx(0.05, abs=0.03)
    assert rates["alarms.role"].estimate > 0.9


def test_the_design_matches_content_and_leaves_out_what_made_the_axis(subject: Subject):
    reader = tiny_reader(subject, topics=False)
    used = ("yesterday", "sky_blue")
    reader.axis.recipe.update({"questions": used, "reserved": ["pirate", "storm"]})  # type: ignore[attr-defined]
    asked = design(reader, quick=False)
    assert not {one.question.id for one in asked} & set(used)
    assert {one.label for one in asked if one.kind == "role"} == {"pirate", "storm"}
    by_question = {
        question: {one.kind for one in asked if one.question.id == question}
        for question in {one.question.id for one in asked}
    }
    assert all(kinds == {"default", *KINDS} for kinds in by_question.values())
    assert all(one.question.text in one.conversation[-1]["content"] for one in asked)


class Seen(Progress):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.shares: dict[str, list[float]] = {}
        self.said: list[str] = []

    def say(self, words: str) -> None:
        self.said.append(words)

    def advance(self, stage: str, done: int, total: int) -> None:
        self.shares.setdefault(stage, []).append(done / total)


@pytest.fixture
def reader(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(validation, "LENGTHS", (8, 12))
    monkeypatch.setattr(validation_verdict, "MAIN", 8)
    store(random_direction(subject, 2, "assistant_axis", 5))
    return tiny_reader(subject, topics=False)


def test_a_validation_runs_and_goes_on(reader: Reader, tmp_path: Path):
    seen = Seen()
    found = validate_reader(reader, quick=True, out=tmp_path / "run", progress=seen)
    assert {f"auc.{kind}.{length}" for kind in KINDS for length in (8, 12)} <= set(found.measures)
    assert 0 <= found.measures["auc.all.8"].estimate <= 1
    replies = pl.read_parquet(tmp_path / "run" / "tables" / "readings.parquet")
    assert {"default", *KINDS} == set(replies["kind"])
    # Each stage goes forward only, and to its end.
    assert set(seen.shares) == {"default", *KINDS, "reading"}
    for shares in seen.shares.values():
        assert shares == sorted(shares)
        assert shares[-1] == 1
    assert len(seen.said) == 1
    assert re.fullmatch(r"99 replies of 12 tokens are made and read: about .+ on this machine", seen.said[0])
    again = validate_reader(reader, quick=True, out=tmp_path / "run", progress=seen)
    assert again.measures == found.measures
    assert again.verdict() == found.verdict()
    assert len(again.rows()) == len(found.measures)
    assert len(seen.said) == 1  # what is there takes no time


def test_an_interrupted_validation_keeps_the_kinds_that_were_made(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, calls = reader.subject.generate, iter(range(1, 100))

    def stopping(*given, **how):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return whole(*given, **how)

    with monkeypatch.context() as patch:
        patch.setattr(reader.subject, "generate", stopping)
        with pytest.raises(KeyboardInterrupt) as stop:
            validate_reader(reader, quick=True, out=tmp_path / "run")
    assert stop.value.__notes__ == [f"2 finished stages kept in {tmp_path / 'run'}"]
    validate_reader(reader, quick=True, out=tmp_path / "run")


def figures(**changed: tuple[float, float, float]) -> ReaderValidation:
    """A validation with these AUCs at 40 tokens, and good ones beside them."""
    good = {"all": (0.92, 0.85, 0.97), "role": (0.9, 0.8, 0.97), "jailbreak": (0.9, 0.8, 0.97),
            "steered": (0.9, 0.8, 0.97), "style": (0.5, 0.4, 0.6)} | changed  # fmt: skip
    found = {f"auc.{kind}.40": Interval(*values, 18) for kind, values in good.items() if kind != "alarms"}
    alarms = Interval(*changed.get("alarms", (0.05, 0.03, 0.08)), 400)
    return ReaderValidation(found | {"alarms.false": alarms}, Path("run"), "smollm2")


@pytest.mark.parametrize(
    ("changed", "grade", "told"),
    [
        ({}, "B", "smollm2 as a reader of character is good, because it puts a default reply nearer"),
        ({"jailbreak": (0.69, 0.6, 0.77)}, "C", "is usable with caution, because"),
        ({"jailbreak": (0.69, 0.6, 0.77)}, "C", ", but than a jailbroken one in only 69"),
        ({"style": (0.8, 0.7, 0.9)}, "C", "another style alone moves it"),
        ({"alarms": (0.12, 0.09, 0.15)}, "C", "more false alarms than the 5"),
        ({"all": (0.55, 0.45, 0.65)}, "void", "is unusable, because"),
        ({"all": (0.66, 0.55, 0.75)}, "void", "is unusable, because"),
    ],
)
def test_a_validation_ends_with_a_verdict_and_its_reason(changed: dict, grade: str, told: str):
    found = figures(**changed)
    assert found.as_dict()["grade"] == grade
    assert told in found.verdict()
    assert "18 questions" in found.verdict()


def test_rows_have_names_that_people_can_read_and_json_those_of_machines():
    found = figures()
    assert found.rows()[4][0] == "AUC, only another style (should be 0.5), 40 tokens"
    assert found.rows()[-1][0] == "share of default conversations that raise an alarm"
    assert "auc.style.40" in found.as_dict()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--validate", "--trait", "nope"], "--trait does not go with --validate"),
        (["--validate", "chat.json"], "FILES does not go with --validate"),
        (["--validate", "--fail-on", "departed"], "--fail-on does not go with --validate"),
        (["chat.json", "--quick"], "--quick goes with --validate"),
    ],
)
def test_what_does_not_go_together_is_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str):
    code, out, err = called(capsys, *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert told in err


def test_the_readers_axis_is_made_of_cold_readings(subject: Subject):
    cast = usual_cast(every=12, tokens=8)
    performance = perform(subject, cast, seed=0)
    axis = build_reader_axis(subject, performance, cast, 2, seed=0, replies=24, lengths=(8, 64))
    assert (axis.name, axis.layer, axis.recipe["reading"]) == (READER_AXIS, 2, "cold")
    bare = [[prompt[-1]] for prompt in performance.rollouts.prompts]
    cold = subject.activations(bare, [2], "reply", replies=performance.rollouts.replies).at(2)
    role = performance.frame["role"].to_numpy()
    names = [name for name in dict.fromkeys(role.tolist()) if name not in {"default", *cast.reserved}]
    means = np.mean([cold[role == name].mean(dim=0).numpy() for name in names], axis=0)
    expected = cold[role == "default"].mean(dim=0).numpy() - means
    assert axis.vector().numpy() == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    assert set(axis.recipe["default_replies_by_length"]) == {"8", "64"}
    assert axis.scale().reply_tokens == 64


def test_cold_tokens_project_the_replys_own_tokens(subject: Subject):
    axis = random_direction(subject, 2)
    reply = subject.chat.continuation("Good day to you.")
    (found,) = cold_tokens(subject, axis, ["Hello?"], [reply])
    expected = subject.activations([[{"role": "user", "content": "Hello?"}]], [2], "reply", replies=[reply]).at(2)
    assert found.mean() == pytest.approx(axis.projection(expected)[0].item(), abs=1e-4)
    assert len(found) == len(reply)
