"""Many transcripts: bounded memory, a killed run that goes on, the command line, and the page."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import greenroom
from greenroom.errors import RunError
from greenroom.reader.journal import entries
from greenroom.reader.page import write_page
from greenroom.reader.read import read
from greenroom.subject.tiny import tiny
from reader_fixture import called, reader_home, tiny_reader

FILES = Path(__file__).parent / "transcripts"
SOURCE = Path(greenroom.__file__).parents[1]
MANY = 10_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return reader_home(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def here(home: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Path]:
    monkeypatch.setenv("GREENROOM_CACHE", str(home["cache"]))
    monkeypatch.chdir(tmp_path)
    return home


def line(index: int) -> str:
    said = [
        {"role": "user", "content": f"Question {index}?"},
        {"role": "assistant", "content": f"{index}. " + "so " * (index % 17)},
    ]
    return json.dumps({"messages": said})


# Streaming --------------------------------------------------------------------------------------------------------------

# Reads a file, kills itself with SIGKILL after `stop` records (0: not at all), and prints its peak memory in MiB.
READER = """
import os, resource, signal, sys
from pathlib import Path
from greenroom.reader.journal import Journal
from greenroom.reader.read import read
from greenroom.subject.tiny import tiny
sys.path.insert(0, sys.argv[4])
from reader_fixture import tiny_reader
stop = int(sys.argv[3])
add = Journal.add
def counted(self, reading):
    add(self, reading)
    if self.done == stop:
        self._file.write(b'{"half a li')
        self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
Journal.add = counted
read(sys.argv[1], reader=tiny_reader(tiny(layers=3, width=32), topics=False), out=sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def run_reader(source: Path, out: Path, stop: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", READER, str(source), str(out), str(stop), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_ten_thousand_transcripts_stream_in_bounded_memory_and_survive_a_kill(tmp_path: Path):
    few, many = tmp_path / "few.jsonl", tmp_path / "many.jsonl"
    few.write_text("\n".join(line(index) for index in range(1500)))
    many.write_text("\n".join(line(index) if index != 77 else "{broken" for index in range(MANY)))
    small = run_reader(few, tmp_path / "few")
    assert small.returncode == 0, small.stderr
    killed = run_reader(many, tmp_path / "many", stop=6000)
    assert killed.returncode == -signal.SIGKILL
    kept = (tmp_path / "many" / "readings.jsonl").read_bytes()
    whole = run_reader(many, tmp_path / "many")
    assert whole.returncode == 0, whole.stderr
    after = (tmp_path / "many" / "readings.jsonl").read_bytes()
    assert after.startswith(kept.removesuffix(b'{"half a li'))  # what was done was not done again
    found = list(entries(tmp_path / "many"))
    assert [one.get("index", 77) for one in found] == list(range(MANY))
    assert "broken" in found[77]
    assert float(whole.stdout) < float(small.stdout) + 150  # MiB; 8,500 more transcripts, of which one window is held
    summary = json.loads((tmp_path / "many" / "summary.json").read_text())
    assert (summary["conversations"], summary["broken"]) == (MANY - 1, 1)
    # The readings before and after the kill, and those of another run with other windows, are the same.
    first = {one["index"]: one["axis_sd_mean"] for one in entries(tmp_path / "few")}
    assert all(
        found[index]["axis_sd_mean"] == pytest.approx(value, abs=2e-4) for index, value in first.items() if index != 77
    )


def test_a_run_is_not_continued_with_other_transcripts(tmp_path: Path):
    reader = tiny_reader(tiny(), topics=False)
    folder = tmp_path / "run"
    (tmp_path / "a.jsonl").write_text("\n".join(line(index) for index in range(5)))
    read(tmp_path / "a.jsonl", reader=reader, out=folder)
    for name in ("summary.json", "results.json"):
        (folder / name).unlink()
    manifest = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**manifest, "status": "interrupted", "stages": {}}))
    (tmp_path / "a.jsonl").write_text("\n".join(line(index) for index in range(3, 8)))
    with pytest.raises(RunError, match="other transcripts"):
        read(tmp_path / "a.jsonl", reader=reader, out=folder)


# The command line -------------------------------------------------------------------------------------------------------


