"""The frontier: resumed scoring against plain scoring, items, price, coherence, and a run from end to end."""

from __future__ import annotations

import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from greenroom.capability import exam, price
from greenroom.capability.exam import CapabilityTest, capability
from greenroom.capability.items import composed, items
from greenroom.capability.items import families as item_families
from greenroom.cli import frontier as frontier_verb
from greenroom.cli import main
from greenroom.directions import Calibration, Direction, SignTest
from greenroom.errors import DirectionError, LibraryError
from greenroom.measures import coherence
from greenroom.personas import library
from greenroom.runs.shared_results import kept
from greenroom.runs.tables import read_table
from greenroom.studies.frontier import cloze, leakage, replies
from greenroom.studies.frontier import stages as measure
from greenroom.studies.frontier.stages import measure_frontier
from greenroom.subject import Intervention, tiny
from greenroom.subject.scoring import Scores

TEXTS = ["Ann has a red hat. Bob has a", "Ann has a red hat. Bob has", "Two and two make", "x"]
ENDS = [" blue hat", " b", "", "four"]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3_text", "gpt2", "mixtral"])
def test_prepared_text_scores_as_plain_text_under_any_edit(architecture):
    subject = tiny(architecture)
    vector = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(1))
    size = 2 * float(subject.sinks.norm_limit[2]) / 10
    conversations = [[{"role": "user", "content": text}] for text in TEXTS for _ in ENDS]
    conversations[1] = [*conversations[1], {"role": "assistant", "content": "Well, it"}]
    continuations = [end for _ in TEXTS for end in ENDS]
    prepared = subject.prepare(conversations, continuations, [1, 2])
    settings = [
        (),
        (Intervention("steer", 2, vector, size),),
        (Intervention("cap", 1, vector, 0.5), Intervention("steer", 3, vector, -size, tokens="reply")),
        (Intervention("ablate", 0, vector, 1.0),),  # below every kept block: a whole forward
        (Intervention("steer", 1, vector, size, tokens="prompt", spare_sinks=False),),
    ]
    totals = []
    for edits in settings:
        ours, plain = prepared.score(edits), subject.score(conversations, continuations, interventions=edits)
        assert ours.ids == plain.ids
        for mine, theirs in zip(ours.tokens, plain.tokens, strict=True):
            assert mine == pytest.approx(theirs, abs=2e-4)
        totals.append(ours.total)
    assert all(totals[0] != other for other in totals[1:])  # the edits did something
    assert all("forward" not in block.__dict__ for block in subject.network.blocks)


def test_prepared_text_computes_choices_of_one_token_once_and_leaves_nothing_behind_after_an_error():
    subject = tiny("llama")
    conversations = [[{"role": "user", "content": "1 2 3"}]] * 4
    prepared = subject.prepare(conversations, ["a", "b", "c", "dd"], [1])
    assert len(prepared._texts.rows) == 2
    edit = Intervention("steer", 1, torch.ones(subject.d_model), (1.0, 2.0, 3.0, 4.0))
    with pytest.raises(ValueError, match="one amount for all rows"):
        prepared.score([edit])

    def broken(done: int, total: int) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        prepared.score([Intervention("steer", 1, torch.ones(subject.d_model), 1.0)], progress=broken)
    assert all("forward" not in block.__dict__ for block in subject.network.blocks)


# Items and their price ------------------------------------------------------------------------------------------------


def test_there_are_a_thousand_different_items_in_four_families_and_a_seed_makes_them_again():
    found = items(0)
    assert len(found) >= 1000
    families = {item.family for item in found}
    assert families == {"arithmetic", "copying", "facts", "instructions"}
    assert all(sum(item.family == family for item in found) >= 250 for family in families)
    assert len({(str(item.conversation), item.choices[0]) for item in found}) == len(found)
    assert all(len(set(item.choices)) == len(item.choices) >= 2 for item in found)
    assert found == tuple(item for family in item_families() for item in composed(family, 0))
    assert found != items(1)


