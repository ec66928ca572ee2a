"""Interventions: the rules by hand, equality with the formulas of other tools, spans, batches, words, no trace left."""

from __future__ import annotations

import asyncio
import dataclasses

import numpy as np
import pytest
import torch

from greenroom import provider
from greenroom.conversation import user
from greenroom.directions import Calibration, Direction, SignTest, stored
from greenroom.directions.axis import perform, usual_cast
from greenroom.directions.floors import rollout_token_projections, with_rollout_floors
from greenroom.directions.interventions import ablate, blocks, cap, edits_from, for_each, steer
from greenroom.errors import DirectionError
from greenroom.subject import Intervention, tiny
from greenroom.subject.interventions import edited

CONVERSATIONS = [[user("Who are you?")], [user("What is the sea?")], [user("Tell me about bread, please.")]]


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


@pytest.fixture(scope="module")
def north(subject):
    """A random direction at every block, calibrated on what the subject really gives."""
    generator = torch.Generator().manual_seed(0)
    vectors = {layer: torch.randn(subject.d_model, generator=generator) for layer in range(subject.layers)}
    vectors = {layer: vector / vector.norm() for layer, vector in vectors.items()}
    values = subject.activations(CONVERSATIONS, list(vectors), "all").values
    scale = {
        layer: Calibration.of((values[layer] @ vector).numpy()[:80].reshape(8, 10)) for layer, vector in vectors.items()
    }
    return Direction(
        "north", "trait", 2, vectors, scale, subject.name, subject.fingerprint, SignTest("north", "south", 1.0, -1.0)
    )


def logits(subject, tokens, hooks):
    """Plain transformers under plain hooks: (token, vocabulary). hooks: block → function of the residual stream."""
    handles = []
    for layer, change in hooks.items():

        def hook(_module, _inputs, output, change=change):
            return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

        handles.append(subject.network.blocks[layer].register_forward_hook(hook))
    try:
        with torch.inference_mode():
            return subject.model(torch.tensor([tokens])).logits[0]
    finally:
        for handle in handles:
            handle.remove()


def next_logprobs(subject, hooks):
    rows = [subject.chat.encode(conversation, generate=True).tokens for conversation in CONVERSATIONS]
    return torch.stack([logits(subject, row, hooks)[-1].log_softmax(-1) for row in rows])


def unspared(edits):
    return [dataclasses.replace(edit, spare_sinks=False) for edit in edits]


# The rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bound"), [("cap", torch.maximum), ("ceiling", torch.minimum)])
def test_after_a_cap_the_projection_is_the_bound_and_the_rest_is_untouched(kind, bound):
    generator = torch.Generator().manual_seed(1)
    hidden = 5 * torch.randn(4, 30, 64, generator=generator)
    vector = torch.randn(64, generator=generator)
    vector /= vector.norm()
    level = torch.tensor([[-2.0], [0.0], [3.0], [7.0]])
    before, after = hidden @ vector, edited(hidden, kind, vector, level)
    assert 0.05 < (bound(before, level) != before).float().mean() < 0.95  # some are moved and some are not
    assert torch.allclose(after @ vector, bound(before, level.expand_as(before)), atol=1e-4)
    rest = hidden - before.unsqueeze(-1) * vector
    assert torch.allclose(after - (after @ vector).unsqueeze(-1) * vector, rest, atol=1e-4)
    untouched = bound(before, level) == before
    assert torch.equal(after[untouched], hidden[untouched])


def test_a_cap_holds_in_the_residual_stream_of_the_model(subject, north):
    plain = subject.activations(CONVERSATIONS, [2], "all")
    floor = float((plain.values[0] @ north.vector(2)).median())
    capped = subject.activations(
        CONVERSATIONS, [2], "all", interventions=[Intervention("cap", 2, north.vector(2), floor)]
    )
    before, after = plain.values[0] @ north.vector(2), capped.values[0] @ north.vector(2)
    spared = plain.position == 0
    assert torch.allclose(after[~spared], before[~spared].clamp_min(floor), atol=1e-4)
    assert torch.equal(after[spared], before[spared])  # a sink is never touched


def test_ablation_leaves_no_projection(subject, north):
    found = subject.activations(CONVERSATIONS, [2], "all", interventions=ablate(north))
    projections = (found.values[0] @ north.vector(2))[found.position > 0]
    assert projections.abs().max() < 1e-4


