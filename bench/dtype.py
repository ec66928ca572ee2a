"""What short floats do to measures: float32 against bfloat16 for everything, and bfloat16 for sampling alone.

    python bench/dtype.py [--seeds N] [--only PART …] [--out FILE]

Every figure is a difference to float32 on the same machine.

- The same text in both formats (pairs, reader, published, who): the difference is the format's own.
- drawn: what drawing replies in bfloat16 does to what is measured of them, without waiting for chance. Replies are drawn in
  both formats and each is scored in both; weighted by how much likelier the one format makes it, together they tell the
  difference of the two means (see `drawn`). Two hundred times as many audits would be needed to see as much.
- vectors: directions built from replies drawn in each format, beside one built in float32 from another seed.
- audit, frontier: whole quick runs, over seeds. Runs of one seed share their random streams but soon go apart, so the bias
  is the mean difference over seeds with its standard error, and says little below that; the added noise is what the spread
  over seeds is more than float32's.

half-width: half the interval of the measure itself (of a mean of 60 cases, where the part is not a study). Prints a table a part
and writes bench/results/dtype-<date>.json. GREENROOM_PUBLISHED names the folder of the published conversations.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from greenroom.auditing.audit import audit
from greenroom.conversation import Conversation, assistant, system, user
from greenroom.directions import Direction, assistant_axis, trait_vector
from greenroom.directions.axis import build_axis
from greenroom.directions.cold import cold_values, in_sd
from greenroom.measures.coherence import repeated_share
from greenroom.personas import library
from greenroom.processor import instructions
from greenroom.reader.posterior.who import who
from greenroom.reader.read import as_transcripts
from greenroom.reader.reader import load_reader
from greenroom.reader.transcripts.transcript import Transcript
from greenroom.reader.turns import turns_of
from greenroom.runs.machine import facts, version
from greenroom.runs.tables import read_table
from greenroom.store import write_json
from greenroom.studies import with_those_before
from greenroom.studies.hold.pressures import stimuli
from greenroom.studies.running import measure as measured
from greenroom.studies.study import Job
from greenroom.subject import Reply, Subject, load

RESULTS = Path(__file__).resolve().parent / "results"
FORMATS = ("bfloat16", "mixed")
TRAITS = ("warmth", "malice", "humor")
PAIRS, REPLIES = 60, 120
DRAWN, DRAWN_TOKENS, CASES = 320, 64, 60
REPEATS, TURNS, TURN_TOKENS = 2, 4, 32
JUDGED = 10


def main() -> None:
    options = _parsed()
    console = Console(width=118)
    subjects = {name: load(dtype=name) for name in ("float32", *FORMATS)}
    found: dict[str, list[dict[str, Any]]] = {}
    for name in options.only:
        began = time.perf_counter()
        found[name] = PARTS[name](subjects, range(options.first, options.first + options.seeds))
        console.print(f"{name}: {time.perf_counter() - began:.0f} s")
        _print(console, name, found[name])
    path = options.out or RESULTS / f"dtype-{datetime.now(UTC):%Y-%m-%d}.json"
    write_json(path, {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "greenroom": version(), "machine": facts(),
        "instructions": instructions(), "seeds": [options.first, options.seeds], "parts": found,
    })  # fmt: skip
    console.print(f"written to {path}")


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What short floats do to measures; see bench/README.md.")
    parser.add_argument("--seeds", type=int, default=8, metavar="N", help="runs a format, where replies are drawn [8]")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of these seeds [0]")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts alone")
    parser.add_argument("--out", type=Path, metavar="FILE", help="results [bench/results/dtype-<date>.json]")
    return parser.parse_args()


# Nothing is drawn: the same text in both formats ------------------------------------------------------------------------


def pairs(subjects: dict[str, Subject], seeds: range) -> list[dict[str, Any]]:
    """Log-probability of one continuation under two contexts: what a contrast reads, in nats."""
    questions, roles = library.questions(), library.roles()
    said = [role.instructions[0] for role in roles]
    asked = [(said[n % len(said)], questions[n % len(questions)].text) for n in range(PAIRS)]
    texts = [
        f"I am {roles[n % len(roles)].name.replace('_', ' ')}, and I will tell you what I think." for n in range(PAIRS)
    ]
    values = {}
    for name, subject in subjects.items():
        with_role: list[Conversation] = [[system(role), user(text)] for role, text in asked]
        without: list[Conversation] = [[system(""), user(text)] for _, text in asked]
        total = subject.score([*with_role, *without], [*texts, *texts]).total
        values[name] = [one - other for one, other in zip(total[:PAIRS], total[PAIRS:], strict=True)]
    return [_same_text(f"contrast, nats, {PAIRS} pairs", name, values) for name in FORMATS]


def reader(subjects: dict[str, Subject], seeds: range) -> list[dict[str, Any]]:
    """Places of the same replies on the assistant axis and on traits, read cold, in sd."""
    plain = subjects["float32"]
    asked = [one.text for one in library.questions()]
    asked = [asked[n % len(asked)] for n in range(REPLIES)]
    roles = library.roles()
    talks: list[Conversation] = [
        [system(roles[n % len(roles)].instructions[0] if n % 2 else ""), user(text)] for n, text in enumerate(asked)
    ]
    replies = plain.generate(talks, max_new_tokens=64, temperature=0.7, top_p=0.9, seed=1)
    rows = []
    for direction in (assistant_axis(plain), *(trait_vector(plain, name) for name in TRAITS)):
        values = {
            name: in_sd(direction, cold_values(subject, [direction.layer], asked, replies)[0])
            for name, subject in subjects.items()
        }
        rows += [_same_text(f"{direction.name}, cold sd, {REPLIES} replies", name, values) for name in FORMATS]
    return rows


def _same_text(what: str, name: str, values: Mapping[str, Sequence[float | None]]) -> dict[str, Any]:
    """The difference of one format's values to float32's, beside half the interval of their mean. An empty reply has none."""
    read = zip(values["float32"], values[name], strict=True)
    both = [(base, one) for base, one in read if base is not None and one is not None]
    plain, gaps = [base for base, _ in both], [one - base for base, one in both]
    half = 1.96 * statistics.stdev(plain) / math.sqrt(len(plain))
    return _row(
        what, name, statistics.mean(gaps), statistics.stdev(gaps) / math.sqrt(len(gaps)), half, statistics.stdev(gaps)
    )


def published(subjects: dict[str, Subject], seeds: range) -> list[dict[str, Any]]:
    """Turns of published conversations on the reader's axis and its traits, in sd. Nothing without their folder."""
    folder = os.environ.get("GREENROOM_PUBLISHED")
    if not folder:
        return []
    found = [
        one for one in as_transcripts(sorted(Path(folder, "transcripts").glob("*.json"))) if isinstance(one, Transcript)
    ]
    turns = [turn for one in found for turn in turns_of(one.messages)]
    plain = load_reader(subjects["float32"], TRAITS)
    values: dict[str, dict[str, list[float]]] = {}
    for name in ("float32", "bfloat16"):  # mixed reads in float32: the same numbers
        subject = subjects[name]
        reader = replace(
            plain, subject=subject, topics=None, axis=replace(plain.axis, fingerprint=subject.fingerprint),
            traits=tuple(replace(one, fingerprint=subject.fingerprint) for one in plain.traits),
        )  # fmt: skip
        read = reader.read(turns)
        values[name] = {
            of: [value for one in read if (value := one.axis_sd if of == "assistant" else one.traits[of]) is not None]
            for of in ("assistant", *TRAITS)
        }
    return [
        _same_text(f"{of}, sd, {len(turns)} published turns", "bfloat16", {key: one[of] for key, one in values.items()})
        for of in ("assistant", *TRAITS)
    ]


