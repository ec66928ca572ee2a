"""Results shared between runs: what a study found about a model, where later runs of the same weights can show it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from greenroom.runs.tables import read_table, write_table
from greenroom.store import atomic_path, cache_dir, read_json, write_json

FORMAT = 2  # of what lies in such a folder; other formats are not read
KEPT = "kept.json"


def place(fingerprint: str, study: str) -> Path:
    """Where the results of one study lie for these weights: `<cache>/results/<format>/<fingerprint>/<study>`."""
    return cache_dir() / "results" / str(FORMAT) / fingerprint / study


def save(run: Path, fingerprint: str, study: str, *, seed: int, replies: int) -> Path:
    """Copies a study of a finished run, with its measures. What was saved before is replaced unless it rests on more
    replies: a quick look does not take the place of a whole study."""
    target = place(fingerprint, study)
    before = read_json(target / KEPT)["replies"] if (target / KEPT).is_file() else -1
    if replies >= before:
        measures = read_table(run / "tables" / "measures.parquet")
        own = measures.filter(measures["study"] == study)
        _copy(run / study, target, {"seed": seed, "replies": replies}, own)
    return target


def load(fingerprint: str, study: str, run: Path) -> list[dict[str, Any]]:
    """Copies what is shared of a study into a run, where its page looks; its measures as rows (none: nothing shared)."""
    source = place(fingerprint, study)
    if not (source / KEPT).is_file():
        return []
    measures = read_table(source / "measures.parquet")
    _copy(source, run / study, read_json(source / KEPT), None)
    return measures.to_dicts()


def _copy(source: Path, target: Path, kept: dict[str, Any], measures: Any) -> None:
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed
    with atomic_path(fresh) as temporary:
        temporary.mkdir(parents=True)
        for name in ("results.json", "words.yaml"):
            shutil.copy2(source / name, temporary / name)
        if (source / "tables").is_dir():
            shutil.copytree(source / "tables", temporary / "tables")
        write_json(temporary / KEPT, kept)
        if measures is not None:
            write_table(temporary / "measures.parquet", measures)
    # A folder cannot be renamed onto one that is not empty: the old one goes in the moment before the new one comes.
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
