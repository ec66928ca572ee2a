"""The price of every library trait at the ends of the dose-response, and of capping the axis:
`python bench/capability.py [--strength 3]` (two to four minutes on two cores). Writes bench/results/capability-<date>.json,
which `bench/traits.py --table` joins by name.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from greenroom.directions import assistant_axis, stored
from greenroom.directions.interventions import cap, steer
from greenroom.frontier import capability
from greenroom.personas import library
from greenroom.runs.machine import facts, version
from greenroom.store import write_json
from greenroom.subject import load

RESULTS = Path(__file__).parent / "results"
FLOORS = ("default:p25", "rollouts:p25")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="smollm2")
    options.add_argument("--strength", type=float, default=3.0)
    given = options.parse_args()
    subject = load(given.model)
    axis = assistant_axis(subject)
    settings: dict[str, Any] = {f"assistant cap {floor}": cap(axis, floor) for floor in FLOORS}
    for trait in library.traits():
        direction = stored(subject, trait.name)
        if direction is None or not direction.reliable:
            continue
        for strength in (-given.strength, given.strength):
            settings[f"{trait.name} {strength:+g}"] = steer(direction, strength)
    frame = capability(subject, settings, progress=lambda done, total: print(f"{done} of {total}", flush=True))
    rows = frame.to_dicts()
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


if __name__ == "__main__":
    main()
