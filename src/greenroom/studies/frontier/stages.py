"""What a frontier computes: every capability item, forced answers and replies under each setting, then how they compare.

Each stage reads what earlier ones stored, so that a resumed run computes the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from greenroom.capability import PRICES, CapabilityTest, limit, priced
from greenroom.directions import Direction
from greenroom.directions.interventions import direction_named
from greenroom.directions.scorers import scorer_for
from greenroom.measures.intervals import bootstrap_mean
from greenroom.runs.run import StageResult
from greenroom.studies.frontier.cloze import cloze_log_odds, forced_choices
from greenroom.studies.frontier.findings import UNEDITED
from greenroom.studies.frontier.replies import prompts_of, read_replies, summarise, write_replies
from greenroom.studies.frontier.settings import Setting, settings_of
from greenroom.studies.study import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

UNITS = {"checker": "score", "cold_projection": "sd"}
DIRECTION = "frontier/direction.safetensors"
TEXTS = ("direction", "intervention", "floor", "effect_unit")


def price_settings(work: Work) -> StageResult:
    """Every item under every setting."""
    direction = _asked_for(work)
    settings = _settings(work, direction)
    steps = len(settings) + 1
    blocks = sorted({min(edit.layer for edit in setting.edits) for setting in settings if setting.edits})
    test = CapabilityTest(work.subject, blocks or [direction.layer], seed=work.seed, progress=work.share(0, 1 / steps))
    before, rows, answered = test.correct(), [], []
    asked = pl.DataFrame(
        {
            "item": [item.id for item in test.items],
            "family": [item.family for item in test.items],
            "stimulus": [item.stimulus for item in test.items],
            "chance": [item.chance for item in test.items],
        }
    )
    for number, setting in enumerate(settings):
        after = test.correct(setting.edits) if setting.edits else before
        rows += priced(test.items, setting.name, before, after)
        answered.append(asked.select(pl.lit(setting.name).alias("setting"), pl.all(), pl.Series("correct", after)))
        work.advance(number + 2, steps)
    numbers = {
        "direction": direction.name,
        "kind": direction.kind,
        "layer": direction.layer,
        "reliable": direction.reliable,
        "auc": direction.validity.get("auc"),
        "n_items": len(test.items),
    }
    tables = {"capability": pl.DataFrame(rows, schema=PRICES), "items": pl.concat(answered)}
    return StageResult(tables, numbers, {DIRECTION: direction.save})


def ask_cloze(work: Work) -> StageResult:
    """Which pole it says is its own."""
    direction, settings = _stored(work)
    choices = forced_choices(direction)
    odds = cloze_log_odds(work.subject, choices, [setting.edits for setting in settings])
    frame = pl.DataFrame(
        [
            {"setting": setting.name, "cluster": choice.cluster, "choice": index, "log_odds": float(value)}
            for setting, row in zip(settings, odds, strict=True)
            for index, (choice, value) in enumerate(zip(choices, row, strict=True))
        ],
        schema={"setting": str, "cluster": str, "choice": int, "log_odds": float},
    )
    return StageResult({"cloze": frame}, {"n_choices": len(choices)})


def reply(work: Work) -> StageResult:
    """What it writes under every setting, on the direction's questions and on plain tasks."""
    (direction, settings), size = _stored(work), work.size
    prompts = prompts_of(direction, size.replies, size.neutral)
    frame = write_replies(
        work.subject, direction, settings, prompts, tokens=size.tokens, seed=work.seed, progress=work.advance
    )
    return StageResult({"replies": frame})


def read(work: Work) -> StageResult:
    """How the replies read, without an edit."""
    direction, _ = _stored(work)
    score = work.given.get("score") or scorer_for(work.subject, direction, seed=work.seed)
    frame = read_replies(work.subject, direction, score, work.table("replies"), work.advance)
    return StageResult({"readings": frame}, {"score": score.name, "kind": score.kind})


