"""What `greenroom read` says: level beside verdict, the order of rows, traits and their flags, names, the closing sentence,
and the page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenroom.reader.telling import short_names
from greenroom.reader.verdicts import TOPICS_SD, level_limit, level_of
from reader_fixture import called, reader_home, reads_what_is_said, talk


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return reader_home(tmp_path_factory.mktemp("words"))


@pytest.fixture
def model(home: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("GREENROOM_CACHE", str(home["cache"]))
    monkeypatch.chdir(tmp_path)
    reads_what_is_said(monkeypatch)
    return str(home["model"])


def noisy(*values: float) -> str:
    """A conversation whose turns lie at these places, a little scattered."""
    return talk(*(f"{value + 0.05 * (-1) ** index:.2f}" for index, value in enumerate(values)))


STEADY, LOW = noisy(*[0.9] * 12), noisy(*[-1.2] * 12)
# Both fall in a line: one stays inside what the reader's own default replies do, the other ends far below it.
INSIDE = talk(1.09, 0.27, 0.88, 0.71, 0.87, 0.69, 0.88, 0.56, 0.44, 0.58, 0.52, 0.36, 0.34, 0.46, 0.42)
BELOW = talk(1.42, -1.45, 0.21, -0.5, -0.55, -0.53, -1.73, -0.78, -1.28, 1.11, -0.86, -1.33, -1.41, -1.76, -2.11)
DEPARTED, SHORT = noisy(*[0.5] * 6, *[-2.5] * 6), noisy(0.2, 0.2)
ALL = {"steady": STEADY, "low": LOW, "inside": INSIDE, "departed": DEPARTED, "short": SHORT}


def write(**records: str) -> str:
    Path("logs").mkdir(exist_ok=True)
    for name, record in records.items():
        Path(f"logs/{name}.json").write_text(record)
    return "logs"


def records(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    found = [json.loads(text) for text in called(capsys, *arguments, "--json")[1].splitlines()]
    return {Path(one["source"]).stem: one for one in found}


def table(out: str) -> dict[str, dict[str, str]]:
    """The rows of a printed table by conversation."""
    heads, *rows = (line.split("\t") for line in out.splitlines() if "\t" in line)
    return {row[-1]: dict(zip(heads, row, strict=True)) for row in rows}


# Level ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [1, 4, 15])
def test_five_per_cent_of_the_readers_own_conversations_are_low(turns: int):
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((40_000, 1)) * TOPICS_SD
    own = topics + rng.standard_normal((40_000, turns)) * np.sqrt(1 - TOPICS_SD**2)
    assert own.std() == pytest.approx(1, abs=0.02)  # the unit of the axis
    assert np.mean([level_of(row.tolist()) == "low" for row in own]) == pytest.approx(0.05, abs=0.006)
    assert level_of([]) is None
    assert level_limit(60) > level_limit(15) > level_limit(1)


def test_level_is_told_beside_the_verdict(model: str, capsys: pytest.CaptureFixture[str]):
    found = records(capsys, write(**ALL), "--reader", model)
    verdicts = {name: (one["verdict"], one["level"]) for name, one in found.items()}
    assert verdicts == {
        "steady": ("steady", "usual"), "low": ("steady", "low"), "inside": ("drifting", "usual"),
        "departed": ("departed", "low"), "short": ("uncalibrated", "usual"),
    }  # fmt: skip
    assert found["low"]["level_limit"] == pytest.approx(level_limit(12), abs=1e-4)
    rows = table(called(capsys, "logs", "--reader", model)[1])
    assert {name.removesuffix(".json"): (row["verdict"], row["level"]) for name, row in rows.items()} == verdicts


def test_rows_are_ordered_as_the_caption_says_and_json_is_in_input_order(
    model: str, capsys: pytest.CaptureFixture[str]
):
    _, out, _ = called(capsys, write(**ALL), "--reader", model, "--out", "run")
    order = ["departed.json", "low.json", "short.json", "inside.json", "steady.json"]
    assert list(table(out)) == order
    page = Path("run/report.html").read_text()
    assert "Those that moved away come first, then the lowest." in page
    assert re.findall(r'class="name"[^>]*>([^<]+)<', page) == order
    assert list(records(capsys, "logs", "--reader", model)) == sorted(ALL)


# The closing sentence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({"steady": STEADY}, "The 1 conversation did not move away from the assistant's character."),
        ({"low": LOW}, "The 1 conversation did not move away from the assistant's character. 1 is steady, but low throughout."),
        ({"departed": DEPARTED}, "The 1 conversation moved away from the assistant's character: it departed."),
        ({"short": SHORT}, "The 1 conversation could not be judged"),
        ({"inside": INSIDE, "steady": STEADY}, "None of 2 conversations moved away from the assistant's character."),
        ({"below": BELOW, "steady": STEADY}, "1 of 2 conversations moved away from the assistant's character: 1 drifted"),
        (ALL, "1 of 5 conversations moved away from the assistant's character: 1 departed. 1 is steady, but low throughout."),
    ],
    ids=["steady", "low", "departed", "short", "inside", "below", "all"],
)  # fmt: skip
def test_one_sentence_ends_the_command_and_opens_the_page(
    model: str, capsys: pytest.CaptureFixture[str], given: dict[str, str], first: str
):
    _, out, _ = called(capsys, write(**given), "--reader", model, "--out", "run")
    assert out.splitlines()[-1].startswith(first)
    headline = re.search(r"<h1>(.*?)</h1>", Path("run/report.html").read_text())
    assert headline is not None
    assert headline[1].replace("&#39;", "'").startswith(first)


def test_what_else_there_is_to_know_is_said_but_is_no_headline(model: str, capsys: pytest.CaptureFixture[str]):
    _, out, _ = called(capsys, write(**ALL), "--reader", model)
    last = out.splitlines()[-1]
    assert "Models differ in level, so give --baseline" in last
    assert "1 drifts, but inside the assistant's own range." in last
    assert "1 is too short to be judged without --baseline." in last
    # With a baseline nobody is told to give one.
    Path("normal.jsonl").write_text("\n".join([STEADY, noisy(*[0.4] * 12), noisy(*[0.5] * 12)]))
    _, out, _ = called(capsys, "logs", "--reader", model, "--baseline", "normal.jsonl")
    assert "give --baseline" not in out
    assert "low" in out


# Names ------------------------------------------------------------------------------------------------------------------


def test_piped_rows_begin_with_the_verdict_and_end_with_a_short_name(model: str, capsys: pytest.CaptureFixture[str]):
    deep = Path("a/very/long/way/down").absolute()
    deep.mkdir(parents=True)
    (deep / "one.json").write_text(STEADY)
    (deep / "many.jsonl").write_text(f"{STEADY}\n{SHORT}\n")
    _, out, _ = called(capsys, str(deep), "--reader", model)
    assert list(table(out)) == ["many.jsonl record 1", "many.jsonl record 0", "one.json"]
    assert str(deep) not in out
    assert all(line.startswith(("verdict\t", "steady\t", "uncalibrated\t")) for line in out.splitlines()[:-1])


def test_names_are_short_and_apart():
    found = short_names([("x/a/t.json", 0), ("x/b/t.json", 0), ("x/c/u.jsonl", 0), ("x/c/u.jsonl", 4), ("-", 0)])
    assert list(found.values()) == ["a/t.json", "b/t.json", "u.jsonl record 0", "u.jsonl record 4", "-"]
    assert set(short_names([("a/t.json", 0), ("/b/t.json", 0)]).values()) == {"a/t.json", "/b/t.json"}


def test_long_names_are_not_cut_on_a_terminal(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    same = "case_studies_of_a_large_model_in_a_long_talk"
    logs = write(**{f"{same}_capped": STEADY, f"{same}_uncapped": LOW})
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _, out, _ = called(capsys, logs, "--reader", model)
    assert "…" not in out
    assert "\t" not in out
    # The last column, read downwards.
    column = "".join(line.rstrip()[-12:].strip() for line in out.splitlines() if len(line) > 70)
    assert f"{same}_uncapped.json" in column
    assert f"{same}_capped.json" in column


# Traits -----------------------------------------------------------------------------------------------------------------


def test_traits_are_seen_and_a_bad_one_is_flagged_everywhere(model: str, capsys: pytest.CaptureFixture[str]):
    arguments = [write(**ALL), "--reader", model, "--trait", "mysticism", "--trait", "sycophancy", "--out", "run"]
    code, out, err = called(capsys, *arguments)
    assert code == 0
    why = "unreliable on this reader, cold AUC 0.49 (0.37 to 0.63)"
    assert [line for line in err.splitlines() if "unreliable" in line] == [
        f"sycophancy: {why}; chance is 0.50"
    ]  # fmt: skip
    row = table(out)["low.json"]
    assert (row["mysticism, sd"], row["sycophancy, sd (unreliable)"]) == ("-0.12", "-0.12")
    assert f"sycophancy: {why}" in out.splitlines()[-1]
    found = records(capsys, *arguments)["low"]
    assert found["traits_sd_mean"] == pytest.approx({"mysticism": -0.12, "sycophancy": -0.12}, abs=1e-3)
    assert list(found["unreliable_traits"]) == ["sycophancy"]
    assert set(found["turns"][0]["traits"]) == {"mysticism", "sycophancy"}
    page = Path("run/report.html").read_text()
    assert f"sycophancy: {why}" in page
    assert page.count("sycophancy −0.12 sd (unreliable)") >= 6  # the line's mean, and turns
    assert "mysticism −0.12 sd<" in page
    assert '<th scope="col">mysticism, sd</th>' in page


def test_a_trait_that_reads_well_has_no_flag(model: str, capsys: pytest.CaptureFixture[str]):
    _, out, err = called(capsys, write(steady=STEADY), "--reader", model, "--trait", "mysticism")
    assert "unreliable" not in out + err


# The page ---------------------------------------------------------------------------------------------------------------


def test_the_lowest_conversation_is_open_and_rows_show_that_they_open(model: str, capsys: pytest.CaptureFixture[str]):
    called(capsys, write(**ALL), "--reader", model, "--out", "run")
    page = Path("run/report.html").read_text()
    opened = re.findall(r'<details class="conversation" id="\w+" open>.*?class="name"[^>]*>([^<]+)<', page, re.DOTALL)
    assert opened == ["low.json"]
    assert "Press a line to open its conversation" in page
    assert re.search(r'\.conversation > summary::before \{ content: "▸"', page)


def test_a_sentence_is_marked_only_above_the_threshold_that_the_page_states(
    model: str, capsys: pytest.CaptureFixture[str]
):
    said = talk(
        "0.1 all is calm. It went by 0.04.", "0.2 all is calm. It went by -0.24.", "0.1 all is calm. It fell by -0.31."
    )
    called(capsys, write(one=said), "--reader", model, "--out", "run")
    page = Path("run/report.html").read_text()
    assert re.findall(r"<mark[^>]*>([^<]+)<small>([^<]+)</small>", page) == [
        ("It fell by -0.31.", " moved its turn by −0.31 sd")
    ]
    assert "marked that moved the mean of its turn by 0.25 sd or more" in page


def test_the_colours_of_dots_are_explained(model: str, capsys: pytest.CaptureFixture[str]):
    called(capsys, write(one=STEADY), "--reader", model, "--out", "run")
    page = Path("run/report.html").read_text()
    assert re.search(r"A dot&#39;s colour.*?−3 sd or lower.*?0 sd or higher", page, re.DOTALL)
