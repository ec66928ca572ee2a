"""Effect and price of every library trait: `python bench/frontier.py [--strengths=-3,-2,-1,1,2,3] [--out runs/frontiers]`.

One `greenroom frontier` a trait, each a resumable run of its own, then a table on stdout. On SmolLM2 and two CPU cores
about three minutes a trait; what is finished is not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from greenroom import load, measure_frontier
from greenroom.personas import library
from greenroom.runs.progress import terminal_progress


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="smollm2")
    options.add_argument("--traits", default="", help="names with commas (default: all of the library)")
    options.add_argument("--strengths", default="-3,-2,-1,1,2,3")
    options.add_argument("--replies", type=int, default=32)
    options.add_argument("--out", type=Path, default=Path("runs/frontiers"))
    given = options.parse_args()
    subject = load(given.model)
    strengths = [float(part) for part in given.strengths.split(",")]
    names = given.traits.split(",") if given.traits else [trait.name for trait in library.traits()]
    rows: list[dict[str, Any]] = []
    for name in names:
        result = measure_frontier(
            subject, name, given.out / name, strengths=strengths, floors=(), replies=given.replies,
            progress=terminal_progress(plain=True),
        )  # fmt: skip
        rows += result.frame.to_dicts()
    print("| direction | strength, sd | effect | loss, % (95 %) | perplexity | degenerate, % | leakage |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['direction']} | {row['strength']:+g} | {_value(row, 'effect')} {row['effect_unit']} "
            f"| {_value(row, 'capability_loss', 100)} | {row['perplexity'] or float('nan'):.1f} "
            f"| {100 * row['degenerate_share']:.0f} | {_value(row, 'leakage')} |"
        )


def _value(row: dict[str, Any], name: str, scale: float = 1) -> str:
    if row[name] is None:
        return "–"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    bounds = f" ({scale * low:.2f} to {scale * high:.2f})" if low is not None and high is not None else ""
    return f"{scale * row[name]:.2f}{bounds}"


if __name__ == "__main__":
    main()
