"""A synthetic, realistic run folder with every table of an audit, for tests of the report: no model is run.

Its words are in report_fixture.yaml; its numbers are drawn from a fixed seed. The axis works, letter choice is void.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from greenroom.runs.tables import write_table

PLAN: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
SUMMARY: dict[str, Any] = PLAN["summary"]
LETTER_REASON: str = SUMMARY["sacrifice"]["letter"]["reason"]
QUESTIONS: list[str] = PLAN["questions"]


def write_run(folder: Path) -> Path:
    """Fills `folder` with run.json, summary.json and tables/ as `greenroom audit` leaves them, without a report."""
    rng = np.random.default_rng(7)
    parts = (_map(rng), _traits(rng), _hold(rng), _sacrifice(rng), _self_concept(rng), _measures(rng))
    for name, frame in {name: frame for part in parts for name, frame in part.items()}.items():
        write_table(folder / "tables" / f"{name}.parquet", frame)
    placed = pl.read_parquet(folder / "tables" / "persona_map.parquet")
    roles = placed.filter(pl.col("kind") != "default").sort("axis_sd")
    names, places = roles["role"].to_list(), roles["axis_sd"].to_list()
    ends = {"axis_gap_sd": -sum(places) / len(places), "nearest_roles": names[::-1][:5], "farthest_roles": names[:5]}
    (folder / "summary.json").write_text(json.dumps({**SUMMARY, **ends}, indent=2), encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(PLAN["run"], indent=2), encoding="utf-8")
    return folder


def _map(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    roles, replies = [], []
    listed = [("default", "default", 0.0)]
    listed += [(role, kind, one["mean"]) for kind, one in PLAN["kinds"].items() for role in one["roles"].split()]
    centres = {kind: rng.normal(0, 14, 2) if kind != "default" else np.array([0.0, 9.0]) for _, kind, _ in listed}
    for role, kind, mean in listed:
        axis = 0.0 if role == "default" else min(-0.4, mean + float(rng.normal(0, 0.75)))
        wide = 0.12 if role == "default" else float(rng.uniform(0.25, 0.5))
        side = rng.normal(0, 9, 2) + centres[kind]
        row = {"role": role, "kind": kind, "pc1": -14 * (axis + 2.8) + side[0] / 2, "pc2": side[1] + 1.8 * axis}
        row |= {"pc3": float(rng.normal()), "axis_sd": axis, "axis_sd_low": axis - wide, "axis_sd_high": axis + wide}
        roles.append({**row, "n_replies": 200 if role == "default" else 12})
        for index, question in enumerate(QUESTIONS):
            own = {"role": role, "kind": kind, "question": question, "instruction": index}
            own |= {"reply": PLAN["replies"][kind], "axis_sd": axis + float(rng.normal(0, 0.6))}
            replies.append({**own, "finish": "length" if index else "stop"})
    block = np.arange(29)
    auc = np.minimum(0.62 + 0.35 * np.exp(-(((block - 20) / 9.0) ** 2)) + rng.normal(0, 0.006, 29), 0.99)
    return {
        "persona_map": pl.DataFrame(roles),
        "replies": pl.DataFrame(replies),
        "layers": pl.DataFrame({"layer": block, "auc_selection": auc, "auc_se": 0.018, "chosen": block == 18}),
        "components": pl.DataFrame({"component": [1, 2, 3, 4], "explained_variance": [0.31, 0.14, 0.08, 0.05]}),
    }


def _traits(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    rows = []
    for index, trait in enumerate(PLAN["traits"].split()):
        value, wide = float(rng.uniform(-0.75, 0.8)), float(rng.uniform(0.05, 0.18))
        row = {"trait": trait, "estimate_pole": value, "low": value - wide, "high": value + wide}
        row |= {"role_percentile": float(rng.uniform(0.02, 0.98)), "n": 160, "grade": "ABBC"[index % 4]}
        row["reason"] = PLAN["trait_reasons"][row["grade"]]
        row["negative"], row["positive"] = PLAN["poles"].get(trait, (None, None))  # only these traits name their poles
        if trait == "hallucination":
            row |= dict.fromkeys(("estimate_pole", "low", "high", "role_percentile"))
            row |= {"grade": "void", "reason": "the two poles are not told apart on held-out questions (AUC 0.54)"}
        rows.append(row)
    return {"traits": pl.DataFrame(rows)}


def _hold(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    effects, turns, said = [], [], []
    for pressure, ends in PLAN["pressures"].items():
        for turn in range(1, 7):
            for reading, end in zip(("hot", "cold"), ends, strict=True):
                effect = end * (1 - np.exp(-turn / 1.8)) + float(rng.normal(0, 0.12))
                row = {"pressure": pressure, "turn": turn, "reading": reading, "effect_sd": effect}
                effects.append({**row, "low": effect - 0.55, "high": effect + 0.55, "n": 12})
            for conversation in range(4):
                own = {"pressure": pressure, "conversation": conversation, "turn": turn}
                hot, cold = (float(rng.normal(end, 1)) for end in ends)
                turns.append({**own, "axis_sd_hot": hot, "axis_sd_cold": cold})
                said.append({**own, "user": QUESTIONS[turn % 3], "reply": PLAN["replies"]["fictional"]})
    return {
        "hold_effects": pl.DataFrame(effects),
        "hold": pl.DataFrame(turns),
        "hold_replies": pl.DataFrame(said),
    }


def _sacrifice(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    items, curve = [], []
    cells = [(name, seen, stake) for name in SUMMARY["sacrifice"] for seen in (True, False) for stake in range(5)]
    for paradigm, observed, stake in cells:
        fit = 0.5 if paradigm == "letter" else float(1 / (1 + np.exp(0.75 * (stake - (2.9 if observed else 2.3)))))
        values = np.clip(fit + rng.normal(0, 0.15, 12), 0, 1)
        cell = {"paradigm": paradigm, "observed": observed, "stake": stake}
        mean = float(values.mean())
        bounds = {"low": max(0.0, mean - 0.1), "high": min(1.0, mean + 0.1)}
        curve.append({**cell, "adherence": mean, **bounds, "n": 24, "fit": fit})
        for index, value in enumerate(values):
            lost = paradigm == "rating" and index == 3
            own = {"situation": f"situation_{index}", "order": "ab" if index % 2 else "ba", **cell}
            items.append(
                {**own, "adherence": None if lost else float(value), "missing": "unreadable" if lost else None}
            )
    return {"sacrifice": pl.DataFrame(items, infer_schema_length=None), "sacrifice_curve": pl.DataFrame(curve)}


def _self_concept(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    rows = []
    for paradigm, one in SUMMARY["self_concept"].items():
        for boundary, share in one["probabilities"].items():
            for item in range(12):
                own = {
                    "item": f"item_{item}",
                    "boundary": boundary,
                    "paradigm": paradigm,
                    "order": "ab",
                    "paraphrase": 0,
                }
                value = share + (0.09 if item % 2 else -0.09) + 0.01 * float(rng.normal())
                rows.append({**own, "probability": float(np.clip(value, 0, 1)), "missing": None})
    return {"self_concept": pl.DataFrame(rows, schema_overrides={"missing": pl.String})}


def _measures(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    rows = [tuple(row) for row in PLAN["measures"]]
    rows += [
        (f"hold.{pressure}.{reading}", end, "B", PLAN["trait_reasons"]["B"])
        for pressure, ends in PLAN["pressures"].items()
        for reading, end in zip(("hot", "cold"), ends, strict=True)
    ]
    for index, trait in enumerate(name for name in PLAN["traits"].split() if name != "hallucination"):
        grade = "ABBC"[index % 4]
        rows.append((f"trait.{trait}", float(rng.uniform(-0.7, 0.7)), grade, PLAN["trait_reasons"][grade]))
    frame = pl.DataFrame(
        rows, schema=["measure", "estimate", "grade", "reason"], orient="row", infer_schema_length=None
    )
    bounds = [(pl.col("estimate") + shift).alias(name) for name, shift in (("low", -0.08), ("high", 0.08))]
    return {"measures": frame.with_columns(*bounds, pl.lit(66).alias("n"))}
