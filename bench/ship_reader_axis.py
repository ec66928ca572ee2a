"""Builds the reader's axis of the embedded model, as it ships with the package.

    python bench/ship_reader_axis.py [--replies N] [--longest TOKENS] [--out FILE]

Needs about ten minutes on two cores. Prints what was chosen and how default replies of each length read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import greenroom
from greenroom.directions.axis import READER_AXIS
from greenroom.directions.cast import perform, usual_cast
from greenroom.directions.rollouts import CALIBRATION_REPLIES
from greenroom.directions.stored import places
from greenroom.reader.axis import LENGTHS, build_reader_axis


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replies", type=int, default=CALIBRATION_REPLIES + 20)
    parser.add_argument("--longest", type=int, default=max(LENGTHS), help="tokens of the longest default replies")
    parser.add_argument("--out", type=Path, default=None, help="file to write (default: the package data)")
    given = parser.parse_args()
    subject = greenroom.load(given.model)
    cast = usual_cast(tokens=40)
    performance = perform(subject, cast, seed=given.seed, progress=_show)
    lengths = tuple(length for length in LENGTHS if length <= given.longest)
    layer = greenroom.assistant_axis(subject).layer
    axis = build_reader_axis(
        subject, performance, cast, layer, seed=given.seed, replies=given.replies, lengths=lengths, progress=_show
    )  # fmt: skip
    axis.save(given.out or places(axis.fingerprint, READER_AXIS)[0])
    print(f"\nblock {axis.layer}, {axis.validity}")
    print(axis.recipe["default_replies_by_length"])


def _show(done: int, total: int) -> None:
    print(f"\r{done}/{total}", end="", flush=True)


if __name__ == "__main__":
    main()
