"""What a study is, and what it has at hand while it runs.

A study declares what is asked and what follows from it (`Study`). A part is `Questions` or `Talks` of the kit, which run
on any model that Inspect knows, or a `Stage`, which computes on a local subject. Parts leave tables and results in the
study's folder of the run; `conclude` turns them into measures; chapters show them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from greenroom.asking.types import Lengths, Questions, Size, Talk, Talks
from greenroom.conversation import Conversation, about_tokens, letters_in
from greenroom.errors import GreenroomError
from greenroom.measures import Measure
from greenroom.runs.run import Run, StageResult
from greenroom.store import Kept

if TYPE_CHECKING:
    import polars as pl
    from inspect_ai.model import Model

    from greenroom.asking.logs import Logged
    from greenroom.directions import Direction
    from greenroom.report.parts import Chapter
    from greenroom.report.results import Results
    from greenroom.subject import Subject

AXIS = "directions/assistant_axis.safetensors"
ROLE_VECTORS = "directions/role_vectors.safetensors"
Needs = Literal["text", "logprobs", "reader", "activations"]


class Found:
    """What a study has found so far in a run: its tables and results, and those of the studies it comes after."""

    def __init__(self, run: Run, study: str, size: Any, seed: int, sizes: Mapping[str, Any]) -> None:
        self.run, self.study, self.size, self.seed, self._sizes = run, study, size, seed, sizes

    @property
    def path(self) -> Path:
        """The study's folder."""
        return self.run.path / self.study

    def table(self, name: str) -> pl.DataFrame:
        return self.run.table(f"{self.study}/{name}")

    def results(self, part: str) -> dict[str, Any]:
        return self.run.results(f"{self.study}/{part}")

    @property
    def answers(self) -> pl.DataFrame:
        """Every answer of the study's Questions and Talks (columns: `asking.types.ANSWERS` and its factors)."""
        import polars as pl

        known = [table for stage in self.run.manifest["stages"].values() for table in stage["tables"]]
        own = [
            table for table in known if table.rpartition("/")[0] == self.study and "answers" in table.rpartition("/")[2]
        ]
        return pl.concat([self.run.table(table) for table in own], how="diagonal_relaxed")

    def of(self, study: str) -> Found:
        """Another study of the same run, one named in `after`."""
        return Found(self.run, study, self._sizes.get(study), self.seed, self._sizes)


class Work(Found):
    """What a stage has at hand: all that was found, the model, and the progress bar.

    system: a system message, such as a persona. given: objects that the caller of the verb handed over (an axis, who
    plays the user), which stand in the run's config by their digest.
    """

    def __init__(
        self, run: Run, study: str, seed: int, sizes: Mapping[str, Any], job: Job, model: Subject | Model | Logged
    ) -> None:
        super().__init__(run, study, sizes[study], seed, sizes)
        self.model, self.system, self.given = model, job.system, job.given
        self.kept: Kept | None = None  # what was said in the stage at work
        self.advance = run.advance

    @property
    def subject(self) -> Subject:
        """The local subject; GreenroomError where the model's weights are closed."""
        if not is_local(self.model):
            raise GreenroomError(
                f"{self.study} reads activations, which {self.model} does not show; give a local model"
            )
        return self.model  # type: ignore[return-value]

    @property
    def reader(self) -> Subject:
        """Who reads replies: the local subject itself, else the small model handed over, else the embedded one."""
        from greenroom.subject import opened

        return self.subject if is_local(self.model) else opened(self.given.get("reader") or "smollm2")

    def axis(self) -> Direction:
        """The assistant axis: this run's own where it has one, else the one of these weights, else built now."""
        from greenroom.directions.interventions import direction_named

        return self._own_axis() or direction_named(self.subject, "assistant")

    def reading_block(self) -> tuple[int, Direction | None]:
        """The block at which replies are read, and the assistant axis: the one given, else this run's own, else the one
        stored for these weights. Where there is none, none is built: the block is two thirds of the way up."""
        from greenroom.directions.axis import reading_block

        return reading_block(self.subject, self.given.get("axis") or self._own_axis())

    def _own_axis(self) -> Direction | None:
        from greenroom.directions import Direction

        own = self.run.path / AXIS
        return Direction.load(own, self.subject) if own.exists() else None

    def share(self, start: float, end: float) -> Callable[[int, int], None]:
        """Progress of one call of a stage, which fills the bar from `start` to `end` (shares of the whole)."""
        return lambda done, total: self.advance(round(1000 * (start + (end - start) * done / max(1, total))), 1000)


@dataclass(frozen=True)
class Cost:
    """What a part asks of a model: calls (replies, or prompts that are scored), and the tokens read and written."""

    calls: int
    prompt_tokens: int
    reply_tokens: int

    @classmethod
    def of(cls, conversations: Sequence[Conversation], reply_tokens: int) -> Cost:
        """Of one reply to each conversation, of so many tokens at most; four letters of a prompt count as a token."""
        return cls(len(conversations), about_tokens(letters_in(conversations)), len(conversations) * reply_tokens)

    @classmethod
    def of_talks(cls, talks: Sequence[Talk], lengths: Lengths) -> Cost:
        """Of holding talks, whose replies are taken at their full length."""
        from greenroom.asking.talk import planned

        made = planned(talks, lengths)
        return cls(made.calls, about_tokens(made.characters), made.tokens)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls, self.prompt_tokens + other.prompt_tokens, self.reply_tokens + other.reply_tokens
        )


