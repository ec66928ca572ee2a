"""The chapters of the persona map: the map, the axis by block, and what the characters said."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.directions.cast import DEFAULT
from greenroom.report.charts import CHARACTER_SYMBOLS
from greenroom.report.format import interval, listed, number, plain, said, tint
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Quote, Results, Strip, chapter
from greenroom.report.tables import named, table_of
from greenroom.studies.persona_map import figures
from greenroom.studies.persona_map.findings import GATE, gap

NEAREST = 5  # roles named at either end of the axis


def chapters(results: Results) -> list[Chapter]:
    roles, default = _roles(results)
    made = [_map(results, roles, default), _layers(results), _replies(results, roles)]
    return [one for one in made if one is not None]


def _roles(results: Results) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The roles with their place on the axis, nearest first, and the default character."""
    places, table = results.series("by_role", "role"), results.table("places")
    assert table is not None
    spots = places.rename({"estimate": "axis_sd", "low": "axis_sd_low", "high": "axis_sd_high", "n": "n_replies"})
    placed = table.join(spots, on="role").sort("axis_sd", descending=True)
    return placed.filter(pl.col("role") != DEFAULT), placed.filter(pl.col("role") == DEFAULT).row(0, named=True)


def _span(roles: pl.DataFrame) -> float:
    """How far the farthest role lies from the default character, sd: where colours end."""
    return max(-float(roles["axis_sd"].min() or 0.0), 1e-9)  # type: ignore[arg-type]


def _map(results: Results, roles: pl.DataFrame, default: dict[str, Any]) -> Chapter:
    """Where the default character stands among the roles (Assistant Axis, arXiv 2601.10387)."""
    text, span = results.words["chapters"]["main"], _span(roles)
    components = results.table("components")
    shares = [] if components is None else components.sort("component")["explained_variance"].to_list()[:2]
    samples = _samples(results)
    near, far = roles["role"].head(NEAREST).to_list(), roles["role"].tail(NEAREST).to_list()[::-1]
    spec = figures.map_of_roles(roles, default, samples, span, shares, text)
    cards = {
        plain(row["role"]): {
            "name": text["default"] if row["role"] == DEFAULT else plain(row["role"]),
            "kind": named("kind", row["kind"]),
            "place": text["place"].format(
                axis=number(row["axis_sd"], 1),
                n=row["n_replies"],
                **interval(row["axis_sd_low"], row["axis_sd_high"], 1),
            ),
            "tint": tint(row["axis_sd"], span),
            "x": row["pc1"],
            "y": row["pc2"],
            "stored": row["kind"],
            **samples.get(row["role"], {}),
        }
        for row in [*roles.iter_rows(named=True), default]
    }
    kinds = [(kind, named("kind", kind)) for kind in CHARACTER_SYMBOLS if kind in set(roles["kind"].to_list())]
    columns = {
        "role": None,
        "kind": None,
        "axis_sd": 1,
        "axis_sd_low": 1,
        "axis_sd_high": 1,
        "pc1": 1,
        "pc2": 1,
        "n_replies": 0,
    }
    numbers = results.part("map")
    exhibit = Exhibit(
        text["caption"].format(model=results.model, n=roles.height, layer=numbers["axis_layer"]),
        panels=(
            Panel(
                id="map-of-roles",
                alt=text["alt"].format(n=roles.height, nearest=listed(near), farthest=listed(far)),
                spec=spec,
            ),
        ),
        table=table_of(roles, columns, results),
        kind="map",
        extra={
            "cards": cards,
            "kinds": kinds,
            "words": text,
            "aspect": spec["map"]["aspect"],
            "ticks": [number(-span * part, 1) for part in (1, 0.5, 0)],
        },
    )
    sentences, auc = results.words["sentences"], results.measure("axis_auc") or {}
    found = [
        said(
            sentences["map"], auc=numbers["axis_auc"] or 0.5, low=numbers["axis_auc_low"] or float("nan"),
            high=numbers["axis_auc_high"] or float("nan"), null=numbers["axis_auc_null_p95"], nearest=listed(near[:3]),
            farthest=listed(far[:3]),
        ),
        said(sentences["cold"], cold=numbers["auc_cold"], hot=numbers["auc_hot"]),
    ]  # fmt: skip
    return chapter(
        results, "main", " ".join(found), exhibit, grade=auc.get("grade"), headline=_headline(results, auc),
        warnings=_warnings(results), strip=_strip(results, roles, default, span, near, far),
    )  # fmt: skip


def _headline(results: Results, auc: dict[str, Any]) -> str:
    text = results.words["sentences"]
    if auc.get("grade") == VOID:
        return said(text["headline_unsure"], model=results.model, auc=results.part("map")["axis_auc"] or 0.5)
    return said(text["headline"], model=results.model, gap=gap(results.series("by_role", "role")))


