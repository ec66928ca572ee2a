"""A direction: one unit vector a block, with the scale of the subject's own default replies.

Strengths are in standard deviations of the subject's default replies (`sd`), so they are comparable over models and
blocks; their effect is not, and is measured. The sign points towards the named thing, and the evidence for that is
part of the file: a released capping code of the field uses the opposite sign of its paper's formula.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
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
# Where the quantiles that name a floor come from (definitions.md).
FLOORS = ("default", "rollouts")
FORMAT = "greenroom-direction-1"


@dataclass(frozen=True)
class Calibration:
    """Projections of the subject's default replies at one block, in residual units.

    reply_*: of means over replies of exactly `reply_tokens` tokens. token_*: of their single tokens. Quantiles are
    keyed "p1" … "p99". rollout_token_quantiles: of the tokens of all role and default replies, the reference of the
    published cap (arXiv 2601.10387); empty where no roles were played, and in files written before they were kept.
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
    rollout_token_quantiles: dict[str, float] = field(default_factory=dict)
    n_rollout_tokens: int = 0

    @classmethod
    def of(cls, tokens: np.ndarray) -> Calibration:
        """From token projections (replies, tokens), float; sinks never occur in replies."""
        replies = tokens.mean(axis=1)
        return cls(
            float(replies.mean()), float(replies.std(ddof=1)), _quantiles(replies),
            float(tokens.mean()), float(tokens.std(ddof=1)), _quantiles(tokens),
            tokens.shape[0], tokens.size, tokens.shape[1],
        )  # fmt: skip

    def with_rollouts(self, tokens: np.ndarray) -> Calibration:
        """The same with the quantiles of rollouts. tokens: (n,) token projections of role and default replies."""
        return replace(self, rollout_token_quantiles=_quantiles(tokens), n_rollout_tokens=int(tokens.size))

    def level(self, named: str | float) -> float:
        """A floor or ceiling in residual units, from `default:pNN`, `rollouts:pNN` or reply sd.

        Raises DirectionError on other names, and on `rollouts:` where no quantiles of rollouts are kept.
        """
        if not isinstance(named, str):
            return self.reply_mean + named * self.reply_sd
        source, _, quantile = named.partition(":")
        if source not in FLOORS or quantile not in self.token_quantiles:
            raise DirectionError(
                f"unknown floor {named!r}; expected default:pNN or rollouts:pNN with NN among "
                f"{', '.join(map(str, QUANTILES))}, or a number of standard deviations"
            )
        if source == "default":
            return self.token_quantiles[quantile]
        if not self.rollout_token_quantiles:
            raise DirectionError(
                f"this direction keeps no quantiles of role replies, so {named!r} is not known; "
                f"use default:{quantile}, or build the direction again"
            )
        return self.rollout_token_quantiles[quantile]


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
    sign_test: None for a vector from elsewhere whose sign was not tested; its reader is told.
    """

    name: str
    kind: Literal["axis", "trait"]
    layer: int
    vectors: Mapping[int, Tensor]
    calibration: Mapping[int, Calibration]
    subject: str
    fingerprint: str
    sign_test: SignTest | None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    validity: Mapping[str, Any] = field(default_factory=dict)
    reliable: bool = True

    def __post_init__(self) -> None:
        if self.sign_test is not None and not self.sign_test.holds:
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
        """Keeps projections from falling below `floor`, as `Calibration.level` reads it."""
        layer = self.layer if layer is None else layer
        return Intervention("cap", layer, self.vector(layer), self.scale(layer).level(floor), tokens)

    def ablate(self, *, layer: int | None = None, tokens: Tokens = "all") -> Intervention:
        """Removes the projection whole."""
        layer = self.layer if layer is None else layer
        return Intervention("ablate", layer, self.vector(layer), 1.0, tokens)

    # Files ------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Writes a safetensors file: one tensor `direction.<block>` a block, everything else as JSON in the header."""
        tensors = {f"direction.{layer}": vector.float().contiguous() for layer, vector in self.vectors.items()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"format": FORMAT, "greenroom": json.dumps(self.card())})

    def card(self) -> dict[str, Any]:
        """All but the vectors, as plain values for JSON."""
        return {
            "name": self.name, "kind": self.kind, "layer": self.layer, "subject": self.subject,
            "fingerprint": self.fingerprint, "recipe": dict(self.recipe),
            "sign_test": None if self.sign_test is None else asdict(self.sign_test),
            "validity": dict(self.validity), "reliable": self.reliable,
            "calibration": {str(layer): asdict(value) for layer, value in self.calibration.items()},
        }  # fmt: skip

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
        return cls.of_card(card, vectors, path, subject, force=force)

    @classmethod
    def of_card(
        cls,
        card: Mapping[str, Any],
        vectors: Mapping[int, Tensor],
        path: Path,
        subject: Subject | None = None,
        *,
        force: bool = False,
    ) -> Direction:
        """A direction from its `card` and unit vectors, read from `path`; refused as in `load`.

        A residual stream of another width is refused even with `force`.
        """
        card = dict(card)
        if subject is not None and not force and not subject.reads(card["fingerprint"]):
            raise DirectionError(
                f"{path} was made for {card['subject']} ({card['fingerprint']}), this subject is {subject.name} "
                f"({subject.fingerprint}); build it for this subject, or use force"
            )
        width = next(iter(vectors.values())).numel() if vectors else 0
        if subject is not None and width != subject.d_model:
            raise DirectionError(
                f"{path} was made for {card['subject']} and has vectors of {width} entries; the residual stream of "
                f"{subject.name} has {subject.d_model}, so it cannot be used there"
            )
        calibration = {int(layer): Calibration(**value) for layer, value in card.pop("calibration").items()}
        test = card.pop("sign_test")
        return cls(
            vectors=dict(sorted(vectors.items())),
            calibration=calibration,
            sign_test=None if test is None else SignTest(**test),
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