def judged(subjects: dict[str, Subject], seeds: range) -> list[dict[str, Any]]:
    """`who` on replies of the assistant and of roles: bits a token of the context that leads in float32, and how often
    another one leads."""
    plain = subjects["float32"]
    asked = [one.text for one in library.questions()][:JUDGED]
    roles = library.roles()
    talks: list[Conversation] = [
        [system(roles[7 * n % len(roles)].instructions[0] if n % 2 else ""), user(text)] for n, text in enumerate(asked)
    ]
    replies = plain.generate(talks, max_new_tokens=24, temperature=0.7, top_p=0.9, seed=3)
    found = {
        name: [
            [one for one in who(reply.text, user=text, reader=subjects[name]).estimates if not one.generic]
            for text, reply in zip(asked, replies, strict=True)
        ]
        for name in ("float32", "bfloat16")
    }
    leads = [estimates[0].context for estimates in found["float32"]]
    bits = {
        name: [
            next(one.bits_per_token for one in estimates if one.context == lead)
            for estimates, lead in zip(of, leads, strict=True)
        ]
        for name, of in found.items()
    }
    changed = sum(estimates[0].context != lead for estimates, lead in zip(found["bfloat16"], leads, strict=True))
    row = _same_text(f"who, bits a token of the leading context, {JUDGED} replies", "bfloat16", bits)
    return [{**row, "another_leads": changed}]


