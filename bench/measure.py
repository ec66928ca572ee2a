"""How the benchmarks measure: the machine's matrix rate, a workload's operations, races in alternating pairs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from greenroom.subject import Reply, Subject
from greenroom.subject.prefixes import shared_prefixes

Out = TypeVar("Out")


class MatrixRate:
    """The machine's matrix rate in a number format, GFLOP/s, sampled again and again, since a shared machine's rate drifts.

    square: products of two large square matrices, the most this machine does. shapes: what a model asks for, (64 ×
    576)·(576 × 1536), a batch of 64 rows through one weight after another, 200 MB of them in float32, so that no cache holds them.
    """

    ROWS, WIDTH, INNER, WEIGHTS = 64, 576, 1536, 60

    def __init__(self, size: int = 2048, dtype: torch.dtype = torch.float32, repeats: int = 3):
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(dtype)

        self.size, self.repeats = size, repeats
        self._left, self._right = normal(size, size), normal(size, size)
        self._rows = normal(self.ROWS, self.WIDTH)
        self._weights = [normal(self.INNER, self.WIDTH) for _ in range(self.WEIGHTS)]
        self.square: list[float] = []
        self.shapes: list[float] = []
        self._measure()  # the first call pays for threads and pages

    def sample(self) -> tuple[float, float]:
        """One more sample of both rates, (square, shapes), kept in the lists of these names."""
        square, shapes = self._measure()
        self.square.append(square)
        self.shapes.append(shapes)
        return square, shapes

    def _measure(self) -> tuple[float, float]:
        with torch.inference_mode():
            square = statistics.median(clocked(lambda: self._left @ self._right)[0] for _ in range(self.repeats))
            shapes = statistics.median(clocked(self._through_weights)[0] for _ in range(self.repeats))
        products = 2 * self.ROWS * self.WIDTH * self.INNER * self.WEIGHTS
        return 2 * self.size**3 / square / 1e9, products / shapes / 1e9

    def _through_weights(self) -> None:
        for weight in self._weights:
            torch.nn.functional.linear(self._rows, weight)

    def facts(self) -> dict[str, Any]:
        """Both rates as the results file keeps them."""
        shape = f"({self.ROWS}x{self.WIDTH})·({self.WIDTH}x{self.INNER}), {self.WEIGHTS} weights in turn"
        return {
            "square": {"shape": f"{self.size}x{self.size}", **_spread(self.square)},
            "shapes": {"shape": shape, **_spread(self.shapes)},
        }


class Operations:
    """Floating-point operations of a model's matrix and attention products: 2 for each weight and token, and 4·heads·
    head_dim for each key that a token attends to, in every block; the head only where a token is sampled."""

    def __init__(self, subject: Subject):
        config: Any = subject.network.config
        blocks = subject.network.blocks
        heads = config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        weights = sum(matrix.numel() for block in blocks for matrix in block.parameters() if matrix.dim() == 2)
        self.token = 2.0 * weights
        self.key = float(4 * heads * width * len(blocks))
        self.head = float(2 * config.hidden_size * config.vocab_size)

    def stretch(self, start: int, end: int) -> float:
        """Tokens at positions start…end−1 through all blocks, each attending to all up to itself."""
        keys = (end * (end + 1) - start * (start + 1)) / 2
        return self.token * (end - start) + self.key * keys

    def replies(self, prompts: Sequence[Sequence[int]], replies: Sequence[Reply]) -> float:
        """Of the replies alone: the prompt's last position yields a reply's first token, its last token is not fed."""
        total = 0.0
        for prompt, reply in zip(prompts, replies, strict=True):
            sampled = len(reply.tokens) + (reply.finish == "stop")
            total += self.head * sampled + self.stretch(len(prompt), len(prompt) + sampled - 1)
        return total

    def prompts(self, prompts: Sequence[Sequence[int]]) -> float:
        """Of all prompts, each computed whole: the work that was asked for."""
        return sum(self.stretch(0, len(prompt)) for prompt in prompts)

    def prompts_shared(self, prompts: Sequence[Sequence[int]]) -> float:
        """Of all prompts, each shared prefix computed once: the work that the engine does for up to 512 of them."""
        tree = shared_prefixes(prompts, [len(prompt) - 1 for prompt in prompts])
        own = sum(self.stretch(tree.start(row), len(prompt)) for row, prompt in enumerate(prompts))
        return own + sum(self.stretch(node.start, node.end) for node in tree.nodes)


@dataclass
class Timed:
    """One run of one contestant.

    tokens: useful ones made or read. operations: the work asked for; done: the work left once prefixes are shared.
    square, shapes: the machine's rates (GFLOP/s) just before and after, averaged.
    """

    seconds: float
    tokens: int
    operations: float | None = None
    done: float | None = None
    square: float = 0.0
    shapes: float = 0.0

    @property
    def speed(self) -> float:
        """Useful tokens a second."""
        return self.tokens / self.seconds

    def share(self, operations: float | None, rate: float) -> float:
        """Share of `rate` (GFLOP/s) reached when `operations` are counted."""
        return (operations or 0.0) / self.seconds / rate / 1e9


@dataclass(frozen=True)
class Finding:
    """One line of the table: the median over pairs, the lowest and highest pair, and what it is held to.

    unit: "×" a ratio of speeds, "share" of a matrix rate, "%" a cost in time, "tokens/s". target: at least that much;
    for a cost, at most.
    """

    name: str
    values: list[float]
    unit: str
    target: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.median <= self.target if self.unit == "%" else self.median >= self.target

    def facts(self) -> dict[str, Any]:
        """As the results file keeps it."""
        spread = {"median": self.median, "low": min(self.values), "high": max(self.values)}
        return {**spread, "met": self.met, **asdict(self)}


class NotRun(Exception):
    """A peer cannot be installed, or does not run here."""


@dataclass
class Result:
    """A workload's outcome. missing: contestant → why it did not run."""

    what: str
    runs: dict[str, list[Timed]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


Contestant = Callable[[int], Timed]


def race(
    contestants: Mapping[str, Contestant],
    pairs: int,
    rate: MatrixRate,
    tell: Callable[[str], None],
    result: Result,
) -> dict[str, list[Timed]]:
    """Runs the contestants in turn, `pairs` times over, each called with the number of the round, which is its seed.

    The rates are sampled between any two runs. A contestant that raises NotRun leaves the race for good, with its
    reason in `result.missing`.
    """
    runs: dict[str, list[Timed]] = {name: [] for name in contestants}
    for round_ in range(pairs):
        for name, run in contestants.items():
            if name in result.missing:
                continue
            before = rate.sample()
            try:
                timed = run(round_)
            except NotRun as error:
                result.missing[name] = str(error)
                tell(f"{name}: not run ({error})")
                continue
            after = rate.sample()
            timed.square, timed.shapes = (statistics.mean(pair) for pair in zip(before, after, strict=True))
            runs[name].append(timed)
            figures = f"{timed.seconds:.1f} s, {timed.speed:.0f} tokens/s, matrix rate {timed.square:.0f} GFLOP/s"
            tell(f"{round_ + 1}/{pairs} {name}: {figures}")
    result.runs.update({name: made for name, made in runs.items() if name not in result.missing})
    return result.runs


def ratios(one: Sequence[Timed], other: Sequence[Timed]) -> list[float]:
    """How many times faster `one` made its useful tokens than `other`, pair by pair."""
    return [left.speed / right.speed for left, right in zip(one, other, strict=True)]


def costs(plain: Sequence[Timed], with_it: Sequence[Timed]) -> list[float]:
    """What the same work costs more, in per cent of the time of `plain`, pair by pair."""
    return [100 * (right.seconds / left.seconds - 1) for left, right in zip(plain, with_it, strict=True)]


def clocked(work: Callable[[], Out]) -> tuple[float, Out]:
    """Seconds, and what the work returned."""
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"gflops": statistics.median(values), "low": min(values), "high": max(values), "samples": list(values)}
