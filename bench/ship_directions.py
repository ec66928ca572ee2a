"""Builds the directions of `smollm2` that ship with the package: `python bench/ship_directions.py` (about 10 minutes)."""

from __future__ import annotations

import argparse
from pathlib import Path

from greenroom.directions.axis import build_axis
from greenroom.directions.direction import Direction
from greenroom.directions.poles import play_poles
from greenroom.directions.rollouts import readable_layers
from greenroom.directions.stored import places
from greenroom.directions.traits import build
from greenroom.directions.trial import trial, trial_places
from greenroom.personas import Trait, library
from greenroom.store import write_json
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
    for trait, built in zip(traits, build(subject, traits, poles, seed=SEED), strict=True):
        direction = built.direction
        direction.save(places(subject.fingerprint, direction.name)[0])
        ship_trial(subject, trait, direction)
        told = direction.validity
        print(
            f"{direction.name}: block {direction.layer}, AUC {told['auc']:.2f} ({told['auc_low']}–{told['auc_high']})"
            f"{'' if direction.reliable else ', unreliable'}",
            flush=True,
        )


def ship_trial(subject: Subject, trait: Trait, direction: Direction) -> None:
    """Tries strengths anew; the trial of a vector that was replaced goes."""
    shipped, _ = trial_places(subject, trait, direction, SEED)
    for old in shipped.parent.glob(f"{direction.name}-*.json"):
        old.unlink()
    if direction.reliable:
        write_json(shipped, trial(subject, trait, direction, seed=SEED, again=True).plain())


if __name__ == "__main__":
    main()
