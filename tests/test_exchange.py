"""Directions to and from other tools, and the verb that does it."""

from __future__ import annotations

import dataclasses
import json
import pickle

import gguf
import numpy as np
import pytest
import torch

from greenroom.cli import main
from greenroom.conversation import user
from greenroom.directions import Calibration, Direction, SignTest, store, stored
from greenroom.directions.adoption import Adoption, adopted, taken
from greenroom.directions.cast import usual_cast
from greenroom.directions.exchange import Foreign, cosines, read_foreign, read_gguf, read_pt, write_gguf
from greenroom.directions.rulers import ruler_places
from greenroom.directions.trial import trials
from greenroom.errors import DirectionError
from greenroom.personas import library
from greenroom.subject import tiny


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


@pytest.fixture(scope="module")
def vectors(subject):
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(subject.layers, subject.d_model, generator=generator)
    return found / found.norm(dim=-1, keepdim=True)


@pytest.fixture
def north(subject, vectors):
    scale = {
        layer: Calibration.of((1.0 + layer) * np.arange(12.0).reshape(4, 3)).with_rollouts(np.arange(50.0))
        for layer in range(subject.layers)
    }
    return Direction(
        "north", "trait", 2, dict(enumerate(vectors)), scale, subject.name, subject.fingerprint,
        SignTest("north", "south", 1.0, -1.0), {"method": "made up"}, {"auc": 0.9, "auc_low": 0.8, "auc_high": 1.0},
    )  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "cache"))


# GGUF ------------------------------------------------------------------------------------------------------------


def test_a_control_vector_is_what_llama_cpp_and_repeng_read(north, tmp_path):
    """Their loaders: architecture "controlvector", a model_hint, float32 tensors `direction.N` of one dimension, N the
    block that it is added after, from 1 on."""
    write_gguf(north, tmp_path / "north.gguf", "llama", layers="1:3")
    reader = gguf.GGUFReader(tmp_path / "north.gguf")
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert reader.get_field("controlvector.model_hint").contents() == "llama"
    assert reader.get_field("controlvector.layer_count").contents() == 2
    assert {tensor.name for tensor in reader.tensors} == {"direction.1", "direction.2"}
    for tensor in reader.tensors:
        layer = int(tensor.name.split(".")[1])
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert tensor.data.shape == (64,)
        # A strength of 1 there is 1 sd here.
        assert tensor.data == pytest.approx((north.vector(layer) * north.scale(layer).reply_sd).numpy(), rel=1e-6)
    with pytest.raises(DirectionError, match="block 0"):
        write_gguf(north, tmp_path / "zero.gguf", "llama", layers="0:2")
    assert not (tmp_path / "zero.gguf").exists()


def test_a_gguf_file_of_ours_comes_back_whole(subject, north, tmp_path):
    write_gguf(north, tmp_path / "north.gguf", "llama", layers="1:4")
    again = taken(subject, tmp_path / "north.gguf")
    assert {layer: torch.allclose(vector, north.vector(layer), atol=1e-6) for layer, vector in again.vectors.items()} == {
        1: True, 2: True, 3: True
    }  # fmt: skip
    assert (again.calibration, again.sign_test, again.layer) == (north.calibration, north.sign_test, 2)
    other = tiny("llama", seed=1)
    with pytest.raises(DirectionError) as refused:
        taken(other, tmp_path / "north.gguf")
    assert subject.fingerprint in str(refused.value)
    assert other.fingerprint in str(refused.value)
    forced = taken(other, tmp_path / "north.gguf", force=True)
    assert forced.fingerprint == other.fingerprint
    assert forced.recipe["taken_from"] == [subject.name, subject.fingerprint]
    with pytest.raises(DirectionError, match="64 entries"):
        taken(tiny("llama", width=32), tmp_path / "north.gguf", force=True)


