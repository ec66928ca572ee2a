"""Prompt drift (M3.5): how long a system prompt's rule is kept while two chatbots talk.

After Li et al. (arXiv 2402.10962): each conversation is between an agent with one rule and a partner with another, both
played by the model. Before the talk and after each of the agent's turns a probe is put to the agent on a discarded
branch, and a Python checker says whether the reply keeps the rule: `own` asks for the agent's rule, `partner` for the
partner's (does it take that over?), `reminder` repeats the rule right before the probe, as a remedy. `control` asks
once with no system prompt at all: what the checker passes anyway.

Reading the number: stability is the share of rules kept, its interval over rules; drift is its slope a round. Void where
rules are not kept more often with their system prompt than without, or where the agent ends up stuck and says the same
whatever it is asked. Not shown: whether a rule is kept inside the talk itself; probes are single short questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from greenroom.asking.answers import numbers
from greenroom.asking.elicitation import Stimuli, load_stimuli, together
from greenroom.errors import LibraryError
from greenroom.measures import validity
from greenroom.measures.checkers import VERDICTS, Checker, checker
from greenroom.measures.design import shuffled
from greenroom.measures.intervals import Interval, bootstrap_difference, bootstrap_mean
from greenroom.measures.repetition import own_words
from greenroom.measures.validity import Check, Measure, Validity, assess
from greenroom.measures.within import within_slope
from greenroom.measures.wording import sentence

PROBES = ("own", "partner", "reminder")
ROUNDS = 8  # as published
REPLY_TOKENS = 32  # of a turn of the talk
PROBE_TOKENS = 32  # the probes ask for short answers


class Rule(Stimuli):
    id: str
    kind: str
    rule: str
    probe: str
    check: dict[str, Any]


class Drift(Stimuli):
    reminder: str
    begin: str
    openers: tuple[str, ...]
    reasons: dict[str, str]
    rules: tuple[Rule, ...]


@cache
def stimuli() -> Drift:
    """The stimuli of this eval, validated; LibraryError also for a checker that does not exist."""
    found = load_stimuli("prompt_drift", Drift)
    for rule in found.rules:
        _checker(rule)
    return found


def _checker(rule: Rule) -> Checker:
    return checker(rule.check, f"studies/prompt_drift/explore.yaml, rule {rule.id}, field check", VERDICTS)


@task
def prompt_drift(
    rules: int | None = None,
    rounds: int = ROUNDS,
    probes: str | Sequence[str] = PROBES,
    reply_tokens: int = REPLY_TOKENS,
    probe_tokens: int = PROBE_TOKENS,
    temperature: float = 1.0,
    seed: int = 0,
    system: str | None = None,
) -> Task:
    """The task.

    rules: how many, chosen by seed (default all); rounds: turns of the agent in a talk; probes: among `PROBES`;
    reply_tokens, temperature: of the talk; probe_tokens: of the probes, which are greedy; system: a system message that
    stands before the agent's rule, such as a persona. LibraryError for a value that is out of range.
    """
    found = stimuli()
    chosen = list(found.rules)
    if rules is not None:
        if not 2 <= rules <= len(chosen):
            raise LibraryError(f"rules is {rules}; expected 2 to {len(chosen)}, since every rule needs a partner's")
        kept = set(shuffled([rule.id for rule in chosen], seed)[:rules])
        chosen = [rule for rule in chosen if rule.id in kept]
    if rounds < 1:
        raise LibraryError(f"rounds is {rounds}; expected at least 1")
    named = tuple(name.strip() for name in (probes.split(",") if isinstance(probes, str) else probes))
    for name in named:
        if name not in PROBES:
            raise LibraryError(f"probes names {name!r}; expected some of {', '.join(PROBES)}")
    order = shuffled([rule.id for rule in chosen], seed)
    partners = _partners({rule.id: rule.kind for rule in chosen}, order)
    samples = [
        Sample(
            id=rule.id,
            input=rule.probe,
            metadata={
                "rule": rule.id,
                "kind": rule.kind,
                "partner": partners[rule.id],
                "opener": order.index(rule.id) % len(found.openers),
            },
        )
        for rule in chosen
    ]
    talk = GenerateConfig(max_tokens=reply_tokens, temperature=temperature)
    probe = GenerateConfig(max_tokens=probe_tokens, temperature=0)
    return Task(
        name="prompt_drift",
        dataset=MemoryDataset(samples, name="prompt_drift"),
        solver=converse(rounds, named, talk, probe, system),
        scorer=stability(),
        metadata={"rounds": rounds},
    )


def _partners(kinds: dict[str, str], order: Sequence[str]) -> dict[str, str]:
    """Each rule's partner, each rule being a partner once: the rotation of the order with the fewest pairs of a kind."""

    def alike(shift: int) -> int:
        return sum(kinds[name] == kinds[order[(place + shift) % len(order)]] for place, name in enumerate(order))

    shift = min(range(1, len(order)), key=alike)
    return {name: order[(place + shift) % len(order)] for place, name in enumerate(order)}


