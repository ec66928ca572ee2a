"""The table of all traits: `python bench/traits.py` (about 45 minutes on 2 cores; resumable, one file a trait).

For every library trait of a model: its vector from all questions, held-out AUC hot and cold with intervals, method and
block, the other methods beside it, random directions, the matrix of every vector on every trait, monitoring before the
reply, and the dose-response of the held-out trait score with a random direction of equal norm beside it. The cost in
capability is joined by name from the newest result of bench/capability.py.

    python bench/traits.py                          # all traits; goes on where it stopped
    python bench/traits.py --only french,warmth --repeats 1
    python bench/traits.py --table bench/results/traits-2026-01-31.json    # the markdown table, nothing measured
    python bench/traits.py --ship                   # also puts the vectors and rulers of smollm2 into the package
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from greenroom.conversation import user
from greenroom.directions.contrast import METHODS
from greenroom.directions.direction import Direction
from greenroom.directions.dose import STRENGTHS, dose_response, random_like
from greenroom.directions.monitoring import monitor
from greenroom.directions.poles import QUESTIONS, REPEATS, TOKENS, Poles, play_poles, read_at, wording
from greenroom.directions.rollouts import readable_layers
from greenroom.directions.rulers import ruler_places, store_ruler
from greenroom.directions.scorers import scorer_for
from greenroom.directions.stored import places, store
from greenroom.directions.traits import build, choose_layer
from greenroom.personas import Trait, library
from greenroom.runs.machine import facts, version
from greenroom.store import read_json, write_json
from greenroom.subject import Subject, load

RESULTS = Path(__file__).parent / "results"
# Goals of the table: held-out AUC at the chosen block, and cost in capability.
AUC, BUDGET = 0.85, 0.05


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="smollm2")
    options.add_argument("--only", help="these traits, comma-separated")
    options.add_argument("--repeats", type=int, default=4, help="replies a question and strength")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--work", type=Path, help="folder of finished traits (default: bench/results/traits-<model>)")
    options.add_argument("--ship", action="store_true", help="put vectors and rulers into the package")
    options.add_argument("--table", type=Path, help="print the markdown table of a results file")
    given = options.parse_args()
    if given.table:
        print(table(read_json(given.table)))
        return
    subject = load(given.model)
    traits = library.traits() if not given.only else [library.trait(name) for name in given.only.split(",")]
    work = given.work or RESULTS / f"traits-{subject.name}"
    vectors(subject, traits, work, given.seed, given.ship)
    rows = [finished(subject, trait, work, given.repeats, given.seed) for trait in traits]
    result = {
        "version": version(), "machine": facts(), "model": subject.name, "fingerprint": subject.fingerprint,
        "seed": given.seed, "questions": QUESTIONS, "pairs_a_question": REPEATS, "tokens": TOKENS,
        "repeats": given.repeats, "strengths_sd": list(STRENGTHS), "traits": rows,
        "costs": capability_costs(subject.fingerprint),
    }  # fmt: skip
    stamp = date.today().isoformat() + ("" if given.only is None else "-some")
    out = RESULTS / f"traits-{stamp}.json"
    write_json(out, result)
    print(table(result))
    print(out)


def vectors(subject: Subject, traits: Sequence[Trait], work: Path, seed: int, ship: bool) -> None:
    """Builds and stores the vectors that are not in `work` yet, all at once: default replies are generated once."""
    missing = [
        trait
        for trait in traits
        if ship or known(work / "vectors" / f"{trait.name}.json", settings(subject, trait, seed)) is None
    ]
    if not missing:
        return
    print(f"building {len(missing)} vectors", flush=True)
    all_poles = play_poles(
        subject, missing, layers=readable_layers(subject), questions=QUESTIONS, held_out_questions=QUESTIONS,
        tokens=TOKENS, seed=seed, repeats=REPEATS,
    )  # fmt: skip
    for trait, poles, built in zip(missing, all_poles, build(subject, missing, all_poles, seed=seed), strict=True):
        direction, ruler = built.direction, built.ruler
        store(direction)
        if ruler is not None:
            store_ruler(ruler)
        if ship:
            direction.save(places(subject.fingerprint, direction.name)[0])
            if ruler is not None:
                ruler.save(ruler_places(subject.fingerprint, trait.name)[0])
        told = direction.validity
        write_json(
            work / "vectors" / f"{trait.name}.json",
            {
                "settings": settings(subject, trait, seed), "trait": trait.name, "kind": trait.kind,
                "positive": trait.positive, "negative": trait.negative, "layer": direction.layer, "method": "mean",
                "reliable": direction.reliable, "auc": [told["auc"], told["auc_low"], told["auc_high"]],
                "cold": [told["cold_auc"], told["cold_auc_low"], told["cold_auc_high"]],
                "random_auc_p95": told["random_auc_p95"], "specificity": told["specificity"],
                "filter": direction.recipe["filter"], "filtered_share": direction.recipe["filtered_share"],
                "methods": {name: other_method(subject, trait, poles, name, seed) for name in METHODS},
                "score_auc": score_auc(scorer_for(subject, trait, seed=seed), poles.part(held_out=True)),
            },
        )  # fmt: skip
        print(f"{trait.name}: block {direction.layer}, AUC {told['auc']:.2f}, cold {told['cold_auc']:.2f}", flush=True)


def finished(subject: Subject, trait: Trait, work: Path, repeats: int, seed: int) -> dict[str, Any]:
    """The trait's row: from its file if that was measured with the same settings, else measured and written."""
    file = work / f"{trait.name}.json"
    asked = {**settings(subject, trait, seed), "repeats": repeats}
    row = known(file, asked)
    if row is not None:
        return row
    began = time.monotonic()
    vector = read_json(work / "vectors" / f"{trait.name}.json")
    row = {**vector, "settings": asked, **measured(subject, trait, repeats, seed)}
    row["seconds"] = round(time.monotonic() - began, 1)
    write_json(file, row)
    print(f"{trait.name}: monotone {row['dose']['monotone']}, {row['seconds']} s", flush=True)
    return row


