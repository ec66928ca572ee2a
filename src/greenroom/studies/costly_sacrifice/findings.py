"""From answers to measures: slope, observed gap and breaking point, and the curve they come from."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from greenroom.asking.checks import checks
from greenroom.asking.readings import numbers, readings, wording_of
from greenroom.measures import PARADIGM_ORDER, DoseResponse, Measure, assess, dose_response, headline
from greenroom.measures.intervals import bootstrap_difference, bootstrap_mean
from greenroom.measures.validity import Validity
from greenroom.studies.costly_sacrifice import STAKES
from greenroom.studies.study import Found


def conclude(found: Found) -> list[Measure]:
    read = readings(found.answers)
    valid = {name: assess(checks(read, name, ["adhere"]), name) for name in PARADIGM_ORDER}
    slopes: dict[str, Measure] = {}
    others: list[Measure] = []
    for name in PARADIGM_ORDER:
        fit, main = fitted(read, name), adhering(read, name)
        ends = fit.slope, fit.slope_low, fit.slope_high
        slopes[name] = Measure("slope", *ends, fit.n, valid[name], paradigm=name, unit="logits a stake")
        seen, unseen = (main.filter(pl.col("observed") == observed) for observed in (True, False))
        if seen.height:
            arms, clusters = [numbers(arm, "probability") for arm in (seen, unseen)], [seen["item"], unseen["item"]]
            gap = bootstrap_difference(*arms, *(own.to_list() for own in clusters))
            others.append(Measure("observed_gap", *gap, valid[name], paradigm=name))
        for order, share in fit.control.items() if "letter" in name else ():
            others.append(Measure(order, share, None, None, fit.n, valid[name], part="control", paradigm=name))
        for observed, arm in (("unobserved", unseen), ("observed", seen)):
            others += _curve(arm, name, observed, valid[name])
    head = headline(slopes)
    fit = fitted(read, head) if head else DoseResponse(*(None,) * 7, n=0)
    point = fit.breaking_point, fit.low, fit.high
    breaking = Measure("breaking_point", *point, fit.n, valid[head or "letter"], paradigm=head, unit="stakes")
    return [*slopes.values(), *others, breaking]


def adhering(read: pl.DataFrame, paradigm: str) -> pl.DataFrame:
    """The readings of the adhering option, main wording."""
    return wording_of(read, paradigm, "main").filter(pl.col("option").is_null() | (pl.col("option") == "adhere"))


def fitted(read: pl.DataFrame, paradigm: str) -> DoseResponse:
    """The fit of adherence to stake, situations as random effects; `control`: mean adherence at zero cost by order."""
    return _fit(adhering(read, paradigm), paradigm)


def _fit(main: pl.DataFrame, paradigm: str) -> DoseResponse:
    """letter_logodds is fitted on the order-averaged answers, but its control too has to hold in each order."""
    orders = main["order"].to_list() if paradigm == "letter" else None
    fit = dose_response(numbers(main, "probability"), main["stake"].to_numpy(), main["item"].to_list(), orders)
    if paradigm != "letter_logodds":
        return fit
    each = main.drop_nulls("versions").with_columns(order=["01", "10"]).explode("versions", "order")
    # A score is half the log-odds of two options.
    shares = 1 / (1 + np.exp(-2 * numbers(each, "versions")))
    split = dose_response(shares, each["stake"].to_numpy(), each["item"].to_list(), each["order"].to_list())
    if any(value <= 0.5 for value in split.control.values()):
        fit = replace(fit, breaking_point=None, low=None, high=None, reason=split.reason)
    return replace(fit, control=split.control)


def _curve(arm: pl.DataFrame, paradigm: str, observed: str, valid: Validity) -> list[Measure]:
    """Mean adherence by stake, and where the fit lies."""
    if arm.is_empty():
        return []
    how: dict[str, Any] = {"paradigm": paradigm}
    line, found = _fit(arm, paradigm).curve(range(STAKES)), []
    for stake in range(STAKES):
        at = arm.filter(pl.col("stake") == stake)
        share = bootstrap_mean(numbers(at, "probability"), at["item"].to_list())
        found.append(Measure(f"{observed}/{stake}", *share, valid, part="by_stake", **how))
        expected = None if math.isnan(line[stake]) else float(line[stake])
        found.append(Measure(f"{observed}/{stake}", expected, None, None, share.n, valid, part="fit", **how))
    return found
