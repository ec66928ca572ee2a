"""Conversations as scripts, which say what is asked next and do not care who answers.

A script is a generator: it yields the replies it wants (`Ask`s, which may be answered in any order and all at once),
is sent their texts, and ends by returning its conversation. The same script runs as an Inspect sample on any provider
(`held`, here) and, many of them in step, on a local subject with a prefix cache and activations (`auditing/talks.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
)

from greenroom.asking.elicitation import together
from greenroom.conversation import Conversation


@dataclass(frozen=True)
class Ask:
    """One reply that a script wants.

    name: what it is for, once in a script. conversation: ends with the message to be answered. by: the model under
    study, or the model that plays the user. kind: decides its length. edited: under the intervention that is tried.
    branch: the conversation goes on elsewhere, or ends soon; apart: it goes on from a branch, so that it shares more with
    the other asks of its step than with what was asked before. Both are hints for caches.
    """

    name: str
    conversation: Conversation
    by: Literal["subject", "user"] = "subject"
    kind: Literal["turn", "probe"] = "turn"
    edited: bool = False
    branch: bool = False
    apart: bool = False

    @property
    def message(self) -> str:
        """What is answered."""
        return self.conversation[-1]["content"]


Script = Generator[Sequence[Ask], list[str], Conversation]


def spoken(text: str, silence: str) -> str:
    """A reply as it goes on in a conversation: some providers refuse empty messages."""
    return text.strip() or silence


def flipped(conversation: Conversation, system: str, begin: str) -> Conversation:
    """The conversation as its user sees it: what it said is its own, and the model's replies are said to it."""
    seen: Conversation = [{"role": "system", "content": system}, {"role": "user", "content": begin}]
    for message in conversation:
        if message["role"] != "system":
            role: Any = "assistant" if message["role"] == "user" else "user"
            seen.append({"role": role, "content": message["content"]})
    return seen


async def held(
    script: Script, model: Model, user: Model, configs: dict[str, GenerateConfig]
) -> tuple[Conversation, list[dict[str, Any]]]:
    """Runs one script on Inspect models; configs by `Ask.kind`.

    Returns its conversation and one record a reply of the subject: name, message, text, cut (ended by the token limit).
    """
    record: list[dict[str, Any]] = []
    try:
        asks = next(script)
        while True:
            calls = [
                partial(
                    (model if ask.by == "subject" else user).generate, chat(ask.conversation), config=configs[ask.kind]
                )
                for ask in asks
            ]
            replies = await together(calls)
            for ask, reply in zip(asks, replies, strict=True):
                if ask.by == "subject":
                    cut = reply.stop_reason == "max_tokens"
                    record.append({"name": ask.name, "message": ask.message, "text": reply.completion, "cut": cut})
            asks = script.send([reply.completion for reply in replies])
    except StopIteration as end:
        return end.value, record


def chat(conversation: Conversation) -> list[ChatMessage]:
    """The conversation as Inspect's messages."""
    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    return [kinds[message["role"]](content=message["content"]) for message in conversation]
