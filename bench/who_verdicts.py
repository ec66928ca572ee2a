"""How often the verdicts of `who` are right: replies of known speakers and plain assistant replies, under the default contexts.

    python bench/who_verdicts.py [--roles N] [--assistant N] [--limit N] [--seed N] [--out FILE]

The embedded model answers the library's questions as roles and as the default assistant, 24 tokens or whatever it says
before it stops; the instruction that it was given is not among the wordings that judge. Every other reply serves to
try the rules of reader/posterior/verdict.py (half "fit"), the others are reported (half "test"). The plain replies were
written by hand, half of them likewise kept for the end. Prints and writes bench/results/who-verdicts-<date>.json; about ten
minutes on two cores. --limit judges so many more and stops; the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import greenroom
from greenroom.conversation import Conversation
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.personas import Context, library
from greenroom.reader.posterior.contexts import ASSISTANT, contexts_of
from greenroom.runs.machine import facts
from greenroom.store import read_json, write_json
from greenroom.subject import Subject

HERE = Path(__file__).resolve().parent
TOKENS = 24


def asked_of(contexts: Sequence[Context], roles: int, assistant: int) -> list[dict[str, Any]]:
    """Who answers what, under which wording (None: the empty system message)."""
    questions = [one.text for one in library.questions()]
    named = [one for one in contexts if not one.generic and one.name != ASSISTANT]
    rows: list[dict[str, Any]] = []
    told = (None, *range(len(next(one for one in contexts if one.name == ASSISTANT).instruction)))
    for number in range(assistant):
        rows.append({"speaker": ASSISTANT, "wording": told[number % len(told)], "asked": questions[(7 * number) % 54]})
    for number in range(roles):
        role = named[(len(named) * number) // roles]
        rows.append({"speaker": role.name, "wording": number % 3, "asked": questions[(5 * number + 3) % 54]})
    return [row | {"half": ("fit", "test")[number % 2]} for number, row in enumerate(rows)]


def replies(
    subject: Subject, contexts: Sequence[Context], rows: list[dict[str, Any]], seed: int
) -> list[dict[str, Any]]:
    """The rows with what was said."""
    by_name = {one.name: one for one in contexts}
    prompts: list[Conversation] = [
        [
            {
                "role": "system",
                "content": "" if row["wording"] is None else by_name[row["speaker"]].instruction[row["wording"]],
            },
            {"role": "user", "content": row["asked"]},
        ]
        for row in rows
    ]
    said = subject.generate(prompts, max_new_tokens=TOKENS, temperature=TEMPERATURE, top_p=TOP_P, seed=seed)
    made = [row | {"text": one.text} for row, one in zip(rows, said, strict=True)]
    written = json.loads((HERE / "who_written.json").read_text(encoding="utf-8"))
    return made + [{"speaker": "written", "wording": None, **one} for one in written]


def judged(subject: Subject, contexts: Sequence[Context], row: dict[str, Any]) -> dict[str, Any]:
    """The row with its verdict. The wording that the speaker was given takes no part."""
    without = [
        one.model_copy(update={"instruction": tuple(t for i, t in enumerate(one.instruction) if i != row["wording"])})
        if one.name == row["speaker"]
        else one
        for one in contexts
    ]
    found = greenroom.who(row["text"], user=row["asked"], contexts=without, reader=subject)
    lead, place = found.top(1), found.assistant
    return row | {
        "tokens": found.tokens,
        "verdict": found.verdict.id,
        "lead": lead[0].context if lead else None,
        "probability": lead[0].probability if lead else None,
        "bits_per_token": lead[0].bits_per_token if lead else None,
        "low": lead[0].low if lead else None,
        "assistant": None if place is None else place[0],
        "assistant_probability": None if place is None else place[1].probability,
        "none_of_these": found.none_of_these,
    }


def counts(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """kind of speaker and half → verdict → how many; a name counts as right or wrong."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        kind = row["speaker"] if row["speaker"] in (ASSISTANT, "written") else "role"
        who = ASSISTANT if kind == "written" else row["speaker"]
        named = row["verdict"] == "sounds_like"
        told = ("right" if row["lead"] == who else "wrong") if named else row["verdict"]
        found.setdefault(f"{kind}, {row['half']}", Counter())[told] += 1
    return {key: dict(found[key]) for key in sorted(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roles", type=int, default=46)
    parser.add_argument("--assistant", type=int, default=24)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument(
        "--out", type=Path, default=HERE / "results" / f"who-verdicts-{datetime.now(UTC):%Y-%m-%d}.json"
    )
    given = parser.parse_args()
    subject, contexts = greenroom.load("smollm2"), contexts_of()
    rows = replies(subject, contexts, asked_of(contexts, given.roles, given.assistant), given.seed)
    done: list[dict[str, Any]] = read_json(given.out)["replies"] if given.out.is_file() else []
    for row in rows[len(done) :][: given.limit]:
        done.append(judged(subject, contexts, row))
        print(
            *(done[-1][name] for name in ("speaker", "half", "verdict", "lead", "probability", "text")),
            sep="\t",
            flush=True,
        )
        result = {"command": "python bench/who_verdicts.py", "machine": facts(), "seed": given.seed,
                  "counts": counts(done), "replies": done}  # fmt: skip
        write_json(given.out, result)
    print(json.dumps(counts(done), indent=1))


if __name__ == "__main__":
    main()
