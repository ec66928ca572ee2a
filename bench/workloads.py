"""The five workloads: who races, on what, and what is read off it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from contestants import (
    READ_BATCH,
    Bench,
    even_conversations,
    ours,
    reading_texts,
    spaced,
    stock,
    stock_read,
)
from measure import Finding, Result, Timed, clocked, costs, race, ratios

from greenroom.conversation import system, user
from greenroom.personas import library
from greenroom.subject import Capture, Intervention


def even(bench: Bench, pairs: int) -> Result:
    """Equal replies: 64 conversations of exactly 40 new tokens, against one left-padded batch of `generate`."""
    conversations, new_tokens = even_conversations(bench), bench.sizes.even_tokens
    contestants = {
        "greenroom": ours(bench, conversations, new_tokens, exactly=True),
        "transformers": stock(bench, conversations, new_tokens, exactly=True),
    }
    result = Result(f"{len(conversations)} conversations, exactly {new_tokens} new tokens each")
    _against_generate(
        result, race(contestants, pairs, bench.rate, bench.tell, result), *((3, 0.45) if bench.short else (1.4, 0.75))
    )
    return result


def real(bench: Bench, pairs: int) -> Result:
    """Replies as an audit asks for them: 32 roles × 8 questions, natural ends, against `generate` in batches of 64."""
    roles, questions = bench.sizes.real
    picked = random.Random(bench.seed).sample(list(library.roles()), roles)
    asked = random.Random(bench.seed + 1).sample(list(library.questions()), questions)
    conversations = [[system(role.instructions[0]), user(question.text)] for role in picked for question in asked]
    contestants = {
        "greenroom": ours(bench, conversations, bench.sizes.real_tokens),
        "transformers": stock(bench, conversations, bench.sizes.real_tokens),
    }
    result = Result(f"{roles} roles × {questions} questions, up to {bench.sizes.real_tokens} new tokens, natural ends")
    _against_generate(
        result, race(contestants, pairs, bench.rate, bench.tell, result), 3.5 if bench.short else 1.9, None
    )
    return result


def capture(bench: Bench, pairs: int) -> Result:
    """What it costs to keep the activations of 8 blocks while generating (means over the reply)."""
    conversations, new_tokens = even_conversations(bench), bench.sizes.even_tokens
    layers = spaced(bench.subject.layers, 8)
    contestants = {
        "greenroom": ours(bench, conversations, new_tokens, exactly=True),
        "greenroom, capturing": ours(bench, conversations, new_tokens, exactly=True, capture=Capture(layers)),
    }
    result = Result(f"the even workload, activations of blocks {', '.join(map(str, layers))} kept")
    runs = race(contestants, pairs, bench.rate, bench.tell, result)
    values = costs(runs["greenroom"], runs["greenroom, capturing"])
    result.findings.append(Finding("capture of 8 blocks", values, "%", 10))
    return result


def forward(bench: Bench, pairs: int) -> Result:
    """Reading text: activations of every token at the deepest block, nothing shared and no logits."""
    conversations = [[user(text)] for text in reading_texts(bench)]
    deepest = bench.subject.layers - 1
    texts = [bench.subject.chat.encode(item, generate=False).text for item in conversations]
    lengths = [len(bench.subject.chat.encode(item, generate=False).tokens) for item in conversations]
    asked = sum(bench.operations.stretch(0, length) for length in lengths)

    def read(_: int) -> Timed:
        # Pool "all" reads from the first token on, so no prefix is shared.
        seconds, captured = clocked(lambda: bench.reader.activations(conversations, [deepest], "all"))
        assert len(captured.position) == sum(lengths)
        return Timed(seconds, sum(lengths), asked, asked)

    contestants: dict[str, Callable[[int], Timed]] = {
        "greenroom": read,
        "transformers": lambda _: Timed(clocked(lambda: stock_read(bench.reader, texts))[0], sum(lengths)),
    }
    for worker in bench.workers:
        contestants[worker.package] = lambda _, worker=worker: worker.read(texts, deepest, READ_BATCH)
    about = sum(lengths) // len(lengths)
    what = f"{len(texts)} texts of about {about} tokens, block {deepest}; the others in batches of {READ_BATCH}"
    result = Result(what)
    runs = race(contestants, pairs, bench.rate, bench.tell, result)
    _shares(result, runs["greenroom"], 0.6 if bench.short else 0.85)
    for name in [name for name in runs if name != "greenroom"]:
        result.findings.append(Finding(f"greenroom / {name}", ratios(runs["greenroom"], runs[name]), "×"))
    return result


def steer(bench: Bench, pairs: int) -> Result:
    """What an intervention costs while decoding, and the same steering by the peers."""
    conversations, new_tokens = even_conversations(bench), bench.sizes.even_tokens
    subject, texts = bench.subject, bench.texts(conversations)
    vector = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(bench.seed))
    vector /= vector.norm()
    middle = subject.layers // 2
    one = [Intervention("steer", middle, vector, 1.0)]
    eight = [Intervention("cap", layer, vector, 1.0) for layer in spaced(subject.layers, 8)]
    contestants: dict[str, Callable[[int], Timed]] = {
        "greenroom": ours(bench, conversations, new_tokens, exactly=True),
        "greenroom, steered": ours(bench, conversations, new_tokens, exactly=True, interventions=one),
        "greenroom, capped": ours(bench, conversations, new_tokens, exactly=True, interventions=eight),
        "transformers": stock(bench, conversations, new_tokens, exactly=True),
    }
    for worker in bench.workers:
        contestants[f"{worker.package}, steered"] = lambda round_, worker=worker: worker.generate(
            texts, new_tokens, middle, vector.tolist(), bench.seed + round_
        )
    result = Result(f"the even workload, block {middle} steered, or 8 blocks capped")
    runs = race(contestants, pairs, bench.rate, bench.tell, result)
    result.findings += [
        Finding(
            "one block steered", costs(runs["greenroom"], runs["greenroom, steered"]), "%", 10 if bench.short else 3
        ),
        Finding("8 blocks capped", costs(runs["greenroom"], runs["greenroom, capped"]), "%", 10 if bench.short else 6),
    ]
    for worker in bench.workers:
        theirs = runs.get(f"{worker.package}, steered")
        if theirs:
            faster = ratios(runs["greenroom, steered"], theirs)
            result.findings += [
                Finding(f"greenroom / {worker.package}, both steered", faster, "×"),
                Finding(f"{worker.package}'s steering over transformers", costs(runs["transformers"], theirs), "%"),
            ]
    return result


def _against_generate(result: Result, runs: dict[str, list[Timed]], ratio: float, share: float | None) -> None:
    mine, theirs = runs["greenroom"], runs["transformers"]
    result.findings += [
        Finding("greenroom / transformers", ratios(mine, theirs), "×", ratio),
        Finding("greenroom", [timed.speed for timed in mine], "tokens/s"),
        Finding("transformers", [timed.speed for timed in theirs], "tokens/s"),
    ]
    _shares(result, mine, share)


def _shares(result: Result, runs: Sequence[Timed], target: float | None) -> None:
    square = [timed.share(timed.operations, timed.square) for timed in runs]
    result.findings.append(Finding("share of the matrix rate", square, "share", target))
    if any(timed.done != timed.operations for timed in runs):
        done = [timed.share(timed.done, timed.square) for timed in runs]
        result.findings.append(Finding("the same, shared prefixes counted once", done, "share"))
    shapes = [timed.share(timed.operations, timed.shapes) for timed in runs]
    result.findings.append(Finding("share of the rate at the model's shapes", shapes, "share"))


WORKLOADS: dict[str, Callable[[Bench, int], Result]] = {
    "even": even,
    "real": real,
    "capture": capture,
    "forward": forward,
    "steer": steer,
}
