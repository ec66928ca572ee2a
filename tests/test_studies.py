"""Every study made of questions, against a planted subject and fools that no study may believe."""

from __future__ import annotations

import pytest

from greenroom.asking.inspect import ask_questions
from greenroom.asking.types import Questions
from greenroom.measures import Measure
from greenroom.report.results import RunResults
from greenroom.studies import NAMES, study_named
from greenroom.studies.running import measure
from greenroom.studies.study import Job, Study
from greenroom.testing import (
    Planted,
    Position,
    Random,
    Refuser,
    Subject,
    answers_from,
    measures_from,
    model_from,
    plan_of,
    preferring,
)

MOST_FALSE = 18  # of 200: the 1 % point of a true 5 %


def asked(name: str) -> bool:
    """Whether the study is made of questions alone."""
    study = study_named(name)
    return all(isinstance(part, Questions) for part in study.parts(study.sizes["standard"]))


STUDIES = [name for name in NAMES if asked(name)]


def planted(study: Study, seed: int) -> Planted:
    return Planted(seed, likes=preferring(study.primary))


def primary(study: Study, subject: Subject, size: str = "standard") -> Measure:
    answers = answers_from(subject, plan_of(study, study.sizes[size]))
    (first,) = (one for one in measures_from(study, answers, study.sizes[size]) if one.primary)
    return first


def found(first: Measure) -> bool:
    return first.low is not None and first.high is not None and (first.low > 0 or first.high < 0)


@pytest.mark.parametrize("name", STUDIES)
def test_a_planted_preference_is_found(name):
    study = study_named(name)
    for seed in range(3):
        first = primary(study, planted(study, seed))
        assert found(first), (seed, str(first))


@pytest.mark.parametrize("name", STUDIES)
def test_what_follows_position_or_refuses_is_void(name):
    study = study_named(name)
    for subject in (Position(), Refuser(), Position(scores=False), Refuser(scores=False)):
        first = primary(study, subject)
        assert first.grade == "void", (subject, str(first))


@pytest.mark.parametrize("name", STUDIES)
def test_random_answers_are_no_finding(name):
    study = study_named(name)
    false = sum(found(primary(study, Random(seed), "quick")) for seed in range(200))
    assert false <= MOST_FALSE


@pytest.mark.parametrize("name", STUDIES)
def test_inspect_gives_the_same_answers_as_the_rows(name, tmp_path):
    study = study_named(name)
    size, seed = study.sizes["quick"], 0
    parts = [part for part in study.parts(size) if isinstance(part, Questions)]
    for subject in (planted(study, 0), Random(1, scores=False)):
        plan = plan_of(study, size, seed)
        answers = ask_questions(name, parts, size, model_from(subject, plan), seed=seed, log_dir=tmp_path)
        assert answers.equals(answers_from(subject, plan)), subject


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("fool", [False, True])
def test_a_run_leaves_a_page_with_its_chapter(name, fool, tmp_path, monkeypatch):
    study = study_named(name)
    subject, plan = Position() if fool else planted(study, 0), plan_of(study)
    monkeypatch.setattr("greenroom.asking.inspect.ask_questions", lambda *_, **__: answers_from(subject, plan))
    measure(Job("eval", (name,)), model_from(subject, plan), tmp_path / "run")
    results = RunResults.of(tmp_path / "run").study(name)
    assert results is not None
    assert (results.measures.filter("primary")["grade"].item() == "void") == fool
    page = (tmp_path / "run" / "report.html").read_text()
    assert results.words["title"] in page
    assert f'id="{name.replace("_", "-")}"' in page


@pytest.mark.parametrize("name", STUDIES)
def test_options_are_about_equally_long(name):
    for _, case in plan_of(study_named(name)).cases:
        lengths = [len(text) for option in case.options for text in option.texts]
        assert max(lengths) <= 1.25 * min(lengths), (case.id, lengths)
