"""Juggling: a planted order of values is found with its size, and a model that sees no stakes is void."""

from greenroom.studies.juggling import FIRST, STUDY
from greenroom.testing import Planted, answers_from, measures_from, plan_of

HOLDS = {"honest over helpful": 0.5, "honest over harmless": 0.0, "helpful over harmless": -0.5}


def test_a_planted_order_of_values_is_found() -> None:
    for sees, void in ((2.0, False), (0.0, True)):
        leans = {"first": sees, "second": -sees}
        likes = lambda case, option: (1 if option.id == FIRST else -1) * leans.get(case.levels["at_stake"], HOLDS[case.levels["pair"]]) / 2  # noqa: B023, E731  # fmt: skip
        found = {one.name: one for one in measures_from(STUDY, answers_from(Planted(likes=likes), plan_of(STUDY)))}
        assert all((found[pair].grade == "void") is void for pair in HOLDS)
        assert all(void or abs(found[pair].estimate - size) < 0.4 for pair, size in HOLDS.items())
