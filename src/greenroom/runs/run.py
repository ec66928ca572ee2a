"""A run: one folder of results, written stage by stage, that may be killed at any moment and resumed.

`run.json` is the truth. Tables, results and files of a stage are written first, each whole or not at all; only then
does `run.json`, in one rename, name the stage as finished. So a stage is either finished and stored, or was never.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from greenroom.errors import RunError
from greenroom.runs.folder import MANIFEST, choose, existing, has_leftovers, make, sweep
from greenroom.runs.lock import FolderLock
from greenroom.runs.machine import facts, peak_rss_gib, version
from greenroom.runs.progress import Progress
from greenroom.runs.tables import read_table, write_table
from greenroom.store import atomic_path, read_json, write_json

if TYPE_CHECKING:
    import polars as pl

SUMMARY = "summary.json"


@dataclass(frozen=True)
class StageResult:
    """What a stage leaves behind.

    tables: name → frame, kept as `tables/<name>.parquet`. results: JSON values, kept under the stage's name in
    `results.json`. files: path within the run → a function that writes the file at the path it is given (a temporary
    one). Read back from disk, `files` is empty: they lie at `run.path / name`.
    A name `<study>/<name>` of a stage or a table puts it in the study's own folder of the run.
    """

    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Callable[[Path], object]] = field(default_factory=dict)


class Run:
    """An open run; made by `open_run`. Use it as a context manager: leaving it early marks it as interrupted."""

    def __init__(self, path: Path, manifest: dict[str, Any], lock: FolderLock | None, progress: Progress) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock
        self._progress = progress
        self._current = ""

    @property
    def kind(self) -> str:
        """What made it: audit, map, drift …"""
        return str(self.manifest["kind"])

    @property
    def finished(self) -> bool:
        """Whether `finish` was called, now or by an earlier command."""
        return self.manifest["status"] == "finished"

    @property
    def seconds(self) -> float:
        """Working time of all finished stages, those of earlier attempts included."""
        return sum(stage["seconds"] for stage in self.manifest["stages"].values())

    @property
    def peak_rss_gib(self) -> float:
        """The most memory that any process of this run has held when a stage ended, GiB."""
        return max((stage["peak_rss_gib"] for stage in self.manifest["stages"].values()), default=0.0)

    @property
    def summary(self) -> dict[str, Any]:
        """The headline numbers of a finished run; raises GreenroomError when there are none yet."""
        return read_json(self.path / SUMMARY)

    def stage(self, name: str, compute: Callable[[], StageResult]) -> StageResult:
        """The stage's result: as stored when it was finished before, else computed and stored.

        Either way it is read back from disk, so that a resumed run goes on with the very values of an undisturbed
        one. `compute` may report its steps to `run.advance`. Raises RunError when the disk refuses.
        """
        if self._is_stored(name):
            self._progress.keep(name)
            return self._load(name)
        if self.finished:
            raise RunError(f"{self.path} is finished but lacks what stage {name} wrote; choose another folder")
        self._current = name
        self._progress.start(name)
        began = time.perf_counter()
        result = compute()
        self._store(name, result, began)
        self._progress.finish(name)
        return self._load(name)

    def advance(self, done: int, total: int) -> None:
        """Shows that `done` of `total` steps of the stage at work are finished."""
        self._progress.advance(self._current, done, total)

    def table(self, name: str) -> pl.DataFrame:
        """A table of a finished stage; raises RunError that lists the tables there are."""
        known = [table for stage in self.manifest["stages"].values() for table in stage["tables"]]
        if name not in known:
            raise RunError(f"{self.path} has no table {name}; it has {', '.join(known) or 'none yet'}")
        return read_table(self._table_path(name))

    def results(self, stage: str) -> dict[str, Any]:
        """The JSON results of a finished stage; raises RunError that lists the stages there are."""
        if stage not in self.manifest["stages"]:
            known = ", ".join(self.manifest["stages"]) or "none yet"
            raise RunError(f"{self.path} has no finished stage {stage}; it has {known}")
        return read_json(self._results_path(stage))[_last(stage)]

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes summary.json, marks the run as finished and gives the folder free."""
        write_json(self.path / SUMMARY, dict(summary))
        self._mark("finished")
        self.close()

    def close(self) -> None:
        """Gives the folder free and stops the display; the run stays resumable. A second call does nothing."""
        self._progress.stop()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.finished:
            with suppress(RunError):  # on a full disk the first error is the one to show
                self._mark("interrupted")
            if isinstance(error, KeyboardInterrupt) and self.manifest["stages"]:
                done = len(self.manifest["stages"])
                error.add_note(f"{done} finished stage{'' if done == 1 else 's'} kept in {self.path}")
        self.close()

    def _mark(self, status: str) -> None:
        changed = {**self.manifest, "status": status}
        write_json(self.path / MANIFEST, changed)
        self.manifest = changed

    def _store(self, name: str, result: StageResult, began: float) -> None:
        claimed = {table: stage for stage, kept in self.manifest["stages"].items() for table in kept["tables"]}
        for table in result.tables:
            if claimed.get(table, name) != name:
                raise ValueError(f"stage {name} would overwrite table {table} of stage {claimed[table]}")
        for table, frame in result.tables.items():
            write_table(self._table_path(table), frame)
        for file, write in result.files.items():
            with atomic_path(self.path / file) as temporary:
                write(temporary)
        kept = self._results_path(name)
        # A process that was killed between this write and the next leaves results of no finished stage: overwritten here.
        write_json(kept, {**(read_json(kept) if kept.exists() else {}), _last(name): dict(result.results)})
        mark = {
            "seconds": round(time.perf_counter() - began, 3),
            "peak_rss_gib": peak_rss_gib(),
            "tables": list(result.tables),
            "files": list(result.files),
        }
        changed = {**self.manifest, "stages": {**self.manifest["stages"], name: mark}}
        write_json(self.path / MANIFEST, changed)
        self.manifest = changed

    def _is_stored(self, name: str) -> bool:
        """Whether the stage is marked as finished and nothing it wrote was deleted since."""
        mark = self.manifest["stages"].get(name)
        if mark is None:
            return False
        files = [self._results_path(name), *(self.path / file for file in mark["files"])]
        return all(path.exists() for path in [*files, *(self._table_path(table) for table in mark["tables"])])

    def _load(self, name: str) -> StageResult:
        tables = {table: self.table(table) for table in self.manifest["stages"][name]["tables"]}
        return StageResult(tables=tables, results=self.results(name))

    def _table_path(self, name: str) -> Path:
        return self._room(name) / "tables" / f"{_last(name)}.parquet"

    def _results_path(self, stage: str) -> Path:
        return self._room(stage) / "results.json"

    def _room(self, name: str) -> Path:
        """The folder of a stage or a table: the run's, or that of the study in its name."""
        study, _, _ = name.rpartition("/")
        return self.path / study


