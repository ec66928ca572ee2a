"""Replies drawn in bfloat16: the same bits in any batch, a policy that follows the processor, and nothing mixed silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.cli import main
from greenroom.conversation import Conversation
from greenroom.directions import Direction
from greenroom.directions.stored import store, stored
from greenroom.errors import DirectionError
from greenroom.processor import instructions, matrix_rate
from greenroom.runs.folder import begun_dtype
from greenroom.studies.running import measure
from greenroom.studies.study import Job
from greenroom.subject import Capture, Intervention, Subject, load
from greenroom.subject.attention import grouped_attention
from greenroom.subject.check import same_in_any_batch
from greenroom.subject.forward import Network
from greenroom.subject.packed import packed_copy
from greenroom.subject.tiny import ARCHITECTURES
from greenroom.subject.tiny import tiny_model as random_model


def _products_are_exact() -> bool:
    """Whether plain products of this processor give a row the same bits, however many rows there are: what the engine
    builds on, tried without the engine, so that a fault of the engine fails and is not skipped."""
    if instructions() is None:
        return False
    draw = torch.Generator().manual_seed(0)
    for width in (64, 576, 1536):
        rows, weight = (torch.randn(256, width, generator=draw).bfloat16() for _ in range(2))
        whole = torch.nn.functional.linear(rows, weight)
        if any(not torch.equal(torch.nn.functional.linear(rows[:n], weight), whole[:n]) for n in (2, 3, 16, 33, 100)):
            return False
    return True


shorts = pytest.mark.skipif(
    not _products_are_exact(), reason="products of bfloat16 depend on how many rows they have here"
)

TALKS: list[Conversation] = [
    [
        {"role": "system", "content": "You keep the lighthouse. " * (n % 3)},
        {"role": "user", "content": f"Night {n}{'?' * n}"},
    ]
    for n in range(12)
]


@pytest.fixture(scope="module")
def mixed(tiny_model: Path) -> Subject:
    return load(str(tiny_model), dtype="mixed")


@pytest.fixture(scope="module")
def plain(tiny_model: Path) -> Subject:
    return load(str(tiny_model), dtype="float32")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.sampled_from([1, 2, 4]), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(0, 40))
def test_attention_is_what_its_formula_says(rows: int, groups: int, share: int, tokens: int, before: int):
    keys, heads, width = before + tokens, groups * share, 8
    draw = torch.Generator().manual_seed(rows + 10 * keys)
    query = torch.randn(rows, heads, tokens, width, generator=draw)
    key, value = (torch.randn(rows, groups, keys, width, generator=draw) for _ in range(2))
    visible = torch.arange(keys) <= torch.arange(before, keys).unsqueeze(-1)
    mask = torch.where(visible, 0.0, torch.finfo(torch.float32).min).expand(rows, 1, tokens, keys)
    found, _ = grouped_attention(torch.nn.Module(), query, key, value, mask, scaling=0.3)
    for head in range(heads):
        at, k, v = (query[:, head].double(), key[:, head // share].double(), value[:, head // share].double())
        weights = torch.where(visible, torch.einsum("btd,bkd->btk", at, k) * 0.3, -torch.inf).softmax(dim=-1)
        assert torch.allclose(found[:, :, head].double(), weights @ v, atol=1e-5)


def test_attention_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch):
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(5, 4, 3, 8, generator=draw)
    key, value = (torch.randn(5, 2, 7, 8, generator=draw) for _ in range(2))
    mask = torch.zeros(5, 1, 3, 7)
    whole, _ = grouped_attention(torch.nn.Module(), query, key, value, mask)
    monkeypatch.setattr("greenroom.subject.attention.CHUNK_BYTES", 1)
    parts, _ = grouped_attention(torch.nn.Module(), query, key, value, mask)
    assert torch.allclose(parts, whole, atol=1e-6)


@shorts
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(TALKS) - 1), min_size=1, max_size=8, unique=True), st.integers(0, 3))
def test_a_reply_is_the_same_in_any_batch(mixed: Subject, some: list[int], seed: int):
    assert same_in_any_batch(mixed.sampler)
    how: dict[str, Any] = {"max_new_tokens": 20, "temperature": 1.0, "top_k": 0, "seed": seed}
    together = mixed.generate(TALKS, **how)
    for index, reply in zip(some, mixed.generate([TALKS[index] for index in some], **how), strict=True):
        assert reply.tokens == together[index].tokens
        assert reply.logprobs == pytest.approx(together[index].logprobs, abs=1e-5)
    alone = mixed.generate([TALKS[some[0]]], **how)[0]
    assert alone.tokens == together[some[0]].tokens


@shorts
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_gives_the_same_bits_in_any_batch(architecture: str):
    assert same_in_any_batch(Network(packed_copy(random_model(architecture))))


@shorts
def test_under_edits_and_with_capture_too(mixed: Subject):
    vector = torch.sin(torch.arange(mixed.d_model, dtype=torch.float32))
    how: dict[str, Any] = {
        "max_new_tokens": 12, "capture": Capture((1, 2)), "interventions": [Intervention("steer", 1, vector, 3.0)],
    }  # fmt: skip
    together, alone = mixed.generate(TALKS, **how), [mixed.generate([talk], **how)[0] for talk in TALKS[:3]]
    for one, other in zip(alone, together, strict=False):
        assert one.tokens == other.tokens
        assert one.activations is not None
        assert other.activations is not None
        assert torch.allclose(one.activations, other.activations, atol=1e-4)


def test_text_is_read_in_float32(mixed: Subject, plain: Subject):
    texts = [" one", " two"]
    assert mixed.score(TALKS[:2], texts).total == plain.score(TALKS[:2], texts).total
    assert (mixed.dtype, plain.dtype, mixed.fingerprint) == ("mixed", "float32", plain.fingerprint)
    assert plain.replies_fingerprint == plain.fingerprint != mixed.replies_fingerprint


@pytest.mark.parametrize(("has", "expected"), [("AVX512-BF16", "mixed"), (None, "float32")])
def test_auto_follows_the_processor(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, has: str | None, expected: str):
    monkeypatch.setattr("greenroom.subject.loading.instructions", lambda: has)
    monkeypatch.setattr("greenroom.subject.loading.same_in_any_batch", lambda _: True)
    assert load(str(tiny_model)).dtype == expected


def test_auto_draws_in_float32_where_replies_would_depend_on_their_batch(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("greenroom.subject.loading.instructions", lambda: "some")
    monkeypatch.setattr("greenroom.subject.loading.same_in_any_batch", lambda _: False)
    assert load(str(tiny_model)).dtype == "float32"


def test_the_check_sees_a_sum_that_depends_on_its_batch(plain: Subject, monkeypatch: pytest.MonkeyPatch):
    head = plain.network.head
    monkeypatch.setattr(plain.network, "logits", lambda hidden: head(hidden) * (1 + 1e-3 * len(hidden)))
    assert not same_in_any_batch(plain.network)


@pytest.mark.parametrize("change", ["hook", "weights", "module"])
def test_a_model_that_was_changed_speaks_for_itself(tiny_model: Path, change: str):
    subject = load(str(tiny_model), dtype="mixed")
    assert subject.sampler is not subject.network
    before = subject.generate(TALKS[:2], max_new_tokens=6, temperature=0)
    block = subject.model.model.layers[1]
    if change == "hook":
        block.register_forward_hook(lambda _m, _i, out: out * 0)
    elif change == "weights":
        with torch.no_grad():
            block.mlp.down_proj.weight.mul_(-30)
    else:
        block.mlp = torch.nn.Sequential(block.mlp, torch.nn.Softsign(), torch.nn.Linear(64, 64))
    after = subject.generate(TALKS[:2], max_new_tokens=6, temperature=0)
    assert subject.sampler is subject.network
    assert [one.tokens for one in after] != [one.tokens for one in before]


def direction(subject: Subject, name: str) -> Direction:
    vector = torch.nn.functional.normalize(torch.ones(subject.d_model), dim=0)
    return Direction(
        name=name, kind="trait", layer=1, vectors={1: vector}, calibration={}, subject=subject.name,
        fingerprint=subject.replies_fingerprint, sign_test=None, recipe={}, validity={}, reliable=True,
    )  # fmt: skip


def test_directions_of_short_replies_lie_apart(
    mixed: Subject, plain: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    path = store(direction(mixed, "south"))
    assert stored(mixed, "south") is not None
    assert stored(plain, "south") is None
    with pytest.raises(DirectionError, match="build it for this subject"):
        Direction.load(path, plain)
    store(direction(plain, "north"))  # read in float32 by both
    assert stored(mixed, "north") is not None


@pytest.mark.parametrize("begun", ["float32", "mixed"])
def test_a_run_goes_on_in_the_format_in_which_it_began(
    tiny_model: Path, tmp_path: Path, begun: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    command = ["eval", "juggling", "--model", str(tiny_model), "--quick", "--plain", "--out", str(out)]
    assert ran([*command, "--dtype", begun]) == 0
    assert begun_dtype(out) == begun
    capsys.readouterr()
    other = "mixed" if begun == "float32" else "float32"
    monkeypatch.setattr("greenroom.subject.loading.same_in_any_batch", lambda _: True)
    monkeypatch.setattr("greenroom.subject.loading.instructions", lambda: "some" if other == "mixed" else None)
    assert ran(command) == 0  # a finished run is shown again
    made = measure(Job("eval", ("juggling",), "quick"), str(tiny_model), tmp_path / "python")
    assert begun_dtype(made.path) == other  # a new one is in this machine's own
    assert measure(Job("eval", ("juggling",), "quick"), str(tiny_model), made.path).path == made.path
    monkeypatch.setattr("greenroom.subject.loading.instructions", lambda: "some" if begun == "mixed" else None)
    assert measure(Job("eval", ("juggling",), "quick"), str(tiny_model), made.path).path == made.path
    capsys.readouterr()
    assert ran([*command, "--dtype", other]) == 2
    assert f'dtype = "{begun}"' in capsys.readouterr().err
    assert f"--dtype {begun}" in (out / "report.html").read_text(encoding="utf-8")
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["config"]["dtype"] == begun


def ran(command: list[str]) -> int:
    return main(command)


def test_the_doctor_says_the_rates(capsys: pytest.CaptureFixture[str]):
    ran(["doctor"])
    said = capsys.readouterr().out
    assert "number formats: float32" in said
    assert ("--dtype auto is mixed" in said) == (instructions() is not None)
    assert matrix_rate("float32", seconds=0.01, size=64) > 0


@pytest.mark.model
@shorts
def test_the_embedded_model_says_the_same_alone_and_among_many():
    subject = load("smollm2", dtype="mixed")
    assert same_in_any_batch(subject.sampler)
    talks: list[Conversation] = [[{"role": "user", "content": f"Tell me about the number {n}."}] for n in range(20)]
    how: dict[str, Any] = {"max_new_tokens": 24, "temperature": 0.7, "top_p": 0.9, "seed": 3}
    together = subject.generate(talks, **how)
    assert [subject.generate([talk], **how)[0].tokens for talk in talks[:4]] == [one.tokens for one in together[:4]]
