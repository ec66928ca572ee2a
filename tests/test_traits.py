"""Trait vectors: methods that find what was planted, filters by their rule, checkers, rulers, monitoring, the verb."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import torch
import yaml

from frontier_fixture import axis_at_first
from greenroom.cli import main
from greenroom.directions import stored, trait_vector
from greenroom.directions.contrast import (
    METHODS,
    cross_projected,
    folds,
    selection_auc,
    shown_by_projection,
    shown_by_score,
)
from greenroom.directions.dose import Dose, dose_response, random_like
from greenroom.directions.evidence import random_auc
from greenroom.directions.monitoring import correlation, monitor
from greenroom.directions.poles import Poles, play_poles, told, wording
from greenroom.directions.rollouts import Rollouts, default_token_projections
from greenroom.directions.rulers import stored_ruler
from greenroom.directions.scorers import CheckerScorer, ColdScorer, checker_of, scorer_for
from greenroom.directions.traits import choose_layer
from greenroom.errors import DirectionError, LibraryError
from greenroom.measures.intervals import Interval
from greenroom.personas import library
from greenroom.personas.describe import authored, described, name_of, save_trait
from greenroom.subject import Reply, tiny


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


@pytest.fixture
def short(monkeypatch, tmp_path):
    """A cache of its own, and little to calibrate on."""
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    few = functools.partial(default_token_projections, replies=8, tokens=4)
    monkeypatch.setattr("greenroom.directions.traits.default_token_projections", few)
    monkeypatch.setattr("greenroom.directions.rulers.default_token_projections", few)
    return tmp_path


def planted(strength: float, *, questions: int = 20, pairs: int = 2, seed: int = 0, flipped: float = 0.0) -> Poles:
    """Poles that lie `strength` apart along the first coordinate at block 5; half of the questions held out.

    flipped: share of the pairs in which nobody heeds the instruction.
    """
    rng = np.random.default_rng(seed)
    pair = np.repeat(np.arange(questions * pairs), 2)
    question, positive = pair // pairs, np.tile([True, False], questions * pairs)
    values = rng.normal(size=(3, len(pair), 12)).astype(np.float32)
    heeded = np.repeat(rng.random(questions * pairs) >= flipped, 2)
    values[1, :, 0] += np.where(positive & heeded, strength, 0.0)
    # The question moves the reply far along a coordinate of its own: noise that pairs share.
    values[1, :, 1] += rng.normal(size=questions)[question] * 10
    replies = [
        Reply("YES" if up and heed else "no", [1], "stop", [0.0]) for up, heed in zip(positive, heeded, strict=True)
    ]
    rollouts = Rollouts([[]] * len(pair), replies, (4, 5, 6), torch.from_numpy(values), list(range(len(pair))), 0)
    return Poles(torch.from_numpy(values), (4, 5, 6), positive, question, question % 2 == 1, rollouts, pair)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_planted_block_and_coordinate(method):
    found = choose_layer(planted(6.0), seed=0, method=method)
    assert found.layer == 5
    assert found.auc.estimate > 0.95
    vector = found.vectors[1]
    assert float(vector.norm()) == pytest.approx(1.0, abs=1e-5)
    assert float(vector[0]) > 0.8  # and its sign is that of the positive pole


@pytest.mark.parametrize("method", METHODS)
def test_where_nothing_is_planted_the_held_out_auc_is_at_chance(method):
    areas = [choose_layer(planted(0.0, seed=seed), seed=0, method=method).auc.estimate for seed in range(8)]
    assert abs(np.mean(areas) - 0.5) < 0.1


def test_the_first_component_of_differences_is_that_of_repeng():
    poles = planted(4.0)
    _, make, _ = METHODS["pca"]
    found = make(poles.values.numpy(), poles.positive, poles.pair)[1]
    differences = poles.values[1][poles.positive].numpy() - poles.values[1][~poles.positive].numpy()
    values, vectors = np.linalg.eigh(differences.T @ differences)
    assert values[-1] > values[-2]
    expected = vectors[:, -1] * np.sign(vectors[:, -1] @ differences.mean(axis=0))
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_logistic_probe_is_at_the_optimum_of_its_loss():
    poles = planted(2.0)
    values, positive = poles.values[1].numpy().astype(float), poles.positive
    _, make, _ = METHODS["logistic"]
    found = make(poles.values.numpy(), positive, poles.pair)[1]
    centred = values - values.mean(axis=0)
    # In the span's own coordinates the entries are scaled to a mean square of one.
    scale = np.linalg.svd(centred, compute_uv=False)
    size = np.sqrt((scale**2).sum() / len(values) / len(scale))

    def loss(weights, intercept):
        margins = np.where(positive, 1, -1) * (centred / size @ weights + intercept)
        share = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())
        return (share * np.log1p(np.exp(-margins))).sum() + 0.05 * (weights**2).sum()

    best = min(loss(found, intercept) for intercept in np.linspace(-1, 1, 201))
    for step in np.eye(12) * 0.05:
        assert min(loss(found + step, intercept) for intercept in np.linspace(-1, 1, 201)) > best - 1e-6


def test_folds_hold_every_question_once_and_no_reply_meets_its_own_question():
    poles = planted(3.0)
    masks = folds(poles.question)
    assert np.sum(masks, axis=0).tolist() == [1] * len(poles.question)
    for mask in masks:
        assert not set(poles.question[mask]) & set(poles.question[~mask])


def test_the_selection_auc_is_pooled_over_folds_and_has_an_error():
    poles = planted(3.0)
    projected = cross_projected(poles.values.numpy(), poles.positive, poles.question, poles.pair, METHODS["mean"][1])
    areas, errors = selection_auc(projected, poles.positive, poles.question)
    assert int(areas.argmax()) == 1
    assert (errors >= 0).all()
    assert errors[1] < errors[0]
    with pytest.raises(DirectionError, match="poles has no replies"):
        selection_auc(projected, np.ones_like(poles.positive), poles.question)


def test_filters_keep_what_shows_the_contrast():
    positive = np.array([True, False, True, False, True, False])
    pair = np.array([0, 0, 1, 1, 2, 2])
    assert shown_by_score(np.array([3.0, 1, 1, 1, np.nan, 0]), positive, pair).tolist() == [True, True] + [False] * 4
    projected = np.array([1.0, -1.0, -2.0, 2.0, np.nan, -1.0])
    assert shown_by_projection(projected, positive).tolist() == [True, True, False, False, True, True]


@pytest.mark.parametrize("rule", ["projection", "checker"])
def test_a_filter_removes_replies_that_ignored_their_instruction(rule):
    poles = planted(8.0, questions=60, flipped=0.4)
    found = choose_layer(poles, seed=0, filter=rule, trait="shouting")
    kept = poles.part(held_out=False).only(found.shown)
    heeded = np.array([text == "YES" for text in kept.texts])
    assert found.filter == rule
    assert 0.1 < 1 - found.shown.mean() < 0.5
    assert heeded[kept.positive].mean() > 0.95
    # Held-out replies are never filtered: the 40 % that ignored it still cost AUC.
    assert found.auc.estimate < 0.9


def test_a_filter_that_would_leave_too_little_is_not_applied():
    found = choose_layer(planted(8.0, questions=8), seed=0, filter="checker", trait="french")
    assert found.shown.all()
    assert "fewer than" in found.filter


def test_random_directions_tell_planted_poles_apart_less_than_the_vector():
    poles = planted(6.0)
    found = choose_layer(poles, seed=0)
    assert random_auc(poles, 5, seed=0) < found.auc.estimate
    assert random_auc(poles, 5, seed=0) == random_auc(poles, 5, seed=0)


def test_every_question_meets_both_sides_of_its_pairs(subject):
    trait = library.trait("brevity")
    poles = play_poles(
        subject, [trait], layers=(1,), questions=4, held_out_questions=4, tokens=3, seed=0, repeats=2
    )[0]  # fmt: skip
    assert len(poles.positive) == 8 * 2 * 2
    assert sorted(np.unique(poles.pair, return_counts=True)[1].tolist()) == [2] * 16
    for number in np.unique(poles.pair):
        assert set(poles.positive[poles.pair == number]) == {True, False}
    prompt = poles.rollouts.prompts[0]
    assert prompt[-1]["content"].endswith(poles.asked[0])
    assert len(poles.part(held_out=True).asked) == 16


def test_an_instruction_stands_where_it_was_asked_for():
    assert told("Do it.", "Why?", "system")[0] == {"role": "system", "content": "Do it."}
    assert told("Do it.", "Why?", "user") == [{"role": "user", "content": "Do it.\n\nWhy?"}]
    assert len(told("Do it.", "Why?", "both")) == 2
    with pytest.raises(DirectionError, match="system, user, both"):
        told("Do it.", "Why?", "nowhere")  # type: ignore[arg-type]


# Checkers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trait", "more", "less"),
    [
        ("shouting", "THIS IS LOUD. 3 APPLES.", "This is not."),
        ("french", "Bonjour, il y a des chats dans le jardin.", "There are cats in the garden."),
        ("question_ending", "It is warm. Would you like some tea?", "Would you like some tea? Here it is."),
        ("question_ending", "Do you like it? I could", "I like it. Do you"),
        ("exclamation", "Wow! What a day!", "It costs 3.50. Fine."),
        ("listing", "Here they are:\n1. Milk\n2) Bread", "First milk, then 2 breads."),
        ("brevity", "Yes.", "Yes, and there are many reasons for it."),
        ("hedging", "Maybe it is. Perhaps not.", "It is. It is in May."),
        ("first_person_feelings", "I feel happy. I’m so glad. I'm excited!", "It is large. You feel it."),
    ],
)
def test_checkers_put_more_above_less(trait, more, less):
    check = checker_of(trait)
    assert check is not None
    assert check(more) > check(less)


def test_checkers_by_hand():
    shares = {name: checker_of(name) for name in library.checks()}
    assert shares["shouting"]("AB cd") == 0.5
    assert shares["listing"]("1. a\nb\n\n2. c\nd") == 0.5
    assert shares["exclamation"]("One! Two. Three! 4.5") == pytest.approx(2 / 3)
    assert shares["brevity"]("one two three four") == -2.0
    assert shares["french"]("il y a un chat") == pytest.approx(4 / 5)
    assert shares["hedging"]("Perhaps so. It is. It could be. No.") == 0.5
    assert all(check("") is None for check in shares.values())


def test_every_surface_trait_has_a_checker_and_no_other_trait_has():
    assert set(library.checks()) == {trait.name for trait in library.traits() if trait.kind == "surface"}
    assert checker_of("sycophancy") is None


# Scores ----------------------------------------------------------------------------------------------------------


def test_a_vector_brings_its_evidence_and_its_ruler(subject, short):
    trait = library.trait("warmth")
    direction = trait_vector(subject, "warmth", questions=4, tokens=4)
    told_of = direction.validity
    assert direction.recipe["wording"] == wording(trait)
    assert set(told_of["auc_by_layer"]) == {str(layer) for layer in direction.vectors}
    assert 0 <= told_of["cold_auc"] <= 1
    assert 0.3 < told_of["random_auc_p95"] <= 1
    assert 0.3 < told_of["random_cold_auc_p95"] <= 1
    assert len(told_of["most"]) == len(told_of["least"]) == 5
    assert told_of["most"][0]["sd"] >= told_of["most"][-1]["sd"] >= told_of["least"][0]["sd"]
    assert 0 <= direction.recipe["filtered_share"] < 1
    ruler = stored_ruler(subject, "warmth", wording(trait))
    assert ruler is not None
    assert ruler.recipe["reading"] == "cold"
    score = scorer_for(subject, direction)
    assert isinstance(score, ColdScorer)
    assert score.ruler.layer == ruler.layer
    # Another vector of the same model is a neighbour and a control.
    other = trait_vector(subject, "brevity", questions=4, tokens=4)
    assert set(other.validity["cosines"]) == set(other.validity["specificity"]) == {"warmth"}
    assert -1 <= other.validity["cosines"]["warmth"] <= 1


def test_a_vector_of_another_wording_is_built_again(subject, short):
    first = trait_vector(subject, "brevity", questions=4, tokens=4)
    assert trait_vector(subject, "brevity", questions=4, tokens=4).card() == first.card()
    trait = library.trait("brevity")
    edited = trait.model_copy(update={"pairs": trait.pairs[:3]})
    assert trait_vector(subject, edited, questions=4, tokens=4).recipe["wording"] != first.recipe["wording"]
    probe = trait_vector(subject, "brevity", questions=4, tokens=4, method="logistic")
    assert probe.name == "brevity.logistic"
    assert stored(subject, "brevity.logistic") is not None
    with pytest.raises(DirectionError, match="mean, last, pca, logistic"):
        trait_vector(subject, "brevity", method="magic")


def test_the_cold_score_reads_the_text_after_the_question_alone(subject):
    north = axis_at_first(subject)
    score = scorer_for(subject, north)
    question, reply = [{"role": "user", "content": "Who?"}], "It is me."
    told_so = [{"role": "system", "content": "You are a pirate."}, *question]
    first, second, nothing = score([question, told_so, question], [reply, reply, ""])
    assert first == pytest.approx(second, abs=1e-5)
    assert np.isnan(nothing)
    by_hand = subject.activations([[*question, {"role": "assistant", "content": reply}]], [1], "reply").values[0]
    assert first == pytest.approx(float(north.sd(by_hand)), abs=1e-4)


def test_scorers_by_kind(subject):
    assert isinstance(scorer_for(subject, "shouting"), CheckerScorer)
    assert scorer_for(subject, "shouting")([[]], ["ABC"]).tolist() == [1.0]
    with pytest.raises(LibraryError, match="no trait is called"):
        scorer_for(subject, "shoutin")


def test_dose_and_response(subject):
    north = axis_at_first(subject)
    found = dose_response(subject, north, scorer_for(subject, "brevity"), ["Who?", "What?"], repeats=2, tokens=4)
    assert len(found.scores) == 5
    assert random_like(north).vector().norm() == pytest.approx(1.0, abs=1e-5)
    assert random_like(north).steer(2.0).amount == north.steer(2.0).amount
    up = [Interval(float(value), value - 0.1, value + 0.1, 9) for value in range(3)]
    assert Dose((-1, 0, 1), tuple(up), Interval(2.0, 1.0, 3.0, 9)).monotone is True
    assert Dose((-1, 0, 1), tuple(up), Interval(2.0, -1.0, 3.0, 9)).monotone is False
    assert Dose((-1, 0, 1), tuple(up[::-1]), Interval(-2.0, -3.0, -1.0, 9)).monotone is False
    assert Dose((-1, 0, 1), (up[0], Interval(None, None, None, 0), up[2]), Interval(2.0, 1.0, 3.0, 9)).monotone is None


def test_correlation_within_types_does_not_see_what_lies_between_them():
    rng = np.random.default_rng(0)
    kinds = ["positive", "negative"] * 40
    between = np.where(np.array(kinds) == "positive", 5.0, -5.0)
    first, second = rng.normal(size=80) + between, rng.normal(size=80) + between
    clusters = np.repeat(np.arange(20), 4)
    pooled = correlation(first, second, clusters)
    within = correlation(first, second, clusters, kinds)
    assert pooled.estimate == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert pooled.low > 0.9
    assert abs(within.estimate) < 0.3
    assert within.low < within.estimate < within.high
    assert correlation(first, np.ones(80), clusters).estimate is None


def test_monitoring_has_three_prompt_types(subject, short):
    trait = library.trait("exclamation")
    found = monitor(subject, trait, axis_at_first(subject), scorer_for(subject, trait), repeats=1, tokens=4)
    assert set(found.by_type) == {"positive", "plain", "negative"}
    assert 0 < found.n <= 3 * 10
    assert json.dumps(found.plain())


# From a sentence -------------------------------------------------------------------------------------------------


def test_a_description_becomes_a_trait_that_yaml_holds(tmp_path):
    made = described("flatters the user even when they are wrong.", "contradicts the user")
    assert made.name == "flatters_the_user_even"
    assert all("flatters the user" in pair.positive and "contradicts the user" in pair.negative for pair in made.pairs)
    assert sum(question.held_out for question in made.questions) * 2 == len(made.questions)
    save_trait(made, tmp_path / "trait.yaml")
    assert library.trait(made.name, tmp_path / "trait.yaml") == made
    asked = {question.text for trait in library.traits() for question in trait.questions}
    asked |= {question.text for question in library.questions()}
    assert not asked & {question.text for question in made.questions}
    assert "opposite" in described("hums").negative
    for wrong in ("", "  . "):
        with pytest.raises(LibraryError, match="description is empty"):
            described(wrong)
    with pytest.raises(LibraryError, match="--name"):
        name_of("?!")


def author_that_says(monkeypatch, text: str) -> None:
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    output = ModelOutput.from_content("mockllm/model", text)
    output.usage = ModelUsage()  # mockllm would count tokens with an encoding from the network
    model = get_model("mockllm/model", custom_outputs=[output], memoize=False)
    monkeypatch.setattr("inspect_ai.model.get_model", lambda name: model)


def test_an_author_writes_pairs_and_questions(monkeypatch):
    written = {
        "positive": "gloating", "negative": "humble",
        "pairs": [{"positive": f"Gloat, way {i}.", "negative": f"Be humble, way {i}."} for i in range(6)],
        "questions": [f"What about {i}?" for i in range(20)],
    }  # fmt: skip
    author_that_says(monkeypatch, f"Here you are:\n```json\n{json.dumps(written)}\n```")
    made = authored("gloats", "mockllm/model", name="gloating")
    assert (made.positive, made.negative, len(made.pairs)) == ("gloating", "humble", 6)
    assert sum(question.held_out for question in made.questions) == 10


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("I cannot do that.", "without the JSON object"),
        ('{"pairs": []}', "makes no trait"),
        ("{broken}", "JSON object"),
    ],
)
def test_an_author_that_writes_no_trait_is_one_line(monkeypatch, said, complaint):
    author_that_says(monkeypatch, said)
    with pytest.raises(LibraryError, match=complaint) as raised:
        authored("gloats", "mockllm/model")
    assert "\n" not in str(raised.value)


# The verb --------------------------------------------------------------------------------------------------------


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["trait", *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_the_verb_builds_saves_and_prints(subject, short, monkeypatch, capsys):
    monkeypatch.setattr("greenroom.subject.load", lambda *_, **__: subject)
    trait_file = short / "pirate.yaml"
    asked = ("tiny", "piracy", "--describe", "talks like a pirate", "--opposite", "talks like a clerk")
    code, out, _ = run(capsys, *asked, "--save", str(trait_file), "--questions", "4", "--tokens", "4", "--json")
    assert code == 0
    card = json.loads(out)
    assert card["name"] == "piracy"
    assert card["validity"]["auc"] is not None
    assert yaml.safe_load(trait_file.read_text())["name"] == "piracy"
    code, out, _ = run(capsys, "tiny", "--file", str(trait_file), "--questions", "4", "--tokens", "4", "--plain")
    assert code == 0
    assert "held-out AUC" in out
    assert "talks like a pirate" in out
    # The ruler of a trait that is in no library was stored with its vector.
    direction = stored(subject, "piracy")
    assert isinstance(scorer_for(subject, direction), ColdScorer)
    assert scorer_for(subject, direction).ruler.recipe["reading"] == "cold"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("smollm2", "sycophanty"), "sycophancy"),
        (("smollm2",), "NAME of a library trait"),
        (("smollm2", "--opposite", "x"), "--describe"),
        (("smollm2", "brevity", "--describe", "is short"), "of its own"),
        (("smollm2", "Bad-Name", "--describe", "is short"), "old_sailor"),
        (("smollm2", "assistant_axis", "--describe", "is short"), "another direction"),
        (("smollm2", "brevity", "--method", "magic"), "mean, last, pca, logistic"),
        (("smollm2", "brevity", "--questions", "1"), "at least 2"),
        (("smollm2", "--file", "nowhere.yaml"), "no such file"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(arguments, complaint, capsys):
    code, out, error = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert complaint in error
    assert "Traceback" not in error
