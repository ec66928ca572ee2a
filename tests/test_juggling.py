"""Juggling: a planted order of values is found with its size, and a model that sees no stakes is void."""

from greenroom.studies.juggling import FIRST, STUDY
from greenroom.testing import Planted, answers_from, measures_from, plan_of

HOLDS = {"honest over helpful": 0.5, "honest over harmless": 0.0, "helpful over harmless": -0.5}


def test_a_planted_order_of_values_is_found() -> None:
    def likes(case, option) -> float:
        lean = {"first": 2.0, "second": -2.0}.get(case.levels["at_stake"], HOLDS[case.levels["pair"]])
        return lean / 2 if option.id == FIRST else -lean / 2

    for subject, void in ((Planted(likes=likes), False), (Planted(likes=lambda case, option: 0.0), True)):
        found = {one.name: one for one in measures_from(STUDY, answers_from(subject, plan_of(STUDY)))}
        assert all((found[pair].grade == "void") is void for pair in HOLDS)
        assert all(void or abs(found[pair].estimate - size) < 0.4 for pair, size in HOLDS.items())
