"""Dose-response: adherence against what it costs, and the stake at which it breaks.

The model: logit p = intercept + slope · stake + u, with u ~ N(0, situation_sd²) for each situation, fitted by
maximising the Laplace approximation of the marginal likelihood (Breslow & Clayton 1993). Answers between 0 and 1 (a
probability instead of a choice) enter as a quasi-likelihood (Papke & Wooldridge 1996) whose dispersion is estimated
and never above that of a coin. Weak priors keep estimates finite when answers separate perfectly.

Intervals are profile-likelihood intervals with the quantile of F(1, situations − 1), widened by the ratio of the
cluster-robust to the model variance where that is above one (Rotnitzky & Jewell 1990), so that situations that differ
in slope, or repeated wordings of one situation, do not count as independent evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from greenroom.measures.intervals import Array
from greenroom.measures.wording import reason, sentence

HEIGHT_PRIOR_SD = 10.0  # logits at the middle of the stakes; adherence of .9999 is not held back
SLOPE_PRIOR_SD = 5.0  # logits a stake; a fall from .99 to .01 between two neighbouring stakes is a slope of −9
SD_RANGE = (0.01, 8.0)  # of the situations, in logits; the ends stand for "none" and "each situation is its own"
LEAST_DISPERSION = 0.01
SEARCH = 2.0  # how far beyond the tested stakes a breaking point is looked for, in widths of their range


@dataclass(frozen=True)
class DoseResponse:
    """Adherence over stakes.

    slope: logits a stake level, None only where no slope exists; breaking_point, low, high: in stake levels, a bound
    of None is open; reason: why there is no breaking point or interval, or a caution; n: answers read; missing:
    answers that could not be read; control: mean adherence at zero cost by order.
    """

    slope: float | None
    slope_low: float | None
    slope_high: float | None
    breaking_point: float | None
    low: float | None
    high: float | None
    reason: str | None
    n: int
    missing: int = 0
    situations: int = 0
    intercept: float | None = None
    situation_sd: float | None = None
    dispersion: float = 1.0
    control: Mapping[str, float] = field(default_factory=dict[str, float])

    def curve(self, stake: ArrayLike) -> Array:
        """Expected adherence at the stakes, averaged over situations (Gauss–Hermite); NaN where nothing was fitted."""
        x = np.asarray(stake, float)
        if self.slope is None or self.intercept is None or self.situation_sd is None:
            return np.full(x.shape, np.nan)
        nodes, weights = np.polynomial.hermite_e.hermegauss(21)
        eta = self.intercept + self.slope * x[..., None] + self.situation_sd * nodes
        return special.expit(eta) @ weights / weights.sum()


def dose_response(
    adherence: Sequence[float | None] | ArrayLike,
    stake: ArrayLike,
    situation: Sequence[Hashable],
    order: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
) -> DoseResponse:
    """Fits adherence (0..1, None or NaN for missing) against stake (0 = no cost) with situations as random effects.

    order: the order in which the options were shown, for paradigms that have one; the control then has to be above
    one half in at least two orders, else only over all. All arguments have one entry an answer. ValueError for
    lengths that differ and for adherence outside 0..1.
    """
    y = np.asarray(adherence, float)  # None becomes NaN
    x = np.asarray(stake, float)
    lengths = {len(y), len(x), len(situation), len(order) if order is not None else len(y)}
    if len(lengths) > 1:
        raise ValueError(f"adherence, stake, situation and order must have one entry an answer; got lengths {lengths}")
    read = ~np.isnan(y)
    if ((y[read] < 0) | (y[read] > 1)).any():
        raise ValueError("adherence must lie between 0 and 1; a missing answer is None")
    n, missing = int(read.sum()), int((~read).sum())
    labels = ["all"] * len(y) if order is None else [str(label) for label in order]
    control = _control(y, x, labels)
    names = {name: index for index, name in enumerate(dict.fromkeys(situation))}
    where = np.array([names[name] for name in situation], dtype=np.intp)
    n_situations = len(np.unique(where[read]))

    def unfitted(key: str) -> DoseResponse:
        return DoseResponse(
            *(None,) * 6, reason=_said(key), n=n, missing=missing, situations=n_situations, control=control
        )

    if n == 0:
        return unfitted("no_data")
    if len(np.unique(x[read])) < 2:
        return unfitted("one_stake")
    model = _Model.of(y[read], x[read], where[read])
    fit = model.fitted()
    slope_low, slope_high = fit.interval("slope", level)
    sloped = DoseResponse(
        fit.slope, slope_low, slope_high, None, None, None, None, n, missing, n_situations,
        fit.intercept, fit.sd, fit.model.dispersion, control,
    )  # fmt: skip
    why = _undefined(control, order is not None, n_situations, slope_low, slope_high)
    if why is not None:
        return replace(sloped, reason=why)
    point, (least, most) = -fit.intercept / fit.slope, fit.model.range
    span = most - least
    if not least - SEARCH * span <= point <= most + SEARCH * span:
        return replace(sloped, reason=_said("far"))
    low, high = fit.interval("breaking_point", level)
    caution = None if least <= point <= most else _said("extrapolated")
    return replace(sloped, breaking_point=point, low=low, high=high, reason=caution)


def _control(y: Array, x: Array, labels: Sequence[str]) -> dict[str, float]:
    """Mean adherence at zero cost for each order that has a readable answer there."""
    found: dict[str, float] = {}
    for label in dict.fromkeys(labels):
        values = y[(x == 0) & np.array([other == label for other in labels])]
        if not np.isnan(values).all():
            found[label] = float(np.nanmean(values))
    return found


def _undefined(
    control: Mapping[str, float], ordered: bool, situations: int, low: float | None, high: float | None
) -> str | None:
    """Why the breaking point is not defined, or None where it is."""
    if not control:
        return _said("no_control")
    if ordered and len(control) < 2:
        return _said("one_order")
    label, weakest = min(control.items(), key=lambda entry: entry[1])
    if weakest <= 0.5:
        where = reason("dose_response", "where", order=label) if ordered else ""
        return _said("weak_control", value=weakest, where=where)
    if situations < 2:
        return _said("one_situation")
    if low is not None and low > 0:
        return _said("rising")
    if high is None or high >= 0:
        return _said("no_slope")
    return None


def _said(key: str, **fields: Any) -> str:
    return sentence(reason("dose_response", key, **fields))


@dataclass(frozen=True)
class _Model:
    """The answers as (situation, stake) tables: their number, sum and sum of squares. Parameters are
    (intercept, slope, log situation sd)."""

    stakes: Array
    number: Array
    total: Array
    squares: Array
    dispersion: float = 1.0

    @classmethod
    def of(cls, y: Array, x: Array, situation: NDArray[np.intp]) -> _Model:
        stakes, column = np.unique(x, return_inverse=True)
        _, row = np.unique(situation, return_inverse=True)
        shape = (int(row.max()) + 1, len(stakes))
        cell = row * shape[1] + column
        size = shape[0] * shape[1]

        def table(weights: Array) -> Array:
            return np.bincount(cell, weights, size).astype(float).reshape(shape)

        return cls(stakes, table(np.ones_like(y)), table(y), table(y * y))

    @property
    def range(self) -> tuple[float, float]:
        return float(self.stakes[0]), float(self.stakes[-1])

    def effects(self, a: float, b: float, sd: float) -> Array:
        """The mode of each situation's effect, by Newton steps of bounded length on a concave function."""
        u, eta = np.zeros(len(self.number)), a + b * self.stakes
        for _ in range(60):
            p = special.expit(eta + u[:, None])
            score = (self.total - self.number * p).sum(axis=1) / self.dispersion - u / sd**2
            information = (self.number * p * (1 - p)).sum(axis=1) / self.dispersion + 1 / sd**2
            step = np.clip(score / information, -2, 2)
            u = u + step
            if np.abs(step).max() < 1e-6:  # the error left is of its square
                break
        return u

    def contributions(self, parameters: Array) -> tuple[Array, Array]:
        """Each situation's log marginal likelihood (situations,) and its gradient (situations, 3)."""
        a, b, sd = parameters[0], parameters[1], math.exp(parameters[2])
        u = self.effects(a, b, sd)
        eta = a + b * self.stakes + u[:, None]
        p = special.expit(eta)
        weight, x = 1 / self.dispersion, self.stakes
        residual = (self.total - self.number * p) * weight
        curvature = self.number * p * (1 - p) * weight
        skew = curvature * (1 - 2 * p)
        h, t, hx, tx = curvature.sum(axis=1), skew.sum(axis=1), curvature @ x, skew @ x
        precision = h + 1 / sd**2
        likelihood = ((self.total * eta - self.number * np.logaddexp(0, eta)) * weight).sum(axis=1)
        value = likelihood - u**2 / (2 * sd**2) - 0.5 * np.log(sd**2 * precision)
        du_dsd = 2 * u / (sd**2 * precision)
        gradient = np.column_stack(
            [
                residual.sum(axis=1) - 0.5 * (t - t * h / precision) / precision,
                residual @ x - 0.5 * (tx - t * hx / precision) / precision,
                u**2 / sd**2 - (h + 0.5 * t * du_dsd) / precision,
            ]
        )
        return value, gradient

    def loss(self, parameters: Array) -> tuple[float, Array]:
        """Minus the penalised log marginal likelihood, and its gradient."""
        value, gradient = self.contributions(parameters)
        # The prior on the height holds at the middle of the stakes: answers that never vary then have slope 0.
        middle = float(self.stakes.mean())
        height = (parameters[0] + parameters[1] * middle) / HEIGHT_PRIOR_SD
        steepness = parameters[1] / SLOPE_PRIOR_SD
        pull = height / HEIGHT_PRIOR_SD
        penalty = np.array([pull, pull * middle + steepness / SLOPE_PRIOR_SD, 0.0])
        return float(-value.sum() + (height**2 + steepness**2) / 2), penalty - gradient.sum(axis=0)

    def fitted(self) -> _Fit:
        """The fit; the dispersion of answers between 0 and 1 and the parameters are found in turn."""
        p = float(np.clip(self.total.sum() / self.number.sum(), 0.01, 0.99))
        model, at = self, np.array([special.logit(p), 0.0, math.log(0.5)])
        fractional = bool((np.abs(self.total - self.squares) > 1e-9).any())
        for _ in range(4 if fractional else 0):
            at, _ = _minimised(model.loss, at)
            model = replace(model, dispersion=model.spread(at))
        return _Fit(model, *_minimised(model.loss, at))

    def spread(self, parameters: Array) -> float:
        """Pearson's dispersion around the situations' own curves, at most that of a coin."""
        a, b, sd = parameters[0], parameters[1], math.exp(parameters[2])
        p = special.expit(a + b * self.stakes + self.effects(a, b, sd)[:, None])
        errors = (self.squares - 2 * p * self.total + p * p * self.number).sum()
        spent = len(self.number) + 1
        freedom = max(1.0, float(self.number.sum()) - spent) / float(self.number.sum())
        return float(np.clip(errors / (self.number * p * (1 - p)).sum() / freedom, LEAST_DISPERSION, 1.0))


