"""The main job through its public surface, on a tiny random model: mechanics only, no meaning."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from greenroom.runs.tables import differences
from greenroom.subject.tiny import save_tiny

COLUMNS = {
    "persona_map": ["role", "kind", "pc1", "pc2", "pc3", "axis_sd", "axis_sd_low", "axis_sd_high", "n_replies"],
    "traits": ["trait", "estimate_pole", "low", "high", "role_percentile", "n", "grade"],
    "hold": ["pressure", "conversation", "turn", "axis_sd_hot", "axis_sd_cold"],
    "measures": ["measure", "estimate", "low", "high", "n", "grade", "reason"],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {**os.environ, "GREENROOM_CACHE": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "greenroom.cli", *map(str, arguments)]


def run(environment, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def undisturbed(model, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    began = time.perf_counter()
    done = run(environment, "audit", model, "--quick", "--out", folder, "--plain")
    return folder, done, time.perf_counter() - began


def test_an_audit_leaves_what_it_promises(undisturbed):
    folder, done, _ = undisturbed
    for name, columns in COLUMNS.items():
        assert pl.read_parquet(folder / "tables" / f"{name}.parquet").columns[: len(columns)] == columns
    for name in ("run.json", "summary.json", "report.html", "directions/assistant_axis.safetensors"):
        assert (folder / name).is_file()
    assert list((folder / "logs").glob("*.eval"))
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("axis_auc", "axis_auc_low", "axis_auc_high", "axis_auc_all_roles", "axis_layer", "nearest_roles",
                "breaking_point", "breaking_point_reason", "seconds", "peak_rss_gib"):  # fmt: skip
        assert key in summary
    lines = done.stdout.strip().splitlines()
    assert len(lines) <= 25
    assert str(folder / "report.html") in lines[-1]


def test_void_measures_hold_no_number(undisturbed):
    measures = pl.read_parquet(undisturbed[0] / "tables" / "measures.parquet")
    void = measures.filter(pl.col("grade") == "void")
    assert void.height
    assert void["estimate"].null_count() == void.height
    assert void["reason"].str.len_chars().min() > 10


def test_a_finished_run_is_not_run_again(undisturbed, model, environment):
    began = time.perf_counter()
    again = run(environment, "audit", model, "--quick", "--out", undisturbed[0], "--plain")
    assert again.stdout == undisturbed[1].stdout
    assert time.perf_counter() - began < max(20.0, undisturbed[2])


def test_killed_at_ten_moments_the_tables_are_those_of_an_undisturbed_run(undisturbed, model, environment, tmp_path):
    reference, _, seconds = undisturbed
    folder = tmp_path / "killed"
    arguments = command("audit", model, "--quick", "--out", folder, "--plain")
    kills = 0
    for moment in range(10):
        process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            # Later kills come later, so that the run gets somewhere between them.
            process.wait(timeout=seconds * (0.35 + 0.05 * moment))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    run(environment, "audit", model, "--quick", "--out", folder, "--plain")
    assert kills >= 1
    assert differences(reference, folder) == []


def test_another_seed_says_something_else(undisturbed, model, environment, tmp_path):
    run(environment, "map", model, "--quick", "--out", tmp_path / "map", "--seed", "7", "--plain")
    assert differences(undisturbed[0], tmp_path / "map")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no/such/thing/here"], "no model name"),
        (["./nowhere"], "no model folder"),
        (["nobody-here/no-such-model"], "no model 'nobody-here/no-such-model'"),
        (["nothing.gguf"], "does not exist"),
        (["{empty}"], "no config.json"),
        (["{unweighted}"], "no weights"),
        (["{truncated}"], "truncated"),
        (["{fake}"], "is not a GGUF file"),
        (["{base}"], "--template"),
        (["{model}", "--adapter", "{empty}"], "adapter_config.json"),
        (["{model}", "--adapter", "{foreign}"], "does not fit"),
        (["{model}", "--seed", "abc"], "abc"),
        (["{model}", "--dtype", "int3"], "dtype"),
        (["{model}", "--device", "warp"], "device"),
        (["{model}", "--template", "nope"], "no chat template"),
        (["{model}", "--out", "{empty}/../occupied"], "occupied"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, told, model, environment, tmp_path):
    places = {name: tmp_path / name for name in ("empty", "unweighted", "occupied", "foreign")}
    for folder in places.values():
        folder.mkdir()
    (places["unweighted"] / "config.json").write_text((model / "config.json").read_text())
    (places["occupied"] / "thesis.txt").write_text("mine")
    (places["foreign"] / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "somebody/else", "r": 4, "target_modules": ["c_attn_x"], "task_type": "CAUSAL_LM"})
    )  # fmt: skip
    (tmp_path / "truncated.gguf").write_bytes(b"GGUF" + bytes(range(200)))
    (tmp_path / "fake.gguf").write_bytes(b"PK" + bytes(300))
    base = save_tiny(tmp_path / "base", template=None) if "{base}" in arguments else None
    fill = {
        **places,
        "model": model,
        "truncated": tmp_path / "truncated.gguf",
        "fake": tmp_path / "fake.gguf",
        "base": base,
    }
    filled = [argument.format(**fill) for argument in arguments]
    out = [] if "--out" in filled else ["--out", str(tmp_path / "out")]
    began = time.perf_counter()
    done = run({**environment, "HF_HUB_OFFLINE": "0"}, "audit", *filled, *out, check=False)
    assert done.returncode == 2, done.stderr + done.stdout
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert time.perf_counter() - began < 60
