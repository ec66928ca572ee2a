"""A direction: one unit vector a block, with the scale of the subject's own default replies.

Strengths are in standard deviations of the subject's default replies (`sd`), so they are comparable over models and
blocks; their effect is not, and is measured. The sign points towards the named thing, and the evidence for that is
part of the file: a released capping code of the field uses the opposite sign of its paper's formula.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from greenroom.errors import DirectionError
from greenroom.store import atomic_path
from greenroom.subject import Intervention, Subject
from greenroom.subject.interventions import Tokens

QUANTILES = (1, 5, 25, 50, 75, 95, 99)
FORMAT = "greenroom-direction-1"


@dataclass(frozen=True)
class Calibration:
    """Projections of the subject's default replies at one block, in residual units.

    reply_*: of means over replies of exactly `reply_tokens` tokens. token_*: of their single tokens. Quantiles are
    keyed "p1" … "p99".
    """

    reply_mean: float
    reply_sd: float
    reply_quantiles: dict[str, float]
    token_mean: float
    token_sd: float
    token_quantiles: dict[str, float]
    n_replies: int
    n_tokens: int
    reply_tokens: int

    @classmethod
    def of(cls, tokens: np.ndarray) -> Calibration:
        """From token projections (replies, tokens), float; sinks never occur in replies."""
        replies = tokens.mean(axis=1)
        return cls(
            float(replies.mean()), float(replies.std(ddof=1)), _quantiles(replies),
            float(tokens.mean()), float(tokens.std(ddof=1)), _quantiles(tokens),
            tokens.shape[0], tokens.size, tokens.shape[1],
        )  # fmt: skip


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"p{q}": float(value) for q, value in zip(QUANTILES, np.percentile(values, QUANTILES), strict=True)}


@dataclass(frozen=True)
class SignTest:
    """Why the sign is right: mean projection of replies that show the named thing, and of replies that do not."""

    towards: str
    away: str
    towards_mean: float
    away_mean: float

    @property
    def holds(self) -> bool:
        return self.towards_mean > self.away_mean


@dataclass(frozen=True, eq=False)
class Direction:
    """One unit vector a block (float32, (d_model,)), calibrated on one subject.

    layer: the chosen block. validity: AUCs and the like; `reliable` is false when the AUC's interval reaches 0.6.
    """

    name: str
    kind: Literal["axis", "trait"]
    layer: int
    vectors: Mapping[int, Tensor]
    calibration: Mapping[int, Calibration]
    subject: str
    fingerprint: str
    sign_test: SignTest
    recipe: Mapping[str, Any] = field(default_factory=dict)
    validity: Mapping[str, Any] = field(default_factory=dict)
    reliable: bool = True

    def __post_init__(self) -> None:
        if not self.sign_test.holds:
            raise DirectionError(
                f"direction {self.name} points the wrong way: {self.sign_test.towards} projects to "
                f"{self.sign_test.towards_mean:.3f}, {self.sign_test.away} to {self.sign_test.away_mean:.3f}"
            )

    def vector(self, layer: int | None = None) -> Tensor:
        """(d_model,) unit vector at a block (default: the chosen one)."""
        layer = self.layer if layer is None else layer
        if layer not in self.vectors:
            raise DirectionError(f"direction {self.name} has no vector at block {layer}; it has {_span(self.vectors)}")
        return self.vectors[layer]

    def scale(self, layer: int | None = None) -> Calibration:
        """The calibration at a block (default: the chosen one)."""
        layer = self.layer if layer is None else layer
        if layer not in self.calibration:
            raise DirectionError(
                f"direction {self.name} is not calibrated at block {layer}; it is at {_span(self.calibration)}"
            )
        return self.calibration[layer]

    def projection(self, values: Tensor, layer: int | None = None) -> Tensor:
        """(…) residual units, from activations (…, d_model) at that block."""
        return values.float() @ self.vector(layer)

    def sd(self, values: Tensor, layer: int | None = None) -> Tensor:
        """(…) calibrated standard deviations: 0 is the default character, 1 the sd of its replies."""
        scale = self.scale(layer)
        return (self.projection(values, layer) - scale.reply_mean) / scale.reply_sd

    # Interventions ----------------------------------------------------------------------------------------------

    def steer(self, strength: float, *, layer: int | None = None, tokens: Tokens = "all") -> Intervention:
        """Adds `strength` reply sd along the direction."""
        layer = self.layer if layer is None else layer
        return Intervention("steer", layer, self.vector(layer), strength * self.scale(layer).reply_sd, tokens)

    def cap(
        self, floor: str | float = "default:p25", *, layer: int | None = None, tokens: Tokens = "all"
    ) -> Intervention:
        """Keeps projections from falling below `floor`: `default:pNN` (quantile of the tokens of default replies), or sd."""
        layer = self.layer if layer is None else layer
        scale = self.scale(layer)
        if isinstance(floor, str):
            source, _, quantile = floor.partition(":")
            if source != "default" or quantile not in scale.token_quantiles:
                raise DirectionError(
                    f"unknown floor {floor!r}; expected default:pNN with NN among {', '.join(map(str, QUANTILES))}, "
                    "or a number of standard deviations"
                )
            amount = scale.token_quantiles[quantile]
        else:
            amount = scale.reply_mean + floor * scale.reply_sd
        return Intervention("cap", layer, self.vector(layer), amount, tokens)

    def ablate(self, *, layer: int | None = None, tokens: Tokens = "all") -> Intervention:
        """Removes the projection whole."""
        layer = self.layer if layer is None else layer
        return Intervention("ablate", layer, self.vector(layer), 1.0, tokens)

    # Files ------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Writes a safetensors file: one tensor `direction.<block>` a block, everything else as JSON in the header."""
        card = {
            "name": self.name, "kind": self.kind, "layer": self.layer, "subject": self.subject,
            "fingerprint": self.fingerprint, "sign_test": asdict(self.sign_test), "recipe": dict(self.recipe),
            "validity": dict(self.validity), "reliable": self.reliable,
            "calibration": {str(layer): asdict(value) for layer, value in self.calibration.items()},
        }  # fmt: skip
        tensors = {f"direction.{layer}": vector.float().contiguous() for layer, vector in self.vectors.items()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"format": FORMAT, "greenroom": json.dumps(card)})

    @classmethod
    def load(cls, path: Path, subject: Subject | None = None, *, force: bool = False) -> Direction:
        """Reads a direction. With `subject`, one made for other weights is refused, both fingerprints named, unless `force`."""
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("format") != FORMAT:
                    raise DirectionError(
                        f"{path} is no Greenroom direction; expected a file that `Direction.save` wrote"
                    )
                card = json.loads(header["greenroom"])
                vectors = {int(key.removeprefix("direction.")): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError) as error:
            raise DirectionError(f"{path} cannot be read as a direction ({error}); copy or build it again") from error
        if subject is not None and not force and card["fingerprint"] != subject.fingerprint:
            raise DirectionError(
                f"{path} was made for {card['subject']} ({card['fingerprint']}), this subject is {subject.name} "
                f"({subject.fingerprint}); build it for this subject, or use force"
            )
        calibration = {int(layer): Calibration(**value) for layer, value in card.pop("calibration").items()}
        return cls(
            vectors=dict(sorted(vectors.items())),
            calibration=calibration,
            sign_test=SignTest(**card.pop("sign_test")),
            **card,
        )


def _span(layers: Mapping[int, Any]) -> str:
    return f"{min(layers)}…{max(layers)}" if layers else "none"


def unit(vectors: Tensor) -> Tensor:
    """Unit length along the last dimension; raises DirectionError for a zero vector (no contrast at all)."""
    norms = vectors.norm(dim=-1, keepdim=True)
    if not bool((norms > 0).all()) or not bool(torch.isfinite(norms).all()):
        raise DirectionError("the replies to be contrasted do not differ at all; use other questions or more of them")
    return vectors / norms
