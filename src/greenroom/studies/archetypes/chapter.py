"""The chapter on archetypes: how stable each is, where it points, how many there are, and what each is like."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.directions.archetypes import STABLE
from greenroom.report.charts import Placed
from greenroom.report.format import listed, number, said, tint
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Quote, Results, Row, Rows, Table, chapter
from greenroom.report.tables import named, table_of
from greenroom.studies.archetypes import figures

# Archetypes whose replies are quoted, and replies of each.
QUOTED, REPLIES = 5, 2
COLUMNS = {
    "archetype": None, "roles": 0, "members": None, "stability": 2, "stability_low": 2, "stable": None, "kind": None,
    "kind_share": 2, "nearest_role": None, "nearest_cosine": 2, "jungian": None, "jungian_cosine": 2, "jungian_p": 3,
    "axis_cosine": 2, "default_sd": 1,
}  # fmt: skip


def chapters(results: Results) -> list[Chapter]:
    """Clusters and sparse factors of the roles: how many, how stable, what each is like."""
    text = results.words["chapters"]["main"]
    frame = _archetypes(results)
    titles = {row["archetype"]: _title(row, text) for row in frame.to_dicts()}
    count = results.measure("recurring_factors") or {"grade": None}
    finding, headline = _sentences(results, frame)
    empty = results.part("replies")["empty"]
    notes = [
        text["card_note"],
        "" if frame["stable"].all() else text["unstable_note"],
        text["empty"].format(n=empty) if empty else "",
    ]
    exhibits = (_stability(frame, titles, results), _directions(frame, titles, results), _scores(results))
    return [
        chapter(
            results, "main", finding, *exhibits, grade=count["grade"], headline=headline, notes=notes,
            quotes=_quotes(frame, titles, results), open_heading=text["open_heading"], open_table=_cards(frame, text),
        )
    ]  # fmt: skip


def _archetypes(results: Results) -> pl.DataFrame:
    """One row each, the stable ones first; stability is the measure's."""
    frame = results.table("archetypes")
    assert frame is not None
    stability = results.series("stability", "archetype").select("archetype", stability="estimate", stability_low="low")
    joined = frame.drop("stability", "stability_low").join(stability, on="archetype", maintain_order="left")
    return joined.sort("stable", descending=True, maintain_order=True)


def _sentences(results: Results, frame: pl.DataFrame) -> tuple[str, str]:
    """What was found, and what may open the page."""
    text, found, model = results.words["sentences"], results.part("search"), results.model
    count = results.measure("recurring_factors")
    if count is not None and count["grade"] == VOID:
        return said(text["void"], reason=count["reason"]), said(text["headline_none"], model=model)
    recurring, parts = found["recurring_factors"], []
    if found["n_factors"]:
        lone = found["stable_factors"] - recurring
        parts.append(
            said(
                text["factors"], n=found["n_factors"], stable=found["stable_factors"],
                lone=said(text["lone"], n=lone) if lone else "",
                explained=100 * found["explained"], reproducible=100 * found["reproducible"],
            )
        )  # fmt: skip
    else:
        parts.append(said(text["no_factors"], model=model))
    if found["n_clusters"]:
        parts.append(
            said(text["clusters"], n=found["n_clusters"], stable=found["stable_clusters"], rand=found["kinds_rand"],
                 p=found["kinds_rand_p"])
        )  # fmt: skip
    else:
        parts.append(said(text["continuum"], roles=found["n_roles"]))
    if found["explained_jungian"] is not None:
        stable = frame.filter((pl.col("method") == "factor") & pl.col("stable"))
        near = stable.filter(pl.col("jungian_p") <= 0.05).height
        nearer = said(text["near"], n=near, of=stable.height) if stable.height else ""
        parts.append(said(text["jungian"], explained=100 * found["explained_jungian"], near=nearer))
    return " ".join(parts), said(text["headline" if recurring else "headline_none"], model=model, n=recurring)


def _stability(frame: pl.DataFrame, titles: dict[str, str], results: Results) -> Exhibit:
    """A row each: its stability, with the tenth percentile, beside the least that counts."""
    text = results.words["chapters"]["main"]
    listing = "; ".join(f"{titles[row['archetype']]}: {number(row['stability'])}" for row in frame.to_dicts())

    def row(one: dict[str, Any]) -> Row:
        share = 100 * max(0.0, one["stability"])
        return Row(
            titles[one["archetype"]], start=0.0, end=share, dot=share, low=100 * max(0.0, one["stability_low"]), high=share,
            mark=100 * STABLE[one["method"]], strong=one["stable"], value=number(one["stability"]),
            note=text["stable" if one["stable"] else "unstable"].format(n=one["roles"]),
        )  # fmt: skip

    rows = tuple(
        Rows(
            id=f"archetype-{method}s",
            alt=text["alt_stability"].format(list=listing),
            rows=tuple(row(one) for one in frame.filter(pl.col("method") == method).to_dicts()),
            ticks=((0.0, "0"), (50.0, "0.5"), (100.0, "1")),
            title=text[f"{method}s"],
            long=True,
        )
        for method in ("factor", "cluster")
        if method in set(frame["method"])
    )
    caption = text["caption_stability"].format(**STABLE)
    return Exhibit(caption, rows=rows, kind="rows", table=table_of(frame, COLUMNS, results))


