"""What the search for archetypes computes: the cast answers, and its replies are searched."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from greenroom.directions.archetype_search import archetype_cast, search_replies
from greenroom.directions.cast import perform
from greenroom.runs.run import StageResult
from greenroom.studies.study import Work

REPLY_VECTORS = "archetypes/reply_vectors.safetensors"
FOUND = "directions/archetypes.safetensors"


def reply(work: Work) -> StageResult:
    """The library's roles, Jung's archetypes and the default character answer the same questions."""
    block, _ = work.reading_block()
    cast = archetype_cast(work.size.questions, work.size.tokens)
    played = perform(work.subject, cast, layers=[block], seed=work.seed, progress=work.advance)
    frame = played.frame.with_columns(pl.Series("reply", [reply.text for reply in played.rollouts.replies]))

    def save(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({"values": played.values[0].contiguous()}, path)

    return StageResult({"rollouts": frame}, {"block": block, "empty": played.rollouts.empty}, {REPLY_VECTORS: save})


def search(work: Work) -> StageResult:
    """Clusters, factors, their stability, and what each is like."""
    from safetensors.numpy import load_file

    block, (_, axis) = work.results("replies")["block"], work.reading_block()
    found, described = search_replies(
        work.table("rollouts"),
        load_file(work.run.path / REPLY_VECTORS)["values"],
        None if axis is None else axis.vector(block).numpy().astype(float),
        resamples=work.size.resamples,
        seed=work.seed,
        progress=work.advance,
    )

    def save(path: Path) -> None:
        from safetensors.numpy import save_file

        save_file(found.vectors(), path, metadata={"block": str(block), "format": "unit vectors, one an archetype"})

    return StageResult(described.tables, described.numbers, {FOUND: save})
