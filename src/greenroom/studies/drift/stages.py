"""greenroom drift: what conversations do to the character, and which ways back undo it.

The conversations are those of evals/drift.py, in step on a local subject (auditing/talks.py) or as an Inspect log left
them. Every reply is read cold, after the message it answers alone, which is the one reading in which all ways back can
be compared: under a cap the hot projection cannot fall by definition. A local subject is read hot as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from greenroom.asking.local_talk import HELD, by_step, hold_talks, hot, message_values, options, part
from greenroom.asking.logs import is_log, samples_of
from greenroom.directions import Direction
from greenroom.directions.axis import axes_of
from greenroom.directions.cold import cold_places
from greenroom.directions.interventions import cap as capped
from greenroom.errors import LibraryError
from greenroom.runs.progress import Progress
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.store import digest, write_json
from greenroom.studies.drift import design
from greenroom.studies.drift.findings import PREDICTED, REPLIES, drift_table, findings, predicted
from greenroom.subject import Subject, load, opened

FLOOR = "default:p25"  # of the arm `cap`
WAVE = 8  # conversations held at once: what an interruption costs; each asks some hundred replies
CONVERSATIONS = 3  # cases a domain and kind of user


@dataclass(frozen=True)
class DriftResult:
    """A finished measurement: its folder, one row a reply, one row a way back, and the headline numbers."""

    path: Path
    replies: pl.DataFrame
    ways: pl.DataFrame
    summary: dict[str, Any]

    def __str__(self) -> str:
        from greenroom.studies.dynamics_words import drift_spoken

        return f"{drift_spoken(self.summary)}\n{self.path / 'drift.html'}"


def measure_drift(
    model: str | Path | Subject = "smollm2",
    out: Path | None = None,
    *,
    domains: str | Sequence[str] | None = None,
    conversations: int = CONVERSATIONS,
    users: str | Sequence[str] = design.USERS,
    turns: int = design.TURNS,
    return_turns: int = design.RETURN_TURNS,
    arms: str | Sequence[str] | None = None,
    floor: str | float = FLOOR,
    tokens: int = design.REPLY_TOKENS,
    system: str | None = None,
    player: str | Subject | None = None,
    reader: str | Subject = "smollm2",
    axis: Direction | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    template: str | None = None,
    adapter: Path | str | None = None,
    progress: Progress | None = None,
) -> DriftResult:
    """Follows the assistant axis through conversations by domain and back again.

    model: a model, or an Inspect log of the task `greenroom/drift` (then all but reader, axis and seed is the log's).
    domains, conversations, users, turns, return_turns, arms, system: as in `evals.drift`; floor: of the arm `cap`;
    player: the model that plays the simulated user (default: the model itself); reader: the small model that reads a
    log; axis: what is read (default: the assistant axis, cold by the axis of cold re-reads where there is one).
    Leaves a run folder with tables, summary.json and drift.html; interrupted, the same call goes on after the last
    finished wave of conversations. Raises GreenroomError in one line.
    """
    progress = progress or Progress()
    if not isinstance(model, Subject) and is_log(model):
        return _from_log(Path(model), out, reader, axis, seed, device, dtype, progress)
    prompt = design.stimuli().system if system is None else system
    chosen = design.cases(domains, conversations, users)
    tried = design.arms_of(arms, prompt, edits=True)
    design.check_turns(turns, return_turns)
    if tokens < 4:
        raise LibraryError(f"tokens is {tokens}; expected at least 4, since shorter replies say nothing of a character")
    subject = opened(model, adapter=adapter, device=device, dtype=dtype, template=template)
    user = load(player, device=device, dtype=dtype) if isinstance(player, str) else player
    hot_axis, cold_axis = axes_of(subject, axis)
    edits = capped(hot_axis, floor) if "cap" in tried else ()
    config = {
        "cases": [case.id for case in chosen], "turns": turns, "return_turns": return_turns, "arms": tried,
        "floor": floor, "tokens": tokens, "system": prompt, "player": "itself" if user is None else user.fingerprint,
        "axes": [digest(one.vector().numpy().tobytes()) for one in (hot_axis, cold_axis)],
        "stimuli": digest(design.stimuli().model_dump_json()), "dtype": str(subject.network.dtype),
        "device": str(subject.network.device),
        "asked": options(
            conversations=conversations, turns=turns, return_turns=return_turns, tokens=tokens, domains=domains,
            users=None if tuple(users) == design.USERS else users, arms=arms,
            floor=None if floor == FLOOR else floor, system=system, player=player if isinstance(player, str) else None,
        ),
    }  # fmt: skip
    run = open_run(
        out, kind="drift", subject_name=subject.name, fingerprint=subject.fingerprint, config=config, seed=seed,
        progress=progress,
    )  # fmt: skip
    if run.finished:
        run.close()
        return _result(run)
    waves = [chosen[start : start + WAVE] for start in range(0, len(chosen), WAVE)]
    with run:
        stages = {_wave(number): f"Conversations, {number + 1} of {len(waves)}" for number in range(len(waves))}
        progress.plan({**stages, "prediction": "What the user's messages tell"})

        def played(wave: list[design.Case], number: int) -> StageResult:
            # Equal conversations of two waves, such as fresh probes, are to differ too.
            own = int(digest("wave", str(seed), str(number)), 16) % 2**31
            scripts = [design.script(case, turns, return_turns, tried, prompt) for case in wave]
            said = hold_talks(
                subject, scripts, design.lengths_of(tokens), seeds=by_step(own), layer=hot_axis.layer, edits=edits,
                player=user, asks=sum(design.replies_of(case, turns, return_turns, tried) for case in wave),
                progress=part(run.advance, 0, HELD),
            )  # fmt: skip
            cold = cold_places(
                subject, cold_axis, [one.ask.message for one in said], [one.own for one in said],
                part(run.advance, HELD, 1),
            )  # fmt: skip
            rows = [
                _row(wave[one.talk], one.ask.name, one.ask.message, one.own.text, one.own.finish == "length")
                | {"axis_sd_hot": warm, "axis_sd_cold": cool}
                for one, warm, cool in zip(said, hot(said, hot_axis), cold, strict=True)
            ]
            return StageResult({f"replies_{number + 1}": pl.DataFrame(rows, schema=REPLIES)})

        for number, wave in enumerate(waves):
            run.stage(_wave(number), lambda wave=wave, number=number: played(wave, number))
        frame = pl.concat([run.table(f"replies_{number + 1}") for number in range(len(waves))])
        about = {
            "model": subject.name, "fingerprint": subject.fingerprint, "reader": subject.name,
            "axis": hot_axis.name, "cold_axis": cold_axis.name, "layer": hot_axis.layer,
            "reliable": hot_axis.reliable and cold_axis.reliable, "turns": turns, "return_turns": return_turns,
            "floor": floor if "cap" in tried else None,
        }  # fmt: skip
        _conclude(run, subject, cold_axis, frame, about, seed)
    return _result(run)


def _from_log(
    path: Path,
    out: Path | None,
    reader: str | Subject,
    axis: Direction | None,
    seed: int,
    device: str,
    dtype: str,
    progress: Progress,
) -> DriftResult:
    """The same from the texts of an Inspect log, read cold by a small model."""
    log, samples = samples_of(path, "drift")
    subject = opened(reader, device=device, dtype=dtype)
    _, cold_axis = axes_of(subject, axis)
    rows = [
        _row(design.Case(*(sample.metadata[name] for name in design.Case._fields)), *_told(reply))
        | ({"conversation": f"{sample.id}-{sample.epoch}"} if sample.epoch > 1 else {})
        for sample in samples
        for reply in sample.store.get("replies") or []
    ]
    config = {"log": log.eval.eval_id, "source": path.name, "axis": digest(cold_axis.vector().numpy().tobytes())}
    run = open_run(
        out, kind="drift", subject_name=log.eval.model.replace("/", "-"), fingerprint=subject.fingerprint,
        config=config, seed=seed, progress=progress,
    )  # fmt: skip
    if run.finished:
        run.close()
        return _result(run)
    with run:
        progress.plan({"reading": f"Reading with {subject.name}", "prediction": "What the user's messages tell"})

        def read() -> StageResult:
            frame = pl.DataFrame(rows, schema=REPLIES)
            cold = cold_places(subject, cold_axis, frame["message"].to_list(), frame["reply"].to_list(), run.advance)
            return StageResult({"replies_1": frame.with_columns(pl.Series("axis_sd_cold", cold, pl.Float64))})

        run.stage("reading", read)
        task = log.eval.metadata or {}
        about = {
            "model": log.eval.model, "fingerprint": None, "reader": subject.name, "axis": cold_axis.name,
            "cold_axis": cold_axis.name, "layer": cold_axis.layer, "reliable": cold_axis.reliable,
            "turns": task.get("turns"), "return_turns": task.get("return_turns"), "floor": None,
        }  # fmt: skip
        _conclude(run, subject, cold_axis, run.table("replies_1"), about, seed)
    return _result(run)


def _conclude(
    run: Run, reader: Subject, cold_axis: Direction, frame: pl.DataFrame, about: dict[str, Any], seed: int
) -> None:
    """R² of the user's messages, the tables, the summary and the page, all from the replies as they were stored."""
    from greenroom.runs.tables import write_table
    from greenroom.studies.dynamics_page import write_drift_page
    from greenroom.studies.dynamics_words import drift_sentences

    def prediction() -> StageResult:
        talk = frame.filter(pl.col("moment") == "turn")
        values = message_values(reader, cold_axis.layer, talk["message"].to_list())
        return StageResult(results={"predicted": predicted(talk, values, seed)})

    told = run.stage("prediction", prediction).results["predicted"]
    found = findings(frame, seed)
    summary = {
        **about, "seed": seed, "conversations": frame["conversation"].n_unique(), **found.summary, "predicted": told,
        "empty_replies": frame.filter(pl.col("reply").str.strip_chars() == "").height,
        "seconds": round(run.seconds, 1), "peak_rss_gib": round(run.peak_rss_gib, 2),
    }  # fmt: skip
    summary["sentences"] = drift_sentences(summary)
    for name, table in (
        ("replies", frame),
        ("curve", found.curve),
        ("ways", found.ways),
        ("drift", drift_table(found)),
        ("predicted", pl.DataFrame(told, schema=PREDICTED)),
    ):
        write_table(run.path / "tables" / f"{name}.parquet", table)
    write_json(run.path / "summary.json", summary)
    write_drift_page(run.path)
    run.finish(summary)


def _result(run: Run) -> DriftResult:
    from greenroom.runs.tables import read_table

    tables = run.path / "tables"
    return DriftResult(
        run.path, read_table(tables / "replies.parquet"), read_table(tables / "ways.parquet"), run.summary
    )


def _row(case: design.Case, name: str, message: str, reply: str, cut: bool) -> dict[str, Any]:
    """One reply: `moment` is warm, turn, fresh, before, after, back, return or summary."""
    first, *rest = name.split("/")
    arm = rest[0] if first == "back" else first if first in design.ARMS else None
    moment = "return" if first in design.ARMS else first
    return dict.fromkeys(REPLIES) | {
        "conversation": case.id, "domain": case.domain, "case": case.case, "user": case.user, "moment": moment,
        "arm": arm, "place": int(rest[-1]) if rest else 0, "message": message, "reply": reply, "cut": cut,
    }  # fmt: skip


def _told(reply: dict[str, Any]) -> tuple[str, str, str, bool]:
    return reply["name"], reply["message"], reply["text"], bool(reply["cut"])


def _wave(number: int) -> str:
    return f"conversations_{number + 1}"