def _last(name: str) -> str:
    """The name without its study."""
    return name.rpartition("/")[2]


def open_run(
    out: Path | None,
    *,
    kind: str = "audit",
    subject_name: str,
    fingerprint: str,
    config: Mapping[str, Any],
    seed: int,
    base: Path = Path("runs"),
    progress: Progress | None = None,
) -> Run:
    """The run to work in: a new one, or the one to resume.

    With `out`: a new or empty folder becomes the run; a run of equal kind, fingerprint, config, seed and version is
    resumed, or opened as finished. Without: the newest unfinished equal run among `base/<model>-<kind>-<n>`, else
    the next number. Raises RunError for a folder of something else, one that cannot be written, and one in which
    another process is at work; it then writes nothing there.
    """
    identity = {
        "kind": kind,
        "subject": subject_name,
        "fingerprint": fingerprint,
        "config": json.loads(json.dumps(dict(config), allow_nan=False)),  # as it will be read back: lists, text keys
        "seed": seed,
        "version": version(),
    }
    shown = progress or Progress()
    if out is not None:
        return _open(out, identity, shown)
    make(base)
    with FolderLock(base, wait=True):  # two commands started at once choose one after the other
        return _open(choose(base, identity), identity, shown)


def open_finished(path: Path) -> Run:
    """A finished run to read from; raises RunError where there is none."""
    if not (path / MANIFEST).is_file():
        raise RunError(f"{path} is no run: it has no {MANIFEST}; give the folder that an audit wrote")
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or not {"kind", "stages", "status"} <= manifest.keys():
        raise RunError(f"{path / MANIFEST} was not written by Greenroom; give the folder that an audit wrote")
    if manifest["status"] != "finished":
        raise RunError(f"{path} is not finished ({manifest['status']}); run the command that began it again")
    if manifest["version"].split(".")[:2] != version().split(".")[:2]:
        made = ".".join(manifest["version"].split(".")[:2])
        raise RunError(f"{path} was made by Greenroom {made}, and this is {version()}; run the command anew to see it")
    return Run(path, manifest, None, Progress())


def _open(path: Path, identity: dict[str, Any], progress: Progress) -> Run:
    manifest = existing(path, identity)  # looked at before anything is written into what may be someone else's
    if manifest and manifest["status"] == "finished":
        if has_leftovers(path):  # killed after its very last write; where we may not tidy up, nothing is lost
            with suppress(RunError), FolderLock(path):
                sweep(path)
        return Run(path, manifest, None, progress)
    ours = not path.exists()
    make(path)
    lock = None
    try:
        lock = FolderLock(path)
        manifest = existing(path, identity)  # again, under the lock: another process may have begun or finished it
        sweep(path)
        machine = facts()
        if manifest is None:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = {**identity, "started": started, "machine": machine, "stages": {}, "status": "running"}
        elif manifest["machine"] != machine:  # numbers may differ in the last digits: the reader should know
            others = [kept for kept in manifest.get("resumed_on", []) if kept != machine]
            manifest = {**manifest, "resumed_on": [*others, machine]}
        run = Run(path, manifest, lock, progress)
        if run.finished:
            run.close()
        else:
            run._mark("running")
    except BaseException:
        if lock is not None:
            lock.release()
        if ours:
            with suppress(OSError):  # only an empty folder goes
                path.rmdir()
        raise
    return run