# Other tools -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [2.0, -4.0])
def test_steering_equals_the_formula_of_repeng(subject, north, strength):
    """repeng's ControlModule: block output + coefficient × vector, at every token; checked on repeng 0.4.0 itself for
    docs/interventions.md."""
    vectors = {
        layer: north.vector(layer) * north.scale(layer).reply_sd for layer in (1, 2)
    }  # as a GGUF file holds them
    theirs = next_logprobs(
        subject, {layer: lambda hidden, v=vector: hidden + strength * v for layer, vector in vectors.items()}
    )
    ours = subject.next_token_logprobs(CONVERSATIONS, interventions=unspared(steer(north, strength, layers="1:3")))
    assert (ours - theirs).abs().max() < 1e-4
    assert (theirs - next_logprobs(subject, {})).abs().max() > 0.1  # the steering does something


def test_capping_equals_the_formulas_of_assistant_axis(subject, north):
    """Its paper adds what is missing below the floor. Its released code removes what lies *above* a threshold, so its
    vectors point the other way: the same rule for −v and −floor, and another rule for v and floor."""
    v = north.vector(2)
    floor = north.scale(2).token_quantiles["p75"]

    def paper(hidden):
        return hidden - v * ((hidden @ v) - floor).clamp_max(0.0).unsqueeze(-1)

    def released(vector, threshold):
        return lambda hidden: hidden - ((hidden @ vector) - threshold).clamp_min(0.0).unsqueeze(-1) * vector

    ours = subject.next_token_logprobs(CONVERSATIONS, interventions=unspared(cap(north, "default:p75")))
    assert (ours - next_logprobs(subject, {2: paper})).abs().max() < 1e-4
    assert (ours - next_logprobs(subject, {2: released(-v, -floor)})).abs().max() < 1e-4
    assert (ours - next_logprobs(subject, {2: released(v, floor)})).abs().max() > 1e-2
    ceiling = subject.next_token_logprobs(CONVERSATIONS, interventions=unspared(cap(north, ceiling="default:p75")))
    assert (ceiling - next_logprobs(subject, {2: released(v, floor)})).abs().max() < 1e-4


# Directions ------------------------------------------------------------------------------------------------------


def test_blocks_are_auto_one_or_a_span(north):
    assert blocks(north) == (2,)
    assert blocks(north, 1) == blocks(north, "1") == (1,)
    assert blocks(north, "1:4") == (1, 2, 3)
    assert blocks(north, [0, 3]) == (0, 3)
    for bad in ("3:1", "middle", "-1"):
        with pytest.raises(DirectionError):
            blocks(north, bad)
    with pytest.raises(DirectionError, match="not calibrated at block 9"):
        steer(north, 1.0, layers=9)


def test_strengths_are_in_the_sd_of_each_block(north):
    edits = steer(north, -1.5, layers="0:3", tokens="reply")
    assert [edit.amount for edit in edits] == pytest.approx([-1.5 * north.scale(layer).reply_sd for layer in range(3)])
    assert {edit.tokens for edit in edits} == {"reply"}
    (by_default,), both = cap(north), cap(north, -1.0, ceiling=2.0)
    assert by_default.amount == north.scale().token_quantiles["p25"]
    assert [edit.kind for edit in both] == ["cap", "ceiling"]
    assert both[1].amount == pytest.approx(north.scale().reply_mean + 2 * north.scale().reply_sd)
    assert [edit.kind for edit in cap(north, ceiling="default:p95")] == ["ceiling"]


def test_each_conversation_of_a_batch_has_its_own_strength(subject, north):
    strengths = [0.0, 3.0, -3.0]
    edits = [*steer(north, strengths), *cap(north, [None, 0.5, "default:p75"], layers=1)]
    together = subject.generate(CONVERSATIONS, max_new_tokens=12, temperature=0, interventions=edits)
    assert together[0].tokens == subject.generate(CONVERSATIONS[:1], max_new_tokens=12, temperature=0)[0].tokens
    for row, floor in ((1, 0.5), (2, "default:p75")):
        own = [*steer(north, strengths[row]), *cap(north, floor, layers=1)]
        alone = subject.generate([CONVERSATIONS[row]], max_new_tokens=12, temperature=0, interventions=own)[0]
        assert together[row].tokens == alone.tokens
        assert together[row].logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_different_interventions_for_different_conversations(subject, north):
    choices = [steer(north, 3.0), (), (*steer(north, -2.0), *ablate(north, layers=1))]
    merged = for_each(choices)
    assert [edit.kind for edit in merged] == ["steer", "ablate"]
    found = subject.next_token_logprobs(CONVERSATIONS, interventions=merged)
    for row, edits in enumerate(choices):
        alone = subject.next_token_logprobs([CONVERSATIONS[row]], interventions=edits)[0]
        assert torch.allclose(found[row], alone, atol=1e-4)


