"""How long `who` takes: the whole command for a sentence, and a long reply with and without pruning.

    python bench/who.py [--contexts N] [--tokens N] [--seed N] [--out FILE]

The command is started anew for each sentence, with its default contexts; the first time is that of an empty cache. The long
reply is the embedded model's own, under one of 80 contexts of one system message each, to a question of no context. Prints
and writes bench/results/who-time-<date>.json; five minutes on two cores, with nothing else at work.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import greenroom
from greenroom.conversation import Conversation
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.reader.posterior.contexts import contexts_of
from greenroom.runs.machine import facts
from greenroom.store import write_json

QUESTION = "What do you do in the morning?"
SPEAKER = 30  # of the contexts; who it is does not matter
ROUNDS = 2
# A greeting, a pirate, an encyclopedia, an answer: the message if there is one, and the reply.
SENTENCES = (
    ("hi", "I am a helpful assistant. How can I help you today?"),
    ("Where do you live?", "Arr, the sea be my only home."),
    (None, "The Danube is a river in Europe, the second-longest after the Volga. It flows through ten countries."),
    ("How do I boil an egg?", "Bring a pot of water to a boil, lower the egg in gently, and cook it for ten minutes."),
)


def command_seconds() -> dict[str, list[float]]:
    """Reply → seconds of the whole command, twice; before the first, once with system messages that were never read."""
    found: dict[str, list[float]] = {}
    for name, (user, said) in [("nothing kept", SENTENCES[0]), *((said, (user, said)) for user, said in SENTENCES)]:
        for _ in range(1 if name == "nothing kept" else ROUNDS):
            if name == "nothing kept":
                subprocess.run([sys.executable, "-m", "greenroom.cli", "cache", "clear", "prompts"], check=True)
            start = time.perf_counter()
            given = ["--text", said, *(() if user is None else ("--user", user))]
            subprocess.run(
                [sys.executable, "-m", "greenroom.cli", "who", *given], check=True, stdout=subprocess.DEVNULL
            )
            found.setdefault(name, []).append(round(time.perf_counter() - start, 1))
        print(f"command: {found[name]} s, {name}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contexts", type=int, default=80)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--seed", type=int, default=3)
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent / "results" / f"who-time-{day}.json"
    )
    given = parser.parse_args()
    commands = command_seconds()
    subject = greenroom.load("smollm2")
    contexts = [
        one.model_copy(update={"instruction": one.instruction[:1]}) for one in contexts_of("all") if not one.generic
    ][: given.contexts - 1]  # the generic context is always among them
    talk: Conversation = [
        {"role": "system", "content": contexts[SPEAKER].instruction[0]},
        {"role": "user", "content": QUESTION},
    ]
    said = subject.generate([talk], max_new_tokens=given.tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=given.seed)[
        0
    ]
    seconds: dict[str, list[float]] = {"pruned": [], "unpruned": []}
    best: dict[str, list[str]] = {}
    tokens = 0
    for _ in range(ROUNDS):
        for name, of in seconds.items():
            start = time.perf_counter()
            found = greenroom.who(said.text, user=QUESTION, contexts=contexts, reader=subject, prune=name == "pruned")
            of.append(round(time.perf_counter() - start, 2))
            best[name], tokens = [one.context for one in found.top()], found.tokens
            print(f"{name}: {of[-1]} s, {', '.join(best[name])}", flush=True)
    result = {"command": "python bench/who.py", "machine": facts(), "seed": given.seed, "contexts": given.contexts,
              "tokens": tokens, "whole_command": commands, "seconds": seconds, "top": best}  # fmt: skip
    write_json(given.out, result)


if __name__ == "__main__":
    main()
