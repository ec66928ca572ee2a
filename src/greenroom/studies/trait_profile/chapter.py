"""The chapter of the trait profile: the default character between the poles of each trait."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.report.format import between, listed, number, plain, said
from greenroom.report.parts import VOID, Chapter, Exhibit, Results, Row, Rows, chapter
from greenroom.report.tables import table_of

COLUMNS: dict[str, int | None] = {
    "trait": None,
    "estimate": 2,
    "low": 2,
    "high": 2,
    "role_percentile": 2,
    "n": 0,
    "auc": 2,
    "auc_low": 2,
    "auc_high": 2,
    "reliable": None,
    "grade": None,
    "reason": None,
}
CLEAREST = 3  # traits named in the finding


def chapters(results: Results) -> list[Chapter]:
    frame, text = _traits(results), results.words["chapters"]["main"]
    shown = frame.filter(pl.col("grade") != VOID)
    known = [float(value) for name in ("estimate", "low", "high") for value in shown[name].drop_nulls()]
    reach = 1.02 * max([1.0, *map(abs, known)])
    rows = tuple(_row(one, reach, text) for one in frame.iter_rows(named=True))
    ticks = ((_place(-1.0, reach), "−1"), (50.0, f"0 {text['midpoint']}"), (_place(1.0, reach), "+1"))
    finding = _finding(results, shown, frame.height)
    figure = Rows(id="trait-poles", alt=_alt(shown, frame.height, text) or finding, rows=rows, ticks=ticks, poles=True)
    exhibit = Exhibit(text["caption"], rows=(figure,), table=table_of(frame, COLUMNS, results), kind="rows")
    return [chapter(results, "main", finding, exhibit)]


def _traits(results: Results) -> pl.DataFrame:
    """A row a trait: its place, its poles, and how well its vector tells these apart; the clearest first."""
    places = results.series("", "trait")
    areas = results.series("pole_auc", "trait").select(
        "trait", auc="estimate", auc_low="low", auc_high="high", told_apart=pl.col("grade") != VOID
    )
    traits = results.table("traits")
    assert traits is not None
    frame = places.join(areas, on="trait", maintain_order="left").join(traits, on="trait", maintain_order="left")
    # A vector made here is as reliable as its AUC is; a stored one says it of itself.
    frame = frame.with_columns(pl.col("reliable").fill_null(pl.col("told_apart")))
    return frame.sort(pl.col("estimate").abs(), descending=True, nulls_last=True, maintain_order=True)


def _finding(results: Results, shown: pl.DataFrame, total: int) -> str:
    text = results.words["sentences"]
    if shown.is_empty():
        return said(text["none"], total=total)
    ends = [row["positive" if row["estimate"] > 0 else "negative"] for row in shown.head(CLEAREST).to_dicts()]
    return said(text["clear"], clear=listed(ends), valid=shown.height, total=total)


def _place(value: float | None, reach: float) -> Any:
    """Per cent of the track, which runs from -reach to reach."""
    return None if value is None else 50 + 50 * value / reach


def _row(one: dict[str, Any], reach: float, text: dict[str, str]) -> Row:
    label, ends = plain(one["trait"]), {"left": one["negative"], "right": one["positive"]}
    if one["grade"] == VOID:
        return Row(label, void=one["reason"], **ends)
    vector = text["vector" if one["reliable"] else "vector_unreliable"]
    auc = {"auc": number(one["auc"]), "low": number(one["auc_low"]), "high": number(one["auc_high"])}
    percentile = text["percentile"].format(percent=number(one["role_percentile"], 0, percent=True))
    dot, low, high = (_place(one[name], reach) for name in ("estimate", "low", "high"))
    return Row(
        label,
        start=50.0,
        end=dot,
        dot=dot,
        low=low,
        high=high,
        value=between(one, signed=True),
        note=f"{percentile}; {vector.format(**auc)}",
        **ends,
    )


def _alt(shown: pl.DataFrame, total: int, text: dict[str, str]) -> str:
    if shown.is_empty():
        return ""
    low, high = (shown.sort("estimate").row(end, named=True) for end in (0, -1))
    return text["alt"].format(
        n=total, low_trait=plain(low["trait"]), low=number(low["estimate"]), high_trait=plain(high["trait"]),
        high=number(high["estimate"]),
    )  # fmt: skip
