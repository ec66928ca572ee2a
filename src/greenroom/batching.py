"""Gathers concurrent calls into batches whose make-up does not depend on who comes first."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread

from greenroom.conversation import Conversation

QUIET_SECONDS = 0.02  # a batch starts when no call has arrived for this long


@dataclass(frozen=True, order=True)
class Settings:
    """All that decides how a group of calls is run; calls with equal settings share a batch."""

    kind: str  # "score" | "next" | "generate"
    max_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 50
    seed: int = 0


@dataclass(eq=False)
class Call:
    """One question to the subject on its way through a batch."""

    settings: Settings
    conversation: Conversation
    continuation: str = ""
    woken: anyio.Event = field(default_factory=anyio.Event)
    done: bool = False
    result: Any = None
    error: Exception | None = None
    reports: bool = False  # the first of a batch that failed

    @property
    def key(self) -> str:
        """The content, written so that sorting puts conversations with a common beginning side by side."""
        return json.dumps([[m["role"], m["content"]] for m in self.conversation] + [self.continuation])


class Gatherer:
    """Collects calls until none arrives for a moment, then runs them all; one batch at a time.

    There is no background task: the first waiting caller leads, the others sleep, and a leader that is cancelled
    hands over. So nothing outlives an event loop and a cancelled call leaves no trace.
    """

    def __init__(self, run: Callable[[list[Call]], None], quiet: float = QUIET_SECONDS) -> None:
        self._run, self._quiet = run, quiet
        self._pending: list[Call] = []
        self._leading = False
        self._one_at_a_time = threading.Lock()

    async def ask(self, call: Call) -> Any:
        self._pending.append(call)
        try:
            while not call.done:
                if self._leading:
                    await call.woken.wait()
                    call.woken = anyio.Event()
                else:
                    await self._lead(call)
        finally:
            if call in self._pending:
                self._pending.remove(call)
        if call.error is not None:
            # Inspect writes a long traceback for each failing call. Whoever is first reports; that usually cancels the
            # rest, which are given the time for it. Short naps, because the loop is blocked while tracebacks are made.
            for _ in range(0 if call.reports else 40):
                await anyio.sleep(0.05)
            # One error of many calls: each that raises it would add its own frames to what the next one has to write.
            raise call.error if call.reports else call.error.with_traceback(None)
        return call.result

    async def _lead(self, own: Call) -> None:
        self._leading, running = True, list[Call]()
        try:
            while not own.done:
                seen = -1
                while seen != len(self._pending):
                    seen = len(self._pending)
                    await anyio.sleep(self._quiet)
                batch, self._pending = self._pending, []
                running = batch
                await anyio.to_thread.run_sync(self._locked, batch, abandon_on_cancel=True)
                for call in batch:
                    call.woken.set()
        finally:
            self._leading = False
            # A cancelled leader leaves its thread behind and its batch unanswered: the batch waits again.
            self._pending = [call for call in running if not call.done and call is not own] + self._pending
            if self._pending:
                self._pending[0].woken.set()

    def _locked(self, batch: list[Call]) -> None:
        with self._one_at_a_time:
            waiting = [call for call in batch if not call.done]  # a thread left behind may have answered meanwhile
            if waiting:
                self._run(waiting)
