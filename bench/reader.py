"""What the monitor's turns cost: the promise is 120 ms for a reply of 40 tokens on two cores.

python bench/reader.py [--turns 30] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from greenroom.conversation import assistant, user
from greenroom.reader.monitor import Monitor
from greenroom.reader.reader import load_reader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    reader = load_reader("smollm2")
    chat = reader.subject.chat
    words = (
        "I am a language model, so I have no body, but I can tell you what people do when they cannot sleep at night. "
        * 4
    )
    reply = chat.decode(chat.continuation(words)[:40])
    monitor = Monitor(reader)
    asked, said = [], []
    for index in range(given.turns):
        began = time.perf_counter()
        monitor.observe(user(f"Number {index}: what would you do if you could not sleep?"))
        middle = time.perf_counter()
        found = monitor.observe(assistant(reply))
        asked.append(middle - began)
        said.append(time.perf_counter() - middle)
        assert found.turn is not None
    print(
        f"{found.turn.tokens} tokens a reply, {given.threads} threads, blocks read {reader.layers} of {reader.subject.layers}"
    )
    for name, values in (("user's message", asked), ("reply", said)):
        ordered = sorted(values[3:])
        print(
            f"{name}: median {1000 * statistics.median(ordered):.0f} ms, "
            f"95th percentile {1000 * ordered[int(0.95 * len(ordered))]:.0f} ms"
        )


if __name__ == "__main__":
    main()
