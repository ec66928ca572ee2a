"""Directions: arithmetic by hand, files, and an axis that finds what was planted and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch

from greenroom.conversation import assistant, user
from greenroom.directions import Calibration, Direction, SignTest, assistant_axis, store, stored, trait_vector
from greenroom.directions.axis import READER_AXIS, axes_of, draft_axis, reading_block
from greenroom.directions.axis_validation import validate_axis
from greenroom.directions.cast import DEFAULT, Cast, Performance, perform, usual_cast
from greenroom.directions.cold import cold_places, cold_values
from greenroom.directions.persona_map import along_axis, places_along_axis
from greenroom.directions.persona_space import cold_space, persona_space, place_roles, place_roles_in_role_sd
from greenroom.directions.poles import Poles
from greenroom.directions.rollouts import Rollouts
from greenroom.directions.traits import choose_layer
from greenroom.errors import DirectionError
from greenroom.personas import Question, Role
from greenroom.subject import tiny


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


def direction(subject, **changes) -> Direction:
    vector = torch.zeros(subject.d_model)
    vector[0] = 1.0
    scale = Calibration.of(np.arange(12.0).reshape(4, 3))
    values = {
        "name": "north", "kind": "axis", "layer": 1, "vectors": {1: vector, 2: vector.roll(1)}, "calibration": {1: scale, 2: scale},
        "subject": subject.name, "fingerprint": subject.fingerprint, "sign_test": SignTest("north", "south", 2.0, -1.0),
        "validity": {"auc": 0.9},
    }  # fmt: skip
    return Direction(**{**values, **changes})


def test_calibration_by_hand():
    scale = Calibration.of(np.array([[0.0, 2.0], [4.0, 6.0], [8.0, 10.0]]))
    assert (scale.reply_mean, scale.token_mean, scale.n_replies, scale.n_tokens, scale.reply_tokens) == (
        5.0,
        5.0,
        3,
        6,
        2,
    )
    assert scale.reply_sd == 4.0
    assert scale.token_sd == pytest.approx(np.std([0, 2, 4, 6, 8, 10], ddof=1))
    assert scale.token_quantiles["p25"] == 2.5


def test_sd_is_zero_at_the_default_mean_and_strengths_are_in_reply_sd(subject):
    north = direction(subject)
    scale = north.scale()
    at_mean = torch.zeros(subject.d_model)
    at_mean[0] = scale.reply_mean
    assert float(north.sd(at_mean)) == pytest.approx(0.0)
    at_mean[0] += scale.reply_sd
    assert float(north.sd(at_mean)) == pytest.approx(1.0)
    assert north.steer(2.0).amount == pytest.approx(2 * scale.reply_sd)
    assert north.cap("default:p25").amount == scale.token_quantiles["p25"]
    assert north.cap(-1.0).amount == pytest.approx(scale.reply_mean - scale.reply_sd)
    assert north.ablate(layer=2).layer == 2
    with pytest.raises(DirectionError, match="default:pNN"):
        north.cap("default:p33")


def test_the_sign_cannot_be_confused(subject):
    with pytest.raises(DirectionError, match="points the wrong way"):
        direction(subject, sign_test=SignTest("north", "south", -1.0, 2.0))


def test_a_file_holds_everything_and_other_weights_are_refused(subject, tmp_path):
    north = direction(subject)
    north.save(tmp_path / "north.safetensors")
    again = Direction.load(tmp_path / "north.safetensors", subject)
    assert again.calibration == north.calibration
    assert again.sign_test == north.sign_test
    assert again.validity == north.validity
    assert all(torch.equal(again.vectors[layer], north.vectors[layer]) for layer in north.vectors)
    other = tiny("llama", seed=1)
    with pytest.raises(DirectionError) as refused:
        Direction.load(tmp_path / "north.safetensors", other)
    assert subject.fingerprint in str(refused.value)
    assert other.fingerprint in str(refused.value)
    assert Direction.load(tmp_path / "north.safetensors", other, force=True).name == "north"
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "north.safetensors").read_bytes()[:40])
    with pytest.raises(DirectionError, match="cannot be read"):
        Direction.load(tmp_path / "broken.safetensors")


def test_persona_space_equals_numpy():
    vectors = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    space = persona_space(vectors, vectors[0])
    centred = vectors.numpy() - vectors.numpy().mean(0)
    values = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    assert space.explained[:6] == pytest.approx(values[:6] / values.sum(), abs=1e-5)
    assert (space.coordinates(vectors[:1]) >= -1e-5).all()
    assert torch.allclose(space.components @ space.components.T, torch.eye(len(space.components)), atol=1e-5)


def test_roles_are_placed_in_persona_space_and_in_units_of_their_spread():
    drawn = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    vectors = dict(zip([DEFAULT, "a", "b", "c", "d", "e"], drawn, strict=True))
    placed = place_roles(vectors, 3)
    assert placed.places.columns == ["role", "pc1", "pc2", "pc3"]
    assert placed.places["role"].to_list() == list(vectors)
    spots = placed.places.drop("role").to_numpy()
    assert spots == pytest.approx(placed.space.coordinates(drawn)[:, :3].numpy(), abs=1e-6)
    assert (spots[0] >= 0).all()  # components are turned towards the default character
    scaled = place_roles_in_role_sd(vectors, 2)
    spots = scaled.places.drop("role").to_numpy()
    assert spots[1:].std(axis=0, ddof=1) == pytest.approx(1.0)
    assert scaled.space.coordinates(drawn).numpy() == pytest.approx(spots, abs=1e-5)
    narrow = place_roles({name: vector[:2] for name, vector in vectors.items()}, 3)
    assert narrow.places["pc3"].to_list() == [0.0] * 6


def test_persona_space_of_a_cast_is_made_once_for_these_weights(subject, tmp_path, monkeypatch):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    cast, played = usual_cast(every=30, questions=2, tokens=4), []

    def counted(*arguments, **named):
        played.append(arguments[0])
        return perform(*arguments, **named)

    monkeypatch.setattr("greenroom.directions.persona_space.perform", counted)
    first, again = (cold_space(subject, cast, 2, 2, seed=0) for _ in range(2))
    assert len(played) == 1
    assert again.places.equals(first.places)
    assert torch.equal(again.space.components, first.space.components)
    assert torch.equal(again.space.center, first.space.center)
    assert again.space.explained == pytest.approx(first.space.explained)
    # Another seed, block, cast, other weights, or edits are another space.
    cold_space(subject, cast, 2, 2, seed=1)
    cold_space(subject, cast, 1, 2, seed=0)
    cold_space(subject, dataclasses.replace(cast, tokens=5), 2, 2, seed=0)
    cold_space(tiny("llama", seed=1), cast, 2, 2, seed=0)
    with subject.intervene(direction(subject).steer(3.0)):
        cold_space(subject, cast, 2, 2, seed=0)
    assert len(played) == 6
    for kept in tmp_path.rglob("*.safetensors"):
        kept.write_bytes(b"broken")
    assert cold_space(subject, cast, 2, 2, seed=0).places.equals(first.places)


def test_a_cold_reading_knows_the_message_and_the_reply_alone(subject):
    north = direction(subject)
    reply = subject.generate([[{"role": "system", "content": "Be a cat."}, user("Who?")]], max_new_tokens=6)[0]
    by_hand = subject.activations([[user("Who?")]], [1, 2], "reply", replies=[reply]).values
    nothing = dataclasses.replace(reply, text="", tokens=[])
    read = cold_values(subject, [1, 2], ["Who?", "When?", "Who?"], [reply, nothing, reply])
    assert read.shape == (2, 3, subject.d_model)
    assert torch.allclose(read[:, [0, 2]], by_hand.expand(-1, 2, -1), atol=1e-5)
    assert read[:, 1].isnan().all()
    assert torch.equal(cold_values(subject, [1], ["Who?"], [reply.tokens])[0], by_hand[0])
    texts = cold_places(subject, north, ["Who?", "Who?"], ["It is me.", " \n"])
    told = subject.activations([[user("Who?"), assistant("It is me.")]], [1], "reply").values[0]
    assert texts == [pytest.approx(float(north.sd(told)), abs=1e-4), None]
    assert cold_places(subject, north, ["Who?"], [[]]) == [None]
    assert cold_values(subject, [1], [], []).shape == (1, 0, subject.d_model)


def test_a_performance_read_cold_is_the_same_replies(subject):
    cast = dataclasses.replace(usual_cast(every=60, tokens=4), questions=usual_cast().questions[:2])
    performance = perform(subject, cast, seed=0, layers=[1, -1])
    assert performance.layers == (1, subject.layers - 1)
    cold = performance.cold(subject, [2])
    assert (cold.layers, cold.frame is performance.frame) == ((2,), True)
    asked = [prompt[-1]["content"] for prompt in performance.rollouts.prompts]
    assert torch.equal(cold.values, cold_values(subject, [2], asked, performance.rollouts.replies))
    vectors = performance.role_vectors()
    assert list(vectors) == [DEFAULT, *(role.name for role in cast.roles)]
    own = torch.from_numpy((performance.frame["role"] == DEFAULT).to_numpy())
    assert torch.equal(vectors[DEFAULT], performance.values[:, own].mean(dim=1))


def test_places_along_the_axis_are_means_over_replies_in_sd(subject):
    north = direction(subject)
    scale = north.scale()
    replies = pl.DataFrame(
        {"role": ["a", "a", "b"], "question": ["q", "r", "q"], "projection_hot": [scale.reply_mean, scale.reply_mean + scale.reply_sd, 0.0],
         "projection_cold": [None, scale.reply_mean - scale.reply_sd, None]}
    )  # fmt: skip
    placed = along_axis(north, replies)
    assert placed["axis_sd"].to_list()[:2] == pytest.approx([0.0, 1.0])
    assert placed["axis_sd_cold"].to_list() == [None, pytest.approx(-1.0), None]
    rows = places_along_axis(pl.DataFrame({"role": ["a"], "pc1": [2.0]}), placed, seed=0).to_dicts()
    assert [(row["axis_sd"], row["n_replies"], row["pc1"]) for row in rows] == [(pytest.approx(0.5), 2, 2.0)]


def test_the_axes_of_a_subject_and_the_block_to_read_at(subject, tmp_path, monkeypatch):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    north = direction(subject)
    assert reading_block(subject) == (2 * subject.layers // 3, None)
    assert reading_block(subject, north) == (1, north)
    assert axes_of(subject, north) == (north, north)
    store(direction(subject, name="assistant_axis", layer=2))
    hot, cold = axes_of(subject)
    assert (hot.name, cold is hot, reading_block(subject)[0]) == ("assistant_axis", True, 2)
    store(direction(subject, name=READER_AXIS))
    assert axes_of(subject)[1].name == READER_AXIS


def staged(strength: float, roles: int = 24, questions: int = 8, seed: int = 0) -> tuple[Performance, Cast]:
    """A performance with a planted axis: default replies lie `strength` apart along the first coordinate at block 1."""
    rng = np.random.default_rng(seed)
    cast = Cast(
        tuple(Role(name=f"role_{i}", kind="everyday" if i % 4 == 0 else "fictional", description="x", instructions=("a", "b", "c")) for i in range(roles)),
        tuple(Question(id=f"question_{i}", text=f"q{i}", topic="topic") for i in range(questions)),
        ("", "be helpful", "assist"),
        tokens=8,
    )  # fmt: skip
    frame = cast.frame()
    values = rng.normal(size=(3, frame.height, 16)).astype(np.float32)
    # Questions move every reply far along the same coordinate: an AUC that mixes them would see less.
    offset = {question.id: rng.normal() * 20 for question in cast.questions}
    values[1, :, 0] += np.array([offset[q] for q in frame["question"]])
    values[1, (frame["role"] == DEFAULT).to_numpy(), 0] += strength
    rollouts = Rollouts([], [], (0, 1, 2), torch.from_numpy(values), list(range(frame.height)), 0)
    return Performance(frame, torch.from_numpy(values), (0, 1, 2), rollouts), cast


def test_a_planted_axis_is_found_at_its_block():
    performance, cast = staged(6.0)
    found = validate_axis(performance, cast, seed=0, splits=6)
    assert found.layer == 1
    assert found.auc.estimate > 0.97
    assert found.auc.low <= found.auc.estimate <= found.auc.high
    assert found.null_p95 < found.auc.low
    # On roles that are not everyday: 18 of 24.
    assert found.auc.n <= 18 < found.auc_all.n + 1


def test_without_a_planted_axis_the_auc_is_at_chance():
    performance, cast = staged(0.0)
    found = validate_axis(performance, cast, seed=0, splits=6)
    assert abs(found.auc.estimate - 0.5) < 0.12


def test_reserved_roles_are_no_part_of_the_axis(subject):
    cast = dataclasses.replace(usual_cast(every=12, tokens=6), questions=usual_cast().questions[:4])
    cast = dataclasses.replace(cast, reserved=frozenset({cast.roles[0].name}))
    performance = perform(subject, cast, seed=0)
    validation = validate_axis(performance, cast, seed=0, splits=2)
    axis = draft_axis(subject, performance, cast, validation, seed=0)
    assert cast.roles[0].name not in axis.recipe["roles"]
    names = [role.name for role in cast.roles[1:]]
    rows = performance.frame.with_row_index()
    at = performance.layers.index(axis.layer)

    def mean(name: str) -> torch.Tensor:
        return performance.values[at, rows.filter(pl.col("role") == name)["index"].to_list()].mean(0)

    by_hand = mean(DEFAULT) - torch.stack([mean(name) for name in names]).mean(0)
    assert torch.allclose(axis.vector(), by_hand / by_hand.norm(), atol=1e-5)


def test_trait_block_and_auc_come_from_different_questions():
    rng = np.random.default_rng(1)
    question = np.repeat(np.arange(8), 2)
    positive = np.tile([True, False], 8)
    values = rng.normal(size=(3, 16, 12)).astype(np.float32)
    values[2, positive, 3] += 8
    poles = Poles(torch.from_numpy(values), (4, 5, 6), positive, question, question >= 5, None)  # type: ignore[arg-type]
    found = choose_layer(poles, seed=0)
    assert found.layer == 6
    assert found.auc.estimate == 1.0


def test_axis_and_trait_are_built_once_and_kept(subject, tmp_path, monkeypatch):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    small = dataclasses.replace(usual_cast(every=20, tokens=4), questions=usual_cast().questions[:4])
    monkeypatch.setattr("greenroom.directions.axis.usual_cast", lambda: small)
    monkeypatch.setattr("greenroom.directions.rollouts.CALIBRATION_TOKENS", 4)
    assert stored(subject, "assistant_axis") is None
    axis = assistant_axis(subject)
    assert torch.equal(assistant_axis(subject).vector(), axis.vector())
    trait = trait_vector(subject, "brevity")
    assert stored(subject, "brevity").fingerprint == subject.fingerprint
    assert trait.sign_test.holds
