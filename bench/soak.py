"""make soak: the audit of the real model, killed at ten random moments and run again, must give the undisturbed tables.

    python bench/soak.py [--kills N] [--seed N] [--model NAME] [--folder DIR] [--out FILE]

Runs `greenroom audit --quick` once undisturbed. Then, in another folder, kills the whole process group with SIGKILL
and starts the same command again, until all kills have landed and a run has finished; every table must be equal but
for timings, and no stage that had finished may run twice. Prints and writes bench/results/soak-<date>.json; exit 1
when something differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from greenroom.runs.machine import facts, version
from greenroom.runs.tables import differences
from greenroom.store import read_json, write_json

RESULTS = Path(__file__).resolve().parent / "results"
PROGRAM = Path(sys.executable).parent / "greenroom"
UNEQUAL_BY_NATURE = ("seconds", "peak_rss_gib")  # of summary.json
WITHIN = 1e-5  # a stage that was killed goes on in other batches, whose sums round differently


@dataclass(frozen=True)
class Undisturbed:
    """The run that nobody killed: its folder, wall seconds, and each stage's seconds in order."""

    folder: Path
    seconds: float
    stages: dict[str, float]


@dataclass
class Kill:
    """One SIGKILL. moment: seconds into the undisturbed run that were aimed at; lived: of the process until the kill;
    finished: the stages stored by then; during: the stage at work, or "" after the last."""

    moment: float
    lived: float
    finished: list[str]
    during: str


@dataclass
class Disturbed:
    """A folder's history until its run finished. repeated: finished stages that ran once more, which must not be."""

    folder: Path
    kills: list[Kill] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)


def main() -> None:
    """Runs it all, prints, writes, and exits 1 when a table differs or a stage was repeated."""
    options = _parsed()
    notes = Console(stderr=True, highlight=False)
    base = options.folder or Path(tempfile.mkdtemp(prefix="greenroom-soak-"))
    base.mkdir(parents=True, exist_ok=True)
    notes.print(f"runs in {base}")
    undisturbed = run_undisturbed(options.model, options.seed, base / "undisturbed")
    notes.print(f"undisturbed: {undisturbed.seconds:.0f} s, {len(undisturbed.stages)} stages")
    disturbed = run_disturbed(options.model, options.seed, base, undisturbed, options.kills, notes)
    found = [line for run in disturbed for line in differences(undisturbed.folder, run.folder, within=WITHIN)]
    summaries = [
        line for run in disturbed for line in summary_differences(undisturbed.folder, run.folder, within=WITHIN)
    ]
    repeated = [stage for run in disturbed for stage in run.repeated]
    kills = [kill for run in disturbed for kill in run.kills]
    tables = len(list((undisturbed.folder / "tables").glob("*.parquet")))
    equal = not found and tables > 0
    path = options.out or RESULTS / f"soak-{datetime.now(UTC):%Y-%m-%d}.json"
    write_json(path, {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "greenroom": version(),
        "machine": facts(),
        "model": options.model,
        "seed": options.seed,
        "undisturbed": {"seconds": undisturbed.seconds, "stages": undisturbed.stages},
        "kills": [asdict(kill) for kill in kills],
        "tables": tables,
        "equal": equal,
        "differences": found,
        "summary_differences": summaries,
        "repeated_stages": repeated,
    })  # fmt: skip
    print(f"{len(kills)} kills in {len(disturbed)} run(s), {tables} tables: {'all equal' if equal else 'they differ'}")
    for line in [*found, *summaries, *(f"stage {stage} was repeated" for stage in repeated)]:
        print(f"  {line}")
    notes.print(f"written to {path}")
    sys.exit(0 if equal and not repeated else 1)


def run_undisturbed(model: str, seed: int, folder: Path) -> Undisturbed:
    """One audit from start to end; SystemExit with its log when it fails."""
    began = time.monotonic()
    if code := _audited(model, seed, folder):
        sys.exit(f"the audit failed with code {code}; see {_log(folder)}")
    seconds = time.monotonic() - began
    return Undisturbed(folder, seconds, {name: stage["seconds"] for name, stage in _stages(folder).items()})