def test_the_arithmetic_is_right():
    sums = re.compile(r"(\d+) (\+|-|x|plus) (\d+) (?:=|is)$")
    seen = 0
    for item in items(0):
        asked = sums.search(item.conversation[-1]["content"])
        if item.family != "arithmetic" or asked is None:
            continue
        a, sign, b = int(asked[1]), asked[2], int(asked[3])
        right = {"+": a + b, "plus": a + b, "-": a - b, "x": a * b}[sign]
        assert int(item.choices[0]) == right
        assert right not in [int(choice) for choice in item.choices[1:]]
        seen += 1
    assert seen > 150


def test_a_template_that_cannot_be_filled_says_so(tmp_path):
    text = "family: f\npools: {p: [a, b]}\ntemplates:\n  - {id: t, n: 3, each: x, draw: {x: p, y: p}, user: '{x}', answer: '{x}', wrong: ['{y}']}\n"
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(LibraryError, match="template t of f cannot make 3 different items"):
        list(composed(item_families(tmp_path)[0], 0))
    (tmp_path / "f.yaml").write_text(text.replace("x: p", "x: q"))
    with pytest.raises(LibraryError, match=r"f\.yaml.*template t draws from q"):
        item_families(tmp_path)


def paired(n: int = 1000, right: float = 0.75, lost: float = 0.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    before = (rng.random(n) < right).astype(float)
    after = np.where(rng.random(n) < lost, 0.0, before)
    return before, after, np.full(n, 0.25), [f"s{index}" for index in range(n)]


def test_loss_by_hand_and_its_cost():
    before, after = np.array([1.0, 1, 1, 1, 0, 0] * 50), np.array([1.0, 1, 1, 0, 0, 0] * 50)
    found = price.loss(before, after, np.full(300, 1 / 3), list(range(300)))
    assert found.estimate == pytest.approx((4 / 6 - 3 / 6) / (4 / 6 - 1 / 3))
    assert found.low < found.estimate < found.high
    assert price.loss(before, before, np.full(300, 1 / 3), list(range(300))).high == 0
    # Items that ask the same thing count as one: ten copies of each tell no more than one.
    copies = price.loss(
        np.repeat(before, 10), np.repeat(after, 10), np.full(3000, 1 / 3), np.repeat(range(300), 10).tolist()
    )
    assert copies == pytest.approx(found)


def test_a_subject_at_chance_has_no_price():
    before, after, chance, stimuli = paired(right=0.25, lost=0.1)
    assert price.loss(before, after, chance, stimuli).high is None
    assert price.reach([1.0], after[None], np.zeros(1000), chance, stimuli, 0.05).strongest is None


def test_the_interval_of_the_loss_covers_the_truth():
    inside = 0
    for seed in range(200):
        before, after, chance, stimuli = paired(400, lost=0.1, seed=seed)
        found = price.loss(before, after, chance, stimuli)
        inside += found.low <= 0.1 * 0.75 / 0.5 <= found.high
    assert inside >= 184


def test_the_budget_reaches_as_far_as_the_last_strength_before_it_is_exceeded():
    strengths, lost = [-1.0, -2.0, -4.0, -6.0], [0.0, 0.01, 0.10, 0.0]
    before, _, chance, stimuli = paired(2000)
    after = np.stack([np.where(np.random.default_rng(9).random(2000) < share, 0.0, before) for share in lost])
    found = price.reach(strengths, after, before, chance, stimuli, 0.05)
    assert found.strongest == -2.0  # −6 costs nothing, but the way there does
    assert -4 < found.crossing < -2
    assert found.high < found.crossing < found.low < -2  # from the weaker to the stronger end
    none = price.reach(strengths[:1], after[:1], before, chance, stimuli, 0.05)
    assert (none.strongest, none.crossing, none.low, none.high) == (-1.0, None, None, None)


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


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


@pytest.fixture
def few_items():
    """Every tenth item, so that a run takes seconds."""
    return items(0)[::10]


def north(subject, name="north") -> Direction:
    vector = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(3))
    scale = Calibration.of(np.random.default_rng(0).normal(0, 30, (6, 8)))
    return Direction(
        name=name, kind="trait", layer=2, vectors={2: vector / vector.norm()}, calibration={2: scale},
        subject=subject.name, fingerprint=subject.fingerprint, sign_test=SignTest("northern", "southern", 2.0, -1.0),
    )  # fmt: skip


