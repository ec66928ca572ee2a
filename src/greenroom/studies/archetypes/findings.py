"""From the search's tables to measures."""

from __future__ import annotations

from greenroom.directions.archetypes import STABLE
from greenroom.measures import Measure
from greenroom.measures.validity import Check, Grade, Validity, assess, halves
from greenroom.report.format import said
from greenroom.studies import about
from greenroom.studies.study import Found

UNITS = {
    "stability": {"factor": "cosine, tenth percentile", "cluster": "overlap, tenth percentile"},
    "score": {"factor": "share explained, 1 se", "cluster": "nats a role, 1 se"},
}


def conclude(found: Found) -> list[Measure]:
    """`recurring_factors`, what they explain, how clusters fit the library's kinds, the stability of each, and the score
    of every number tried."""
    numbers, questions = found.results("search"), found.results("search")["n_questions"]
    roles, shared = numbers["n_roles"], numbers["reproducible"]
    reliable = assess([halves(2 * shared / (1 + shared) if shared > 0 else None, questions)])
    measures = [
        Measure("recurring_factors", numbers["recurring_factors"], None, None, roles, reliable, unit="factors"),
        Measure("explained", numbers["explained"], None, None, roles, reliable, unit="share of variance"),
    ]
    if numbers["kinds_rand"] is not None:
        rand, p = numbers["kinds_rand"], numbers["kinds_rand_p"]
        measures.append(Measure("kinds_rand", rand, None, None, roles, reliable, p=p, unit="adjusted Rand index"))
    for row in found.table("archetypes").to_dicts():
        measures.append(
            Measure(
                row["archetype"], row["stability"], row["stability_low"], None, questions, _stable(row),
                part="stability", unit=UNITS["stability"][row["method"]],
            )
        )  # fmt: skip
    left_out = Validity("A", (Check("left_out", None, "A", about("archetypes")["sentences"]["left_out"]),))
    for row in found.table("choice").to_dicts():
        score, error, unit = row["score"], row["behind_se"], UNITS["score"][row["method"]]
        ends = (score - error, score + error)
        name = f"{row['method']}/{row['count']}"
        measures.append(Measure(name, score, *ends, roles, left_out, part="score", unit=unit))
    return measures


def _stable(row: dict[str, object]) -> Validity:
    """Found again with the questions drawn anew (`STABLE`), or to be read with care."""
    grade: Grade = "A" if row["stable"] else "C"
    text = about("archetypes")["sentences"]["found_again" if row["stable"] else "not_found_again"]
    reason = said(text, stability=row["stability"], least=STABLE[str(row["method"])])
    return Validity(grade, (Check("stability", float(row["stability"]), grade, reason),))  # type: ignore[arg-type]
