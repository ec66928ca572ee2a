"""Juggling: a planted order of values is found with its size, and a model that sees no stakes is void."""

import pytest

from greenroom.studies.juggling import FIRST, STUDY
from greenroom.testing import Planted, answers_from, measures_from, plan_of

HOLDS = {"honest over helpful": 0.4, "honest over harmless": 0.0, "helpful over harmless": -0.4}


@pytest.mark.parametrize(("sees", "grades"), [(2.0, {"B", "C", "A"}), (0.0, {"void"})])
def test_a_planted_order_of_values_is_found(sees: float, grades: set[str]) -> None:
    def likes(case, option) -> float:
        stake = {"first": sees, "second": -sees, "both": HOLDS[case.levels["pair"]]}[case.levels["at_stake"]]
        return (stake if option.id == FIRST else -stake) / 2

    found = {one.name: one for one in measures_from(STUDY, answers_from(Planted(likes=likes), plan_of(STUDY)))}
    for pair, holds in HOLDS.items():
        assert found[pair].grade in grades
        assert found[pair].estimate is None or abs(found[pair].estimate - holds) < 0.3
