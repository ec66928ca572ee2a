"""Plays scripts of conversations on any model that Inspect knows: one sample a cluster, its talks all at once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import polars as pl
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import GenerateConfig, Model, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from greenroom.asking import inspect
from greenroom.asking.calls import Once, chat, together
from greenroom.asking.choice import option_logprobs
from greenroom.asking.talk import as_asked, frame_of, listed, not_held, planned, replied, rows_of
from greenroom.asking.types import Answer, Ask, Lengths, Script, Talk, Talks
from greenroom.conversation import Conversation
from greenroom.errors import GreenroomError

Advance = Callable[[int, int], object]


class Declared(Protocol):
    """What a task needs of a study."""

    @property
    def name(self) -> str: ...

    @property
    def parts(self) -> Callable[[Any], Sequence[Any]]: ...


def talk_task(study: Declared, size: Any, seed: int = 0, system: str | None = None) -> Task:
    """The Inspect task of a study's talks. system: a system message before every conversation that the subject hears."""
    parts = [part for part in study.parts(size) if isinstance(part, Talks)]
    held = [_Held(one.name, one.talks(size, seed), one.lengths(size), one.score) for one in parts]
    return _task(study.name, held, system)


def hold_on_inspect(
    model: Model | str,
    part: str,
    talks: Sequence[Talk],
    lengths: Lengths,
    *,
    system: str | None = None,
    log_dir: Path | str,
    progress: Advance | None = None,
) -> pl.DataFrame:
    """The answers of talks, one row a reply or an option (columns: `types.ANSWERS` and the talks' factors).

    A talk that failed has one row, which says why; GreenroomError in one line if all failed.
    """
    return answers_of(inspect.run(_task(part, [_Held(part, talks, lengths)], system, progress), model, log_dir))


def answers_of(log: EvalLog) -> pl.DataFrame:
    """The table of answers of a log of such a task. Repeated samples (epochs) are cases of their own."""
    rows: list[dict[str, Any]] = []
    known: list[Talk] = []
    for sample in log.samples or []:
        again = "" if sample.epoch == 1 else f"-{sample.epoch}"
        talks = [Talk(one["id"] + again, one["cluster"], _gone, one["levels"]) for one in sample.metadata["talks"]]
        known += talks
        if sample.error is None:
            rows += [row | {"case": row["case"] + again} for row in sample.store.get("answers") or []]
        else:
            reason = " ".join(sample.error.message.split())
            rows += [not_held(sample.metadata["part"], talk, reason) for talk in talks]
    return frame_of(rows, known)


def _gone() -> Script:
    raise GreenroomError("a log keeps what was said, not the script; run the study again to hold its talks")


class _Held(NamedTuple):
    """A part of the task: its talks, and how a cluster of them is scored."""

    name: str
    talks: Sequence[Talk]
    lengths: Lengths
    score: Callable[[pl.DataFrame], float] | None = None

    def clusters(self) -> dict[str, list[Talk]]:
        found: dict[str, list[Talk]] = {}
        for talk in self.talks:
            found.setdefault(talk.cluster, []).append(talk)
        return found


def _task(name: str, held: Sequence[_Held], system: str | None, progress: Advance | None = None) -> Task:
    samples = [
        Sample(
            id=cluster if len(held) == 1 else f"{one.name}-{cluster}",
            input=cluster,
            metadata={
                "part": one.name,
                "cluster": cluster,
                "talks": [{"id": talk.id, "cluster": cluster, "levels": dict(talk.levels)} for talk in talks],
            },
        )
        for one in held
        for cluster, talks in one.clusters().items()
    ]
    by_name = {one.name: one for one in held}
    return Task(
        name=name,
        dataset=MemoryDataset(samples, name=name),
        solver=_hold(by_name, system, progress),
        scorer=_score(by_name),
    )


def _hold(parts: Mapping[str, _Held], system: str | None, progress: Advance | None) -> Solver:
    """The solver. It is made here and not by name: what it plays are scripts, which no log can hold."""
    total = sum(planned(held.talks, held.lengths).calls for held in parts.values()) if progress else 0
    done = 0

    def advance(ask: Ask) -> None:
        nonlocal done
        done = min(done + max(1, len(ask.options)), total)
        if progress is not None:
            progress(done, total)

    @solver(name="hold_talks")
    def made() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            model = get_model()
            held = parts[state.metadata["part"]]
            talks, once = held.clusters()[state.metadata["cluster"]], Once()
            calls = [
                partial(play, talk.script(), model, held.lengths, system=system, once=once, advance=advance)
                for talk in talks
            ]
            played = await together(calls)
            rows = [
                row for talk, (_, said) in zip(talks, played, strict=True) for row in rows_of(held.name, talk, said)
            ]
            state.messages, state.completed = chat(played[0][0]), True
            state.store.set("answers", rows)
            return state

        return solve

    return made()


def _score(parts: Mapping[str, _Held]) -> Scorer:
    """What a study says of one cluster, else the share of its asks that were answered."""

    @scorer(metrics=[mean()], name="talks")
    def made() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            held = parts[state.metadata["part"]]
            frame = frame_of(state.store.get("answers") or [], held.talks)
            value = float(frame["missing"].is_null().mean() or 0) if frame.height else math.nan  # type: ignore[arg-type]
            last = frame["reply"].drop_nulls().to_list()[-1:]
            return Score(value=held.score(frame) if held.score else value, answer=last[0] if last else None)

        return score

    return made()


async def play(
    script: Script,
    model: Model,
    lengths: Lengths,
    *,
    system: str | None = None,
    once: Once | None = None,
    advance: Callable[[Ask], object] | None = None,
) -> tuple[Conversation, list[tuple[Ask, Answer]]]:
    """Plays one script. Returns its conversation, and every ask of the subject with its answer.

    The model with the role "user" plays the user (default: the model itself). once: what was compared already, so that
    talks which share a question ask it once.
    """
    user, remembered = get_model(role="user", default=model), once or Once()
    said: list[tuple[Ask, Answer]] = []

    async def answer(ask: Ask) -> Answer:
        speaker, conversation = model if ask.by == "subject" else user, as_asked(ask, system)
        if ask.options:
            compare = partial(option_logprobs, speaker, conversation, ask.options, listed(ask.options))
            found = await remembered.get((ask.by, json.dumps(conversation), ask.options), compare)
        else:
            output = await speaker.generate(chat(conversation), config=_config(lengths, ask.kind))
            found = replied(output.completion, output.stop_reason == "max_tokens")
        if advance is not None:
            advance(ask)
        return found

    try:
        asks = next(script)
        while True:
            answers = await together([partial(answer, ask) for ask in asks])
            said += [(ask, found) for ask, found in zip(asks, answers, strict=True) if ask.by == "subject"]
            asks = script.send(answers)
    except StopIteration as end:
        return end.value, said


def _config(lengths: Lengths, kind: str) -> GenerateConfig:
    # Some providers refuse top_p beside a temperature, so that it is sent only where it does something.
    top_p = lengths.top_p if lengths.top_p < 1 else None
    return GenerateConfig(max_tokens=lengths.tokens[kind], temperature=lengths.temperatures[kind], top_p=top_p)
