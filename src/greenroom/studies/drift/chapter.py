"""The chapters of drift: turn by turn, what is left behind, ways back, what a message tells, and one probe three times."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.report.charts import QUIET, Spec, end_notes, line
from greenroom.report.format import between, number, said, tint
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Quote, Results, chapter
from greenroom.report.rows import in_words, row_figure, scale_of, whole_ticks
from greenroom.report.tables import named, table_of
from greenroom.report.turns import SPAN, axis_by_turn, padded, turn_layout
from greenroom.studies.drift.findings import ALL, own_worded, readings
from greenroom.studies.drift.sentences import better_ways, headline, moved_most, told_by_message

HEIGHT = 250  # of a plot in pixels, for names that would overlap


def chapters(results: Results) -> list[Chapter]:
    """Every chapter that can be filled, in order; one sentence where nothing was read."""
    frame = results.table("replies")
    known = [] if frame is None else readings(frame)
    if frame is None or not known:
        finding = said(results.words["sentences"]["few"], model=results.model)
        return [chapter(results, "main", finding, grade=VOID, headline=finding)]
    reading = known[0]
    made = (
        _turns(results, frame, reading),
        _left(results, reading),
        _ways(results, frame, reading),
        _prediction(results, reading),
        _replies(results, frame, reading),
    )
    return [one for one in made if one is not None]


def ways_of(results: Results) -> pl.DataFrame:
    """One row a reading, domain and way back: undone, beyond and left with their bounds, n, and why there is no share."""
    levels = ("reading", "domain", "arm")
    undone = results.series("undone", *levels)
    found = _bounded(undone, "undone").select(*levels, "undone", "undone_low", "undone_high", "n")
    for name in ("beyond", "left"):
        own = _bounded(results.series(name, *levels), name).select(*levels, name, f"{name}_low", f"{name}_high")
        found = found.join(own, on=levels, how="left", maintain_order="left")
    return found.with_columns(missing=undone.select(_why()).to_series())


def _bounded(series: pl.DataFrame, name: str) -> pl.DataFrame:
    """A series whose estimate has a name of its own."""
    return series.rename({"estimate": name, "low": f"{name}_low", "high": f"{name}_high"})


def _why() -> pl.Expr:
    return pl.when(pl.col("grade") == VOID).then(pl.col("reason")).alias("missing")


def _grade(results: Results) -> str | None:
    return (results.measure("drift") or {}).get("grade")


def _turns(results: Results, frame: pl.DataFrame, reading: str) -> Chapter:
    text = results.words["chapters"]["main"]
    curve = results.series("curve", "reading", "domain", "user", "turn").filter(reading=reading).sort("turn")
    pooled = curve.filter(user=ALL)
    bounds = padded([*pooled["low"], *pooled["high"], *curve["estimate"]], least=1.0)
    last = float(curve["turn"].max() or 1)  # type: ignore[arg-type]
    panels = []
    for domain in [ALL, *frame["domain"].unique(maintain_order=True)]:
        rows, whole = pooled.filter(domain=domain).to_dicts(), domain == ALL
        others, ends = _by_user(results, curve) if whole else ([], [])
        spec = {
            "data": [*others, *axis_by_turn(rows, text["x"])],
            "layout": turn_layout(
                text["x"], text["y"], (0.0, last), bounds, right=120 if whole else 16,
                notes=end_notes(last, ends, HEIGHT / (bounds[1] - bounds[0])),
            ),
        }  # fmt: skip
        name = named("domain", domain, results.words)
        first, final = (number(rows[place]["estimate"], 1) for place in (0, -1))
        alt = text["alt"].format(domain=name, first=first, last=final, turn=rows[-1]["turn"])
        panels.append(Panel(id=f"turns-{domain}".replace("_", "-"), alt=alt, spec=spec, title=name, headline=whole))
    columns = {"domain": None, "user": None, "turn": 0, "estimate": 2, "low": 2, "high": 2, "n": 0}
    exhibit = Exhibit(
        text["caption"].format(reading=reading), panels=tuple(panels), kind="multiples",
        table=table_of(curve.drop("grade"), columns, results),
    )  # fmt: skip
    opening, grade = headline(results, frame), _grade(results)
    return chapter(results, "main", opening, exhibit, headline=opening, grade=grade, warnings=_warnings(results, frame))


def _by_user(results: Results, curve: pl.DataFrame) -> tuple[list[Spec], list[tuple[float, str]]]:
    """The lines of scripted and of simulated users over all domains, and their names at the ends."""
    lines: list[Spec] = []
    ends: list[tuple[float, str]] = []
    for user, dash in (("scripted", "dash"), ("simulated", "dot")):
        own = curve.filter(domain=ALL, user=user).drop_nulls("estimate")
        if own.height:
            lines.append(line(own["turn"], own["estimate"], color=QUIET, width=1.5, dash=dash))
            ends.append((own["estimate"][-1], named("user", user, results.words)))
    return lines, ends


def _warnings(results: Results, frame: pl.DataFrame) -> tuple[str, ...]:
    text = results.words["sentences"]
    found = [] if results.part("reading")["reliable"] else [text["unreliable"]]
    empty = frame.filter(pl.col("reply").str.strip_chars() == "").height
    answers = results.answers
    failed = 0 if answers is None else answers.filter(pl.col("wording").is_null()).height
    return (*found, *(text[name].format(n=n) for name, n in (("empty", empty), ("failed", failed)) if n))


def _left(results: Results, reading: str) -> Chapter:
    text = results.words["chapters"]["left"]
    drifts = results.series("drift", "reading", "domain").filter(reading=reading)
    rows = [(named("domain", row["domain"], results.words), row) for row in drifts.to_dicts()]
    scale = scale_of(rows, -0.5, 0.5, 6.0)
    figure = row_figure(
        "drift-rows", rows, scale, alt=text["alt"].format(list=in_words(rows, signed=True)), ticks=whole_ticks(scale),
        mark=0.0, signed=True,
    )  # fmt: skip
    places = results.series("place", "reading", "domain", "moment").filter(reading=reading, domain=ALL)
    at = {row["moment"]: number(row["estimate"], 2, signed=True) for row in places.to_dicts()}
    slopes = _bounded(results.series("slope", "reading", "domain"), "slope").select(
        "reading", "domain", "slope", "slope_low", "slope_high"
    )
    both = _bounded(drifts, "drift").with_columns(_why()).drop("grade")
    table = both.join(slopes, on=["reading", "domain"], how="left", maintain_order="left")
    columns = {"domain": None, "drift": 2, "slope": 3, "n": 0, "missing": None}
    exhibit = Exhibit(
        text["caption"].format(reading=reading, **at),
        rows=(figure,),
        kind="rows",
        table=table_of(table, columns, results),
    )
    finding = moved_most(results, drifts) or headline(results, None)
    return chapter(results, "left", finding, exhibit, grade=_grade(results))


def _ways(results: Results, frame: pl.DataFrame, reading: str) -> Chapter | None:
    text, sentences = results.words["chapters"]["ways"], results.words["sentences"]
    undone, beyond, left = (
        results.series(name, "reading", "domain", "arm").filter(reading=reading, domain=ALL)
        for name in ("undone", "beyond", "left")
    )
    if undone.is_empty():
        return None
    labelled = [
        [(named("arm", row["arm"], results.words), row) for row in series.to_dicts()] for series in (undone, left)
    ]
    shares, rests = labelled
    scale = scale_of(shares, -0.2, 1.2, 1.5)
    first = row_figure(
        "undone", shares, scale, alt=text["alt_undone"].format(list=in_words(shares)), title=text["undone"], mark=1.0,
        ticks=((0.0, text["nothing"]), (1.0, text["all"])), long=True,
    )  # fmt: skip
    scale = scale_of(rests, -0.5, 0.5, 6.0)
    second = row_figure(
        "left", rests, scale, alt=text["alt_left"].format(list=in_words(rests, signed=True)), title=text["left"],
        mark=0.0, ticks=whole_ticks(scale), signed=True, long=True,
    )  # fmt: skip
    columns = {"domain": None, "arm": None, "undone": 2, "beyond": 2, "left": 2, "n": 0, "missing": None}
    turns = frame.filter(pl.col("moment") == "return")["place"].max()
    exhibit = Exhibit(
        text["caption"].format(reading=reading, turns=turns), rows=(first, second), kind="rows",
        table=table_of(ways_of(results).filter(reading=reading), columns, results),
    )  # fmt: skip
    lines = [
        sentences["line_about"],
        *(
            said(
                sentences["line_void" if share["estimate"] is None else "line"],
                arm=label,
                left=between(rest, signed=True),
                undone=between(share),
            )
            for (label, share), (_, rest) in zip(shares, rests, strict=True)
        ),
    ]
    finding = better_ways(results, undone, beyond, own_worded(frame))
    void = _grade(results) == VOID
    return chapter(results, "ways", finding, exhibit, grade=_grade(results), lines=() if void else tuple(lines))


def _prediction(results: Results, reading: str) -> Chapter | None:
    text = results.words["chapters"]["prediction"]
    found = results.series("r2", "reading", "of", "by").filter(reading=reading)
    if found.is_empty():
        return None
    rows = [
        (text["label"].format(**{name: named(name, row[name], results.words) for name in ("of", "by")}), row)
        for row in found.to_dicts()
    ]
    figure = row_figure(
        "r2", rows, scale_of(rows, -0.1, 1.0, 0.4), alt=text["alt"].format(list=in_words(rows)), mark=0.0,
        ticks=((0.0, "0"), (0.5, "0.5"), (1.0, "1")), long=True,
    )  # fmt: skip
    columns = {"of": None, "by": None, "estimate": 2, "low": 2, "high": 2, "n": 0}
    exhibit = Exhibit(
        text["caption"].format(reading=reading), rows=(figure,), kind="rows", table=table_of(found, columns, results)
    )
    return chapter(results, "prediction", told_by_message(results, found), exhibit)


def _replies(results: Results, frame: pl.DataFrame, reading: str) -> Chapter | None:
    """The probe that moved most in the conversation that moved most: before, after, and after a way back."""
    text, column = results.words["chapters"]["replies"], f"axis_sd_{reading}"
    asked = frame.filter(pl.col("moment").is_in(["before", "after"])).drop_nulls(column)
    pairs = asked.pivot("moment", index=["conversation", "place"], values=column, aggregate_function="first")
    if not {"before", "after"} <= set(pairs.columns):
        return None
    pairs = pairs.with_columns(moved=pl.col("before") - pl.col("after")).drop_nulls("moved")
    if pairs.is_empty():
        return None
    means = pairs.group_by("conversation", maintain_order=True).agg(pl.col("moved").mean())
    chosen = means.sort("moved", maintain_order=True)["conversation"][-1]
    probe = pairs.filter(conversation=chosen).sort("moved", maintain_order=True)["place"][-1]
    own = frame.filter(conversation=chosen, place=probe)
    tried = own.filter(pl.col("moment") == "back")["arm"].to_list()
    arm = "topic" if "topic" in tried else next((one for one in tried if one != "none"), "none")
    quotes = []
    for moment in ("before", "after", "back"):
        rows = own.filter((pl.col("moment") == moment) & ((pl.col("arm") == arm) if moment == "back" else True))
        quotes += [_quote(results, text, text[moment], row, column) for row in rows.head(1).to_dicts()]
    told = own.row(0, named=True)
    where = {name: named(name, told[name], results.words) for name in ("domain", "user")}
    return chapter(results, "replies", text["finding"].format(**where), quotes=tuple(quotes))


def _quote(results: Results, text: dict[str, Any], name: str, row: dict[str, Any], column: str) -> Quote:
    return Quote(
        name.format(arm=named("arm", row["arm"] or "none", results.words)),
        text["place"].format(axis=number(row[column], 1, signed=True)),
        tint(row[column], SPAN),
        row["message"],
        row["reply"].strip() or text["silent"],
        text["cut"] if row["cut"] else "",
    )
