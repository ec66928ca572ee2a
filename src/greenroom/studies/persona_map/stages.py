"""What the persona map computes: a cast answers, the axis is built and validated, then calibrated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from greenroom.directions import Direction
from greenroom.directions.axis import calibrated
from greenroom.directions.cast import DEFAULT, usual_cast
from greenroom.directions.persona_map import COLD_EVERY, along_axis, map_personas
from greenroom.directions.rollouts import CALIBRATION_TOKENS, default_prompts
from greenroom.runs.run import StageResult
from greenroom.studies.study import AXIS, ROLE_VECTORS, Cost, Work

RAW_AXIS = "persona_map/axis_uncalibrated.safetensors"
ROLLOUT_TOKENS = "persona_map/rollout_tokens.safetensors"


def draw_map(work: Work) -> StageResult:
    """Roles and the default character answer; axis, block and held-out AUC; a third re-read cold."""
    from safetensors.numpy import save_file as save_arrays
    from safetensors.torch import save_file

    size = work.size
    found = map_personas(
        work.subject,
        usual_cast(every=size.every_role, questions=size.questions, tokens=size.tokens),
        floor_replies=size.calibration_replies // 4,
        seed=work.seed,
        progress=work.advance,
    )

    def save_vectors(path: Path) -> None:
        save_file({name: vectors.contiguous() for name, vectors in found.role_vectors.items()}, path)

    def save_tokens(path: Path) -> None:
        save_arrays({str(layer): values for layer, values in found.floor_tokens.items()}, path)

    tables = {
        "rollouts": found.replies,
        "layers": found.layers,
        "places": found.places,
        "components": found.components,
        "role_auc": found.role_auc,
    }
    files = {RAW_AXIS: found.axis.save, ROLE_VECTORS: save_vectors, ROLLOUT_TOKENS: save_tokens}
    return StageResult(tables, found.numbers, files)


def cost_of_map(size: Any) -> Cost:
    """Every character answers; every third reply is read again."""
    prompts = usual_cast(every=size.every_role, questions=size.questions, tokens=size.tokens).prompts()
    return Cost.of(prompts, size.tokens) + Cost.of(prompts[::COLD_EVERY], 0)


def cost_of_calibration(size: Any) -> Cost:
    return Cost.of(default_prompts(0)[: size.calibration_replies], CALIBRATION_TOKENS)


def calibrate(work: Work) -> StageResult:
    """Default replies of exactly 64 tokens give the axis its scale; the replies follow in sd."""
    from safetensors.numpy import load_file

    raw = Direction.load(work.run.path / RAW_AXIS, work.subject)
    rollouts = work.table("rollouts")
    axis = calibrated(
        work.subject,
        raw,
        rollouts.filter(pl.col("role") == DEFAULT)["projection_hot"].to_numpy(),
        replies=work.size.calibration_replies,
        seed=work.seed,
        rollout_tokens={int(layer): values for layer, values in load_file(work.run.path / ROLLOUT_TOKENS).items()},
        progress=work.advance,
    )
    scale = axis.scale()
    numbers = {"replies": scale.n_replies, "tokens": scale.reply_tokens, "reply_sd": scale.reply_sd}
    return StageResult({"replies": along_axis(axis, rollouts)}, numbers, {AXIS: axis.save})
