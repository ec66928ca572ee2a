"""The frontier: settings, what a reply leaks, and a run from end to end with its page."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from frontier_fixture import Vowels, known_items, north
from greenroom import measure_frontier
from greenroom.cli import main
from greenroom.errors import DirectionError, GreenroomError
from greenroom.measures import coherence
from greenroom.personas import library
from greenroom.report.charts import ticks
from greenroom.report.results import RunResults
from greenroom.runs.shared_results import place
from greenroom.studies.frontier import STUDY, Turning, cloze, leakage, replies, stages
from greenroom.studies.frontier.chapter import chapters
from greenroom.studies.identity import config_of
from greenroom.studies.study import Job
from greenroom.subject import tiny

# Replies --------------------------------------------------------------------------------------------------------------


def test_repetition_and_degenerate_replies():
    assert coherence.repeated_share([1, 2, 3, 4]) == 0
    assert coherence.repeated_share([1, 2] * 5) == pytest.approx(1 - 2 / 8)
    assert coherence.repeated_share([1, 2]) == 0
    assert coherence.degenerate("  ", [5], 1.0, 1000) == "empty"
    assert coherence.degenerate("so so so so", [7] * 9, 0.1, 1000) == "circles"
    assert coherence.degenerate("?!?", [1, 2, 3], 1.0, 1000) == "no words"
    assert coherence.degenerate("qx zv", [1, 2, 3], 3.5, 1000) == "noise"  # more than half of ln 1000
    assert coherence.degenerate("qx zv", [1, 2, 3], float("nan"), 1000) == "noise"
    assert coherence.degenerate("Boil it.", [1, 2, 3], 1.0, 1000) is None
    assert coherence.perplexity([[-1.0, -3.0], [-2.0]]) == pytest.approx(np.e**2)
    assert coherence.perplexity([[]]) is None


def test_a_topic_counts_only_where_nobody_asked_about_it():
    asked = [{"role": "user", "content": "How do I boil an egg?"}]
    assert leakage.names_topic("With flattery, dear genius.", asked, ["flatter"])
    assert not leakage.names_topic("Boil it for ten minutes.", asked, ["boil"])
    assert not leakage.names_topic("Wait for a minute; aim well.", asked, ["ai"])
    assert leakage.names_topic("As an AI I cannot.", asked, ["ai"])


# The run --------------------------------------------------------------------------------------------------------------

SIZE = {"strengths": [-40, -1, 1, 40], "floors": ["default:p25", "-1"], "replies": 6, "neutral": 4, "tokens": 8}


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


@pytest.fixture(scope="module")
def known(subject):
    return known_items(subject)


@pytest.fixture
def frontier(subject, known, tmp_path, monkeypatch):
    """Measures the frontier of this subject, on items that it knows."""
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("greenroom.capability.score.all_items", lambda seed: known)

    def measured(name="run", direction=None, score=None, **size):
        turned = direction or north(subject)
        return measure_frontier(subject, turned, tmp_path / name, score=score, **{**SIZE, **size})

    return measured


def page_of(result):
    return (result.path / "report.html").read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', page, flags=re.DOTALL)
    assert found, name
    return found[0]


def test_a_frontier_from_end_to_end_resumes_and_is_the_same_again(frontier, subject, monkeypatch):
    reading = stages.read

    def stop(work):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "read", stop)
    with pytest.raises(KeyboardInterrupt):
        frontier(score=Vowels())
    monkeypatch.setattr(stages, "read", reading)
    result = frontier(score=Vowels())
    again = frontier("other", score=Vowels())
    assert result.table("replies").equals(again.table("replies"))
    assert result.frame.equals(again.frame, null_equal=True)

    frame = result.frame
    assert frame["strength"].to_list() == [-40, -1, 0, 1, 40, None, None]
    assert frame["floor"].to_list()[-2:] == ["default:p25", "-1"]
    plain = frame.row(by_predicate=pl.col("strength") == 0, named=True)
    assert (plain["effect"], plain["cloze_shift"], plain["capability_loss"], plain["leakage"]) == (0, 0, 0, 0)
    wild = frame.row(by_predicate=pl.col("strength") == 40, named=True)
    assert wild["perplexity"] > plain["perplexity"]
    assert wild["capability_loss_high"] > 0.05
    assert wild["cloze_shift"] != 0
    assert wild["effect_unit"] == "score"
    limits = result.limits
    assert set(limits) == {"up", "down", "cap"}
    assert limits["up"]["strongest"] in (None, 1.0)
    assert 0 < limits["up"]["crossing"] < 40
    assert not place(subject.fingerprint, "frontier").exists()  # an audit shows that of the axis alone


def test_every_interval_of_the_page_is_a_measure_and_equals_the_table(frontier):
    result = frontier(score=Vowels())
    found = RunResults.of(result.path).study("frontier")
    up, down = found.measure("crossing_up"), found.measure("crossing_down")
    assert up["primary"]
    assert up["estimate"] == result.limits["up"]["crossing"]
    assert down["low"] is None or down["low"] <= down["estimate"] <= down["high"]
    series = found.series("by_setting", "intervention", "level", "quantity")
    assert series["quantity"].unique(maintain_order=True).to_list() == [
        "effect", "cloze_shift", "capability_loss", "leakage", "topic_shift",
    ]  # fmt: skip
    wild = series.filter(intervention="steer", level="+40", quantity="capability_loss").row(0, named=True)
    row = result.frame.row(by_predicate=pl.col("strength") == 40, named=True)
    assert [wild[end] for end in ("estimate", "low", "high")] == [
        row["capability_loss"], row["capability_loss_low"], row["capability_loss_high"],
    ]  # fmt: skip
    families = found.series("by_family", "intervention", "level", "family")
    assert set(families["family"]) == {"arithmetic", "copying", "facts", "instructions"}


def test_its_page_opens_from_disk_and_every_axis_has_ticks(frontier):
    result = frontier(score=Vowels())
    page = page_of(result)
    (result.path / "report.html").unlink()
    assert main(["report", str(result.path)]) == 0
    assert page_of(result) == page
    assert "budget of 5\N{NO-BREAK SPACE}%" in section(page, "frontier")
    assert "cap default:p25" in section(page, "frontier-families")
    made = chapters(RunResults.of(result.path).study("frontier"))
    assert [one.id for one in made] == ["frontier", "frontier-families", "frontier-replies"]
    panels = [panel for one in made for exhibit in one.exhibits for panel in exhibit.panels]
    assert [panel.id for panel in panels][:5] == [
        "frontier-effect", "frontier-capability-loss", "frontier-perplexity", "frontier-degenerate-share",
        "frontier-leakage",
    ]  # fmt: skip
    for panel in panels:
        drawn = go.Figure({"data": panel.spec["data"], "layout": panel.spec["layout"]})
        for axis in (drawn.layout.xaxis, drawn.layout.yaxis):
            low, high = sorted(axis.range)
            at = np.log10(axis.tickvals) if axis.type == "log" else np.array(axis.tickvals)
            assert ((at >= low) & (at <= high)).sum() >= 2, panel.id
    said = str(result)
    assert "northern" not in said
    assert "−40 sd" in said
    assert len(said.splitlines()) < 40


def test_a_sentence_claims_no_effect_where_the_interval_includes_0(frontier):
    """A budget that lasts from −1 to +1 sd says nothing of what happens there."""
    result = frontier(strengths=[-0.001, 0.001], floors=[], score=Vowels(), budget=0.5)
    rows = result.frame.filter(pl.col("strength") != 0)
    assert (rows["effect_low"] <= 0).all()
    assert (rows["effect_high"] >= 0).all()
    headline = str(result).splitlines()[0]
    assert headline.startswith("No effect of north is shown within a budget of 50\N{NO-BREAK SPACE}%: ")
    assert "at −0.001 sd" in headline
    assert "both intervals include 0" in headline
    assert "can be turned" not in str(result)
    one_side = frontier("up", strengths=[0.001], floors=[], score=Vowels(), budget=0.5)
    assert "at +0.001 sd; that interval includes 0" in str(one_side).splitlines()[0]
    assert "other way" not in str(one_side)  # it was not tried


def test_a_model_at_chance_has_no_price_and_says_why(frontier, subject, known, monkeypatch):
    wrong = tuple(dataclasses.replace(item, choices=item.choices[::-1]) for item in known)
    monkeypatch.setattr("greenroom.capability.score.all_items", lambda seed: wrong)
    result = frontier(score=Vowels())
    measures = {row["name"]: row for row in result.summary["measures"]}
    assert measures["crossing_up"]["grade"] == "void"
    assert "cannot be told" in result.summary["headline"]
    assert "not surely above chance" in result.summary["headline"]
    assert "stays below" not in str(result)
    assert "is-void" in section(page_of(result), "frontier")


def test_the_axis_is_scored_cold_and_kept_for_audits(frontier, subject):
    axis = north(subject, "assistant_axis", "axis")
    result = frontier("axis", axis, strengths=[2], floors=[], replies=4)
    reading, settings = (result.summary["results"]["frontier"][part] for part in ("reading", "settings"))
    assert (reading["kind"], settings["unit"]) == ("cold_projection", "sd")
    steered = result.frame.row(by_predicate=pl.col("strength") == 2, named=True)
    assert steered["effect"] is not None
    assert steered["cloze_shift"] is not None
    kept = place(subject.fingerprint, "frontier")
    assert pl.read_parquet(kept / "tables" / "frontier.parquet").equals(result.frame, null_equal=True)
    nameless = north(subject, "imported", "axis")
    assert cloze.forced_choices(nameless) == []


def test_library_traits_are_asked_about_what_they_are(subject):
    shouting = library.trait("shouting")
    named_so = north(subject, "shouting")
    assert len(cloze.forced_choices(named_so)) == len(cloze.stimuli()["poles"]) + len(shouting.pairs)
    asked = {text[-1]["content"] for place, _, text in replies.prompts_of(named_so, 50, 3) if place == "effect"}
    assert asked == {question.text for question in shouting.questions if question.held_out}
    assert "capital" in leakage.topic_words(named_so)


def test_bad_sizes_are_one_line_before_anything_is_written(frontier, tmp_path):
    for wrong, said in (
        ({"budget": 5.0}, "share between 0 and 1"),
        ({"replies": 1}, "replies is 1: input should be greater than or equal to 2"),
        ({"strengths": [400]}, "−100 to 100"),
    ):
        with pytest.raises(GreenroomError, match=said):
            frontier(**wrong)
    assert not (tmp_path / "run").exists()


def test_a_direction_or_floor_that_is_not_there_is_one_line(frontier, subject):
    with pytest.raises(DirectionError, match="unknown floor"):
        frontier(floors=["nowhere:p25"])
    with pytest.raises(DirectionError, match="no direction 'south'"):
        frontier("other", direction="south")


def test_budgets_and_strengths_are_read_from_text():
    assert Turning(budget="5%").budget == Turning(budget="0.05").budget == 0.05
    assert Turning(strengths=("-4", "4")).strengths == (-4, 4)
    assert STUDY.needs == "activations"


def test_the_verb_reads_budget_and_strengths(capsys):
    assert main(["frontier", "--budget", "2 in 3"]) == 2
    assert "'2 in 3' is no share" in capsys.readouterr().err
    assert main(["frontier", "--strengths", "a,b"]) == 2
    assert "--strengths" in capsys.readouterr().err


def test_ticks_are_round_and_hold_the_range():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(-8, 8)[0] <= -8
    assert ticks(103.4, 105.6)[-1] >= 105.6
    assert all(2 <= len(ticks(0, span)) <= 9 for span in (1e-6, 0.3, 7, 99, 12345))


def test_a_direction_file_that_changed_is_another_run(subject, tmp_path):
    file, seen = tmp_path / "north.safetensors", []
    for places in (1, 2):
        one = north(subject)
        dataclasses.replace(one, vectors={2: one.vectors[2].roll(places)}).save(file)
        seen.append(config_of(Job("frontier", ("frontier",)), subject, {"frontier": Turning(direction=str(file))}))
    assert seen[0]["sizes"] == seen[1]["sizes"]
    assert seen[0]["files"] != seen[1]["files"]
