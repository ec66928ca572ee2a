"""Frontier: what turning a direction does and what it costs, at every strength and cap floor, and how far a budget lasts.

Effects are changes against the unedited model on the same prompts under the same random numbers: of the trait score on
held-out questions (persona vectors, arXiv 2507.21509), of forced answers, and on plain tasks, where the trait has no
business. Reading the number: the price is the upper end of the interval of the capability that is lost, so a budget of
5 % says that the model surely keeps 95 % of what it can do beyond guessing. Not shown: what longer conversations do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from greenroom.asking.types import Size
from greenroom.studies.study import Stage, Study, StudyResult, later

if TYPE_CHECKING:
    import polars as pl

    from greenroom.directions import Direction
    from greenroom.directions.scorers import Scorer
    from greenroom.runs.progress import Progress
    from greenroom.subject import Subject

STAGES = "greenroom.studies.frontier.stages"
STRENGTHS = (-8, -6, -4, -3, -2, -1, 1, 2, 3, 4, 6, 8)
FLOORS = ("default:p5", "default:p25", "default:p50")


class Turning(Size):
    """Which direction is turned, how far, and what is asked at each setting."""

    direction: str = Field(
        default="assistant", description="assistant, a trait, a stored direction or a .safetensors file."
    )
    budget: float = Field(
        default=0.05, description="Share of the capability above chance that may be lost: 0.05 or 5%."
    )
    strengths: tuple[float, ...] = Field(default=STRENGTHS, description="Strengths in sd.")
    floors: tuple[str, ...] = Field(default=FLOORS, description='Cap floors, "" for none.')
    layers: str = Field(default="auto", description="auto, a block, or a span such as 18:22.")
    replies: int = Field(default=32, ge=2, description="Replies a setting to the trait's held-out questions.")
    neutral: int = Field(default=20, ge=2, description="Replies a setting to plain tasks.")
    tokens: int = Field(default=32, ge=4, description="Tokens a reply may have.")

    @field_validator("budget", mode="before")
    @classmethod
    def _a_share(cls, given: Any) -> float:
        text = str(given).strip()
        try:
            value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            value = -1.0
        if not 0 < value < 1:
            raise ValueError(f"{given!r} is no share between 0 and 1; give one such as 0.05 or 5%")
        return value

    @field_validator("strengths")
    @classmethod
    def _in_range(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        if any(not -100 <= strength <= 100 for strength in given):
            raise ValueError("strengths are in standard deviations, from −100 to 100")
        return given


STUDY = Study(
    name="frontier",
    parts=lambda size: (
        Stage("capability", "Capability under each setting", later(STAGES, "price_settings")),
        Stage("cloze", "Forced answers", later(STAGES, "ask_cloze")),
        Stage("replies", "Replies under each setting", later(STAGES, "reply")),
        Stage("reading", "Reading the replies", later(STAGES, "read")),
        Stage("settings", "Effect and price", later(STAGES, "compare")),
    ),
    conclude=later("greenroom.studies.frontier.findings", "conclude"),
    sizes={
        "standard": Turning(),
        "quick": Turning(strengths=(-4, 4), floors=("default:p25",), replies=8, neutral=8),
    },
    primary="crossing_up",
    audit="full",
    chapters=later("greenroom.studies.frontier.chapter", "chapters"),
    shared=later("greenroom.studies.frontier.findings", "replies_kept"),
)


class FrontierResult(StudyResult):
    """A finished frontier: its folder, its table and its headline numbers."""

    @property
    def frame(self) -> pl.DataFrame:
        """One row a setting: effect, price, coherence and leakage, with 95 % intervals (docs/frontier.md)."""
        return self.table("frontier", "frontier")

    @property
    def limits(self) -> dict[str, dict[str, Any]]:
        """How far the budget lasts: `up`, `down` and `cap`, those that were tried."""
        return self.summary["results"]["frontier"]["settings"]["limits"]


def measure_frontier(
    model: str | Subject = "smollm2",
    direction: str | Direction = "assistant",
    out: Path | None = None,
    *,
    budget: float = 0.05,
    strengths: Sequence[float] = STRENGTHS,
    floors: Sequence[str] = FLOORS,
    layers: str = "auto",
    replies: int = 32,
    neutral: int = 20,
    tokens: int = 32,
    score: Scorer | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> FrontierResult:
    """Measures what a direction does and what it costs, and how far `budget` lasts.

    model, direction: names, or what they name. budget: share of the accuracy above chance that may be lost, 0 to 1.
    replies, neutral: replies a setting to the direction's held-out questions and to neutral tasks, of at most
    `tokens` tokens. score: the trait score (default: `directions.scorers.scorer_for`). Leaves a run folder with
    frontier/tables/frontier.parquet, summary.json and report.html; interrupted, the same call goes on where it stopped.
    Raises GreenroomError in one line.
    """
    from greenroom.studies.running import measure_one

    size = Turning.of(
        direction=direction if isinstance(direction, str) else direction.name, budget=budget,
        strengths=tuple(strengths), floors=tuple(floors), layers=layers, replies=replies, neutral=neutral, tokens=tokens,
    )  # fmt: skip
    given = {"direction": None if isinstance(direction, str) else direction, "score": score}
    found = measure_one("frontier", size, model, out, given=given, seed=seed, progress=progress)
    return FrontierResult(found.path, found.summary)
