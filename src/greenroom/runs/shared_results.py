"""Results kept by model: what a finished run found, where later reports of the same weights can find it."""

from __future__ import annotations

import shutil
from pathlib import Path

from greenroom.store import atomic_path, cache_dir, read_json


def place(fingerprint: str, kind: str) -> Path:
    """Where the results of one kind lie for these weights: `<cache>/results/<fingerprint>/<kind>`."""
    return cache_dir() / "results" / fingerprint / kind


def keep(run_path: Path, fingerprint: str, kind: str) -> Path:
    """Copies summary.json and tables/ of a finished run. What was kept before of this kind is replaced, unless it rests on
    more replies: a quick look does not take the place of a whole study."""
    target, before = place(fingerprint, kind), kept(fingerprint, kind)
    if before is None or _replies(run_path) >= _replies(before):
        _copy(run_path, target)
    return target


def _replies(folder: Path) -> int:
    return int(read_json(folder / "summary.json").get("n_replies") or 0)


def kept(fingerprint: str, kind: str) -> Path | None:
    """The folder with summary.json and tables/ of the newest kept run of this kind, or None."""
    target = place(fingerprint, kind)
    return target if (target / "summary.json").is_file() else None


def bring(fingerprint: str, kind: str, folder: Path) -> bool:
    """Copies what is kept of this kind to `folder`/<kind>, where the report of that run looks; whether there was any."""
    found = kept(fingerprint, kind)
    if found is not None:
        _copy(found, folder / kind)
    return found is not None


def _copy(source: Path, target: Path) -> None:
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed
    with atomic_path(fresh) as temporary:
        shutil.copytree(source / "tables", temporary / "tables")
        shutil.copy2(source / "summary.json", temporary / "summary.json")
    # A folder cannot be renamed onto one that is not empty: the old one goes in the moment before the new one comes.
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
