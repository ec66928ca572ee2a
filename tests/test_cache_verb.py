"""`greenroom cache`: what is kept with its size, and that clearing removes only what can be built again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from greenroom.cli import main
from greenroom.directions import Direction
from greenroom.directions.poles import wording
from greenroom.personas import library

MODEL, WEIGHTS = "0123456789abcdef", "fedcba9876543210"


def direction(path: Path, **recipe: Any) -> None:
    kind = "axis" if path.stem == "assistant_axis" else "trait"
    Direction(path.stem, kind, 0, {0: torch.ones(4)}, {}, "tiny", WEIGHTS, None, recipe).save(path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One entry of each kind, directions that would not come back, and things that are none of Greenroom's."""
    root = tmp_path / "cache"
    monkeypatch.setenv("GREENROOM_CACHE", str(root))
    weights = root / "models" / MODEL / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(3 * 2**20))
    kept = root / "results" / "2" / WEIGHTS / "drift" / "results.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(2**20))
    read = root / "prompts" / WEIGHTS / "0a1b.safetensors"
    read.parent.mkdir(parents=True)
    read.write_bytes(bytes(2**20))
    tried = root / "results" / "trials" / WEIGHTS / "warmth-0a1b.json"
    tried.parent.mkdir(parents=True)
    tried.write_text("{}")
    warm = {"trait": "warmth", "wording": wording(library.trait("warmth"))}
    folder = root / "directions" / WEIGHTS
    direction(folder / "assistant_axis.safetensors", roles=["pirate"])
    direction(folder / "warmth.safetensors", **warm)
    direction(folder / "warmth.logistic.safetensors", **warm)
    direction(folder / "rulers" / "warmth.safetensors", **warm)
    direction(folder / "humor.safetensors", trait="humor", wording="older than the library's")
    direction(folder / "talks_like_a_pirate.safetensors", trait="talks_like_a_pirate", wording="of a sentence")
    direction(folder / "mine.safetensors", method="imported: a .pt file", means="warmth")
    (folder / "broken.safetensors").write_bytes(b"no header")
    (root / "models" / "thesis").mkdir()
    (root / "models" / "thesis" / "chapter1.txt").write_text("mine")
    (root / "notes.txt").write_text("mine")
    return root


def test_cache_lists_what_is_kept_with_sizes(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("\t")[0]: line.split("\t") for line in lines[1:-1]}
    assert rows["models"][1:4] == ["1", "3.0 MiB", "3.0 MiB"]
    assert rows["results"][1:4] == ["2", "1.0 MiB", "1.0 MiB"]
    assert rows["prompts"][1:4] == ["1", "1.0 MiB", "1.0 MiB"]
    assert rows["directions"][1] == "8"
    assert lines[-1].startswith(f"5.0 MiB in {cache}; ")
    assert main(["cache", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(cache)
    assert told["bytes"] == sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    assert 0 < told["kept"][1]["clearable"] < told["kept"][1]["bytes"]


def test_clearing_leaves_what_would_not_come_back(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "clear"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("freed 5.0 MiB (models 1, directions 4, prompts 1, results 2)\n")
    stays = ["broken", "humor", "mine", "talks_like_a_pirate"]
    assert out.splitlines()[1].endswith(", ".join(stays))
    left = {path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()}
    assert left == {
        "notes.txt",
        "models/thesis/chapter1.txt",
        *(f"directions/{WEIGHTS}/{name}.safetensors" for name in stays),
    }
    assert not (cache / "results").exists()  # no empty folders are left
    assert not (cache / "prompts").exists()
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out.startswith("freed 0.0 MiB")


def test_clearing_one_kind_leaves_the_others(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "clear", "models"]) == 0
    assert capsys.readouterr().out == "freed 3.0 MiB (models 1)\n"
    assert not (cache / "models" / MODEL).exists()
    assert (cache / "directions" / WEIGHTS / "warmth.safetensors").exists()
    assert (cache / "results").exists()


def test_clearing_follows_no_link(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    precious = tmp_path / "precious"
    (precious / MODEL).mkdir(parents=True)
    (precious / MODEL / "thesis.txt").write_bytes(bytes(5 * 2**20))
    (cache / "models" / MODEL / "inside").symlink_to(precious)
    (cache / "models" / f"{MODEL[:-1]}0").symlink_to(precious / MODEL)
    (cache / "results" / "3").symlink_to(precious)
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("5.0 MiB in ")
    assert main(["cache", "clear"]) == 0
    assert (precious / MODEL / "thesis.txt").stat().st_size == 5 * 2**20
    assert (cache / "models" / f"{MODEL[:-1]}0").is_symlink()
    assert (cache / "results" / "3").is_symlink()


@pytest.mark.parametrize("asked", [["clear", "weights"], ["clear", "models", "everything"], ["empty"]])
def test_an_unknown_word_is_one_line_and_clears_nothing(
    asked: list[str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", *asked]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert asked[-1] in told.err
    assert (cache / "models" / MODEL / "model.safetensors").exists()


def test_a_cache_that_is_not_there_yet_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path / "none"))
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0.0 MiB in ")
    assert main(["cache", "clear"]) == 0
    assert not (tmp_path / "none").exists()
