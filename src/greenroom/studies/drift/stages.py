"""What drift does on a local model, and how replies of any model are read.

Every reply is read cold, after the message it answers alone, which is the one reading in which all ways back can be
compared: under a cap the hot projection cannot fall by definition. A local subject is read hot as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from greenroom.asking.read_talk import COLD, HOT, hold_and_read, message_values
from greenroom.asking.talk import chat_lengths
from greenroom.asking.types import Talk
from greenroom.directions.axis import axes_of
from greenroom.directions.cold import cold_places
from greenroom.directions.interventions import cap as capped
from greenroom.runs.run import StageResult
from greenroom.studies.drift import ARMS
from greenroom.studies.drift.design import PART, arms_of, prompt_of
from greenroom.studies.drift.findings import PREDICTED, REPLIES, predicted
from greenroom.studies.study import Work
from greenroom.subject import opened


def converse(work: Work, wave: Sequence[Talk], number: int) -> StageResult:
    """Holds a wave of conversations (by number, from 1) and reads their replies, hot and cold."""
    size, axes = work.size, axes_of(work.subject, work.given.get("axis"))
    player = work.given.get("player") or size.player
    held = hold_and_read(
        work.subject, PART, wave, chat_lengths(size.tokens), axes, seed=work.seed, wave=number - 1,
        edits=capped(axes[0], size.floor) if "cap" in arms_of(size.arms, prompt_of(size), edits=True) else (),
        player=None if player is None else opened(player), system=work.system, progress=work.advance,
    )  # fmt: skip
    return StageResult({f"answers_{number}": held.answers})


def read(work: Work) -> StageResult:
    """The replies of all conversations, read cold where they were not read as they were made, and what the user's
    messages tell of their places (R²)."""
    reader, answers = work.reader, work.answers.filter(pl.col("wording").is_not_null())
    hot_axis, cold_axis = axes_of(reader, work.given.get("axis"))
    if COLD not in answers.columns:
        messages, replies = answers["message"].to_list(), answers["reply"].fill_null("").to_list()
        places = cold_places(reader, cold_axis, messages, replies, work.advance)
        answers = answers.with_columns(pl.Series(COLD, places, pl.Float64), pl.lit(None, pl.Float64).alias(HOT))
    frame = pl.DataFrame([_row(answer) for answer in answers.iter_rows(named=True)], schema=REPLIES)
    talk = frame.filter(pl.col("moment") == "turn")
    told = predicted(talk, message_values(reader, cold_axis.layer, talk["message"].to_list()), work.seed)
    about = {
        "reader": reader.name, "axis": hot_axis.name, "cold_axis": cold_axis.name, "layer": cold_axis.layer,
        "reliable": hot_axis.reliable and cold_axis.reliable,
    }  # fmt: skip
    return StageResult({"replies": frame, "predicted": pl.DataFrame(told, schema=PREDICTED)}, about)


def _row(answer: dict[str, Any]) -> dict[str, Any]:
    """One reply; what sums up the conversation for a fresh context is place 0 of that return."""
    first, *rest = answer["wording"].split("/")
    return {
        "conversation": answer["case"], "domain": answer["domain"], "case": answer["number"], "user": answer["user"],
        "moment": "return" if first in ARMS else first,
        "arm": rest[0] if first == "back" else first if first in ARMS else None,
        "place": int(rest[-1]) if rest else 0, "message": answer["message"], "reply": answer["reply"] or "",
        "cut": answer["cut"], HOT: answer[HOT], COLD: answer[COLD],
    }  # fmt: skip
