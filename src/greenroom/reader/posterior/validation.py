"""How well `who` tells: fresh replies of known contexts, made by the reader and explained by it.

Every reply is scored under every paraphrase of every context, and all figures come from those scores: who is found, what
the true context gains, whether the probabilities hold, and how often the pruned race ends with the same top five.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from greenroom.conversation import Conversation
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.measures.intervals import Array, Interval, bootstrap_mean
from greenroom.measures.validity import Grade, in_words
from greenroom.personas import Context, library
from greenroom.reader.posterior.calibration import (
    Calibration,
    calibration_error,
    fit_temperature,
    probabilities,
    scope_of,
)
from greenroom.reader.posterior.contexts import ASSISTANT, assistant_context, contexts_of, prior_of, role_contexts
from greenroom.reader.posterior.likelihoods import BASELINE, TOP, Job, Likelihoods, Passage, Score, race, scorer
from greenroom.reader.posterior.verdict import said
from greenroom.reader.validation import interval_rows
from greenroom.runs.folder import begun_dtype
from greenroom.runs.progress import Progress, duration
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.subject import Subject, opened

Design = Literal["roles", "all"]
# 92 roles make 31; a goal in the literature of this tool is stated for so many.
EVERY = 3
LENGTHS = (10, 20, 40, 80, 160)
CHUNK = 31  # replies scored together; one stage each, so that a killed run loses little
REPLIES, QUICK_REPLIES = 310, 62
GOOD = 0.7  # of replies, the share whose true context comes first, from which contexts are told apart well
FEW = 100  # replies, below which the verdict says how few they are
SPEED = 560  # tokens a second that are made and read on two cores (docs/who.md)
ASKED = 15  # tokens of a question and what stands around it


@dataclass(frozen=True)
class WhoValidation:
    """What was measured. replies: that were scored; length: tokens of each. figures: measure → interval. calibration: temperatures by length, fitted on half the questions,
    with the error on the other half."""

    design: str
    contexts: int
    replies: int
    length: int
    figures: dict[str, Interval]
    calibration: Calibration
    path: Path

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of text: measure, estimate, low, high, n."""
        return interval_rows(self.figures)

    @property
    def grade(self) -> Grade:
        """Void where chance could do as well; B for many first places among enough replies, else C."""
        first = self._found(1)
        chance = 1 / self.contexts
        if first.estimate is None or (first.estimate if first.low is None else first.low) <= chance:
            return "void"
        return "B" if first.estimate >= GOOD and self.replies >= FEW else "C"

    def verdict(self) -> str:
        """Whether contexts are told apart well enough to be used, in one sentence, and why."""
        first, five = self._found(1), self._found(TOP)
        told = {
            "n": self.replies, "tokens": self.length, "first": first.estimate or 0, "five": five.estimate or 0,
            "low": first.low or 0, "high": first.high or 0, "chance": 1 / self.contexts, "chance_five": TOP / self.contexts,
        }  # fmt: skip
        why = said("validation", "chance" if self.grade == "void" else "found", **told)
        if self.grade != "void" and self.replies < FEW:
            why = said("validation", "few", found=why, n=self.replies)
        return said("validation", "verdict", contexts=self.contexts, grade=in_words(self.grade), why=why)

    def _found(self, most: int) -> Interval:
        """How often the true context is among the first `most`, at the whole length of the replies."""
        return self.figures[f"top {most} at {self.length} tokens"]

    def as_dict(self) -> dict[str, Any]:
        return {
            "design": self.design,
            "contexts": self.contexts,
            "replies": self.replies,
            "length": self.length,
            "grade": self.grade,
            "verdict": self.verdict(),
            "figures": {name: one._asdict() for name, one in self.figures.items()},
            "calibration": self.calibration.as_dict(),
            "path": str(self.path),
        }


