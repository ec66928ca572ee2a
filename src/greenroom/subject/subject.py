"""The model under study: one object that generates, scores, and shows its activations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from greenroom.conversation import Conversation
from greenroom.errors import ConversationError
from greenroom.store import Kept, digest
from greenroom.subject import scoring
from greenroom.subject.cache import PrefixCache
from greenroom.subject.capture import Captured, Hooks, Pass, Pool, Sinks
from greenroom.subject.chat import Chat, Encoded
from greenroom.subject.decoding import Capture, Loop, Reply
from greenroom.subject.forward import Network, Progress
from greenroom.subject.interventions import Intervention
from greenroom.subject.keeping import recalled, reply_in, reply_keys, reply_out, score_keys
from greenroom.subject.prepared import Prepared
from greenroom.subject.sampling import Sampling, random_streams
from greenroom.subject.scoring import Scores


class Subject:
    """A decoder-only language model with its tokenizer and chat template.

    name: what it was loaded as. fingerprint: hash of weights, vocabulary and template; replies_fingerprint: that of what it
    says, another one where replies are drawn in another number format. layers: number of blocks. d_model: width of the
    residual stream. Every method takes a batch; a single conversation is a batch of one.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, fingerprint: str, sampler: Any = None):
        """sampler: a copy of the model in another number format, which draws the replies (default: the model itself)."""
        self.model, self.tokenizer, self.name, self.fingerprint = model, tokenizer, name, fingerprint
        self.network = Network(model)
        self._copy = None if sampler is None else Network(sampler)
        self._copied = None if sampler is None else _state(model)
        self.chat = Chat(tokenizer)
        self.layers = len(self.network.blocks)
        self.d_model = int(self.network.config.hidden_size)
        # Of what it says: the same weights draw other replies in another number format.
        self.replies_fingerprint = fingerprint
        if self.sampler.dtype != self.network.dtype:
            self.replies_fingerprint = digest(fingerprint, str(self.sampler.dtype))
        self.sinks: Sinks | None = None
        self.stop_tokens = _stop_tokens(model, tokenizer)
        self._standing: tuple[Intervention, ...] = ()
        self._kept: Kept | None = None

    def __repr__(self) -> str:
        return f"Subject({self.name!r}, layers={self.layers}, d_model={self.d_model}, fingerprint={self.fingerprint!r})"

    @property
    def dtype(self) -> str:
        """The number format: float32, bfloat16 or float16; "mixed" where replies are drawn in another than text is read."""
        return "mixed" if self.sampler.dtype != self.network.dtype else str(self.network.dtype).removeprefix("torch.")

    @property
    def sampler(self) -> Network:
        """What draws the replies: the copy made for that, as long as the model is what was copied. A model that has been
        trained, hooked or given an adapter since then speaks for itself."""
        return self.network if self._copy is None or _state(self.model) != self._copied else self._copy

    def reads(self, fingerprint: str) -> bool:
        """Whether what was made for a fingerprint holds for this subject: for the same weights, from replies drawn as it
        draws them, or in the format in which it reads."""
        return fingerprint in (self.fingerprint, self.replies_fingerprint)

    # Text -------------------------------------------------------------------------------------------------------

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int = 256,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 50,
        seed: int | Sequence[int] = 0,
        capture: Capture | None = None,
        interventions: Sequence[Intervention] = (),
        progress: Progress | None = None,
        prefix_cache: PrefixCache | None = None,
    ) -> list[Reply]:
        """One reply for each conversation, in order.

        temperature 0 is greedy; top_k 0 is off; seed is one for all, or one for each conversation. A reply depends on
        (subject, conversation, settings, seed, how many identical conversations came before it in the call), never on
        what else is in the batch, but for ties that float rounding decides. A conversation that ends with an assistant
        message is continued from its text. capture keeps activations of the reply without a second pass.
        progress(done, total) is called after every step, in tokens (an ended reply counts as a full one). An exception
        or Ctrl-C returns nothing half-done and leaves no hook behind. prefix_cache keeps what the conversations have
        been through for their next turns; it cannot be combined with interventions.
        """
        sampling = Sampling(max_new_tokens, temperature, top_p, top_k)
        if not isinstance(seed, int) and len(seed) != len(conversations):
            raise ValueError(f"{len(seed)} seeds for {len(conversations)} conversations; expected one, or one for each")
        edits = self._edits(interventions, prefix_cache)
        prompts = [self.chat.encode(conversation, generate=True).tokens for conversation in conversations]
        self._check_length(prompts, max_new_tokens)
        if capture is not None:
            capture = Capture(self.block_ids(capture.layers), capture.pool)
        streams = random_streams(prompts, max_new_tokens, seed)

        def made(rows: Sequence[int], finished: Callable[[int, Reply], None] | None) -> list[Reply]:
            before = len(prompts) - len(rows)
            loop = Loop(
                self.sampler, self.sinks, [prompts[row] for row in rows], sampling, stop_tokens=self.stop_tokens,
                streams=streams[list(rows)], capture=capture,
                interventions=[edit.among(rows, len(prompts)) for edit in edits],
                progress=_after(progress, before * max_new_tokens), prefix_cache=prefix_cache, decode=self.chat.decode,
                finished=finished,
            )  # fmt: skip
            return loop.replies()

        if self._kept is None or (capture is not None and capture.pool == "all"):  # of every token: too large to keep
            return made(range(len(prompts)), None)
        keys = reply_keys(self.replies_fingerprint, prompts, sampling, streams, capture, edits)
        return recalled(self._kept, keys, made, reply_out, reply_in)

    def score(
        self,
        conversations: Sequence[Conversation],
        continuations: Sequence[str | Sequence[int]],
        *,
        starts: Sequence[int] | None = None,
        interventions: Sequence[Intervention] = (),
        progress: Progress | None = None,
        prefix_cache: PrefixCache | None = None,
    ) -> Scores:
        """Log-probability (nats) of continuation i as what comes next in conversation i.

        A conversation that ends with an assistant message is continued from its text (cloze), otherwise the assistant's
        turn is opened. A continuation is text or token ids; the end-of-turn token is not part of it. starts: the token
        of each continuation from which on it is scored (default 0). Prefixes that rows share are computed once, so one
        call with many rows is much cheaper than many calls. prefix_cache keeps what the rows have been through, for a
        later call that scores what comes next; it cannot be combined with interventions.
        """
        edits = self._edits(interventions, prefix_cache)
        prompts, given = self._to_score(conversations, continuations)
        if starts is not None and not all(0 <= s <= len(g) for s, g in zip(starts, given, strict=True)):
            raise ValueError("a continuation cannot be scored from beyond its end; expected 0 ≤ start ≤ its tokens")
        begins = list(starts) if starts is not None else [0] * len(given)

        def made(rows: Sequence[int], finished: Callable[[int, list[float]], None] | None) -> list[list[float]]:
            return scoring.score(
                self.network, self.sinks, [prompts[row] for row in rows], [given[row] for row in rows],
                [edit.among(rows, len(prompts)) for edit in edits], _after(progress, len(prompts) - len(rows)),
                [begins[row] for row in rows], prefix_cache, finished,
            ).tokens  # fmt: skip

        if self._kept is None:
            found = made(range(len(prompts)), None)
        else:
            keys = score_keys(self.fingerprint, prompts, given, begins, edits)
            found = recalled(self._kept, keys, made, list, list)
        ids = [tokens[begin:] for tokens, begin in zip(given, begins, strict=True)]
        return Scores([float(sum(of)) for of in found], found, ids)

    @contextmanager
    def keeping(self, kept: Kept | None) -> Iterator[Subject]:
        """Keeps every reply and score made inside the `with` block as it is finished, and makes none that is kept."""
        before, self._kept = self._kept, kept
        try:
            yield self
        finally:
            self._kept = before

    def prepare(
        self,
        conversations: Sequence[Conversation],
        continuations: Sequence[str | Sequence[int]],
        blocks: Sequence[int],
        *,
        progress: Progress | None = None,
    ) -> Prepared:
        """The same text, to be scored under many edits: `prepare(…, [12]).score(edits)` is `score(…, interventions=
        edits)`, where blocks up to the edit ran once, here. blocks: those at which edits will begin; the activations
        kept weigh 4 × d_model bytes a token and block. Standing interventions apply at `score`, not here.
        """
        prompts, given = self._to_score(conversations, continuations)
        return Prepared(self, prompts, given, self.block_ids(blocks), progress)

    def _to_score(
        self, conversations: Sequence[Conversation], continuations: Sequence[str | Sequence[int]]
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Tokens of the prompts and of their continuations."""
        if len(conversations) != len(continuations):
            raise ValueError(
                f"{len(conversations)} conversations for {len(continuations)} continuations; expected one each"
            )
        encoded: dict[str, list[int]] = {}  # a question's choices share its conversation
        prompts = []
        for conversation in conversations:
            key = json.dumps(conversation)
            if key not in encoded:
                encoded[key] = self.chat.encode(conversation, generate=True).tokens
            prompts.append(encoded[key])
        given = [self.chat.continuation(text) if isinstance(text, str) else list(text) for text in continuations]
        self._check_length([p + g for p, g in zip(prompts, given, strict=True)], 0)
        return prompts, given

    def next_token_logprobs(
        self, conversations: Sequence[Conversation], *, interventions: Sequence[Intervention] = ()
    ) -> Tensor:
        """(conversation, vocabulary) float32: log-probabilities of the first token of the continuation."""
        prompts = [self.chat.encode(conversation, generate=True).tokens for conversation in conversations]
        self._check_length(prompts, 0)
        return scoring.next_token_logprobs(self.network, self.sinks, prompts, self._edits(interventions))

    # Activations ------------------------------------------------------------------------------------------------

    def activations(
        self,
        conversations: Sequence[Conversation],
        layers: Sequence[int],
        pool: Pool = "reply",
        *,
        replies: Sequence[Reply | Sequence[int]] | None = None,
        interventions: Sequence[Intervention] = (),
        progress: Progress | None = None,
    ) -> Captured:
        """Activations of the residual stream after the given blocks, (layer, sample, hidden) float32.

        pool: "reply" the mean over the last assistant message's own tokens, one sample a conversation; "message" the
        mean over each message; "last" the last token before the reply would begin; "all" every token. With
        `replies` (of `generate`, or token ids) each conversation is a prompt and the reply's exact tokens follow it:
        text can retokenise differently, ids cannot. The forward ends at the deepest block asked and makes no logits.
        Sinks are left out of means; a mean over nothing is NaN.
        """
        blocks = self.block_ids(layers)
        tokens: list[list[int]] = []
        ranges: list[list[tuple[int, int]]] = []
        begins: list[int] = []
        for index, conversation in enumerate(conversations):
            encoded, reply = self._read(conversation, pool, None if replies is None else replies[index], index)
            tokens.append(encoded.tokens)
            begins.append(reply[0])
            length = len(encoded.tokens)
            ranges.append(
                {"reply": [reply], "message": encoded.spans, "last": [(length - 1, length)], "all": [(0, length)]}[pool]
            )
        self._check_length(tokens, 0)
        edits = self._edits(interventions)
        return scoring.activations(self.network, self.sinks, tokens, ranges, begins, blocks, pool, edits, progress)

    def token_activations(
        self,
        rows: Sequence[Sequence[int]],
        ranges: Sequence[Sequence[tuple[int, int]]],
        layers: Sequence[int],
        *,
        interventions: Sequence[Intervention] = (),
        progress: Progress | None = None,
    ) -> Captured:
        """Activations of the tokens of `ranges` [start, end) in rows of token ids, (layer, sample, hidden) float32, row by
        row in the order of the ranges; sinks included (`is_sink` marks them). For text that no template holds as one
        conversation: a stretch of a long one."""
        blocks = self.block_ids(layers)
        self._check_length(rows, 0)
        begins = [len(row) for row in rows]
        edits = self._edits(interventions)
        return scoring.activations(self.network, self.sinks, rows, ranges, begins, blocks, "all", edits, progress)

    def is_sink(self, captured: Captured, layer: int) -> Tensor:
        """(sample,) bool: which samples of `captured`, of pool "all", are attention sinks at a block."""
        found = captured.position == 0
        if self.sinks is not None:
            found = found | (captured.at(layer).norm(dim=-1) > self.sinks.norm_limit[layer].cpu())
        return found

    def _read(
        self, conversation: Conversation, pool: Pool, reply: Reply | Sequence[int] | None, index: int
    ) -> tuple[Encoded, tuple[int, int]]:
        if reply is not None:
            encoded = self.chat.encode(conversation, generate=True)
            ids = list(reply.tokens if isinstance(reply, Reply) else reply)
            span = (len(encoded.tokens), len(encoded.tokens) + len(ids))
            return Encoded([*encoded.tokens, *ids], [*encoded.spans, span], encoded.text), span
        encoded = self.chat.encode(conversation, generate=pool == "last")
        spans = [
            span for message, span in zip(conversation, encoded.spans, strict=True) if message["role"] == "assistant"
        ]
        if pool == "reply" and not spans:
            raise ConversationError(f"conversation {index} has no assistant message; pool 'reply' reads the last one")
        return encoded, spans[-1] if spans else (len(encoded.tokens), len(encoded.tokens))

    # Interventions ----------------------------------------------------------------------------------------------

    @contextmanager
    def intervene(self, *interventions: Intervention) -> Iterator[Subject]:
        """Applies interventions to everything the subject does inside the `with` block; they nest.

        Hooks live only while a forward of ours runs, so that nothing is left behind, whatever happens inside.
        """
        before = self._standing
        self._standing = (*before, *self._checked(interventions))
        try:
            yield self
        finally:
            self._standing = before

    @contextmanager
    def training(self, *interventions: Intervention) -> Iterator[Subject]:
        """Applies interventions to forwards of `subject.model` that others run inside the `with` block, gradients
        included: a trainer that must learn under a steered or capped residual stream.

        Rows may be padded on either side if the forward gets an attention mask; padding is left alone. ValueError for
        edits of the prompt or the reply alone, or with an amount a conversation: a trainer's batch tells neither.
        """
        edits = self._edits(interventions)
        if any(edit.tokens != "all" or isinstance(edit.amount, tuple) for edit in edits):
            raise ValueError("in training an intervention edits all tokens by one amount; make it with tokens='all'")
        hooks = Hooks(self.network.blocks, self.sinks, edits, 1)

        def before(_: Any, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
            fed = next(x for x in (given.get("input_ids"), given.get("inputs_embeds"), *inputs) if x is not None)
            mask, places = given.get("attention_mask"), given.get("position_ids")
            if isinstance(mask, torch.Tensor) and mask.dim() == 2:
                # Padding counts as position 0, which is spared as the sink is.
                places = (mask.cumsum(dim=-1) - 1).clamp_min(0) * mask
            elif places is None:
                places = torch.arange(fed.shape[1], device=fed.device)
            rows = torch.zeros(fed.shape[0], dtype=torch.long, device=fed.device)
            hooks.current = Pass(rows, places.expand(fed.shape[:2]), rows)

        watch = self.network.body.register_forward_pre_hook(before, with_kwargs=True)
        try:
            with hooks.attached():
                yield self
        finally:
            watch.remove()

    @property
    def edited(self) -> bool:
        """Whether interventions stand, as they do inside `intervene`."""
        return bool(self._standing)

    def _edits(
        self, interventions: Sequence[Intervention], prefix_cache: PrefixCache | None = None
    ) -> tuple[Intervention, ...]:
        """What applies to a call: the standing interventions and its own."""
        if prefix_cache is not None and (interventions or self._standing):
            raise ValueError("a prefix cache holds unedited prefixes; use either it or interventions")
        return (*self._standing, *self._checked(interventions))

    def _checked(self, interventions: Sequence[Intervention]) -> tuple[Intervention, ...]:
        for edit in interventions:
            if edit.vector.numel() != self.d_model:
                raise ValueError(
                    f"the vector has {edit.vector.numel()} entries, this model's residual stream {self.d_model}"
                )
        return tuple(replace(edit, layer=self.block_ids([edit.layer])[0]) for edit in interventions)

    def block_ids(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Block ids with negatives resolved; ValueError names the blocks there are."""
        for layer in layers:
            if not -self.layers <= layer < self.layers:
                raise ValueError(f"block {layer} asked, {self.name} has blocks 0…{self.layers - 1}")
        ids = tuple(layer % self.layers for layer in layers)
        if not ids or len(set(ids)) != len(ids):
            raise ValueError(f"expected at least one block and none twice, got {tuple(layers)}")
        return ids

    def _check_length(self, rows: Sequence[Sequence[int]], new: int) -> None:
        longest = max((len(row) for row in rows), default=0)
        if rows and min(len(row) for row in rows) == 0:
            raise ConversationError("a conversation rendered to no tokens at all; expected at least one")
        if longest + new > self.network.context:
            raise ConversationError(
                f"a conversation of {longest} tokens and {new} new ones exceed the context of "
                f"{self.name}, {self.network.context} tokens; shorten it or ask for fewer"
            )


def _state(model: Any) -> tuple[int, int, int]:
    """Changes when weights are written, modules are put in or taken out, or hooks are."""
    modules = list(model.modules())
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)
    return sum(weight._version for weight in model.parameters()), len(modules), hooks


def _after(progress: Progress | None, before: int) -> Progress | None:
    """The progress of what is left, as that of the whole, of which `before` was done already."""
    return progress and (lambda done, total: progress(before + done, before + total))


def _stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    found: set[int] = set()
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        value = getattr(source, "eos_token_id", None)
        if isinstance(value, int):
            found.add(value)
        elif isinstance(value, list | tuple):
            found.update(int(item) for item in value)
    return frozenset(found)


def find_sinks(subject: Subject, conversations: Sequence[Conversation]) -> Sinks:
    """The norm limits of definitions.md: 10 × the median norm at each block, over the tokens of the conversations."""
    captured = subject.activations(conversations, range(subject.layers), "all")
    norms = captured.values.norm(dim=-1)[:, captured.position > 0]
    return Sinks((10 * norms.median(dim=-1).values).to(subject.network.device, torch.float32))