@dataclass(frozen=True)
class Stage:
    """A part that computes on what is at hand, and is stored when it is finished.

    title: as shown beside its bar. cost: of a size, for `greenroom eval --plan` (None: unknown, and said so).
    """

    name: str
    title: str
    compute: Callable[[Work], StageResult]
    needs: Needs = "activations"
    cost: Callable[[Any], Cost] | None = None


def asks_nothing(size: Any) -> Cost:
    """The cost of a stage that only reads what the model said."""
    return Cost(0, 0, 0)


Part = Questions | Talks | Stage


@dataclass(frozen=True)
class Study:
    """One phenomenon.

    parts: what is done, for a size. conclude: the measures, from what the parts left. sizes: `standard`, `quick` and any
    others by name. primary: the name of the one measure that is the study's claim. after: studies whose results it
    builds on, which run before it. chapters: of the page, from its results (default: one that lists the measures).
    hosted: the parts for a model whose weights are closed, where these differ. shared: how many replies it rests on, for
    a study whose results are kept for later runs of the same weights (None: not this time).
    """

    name: str
    parts: Callable[[Any], Sequence[Part]]
    conclude: Callable[[Found], list[Measure]]
    sizes: Mapping[str, Size]
    primary: str
    after: tuple[str, ...] = ()
    chapters: Callable[[Results], Sequence[Chapter]] | None = None
    audit: Literal["always", "full", "never"] = "never"
    hosted: Callable[[Any], Sequence[Part]] | None = None
    shared: Callable[[Found], int | None] | None = None

    def parts_for(self, model: Subject | Model | Logged | str, size: Size) -> Sequence[Part]:
        """The parts that this model can do; GreenroomError for a closed one where activations are needed."""
        parts = self.parts(size) if is_local(model) or self.hosted is None else self.hosted(size)
        if not is_local(model) and any(isinstance(part, Stage) and part.needs == "activations" for part in parts):
            raise GreenroomError(f"{self.name} reads activations, which {model} does not show; give a local model")
        return parts

    @property
    def needs(self) -> Needs:
        """The most that any of its parts needs, at its standard size."""
        order: tuple[Needs, ...] = ("text", "logprobs", "reader", "activations")
        found = [order.index(_needs(part)) for part in (self.hosted or self.parts)(self.sizes["standard"])]
        return order[max(found, default=0)]


def later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is first called, so that a study's door stays light."""

    def call(*given: Any, **named: Any) -> Any:
        return getattr(import_module(module), name)(*given, **named)

    return call


def asked_of(size: Size) -> dict[str, str]:
    """The options of a size that are not standard, as a command line has them, for `Job.asked`."""
    given = {
        name: value for name, value in size if value is not None and value != type(size).model_fields[name].default
    }
    return {
        name.replace("_", "-"): ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in given.items()
    }


@dataclass(frozen=True)
class StudyResult:
    """A finished run of studies: its folder and its headline numbers. `str()` is the summary a person reads."""

    path: Path
    summary: dict[str, Any]

    def table(self, name: str, study: str | None = None) -> pl.DataFrame:
        """A table of a study (default: the last one asked for)."""
        from greenroom.runs.tables import read_table

        return read_table(self.path / (study or self.summary["studies"][-1]) / "tables" / f"{name}.parquet")

    def __str__(self) -> str:
        said = self.summary
        lines = [said["headline"], ""] if said["headline"] else []
        for title, finding, more in said["findings"]:
            if finding != said["headline"]:  # the default chapter's finding is the headline of a run of its own
                lines.append(f"  {finding}" if finding.startswith(f"{title}: ") else f"  {title}: {finding}")
            lines += [f"    {line}" for line in more]
        lines += [f"  warning: {text}" for text in said["warnings"]]
        foot = f"  {said['seconds']:.0f} s, {said['peak_rss_gib']:.1f} GiB, seed {said['seed']}"
        last = [said["verdict"]] if said.get("verdict") else []
        return "\n".join([*lines, "", foot, f"  Report: {self.path / 'report.html'}", *last])


@dataclass(frozen=True)
class Job:
    """What a run is to do.

    kind: what the run is called; names: the studies, in order; size: which of their sizes, and sizes: others than that.
    asked: the verb and its options, so that the page can say how to repeat it. kept: studies whose shared results are
    shown if there are any.
    """

    kind: str
    names: tuple[str, ...]
    size: str = "standard"
    sizes: Mapping[str, Size] = field(default_factory=dict)
    system: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)


def is_local(model: Any) -> bool:
    return hasattr(model, "fingerprint")


def _needs(part: Part) -> Needs:
    if isinstance(part, Stage):
        return part.needs
    return "logprobs" if isinstance(part, Questions) else "text"