@pytest.mark.parametrize("tokens", ["prompt", "reply"])
def test_only_the_tokens_asked_are_touched(subject, north, tokens):
    conversation, reply = CONVERSATIONS[0], [40, 41, 42]
    begin = len(subject.chat.encode(conversation, generate=True).tokens)
    edits = steer(north, 5.0, tokens=tokens)
    plain, changed = (
        subject.activations([conversation], [2], "all", replies=[reply], interventions=given).values[0]
        for given in ((), edits)
    )
    moved = (changed - plain).norm(dim=-1) > 1e-3
    expected = torch.arange(len(plain)) >= begin if tokens == "reply" else torch.arange(len(plain)) < begin
    expected[0] = False  # the sink
    assert torch.equal(moved, expected)


def test_no_hook_is_left_after_an_exception(subject, north):
    def hooks() -> int:
        return sum(len(module._forward_hooks) for module in subject.model.modules())

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = subject.next_token_logprobs(CONVERSATIONS)
    with pytest.raises(KeyboardInterrupt):
        subject.generate(CONVERSATIONS, max_new_tokens=4, interventions=steer(north, 4.0), progress=stop)
    with pytest.raises(ValueError, match="3 conversations"), subject.intervene(*steer(north, 4.0)):
        subject.score(CONVERSATIONS, ["a", "b"])
    with pytest.raises(ValueError, match="3 conversations"):
        subject.score(CONVERSATIONS, ["a", "b", "c"], interventions=steer(north, [1.0, 2.0]))
    assert hooks() == 0
    assert torch.equal(subject.next_token_logprobs(CONVERSATIONS), before)


# Floors of rollouts ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def performance(subject):
    cast = dataclasses.replace(usual_cast(every=20, tokens=6), questions=usual_cast().questions[:3])
    return perform(subject, cast, seed=0)


def test_rollout_floors_are_quantiles_of_single_reply_tokens(subject, north, performance, monkeypatch):
    monkeypatch.setattr("greenroom.directions.floors.CHUNK", 4)
    rollouts = performance.rollouts
    found = rollout_token_projections(subject, north.vectors, rollouts, replies=10_000)
    by_hand = []
    for prompt, reply in zip(rollouts.prompts, rollouts.replies, strict=True):
        tokens = [*subject.chat.encode(prompt, generate=True).tokens, *reply.tokens]
        with torch.inference_mode():
            hidden = subject.model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[3][0]
        by_hand += (hidden[-len(reply.tokens) :] @ north.vector(2)).tolist()
    assert sorted(found[2]) == pytest.approx(sorted(by_hand), abs=1e-3)
    scale = with_rollout_floors(north, found).scale()
    assert scale.rollout_token_quantiles["p25"] == pytest.approx(np.percentile(by_hand, 25), abs=1e-3)
    assert scale.n_rollout_tokens == len(by_hand)
    assert (scale.token_quantiles, scale.reply_sd) == (north.scale().token_quantiles, north.scale().reply_sd)


def test_the_rollout_floor_is_used_kept_and_missed(subject, north, performance, tmp_path):
    with pytest.raises(DirectionError, match="default:p25"):
        cap(north, "rollouts:p25")
    known = with_rollout_floors(
        north, rollout_token_projections(subject, north.vectors, performance.rollouts, replies=12)
    )
    assert cap(known, "rollouts:p25")[0].amount == known.scale().rollout_token_quantiles["p25"]
    known.save(tmp_path / "north.safetensors")
    assert Direction.load(tmp_path / "north.safetensors").calibration == known.calibration


def test_files_written_before_rollout_floors_still_load(north, tmp_path, monkeypatch):
    def old_card(direction):
        card = plain(direction)
        for scale in card["calibration"].values():
            del scale["rollout_token_quantiles"], scale["n_rollout_tokens"]
        return card

    plain = Direction.card
    monkeypatch.setattr(Direction, "card", old_card)
    north.save(tmp_path / "old.safetensors")
    monkeypatch.undo()
    assert Direction.load(tmp_path / "old.safetensors").calibration == north.calibration


# Words -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(north, tmp_path):
    north.save(tmp_path / "north.safetensors")
    return str(tmp_path / "north.safetensors")


