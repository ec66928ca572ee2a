"""The engine against plain transformers: the same tokens, log-probabilities and activations, alone and in any batch."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.conversation import assistant, system, user
from greenroom.errors import ConversationError, ModelError
from greenroom.subject import Capture, Intervention, PrefixCache, check_instrument, tiny
from greenroom.subject.forward import FORWARD_COST, Stretch, planned
from greenroom.subject.prefixes import shared_prefixes
from greenroom.subject.sampling import Sampling, drawn, random_streams
from greenroom.subject.tiny import ARCHITECTURES

QUESTIONS = ["hi", "hello there, my friend", "what is it?", "what is not it, and why is that so?"]
CONVERSATIONS = [[system("You are a pirate of the seven seas."), user(question)] for question in QUESTIONS]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def subject(request):
    return tiny(request.param)


@pytest.fixture(scope="module")
def llama():
    return tiny("llama")


def plain_blocks(subject, tokens):
    """Activations by plain transformers hooks: (layer, token, hidden)."""
    found = []
    handles = [
        block.register_forward_hook(lambda _m, _i, out: found.append((out[0] if isinstance(out, tuple) else out)[0]))
        for block in subject.network.blocks
    ]
    with torch.inference_mode():
        logits = subject.model(torch.tensor([tokens]), use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    return torch.stack(found), logits


def relative(ours, theirs):
    return ((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max().item()


def test_greedy_equals_transformers_generate(subject):
    replies = subject.generate(CONVERSATIONS, max_new_tokens=16, temperature=0)
    for conversation, reply in zip(CONVERSATIONS, replies, strict=True):
        ids = torch.tensor([subject.chat.encode(conversation, generate=True).tokens])
        out = subject.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False)
        theirs = out[0, ids.shape[1] :].tolist()
        stop = next((index for index, token in enumerate(theirs) if token in subject.stop_tokens), len(theirs))
        assert reply.tokens == theirs[:stop]
        assert reply.finish == ("stop" if stop < len(theirs) else "length")


def test_logprobs_and_captured_activations_equal_an_unbatched_forward(subject):
    layers = (subject.layers - 1, 0, 2)
    replies = subject.generate(CONVERSATIONS, max_new_tokens=12, seed=3, capture=Capture(layers, "all"))
    for conversation, reply in zip(CONVERSATIONS, replies, strict=True):
        prompt = subject.chat.encode(conversation, generate=True).tokens
        blocks, logits = plain_blocks(subject, prompt + reply.tokens)
        logprobs = logits.log_softmax(-1)
        for index, (token, logprob) in enumerate(zip(reply.tokens, reply.logprobs, strict=True)):
            assert abs(logprobs[len(prompt) + index - 1, token].item() - logprob) < 1e-4
        assert reply.activations.shape == (3, len(reply.tokens), subject.d_model)
        assert relative(reply.activations, blocks[list(layers), len(prompt) :]) < 1e-5


def test_pooled_capture_is_the_mean_of_its_tokens(subject):
    arguments = {"max_new_tokens": 12, "seed": 3}
    pooled = subject.generate(CONVERSATIONS, capture=Capture((1, 3)), **arguments)
    single = subject.generate(CONVERSATIONS, capture=Capture((1, 3), "all"), **arguments)
    for one, other in zip(pooled, single, strict=True):
        assert one.tokens == other.tokens
        norms = other.activations.norm(dim=-1)
        kept = norms <= subject.sinks.norm_limit[[1, 3]].unsqueeze(-1)
        assert kept.all()
        assert relative(one.activations, other.activations.mean(dim=1)) < 1e-5


def test_a_reply_does_not_depend_on_its_batch(subject):
    together = subject.generate(CONVERSATIONS, max_new_tokens=24, seed=5)
    reverse = subject.generate(CONVERSATIONS[::-1], max_new_tokens=24, seed=5)[::-1]
    alone = [subject.generate([conversation], max_new_tokens=24, seed=5)[0] for conversation in CONVERSATIONS]
    assert (
        [reply.tokens for reply in together] == [reply.tokens for reply in alone] == [reply.tokens for reply in reverse]
    )


def test_identical_conversations_differ_and_seeds_matter(llama):
    same = llama.generate([CONVERSATIONS[0]] * 3, max_new_tokens=12, seed=1)
    assert len({tuple(reply.tokens) for reply in same}) == 3
    assert same[0].tokens == llama.generate([CONVERSATIONS[0]], max_new_tokens=12, seed=1)[0].tokens
    assert same[0].tokens != llama.generate([CONVERSATIONS[0]], max_new_tokens=12, seed=2)[0].tokens


def test_many_rows_are_retired_and_refilled(llama, monkeypatch):
    from greenroom.subject import decoding

    many = [[user(f"question number {number}, please")] for number in range(23)]
    wide = llama.generate(many, max_new_tokens=30, seed=2)
    monkeypatch.setattr(decoding, "ROWS", 4)
    narrow = llama.generate(many, max_new_tokens=30, seed=2)
    assert [reply.tokens for reply in wide] == [reply.tokens for reply in narrow]


def test_stop_token_is_excluded(llama):
    first = llama.generate([CONVERSATIONS[0]], max_new_tokens=8, seed=1)[0]
    stop = first.tokens[4]
    if stop in first.tokens[:4]:
        pytest.skip("the stop token occurs earlier in this reply")
    before, llama.stop_tokens = llama.stop_tokens, frozenset({stop})
    try:
        cut = llama.generate([CONVERSATIONS[0]], max_new_tokens=8, seed=1, capture=Capture((0,), "all"))[0]
    finally:
        llama.stop_tokens = before
    assert cut.tokens == first.tokens[:4]
    assert cut.finish == "stop"
    assert len(cut.logprobs) == 4
    assert cut.activations.shape[1] == 4


def test_score_equals_a_plain_forward(subject):
    continuations = ["abc", " yes of course", "no", "z"]
    scores = subject.score(CONVERSATIONS, continuations)
    for index, conversation in enumerate(CONVERSATIONS):
        prompt = subject.chat.encode(conversation, generate=True).tokens
        _, logits = plain_blocks(subject, prompt + scores.ids[index])
        logprobs = logits.log_softmax(-1)
        for place, (token, value) in enumerate(zip(scores.ids[index], scores.tokens[index], strict=True)):
            assert abs(logprobs[len(prompt) + place - 1, token].item() - value) < 1e-4
        assert scores.total[index] == pytest.approx(sum(scores.tokens[index]))


def test_score_shares_prefixes_without_changing_values(llama, monkeypatch):
    conversation = [system("You are a pirate of the seven seas. " * 4), user("What will you do?"), assistant("I will")]
    words = [" sail", " stay", " sleep", ""]
    together = llama.score([conversation] * 4, words)
    alone = [llama.score([conversation], [word]).total[0] for word in words]
    assert together.total == pytest.approx(alone, abs=1e-4)
    assert together.total[3] == 0.0


def test_continuations_that_differ_in_their_last_token_are_fed_once_unless_their_edits_differ(llama, monkeypatch):
    fed = []
    run = llama.network.run
    monkeypatch.setattr(llama.network, "run", lambda *given: fed.append(given[1].numel()) or run(*given))
    talk, words = CONVERSATIONS[0], ["a", "b", "c"]
    found = llama.score([talk] * 3, words).total
    assert sum(fed) == len(llama.chat.encode(talk, generate=True).tokens)
    assert found == pytest.approx([llama.score([talk], [word]).total[0] for word in words], abs=1e-4)
    north = Intervention("steer", 1, torch.sin(torch.arange(64.0)), (0.0, 9.0, -9.0), tokens="reply")
    edited = llama.score([talk] * 3, [[5, 6]] * 3, interventions=[north]).total
    alone = [
        llama.score([talk], [[5, 6]], interventions=[replace(north, amount=amount)]).total[0] for amount in north.amount
    ]
    assert edited == pytest.approx(alone, abs=1e-4)
    assert len({round(value, 3) for value in edited}) == 3


def test_scoring_in_parts_from_kept_keys_gives_the_values_of_the_whole_and_feeds_no_token_twice(subject, monkeypatch):
    given = [list(range(20, 20 + length)) for length in (30, 9, 21, 30)]
    whole = subject.score(CONVERSATIONS, given)
    fed = []
    run = subject.network.run
    monkeypatch.setattr(subject.network, "run", lambda *of: fed.append(of[1].numel()) or run(*of))
    memory, parts = PrefixCache(), [[] for _ in given]
    for begin, end in itertools.pairwise([0, 6, 9, 30]):
        rows = [row for row, tokens in enumerate(given) if begin < len(tokens)]
        fed.clear()
        found = subject.score(
            [CONVERSATIONS[row] for row in rows],
            [given[row][:end] for row in rows],
            starts=[begin] * len(rows),
            prefix_cache=memory,
        )
        for row, values, ids in zip(rows, found.tokens, found.ids, strict=True):
            assert ids == given[row][begin:end]
            parts[row] += values
    for mine, theirs in zip(parts, whole.tokens, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)
    assert sum(fed) == 3 * 21  # of three rows the last part, padded; nothing before it
    with pytest.raises(ValueError, match="beyond its end"):
        subject.score(CONVERSATIONS[:1], [[5, 6]], starts=[3])
    with subject.intervene(Intervention("steer", 1, torch.ones(64), 1.0)), pytest.raises(ValueError, match="unedited"):
        subject.score(CONVERSATIONS[:1], [[5, 6]], prefix_cache=memory)


def test_next_token_logprobs(subject):
    found = subject.next_token_logprobs(CONVERSATIONS)
    _, logits = plain_blocks(subject, subject.chat.encode(CONVERSATIONS[1], generate=True).tokens)
    assert torch.allclose(found[1], logits[-1].log_softmax(-1), atol=1e-4)


@pytest.mark.parametrize("pool", ["reply", "message", "last", "all"])
def test_activations_equal_a_plain_hook(subject, pool):
    talks = [
        [*conversation, assistant("Aye, so it is."), user("And?"), assistant("No more.")]
        for conversation in CONVERSATIONS
    ]
    if pool == "last":
        talks = [talk[:-1] for talk in talks]
    found = subject.activations(talks, [2, 0], pool)
    assert found.layers == (2, 0)
    for index, talk in enumerate(talks):
        encoded = subject.chat.encode(talk, generate=pool == "last")
        blocks, _ = plain_blocks(subject, encoded.tokens)
        spans = encoded.spans if pool == "message" else encoded.spans[-1:]
        if pool == "all":
            expected = blocks[[2, 0]]
        elif pool == "last":
            expected = blocks[[2, 0], -1:]
        else:
            means = []
            for layer in (2, 0):
                kept = blocks[layer].norm(dim=-1) <= subject.sinks.norm_limit[layer]
                kept[0] = False
                means.append(torch.stack([blocks[layer, a:b][kept[a:b]].mean(0) for a, b in spans]))
            expected = torch.stack(means)
        assert relative(found.values[:, found.conversation == index], expected) < 1e-5


def test_reply_ids_and_reply_text_read_alike(llama):
    replies = llama.generate(CONVERSATIONS, max_new_tokens=12, seed=3, capture=Capture((1,)))
    read = llama.activations(CONVERSATIONS, [1], replies=replies)
    for index, reply in enumerate(replies):
        assert relative(read.values[:, index], reply.activations) < 1e-5


def test_spans_are_exact_also_when_a_text_occurs_twice(subject):
    talk = [system("no"), user("no no"), assistant("no"), user(" no"), assistant("no no no")]
    encoded = subject.chat.encode(talk, generate=False)
    for message, (start, end) in zip(talk, encoded.spans, strict=True):
        assert subject.chat.decode(encoded.tokens[start:end]) == message["content"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(blacklist_categories=("Cs", "Co")), max_size=12), min_size=1, max_size=5))
def test_spans_decode_back_to_any_content(texts):
    subject = tiny("llama", layers=1, width=32)
    talk = [user(text) if index % 2 == 0 else assistant(text) for index, text in enumerate(texts)]
    if any("<|" in text for text in texts):
        return
    encoded = subject.chat.encode(talk, generate=False)
    for message, (start, end) in zip(talk, encoded.spans, strict=True):
        assert subject.chat.decode(encoded.tokens[start:end]) == message["content"]


def test_template_without_system_role_folds_it_into_the_first_user_turn():
    subject = tiny("llama")
    subject.tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    encoded = subject.chat.encode([system("Be kind."), user(" Hello ")], generate=True)
    assert encoded.text == "<|im_start|>user\nBe kind.\n\nHello<|im_end|><|im_start|>assistant\n"
    parts = [subject.chat.decode(encoded.tokens[start:end]) for start, end in encoded.spans]
    assert parts == ["Be kind.", "Hello"]


# Interventions ----------------------------------------------------------------------------------------------------


def with_plain_hook(subject, tokens, layer, change):
    """Logits and last-block activations with a hand-written hook on one block."""

    def hook(_module, _inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        edited = change(hidden)
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    handle = subject.network.blocks[layer].register_forward_hook(hook)
    try:
        return plain_blocks(subject, tokens)
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["steer", "cap", "ceiling", "ablate"])
def test_interventions_equal_plain_hooks(subject, kind):
    torch.manual_seed(0)
    vector = torch.randn(subject.d_model)
    unit = vector / vector.norm()
    amount = {"steer": 7.0, "cap": 1.5, "ceiling": -0.5, "ablate": 1.0}[kind]
    talk = [*CONVERSATIONS[1], assistant("Aye, so it is.")]
    tokens = subject.chat.encode(talk, generate=False).tokens

    def change(hidden):
        spared = hidden.norm(dim=-1) > subject.sinks.norm_limit[1]
        spared[:, 0] = True
        along = hidden @ unit
        edited = {
            "steer": hidden + amount * unit,
            "cap": hidden + (amount - along).clamp_min(0).unsqueeze(-1) * unit,
            "ceiling": hidden + (amount - along).clamp_max(0).unsqueeze(-1) * unit,
            "ablate": hidden - along.unsqueeze(-1) * unit,
        }[kind]
        return torch.where(spared.unsqueeze(-1), hidden, edited)

    expected, _ = with_plain_hook(subject, tokens, 1, change)
    found = subject.activations([talk], [1, 3], "all", interventions=[Intervention(kind, 1, vector, amount)])
    assert relative(found.values[1], expected[3]) < 1e-5
    along = found.values[0][1:] @ unit
    spared = found.values[0][1:].norm(dim=-1) > subject.sinks.norm_limit[1]
    clear = along[~spared]
    if kind == "cap":
        assert clear.min() >= amount - 1e-3
    if kind == "ablate":
        assert clear.abs().max() < 1e-3


def test_rows_of_a_batch_are_steered_differently(llama):
    vector = torch.randn(llama.d_model, generator=torch.Generator().manual_seed(1))
    amounts = (0.0, 8.0, -8.0, 0.0)
    together = llama.generate(
        CONVERSATIONS, max_new_tokens=16, seed=4, interventions=[Intervention("steer", 1, vector, amounts)]
    )
    plain = llama.generate(CONVERSATIONS, max_new_tokens=16, seed=4)
    for index, amount in enumerate(amounts):
        edits = [Intervention("steer", 1, vector, amount)] if amount else []
        # Alone, a conversation gets the same random stream as in the batch, since its tokens are the same.
        alone = llama.generate([CONVERSATIONS[index]], max_new_tokens=16, seed=4, interventions=edits)[0]
        assert together[index].tokens == alone.tokens
        assert (together[index].tokens == plain[index].tokens) == (amount == 0.0)


def test_reply_only_edits_leave_the_prompt_alone(llama):
    vector = torch.randn(llama.d_model, generator=torch.Generator().manual_seed(1))
    talk = [*CONVERSATIONS[1], assistant("Aye, so it is.")]
    plain = llama.activations([talk], [2], "all").values[0]
    for tokens in ("reply", "prompt"):
        edited = llama.activations(
            [talk], [2], "all", interventions=[Intervention("steer", 2, vector, 5.0, tokens=tokens)]
        )
        changed = (edited.values[0] - plain).norm(dim=-1) > 1e-3
        start, end = llama.chat.encode(talk, generate=False).spans[-1]
        expected = torch.zeros_like(changed)
        if tokens == "reply":
            expected[start:] = True
        else:
            expected[1:start] = True
        assert (changed == expected).all()
        assert end <= len(changed)


def test_intervene_nests_and_leaves_nothing_behind(llama):
    vector = torch.sin(torch.arange(64.0))

    def total() -> float:
        return llama.score(CONVERSATIONS[:1], ["abc"]).total[0]

    def use_and_fail() -> None:
        with llama.intervene(Intervention("steer", 1, vector, 9.0)):
            changed = total()
            with llama.intervene(Intervention("ablate", -1, vector, 1.0)):
                assert total() != changed
            assert total() == changed != before
            raise RuntimeError("stop here")

    before = total()
    with pytest.raises(RuntimeError, match="stop here"):
        use_and_fail()
    assert total() == before
    assert not any(block._forward_hooks for block in llama.network.blocks)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_trainers_forward_is_edited_with_gradients(llama, side):
    vector = torch.sin(torch.arange(64.0))
    edit = Intervention("steer", 1, vector, 9.0)
    talks = [[*talk, assistant("Aye, so it is.")] for talk in CONVERSATIONS[:2]]
    rows = [llama.chat.encode(talk, generate=False).tokens for talk in talks]
    length = max(map(len, rows))
    ids, mask = torch.zeros(2, length, dtype=torch.long), torch.zeros(2, length, dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(length - len(row), length) if side == "left" else slice(0, len(row))
        ids[index, place], mask[index, place] = torch.tensor(row), 1
    weight = llama.network.blocks[0].mlp.down_proj.weight
    places = (mask.cumsum(-1) - 1).clamp_min(0)
    with llama.training(edit):
        logits = llama.model(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False).logits
        (gradient,) = torch.autograd.grad(logits.logsumexp(-1)[mask.bool()].sum(), weight)
    assert gradient.norm() > 0
    plain = llama.model(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False).logits
    logits = logits.detach()
    for index, row in enumerate(rows):
        seen = mask[index].bool()
        with llama.intervene(edit):
            expected = llama.score([talks[index][:-1]], ["Aye, so it is."]).tokens[0]
        start = llama.chat.encode(talks[index][:-1], generate=True).tokens
        found = [
            float(logits[index][seen].log_softmax(-1)[place - 1, row[place]])
            for place in range(len(start), len(start) + len(expected))
        ]
        assert found == pytest.approx(expected, abs=1e-4)
        assert not torch.allclose(plain[index][seen], logits[index][seen], atol=1e-3)
    with (
        pytest.raises(ValueError, match="all tokens"),
        llama.training(Intervention("steer", 1, vector, 9.0, tokens="reply")),
    ):
        pass
    assert not any(block._forward_hooks for block in llama.network.blocks)
    assert not llama.network.body._forward_pre_hooks


def test_an_interrupt_leaves_no_hook(llama):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        llama.generate(CONVERSATIONS, max_new_tokens=4, capture=Capture((0, 1)), progress=interrupt)
    assert not any(block._forward_hooks for block in llama.network.blocks)


def test_a_prefix_cache_changes_nothing_but_the_cost(subject):
    memory = PrefixCache()
    talks, plain = [[list(c) for c in CONVERSATIONS] for _ in range(2)]
    for turn in range(3):
        ours = subject.generate(talks, max_new_tokens=8, seed=turn, prefix_cache=memory)
        theirs = subject.generate(plain, max_new_tokens=8, seed=turn)
        assert [reply.tokens for reply in ours] == [reply.tokens for reply in theirs]
        for side in (talks, plain):
            for talk, reply in zip(side, theirs, strict=True):
                talk += [assistant(reply.text), user("more?")]


# Parts ------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 100)), max_size=9), st.integers(64, 2048))
def test_batches_hold_each_stretch_once_within_the_budget_at_the_least_cost(sizes, budget) -> None:
    stretches = [Stretch(row, start, [0] * length) for row, (length, start) in enumerate(sizes)]
    batches = list(planned(stretches, budget))
    ordered = [item for batch in batches for item in batch]
    assert sorted(item.row for item in ordered) == list(range(len(sizes)))
    assert [len(item.tokens) for item in ordered] == sorted((length for length, _ in sizes), reverse=True)

    def fits(batch) -> bool:
        width = max(len(item.tokens) for item in batch) + max(item.start for item in batch) // 2
        return len(batch) == 1 or width * len(batch) <= budget

    def cost(cut) -> int:
        return sum(max(len(item.tokens) for item in batch) * len(batch) + FORWARD_COST for batch in cut)

    assert all(fits(batch) for batch in batches)
    for pattern in range(1 << max(0, len(ordered) - 1)):  # every way to cut the sorted stretches
        ends = [place + 1 for place in range(len(ordered) - 1) if pattern >> place & 1] + [len(ordered)]
        cut = [ordered[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if end > begin]
        if all(fits(batch) for batch in cut):
            assert cost(batches) <= cost(cut)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12), st.integers(1, 4))
def test_prefix_tree_covers_each_row_exactly(rows, shortest):
    limits = [len(row) - 1 for row in rows]
    tree = shared_prefixes(rows, limits, shortest=shortest)
    assert sorted(tree.leaf) == list(range(len(rows)))
    for row, tokens in enumerate(rows):
        rebuilt, node = [], tree.leaf[row]
        assert tree.start(row) <= limits[row]
        while node is not None:
            stretch = tree.nodes[node]
            assert stretch.end - stretch.start >= shortest
            rebuilt = [*rows[stretch.row][stretch.start : stretch.end], *rebuilt]
            node = stretch.parent
        assert rebuilt == tokens[: tree.start(row)]


def test_each_conversation_may_have_its_own_seed(llama):
    talks = [[user("Hello?")], [user("Hello?")], [user("Where?")], [user("Hello?")]]
    settings = {"max_new_tokens": 6, "temperature": 1.0}
    together = [reply.tokens for reply in llama.generate(talks, seed=[0, 1, 1, 0], **settings)]
    alone = [
        llama.generate([talk], seed=own, **settings)[0].tokens for talk, own in zip(talks, [0, 1, 1], strict=False)
    ]
    assert together[:3] == alone
    assert together[3] == llama.generate([talks[0]] * 2, seed=0, **settings)[1].tokens
    with pytest.raises(ValueError, match="2 seeds for 4 conversations"):
        llama.generate(talks, seed=[0, 1], **settings)


def test_random_streams_ignore_order_and_company():
    a, b = [1, 2, 3], [4, 5]
    together, alone = random_streams([a, b, a], 8, seed=7), random_streams([b], 8, seed=7)
    assert (together[1] == alone[0]).all()
    assert (together[0] != together[2]).any()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"temperature": -0.1}, "temperature ≥ 0, 0 < top_p ≤ 1 and top_k ≥ 0, got -0.1, 1.0, 50"),
        ({"top_p": 0.0}, "got 1.0, 0.0, 50"),
        ({"top_p": 1.1}, "got 1.0, 1.1, 50"),
        ({"top_k": -1}, "got 1.0, 1.0, -1"),
    ],
)
def test_sampling_out_of_range_is_refused(llama, settings, told):
    with pytest.raises(ValueError, match=told):
        llama.generate(CONVERSATIONS, **settings)


@pytest.mark.parametrize(("top_p", "top_k"), [(1.0, 0), (1.0, 5), (0.7, 5), (0.7, 0)])
def test_sampling_follows_the_truncated_distribution(top_p, top_k):
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(0)) * 2
    draws = 4000
    uniform = torch.rand(draws, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ids = drawn(logits.expand(draws, -1), uniform, Sampling(1, 0.8, top_p, top_k))
    # The textbook order: temperature, top-k, top-p.
    scaled = logits[0] / 0.8
    if top_k:
        scaled = scaled.masked_fill(scaled < scaled.topk(top_k).values[-1], -torch.inf)
    p = scaled.softmax(-1)
    order = p.argsort(descending=True)
    keep = torch.zeros_like(p, dtype=torch.bool)
    keep[order[(p[order].cumsum(0) - p[order]) < top_p]] = True
    expected = (p * keep) / (p * keep).sum()
    share = torch.bincount(ids, minlength=40) / draws
    assert (share[expected == 0] == 0).all()
    assert (share - expected).abs().max() < 0.03


def test_instrument_check_passes_and_notices_a_broken_head(subject):
    assert all(finding.ok for finding in check_instrument(subject))
    subject.network.logit_scale = 2.0
    try:
        assert not all(finding.ok for finding in check_instrument(subject))
    finally:
        subject.network.logit_scale = 1.0


def test_bad_requests_are_named(llama):
    with pytest.raises(ValueError, match=r"blocks 0…3"):
        llama.activations(CONVERSATIONS, [4])
    with pytest.raises(ConversationError, match="no assistant message"):
        llama.activations(CONVERSATIONS, [1])
    with pytest.raises(ConversationError, match="role"):
        llama.generate([[{"role": "narrator", "content": "x"}]])
    with pytest.raises(ConversationError, match="exceed the context"):
        llama.generate([[user("x" * 5000)]])
    with pytest.raises(ValueError, match="amounts for 4 conversations"):
        llama.generate(CONVERSATIONS, interventions=[Intervention("steer", 0, torch.ones(64), (1.0, 2.0))])
    with pytest.raises(ModelError, match="--template"):
        tiny("llama", template=None).generate(CONVERSATIONS)
