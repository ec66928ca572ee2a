"""The behavioural map: distances in bits by hand, scaling, the Mantel test, and the run on a tiny random model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from greenroom.directions.behavioural_map import (
    ACTIVATION_QUESTIONS,
    Character,
    behavioural_map,
    bits_lost,
    compared,
    sample_replies,
    split_half,
    usual_characters,
    usual_questions,
)
from greenroom.directions.rollouts import instructed
from greenroom.errors import DirectionError, GreenroomError
from greenroom.measures.mantel import mantel
from greenroom.measures.scaling import classical, scaled, turned
from greenroom.report.results import Results, RunResults
from greenroom.runs import shared_results
from greenroom.runs.tables import differences
from greenroom.studies import study_named
from greenroom.studies.behavioural_map import Characters, map_behaviour
from greenroom.studies.study import AXIS, Job, Work
from greenroom.subject import tiny
from maps_fixture import check_chapter, planted, planted_axis
from reader_fixture import random_direction


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


def table(points: np.ndarray) -> np.ndarray:
    return squareform(pdist(points))


# --- Mantel test ------------------------------------------------------------------------------------------------------


def test_the_correlation_is_spearmans_over_pairs() -> None:
    rng = np.random.default_rng(0)
    one, other = table(rng.normal(size=(9, 3))), table(rng.normal(size=(9, 3)))
    found = mantel(one, other, permutations=99)
    assert found.r == pytest.approx(stats.spearmanr(squareform(one), squareform(other)).statistic)
    assert found.n == 9


def test_equal_tables_agree_fully_and_no_shuffle_does_better() -> None:
    one = table(np.random.default_rng(1).normal(size=(10, 2)))
    found = mantel(one, 3 * one, permutations=999)
    assert found.r == pytest.approx(1.0)
    assert found.p == pytest.approx(1 / 1000, abs=2e-3)
    assert found.low is not None
    assert found.low > 0.99


def test_unrelated_tables_are_called_related_one_time_in_twenty() -> None:
    rng = np.random.default_rng(2)
    p = [
        mantel(table(rng.normal(size=(12, 2))), table(rng.normal(size=(12, 2))), permutations=199, draws=0, seed=seed).p
        for seed in range(300)
    ]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.09


def test_the_interval_holds_the_correlation_of_many_more_things() -> None:
    rng = np.random.default_rng(3)

    def pair(n: int) -> tuple[np.ndarray, np.ndarray]:
        points = rng.normal(size=(n, 2))
        return table(points), table(points + rng.normal(size=(n, 2)))

    truth = mantel(*pair(400), permutations=1, draws=0).r
    found = [mantel(*pair(30), permutations=1, draws=200, seed=seed) for seed in range(60)]
    assert (
        np.mean([one.low <= truth <= one.high for one in found if one.low is not None and one.high is not None]) >= 0.85
    )


@pytest.mark.parametrize(
    ("one", "told"),
    [(np.zeros((3, 3)), "at least 4"), (np.zeros((4, 5)), "square"), (np.full((4, 4), np.nan), "gaps"),
     (np.triu(np.ones((4, 4))), "symmetric"), (np.zeros((6, 6)), "the same things")],
)  # fmt: skip
def test_what_is_no_distance_table_is_refused(one: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        mantel(one, np.zeros((5, 5)))


# --- scaling ----------------------------------------------------------------------------------------------------------


def test_points_of_a_plane_come_back_turned_and_mirrored() -> None:
    points = np.random.default_rng(4).normal(size=(15, 2))
    found = scaled(table(points))
    assert found.stress < 1e-6
    again = turned(found.points, points)
    assert again + points.mean(axis=0) == pytest.approx(points, abs=1e-6)
    assert table(again) == pytest.approx(table(points), abs=1e-6)


def test_what_does_not_fit_the_plane_has_stress_and_smacof_lowers_it() -> None:
    wanted = table(np.random.default_rng(5).normal(size=(20, 6)))
    found = scaled(wanted)

    def stress(points: np.ndarray) -> float:
        return float(np.sqrt(((table(points) - wanted) ** 2).sum() / (table(points) ** 2).sum()))

    assert found.stress == pytest.approx(stress(found.points))
    assert 0.05 < found.stress < stress(classical(wanted))


def test_negative_distances_count_as_none_and_equal_things_fall_together() -> None:
    wanted = np.array([[0, -0.2, 1, 1], [-0.2, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0.0]])
    points = scaled(wanted).points
    assert np.linalg.norm(points[0] - points[1]) < 0.05
    assert scaled(np.zeros((4, 4))).points == pytest.approx(np.zeros((4, 2)))


# --- distances in bits ------------------------------------------------------------------------------------------------

CAST = (
    Character("cat", "nonhuman", ("You are a cat.", "Be a cat.", "Purr.")),
    Character("dog", "nonhuman", ("You are a dog.", "Be a dog.")),
    Character("crow", "nonhuman", ("You are a crow.", "Be a crow.", "Caw.")),
    Character("cow", "nonhuman", ("You are a cow.", "Be a cow.")),
)


def test_a_distance_is_what_the_definition_says(subject) -> None:
    questions = usual_questions(3)
    said = sample_replies(subject, CAST, questions, tokens=6, seed=1)
    assert {one.paraphrase for one in said if one.character == 0} == {0, 1, 2}
    losses = bits_lost(subject, CAST, questions, said)
    one = next(one for one in said if one.character == 0 and one.question == 1)
    row = losses.filter((pl.col("role") == "cat") & (pl.col("question") == questions[1].id))
    assert one.paraphrase == 1

    def bits(instruction: str) -> float:
        scores = subject.score([instructed(instruction, questions[1].text)], [one.reply.tokens])
        return scores.total[0] / len(one.reply.tokens) / np.log(2)

    # Sampled under the second wording, so it is read under another one: here the first (1 + 1 + 1 % 2 = 3 ≡ 0).
    itself = bits("You are a cat.")
    found = dict(row.select("reader", "bits").iter_rows())
    assert found["dog"] == pytest.approx(itself - bits("You are a dog."), abs=1e-4)
    assert found["crow"] == pytest.approx(itself - bits("You are a crow."), abs=1e-4)
    # The floor: what the wording that made it is ahead of the other one.
    assert found["cat"] == pytest.approx(bits("Be a cat.") - itself, abs=1e-4)
    assert row["n_tokens"].to_list() == [len(one.reply.tokens)] * 4


def test_a_reply_is_never_read_under_the_wording_that_made_it(subject) -> None:
    asked: list[tuple[str, str]] = []

    class Heard:
        def score(self, prompts, given, progress=None):
            from greenroom.subject import Scores

            asked.extend((prompt[0]["content"], prompt[1]["content"]) for prompt in prompts)
            return Scores([0.0] * len(given), [], [])

    questions = usual_questions(4)
    said = sample_replies(subject, CAST, questions, tokens=2, seed=2)
    bits_lost(Heard(), CAST, questions, said)  # type: ignore[arg-type]
    rows = iter(asked)
    for one in said:
        read = [next(rows)[0] for _ in range(len(CAST) + 1)]
        made = CAST[one.character].instructions[one.paraphrase]
        assert read.count(made) == 1
        assert read[-1] == made


def test_the_map_is_symmetrised_by_the_mean() -> None:
    names = ["a", "b", "c", "d"]
    rows = [
        {"role": one, "reader": other, "question": f"q{number}", "bits": float(ord(one) + 2 * ord(other) + number), "n_tokens": 4}
        for one in names for other in names for number in range(4)
    ]  # fmt: skip
    found = behavioural_map(pl.DataFrame(rows))
    assert found.lost[0, 1] == pytest.approx(97 + 196 + 1.5)
    assert found.distances[0, 1] == found.distances[1, 0] == pytest.approx((97 + 196 + 98 + 194) / 2 + 1.5)
    assert np.diag(found.distances) == pytest.approx(0.0)
    assert found.floor[2] == pytest.approx([3 * 99 + 1.5, 3 * 99 + 0.0, 3 * 99 + 3.0], abs=1.0)
    test, apart = compared(found, {name: np.array([float(ord(name))]) for name in names})
    assert apart[0, 3] == pytest.approx(3.0)
    assert test.n == 4
    with pytest.raises(DirectionError, match="at least 4"):
        behavioural_map(pl.DataFrame(rows).filter(pl.col("role") < "d"))


def test_reliability_is_high_for_the_same_and_none_for_noise() -> None:
    rng = np.random.default_rng(6)
    names, apart = list("abcdefgh"), table(rng.normal(size=(8, 2)))

    def losses(noise: float, signal: float) -> pl.DataFrame:
        return pl.DataFrame(
            [
                {"role": one, "reader": other, "question": f"q{number}", "bits": signal * apart[row, column] + noise * rng.normal()}
                for row, one in enumerate(names) for column, other in enumerate(names) for number in range(6)
            ]
        )  # fmt: skip

    sure = split_half(losses(0.1, 1.0), names)
    assert sure is not None
    assert sure > 0.9
    noisy = split_half(losses(1.0, 0.0), names)
    assert noisy is None or noisy < 0.7
    assert split_half(losses(0.1, 1.0).filter(pl.col("question") < "q3"), names) is None


def test_the_usual_cast_has_the_default_character_and_all_kinds() -> None:
    characters = usual_characters(24)
    assert len(characters) == 24
    assert characters[0].name == "default"
    assert len({one.kind for one in characters}) == 7
    assert all(len(set(one.instructions)) > 1 and all(one.instructions) for one in characters)
    assert len({question.id for question in usual_questions(20)}) == 20


# --- the run ----------------------------------------------------------------------------------------------------------


def results_of(folder: Path) -> Results:
    found = RunResults.of(folder).study("behavioural_map")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def run(subject, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENROOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("runs") / "map"
        yield map_behaviour(subject, folder, roles=5, questions=2, tokens=6)


def test_a_run_leaves_tables_measures_a_report_and_shared_results(run, subject) -> None:
    numbers = run.summary["results"]["behavioural_map"]["maps"]
    assert (numbers["n_roles"], numbers["n_replies"], numbers["split_half"]) == (5, 10, None)
    assert run.table("pairs").height == 25
    (primary,) = [one for one in run.summary["measures"] if one["primary"]]
    assert (primary["name"], primary["estimate"], primary["p"]) == (
        "mantel_r",
        numbers["mantel_r"],
        numbers["mantel_p"],
    )
    assert (primary["grade"], primary["reason"][:20]) == ("C", "Fewer than four ques")
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert '<section id="behavioural-map"' in page
    assert "greenroom map --behaviour tiny-llama --roles 5 --questions 2 --tokens 6 --dtype float32 --seed 0" in page
    assert (shared_results.place(subject.fingerprint, "behavioural_map") / "results.json").is_file()
    assert len(str(run).splitlines()) <= 24


def test_an_interrupted_run_goes_on_and_ends_the_same(run, subject, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    calls = 0
    honest = subject.score

    def failing(*given, **named):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return honest(*given, **named)

    monkeypatch.setattr(subject, "score", failing)
    arguments = {"roles": 5, "questions": 2, "tokens": 6}
    with pytest.raises(KeyboardInterrupt):
        map_behaviour(subject, tmp_path / "again", **arguments)
    map_behaviour(subject, tmp_path / "again", **arguments)
    assert calls == 3  # the first question was not read twice
    assert differences(run.path, tmp_path / "again") == []


@pytest.mark.parametrize(
    ("given", "told"),
    [({"roles": 3}, "roles is 3"), ({"questions": 0}, "questions is 0"), ({"tokens": 1}, "tokens is 1"),
     ({"questions": 46}, "less than or equal to 45")],
)  # fmt: skip
def test_too_little_or_too_much_is_one_line(subject, tmp_path: Path, given: dict[str, int], told: str) -> None:
    with pytest.raises(GreenroomError, match=told):
        map_behaviour(subject, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_the_most_questions_leave_those_of_the_activation_map() -> None:
    most = Characters.model_fields["questions"].metadata[-1].le
    asked = usual_questions(10_000)
    assert len(asked) == most + ACTIVATION_QUESTIONS


def test_replies_are_read_at_the_axis_given_else_at_this_runs_own(subject, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    run: Any = SimpleNamespace(path=tmp_path, advance=None)

    def found(**given: Any) -> tuple[int, Any]:
        job = Job("eval", ("behavioural_map",), given=given)
        return Work(run, "behavioural_map", 0, {"behavioural_map": Characters()}, job, subject).reading_block()

    assert found() == (2 * subject.layers // 3, None)
    random_direction(subject, 3).save(tmp_path / AXIS)
    assert found()[0] == 3
    given = random_direction(subject, 1)
    assert found(axis=given) == (1, given)


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agreeing(subject, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, planted():
        patch.setenv("GREENROOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("runs") / "planted"
        yield map_behaviour(subject, folder, tokens=4, axis=planted_axis(subject))


def test_planted_agreement_is_found_and_said(agreeing) -> None:
    results = results_of(agreeing.path)
    (chapter,) = study_named("behavioural_map").chapters(results)
    check_chapter(chapter)
    row = results.measure("mantel_r")
    assert row["estimate"] > 0.9
    assert row["low"] < row["estimate"] < row["high"]
    assert row["grade"] == chapter.grade == "A"
    assert chapter.headline.startswith("What tiny-llama says as its characters agrees")
    assert "Spearman–Brown" in chapter.finding


def test_intervals_of_the_table_are_those_of_the_measures(agreeing) -> None:
    results = results_of(agreeing.path)
    (chapter,) = study_named("behavioural_map").chapters(results)
    table = chapter.exhibits[0].table
    shown = {row[0]: row for row in table.rows}
    at = table.headings.index("other wording, bits")
    for row in results.series("by_role", "role").to_dicts():
        name = {"default": "default assistant"}.get(row["role"], row["role"].replace("_", " "))
        assert shown[name][at : at + 3] == tuple(f"{row[end]:.2f}" for end in ("estimate", "low", "high"))
        assert row["n"] == agreeing.table("replies").filter(role=row["role"]).height
        assert row["grade"] == "C"


def test_where_halves_of_the_questions_disagree_nothing_is_claimed(subject, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    with planted(0.0, seed=1):
        run = map_behaviour(subject, tmp_path / "run", tokens=4, questions=4, roles=8)  # no axis either
    results = results_of(run.path)
    row = results.measure("mantel_r")
    assert (row["grade"], row["estimate"], row["low"]) == ("void", None, None)
    (chapter,) = study_named("behavioural_map").chapters(results)
    check_chapter(chapter)
    assert chapter.finding.startswith("Distances in words could not be measured")
    assert chapter.exhibits[0].panels[2].void == row["reason"]
    assert "correlation –" in chapter.exhibits[0].caption
