"""`greenroom read --out`: a used folder with other input, an interruption that keeps what was read, and progress."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from greenroom.errors import RunError
from greenroom.reader import journal
from greenroom.reader.read import read
from greenroom.reader.reader import Reader
from greenroom.runs.progress import Progress
from greenroom.subject.tiny import tiny
from reader_fixture import called, reader_home, reads_what_is_said, talk, tiny_reader


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return reader_home(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def model(home: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("GREENROOM_CACHE", str(home["cache"]))
    monkeypatch.chdir(tmp_path)
    reads_what_is_said(monkeypatch)
    return str(home["model"])


def lines(name: str, *records: str) -> str:
    Path(name).write_text("\n".join(records) + "\n")
    return name


# A used folder ----------------------------------------------------------------------------------------------------------


def test_a_finished_folder_refuses_another_file(model: str, capsys: pytest.CaptureFixture[str]):
    first, other = lines("t.jsonl", talk(0)), lines("u.jsonl", talk(-1))
    assert called(capsys, first, "--reader", model, "--out", "o1")[0] == 0
    before = Path("o1/readings.jsonl").read_bytes()
    code, out, err = called(capsys, other, "--reader", model, "--out", "o1")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "error: o1 was begun with other transcripts: u.jsonl is not what was read then; choose another --out, or give the "
        "same ones in the same order"
    ]
    assert Path("o1/readings.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ([talk(0, 1), talk(2)], "t.jsonl is not what was read then"),
        ([talk(0)], "t.jsonl is missing now"),
        ([talk(0), talk(1), talk(2)], "record 2 of t.jsonl is not among them"),
        ([talk(1), talk(0)], "t.jsonl is not what was read then"),
    ],
    ids=["changed", "fewer", "more", "another order"],
)
def test_a_finished_folder_refuses_a_file_that_changed(
    model: str, capsys: pytest.CaptureFixture[str], now: list[str], told: str
):
    first = lines("t.jsonl", talk(0), talk(1))
    assert called(capsys, first, "--reader", model, "--out", "o1", "--fail-on", "departed")[0] == 0
    lines("t.jsonl", *now)
    code, out, err = called(capsys, first, "--reader", model, "--out", "o1", "--fail-on", "departed")
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1


def test_the_same_input_from_another_place_is_the_same(model: str, capsys: pytest.CaptureFixture[str]):
    first = lines("t.jsonl", talk(0), talk(1))
    _, before, _ = called(capsys, first, "--reader", model, "--out", "o1", "--json")
    moved = Path("elsewhere.jsonl")
    Path(first).rename(moved)
    code, after, _ = called(capsys, str(moved.absolute()), "--reader", model, "--out", "o1", "--json")
    assert (code, after) == (0, before)


def test_a_folder_refuses_another_baseline(model: str, capsys: pytest.CaptureFixture[str]):
    first, normal = lines("t.jsonl", talk(0)), lines("normal.jsonl", talk(0.5), talk(0.25))
    arguments = (first, "--reader", model, "--out", "o1", "--baseline", normal)
    assert called(capsys, *arguments)[0] == 0
    assert called(capsys, *arguments)[0] == 0
    # The same readings, so the same limits; what was said is another.
    lines("normal.jsonl", talk("0.5 and other words"), talk(0.25))
    code, out, err = called(capsys, *arguments)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: o1 is a run with baseline = ")
    assert "choose another --out" in last


def test_python_refuses_other_conversations_too(tmp_path: Path):
    reader = tiny_reader(tiny(), topics=False)
    said = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."}]
    read([said], reader=reader, out=tmp_path / "run")
    with pytest.raises(RunError, match="other transcripts"):
        read([said, said], reader=reader, out=tmp_path / "run")


# An interruption --------------------------------------------------------------------------------------------------------

SIX = [talk(f"{index} " + "so " * 1400) for index in range(6)]  # each fills the first window


def interrupted_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """The reader is interrupted while it reads for the `call`-th time."""
    whole, calls = Reader.read, iter(range(1, 100))

    def stopping(self, turns):
        if turns and next(calls) == call:
            raise KeyboardInterrupt
        return whole(self, turns)

    monkeypatch.setattr(Reader, "read", stopping)


def test_ctrl_c_keeps_what_was_read_and_says_so(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    source = lines("t.jsonl", *SIX)
    arguments = (source, "--reader", model, "--out", "o1", "--json")
    with monkeypatch.context() as patch:
        interrupted_at(patch, 3)
        code, _, err = called(capsys, *arguments)
    kept = Path("o1/readings.jsonl").read_text().splitlines()
    assert code == 130
    assert 1 <= len(kept) < 6
    last = err.splitlines()[-1]
    assert last == f"interrupted; {len(kept)} of 6 conversations kept in o1: run the same command again to resume"
    code, out, _ = called(capsys, *arguments)
    assert (code, len(out.splitlines())) == (0, 6)
    assert Path("o1/readings.jsonl").read_text().splitlines()[: len(kept)] == kept


def test_ctrl_c_from_standard_input_does_not_know_of_how_many(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(SIX).encode())))
    interrupted_at(monkeypatch, 2)
    code, _, err = called(capsys, "-", "--reader", model, "--out", "o1")
    assert code == 130
    assert err.splitlines()[-1].startswith("interrupted; 1 conversation kept in o1:")


def test_ctrl_c_without_out_keeps_nothing(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    interrupted_at(monkeypatch, 2)
    code, out, err = called(capsys, lines("t.jsonl", *SIX), "--reader", model)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted; nothing to keep"


def test_a_line_cut_by_the_interruption_is_not_counted(model: str, capsys: pytest.CaptureFixture[str], monkeypatch):
    def cut(self, reading):
        if self.done == 2:
            self._file.write(b'{"half a li')
            raise KeyboardInterrupt
        add(self, reading)

    add = journal.Journal.add
    monkeypatch.setattr(journal.Journal, "add", cut)
    _, _, err = called(capsys, lines("t.jsonl", *SIX), "--reader", model, "--out", "o1")
    assert err.splitlines()[-1].startswith("interrupted; 2 of 6 conversations kept in o1:")


# Progress ---------------------------------------------------------------------------------------------------------------


class Seen(Progress):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.shares: list[tuple[str, float]] = []

    def advance(self, stage: str, done: int, total: int) -> None:
        self.shares.append((stage, done / total))


@pytest.mark.parametrize("out", [None, "run"])
def test_reading_shows_how_far_it_is(model: str, out: str | None):
    del model  # reads what is said
    seen = Seen()
    lines("t.jsonl", *SIX)
    lines("normal.jsonl", *SIX[:2])
    reader = tiny_reader(tiny(), topics=False)
    read("t.jsonl", reader=reader, baseline="normal.jsonl", out=out, progress=seen)
    for stage, n in (("baseline", 2), ("read", 6)):
        shares = [share for name, share in seen.shares if name == stage]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (pytest.approx(1 / n), 1)


def test_progress_of_a_resumed_run_counts_the_rest(model: str, monkeypatch: pytest.MonkeyPatch):
    del model
    seen = Seen()
    lines("t.jsonl", *SIX)
    reader = tiny_reader(tiny(), topics=False)
    with monkeypatch.context() as patch:
        interrupted_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            read("t.jsonl", reader=reader, out="run")
    read("t.jsonl", reader=reader, out="run", progress=seen)
    assert (seen.shares[0][1], seen.shares[-1][1]) == (pytest.approx(1 / 5), 1)


def test_json_lines_are_not_swallowed_by_the_bar(model: str, capfd: pytest.CaptureFixture[str], monkeypatch):
    """With stderr on a terminal and stdout in a pipe, the bar goes there and the lines here."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = called(capfd, lines("t.jsonl", *SIX), "--reader", model, "--json")
    assert code == 0
    assert [json.loads(text)["index"] for text in out.splitlines()] == list(range(6))
    assert "Reading" in err
