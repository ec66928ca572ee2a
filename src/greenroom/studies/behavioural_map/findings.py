"""From the two maps to measures."""

from __future__ import annotations

from greenroom.measures import Measure
from greenroom.measures.validity import Check, Validity, allowed, assess, halves
from greenroom.report.format import said
from greenroom.studies import about
from greenroom.studies.study import Found

BITS = "bits a token"


def conclude(found: Found) -> list[Measure]:
    """`mantel_r`, the median distance of two characters, what rewording costs, and that cost by role (bits a token)."""
    numbers = found.results("maps")
    reliable = assess([halves(numbers["split_half"], numbers["n_questions"])])
    measures = [
        Measure(
            "mantel_r",
            numbers["mantel_r"],
            numbers["mantel_low"],
            numbers["mantel_high"],
            numbers["n_roles"],
            reliable,
            p=numbers["mantel_p"],
            unit="rank correlation",
        ),
        Measure("median_bits", numbers["median_bits"], None, None, numbers["n_roles"], reliable, unit=BITS),
        Measure(
            "floor_bits",
            numbers["floor_bits"],
            None,
            None,
            numbers["n_replies"],
            _counted(numbers["n_replies"]),
            unit=BITS,
        ),
    ]
    counts = dict(found.table("replies").group_by("role").len().iter_rows())
    for row in found.table("places").drop_nulls("floor_bits").to_dicts():
        ends, n = (row["floor_low"], row["floor_high"]), counts[row["role"]]
        measures.append(Measure(row["role"], row["floor_bits"], *ends, n, _counted(n), part="by_role", unit=BITS))
    return measures


def _counted(replies: int) -> Validity:
    """A mean over replies, graded by how many there are."""
    grade = allowed(replies)
    reason = said(about("behavioural_map")["sentences"]["counted"], n=replies)
    return Validity(grade, (Check("replies", float(replies), grade, reason),))
