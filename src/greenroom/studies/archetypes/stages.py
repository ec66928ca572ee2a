"""Archetypes nobody named, as one run: the cast answers, the search is made, the report is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from greenroom.errors import GreenroomError
from greenroom.runs.progress import Progress
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.runs.shared_results import keep
from greenroom.studies.nested import Study

if TYPE_CHECKING:
    from greenroom.directions import Direction
    from greenroom.subject import Subject

KIND = "archetypes"
STAGES = {"replies": "Roles answer", "search": "Clusters, factors, stability"}
REPLY_VECTORS = "directions/reply_vectors.safetensors"
FOUND = "directions/archetypes.safetensors"
QUESTIONS, TOKENS = 12, 32


class ArchetypesResult(Study):
    """A finished search: its folder and its headline numbers."""


def find_archetypes(
    model: str | Subject = "smollm2",
    out: Path | None = None,
    *,
    questions: int = QUESTIONS,
    tokens: int = TOKENS,
    resamples: int | None = None,
    axis: Direction | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    template: str | None = None,
    adapter: Path | str | None = None,
    progress: Progress | None = None,
) -> ArchetypesResult:
    """Searches for archetypes that nobody named, and describes them.

    model: a name that `greenroom.load` takes, or a loaded Subject. questions: asked of every role, at most as many as
    the library has; stability draws them anew (`resamples` times, default `directions.archetypes.RESAMPLES`), so fewer
    than four say little. axis: at whose block to look (default: the stored assistant axis, else two thirds of the way
    up). Leaves a run folder with tables, summary and report.html; interrupted, the same call goes on where it stopped.
    Raises GreenroomError in one line.
    """
    from greenroom.directions.archetypes import RESAMPLES
    from greenroom.directions.axis import reading_block
    from greenroom.subject import opened

    if questions < 2 or tokens < 4:
        raise GreenroomError(f"{questions} questions of {tokens} tokens are too few; expected at least 2 and 4")
    subject = opened(model, adapter=adapter, device=device, dtype=dtype, template=template)
    progress = progress or Progress()
    block, axis = reading_block(subject, axis)
    draws = RESAMPLES if resamples is None else resamples
    config = {
        "questions": questions, "tokens": tokens, "resamples": draws, "block": block,
        "dtype": str(subject.network.dtype), "device": str(subject.network.device),
    }  # fmt: skip
    run = open_run(
        out, kind=KIND, subject_name=subject.name, fingerprint=subject.fingerprint, config=config, seed=seed,
        progress=progress,
    )  # fmt: skip
    if run.finished:
        run.close()
        return ArchetypesResult(run.path, run.summary)
    with run:
        progress.plan(STAGES)
        run.stage("replies", lambda: _replies(subject, run, block, questions, tokens, seed))
        run.stage("search", lambda: _search(run, axis, block, draws, seed))
        _conclude(run, subject, block, seed)
    return ArchetypesResult(run.path, run.summary)


def _replies(subject: Subject, run: Run, block: int, questions: int, tokens: int, seed: int) -> StageResult:
    """The library's roles, Jung's archetypes and the default character answer the same questions."""
    import polars as pl

    from greenroom.directions.archetype_search import archetype_cast
    from greenroom.directions.cast import perform

    played = perform(subject, archetype_cast(questions, tokens), layers=[block], seed=seed, progress=run.advance)
    frame = played.frame.with_columns(pl.Series("reply", [reply.text for reply in played.rollouts.replies]))

    def save(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({"values": played.values[0].contiguous()}, path)

    return StageResult({"archetype_source": frame}, {"empty_replies": played.rollouts.empty}, {REPLY_VECTORS: save})


def _search(run: Run, axis: Direction | None, block: int, resamples: int, seed: int) -> StageResult:
    from safetensors.numpy import load_file

    from greenroom.directions.archetype_search import search_replies

    found, described = search_replies(
        run.table("archetype_source"), load_file(run.path / REPLY_VECTORS)["values"],
        None if axis is None else axis.vector(block).numpy().astype(float),
        resamples=resamples, seed=seed, progress=run.advance,
    )  # fmt: skip

    def save(path: Path) -> None:
        from safetensors.numpy import save_file

        save_file(found.vectors(), path, metadata={"block": str(block), "format": "unit vectors, one an archetype"})

    return StageResult(described.tables, described.numbers, {FOUND: save})


def _conclude(run: Run, subject: Subject, block: int, seed: int) -> None:
    from greenroom.report.page import write_report
    from greenroom.store import write_json
    from greenroom.studies.nested import archetype_sentences

    numbers = run.results("search")
    summary = {
        "model": subject.name, "fingerprint": subject.fingerprint, "seed": seed, "layer": block, **numbers,
        "empty_replies": run.results("replies")["empty_replies"],
        "sentences": archetype_sentences(subject.name, numbers, run.table("archetypes")), "warnings": [],
        "seconds": round(run.seconds, 1), "peak_rss_gib": round(run.peak_rss_gib, 2),
    }  # fmt: skip
    write_json(run.path / "summary.json", summary)
    write_report(run.path)
    keep(run.path, subject.fingerprint, KIND)
    run.finish(summary)
