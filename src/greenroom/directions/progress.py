"""Progress of work that has several parts."""

from __future__ import annotations

from greenroom.subject.subject import Progress


def share(progress: Progress | None, begin: float, end: float) -> Progress | None:
    """The progress of one part, which lies between two shares of the whole; in thousandths."""
    if progress is None:
        return None
    return lambda done, total: progress(round(1000 * (begin + (end - begin) * done / max(1, total))), 1000)
