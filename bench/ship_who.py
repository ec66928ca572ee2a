"""Makes the calibration of `greenroom who` for the embedded model that ships with the package.

    python bench/ship_who.py [--replies N] [--tokens N] [--out RUN]

Replies of the whole library's contexts, drawn by the prior, are explained by it; the temperatures by length, fitted on
half the questions, and the calibration errors on the other half are written as package data. The definition asks for
1,000 replies or more, which take about half a day on two cores; killed, the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import greenroom
from greenroom.reader.posterior.calibration import ENOUGH
from greenroom.reader.posterior.validation import validate_who
from greenroom.runs.progress import terminal_progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--contexts", choices=("all", "roles"), default="all")
    parser.add_argument("--replies", type=int, default=round(1.2 * ENOUGH), help="some end too early and are left out")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--paraphrases", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/ship-who"))
    given = parser.parse_args()
    subject = greenroom.load(given.model)
    found = validate_who(
        subject, design=given.contexts, replies=given.replies, tokens=given.tokens, paraphrases=given.paraphrases,
        seed=given.seed, out=given.out, progress=terminal_progress(plain=True),
    )  # fmt: skip
    for row in found.rows():
        print(*row, sep="\t")
    print(found.calibration.save(subject.fingerprint), found.calibration.as_dict())


if __name__ == "__main__":
    main()