@solver
def converse(
    rounds: int, probes: Sequence[str], talk: GenerateConfig, probe: GenerateConfig, system: str | None = None
) -> Solver:
    found = stimuli()
    by_id = {rule.id: rule for rule in found.rules}

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        model, own = get_model(), by_id[state.metadata["rule"]]
        other, opener = by_id[state.metadata["partner"]], found.openers[state.metadata["opener"]]
        told = f"{system}\n{own.rule}" if system else own.rule
        agent: list[ChatMessage] = [ChatMessageSystem(content=told)]
        partner: list[ChatMessage] = [
            ChatMessageSystem(content=other.rule),
            ChatMessageUser(content=found.begin),
            ChatMessageAssistant(content=opener),
        ]
        questions = {
            "own": own.probe,
            "partner": other.probe,
            "reminder": found.reminder.format(rule=own.rule, probe=own.probe),
        }
        branches = {name: questions[name] for name in probes}
        before: list[ChatMessage] = [ChatMessageSystem(content=system)] if system else []
        jobs: list[Any] = [
            partial(_probed, model, agent, branches, probe),
            partial(_probed, model, before, {"control": own.probe}, probe),
        ]
        start, control = await together(jobs)
        record, said = [start | control], opener
        for number in range(1, rounds + 1):
            agent.append(ChatMessageUser(content=said))
            reply = await model.generate(agent, config=talk)
            agent.append(ChatMessageAssistant(content=reply.completion))
            jobs = [partial(_probed, model, list(agent), branches, probe)]
            if number < rounds:
                partner.append(ChatMessageUser(content=reply.completion))
                jobs.append(partial(model.generate, list(partner), config=talk))
            asked, *answer = await together(jobs)
            record.append(asked)
            if answer:
                said = answer[0].completion
                partner.append(ChatMessageAssistant(content=said))
        state.messages, state.completed = agent, True
        state.store.set("rounds", record)
        return state

    return solve


async def _probed(
    model: Model, history: Sequence[ChatMessage], questions: dict[str, str], config: GenerateConfig
) -> dict[str, dict[str, Any]]:
    """The replies to the questions, each on its own branch of the conversation."""
    jobs = [
        partial(model.generate, [*history, ChatMessageUser(content=question)], config=config)
        for question in questions.values()
    ]
    replies = await together(jobs)
    return {
        name: {"text": reply.completion, "cut": reply.stop_reason == "max_tokens"}
        for name, reply in zip(questions, replies, strict=True)
    }


@scorer(metrics=[mean()])
def stability() -> Scorer:
    """The share of rounds in which the agent's own rule is kept (0..1); NaN, unscored, where none could be judged."""

    async def score(state: TaskState, target: Target) -> Score:
        frame = pl.DataFrame(_sample_rows(state.metadata, state.store.get("rounds") or []), schema=SCHEMA)
        kept = frame.filter((pl.col("probe") == "own") & (pl.col("round") > 0))["kept"].mean()
        last = frame.filter(pl.col("probe") == "own")["reply"].to_list()[-1:]
        return Score(value=math.nan if kept is None else float(kept), answer=last[0] if last else None)  # type: ignore

    return score