def test_json_is_an_object_a_line_in_input_order(here: dict[str, Path], capsys: pytest.CaptureFixture[str]):
    code, out, err = called(capsys, str(FILES / "openai.jsonl"), "--reader", str(here["model"]), "--json")
    records: list[dict[str, Any]] = [json.loads(text) for text in out.splitlines()]
    assert code == 0
    assert [record["index"] for record in records] == [0, 1, 5]
    assert {record["source"] for record in records} == {str(FILES / "openai.jsonl")}
    assert records[2]["skipped"] == {"reasoning": 1}
    for record in records:
        values = [turn["axis_sd"] for turn in record["turns"]]
        assert record["axis_sd_mean"] == pytest.approx(sum(values) / len(values), abs=1e-3)
        assert record["verdict"] == "uncalibrated"
        assert [turn["turn"] for turn in record["turns"]] == [1]
    assert err.count("not read: ") == 3
    assert "openai.jsonl:3: not valid JSON" in err


def test_out_writes_tables_and_a_page_and_prints_the_same(here: dict[str, Path], capsys: pytest.CaptureFixture[str]):
    arguments = [str(FILES), "--reader", str(here["model"])]
    _, alone, _ = called(capsys, *arguments, "--json")
    code, out, _ = called(capsys, *arguments, "--json", "--out", "run")
    again_code, again, _ = called(capsys, *arguments, "--json", "--out", "run")
    assert (code, again_code) == (0, 0)
    assert out == alone == again
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "readings.jsonl", "report.html", "results.json", "run.json", "summary.json", "tables",
    ]  # fmt: skip
    assert sorted(path.name for path in Path("run/tables").iterdir()) == ["conversations.parquet", "turns.parquet"]
    _, table, _ = called(capsys, *arguments, "--out", "run")
    heads, *_, page, verdict = table.splitlines()
    assert heads.startswith("verdict\tlevel\tmean, sd")
    assert page == "run/report.html"
    assert verdict.startswith("None of ")


def test_fail_on_is_for_ci(here: dict[str, Path], capsys: pytest.CaptureFixture[str]):
    arguments = [str(FILES / "messages.json"), "--reader", str(here["model"])]
    assert called(capsys, *arguments, "--fail-on", "departed")[0] == 0
    assert called(capsys, *arguments, "--fail-on", "uncalibrated")[0] == 1
    code, _, err = called(capsys, *arguments, "--fail-on", "gone")
    assert code == 2
    assert "'gone' is no verdict" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["gone.json"], "gone.json does not exist"),
        ([], "no FILES given"),
        ([str(FILES), "--format", "csv"], "unknown format 'csv'"),
        ([str(FILES / "messages.json"), "--baseline", "gone"], "gone does not exist"),
        ([str(FILES / "plain.txt"), "--format", "openai"], "no conversation could be read"),
        ([str(FILES / "messages.json"), "--baseline", str(FILES / "messages.json")], "at least two conversations"),
        ([str(FILES / "messages.json"), "--trait", "gone"], "gone"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    here: dict[str, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
):
    code, out, err = called(capsys, *arguments, "--reader", str(here["model"]))
    assert code == 2
    assert out == ""
    assert told in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("error: ")
    assert not list(Path.cwd().iterdir())


def test_standard_input_through_the_command(home: dict[str, Path]):
    found = subprocess.run(
        [sys.executable, "-m", "greenroom.cli", "read", "-", "--json", "--reader", str(home["model"])],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "GREENROOM_CACHE": str(home["cache"])},
        input="User: Hello.\nAssistant: Good day.\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["source"] == "-"


# The page ---------------------------------------------------------------------------------------------------------------


def test_the_page_holds_a_line_and_a_transcript_for_each_conversation(tmp_path: Path):
    reader = tiny_reader(tiny(), topics=True)
    rough = "<script>alert(1)</script> & all that. It is late. Good night."
    talks = [
        [{"role": "user", "content": f"Go on {index}."}, {"role": "assistant", "content": rough}] * (1 + 6 * index)
        for index in range(3)
    ]
    (tmp_path / "talks.jsonl").write_text("\n".join(json.dumps({"messages": talk}) for talk in talks) + "\n{broken\n")
    read(tmp_path / "talks.jsonl", reader=reader, out=tmp_path / "run")
    began = time.perf_counter()
    page = write_page(tmp_path / "run").read_text()
    assert time.perf_counter() - began < 20
    assert page.count('<details class="conversation"') == 3
    assert page.count('class="said-by assistant"') == 1 + 7 + 13
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "talks.jsonl:4: not valid JSON" in page
    assert not re.search(r'(src|href)="https?:', page)
    assert write_page(tmp_path / "run").read_text() == page
