"""Questions as Inspect tasks: one sample a cluster, all its cases, wordings and paradigms asked at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai._util.registry import registry_lookup  # not public, but how Inspect itself finds a provider
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import Model, get_model
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from rich.text import Text

from greenroom.asking.answers import answered
from greenroom.asking.calls import Once, error_line, recalled, together
from greenroom.asking.checks import checks
from greenroom.asking.choice import ask, scores
from greenroom.asking.questions import Plan, Probe
from greenroom.asking.readings import readings
from greenroom.asking.types import Heard, Questions, Size, answers_frame
from greenroom.conversation import under
from greenroom.errors import GreenroomError, ModelError
from greenroom.measures import PARADIGM_ORDER, assess
from greenroom.store import Kept

MAX_SAMPLES = 4096  # all at once: what is not in flight cannot share a prefix
ANSWERS, FACTORS = "answers", "factors"  # in the store of a sample
PROVIDER = "greenroom/"


def hosted_model(name: str) -> Model | None:
    """The Inspect model of a name such as `openai/gpt-4o`; None for a local one (a folder, `smollm2`, a Hub id).

    A Hub id whose owner is called as a provider of Inspect (google/gemma-3-1b-it) is meant with `greenroom/` before it.
    ModelError in one line where the provider lacks its package or its key.
    """
    if not is_hosted(name):
        return None
    try:
        return get_model(name)
    except Exception as error:
        told = Text.from_markup(error_line(error)).plain  # Inspect writes its errors for Rich
        raise ModelError(f"{name} cannot be asked: {told}") from error


def is_hosted(name: str) -> bool:
    """Whether Inspect knows the provider that a name begins with, and the name is no folder here."""
    provider, slash, _ = name.partition("/")
    local = not slash or name.startswith(PROVIDER) or Path(name).exists()
    return not local and registry_lookup("modelapi", provider) is not None


def ask_questions(
    study: str,
    questions: Sequence[Questions],
    size: Size,
    model: Model,
    *,
    seed: int = 0,
    system: str | None = None,
    log_dir: Path,
    progress: Callable[[int, int], None] | None = None,
    kept: Kept | None = None,
) -> pl.DataFrame:
    """Asks all questions of a study and returns the answers (columns: `asking.types.ANSWERS` and the factors).

    kept: what was answered by an attempt that was interrupted, which is not asked again; new answers are added.

    A cluster of which a call failed is missing with the reason; GreenroomError if all are. The log is kept in log_dir.
    """
    return answers_of(run(_task(study, questions, size, seed, system, progress, kept), model, log_dir))


def task_of(study: Any, size: Size, seed: int = 0, system: str | None = None) -> Task:
    """The Inspect task of the Questions of a `Study`."""
    parts = (study.hosted or study.parts)(size)
    return _task(study.name, [part for part in parts if isinstance(part, Questions)], size, seed, system)


def answers_of(log: EvalLog) -> pl.DataFrame:
    """All answers in a log of such a task, by cluster in the order of their names, those of failed samples missing with
    the reason."""
    samples = sorted(log.samples or [], key=lambda sample: str(sample.id))
    stores = [sample.store for sample in samples if ANSWERS in sample.store]
    found = [row for store in stores for row in pl.DataFrame(store[ANSWERS]).iter_rows(named=True)]
    return answers_frame(found, list(dict.fromkeys(name for store in stores for name in store[FACTORS])))


def run(task: Task, model: Model | str, log_dir: Path | str) -> EvalLog:
    """Runs one task quietly and returns its log, samples included; the log file is written to `log_dir`.

    Nothing is displayed and nothing but the model is asked. A failed sample keeps its error; GreenroomError, in one
    line, if all failed or the run did not end.
    """
    (log,) = inspect_eval(
        task,
        model=model,
        log_dir=str(log_dir),
        display="none",
        log_level="error",
        max_samples=MAX_SAMPLES,
        max_tasks=1,
        log_samples=True,
        log_realtime=False,
        score=True,
        fail_on_error=False,
        acp_server=False,
        ctl_server=False,
    )
    failed = [sample.error for sample in log.samples or [] if sample.error]
    if log.status == "success" and (not failed or len(failed) < len(log.samples or [])):
        return log
    first = log.error or (failed[0] if failed else None)
    why = "no reason was given" if first is None else error_line(first.message)
    ended = f"ended with status {log.status}" if log.status != "success" else "failed in every sample"
    raise GreenroomError(f"the eval {task.name} {ended}: {why}")


# --- the task --------------------------------------------------------------------------------------------------------


def _task(
    name: str,
    questions: Sequence[Questions],
    size: Size,
    seed: int,
    system: str | None,
    progress: Callable[[int, int], None] | None = None,
    kept: Kept | None = None,
) -> Task:
    plan = Plan.of(questions, size, seed)
    samples = [
        Sample(id=cluster, input=own[0][1][0].talk[-1]["content"], metadata={"cases": sum(len(c) for _, c in own)})
        for cluster, own in plan.clusters.items()
    ]
    return Task(
        name=name,
        dataset=MemoryDataset(samples, name=name),
        solver=_asked(plan, system, progress or (lambda done, total: None), kept),
        scorer=_preferences(plan),
    )


def _asked(plan: Plan, system: str | None, tell: Callable[[int, int], None], kept: Kept | None) -> Solver:
    """The solver: every probe of a cluster at once, nulls among them, so that they land in the same batch."""
    once, counts = Once(), [0, 0]

    async def heard(model: Model, cluster: str, place: int, probe: Probe) -> Heard:
        # Nulls stand for the words alone, so that no persona speaks in them; items that share options ask them once.
        conversation = probe.conversation if probe.null else under(system, probe.conversation)
        call = partial(ask, model, conversation, probe.texts, probe.listed)
        # One question asked twice is to be answered twice, so its place in the cluster is part of its name.
        key = (probe.content,) if probe.null else (cluster, place, probe.content)
        asked = partial(recalled, kept, key, call, Heard)
        answer = await (once.get((model.api, probe.content), asked) if probe.null else asked())
        counts[0] += 1
        tell(*counts)
        return answer

    async def scored(model: Model, cluster: str) -> bool:
        texts = [probe for _, probe in plan.probes(cluster, True) if probe.texts]
        return bool(texts) and await scores(model, under(system, texts[0].conversation), texts[0].texts[0])

    def keep(state: TaskState, put: list[tuple[Questions, Probe]], answers: Sequence[Heard]) -> None:
        state.store.set(FACTORS, plan.factors)
        state.store.set(ANSWERS, answered(plan, put, answers).to_dict(as_series=False))

    @solver(name="questions")
    def asking() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            model, cluster = get_model(), str(state.sample_id)
            try:
                put = plan.probes(cluster, await scored(model, cluster))
                counts[1] += len(put)
                answers = await together(
                    [partial(heard, model, cluster, place, probe) for place, (_, probe) in enumerate(put)]
                )
            except Exception as error:
                put = plan.probes(cluster, True)
                keep(state, put, [Heard(None, missing=f"failed: {error_line(error)}")] * len(put))
                raise
            keep(state, put, answers)
            state.completed = True
            return state

        return solve

    return asking()


def _preferences(plan: Plan) -> Scorer:
    """The scorer: by paradigm the mean probability of each case's first option; where there are more than two options,
    of each (`cloze/weights`). NaN (unscored) where it is missing, with the reasons. A paradigm whose answers cannot be
    believed, all samples together, is printed as "letter (void)"."""
    asked = [(part, case) for part, case in plan.cases if case.right is None]
    names = list(dict.fromkeys(option.id for _, case in asked for option in case.options))
    firsts = {(part.name, case.id): case.options[0].id for part, case in asked if case.options}
    used = {
        paradigm
        for part, _ in asked
        for paradigm in PARADIGM_ORDER
        if part.asking.wordings(paradigm.removesuffix("_logodds"))
    }
    paradigms = [paradigm for paradigm in PARADIGM_ORDER if paradigm in used]
    keys = [f"{paradigm}/{name}" for paradigm in paradigms for name in names] if len(names) > 2 else paradigms

    def key(row: dict[str, Any]) -> str | None:
        first = firsts.get((row["part"], row["case"]))
        if len(names) > 2:
            return f"{row['paradigm']}/{row['option'] or first}"
        return row["paradigm"] if row["option"] in (None, first) else None

    heard: dict[tuple[str, int], pl.DataFrame] = {}

    @metric(name="preferences")
    def shares() -> Metric:
        def computed(scores: list[SampleScore]) -> dict[str, float]:
            """Means over the samples in which there is one, none where there is none; a void paradigm says so by name."""
            frame = readings(pl.concat(heard.values())) if heard else None
            void = {one for one in paradigms if frame is None or assess(checks(frame, one), one).grade == "void"}
            told: dict[str, float] = {}
            for name in keys:
                found = [score.score.value[name] for score in scores]  # type: ignore[index]
                there = [float(value) for value in found if not math.isnan(float(value))]  # type: ignore[arg-type]
                if there:
                    told[f"{name} (void)" if name.partition("/")[0] in void else name] = sum(there) / len(there)
            return told

        return computed

    @scorer(name="preferences", metrics=[shares()])
    def preferences() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            found: dict[str, list[float]] = {name: [] for name in keys}
            missing: dict[str, None] = {}
            frame = answers_frame(list(pl.DataFrame(state.store.get(ANSWERS)).iter_rows(named=True)), plan.factors)
            heard[str(state.sample_id), state.epoch] = frame
            for row in readings(frame).filter(pl.col("wording") == "main").iter_rows(named=True):
                if row["probability"] is None:
                    missing[f"{row['paradigm']}: {row['missing']}"] = None
                elif (own := key(row)) in found:
                    found[own].append(row["probability"])
            values = {name: sum(own) / len(own) if own else math.nan for name, own in found.items()}
            return Score(value=values, explanation="; ".join(missing) or None)  # type: ignore[arg-type]

        return score

    return preferences()
