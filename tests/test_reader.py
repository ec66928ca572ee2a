"""The reader's mechanics on a tiny random model: cold, windows, sentences, topics, the monitor, and `greenroom.read`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from greenroom.conversation import Conversation, assistant, system, user
from greenroom.errors import ConversationError, DirectionError
from greenroom.reader import turns as turns_module
from greenroom.reader.monitor import Monitor
from greenroom.reader.read import read
from greenroom.reader.reader import Reader
from greenroom.reader.sentences import moved, sentence_spans
from greenroom.reader.stream import read_baseline
from greenroom.reader.topics import Topics, examples, user_activations
from greenroom.reader.transcripts import Transcript
from greenroom.reader.turns import Turn, encoded, pieces, planned, turns_of
from greenroom.subject import Subject
from greenroom.subject.listening import Listener
from greenroom.subject.tiny import tiny
from reader_fixture import random_direction, tiny_reader

TALK: Conversation = [
    system("Be brief."),
    user("Hello there."),
    assistant("Good day. How are you? I am well, thank you!"),
    user("More"),
    user("please"),
    assistant("There is nothing more. Or is there?"),
    assistant("One thing, perhaps."),
]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return tiny()


@pytest.fixture(scope="module")
def reader(subject: Subject) -> Reader:
    return tiny_reader(subject)


# Turns and windows ------------------------------------------------------------------------------------------------------


def test_each_turn_is_read_after_its_own_user_message():
    assert turns_of(TALK) == [
        Turn(1, "Hello there.", "Good day. How are you? I am well, thank you!"),
        Turn(2, "More\n\nplease", "There is nothing more. Or is there?"),
        Turn(3, "More\n\nplease", "One thing, perhaps."),
    ]
    assert turns_of([assistant("Welcome!")]) == [Turn(1, "", "Welcome!")]


def test_reading_is_cold(reader: Reader):
    """Neither the system prompt nor earlier turns change what a turn reads."""
    alone: Conversation = [user("Hello there."), assistant(TALK[2]["content"])]
    long: Conversation = [system("You are a pirate."), user("Ahoy"), assistant("Arr."), *alone]
    first = reader.read(turns_of(alone))[0]
    last = reader.read(turns_of(long))[1]
    assert first.axis_sd == pytest.approx(last.axis_sd, abs=1e-4)
    assert first.traits == pytest.approx(last.traits, abs=1e-4)
    assert first.topic == last.topic


def test_a_reading_is_the_mean_projection_of_the_replys_own_tokens(reader: Reader, subject: Subject):
    conversation = [user("Hello there."), assistant(TALK[2]["content"])]
    captured = subject.activations([conversation], [2], "reply")
    expected = reader.axis.sd(captured.at(2))[0].item()
    found = reader.read(turns_of(conversation))[0]
    assert found.axis_sd == pytest.approx(expected, abs=1e-4)
    assert found.tokens == len(TALK[2]["content"])  # a token a byte


def test_windows_read_each_token_of_the_reply_once_and_never_the_overlap(subject: Subject):
    text = encoded(subject.chat, Turn(1, "Why?", "a long reply " * 40))
    start, end = text.spans[1]
    found = pieces(text, window=128)
    assert len(found) > 3
    read_tokens = [token for piece in found for token in piece.tokens[piece.said[0] : piece.said[1]]]
    assert read_tokens == text.tokens[start:end]
    assert all(len(piece.tokens) <= 128 for piece in found)
    assert all(piece.said[0] >= 32 for piece in found[1:])  # what overlaps is context
    assert [piece.asked for piece in found[1:]] == [(0, 0)] * (len(found) - 1)


def test_a_long_user_message_gives_way(subject: Subject):
    text = encoded(subject.chat, Turn(1, "why " * 200, "Because."))
    (piece,) = pieces(text, window=128)
    assert piece.tokens[piece.said[0] : piece.said[1]] == text.tokens[slice(*text.spans[1])]
    assert piece.said[0] == 32
    assert piece.asked[0] == 1  # not the window's first token, which is a new sink


def test_a_window_that_starts_inside_a_reply_reads_nothing_at_its_start(
    subject: Subject, reader: Reader, monkeypatch: pytest.MonkeyPatch
):
    """The reading is the mean over the tokens behind each window's overlap; the overlap, with the sink that a window makes
    at its first token, would move it."""
    turn = Turn(1, "Why?", "word and " * 200)
    window = 256
    monkeypatch.setattr(subject.network, "context", window)
    found = reader.read([turn])[0]
    text = encoded(subject.chat, turn)
    behind, whole = [], []
    for piece in pieces(text, window):
        captured = subject.token_activations([piece.tokens], [[(0, len(piece.tokens))]], [2])
        projected = reader.axis.sd(captured.at(2))
        behind.append(projected[piece.said[0] : piece.said[1]])
        whole.append(projected)
    assert found.axis_sd == pytest.approx(torch.cat(behind).mean().item(), abs=1e-4)
    assert found.axis_sd != pytest.approx(torch.cat(whole).mean().item(), abs=1e-2)
    assert found.tokens == len(turn.said)


def test_calls_hold_every_piece_once_within_the_budget():
    found = [turns_module.Piece(list(range(length)), (0, length)) for length in (5, 50, 7, 90, 20)]
    calls = planned(found, 60)
    assert sorted(index for call in calls for index in call) == [0, 1, 2, 3, 4]
    assert all(sum(len(found[index].tokens) for index in call) <= 60 or len(call) == 1 for call in calls)


# Sentences --------------------------------------------------------------------------------------------------------------


def test_sentences_cover_the_text():
    text = 'He said "No." Then he left...\n\n- one\n- two? Yes'
    spans = sentence_spans(text)
    assert "".join(text[begin:end] for begin, end in spans) == text
    assert [text[begin:end].strip() for begin, end in spans] == [
        'He said "No."',
        "Then he left...",
        "- one",
        "- two?",
        "Yes",
    ]


def test_the_sentence_that_moved_a_turn_is_found_and_all_sum_to_zero():
    text = "All is calm. I am the storm! Have a good day."
    offsets = [(index, index + 1) for index in range(len(text))]
    tokens = np.zeros(len(text))
    tokens[13:28] = -2.0
    tokens[3] = np.nan  # a sink says nothing
    found = moved(text, offsets, tokens, most=3)
    assert [one.text for one in found] == ["All is calm.", "I am the storm!", "Have a good day."]
    assert min(found, key=lambda one: one.sd).text == "I am the storm!"
    assert sum(one.sd for one in found) == pytest.approx(0, abs=1e-9)
    assert [one.text for one in moved(text, offsets, tokens, most=1)] == ["I am the storm!"]
    assert moved("Only one.", offsets[:9], tokens[:9]) == []


def test_sentences_of_a_reading_stand_in_the_reply(reader: Reader):
    (turn, *_) = reader.read(turns_of(TALK))
    assert len(turn.sentences) == 3
    for one in turn.sentences:
        assert TALK[2]["content"][one.start : one.end].strip() == one.text


# Topics -----------------------------------------------------------------------------------------------------------------


def test_a_topic_is_that_of_the_nearest_examples():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 16, generator=generator) * 3
    labels = [name for name in ("a", "b", "c") for _ in range(5)]
    values = torch.cat([centre + torch.randn(5, 16, generator=generator) for centre in centres])
    values[:, 3] += 500  # a coordinate that is huge everywhere tells nothing
    topics = Topics.fit(0, values, labels)
    assert topics.nearest(values) == labels
    assert topics.nearest(torch.full((1, 16), torch.nan)) == [None]


def test_the_topic_of_a_turn_is_read_from_the_users_own_text(reader: Reader, subject: Subject):
    assert reader.topics is not None
    text = examples()["coding"][0]
    expected = reader.topics.nearest(user_activations(subject, [text], reader.topics.layer))
    assert [reader.read([Turn(1, text, "Yes.")])[0].topic] == expected


# Listener and monitor ---------------------------------------------------------------------------------------------------


def test_a_listener_hears_only_what_is_new_and_hears_it_right(subject: Subject):
    listener = Listener(subject, [1, 2])
    tokens = subject.chat.encode([user("Hello there, how are you today?")], generate=True).tokens
    whole = subject.token_activations([tokens], [[(0, len(tokens))]], [1, 2])
    first = listener.hear(tokens[:20])
    second = listener.hear(tokens)
    assert second.position.tolist() == list(range(20, len(tokens)))
    joined = torch.cat([first.values, second.values], dim=1)
    assert ((joined - whole.values).norm(dim=-1) / whole.values.norm(dim=-1)).max() < 1e-5
    changed = [*tokens[:10], tokens[10] + 1, *tokens[11:]]
    assert listener.hear(changed).position[0] == 10
    assert listener.hear(changed, since=5).position[0] == 5


def test_the_monitor_says_turn_by_turn_what_reading_the_whole_says(reader: Reader):
    whole = reader.read(turns_of(TALK))
    monitor = Monitor(reader)
    seen = [monitor.observe(message) for message in TALK]
    assert [one.turn is not None for one in seen] == [message["role"] == "assistant" for message in TALK]
    for one, other in zip(monitor.turns, whole, strict=True):
        assert one.axis_sd == pytest.approx(other.axis_sd, abs=1e-4)
        assert one.traits == pytest.approx(other.traits, abs=1e-4)
        assert (one.turn, one.topic, one.tokens) == (other.turn, other.topic, other.tokens)
    assert seen[1].topic == whole[0].topic  # told before the reply is there
    assert seen[-1].verdict == "uncalibrated"


def test_a_turn_costs_its_new_tokens(reader: Reader, monkeypatch: pytest.MonkeyPatch):
    monitor = Monitor(reader)
    network = reader.subject.network
    run = network.run
    forwards: list[int] = []

    def counted(hooks, tokens, *rest):
        forwards.append(tokens.shape[1])
        return run(hooks, tokens, *rest)

    monkeypatch.setattr(network, "run", counted)
    monitor.observe(user("Hello there."))
    monitor.observe(assistant("x" * 40))
    assert forwards[1] == 40
    monitor.observe(user("y" * 30))
    assert 30 <= forwards[2] < 30 + 60  # the turn's own text and its markers; the template's beginning is known
    monitor.observe(assistant("x" * 25))
    assert forwards[3] == 25


def test_the_monitor_reads_what_is_longer_than_a_window(reader: Reader, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader.subject.network, "context", 256)
    monitor = Monitor(reader)
    monitor.observe(user("Tell me."))
    found = monitor.observe(assistant("word and " * 100))
    assert found.turn is not None
    assert found.turn.tokens == 900
    assert found.axis_sd == pytest.approx(reader.read([Turn(1, "Tell me.", "word and " * 100)])[0].axis_sd, abs=1e-4)


def test_a_monitor_refuses_what_is_no_message(reader: Reader):
    with pytest.raises(ConversationError, match="role"):
        Monitor(reader).observe({"role": "robot", "content": "x"})  # type: ignore[typeddict-item]


# Reading conversations --------------------------------------------------------------------------------------------------


def test_read_gives_frames_records_and_a_figure(reader: Reader):
    found = read([TALK, TALK[:3]], reader=reader)
    assert found.conversations["verdict"].to_list() == ["uncalibrated"] * 2
    assert found.turns.select("index", "turn").rows() == [(0, 1), (0, 2), (0, 3), (1, 1)]
    assert set(found.turns.columns) >= {"axis_sd", "humor_sd", "topic", "tokens", "sentences"}
    first = found.records[0]
    assert first["axis_sd_mean"] == pytest.approx(np.mean([turn["axis_sd"] for turn in first["turns"]]), abs=1e-4)
    assert len(found.figure().data) == 2
    assert "2 uncalibrated" in str(found)
    assert read(TALK, reader=reader).records[0]["turns"] == first["turns"]  # one conversation is one of a list


def test_a_conversation_without_a_reply_has_a_reason_instead_of_numbers(reader: Reader):
    (one,) = read([[user("Is anybody there?")]], reader=reader).records
    assert (one["verdict"], one["reason"], one["axis_sd_mean"]) == ("uncalibrated", "no_turns", None)
    assert one["turns"] == []


def test_a_turn_that_the_template_cannot_hold_is_not_read_and_the_rest_is(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
):
    encode = reader.subject.chat.encode

    def refuses(conversation, *, generate):
        if "odd" in conversation[-1]["content"]:
            raise ConversationError("odd")
        return encode(conversation, generate=generate)

    monkeypatch.setattr(reader.subject.chat, "encode", refuses)
    (one,) = read([[user("a"), assistant("odd"), user("b"), assistant("even")]], reader=reader).records
    assert [turn["axis_sd"] is None for turn in one["turns"]] == [True, False]
    assert one["axis_sd_mean"] == one["turns"][1]["axis_sd"]


def test_ten_turns_are_judged_and_a_baseline_judges_one(reader: Reader):
    rng = np.random.default_rng(0)
    words = ["tree", "river", "stone", "cloud", "fire", "grass"]

    def talk(turns: int) -> Conversation:
        said: Conversation = []
        for _ in range(turns):
            said += [user("Go on."), assistant(" ".join(rng.choice(words, 12)) + ".")]
        return said

    (one,) = read([talk(10)], reader=reader).records
    assert one["verdict"] != "uncalibrated"
    assert one["baseline"] == "own first turns"
    assert one["drift"]["low"] < one["drift"]["slope_sd_per_turn"] < one["drift"]["high"]
    normal = [talk(3) for _ in range(6)]
    (other,) = read([talk(1)], reader=reader, baseline=normal).records
    assert (other["verdict"], other["baseline"]) == ("steady", "folder")
    with pytest.raises(ConversationError, match="at least two conversations"):
        read([talk(1)], reader=reader, baseline=[talk(2)])


def test_a_baseline_of_nothing_is_refused(reader: Reader):
    with pytest.raises(ConversationError, match="got 0"):
        read_baseline(reader, iter([Transcript("a", 0, [user("only a question")])]))


def test_a_direction_of_other_weights_is_refused(subject: Subject):
    other = tiny(seed=3)
    with pytest.raises(DirectionError, match="the reader is tiny-llama"):
        Reader(other, random_direction(subject, 2))


def test_public_names_can_be_used_twice(reader: Reader):
    import greenroom

    def calls() -> Iterator[object]:
        for _ in range(2):
            yield greenroom.read([TALK], reader=reader)
            yield greenroom.Monitor(reader)

    assert len(list(calls())) == 4
