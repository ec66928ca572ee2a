"""From a record of each format to messages. A format is recognised by its keys, record by record.

A record with a `messages` list is a conversation whatever other keys it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from greenroom.reader.transcripts.transcript import Draft, Unreadable

# Kinds of content parts, in the words of OpenAI, Anthropic, Inspect and the exports.
TEXT = {"text", "input_text", "output_text", "multimodal_text", "refusal"}
SKIPPED = {
    "tool_calls": {"tool_use", "tool_call", "function_call", "server_tool_use", "mcp_tool_use"},
    "tool_results": {"tool_result", "function_call_output", "web_search_tool_result", "execution_output",
                     "tether_browsing_display", "tether_quote"},
    "images": {"image", "image_url", "input_image", "image_asset_pointer"},
    "audio": {"audio", "input_audio", "audio_transcription", "audio_asset_pointer", "video"},
    "files": {"file", "input_file", "document", "data"},
    "reasoning": {"thinking", "redacted_thinking", "reasoning", "thoughts", "reasoning_recap"},
}  # fmt: skip
KIND = {part: kind for kind, parts in SKIPPED.items() for part in parts}
TOOLS = {"tool", "function", "observation", "ipython", "environment"}


def chat_messages(messages: Any, draft: Draft) -> None:
    """OpenAI messages (and Inspect's, and Anthropic's): role and content, a text or a list of parts."""
    if not isinstance(messages, list) or not messages:
        raise Unreadable("messages is no list with at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise Unreadable(f"message {index} is {type(message).__name__}; expected an object with role and content")
        calls = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else [])
        draft.skipped["tool_calls"] += len(calls) if isinstance(calls, list) else 1
        if message.get("role") in TOOLS:
            draft.skipped["tool_results"] += 1
            continue
        said = _text(message.get("content"), draft, index) or _text(message.get("refusal"), draft, index)
        if not said and calls:
            continue
        draft.say(message.get("role"), said)


def _text(content: Any, draft: Draft, index: int) -> str:
    """The text of a message's content; everything else in it is counted."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Unreadable(
            f"message {index} has content of type {type(content).__name__}; expected text or a list of parts"
        )
    texts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = (part.get("text") or part.get("refusal")) if isinstance(part, Mapping) else None
        if kind in TEXT and isinstance(text, str):
            texts.append(text)
        elif not kind or kind not in TEXT:
            draft.skipped[KIND.get(str(kind), "other")] += 1
    return "\n\n".join(text for text in texts if text.strip())


def openai(record: Any, draft: Draft) -> None:
    chat_messages(record if isinstance(record, list) else record["messages"], draft)


def sharegpt(record: Any, draft: Draft) -> None:
    """`conversations` of {from, value}; newer files write {role, content} under the same key."""
    turns = record["conversations"]
    if not isinstance(turns, list) or not turns:
        raise Unreadable("conversations is no list with at least one message")
    if isinstance(turns[0], Mapping) and "role" in turns[0]:
        chat_messages(turns, draft)
        return
    if isinstance(record.get("system"), str):
        draft.say("system", record["system"])
    for index, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("value"), str):
            raise Unreadable(f"message {index} is no object with from and value")
        speaker = turn.get("from")
        if speaker in TOOLS:
            draft.skipped["tool_results"] += 1
        elif speaker in KIND:
            draft.skipped[KIND[str(speaker)]] += 1
        else:
            draft.say(speaker, turn["value"])


def assistant_axis(record: Any, draft: Draft) -> None:
    """The transcripts of "The Assistant Axis" (arXiv 2601.10387): `conversation`, beside model and domain."""
    chat_messages(record["conversation"], draft)


def claude(record: Any, draft: Draft) -> None:
    """A conversation of Claude's data export: `chat_messages` with a sender."""
    for index, message in enumerate(record["chat_messages"]):
        if not isinstance(message, Mapping):
            raise Unreadable(f"message {index} is {type(message).__name__}; expected an object with sender and text")
        for key in ("attachments", "files", "files_v2"):
            found = message.get(key)
            draft.skipped["files"] += len(found) if isinstance(found, list) else 0
        # Older exports have the text alone; in newer ones `text` repeats the parts and mentions what they leave out.
        parts = message.get("content")
        draft.say(message.get("sender"), _text(parts if parts else message.get("text"), draft, index))


def chatgpt(record: Any, draft: Draft) -> None:
    """A conversation of ChatGPT's data export: a tree of edits, of which the branch last looked at is read."""
    nodes, at = record["mapping"], record.get("current_node")
    if not isinstance(nodes, Mapping) or not nodes:
        raise Unreadable("mapping is no object with messages")
    if at not in nodes:  # old exports lack it: the newest leaf is what was looked at last
        leaves = [key for key, node in nodes.items() if not node.get("children")]
        at = max(leaves, key=lambda key: (nodes[key].get("message") or {}).get("create_time") or 0, default=None)
    branch: list[Any] = []
    seen: set[str] = set()
    while at is not None and at in nodes and at not in seen:
        seen.add(at)
        branch.append(nodes[at].get("message"))
        at = nodes[at].get("parent")
    for index, message in enumerate(message for message in reversed(branch) if message):
        _chatgpt_message(message, draft, index)


def _chatgpt_message(message: Mapping[str, Any], draft: Draft, index: int) -> None:
    role = (message.get("author") or {}).get("role")
    content = message.get("content") or {}
    kind = content.get("content_type")
    if (message.get("metadata") or {}).get("is_visually_hidden_from_conversation"):
        return  # the service's own bookkeeping; its user never saw it
    if role in TOOLS:
        draft.skipped["tool_results"] += 1
    elif message.get("recipient", "all") != "all":
        draft.skipped["tool_calls"] += 1
    elif kind in KIND:
        draft.skipped[KIND[kind]] += 1
    elif kind in ("text", "multimodal_text"):
        parts = content.get("parts") or []
        named = [
            part if isinstance(part, str) else {**part, "type": part.get("content_type")}
            for part in parts if isinstance(part, str | dict)
        ]  # fmt: skip
        said = _text(named, draft, index)
        if said or role != "system":
            draft.say(role, said)
    else:
        draft.skipped["other"] += 1


READERS: dict[str, Callable[[Any, Draft], None]] = {
    "openai": openai,
    "sharegpt": sharegpt,
    "assistant-axis": assistant_axis,
    "claude": claude,
    "chatgpt": chatgpt,
}
# The key by which a record of each format is known, in the order in which they are looked for.
KEYS = {
    "messages": "openai",
    "conversations": "sharegpt",
    "conversation": "assistant-axis",
    "chat_messages": "claude",
    "mapping": "chatgpt",
}


def recognised(record: Any) -> str | None:
    """The format of a record, or None."""
    if isinstance(record, list):
        return "openai" if record and all(isinstance(item, Mapping) and "role" in item for item in record) else None
    if not isinstance(record, Mapping):
        return None
    return next((name for key, name in KEYS.items() if isinstance(record.get(key), list | dict)), None)


def messages_of(record: Any, name: str | None) -> Draft:
    """The messages of a record in the format `name`, or in the one that its keys show. Raises Unreadable."""
    found = name or recognised(record)
    draft = Draft()
    if found is None:
        keys = f" (it has {', '.join(sorted(map(str, record))[:6])})" if isinstance(record, Mapping) else ""
        raise Unreadable(f"no conversation{keys}; expected one of the keys {', '.join(KEYS)}")
    try:
        READERS[found](record, draft)
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"not a conversation in the format {found} ({type(error).__name__}: {error})") from error
    return draft
