"""`greenroom who`: what it prints, how it validates itself, and two texts that SmolLM2 must judge well."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from greenroom.cli import main
from greenroom.measures.intervals import Interval
from greenroom.personas import library
from greenroom.reader.posterior.contexts import contexts_of
from greenroom.reader.posterior.validation import validate_who
from greenroom.reader.posterior.who import who
from greenroom.subject import Subject
from greenroom.subject.tiny import save_tiny, tiny
from reader_fixture import TALK


@pytest.fixture(scope="module")
def small() -> Subject:
    return tiny(seed=3)


# Validation --------------------------------------------------------------------------------------------------------------


def test_validation_resumes_to_equal_figures(
    small: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"design": "roles", "replies": 14, "tokens": 10}
    one = validate_who(small, out=tmp_path / "a", **options)
    again = validate_who(small, out=tmp_path / "a", **options)
    assert one.figures == again.figures
    assert one.contexts == 31
    assert one.figures["chance of top 1"].estimate == pytest.approx(1 / 31)
    assert one.calibration.lengths == (10,)
    assert 0 <= (one.figures["top 5 at 10 tokens"].estimate or 0) <= 1
    assert json.loads(json.dumps(one.as_dict()))["design"] == "roles"
    # A reader with random weights tells nobody apart.
    assert one.grade == "void"
    assert one.verdict().startswith(
        "Telling 31 contexts apart is unusable: chance alone could name as many: of 14 repl"
    )
    assert main(["report", str(tmp_path / "a")]) == 2
    assert "a run of kind who has no page" in capsys.readouterr().err


def test_validation_says_what_it_found_and_how_sure(small: Subject, tmp_path: Path) -> None:
    made = validate_who(small, out=tmp_path / "a", design="roles", replies=14, tokens=10)

    def found(first: float, five: float, n: int) -> str:
        figures = {
            "top 1 at 10 tokens": Interval(first, first - 0.05, first + 0.05, 54),
            "top 5 at 10 tokens": Interval(five, five - 0.05, five + 0.05, 54),
        }
        return replace(made, figures=figures, replies=n).verdict()

    assert found(0.92, 0.99, 300).startswith("Telling 31 contexts apart is good: of 300 replies of 10 tokens")
    assert found(0.92, 0.99, 40).endswith(", but 40 replies are few.")
    assert "usable with caution" in found(0.92, 0.99, 40)
    assert "usable with caution" in found(0.6, 0.8, 300)
    assert "unusable" in found(0.04, 0.2, 300)


def test_quick_validation_tells_the_time_first_and_ends_with_a_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["who", "--validate", "--quick", "--replies", "8", "--tokens", "6", "--reader", str(folder), "--plain"]
    assert main([*words, "--out", str(tmp_path / "v")]) == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[0].startswith(
        "8 replies of 6 tokens are made and read under 33 system messages: about "
    )
    assert told.out.splitlines()[-1].startswith("Telling 31 contexts apart is ")
    assert " replies of 6 tokens" in told.out.splitlines()[-1]


def test_an_interrupted_validation_says_what_it_kept(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from greenroom.reader.posterior import validation

    score, calls = validation._scores, [0]

    def stopped(*given):
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return score(*given)

    words = ["who", "--validate", "--quick", "--replies", "35", "--tokens", "3", "--reader", str(folder), "--plain"]
    with monkeypatch.context() as patch:
        patch.setattr(validation, "_scores", stopped)
        assert main([*words, "--out", str(tmp_path / "v")]) == 130
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("interrupted; 31 of ")
    assert "replies scored; 2 finished stages kept in" in told
    assert told.endswith("run the same command again to resume")
    assert main([*words, "--out", str(tmp_path / "v")]) == 0
    assert "kept from before" in capsys.readouterr().err


# The verb ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("who") / "model")


def run(folder: Path, tmp_path: Path, *words: str) -> int:
    contexts = tmp_path / "contexts.yaml"
    contexts.write_text(
        "- {name: sailor, instruction: You sail.}\n- {name: bill, instruction: A bill., agentic: false}\n"
    )
    return main(["who", *words, "--reader", str(folder), "--contexts", str(contexts)])


def test_json_lines_in_input_order(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "talks.jsonl"
    records = [{"messages": TALK, "id": 7}, {"nothing": 1}, {"messages": TALK[:3]}]
    file.write_text("\n".join(map(json.dumps, records)))
    assert run(folder, tmp_path, str(file), "--json") == 0
    printed, told = capsys.readouterr()
    found = [json.loads(line) for line in printed.splitlines()]
    assert [(one["source"], one["index"], one["turn"]) for one in found] == [(str(file), 0, 2), (str(file), 2, 1)]
    for one in found:
        assert {"top", "agentic_mass", "none_of_these"} <= one.keys()
        assert set(one["verdict"]) == {"id", "context", "sentence"}
        for entry in one["top"]:
            assert set(entry) == {"context", "probability", "bits_per_token", "low", "high"}
            assert entry["bits_per_token"] > 0
        shares = [entry["probability"] for entry in one["top"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) + one["none_of_these"] <= 1 + 1e-5
        assert one["calibrated"] is False
    assert f"{file}:2" in told


def test_verdict_comes_first_then_ranks_and_steps(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tmp_path, "--text", "At sea. Far out!", "--user", "Where?", "--by", "sentence") == 0
    lines = capsys.readouterr().out.splitlines()
    assert run(folder, tmp_path, "--text", "At sea. Far out!", "--user", "Where?", "--json") == 0
    assert lines[0] == json.loads(capsys.readouterr().out)["verdict"]["sentence"]
    assert any(line.startswith("none of these: ") for line in lines)
    steps = [line.split("\t") for line in lines if line.split("\t")[0] in ("sentence", "1", "2")]
    assert [row[0] for row in steps] == ["sentence", "1", "2"]
    assert lines[-1].startswith("uncalibrated")


def test_files_are_named_shortly_after_the_verdict(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = tmp_path / "logs"
    (logs / "deep").mkdir(parents=True)
    for path in (logs / "a.json", logs / "deep" / "a.json"):
        path.write_text(json.dumps({"messages": TALK}))
    assert run(folder, tmp_path, str(logs)) == 0
    told = capsys.readouterr().out
    assert str(tmp_path) not in told
    assert [line.split(": ")[-1] for line in told.splitlines() if "turn 2" in line] == [
        "a.json 0, turn 2", "deep/a.json 0, turn 2",
    ]  # fmt: skip
    assert run(folder, tmp_path, str(logs / "a.json")) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(": a.json 0, turn 2")
    assert run(folder, tmp_path, str(logs / "a.json"), str(logs / "deep" / "a.json")) == 0
    assert str(logs / "deep" / "a.json") in capsys.readouterr().out


def test_by_default_the_assistant_and_the_roles_compete(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["who", "--text", "In a house.", "--reader", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agentic_mass"] is None
    assert found["assistant"]["of"] == 1 + len(library.roles())
    assert main(["who", "--text", "In a house.", "--reader", str(folder)]) == 0
    told = capsys.readouterr().out
    assert f" of {1 + len(library.roles())}, probability " in told
    assert "agentic" not in told


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "either FILES or --text"),
        (("x.json", "--text", "Hm."), "either FILES or --text"),
        (("--text", "Hm.", "--quick"), "--quick goes with --validate"),
        (("--validate", "--text", "Hm."), "leave FILES and --text out"),
        (("missing.json",), "missing.json does not exist"),
        (("--text", "Hm.", "--by", "word"), "sentence"),
        (("--text", "Hm.", "--turn", "0"), "--turn"),
        (("--text", "Hm.", "--prior", "none.yaml"), "no such file"),
        (("--text", ""), "no conversation could be judged"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    assert run(folder, tmp_path, *words) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert told.out == ""
    assert told.err.splitlines()[-1].startswith("error: ")


@pytest.mark.model
def test_smollm2_tells_a_pirate_from_a_forecast(smollm2: Subject) -> None:
    contexts = (
        *[one for one in contexts_of("all") if one.name in ("assistant", "pirate", "weather_bulletin", "generic_text")],
    )
    said = "Arr, matey! The sea be me home, and me rum be me only friend. We sail at dawn."
    pirate = who(said, user="Where do you live?", contexts=contexts, reader=smollm2)
    forecast = who(
        "Tomorrow: rain in the north, 12 degrees, wind from the west at 20 km/h.", contexts=contexts, reader=smollm2
    )
    assert pirate.top(1)[0].context == "pirate"
    assert pirate.top(1)[0].bits_per_token > 0.3
    assert pirate.verdict.sentence == "sounds like a pirate"
    assert pirate.agentic_mass is not None
    assert pirate.agentic_mass > 0.9
    assert forecast.top(1)[0].context == "weather_bulletin"
    assert forecast.agentic_mass is not None
    assert forecast.agentic_mass < 0.5


@pytest.mark.model
def test_smollm2_does_not_take_a_greeting_for_a_dictionary(smollm2: Subject) -> None:
    said = "I am a helpful assistant. How can I help you today?"
    found = who(said, user="hi", reader=smollm2)
    assert found.verdict.id in ("too_short", "none_stands_out") or found.verdict.context == "assistant"
    assert found.assistant is not None
    nobody = who("The Danube is a river in Europe, the second-longest after the Volga. It flows through ten countries.",
                 reader=smollm2)  # fmt: skip
    assert nobody.verdict.id == "nothing_better"
    assert nobody.top() == ()
