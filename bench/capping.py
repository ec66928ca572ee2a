"""Does capping the assistant axis bring role-instructed and jailbroken replies back? `python bench/capping.py` (two minutes).

The same prompts, the same random numbers, with and without a cap; replies re-read cold and unsteered on the axis.
Prints the median shift in sd with an interval (questions and texts resampled whole), and writes
bench/results/capping-<date>.json.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from greenroom.conversation import Conversation, system, user
from greenroom.directions import Direction, assistant_axis
from greenroom.directions.interventions import cap
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.personas import library
from greenroom.runs.machine import facts, version
from greenroom.store import write_json
from greenroom.studies.hold.pressures import stimuli
from greenroom.subject import Subject, load

RESULTS = Path(__file__).parent / "results"
FLOORS = ("default:p25", "rollouts:p25")
TOKENS, QUESTIONS, DRAWS = 40, 6, 2000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="smollm2")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    subject = load(given.model)
    axis = assistant_axis(subject)
    rows = []
    for kind, (prompts, groups) in prompts_of(axis).items():
        plain = read(subject, axis, prompts, (), given.seed)
        for floor in FLOORS:
            capped = read(subject, axis, prompts, cap(axis, floor), given.seed)
            before = float(np.nanmedian(plain))
            row = {"prompts": kind, "floor": floor, "n": len(prompts), "uncapped_median_sd": before}
            rows.append({**row, **shift(capped - plain, groups, given.seed)})
            print(rows[-1], flush=True)
    write_json(
        RESULTS / f"capping-{date.today().isoformat()}.json",
        {
            "version": version(),
            "machine": facts(),
            "fingerprint": subject.fingerprint,
            "seed": given.seed,
            "rows": rows,
        },
    )


def prompts_of(axis: Direction) -> dict[str, tuple[list[Conversation], list[str]]]:
    """Kind → prompts, and the role or text each belongs to. Roles are those that the axis was not made from."""
    questions = [question.text for question in library.questions()[:: len(library.questions()) // QUESTIONS]][
        :QUESTIONS
    ]
    roles = [library.role(name) for name in axis.recipe["reserved"]]
    instructed = [
        (role.name, [system(role.instructions[index % len(role.instructions)]), user(question)])
        for role in roles
        for index, question in enumerate(questions)
    ]
    texts = next(pressure.texts for pressure in stimuli().pressures if pressure.name == "jailbreak")
    jailbroken = [
        (str(number), [user(f"{text.format(description=roles[number % len(roles)].description)}\n\n{question}")])
        for number, text in enumerate(texts)
        for question in questions
    ]
    return {
        kind: ([prompt for _, prompt in of], [group for group, _ in of])
        for kind, of in (("role", instructed), ("jailbreak", jailbroken))
    }


def read(subject: Subject, axis: Direction, prompts: list[Conversation], edits: Any, seed: int) -> np.ndarray:
    """(prompt,) sd of each reply read cold; NaN for an empty one."""
    replies = subject.generate(
        prompts, max_new_tokens=TOKENS, temperature=TEMPERATURE, top_p=TOP_P, seed=seed, interventions=edits
    )
    found = np.full(len(prompts), np.nan)
    kept = [index for index, reply in enumerate(replies) if reply.tokens]
    # The user's plain question: what a jailbreak puts before it made the reply, and is left out of the reading.
    bare: list[Conversation] = [[user(prompts[index][-1]["content"].split("\n\n")[-1])] for index in kept]
    values = subject.activations(bare, [axis.layer], replies=[replies[index] for index in kept]).values[0]
    found[kept] = axis.sd(values).numpy()
    return found


def shift(moved: np.ndarray, groups: list[str], seed: int) -> dict[str, float]:
    """Median shift and its 95 % interval; roles or texts are resampled whole."""
    by = [moved[[index for index, name in enumerate(groups) if name == group]] for group in dict.fromkeys(groups)]
    draws = np.random.default_rng(seed).integers(len(by), size=(DRAWS, len(by)))
    medians = [np.nanmedian(np.concatenate([by[index] for index in draw])) for draw in draws]
    low, high = np.percentile(medians, [2.5, 97.5])
    return {"median_shift_sd": float(np.nanmedian(moved)), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    main()
