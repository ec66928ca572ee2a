"""Messages to tokens and back: the chat template, and where each message's own text lies among the tokens.

Spans are exact. The template is rendered once with placeholders for the contents, which yields its literal pieces;
those pieces and the real contents must join to the real rendering, character by character. Nothing is searched for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from greenroom.conversation import Conversation, Message, checked
from greenroom.errors import ConversationError, ModelError

# Placeholders from Unicode's private use area: no real conversation and no template holds them.
_OPEN, _CLOSE = "\ue0a0", "\ue0a1"


@dataclass(frozen=True)
class Encoded:
    """A conversation as tokens. spans[i] = [start, end): the tokens of message i's own content, without header and
    end-of-turn; (start, start) when it has none. text: what the template rendered. offsets: the characters of `text`
    that each token covers; empty when tokens were added that are not in it."""

    tokens: list[int]
    spans: list[tuple[int, int]]
    text: str
    offsets: list[tuple[int, int]] = field(default_factory=list)


class Chat:
    """One tokenizer's way of writing conversations. Raises ModelError without a chat template or a fast tokenizer."""

    def __init__(self, tokenizer: Any):
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError("this tokenizer has no offset mapping; expected a fast tokenizer (tokenizer.json)")
        self.tokenizer = tokenizer
        self.has_template = getattr(tokenizer, "chat_template", None) is not None
        self._folds: bool | None = None

    @property
    def folds_system(self) -> bool:
        """Whether the template has no system role, so that its text goes into the first user turn."""
        if self._folds is None:
            probe: Conversation = [{"role": "system", "content": _OPEN}, {"role": "user", "content": _CLOSE}]
            try:
                self._folds = _OPEN not in self._render(probe, False)
            except ConversationError:
                self._folds = True
        return self._folds

    def encode(self, conversation: Conversation, *, generate: bool) -> Encoded:
        """Tokens and spans. generate=True opens the assistant's turn; a conversation that ends with an assistant
        message is then cut right after its content, so that it is continued."""
        conversation = checked(conversation)
        continued = generate and conversation[-1]["role"] == "assistant"
        messages, folded = self._folded(conversation)
        text, spans = self._spans(messages, generate and not continued)
        if folded:
            # The system text stands at the start of the first user turn; what is between them belongs to neither.
            start, end = spans[0]
            own = len(conversation[1]["content"].strip()) if end > start else 0
            inside = len(conversation[0]["content"].strip())
            spans = [(start, min(end, start + inside)), (end - own, end), *spans[1:]]
        if continued:
            text = text[: spans[-1][1]]
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets: list[tuple[int, int]] = encoding["offset_mapping"]
        return Encoded(list(encoding["input_ids"]), [_tokens_within(offsets, span) for span in spans], text, offsets)

    def continuation(self, text: str) -> list[int]:
        """Tokens of text that goes on where a prompt ends."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _folded(self, conversation: Conversation) -> tuple[Conversation, bool]:
        if conversation[0]["role"] != "system" or not self.folds_system:
            return conversation, False
        if len(conversation) < 2 or conversation[1]["role"] != "user":
            raise ConversationError(
                "this model's template has no system role, so the system text goes into the first "
                "user message; the conversation has none after its system message: add one"
            )
        instruction, said = conversation[0]["content"].strip(), conversation[1]["content"].strip()
        merged: Message = {"role": "user", "content": f"{instruction}\n\n{said}" if instruction else said}
        return [merged, *conversation[2:]], True

    def _spans(self, messages: Conversation, open_turn: bool) -> tuple[str, list[tuple[int, int]]]:
        text = self._render(messages, open_turn)
        marked: Conversation = [
            {"role": message["role"], "content": f"{_OPEN}{index}{_CLOSE}"} for index, message in enumerate(messages)
        ]
        pieces: list[str] = []
        rest = self._render(marked, open_turn)
        for index, message in enumerate(messages):
            literal, placeholder, rest = rest.partition(f"{_OPEN}{index}{_CLOSE}")
            if not placeholder:
                raise ConversationError(
                    f"this model's template leaves out message {index} ({message['role']}); "
                    "expected a template that writes every message"
                )
            pieces.append(literal)
        # Some templates trim contents; the rendering itself says which it was.
        for contents in ([m["content"] for m in messages], [m["content"].strip() for m in messages]):
            spans: list[tuple[int, int]] = []
            rebuilt = ""
            for literal, content in zip(pieces, contents, strict=True):
                rebuilt += literal
                spans.append((len(rebuilt), len(rebuilt) + len(content)))
                rebuilt += content
            if rebuilt + rest == text:
                return text, spans
        raise ConversationError(
            "this model's template rewrites the contents of messages; "
            "the place of each message among the tokens cannot be told"
        )

    def _render(self, messages: Conversation, open_turn: bool) -> str:
        if not self.has_template:
            raise ModelError(
                "this model has no chat template (a base model?); expected an instruct model, "
                "or give one with --template chatml, --template plain or --template FILE"
            )
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=open_turn)
        except TemplateError as error:
            raise ConversationError(
                f"this model's template refuses the conversation ({error}); "
                "expected an optional system message, then user and assistant in turn"
            ) from error


def _tokens_within(offsets: Sequence[tuple[int, int]], span: tuple[int, int]) -> tuple[int, int]:
    """The tokens that hold characters of [start, end)."""
    start, end = span
    inside = [index for index, (low, high) in enumerate(offsets) if low < end and high > start and high > low]
    if not inside:
        after = next((index for index, (low, _) in enumerate(offsets) if low >= start), len(offsets))
        return after, after
    return inside[0], inside[-1] + 1
