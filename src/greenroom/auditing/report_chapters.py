"""The chapters of the report, in the order of the page. A later measure adds one function here and its words in report.yaml.

Each function takes the results of a run and gives a chapter, or None where the run lacks its table. A void measure
gives hatching and its reason, never a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from greenroom.auditing import report_figures as figures
from greenroom.auditing.report_parts import (
    VOID,
    Chapter,
    Exhibit,
    Panel,
    Quote,
    Results,
    Row,
    Rows,
    interval,
    kind_of,
    number,
    table_of,
    tint,
    words,
)
from greenroom.measures.intervals import bootstrap_mean

GRADES = ("A", "B", "C", VOID)
CURVE = {"paradigm": None, "observed": None, "stake": 0, "adherence": 2, "low": 2, "high": 2, "n": 0, "fit": 2, "grade": None}


def chapters(results: Results) -> list[Chapter]:
    """Every chapter that this run can fill, in order."""
    order: tuple[Callable[[Results], Chapter | None], ...] = (
        persona_map, layers, traits, hold, sacrifice, self_concept, validity, replies,
    )  # fmt: skip
    return [chapter for make in order if (chapter := make(results)) is not None]


def roles_of(results: Results) -> tuple[pl.DataFrame, dict[str, Any] | None, float] | None:
    """The roles of the persona map, the default character's row, and the span of the axis in sd (0 to the farthest role)."""
    frame = results.table("persona_map")
    if frame is None:
        return None
    roles = frame.filter(pl.col("kind") != "default").drop_nulls(["pc1", "pc2", "axis_sd"])
    if roles.is_empty():
        return None
    default = next(frame.filter(pl.col("kind") == "default").iter_rows(named=True), None)
    return roles, default, max(-float(roles["axis_sd"].min() or 0.0), 1e-9)  # type: ignore[arg-type]


def persona_map(results: Results) -> Chapter | None:
    """Where the default character stands among the roles (Assistant Axis, arXiv 2601.10387)."""
    found, text = roles_of(results), words()["chapters"]["map"]
    if found is None:
        return None
    roles, default, span = found
    components = results.table("components")
    shares = components.sort("component")["explained_variance"].to_list()[:2] if components is not None else []
    samples = _samples(results)
    near, far = (", ".join(name.replace("_", " ") for name in _ends(results, roles, end)) for end in ("nearest", "farthest"))
    spec = figures.persona_map(roles, default, samples, span, shares)
    cards = {
        row["role"].replace("_", " "): {
            "name": text["default"] if row["kind"] == "default" else row["role"].replace("_", " "),
            "kind": kind_of("kind", row["kind"]),
            "place": text["place"].format(
                axis=number(row["axis_sd"], 1), n=row.get("n_replies") or "–",
                **interval(row.get("axis_sd_low"), row.get("axis_sd_high"), 1)),
            "tint": tint(row["axis_sd"], span), "x": row["pc1"], "y": row["pc2"], "stored": row["kind"],
            **samples.get(row["role"], {}),
        }
        for row in [*roles.iter_rows(named=True), *([default] if default else [])]
    }  # fmt: skip
    kinds = [
        (kind, words()["kinds"].get(kind, kind)) for kind in figures.SYMBOLS if kind in set(roles["kind"].to_list())
    ]
    alt = text["alt"].format(n=roles.height, nearest=near, farthest=far)
    exhibit = Exhibit(
        text["caption"].format(model=results.model, n=roles.height, layer=results.summary.get("axis_layer", "–")),
        panels=(Panel("persona-map", alt, spec),),
        table=table_of(roles.sort("axis_sd", descending=True), {
            "role": None, "kind": None, "axis_sd": 1, "axis_sd_low": 1, "axis_sd_high": 1, "pc1": 1, "pc2": 1, "n_replies": 0}),
        kind="map",
        extra={"cards": cards, "kinds": kinds, "ticks": [number(-span * part, 1) for part in (1, 0.5, 0)]},
    )  # fmt: skip
    gap = number(results.summary.get("axis_gap_sd", -float(roles["axis_sd"].mean() or 0.0)), 1)  # type: ignore[arg-type]
    finding = results.said("map") or text["finding"].format(n=roles.height, gap=gap)
    return _chapter("map", finding, exhibit)


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
        panels=(Panel("layers", alt, figures.layers(frame, summary)),),
        table=table_of(frame, {"layer": 0, "auc_selection": 3, "auc_se": 3, "chosen": None}),
        kind="low",
    )
    return _chapter("layers", finding, exhibit, grade=results.grade("axis_auc"))


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
            return Row(name, left=poles["negative"], right=poles["positive"], void=one.get("reason") or words()["grades"][VOID])
        low, high = interval(one["low"], one["high"]).values()
        percentile = one.get("role_percentile")
        return Row(
            name, start=50.0, end=place(one["estimate_pole"]), dot=place(one["estimate_pole"]), low=place(one["low"]), high=place(one["high"]),
            left=poles["negative"], right=poles["positive"], value=f"{number(one['estimate_pole'], signed=True)} ({low} – {high})",
            note="" if percentile is None else text["percentile"].format(percent=number(_percent(percentile), 0)),
        )  # fmt: skip

    ends = (shown.sort("estimate_pole")[[0, -1]] if shown.height else shown).to_dicts()
    alt = text["alt"].format(
        n=frame.height, low_trait=ends[0]["trait"], low=number(ends[0]["estimate_pole"]),
        high_trait=ends[-1]["trait"], high=number(ends[-1]["estimate_pole"])) if ends else text["finding"].format(n=frame.height)  # fmt: skip
    ticks = ((place(-1.0) or 0, "−1"), (50.0, f"0 {text['midpoint']}"), (place(1.0) or 100, "+1"))
    exhibit = Exhibit(
        text["caption"],
        rows=(Rows("traits", alt, tuple(row(one) for one in frame.iter_rows(named=True)), ticks, poles=True),),
        table=table_of(frame, {"trait": None, "estimate_pole": 2, "low": 2, "high": 2, "role_percentile": 2, "n": 0, "grade": None, "reason": None}),
        kind="rows",
    )  # fmt: skip
    return _chapter("traits", results.said("traits") or text["finding"].format(n=frame.height), exhibit)


