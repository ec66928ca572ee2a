"""Which folder a run may use: a new one, an equal run to resume, and never one that holds something else."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from greenroom.errors import GreenroomError, RunError
from greenroom.runs.lock import NAME as LOCK_NAME
from greenroom.store import read_json

MANIFEST = "run.json"
# What `store.atomic_path` leaves behind when it is killed: a folder named .<target>.<8 random characters>.
_SCRATCH = re.compile(r"\..+\.[a-z0-9_]{8}")


def choose(base: Path, identity: dict[str, Any]) -> Path:
    """The newest folder of this model and kind that can be resumed (or was never begun), else the next number."""
    stem = f"{_slug(identity['subject'])}-{identity['kind']}"
    pattern = re.compile(rf"{re.escape(stem)}-(\d+)")
    numbered = [(int(found[1]), path) for path in base.iterdir() if (found := pattern.fullmatch(path.name))]
    for _, path in sorted(numbered, reverse=True):
        with suppress(GreenroomError):  # what cannot be resumed is passed over, and left as it is
            manifest = existing(path, identity)
            if manifest is None or manifest["status"] != "finished":
                return path
    return base / f"{stem}-{max((number for number, _ in numbered), default=0) + 1}"


def existing(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of an equal run; None for a folder that is new or empty; RunError for anything else."""
    try:
        names = {entry.name for entry in path.iterdir()} if path.exists() else set[str]()
    except NotADirectoryError as error:
        raise RunError(f"{path} is a file; a run needs a folder: choose another --out") from error
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; choose another --out") from error
    if MANIFEST not in names:
        if all(_is_leftover(name) for name in names):
            return None
        raise RunError(f"{path} holds other files and no {MANIFEST}; choose a new or empty folder with --out")
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or not {*identity, "machine", "stages", "status"} <= manifest.keys():
        raise RunError(f"{path / MANIFEST} was not written by Greenroom; choose a new or empty folder with --out")
    mismatch = _mismatch(manifest, identity)
    if mismatch:
        raise RunError(f"{path} is a run {mismatch}; choose another --out, or the same settings to resume it")
    return manifest


def begun_dtype(path: Path | None) -> str:
    """The number format of the model in the run that is in a folder, so that it goes on in that one on another machine;
    "auto" where there is no run, or it has none."""
    try:
        manifest = None if path is None else read_json(path / MANIFEST)
    except GreenroomError:
        manifest = None  # what is wrong with it is said when it is opened
    config = manifest.get("config") if isinstance(manifest, dict) else None
    return str((config.get("dtype") if isinstance(config, dict) else None) or "auto")


def _mismatch(manifest: dict[str, Any], asked: dict[str, Any]) -> str:
    """The first way in which a run is not the one asked for, both values named; "" when it is."""
    if manifest["kind"] != asked["kind"]:
        return f"of kind {manifest['kind']}, and {asked['kind']} was asked for"
    if manifest["version"] != asked["version"]:
        return f"of Greenroom {manifest['version']}, and this is {asked['version']}"
    if manifest["fingerprint"] != asked["fingerprint"]:
        before, now = (f"{side['subject']} (weights {side['fingerprint']})" for side in (manifest, asked))
        return f"of {before}, and {now} was asked for"
    if manifest["seed"] != asked["seed"]:
        return f"with seed {manifest['seed']}, and {asked['seed']} was asked for"
    for key in sorted({*manifest["config"], *asked["config"]}):
        before, now = (side["config"].get(key) for side in (manifest, asked))
        if before != now:
            return f"with {key} = {json.dumps(before)}, and {json.dumps(now)} was asked for"
    return ""


def make(folder: Path) -> None:
    """Makes the folder and those above it, if need be; raises RunError where that is not allowed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror}; choose another with --out") from error


def has_leftovers(path: Path) -> bool:
    """Whether a killed process left a lock file or half a write in the run."""
    return any(_is_leftover(name) for _, folders, files in os.walk(path) for name in (*folders, *files))


def sweep(path: Path) -> None:
    """Removes what writes that were killed half-way left in the run; only for the holder of its lock."""
    for folder, names, _ in os.walk(path):
        for name in filter(_SCRATCH.fullmatch, names):
            shutil.rmtree(Path(folder) / name, ignore_errors=True)


def _is_leftover(name: str) -> bool:
    return name == LOCK_NAME or _SCRATCH.fullmatch(name) is not None


def _slug(subject_name: str) -> str:
    """The model's name as part of a folder name: the last piece of a path or Hub id, adapters joined by a hyphen."""
    pieces = [Path(piece.strip()).name.removesuffix(".gguf") for piece in subject_name.split("+")]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(pieces)).strip("-.") or "model"
