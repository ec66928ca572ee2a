"""What short floats do to measures: float32 against bfloat16 for everything, and bfloat16 for sampling alone.

    python bench/dtype.py [--seeds N] [--only pairs reader audit] [--out FILE]

Every figure is a difference to float32 on the same machine. Where nothing is drawn (pairs, reader) the same text is read in both
formats, and the difference is the format's own. Where replies are drawn (audit) runs of the same seed share their random
streams but soon go apart, so the bias is the mean difference over seeds, beside its standard error and half the width of the
measure's own interval; the added noise is what the spread over seeds is more than float32's. Prints a table and writes
bench/results/dtype-<date>.json.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from greenroom.auditing.audit import audit
from greenroom.conversation import Conversation, system, user
from greenroom.directions import assistant_axis, trait_vector
from greenroom.directions.cold import cold_values, in_sd
from greenroom.personas import library
from greenroom.runs.machine import facts, version
from greenroom.runs.tables import read_table
from greenroom.store import write_json
from greenroom.subject import Subject, load

RESULTS = Path(__file__).resolve().parent / "results"
FORMATS = ("bfloat16", "mixed")
TRAITS = ("warmth", "malice", "humor")
PAIRS, REPLIES = 60, 120


def main() -> None:
    options = _parsed()
    console = Console(width=118)
    subjects = {name: load(dtype=name) for name in ("float32", *FORMATS)}
    found: dict[str, list[dict[str, Any]]] = {}
    for name in options.only:
        began = time.perf_counter()
        found[name] = PARTS[name](subjects, options.seeds)
        console.print(f"{name}: {time.perf_counter() - began:.0f} s")
        _print(console, name, found[name])
    path = options.out or RESULTS / f"dtype-{datetime.now(UTC):%Y-%m-%d}.json"
    write_json(path, {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "greenroom": version(), "machine": facts(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(), "seeds": options.seeds, "parts": found,
    })  # fmt: skip
    console.print(f"written to {path}")


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What short floats do to measures; see bench/README.md.")
    parser.add_argument("--seeds", type=int, default=8, metavar="N", help="runs a format, where replies are drawn [8]")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts alone")
    parser.add_argument("--out", type=Path, metavar="FILE", help="results [bench/results/dtype-<date>.json]")
    return parser.parse_args()


# Nothing is drawn: the same text in both formats ------------------------------------------------------------------------


def pairs(subjects: dict[str, Subject], seeds: int) -> list[dict[str, Any]]:
    """Log-probability of one continuation under two contexts: what a contrast reads, in nats."""
    questions, roles = library.questions(), library.roles()
    said = [role.instructions[0] for role in roles]
    asked = [(said[n % len(said)], questions[n % len(questions)].text) for n in range(PAIRS)]
    texts = [
        f"I am {roles[n % len(roles)].name.replace('_', ' ')}, and I will tell you what I think." for n in range(PAIRS)
    ]
    values = {}
    for name, subject in subjects.items():
        with_role: list[Conversation] = [[system(role), user(text)] for role, text in asked]
        without: list[Conversation] = [[system(""), user(text)] for _, text in asked]
        total = subject.score([*with_role, *without], [*texts, *texts]).total
        values[name] = [one - other for one, other in zip(total[:PAIRS], total[PAIRS:], strict=True)]
    return [_same_text(f"contrast, nats, {PAIRS} pairs", name, values) for name in FORMATS]


def reader(subjects: dict[str, Subject], seeds: int) -> list[dict[str, Any]]:
    """Places of the same replies on the assistant axis and on traits, read cold, in sd."""
    plain = subjects["float32"]
    asked = [one.text for one in library.questions()]
    asked = [asked[n % len(asked)] for n in range(REPLIES)]
    roles = library.roles()
    talks: list[Conversation] = [
        [system(roles[n % len(roles)].instructions[0] if n % 2 else ""), user(text)] for n, text in enumerate(asked)
    ]
    replies = plain.generate(talks, max_new_tokens=64, temperature=0.7, top_p=0.9, seed=1)
    rows = []
    for direction in (assistant_axis(plain), *(trait_vector(plain, name) for name in TRAITS)):
        values = {
            name: in_sd(direction, cold_values(subject, [direction.layer], asked, replies)[0])
            for name, subject in subjects.items()
        }
        rows += [_same_text(f"{direction.name}, cold sd, {REPLIES} replies", name, values) for name in FORMATS]
    return rows


def _same_text(what: str, name: str, values: dict[str, list[float]]) -> dict[str, Any]:
    """The difference of one format's values to float32's, beside half the interval of their mean."""
    plain, other = values["float32"], values[name]
    gaps = [one - base for one, base in zip(other, plain, strict=True)]
    half = 1.96 * statistics.stdev(plain) / math.sqrt(len(plain))
    return _row(
        what, name, statistics.mean(gaps), statistics.stdev(gaps) / math.sqrt(len(gaps)), half, statistics.stdev(gaps)
    )


# Replies are drawn: seeds ------------------------------------------------------------------------------------------------


def audits(subjects: dict[str, Subject], seeds: int) -> list[dict[str, Any]]:
    """Every headline measure of the quick audit."""
    found: dict[str, list[dict[str, tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as room:
        for seed in range(seeds):
            for name, subject in subjects.items():
                result = audit(subject, Path(room) / f"{name}-{seed}", quick=True, seed=seed)
                found.setdefault(name, []).append(dict(_measures(result.path)))
    return _over_seeds(found)


def _measures(run: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    for row in read_table(run / "tables" / "measures.parquet").iter_rows(named=True):
        if row["part"] == "" and None not in (row["estimate"], row["low"], row["high"]):
            name = " ".join(str(row[key]) for key in ("study", "name", "paradigm") if row[key])
            yield name, (row["estimate"], (row["high"] - row["low"]) / 2)


def _over_seeds(found: dict[str, list[dict[str, tuple[float, float]]]]) -> list[dict[str, Any]]:
    rows = []
    shared = set.intersection(*(set(one) for runs in found.values() for one in runs))
    for measure in sorted(shared):
        plain = [run[measure][0] for run in found["float32"]]
        half = statistics.mean(run[measure][1] for run in found["float32"])
        for name in FORMATS:
            other = [run[measure][0] for run in found[name]]
            gaps = [one - base for one, base in zip(other, plain, strict=True)]
            error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
            noise = (
                math.sqrt(max(0.0, statistics.variance(other) - statistics.variance(plain))) if len(gaps) > 1 else 0.0
            )
            rows.append(_row(measure, name, statistics.mean(gaps), error, half, noise))
    return rows


def _row(what: str, name: str, bias: float, error: float, half: float, noise: float) -> dict[str, Any]:
    values = {"bias": bias, "standard_error": error, "half_width": half, "added_noise": noise}
    return {"measure": what, "format": name, **{key: None if math.isnan(one) else one for key, one in values.items()}}


PARTS: dict[str, Callable[[dict[str, Subject], int], list[dict[str, Any]]]] = {
    "pairs": pairs, "reader": reader, "audit": audits,
}  # fmt: skip


def _print(console: Console, name: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=name, title_justify="left")
    for head in ("measure", "format", "bias", "± (1.96 s.e.)", "half-width", "bias / half-width", "added noise"):
        table.add_column(head, justify="left" if head in ("measure", "format") else "right")
    for row in rows:
        half, error = row["half_width"], row["standard_error"]
        share = "–" if not half else f"{row['bias'] / half:+.2f}"
        shown = "–" if error is None else f"{1.96 * error:.4f}"
        table.add_row(
            row["measure"],
            row["format"],
            f"{row['bias']:+.4f}",
            shown,
            f"{half:.4f}",
            share,
            f"{row['added_noise']:.4f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
