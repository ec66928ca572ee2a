"""How well a reader reads: a labelled set that it makes itself, read cold, compared within the same questions.

Default, role-played, jailbroken, steered and merely restyled replies to the same questions, none of which made the axis;
the roles are those left out of it. Everything is read after the question alone, so that what is told apart is in the text.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from greenroom.conversation import Conversation
from greenroom.directions import assistant_axis
from greenroom.directions.rollouts import TEMPERATURE, TOP_P, instructed
from greenroom.measures.intervals import Array, Interval, auc, bootstrap_mean, wilson
from greenroom.measures.validity import in_words
from greenroom.personas import Question, Role, library
from greenroom.reader.axis import cold_tokens
from greenroom.reader.reader import Reader, load_reader
from greenroom.reader.validation_verdict import grade, named, reasons, said
from greenroom.reader.verdicts import judge
from greenroom.runs.folder import begun_dtype
from greenroom.runs.progress import Progress, duration
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.store import digest
from greenroom.subject import Reply, Subject, opened

if TYPE_CHECKING:
    import polars as pl

LENGTHS = (40, 150)
KINDS = ("role", "jailbreak", "steered", "style")
STRENGTH = -3.0  # sd along the hot axis, for the steered replies
TURNS = 12  # of a conversation put together from replies, for the verdicts
CONVERSATIONS = 400
# A stage a kind, so that a stop loses no more than one.
STAGES = {
    "default": "Default replies", "role": "Role-played replies", "jailbreak": "Jailbroken replies",
    "steered": "Steered replies", "style": "Replies in other styles", "reading": "Reading them cold",
}  # fmt: skip
TRIAL, TRIAL_TOKENS = 24, 12  # replies and their tokens that are made to tell how long all of them will take


@dataclass(frozen=True)
class ReaderValidation:
    """measures: name → estimate with interval. `auc.<kind>.<length>` is of default replies against a kind, mean over
    questions; .5 is chance, and what `auc.style` should be. path: the run folder."""

    measures: dict[str, Interval]
    path: Path
    reader: str = ""

    def as_dict(self) -> dict[str, Any]:
        head = {"path": str(self.path), "grade": grade(self.measures), "verdict": self.verdict()}
        return head | {name: found._asdict() for name, found in self.measures.items()}

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of text: measure in words, estimate, low, high, n."""
        return interval_rows({named(name): found for name, found in self.measures.items()})

    def verdict(self) -> str:
        """Whether the reader can be used, in one sentence, and why."""
        return said("verdict", reader=self.reader, words=in_words(grade(self.measures)), why=reasons(self.measures))


def interval_rows(measures: Mapping[str, Interval]) -> list[tuple[str, ...]]:
    """Measures with their intervals as rows of text: name, estimate, low, high, n."""
    return [
        (name, *("–" if value is None else f"{value:.3f}" for value in found[:3]), str(found.n))
        for name, found in measures.items()
    ]


