"""The behavioural map beside the activation map, as one run: characters answer, each reads all, the maps are compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from greenroom.errors import GreenroomError
from greenroom.runs.progress import Progress
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.runs.shared_results import keep
from greenroom.studies.nested import Study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from greenroom.directions import Direction
    from greenroom.directions.behavioural_map import Character
    from greenroom.personas import Question
    from greenroom.subject import Subject

KIND = "behaviour"
ROLE_VECTORS = "directions/role_vectors.safetensors"


class BehaviourResult(Study):
    """A finished behavioural map: its folder and its headline numbers."""


def map_behaviour(
    model: str | Subject = "smollm2",
    out: Path | None = None,
    *,
    roles: int | None = None,
    questions: int | None = None,
    tokens: int | None = None,
    axis: Direction | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    template: str | None = None,
    adapter: Path | str | None = None,
    progress: Progress | None = None,
) -> BehaviourResult:
    """Maps characters by what they would say (bits a token), and sets that map beside the one by activations.

    model: a name that `greenroom.load` takes, or a loaded Subject. roles: characters, the default one among them
    (default 24). questions, tokens: replies of each and their length (default 6 of 32). axis: at whose block the
    activation map is read (default: the stored assistant axis, else two thirds of the way up). Leaves a run folder with
    tables, summary and report.html; interrupted, the same call goes on where it stopped, at most one question's
    scoring lost. Raises GreenroomError in one line.
    """
    from greenroom.directions import behavioural_map as behaviour
    from greenroom.directions.axis import reading_block
    from greenroom.subject import opened

    roles = behaviour.ROLES if roles is None else roles
    questions = behaviour.QUESTIONS if questions is None else questions
    tokens = behaviour.TOKENS if tokens is None else tokens
    if roles < 4 or questions < 1 or tokens < 4:
        raise GreenroomError(
            f"{roles} characters, {questions} questions and {tokens} tokens are too few; expected at least 4, 1 and 4"
        )
    subject = opened(model, adapter=adapter, device=device, dtype=dtype, template=template)
    progress = progress or Progress()
    block, axis = reading_block(subject, axis)
    characters = behaviour.usual_characters(roles)
    asked = behaviour.usual_questions(questions + behaviour.ACTIVATION_QUESTIONS)
    asked, others = asked[:questions], asked[questions:]
    if not others:
        raise GreenroomError(
            f"{questions} questions leave none for the activation map; the library has {len(asked)}: ask fewer"
        )
    config = {
        "roles": [one.name for one in characters], "questions": [one.id for one in asked], "tokens": tokens,
        "block": block, "dtype": str(subject.network.dtype), "device": str(subject.network.device),
    }  # fmt: skip
    run = open_run(
        out, kind=KIND, subject_name=subject.name, fingerprint=subject.fingerprint, config=config, seed=seed,
        progress=progress,
    )  # fmt: skip
    if run.finished:
        run.close()
        return BehaviourResult(run.path, run.summary)
    with run:
        steps = [(f"read_{number + 1}", question) for number, question in enumerate(asked)]
        progress.plan(
            {"replies": "Characters answer", **{name: f"Each reads all: {one.id}" for name, one in steps},
             "activations": "Activation map", "maps": "Comparing the maps"}
        )  # fmt: skip
        run.stage("replies", lambda: _replies(subject, run, characters, asked, tokens, seed))
        for number, (name, _) in enumerate(steps):
            run.stage(name, lambda number=number: _read(subject, run, characters, asked, number))
        run.stage("activations", lambda: _activations(subject, run, characters, others, block, seed))
        run.stage("maps", lambda: _maps(run, characters, len(asked), axis, block, seed))
        _conclude(run, subject, block, seed)
    return BehaviourResult(run.path, run.summary)


def _replies(
    subject: Subject, run: Run, characters: Sequence[Character], asked: Sequence[Question], tokens: int, seed: int
) -> StageResult:
    import polars as pl

    from greenroom.directions.behavioural_map import sample_replies

    said = sample_replies(subject, characters, asked, tokens=tokens, seed=seed, progress=run.advance)
    rows = [
        {"role": characters[one.character].name, "kind": characters[one.character].kind, "question": one.question,
         "paraphrase": one.paraphrase, "reply": one.reply.text, "tokens": one.reply.tokens}
        for one in said
    ]  # fmt: skip
    return StageResult({"behaviour_replies": pl.DataFrame(rows)}, {"empty": len(characters) * len(asked) - len(said)})


def _read(
    subject: Subject, run: Run, characters: Sequence[Character], asked: Sequence[Question], number: int
) -> StageResult:
    """The replies to one question under every character, in one call."""
    import polars as pl

    from greenroom.directions.behavioural_map import SampledReply, bits_lost
    from greenroom.subject import Reply

    at = {one.name: index for index, one in enumerate(characters)}
    own = run.table("behaviour_replies").filter(pl.col("question") == number)
    said = [
        SampledReply(at[row["role"]], number, row["paraphrase"], Reply(row["reply"], row["tokens"], "length", []))
        for row in own.to_dicts()
    ]
    return StageResult({f"behaviour_losses_{number + 1}": bits_lost(subject, characters, asked, said, run.advance)})


def _activations(
    subject: Subject, run: Run, characters: Sequence[Character], asked: Sequence[Question], block: int, seed: int
) -> StageResult:
    """Role vectors of the same characters, from other replies to other questions."""
    from greenroom.directions.behavioural_map import activation_cast
    from greenroom.directions.cast import perform

    cast = activation_cast(characters, asked)
    played = perform(subject, cast, layers=[block], seed=seed + 1, progress=run.advance)

    def save(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({name: vectors[0].contiguous() for name, vectors in played.role_vectors().items()}, path)

    return StageResult({}, {"empty": played.rollouts.empty}, {ROLE_VECTORS: save})


def _maps(
    run: Run, characters: Sequence[Character], questions: int, axis: Direction | None, block: int, seed: int
) -> StageResult:
    """Distances, the Mantel test, and both maps scaled to the plane in the same way."""
    import polars as pl
    from safetensors.numpy import load_file

    from greenroom.directions.map_comparison import compare_maps

    losses = pl.concat([run.table(f"behaviour_losses_{number + 1}") for number in range(questions)])
    kinds = {one.name: one.kind for one in characters}
    found = compare_maps(losses, load_file(run.path / ROLE_VECTORS), kinds, axis, block, seed=seed)
    numbers = {**found.numbers, "n_questions": questions}
    return StageResult({"behaviour_places": found.places, "behaviour_pairs": found.pairs}, numbers)


def _conclude(run: Run, subject: Subject, block: int, seed: int) -> None:
    from greenroom.report.page import write_report
    from greenroom.store import write_json
    from greenroom.studies.nested import behaviour_sentences

    numbers = run.results("maps")
    summary = {
        "model": subject.name, "fingerprint": subject.fingerprint, "seed": seed, "layer": block, **numbers,
        "empty_replies": run.results("replies")["empty"],
        "sentences": behaviour_sentences(subject.name, numbers), "warnings": [],
        "seconds": round(run.seconds, 1), "peak_rss_gib": round(run.peak_rss_gib, 2),
    }  # fmt: skip
    write_json(run.path / "summary.json", summary)
    write_report(run.path)
    keep(run.path, subject.fingerprint, KIND)
    run.finish(summary)
