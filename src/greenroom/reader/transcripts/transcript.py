"""What reading a file of conversations yields: transcripts, and records that could not be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from greenroom.conversation import Conversation, Message, MessageRole

# How the formats of the field call the three speakers.
SPEAKERS: dict[str, MessageRole] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "ai": "assistant", "model": "assistant",
    "bot": "assistant", "bard": "assistant", "bing": "assistant", "claude": "assistant",
}  # fmt: skip


@dataclass(frozen=True)
class Transcript:
    """One conversation of somebody's file.

    source: the file as it was named ("-" is stdin). index: the record's number in it, from 0, broken ones counted.
    messages: text alone, empty ones left out. skipped: what was left out, kind → count (`tool_calls`,
    `tool_results`, `images`, `audio`, `files`, `reasoning`, `empty_messages`, `other`). line: where the record begins,
    from 1, where the format has lines.
    """

    source: str
    index: int
    messages: Conversation
    skipped: dict[str, int] = field(default_factory=dict)
    line: int | None = None


@dataclass(frozen=True)
class Broken:
    """A record (or a whole file) that is no conversation. line: from 1; None where the format has no lines."""

    source: str
    line: int | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """The object that stands for it in `readings.jsonl`."""
        return {"broken": self.reason, "source": self.source, "line": self.line}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Broken | None:
        """What `as_dict` was made of; None for the record of a conversation."""
        return cls(record["source"], record["line"], record["broken"]) if "broken" in record else None

    def __str__(self) -> str:
        return f"{self.source}{'' if self.line is None else f':{self.line}'}: {self.reason}"


class Unreadable(Exception):
    """Why a record is no conversation; becomes a `Broken`."""


@dataclass
class Draft:
    """Messages in the making, and what was left out of them."""

    messages: list[Message] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def say(self, speaker: object, text: str) -> None:
        """Adds a message; an empty one is counted instead. Raises Unreadable for an unknown speaker."""
        role = SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None
        if role is None:
            raise Unreadable(f"message of {speaker!r}; expected system, user, assistant or tool")
        if role == "assistant":
            text, thoughts = spoken(text)
            self.skipped["reasoning"] += thoughts
        # JSON can hold halves of surrogate pairs, which no tokenizer and no file takes.
        text = text.encode("utf-8", "replace").decode("utf-8")
        if text.strip():
            self.messages.append({"role": role, "content": text})
        else:
            self.skipped["empty_messages"] += 1

    def done(self, source: str, index: int, line: int | None) -> Transcript:
        if not self.messages:
            raise Unreadable("no message with text; expected at least one")
        return Transcript(source, index, self.messages, dict(sorted((+self.skipped).items())), line)


def spoken(text: str) -> tuple[str, int]:
    """The reply without a leading `<think>…</think>`, which its user never saw, and whether there was one."""
    if not text.lstrip().startswith("<think>"):
        return text, 0
    _, closed, rest = text.partition("</think>")
    return (rest.lstrip() if closed else ""), 1
