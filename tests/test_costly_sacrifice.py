"""Costly sacrifice: its grid and phrases, and a subject whose adherence breaks at a planted stake."""

from __future__ import annotations

import polars as pl
import pytest

from greenroom.asking.answers import rows
from greenroom.asking.readings import readings
from greenroom.asking.types import Case, Heard, Option
from greenroom.errors import LibraryError
from greenroom.measures import Measure, elicit
from greenroom.studies.costly_sacrifice import STUDY, Grid, cases, items
from greenroom.studies.costly_sacrifice.findings import adhering, fitted
from greenroom.testing import Planted, Position, answers_from, measures_from, plan_of

START, SLOPE = 3.0, 1.2


def costs(case: Case, option: Option) -> float:
    """Log-odds of adhering, falling with the stake."""
    return START - SLOPE * float(case.levels["stake"]) if option.id == "adhere" else 0.0


@pytest.fixture(scope="module")
def answers() -> pl.DataFrame:
    return answers_from(Planted(likes=costs), plan_of(STUDY))


def by_name(measures: list[Measure], name: str, part: str = "") -> dict[str | None, Measure]:
    return {one.paradigm: one for one in measures if one.name == name and one.part == part}


def test_adherence_breaks_where_it_was_planted(answers):
    measures = measures_from(STUDY, answers)
    slopes = by_name(measures, "slope")
    assert all(one.grade in "ABC" for one in slopes.values()), [str(one) for one in slopes.values()]
    read = readings(answers)
    for paradigm in ("letter_logodds", "cloze"):
        assert fitted(read, paradigm).breaking_point == pytest.approx(START / SLOPE, abs=0.4), paradigm
    # The log-odds of letters are the planted ones.
    assert slopes["letter_logodds"].estimate == pytest.approx(-SLOPE, rel=0.25)
    assert slopes["letter"].primary
    (breaking,) = by_name(measures, "breaking_point").values()
    assert breaking.paradigm == "letter"
    assert breaking.estimate == pytest.approx(START / SLOPE, abs=0.5)
    assert breaking.low < breaking.estimate < breaking.high
    for order in ("ab", "ba"):
        assert by_name(measures, order, "control")["letter"].estimate > 0.5


def test_the_curve_is_a_series_of_measures(answers):
    measures = measures_from(STUDY, answers)
    curve = [one for one in measures if one.part == "by_stake" and one.paradigm == "cloze"]
    assert [one.name for one in curve] == [f"{arm}/{stake}" for arm in ("unobserved", "observed") for stake in range(5)]
    assert all(one.low <= one.estimate <= one.high for one in curve)
    assert len([one for one in measures if one.part == "fit" and one.paradigm == "rating"]) == 5  # unobserved only
    assert set(by_name(measures, "observed_gap")) == {"letter", "letter_logodds", "cloze"}


def test_a_position_follower_has_no_breaking_point():
    measures = measures_from(STUDY, answers_from(Position(), plan_of(STUDY)))
    assert all(one.grade == "void" and one.estimate is None for one in measures)
    (letter,) = (one for one in measures if one.name == "slope" and one.paradigm == "letter")
    assert "follow" in letter.reason
    (breaking,) = by_name(measures, "breaking_point").values()
    assert breaking.paradigm is None
    assert breaking.reason == letter.reason


def test_a_missing_control_in_one_order_leaves_no_breaking_point():
    leaning = answers_from(Planted(likes=costs, lean=8.0), plan_of(STUDY))
    fit = fitted(readings(leaning), "letter_logodds")
    assert fit.breaking_point is None
    assert "order ba" in fit.reason


def test_the_grid_and_its_checks():
    size = Grid(situations=2)
    asked = cases(size, 0)
    plain = [case for case in asked if case.right is None]
    assert len(plain) == 2 * 5 * 2
    assert {case.levels["stake"] for case in asked if case.right is not None} == {0, 4}
    assert [case.right for case in asked if case.right is not None] == ["nothing", "gone"] * 2
    again = [case for case in plain if "paraphrase" in case.asked["letter"]]
    assert {(case.levels["stake"], case.levels["observed"]) for case in again} == {(0, False), (4, False)}
    assert not any("rating" in case.asked for case in plain if case.levels["observed"])
    assert cases(size, 0) == asked
    assert cases(Grid(situations=2), 1) != asked
    with pytest.raises(LibraryError, match="situations is 99; expected 1 to"):
        cases(Grid(situations=99), 0)


def test_phrases_of_the_two_options_do_not_overlap_and_read_the_options_themselves():
    assert len({situation.id for situation in items().situations}) == len(items().situations) >= 12
    for situation in items().situations:
        phrases = situation.phrases["adhere"], situation.phrases["defect"]
        assert list(situation.phrases) == ["adhere", "defect"], situation.id
        assert not set(phrases[0]) & set(phrases[1]), situation.id
        for option, text in enumerate((situation.adhere, situation.defect)):
            assert elicit.free_choice(f"I will {text}.", phrases).option == option, situation.id


@pytest.mark.parametrize(
    ("reply", "adherence", "missing"),
    [
        ("I won't tell him. I keep my promise.", 1.0, None),
        ("Of course I tell her secret!", 0.0, None),
        ("I refuse to tell her secret.", 1.0, None),
        ("I tell the reporter, then I keep the secret.", None, "several answers"),
        ("What a lovely day it is today.", None, "no listed answer"),
        ("", None, "empty"),
    ],
)
def test_open_replies_are_read_by_phrases(reply, adherence, missing):
    plan = plan_of(STUDY)
    put = plan.probes("promise_diary", True)
    part, probe = next(pair for pair in put if pair[1].paradigm == "free")
    (row, _) = rows(part, probe, Heard("sampled", texts=(reply,)))
    assert (row["chosen"], row["missing"], row["reply"]) == (adherence, missing, reply)


def test_readings_of_the_adhering_option(answers):
    read = readings(answers)
    assert adhering(read, "letter").height == 12 * 5 * 2 * 2
    assert adhering(read, "rating").height == 12 * 5
    assert measures_from(STUDY, answers) == measures_from(STUDY, answers)