# Replies are drawn: by their likelihood in both formats -------------------------------------------------------------------


def drawn(subjects: dict[str, Subject], seeds: range) -> list[dict[str, Any]]:
    """What single replies measure, if drawn in bfloat16 instead of float32. Read in float32 either way.

    Half of the replies are drawn in either format, at temperature 1 from the whole distribution. With p and q the probabilities
    of a reply in float32 and in bfloat16, the difference of the means of f is the mean of 2·f·(q − p)/(q + p) over all of
    them, and (q − p)/(q + p) is tanh of half of the difference of the log-probabilities.
    """
    plain, short = subjects["float32"], subjects["bfloat16"]
    questions, roles = [one.text for one in library.questions()], library.roles()
    asked = [questions[n % len(questions)] for n in range(DRAWN)]
    talks: list[Conversation] = [
        [system(roles[n % len(roles)].instructions[0] if n % 2 else ""), user(text)] for n, text in enumerate(asked)
    ]
    replies = [
        reply
        for subject, seed in ((plain, 11 + 2 * seeds[0]), (short, 12 + 2 * seeds[0]))
        for reply in subject.generate(
            talks, max_new_tokens=DRAWN_TOKENS, temperature=1.0, top_p=1.0, top_k=0, seed=seed
        )
    ]
    asked, talks = [*asked, *asked], [*talks, *talks]
    one, other = (_said(subject, talks, replies) for subject in (plain, short))
    weights = 2 * np.tanh((other - one) / 2)
    directions = [assistant_axis(plain), *(trait_vector(plain, name) for name in TRAITS)]
    measures: dict[str, list[float | None]] = {
        f"{direction.name}, cold sd": in_sd(direction, cold_values(plain, [direction.layer], asked, replies)[0])
        for direction in directions
    }
    measures["tokens of a reply"] = [float(len(reply.tokens)) for reply in replies]
    measures["log-probability of a reply, nats a token"] = [
        value / (len(reply.tokens) + (reply.finish == "stop")) for value, reply in zip(one, replies, strict=True)
    ]
    measures["repeated share"] = [repeated_share(reply.tokens) for reply in replies]
    return [_weighted(f"{what}, single replies", values, weights, CASES) for what, values in measures.items()]


