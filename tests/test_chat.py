"""A chat: what is said, read, changed, taken back and saved; in a pipe and on a terminal."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from greenroom.chatting import BARS, Chat, command, help_text
from greenroom.cli import main
from greenroom.conversation import user
from greenroom.directions import Calibration, Direction, SignTest, store
from greenroom.directions.interventions import steer
from greenroom.errors import GreenroomError
from greenroom.personas import library
from greenroom.subject import tiny


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


def direction(subject, name: str, layer: int, seed: int) -> Direction:
    vector = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(seed))
    scale = Calibration.of(np.arange(12.0).reshape(4, 3))
    return Direction(
        name, "trait", layer, {layer: vector / vector.norm()}, {layer: scale}, subject.name, subject.fingerprint,
        SignTest("this", "that", 1.0, -1.0),
    )  # fmt: skip


@pytest.fixture
def north(subject):
    return direction(subject, "north", 2, 0)


@pytest.fixture
def file(north, tmp_path):
    north.save(tmp_path / "north.safetensors")
    return str(tmp_path / "north.safetensors")


@pytest.fixture
def chat(subject, north):
    return Chat(subject, [north, direction(subject, "east", 1, 1)], max_new_tokens=8)


def test_each_reply_is_read_hot_and_cold(subject, chat, north):
    chat.play("Speak in riddles.")
    chat.say("Hello?")
    turn = chat.say("And now?")
    prompt = [*chat.messages()[:-1]]
    assert [message["role"] for message in prompt] == ["system", "user", "assistant", "user"]
    hot = subject.activations([prompt], [2], "reply", replies=[turn.reply]).values[0, 0]
    cold = subject.activations([[user("And now?")]], [2], "reply", replies=[turn.reply]).values[0, 0]
    assert turn.readings["north"].hot == pytest.approx(float(north.sd(hot)), abs=1e-3)
    assert turn.readings["north"].cold == pytest.approx(float(north.sd(cold)), abs=1e-3)
    assert set(turn.readings) == {"north", "east"}
    assert len(chat.line("north")) == 2
    assert set(chat.line("north")) <= set(BARS)


def test_a_turn_replies_as_the_subject_would(subject, north, file):
    """Also with what the chat remembers between turns, and under edits."""
    chat = Chat(subject, [north], max_new_tokens=8, temperature=0)
    for text in ("Hello?", "And now?"):
        expected = subject.generate([[*chat.messages(), user(text)]], max_new_tokens=8, temperature=0)[0]
        assert chat.say(text).reply.tokens == expected.tokens
    command(chat, f"/steer {file}:+5")
    asked = [*chat.messages(), user("Go on.")]
    edited = subject.generate([asked], max_new_tokens=8, temperature=0, interventions=steer(north, 5.0))[0]
    assert chat.say("Go on.").reply.tokens == edited.tokens


def test_what_it_is_edited_by_is_metered_and_stays(subject, file):
    chat = Chat(subject, max_new_tokens=8)
    assert chat.say("Hello?").readings == {}
    command(chat, f"/ablate {file}")
    assert set(chat.say("And now?").readings) == {"north"}
    command(chat, "/ablate off")
    assert set(chat.say("And then?").readings) == {"north"}
    assert len(chat.line("north")) == 3
    assert chat.line("north").startswith(" ")
    silent = Chat(subject, None, steer=[f"{file}:+2"], max_new_tokens=8)
    assert silent.say("Hello?").readings == {}


def test_commands(chat, file):
    assert command(chat, "/steer") == "steer: off"
    assert command(chat, f"/steer {file}:+2") == f"steer: {file}:+2"
    command(chat, f"/cap {file}:default:p25 {file}:ceiling=1")
    assert chat.words["cap"] == (f"{file}:default:p25", f"{file}:ceiling=1")
    turn = chat.say("Hello?")
    assert turn.words["steer"] == (f"{file}:+2",)
    assert command(chat, "/steer off") == "steer: off"
    assert command(chat, "/persona pirate") == f"persona: {library.role('pirate').instructions[0]}"
    assert command(chat, "/persona You are a lamp.") == "persona: You are a lamp."
    assert chat.messages()[0] == {"role": "system", "content": "You are a lamp."}
    assert command(chat, "/persona off") == "persona: off"
    assert command(chat, "/undo") == "taken back: Hello?"
    assert chat.messages() == []
    assert command(chat, "/quit") is None
    for name in ("steer", "cap", "ablate", "persona", "undo", "save", "help", "quit"):
        assert f"/{name}" in (command(chat, "/help") or "")


@pytest.mark.parametrize(
    "line", ["/flub", "/undo", "/save", "/steer nobody:1", "/steer north", "/cap 'open", "/persona nobody", "/ablate x"]
)
def test_a_mistake_is_told_and_changes_nothing(chat, line):
    before = (dict(chat.words), chat.instruction)
    with pytest.raises(GreenroomError) as caught:
        command(chat, line)
    assert "\n" not in str(caught.value)
    assert (chat.words, chat.instruction) == before


def test_an_interrupted_turn_is_not_kept(chat):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chat.say("Hello?", progress=stop)
    assert chat.turns == []


def test_saved_conversations_are_openai_messages_with_projections(chat, file, tmp_path):
    chat.play("You are a lamp.")
    first = chat.say("Hello?")
    command(chat, f"/cap {file}:1")
    chat.say("And now?")
    command(chat, f"/save {tmp_path / 'talk.json'}")
    saved = json.loads((tmp_path / "talk.json").read_text())
    assert saved["messages"] == chat.messages()
    assert all(set(message) == {"role", "content"} for message in saved["messages"])
    told = saved["greenroom"]
    assert told["fingerprint"] == chat.subject.fingerprint
    assert [turn["message"] for turn in told["turns"]] == [2, 4]
    assert all(saved["messages"][turn["message"]]["role"] == "assistant" for turn in told["turns"])
    assert told["turns"][0]["projections"]["north"]["hot"] == first.readings["north"].hot
    assert [turn["cap"] for turn in told["turns"]] == [[], [f"{file}:1"]]


# The verb --------------------------------------------------------------------------------------------------------


def piped(monkeypatch, subject, lines: str, *arguments: str) -> int:
    monkeypatch.setattr("greenroom.subject.load", lambda *_, **__: subject)
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    return main(["chat", "tiny", "--max-tokens", "6", "--no-meter", *arguments])


def test_in_a_pipe_lines_go_in_and_come_out(monkeypatch, subject, file, tmp_path, capsys):
    lines = f"Hello?\n\n/steer {file}:+4\nAnd now?\n/save {tmp_path / 'talk.json'}\n"
    assert piped(monkeypatch, subject, lines) == 0
    out = capsys.readouterr().out
    assert f"steer: {file}:+4" in out
    assert "\x1b" not in out
    assert len(json.loads((tmp_path / "talk.json").read_text())["messages"]) == 4


@pytest.mark.parametrize("edit", [("--steer", ":+2"), ("--cap", ":default:p25"), ("--ablate", "")])
def test_the_meter_shows_what_the_chat_is_edited_by(monkeypatch, subject, file, tmp_path, capsys, edit):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    store(direction(subject, "assistant_axis", 1, 1))
    monkeypatch.setattr("greenroom.subject.load", lambda *_, **__: subject)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello?\n"))
    option, strength = edit
    assert main(["chat", "tiny", "--max-tokens", "6", option, file + strength]) == 0
    read = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines() if "\thot\t" in line]
    assert read == ["assistant_axis", "north"]


def test_in_a_pipe_the_first_mistake_ends_the_chat(monkeypatch, subject, tmp_path, capsys):
    assert piped(monkeypatch, subject, f"/flub\nHello?\n/save {tmp_path / 'talk.json'}\n") == 2
    assert capsys.readouterr().err == "error: there is no command /flub; /help lists them\n"
    assert not (tmp_path / "talk.json").exists()
    assert piped(monkeypatch, subject, "", "--max-tokens", "0") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_on_a_terminal_there_is_a_meter(tmp_path):
    import pty

    script = (
        "import sys; import greenroom.subject as s; from greenroom.subject.tiny import tiny; t = tiny('llama')\n"
        "s.load = lambda *_, **__: t\n"
        "import greenroom.directions.interventions as i; from greenroom.directions import Direction\n"
        f"from pathlib import Path; i.direction_named = lambda *_, **__: Direction.load(Path({str(tmp_path / 'n.safetensors')!r}))\n"
        "from greenroom.cli import main; sys.exit(main(['chat', 'tiny', '--max-tokens', '6']))"
    )
    direction(tiny("llama"), "north", 2, 0).save(tmp_path / "n.safetensors")
    source = str(Path(__file__).resolve().parent.parent / "src")
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-c", script], {**os.environ, "PYTHONPATH": source, "TERM": "xterm"})
    said, typed = "", ["Hello?\n", "/flub\n", "/help\n", "And now?\n", "/quit\n"]
    prompts, end = 0, time.monotonic() + 60
    while time.monotonic() < end:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux ends a pseudo-terminal this way
            break
        if not part:
            break
        said += part.decode(errors="replace")
        while prompts < len(typed) and said.count("you: ") > prompts:
            os.write(terminal, typed[prompts].encode())
            prompts += 1
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert "there is no command /flub" in said
    assert help_text().splitlines()[0].split()[0] in said
    meter = [line for line in said.splitlines() if "north" in line and " sd" in line]
    assert len(meter) == 2
    assert sum(bar in meter[1] for bar in BARS) >= 1
