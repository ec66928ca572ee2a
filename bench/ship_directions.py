"""Builds the directions of `smollm2` that ship with the package: `python bench/ship_directions.py` (about 6 minutes)."""

from __future__ import annotations

import argparse
from pathlib import Path

from greenroom.directions.axis import build_axis
from greenroom.directions.direction import Direction
from greenroom.directions.poles import play_poles
from greenroom.directions.rollouts import readable_layers
from greenroom.directions.stored import places
from greenroom.directions.traits import build
from greenroom.personas import library
from greenroom.subject import Subject, load

SEED = 0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--axis", type=Path, help="the axis that an audit of smollm2 made, instead of building one")
    options.add_argument("--only-axis", action="store_true", help="leave the traits as they are")
    given = options.parse_args()
    subject = load("smollm2")
    axis = Direction.load(given.axis, subject) if given.axis else build_axis(subject, seed=SEED)
    axis.save(places(subject.fingerprint, axis.name)[0])
    print(f"{axis.name}: block {axis.layer}, AUC {axis.validity['auc']:.3f}", flush=True)
    if not given.only_axis:
        build_traits(subject)


def build_traits(subject: Subject) -> None:
    traits = library.traits()
    poles = play_poles(
        subject, traits, layers=readable_layers(subject), questions=8, held_out_questions=5, tokens=32, seed=SEED
    )
    for built in build(subject, traits, poles, seed=SEED):
        direction = built.direction
        direction.save(places(subject.fingerprint, direction.name)[0])
        told = direction.validity
        print(
            f"{direction.name}: block {direction.layer}, AUC {told['auc']:.2f} ({told['auc_low']}–{told['auc_high']})"
            f"{'' if direction.reliable else ', unreliable'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