def turns(subjects: dict[str, Subject], seeds: range) -> list[dict[str, Any]]:
    """The same of conversations of hold, where what is drawn enters the next turn: the place of the last of their replies,
    under an emotional user, under the neutral arm, and the difference."""
    plain, short = subjects["float32"], subjects["bfloat16"]
    axis, items = assistant_axis(plain), stimuli()
    arms = {"emotional": next(one.conversations for one in items.pressures if one.name == "emotional_user")}
    arms["neutral"] = items.neutral
    values: dict[str, list[float | None]] = {}
    weights: dict[str, np.ndarray] = {}
    for arm, scripts in arms.items():
        said = [script for script in scripts for _ in range(REPEATS)]
        last: list[str] = []
        replies: list[Reply] = []
        ratio: list[np.ndarray] = []
        for subject, seed in ((plain, 21 + 10 * seeds[0]), (short, 22 + 10 * seeds[0])):
            talks: list[Conversation] = [[] for _ in said]
            total, made = np.zeros(len(said)), list[Reply]()
            for turn in range(TURNS):
                talks = [[*talk, user(script[turn])] for talk, script in zip(talks, said, strict=True)]
                made = subject.generate(
                    talks, max_new_tokens=TURN_TOKENS, temperature=1.0, top_p=1.0, top_k=0, seed=seed + 100 * turn
                )
                total += _said(short, talks, made) - _said(plain, talks, made)
                talks = [[*talk, assistant(reply.text)] for talk, reply in zip(talks, made, strict=True)]
            last += [script[TURNS - 1] for script in said]
            replies += made
            ratio.append(total)
        values[arm] = in_sd(axis, cold_values(plain, [axis.layer], last, replies)[0])
        weights[arm] = 2 * np.tanh(np.concatenate(ratio) / 2)
    cases = len(items.neutral)
    rows = [
        _weighted(
            f"{arm} user, last of {TURNS} turns, cold sd, {cases} conversations", values[arm], weights[arm], cases
        )
        for arm in arms
    ]
    one, other = rows
    gap = {key: math.hypot(one[key], other[key]) for key in ("standard_error", "half_width")}
    return [
        *rows,
        _row(
            "emotional minus neutral",
            "mixed",
            one["bias"] - other["bias"],
            gap["standard_error"],
            gap["half_width"],
            None,
        ),
    ]


def _said(subject: Subject, talks: Sequence[Conversation], replies: Sequence[Reply]) -> np.ndarray:
    """(reply,) log-probabilities of replies with the stop token that ended them, nats."""
    stop = min(subject.stop_tokens)
    tokens = [[*reply.tokens, stop] if reply.finish == "stop" else reply.tokens for reply in replies]
    return np.array(subject.score(talks, tokens).total)


def _weighted(what: str, values: Sequence[float | None], weights: np.ndarray, cases: int) -> dict[str, Any]:
    """The bias of a mean by the weights of `drawn`. cases: of how many the measure's own interval is."""
    there = np.array([value is not None and math.isfinite(value) for value in values])
    f = np.array([value for value, kept in zip(values, there, strict=True) if kept], dtype=float)
    terms = weights[there] * (f - f.mean())
    error, half = terms.std(ddof=1) / math.sqrt(len(f)), 1.96 * f.std(ddof=1) / math.sqrt(cases)
    return _row(what, "mixed", float(terms.mean()), float(error), float(half), None)


def vectors(subjects: dict[str, Subject], seeds: range) -> list[dict[str, Any]]:
    """Directions built from replies drawn in each format: cosine with float32's own, and AUC."""
    rows = []
    builders: dict[str, Callable[[Subject, int], Direction]] = {
        "assistant": lambda subject, seed: build_axis(subject, seed=seed),
        TRAITS[0]: lambda subject, seed: trait_vector(subject, TRAITS[0], seed=seed, again=True),
    }
    for what, made in builders.items():
        first = made(subjects["float32"], 0)
        others = {"float32, another seed": made(subjects["float32"], 1)}
        others |= {name: made(subjects[name], 0) for name in FORMATS}
        for name, one in (("float32", first), *others.items()):
            cosine = float(one.vectors[first.layer] @ first.vectors[first.layer])
            rows.append({
                "measure": f"{what}: cosine with float32's at block {first.layer}", "format": name, "value": cosine,
                "block": one.layer, "auc": one.validity["auc"], "auc_low": one.validity.get("auc_low"),
                "auc_high": one.validity.get("auc_high"),
            })  # fmt: skip
    return rows


