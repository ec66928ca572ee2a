"""Any studies as one run (`greenroom eval`), what they would cost (`--plan`), and what differs between runs (`compare`)."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.readers import MultiplexedPath
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from greenroom import studies
from greenroom.asking.questions import Asking, Cloze, Frame, Letter
from greenroom.asking.types import Ask, Case, Lengths, Option, Questions, Size, Talk, Talks
from greenroom.auditing import plan as planning
from greenroom.auditing.compare import compare
from greenroom.cli import main, study_verbs
from greenroom.conversation import user
from greenroom.errors import RunError
from greenroom.measures import Measure
from greenroom.measures.validity import MEASURE_SCHEMA, Check, Validity
from greenroom.report.page import command_of
from greenroom.report.results import MEASURES
from greenroom.runs.run import StageResult, open_run
from greenroom.runs.tables import write_table
from greenroom.studies.persona_map import STUDY as PERSONA_MAP
from greenroom.studies.persona_map import Cast
from greenroom.studies.study import Cost, Stage
from greenroom.subject import tiny

# A study of its own, so that any of the house's can be taken away.
TOY = """
from pydantic import Field
from greenroom.asking.types import Ask, Lengths, Size, Talk, Talks
from greenroom.measures import Measure
from greenroom.measures.validity import Check, Validity
from greenroom.studies.study import Study

class Turns(Size):
    turns: int = Field(3, ge=1, description="Questions of a talk.")
    tones: tuple[str, ...] = Field(("warm", "cold"), description="How it is asked.")

def script(tone, turns):
    talk = []
    for turn in range(turns):
        talk.append({"role": "user", "content": f"A {tone} word, please: number {turn}."})
        (answer,) = yield [Ask(f"turn/{turn}", list(talk))]
        talk.append({"role": "assistant", "content": answer.text or "No word."})
    return talk

def talks(size, seed):
    return [Talk(tone, tone, lambda tone=tone: script(tone, size.turns), {"tone": tone}) for tone in size.tones]

def conclude(found):
    passed = Validity("A", (Check("readable", 1.0, "A", ""),))
    return [Measure("answered", 1.0, 1.0, 1.0, found.answers.height, passed)]

