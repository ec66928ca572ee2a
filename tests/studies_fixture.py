"""Made-up results of the three studies (frontier, archetypes, behavioural map) beside a synthetic audit. Nothing here was
measured; the tables have the columns that the real runs leave, and the archetypes are searched in planted vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from greenroom.directions.archetypes import ReplyVectors, search
from greenroom.directions.portraits import portraits
from greenroom.measures.mantel import mantel
from greenroom.measures.scaling import scaled, turned
from greenroom.runs.tables import write_table
from greenroom.studies.nested import archetype_sentences, behaviour_sentences
from report_fixture import PLAN

MODEL = "SmolLM2-135M-Instruct"
ROLES = {role: kind for kind, one in PLAN["kinds"].items() for role in one["roles"].split()}
HEAD = {
    "model": MODEL,
    "fingerprint": "9f3a61c07be2d845",
    "seed": 3,
    "layer": 19,
    "warnings": [],
    "seconds": 200.0,
    "peak_rss_gib": 1.2,
}


def write_studies(folder: Path) -> Path:
    """Adds frontier/, archetypes/ and behaviour/ to the run folder, as an audit finds or makes them."""
    for kind, (tables, summary) in {
        "frontier": _frontier(),
        "archetypes": _archetypes(),
        "behaviour": _behaviour(),
    }.items():
        for name, frame in tables.items():
            write_table(folder / kind / "tables" / f"{name}.parquet", frame)
        (folder / kind / "summary.json").write_text(json.dumps({**HEAD, **summary}), encoding="utf-8")
    return folder


def _frontier() -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    rng = np.random.default_rng(11)
    rows = []
    settings = [("steer", strength, None) for strength in (-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0)]
    settings += [("cap", None, floor) for floor in ("default:p5", "default:p25", "rollouts:p25")]
    for intervention, strength, floor in settings:
        size = strength if strength is not None else 0.6
        row: dict[str, Any] = {
            "direction": "assistant_axis",
            "intervention": intervention,
            "strength": strength,
            "floor": floor,
        }
        for name, value, wide in (
            ("effect", 0.5 * size, 0.2), ("cloze_shift", 0.1 * size, 0.08), ("capability_loss", 0.003 * size**2, 0.015),
            ("leakage", 0.05 * size + 0.02 * rng.normal(), 0.15), ("topic_shift", 0.002 * size, 0.03),
        ):  # fmt: skip
            wide = wide if size else 0.0
            row |= {name: value, f"{name}_low": value - wide, f"{name}_high": value + wide}
        row |= {
            "perplexity": 12 + 0.4 * size**2,
            "repetition": 0.02 + 0.002 * size**2,
            "degenerate_share": 0.004 * size**2,
        }
        rows.append({**row, "effect_unit": "sd", "capability": 0.62, "n_items": 1040, "n_replies": 54})
    frame = pl.DataFrame(rows, schema_overrides={"strength": pl.Float64, "floor": pl.String})
    at = {row["strength"]: row for row in rows if row["intervention"] == "steer"}
    reach = {
        side: {
            "strongest": end,
            "crossing": 1.4 * end,
            "crossing_low": 1.2 * end,
            "crossing_high": None,
            "tried": 4 * end,
            **at[end],
        }
        for side, end in (("up", 2.0), ("down", -2.0))
    }
    reach["cap"] = {"strongest": "default:p25", "within": ["default:p25"], **rows[-2]}
    return {"frontier": frame}, {
        "direction": "assistant_axis", "reliable": True, "budget": 0.05, "score": "cold projection", "score_kind": "cold_projection",
        "effect_unit": "sd", "n_items": 1040, "n_replies": 54, "capability": 0.62, "perplexity": 12.0, "reach": reach,
    }  # fmt: skip


def _archetypes() -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    rng = np.random.default_rng(12)
    named = tuple(role for role, kind in ROLES.items() if kind != "archetype")
    jungian = [role for role, kind in ROLES.items() if kind == "archetype"]
    manners = np.linalg.qr(rng.normal(size=(32, 5)))[0].T
    of = {kind: index for index, kind in enumerate(("nonhuman", "fictional", "ai", "everyday", "professional"))}
    codes = {role: (2.6 if of.get(kind, 1) < 3 else 1.2) * np.eye(5)[of.get(kind, 1)] for role, kind in ROLES.items()}
    codes["default"] = 2.0 * np.eye(5)[4]
    cells = [(role, f"q{number}") for role in codes for number in range(10)]
    values = np.stack([codes[role] @ manners + 1.1 * rng.normal(size=32) for role, _ in cells])
    role, question = (np.array(column) for column in zip(*cells, strict=True))
    material = ReplyVectors(values, role, question, named)
    kinds = {**ROLES, "default": "default"}
    texts = [PLAN["replies"][kinds[name]] for name in role]
    asked = {f"q{number}": PLAN["questions"][number % 3] for number in range(10)}
    made = portraits(
        material,
        search(material, resamples=10),
        texts,
        asked,
        kinds,
        jungian,
        "default",
        manners[4] - manners[:3].mean(axis=0),
    )
    return made.tables, {
        **made.numbers,
        "sentences": archetype_sentences(MODEL, made.numbers, made.tables["archetypes"]),
    }


def _behaviour() -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    rng = np.random.default_rng(13)
    names = ["default", *list(ROLES)[:: len(ROLES) // 23][:23]]
    spots = rng.normal(size=(len(names), 3)) * [3, 2, 1]
    inside, said = (
        np.linalg.norm(at[:, None] - at[None], axis=2) for at in (spots, spots + 0.8 * rng.normal(size=spots.shape))
    )
    bits = 0.15 * said
    test, one, other = mantel(inside, bits, permutations=199, draws=50), scaled(inside), scaled(bits)
    words = turned(other.points, one.points)
    apart = np.where(np.eye(len(names), dtype=bool), np.inf, bits)
    places = [
        {"role": name, "kind": ROLES.get(name, "default"), "x": float(words[row, 0]), "y": float(words[row, 1]),
         "activation_x": float(one.points[row, 0]), "activation_y": float(one.points[row, 1]),
         "axis_sd": 0.0 if name == "default" else -float(rng.uniform(0.5, 5)), "nearest": names[int(apart[row].argmin())],
         "nearest_bits": float(apart[row].min()), "floor_bits": 0.22, "floor_low": 0.17, "floor_high": 0.27}
        for row, name in enumerate(names)
    ]  # fmt: skip
    pairs = [
        {"role": a, "reader": b, "bits_lost": float(bits[row, column]), "bits": float(bits[row, column]),
         "activation_distance": 12 * float(inside[row, column])}
        for row, a in enumerate(names) for column, b in enumerate(names)
    ]  # fmt: skip
    found = {
        "n_roles": len(names), "n_questions": 6, "n_replies": 144, "mantel_r": test.r, "mantel_low": test.low,
        "mantel_high": test.high, "mantel_p": test.p, "mantel_null_p95": test.null_p95, "split_half": 0.81,
        "stress": other.stress, "activation_stress": one.stress, "median_bits": float(np.median(bits)), "floor_bits": 0.22,
    }  # fmt: skip
    tables = {"behaviour_places": pl.DataFrame(places), "behaviour_pairs": pl.DataFrame(pairs)}
    return tables, {**found, "sentences": behaviour_sentences(MODEL, found)}
