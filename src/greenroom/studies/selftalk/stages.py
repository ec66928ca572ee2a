"""What self-talk computes: persona space of cold re-reads, talks held and read, and where talks of any model end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from greenroom.asking.read_talk import COLD, HOT, hold_and_read
from greenroom.asking.talk import chat_lengths
from greenroom.asking.types import Talk
from greenroom.directions.axis import axes_of
from greenroom.directions.cast import Cast, usual_cast
from greenroom.directions.cold import cold_values, in_sd
from greenroom.directions.persona_space import cold_space
from greenroom.measures.coherence import degenerate
from greenroom.measures.repetition import repeats
from greenroom.runs.run import StageResult
from greenroom.studies.selftalk.ends import MESSAGES, ends_of
from greenroom.studies.selftalk.scripts import PART, opening_text
from greenroom.studies.study import Cost, Work

SPACE = "directions/persona_space.safetensors"
QUESTIONS, ROLE_TOKENS = 4, 24  # a role vector is the mean of so many replies
COMPONENTS = 4  # of persona space; roles differ little in those beyond


def draw_space(work: Work) -> StageResult:
    """Persona space of cold re-reads: where roles and the default character lie, and the components to place others."""
    from safetensors.torch import save_file

    _, cold_axis = axes_of(work.reader, work.given.get("axis"))
    cast = work.given.get("cast") or _cast(work.size)
    placed = cold_space(work.reader, cast, cold_axis.layer, COMPONENTS, seed=work.seed, progress=work.advance)

    def save(path: Path) -> None:
        save_file({"center": placed.space.center, "components": placed.space.components.contiguous()}, path)

    return StageResult({"places": placed.places}, {"explained": placed.space.explained.tolist()}, {SPACE: save})


def cost_of_space(size: Any) -> Cost:
    """Of the library's cast: every role answers every question."""
    return Cost.of(_cast(size).prompts(), ROLE_TOKENS)


def _cast(size: Any) -> Cast:
    return usual_cast(every=size.every_role, questions=QUESTIONS, tokens=ROLE_TOKENS)


def hold(work: Work, wave: Sequence[Talk], number: int) -> StageResult:
    """Holds a wave of talks (by number, from 1), and reads their messages, hot and cold."""
    axes = axes_of(work.subject, work.given.get("axis"))
    held = hold_and_read(
        work.subject, PART, wave, chat_lengths(work.size.tokens), axes, seed=work.seed, wave=number, system=work.system,
        progress=work.advance,
    )  # fmt: skip
    vocabulary = int(work.subject.network.config.vocab_size)
    replies = [one.own for one in held.said]
    surprise = [-float(np.mean(reply.logprobs)) if reply.logprobs else None for reply in replies]
    broken = [
        degenerate(reply.text, reply.tokens, nats, vocabulary) for reply, nats in zip(replies, surprise, strict=True)
    ]
    told = {"gibberish": pl.Series(broken, dtype=pl.String), "surprise": pl.Series(surprise, dtype=pl.Float64)}
    return StageResult({f"answers_{number}": held.answers.with_columns(**told, **_spots(work, held.values))})


def find_ends(work: Work) -> StageResult:
    """All messages, read cold where they were not read as they were made, and where talks end."""
    answers = work.answers.filter(pl.col("wording").is_not_null())
    _, axis = axes_of(work.reader, work.given.get("axis"))
    if COLD not in answers.columns:
        answers = _read(work, answers)
    frame = _messages(answers)
    found = ends_of(frame, work.table("places"), work.seed)
    about = {"reader": work.reader.name, "axis": axis.name, "layer": axis.layer, "reliable": axis.reliable}
    tables = {"messages": frame, "talks": found.talks, "attractors": found.attractors, "spread": found.spread}
    return StageResult(tables, {**about, **found.numbers})


def _read(work: Work, answers: pl.DataFrame) -> pl.DataFrame:
    """Answers of another model with their places. Surprise is not known there, so gibberish is told by form alone."""
    reader = work.reader
    _, axis = axes_of(reader, work.given.get("axis"))
    texts = answers["reply"].fill_null("").to_list()
    values = cold_values(reader, [axis.layer], answers["message"].to_list(), texts, work.advance)[0]
    broken = [degenerate(text, reader.chat.continuation(text), None, 2) for text in texts]
    told = {
        "gibberish": pl.Series(broken, dtype=pl.String),
        "surprise": pl.lit(None, pl.Float64),
        HOT: pl.lit(None, pl.Float64),
        COLD: pl.Series(in_sd(axis, values), dtype=pl.Float64),
    }
    return answers.with_columns(**told, **_spots(work, values))


def _spots(work: Work, values: Tensor) -> dict[str, pl.Series]:
    """Places in persona space, a column a component; null where nothing was read. values: (message, hidden)."""
    from safetensors.torch import load_file

    space = load_file(work.run.path / SPACE)
    spots = ((values - space["center"]) @ space["components"].T).T.tolist()
    return {
        f"pc{number}": pl.Series([None if math.isnan(value) else value for value in column], dtype=pl.Float64)
        for number, column in enumerate(spots, 1)
    }


def _messages(answers: pl.DataFrame) -> pl.DataFrame:
    """One row a message (`MESSAGES` and components), with whether it repeats what was just said."""
    components = [name for name in answers.columns if name.startswith("pc")]
    kept = (HOT, COLD, "gibberish", "surprise", *components)
    rows: list[dict[str, Any]] = []
    for talk in answers.partition_by("case", maintain_order=True):
        said = talk["reply"].fill_null("").to_list()
        marks = repeats([opening_text(talk["opening"][0]), *said])[1:]
        rows += [
            {"talk": row["case"], "opening": row["opening"], "turn": int(row["wording"].split("/")[1]),
             "answers": row["message"], "message": text, "repeats": marked, **{name: row[name] for name in kept}}
            for row, text, marked in zip(talk.iter_rows(named=True), said, marks, strict=True)
        ]  # fmt: skip
    return pl.DataFrame(rows, schema={**MESSAGES, **dict.fromkeys(components, pl.Float64)})
