"""The instrument check: is this model read and edited as we believe? (rule 8 of the architecture)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from greenroom.conversation import Conversation
from greenroom.subject.cache import RowCache
from greenroom.subject.capture import Hooks
from greenroom.subject.forward import Network, Stretch, run_stretches
from greenroom.subject.interventions import Intervention
from greenroom.subject.scoring import sweep

if TYPE_CHECKING:
    from greenroom.subject.subject import Subject


@dataclass(frozen=True)
class SelfTest:
    """One line of the check: what was tried, whether it holds, and the figure behind it."""

    name: str
    ok: bool
    detail: str


def same_in_any_batch(network: Network) -> bool:
    """Whether a text gives the same bits alone, beside a longer one, and in two parts: then no reply depends on its batch.

    In bfloat16 that is a property of the processor and of what multiplies its matrices, so it is tried, not assumed.
    """
    vocabulary = network.config.vocab_size
    texts = [[(7 * at + 11 * length) % vocabulary for at in range(length)] for length in (37, 70)]
    hooks = Hooks(network.blocks, None, (), len(texts))
    ends = torch.tensor([len(text) for text in texts], device=network.device)

    def last(*stretches: Stretch) -> tuple[torch.Tensor, RowCache | None]:
        hidden, cache = run_stretches(network, hooks, stretches, ends, keep=True)
        assert hidden is not None
        return hidden[0, len(stretches[0].tokens) - 1], cache

    with torch.inference_mode(), hooks.attached():
        alone, cache = last(Stretch(0, 0, texts[0]))
        beside, _ = last(Stretch(0, 0, texts[0]), Stretch(1, 0, texts[1]))
        assert cache is not None
        after, _ = last(Stretch(0, 36, texts[0][36:], cache.take(0, 36)))
        logits = [network.logits(hidden.unsqueeze(0)) for hidden in (alone, beside, after)]
        many = network.logits(torch.stack([alone, beside, after]))
    return all(torch.equal(one[0], many[0]) for one in logits)


def check_instrument(subject: Subject) -> list[SelfTest]:
    """Five self-tests of activation capture and steering on this subject. Works without a chat template."""
    tests: list[SelfTest] = []
    ids = subject.tokenizer("The actor waits in the green room.", add_special_tokens=False)["input_ids"] or [0, 1]
    tokens = torch.tensor([ids], device=subject.network.device)
    fired: list[tuple[int, ...]] = []
    shapes: set[tuple[int, ...]] = set()

    def count(_module: object, _inputs: object, output: object) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        assert isinstance(hidden, torch.Tensor)
        shapes.add(tuple(hidden.shape))
        fired.append(tuple(hidden.shape))

    handles = [block.register_forward_hook(count) for block in subject.network.blocks]
    try:
        with torch.inference_mode():
            stock = subject.model(input_ids=tokens, use_cache=False).logits[0].float()
    finally:
        for handle in handles:
            handle.remove()
    expected = (1, len(ids), subject.d_model)
    tests.append(
        SelfTest("a hook fires once a block", len(fired) == subject.layers, f"{len(fired)} of {subject.layers}")
    )
    tests.append(
        SelfTest("blocks have the residual shape", shapes == {expected}, f"{sorted(shapes)}, expected {expected}")
    )

    def logits(edits: Sequence[Intervention]) -> torch.Tensor:
        hooks = Hooks(subject.network.blocks, None, edits, 1)
        found: list[torch.Tensor] = []

        def visit(_rows: list[int], _starts: list[int], hidden: torch.Tensor | None) -> None:
            assert hidden is not None
            found.append(subject.network.logits(hidden)[0])

        sweep(subject.network, hooks, [ids], [0], [len(ids)], visit)
        return found[0]

    scale = float(stock.abs().max())
    exact = 1e-4 if stock.dtype == torch.float32 and subject.network.dtype == torch.float32 else 5e-2
    gap = float((logits(()) - stock).abs().max()) / scale
    tests.append(SelfTest("our forward equals the model's", gap < exact, f"relative gap {gap:.1e}"))
    # Not a constant vector: a layer norm that subtracts the mean would remove it.
    vector = torch.sin(torch.arange(subject.d_model, dtype=torch.float32))
    middle = subject.layers // 2
    zero = float((logits([Intervention("steer", middle, vector, 0.0, spare_sinks=False)]) - stock).abs().max()) / scale
    tests.append(SelfTest("a zero edit leaves the logits equal", zero < exact, f"relative gap {zero:.1e}"))
    size = 10 * float(subject.sinks.norm_limit[middle]) if subject.sinks is not None else 1e3
    big = float((logits([Intervention("steer", middle, vector, size, spare_sinks=False)]) - stock).abs().max()) / scale
    tests.append(
        SelfTest("a large edit changes the logits", big > 100 * exact or big > 0.1, f"relative change {big:.1e}")
    )
    if subject.chat.has_template:
        probe: Conversation = [
            {"role": "user", "content": "Who waits here?"},
            {"role": "assistant", "content": "The actor, in the green room."},
        ]
        encoded = subject.chat.encode(probe, generate=False)
        start, end = encoded.spans[1]
        said = subject.chat.decode(encoded.tokens[start:end]).strip()
        tests.append(SelfTest("spans decode back to the reply", said == probe[1]["content"], repr(said)))
    return tests
