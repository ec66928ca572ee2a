"""Runs on disk: what is stored, what is resumed, what is refused, and that no kill leaves anything half-written."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

import greenroom.runs.run as runs
from greenroom.errors import GreenroomError, RunError
from greenroom.runs import folder, machine, progress
from greenroom.runs.lock import FolderLock
from greenroom.runs.run import Run, StageResult, open_finished, open_run
from greenroom.runs.tables import differences, read_table, write_table
from greenroom.store import Kept

HARD_FLOATS = [0.1 + 0.2, 1e-310, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), None, 1 / 3]
SOURCE = Path(runs.__file__).parents[2]


@pytest.fixture
def quick_collection() -> Iterator[None]:
    """What is loaded already is no garbage: a collection that lets a dead run's lock go looks at the rest alone."""
    gc.freeze()
    yield
    gc.unfreeze()


def begin(out: Path | None = None, **changes) -> Run:
    settings = {"subject_name": "tiny", "fingerprint": "abc", "config": {"quick": True}, "seed": 0} | changes
    return open_run(out, **settings)


def numbers(stage: int, rows: int = 50) -> pl.DataFrame:
    source = random.Random(stage)
    return pl.DataFrame({"row": range(rows), "value": [source.gauss(0, 1) for _ in range(rows)]})


def toy_job(run: Run, *, stages: int = 4, at: Callable[[str], None] = lambda moment: None) -> None:
    """A staged job in which each stage builds on the stored values of the one before.

    at: called in the middle of every stage, and after it was stored, with the moment's name.
    """
    carried = 0.0
    for stage in range(stages):

        def compute(stage: int = stage, carried: float = carried) -> StageResult:
            run.advance(1, 2)
            at(f"in stage_{stage}")
            frame = numbers(stage).with_columns((pl.col("value") + carried).alias("sum"))
            return StageResult(
                tables={f"numbers_{stage}": frame, f"more_{stage}": frame.head(3)},
                results={"last": frame["sum"][-1]},
                files={f"directions/{stage}.bin": lambda path: path.write_bytes(bytes(1000))},
            )

        carried = run.stage(f"stage_{stage}", compute).results["last"]
        at(f"after stage_{stage}")
    run.finish({"carried": carried})


def leftovers(path: Path) -> list[Path]:
    return list(path.rglob(".*"))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """An undisturbed toy run."""
    with begin(tmp_path / "whole") as run:
        toy_job(run)
    return tmp_path / "whole"