def compare(work: Work) -> StageResult:
    """One row a setting (columns: docs/frontier.md), and how far the budget lasts."""
    direction, settings = _stored(work)
    capability = work.table("capability").filter(pl.col("family") == "all")
    prices = {row["setting"]: row for row in capability.to_dicts()}
    readings, cloze = work.table("readings"), work.table("cloze")
    unit = UNITS[work.results("reading")["kind"]]
    unedited = cloze.filter(pl.col("setting") == UNEDITED)["log_odds"].to_numpy()
    rows = []
    for setting in settings:
        own = cloze.filter(pl.col("setting") == setting.name)
        shift = bootstrap_mean(own["log_odds"].to_numpy() - unedited, own["cluster"].to_list(), seed=work.seed)
        price = prices[setting.name]
        rows.append(
            {
                "direction": direction.name, "intervention": setting.intervention, "strength": setting.strength,
                "floor": setting.floor, **summarise(readings, setting.name, UNEDITED, unit, work.seed),
                "cloze_shift": shift.estimate, "cloze_shift_low": shift.low, "cloze_shift_high": shift.high,
                **{name: price[name] for name in PRICES if name.startswith(("capability", "n_items"))},
            }
        )  # fmt: skip
    kinds = {name: str if name in TEXTS else int if name.startswith("n_") else float for name in rows[0]}
    frame = pl.DataFrame(rows, schema=kinds)
    plain = frame.row(by_predicate=pl.col("strength") == 0, named=True)
    numbers = {
        "unit": unit, "budget": work.size.budget, "n_replies": plain["n_replies"], "capability": plain["capability"],
        "perplexity": plain["perplexity"], "limits": _limits(work, frame, settings),
    }  # fmt: skip
    return StageResult({"frontier": frame}, numbers)


def _limits(work: Work, frame: pl.DataFrame, settings: Sequence[Setting]) -> dict[str, dict[str, Any]]:
    """How far the budget lasts upwards, downwards, and in cap floors."""
    parts = {name: part for (name,), part in work.table("items").partition_by("setting", as_dict=True).items()}
    plain, budget = parts[UNEDITED], work.size.budget
    before, chance, stimuli = plain["correct"].to_numpy(), plain["chance"].to_numpy(), plain["stimulus"].to_list()
    result: dict[str, dict[str, Any]] = {}
    for side, sign in (("up", 1), ("down", -1)):
        own = sorted((s for s in settings if (s.strength or 0) * sign > 0), key=lambda s: abs(s.strength or 0))
        if not own:
            continue
        sizes = [setting.strength or 0.0 for setting in own]
        after = np.stack([parts[setting.name]["correct"].to_numpy() for setting in own])
        found = limit(sizes, after, before, chance, stimuli, budget, work.seed)
        result[side] = {
            "strongest": found.strongest, "crossing": found.crossing, "crossing_low": found.low,
            "crossing_high": found.high, "tried": sizes[-1],
        }  # fmt: skip
    caps = frame.filter(pl.col("intervention") == "cap")
    if caps.height:
        # Floors need no order here: each is within the budget or not, and the one that does most is the strongest.
        within = caps.filter(pl.col("capability_loss_high") <= budget)
        best = within.sort(pl.col("effect").abs(), descending=True, nulls_last=True)
        result["cap"] = {"strongest": best["floor"][0] if best.height else None, "within": within["floor"].to_list()}
    return result


def _asked_for(work: Work) -> Direction:
    """The direction handed over, or the one of that name."""
    given, name = work.given.get("direction"), work.size.direction
    if given is not None:
        return given
    return work.axis() if name in ("assistant", "assistant_axis") else direction_named(work.subject, name)


def _stored(work: Work) -> tuple[Direction, list[Setting]]:
    """The direction of this run, and its settings."""
    direction = Direction.load(work.run.path / DIRECTION)
    return direction, _settings(work, direction)


def _settings(work: Work, direction: Direction) -> list[Setting]:
    return settings_of(direction, work.size.strengths, work.size.floors, work.size.layers)