class Vowels:
    """A checker: share of vowels."""

    name, kind = "vowels", "checker"

    def __call__(self, conversations, replies):
        return np.array([sum(letter in "aeiou" for letter in reply) / max(1, len(reply)) for reply in replies])


def known_items(subject, few):
    """Items that this very subject answers right, four in five, so that it has something to lose."""
    rows = [(item.conversation, choice) for item in few for choice in item.choices]
    totals, begin, made = subject.score([c for c, _ in rows], [t for _, t in rows]).total, 0, []
    for index, item in enumerate(few):
        own = totals[begin : begin + len(item.choices)]
        begin += len(item.choices)
        order = sorted(range(len(own)), key=lambda at: -own[at])
        order = order if index % 5 else order[::-1]
        made.append(dataclasses.replace(item, choices=tuple(item.choices[at] for at in order)))
    return made


def test_capability_of_many_settings_at_once(subject, few_items):
    test = CapabilityTest(subject, [1, 2], items=known_items(subject, few_items))
    turned = north(subject)
    frame = capability(subject, {"none": (), "mild": [turned.steer(0.001)], "wild": [turned.steer(4.0)]}, test=test)
    overall = {row["setting"]: row for row in frame.filter(pl.col("family") == "all").to_dicts()}
    assert set(frame["family"]) == {"all", "arithmetic", "copying", "facts", "instructions"}
    assert overall["none"]["accuracy"] == pytest.approx(0.8, abs=0.02)
    assert overall["none"]["capability_loss"] == overall["none"]["capability_loss_high"] == 0
    assert abs(overall["mild"]["capability_loss"]) < overall["wild"]["capability_loss"]
    assert overall["wild"]["capability_loss_low"] > 0.05


def test_an_answer_that_is_no_number_is_no_right_answer_and_ties_share(subject, few_items):
    test = CapabilityTest(subject, [2], items=few_items[:2])
    assert [len(item.choices) for item in test.items] == [4, 4]
    nan, totals = float("nan"), [-1.0, -1.0, -2.0, -3.0, -1.0, -2.0, float("nan"), -3.0]
    test._prepared = SimpleNamespace(score=lambda edits: Scores(totals, [], []))
    assert test.correct().tolist() == [0.5, 0.0]
    totals[:4], totals[4:] = [nan] * 4, [-2.0, -1.0, -3.0, -3.0]
    assert test.correct().tolist() == [0.0, 0.0]


