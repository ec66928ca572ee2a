"""How long a run will take, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.asking.types import Size
from greenroom.runs import timings
from greenroom.runs.progress import duration
from greenroom.store import digest
from greenroom.studies.study import Job


def timing_key(study: str, stage: str, size: Size) -> str:
    """The name of a stage at a size, under which its time is kept."""
    return f"{study}/{stage} {digest(size.model_dump_json())}"


def expected(fingerprint: str, waiting: Sequence[str], job: Job) -> str:
    """In words, from what these stages took here before; else from what the studies say of the embedded model (`minutes` in
    their words.yaml). "" where neither is known.

    waiting: keys of the stages that are still to be done.
    """
    from greenroom.studies import about, study_named

    if not waiting:
        return ""
    before = timings.known(fingerprint, waiting)
    if before is not None:
        return f"takes about {duration(before)}, as it did here before"
    names = list(dict.fromkeys(one.partition("/")[0] for one in waiting))
    if any(job.sizes.get(name) not in (None, study_named(name).sizes[job.size]) for name in names):
        return ""
    told = [about(name).get("minutes", {}).get(job.size) for name in names]
    if None in told:
        return ""
    quick = "" if job.size == "quick" else "; --quick asks less"
    return f"takes about {duration(60 * sum(told))} with smollm2 on two cores{quick}"
