"""The chapters about the evidence itself: which measures to trust, and what the model said."""

from __future__ import annotations

import polars as pl

from greenroom.report.format import number, table_of, tint
from greenroom.report.parts import VOID, Chapter, Exhibit, Quote, Results, chapter, words
from greenroom.studies.persona_map.roles import ends_of, roles_of, typical

GRADES = ("A", "B", "C", VOID)


def validity(results: Results) -> Chapter | None:
    """Every measure with its grade; the weak and void ones stand open on the page, all of them behind the fold."""
    frame, text = results.table("measures"), words()["chapters"]["validity"]
    if frame is None:
        return None
    counts = tally(frame)
    said = ", ".join(f"{n} {grade}" for grade, n in counts)
    by = dict(counts)
    finding = text["finding"].format(
        n=frame.height, good=by.get("A", 0) + by.get("B", 0), weak=by.get("C", 0), void=by.get(VOID, 0)
    )
    columns: dict[str, int | None] = {
        "measure": None,
        "grade": None,
        "estimate": 2,
        "low": 2,
        "high": 2,
        "n": 0,
        "reason": None,
    }
    weak = frame.filter(pl.col("grade").is_in(["C", VOID])).sort("grade", descending=True, maintain_order=True)
    shares = [(grade, n, round(100 * n / frame.height, 2), words()["grades"].get(grade, "")) for grade, n in counts]
    exhibit = Exhibit(
        text["caption"],
        kind="tally",
        table=table_of(frame, columns),
        extra={"alt": text["alt"].format(counts=said), "shares": shares},
    )
    notes = () if weak.height else (text["all_good"],)
    return chapter(
        "validity",
        finding,
        exhibit,
        notes=notes,
        open_heading=text["open_heading"] if weak.height else "",
        open_table=table_of(weak, columns) if weak.height else None,
    )


def replies(results: Results) -> Chapter | None:
    """Sample replies of the default character and of the roles at both ends of the axis."""
    frame, found, text = results.table("replies"), roles_of(results), words()["chapters"]["replies"]
    if frame is None or found is None:
        return None
    roles, _, span = found
    near, far = (ends_of(results, roles, end)[:3] for end in ("nearest", "farthest"))
    wanted = [
        ("default", text["default"], 2),
        *((role, text["nearest"], 1) for role in near),
        *((role, text["farthest"], 1) for role in far),
    ]
    quotes = []
    for role, where, count in wanted:
        own = frame.filter((pl.col("role") == role) if role != "default" else (pl.col("kind") == "default"))
        for row in typical(own).head(count).iter_rows(named=True):
            quotes.append(
                Quote(
                    role.replace("_", " "),
                    f"{where}, {number(row['axis_sd'], 1)} sd",
                    tint(row["axis_sd"], span),
                    row["question"] or "",
                    row["reply"].strip(),
                    text["cut"] if row.get("finish") == "length" else "",
                )
            )
    return chapter("replies", text["finding"], quotes=tuple(quotes))


def tally(measures: pl.DataFrame) -> list[tuple[str, int]]:
    """How many measures have each grade, best first, grades without any left out."""
    given = measures["grade"].to_list()
    return [(grade, given.count(grade)) for grade in GRADES if grade in given]