def _warnings(results: Results) -> tuple[str, ...]:
    scale, text, found = results.part("calibration"), results.words["sentences"], []
    if scale["replies"] < 200 or scale["tokens"] < 64:
        found.append(said(text["few_default"], n=scale["replies"], tokens=scale["tokens"]))
    if (results.part("map")["axis_auc"] or 0.0) < GATE:
        found.append(said(text["missed_gate"]))
    return tuple(found)


def _strip(
    results: Results, roles: pl.DataFrame, default: dict[str, Any], span: float, near: list[str], far: list[str]
) -> Strip:
    """Every role as a tick on the axis, the default character as a ring with its interval."""
    text, values = results.words["strip"], roles["axis_sd"].to_list()
    low, high = default["axis_sd_low"], default["axis_sd_high"]
    left, right = -span * 1.04, max(0.0, *values, high or 0.0) + 0.08 * span

    def place(value: float) -> float:
        return round(100 * (value - left) / (right - left), 2)

    step = next(step for step in (0.5, 1, 2, 5, 10, 20, 50, 1e9) if span / step <= 6)
    marks = [-step * index for index in range(int(span / step) + 1)]
    return Strip(
        alt=text["alt"].format(
            n=len(values), far=number(min(values), 1), near=number(max(values), 1), **interval(low, high, 1)
        ),
        ticks=tuple((place(value), tint(value, span)) for value in values),
        # Where the map's own default replies lie: near 0, the mean of the longer replies that calibrate the axis.
        ring=place(default["axis_sd"] or 0.0),
        bar=None if low is None or high is None else (place(low), place(high)),
        scale=tuple((place(mark), number(float(mark), 0 if step >= 1 else 1)) for mark in marks),
        away=text["away"],
        toward=text["toward"],
        farthest=text["farthest"].format(roles=", ".join(map(plain, far[:3]))),
        nearest=text["nearest"].format(roles=", ".join(map(plain, near[:3]))),
    )


def _layers(results: Results) -> Chapter:
    """How well the axis tells roles from the default character, by block."""
    text, numbers, auc = results.words["chapters"]["layers"], results.part("map"), results.measure("axis_auc") or {}
    frame = results.series("by_block", "layer").sort("layer")
    null, chosen = numbers["axis_auc_null_p95"], numbers["axis_layer"]
    bounds = interval(numbers["axis_auc_low"], numbers["axis_auc_high"], 3)
    finding = text["finding"].format(auc=number(numbers["axis_auc"], 3), null=number(null, 2), **bounds)
    peak = frame.sort("estimate", descending=True)["layer"][0]
    spec = figures.layers(frame, auc, null, chosen, text)
    alt = text["alt"].format(n=frame.height, peak=peak, layer=chosen)
    exhibit = Exhibit(
        text["caption"],
        panels=(Panel(id="layers-by-block", alt=alt, spec=spec),),
        table=table_of(frame, {"layer": 0, "estimate": 3, "low": 3, "high": 3}, results),
        kind="low",
    )
    return chapter(results, "layers", finding, exhibit, grade=auc.get("grade"))


def _replies(results: Results, roles: pl.DataFrame) -> Chapter | None:
    """Sample replies of the default character and of the roles at both ends of the axis."""
    frame, text = results.table("replies"), results.words["chapters"]["replies"]
    if frame is None:
        return None
    names, span = roles["role"].to_list(), _span(roles)
    wanted = [(DEFAULT, text["default"], 2)]
    wanted += [(role, text["nearest"], 1) for role in names[:3]] + [
        (role, text["farthest"], 1) for role in names[::-1][:3]
    ]
    quotes = tuple(
        Quote(
            plain(role),
            f"{where}, {number(row['axis_sd'], 1)} sd",
            tint(row["axis_sd"], span),
            row["question"],
            row["reply"].strip(),
            text["cut"] if row["finish"] == "length" else "",
        )
        for role, where, count in wanted
        for row in _typical(frame.filter(pl.col("role") == role)).head(count).iter_rows(named=True)
    )
    return chapter(results, "replies", text["finding"], quotes=quotes)


def _samples(results: Results) -> dict[str, dict[str, Any]]:
    """One reply a role: the one whose place on the axis is nearest the role's mean."""
    frame = results.table("replies")
    found: dict[str, dict[str, Any]] = {}
    for (role,), own in () if frame is None else frame.group_by("role", maintain_order=True):
        for row in _typical(own).head(1).iter_rows(named=True):
            found[str(role)] = {"question": row["question"], "reply": row["reply"].strip()}
    return found


def _typical(own: pl.DataFrame) -> pl.DataFrame:
    return own.sort((pl.col("axis_sd") - pl.col("axis_sd").mean()).abs(), maintain_order=True, nulls_last=True)
