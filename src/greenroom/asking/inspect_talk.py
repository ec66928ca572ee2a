"""Plays scripts of conversations on any model that Inspect knows: one sample a cluster, its talks all at once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig, Model, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from greenroom.asking.calls import Once, chat, error_line, recalled, together
from greenroom.asking.choice import option_logprobs
from greenroom.asking.inspect import ANSWERS, FACTORS, answers_of, run
from greenroom.asking.talk import as_asked, frame_of, listed, not_held, planned, replied, rows_of
from greenroom.asking.types import Answer, Ask, Lengths, Script, Size, Talk, Talks
from greenroom.conversation import Conversation
from greenroom.store import Kept

Advance = Callable[[int, int], object]


def hold_on_inspect(
    model: Model | str,
    part: str,
    talks: Sequence[Talk],
    lengths: Lengths,
    *,
    system: str | None = None,
    log_dir: Path | str,
    progress: Advance | None = None,
    kept: Kept | None = None,
) -> pl.DataFrame:
    """The answers of talks, one row a reply or an option (columns: `types.ANSWERS` and the talks' factors).

    system: a system message before every conversation that the subject hears. A talk whose cluster failed has one row,
    which says why; GreenroomError in one line if all failed. The log is kept in log_dir. kept: what was said in an
    attempt that was interrupted, which is not asked again; new answers are added.
    """
    return answers_of(run(_task(part, [_Held(part, talks, lengths)], system, progress, kept), model, log_dir))


def talk_task(study: Any, size: Size, seed: int = 0, system: str | None = None) -> Task:
    """The Inspect task of the Talks of a `Study`."""
    parts = [part for part in (study.hosted or study.parts)(size) if isinstance(part, Talks)]
    held = [_Held(one.name, one.talks(size, seed), one.lengths(size), one.score) for one in parts]
    return _task(study.name, held, system)


class _Held(NamedTuple):
    """A part of the task: its talks, and how a cluster of them is scored."""

    name: str
    talks: Sequence[Talk]
    lengths: Lengths
    score: Callable[[pl.DataFrame], float] | None = None

    @property
    def clusters(self) -> dict[str, list[Talk]]:
        found: dict[str, list[Talk]] = {}
        for talk in self.talks:
            found.setdefault(talk.cluster, []).append(talk)
        return found


def _task(
    name: str,
    held: Sequence[_Held],
    system: str | None,
    progress: Advance | None = None,
    kept: Kept | None = None,
) -> Task:
    samples = [
        Sample(
            id=cluster if len(held) == 1 else f"{one.name}-{cluster}",
            input=cluster,
            metadata={"part": one.name, "cluster": cluster},
        )
        for one in held
        for cluster in one.clusters
    ]
    parts = {one.name: one for one in held}
    dataset = MemoryDataset(samples, name=name)
    return Task(name=name, dataset=dataset, solver=_playing(parts, system, progress, kept), scorer=_scoring(parts))


def _playing(parts: Mapping[str, _Held], system: str | None, progress: Advance | None, kept: Kept | None) -> Solver:
    total = sum(planned(held.talks, held.lengths).calls for held in parts.values()) if progress else 0
    done = 0

    def advance(ask: Ask) -> None:
        nonlocal done
        done = min(done + max(1, len(ask.options)), total)
        if progress is not None:
            progress(done, total)

    def keep(state: TaskState, held: _Held, rows: Sequence[dict[str, Any]]) -> None:
        frame = frame_of(rows, held.talks)
        state.store.set(FACTORS, list(dict.fromkeys(name for talk in held.talks for name in talk.levels)))
        state.store.set(ANSWERS, frame.to_dict(as_series=False))

    @solver(name="talks")
    def playing() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            held, model, once = parts[state.metadata["part"]], get_model(), Once()
            talks = held.clusters[state.metadata["cluster"]]
            if state.epoch > 1:  # a repeated talk is a case of its own
                talks = [replace(talk, id=f"{talk.id}-{state.epoch}") for talk in talks]
            how: dict[str, Any] = {"system": system, "once": once, "advance": advance, "kept": kept}
            plays = [partial(play, talk.script(), model, held.lengths, name=talk.id, **how) for talk in talks]
            try:
                played = await together(plays)
            except Exception as error:
                keep(state, held, [not_held(held.name, talk, f"failed: {error_line(error)}") for talk in talks])
                raise
            found = zip(talks, played, strict=True)
            keep(state, held, [row for talk, (_, said) in found for row in rows_of(held.name, talk, said)])
            state.messages, state.completed = chat(played[0][0]), True
            return state

        return solve

    return playing()


def _scoring(parts: Mapping[str, _Held]) -> Scorer:
    """What a study says of one cluster, else the share of its asks that were answered."""

    @scorer(metrics=[mean()], name="talks")
    def scoring() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            rule = parts[state.metadata["part"]].score or _answered
            frame = pl.DataFrame(state.store.get(ANSWERS))
            last = frame["reply"].drop_nulls().to_list()[-1:]
            return Score(value=rule(frame), answer=last[0] if last else None)

        return score

    return scoring()


def _answered(answers: pl.DataFrame) -> float:
    return float(answers["missing"].is_null().mean()) if answers.height else math.nan  # type: ignore[arg-type]


async def play(
    script: Script,
    model: Model,
    lengths: Lengths,
    *,
    system: str | None = None,
    once: Once | None = None,
    advance: Callable[[Ask], object] | None = None,
    kept: Kept | None = None,
    name: str = "",
) -> tuple[Conversation, list[tuple[Ask, Answer]]]:
    """Plays one script. Returns its conversation, and every ask of the subject with its answer.

    The model with the role "user" plays the user (default: the model itself). once: what was compared already, so that
    talks which share a question ask it once. kept: answers of an earlier attempt, by the talk's name and their place in it.
    """
    user, compared = get_model(role="user", default=model), once or Once()
    said: list[tuple[Ask, Answer]] = []

    async def answer(ask: Ask, *place: int) -> Answer:
        speaker, conversation = model if ask.by == "subject" else user, as_asked(ask, system)

        async def asked() -> Answer:
            if ask.options:
                compare = partial(option_logprobs, speaker, conversation, ask.options, listed(ask.options))
                return await compared.get((ask.by, json.dumps(conversation), ask.options), compare)
            output = await speaker.generate(chat(conversation), config=_config(lengths, ask.kind))
            return replied(output.completion, output.stop_reason == "max_tokens")

        found = await recalled(kept, (name, *place, ask.by, conversation, ask.options), asked, Answer)
        if advance is not None:
            advance(ask)
        return found

    try:
        asks, step = next(script), 0
        while True:
            answers = await together([partial(answer, ask, step, place) for place, ask in enumerate(asks)])
            step += 1
            said += [(ask, found) for ask, found in zip(asks, answers, strict=True) if ask.by == "subject"]
            asks = script.send(answers)
    except StopIteration as end:
        return end.value, said


def _config(lengths: Lengths, kind: str) -> GenerateConfig:
    # Some providers refuse top_p beside a temperature, so that it is sent only where it does something.
    top_p = lengths.top_p if lengths.top_p < 1 else None
    return GenerateConfig(max_tokens=lengths.tokens[kind], temperature=lengths.temperatures[kind], top_p=top_p)
