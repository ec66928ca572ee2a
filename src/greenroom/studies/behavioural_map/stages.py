"""What the behavioural map computes: characters answer, each reads all, and the map is set beside that of activations."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from greenroom.directions.behavioural_map import (
    ACTIVATION_QUESTIONS,
    Character,
    SampledReply,
    activation_cast,
    bits_lost,
    sample_replies,
    usual_characters,
    usual_questions,
)
from greenroom.directions.cast import perform
from greenroom.directions.map_comparison import compare_maps
from greenroom.personas import Question
from greenroom.runs.run import StageResult
from greenroom.studies.study import Work
from greenroom.subject import Reply

ROLE_VECTORS = "behavioural_map/role_vectors.safetensors"


def _cast(work: Work) -> tuple[tuple[Character, ...], tuple[Question, ...], tuple[Question, ...]]:
    """The characters, the questions that are answered and read, and those of the activation map."""
    count = work.size.questions
    asked = usual_questions(count + ACTIVATION_QUESTIONS)
    return usual_characters(work.size.roles), asked[:count], asked[count:]


def reply(work: Work) -> StageResult:
    """One reply of each character to each question."""
    characters, asked, _ = _cast(work)
    said = sample_replies(
        work.subject, characters, asked, tokens=work.size.tokens, seed=work.seed, progress=work.advance
    )
    rows = [
        {
            "role": characters[one.character].name,
            "kind": characters[one.character].kind,
            "question": one.question,
            "paraphrase": one.paraphrase,
            "reply": one.reply.text,
            "tokens": one.reply.tokens,
        }
        for one in said
    ]
    return StageResult({"replies": pl.DataFrame(rows)}, {"empty": len(characters) * len(asked) - len(said)})


def read(work: Work, number: int) -> StageResult:
    """The replies to one question (the first is 1) under every character, in one call."""
    characters, asked, _ = _cast(work)
    at = {one.name: index for index, one in enumerate(characters)}
    own = work.table("replies").filter(pl.col("question") == number - 1)
    said = [
        SampledReply(at[row["role"]], number - 1, row["paraphrase"], Reply(row["reply"], row["tokens"], "length", []))
        for row in own.to_dicts()
    ]
    return StageResult({f"losses_{number}": bits_lost(work.subject, characters, asked, said, work.advance)})


def activations(work: Work) -> StageResult:
    """Role vectors of the same characters, from other replies to other questions."""
    characters, _, others = _cast(work)
    block, _ = work.reading_block()
    cast = activation_cast(characters, others)
    played = perform(work.subject, cast, layers=[block], seed=work.seed + 1, progress=work.advance)

    def save(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({name: vectors[0].contiguous() for name, vectors in played.role_vectors().items()}, path)

    return StageResult({}, {"block": block, "empty": played.rollouts.empty}, {ROLE_VECTORS: save})


def compare(work: Work) -> StageResult:
    """Distances, the Mantel test, and both maps scaled to the plane in the same way."""
    from safetensors.numpy import load_file

    characters, asked, _ = _cast(work)
    losses = pl.concat([work.table(f"losses_{number}") for number in range(1, len(asked) + 1)])
    found = compare_maps(
        losses,
        load_file(work.run.path / ROLE_VECTORS),
        {one.name: one.kind for one in characters},
        work.reading_block()[1],
        work.results("activations")["block"],
        seed=work.seed,
    )
    return StageResult({"places": found.places, "pairs": found.pairs}, {**found.numbers, "n_questions": len(asked)})
