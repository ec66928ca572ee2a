"""The main job through its public surface, on a tiny random model: mechanics only, no meaning."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from greenroom.auditing.audit import audit
from greenroom.auditing.suite import suite
from greenroom.cli import main
from greenroom.runs.progress import Progress
from greenroom.runs.tables import differences
from greenroom.studies import NAMES, study_named
from greenroom.subject.decoding import Loop, Reply
from greenroom.subject.tiny import save_tiny


@pytest.fixture
def cached(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(shared / "cache"))


def test_an_audit_leaves_what_it_promises(tiny_audit: Path) -> None:
    for name in ("run.json", "summary.json", "report.html", "directions/assistant_axis.safetensors"):
        assert (tiny_audit / name).is_file()
    summary = json.loads((tiny_audit / "summary.json").read_text())
    assert summary["studies"] == [name for name in NAMES if study_named(name).audit != "never"]
    for name in summary["studies"]:
        assert (tiny_audit / name / "results.json").is_file()
        assert (tiny_audit / name / "words.yaml").is_file()
        assert summary["results"][name]
    assert {"headline", "findings", "warnings", "measures", "seconds", "peak_rss_gib"} <= summary.keys()


def test_every_study_of_an_audit_names_one_primary_measure(tiny_audit: Path) -> None:
    measures = pl.read_parquet(tiny_audit / "tables" / "measures.parquet")
    primaries = measures.filter("primary").group_by("study").len()
    assert dict(primaries.iter_rows()) == dict.fromkeys(
        json.loads((tiny_audit / "summary.json").read_text())["studies"], 1
    )


def test_void_measures_hold_no_number(tiny_audit: Path) -> None:
    measures = pl.read_parquet(tiny_audit / "tables" / "measures.parquet")
    void = measures.filter(pl.col("grade") == "void")
    assert void.height
    assert void["estimate"].null_count() == void.height
    assert void["reason"].str.len_chars().min() > 10  # type: ignore[operator]


def test_a_finished_run_is_not_run_again(tiny_audit: Path, tiny_model: Path, cached: None) -> None:
    class Fails(Progress):
        def start(self, stage: str) -> None:
            pytest.fail(f"{stage} ran again")

    again = audit(str(tiny_model), tiny_audit, quick=True, full=True, progress=Fails())
    assert again.summary == json.loads((tiny_audit / "summary.json").read_text())
    *_, report, verdict = str(again).splitlines()
    assert report.endswith("report.html")
    assert verdict == again.summary["verdict"]
    assert re.fullmatch(
        r"Of \d+ studies, the main figure is (good|usable with caution|unusable) in \d+ \(.+\)\.", verdict
    )


class Interrupts(Progress):
    """Ctrl-C at the first sign of work in each stage that was not interrupted before."""

    def __init__(self, seen: set[str]) -> None:
        self.seen, self.stage = seen, ""

    def start(self, stage: str) -> None:
        self.stage = stage
        if stage not in self.seen:
            self.seen.add(stage)
            raise KeyboardInterrupt


def test_interrupted_in_every_stage_the_tables_are_those_of_an_undisturbed_run(
    tiny_model: Path, cached: None, tmp_path: Path
) -> None:
    """Stages of activations, one that builds on them, and questions: what an audit is made of."""
    seen: set[str] = set()
    asked, names = (str(tiny_model), ("hold", "self_concept")), ("whole", "broken")
    suite(asked[1], asked[0], tmp_path / names[0], quick=True)
    for _ in range(10):
        try:
            suite(asked[1], asked[0], tmp_path / names[1], quick=True, progress=Interrupts(seen))
            break
        except KeyboardInterrupt:
            assert json.loads((tmp_path / names[1] / "run.json").read_text())["status"] == "interrupted"
    assert seen == {"persona_map/map", "persona_map/calibration", "hold/conversations", "self_concept/answers"}
    assert differences(*(tmp_path / name for name in names)) == []


class InterruptsHalfway(Interrupts):
    """Ctrl-C in the middle of each stage, once; without `interrupts` it only follows."""

    def __init__(self, seen: set[str], *, interrupts: bool = True) -> None:
        super().__init__(seen)
        self.interrupts = interrupts

    def start(self, stage: str) -> None:
        self.stage = stage

    def advance(self, stage: str, done: int, total: int) -> None:
        if self.interrupts and stage not in self.seen and 0.5 * total <= done < total:
            self.seen.add(stage)
            raise KeyboardInterrupt


def test_what_was_said_before_an_interruption_is_not_asked_again(
    tiny_model: Path, cached: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Counter[str] = Counter()
    replies, progress = Loop.replies, InterruptsHalfway(set(), interrupts=False)

    def counted(loop: Loop) -> list[Reply]:
        made[progress.stage] += len(loop.prompts)
        return replies(loop)

    monkeypatch.setattr(Loop, "replies", counted)
    asked, names = (("selftalk", "self_concept"), str(tiny_model)), ("whole", "broken")
    suite(*asked, tmp_path / names[0], quick=True, progress=progress)
    whole, notes = made["selftalk/talks_1"], []
    made.clear()
    progress = InterruptsHalfway(set())
    for _ in range(9):
        try:
            suite(*asked, tmp_path / names[1], quick=True, progress=progress)
            break
        except KeyboardInterrupt as stop:
            notes.append("; ".join(stop.__notes__))
    assert {"selftalk/talks_1", "self_concept/answers"} <= progress.seen
    assert re.search(r"^[1-9]\d* answers? of the stage at work kept in .*broken; \d+ finished stages? kept", notes[-1])
    assert differences(*(tmp_path / name for name in names), within=1e-5) == []
    assert not list(tmp_path.rglob("*.said.jsonl"))
    # Only the replies that were on the way are made again: those of one turn.
    assert whole <= made["selftalk/talks_1"] < 1.3 * whole


KILLED = """
import os, signal, sys
from pathlib import Path
from typing import ClassVar
from greenroom.auditing.audit import audit
from greenroom.runs.progress import Progress
class Kills(Progress):
    def advance(self, stage, done, total):
        if stage == "persona_map/calibration":
            os.kill(os.getpid(), signal.SIGKILL)
