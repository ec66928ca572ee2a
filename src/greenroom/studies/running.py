"""The one skeleton of all studies: open a run, do the parts, conclude, write the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenroom.asking.logs import Logged, logged
from greenroom.asking.types import Questions, Size, Talk, Talks
from greenroom.errors import GreenroomError
from greenroom.measures import Measure
from greenroom.runs.progress import Progress
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.store import Kept, digest, write_text
from greenroom.studies.estimate import expected, timing_key
from greenroom.studies.identity import config_of
from greenroom.studies.study import Found, Job, Part, Stage, Study, StudyResult, Work, asked_of, is_local

if TYPE_CHECKING:
    from inspect_ai.model import Model

    from greenroom.report.parts import Chapter
    from greenroom.report.results import Results, RunResults
    from greenroom.subject import Subject

SAID = ".said.jsonl"  # what was said in a stage that is not stored yet


def measure(
    job: Job,
    model: str | Subject | Model | Logged,
    out: Path | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> StudyResult:
    """Runs studies on a model and leaves a folder with tables, measures, summary.json and report.html.

    model: a name that `greenroom.load` takes, a loaded Subject, an Inspect model, or what a log holds of one. out: the
    folder, new or to resume (default: the newest unfinished equal run under ./runs, else the next number). The same seed
    gives the same tables on the same machine. Interrupted at any time, the same call goes on where it stopped.
    GreenroomError in one line.
    """
    from greenroom.runs import shared_results, timings
    from greenroom.runs.folder import begun_dtype
    from greenroom.studies import study_named

    progress = progress or Progress()
    who = model if isinstance(model, Logged) else opened(model, dtype=begun_dtype(out))
    studies = [study_named(name) for name in job.names]
    sizes: dict[str, Any] = {one.name: job.sizes.get(one.name) or one.sizes[job.size] for one in studies}
    stages = {one.name: _stages(one.parts_for(who, sizes[one.name]), who, sizes[one.name], seed) for one in studies}
    run = open_run(
        out, kind=job.kind, subject_name=_name(who), fingerprint=_fingerprint(who), config=config_of(job, who, sizes),
        seed=seed, progress=progress,
    )  # fmt: skip
    if run.finished:
        run.close()
        return StudyResult(run.path, run.summary)
    with run:
        progress.plan({f"{name}/{one.name}": _label(name, one) for name, own in stages.items() for one in own})
        waiting = {
            f"{name}/{one.name}": timing_key(name, one.name, sizes[name])
            for name, own in stages.items()
            for one in own
            if f"{name}/{one.name}" not in run.manifest["stages"]
        }
        undisturbed = not any(run.path.rglob(f"*{SAID}"))  # what goes on from an interruption takes less
        progress.say(expected(_replies_fingerprint(who), list(waiting.values()), job))
        for name, own in stages.items():
            write_text(run.path / name / "words.yaml", _words_of(name))
            for stage in own:
                _perform(stage, Work(run, name, seed, sizes, job, who))
        done: dict[str, Any] = run.manifest["stages"]
        if undisturbed:
            timings.record(_replies_fingerprint(who), {key: done[stage]["seconds"] for stage, key in waiting.items()})
        rows = [
            {"study": one.name, **found.row()}
            for one in studies
            for found in concluded(one, Found(run, one.name, sizes[one.name], seed, sizes))
        ]
        for name in job.kept:
            if name not in stages:
                rows += shared_results.load(_replies_fingerprint(who), name, run.path)
        summary = _summarised(run, rows)
        if is_local(who):
            for one in studies:
                replies = one.shared(Found(run, one.name, sizes[one.name], seed, sizes)) if one.shared else None
                if replies is not None:
                    shared_results.save(run.path, _replies_fingerprint(who), one.name, seed=seed, replies=replies)
        run.finish(summary)
    return StudyResult(run.path, summary)


def measure_one(
    study: str,
    size: Size,
    model: str | Path | Subject | Model,
    out: Path | None = None,
    *,
    verb: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> StudyResult:
    """Runs one study at a size: what the public function of a study does.

    verb: how a command line names it (default: by the study's name). given: objects handed over, None for those that
    were not.
    """
    kept = {name: one for name, one in (given or {}).items() if one is not None}
    asked = {"verb": list(verb or [study]), **asked_of(size)}
    job = Job(study, (study,), sizes={study: size}, asked=asked, given=kept)
    return measure(job, str(model) if isinstance(model, Path) else model, out, seed=seed, progress=progress)


def read_log(
    study: str,
    path: Path | str,
    out: Path | None = None,
    *,
    reader: str | Subject | None = None,
    given: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> StudyResult:
    """What a study finds in a log of its Inspect task: the same as if the model had been asked now.

    reader: the small model that reads the replies (default: the embedded one). GreenroomError in one line, before
    anything is written.
    """
    from greenroom.subject import opened

    log = logged(Path(path), study)
    read_by = opened(reader or "smollm2")
    kept = {name: one for name, one in (given or {}).items() if one is not None}
    asked = {"verb": [study], "source": log.source, **({"reader": reader} if isinstance(reader, str) else {})}
    job = Job(study, (study,), asked=asked, given={"reader": read_by, **kept})
    return measure(job, log, out, seed=seed, progress=progress)


def write_page(folder: Path) -> Path:
    """Writes the page of a run again, from what its studies left."""
    return _page(folder)[0]


def _page(folder: Path) -> tuple[Path, str, list[Chapter]]:
    """The page, its headline and its chapters."""
    from greenroom.report.page import write_page as write
    from greenroom.report.results import RunResults

    run = RunResults.of(folder)
    shown = studies_of(run)
    chapters = {results.name: chapters_of(results) for results in shown}
    headlines = {name: one.headline for name, own in chapters.items() for one in reversed(own) if one.headline}
    from greenroom.studies import study_named

    # A study that builds on another says more than that one does; one that an audit always has speaks before the others.
    below = {earlier for name in headlines for earlier in study_named(name).after}
    leading = sorted(headlines, key=lambda name: study_named(name).audit != "always")
    headline = next((headlines[name] for name in leading if name not in below), "")
    made = [one for own in chapters.values() for one in own]
    return write(run, made, headline, shown), headline, made


def studies_of(run: RunResults) -> list[Results]:
    """The studies in a run's folder, in the order of the registry."""
    from greenroom.studies import NAMES

    return [found for name in NAMES if (found := run.study(name)) is not None]


def chapters_of(results: Results) -> list[Chapter]:
    """The chapters of a study's results; of results kept from another run, with a note that says so."""
    from greenroom.report.default_chapter import default_chapter
    from greenroom.report.parts import words
    from greenroom.store import read_json
    from greenroom.studies import study_named

    made = study_named(results.name).chapters
    found = [default_chapter(results)] if made is None else list(made(results))
    kept = results.folder / "kept.json"
    if not kept.exists():
        return found
    note = words()["page"]["kept"].format(**read_json(kept))
    return [replace(one, notes=(*one.notes, note)) for one in found]


def _summarised(run: Run, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Writes the measures and the page; returns summary.json."""
    import polars as pl

    from greenroom.measures.validity import MEASURE_SCHEMA
    from greenroom.report.results import MEASURES, RunResults
    from greenroom.report.tables import verdict
    from greenroom.runs.tables import write_table

    write_table(run.path / MEASURES, pl.DataFrame(rows, schema={"study": pl.String, **MEASURE_SCHEMA}))
    _, headline, chapters = _page(run.path)
    results = RunResults.of(run.path)
    shown = studies_of(results)
    return {
        "model": run.manifest["subject"],
        "fingerprint": run.manifest["fingerprint"],
        "seed": run.manifest["seed"],
        "size": run.manifest["config"]["size"],
        "studies": [results.name for results in shown],
        "headline": headline,
        "verdict": verdict(results, shown),
        "findings": [[one.title, one.finding, list(one.lines)] for one in chapters],
        "warnings": [warning for one in chapters for warning in one.warnings],
        "measures": [row for row in rows if row["part"] == ""],
        "results": {results.name: results.parts for results in shown},
        "seconds": round(run.seconds, 1),
        "peak_rss_gib": round(run.peak_rss_gib, 2),
    }


def concluded(study: Study, found: Found) -> list[Measure]:
    """The study's measures. Its primary is the one that it names, in the first paradigm that is not void."""
    measures = study.conclude(found)
    named = [one for one in measures if one.name == study.primary and one.part == ""]
    primary = next((one for one in named if one.grade != "void"), named[0] if named else None)
    return [replace(one, primary=one is primary) for one in measures]


def _stages(parts: Sequence[Part], model: Subject | Model | Logged, size: Size, seed: int) -> list[Stage]:
    """What is done one after the other: all questions at once, talks in waves, stages as they are."""
    questions = [part for part in parts if isinstance(part, Questions)]
    stages = [Stage("answers", "Questions", _asking(questions), "logprobs")] if questions else []
    for part in parts:
        if isinstance(part, Stage):
            stages.append(part)
        elif isinstance(part, Talks):
            stages += _talking(part, model, size, seed)
    return stages


def _asking(questions: Sequence[Questions]) -> Callable[[Work], StageResult]:
    def compute(work: Work) -> StageResult:
        from greenroom.asking.inspect import ask_questions

        frame = ask_questions(
            work.study, questions, work.size, inspect_model(work), seed=work.seed, system=work.system,
            log_dir=work.path / "logs", progress=work.advance, kept=_kept_by_name(work),
        )  # fmt: skip
        return StageResult({"answers": frame})

    return compute


def _talking(part: Talks, model: Subject | Model | Logged, size: Size, seed: int) -> list[Stage]:
    """A stage a wave of talks, so that an interruption costs one wave; those of a log are there already."""
    from greenroom.asking.talk import WAVE

    if isinstance(model, Logged):
        kept = StageResult({f"answers_{part.name}_1": model.answers.filter(model.answers["part"] == part.name)})
        return [Stage(f"{part.name}_1", "Talks of the log", lambda work: kept, "text")]

    talks = part.talks(size, seed)
    waves = [talks[start : start + WAVE] for start in range(0, len(talks), WAVE)]

    def held(wave: Sequence[Talk], number: int) -> Callable[[Work], StageResult]:
        def compute(work: Work) -> StageResult:
            how: dict[str, Any] = {"system": work.system, "progress": work.advance}
            if is_local(work.model):
                from greenroom.asking.local_talk import hold_locally

                frame = hold_locally(work.subject, part.name, wave, part.lengths(size), seed=work.seed, **how)
            else:
                from greenroom.asking.inspect_talk import hold_on_inspect

                log_dir = work.path / "logs"
                frame = hold_on_inspect(
                    inspect_model(work), part.name, wave, part.lengths(size), log_dir=log_dir, kept=work.kept, **how
                )
            return StageResult({f"answers_{part.name}_{number}": frame})

        return compute

    return [
        Stage(f"{part.name}_{number}", f"Talks, {number} of {len(waves)}", held(wave, number), "text")
        for number, wave in enumerate(waves, 1)
    ]


def inspect_model(work: Work) -> Model:
    """The model as Inspect asks it: a local subject through the provider, with the run's seed."""
    if not is_local(work.model):
        return work.model  # type: ignore[return-value]
    from greenroom.provider import model_for

    return model_for(work.model, seed=work.seed)


def _kept_by_name(work: Work) -> Kept | None:
    """Where answers of a hosted model are kept; a local subject keeps what it says itself."""
    return None if is_local(work.model) else work.kept


def _label(study: str, stage: Stage) -> str:
    """What stands beside the bar of a stage."""
    from greenroom.studies import about

    title = about(study)["title"]
    return title if stage.title == title else f"{title}: {stage.title[:1].lower()}{stage.title[1:]}"


def _perform(stage: Stage, work: Work) -> None:
    """Runs a stage; its tables go to the study's folder.

    What the model says on the way is kept until the stage is stored, so that an interruption costs only what was not
    finished.
    """
    from greenroom.report.format import counted
    from greenroom.subject.memory import release_memory

    said = work.path / f"{stage.name}{SAID}"

    def compute() -> StageResult:
        work.kept = Kept(said)
        try:
            with work.model.keeping(work.kept) if is_local(work.model) else nullcontext():  # type: ignore[union-attr]
                made = stage.compute(work)
        except KeyboardInterrupt as stop:
            if len(work.kept):
                stop.add_note(f"{counted(len(work.kept), 'answer')} of the stage at work kept in {work.run.path}")
            raise
        finally:
            work.kept.close()
        return replace(made, tables={f"{work.study}/{name}": frame for name, frame in made.tables.items()})

    work.run.stage(f"{work.study}/{stage.name}", compute)
    said.unlink(missing_ok=True)
    release_memory()


def _words_of(study: str) -> str:
    return resources.files("greenroom.studies").joinpath(study, "words.yaml").read_text(encoding="utf-8")


def opened(model: str | Subject | Model, **how: Any) -> Subject | Model:
    """The model of that name: hosted, by Inspect's name for it, or else local; how: as `greenroom.load` takes it.

    A model that is open already is returned. GreenroomError for settings that a hosted model has not, and for a local
    model that cannot hold a conversation.
    """
    from greenroom.asking.inspect import PROVIDER, hosted_model
    from greenroom.subject import opened as checked

    if not isinstance(model, str):
        return checked(model) if is_local(model) else model  # type: ignore[arg-type]
    hosted = hosted_model(model)
    if hosted is None:
        return checked(model.removeprefix(PROVIDER), **how)
    for name, value in how.items():
        if value not in (None, "auto"):
            raise GreenroomError(f"--{name} is for a local model, and {model} is hosted; leave it out")
    return hosted


def _name(model: Any) -> str:
    return str(model.name) if is_local(model) else str(model).replace("/", "-")


def _fingerprint(model: Any) -> str:
    return str(model.fingerprint) if is_local(model) else digest(model.id if isinstance(model, Logged) else str(model))


def _replies_fingerprint(model: Any) -> str:
    return str(model.replies_fingerprint) if is_local(model) else _fingerprint(model)