def hold(results: Results) -> Chapter | None:
    """How far pressure moves the default character along the axis, turn by turn, against a neutral arm."""
    frame, text = results.table("hold_effects"), words()["chapters"]["hold"]
    if frame is None:
        return None
    ends = [float(value) for name in ("effect_sd", "low", "high") for value in frame[name].drop_nulls()] or [0.0]
    margin = 0.06 * max(max(*ends, 0.5) - min(*ends, -0.5), 1.0)
    bounds, last = (min(*ends, -0.5) - margin, max(*ends, 0.5) + margin), int(frame["turn"].max() or 1)  # type: ignore[arg-type]
    said = results.table("hold_replies")
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
        panels.append(Panel(
            f"hold-{pressure}".replace("_", "-"), text["alt"].format(pressure=kind_of("pressure", pressure), **said_ends),
            figures.hold(part, samples, bounds, last), title=kind_of("pressure", pressure), note=text["note"].format(**said_ends)))  # fmt: skip
    exhibit = Exhibit(
        text["caption"], panels=tuple(panels), kind="multiples",
        table=table_of(frame, {"pressure": None, "turn": 0, "reading": None, "effect_sd": 2, "low": 2, "high": 2, "n": 0}),
    )  # fmt: skip
    return _chapter("hold", results.said("hold") or text["finding"].format(n=len(panels)), exhibit)


def sacrifice(results: Results) -> Chapter | None:
    """Adherence by stake, a panel for each paradigm; the first that is not void leads and carries the breaking point."""
    frame, text, summary = results.table("sacrifice_curve"), words()["chapters"]["sacrifice"], results.summary
    if frame is None:
        return None
    graded: dict[str, Any] = summary.get("sacrifice") or {}
    present = frame["paradigm"].unique(maintain_order=True).to_list()
    order = [name for name in graded if name in present] + [name for name in present if name not in graded]
    grades = {name: (graded.get(name) or {}).get("grade") for name in order}
    leading = next((name for name in order if grades[name] != VOID), None)
    at = summary.get("breaking_point")
    breaking = None if at is None else (at, summary.get("breaking_point_low"), summary.get("breaking_point_high"))
    panels = []
    for name in order:
        one, void, said = graded.get(name) or {}, grades[name] == VOID, kind_of("paradigm", name)
        part = frame.filter(pl.col("paradigm") == name)
        reason = str(one.get("reason") or words()["grades"][VOID])
        note = ""
        if not void and one.get("slope") is not None:
            note = text["note"].format(slope=number(one["slope"], signed=True), **interval(one.get("slope_low"), one.get("slope_high")))
            if one.get("observed_gap") is not None:
                bounds = interval(one.get("observed_gap_low"), one.get("observed_gap_high"))
                note += "; " + text["gap"].format(gap=number(one["observed_gap"], signed=True), **bounds)
            if name == leading and breaking is not None:
                note += "; " + text["breaking"].format(at=number(at), **interval(*breaking[1:]))
        alt = text["alt_void"].format(paradigm=said, reason=reason) if void else _dose_alt(part, said, note)
        spec = figures.dose(part, void=void, breaking=breaking if name == leading else None)
        panels.append(Panel(f"dose-{name}".replace("_", "-"), alt, spec, title=said, grade=grades[name], note=note,
                            void=reason if void else None, headline=name == leading))  # fmt: skip
    table = frame.with_columns(pl.col("paradigm").replace_strict(grades, default=None, return_dtype=pl.String).alias("grade"))
    exhibit = Exhibit(text["caption"], panels=tuple(panels), kind="multiples", table=table_of(table, CURVE))
    notes = [_missing(results.table("sacrifice"), "adherence", text)]
    if at is None and summary.get("breaking_point_reason"):
        notes.insert(0, text["no_breaking"].format(reason=summary["breaking_point_reason"]))
    return _chapter("sacrifice", results.said("sacrifice") or text["finding"], exhibit, notes=notes, grade=grades.get(leading or "", VOID))