def repeng_file(path, vectors):
    """As repeng 0.4.0 writes one."""
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", len(vectors))
    for layer, vector in vectors.items():
        writer.add_tensor(f"direction.{layer}", vector.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_of_repeng_is_read(vectors, tmp_path):
    found = read_gguf(repeng_file(tmp_path / "theirs.gguf", {1: 3 * vectors[1], 3: vectors[3]}))
    assert found.card is None
    assert torch.equal(found.vectors[1], 3 * vectors[1])
    assert set(found.vectors) == {1, 3}
    (tmp_path / "broken.gguf").write_bytes((tmp_path / "theirs.gguf").read_bytes()[:30])
    for path in (tmp_path / "broken.gguf", tmp_path / "none.gguf", tmp_path / "odd.bin"):
        with pytest.raises(DirectionError) as caught:
            read_foreign(path, 4)
        assert "\n" not in str(caught.value)


# .pt -------------------------------------------------------------------------------------------------------------


def test_rows_of_assistant_axis_are_blocks(vectors, tmp_path):
    for name, value in (
        ("bare", vectors.bfloat16()),
        ("axis", {"axis": vectors}),
        ("role", {"vector": vectors, "role": "x"}),
    ):
        torch.save(value, tmp_path / f"{name}.pt")
        found = read_pt(tmp_path / f"{name}.pt", 4)
        assert all(torch.allclose(found.vectors[layer], vectors[layer], atol=1e-2) for layer in range(4))
        assert found.vectors[0].dtype == torch.float32


def test_rows_of_persona_vectors_are_hidden_states(vectors, tmp_path):
    """Row 0 is the embedding and the last lies after the final norm: row l + 1 is block l, blocks 0 to L − 2."""
    states = torch.stack([torch.full((64,), 7.0), *vectors[:3], torch.full((64,), 9.0)])
    torch.save(states, tmp_path / "trait_response_avg_diff.pt")
    found = read_pt(tmp_path / "trait_response_avg_diff.pt", 4)
    assert set(found.vectors) == {0, 1, 2}
    assert all(torch.equal(found.vectors[layer], vectors[layer]) for layer in range(3))


def test_a_capping_config_is_turned_towards_the_assistant(vectors, tmp_path):
    config = {
        "vectors": {"a": {"vector": vectors[1], "layer": 1}, "b": {"vector": vectors[2], "layer": 2}},
        "experiments": [
            {"id": "layers_1:3-p0.25", "interventions": [{"vector": "a", "cap": 1.0}, {"vector": "b", "cap": 1.0}]},
            {"id": "other", "interventions": [{"vector": "b", "cap": 2.0}]},
        ],
    }
    torch.save(config, tmp_path / "capping_config.pt")
    found = read_pt(tmp_path / "capping_config.pt", 4, experiment="layers_1:3-p0.25")
    assert torch.equal(found.vectors[1], -vectors[1])
    assert set(found.vectors) == {1, 2}
    with pytest.raises(DirectionError, match=r"layers_1:3-p0\.25, other"):
        read_pt(tmp_path / "capping_config.pt", 4)


class Bomb:
    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return (open, (self.mark, "w"))


def test_a_pt_file_never_runs_anything(vectors, tmp_path):
    torch.save({"axis": vectors, "more": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    for name in ("bomb.pt", "old.pt"):
        with pytest.raises(DirectionError, match="not unpickled"):
            read_pt(tmp_path / name, 4)
    assert not (tmp_path / "ran").exists()
    torch.save(vectors[:2], tmp_path / "short.pt")
    with pytest.raises(DirectionError, match="made for another model"):
        read_pt(tmp_path / "short.pt", 4)
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(DirectionError):
        read_pt(tmp_path / "junk.pt", 4)


# Adoption --------------------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    """Small enough for a model without a meaning."""
    small = dataclasses.replace(usual_cast(every=20, tokens=6), questions=usual_cast().questions[:4])
    monkeypatch.setattr("greenroom.directions.adoption.usual_cast", lambda **_: small)
    monkeypatch.setattr("greenroom.directions.adoption.TOKENS", 6)
    monkeypatch.setattr("greenroom.directions.rollouts.CALIBRATION_TOKENS", 6)
    real = __import__("greenroom.directions.adoption", fromlist=["x"]).default_token_projections
    monkeypatch.setattr(
        "greenroom.directions.adoption.default_token_projections", lambda *a, **k: real(*a, **{**k, "tokens": 6})
    )


def test_vectors_from_elsewhere_get_a_scale_and_a_sign_test(subject, short, tmp_path):
    trait = library.trait("shouting")
    pair = trait.pairs[0]
    shown = [
        subject.activations(
            [[{"role": "system", "content": text}, user("Hello?"), {"role": "assistant", "content": "Hi there."}]],
            range(4),
        ).values[:, 0]
        for text in (pair.positive, pair.negative)
    ]
    foreign = Foreign(dict(enumerate(shown[0] - shown[1])), "test vectors")
    found = {}
    for flip in (False, True):
        try:
            found[flip] = adopted(
                subject, foreign, tmp_path / "x.pt", Adoption("mine", "shouting", layer=2, flip=flip, replies=4)
            )
        except DirectionError as refused:
            assert "--flip" in str(refused)  # noqa: PT017  one of the two is refused, and only it
    assert len(found) == 1
    ((flip, direction),) = found.items()
    assert direction.sign_test.towards == trait.positive
    assert direction.sign_test.holds
    assert direction.recipe["flipped"] is flip
    assert direction.scale().n_replies >= 4
    turned = shown[0][2] - shown[1][2]
    assert torch.allclose(direction.vector(2), (-1 if flip else 1) * turned / turned.norm(), atol=1e-5)
    assert 0 <= direction.validity["auc"] <= 1


def test_what_cannot_be_tested_says_so(subject, vectors, short, tmp_path):
    torch.save(vectors, tmp_path / "south.pt")
    found = taken(subject, tmp_path / "south.pt", replies=4)
    assert (found.name, found.sign_test, found.reliable, found.layer) == ("south", None, False, 2)
    path = store(found)
    assert stored(subject, "south").sign_test is None
    assert Direction.load(path).recipe["method"].startswith("imported")
    with pytest.raises(DirectionError, match="no name"):
        taken(subject, path, name="../x")
    with pytest.raises(DirectionError, match="no vector at block 9"):
        taken(subject, tmp_path / "south.pt", layer=9)


# The verb --------------------------------------------------------------------------------------------------------


def test_list_show_compare_export(subject, north, tmp_path, capsys):
    store(north)
    store(dataclasses.replace(north, name="south", vectors={2: -north.vector(2)}, reliable=False))

    def said(*arguments: str) -> str:
        assert main(["directions", *arguments]) == 0
        return capsys.readouterr().out

    listed = json.loads(said("list", "--model", subject.name, "--json"))
    assert [(row["name"], row["auc"], row["reliable"]) for row in listed] == [
        ("north", 0.9, True),
        ("south", 0.9, False),
    ]
    assert "assistant_axis" in said("list")  # shipped for smollm2
    shown = said("show", "north", "--model", subject.name)
    assert subject.fingerprint in shown
    assert "0.90 (0.80–1.00)" in shown
    assert "rollouts:p25" in shown
    assert json.loads(said("show", "north", "--model", subject.fingerprint, "--json"))["calibration"]["n_replies"] == 4
    table = json.loads(said("compare", "north", "south", "--model", subject.name, "--json"))
    assert np.array(table["cosines"]) == pytest.approx(np.array([[1, -1], [-1, 1]]), abs=1e-5)
    assert cosines([north, dataclasses.replace(north, fingerprint="other")])[0][1] is None
    out = tmp_path / "north.gguf"
    said("export", "north", str(out), "--model", subject.name, "--architecture", "llama", "--layers", "1:3")
    assert set(read_gguf(out).vectors) == {1, 2}
    said("export", "north", str(tmp_path / "copy.safetensors"), "--model", subject.name)
    assert Direction.load(tmp_path / "copy.safetensors", subject).name == "north"


def test_list_shows_how_well_a_direction_reads_cold(subject, north, capsys):
    cold = {"cold_auc": 0.6, "cold_auc_low": 0.5, "cold_auc_high": 0.7}
    store(dataclasses.replace(north, validity={**north.validity, **cold}))
    assert main(["directions", "list", "--model", subject.name, "--plain"]) == 0
    heads, row = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert dict(zip(heads, row, strict=True))["auc cold"] == "0.60 (0.50–0.70)"


@pytest.mark.parametrize("verb", [["export", "weak", "x.safetensors"], ["show", "weak"], ["show", "weak", "--json"]])
def test_an_unreliable_direction_is_flagged_with_its_figures(subject, north, tmp_path, monkeypatch, capsys, verb):
    monkeypatch.chdir(tmp_path)
    figures = {
        "auc": 0.57,
        "auc_low": 0.43,
        "auc_high": 0.71,
        "cold_auc": 0.49,
        "cold_auc_low": 0.37,
        "cold_auc_high": 0.63,
    }
    store(dataclasses.replace(north, name="weak", reliable=False, validity=figures))
    assert main(["directions", *verb, "--model", subject.name]) == 0
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert all(said in told for said in ("weak is unreliable", "0.57 (0.43–0.71)", "read cold 0.49 (0.37–0.63)"))
    store(north)
    assert main(["directions", "export", "north", "y.safetensors", "--model", subject.name]) == 0
    assert capsys.readouterr().err == ""


def test_remove_takes_what_is_in_the_cache_and_no_more(subject, north, capsys):
    other = dataclasses.replace(north, name="south")
    path = store(north)
    store(other)
    ruler = ruler_places(subject.fingerprint, "north")[1]
    north.save(ruler)
    trial = trials(subject.fingerprint) / "north-0.json"
    trial.parent.mkdir(parents=True)
    trial.write_text("{}")
    for wrong in (["north", "nobody"], ["north", "sycophancy"]):
        assert main(["directions", "remove", *wrong, "--model", subject.name]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert path.is_file()
    assert main(["directions", "remove", "north", "--model", subject.name]) == 0
    assert capsys.readouterr().out == f"removed {path}\n"
    assert not any(gone.exists() for gone in (path, ruler, trial))
    assert stored(subject, "south") is not None


def test_a_direction_of_the_package_stays(capsys):
    assert main(["directions", "remove", "assistant"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "ships with the package" in told


def test_a_pickle_that_is_refused_is_one_line(subject, tmp_path, capfd, monkeypatch):
    """Also where the reader of the file has remarks of its own, as torch has on a newer protocol."""
    (tmp_path / "bad.pt").write_bytes(pickle.dumps({"a": Opens()}, protocol=4))
    monkeypatch.setattr("greenroom.subject.load", lambda *_, **__: subject)
    assert main(["directions", "import", str(tmp_path / "bad.pt"), "tiny"]) == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "is not unpickled" in told


class Opens:
    def __reduce__(self):
        return (open, ("nowhere",))


def test_import_stores_and_refuses(subject, north, tmp_path, capsys, monkeypatch):
    north.save(tmp_path / "north.safetensors")
    monkeypatch.setattr("greenroom.subject.load", lambda *_, **__: subject)
    assert main(["directions", "import", str(tmp_path / "north.safetensors"), "tiny", "--name", "copy"]) == 0
    assert stored(subject, "copy").calibration == north.calibration
    other = tiny("llama", seed=1)
    monkeypatch.setattr("greenroom.subject.load", lambda *_, **__: other)
    assert main(["directions", "import", str(tmp_path / "north.safetensors"), "tiny"]) == 2
    told = capsys.readouterr().err
    assert subject.fingerprint in told
    assert other.fingerprint in told
    assert stored(other, "north") is None
    assert main(["directions", "import", str(tmp_path / "north.safetensors"), "tiny", "--force"]) == 0
    assert stored(other, "north").recipe["taken_from"][1] == subject.fingerprint


@pytest.mark.parametrize(
    "arguments",
    [["show", "nobody"], ["compare", "assistant"], ["export", "assistant", "x.txt"], ["show", "gone.safetensors"]],
)
def test_mistakes_are_one_line(arguments, capsys):
    assert main(["directions", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
