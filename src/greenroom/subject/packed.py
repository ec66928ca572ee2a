"""A copy of a model for drawing replies in bfloat16 on a CPU, its weights in the order in which the processor reads them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from greenroom.processor import instructions


class PackedLinear(nn.Module):
    """`nn.Linear` in bfloat16 with its weight in the order that the processor reads it in: with few rows a product spends a
    third of its time on that order. The same bits as `nn.Linear`."""

    def __init__(self, linear: nn.Linear, rows: int = 64):
        """rows: how many rows are typical, which the order is chosen for."""
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed: Any = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self.bias = linear.bias

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(hidden, self.packed, self.bias, "none", [], "")


def packed_copy(model: Any) -> Any:
    """A copy of a model in bfloat16 for drawing replies on a CPU, its `nn.Linear` modules packed where the processor has the
    instructions."""
    drawn = copy.deepcopy(model).to(torch.bfloat16).eval()
    if instructions() is None:
        return drawn
    for module in list(drawn.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(child))
    return drawn
