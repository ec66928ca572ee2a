"""Made-up results of the frontier beside a synthetic audit. Nothing here was measured; the table has the columns that a
real run leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from greenroom.runs.tables import write_table

MODEL = "SmolLM2-135M-Instruct"
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
    """Adds frontier/ to the run folder, as an audit finds or makes it."""
    tables, summary = _frontier()
    for name, frame in tables.items():
        write_table(folder / "frontier" / "tables" / f"{name}.parquet", frame)
    (folder / "frontier" / "summary.json").write_text(json.dumps({**HEAD, **summary}), encoding="utf-8")
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