SCHEMA: dict[str, Any] = {
    "rule": pl.String,
    "kind": pl.String,
    "partner": pl.String,
    "epoch": pl.Int64,
    "round": pl.Int64,  # 0: before the talk
    "probe": pl.String,  # own, partner, reminder; control at round 0
    "kept": pl.Boolean,
    "missing": pl.String,
    "reply": pl.String,
}


def rows(log: EvalLog) -> pl.DataFrame:
    """Every probe of a log, one row each; `kept` is null with a reason where a cut reply leaves it open."""
    found: list[dict[str, Any]] = []
    for sample in log.samples or []:
        found += _sample_rows(sample.metadata, sample.store.get("rounds") or [], sample.epoch)
    return pl.DataFrame(found, schema=SCHEMA)


def _sample_rows(case: dict[str, Any], record: Sequence[dict[str, Any]], epoch: int = 1) -> list[dict[str, Any]]:
    by_id = {rule.id: rule for rule in stimuli().rules}
    found: list[dict[str, Any]] = []
    for number, asked in enumerate(record):
        for name, reply in asked.items():
            rule = by_id[case["partner"] if name == "partner" else case["rule"]]
            kept = _checker(rule)(reply["text"], reply["cut"]) if reply["text"].strip() else None
            missing = None if kept is not None else "cut off" if reply["text"].strip() else "empty"
            values = {"epoch": epoch, "round": number, "probe": name, "kept": kept, "missing": missing}
            held = {name: case[name] for name in ("rule", "kind", "partner")}
            found.append(held | values | {"reply": reply["text"]})
    return found


class Finding(NamedTuple):
    """All results. curve: one row a probe and round (share kept, interval over rules); slopes: change of the share a
    round, by probe; lost: own rule, round 0 minus last; adopted: partner's rule, last minus round 0; own_over_partner:
    at the last round; remedy: reminder minus own after the talk began; followed: own minus control before it."""

    curve: pl.DataFrame
    slopes: dict[str, Interval]
    lost: Interval
    adopted: Interval
    own_over_partner: Interval
    remedy: Interval
    followed: Interval
    validity: Validity


def findings(frame: pl.DataFrame) -> Finding:
    """The results from `rows`. Rules are resampled whole, with all their rounds and probes."""
    asked = [name for name in PROBES if name in set(frame["probe"])]
    last = int(frame["round"].max() or 0)  # pyright: ignore[reportArgumentType]
    followed = _difference(frame, ("own", 0), ("control", 0))
    slopes = {name: _slope(frame.filter(pl.col("probe") == name)) for name in asked}
    return Finding(
        curve(frame),
        slopes,
        _difference(frame, ("own", 0), ("own", last)),
        _difference(frame, ("partner", last), ("partner", 0)),
        _difference(frame, ("own", last), ("partner", last)),
        _difference(frame, ("reminder", None), ("own", None)),
        followed,
        assess(
            [
                _followed(followed),
                validity.readable(_own(frame)["missing"].is_null().to_list()),
                *_own_worded(frame.filter(pl.col("round") == last)),
            ]
        ),
    )


def _own_worded(frame: pl.DataFrame) -> list[Check]:
    """Whether the agent still answers what it is asked: replies to its own and to the partner's question differ.

    Read at one round, the last, where loops are likeliest; no check where one of the two is not asked.
    """
    if not {"own", "partner"} <= set(frame["probe"]):
        return []
    pairs = frame.filter(pl.col("probe").is_in(["own", "partner"])).group_by("rule", "epoch", maintain_order=True)
    return [validity.own_words(mark for _, pair in pairs for mark in own_words(pair["reply"].to_list()))]