def test_words_become_edits(subject, north, file):
    found, named = edits_from(
        subject, [f"{file}:+2", f"{file}:-.5@1:3@reply"], [f"{file}:default:p75", f"{file}:ceiling=1@0", file], [file]
    )
    assert [(edit.kind, edit.layer, edit.tokens) for edit in found] == [
        ("steer", 2, "all"), ("steer", 1, "reply"), ("steer", 2, "reply"),
        ("cap", 2, "all"), ("ceiling", 0, "all"), ("cap", 2, "all"), ("ablate", 2, "all"),
    ]  # fmt: skip
    assert [one.name for one in named] == [north.name]
    assert found[0].amount == pytest.approx(2 * north.scale().reply_sd)
    assert found[1].amount == pytest.approx(-0.5 * north.scale(1).reply_sd)
    assert found[4].amount == pytest.approx(north.scale(0).reply_mean + north.scale(0).reply_sd)


def test_wrong_words_are_one_line(subject, file):
    for words, part in (
        ({"steer": [file]}, "NAME:STRENGTH"),
        ({"steer": ["nobody:+1"]}, "there is no direction 'nobody'"),
        ({"steer": ["gone.safetensors:1"]}, "no file gone.safetensors"),
        ({"cap": [f"{file}:role:p25"]}, "names no floor"),
        ({"cap": [f"{file}:default:p33"]}, "pNN"),
        ({"cap": [f"{file}:rollouts:p25"]}, "default:p25"),
        ({"ablate": [f"{file}@3:3"]}, "holds no block"),
    ):
        with pytest.raises(DirectionError, match=part) as caught:
            edits_from(subject, **words)
        assert "\n" not in str(caught.value)


def test_what_a_user_ought_to_know_is_told(subject, north, tmp_path):
    dataclasses.replace(
        north, reliable=False, sign_test=None, validity={"auc": 0.5, "auc_low": 0.4, "auc_high": 0.6}
    ).save(tmp_path / "weak.safetensors")
    heard: list[str] = []
    edits_from(subject, [f"{tmp_path / 'weak.safetensors'}:1"], tell=heard.append)
    assert any("unreliable" in line and "0.50 (0.40–0.60)" in line for line in heard)
    assert any("never tested" in line for line in heard)


def test_the_provider_steers_caps_and_ablates(subject, north, file):
    def answer(model) -> str:
        from inspect_ai.model import GenerateConfig

        return asyncio.run(
            model.generate("Who are you?", config=GenerateConfig(temperature=0, max_tokens=16))
        ).completion

    steered = provider.GreenroomAPI(
        "tiny", subject=subject, steer=f"{file}:+6", cap=[f"{file}:2@1"], ablate=f"{file}@3"
    )
    expected = (*steer(north, 6.0), *cap(north, 2.0, layers=1), *ablate(north, layers=3))
    assert [(e.kind, e.layer, e.amount) for e in steered.interventions] == [
        (e.kind, e.layer, e.amount) for e in expected
    ]
    model = provider.model_for(subject, interventions=expected)
    wanted = subject.generate([[user("Who are you?")]], temperature=0, max_new_tokens=16, interventions=expected)[
        0
    ].text
    assert answer(model) == wanted
    assert answer(provider.model_for(subject)) != wanted
    with pytest.raises(provider.ProviderError, match="NAME:STRENGTH"):
        provider.GreenroomAPI("tiny", subject=subject, steer=file)
    with pytest.raises(provider.ProviderError, match="names no direction"):
        provider.GreenroomAPI("tiny", subject=subject, cap={"assistant": "p25"})


@pytest.mark.model
def test_capping_moves_role_replies_back_on_the_embedded_model(smollm2):
    """The published use: replies under a role's instruction, read cold, with the axis capped and without."""
    from greenroom.directions.rollouts import instructed
    from greenroom.personas import library

    axis = stored(smollm2, "assistant_axis")
    names = ("bard", "hermit", "demon", "viking", "poet", "glacier")
    questions = library.questions()[1::7][:3]
    prompts = [instructed(library.role(name).instructions[0], q.text) for name in names for q in questions]
    asked = [[user(prompt[-1]["content"])] for prompt in prompts]

    def cold(edits) -> float:
        replies = smollm2.generate(prompts, max_new_tokens=24, temperature=0.7, top_p=0.9, seed=0, interventions=edits)
        return float(axis.sd(smollm2.activations(asked, [axis.layer], "reply", replies=replies).values[0]).median())

    assert cold(cap(axis, 0.0)) > cold(())