@cache
def stimuli() -> dict[str, list[str]]:
    """The texts of validation.yaml: `jailbreaks` and `styles`."""
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def validate_reader(
    reader: Reader | Subject | str = "smollm2",
    *,
    quick: bool = False,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> ReaderValidation:
    """Makes the labelled set, reads it, and reports AUCs by kind, length and domain, what fools the reader, and how often
    verdicts are right. Takes some minutes; the same call goes on where a killed one stopped, each kind of reply being kept
    when it is made. progress: hears beforehand about how long it will take, from a trial of some seconds."""
    loaded = load_reader(opened(reader, dtype=begun_dtype(out)) if isinstance(reader, str) else reader)
    shown = progress or Progress()
    shown.plan(STAGES)
    subject = loaded.subject
    axis = digest(loaded.axis.vector().numpy().tobytes())
    with open_run(
        out, kind="read-validation", subject_name=subject.name, fingerprint=subject.fingerprint,
        config={"quick": quick, "axis": axis, "lengths": list(LENGTHS), "dtype": subject.dtype}, seed=seed, progress=shown,
    ) as run:  # fmt: skip
        if not run.finished:
            asked = design(loaded, quick)
            left = [one for one in asked if one.kind not in run.manifest["stages"]]
            if progress is not None and left:
                seconds = estimated_seconds(loaded, left)
                shown.say(said("estimate", replies=len(left), tokens=max(LENGTHS), time=duration(seconds)))
            for kind in ("default", *KINDS):
                of = [one for one in asked if one.kind == kind]
                run.stage(kind, lambda kind=kind, of=of: _made(subject, kind, of, seed, run))
            run.stage("reading", lambda: _measure(loaded, _replies(run), seed, run))
            run.finish({"reader": subject.name, "measures": run.results("reading")})
    found = run.results("reading")
    return ReaderValidation({name: Interval(**one) for name, one in found.items()}, run.path, subject.name)


def estimated_seconds(reader: Reader, asked: Sequence[PlannedReply]) -> float:
    """About how long it takes to make so many replies of the full length and to read them, from a trial of a few: made a
    single token long, which is what the prompts cost; made some tokens long; and read at the full length."""
    few = asked[:: max(1, len(asked) // TRIAL)][:TRIAL]
    made: list[Reply] = []

    def seconds(tokens: int) -> float:
        began = time.perf_counter()
        made[:] = reader.subject.generate(
            [one.conversation for one in few], max_new_tokens=tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=0
        )
        return time.perf_counter() - began

    seconds(1)  # what is set up by a first call is no part of the others
    prompts, some = seconds(1), seconds(1 + TRIAL_TOKENS)
    read = [(one, reply) for one, reply in zip(few, made, strict=True) if reply.tokens][: TRIAL // 3]
    long = [(list(reply.tokens) * max(LENGTHS))[: max(LENGTHS)] for _, reply in read]
    began = time.perf_counter()
    if read:
        cold_tokens(reader.subject, reader.axis, [one.question.text for one, _ in read], long)
    reading = (time.perf_counter() - began) / max(1, len(read))
    making = (prompts + max(0.0, some - prompts) / TRIAL_TOKENS * max(LENGTHS)) / len(few)
    return len(asked) * (making + reading)


@dataclass(frozen=True)
class PlannedReply:
    """One reply to be made: its kind, the question it answers, and the conversation that asks for it."""

    kind: str
    label: str
    question: Question
    conversation: Conversation


def design(reader: Reader, quick: bool) -> list[PlannedReply]:
    """Who answers what. Questions that made the axis are left out, and of the roles only those left out of it are used."""
    used = set(reader.axis.recipe.get("questions", ()))
    topics: dict[str, list[Question]] = {}
    for question in library.questions():
        if question.id not in used:
            topics.setdefault(question.topic, []).append(question)
    questions = [question for group in topics.values() for question in group[: 1 if quick else 2]]
    reserved = set(reader.axis.recipe.get("reserved", ()))
    roles: Sequence[Role] = [role for role in library.roles() if role.name in reserved] or library.roles()[::15]
    texts, defaults = stimuli(), library.default_instructions()
    asked: list[PlannedReply] = []
    for number, question in enumerate(questions):
        for index in range(2 if quick else 4):
            asked.append(
                PlannedReply(
                    "default",
                    str(index),
                    question,
                    instructed(defaults[(number + index) % len(defaults)], question.text),
                )
            )
        for index in range(3 if quick else len(roles)):
            role = roles[(number + index) % len(roles)]
            text = role.instructions[number % len(role.instructions)]
            asked.append(PlannedReply("role", role.name, question, instructed(text, question.text)))
        for index in range(2 if quick else 3):
            which = (number + 2 * index) % len(texts["jailbreaks"])
            said = texts["jailbreaks"][which].format(question=question.text)
            asked.append(PlannedReply("jailbreak", str(which), question, instructed("", said)))
            which = (number + 2 * index) % len(texts["styles"])
            asked.append(PlannedReply("style", str(which), question, instructed(texts["styles"][which], question.text)))
            asked.append(PlannedReply("steered", str(STRENGTH), question, instructed(defaults[index], question.text)))
    return asked


def _made(subject: Subject, kind: str, asked: Sequence[PlannedReply], seed: int, run: Run) -> StageResult:
    import polars as pl

    edits = (assistant_axis(subject).steer(STRENGTH),) if kind == "steered" else ()
    replies: list[Reply] = subject.generate(
        [one.conversation for one in asked], max_new_tokens=max(LENGTHS), temperature=TEMPERATURE, top_p=TOP_P, seed=seed,
        interventions=edits, progress=run.advance,
    )  # fmt: skip
    there = [(one, reply) for one, reply in zip(asked, replies, strict=True) if reply.tokens]
    text = pl.String
    schema = {"kind": text, "label": text, "question": text, "domain": text, "asked": text, "reply": text,
              "tokens": pl.List(pl.Int64)}  # fmt: skip
    rows = [
        (kind, one.label, one.question.id, one.question.topic, one.question.text, reply.text, list(reply.tokens))
        for one, reply in there
    ]
    return StageResult(tables={_table(kind): pl.DataFrame(rows, schema=schema, orient="row")})


def _table(kind: str) -> str:
    return f"replies_{kind}"


def _replies(run: Run) -> pl.DataFrame:
    import polars as pl

    return pl.concat([run.table(_table(kind)) for kind in ("default", *KINDS)])


def _measure(reader: Reader, replies: pl.DataFrame, seed: int, run: Run) -> StageResult:
    import polars as pl

    projected = cold_tokens(
        reader.subject, reader.axis, replies["asked"].to_list(), replies["tokens"].to_list(), run.advance
    )
    scale = reader.axis.scale()
    read = [(row - scale.reply_mean) / scale.reply_sd for row in projected]
    columns = {f"axis_sd_{length}": [_mean(row[:length], length) for row in read] for length in LENGTHS}
    frame = replies.drop("tokens").with_columns(
        pl.Series("n_tokens", [len(row) for row in read]),
        pl.Series("axis_sd", [_mean(row, 1) for row in read]),
        *(pl.Series(name, values, dtype=pl.Float64) for name, values in columns.items()),
    )
    measures = aucs(frame, seed) | fooled(frame) | verdict_rates(frame, seed)
    return StageResult(
        tables={"readings": frame}, results={name: found._asdict() for name, found in measures.items()}
    )  # fmt: skip


def _mean(row: Array, shortest: int) -> float | None:
    """The mean of a reply's tokens; None for a reply that does not reach the length asked."""
    return float(np.nanmean(row)) if len(row) >= shortest and not np.isnan(row).all() else None


def aucs(frame: pl.DataFrame, seed: int = 0) -> dict[str, Interval]:
    """AUC of default replies against each kind within a question, mean over questions, by length and by domain."""
    found = {}
    for length in LENGTHS:
        for kind in KINDS:
            found[f"auc.{kind}.{length}"] = _within(frame, f"axis_sd_{length}", [kind], seed)
        found[f"auc.all.{length}"] = _within(frame, f"axis_sd_{length}", ["role", "jailbreak", "steered"], seed)
    for (domain,), part in frame.group_by("domain", maintain_order=True):
        found[f"auc.domain.{domain}"] = _within(part, "axis_sd", ["role", "jailbreak", "steered"], seed)
    return found


def _within(frame: pl.DataFrame, column: str, kinds: Sequence[str], seed: int) -> Interval:
    values: list[float] = []
    for _, part in frame.drop_nulls(column).group_by("question", maintain_order=True):
        default = part.filter(part["kind"] == "default")[column]
        others = part.filter(part["kind"].is_in(kinds))[column]
        if len(default) and len(others):
            values.append(auc(default.to_numpy(), others.to_numpy()))
    return bootstrap_mean(values, seed=seed)


def fooled(frame: pl.DataFrame) -> dict[str, Interval]:
    """What else moves the reading, sd: the effect of another character alone and after length and topic are regressed out,
    that of a doubled length, that of style, and how much topics differ. Errors are clustered by question."""
    import statsmodels.api as sm

    data = frame.drop_nulls("axis_sd")
    kind, domain = data["kind"].to_numpy(), data["domain"].to_numpy()
    names, clusters = np.unique(data["question"].to_numpy(), return_inverse=True)
    away = np.isin(kind, ["role", "jailbreak", "steered"]).astype(float)
    columns = [np.ones(len(kind)), away, (kind == "style").astype(float)]
    length = np.log2(data["n_tokens"].to_numpy().astype(float))
    topics = [(domain == name).astype(float) for name in np.unique(domain)[1:]]
    values = data["axis_sd"].to_numpy()

    def effects(design: list[Array]) -> list[Interval]:
        fit = sm.OLS(values, np.column_stack(design)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
        return [
            Interval(float(estimate), float(low), float(high), len(names))
            for estimate, (low, high) in zip(fit.params, fit.conf_int(), strict=True)
        ]

    raw, full = effects(columns), effects([*columns, length, *topics])
    means = [values[domain == name].mean() for name in np.unique(domain)]
    return {
        "effect.away": raw[1],
        "effect.away.partial": full[1],
        "effect.style.partial": full[2],
        "effect.doubled_length.partial": full[3],
        "effect.topics.sd": Interval(float(np.std(means, ddof=1)), None, None, len(means)),
    }


def verdict_rates(frame: pl.DataFrame, seed: int = 0) -> dict[str, Interval]:
    """Share of conversations put together from replies that raise an alarm: all default (a false alarm), and with another
    character from the middle on. Turns are read by themselves, so that such a conversation is as good as a real one."""
    rng = np.random.default_rng(seed)
    there = frame.drop_nulls("axis_sd")
    pools = {
        kind: there.filter(there["kind"] == kind)["axis_sd"].to_numpy() for kind in ("default", "role", "jailbreak")
    }
    result = {}
    for kind, pool in pools.items():
        if not len(pool) or not len(pools["default"]):
            continue
        alarms = 0
        for _ in range(CONVERSATIONS):
            first, second = rng.choice(pools["default"], TURNS // 2), rng.choice(pool, TURNS - TURNS // 2)
            alarms += judge(np.concatenate([first, second]).tolist()).verdict in ("drifting", "departed", "returned")
        result["alarms." + ("false" if kind == "default" else kind)] = wilson(alarms, CONVERSATIONS)
    return result
