"""What a trait vector is worth, and the strength at which it is heard: verdict, trial, and the end of the verb."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from frontier_fixture import axis_at_first
from greenroom.cli import main
from greenroom.directions.trial import trial
from greenroom.directions.verdict import trial_said, verdict
from greenroom.personas import library
from greenroom.subject import tiny


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["trait", *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def figures(auc: float, cold: float, random_hot: float, random_cold: float | None) -> dict[str, float]:
    found = {"auc": auc, "auc_low": auc - 0.05, "auc_high": min(1.0, auc + 0.05), "n": 40, "random_auc_p95": random_hot}
    found |= {"cold_auc": cold, "cold_auc_low": cold - 0.1, "cold_auc_high": cold + 0.1}
    return found if random_cold is None else {**found, "random_cold_auc_p95": random_cold}


@pytest.mark.parametrize(
    ("validity", "reliable", "grade", "words"),
    [
        (figures(0.99, 0.85, 0.89, 0.7), True, "B", "good: re-read cold"),
        (figures(0.99, 0.85, 0.89, 0.8), True, "C", "usable with caution: re-read cold"),
        # Better by less than is printed.
        (figures(0.99, 0.852, 0.89, 0.751), True, "C", "(0.75–0.95), and that interval reaches the 0.75"),
        (figures(0.99, 0.85, 0.89, 0.86), True, "void", "no better than a random direction: AUC 0.85"),
        # A file that knows random directions by their hot reading alone.
        (figures(0.99, 0.85, 0.89, None), True, "void", "no better than a random direction: AUC 0.85"),
        (figures(0.57, 0.49, 0.6, 0.6), False, "void", "unusable: on questions that did not make it"),
        ({"auc": 0.9, "auc_low": 0.8, "auc_high": 1.0}, True, "C", "never re-read cold"),
        ({}, False, "void", "never told apart"),
    ],
)
def test_a_verdict_compares_with_random_directions_and_says_why(subject, validity, reliable, grade, words):
    found = verdict(replace(axis_at_first(subject), validity=validity, reliable=reliable))
    assert found.grade == grade
    assert words in str(found)


class Planned:
    """Scores by strength, in the order in which a trial asks: unsteered, the strengths, instructed."""

    name, kind = "planned", "checker"

    def __init__(self, *means: float) -> None:
        self.means, self.calls = means, 0

    def __call__(self, conversations, replies) -> np.ndarray:
        self.calls += 1
        each = len(replies) // len(self.means)
        assert [text[-1]["content"] for text in conversations[:each]] == [
            text[-1]["content"] for text in conversations[-each:]
        ]
        return np.repeat(np.array(self.means), each) + np.tile(np.linspace(0, 1, each), len(self.means))


@pytest.mark.parametrize(
    ("means", "heard"),
    [
        ((0, 0.1, 0.5, 2, 3, 2), 10),
        ((0, 3, 3, 3, 3, 2), 3),
        ((0, 0.1, 0.2, 0.3, 0.4, 2), None),
        ((0, 1, 1, 1, 2, 9), None),  # told from unsteered replies, but far from those that were told to
        ((0, 1.1, 2, 2, 2, -5), 3),  # an instruction that nobody heeds is no measure
    ],
)
def test_the_smallest_strength_that_is_heard_is_found_by_trial(subject, tmp_path, monkeypatch, means, heard):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    score = Planned(*means)
    monkeypatch.setattr("greenroom.directions.trial.scorer_for", lambda *_, **__: score)
    trait, north = library.trait("humor"), replace(axis_at_first(subject), name="humor")
    found = trial(subject, trait, north)
    assert found.heard == heard
    assert trial(subject, trait, north) == found
    assert score.calls == 1  # the second was kept
    trial(subject, trait, replace(north, vectors={1: -north.vector()}))
    assert score.calls == 2
    assert f"{heard:+g} sd" in trial_said(found) if heard else "none of +3, +6, +10, +15" in trial_said(found)


def test_a_strength_that_breaks_replies_is_not_heard(subject, tmp_path, monkeypatch):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    monkeypatch.setattr("greenroom.directions.trial.scorer_for", lambda *_, **__: Planned(0, 3, 3, 3, 3, 2))
    asked = []

    def falls_apart(*_):  # at +3 and +6
        asked.append(None)
        return "circles" if 8 < len(asked) <= 24 else None

    monkeypatch.setattr("greenroom.directions.trial.degenerate", falls_apart)
    found = trial(subject, library.trait("humor"), replace(axis_at_first(subject), name="humor"))
    assert [one.broken for one in found.strengths.values()] == [8, 8, 0, 0]
    assert found.heard == 10


@pytest.mark.parametrize(("reliable", "means"), [(True, (0, 0, 0, 3, 3, 2)), (True, (0,) * 6), (False, (0,) * 6)])
def test_the_verb_ends_with_a_verdict_and_what_to_do_next(subject, tmp_path, monkeypatch, capsys, reliable, means):
    """A vector that is not in the cache is announced with a guess at its time."""
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    found = replace(
        axis_at_first(subject), name="humor", kind="trait", reliable=reliable, validity=figures(0.9, 0.85, 0.89, 0.86)
    )
    monkeypatch.setattr("greenroom.subject.load", lambda *_, **__: subject)
    monkeypatch.setattr("greenroom.directions.traits.trait_vector", lambda *_, **__: found)
    monkeypatch.setattr("greenroom.directions.trial.scorer_for", lambda *_, **__: Planned(*means))
    code, out, error = run(capsys, "tiny", "humor", "--plain", "--device", "cpu")
    assert code == 0
    assert "building it takes up to" in error
    reading, steering, *rest = out.splitlines()[-3:] if means[3] else out.splitlines()[-2:]
    assert "for reading     unusable: " in reading
    if means[3]:
        assert "heard at +10 sd" in steering
        assert rest == ["try             greenroom chat tiny --device cpu --steer humor:+10"]
    else:
        assert ("not tried" if not reliable else "none of +3, +6, +10, +15 sd") in steering
    code, out, _ = run(capsys, "tiny", "humor", "--json")
    assert json.loads(out)["verdict"]["grade"] == "void"
    assert (json.loads(out)["trial"] or {}).get("heard") == (10 if means[3] else None)


@pytest.mark.model
def test_a_trait_of_the_package_is_shown_at_once(smollm2, tmp_path, monkeypatch, capsys):
    """With a strength that was found when it was made; nothing is generated."""
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    monkeypatch.setattr("greenroom.subject.load", lambda *_, **__: smollm2)
    monkeypatch.setattr(type(smollm2), "generate", lambda *_, **__: pytest.fail("it asked the model"))
    code, out, error = run(capsys, "smollm2", "humor", "--plain")
    assert code == 0
    assert out.splitlines()[-1] == "try             greenroom chat --steer humor:+10"
    assert "for reading     good: re-read cold" in out
    assert "building it" not in error
    code, out, _ = run(capsys, "smollm2", "sycophancy", "--plain")
    assert "for reading     unusable: on questions that did not make it" in out
    assert "for steering    not tried, since the direction is unreliable" in out
    assert "greenroom chat" not in out