def settings(subject: Subject, trait: Trait, seed: int) -> dict[str, Any]:
    """What a stored result depends on; one with other settings is measured again."""
    return {
        "fingerprint": subject.fingerprint, "wording": wording(trait), "seed": seed, "questions": QUESTIONS,
        "pairs_a_question": REPEATS, "tokens": TOKENS,
    }  # fmt: skip


def known(file: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """A stored result with these settings."""
    found = read_json(file) if file.is_file() else None
    return found if found is not None and found["settings"] == asked else None


def measured(subject: Subject, trait: Trait, repeats: int, seed: int) -> dict[str, Any]:
    """Dose-response with its control, and monitoring."""
    path = places(subject.fingerprint, trait.name)[1]
    direction, score = Direction.load(path, subject), scorer_for(subject, trait, seed=seed)
    questions = [question.text for question in trait.questions if question.held_out]
    ends = (STRENGTHS[0], STRENGTHS[-1])
    return {
        "score": score.kind,
        "dose": dose_response(subject, direction, score, questions, repeats=repeats, seed=seed).plain(),
        "random_dose": dose_response(
            subject, random_like(direction, seed), score, questions, strengths=ends, repeats=repeats, seed=seed
        ).plain(),
        "monitoring": monitor(subject, trait, direction, score, seed=seed).plain(),
    }


def other_method(subject: Subject, trait: Trait, poles: Poles, method: str, seed: int) -> dict[str, Any]:
    """Held-out AUC of a method on the same replies."""
    found = choose_layer(
        read_at(subject, poles, METHODS[method][0]), seed, method=method, filter="auto", trait=trait.name
    )
    return {"layer": found.layer, "auc": list(found.auc[:3]), "filter": found.filter}


def score_auc(score: Any, held: Poles) -> float | None:
    """How well the ruler itself tells the poles' held-out replies apart. A cold ruler was made of these very replies,
    so its figure is the cross-fitted one that was stored with it."""
    import numpy as np

    from greenroom.measures.intervals import auc

    if score.kind == "cold_projection":
        return score.ruler.validity.get("auc")
    values = score([[user(text)] for text in held.asked], held.texts)
    known = ~np.isnan(values)
    return auc(values[known & held.positive], values[known & ~held.positive])


def capability_costs(fingerprint: str) -> dict[str, dict[str, Any]]:
    """Trait → strength (sd) → loss in capability with its upper bound, from the newest run of bench/capability.py."""
    for file in sorted(RESULTS.glob("capability-*.json"), reverse=True):
        found: dict[str, dict[str, Any]] = {}
        stored = read_json(file)
        if stored["fingerprint"] != fingerprint:
            continue
        for row in stored["rows"]:
            name, _, strength = row["setting"].rpartition(" ")
            if row["family"] == "all":
                cost = {"loss": row["capability_loss"], "high": row["capability_loss_high"]}
                found.setdefault(name, {})[strength] = cost
        return found
    return {}


def table(result: dict[str, Any]) -> str:
    """The markdown table for docs/traits.md, best first; what fails stands there too."""
    strengths = result["strengths_sd"]
    heads = ["trait", "block", "held-out AUC", "read cold", "best other method", "filtered", "score",
             *(f"{strength:+g} sd" if strength else "0 sd" for strength in strengths), "monotone", "monitoring r (pooled / within)",
             f"cost, at most, at ±{strengths[-1]:g} sd", "passes"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    rows = sorted(result["traits"], key=lambda row: -(row["auc"][0] or 0))
    for row in rows:
        cost = result["costs"].get(row["trait"], {})
        highs = [cost[key]["high"] for key in (f"{strengths[0]:+g}", f"{strengths[-1]:+g}") if key in cost]
        dear = any(high is None or high > BUDGET for high in highs)
        # `last` tells prompts apart, not replies.
        other = max(
            ((name, found) for name, found in row["methods"].items() if name in ("pca", "logistic")),
            key=lambda item: item[1]["auc"][0] or 0,
        )
        dose = row.get("dose") or {"scores": [{"estimate": None}] * len(strengths), "monotone": None}
        passes = (row["auc"][0] or 0) >= AUC and dose["monotone"] is True
        verdict = (
            "–"
            if row.get("dose") is None
            else "no"
            if not passes
            else "too dear"
            if dear
            else "yes"
            if len(highs) == 2
            else "yes, cost unknown"
        )
        told = row.get("monitoring")
        monitoring = f"{_number(told['pooled']['estimate'])} / {_number(told['within']['estimate'])}" if told else "–"
        lines.append(
            "| " + " | ".join([
                row["trait"], str(row["layer"]), _span(row["auc"]) + ("" if row["reliable"] else " unreliable"),
                _span(row["cold"]), f"{other[0]} {_number(other[1]['auc'][0])}", f"{100 * row['filtered_share']:.0f} %",
                {"checker": "checker", None: "–"}.get(row.get("score"), "cold projection"),
                *(_number(score["estimate"]) for score in dose["scores"]),
                {True: "yes", False: "no", None: "–"}[dose["monotone"]], monitoring,
                f"{100 * max(highs):.1f} %" if highs and None not in highs else "–", verdict,
            ]) + " |"
        )  # fmt: skip
    return "\n".join(lines)


def _span(values: list[float | None]) -> str:
    middle, low, high = values
    return _number(middle) if low is None or high is None else f"{_number(middle)} ({_number(low)}–{_number(high)})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
