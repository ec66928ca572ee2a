"""Archetypes: mixtures and sparse factors find what was planted and nothing else, and the run on a tiny random model."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file
from scipy import stats

from greenroom.directions.archetypes import Archetypes, ReplyVectors, reproducible, search
from greenroom.directions.portraits import portraits
from greenroom.errors import GreenroomError
from greenroom.measures.mixture import adjusted_rand, choose_count, fit_mixture
from greenroom.measures.sparse_factors import SPARSITY, encode, fit_factors, matched
from greenroom.personas import library
from greenroom.report.results import Results, RunResults
from greenroom.runs import shared_results
from greenroom.runs.tables import differences
from greenroom.studies import study_named
from greenroom.studies.archetypes import find_archetypes, stages
from greenroom.studies.running import measure
from greenroom.studies.study import Job
from greenroom.subject import tiny
from maps_fixture import check_chapter, planted_axis
from maps_fixture import planted as planted_replies

HIDDEN, QUESTIONS = 24, 8


# --- mixtures ---------------------------------------------------------------------------------------------------------


def clouds(count: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres, of = rng.normal(size=(count, 6)) * apart, np.arange(60) % count
    return centres[of] + rng.normal(size=(60, 6)), of


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_number_of_clusters_is_the_planted_one(count: int) -> None:
    values, of = clouds(count, 4.0)
    choice = choose_count(values, (1, 2, 3, 4, 5), repeats=1)
    assert [one.count for one in choice if one.chosen] == [count]
    assert adjusted_rand(fit_mixture(values, count).members(values), of) > 0.95 or count == 1


def test_one_cluster_is_a_plain_gaussian() -> None:
    values, _ = clouds(1, 1.0)
    fit = fit_mixture(values, 1)
    wanted = stats.multivariate_normal(values.mean(axis=0), np.diag(values.var(axis=0))).logpdf(values)
    assert fit.log_density(values) == pytest.approx(wanted)


def test_more_clusters_fit_better_and_too_many_are_refused() -> None:
    values, _ = clouds(3, 2.0)
    fits = [fit_mixture(values, count).log_density(values).sum() for count in (1, 3, 6)]
    assert fits == sorted(fits)
    with pytest.raises(ValueError, match="expected between 1"):
        fit_mixture(values[:4], 5)


def test_the_rand_index_by_hand() -> None:
    one = np.array([0, 0, 0, 1, 1, 1])
    assert adjusted_rand(one, np.array([2, 2, 2, 0, 0, 0])) == 1.0
    # Pairs together in both: 2; in each: 6 and 3 of 15. (2 − 1.2) / (4.5 − 1.2).
    assert adjusted_rand(one, np.array([0, 0, 1, 1, 2, 2])) == pytest.approx(0.8 / 3.3)
    rng = np.random.default_rng(0)
    by_chance = [adjusted_rand(rng.integers(3, size=60), rng.integers(4, size=60)) for _ in range(200)]
    assert abs(np.mean(by_chance)) < 0.01


# --- sparse factors ---------------------------------------------------------------------------------------------------


def test_planted_atoms_are_found_with_their_codes() -> None:
    rng = np.random.default_rng(1)
    atoms = rng.normal(size=(4, 12))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = np.maximum(rng.normal(size=(300, 4)) - 0.8, 0) * 3
    fit = fit_factors(codes @ atoms + 0.1 * rng.normal(size=(300, 12)), 4)
    cosine, partner = matched(atoms, fit.atoms)
    assert cosine.min() > 0.97
    assert sorted(partner) == [0, 1, 2, 3]
    assert np.linalg.norm(fit.atoms, axis=1) == pytest.approx(np.ones(4))


def test_codes_are_the_optimum_of_what_they_minimise() -> None:
    rng = np.random.default_rng(2)
    atoms = rng.normal(size=(5, 8))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    values = rng.normal(size=(20, 8))
    codes = encode(values, atoms, steps=2000)
    price = SPARSITY * np.median(np.linalg.norm(values, axis=1))
    slope = (codes @ atoms - values) @ atoms.T + price
    assert (codes >= 0).all()
    assert slope[codes > 1e-9] == pytest.approx(0.0, abs=1e-6)
    assert (slope[codes <= 1e-9] >= -1e-6).all()


def test_an_atom_without_a_partner_is_marked() -> None:
    cosine, partner = matched(np.eye(3), np.eye(3)[[2, 0]])
    assert cosine.tolist() == [1.0, -1.0, 1.0]
    assert partner.tolist() == [1, -1, 0]


# --- the search -------------------------------------------------------------------------------------------------------


def planted(strength: float, noise: float = 1.0, seed: int = 0, manners: int = 3) -> ReplyVectors:
    """48 roles that mix planted manners, four Jungian ones and the default character, all on eight questions."""
    rng = np.random.default_rng(seed)
    atoms = np.linalg.qr(rng.normal(size=(HIDDEN, HIDDEN)))[0][:manners]
    names = [f"role_{index}" for index in range(48)]
    codes = {name: strength * np.eye(manners)[index % manners] for index, name in enumerate(names)}
    codes |= {f"jung_{index}": strength * np.eye(manners)[index % manners] for index in range(4)}
    codes |= {"default": np.zeros(manners)}
    asked = {f"q{index}": 5 * rng.normal(size=HIDDEN) for index in range(QUESTIONS)}
    cells = [(name, question) for name in codes for question in asked]
    values = np.stack(
        [codes[name] @ atoms + asked[question] + noise * rng.normal(size=HIDDEN) for name, question in cells]
    )
    role, question = (np.array(column) for column in zip(*cells, strict=True))
    return ReplyVectors(values, role, question, tuple(names))


SIGNAL = 1 - 1 / 3  # of a squared strength: what three equally common manners leave without their mean


def explainable(found: Archetypes, strength: float, roles: int) -> tuple[float, float]:
    """Bounds of the share of variance explained of the other half of the questions, within three standard errors.

    At most all but the noise of that half; coded from noisy means, at most as much noise again for every factor.
    """
    signal, components = SIGNAL * strength**2, len(found.space.components)
    noise = components / (QUESTIONS / 2)
    fitted = noise * (1 + len(found.of("factor")) / components)
    error = 3 * np.sqrt(2 / (2 * roles * components))  # of a mean square over both halves
    return 1 - fitted * (1 + error) / (signal + noise), 1 - noise * (1 - error) / (signal + noise)


def test_planted_manners_are_found_counted_and_stable() -> None:
    found = search(planted(3.0), resamples=8)
    factors, clusters = found.of("factor"), found.of("cluster")
    assert len(clusters) == 3
    assert all(one.stable and one.stability > 0.95 for one in clusters)
    stable = [one for one in factors if one.stable]
    assert len(stable) >= 3
    members = {frozenset(np.flatnonzero(one.strength > 0.5 * one.strength.max()) % 3) for one in stable[:3]}
    assert members == {frozenset({0}), frozenset({1}), frozenset({2})}
    low, high = explainable(found, 3.0, roles=48)
    assert low < next(choice.explained for choice in found.factor_choice if choice.chosen) < high


def test_noise_has_no_clusters_and_explains_nothing() -> None:
    found = search(planted(0.0), resamples=8)
    assert found.of("cluster") == []
    assert max(choice.explained for choice in found.factor_choice) < 0.05
    assert not any(one.stable for one in found.of("factor"))


def test_what_a_question_is_about_does_not_count() -> None:
    plain = planted(2.0)
    shift = {
        question: 50 * np.random.default_rng(index).normal(size=HIDDEN)
        for index, question in enumerate(np.unique(plain.question))
    }
    moved = dataclasses.replace(plain, values=plain.values + np.stack([shift[question] for question in plain.question]))
    one, other = search(plain, resamples=2), search(moved, resamples=2)
    assert [a.name for a in one.archetypes] == [a.name for a in other.archetypes]
    assert np.abs(one.roles) == pytest.approx(np.abs(other.roles), abs=1e-6)


def test_jung_takes_no_part_in_the_search() -> None:
    plain = planted(2.0)
    values = plain.values.copy()
    values[np.char.startswith(plain.role, "jung")] *= -7
    one, other = search(plain, resamples=2), search(dataclasses.replace(plain, values=values), resamples=2)
    assert all(np.array_equal(a.direction, b.direction) for a, b in zip(one.archetypes, other.archetypes, strict=True))


def test_too_few_roles_or_questions_are_refused() -> None:
    plain = planted(1.0)
    with pytest.raises(ValueError, match="at least 10 roles"):
        search(dataclasses.replace(plain, named=plain.named[:6]), resamples=2)


def test_portraits_name_the_roles_replies_and_archetypes_that_show_it() -> None:
    material = planted(3.0)
    found = search(material, resamples=4)
    texts = [f"{role} says {question}" for role, question in zip(material.role, material.question, strict=True)]
    kinds = {
        name: "abc"[int(name.split("_")[1]) % 3] if "_" in name else "default" for name in np.unique(material.role)
    }
    made = portraits(
        material, found, texts, {f"q{index}": f"Question {index}?" for index in range(QUESTIONS)}, kinds,
        [f"jung_{index}" for index in range(4)], "default", np.ones(HIDDEN),
    )  # fmt: skip
    # The length of a mean over eight replies, with as much noise as three standard deviations allow.
    signal, components = SIGNAL * 3.0**2, len(found.space.components)
    least = np.sqrt(signal / (signal + (components + 3 * np.sqrt(2 * components)) / QUESTIONS))
    frame = made.tables["archetypes"]
    for row in frame.filter("stable").head(3).to_dicts():
        assert row["kind_share"] == 1.0
        assert row["jungian"].startswith("jung_")
        assert kinds[row["jungian"]] == kinds[row["nearest_role"]] == row["kind"]
        assert row["jungian_cosine"] > least
        # Every third random direction of so simple a spread points to one of the three manners, too.
        assert 0 < row["jungian_p"] <= 1
    replies = made.tables["replies"]
    assert replies.filter(pl.col("role").str.starts_with("jung") | (pl.col("role") == "default")).is_empty()
    assert replies.group_by("archetype", "role").len()["len"].max() <= 2
    assert all(row["reply"].startswith(row["role"]) for row in replies.to_dicts())
    assert made.numbers["recurring_factors"] == made.numbers["stable_factors"] >= 3
    assert made.numbers["kinds_rand"] == pytest.approx(1.0)
    assert made.numbers["kinds_rand_p"] < 0.01
    low, high = explainable(found, 3.0, roles=4)
    assert low < made.numbers["explained_jungian"] < high


def test_what_a_single_role_does_is_stable_but_does_not_recur() -> None:
    material = planted(3.0)
    alone = np.where((material.role == "role_0")[:, None], 15 * np.eye(HIDDEN)[0], 0.0)
    material = dataclasses.replace(material, values=material.values + alone)
    found = search(material, resamples=4)
    kinds = dict.fromkeys(material.role.tolist(), "everyday")
    made = portraits(
        material, found, material.role.tolist(), {f"q{index}": "?" for index in range(QUESTIONS)}, kinds, [], "default", None
    )  # fmt: skip
    own = made.tables["archetypes"].filter((pl.col("method") == "factor") & (pl.col("members") == "role_0"))
    assert own["stable"].to_list() == [True]
    assert made.numbers["recurring_factors"] == made.numbers["stable_factors"] - 1


def test_what_halves_of_the_questions_share_is_the_signal() -> None:
    rng = np.random.default_rng(3)
    signal = rng.normal(size=(400, 1, 5))
    assert reproducible(signal + np.zeros((400, 8, 5))) == pytest.approx(1.0)
    assert reproducible(signal + 2 * rng.normal(size=(400, 8, 5))) == pytest.approx(0.5, abs=0.05)  # 1 beside 4 / 4
    assert abs(reproducible(rng.normal(size=(400, 8, 5)))) < 0.05


# --- the library's archetypes -----------------------------------------------------------------------------------------


def test_jungs_archetypes_are_roles_that_no_cast_has() -> None:
    every, cast = library.archetypes(), {role.name for role in library.roles()}
    assert len(every) == len({role.name for role in every}) >= 25
    assert all(role.kind == "archetype" for role in every)
    own = [role for role in every if role.name not in cast]
    assert len(own) == 15
    texts = [text for role in library.roles() for text in role.instructions]
    for role in own:
        assert len(role.instructions) >= 3
        for text in role.instructions:
            assert 10 <= len(text.split()) <= 45, text
            assert role.name.replace("_", " ") in text.lower(), text
            assert not re.search(r"\bI am\b|\bI'm\b", text)
            assert text not in texts


# --- the run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


def results_of(folder: Path) -> Results:
    found = RunResults.of(folder).study("archetypes")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def run(subject, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENROOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield find_archetypes(subject, tmp_path_factory.mktemp("runs") / "found", questions=3, tokens=4, resamples=3)


def test_a_run_leaves_tables_vectors_measures_a_report_and_shared_results(run, subject) -> None:
    numbers = run.summary["results"]["archetypes"]["search"]
    assert numbers["n_roles"] == len([role for role in library.roles() if role.kind != "archetype"])
    frame = run.table("archetypes")
    vectors = load_file(run.path / "directions" / "archetypes.safetensors")
    assert set(vectors) == set(frame["archetype"])
    assert all(np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5) for vector in vectors.values())
    (primary,) = [one for one in run.summary["measures"] if one["primary"]]
    assert (primary["name"], primary["estimate"]) == ("recurring_factors", numbers["recurring_factors"])
    assert (primary["grade"], primary["reason"][:20]) == ("C", "Fewer than four ques")
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert '<section id="archetypes"' in page
    assert "greenroom archetypes tiny-llama --questions 3 --tokens 4 --resamples 3 --dtype float32 --seed 0" in page
    unstable = frame.filter(~pl.col("stable"))
    assert page.count("unstable, ") == unstable.height
    assert (shared_results.place(subject.fingerprint, "archetypes") / "results.json").is_file()
    assert len(str(run).splitlines()) <= 24


def test_an_interrupted_search_goes_on_without_asking_again(run, subject, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stages, "reply", lambda *_: pytest.fail("asked again"))
    shutil.copytree(run.path, tmp_path / "again")
    manifest = json.loads((tmp_path / "again" / "run.json").read_text())
    for table in manifest["stages"].pop("archetypes/search")["tables"]:
        study, _, name = table.partition("/")
        (tmp_path / "again" / study / "tables" / f"{name}.parquet").unlink()
    (tmp_path / "again" / "run.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    find_archetypes(subject, tmp_path / "again", questions=3, tokens=4, resamples=3)
    assert differences(run.path, tmp_path / "again") == []


def test_a_finished_run_is_not_run_again(run, subject, monkeypatch) -> None:
    monkeypatch.setattr(stages, "reply", lambda *_: pytest.fail("asked again"))
    again = find_archetypes(subject, run.path, questions=3, tokens=4, resamples=3)
    assert again.summary == run.summary


@pytest.mark.parametrize(("given", "told"), [({"questions": 1}, "questions is 1"), ({"tokens": 2}, "tokens is 2")])
def test_too_little_is_one_line(subject, tmp_path: Path, given: dict[str, int], told: str) -> None:
    with pytest.raises(GreenroomError, match=told):
        find_archetypes(subject, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(subject, tmp_path_factory):
    """A search among planted manners, and the shared results it leaves."""
    with pytest.MonkeyPatch.context() as patch, planted_replies():
        patch.setenv("GREENROOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield find_archetypes(
            subject, tmp_path_factory.mktemp("runs") / "planted", questions=8, resamples=8, axis=planted_axis(subject)
        )


def test_planted_manners_are_said_drawn_and_quoted(found) -> None:
    results = results_of(found.path)
    (chapter,) = study_named("archetypes").chapters(results)
    check_chapter(chapter)
    count = results.measure("recurring_factors")
    assert count["estimate"] >= 4
    assert count["grade"] == chapter.grade == "A"
    assert chapter.headline.startswith(f"{count['estimate']:.0f} manners recur")
    assert {quote.role for quote in chapter.quotes}
    assert any("3 replies were empty" in note for note in chapter.notes)


def test_every_archetype_has_a_card_and_unstable_ones_say_so(found) -> None:
    frame = found.table("archetypes")
    (chapter,) = study_named("archetypes").chapters(results_of(found.path))
    assert chapter.open_table is not None
    names = [row[0] for row in chapter.open_table.rows]
    assert len(set(names)) == frame.height
    assert sum("unstable" in name for name in names) == frame.filter(~pl.col("stable")).height


def test_stability_and_scores_are_measures_and_no_other_interval_is_shown(found) -> None:
    results = results_of(found.path)
    frame, stability = found.table("archetypes"), results.series("stability", "archetype")
    assert stability["archetype"].to_list() == frame["archetype"].to_list()
    assert stability["low"].to_list() == pytest.approx(frame["stability_low"].to_list())
    assert [grade == "A" for grade in stability["grade"]] == frame["stable"].to_list()
    scores, choice = results.series("score", "method", "count"), found.table("choice")
    assert scores.select("method", "count").equals(choice.select("method", "count"))
    assert (scores["high"] - scores["low"]).to_list() == pytest.approx((2 * choice["behind_se"]).to_list())
    (chapter,) = study_named("archetypes").chapters(results)
    table = chapter.exhibits[0].table
    first = frame.sort("stable", descending=True, maintain_order=True).row(0, named=True)
    assert table.rows[0][table.headings.index("tenth percentile")] == f"{first['stability_low']:.2f}"


def test_without_an_axis_the_roles_are_drawn_in_one_colour(subject, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    with planted_replies(0.0):
        run = find_archetypes(subject, tmp_path / "run", questions=4, resamples=2)
    (chapter,) = study_named("archetypes").chapters(results_of(run.path))
    check_chapter(chapter)
    assert chapter.exhibits[1].panels[0].spec["data"][-1]["marker"]["color"] == "var(--stone)"
    assert chapter.headline.startswith("No manner that tiny-llama shows")


# --- shared results ---------------------------------------------------------------------------------------------------


def test_a_later_run_of_the_same_weights_shows_what_was_found(found, subject, tmp_path) -> None:
    size = study_named("behavioural_map").sizes["quick"].model_copy(update={"questions": 1, "tokens": 4})
    job = Job("audit", ("behavioural_map",), sizes={"behavioural_map": size}, kept=("archetypes",))
    run = measure(job, subject, tmp_path / "run")
    assert run.summary["studies"] == ["behavioural_map", "archetypes"]
    assert [row["name"] for row in run.summary["measures"] if row["primary"]] == ["mantel_r", "recurring_factors"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    section = re.search(r'<section id="archetypes".*?</section>', page, flags=re.DOTALL)
    assert section
    assert "kept since" in section[0]


def test_a_quick_look_does_not_take_the_place_of_a_whole_study(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))
    assert shared_results.load("abc", "archetypes", tmp_path / "other") == []
    for seed, replies in ((1, 300), (2, 24), (3, 300)):
        folder = shared_results.save(run.path, "abc", "archetypes", seed=seed, replies=replies)
        # Half a copy of a process that was killed must not become the next result.
        (folder.with_name("archetypes.new") / "tables").mkdir(parents=True, exist_ok=True)
        assert json.loads((folder / "kept.json").read_text())["seed"] == (1 if seed == 2 else seed)
    assert shared_results.load("other", "archetypes", tmp_path / "other") == []
    rows = shared_results.load("abc", "archetypes", tmp_path / "other")
    assert {row["study"] for row in rows} == {"archetypes"}
    assert (tmp_path / "other" / "archetypes" / "tables" / "arrows.parquet").is_file()