def validate_who(
    reader: Subject | str = "smollm2",
    *,
    design: Design = "roles",
    replies: int = REPLIES,
    tokens: int = 40,
    paraphrases: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> WhoValidation:
    """Makes replies of exactly `tokens` tokens and explains them. design "roles": 31 roles speak and are told apart, flat
    prior; "all": the whole library, speakers drawn by the prior (a third each agentic, partly, non-agentic).

    paraphrases: only so many system messages of each context speak and explain (default all; three times the cost of one).
    The same call with the same `out` goes on where a killed one stopped. tell: hears beforehand about how long it takes,
    on two cores 50 minutes for 310 replies of "roles", three and a half hours for "all".
    """
    subject = opened(reader, dtype=begun_dtype(out))
    # The assistant is scored beside the roles for its gain, but is not among those to be told apart.
    contexts = (*role_contexts(EVERY), assistant_context()) if design == "roles" else contexts_of("all")
    contexts = tuple(one.model_copy(update={"instruction": one.instruction[:paraphrases]}) for one in contexts)
    config: dict[str, Any] = {
        "design": design,
        "replies": replies,
        "tokens": tokens,
        "contexts": {one.name: list(one.instruction) for one in contexts},
        "dtype": subject.dtype,
    }
    rows = 1 + sum(len(one.instruction) for one in contexts)
    shown = progress or Progress()
    with open_run(
        out, kind="who", subject_name=subject.name, fingerprint=subject.fingerprint, config=config, seed=seed,
        progress=shown,
    ) as run:  # fmt: skip
        if tell is not None and not run.finished:
            tell(_estimate(replies, tokens, rows, 1 + len(contexts)))
        made = run.stage("replies", lambda: _speak(subject, contexts, design, replies, tokens, seed, run))
        frame = made.tables["replies"]
        shown.plan({f"scores_{begin}": f"Scores from reply {begin}" for begin in range(0, frame.height, CHUNK)})
        passages = [Passage([{"role": "user", "content": row["asked"]}], row["tokens"]) for row in frame.to_dicts()]
        found: list[Likelihoods] = []
        for begin in range(0, len(passages), CHUNK):
            part = passages[begin : begin + CHUNK]
            name = f"scores_{begin}"
            try:
                stage = run.stage(name, lambda part=part, name=name: _scores(subject, part, contexts, name, run))
            except KeyboardInterrupt as stop:
                stop.add_note(said("validation", "kept", n=begin, all=len(passages)))
                raise
            found += _likelihoods(stage.tables[name], len(part), contexts)
        told = _figures(found, frame, contexts, design)
        told["replies too short"] = Interval(float(made.results["short"]), None, None, replies)
        calibration = _calibrate(found, frame, contexts, design)
        result = WhoValidation(
            design, len(_compared(contexts, design)), len(found), max(_lengths(found)), told, calibration, run.path
        )
        if not run.finished:
            run.finish(result.as_dict())
    return result


def _estimate(replies: int, tokens: int, rows: int, quick_rows: int) -> str:
    """About how long it takes; and with --quick, where that is less."""

    def time(replies: int, rows: int) -> str:
        return duration(max(10, replies * rows * (tokens + ASKED) / SPEED))

    less = replies * rows > QUICK_REPLIES * quick_rows
    return said(
        "validation", "estimate", replies=replies, tokens=tokens, rows=rows, time=time(replies, rows),
        quick=said("validation", "quick", time=time(QUICK_REPLIES, quick_rows)) if less else "",
    )  # fmt: skip


def _speak(
    subject: Subject, contexts: Sequence[Context], design: Design, replies: int, tokens: int, seed: int, run: Run
) -> StageResult:
    """Replies of exactly `tokens` tokens, sampled as wherever character is measured."""
    questions = library.questions()
    speakers = _compared(contexts, design)
    classes: dict[str, list[int]] = {}
    for index in speakers:
        classes.setdefault(contexts[index].agentic if design == "all" else "", []).append(index)
    groups = [classes[key] for key in sorted(classes)]
    rows: list[dict[str, Any]] = []
    for number in range(replies):
        group, turn = groups[number % len(groups)], number // len(groups)
        speaker, turn = group[turn % len(group)], turn // len(group)
        # Speakers begin at different questions, so that no question belongs to one round of speakers.
        asked = questions[(7 * turn + number) % len(questions)]
        paraphrase = turn % len(contexts[speaker].instruction)
        rows.append({"context": speaker, "paraphrase": paraphrase, "question": asked.id, "asked": asked.text})
    prompts: list[Conversation] = [
        [
            {"role": "system", "content": contexts[row["context"]].instruction[row["paraphrase"]]},
            {"role": "user", "content": row["asked"]},
        ]
        for row in rows
    ]
    said = subject.generate(
        prompts, max_new_tokens=tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=seed, progress=run.advance
    )
    kept = [row | {"tokens": one.tokens} for row, one in zip(rows, said, strict=True) if len(one.tokens) == tokens]
    kept.sort(key=lambda row: row["question"])  # replies scored together share the question too
    kinds = {
        "context": pl.Int64,
        "paraphrase": pl.Int64,
        "question": pl.String,
        "asked": pl.String,
        "tokens": pl.List(pl.Int64),
    }
    return StageResult(tables={"replies": pl.DataFrame(kept, schema=kinds)}, results={"short": len(rows) - len(kept)})


def _scores(
    subject: Subject, passages: Sequence[Passage], contexts: Sequence[Context], name: str, run: Run
) -> StageResult:
    """Every token of every passage under every paraphrase of every context."""
    jobs = [
        Job(text, context, paraphrase, 0, len(passage.tokens))
        for text, passage in enumerate(passages)
        for context in (BASELINE, *range(len(contexts)))
        for paraphrase in range(1 if context == BASELINE else len(contexts[context].instruction))
    ]
    values = scorer(subject, passages, contexts, run.advance)(jobs)
    frame = pl.DataFrame(
        {
            "text": [job.passage for job in jobs],
            "context": [job.context for job in jobs],
            "paraphrase": [job.paraphrase for job in jobs],
            "logprobs": pl.Series([one.tolist() for one in values], dtype=pl.List(pl.Float32)),
        }
    )
    return StageResult(tables={name: frame})


def _likelihoods(table: pl.DataFrame, texts: int, contexts: Sequence[Context]) -> list[Likelihoods]:
    found: list[Likelihoods] = [Likelihoods([{} for _ in contexts], np.zeros(0), 0) for _ in range(texts)]
    for row in table.iter_rows(named=True):
        values = np.array(row["logprobs"], float)
        if row["context"] == BASELINE:
            found[row["text"]].baseline, found[row["text"]].length = values, len(values)
        else:
            found[row["text"]].values[row["context"]][row["paraphrase"]] = values
    for one in found:
        one.finalists = list(range(len(contexts)))
    return found


def _compared(contexts: Sequence[Context], design: Design) -> list[int]:
    """The contexts to be told apart."""
    return [index for index, one in enumerate(contexts) if design == "all" or one.name != ASSISTANT]


def _figures(
    found: Sequence[Likelihoods], frame: pl.DataFrame, contexts: Sequence[Context], design: Design
) -> dict[str, Interval]:
    truth, questions = frame["context"].to_list(), frame["question"].to_list()
    compared = _compared(contexts, design)
    prior = np.log(_prior(contexts, design))
    assistant = next(index for index, one in enumerate(contexts) if one.name == ASSISTANT)
    own, over = [], []
    # Which rank the true context has after so many tokens.
    ranks: dict[int, list[int]] = {length: [] for length in _lengths(found)}
    for one, right in zip(found, truth, strict=True):
        steps = one.by_token()[compared] + prior[:, None]
        for length, of in ranks.items():
            order = np.argsort(-steps[:, length - 1], kind="stable")
            of.append(int(np.flatnonzero(np.array(compared)[order] == right)[0]))
        own.append(float(one.gains(right, one.length).mean()))
        over.append(float(one.gains(right, one.length).mean() - one.gains(assistant, one.length).mean()))
    same = [_agree(one, [contexts[index] for index in compared], compared) for one in found]
    found_in = {
        f"top {most} at {length} tokens": bootstrap_mean([float(rank < most) for rank in of], questions)
        for length, of in ranks.items()
        for most in (1, TOP)
    }
    return found_in | {
        "chance of top 1": Interval(1 / len(compared), None, None, len(found)),
        "bits a token over the empty system message": bootstrap_mean(own, questions),
        "bits a token over the assistant": bootstrap_mean(over, questions),
        "pruned race keeps the top five": bootstrap_mean(same, questions),
    }


def _agree(one: Likelihoods, contexts: Sequence[Context], compared: Sequence[int]) -> float:
    """Whether the race with pruning ends with the top five of the unpruned one."""
    values = [one.values[index] for index in compared]

    def score(jobs: Sequence[Job]) -> list[Array]:
        return [
            (one.baseline if job.context == BASELINE else values[job.context][job.paraphrase])[job.start : job.end]
            for job in jobs
        ]

    whole: Score = score
    pruned = race([one.length], contexts, whole)[0]
    full = Likelihoods(values, one.baseline, one.length, list(range(len(values))))
    return float(set(_best(pruned)) == set(_best(full)))


def _best(one: Likelihoods) -> list[int]:
    last = one.by_token()[:, -1]
    return sorted(range(len(last)), key=lambda context: (-last[context], context))[:TOP]


def _prior(contexts: Sequence[Context], design: Design) -> Array:
    compared = [contexts[index] for index in _compared(contexts, design)]
    return prior_of(compared, "flat" if design == "roles" else "classes")


def _lengths(found: Sequence[Likelihoods]) -> list[int]:
    """The lengths at which replies are judged: their own, and the standard ones below it."""
    longest = min((one.length for one in found), default=1)
    return sorted({length for length in LENGTHS if length < longest} | {longest})


def _calibrate(
    found: Sequence[Likelihoods], frame: pl.DataFrame, contexts: Sequence[Context], design: Design
) -> Calibration:
    """Temperatures by length on every other question, errors on the rest; each reply read up to that length."""
    compared = _compared(contexts, design)
    place = {context: at for at, context in enumerate(compared)}
    prior = _prior(contexts, design)
    truth = np.array([place[context] for context in frame["context"]])
    ids = {question.id: at for at, question in enumerate(library.questions())}
    fitted = np.array([ids[question] % 2 == 0 for question in frame["question"]])
    lengths = _lengths(found)
    if fitted.all() or not fitted.any():
        return Calibration()
    table = np.stack([one.by_token()[compared] for one in found])  # (text, context, token)
    temperatures: list[float] = []
    errors: list[float] = []
    for length in lengths:
        at = table[:, :, length - 1]
        temperature = fit_temperature(at[fitted], prior, truth[fitted].tolist())
        shares = probabilities(at[~fitted], prior, temperature)
        errors.append(calibration_error(shares.max(axis=1), (shares.argmax(axis=1) == truth[~fitted]).astype(float)))
        temperatures.append(temperature)
    measured = scope_of([contexts[context] for context in compared], prior)
    return Calibration(tuple(lengths), tuple(temperatures), tuple(errors), len(found), measured)