# Replies are drawn: seeds ------------------------------------------------------------------------------------------------


def audits(subjects: dict[str, Subject], seeds: range) -> list[dict[str, Any]]:
    """Every headline measure of the quick audit."""
    return _over_seeds(subjects, seeds, lambda subject, out, seed: audit(subject, out, quick=True, seed=seed).path)


def frontier(subjects: dict[str, Subject], seeds: range) -> list[dict[str, Any]]:
    """What steering costs, at the quick size."""

    def run(subject: Subject, out: Path, seed: int) -> Path:
        return measured(Job("frontier", with_those_before(("frontier",)), "quick"), subject, out, seed=seed).path

    return _over_seeds(subjects, seeds[: max(2, len(seeds) // 2)], run)


def _over_seeds(
    subjects: dict[str, Subject], seeds: range, run: Callable[[Subject, Path, int], Path]
) -> list[dict[str, Any]]:
    """The measures of float32 and mixed runs; bfloat16 for everything is out by what it does to pairs."""
    found: dict[str, list[dict[str, tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as room:
        for seed in seeds:
            for name in ("float32", "mixed"):
                found.setdefault(name, []).append(
                    dict(_measures(run(subjects[name], Path(room) / f"{name}-{seed}", seed)))
                )
    return _compared(found)


def _measures(run: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    for row in read_table(run / "tables" / "measures.parquet").iter_rows(named=True):
        if row["part"] == "" and None not in (row["estimate"], row["low"], row["high"]):
            name = " ".join(str(row[key]) for key in ("study", "name", "paradigm") if row[key])
            yield name, (row["estimate"], (row["high"] - row["low"]) / 2)


def _compared(found: dict[str, list[dict[str, tuple[float, float]]]]) -> list[dict[str, Any]]:
    rows = []
    shared = set.intersection(*(set(one) for runs in found.values() for one in runs))
    for measure in sorted(shared):
        plain = [run[measure][0] for run in found["float32"]]
        half = statistics.mean(run[measure][1] for run in found["float32"])
        for name in ("mixed",):
            other = [run[measure][0] for run in found[name]]
            gaps = [one - base for one, base in zip(other, plain, strict=True)]
            error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
            noise = (
                math.sqrt(max(0.0, statistics.variance(other) - statistics.variance(plain))) if len(gaps) > 1 else 0.0
            )
            rows.append(_row(measure, name, statistics.mean(gaps), error, half, noise))
    return rows


def _row(what: str, name: str, bias: float, error: float, half: float, noise: float | None) -> dict[str, Any]:
    """noise: None where single values were not compared."""
    values = {"bias": bias, "standard_error": error, "half_width": half, "added_noise": noise}
    return {
        "measure": what,
        "format": name,
        **{key: None if one is None or math.isnan(one) else one for key, one in values.items()},
    }


PARTS: dict[str, Callable[[dict[str, Subject], range], list[dict[str, Any]]]] = {
    "pairs": pairs, "reader": reader, "published": published, "who": judged, "drawn": drawn, "turns": turns, "vectors": vectors,
    "audit": audits, "frontier": frontier,
}  # fmt: skip


def _print(console: Console, name: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=name, title_justify="left")
    for head in ("measure", "format", "bias", "± (1.96 s.e.)", "half-width", "bias / half-width", "added noise"):
        table.add_column(head, justify="left" if head in ("measure", "format") else "right")
    for row in rows:
        if "value" in row:
            console.print(row["measure"], row["format"], f"{row['value']:.4f}", f"AUC {row['auc']:.3f}", soft_wrap=True)
            continue
        half, error = row["half_width"], row["standard_error"]
        share = "–" if not half else f"{row['bias'] / half:+.2f}"
        shown = "–" if error is None else f"{1.96 * error:.4f}"
        table.add_row(
            row["measure"],
            row["format"],
            f"{row['bias']:+.4f}",
            shown,
            f"{half:.4f}",
            share,
            "–" if row["added_noise"] is None else f"{row['added_noise']:.4f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
