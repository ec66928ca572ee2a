"""The chapters read from activations: persona map, layer, traits and hold.

Each function takes the results of a run and gives a chapter, or None where the run lacks its table.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.report.format import interval, kind_of, number, table_of, tint
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Results, Row, Rows, chapter, words
from greenroom.studies.persona_map import map_plot, plots
from greenroom.studies.persona_map.map_plot import SYMBOLS
from greenroom.studies.persona_map.roles import ends_of, roles_of, samples_of


def persona_map(results: Results) -> Chapter | None:
    """Where the default character stands among the roles (Assistant Axis, arXiv 2601.10387)."""
    found, text = roles_of(results), words()["chapters"]["map"]
    if found is None:
        return None
    roles, default, span = found
    components = results.table("components")
    shares = components.sort("component")["explained_variance"].to_list()[:2] if components is not None else []
    samples = samples_of(results)
    near, far = (
        ", ".join(name.replace("_", " ") for name in ends_of(results, roles, end)) for end in ("nearest", "farthest")
    )
    spec = map_plot.persona_map(roles, default, samples, span, shares)
    cards = {
        row["role"].replace("_", " "): {
            "name": text["default"] if row["kind"] == "default" else row["role"].replace("_", " "),
            "kind": kind_of("kind", row["kind"]),
            "place": text["place"].format(
                axis=number(row["axis_sd"], 1),
                n=row.get("n_replies") or "–",
                **interval(row.get("axis_sd_low"), row.get("axis_sd_high"), 1),
            ),
            "tint": tint(row["axis_sd"], span),
            "x": row["pc1"],
            "y": row["pc2"],
            "stored": row["kind"],
            **samples.get(row["role"], {}),
        }
        for row in [*roles.iter_rows(named=True), *([default] if default else [])]
    }
    kinds = [(kind, words()["kinds"].get(kind, kind)) for kind in SYMBOLS if kind in set(roles["kind"].to_list())]
    alt = text["alt"].format(n=roles.height, nearest=near, farthest=far)
    exhibit = Exhibit(
        text["caption"].format(model=results.model, n=roles.height, layer=results.summary.get("axis_layer", "–")),
        panels=(Panel("persona-map", alt, spec),),
        table=table_of(
            roles.sort("axis_sd", descending=True),
            {
                "role": None,
                "kind": None,
                "axis_sd": 1,
                "axis_sd_low": 1,
                "axis_sd_high": 1,
                "pc1": 1,
                "pc2": 1,
                "n_replies": 0,
            },
        ),
        kind="map",
        extra={
            "cards": cards,
            "kinds": kinds,
            "aspect": spec["map"]["aspect"],
            "ticks": [number(-span * part, 1) for part in (1, 0.5, 0)],
        },
    )
    gap = number(results.summary.get("axis_gap_sd", -float(roles["axis_sd"].mean() or 0.0)), 1)  # type: ignore[arg-type]
    finding = results.said("map") or text["finding"].format(n=roles.height, gap=gap)
    return chapter("map", finding, exhibit)


def layers(results: Results) -> Chapter | None:
    """How well the axis tells roles from the default character, by block."""
    frame, text, summary = results.table("layers"), words()["chapters"]["layers"], results.summary
    if frame is None:
        return None
    auc = summary.get("axis_auc")
    finding = text["finding_short"].format(auc=number(auc, 3))
    if summary.get("axis_auc_null_p95") is not None:
        bounds = interval(summary.get("axis_auc_low"), summary.get("axis_auc_high"), 3)
        finding = text["finding"].format(auc=number(auc, 3), null=number(summary["axis_auc_null_p95"], 2), **bounds)
    peak = frame.filter(pl.col("auc_selection") == pl.col("auc_selection").max())["layer"][0]
    chosen = frame.filter(pl.col("chosen"))
    alt = text["alt"].format(n=frame.height, peak=peak, layer=chosen["layer"][0] if chosen.height else "–")
    exhibit = Exhibit(
        text["caption"],
        panels=(Panel("layers-by-block", alt, plots.layers(frame, summary)),),
        table=table_of(frame, {"layer": 0, "auc_selection": 3, "auc_se": 3, "chosen": None}),
        kind="low",
    )
    return chapter("layers", finding, exhibit, grade=results.grade("axis_auc"))


def traits(results: Results) -> Chapter | None:
    """Where the default character lies between the poles of each trait (Persona Vectors, arXiv 2507.21509)."""
    frame, text = results.table("traits"), words()["chapters"]["traits"]
    if frame is None:
        return None
    frame = frame.sort(pl.col("estimate_pole").abs(), descending=True, nulls_last=True)
    numbered = ["estimate_pole", "low", "high"]
    shown = frame.filter(pl.col("grade") != VOID).drop_nulls("estimate_pole")
    bounds = [float(value) for name in numbered for value in shown[name].drop_nulls()]
    reach = max([1.0, *map(abs, bounds)]) * 1.02

    def place(value: float | None) -> float | None:
        return None if value is None else 50 + 50 * value / reach

    def row(one: dict[str, Any]) -> Row:
        name = one["trait"].replace("_", " ")
        poles = {side: one.get(side) or text[side].format(trait=name) for side in ("negative", "positive")}
        if one["grade"] == VOID or one["estimate_pole"] is None:
            return Row(
                name, left=poles["negative"], right=poles["positive"], void=one.get("reason") or words()["grades"][VOID]
            )
        low, high = interval(one["low"], one["high"]).values()
        percentile = one.get("role_percentile")
        notes = [] if percentile is None else [text["percentile"].format(percent=number(_percent(percentile), 0))]
        return Row(
            name,
            start=50.0,
            end=place(one["estimate_pole"]),
            dot=place(one["estimate_pole"]),
            low=place(one["low"]),
            high=place(one["high"]),
            left=poles["negative"],
            right=poles["positive"],
            value=f"{number(one['estimate_pole'], signed=True)} ({low} to {high})",
            note="; ".join([*notes, *_reliability(one)]),
        )

    ends = (shown.sort("estimate_pole")[[0, -1]] if shown.height else shown).to_dicts()
    alt = (
        text["alt"].format(
            n=frame.height,
            low_trait=ends[0]["trait"],
            low=number(ends[0]["estimate_pole"]),
            high_trait=ends[-1]["trait"],
            high=number(ends[-1]["estimate_pole"]),
        )
        if ends
        else text["finding"].format(n=frame.height)
    )
    ticks = ((place(-1.0) or 0, "−1"), (50.0, f"0 {text['midpoint']}"), (place(1.0) or 100, "+1"))
    exhibit = Exhibit(
        text["caption"],
        rows=(Rows("trait-poles", alt, tuple(row(one) for one in frame.iter_rows(named=True)), ticks, poles=True),),
        table=table_of(
            frame,
            {
                "trait": None,
                "estimate_pole": 2,
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
            },
        ),
        kind="rows",
    )
    return chapter("traits", results.said("traits") or text["finding"].format(n=frame.height), exhibit)


def _reliability(one: dict[str, Any]) -> list[str]:
    """How well the trait's vector tells its poles apart on held-out questions; nothing in runs that kept no AUC."""
    if one.get("auc") is None:
        return []
    key = "vector_unreliable" if one.get("reliable") is False else "vector"
    bounds = interval(one.get("auc_low"), one.get("auc_high"))
    return [words()["chapters"]["traits"][key].format(auc=number(one["auc"]), **bounds)]