def test_a_frontier_from_end_to_end_resumes_and_is_the_same_again(subject, few_items, tmp_path, monkeypatch):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    known = known_items(subject, few_items)
    monkeypatch.setattr(exam, "_all", lambda seed: tuple(known))
    size = {"strengths": [-40, -1, 1, 40], "floors": ["default:p25", "-1"], "replies": 6, "neutral": 4, "tokens": 8}
    reading = measure._Stages.reading

    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure._Stages, "reading", stop)
    with pytest.raises(KeyboardInterrupt):
        measure_frontier(subject, north(subject), tmp_path / "run", score=Vowels(), **size)
    written = (tmp_path / "run" / "tables" / "replies.parquet").read_bytes()
    monkeypatch.setattr(measure._Stages, "reading", reading)
    result = measure_frontier(subject, north(subject), tmp_path / "run", score=Vowels(), **size)
    assert (tmp_path / "run" / "tables" / "replies.parquet").read_bytes() == written
    again = measure_frontier(subject, north(subject), tmp_path / "other", score=Vowels(), **size)
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
    reach = result.summary["reach"]
    assert set(reach) == {"up", "down", "cap"}
    assert reach["up"]["strongest"] in (None, 1.0)
    assert 0 < reach["up"]["crossing"] < 40
    stored = kept(subject.fingerprint, "frontier-north")
    assert read_table(stored / "tables" / "frontier.parquet").equals(frame, null_equal=True)
    assert kept(subject.fingerprint, "frontier") is None

    page = (tmp_path / "run" / "frontier.html").read_text()
    (tmp_path / "run" / "frontier.html").unlink()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "frontier.html").read_text() == page
    assert "within a budget of 5 %" in page or "stays within a budget" in page
    ours = page[: page.index('<script id="figures"')]
    assert not re.search(r"(?:src|href)=", ours)  # opens from disk, without network
    figures_shown = json.loads(re.search(r'<script id="figures" type="application/json">(.*?)</script>', page, re.S)[1])
    assert [one["id"] for one in figures_shown] == ["effect", "price", "perplexity", "degenerate", "leakage"]
    assert "northern" not in str(result)
    assert "\n" in str(result)


def test_the_axis_is_scored_cold_and_library_traits_by_what_they_are(subject, few_items, tmp_path, monkeypatch):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(exam, "_all", lambda seed: few_items[::4])
    axis = dataclasses.replace(north(subject, "assistant_axis"), kind="axis")
    size = {"strengths": [2], "floors": [], "replies": 4, "neutral": 4, "tokens": 8}
    result = measure_frontier(subject, axis, tmp_path / "axis", **size)
    assert (result.summary["score_kind"], result.summary["effect_unit"]) == ("cold_projection", "sd")
    steered = result.frame.row(by_predicate=pl.col("strength") == 2, named=True)
    assert steered["effect"] is not None
    assert steered["cloze_shift"] is not None
    assert kept(subject.fingerprint, "frontier") is not None
    # Items that this subject answers by chance: either it has something to lose, or there is no price.
    assert (steered["capability_loss"] is None) == (result.summary["capability"] <= 0)

    shouting = library.trait("shouting")
    named_so = north(subject, "shouting")
    assert len(cloze.forced_choices(named_so)) == len(cloze.stimuli()["poles"]) + len(shouting.pairs)
    asked = {text[-1]["content"] for place, _, text in replies.prompts_of(named_so, 50, 3) if place == "effect"}
    assert asked == {question.text for question in shouting.questions if question.held_out}
    assert "capital" in leakage.topic_words(named_so)
    nameless = dataclasses.replace(north(subject, "imported"), kind="axis")
    assert cloze.forced_choices(nameless) == []


def test_bad_sizes_are_one_line_before_anything_is_written(subject, tmp_path):
    for wrong, said in (
        ({"budget": 5.0}, "share between 0 and 1"),
        ({"replies": 1}, "too few"),
        ({"strengths": [400]}, "−100 to 100"),
    ):
        with pytest.raises(DirectionError, match=said):
            measure_frontier(subject, north(subject), tmp_path / "run", score=Vowels(), **wrong)
    assert not (tmp_path / "run").exists()


def test_the_verb_reads_budget_and_strengths(capsys):
    assert main(["frontier", "--budget", "2 in 3"]) == 2
    assert "'2 in 3' is no share" in capsys.readouterr().err
    assert main(["frontier", "--strengths", "a,b"]) == 2
    assert "are no strengths" in capsys.readouterr().err
    assert frontier_verb.share("5%") == frontier_verb.share("0.05") == 0.05


# The embedded model ---------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_the_embedded_model_is_above_chance_in_every_family(smollm2):
    few = [item for index, item in enumerate(items(0)) if index % 5 == 0]
    frame = capability(smollm2, {"none": ()}, test=CapabilityTest(smollm2, [29], items=few))
    for row in frame.to_dicts():
        assert row["capability"] > 0.2, row
