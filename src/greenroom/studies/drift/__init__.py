"""Drift and ways back: what a conversation does to the character, and what brings it back.

Conversations by domain, with scripted users or a model that plays one. The same neutral probes are asked on discarded
branches before the drift, after it and after each way back, and of fresh conversations. All ways back go on from one and
the same conversation: `none` (it just goes on), `topic` (another topic), `reminder`, `restated` (the system prompt said
again), `summary` (a fresh context that opens with a summary by the model), and `cap` (floors on the activations; only on a
local model). The cap is lifted before the probes, as every way back is judged by what it leaves behind; the same probes
under the cap stand beside it. After The Assistant Axis (arXiv 2601.10387) and persona drift over turns (arXiv 2402.10962).

Reading the number: `drift` is the place of the probes on the assistant axis before minus after, sd; above 0 is away from
the assistant. Replies are read cold, after the message they answer alone, which is the one reading in which all ways back
can be compared. Not shown: drift off the axis, and what a model that drifted would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from greenroom.asking.types import Size
from greenroom.studies.study import Study, StudyResult, later

if TYPE_CHECKING:
    import polars as pl

    from greenroom.directions import Direction
    from greenroom.runs.progress import Progress
    from greenroom.subject import Subject

USERS = ("scripted", "simulated")
ARMS = ("none", "topic", "reminder", "restated", "summary", "cap")
DESIGN = "greenroom.studies.drift.design"


class Conversations(Size):
    """Which conversations are held, and which ways back are tried."""

    domains: tuple[str, ...] | None = Field(
        default=None,
        description="coding, writing, emotional_support, own_nature, denial, flattery, roleplay; all if not given.",
    )
    conversations: int = Field(default=3, description="Cases a domain and kind of user, up to 5.")
    users: tuple[str, ...] = Field(default=USERS, description="Who talks to it.")
    turns: int = Field(default=12, description="Turns before the ways back.")
    return_turns: int = Field(default=2, description="Turns of each way back.")
    arms: tuple[str, ...] | None = Field(
        default=None,
        description="Ways back: topic, reminder, restated, summary, cap; none is always there. All if not given.",
    )
    floor: float | str = Field(
        default="default:p25", union_mode="left_to_right", description="Of the cap: default:p25, rollouts:p25, or sd."
    )
    # A shorter reply says nothing of a character.
    tokens: int = Field(default=40, ge=4, description="Tokens a reply may have.")
    system: str | None = Field(default=None, description='System prompt, "" for none; a plain one if not given.')
    player: str | None = Field(default=None, description="Model that plays the simulated user; itself if not given.")

    @field_validator("domains", "users", "arms", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        return tuple(name.strip() for name in given.split(",") if name.strip()) if isinstance(given, str) else given


STUDY = Study(
    name="drift",
    parts=later(DESIGN, "parts"),
    hosted=later(DESIGN, "hosted"),
    conclude=later("greenroom.studies.drift.findings", "conclude"),
    sizes={
        "standard": Conversations(),
        "quick": Conversations(
            domains=("coding", "roleplay"), conversations=1, users=("simulated",), turns=4, return_turns=1,
            arms=("topic", "summary"), tokens=24,
        ),
    },
    primary="drift",
    chapters=later("greenroom.studies.drift.chapter", "chapters"),
)  # fmt: skip


class DriftResult(StudyResult):
    """A finished measurement: its folder, its replies, its ways back and its headline numbers."""

    @property
    def replies(self) -> pl.DataFrame:
        """One row a reply, with its places on the assistant axis (sd), hot and cold (docs/drift.md)."""
        return self.table("replies", "drift")

    @property
    def ways(self) -> pl.DataFrame:
        """One row a reading, domain and way back: `undone`, `beyond` and `left` with their 95 % intervals."""
        from greenroom.report.results import RunResults
        from greenroom.studies.drift.chapter import ways_of

        results = RunResults.of(self.path).study("drift")
        assert results is not None
        return ways_of(results)


def measure_drift(
    model: str | Path | Subject = "smollm2",
    out: Path | None = None,
    *,
    domains: str | Sequence[str] | None = None,
    conversations: int = 3,
    users: str | Sequence[str] = USERS,
    turns: int = 12,
    return_turns: int = 2,
    arms: str | Sequence[str] | None = None,
    floor: str | float = "default:p25",
    tokens: int = 40,
    system: str | None = None,
    player: str | Subject | None = None,
    reader: str | Subject = "smollm2",
    axis: Direction | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> DriftResult:
    """Follows the assistant axis through conversations by domain and back again.

    model: a model, or an Inspect log of the task `greenroom/drift` (then all but reader, axis and seed is the log's).
    domains, users, arms: names, all if None; conversations: cases a domain and kind of user; floor: of the arm `cap`;
    system: the system prompt, "" for none; player: the model that plays the simulated user (default: the model itself);
    reader: the small model that reads a log; axis: what is read (default: the assistant axis, cold by the axis of cold
    re-reads where there is one). Leaves a run folder with tables, summary.json and report.html; interrupted, the same
    call goes on after the last finished wave of conversations. GreenroomError in one line.
    """
    from greenroom.asking.logs import is_log
    from greenroom.studies.running import measure_one

    if isinstance(model, (str, Path)) and is_log(model):
        return read_log(model, out, reader=reader, axis=axis, seed=seed, progress=progress)
    named = player if isinstance(player, str) else None
    size = Conversations.of(domains=domains, conversations=conversations, users=users, turns=turns, return_turns=return_turns,
        arms=arms, floor=floor, tokens=tokens, system=system, player=named,
    )  # fmt: skip
    given = {"axis": axis, "player": None if named else player}
    found = measure_one("drift", size, model, out, given=given, seed=seed, progress=progress)
    return DriftResult(found.path, found.summary)


def read_log(
    path: str | Path,
    out: Path | None = None,
    *,
    reader: str | Subject | None = None,
    axis: Direction | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> DriftResult:
    """The same from the texts of an Inspect log of `greenroom/drift`, read cold by a small model."""
    from greenroom.studies import running

    found = running.read_log("drift", path, out, reader=reader, given={"axis": axis}, seed=seed, progress=progress)
    return DriftResult(found.path, found.summary)