audit(sys.argv[1], Path(sys.argv[2]), quick=True, progress=Kills())
"""


def test_a_killed_audit_keeps_its_finished_stages(tiny_model: Path, cached: None, tmp_path: Path) -> None:
    source = str(Path(__file__).parents[1] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    command = [sys.executable, "-c", KILLED, str(tiny_model), str(tmp_path / "run")]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert list(json.loads((tmp_path / "run" / "run.json").read_text())["stages"]) == ["persona_map/map"]

    class Kept(Progress):
        kept: ClassVar[list[str]] = []

        def keep(self, stage: str) -> None:
            self.kept.append(stage)

        def start(self, stage: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(str(tiny_model), tmp_path / "run", quick=True, progress=Kept())
    assert Kept.kept == ["persona_map/map"]


def test_another_seed_says_something_else(tiny_audit: Path, tiny_model: Path, cached: None, tmp_path: Path) -> None:
    assert main(["map", str(tiny_model), "--quick", "--out", str(tmp_path / "map"), "--seed", "7", "--plain"]) == 0
    assert any(line.startswith("persona_map/") for line in differences(tiny_audit, tmp_path / "map"))


def test_the_second_run_says_how_long_it_will_take(
    tiny_model: Path, cached: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["eval", "self_concept", "--model", str(tiny_model), "--quick", "--plain", "--out"]
    for name in ("first", "second"):
        assert main([*asked, str(tmp_path / name)]) == 0
        told = capsys.readouterr().err
    assert re.search(r"takes about \d.* as it did here before", told)


def test_a_file_that_changed_is_another_run(
    tiny_model: Path, cached: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    player = tmp_path / "player"
    shutil.copytree(tiny_model, player)
    asked = [str(tiny_model), "--player", str(player), "--conversations", "1", "--turns", "2", "--domains", "coding"]
    assert main(["drift", *asked, "--users", "simulated", "--quick", "--plain", "--out", str(tmp_path / "run")]) == 0
    (player / "added.txt").write_text("another model")
    capsys.readouterr()
    assert main(["drift", *asked, "--users", "simulated", "--quick", "--plain", "--out", str(tmp_path / "run")]) == 2
    assert "choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no/such/thing/here"], "no model name"),
        (["./nowhere"], "no model folder"),
        (["nobody-here/no-such-model"], "no model 'nobody-here/no-such-model'"),
        (["nothing.gguf"], "does not exist"),
        (["{empty}"], "no config.json"),
        (["{unweighted}"], "no weights"),
        (["{truncated}"], "truncated"),
        (["{fake}"], "is not a GGUF file"),
        (["{base}"], "--template"),
        (["{model}", "--adapter", "{empty}"], "adapter_config.json"),
        (["{model}", "--adapter", "{foreign}"], "does not fit"),
        (["{model}", "--adapter", "/nonexist"], "there is no adapter /nonexist; expected a PEFT adapter folder"),
        (["{model}", "--seed", "abc"], "abc"),
        (["{model}", "--dtype", "int3"], "dtype"),
        (["{model}", "--device", "warp"], "device"),
        (["{model}", "--template", "nope"], "no chat template"),
        (["{model}", "--out", "{empty}/../occupied"], "occupied"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], told: str, tiny_model: Path, cached: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {name: tmp_path / name for name in ("empty", "unweighted", "occupied", "foreign")}
    for folder in places.values():
        folder.mkdir()
    (places["unweighted"] / "config.json").write_text((tiny_model / "config.json").read_text())
    (places["occupied"] / "thesis.txt").write_text("mine")
    told_of = {"peft_type": "LORA", "base_model_name_or_path": "somebody/else", "r": 4, "target_modules": ["c_attn_x"]}
    (places["foreign"] / "adapter_config.json").write_text(json.dumps({**told_of, "task_type": "CAUSAL_LM"}))
    (tmp_path / "truncated.gguf").write_bytes(b"GGUF" + bytes(range(200)))
    (tmp_path / "fake.gguf").write_bytes(b"PK" + bytes(300))
    base = save_tiny(tmp_path / "base", template=None) if "{base}" in arguments else None
    fill = {
        **places,
        "model": tiny_model,
        "truncated": tmp_path / "truncated.gguf",
        "fake": tmp_path / "fake.gguf",
        "base": base,
    }
    filled = [argument.format(**fill) for argument in arguments]
    out = [] if "--out" in filled else ["--out", str(tmp_path / "out")]
    capsys.readouterr()
    assert main(["audit", *filled, *out]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