def test_a_run_is_stored_as_the_plan_of_the_house_says(whole: Path) -> None:
    manifest = json.loads((whole / "run.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["version"] == machine.version()
    assert (manifest["subject"], manifest["fingerprint"], manifest["seed"]) == ("tiny", "abc", 0)
    assert manifest["config"] == {"quick": True}
    assert {"cpu", "cores", "memory_gib", "torch_threads", "platform"} <= manifest["machine"].keys()
    assert list(manifest["stages"]) == [f"stage_{stage}" for stage in range(4)]
    assert all(stage["seconds"] >= 0 for stage in manifest["stages"].values())
    assert sorted(path.name for path in whole.iterdir()) == [
        "directions",
        "results.json",
        "run.json",
        "summary.json",
        "tables",
    ]
    assert not leftovers(whole)


def test_every_float_comes_back_as_it_was(tmp_path: Path) -> None:
    frame = pl.DataFrame({"value": HARD_FLOATS})
    with begin(tmp_path) as run:
        kept = run.stage("floats", lambda: StageResult({"floats": frame}, {"third": 1 / 3, "tiny": 5e-324}))
    assert kept.tables["floats"]["value"].to_list() == HARD_FLOATS
    assert str(kept.tables["floats"]["value"][2]) == "-0.0"
    assert kept.results == {"third": 1 / 3, "tiny": 5e-324}


def test_a_finished_stage_is_never_computed_again_and_keeps_its_time(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        first = run.stage("a", lambda: StageResult({"a": numbers(1)}, {"pair": (1, 2)}))
        seconds = run.seconds
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    with begin(tmp_path) as run:
        again = run.stage("a", lambda: pytest.fail("computed twice"))
        assert run.seconds == seconds > 0
    assert again.tables["a"].equals(first.tables["a"])
    assert again.results == first.results == {"pair": [1, 2]}  # read back from disk in both cases, so equal


def test_a_deleted_table_is_computed_anew_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> StageResult:
        calls.append(1)
        return StageResult({"a": numbers(1)})

    for _ in range(2):
        with begin(tmp_path) as run:
            run.stage("a", compute)
        (tmp_path / "tables" / "a.parquet").unlink()
    assert len(calls) == 2
    (tmp_path / "tables" / "a.parquet").write_bytes(b"PAR1 and no more")
    with begin(tmp_path) as run, pytest.raises(RunError, match=r"a\.parquet is no readable table .* delete it"):
        run.stage("a", compute)


def test_tables_of_unfinished_stages_are_not_given_out(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        run.stage("a", lambda: StageResult({"a": numbers(1)}))
        write_table(tmp_path / "tables" / "b.parquet", numbers(2))  # as a killed stage may leave it
        assert run.table("a").height == 50
        with pytest.raises(RunError, match="has no table b; it has a"):
            run.table("b")
        with pytest.raises(RunError, match="has no finished stage b; it has a"):
            run.results("b")
        with pytest.raises(ValueError, match="stage b would overwrite table a of stage a"):
            run.stage("b", lambda: StageResult({"a": numbers(2)}))


def test_without_out_the_newest_unfinished_equal_run_goes_on(tmp_path: Path) -> None:
    base = tmp_path / "runs"

    def name(**changes) -> str:
        with begin(base=base, **changes) as run:
            return run.path.name

    assert name() == "tiny-audit-1"
    assert name() == "tiny-audit-1"  # unfinished: resumed
    assert name(seed=1) == "tiny-audit-2"  # other seed, other run
    assert name(config={"quick": False}) == "tiny-audit-3"
    assert name() == "tiny-audit-1"
    assert name(kind="diff") == "tiny-diff-1"
    with begin(base=base) as run:
        toy_job(run)
    assert name() == "tiny-audit-4"  # the first is finished: the next number
    shutil.rmtree(base / "tiny-audit-2")
    assert name(seed=1) == "tiny-audit-5"  # a number is not given twice while later ones exist
    (base / "tiny-audit-5" / "run.json").write_text("{")  # unreadable: passed over, and left alone
    assert name(seed=1) == "tiny-audit-6"
    assert (base / "tiny-audit-5" / "run.json").read_text() == "{"
    assert not list(base.glob(".*"))


@pytest.mark.parametrize(
    ("subject", "stem"),
    [
        ("smollm2", "smollm2"),
        ("Qwen/Qwen3-0.6B", "Qwen3-0.6B"),
        ("some/where/model.Q4_1.gguf", "model.Q4_1"),
        ("base + adapters/pirate/", "base-pirate"),
        ("../..", "model"),
        ("naïve model", "na-ve-model"),
    ],
)
def test_a_run_is_named_after_its_model(tmp_path: Path, subject: str, stem: str) -> None:
    with begin(subject_name=subject, base=tmp_path) as run:
        assert run.path == tmp_path / f"{stem}-audit-1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 7}, "with seed 0, and 7 was asked for"),
        ({"config": {"quick": False}}, "with quick = true, and false was asked for"),
        ({"config": {"quick": True, "dtype": "x"}}, 'with dtype = null, and "x" was asked for'),
        (
            {"fingerprint": "def", "subject_name": "big"},
            r"of tiny \(weights abc\), and big \(weights def\) was asked for",
        ),
        ({"kind": "diff"}, "of kind audit, and diff was asked for"),
    ],
)
def test_a_run_of_something_else_is_refused_with_both_values(whole: Path, changes: dict, words: str) -> None:
    before = snapshot(whole)
    with pytest.raises(RunError, match=words) as caught:
        begin(whole, **changes)
    assert "choose another --out" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert snapshot(whole) == before


def test_a_run_of_another_version_is_refused(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "version", lambda: "99.0")
    with pytest.raises(RunError, match=f"of Greenroom {re.escape(machine.version())}, and this is 99.0"):
        begin(whole)


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_foreign_folders_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text('{"run": 1}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / "file").write_text("")
    before = snapshot(tmp_path)
    for name, words in [
        ("thesis", "holds other files and no run.json"),
        ("other", "was not written by Greenroom"),
        ("broken", "is not readable JSON"),
        ("file", "is a file; a run needs a folder"),
        ("file/below", "cannot (make|read)"),
    ]:
        with pytest.raises(GreenroomError, match=words) as caught:
            begin(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write everywhere, so chmod would prove nothing
    with pytest.raises(RunError, match=r"cannot make the folder .* Permission denied; choose another with --out"):
        begin(tmp_path / "new")
    monkeypatch.undo()
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(RunError, match=r"cannot write in .* Permission denied"):
        begin(tmp_path / "new")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []  # the folder that we made went with us


def test_a_finished_run_opens_as_finished_and_is_not_written(whole: Path) -> None:
    before = snapshot(whole)
    with begin(whole) as run:
        assert run.finished
        assert run.summary["carried"] == run.results("stage_3")["last"]
        run.stage("stage_0", lambda: pytest.fail("computed twice"))
        with pytest.raises(RunError, match="is finished but lacks what stage new wrote"):
            run.stage("new", StageResult)
    assert snapshot(whole) == before
    assert open_finished(whole).table("more_1").height == 3


def test_reading_wants_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is no run: it has no run\.json"):
        open_finished(tmp_path / "nowhere")
    begin(tmp_path / "half").close()
    with pytest.raises(RunError, match=r"is not finished \(running\)"):
        open_finished(tmp_path / "half")
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(RunError, match="was not written by Greenroom"):
        open_finished(tmp_path)


def test_a_folder_holds_one_process_at_a_time(tmp_path: Path) -> None:
    with begin(tmp_path / "run") as first:
        with pytest.raises(RunError, match=rf"being written by another process \(pid {os.getpid()}\); wait"):
            begin(tmp_path / "run")
        first.stage("a", lambda: StageResult({"a": numbers(1)}))  # the first is not disturbed
    with begin(tmp_path / "run") as second:
        assert list(second.manifest["stages"]) == ["a"]


def test_of_two_commands_started_at_once_the_second_is_refused_or_takes_the_next_folder(tmp_path: Path) -> None:
    base = tmp_path / "runs"
    base.mkdir()
    opened: list[Run] = []
    with FolderLock(base):  # the first is choosing its folder
        second = threading.Thread(target=lambda: opened.append(begin(base=base)))
        second.start()
        second.join(0.05)
        assert opened == []  # and the second waits
    second.join()
    assert [run.path.name for run in opened] == ["tiny-audit-1"]
    with pytest.raises(RunError, match=r"tiny-audit-1 is being written by another process \(pid \d+\)"):
        begin(base=base)
    with begin(base=base, seed=1) as other:
        assert other.path.name == "tiny-audit-2"
    opened[0].close()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_runs import begin, toy_job
def at(moment):
    if moment == {moment!r}:
        os.kill(os.getpid(), signal.SIGKILL)
with begin(Path({out!r})) as run:
    toy_job(run, at=at)
"""


def test_a_real_kill_in_a_stage_leaves_a_run_that_resumes(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "killed"
    script = KILLED.format(tests=str(Path(__file__).parent), moment="in stage_2", out=str(out))
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "POLARS_MAX_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    assert (out / ".lock").exists()  # nobody's: the system gave it up
    seen: list[str] = []
    with begin(out) as run:
        assert list(run.manifest["stages"]) == ["stage_0", "stage_1"]
        assert run.manifest["status"] == "running"
        toy_job(run, at=seen.append)
    assert [moment for moment in seen if moment.startswith("in ")] == ["in stage_2", "in stage_3"]
    assert differences(out, whole) == []
    assert not leftovers(out)


class Killed(BaseException):
    """Stands for SIGKILL inside one process."""


@pytest.mark.usefixtures("quick_collection")
@pytest.mark.parametrize("fatal", [f"{when} stage_{stage}" for stage in range(4) for when in ("in", "after")])
def test_a_kill_in_or_after_any_stage_leaves_the_tables_of_an_undisturbed_run(
    tmp_path: Path, whole: Path, fatal: str
) -> None:
    def dying(moment: str) -> None:
        if moment == fatal:
            raise Killed

    out = tmp_path / "killed"
    with contextlib.suppress(Killed):
        toy_job(begin(out), at=dying)
    gc.collect()  # the lock of the dead goes with it
    seen: list[str] = []
    with begin(out) as run:
        toy_job(run, at=seen.append)
    first = int(fatal[-1]) + fatal.startswith("after")
    assert [moment for moment in seen if moment.startswith("in ")] == [f"in stage_{n}" for n in range(first, 4)]
    assert differences(out, whole) == []
    assert not leftovers(out)


@pytest.mark.usefixtures("quick_collection")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_single_write_leaves_a_run_that_resumes(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    replace, rmtree = os.replace, shutil.rmtree
    for fatal in range(1, 1000):
        out = tmp_path / moment / str(fatal)
        writes = 0

        def dying(source: Path, target: Path, fatal: int = fatal) -> None:
            nonlocal writes
            writes += 1
            if writes == fatal and moment == "before":
                raise Killed
            replace(source, target)
            if writes == fatal:
                raise Killed

        monkeypatch.setattr(os, "replace", dying)
        monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # the dead tidy nothing up
        try:
            toy_job(begin(out), stages=2)
            survived = True
        except Killed:
            survived = False
        monkeypatch.setattr(os, "replace", replace)
        monkeypatch.setattr(shutil, "rmtree", rmtree)
        if survived:
            assert fatal > 10  # the loop really went through every write of the job
            return
        gc.collect()  # the lock of the dead goes with it
        stored = dict(json.loads((out / "run.json").read_text())["stages"]) if (out / "run.json").exists() else {}
        with begin(out) as run:
            for name, mark in stored.items():
                assert run.manifest["stages"][name] == mark
            if not run.finished:
                toy_job(run, stages=2)
        assert not leftovers(out)
        lines = differences(out, whole)
        assert all(
            "not in" in line and re.match(r"tables/\w+_[23]\.", line) for line in lines
        )  # the stages it did not have


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        write(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with begin(tmp_path) as run:
        run.stage("a", lambda: StageResult({"a": numbers(1)}))
        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(RunError, match="No space left on device; nothing was left half-written") as caught:
            run.stage("b", lambda: StageResult({"b": numbers(2)}))
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["a.parquet"]
    assert not leftovers(tmp_path)
    with begin(tmp_path) as run:
        assert list(run.manifest["stages"]) == ["a"]


def test_a_disk_full_from_the_start_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RunError, match="No space left"):
        begin(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_marks_the_run_as_interrupted_and_frees_it(tmp_path: Path) -> None:
    def interrupted() -> StageResult:
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt), begin(tmp_path) as run:
        run.stage("a", interrupted)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    with begin(tmp_path) as run:
        assert run.manifest["status"] == "running"


def test_going_on_on_another_machine_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path).close()
    begin(tmp_path).close()
    assert "resumed_on" not in json.loads((tmp_path / "run.json").read_text())
    monkeypatch.setattr(runs, "facts", lambda: {"cpu": "another"})
    begin(tmp_path).close()
    manifest = json.loads((tmp_path / "run.json").read_text())
    assert manifest["resumed_on"] == [{"cpu": "another"}]
    assert manifest["machine"]["cores"] == machine.cores()


def test_differences_are_named(tmp_path: Path, whole: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    assert differences(whole, other) == []
    frame = read_table(whole / "tables" / "numbers_0.parquet")
    write_table(other / "tables" / "numbers_0.parquet", frame.with_columns(value=pl.col("value") + 1e-16))
    write_table(other / "tables" / "numbers_1.parquet", frame.head(2))
    write_table(other / "tables" / "numbers_2.parquet", frame.rename({"sum": "total"}))
    (other / "tables" / "numbers_3.parquet").unlink()
    assert differences(whole, other) == [
        "tables/numbers_0.parquet: column value differs",
        "tables/numbers_1.parquet: 50 rows against 2",
        "tables/numbers_2.parquet: columns differ",
        f"tables/numbers_3.parquet: not in {other}",
    ]
    for run, seconds in ((whole, 1.0), (other, 2.0)):
        shutil.rmtree(run / "tables")
        write_table(run / "tables" / "timed.parquet", frame.with_columns(stage_seconds=seconds))
    assert differences(whole, other) == []


def test_plain_progress_says_each_stage_once_and_the_time_left_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    shown = progress.PlainProgress(stream)
    shown.plan({"map": "Persona map", "hold": "Hold"})
    shown.keep("map")
    shown.start("hold")
    for done in range(1, 5):
        clock[0] += 7
        shown.advance("hold", done, 4)
    shown.finish("hold")
    shown.stop()
    assert stream.getvalue().splitlines() == [
        "Persona map: kept from before",
        "Hold: started",
        "Hold: 50 %, about 14 s left",
        "Hold: done in 28 s",
    ]


def test_live_progress_has_a_row_a_stage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    shown = progress.terminal_progress()
    assert isinstance(shown, progress.LiveProgress)
    shown.plan({"map": "Persona map", "hold": "Hold", "late": "Late"})
    shown.keep("map")
    shown.start("hold")
    shown.advance("hold", 1, 4)
    shown.finish("hold")
    shown.stop()
    shown.stop()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    last = [line.rstrip() for line in text.splitlines()[-3:]]
    assert re.fullmatch(r"Persona map ━+ kept from before", last[0])
    assert re.fullmatch(r"Hold +━+ done in 0\.0 s", last[1])
    assert re.fullmatch(r"Late +to come", last[2])


def test_progress_is_plain_where_no_terminal_is_or_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress.terminal_progress(), progress.PlainProgress)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress.terminal_progress(plain=True), progress.PlainProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress.terminal_progress(), progress.PlainProgress)


def test_a_run_shows_its_stages(tmp_path: Path) -> None:
    stream = io.StringIO()
    for _ in range(2):
        with begin(tmp_path, progress=progress.PlainProgress(stream)) as run:
            run.stage("a", lambda: StageResult({"a": numbers(1)}))
    assert re.fullmatch(r"a: started\na: done in \d\.\d s\na: kept from before\n", stream.getvalue())


@pytest.mark.parametrize(("seconds", "words"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (41, "41 s"), (125, "2 min 05 s")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words


def test_scratch_of_killed_writes_is_known_from_files_of_people() -> None:
    assert folder._SCRATCH.fullmatch(".run.json.a1_b2c3d")
    assert not folder._SCRATCH.fullmatch(".gitignore")
    assert not folder._SCRATCH.fullmatch("tables")


def test_runs_of_an_older_version_are_refused_in_one_line(whole: Path) -> None:
    manifest = json.loads((whole / "run.json").read_text())
    (whole / "run.json").write_text(json.dumps({**manifest, "version": "0.1.0"}))
    with pytest.raises(RunError, match=r"was made by Greenroom 0\.1, and this is"):
        open_finished(whole)
    with pytest.raises(RunError, match=r"is a run of Greenroom 0\.1\.0, and this is"):
        begin(whole)


def test_what_is_kept_survives_a_cut_line_and_an_impossible_token(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "said.jsonl")
    kept.add("a", [-math.inf, -0.5])
    kept.add("b", {"text": "käse"})
    kept.close()
    with kept.path.open("ab") as file:
        file.write(b'["c", {"te')
    again = Kept(kept.path)
    assert (len(again), again.get("a"), again.get("b"), again.get("c")) == (2, [-math.inf, -0.5], {"text": "käse"}, None)
    again.add("c", 1)
    again.close()
    assert Kept(kept.path).get("c") == 1
