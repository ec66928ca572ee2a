"""The plain shape in which text travels: the OpenAI message list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, cast

from greenroom.errors import ConversationError

MessageRole = Literal["system", "user", "assistant"]
# The tags between which open models write their reasoning (DeepSeek-R1, Qwen3 and others).
THINK, END_THINK = "<think>", "</think>"


class Message(TypedDict):
    """One message: who speaks (`system`, `user` or `assistant`) and what."""

    role: MessageRole
    content: str


Conversation = list[Message]
LETTERS_A_TOKEN = 4  # as English text has them; for plans, where no tokenizer is at hand


def system(content: str) -> Message:
    return {"role": "system", "content": content}


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def under(message: str | None, conversation: Conversation) -> Conversation:
    """The conversation under a system message, which stands before its own where it has one."""
    if not message:
        return conversation
    if conversation and conversation[0]["role"] == "system":
        return [system(f"{message}\n{conversation[0]['content']}"), *conversation[1:]]
    return [system(message), *conversation]


def checked(conversation: Sequence[Any]) -> Conversation:
    """The conversation, if it is one; raises ConversationError naming the message and the field that is wrong."""
    if isinstance(conversation, str | bytes):
        raise ConversationError(
            "a conversation is a list of {role, content} messages; got a plain string: wrap it as "
            '[{"role": "user", "content": …}]'
        )
    if not conversation:
        raise ConversationError("a conversation needs at least one message; got none")
    for index, message in enumerate(conversation):
        if not isinstance(message, dict):
            raise ConversationError(
                f"message {index} is {type(message).__name__}; expected a dict with role and content"
            )
        fields = cast(dict[str, Any], message)
        if fields.get("role") not in ("system", "user", "assistant"):
            raise ConversationError(
                f"message {index} has role {fields.get('role')!r}; expected system, user or assistant"
            )
        if not isinstance(fields.get("content"), str):
            raise ConversationError(
                f"message {index} has content of type {type(fields.get('content')).__name__}; expected text"
            )
    return cast(Conversation, list(conversation))


def split_reasoning(text: str) -> tuple[str, str]:
    """(reasoning, reply) of a model's text that may begin with a `<think>…</think>` block.

    Without one the reply is the text as it is. A block that never closes was cut while thinking: all is reasoning and
    the reply is empty. White space at the ends of both parts of a split text is dropped.
    """
    begun = text.lstrip()
    if not begun.startswith(THINK):
        return "", text
    reasoning, _, reply = begun.removeprefix(THINK).partition(END_THINK)
    return reasoning.strip(), reply.strip()


def letters_in(conversations: Sequence[Conversation]) -> int:
    """How many characters the messages hold."""
    return sum(len(message["content"]) for conversation in conversations for message in conversation)


def about_tokens(letters: int) -> int:
    """How many tokens so many characters of English are, about."""
    return -(-letters // LETTERS_A_TOKEN)
