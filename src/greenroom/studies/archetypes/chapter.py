"""The chapters about persona space: characters by what they would say beside where they lie, and archetypes."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.directions.archetypes import STABLE
from greenroom.report.format import interval, kind_of, number, table_of, tint
from greenroom.report.parts import Chapter, Exhibit, Panel, Quote, Results, Row, Rows, Table, chapter, words
from greenroom.studies.archetypes import space_plots
from greenroom.studies.frontier.chapter import kept_note
from greenroom.studies.sentences import listed

# Archetypes whose replies are quoted, and replies of each.
QUOTED, REPLIES = 5, 2


def behaviour(results: Results) -> Chapter | None:
    """The behavioural map, the activation map of the same characters, and how far they agree."""
    found, text = results.part("behaviour"), words()["chapters"]["behaviour"]
    places, pairs = (None, None) if found is None else (found.table("behaviour_places"), found.table("behaviour_pairs"))
    if found is None or places is None or pairs is None:
        return None
    summary = found.summary
    said = {
        **{name: number(summary.get(name), 2) for name in ("stress", "activation_stress", "floor_bits", "mantel_r")},
        **interval(summary.get("mantel_low"), summary.get("mantel_high")), "n": places.height,
    }  # fmt: skip
    unit = words()["columns"]["bits"]
    panels = (
        Panel("behaviour-map", text["alt_behaviour"].format(**_neighbours(places), **said),
              space_plots.plane(places, ("x", "y"), unit), title=text["words"], note=text["note"].format(stress=said["stress"])),
        Panel("activation-map", text["alt_activation"].format(**said),
              space_plots.plane(places, ("activation_x", "activation_y"), text["residual"]), title=text["activations"],
              note=text["note"].format(stress=said["activation_stress"])),
        Panel("behaviour-pairs", text["alt_pairs"].format(**said), space_plots.pairs(pairs, summary.get("floor_bits")),
              title=text["pairs"], note=text["pairs_note"].format(**said)),
    )  # fmt: skip
    columns: dict[str, int | None] = {
        "role": None, "kind": None, "nearest": None, "nearest_bits": 2, "floor_bits": 2, "floor_low": 2,
        "floor_high": 2, "axis_sd": 1,
    }  # fmt: skip
    exhibit = Exhibit(text["caption"].format(**said), panels=panels, kind="multiples", table=table_of(places, columns))
    return chapter(
        "behaviour", found.said("behaviour") or text["finding"], exhibit, notes=[kept_note(results, found, "behaviour")]
    )


def archetypes(results: Results) -> Chapter | None:
    """Clusters and sparse factors of the roles: how many, how stable, what each is like."""
    found, text = results.part("archetypes"), words()["chapters"]["archetypes"]
    if found is None:
        return None
    frame, choice, places, arrows, replies = (
        found.table(name)
        for name in ("archetypes", "archetype_choice", "archetype_places", "archetype_arrows", "archetype_replies")
    )
    if frame is None or choice is None or places is None or arrows is None:
        return None
    frame = frame.sort("stable", descending=True, maintain_order=True)
    titles = {row["archetype"]: _title(row) for row in frame.to_dicts()}
    stable = set(frame.filter("stable")["archetype"])
    listing = "; ".join(
        f"{title}: {number(row['stability'])}" for row, title in zip(frame.to_dicts(), titles.values(), strict=True)
    )
    stability = Exhibit(
        text["caption_stability"].format(cluster=STABLE["cluster"], factor=STABLE["factor"]),
        rows=tuple(
            Rows(f"archetype-{method}s", text["alt_stability"].format(list=listing),
                 tuple(_row(one, titles) for one in frame.to_dicts() if one["method"] == method),
                 ((0.0, "0"), (50.0, "0.5"), (100.0, "1")), title=text[f"{method}s"])
            for method in ("factor", "cluster")
            if method in set(frame["method"])
        ),
        kind="rows",
        table=table_of(frame.with_columns(pl.col("members").str.replace_all("_", " ")), {
            "archetype": None, "roles": 0, "members": None, "stability": 2, "stability_low": 2, "stable": None,
            "kind": None, "kind_share": 2, "nearest_role": None, "nearest_cosine": 2, "jungian": None, "jungian_cosine": 2,
            "jungian_p": 3, "axis_cosine": 2, "default_sd": 1,
        }),
    )  # fmt: skip
    drawn = Exhibit(
        text["caption_map"],
        panels=(Panel("archetype-map", text["alt_map"].format(n=places.height, list=", ".join(titles.values())),
                      space_plots.arrows(places, arrows, stable)),),
        kind="tall",
        table=table_of(places, {"role": None, "kind": None, "searched": None, "pc1": 2, "pc2": 2}),
    )  # fmt: skip
    numbers = Exhibit(
        text["caption_choice"],
        panels=tuple(
            Panel(f"choice-{method}", text["alt_choice"].format(method=text[f"{method}s"].lower(), **_chosen(choice, method)),
                  space_plots.choice(choice.filter(pl.col("method") == method), text[f"y_{method}"]), title=text[f"{method}s"])
            for method in ("factor", "cluster")
        ),
        kind="multiples",
        table=table_of(choice, {"method": None, "count": 0, "score": 3, "behind": 3, "behind_se": 3, "chosen": None}),
    )  # fmt: skip
    return chapter(
        "archetypes", found.said("archetypes") or text["finding"].format(n=frame.height), stability, drawn, numbers,
        quotes=_quotes(frame, places, replies, titles), open_heading=text["open_heading"], open_table=_cards(frame),
        notes=[text["card_note"], text["unstable_note"] if len(stable) < frame.height else "", kept_note(results, found, "archetypes")],
    )  # fmt: skip


def _neighbours(places: pl.DataFrame) -> dict[str, str]:
    """The default character's nearest in words, and the closest pair."""
    rows = places.drop_nulls("nearest_bits").sort("nearest_bits").to_dicts()
    default = next((row for row in rows if row["kind"] == "default"), rows[0])
    return {
        "nearest": kind_of("role", default["nearest"]), "one": kind_of("role", rows[0]["role"]),
        "other": kind_of("role", rows[0]["nearest"]),
    }  # fmt: skip