def self_concept(results: Results) -> Chapter | None:
    """Which boundary it identifies with (The Artificial Self, arXiv 2603.11353), a panel for each paradigm."""
    graded, text = results.summary.get("self_concept") or {}, words()["chapters"]["self_concept"]
    frame = results.table("self_concept")
    if not graded or frame is None:
        return None
    leading = next((name for name in graded if graded[name].get("grade") != VOID), None)
    panels, stored = [], []
    for paradigm, one in graded.items():
        said, void = kind_of("paradigm", paradigm), one.get("grade") == VOID
        probabilities: dict[str, float | None] = one.get("probabilities") or {}
        items = frame.filter(pl.col("paradigm") == paradigm)
        boundaries = list(probabilities) or items["boundary"].unique(maintain_order=True).to_list()
        headline = results.summary.get("self_concept_headline") if paradigm == leading else None
        rows = []
        for boundary in boundaries:
            answers = items.filter(pl.col("boundary") == boundary).drop_nulls("probability")
            span = bootstrap_mean(answers["probability"].to_list(), answers["item"].to_list())
            value, label = probabilities.get(boundary, span.estimate), boundary.replace("_", " ")
            stored.append({"paradigm": paradigm, "boundary": boundary, "probability": value, "low": span.low,
                           "high": span.high, "n": answers.height, "grade": one.get("grade")})  # fmt: skip
            if void or value is None:
                rows.append(Row(label, void=""))
                continue
            low, high = interval(span.low, span.high).values()
            rows.append(Row(label, start=0.0, end=100 * value, dot=100 * value, mark=100 / len(boundaries), strong=boundary == headline,
                            low=None if span.low is None else 100 * span.low, high=None if span.high is None else 100 * span.high,
                            value=f"{number(value)} ({low} – {high})"))  # fmt: skip
        reason = str(one.get("reason") or words()["grades"][VOID])
        listed = ", ".join(f"{row.label} {row.value}" for row in rows)
        alt = (text["alt_void"] if void else text["alt"]).format(paradigm=said, list=listed, reason=reason)
        ticks = () if void else ((0.0, "0"), (50.0, "0.5"), (100.0, "1"))
        panels.append(Rows(f"self-{paradigm}".replace("_", "-"), alt, tuple(rows), ticks, title=said, grade=one.get("grade"),
                           void=reason if void else None))  # fmt: skip
    columns = {"paradigm": None, "boundary": None, "probability": 2, "low": 2, "high": 2, "n": 0, "grade": None}
    exhibit = Exhibit(text["caption"], rows=tuple(panels), table=table_of(pl.DataFrame(stored, infer_schema_length=None), columns), kind="rows")
    grade = graded[leading].get("grade") if leading else VOID
    notes = [_missing(frame, "probability", text)]
    return _chapter("self_concept", results.said("self_concept") or text["finding"], exhibit, notes=notes, grade=grade)


def validity(results: Results) -> Chapter | None:
    """Every measure with its grade; the weak and void ones stand open on the page, all of them behind the fold."""
    frame, text = results.table("measures"), words()["chapters"]["validity"]
    if frame is None:
        return None
    counts = tally(frame)
    said = ", ".join(f"{n} {grade}" for grade, n in counts)
    by = dict(counts)
    finding = text["finding"].format(n=frame.height, good=by.get("A", 0) + by.get("B", 0), weak=by.get("C", 0), void=by.get(VOID, 0))
    columns: dict[str, int | None] = {"measure": None, "grade": None, "estimate": 2, "low": 2, "high": 2, "n": 0, "reason": None}
    weak = frame.filter(pl.col("grade").is_in(["C", VOID])).sort("grade", descending=True, maintain_order=True)
    shares = [(grade, n, round(100 * n / frame.height, 2), words()["grades"].get(grade, "")) for grade, n in counts]
    exhibit = Exhibit(text["caption"], kind="tally", table=table_of(frame, columns), extra={"alt": text["alt"].format(counts=said), "shares": shares})
    notes = () if weak.height else (text["all_good"],)
    return _chapter("validity", finding, exhibit, notes=notes, open_heading=text["open_heading"] if weak.height else "",
                    open_table=table_of(weak, columns) if weak.height else None)  # fmt: skip


