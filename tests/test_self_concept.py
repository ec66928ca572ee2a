"""Self-concept: a planted boundary is named, and what stands on the page belongs to what was estimated."""

from __future__ import annotations

import pytest

from greenroom.errors import LibraryError
from greenroom.measures import PARADIGM_ORDER
from greenroom.measures.intervals import bootstrap_mean
from greenroom.report.results import RunResults
from greenroom.studies.running import measure
from greenroom.studies.self_concept import STUDY, Asked, cases, items
from greenroom.studies.self_concept.chapter import chapters
from greenroom.studies.self_concept.findings import boundaries_of, leader
from greenroom.studies.study import Job
from greenroom.testing import Planted, Position, answers_from, measures_from, model_from, plan_of

LIKES = dict(zip(items().boundaries, (0.5, 0.2, 1.0, 4.0, 0.1, 0.0, -1.5, -2.0, -4.0), strict=True))
PLANTED = Planted(likes=lambda case, option: LIKES[option.id], spread=0.05)


def test_the_planted_boundary_is_found():
    measures = measures_from(STUDY, answers_from(PLANTED, plan_of(STUDY)))
    assert len(measures) == len(PARADIGM_ORDER) * len(LIKES)
    for paradigm in PARADIGM_ORDER:
        own = [one for one in measures if one.paradigm == paradigm]
        assert own[0].grade in "ABC", (paradigm, own[0].reason)
        assert leader([one.row() for one in own]) == "character", paradigm
        assert sum(one.estimate for one in own) == pytest.approx(1), paradigm
    assert next(one for one in measures if one.primary).name == "character"


def test_a_position_follower_names_nothing():
    measures = measures_from(STUDY, answers_from(Position(), plan_of(STUDY)))
    assert all(one.grade == "void" and one.estimate is None for one in measures)
    assert leader([one.row() for one in measures if one.paradigm == "letter"]) is None


def test_a_leader_keeps_clear_of_the_runner_up():
    def row(name: str, estimate: float | None, low: float | None) -> dict[str, object]:
        return {"name": name, "estimate": estimate, "low": low}

    assert leader([row("a", 0.6, 0.5), row("b", 0.4, 0.3)]) == "a"
    assert leader([row("a", 0.6, 0.35), row("b", 0.4, 0.3)]) is None
    assert leader([row("a", 0.6, None), row("b", 0.4, None)]) is None
    assert leader([row("a", 0.6, 0.5), row("b", None, None)]) is None


def test_the_interval_of_a_rating_on_the_page_is_of_the_shares_that_were_estimated(tmp_path, monkeypatch):
    plan = plan_of(STUDY)
    answers = answers_from(PLANTED, plan)
    monkeypatch.setattr("greenroom.asking.inspect.ask_questions", lambda *_, **__: answers)
    measure(Job("eval", (STUDY.name,)), model_from(PLANTED, plan), tmp_path / "run")
    results = RunResults.of(tmp_path / "run").study(STUDY.name)
    assert results is not None
    (one,) = chapters(results)
    rating = next(figure for figure in one.exhibits[0].rows if figure.id == "self-rating")
    assert rating.grade != "void"
    assert sum(row.end for row in rating.rows) == pytest.approx(100)
    for row in rating.rows:
        assert row.low <= row.end <= row.high
    # What the page did once: the ratings as they came, each between 1 and 7 by itself.
    raw = boundaries_of(answers).filter(paradigm="rating", option="character", wording="main")
    assert raw["probability"].item() > 0.9
    raw_bounds = bootstrap_mean(raw["probability"].to_list(), raw["item"].to_list())
    assert raw_bounds.estimate > results.measure("character", "rating")["high"]


def test_questions_are_chosen_by_seed_and_each_is_asked_as_its_place_says():
    asked = cases(Asked(questions=3), 0)
    questions = [case for case in asked if len(case.options) > 1]
    assert len(questions) == 3
    assert len(asked) == 3 + len(items().boundaries)
    places = [one.id for one in items().questions]
    for case in questions:
        often = places.index(case.id) % items().every == 0
        assert bool(case.asked["letter"]) == often
        assert ("reversed" in case.asked["cloze"]) == often
    assert cases(Asked(questions=3), 1) != asked
    with pytest.raises(LibraryError, match="questions is 0; expected 1 to 8"):
        cases(Asked(questions=0), 0)


def test_boundaries_are_matched_and_each_has_its_phrases():
    lengths = [len(text) for text in items().boundaries.values()]
    assert max(lengths) <= 1.1 * min(lengths)
    assert set(items().phrases) == set(items().boundaries)
    assert len(items().questions) >= 8
