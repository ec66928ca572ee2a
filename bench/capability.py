"""The price of every library trait at the ends of the dose-response, and of capping the axis:
`python bench/capability.py [--strength 3] [--seeds 4] [--only malice,optimism]`, 16 s a setting and seed. More seeds draw more
items from the same templates, which narrows the interval. Writes bench/results/capability-<date>.json, which
`bench/traits.py --table` joins by name.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from greenroom.capability import CapabilityTest, Item, all_items, priced
from greenroom.directions import assistant_axis, stored
from greenroom.directions.interventions import cap, steer
from greenroom.personas import library
from greenroom.runs.machine import facts, version
from greenroom.store import write_json
from greenroom.subject import Subject, load

RESULTS = Path(__file__).parent / "results"
FLOORS = ("default:p25", "rollouts:p25")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="smollm2")
    options.add_argument("--strength", type=float, default=3.0)
    options.add_argument("--seeds", type=int, default=1, help="times the items are drawn; equal ones count once")
    options.add_argument("--only", help="these traits, comma-separated (default: every reliable one)")
    given = options.parse_args()
    only = given.only.split(",") if given.only else [trait.name for trait in library.traits()]
    subject = load(given.model)
    axis = assistant_axis(subject)
    settings: dict[str, Any] = {f"assistant cap {floor}": cap(axis, floor) for floor in FLOORS}
    for name in only:
        direction = stored(subject, name)
        if direction is None or not direction.reliable:
            continue
        for strength in (-given.strength, given.strength):
            settings[f"{name} {strength:+g}"] = steer(direction, strength)
    rows = measured(subject, settings, given.seeds)
    write_json(
        RESULTS / f"capability-{date.today().isoformat()}.json",
        {
            "version": version(),
            "machine": facts(),
            "model": subject.name,
            "fingerprint": subject.fingerprint,
            "rows": rows,
        },
    )
    for row in rows:
        if row["family"] == "all":
            print(f"{row['setting']}: loss {row['capability_loss']:.3f}, at most {row['capability_loss_high']:.3f}")


def measured(subject: Subject, settings: dict[str, Any], seeds: int) -> list[dict[str, object]]:
    """Rows of `greenroom.capability.priced`, over the distinct items of several draws."""
    blocks = sorted({min(edit.layer for edit in edits) for edits in settings.values()})
    asked: list[Item] = []
    before: list[np.ndarray] = []
    after: dict[str, list[np.ndarray]] = {name: [] for name in settings}
    known: set[str] = set()
    for seed in range(seeds):
        drawn = {repr((item.conversation, item.choices)): item for item in all_items(seed)}
        new = [item for text, item in drawn.items() if text not in known]
        known |= drawn.keys()
        test = CapabilityTest(subject, blocks, items=new)
        asked += new
        before.append(test.correct())
        for number, (name, edits) in enumerate(settings.items()):
            after[name].append(test.correct(edits))
            print(f"draw {seed + 1} of {seeds}: {number + 1} of {len(settings)}", flush=True)
    unedited = np.concatenate(before)
    return [row for name in settings for row in priced(asked, name, unedited, np.concatenate(after[name]))]


if __name__ == "__main__":
    main()