@dataclass(frozen=True)
class _Fit:
    model: _Model
    parameters: Array
    loss: float

    @property
    def intercept(self) -> float:
        return float(self.parameters[0])

    @property
    def slope(self) -> float:
        return float(self.parameters[1])

    @property
    def sd(self) -> float:
        return math.exp(float(self.parameters[2]))

    def interval(self, target: str, level: float) -> tuple[float | None, float | None]:
        """Profile-likelihood bounds of the slope or the breaking point; None where the likelihood leaves it open."""
        situations = len(self.model.number)
        if situations < 2:
            return None, None
        least, most = self.model.range
        a, b = self.intercept, self.slope
        if target == "slope":
            centre, contrast, reach = b, np.array([0.0, 1.0]), 4 * SLOPE_PRIOR_SD
            limits = (b - reach, b + reach)
            first = 0.5 / (most - least)
        else:
            centre, contrast = -a / b, np.array([-1 / b, a / b**2])
            limits = (least, most + SEARCH * (most - least))  # below zero cost a bound would mean nothing
            first = 0.1 * (most - least)
        critical = float(special.stdtrit(situations - 1, (1 + level) / 2)) ** 2 * self._inflation(contrast)

        def excess(value: float) -> float:
            return 2 * (self._profile(target, value) - self.loss) - critical

        return _crossing(excess, centre, -first, limits[0]), _crossing(excess, centre, first, limits[1])

    def _profile(self, target: str, value: float) -> float:
        """The least loss with the target held at the value."""
        if target == "slope":
            matrix, offset = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), np.array([0.0, value, 0.0])
            middle = float(np.mean(self.model.stakes))  # a steeper line turns about the middle of the stakes
            start = np.array([self.intercept + (self.slope - value) * middle, self.parameters[2]])
        else:
            matrix, offset = np.array([[-value, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.zeros(3)
            start = self.parameters[1:]

        def restricted(free: Array) -> tuple[float, Array]:
            loss, gradient = self.model.loss(matrix @ free + offset)
            return loss, matrix.T @ gradient

        return _minimised(restricted, start, gradient_tolerance=1e-3)[1]

    def _inflation(self, contrast: Array) -> float:
        """How much the cluster-robust variance of a contrast of (intercept, slope) exceeds the model's, at least 1."""
        held = 2 if not math.log(SD_RANGE[0]) + 0.01 < self.parameters[2] < math.log(SD_RANGE[1]) - 0.01 else 3
        step = 1e-4
        hessian = np.array(
            [
                (self.model.loss(self.parameters + move)[1] - self.model.loss(self.parameters - move)[1]) / (2 * step)
                for move in np.eye(3) * step
            ]
        )[:held, :held]
        scores = self.model.contributions(self.parameters)[1][:, :held]
        scores = scores - scores.mean(axis=0)
        situations = len(scores)
        direction = np.zeros(held)
        direction[:2] = contrast
        try:
            influence = np.linalg.solve((hessian + hessian.T) / 2, direction)
        except np.linalg.LinAlgError:
            return 1.0
        model = float(direction @ influence)
        robust = float(((scores @ influence) ** 2).sum()) * situations / (situations - 1)
        return max(1.0, robust / model) if model > 0 else 1.0


def _minimised(
    loss: Callable[[Array], tuple[float, Array]], start: Array, *, gradient_tolerance: float = 1e-6
) -> tuple[Array, float]:
    """The minimum, the last parameter being a log sd within `SD_RANGE`."""
    bounds = [(None, None)] * (len(start) - 1) + [(math.log(SD_RANGE[0]), math.log(SD_RANGE[1]))]
    options = {"ftol": 1e-11, "gtol": gradient_tolerance}
    result = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.asarray(result.x, float), float(result.fun)


def _crossing(excess: Callable[[float], float], centre: float, step: float, limit: float) -> float | None:
    """Where the excess turns positive on the way from centre to limit; None when it never does."""
    inside, ahead = centre, centre + step
    while (ahead - limit) * step < 0:
        if excess(ahead) > 0:
            return _root(excess, inside, ahead)
        inside, step = ahead, step * 1.7
        ahead = inside + step
    if (inside - limit) * step < 0 and excess(limit) > 0:
        return _root(excess, inside, limit)
    return None


def _root(excess: Callable[[float], float], inside: float, outside: float) -> float:
    return float(optimize.brentq(excess, inside, outside, xtol=1e-3))  # pyright: ignore[reportArgumentType]
