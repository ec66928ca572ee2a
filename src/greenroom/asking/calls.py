"""Calls of Inspect models: a conversation as Inspect's messages, many calls at once, equal calls made once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import anyio
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

from greenroom.conversation import Conversation
from greenroom.store import Kept, digest

T = TypeVar("T")


def chat(conversation: Conversation) -> list[ChatMessage]:
    """The conversation as Inspect's messages."""
    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    return [kinds[message["role"]](content=message["content"]) for message in conversation]


def error_line(error: Exception | str) -> str:
    """What an error says, in one line; Inspect keeps the repr, and puts the whole request before what went wrong."""
    said = error if isinstance(error, str) else str(getattr(error, "message", None) or error) or type(error).__name__
    text = " ".join(said.replace("\\n", "\n").strip().split("\n\n")[-1].split())
    quoted = re.fullmatch(r"\w+\((['\"])(.*)\1\)", text)
    return quoted[2] if quoted else text


async def together(calls: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """Runs the calls concurrently; results in the order of the calls. The first error is raised bare."""
    results: dict[int, T] = {}
    errors: list[Exception] = []

    async def one(index: int) -> None:
        try:
            results[index] = await calls[index]()
        except Exception as error:  # noqa: BLE001  raised below: a task group would wrap it
            errors.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for index in range(len(calls)):
            group.start_soon(one, index)
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(calls))]


async def recalled(
    kept: Kept | None, key: Sequence[object], call: Callable[[], Coroutine[Any, Any, T]], kind: type[T]
) -> T:
    """What was kept under a key, else what the call returns, which is kept. kind: a dataclass of plain values."""
    if kept is None:
        return await call()
    name = digest(json.dumps(key))
    known = kept.get(name)
    if known is not None:
        return kind(**{field: tuple(one) if isinstance(one, list) else one for field, one in known.items()})
    found = await call()
    kept.add(name, asdict(found))  # type: ignore[call-overload]
    return found


class Once:
    """Remembers what was asked, so that samples which share a question ask it once; errors are not remembered."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}
        self._asking: dict[Hashable, anyio.Event] = {}

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        while key not in self._found:
            if key in self._asking:
                await self._asking[key].wait()
                continue
            event = self._asking[key] = anyio.Event()
            try:
                self._found[key] = await make()
            finally:
                del self._asking[key]
                event.set()
        return self._found[key]
