"""greenroom selftalk: two copies of a model talk with each other; where do such talks end, and do they come together?

The talks are those of evals/selftalk.py, in step on a local subject or as an Inspect log left them. Every message is
read cold, after the message it answers alone, at the block of the axis: its place on the assistant axis, and in persona
space, the principal components of role vectors that are made of cold re-reads too. A local subject is read hot as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from greenroom.asking.local_talk import HELD, by_step, hold_talks, hot, options, part
from greenroom.asking.logs import is_log, samples_of
from greenroom.asking.talk import WAVE
from greenroom.asking.types import Lengths
from greenroom.directions import Direction
from greenroom.directions.axis import axes_of
from greenroom.directions.cast import Cast, perform, usual_cast
from greenroom.directions.cold import cold_values, in_sd
from greenroom.directions.persona_space import place_roles_in_role_sd
from greenroom.errors import LibraryError
from greenroom.measures.coherence import degenerate
from greenroom.measures.repetition import repeats
from greenroom.runs.progress import Progress
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.store import digest, write_json
from greenroom.studies.drift.design import REPLY_TOKENS, lengths_of
from greenroom.studies.selftalk import design
from greenroom.studies.selftalk.findings import MESSAGES, PLACES, components, findings
from greenroom.subject import Subject, opened

SPACE = "directions/persona_space.safetensors"
QUESTIONS, ROLE_TOKENS = 4, 24  # a role vector is the mean of so many replies
COMPONENTS = 4  # of persona space; roles differ little in those beyond


@dataclass(frozen=True)
class SelfTalkResult:
    """A finished measurement: its folder, one row a message, one row an attractor, and the headline numbers."""

    path: Path
    messages: pl.DataFrame
    attractors: pl.DataFrame
    summary: dict[str, Any]

    def __str__(self) -> str:
        from greenroom.studies.dynamics_words import selftalk_spoken

        return f"{selftalk_spoken(self.summary)}\n{self.path / 'selftalk.html'}"


def measure_selftalk(
    model: str | Path | Subject = "smollm2",
    out: Path | None = None,
    *,
    openings: int | None = None,
    repeats: int = design.REPEATS,
    messages: int = design.MESSAGES,
    tokens: int = REPLY_TOKENS,
    system: str = "",
    reader: str | Subject = "smollm2",
    axis: Direction | None = None,
    cast: Cast | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    template: str | None = None,
    adapter: Path | str | None = None,
    progress: Progress | None = None,
) -> SelfTalkResult:
    """Lets two copies of a model talk, and finds where their talks end.

    model: a model, or an Inspect log of the task `greenroom/selftalk` (then all but reader, axis, cast and seed is the
    log's). openings, repeats, messages, system: as in `evals.selftalk`; tokens: the most a message may have; cast: whose
    role vectors span persona space (default: the library's). Leaves a run folder with tables, summary.json and
    selftalk.html; interrupted, the same call goes on after the last finished wave. Raises GreenroomError in one line.
    """
    progress = progress or Progress()
    from_log = not isinstance(model, Subject) and is_log(model)
    if tokens < 4:
        raise LibraryError(
            f"tokens is {tokens}; expected at least 4, since shorter messages say nothing of a character"
        )
    log, samples = samples_of(Path(str(model)), "selftalk") if from_log else (None, [])
    talks = [] if from_log else design.design(openings, repeats, messages, seed)
    own: dict[str, Any] = {} if from_log else {"adapter": adapter, "template": template}
    subject = opened(reader if from_log else model, device=device, dtype=dtype, **own)
    hot_axis, cold_axis = axes_of(subject, axis)
    played = cast or usual_cast(questions=QUESTIONS, tokens=ROLE_TOKENS)
    config = {
        "axes": [digest(one.vector().numpy().tobytes()) for one in (hot_axis, cold_axis)],
        "roles": [role.name for role in played.roles], "questions": [question.id for question in played.questions],
        **({"log": log.eval.eval_id, "source": Path(str(model)).name} if log is not None else {
            "asked": options(
                openings=openings, repeats=repeats, messages=messages, tokens=tokens, system=system or None
            ),
            "talks": [talk.id for talk in talks], "messages": messages, "tokens": tokens, "system": system,
            "stimuli": digest(design.stimuli().model_dump_json()), "dtype": str(subject.network.dtype),
            "device": str(subject.network.device),
        }),
    }  # fmt: skip
    name = subject.name if log is None else log.eval.model.replace("/", "-")
    run = open_run(
        out, kind="selftalk", subject_name=name, fingerprint=subject.fingerprint, config=config, seed=seed,
        progress=progress,
    )  # fmt: skip
    if run.finished:
        run.close()
        return _result(run)
    stages = _Stages(subject, hot_axis, cold_axis, run, lengths_of(tokens), seed)
    with run:
        waves = [talks[start : start + WAVE] for start in range(0, len(talks), WAVE)]
        names = {f"talks_{number + 1}": f"Talks, {number + 1} of {len(waves)}" for number in range(len(waves))}
        names = {"talks_1": f"Reading with {subject.name}"} if log is not None else names
        progress.plan({"space": "Persona space", **names})
        run.stage("space", lambda: stages.space(played))
        for number, stage in enumerate(names):
            if log is not None:
                run.stage(stage, lambda: stages.read(samples))
            else:
                run.stage(stage, lambda number=number: stages.talks(waves[number], number + 1, messages, system))
        frame = pl.concat([run.table(f"messages_{number + 1}") for number in range(len(names))])
        about = {
            "model": name if log is None else log.eval.model, "fingerprint": subject.fingerprint if log is None else None,
            "reader": subject.name, "axis": cold_axis.name, "layer": cold_axis.layer, "reliable": cold_axis.reliable,
        }  # fmt: skip
        _conclude(run, frame, about, seed)
    return _result(run)


class _Stages:
    def __init__(self, subject: Subject, hot_axis: Direction, cold_axis: Direction, run: Run, lengths: Lengths, seed: int):
        self.subject, self.hot_axis, self.cold_axis, self.run, self.lengths, self.seed = (
            subject, hot_axis, cold_axis, run, lengths, seed,
        )  # fmt: skip

    def space(self, cast: Cast) -> StageResult:
        """Persona space of cold re-reads: where roles and the default character lie, and the axes to place others."""
        played = perform(self.subject, cast, seed=self.seed, progress=part(self.run.advance, 0, 0.5))
        cold = played.cold(self.subject, [self.cold_axis.layer], part(self.run.advance, 0.5, 1))
        vectors = {name: of[0] for name, of in cold.role_vectors().items()}
        placed = place_roles_in_role_sd(vectors, COMPONENTS)

        def save(path: Path) -> None:
            from safetensors.torch import save_file

            save_file({"center": placed.space.center, "components": placed.space.components.contiguous()}, path)

        return StageResult({"places": placed.places}, {"explained": placed.space.explained.tolist()}, {SPACE: save})

    def talks(self, wave: Sequence[design.Talk], number: int, messages: int, system: str) -> StageResult:
        said = hold_talks(
            self.subject, [design.script(talk, messages, system) for talk in wave], self.lengths,
            # Repeats of one opening that lie in two waves are to differ too.
            seeds=by_step(int(digest("wave", str(self.seed), str(number)), 16) % 2**31),
            layer=self.hot_axis.layer, asks=messages * len(wave),
            progress=part(self.run.advance, 0, HELD),
        )  # fmt: skip
        values = cold_values(
            self.subject, [self.cold_axis.layer], [one.ask.message for one in said], [one.own for one in said],
            part(self.run.advance, HELD, 1),
        )[0]  # fmt: skip
        vocabulary = int(self.subject.network.config.vocab_size)
        rows = []
        for one, warm in zip(said, hot(said, self.hot_axis), strict=True):
            surprise = -float(np.mean(one.own.logprobs)) if one.own.logprobs else None
            broken = degenerate(one.own.text, one.own.tokens, surprise, vocabulary)
            talk = wave[one.talk]
            rows.append(
                {"talk": talk.id, "opening": talk.opening, "turn": int(one.ask.name.split("/")[1]),
                 "answers": one.ask.message, "message": one.own.text, "gibberish": broken, "surprise": surprise,
                 "axis_sd_hot": warm}
            )  # fmt: skip
        return StageResult({f"messages_{number}": self._placed(rows, values)})

    def read(self, samples: Sequence[Any]) -> StageResult:
        """The texts of a log; surprise is not known there, so gibberish is told by form alone."""
        rows = []
        for sample in samples:
            talk = design.Talk(sample.metadata["opening"], int(sample.metadata["repeat"]))
            name = talk.id if sample.epoch == 1 else f"{talk.id}-{sample.epoch}"
            for reply in sample.store.get("replies") or []:
                tokens = self.subject.chat.continuation(reply["text"])
                rows.append(
                    {"talk": name, "opening": talk.opening, "turn": int(reply["name"].split("/")[1]),
                     "answers": reply["message"], "message": reply["text"],
                     "gibberish": degenerate(reply["text"], tokens, None, 2), "surprise": None, "axis_sd_hot": None}
                )  # fmt: skip
        values = cold_values(
            self.subject, [self.cold_axis.layer], [row["answers"] for row in rows], [row["message"] for row in rows],
            self.run.advance,
        )[0]  # fmt: skip
        return StageResult({"messages_1": self._placed(rows, values)})

    def _placed(self, rows: list[dict[str, Any]], values: Tensor) -> pl.DataFrame:
        """The rows with their cold places on the axis and in persona space, and whether each message repeats."""
        from safetensors.torch import load_file

        space = load_file(self.run.path / SPACE)
        places = in_sd(self.cold_axis, values)
        spots = ((values - space["center"]) @ space["components"].T).tolist()
        said: dict[str, list[dict[str, Any]]] = {}
        for row, place, spot in zip(rows, places, spots, strict=True):
            row["axis_sd_cold"] = place
            row |= {
                name: None if math.isnan(value) else value
                for name, value in zip(components(len(spot)), spot, strict=True)
            }
            said.setdefault(row["talk"], []).append(row)
        for talk in said.values():
            opened = [design.opening_text(talk[0]["opening"]), *(row["message"] for row in talk)]
            for row, marked in zip(talk, repeats(opened)[1:], strict=True):
                row["repeats"] = marked
        return pl.DataFrame(
            rows, schema={**MESSAGES, **dict.fromkeys(components(space["components"].shape[0]), pl.Float64)}
        )


def _conclude(run: Run, frame: pl.DataFrame, about: dict[str, Any], seed: int) -> None:
    from greenroom.runs.tables import write_table
    from greenroom.studies.dynamics_page import write_selftalk_page
    from greenroom.studies.dynamics_words import selftalk_sentences

    places = run.table("places")
    found = findings(frame, places, seed)
    summary = {
        **about, "seed": seed, "explained": run.results("space")["explained"], **found.summary,
        "seconds": round(run.seconds, 1), "peak_rss_gib": round(run.peak_rss_gib, 2),
    }  # fmt: skip
    summary["sentences"] = selftalk_sentences(summary)
    tables = {
        "messages": frame,
        "talks": found.talks,
        "attractors": found.attractors,
        "spread": found.spread,
        PLACES: places,
    }
    for name, table in tables.items():
        write_table(run.path / "tables" / f"{name}.parquet", table)
    write_json(run.path / "summary.json", summary)
    write_selftalk_page(run.path)
    run.finish(summary)


def _result(run: Run) -> SelfTalkResult:
    from greenroom.runs.tables import read_table

    tables = run.path / "tables"
    return SelfTalkResult(
        run.path, read_table(tables / "messages.parquet"), read_table(tables / "attractors.parquet"), run.summary
    )
