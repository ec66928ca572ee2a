"""Leakage: what a direction is about turning up where it has no business (as Golden Gate Claude spoke of its bridge).

Two readings of the replies to plain tasks: the trait's own score there, and the share of replies that name the topic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from greenroom.conversation import Conversation
from greenroom.directions import Direction
from greenroom.directions.scorers import trait_of
from greenroom.studies.frontier.cloze import stimuli


def topic_words(direction: Direction) -> tuple[str, ...]:
    """The words that name what a direction is about, in small letters; none for one of unknown meaning."""
    text = stimuli()
    if direction.name in text["topics"]:
        return tuple(word.lower() for word in text["topics"][direction.name])
    trait = trait_of(direction)
    said = f"{trait.positive} {trait.description}" if trait is not None else direction.name.replace("_", " ")
    words = re.findall(r"[a-z]{4,}", said.lower())
    return tuple(dict.fromkeys(word for word in words if word not in text["stopwords"]))


def names_topic(reply: str, conversation: Conversation, words: Sequence[str]) -> bool:
    """Whether a reply says a topic word, or one that begins with it, that nobody asked about."""
    asked = " ".join(message["content"] for message in conversation)
    return any(_says(reply, word) and not _says(asked, word) for word in words)


def _says(text: str, word: str) -> bool:
    # Short words ("AI") stand for themselves, longer ones for all that begins with them ("flatter" for "flattery").
    ending = r"\b" if len(word) < 4 else ""
    return re.search(rf"\b{re.escape(word)}{ending}", text, re.IGNORECASE) is not None
