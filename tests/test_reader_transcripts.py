"""Every format in, one shape out; a broken record is named and the rest goes on."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import pytest

from greenroom.errors import ConversationError
from greenroom.reader.transcripts import FORMATS, Broken, Transcript, read_transcripts

FOLDER = Path(__file__).parent / "transcripts"
PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "transcripts"


def read(name: str, format: str | None = None) -> tuple[list[Transcript], list[Broken]]:
    found = list(read_transcripts(FOLDER / name, format=format))
    return [one for one in found if isinstance(one, Transcript)], [one for one in found if isinstance(one, Broken)]


def roles(transcript: Transcript) -> list[str]:
    return [message["role"] for message in transcript.messages]


def test_openai_messages_lose_tools_and_images_with_a_count():
    (one,), broken = read("openai.json")
    assert not broken
    assert roles(one) == ["system", "user", "assistant", "user", "assistant"]
    assert one.messages[3]["content"] == "And what is wrong with this leaf?"
    assert one.skipped == {"images": 1, "tool_calls": 1, "tool_results": 1}


def test_json_lines_name_the_line_of_each_broken_record_and_go_on():
    good, broken = read("openai.jsonl")
    assert [(one.index, one.line) for one in good] == [(0, 1), (1, 2), (5, 7)]
    assert roles(good[1]) == ["system", "user", "assistant"]
    assert [one.line for one in broken] == [3, 4, 6]
    assert str(broken[0]).startswith(f"{FOLDER / 'openai.jsonl'}:3: not valid JSON")
    assert "'narrator'" in broken[1].reason
    assert "messages" in broken[2].reason


def test_hidden_reasoning_is_no_part_of_the_reply():
    good, _ = read("openai.jsonl")
    assert good[2].messages[1]["content"] == "No, it is 9 times 11."
    assert good[2].skipped == {"reasoning": 1}


def test_a_damaged_element_does_not_end_an_array():
    good, broken = read("openai_array.json")
    assert [(one.index, one.line) for one in good] == [(0, 2), (2, 4)]
    assert good[0].messages[1]["content"] == 'The Danube, [the] "grey" one.'
    assert [one.line for one in broken] == [3]


def test_a_list_of_messages_is_one_conversation():
    (one,), _ = read("messages.json")
    assert roles(one) == ["user", "assistant"]


def test_sharegpt_in_both_manners():
    (first, second), _ = read("sharegpt.json")
    assert roles(first) == ["user", "assistant", "user", "assistant"]
    assert first.skipped == {"tool_calls": 1, "tool_results": 1}
    assert roles(second) == ["user", "assistant"]


def test_assistant_axis_transcripts():
    (one,), _ = read("assistant_axis.json")
    assert roles(one) == ["user", "assistant"] * 2


def test_claude_export_old_and_new():
    (new, old), (empty,) = read("claude_export.json")
    assert new.messages[1]["content"].startswith("Most often the yeast")
    assert new.skipped == {"files": 1, "reasoning": 1, "tool_calls": 1, "tool_results": 1}
    assert roles(old) == ["user", "assistant"]
    assert empty.line == 33


def test_chatgpt_export_reads_the_branch_last_looked_at():
    (one,), _ = read("chatgpt_export.json")
    assert [message["content"] for message in one.messages] == [
        "Which knot is this?",
        "It is a bowline, a loop that does not slip.",
    ]
    assert one.skipped == {"images": 1, "reasoning": 1, "tool_calls": 1, "tool_results": 1}


def test_inspect_logs():
    (sea, mountain), _ = read("inspect.eval")
    assert sea.messages[1]["content"].startswith("The Baltic Sea lies north of Poland.")
    assert roles(mountain) == ["system", "user", "assistant"]
    assert mountain.skipped == {"images": 1}


def test_plain_text():
    (one,), _ = read("plain.txt")
    assert roles(one) == ["user", "assistant"] * 2
    assert one.messages[0]["content"].endswith("It should have a cat in it.")
    assert one.messages[1]["content"].count("\n") == 3  # its lines and the empty one between them
    assert one.skipped == {"other": 1}


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("openai.json", "openai"), ("sharegpt.json", "sharegpt"), ("assistant_axis.json", "assistant-axis"),
        ("claude_export.json", "claude"), ("chatgpt_export.json", "chatgpt"), ("inspect.eval", "inspect"),
        ("plain.txt", "text"),
    ],
)  # fmt: skip
def test_a_named_format_reads_what_is_detected(name: str, format: str):
    assert read(name, format) == read(name)
    assert format in FORMATS


def test_a_wrong_format_is_told_record_by_record():
    good, broken = read("sharegpt.json", "claude")
    assert not good
    assert len(broken) == 2
    assert "claude" in broken[0].reason


def test_messages_decide_whatever_other_keys_there_are(tmp_path: Path):
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    record = {"mapping": {}, "conversation": [], "chat_messages": [], "messages": said}
    (tmp_path / "a.json").write_text(json.dumps(record))
    (one,) = read_transcripts(tmp_path / "a.json")
    assert isinstance(one, Transcript)
    assert one.messages == said


def test_a_folder_is_read_whole_in_the_order_of_names(tmp_path: Path):
    for name in ("b.json", "a/c.json", ".hidden/d.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((FOLDER / "messages.json").read_bytes())
    (tmp_path / "notes.md").write_text("no transcript")
    assert [Path(one.source).name for one in read_transcripts(tmp_path)] == ["c.json", "b.json"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch):
    stdin = io.TextIOWrapper(io.BytesIO((FOLDER / "openai.jsonl").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    found = list(read_transcripts("-"))
    assert [type(one).__name__ for one in found] == [
        "Transcript",
        "Transcript",
        "Broken",
        "Broken",
        "Broken",
        "Transcript",
    ]
    assert {one.source for one in found} == {"-"}


def test_an_export_as_it_is_downloaded(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.write(FOLDER / "claude_export.json", "data/conversations.json")
    assert [type(one).__name__ for one in read_transcripts(tmp_path)] == ["Transcript", "Transcript", "Broken"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"just some text", "User:"),
        (b"User: caf\xe9", "UTF-8"),
        (b'{"messages": [', "not valid JSON"),
        (b'{"messages": []}', "messages"),
        (b'{"messages": [{"role": "user", "content": 3}]}', "content of type int"),
        (b'{"messages": [{"role": "user"}]}', "no message with text"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_conversation_is_told_and_never_raised(tmp_path: Path, content: bytes, told: str):
    (tmp_path / "a.json").write_bytes(content)
    (one,) = read_transcripts(tmp_path / "a.json")
    assert isinstance(one, Broken)
    assert told in one.reason


def test_damaged_archives_and_logs_are_told(tmp_path: Path):
    for name in ("a.zip", "b.eval"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 damaged")
    assert [type(one).__name__ for one in read_transcripts(tmp_path)] == ["Broken", "Broken"]


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path):
    (tmp_path / "a.json").write_text('[{"role": "user", "content": "a\\ud83d"}, {"role": "assistant", "content": "b"}]')
    (one,) = read_transcripts(tmp_path / "a.json")
    assert isinstance(one, Transcript)
    assert one.messages[0]["content"] == "a?"


def test_elements_longer_than_a_piece_are_read_whole(tmp_path: Path):
    said = [{"role": "user", "content": "x" * 3_000_000}, {"role": "assistant", "content": '{[\\"' * 500_000}]
    (tmp_path / "a.json").write_text(json.dumps([{"messages": said}, {"messages": said[1:]}], indent=1))
    first, second = read_transcripts(tmp_path / "a.json")
    assert isinstance(first, Transcript)
    assert first.messages == said
    assert isinstance(second, Transcript)
    assert second.line == 14


def test_bad_arguments_are_told_before_anything_is_read(tmp_path: Path):
    with pytest.raises(ConversationError, match="unknown format 'csv'; expected one of openai"):
        read_transcripts(FOLDER, format="csv")
    with pytest.raises(ConversationError, match="does not exist"):
        read_transcripts([FOLDER, tmp_path / "gone.json"])
    with pytest.raises(ConversationError, match="no transcript in"):
        read_transcripts(tmp_path)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published conversations are not here")
def test_published_conversations_are_read():
    found = list(read_transcripts(PUBLISHED))
    assert len(found) == 6
    assert all(isinstance(one, Transcript) and len(one.messages) in (8, 30) for one in found)
