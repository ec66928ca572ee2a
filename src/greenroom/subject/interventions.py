"""The three interventions on the residual stream, as plain tensor maths in residual units.

What a standard deviation is, `greenroom.directions` knows; here an amount is a length along a unit vector.

- steer   h ← h + amount·v
- cap     h ← h + v·max(amount − ⟨h, v⟩, 0)      the floor rule of The Assistant Axis (arXiv 2601.10387): what is
          missing along v is added back, nothing else changes. `ceiling` is its mirror image.
- ablate  h ← h − amount·⟨h, v⟩·v                amount 1 removes the projection whole

Attention sinks are never touched unless `spare_sinks=False` (for comparison with tools that do touch them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["steer", "cap", "ceiling", "ablate"]
Tokens = Literal["all", "prompt", "reply"]

# The amount at which each kind does nothing: what a conversation gets that should be left alone.
NEUTRAL: dict[str, float] = {"steer": 0.0, "cap": -math.inf, "ceiling": math.inf, "ablate": 0.0}


@dataclass(frozen=True, eq=False)
class Intervention:
    """One edit of one block's output.

    vector: (d_model,), made unit length float32 on construction. amount: residual units, one number for all
    conversations or one for each conversation of the call (`NEUTRAL[kind]` leaves a conversation alone).
    Raises ValueError on an unknown kind, a zero vector, or numbers that are no amounts.
    """

    kind: Kind
    layer: int
    vector: Tensor
    amount: float | tuple[float, ...]
    tokens: Tokens = "all"
    spare_sinks: bool = True

    def __post_init__(self) -> None:
        if self.kind not in NEUTRAL:
            raise ValueError(f"unknown intervention {self.kind!r}; expected one of {', '.join(NEUTRAL)}")
        if self.tokens not in ("all", "prompt", "reply"):
            raise ValueError(f"unknown tokens {self.tokens!r}; expected all, prompt or reply")
        vector = self.vector.detach().to(dtype=torch.float32, device="cpu").flatten()
        norm = float(vector.norm())
        if not math.isfinite(norm) or norm == 0.0:
            raise ValueError("the vector of an intervention must be finite and not zero")
        object.__setattr__(self, "vector", vector / norm)
        if not isinstance(self.amount, int | float):
            object.__setattr__(self, "amount", tuple(float(value) for value in self.amount))
        amounts = self.amount if isinstance(self.amount, tuple) else (self.amount,)
        if any(math.isnan(value) for value in amounts):
            raise ValueError("the amount of an intervention must be a number, got nan")

    def amounts(self, count: int) -> list[float]:
        """The amount for each of `count` conversations."""
        if isinstance(self.amount, tuple):
            if len(self.amount) != count:
                raise ValueError(
                    f"the intervention has {len(self.amount)} amounts for {count} conversations; "
                    "give one number, or one for each conversation"
                )
            return list(self.amount)
        return [float(self.amount)] * count

    def among(self, conversations: Sequence[int], count: int) -> Intervention:
        """This edit for some of the `count` conversations of a call, in that order."""
        if not isinstance(self.amount, tuple):
            return self
        amounts = self.amounts(count)
        return replace(self, amount=tuple(amounts[index] for index in conversations))


def edited(hidden: Tensor, kind: Kind, vector: Tensor, amount: Tensor) -> Tensor:
    """The edited residual stream.

    hidden: (…, d_model); vector: (d_model,) unit; amount: broadcasts against hidden's leading shape. Computed in
    float32 and returned in hidden's dtype.
    """
    if kind == "steer":
        return hidden + (amount.unsqueeze(-1) * vector).to(hidden.dtype)
    projection = hidden.float() @ vector
    if kind == "cap":
        change = (amount - projection).clamp_min(0.0)
    elif kind == "ceiling":
        change = (amount - projection).clamp_max(0.0)
    else:
        change = -amount * projection
    return hidden + (change.unsqueeze(-1) * vector).to(hidden.dtype)


def signature(interventions: Sequence[Intervention], row: int, count: int) -> tuple[float, ...]:
    """What distinguishes a conversation's edits from those of the others in its call: part of every prefix key.

    Edits of reply tokens alone leave the prompt as it is, so they do not keep prompts from being shared.
    """
    return tuple(edit.amounts(count)[row] for edit in interventions if edit.tokens != "reply")