def curve(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of `tables/prompt_drift_curve.parquet`: the share of rules kept by probe and round."""
    found: list[dict[str, Any]] = []
    for (name, number), group in frame.group_by("probe", "round", maintain_order=True):
        share = bootstrap_mean(_kept(group), list(group["rule"]))
        values = {"kept": share.estimate, "low": share.low, "high": share.high, "rules": share.n}
        found.append({"probe": name, "round": number, **values, "missing": group["kept"].null_count()})
    return pl.DataFrame(found, schema=CURVE).sort("probe", "round")


CURVE: dict[str, Any] = {
    "probe": pl.String,
    "round": pl.Int64,
    "kept": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "rules": pl.Int64,
    "missing": pl.Int64,
}


def by_kind(frame: pl.DataFrame) -> pl.DataFrame:
    """The share of own rules kept by kind: before the talk, after it began, and in the control."""
    own, start = pl.col("probe") == "own", pl.col("round") == 0
    kept = pl.col("kept").cast(pl.Float64)
    return frame.group_by("kind", maintain_order=True).agg(
        pl.col("rule").n_unique().alias("rules"),
        kept.filter(pl.col("probe") == "control").mean().alias("control"),
        kept.filter(own & start).mean().alias("start"),
        kept.filter(own & ~start).mean().alias("later"),
    )


def _own(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("probe") == "own")


def _kept(frame: pl.DataFrame) -> np.ndarray:
    return numbers(frame.with_columns(pl.col("kept").cast(pl.Float64)), "kept")


def _slope(frame: pl.DataFrame) -> Interval:
    return within_slope(_kept(frame), frame["round"].to_numpy(), list(frame["rule"]))


def _difference(frame: pl.DataFrame, first: tuple[str, int | None], second: tuple[str, int | None]) -> Interval:
    """Share kept in the first arm minus in the second, paired by rule; an arm is (probe, round), None: all after 0.

    Only rules that were judged in both arms count, so that cut replies do not change who is compared.
    """
    arms: list[pl.DataFrame] = []
    for probe, number in (first, second):
        at = pl.col("round") > 0 if number is None else pl.col("round") == number
        arms.append(frame.filter((pl.col("probe") == probe) & at & pl.col("kept").is_not_null()))
    both = set(arms[0]["rule"]) & set(arms[1]["rule"])
    arms = [arm.filter(pl.col("rule").is_in(list(both))) for arm in arms]
    return bootstrap_difference(_kept(arms[0]), _kept(arms[1]), list(arms[0]["rule"]), list(arms[1]["rule"]))


def _followed(difference: Interval) -> Check:
    """Void unless the system prompt makes rules kept: A when the interval lies above 0 over 20 rules, B over 10."""
    reasons, value = stimuli().reasons, difference.estimate
    if value is None:
        return Check("followed", None, "void", sentence(reasons["unasked"]))
    if difference.low is None or difference.low <= 0:
        return Check("followed", value, "void", sentence(reasons["unfollowed"].format(value=value, n=difference.n)))
    cases = validity.CASES_FOR
    grade = "A" if difference.n >= cases["A"] else "B" if difference.n >= cases["B"] else "C"
    return Check("followed", value, grade, sentence(reasons["followed"].format(value=value, n=difference.n)))


def measures(found: Finding) -> list[Measure]:
    """The rows of `tables/measures.parquet`."""
    named = {
        **{f"{name}.slope": slope for name, slope in found.slopes.items()},
        "lost": found.lost,
        "adopted": found.adopted,
        "own_over_partner": found.own_over_partner,
        "remedy": found.remedy,
    }
    return [
        Measure(f"prompt_drift.{name}", value.estimate, value.low, value.high, value.n, found.validity)
        for name, value in named.items()
        if value.n
    ]


def summary(found: Finding) -> dict[str, Any]:
    """What `summary.json` says: `prompt_drift`, every number null where void, with the reason; and the control."""
    said: dict[str, Any] = {"grade": found.validity.grade, "reason": found.validity.reason}
    for measure in measures(found):
        name = measure.name.removeprefix("prompt_drift.").replace(".", "_")
        said |= {name: measure.estimate, f"{name}_low": measure.low, f"{name}_high": measure.high}
    return {
        "prompt_drift": said
        | {
            "followed": found.followed.estimate,
            "followed_low": found.followed.low,
            "followed_high": found.followed.high,
            "rules": found.followed.n,
        }
    }
