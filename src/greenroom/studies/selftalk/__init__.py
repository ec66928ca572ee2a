"""Self-talk: two copies of a model talk with each other; where do such talks end, and do they come together?

One copy says an opening line, the other answers, and so on; each sees the other as its user. Every opening is played
several times, so that what an opening does can be told from chance. Messages are read cold, after the message they answer
alone: their places on the assistant axis (arXiv 2601.10387), and in persona space, whose components are those of role
vectors read cold too.

Reading the number: `attractors` is how many places the talks end in, as chosen by the likelihood of ends left out; more
than one is claimed only where clusters gain more than on a single cloud. Talks in a degenerate loop are set apart first:
a loop stays where it got stuck, which is no theme. Not shown: what a talk with a person would come to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from greenroom.asking.types import Size
from greenroom.studies.study import Study, StudyResult, later

if TYPE_CHECKING:
    import polars as pl

    from greenroom.directions import Direction
    from greenroom.directions.cast import Cast
    from greenroom.runs.progress import Progress
    from greenroom.subject import Subject

SCRIPTS = "greenroom.studies.selftalk.scripts"


class Openings(Size):
    """How many talks, and how long."""

    openings: int | None = Field(default=None, description="How many opening lines; all 30 if not given.")
    repeats: int = Field(default=2, description="Talks from each opening.")
    messages: int = Field(default=18, description="Messages of a talk, both copies together.")
    # A shorter message says nothing of a character.
    tokens: int = Field(default=40, ge=4, description="Tokens a message may have.")
    system: str = Field(default="", description="System prompt of both copies, such as a persona.")
    every_role: int = Field(default=1, ge=1, description="Every n-th role of the library spans persona space.")


STUDY = Study(
    name="selftalk",
    parts=later(SCRIPTS, "parts"),
    hosted=later(SCRIPTS, "hosted"),
    conclude=later("greenroom.studies.selftalk.findings", "conclude"),
    sizes={"standard": Openings(), "quick": Openings(openings=8, messages=8, tokens=24, every_role=8)},
    primary="attractors",
    chapters=later("greenroom.studies.selftalk.chapter", "chapters"),
)


class SelfTalkResult(StudyResult):
    """A finished measurement: its folder, its messages, where the talks end, and its headline numbers."""

    @property
    def messages(self) -> pl.DataFrame:
        """One row a message: its places on the assistant axis (sd) and in persona space (docs/drift.md)."""
        return self.table("messages", "selftalk")

    @property
    def attractors(self) -> pl.DataFrame:
        """One row an attractor, the loop among them: its basin, nearest roles and words."""
        return self.table("attractors", "selftalk")


def measure_selftalk(
    model: str | Path | Subject = "smollm2",
    out: Path | None = None,
    *,
    openings: int | None = None,
    repeats: int = 2,
    messages: int = 18,
    tokens: int = 40,
    system: str = "",
    reader: str | Subject = "smollm2",
    axis: Direction | None = None,
    cast: Cast | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SelfTalkResult:
    """Lets two copies of a model talk, and finds where their talks end.

    model: a model, or an Inspect log of the task `greenroom/selftalk` (then all but reader, axis, cast and seed is the
    log's). openings: how many, chosen by seed (default all); repeats: talks from each; messages: those that the model
    makes in a talk; tokens: the most a message may have; system: of both copies; reader: the small model that reads a log;
    axis: what is read; cast: whose role vectors span persona space (default: the library's). Leaves a run folder with
    tables, summary.json and report.html; interrupted, the same call goes on after the last finished wave. GreenroomError
    in one line.
    """
    from greenroom.asking.logs import is_log
    from greenroom.studies.running import measure_one

    if isinstance(model, (str, Path)) and is_log(model):
        return read_log(model, out, reader=reader, axis=axis, cast=cast, seed=seed, progress=progress)
    size = Openings.of(openings=openings, repeats=repeats, messages=messages, tokens=tokens, system=system)
    given = {"axis": axis, "cast": cast}
    found = measure_one("selftalk", size, model, out, given=given, seed=seed, progress=progress)
    return SelfTalkResult(found.path, found.summary)


def read_log(
    path: str | Path,
    out: Path | None = None,
    *,
    reader: str | Subject | None = None,
    axis: Direction | None = None,
    cast: Cast | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SelfTalkResult:
    """The same from the texts of an Inspect log of `greenroom/selftalk`, read cold by a small model."""
    from greenroom.studies import running

    given = {"axis": axis, "cast": cast}
    found = running.read_log("selftalk", path, out, reader=reader, given=given, seed=seed, progress=progress)
    return SelfTalkResult(found.path, found.summary)
