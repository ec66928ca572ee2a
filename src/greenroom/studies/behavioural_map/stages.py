"""The behavioural map beside the activation map, as one run: characters answer, each reads all, the maps are compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from greenroom.errors import GreenroomError
from greenroom.runs.progress import Progress
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.runs.shared_results import keep
from greenroom.studies.nested import Study, reading_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from greenroom.directions import Direction
    from greenroom.directions.behavioural_map import Character
    from greenroom.personas import Question
    from greenroom.subject import Subject

KIND = "behaviour"
ROLE_VECTORS = "directions/role_vectors.safetensors"
# Questions and tokens of the activation map: other questions than those of the behavioural one, so that one reply out
# of character cannot move both maps.
ACTIVATION_QUESTIONS, ACTIVATION_TOKENS = 9, 32


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
    asked = behaviour.usual_questions(questions + ACTIVATION_QUESTIONS)
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

    from greenroom.directions.behavioural_map import Said, lose
    from greenroom.subject import Reply

    at = {one.name: index for index, one in enumerate(characters)}
    own = run.table("behaviour_replies").filter(pl.col("question") == number)
    said = [
        Said(at[row["role"]], number, row["paraphrase"], Reply(row["reply"], row["tokens"], "length", []))
        for row in own.to_dicts()
    ]
    return StageResult({f"behaviour_losses_{number + 1}": lose(subject, characters, asked, said, run.advance)})


def _activations(
    subject: Subject, run: Run, characters: Sequence[Character], asked: Sequence[Question], block: int, seed: int
) -> StageResult:
    """Role vectors of the same characters, from other replies to other questions."""
    from greenroom.directions.cast import DEFAULT, Cast, Performance
    from greenroom.directions.rollouts import roll_out
    from greenroom.personas import library

    roles = tuple(library.role(one.name) for one in characters if one.name != DEFAULT)
    cast = Cast(roles, tuple(asked), library.default_instructions(), ACTIVATION_TOKENS)
    rollouts = roll_out(
        subject, cast.prompts(), [block], max_new_tokens=ACTIVATION_TOKENS, seed=seed + 1, progress=run.advance
    )
    performance = Performance(cast.frame()[rollouts.kept], rollouts.values, rollouts.layers, rollouts)
    present = [one.name for one in characters if one.name in set(performance.frame["role"])]
    vectors = performance.means(present)[0]

    def save(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({name: vectors[row].contiguous() for row, name in enumerate(present)}, path)

    return StageResult({}, {"empty": rollouts.empty}, {ROLE_VECTORS: save})


def _maps(
    run: Run, characters: Sequence[Character], questions: int, axis: Direction | None, block: int, seed: int
) -> StageResult:
    """Distances, the Mantel test, and both maps scaled to the plane in the same way."""
    import numpy as np
    import polars as pl
    import torch
    from safetensors.numpy import load_file

    from greenroom.directions.behavioural_map import behaviour_map, compared, split_half
    from greenroom.measures.scaling import scaled, turned

    vectors = load_file(run.path / ROLE_VECTORS)
    losses = pl.concat([run.table(f"behaviour_losses_{number + 1}") for number in range(questions)])
    losses = losses.filter(pl.col("role").is_in(list(vectors)) & pl.col("reader").is_in(list(vectors)))
    if losses["role"].n_unique() < 4:
        raise GreenroomError(
            "fewer than four characters gave a reply; ask more questions, or check the model with chat"
        )
    found = behaviour_map(losses, seed=seed)
    test, apart = compared(found, vectors, seed=seed)
    inside = scaled(apart)
    said = scaled(found.distances)
    spots = turned(said.points, inside.points)
    kinds = {one.name: one.kind for one in characters}
    rows = []
    for row, name in enumerate(found.names):
        others = np.where(np.arange(len(found.names)) == row, np.inf, found.distances[row])
        rows.append(
            {"role": name, "kind": kinds[name], "x": float(spots[row, 0]), "y": float(spots[row, 1]),
             "activation_x": float(inside.points[row, 0]), "activation_y": float(inside.points[row, 1]),
             "axis_sd": None if axis is None else float(axis.sd(torch.from_numpy(vectors[name]), block)),
             "nearest": found.names[int(others.argmin())], "nearest_bits": float(others.min()),
             **{column: None if np.isnan(value) else float(value)
                for column, value in zip(("floor_bits", "floor_low", "floor_high"), found.floor[row], strict=True)}}
        )  # fmt: skip
    pairs = [
        {"role": one, "reader": other, "bits_lost": float(found.lost[row, column]),
         "bits": float(found.distances[row, column]), "activation_distance": float(apart[row, column])}
        for row, one in enumerate(found.names)
        for column, other in enumerate(found.names)
    ]  # fmt: skip
    above = found.distances[np.triu_indices(len(found.names), 1)]
    floors = found.floor[:, 0]
    results = {
        "n_roles": len(found.names), "n_questions": questions, "n_replies": losses.select("role", "question").n_unique(),
        "mantel_r": test.r, "mantel_low": test.low, "mantel_high": test.high, "mantel_p": test.p,
        "mantel_null_p95": test.null_p95, "split_half": split_half(losses, found.names), "stress": said.stress,
        "activation_stress": inside.stress, "median_bits": float(np.median(above)),
        "floor_bits": float(np.nanmean(floors)), "below_floor": float(np.mean(above < np.nanmean(floors))),
    }  # fmt: skip
    numbers = ("axis_sd", "floor_bits", "floor_low", "floor_high")
    places = pl.DataFrame(rows, schema_overrides=dict.fromkeys(numbers, pl.Float64))
    return StageResult({"behaviour_places": places, "behaviour_pairs": pl.DataFrame(pairs)}, results)


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
