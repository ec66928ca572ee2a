"""The embedded model itself, real weights: what only it can show."""

from __future__ import annotations

import pytest
import torch

from greenroom.conversation import system, user
from greenroom.directions import stored
from greenroom.personas import library
from greenroom.subject import Capture, check_instrument, load

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def conversations():
    roles, questions = library.roles(), library.questions()
    return [
        [system(roles[index % len(roles)].instructions[0]), user(questions[index % len(questions)].text)]
        for index in range(200)
    ]


def test_the_instrument_check_passes(smollm2):
    assert [finding for finding in check_instrument(smollm2) if not finding.ok] == []


def test_greedy_tokens_logprobs_and_activations_equal_transformers(conversations):
    smollm2 = load("smollm2", dtype="float32")
    replies = smollm2.generate(conversations[:6], max_new_tokens=20, temperature=0, capture=Capture((5, 21), "all"))
    for conversation, reply in zip(conversations[:6], replies, strict=True):
        prompt = smollm2.chat.encode(conversation, generate=True).tokens
        ids = torch.tensor([prompt])
        theirs = smollm2.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)[
            0, len(prompt) :
        ]
        assert (
            reply.tokens
            == [token for token in theirs.tolist() if token not in smollm2.stop_tokens][: len(reply.tokens)]
        )
        with torch.inference_mode():
            output = smollm2.model(torch.tensor([prompt + reply.tokens]), output_hidden_states=True)
        logprobs = output.logits[0].log_softmax(-1)
        for place, (token, value) in enumerate(zip(reply.tokens, reply.logprobs, strict=True)):
            assert abs(logprobs[len(prompt) + place - 1, token].item() - value) < 1e-4
        # Block l is hidden_states[l + 1].
        plain = torch.stack([output.hidden_states[layer + 1][0, len(prompt) :] for layer in (5, 21)])
        assert ((reply.activations - plain).norm(dim=-1) / plain.norm(dim=-1)).max() < 1e-5


def test_a_reply_is_the_same_alone_and_in_a_batch_of_200(smollm2, conversations):
    together = smollm2.generate(conversations, max_new_tokens=12, seed=1)
    in_tens = [
        reply
        for begin in range(0, 200, 10)
        for reply in smollm2.generate(conversations[begin : begin + 10], max_new_tokens=12, seed=1)
    ]
    equal = [one.tokens == other.tokens for one, other in zip(together, in_tens, strict=True)]
    assert sum(equal) >= 198  # the rest would be ties that float rounding decides
    for index in (0, 77, 199):
        assert smollm2.generate([conversations[index]], max_new_tokens=12, seed=1)[0].tokens == together[index].tokens


def test_position_zero_is_a_sink_far_off_the_scale(smollm2, conversations):
    captured = smollm2.activations(conversations[:4], [21], "all")
    norms = captured.values[0].norm(dim=-1)
    assert (norms[captured.position == 0] > smollm2.sinks.norm_limit[21]).all()
    assert (norms[captured.position > 0] < smollm2.sinks.norm_limit[21]).float().mean() > 0.99


def test_shipped_directions_are_for_these_weights(smollm2):
    axis = stored(smollm2, "assistant_axis")
    assert axis is not None
    assert axis.scale().n_replies >= 200
    assert axis.scale().reply_tokens == 64
    assert axis.sign_test.holds
    assert all(stored(smollm2, trait.name) is not None for trait in library.traits())


def test_the_axis_tells_fresh_role_replies_from_default_ones(smollm2):
    axis = stored(smollm2, "assistant_axis")
    questions = library.questions()[1::6][:6]  # none of those that made it
    assert not {question.id for question in questions} & set(axis.recipe["questions"])
    default = [[user(question.text)] for question in questions]
    roles = [
        [system(library.role(name).instructions[0]), user(q.text)]
        for q, name in zip(questions, ("bard", "hermit", "demon", "viking", "poet", "glacier"), strict=True)
    ]
    replies = smollm2.generate(
        default + roles, max_new_tokens=32, temperature=0.7, top_p=0.9, seed=3, capture=Capture((axis.layer,))
    )
    sd = [float(axis.sd(reply.activations[0])) for reply in replies]
    wins = sum(high > low for high in sd[:6] for low in sd[6:])
    assert wins / 36 > 0.8


def test_letter_choice_is_void_here(smollm2, tmp_path):
    from greenroom.asking.inspect import ask_questions
    from greenroom.provider import model_for
    from greenroom.studies.costly_sacrifice import STUDY, Grid
    from greenroom.testing import measures_from

    size = Grid(situations=2)
    answers = ask_questions(STUDY.name, STUDY.parts(size), size, model_for(smollm2), log_dir=tmp_path)
    slopes = [one for one in measures_from(STUDY, answers, size) if one.name == "slope" and one.paradigm == "letter"]
    assert [one.grade for one in slopes] == ["void"]
    assert slopes[0].reason