STUDY = Study(
    name="toy",
    parts=lambda size: (Talks("talks", talks, lambda size: Lengths({"turn": 4}, {"turn": 0.7})),),
    conclude=conclude,
    sizes={"standard": Turns(), "quick": Turns(turns=1)},
    primary="answered",
)
"""
WORDS = "{title: Toy, about: whether it answers at all, not_shown: What it means., primary: share answered}"


class Both(MultiplexedPath):
    """Two folders as one, of which more than a file's name may be asked (Python 3.11's own joins one name)."""

    def joinpath(self, *parts: str) -> Any:
        first, *rest = parts
        return super().joinpath(first).joinpath(*rest)


@pytest.fixture(scope="module")
def subject() -> Any:
    return tiny()


@pytest.fixture
def loaded(subject: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the models that are loaded, each a tiny random one; `toy` is a study, and quick sizes are tiny."""
    names: list[str] = []

    def load(name: str, **how: Any) -> Any:
        names.append(name)
        return subject

    monkeypatch.setattr("greenroom.subject.loading.load", load)
    more = tmp_path / "more"
    (more / "toy").mkdir(parents=True)
    (more / "toy" / "__init__.py").write_text(TOY)
    (more / "toy" / "words.yaml").write_text(WORDS)
    both = Both(Path(studies.__file__).parent, more)
    monkeypatch.setattr(
        "importlib.resources.files", lambda package: both if package == studies.__name__ else files(package)
    )
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(more)])
    monkeypatch.setattr(studies, "NAMES", (*studies.NAMES, "toy"))
    monkeypatch.setitem(PERSONA_MAP.sizes, "quick", Cast(every_role=12, questions=6, tokens=4, calibration_replies=8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    yield names
    sys.modules.pop("greenroom.studies.toy", None)


# --- eval ------------------------------------------------------------------------------------------------------------


def test_eval_without_a_name_lists_the_studies_and_loads_nothing(
    loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert tuple(found) == studies.NAMES
    assert found["persona_map"]["needs"] == "activations"
    assert main(["eval"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(studies.NAMES) + 1
    assert lines[1].startswith("persona_map\twhere the default character lies")
    assert lines[1].endswith("\ta local model")
    assert loaded == []


def test_eval_leaves_one_run_with_one_report(loaded: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "toy", "persona_map", "--quick", "--model", "some/model", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert loaded == ["some/model"]
    run = Path(printed["path"])
    assert run == Path("runs/tiny-llama-eval-1")
    assert printed["studies"] == ["persona_map", "toy"]
    manifest = json.loads((run / "run.json").read_text())
    again = command_of(manifest).split()
    assert again[:4] == ["greenroom", "eval", "persona_map", "toy"]
    assert again[again.index("--model") + 1] == "tiny-llama"
    assert "--quick" in again
    page = (run / "report.html").read_text(encoding="utf-8")
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    assert (run / "report.html").read_text(encoding="utf-8") == page
    # Asked again, it is not computed again.
    assert main(["eval", "persona_map", "toy", "--quick", "--out", str(run)]) == 0
    assert "Report: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "told"),
    [("pirate", "a pirate"), ("You speak in rhymes.", "You speak in rhymes."), ("@persona.txt", "You are a knight.")],
)
def test_eval_puts_a_role_a_text_or_a_file_before_every_conversation(
    given: str, told: str, loaded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "persona.txt").write_text("You are a knight.\n")
    assert main(["eval", "toy", "--quick", "--system", given, "--out", "run", "--json"]) == 0
    assert told in json.loads((tmp_path / "run" / "run.json").read_text())["config"]["system"]


def test_a_hosted_model_is_asked_by_inspects_name(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reply(messages: Any, *_: Any, **__: Any) -> ModelOutput:
        output = ModelOutput.from_content("mockllm", f"I heard {len(messages)} messages.")
        output.usage = ModelUsage()  # else Inspect fetches a tokenizer to count
        return output

    hosted = get_model("mockllm/model", custom_outputs=reply, memoize=False)
    monkeypatch.setattr("greenroom.asking.inspect.get_model", lambda name: hosted)
    assert main(["eval", "toy", "--quick", "--model", "mockllm/model", "--out", "run"]) == 0
    assert loaded == []
    assert main(["eval", "persona_map", "--model", "mockllm/model"]) == 2
    assert "persona_map reads activations, which mockllm/model does not show" in capsys.readouterr().err
    assert main(["eval", "toy", "--model", "mockllm/model", "--adapter", "x"]) == 2
    assert "--adapter is for a local model, and mockllm/model is hosted" in capsys.readouterr().err


def test_a_run_of_an_older_version_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "is no run: it has no run.json; give the folder that an audit wrote" in capsys.readouterr().err
    finished(tmp_path / "old", [])
    manifest = json.loads((tmp_path / "old" / "run.json").read_text())
    (tmp_path / "old" / "run.json").write_text(json.dumps({**manifest, "version": "0.0.9"}))
    assert main(["report", str(tmp_path / "old")]) == 2
    assert "was made by Greenroom 0.0" in capsys.readouterr().err
    (tmp_path / "old" / "run.json").write_text(json.dumps({**manifest, "kind": "who"}))
    assert main(["report", str(tmp_path / "old")]) == 2
    assert "a run of kind who has no page" in capsys.readouterr().err


# --- the verbs of studies --------------------------------------------------------------------------------------------


def test_a_studys_verb_has_the_fields_of_its_size(loaded: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "--quick", "--tokens", "5", "--seed", "3", "--out", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 3
    config = json.loads(Path("run/run.json").read_text())["config"]
    assert config["sizes"]["persona_map"] == {**PERSONA_MAP.sizes["quick"].model_dump(), "tokens": 5}
    assert config["asked"] == {"verb": ["map"], "tokens": "5", "quick": True}


@pytest.fixture
def two_ways(loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb with two studies behind it: `map`, and `map --talking`."""
    words = {"name": "map", "option": "talking", "help": "Talk instead.", "letters": {"turns": "t"}}
    own = [study_verbs.Way("persona_map", study_verbs.ways()["map"][0].words), study_verbs.Way("toy", words)]
    monkeypatch.setattr(study_verbs, "ways", lambda: {"map": own})


def test_a_verb_may_have_two_ways(two_ways: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--talking Talk instead." in text
    assert "-t, --turns" in text
    assert main(["map", "--talking", "--quick", "-t", "2", "--tones", "warm,rude", "--out", "run"]) == 0
    config = json.loads(Path("run/run.json").read_text())["config"]
    assert config["studies"] == ["toy"]
    assert config["sizes"]["toy"] == {"turns": 2, "tones": ["warm", "rude"]}
    assert config["asked"]["verb"] == ["map", "--talking"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--turns", "1"], "--turns belongs to --talking; add it"),
        (["--talking", "--every-role", "2"], "--every-role does not go with --talking"),
    ],
)
def test_what_belongs_to_another_way_is_refused(
    arguments: list[str], words: str, two_ways: None, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert loaded == []


def test_a_log_takes_the_place_of_a_model(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[Any] = []

    class Result:
        path, summary = Path("run"), {"read": True}

    def read_log(path: str, out: Path | None, **how: Any) -> Result:
        heard.append((path, out, how.pop("progress") is not None, how))
        return Result()

    monkeypatch.setattr("greenroom.studies.persona_map.read_log", read_log, raising=False)
    assert main(["map", "logs/one.eval", "--reader", "other", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": "run", "read": True}
    assert heard == [("logs/one.eval", None, True, {"reader": "other", "seed": 0})]
    assert main(["map", "logs/one.eval", "--tokens", "9"]) == 2
    assert "--tokens is not read with a log, which has its own settings" in capsys.readouterr().err
    assert loaded == []


# --- plan ------------------------------------------------------------------------------------------------------------

OPTIONS = (Option("yes", ("agree",)), Option("no", ("refuse", "decline")))
ASKING = Asking(
    letter=Letter(option="{letter}) {text}", letters=("A", "B"), wordings={"main": "{context} {options}"}),
    cloze=Cloze(wordings={"main": Frame(prompt="{context}", opening="I will ")}, nulls=("", "Hi.", "So?")),
    free={"main": "{context}"},
)


def test_questions_are_counted_as_they_will_be_asked() -> None:
    """Two cases of one item: for each 2 orders of 2 letters, 3 texts, 2 open replies; 3 nulls of 3 texts for both."""
    cases = [Case("santa", "santa", [user("x" * 40)], OPTIONS, {"stake": stake}) for stake in (0, 1)]
    part = Questions("toy", lambda size, seed: cases, ASKING)
    local = planning._of_questions(part, cases, local=True)
    assert local.calls == 2 * (2 * 2 + 3 + 2) + 3 * 3
    assert local.reply_tokens == 2 * 2 * 24
    hosted = planning._of_questions(part, cases, local=False)
    assert hosted.calls == 2 * (2 * 5 + 3 + 2) + 3 * 3  # five samples where letters have no log-probabilities


def test_talks_and_stages_say_what_they_cost_or_are_unknown() -> None:
    def script() -> Any:
        yield [Ask("first", [user("a" * 40)])]
        yield [Ask("second", [user("b" * 80)])]
        return []

    talks = Talks(
        "talks", lambda size, seed: [Talk("one", "one", script)], lambda size: Lengths({"turn": 7}, {"turn": 1})
    )
    assert planning._cost(talks, Size(), 0, True) == Cost(2, 30, 14)
    known = Stage("map", "Map", lambda work: StageResult(), cost=lambda size: Cost(1, 2, 3))
    assert planning._cost(known, Size(), 0, True) == Cost(1, 2, 3)
    assert planning._cost(Stage("map", "Map", lambda work: StageResult()), Size(), 0, True) is None
    assert planning.total([]) is None
    assert planning.total([Cost(1, 2, 3), Cost(1, 1, 1)]) == Cost(2, 3, 4)


def test_a_plan_is_printed_and_nothing_is_run(loaded: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "persona_map", "toy", "--quick", "--plan", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    by = {row["study"]: row for row in told["studies"]}
    assert by["toy"]["calls"] > 0
    assert by["toy"]["minutes"] >= 0
    assert told["total"]["unknown"] == by["persona_map"]["unknown"]
    assert main(["eval", "persona_map", "toy", "--quick", "--plan"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("study\tcalls\tprompt tokens\treply tokens\tminutes\n")
    assert "unknown" not in text
    assert "tokens a second here" in text
    assert not Path("runs").exists()


def test_what_a_study_does_not_say_is_unknown_and_never_nothing(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = replace(PERSONA_MAP, parts=lambda size: (Stage("map", "Persona map", lambda work: StageResult()),))
    monkeypatch.setattr("greenroom.studies.persona_map.STUDY", silent)
    assert main(["eval", "persona_map", "toy", "--quick", "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "persona_map" + 4 * "\tunknown"
    assert lines[3].startswith("in all\t")
    assert lines[3].count("+ unknown") == 4
    assert "persona_map does not say what these cost: Persona map" in lines


def test_a_plan_of_a_hosted_model_gives_no_minutes(loaded: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "toy", "--quick", "--plan", "--model", "mockllm/model"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1].endswith("\t–")
    assert "how long it takes depends on the provider: " in text
    assert "minutes at 5 calls a second" in text


# --- compare ---------------------------------------------------------------------------------------------------------

GOOD = Validity("A", (Check("retest", 0.95, "A", ""),))
VOID = Validity("void", (Check("retest", 0.1, "void", "The answers change when asked again."),))


def measured(name: str, at: float | None, half: float = 0.1, validity: Validity = GOOD, **how: Any) -> Measure:
    low, high = (None, None) if at is None else (at - half, at + half)
    return Measure(name, at, low, high, 20, validity, **how)


def finished(path: Path, measures: list[Measure], *, kind: str = "eval", seed: int = 0, **changes: Any) -> Path:
    config = {
        "studies": ["toy"], "sizes": {"toy": {"items": 4}}, "stimuli": {"toy": "abc"}, "dtype": "float32",
        "system": None,
    } | changes  # fmt: skip
    run = open_run(path, kind=kind, subject_name="tiny", fingerprint="abc", config=config, seed=seed)
    rows = [{"study": "toy", **one.row()} for one in measures]
    write_table(path / MEASURES, pl.DataFrame(rows, schema={"study": pl.String, **MEASURE_SCHEMA}))
    run.finish({})
    return path


def test_a_difference_has_the_interval_of_two_independent_estimates(tmp_path: Path) -> None:
    lopsided = Measure("slope", 1.0, 0.7, 1.1, 20, GOOD)
    (one,) = compare(
        finished(tmp_path / "a", [measured("slope", 0.2, 0.4)]),
        finished(tmp_path / "b", [lopsided], system="x", seed=1),
    )
    assert (one.a, one.b) == (0.2, 1.0)
    assert one.difference == pytest.approx(0.8)
    assert one.low == pytest.approx(0.8 - math.hypot(0.3, 0.4))
    assert one.high == pytest.approx(0.8 + math.hypot(0.1, 0.4))
    assert one.apart


def test_the_main_measure_comes_first_and_then_what_is_apart(tmp_path: Path) -> None:
    a = [measured("same", 0.5), measured("far", 0.0), measured("near", 0.0), measured("main", 0.1, primary=True)]
    b = [measured("same", 0.5), measured("far", 1.0), measured("near", 0.3), measured("main", 0.1, primary=True)]
    found = compare(finished(tmp_path / "a", a), finished(tmp_path / "b", b))
    assert [row.name for row in found] == ["main", "far", "near", "same"]
    assert [row.apart for row in found] == [False, True, True, False]


def test_a_void_or_missing_measure_has_a_reason_and_no_number(tmp_path: Path) -> None:
    a = finished(tmp_path / "a", [measured("slope", 0.2), measured("gone", 1.0)])
    b = finished(tmp_path / "b", [measured("slope", None, validity=VOID)])
    slope, gone = sorted(compare(a, b), key=lambda row: row.name, reverse=True)
    assert (slope.a, slope.b, slope.difference, slope.low) == (0.2, None, None, None)
    assert slope.reason == "void in B: The answers change when asked again."
    assert gone.reason == "not in B"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stimuli": {"toy": "other"}}, "differ in the items of toy"),
        ({"sizes": {"toy": {"items": 5}}}, r"differ in items of toy \(4 and 5\)"),
        ({"dtype": "bfloat16"}, r"differ in dtype \(float32 and bfloat16\)"),
        ({"studies": ["other"]}, "share no study: toy and other"),
    ],
)
def test_runs_that_asked_otherwise_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    a, b = finished(tmp_path / "a", []), finished(tmp_path / "b", [], **changes)
    with pytest.raises(RunError, match=words) as caught:
        compare(a, b)
    assert "\n" not in str(caught.value)


def test_compare_prints_a_table_or_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a = finished(tmp_path / "a", [measured("slope", 0.2, unit="logits", primary=True), measured("other", 0.0)])
    b = finished(tmp_path / "b", [measured("slope", 1.0, unit="logits", primary=True), measured("other", 0.0)], seed=1)
    assert main(["compare", str(a), str(b), str(b), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["base"]["seed"], [run["seed"] for run in told["runs"]]) == (0, [1, 1])
    assert told["runs"][0]["differences"][0]["difference"] == pytest.approx(0.8)
    assert main(["compare", str(a), str(b)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"A  {a}: tiny, seed 0"
    assert lines[3] == "toy · slope\tlogits\t0.20\t1.00\t+0.80\t+0.66 to +0.94"
    assert lines[-1].startswith("1 of 2 differences leave 0 out")
    other = finished(tmp_path / "c", [], dtype="bfloat16")
    assert main(["compare", str(a), str(other)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    begun = open_run(
        tmp_path / "d", kind="read", subject_name="tiny", fingerprint="abc", config={"reader": "x"}, seed=0
    )
    begun.finish({})
    assert main(["compare", str(a), str(tmp_path / "d")]) == 2
    assert "is a run of kind read, which has no measures to compare" in capsys.readouterr().err