def replies(results: Results) -> Chapter | None:
    """Sample replies of the default character and of the roles at both ends of the axis."""
    frame, found, text = results.table("replies"), roles_of(results), words()["chapters"]["replies"]
    if frame is None or found is None:
        return None
    roles, _, span = found
    near, far = (_ends(results, roles, end)[:3] for end in ("nearest", "farthest"))
    wanted = [("default", text["default"], 2), *((role, text["nearest"], 1) for role in near), *((role, text["farthest"], 1) for role in far)]
    quotes = []
    for role, where, count in wanted:
        own = frame.filter((pl.col("role") == role) if role != "default" else (pl.col("kind") == "default"))
        for row in _typical(own).head(count).iter_rows(named=True):
            quotes.append(Quote(
                role.replace("_", " "), f"{where}, {number(row['axis_sd'], 1)} sd", tint(row["axis_sd"], span), row["question"] or "",
                row["reply"].strip(), text["cut"] if row.get("finish") == "length" else ""))  # fmt: skip
    return _chapter("replies", text["finding"], quotes=tuple(quotes))


def tally(measures: pl.DataFrame) -> list[tuple[str, int]]:
    """How many measures have each grade, best first, grades without any left out."""
    given = measures["grade"].to_list()
    return [(grade, given.count(grade)) for grade in GRADES if grade in given]


def _chapter(name: str, finding: str, *exhibits: Exhibit, notes: Any = (), **more: Any) -> Chapter:
    text = words()["chapters"][name]
    kept = tuple(note for note in notes if note)
    return Chapter(name.replace("_", "-"), text["title"], text["contents"], finding, text["reading"].strip(), exhibits, notes=kept, **more)


def _ends(results: Results, roles: pl.DataFrame, end: str) -> list[str]:
    """Names of the nearest or farthest roles: the summary's list, else the map's."""
    listed = results.summary.get(f"{end}_roles")
    return list(listed) if listed else roles.sort("axis_sd", descending=end == "nearest")["role"].head(5).to_list()


def _samples(results: Results) -> dict[str, dict[str, Any]]:
    """One reply a role: the one whose place on the axis is nearest the role's mean."""
    frame = results.table("replies")
    if frame is None:
        return {}
    found = {}
    for (role,), own in frame.group_by("role", maintain_order=True):
        for row in _typical(own).head(1).iter_rows(named=True):
            found[str(role)] = {"question": row["question"] or "", "reply": row["reply"].strip()}
    return found


def _typical(own: pl.DataFrame) -> pl.DataFrame:
    return own.sort((pl.col("axis_sd") - pl.col("axis_sd").mean()).abs(), maintain_order=True, nulls_last=True)


def _dose_alt(part: pl.DataFrame, paradigm: str, note: str) -> str:
    seen = part.filter(pl.col("observed")).sort("stake").drop_nulls("adherence").to_dicts() or part.sort("stake").to_dicts()
    first, last = seen[0], seen[-1]
    return words()["chapters"]["sacrifice"]["alt"].format(
        paradigm=paradigm, first=number(first["adherence"]), low_stake=first["stake"], last=number(last["adherence"]),
        high_stake=last["stake"], note=note)  # fmt: skip


def _missing(items: pl.DataFrame | None, column: str, text: dict[str, Any]) -> str:
    """How many answers could not be read, and why; every mean stands beside this count."""
    if items is None or "missing" not in items.columns:
        return ""
    reasons = items.filter(pl.col(column).is_null())["missing"].fill_null("unknown").value_counts(sort=True)
    if reasons.is_empty():
        return text["none_missing"].format(n=f"{items.height:,}")
    listed = ", ".join(f"{reason} {count}" for reason, count in reasons.iter_rows())
    return text["missing"].format(missing=reasons["count"].sum(), n=f"{items.height:,}", reasons=listed)


def _percent(share: float) -> float:
    """A percentile in per cent, stored either as 0..1 or as 0..100."""
    return 100 * share if share <= 1 else share