def hold(results: Results) -> Chapter | None:
    """How far pressure moves the default character along the axis, turn by turn, against a neutral arm."""
    frame, text = results.table("hold_effects"), words()["chapters"]["hold"]
    if frame is None:
        return None
    ends = [float(value) for name in ("effect_sd", "low", "high") for value in frame[name].drop_nulls()] or [0.0]
    margin = 0.06 * max(max(*ends, 0.5) - min(*ends, -0.5), 1.0)
    bounds, last = (min(*ends, -0.5) - margin, max(*ends, 0.5) + margin), int(frame["turn"].max() or 1)  # type: ignore[arg-type]
    said, found = results.table("hold_replies"), roles_of(results)
    span = found[2] if found else -bounds[0]
    panels = []
    for pressure in frame["pressure"].unique(maintain_order=True):
        part = frame.filter(pl.col("pressure") == pressure)
        own = said.filter(pl.col("pressure") == pressure) if said is not None else None
        samples = {} if own is None else {row["turn"]: row["reply"] for row in own.reverse().iter_rows(named=True)}
        final = {
            row["reading"]: number(row["effect_sd"], 1, signed=True)
            for row in part.filter(pl.col("turn") == last).iter_rows(named=True)
        }
        said_ends = {"turn": last, "hot": final.get("hot", "–"), "cold": final.get("cold", "–")}
        panels.append(
            Panel(
                f"hold-{pressure}".replace("_", "-"),
                text["alt"].format(pressure=kind_of("pressure", pressure), **said_ends),
                plots.hold(part, samples, bounds, last, span),
                title=kind_of("pressure", pressure),
                note=text["note"].format(**said_ends),
            )
        )
    exhibit = Exhibit(
        text["caption"],
        panels=tuple(panels),
        kind="multiples",
        table=table_of(
            frame, {"pressure": None, "turn": 0, "reading": None, "effect_sd": 2, "low": 2, "high": 2, "n": 0}
        ),
    )
    return chapter("hold", results.said("hold") or text["finding"].format(n=len(panels)), exhibit)


def _percent(share: float) -> float:
    """A percentile in per cent, stored either as 0..1 or as 0..100."""
    return 100 * share if share <= 1 else share