def _title(row: dict[str, Any]) -> str:
    """The label of an archetype that has no name: what it is, its number, and the roles that show it most."""
    roles = row["members"].split(", ")[:3] if row["members"] else [row["nearest_role"]]
    return f"{_label(row)}: {listed(roles)}"


def _label(row: dict[str, Any]) -> str:
    method, _, count = row["archetype"].partition("_")
    return words()["chapters"]["archetypes"][method].format(number=count)


def _row(one: dict[str, Any], titles: dict[str, str]) -> Row:
    text = words()["chapters"]["archetypes"]
    share = max(0.0, one["stability"])
    return Row(
        titles[one["archetype"]], start=0.0, end=100 * share, dot=100 * share,
        low=100 * max(0.0, one["stability_low"]), high=100 * share, mark=100 * STABLE[one["method"]],
        strong=one["stable"], value=number(one["stability"]),
        note=text["stable" if one["stable"] else "unstable"].format(n=one["roles"]),
    )  # fmt: skip


def _cards(frame: pl.DataFrame) -> Table:
    """What each is like, in words: roles, kind, nearest archetype of Jung, side of the axis."""
    text, rows = words()["chapters"]["archetypes"], []
    for one in frame.to_dicts():
        jung = "–"
        if one["jungian"] is not None:
            beyond = one["jungian_p"] is not None and one["jungian_p"] <= 0.05
            jung = text["jungian" if beyond else "jungian_chance"].format(
                name=kind_of("role", one["jungian"]), cosine=number(one["jungian_cosine"])
            )
        kind = "–" if one["kind"] is None else text["kind"].format(
            kind=kind_of("kind", one["kind"]), percent=number(100 * one["kind_share"], 0)
        )  # fmt: skip
        name = _label(one) if one["stable"] else text["card_unstable"].format(name=_label(one))
        roles = listed(one["members"].split(", ")[:6]) if one["members"] else "–"
        places = (number(one["axis_cosine"], signed=True), number(one["default_sd"], 1, signed=True))
        rows.append((name, roles, kind, jung, *places))
    return Table(tuple(text["card_columns"]), tuple(rows), frozenset({4, 5}))


def _chosen(choice: pl.DataFrame, method: str) -> dict[str, Any]:
    own = choice.filter(pl.col("method") == method)
    return {"most": own["count"].max(), "chosen": own.filter("chosen")["count"][0]}


def _quotes(
    frame: pl.DataFrame, places: pl.DataFrame, replies: pl.DataFrame | None, titles: dict[str, str]
) -> tuple[Quote, ...]:
    """The replies that show an archetype most; the stripe is the role's own place on the axis."""
    if replies is None:
        return ()
    colours = space_plots.axis_places(places)
    quotes = []
    for name in frame.filter("stable")["archetype"].head(QUOTED):
        for row in replies.filter(pl.col("archetype") == name).sort("rank").head(REPLIES).to_dicts():
            shade = tint(colours.get(row["role"]), 1.0)
            quotes.append(
                Quote(kind_of("role", row["role"]), titles[name], shade, row["question"], row["reply"].strip())
            )
    return tuple(quotes)
