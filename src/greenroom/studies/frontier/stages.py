"""The frontier of one direction: effect, coherence, capability and leakage at every strength and floor, as one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from greenroom.capability.exam import SCHEMA, CapabilityTest, priced
from greenroom.capability.price import Reach, reach
from greenroom.directions import Direction
from greenroom.directions.interventions import direction_named
from greenroom.directions.scorers import Scorer, scorer_for
from greenroom.errors import DirectionError
from greenroom.measures.intervals import bootstrap_mean
from greenroom.runs.progress import Progress
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.runs.shared_results import keep
from greenroom.store import digest, write_json
from greenroom.studies.frontier.cloze import cloze_log_odds, forced_choices
from greenroom.studies.frontier.replies import prompts_of, read_replies, summarise, write_replies
from greenroom.studies.frontier.settings import FLOORS, STRENGTHS, Setting, settings_of
from greenroom.subject import Subject, opened

if TYPE_CHECKING:
    import polars as pl

STAGES = {
    "capability": "Capability under each setting",
    "cloze": "Forced answers",
    "replies": "Replies under each setting",
    "reading": "Reading the replies",
}
UNEDITED = "steer 0"
UNITS = {"checker": "score", "cold_projection": "sd"}
DIRECTION = "directions/direction.safetensors"


@dataclass(frozen=True)
class FrontierResult:
    """A finished frontier: its folder, its table (one row a setting) and its headline numbers."""

    path: Path
    frame: pl.DataFrame
    summary: dict[str, Any]

    def __str__(self) -> str:
        from greenroom.studies.frontier.words import spoken

        return f"{spoken(self.summary)}\n{self.path / 'frontier.html'}"


def measure_frontier(
    model: str | Subject = "smollm2",
    direction: str | Direction = "assistant",
    out: Path | None = None,
    *,
    budget: float = 0.05,
    strengths: Sequence[float] = STRENGTHS,
    floors: Sequence[str] = FLOORS,
    layers: str = "auto",
    replies: int = 32,
    neutral: int = 20,
    tokens: int = 32,
    score: Scorer | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    template: str | None = None,
    adapter: Path | str | None = None,
    progress: Progress | None = None,
) -> FrontierResult:
    """Measures what a direction does and what it costs, and how far `budget` reaches.

    model, direction: names, or what they name. budget: share of the accuracy above chance that may be lost, 0 to 1.
    replies, neutral: replies a setting to the direction's held-out questions and to neutral tasks, of at most
    `tokens` tokens. score: the trait score (default: `directions.scorers.scorer_for`). Leaves a run folder with
    tables/frontier.parquet, summary.json and frontier.html; interrupted, the same call goes on where it stopped.
    Raises GreenroomError in one line.
    """
    if not 0 < budget < 1:
        raise DirectionError(f"the budget is {budget:g}; expected a share between 0 and 1, such as 0.05 or 5%")
    if min(replies, neutral) < 2 or tokens < 4:
        raise DirectionError(
            f"{replies} replies, {neutral} neutral ones of {tokens} tokens are too few; expected at least 2, 2 and 4"
        )
    progress = progress or Progress()
    subject = opened(model, adapter=adapter, device=device, dtype=dtype, template=template)
    turned = direction if isinstance(direction, Direction) else direction_named(subject, direction)
    settings = settings_of(turned, strengths, floors, layers)
    config = {
        "direction": turned.name,
        "vectors": digest(*(vector.numpy().tobytes() for _, vector in sorted(turned.vectors.items()))),
        "layers": layers, "settings": [setting.name for setting in settings], "replies": replies, "neutral": neutral,
        "tokens": tokens, "budget": budget, "score": score.name if score is not None else "usual",
        "dtype": str(subject.network.dtype), "device": str(subject.network.device),
    }  # fmt: skip
    run = open_run(
        out, kind="frontier", subject_name=subject.name, fingerprint=subject.fingerprint, config=config, seed=seed,
        progress=progress,
    )  # fmt: skip
    if run.finished:
        run.close()
        return _result(run)
    with run:
        progress.plan(STAGES)
        stages = _Stages(subject, turned, settings, run, score, (replies, neutral, tokens), seed)
        for name in STAGES:
            run.stage(name, getattr(stages, name))
        _conclude(run, subject, turned, settings, budget, seed)
    return _result(run)


def _result(run: Run) -> FrontierResult:
    from greenroom.runs.tables import read_table

    return FrontierResult(run.path, read_table(run.path / "tables" / "frontier.parquet"), run.summary)


class _Stages:
    """The stages of one frontier. Each reads what earlier ones stored, so that a resumed run computes the same."""

    def __init__(
        self,
        subject: Subject,
        direction: Direction,
        settings: list[Setting],
        run: Run,
        score: Scorer | None,
        size: tuple[int, int, int],
        seed: int,
    ):
        self.subject, self.direction, self.settings, self.run = subject, direction, settings, run
        self.score, self.size, self.seed = score, size, seed

    def capability(self) -> StageResult:
        """Every item under every setting."""
        import polars as pl

        steps = len(self.settings) + 1
        blocks = sorted({min(edit.layer for edit in setting.edits) for setting in self.settings if setting.edits})
        test = CapabilityTest(
            self.subject, blocks or [self.direction.layer], seed=self.seed,
            progress=lambda done, total: self.run.advance(round(100 * done / total), 100 * steps),
        )  # fmt: skip
        before, rows, answers = test.correct(), [], []
        for number, setting in enumerate(self.settings):
            after = test.correct(setting.edits) if setting.edits else before
            rows += priced(test.items, setting.name, before, after)
            answers.append(
                pl.DataFrame(
                    {
                        "setting": [setting.name] * len(after),
                        "item": [item.id for item in test.items],
                        "family": test.families,
                        "stimulus": test.stimuli,
                        "chance": test.chance,
                        "correct": after,
                    }
                )
            )
            self.run.advance(100 * (number + 2), 100 * steps)
        return StageResult(
            {"capability": pl.DataFrame(rows, schema=SCHEMA), "answers": pl.concat(answers)},
            {"n_items": len(test.items)},
            {DIRECTION: self.direction.save},
        )

    def cloze(self) -> StageResult:
        """Which pole it says is its own."""
        import polars as pl

        choices = forced_choices(self.direction)
        odds = cloze_log_odds(self.subject, choices, [setting.edits for setting in self.settings])
        frame = pl.DataFrame(
            [
                {"setting": setting.name, "cluster": choice.cluster, "choice": index, "log_odds": float(value)}
                for setting, row in zip(self.settings, odds, strict=True)
                for index, (choice, value) in enumerate(zip(choices, row, strict=True))
            ],
            schema={"setting": str, "cluster": str, "choice": int, "log_odds": float},
        )
        reason = None if choices else f"no words are known for the poles of {self.direction.name}"
        return StageResult({"cloze": frame}, {"n_choices": len(choices), "missing": reason})

    def replies(self) -> StageResult:
        replies, neutral, tokens = self.size
        prompts = prompts_of(self.direction, replies, neutral)
        frame = write_replies(
            self.subject, self.direction, self.settings, prompts, tokens=tokens, seed=self.seed,
            progress=self.run.advance,
        )  # fmt: skip
        return StageResult({"replies": frame})

    def reading(self) -> StageResult:
        score = self.score or scorer_for(self.subject, self.direction, seed=self.seed)
        read = read_replies(self.subject, self.direction, score, self.run.table("replies"), self.run.advance)
        return StageResult({"readings": read}, {"score": score.name, "kind": score.kind})


def _conclude(
    run: Run, subject: Subject, direction: Direction, settings: list[Setting], budget: float, seed: int
) -> None:
    """Table, summary and page, all from what the stages stored."""
    from greenroom.runs.tables import write_table
    from greenroom.studies.frontier.page import write_page

    frame = _table(run, direction, settings, seed)
    scoring = run.results("reading")
    unedited = frame.row(by_predicate=_is_unedited(), named=True)
    summary = {
        "model": subject.name, "fingerprint": subject.fingerprint, "direction": direction.name,
        "layer": direction.layer, "reliable": direction.reliable, "seed": seed, "budget": budget,
        "score": scoring["score"], "score_kind": scoring["kind"], "effect_unit": UNITS.get(scoring["kind"], "score"),
        "n_items": run.results("capability")["n_items"], "n_replies": unedited["n_replies"],
        "capability": unedited["capability"], "perplexity": unedited["perplexity"],
        "cloze_missing": run.results("cloze")["missing"], "reach": _reached(run, frame, settings, budget, seed),
        "seconds": round(run.seconds, 1), "peak_rss_gib": round(run.peak_rss_gib, 2),
    }  # fmt: skip
    write_table(run.path / "tables" / "frontier.parquet", frame)
    write_json(run.path / "summary.json", summary)
    write_page(run.path)
    # The audit's report shows that of the axis; those of other directions must not take its place.
    keep(run.path, subject.fingerprint, "frontier" if direction.kind == "axis" else f"frontier-{direction.name}")
    run.finish(summary)


def _is_unedited() -> Any:
    import polars as pl

    return pl.col("strength") == 0


def _table(run: Run, direction: Direction, settings: list[Setting], seed: int) -> pl.DataFrame:
    """One row a setting, the columns of docs/frontier.md."""
    import polars as pl

    capability = run.table("capability").filter(pl.col("family") == "all")
    prices = {row["setting"]: row for row in capability.to_dicts()}
    read, cloze = run.table("readings"), run.table("cloze")
    unit = UNITS.get(run.results("reading")["kind"], "score")
    plain = cloze.filter(pl.col("setting") == UNEDITED)["log_odds"].to_numpy()
    rows = []
    for setting in settings:
        own = cloze.filter(pl.col("setting") == setting.name)
        shift = bootstrap_mean(own["log_odds"].to_numpy() - plain, own["cluster"].to_list(), seed=seed)
        price = prices[setting.name]
        rows.append(
            {
                "direction": direction.name, "intervention": setting.intervention, "strength": setting.strength,
                "floor": setting.floor, **summarise(read, setting.name, UNEDITED, unit, seed),
                "cloze_shift": shift.estimate, "cloze_shift_low": shift.low, "cloze_shift_high": shift.high,
                "capability": price["capability"], "capability_loss": price["capability_loss"],
                "capability_loss_low": price["capability_loss_low"],
                "capability_loss_high": price["capability_loss_high"],
                "n_items": price["n_items"],
            }
        )  # fmt: skip
    texts = ("direction", "intervention", "floor", "effect_unit")
    return pl.DataFrame(
        rows,
        schema={name: str if name in texts else int if name.startswith("n_") else float for name in rows[0]},
    )


def _reached(
    run: Run, frame: pl.DataFrame, settings: list[Setting], budget: float, seed: int
) -> dict[str, dict[str, Any]]:
    """How far the budget reaches upwards, downwards, and in cap floors."""
    import polars as pl

    answers = run.table("answers")
    parts = {name: part for (name,), part in answers.partition_by("setting", as_dict=True).items()}
    plain = parts[UNEDITED]
    before, chance, stimuli = plain["correct"].to_numpy(), plain["chance"].to_numpy(), plain["stimulus"].to_list()
    result: dict[str, dict[str, Any]] = {}
    for side, sign in (("up", 1), ("down", -1)):
        own = sorted((s for s in settings if (s.strength or 0) * sign > 0), key=lambda s: abs(s.strength or 0))
        if not own:
            continue
        sizes = [setting.strength or 0.0 for setting in own]
        after = np.stack([parts[setting.name]["correct"].to_numpy() for setting in own])
        found: Reach = reach(sizes, after, before, chance, stimuli, budget, seed)
        at = pl.col("strength") == found.strongest if found.strongest is not None else None
        result[side] = {
            "strongest": found.strongest, "crossing": found.crossing, "crossing_low": found.low,
            "crossing_high": found.high, "tried": sizes[-1], **_figures(frame, at),
        }  # fmt: skip
    caps = frame.filter(pl.col("intervention") == "cap")
    if caps.height:
        # Floors need no order here: each is within the budget or not, and the one that does most is the strongest.
        within = caps.filter(pl.col("capability_loss_high") <= budget)
        best = within.sort(pl.col("effect").abs(), descending=True, nulls_last=True)
        floor = best["floor"][0] if best.height else None
        at = pl.col("floor") == floor if floor is not None else None
        result["cap"] = {"strongest": floor, "within": within["floor"].to_list(), **_figures(frame, at)}
    return result


def _figures(frame: pl.DataFrame, at: Any) -> dict[str, Any]:
    """Effect and price at the strongest setting."""
    names = ("effect", "effect_low", "effect_high", "capability_loss", "capability_loss_low", "capability_loss_high",
             "perplexity", "degenerate_share", "leakage")  # fmt: skip
    row = frame.row(by_predicate=at, named=True) if at is not None else {}
    return {name: row.get(name) for name in names}
