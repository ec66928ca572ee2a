"""What `who` answers with: each context's share, and the posterior that they make up."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from greenroom.reader.posterior.contexts import ASSISTANT, WEIGHTS
from greenroom.reader.posterior.likelihoods import TOP
from greenroom.reader.posterior.verdict import Verdict, said, verdict_of

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

By = Literal["sentence", "turn"]


@dataclass(frozen=True)
class Estimate:
    """One context's share. bits_per_token: gain over the empty system message, the mean over paraphrases; low, high: 95 %
    interval over paraphrases (t), None without at least two. pruned: dropped early, so the gain is that of the first
    tokens alone and the probability assumes that it stayed at its distance below the worst finalist."""

    context: str
    kind: str
    agentic: str
    prior: float
    probability: float
    bits_per_token: float
    low: float | None
    high: float | None
    pruned: bool = False
    generic: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "context": self.context,
            "probability": round(self.probability, 6),
            "bits_per_token": round(self.bits_per_token, 4),
            "low": None if self.low is None else round(self.low, 4),
            "high": None if self.high is None else round(self.high, 4),
        }


@dataclass(frozen=True)
class Posterior:
    """Who wrote a reply. estimates: every context, the most probable first. turn: number of the assistant turn, from 1.

    tokens: of the reply that were read. temperature: by which log-likelihoods were divided. calibrated: whether the
    probabilities were measured to hold, which is claimed for the reader's own replies alone. steps: the posterior after
    every sentence, or at every turn, if asked. text: what was judged (of a step: its sentence).
    """

    estimates: tuple[Estimate, ...]
    turn: int
    tokens: int
    temperature: float
    calibrated: bool
    reader: str
    text: str = field(default="", repr=False)
    source: str = "text"
    index: int = 0
    by: By | None = None
    steps: tuple[Posterior, ...] = field(default=(), repr=False)

    @cached_property
    def verdict(self) -> Verdict:
        """What follows, in a sentence."""
        return verdict_of(self.estimates, self.tokens)

    @cached_property
    def none_of_these(self) -> float:
        """Posterior of the generic context, which stands for "none of these"."""
        return sum(one.probability for one in self.estimates if one.generic)

    @cached_property
    def agentic_mass(self) -> float | None:
        """How much of what the named contexts hold lies on agents; `partly` counts half. None where only characters
        compete, and where "none of these" holds at least half, so that the rest says little."""
        named = [one for one in self.estimates if not one.generic]
        held = sum(one.probability for one in named)
        if self.none_of_these >= 0.5 or held <= 0 or all(one.agentic == "true" for one in named):
            return None
        return min(1.0, sum(WEIGHTS[one.agentic] * one.probability for one in named) / held)

    def top(self, most: int = TOP) -> tuple[Estimate, ...]:
        """The most probable of the contexts that explain the text better than an empty system message, without the
        generic one."""
        return tuple(one for one in self.estimates if not one.generic and one.bits_per_token > 0)[:most]

    @cached_property
    def assistant(self) -> tuple[int, Estimate] | None:
        """The default assistant's place among the named contexts, by probability, from 1, and its share; None where it
        does not compete."""
        named = (one for one in self.estimates if not one.generic)
        return next(((place, one) for place, one in enumerate(named, start=1) if one.context == ASSISTANT), None)

    def frame(self) -> pl.DataFrame:
        """One row a context, or with steps one a context and step."""
        import polars as pl

        parts = self.steps or (self,)
        columns = ("context", "kind", "agentic", "prior", "probability", "bits_per_token", "low", "high", "pruned")
        rows = [
            {self.by or "turn": number if self.by == "sentence" else part.turn}
            | {name: getattr(one, name) for name in columns}
            for number, part in enumerate(parts, start=1)
            for one in part.estimates
        ]
        return pl.DataFrame(rows, schema_overrides={"low": pl.Float64, "high": pl.Float64}, infer_schema_length=None)

    def figure(self) -> go.Figure:
        """The posterior by step as areas, or as bars where there are no steps."""
        from greenroom.reader.figures import posterior_shares

        return posterior_shares(self)

    def as_dict(self, most: int = TOP) -> dict[str, Any]:
        """The object that `greenroom who --json` prints."""
        told = {
            "source": self.source,
            "index": self.index,
            "turn": self.turn,
            "verdict": self.verdict.as_dict(),
            "top": [one.as_dict() for one in self.top(most)],
            "assistant": None
            if self.assistant is None
            else {"place": self.assistant[0], "of": self._named} | self.assistant[1].as_dict(),
            "agentic_mass": None if self.agentic_mass is None else round(self.agentic_mass, 6),
            "none_of_these": round(self.none_of_these, 6),
            "tokens": self.tokens,
            "temperature": round(self.temperature, 4),
            "calibrated": self.calibrated,
            "reader": self.reader,
        }
        if self.by is not None:
            inner = ("turn", "verdict", "top", "assistant", "agentic_mass", "none_of_these", "tokens")
            told[f"{self.by}s"] = [
                ({"sentence": number, "text": step.text} if self.by == "sentence" else {})
                | {key: value for key, value in step.as_dict(most).items() if key in inner}
                for number, step in enumerate(self.steps, start=1)
            ]
        return told

    @property
    def _named(self) -> int:
        """How many contexts compete besides the generic one."""
        return sum(not one.generic for one in self.estimates)

    def told(self) -> list[str]:
        """The verdict, and after it what else a person should know."""
        lines = [str(self.verdict)]
        if self.verdict.id == "nothing_better":
            lines.append(said("empty_is_assistant"))
        if self.assistant is not None:
            place, one = self.assistant
            lines.append(
                said("assistant", place=place, of=self._named, probability=one.probability, bits=one.bits_per_token)
            )
        key = "none_of_these" if self.agentic_mass is None else "agentic"
        return [*lines, said(key, none=self.none_of_these, agentic=self.agentic_mass)]

    def __str__(self) -> str:
        named = ", ".join(f"{one.context} {one.probability:.2f}" for one in self.top(3))
        return "; ".join(
            [*self.told(), *([named] if named else ()), *(() if self.calibrated else [said("uncalibrated")])]
        )
