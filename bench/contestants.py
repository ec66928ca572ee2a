"""Who races: Greenroom in one call, transformers in padded batches; and the conversations that they are given."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from measure import MatrixRate, Operations, Timed, clocked
from worker import Worker

from greenroom.conversation import Conversation, system, user
from greenroom.personas import library
from greenroom.subject import Reply, Subject

BATCH = 64  # of `generate`
READ_BATCH = 32  # of a reading forward: repeng's own default


@dataclass(frozen=True)
class Sizes:
    """How large the workloads are. even, real: instructions and questions, which multiply to conversations."""

    even: tuple[int, int] = (8, 8)
    even_tokens: int = 40
    real: tuple[int, int] = (32, 8)
    real_tokens: int = 96
    texts: int = 64
    text_tokens: int = 128
    square: int = 2048


SMALL = Sizes(even=(4, 2), even_tokens=6, real=(4, 4), real_tokens=12, texts=6, text_tokens=48, square=768)


@dataclass
class Bench:
    """What every workload needs, in one number format.

    subject: draws the replies. reader: reads text in that format. model: the stock one, for transformers.
    """

    subject: Subject
    reader: Subject
    dtype: str
    sizes: Sizes
    seed: int
    rate: MatrixRate
    operations: Operations
    workers: Sequence[Worker]
    tell: Callable[[str], None]

    @property
    def model(self) -> Any:
        return self.reader.model

    @property
    def short(self) -> bool:
        return self.dtype == "bfloat16"

    def prompts(self, conversations: Sequence[Conversation]) -> list[list[int]]:
        return [self.subject.chat.encode(conversation, generate=True).tokens for conversation in conversations]

    def texts(self, conversations: Sequence[Conversation]) -> list[str]:
        return [self.subject.chat.encode(conversation, generate=True).text for conversation in conversations]


def ours(
    bench: Bench, conversations: Sequence[Conversation], new_tokens: int, *, exactly: bool = False, **settings: Any
) -> Callable[[int], Timed]:
    """`Subject.generate` in one call; exactly: no stop token, so that every reply has all its tokens."""
    subject = copy.copy(bench.subject)
    if exactly:
        subject.stop_tokens = frozenset()
    prompts = bench.prompts(conversations)
    whole, shared = bench.operations.prompts(prompts), bench.operations.prompts_shared(prompts)

    def run(round_: int) -> Timed:
        def generated() -> list[Reply]:
            seed = bench.seed + round_
            return subject.generate(conversations, max_new_tokens=new_tokens, top_k=50, seed=seed, **settings)

        seconds, replies = clocked(generated)
        tokens = sum(len(reply.tokens) for reply in replies)
        assert not exactly or tokens == new_tokens * len(conversations)
        replied = bench.operations.replies(prompts, replies)
        return Timed(seconds, tokens, whole + replied, shared + replied)

    return run


def stock(
    bench: Bench, conversations: Sequence[Conversation], new_tokens: int, *, exactly: bool = False
) -> Callable[[int], Timed]:
    """`generate` of transformers, in left-padded batches of 64, in the order given."""
    subject, texts = bench.subject, bench.texts(conversations)
    stops = torch.tensor(sorted(subject.stop_tokens))

    def batch(part: Sequence[str]) -> int:
        encoded = subject.tokenizer(
            list(part), padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt"
        )
        made = bench.model.generate(
            **encoded,
            do_sample=True,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            max_new_tokens=new_tokens,
            # A stop token outside the vocabulary is never drawn. min_new_tokens would mask the logits at each step,
            # a cost of its own that nobody should win by.
            eos_token_id=bench.model.config.vocab_size if exactly else sorted(subject.stop_tokens),
            pad_token_id=subject.tokenizer.pad_token_id,
        )[:, encoded["input_ids"].shape[1] :]
        assert not exactly or made.shape[1] == new_tokens
        subject.tokenizer.batch_decode(made, skip_special_tokens=True)
        # Useful tokens stand before the first stop token; what follows it is padding.
        return made.numel() if exactly else int((torch.isin(made, stops).cumsum(dim=1) == 0).sum())

    def run(round_: int) -> Timed:
        torch.manual_seed(bench.seed + round_)
        seconds, tokens = clocked(lambda: sum(batch(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)))
        return Timed(seconds, tokens)

    return run


def stock_read(subject: Subject, texts: Sequence[str]) -> list[torch.Tensor]:
    """The last hidden states of every token, from plain forwards of transformers with output_hidden_states."""
    read: list[torch.Tensor] = []
    for at in range(0, len(texts), READ_BATCH):
        part = list(texts[at : at + READ_BATCH])
        encoded = subject.tokenizer(
            part, padding=True, padding_side="right", add_special_tokens=False, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = subject.model(**encoded, use_cache=False, output_hidden_states=True).hidden_states[-1]
        read.append(hidden[encoded["attention_mask"].bool()])
    return read


def warm_up(bench: Bench) -> None:
    """A tiny run of each kind: first calls pay for imports, threads and pages."""
    probe: list[Conversation] = [[user("Hello.")]]
    ours(bench, probe, 2)(0)
    stock(bench, probe, 2)(0)
    stock_read(bench.reader, bench.texts(probe))


def even_conversations(bench: Bench) -> list[Conversation]:
    """Questions of the library under the default instruction and under roles."""
    instructions, questions = bench.sizes.even
    drawn = random.Random(bench.seed)
    roles = drawn.sample(list(library.roles()), instructions - 1)
    asked = drawn.sample(list(library.questions()), questions)
    spoken = [library.default_instructions()[0], *(role.instructions[0] for role in roles)]
    return [[system(instruction), user(question.text)] for instruction in spoken for question in asked]


def reading_texts(bench: Bench) -> list[str]:
    """Texts of about as many tokens as asked, each the library's questions in an order of its own."""
    questions = [question.text for question in library.questions()]
    drawn = random.Random(bench.seed)
    texts: list[str] = []
    for _ in range(bench.sizes.texts):
        words = " ".join(drawn.sample(questions, len(questions))).split()
        text = ""
        while words:
            longer = f"{text} {words.pop(0)}".strip()
            if len(bench.subject.chat.encode([user(longer)], generate=False).tokens) > bench.sizes.text_tokens:
                break
            text = longer
        texts.append(text)
    return texts


def spaced(layers: int, count: int) -> tuple[int, ...]:
    """`count` blocks spread evenly over the model, the last one included."""
    return tuple((index + 1) * layers // count - 1 for index in range(count))
