"""The chapter of the behavioural map: characters by their words, by their activations, and pair by pair."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.report.charts import Placed
from greenroom.report.format import between, interval, number, said
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Results, chapter
from greenroom.report.tables import named, table_of
from greenroom.studies.behavioural_map import figures

COLUMNS = {
    "role": None, "kind": None, "nearest": None, "nearest_bits": 2, "floor_bits": 2, "floor_low": 2, "floor_high": 2,
    "n_replies": 0, "axis_sd": 1,
}  # fmt: skip


def chapters(results: Results) -> list[Chapter]:
    """The behavioural map, the activation map of the same characters, and how far they agree."""
    text, numbers = results.words["chapters"]["main"], results.part("maps")
    places, pairs, agreement = results.table("places"), results.table("pairs"), results.measure("mantel_r")
    assert places is not None
    assert pairs is not None
    assert agreement is not None
    floor = results.measure("floor_bits") or {"estimate": None}
    values = {
        "n": places.height,
        "agreement": between(agreement),
        "floor": number(floor["estimate"]),
        **_neighbours(places, results),
    }

    def panel(name: str, spec: dict[str, Any], **more: Any) -> Panel:
        return Panel(
            id=f"map-{name}", alt=text[f"alt_{name}"].format(**values), spec=spec, title=text[f"title_{name}"], **more
        )

    half = pairs.filter(pl.col("role") < pl.col("reader"))
    called = [", ".join(_named(row[side], results) for side in ("role", "reader")) for row in half.to_dicts()]
    panels = (
        panel("words", figures.distances(_placed(places, "x", "y", results), text["unit_words"]),
              note=text["note"].format(stress=number(numbers["stress"]))),
        panel("inside", figures.distances(_placed(places, "activation_x", "activation_y", results), text["unit_inside"]),
              note=text["note"].format(stress=number(numbers["activation_stress"]))),
        panel("pairs", figures.pairs(half, called, floor["estimate"], text), note=text["note_pairs"].format(**values),
              void=agreement["reason"] if agreement["grade"] == VOID else None),
    )  # fmt: skip
    floors = results.series("by_role", "role").select(
        "role", floor_bits="estimate", floor_low="low", floor_high="high", n_replies="n"
    )
    frame = places.drop("floor_bits", "floor_low", "floor_high").join(floors, on="role", how="left")
    exhibit = Exhibit(
        text["caption"].format(**values), panels=panels, kind="multiples", table=table_of(frame, COLUMNS, results)
    )
    finding, headline = _sentences(results, agreement)
    empty = results.part("replies")["empty"]
    notes = [text["empty"].format(n=empty)] if empty else []
    return [chapter(results, "main", finding, exhibit, grade=agreement["grade"], headline=headline, notes=notes)]


def _sentences(results: Results, agreement: dict[str, Any]) -> tuple[str, str]:
    """What was found, and what may open the page."""
    text, numbers = results.words["sentences"], results.part("maps")
    floor = said(text["floor"], **{name: numbers[name] for name in ("median_bits", "floor_bits")})
    if agreement["grade"] == VOID:
        return said(text["void"], reason=agreement["reason"]), said(text["headline_void"], model=results.model)
    r, p = agreement["estimate"], agreement["p"]
    how = "agree" if p <= 0.05 and r > 0 else "differ"
    found = [said(text[how], n=agreement["n"], r=r, p=p, **interval(agreement["low"], agreement["high"])), floor]
    if numbers["split_half"] is not None:
        found.append(said(text["reliable"], reliability=numbers["split_half"]))
    return " ".join(found), said(text[f"headline_{how}"], model=results.model, r=r, p=p)


def _placed(places: pl.DataFrame, x: str, y: str, results: Results) -> list[Placed]:
    """The characters at these coordinates, coloured by their place on the axis where that is known."""
    span = max([1e-9, *(-value for value in places["axis_sd"].drop_nulls())])
    return [
        Placed(
            _named(row["role"], results),
            row["kind"],
            row[x],
            row[y],
            None if row["axis_sd"] is None else row["axis_sd"] / span,
            "" if row["axis_sd"] is None else f"{number(row['axis_sd'], 1)} sd",
            default=row["kind"] == "default",
        )
        for row in places.drop_nulls([x, y]).to_dicts()
    ]


def _neighbours(places: pl.DataFrame, results: Results) -> dict[str, str]:
    """The default character's nearest in words, and the closest pair."""
    rows = places.drop_nulls("nearest_bits").sort("nearest_bits").to_dicts()
    default = next((row for row in rows if row["kind"] == "default"), rows[0])
    found = {"nearest": default["nearest"], "one": rows[0]["role"], "other": rows[0]["nearest"]}
    return {name: _named(role, results) for name, role in found.items()}


def _named(role: str, results: Results) -> str:
    return named("role", role, results.words)
