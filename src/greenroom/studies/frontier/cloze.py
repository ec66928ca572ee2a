"""Forced cloze answers: which pole the subject says is its own, when its turn is begun and it has to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from greenroom.conversation import Conversation
from greenroom.directions import Direction
from greenroom.directions.scorers import trait_of
from greenroom.subject import Intervention, Subject


@cache
def stimuli() -> dict[str, Any]:
    """What the study asks, from explore.yaml."""
    return yaml.safe_load(Path(__file__).with_name("explore.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class ForcedChoice:
    """Two continuations of one begun turn. cluster: choices with the same words to say."""

    conversation: Conversation
    towards: str
    away: str
    cluster: str


def forced_choices(direction: Direction) -> list[ForcedChoice]:
    """The forced choices for a direction; none when the words for its poles are unknown."""
    text, trait = stimuli(), trait_of(direction)
    if direction.name in text["directions"]:
        poles = text["directions"][direction.name]
        words = [(towards, away) for towards in poles["towards"] for away in poles["away"]]
    elif trait is not None:
        words = [(trait.positive, trait.negative)]
    elif direction.kind == "trait" and direction.sign_test is not None:
        words = [(direction.sign_test.towards, direction.sign_test.away)]
    else:
        return []
    found = [_choice(frame, *pair) for pair in words for frame in text["poles"]]
    if trait is not None:
        found += [_choice(frame, pair.positive, pair.negative) for pair in trait.pairs for frame in text["pairs"]]
    return found


def _choice(frame: dict[str, str], towards: str, away: str) -> ForcedChoice:
    names = {"towards": towards, "away": away}
    conversation: Conversation = [
        {"role": "user", "content": frame["user"].format(**names)},
        {"role": "assistant", "content": frame["assistant"]},
    ]
    cluster = frame["assistant"] + "|" + towards
    return ForcedChoice(conversation, frame["towards"].format(**names), frame["away"].format(**names), cluster)


def cloze_log_odds(
    subject: Subject, choices: Sequence[ForcedChoice], settings: Sequence[Sequence[Intervention]]
) -> np.ndarray:
    """(setting, choice) mean log-probability a token of `towards` minus that of `away`, in nats."""
    if not choices:
        return np.zeros((len(settings), 0))
    first = min((edit.layer for edits in settings for edit in edits), default=subject.layers - 1)
    conversations = [choice.conversation for choice in choices for _ in range(2)]
    prepared = subject.prepare(conversations, [text for c in choices for text in (c.towards, c.away)], [first])
    rows = []
    for edits in settings:
        means = [float(np.mean(tokens)) for tokens in prepared.score(edits).tokens]
        rows.append(np.array(means[::2]) - np.array(means[1::2]))
    return np.stack(rows)