def _directions(frame: pl.DataFrame, titles: dict[str, str], results: Results) -> Exhibit:
    """The roles on the two main components, and where each archetype points."""
    text, places, directions = results.words["chapters"]["main"], results.table("places"), results.table("arrows")
    assert places is not None
    assert directions is not None
    along = _along_axis(places)
    placed = [
        Placed(
            named("role", row["role"], results.words), row["kind"], row["pc1"], row["pc2"], along.get(row["role"]),
            named("kind", row["kind"]), default=row["kind"] == "default",
        )
        for row in places.to_dicts()
    ]  # fmt: skip
    called = {row["archetype"]: _label(row, text["short"]) for row in frame.to_dicts()}
    spec = figures.arrows(placed, directions, called, set(frame.filter("stable")["archetype"]), text)
    alt = text["alt_map"].format(n=places.height, list=", ".join(titles.values()))
    table = table_of(places, {"role": None, "kind": None, "searched": None, "pc1": 2, "pc2": 2}, results)
    panel = Panel(id="archetype-map", alt=alt, spec=spec)
    return Exhibit(text["caption_map"], panels=(panel,), kind="tall", table=table)


def _scores(results: Results) -> Exhibit:
    """How many? The score of every number tried, on roles left out."""
    text, choice = results.words["chapters"]["main"], results.table("choice")
    assert choice is not None
    scores = results.series("score", "method", "count")
    panels = []
    for method in ("factor", "cluster"):
        chosen = choice.filter((pl.col("method") == method) & pl.col("chosen"))["count"].item()
        own, title = scores.filter(pl.col("method") == method), text[f"{method}s"]
        spec = figures.scores(own, chosen, text[f"y_{method}"], text)
        alt = text["alt_choice"].format(method=title.lower(), most=own["count"].max(), chosen=chosen)
        panels.append(Panel(id=f"choice-{method}", alt=alt, spec=spec, title=title))
    tried = choice.join(scores.select("method", "count", "estimate", "low", "high"), on=["method", "count"])
    columns = {"method": None, "count": 0, "estimate": 3, "low": 3, "high": 3, "behind": 3, "chosen": None}
    return Exhibit(
        text["caption_choice"], panels=tuple(panels), kind="multiples", table=table_of(tried, columns, results)
    )


def _along_axis(places: pl.DataFrame) -> dict[str, float]:
    """Role → place on the axis from 0 (the default character) to −1 (the farthest); empty without an axis."""
    known = places.drop_nulls("axis")
    own = known.filter(pl.col("kind") == "default")
    if own.is_empty():
        return {}
    zero = float(own["axis"][0])
    span = max(zero - min(known["axis"].to_list()), 1e-9)
    return {row["role"]: (row["axis"] - zero) / span for row in known.to_dicts()}


def _title(row: dict[str, Any], text: dict[str, Any]) -> str:
    """The label of an archetype that has no name: what it is, its number, and the roles that show it most."""
    roles = row["members"].split(", ")[:3] if row["members"] else [row["nearest_role"]]
    return f"{_label(row, text['label'])}: {listed(roles)}"


def _label(row: dict[str, Any], words: dict[str, str]) -> str:
    return words[row["method"]].format(number=row["archetype"].partition("_")[2])


def _cards(frame: pl.DataFrame, text: dict[str, Any]) -> Table:
    """What each is like, in words: roles, kind, nearest archetype of Jung, side of the axis."""
    rows = []
    for one in frame.to_dicts():
        jung = "–"
        if one["jungian"] is not None:
            beyond = one["jungian_p"] is not None and one["jungian_p"] <= 0.05
            jung = text["jungian" if beyond else "jungian_chance"].format(
                name=named("role", one["jungian"]), cosine=number(one["jungian_cosine"])
            )
        kind = "–" if one["kind"] is None else text["kind"].format(
            kind=named("kind", one["kind"]), percent=number(100 * one["kind_share"], 0)
        )  # fmt: skip
        label = _label(one, text["label"])
        name = label if one["stable"] else text["card_unstable"].format(name=label)
        roles = listed(one["members"].split(", ")[:6]) if one["members"] else "–"
        places = (number(one["axis_cosine"], signed=True), number(one["default_sd"], 1, signed=True))
        rows.append((name, roles, kind, jung, *places))
    return Table(tuple(text["card_columns"]), tuple(rows), frozenset({4, 5}))


def _quotes(frame: pl.DataFrame, titles: dict[str, str], results: Results) -> tuple[Quote, ...]:
    """The replies that show an archetype most; the stripe is the role's own place on the axis."""
    replies, places = results.table("replies"), results.table("places")
    assert replies is not None
    assert places is not None
    colours = _along_axis(places)
    return tuple(
        Quote(
            named("role", row["role"]), titles[name], tint(colours.get(row["role"]), 1.0), row["question"],
            row["reply"].strip(),
        )
        for name in frame.filter("stable")["archetype"].head(QUOTED)
        for row in replies.filter(pl.col("archetype") == name).sort("rank").head(REPLIES).to_dicts()
    )  # fmt: skip
