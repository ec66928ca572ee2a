"""What a frontier found, setting by setting, and its sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from greenroom.report.format import between, interval, number, plain, said
from greenroom.report.parts import VOID, Results
from greenroom.studies.frontier.findings import series_name


@dataclass(frozen=True)
class Row:
    """One setting. name: as said; stored: as tables have it; described: figures without an interval; measures: by
    quantity, and families: the loss by kind of task, each a row of the run's measures."""

    name: str
    stored: str
    strength: float | None
    floor: str | None
    described: Mapping[str, Any]
    measures: Mapping[str, dict[str, Any]]
    families: Mapping[str, dict[str, Any]]

    @property
    def effect_shown(self) -> bool:
        """Whether the interval of the effect excludes 0."""
        low, high = self.measures["effect"]["low"], self.measures["effect"]["high"]
        return low is not None and high is not None and (low > 0 or high < 0)


def rows_of(results: Results) -> list[Row]:
    """Every setting: strengths in order, then cap floors."""
    table, text = results.table("frontier"), results.words["sentences"]
    assert table is not None
    series = {
        part: {
            name: {one[column]: one for one in own.to_dicts()}
            for name, own in _by_setting(results.series(part, "intervention", "level", column))
        }
        for part, column in (("by_setting", "quantity"), ("by_family", "family"))
    }
    found = []
    for row in table.to_dicts():
        key = series_name(row["intervention"], row["strength"], row["floor"])
        name = text["cap_setting"] if row["floor"] else text["setting"]
        found.append(
            Row(
                name.format(floor=row["floor"], strength=strength_said(row["strength"])), key.replace("/", " "),
                row["strength"], row["floor"], row, series["by_setting"][key], series["by_family"][key],
            )
        )  # fmt: skip
    return found


def _by_setting(series: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    keyed = series.with_columns(key=pl.concat_str("intervention", "level", separator="/"))
    for (key,), own in keyed.group_by("key", maintain_order=True):
        yield str(key), own


def strength_said(strength: float | None) -> str:
    """A strength as a person reads it: +2, −1.5, 0."""
    return f"{strength:+g}".replace("-", "−") if strength else "0"


class Spoken:
    """The sentences of a frontier."""

    def __init__(self, results: Results, rows: list[Row]) -> None:
        self.results, self.rows, self.text = results, rows, results.words["sentences"]
        self.limits: dict[str, dict[str, Any]] = results.part("settings")["limits"]
        self.budget: float = results.part("settings")["budget"]
        kind, name = (results.part("capability")[key] for key in ("kind", "direction"))
        self.direction = self.text["direction"]["axis" if kind == "axis" else "trait"].format(name=plain(name))
        self.score = self.text["score"][results.part("reading")["kind"]]

    def headline(self) -> str:
        """How far the budget lasts, and whether anything happens within it."""
        sides = [side for side in ("up", "down") if side in self.limits]
        void = [measure["reason"] for side in sides if (measure := self._crossing(side))["grade"] == VOID]
        ends = {side: end for side in sides if (end := self.limits[side]["strongest"]) is not None}
        told: dict[str, Any] = {side: strength_said(end) for side, end in ends.items()}
        if not sides:
            key = "untried"
        elif void:
            key, told["reason"] = "unpriced", void[0]
        else:
            key = ("none", "one", "both")[len(ends)]
            told |= {
                "end": next(iter(told.values()), ""),
                "other": self.text["other"] if len(sides) > len(ends) else "",
            }
            if ends and not any(self._at(end).effect_shown for end in ends.values()):
                key, told["effects"] = f"{key}_nothing", self._effects(ends)
            elif ends:
                told["shown"] = self._shown(ends)
        budget = number(self.budget, 0 if (100 * self.budget).is_integer() else 1, percent=True)
        return capital(said(self.text[key], direction=self.direction, model=self.results.model, budget=budget, **told))

    def _shown(self, ends: Mapping[str, float]) -> str:
        """Where, at the ends of what the budget allows, there is an effect; an interval that includes 0 shows none."""
        text, seen = self.text["shown"], {end: self._at(end).effect_shown for end in ends.values()}
        if all(seen.values()):
            return text["here" if len(seen) < 2 else "both"]
        yes, no = sorted(seen, key=lambda end: not seen[end])
        return text["either"].format(at=strength_said(yes), not_at=strength_said(no))

    def _effects(self, ends: Mapping[str, float]) -> str:
        """The effects that are not shown, each with its interval."""
        found = []
        for end in sorted(ends.values()):
            effect = self._at(end).measures["effect"]
            found.append(
                self.text["nothing_at"].format(
                    effect=number(effect["estimate"], signed=True), unit=self.score["unit"], strength=strength_said(end),
                    **interval(effect["low"], effect["high"], signed=True),
                )
            )  # fmt: skip
        return self.text["and"].join(found)

    def details(self) -> list[str]:
        """Effect and loss at each end of what the budget allows, and where the loss exceeds it."""
        found = []
        for side in ("up", "down"):
            if side not in self.limits or (crossing := self._crossing(side))["grade"] == VOID:
                continue
            own = self.limits[side]
            if own["strongest"] is not None:
                found.append(self._moved(self._at(own["strongest"])))
            if crossing["estimate"] is None:
                found.append(said(self.text["beyond"], tried=strength_said(own["tried"])))
            else:
                ends = ("low", "high") if side == "up" else ("high", "low")
                near, far = (self._end(crossing[end]) for end in ends)
                found.append(said(self.text["crossing"], crossing=self._end(crossing["estimate"]), near=near, far=far))
        caps = [row for row in self.rows if row.floor is not None]
        if caps and caps[0].measures["capability_loss"]["grade"] != VOID:
            floor = self.limits["cap"]["strongest"]
            found += [self._moved(row) for row in caps if row.floor == floor] or [self.text["cap_none"]]
        return found

    def about(self) -> str:
        """What it rests on."""
        capability, settings = self.results.part("capability"), self.results.part("settings")
        return said(
            self.text["about"].strip(), n_items=number(capability["n_items"]), n_replies=settings["n_replies"],
            capability=number(settings["capability"]),
        )  # fmt: skip

    def _moved(self, row: Row) -> str:
        effect, loss = row.measures["effect"], row.measures["capability_loss"]
        where = self.text["at" if row.floor is None else "capped"]
        return said(
            self.text["effect" if row.effect_shown else "effect_none"],
            where=where.format(strength=strength_said(row.strength), floor=row.floor),
            score=self.score["name"], unit=self.score["unit"], effect=number(effect["estimate"], signed=True),
            loss=between(loss, digits=1, percent=True), **interval(effect["low"], effect["high"], signed=True),
        )  # fmt: skip

    def _crossing(self, side: str) -> dict[str, Any]:
        found = self.results.measure(f"crossing_{side}")
        assert found is not None
        return found

    def _at(self, strength: float) -> Row:
        return next(row for row in self.rows if row.strength == strength)

    def _end(self, value: float | None) -> str:
        return self.text["open_end"] if value is None else number(value, 1 if abs(value) >= 1 else 2, signed=True)


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