def run_disturbed(
    model: str, seed: int, base: Path, undisturbed: Undisturbed, wanted: int, notes: Console
) -> list[Disturbed]:
    """Audits that are killed until `wanted` kills have landed. One folder does, unless it finishes before the last
    kill: stages can be faster the second time. The kills that are left then fall on another folder."""
    drawn = random.Random(seed)
    runs: list[Disturbed] = []
    while (left := wanted - sum(len(run.kills) for run in runs)) > 0 and len(runs) < wanted:
        run = Disturbed(base / f"killed-{len(runs) + 1}")
        runs.append(run)
        for moment in moments(undisturbed.seconds, left, drawn):
            before = _stages(run.folder)
            kill = _killed(model, seed, run.folder, undisturbed, moment)
            run.repeated += repeated(before, _stages(run.folder))
            if kill is None:
                break
            run.kills.append(kill)
            notes.print(f"  killed after {kill.lived:.1f} s during {kill.during or 'the end'}")
        before = _stages(run.folder)
        if code := _audited(model, seed, run.folder):
            sys.exit(f"the audit failed with code {code} after {len(run.kills)} kills; see {_log(run.folder)}")
        run.repeated += repeated(before, _stages(run.folder))
    return runs


def moments(seconds: float, count: int, drawn: random.Random) -> list[float]:
    """`count` random moments of a run of that length, one in each equal part of it, in order."""
    return [seconds * (index + drawn.random()) / count for index in range(count)]


def life(moment: float, finished: Sequence[str], undisturbed: Undisturbed) -> float:
    """How long a resumed process must live to be killed where the undisturbed run stood at `moment`: that long, less
    the stages that it finds finished."""
    return max(0.1, moment - sum(undisturbed.stages.get(name, 0.0) for name in finished))


def repeated(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Stages that were finished before and have another record now."""
    return [name for name, stage in before.items() if after.get(name) != stage]


def summary_differences(one: Path, other: Path) -> list[str]:
    """Keys of summary.json whose values differ by more than rounding, timings and memory left out."""
    left, right = (read_json(folder / "summary.json") for folder in (one, other))
    keys = sorted({*left, *right} - set(UNEQUAL_BY_NATURE))
    return [f"summary.json: {key} differs" for key in keys if not _equal(left.get(key), right.get(key))]


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right) <= WITHIN
    return left == right


def _killed(model: str, seed: int, folder: Path, undisturbed: Undisturbed, moment: float) -> Kill | None:
    """Starts or resumes, kills; None when the run was finished first."""
    lives = life(moment, list(_stages(folder)), undisturbed)
    began = time.monotonic()
    try:
        code = _audited(model, seed, folder, lives)
    except subprocess.TimeoutExpired:
        finished = list(_stages(folder))
        during = next((name for name in undisturbed.stages if name not in finished), "")
        return Kill(round(moment, 3), round(time.monotonic() - began, 3), finished, during)
    if code:
        sys.exit(f"the audit failed with code {code}; see {_log(folder)}")
    return None


def _audited(model: str, seed: int, folder: Path, seconds: float | None = None) -> int:
    """The audit's exit code, its output added to a log beside the folder. Runs in a process group of its own, which
    is killed when `seconds` have passed (TimeoutExpired) and when this script is interrupted."""
    command = [str(PROGRAM), "audit", model, "--quick", "--out", str(folder), "--seed", str(seed), "--plain"]
    with _log(folder).open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        return process.wait(timeout=seconds)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _log(folder: Path) -> Path:
    return folder.with_suffix(".log")


def _stages(folder: Path) -> dict[str, Any]:
    """The finished stages as run.json records them, in order; none before it exists."""
    try:
        return dict(json.loads((folder / "run.json").read_text(encoding="utf-8"))["stages"])
    except FileNotFoundError:
        return {}


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kills an audit at random moments; its tables must not change.")
    parser.add_argument("--kills", type=int, default=10, metavar="N", help="SIGKILLs [10]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the audit and of the moments [0]")
    parser.add_argument("--model", default="smollm2", metavar="NAME", help="what is audited [smollm2]")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the runs go, new or empty [a temporary one]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="results [bench/results/soak-<date>.json]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
