"""The main job: which character does this model play, and how firmly? Six stages, one folder, one report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from greenroom.runs.progress import Progress
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.runs.shared_results import bring
from greenroom.studies.nested import STUDIES, studied

if TYPE_CHECKING:
    from greenroom.directions import Direction
    from greenroom.subject import Subject

STAGES = {
    "map": "Persona map",
    "calibration": "Calibration",
    "traits": "Trait profile",
    "hold": "Hold under pressure",
    "sacrifice": "Costly sacrifice",
    "self_concept": "Self-concept",
}
# What each kind of run does; a map is the beginning of an audit.
KINDS: dict[str, tuple[str, ...]] = {"audit": tuple(STAGES), "map": ("map", "calibration")}
AXIS = "directions/assistant_axis.safetensors"
RAW_AXIS = "directions/assistant_axis_uncalibrated.safetensors"
ROLE_VECTORS = "directions/role_vectors.safetensors"
ROLLOUT_TOKENS = "directions/rollout_tokens.safetensors"


@dataclass(frozen=True)
class Size:
    """How much an audit asks. Replies are counted per cell; tokens are the most a reply may have."""

    every_role: int  # every n-th role of the library
    map_questions: int | None
    map_tokens: int
    calibration_replies: int
    traits: int | None
    trait_questions: int
    trait_tokens: int
    conversations: int
    hold_tokens: int
    situations: int | None
    questions: int | None


FULL = Size(1, None, 24, 200, None, 5, 24, 7, 16, None, None)
QUICK = Size(4, 6, 24, 48, 6, 4, 16, 2, 16, 2, 3)


@dataclass(frozen=True)
class AuditResult:
    """A finished audit: its folder and its headline numbers. `str()` is the summary a person reads."""

    path: Path
    summary: dict[str, Any]

    def __str__(self) -> str:
        from greenroom.auditing.summary import spoken

        return spoken(self.path, self.summary)


def audit(
    model: str | Subject = "smollm2",
    out: Path | None = None,
    *,
    quick: bool = False,
    full: bool = False,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    template: str | None = None,
    adapter: Path | str | None = None,
    progress: Progress | None = None,
    kind: Literal["audit", "map"] = "audit",
) -> AuditResult:
    """Audits a model and leaves a run folder with tables, summary and report.html.

    model: a name that `greenroom.load` takes, or a loaded Subject. out: the folder, new or to resume (default: the
    newest unfinished equal run under ./runs, else the next number). kind "map" stops after the persona map. full: adds
    the behavioural map, the archetypes and the frontier of the axis (half an hour on two cores); without it they are
    shown when they were kept for these weights. The same seed gives the same tables on the same machine. Interrupted at
    any time, the same call goes on where it stopped. Raises GreenroomError in one line.
    """
    from greenroom.subject import opened
    from greenroom.subject.memory import release_memory

    progress = progress or Progress()
    subject = opened(model, adapter=adapter, device=device, dtype=dtype, template=template)
    size = QUICK if quick else FULL
    config = {"quick": quick, "dtype": str(subject.network.dtype), "device": str(subject.network.device)}
    if full:
        config["full"] = True
    run = open_run(
        out,
        kind=kind,
        subject_name=subject.name,
        fingerprint=subject.fingerprint,
        config=config,
        seed=seed,
        progress=progress,
    )
    if run.finished:
        run.close()
        return AuditResult(run.path, run.summary)
    with run:
        added = STUDIES if full else {}
        progress.plan({**{name: STAGES[name] for name in KINDS[kind]}, **added})
        stages = _Stages(subject, run, size, seed)
        jobs: dict[str, Callable[[], StageResult]] = {name: getattr(stages, name) for name in KINDS[kind]}
        for name in added:
            jobs[name] = lambda name=name: studied(name, subject, stages.axis(), run, quick=quick, seed=seed)
        for name, job in jobs.items():
            run.stage(name, job)
            release_memory()
        if kind == "audit":
            for name in STUDIES:
                if name not in added:  # what was found about these weights before
                    bring(subject.fingerprint, name, run.path)
        summary = _concluded(
            run, {"model": subject.name, "fingerprint": subject.fingerprint, "seed": seed, "quick": quick}
        )
        run.finish(summary)
    return AuditResult(run.path, summary)


def _concluded(run: Run, head: dict[str, Any]) -> dict[str, Any]:
    """The measures, the summary and the page, all from what the stages stored."""
    from greenroom.auditing.summary import measure_table, summarised
    from greenroom.report.page import write_report
    from greenroom.runs.tables import write_table
    from greenroom.store import write_json

    measures = measure_table(run)
    summary = {
        **head,
        **summarised(run, head["model"]),
        "seconds": round(run.seconds, 1),
        "peak_rss_gib": round(run.peak_rss_gib, 2),
    }
    # The page reads the folder, so what it shows is put there first.
    write_table(run.path / "tables" / "measures.parquet", measures)
    write_json(run.path / "summary.json", summary)
    write_report(run.path)
    return summary


class _Stages:
    """The stages of one audit. Each reads what earlier ones stored, so that a resumed run computes the same."""

    def __init__(self, subject: Subject, run: Run, size: Size, seed: int):
        self.subject, self.run, self.size, self.seed = subject, run, size, seed

    def map(self) -> StageResult:
        """Roles and the default character answer; axis, block and held-out AUC; a third re-read cold."""
        from greenroom.directions.persona_map import map_personas

        found = map_personas(
            self.subject, self._cast(), floor_replies=self.size.calibration_replies // 4, seed=self.seed,
            progress=self.run.advance,
        )  # fmt: skip

        def save_vectors(path: Path) -> None:
            from safetensors.torch import save_file

            save_file({name: vectors.contiguous() for name, vectors in found.role_vectors.items()}, path)

        def save_tokens(path: Path) -> None:
            from safetensors.numpy import save_file

            save_file({str(layer): values for layer, values in found.floor_tokens.items()}, path)

        return StageResult(
            {"rollouts": found.replies, "layers": found.layers, "places": found.places,
             "components": found.components, "role_auc": found.role_auc},
            found.numbers,
            {RAW_AXIS: found.axis.save, ROLE_VECTORS: save_vectors, ROLLOUT_TOKENS: save_tokens},
        )  # fmt: skip

    def calibration(self) -> StageResult:
        """Default replies of exactly 64 tokens give the axis its scale; the map's tables follow."""
        import polars as pl
        from safetensors.numpy import load_file

        from greenroom.directions.axis import DEFAULT, calibrated
        from greenroom.directions.direction import Direction
        from greenroom.directions.persona_map import along_axis, places_along_axis

        raw = Direction.load(self.run.path / RAW_AXIS, self.subject)
        rollouts = self.run.table("rollouts")
        default = rollouts.filter(pl.col("role") == DEFAULT)["projection_hot"].to_numpy()
        tokens = {int(layer): values for layer, values in load_file(self.run.path / ROLLOUT_TOKENS).items()}
        axis = calibrated(
            self.subject, raw, default, replies=self.size.calibration_replies, seed=self.seed, rollout_tokens=tokens,
            progress=self.run.advance,
        )  # fmt: skip
        scale, replies = axis.scale(), along_axis(axis, rollouts)
        places = places_along_axis(self.run.table("places"), replies, seed=self.seed)
        results = {"replies": scale.n_replies, "tokens": scale.reply_tokens, "reply_sd": scale.reply_sd}
        return StageResult({"persona_map": places, "replies": replies}, results, {AXIS: axis.save})

    def traits(self) -> StageResult:
        from safetensors.torch import load_file

        from greenroom.personas import library
        from greenroom.studies.trait_profile.stages import profile

        traits = library.traits()[: self.size.traits]
        table, measures = profile(
            self.subject, traits, load_file(self.run.path / ROLE_VECTORS), questions=self.size.trait_questions,
            tokens=self.size.trait_tokens, seed=self.seed, progress=self.run.advance,
        )  # fmt: skip
        return StageResult({"traits": table}, {"measures": [_measure_row(measure) for measure in measures]})

    def hold(self) -> StageResult:
        from greenroom.personas import library
        from greenroom.studies.hold.stages import hold

        axis = self.axis()
        found = hold(
            self.subject, axis, [library.role(name) for name in axis.recipe["reserved"]],
            conversations=self.size.conversations, tokens=self.size.hold_tokens, seed=self.seed, progress=self.run.advance,
        )  # fmt: skip
        return StageResult({"hold": found.hold, "hold_effects": found.effects, "hold_replies": found.replies})

    def sacrifice(self) -> StageResult:
        from greenroom.asking import inspect
        from greenroom.provider import model_for
        from greenroom.studies.costly_sacrifice import eval as costly_sacrifice

        task = costly_sacrifice.costly_sacrifice(situations=self.size.situations, seed=self.seed)
        log = inspect.run(task, model_for(self.subject, seed=self.seed), self.run.path / "logs")
        frame = costly_sacrifice.rows(log)
        found = costly_sacrifice.findings(frame)
        return StageResult(
            {"sacrifice": costly_sacrifice.table(frame), "sacrifice_curve": costly_sacrifice.curve(frame)},
            {
                **costly_sacrifice.summary(found),
                "measures": [_measure_row(m) for m in costly_sacrifice.measures(found)],
            },
        )

    def self_concept(self) -> StageResult:
        from greenroom.asking import inspect
        from greenroom.provider import model_for
        from greenroom.studies.self_concept import eval as self_concept

        task = self_concept.self_concept(questions=self.size.questions, seed=self.seed)
        log = inspect.run(task, model_for(self.subject, seed=self.seed), self.run.path / "logs")
        frame = self_concept.rows(log)
        found = self_concept.findings(frame)
        return StageResult(
            {"self_concept": self_concept.table(frame)},
            {**self_concept.summary(found), "measures": [_measure_row(m) for m in self_concept.measures(found)]},
        )

    def _cast(self) -> Any:
        from greenroom.directions.axis import usual_cast

        return usual_cast(every=self.size.every_role, questions=self.size.map_questions, tokens=self.size.map_tokens)

    def axis(self) -> Direction:
        from greenroom.directions.direction import Direction

        return Direction.load(self.run.path / AXIS, self.subject)


def _measure_row(measure: Any) -> dict[str, Any]:
    return {
        "measure": measure.name, "estimate": measure.estimate, "low": measure.low, "high": measure.high, "n": measure.n,
        "grade": measure.grade, "reason": measure.reason,
    }  # fmt: skip
