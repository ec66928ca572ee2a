"""What this processor does with bfloat16: whether it multiplies it, and how fast.

Matrices of bfloat16 are multiplied two to four times as fast as float32 by processors with AVX512-BF16 or AMX (x86) or BF16 (Arm).
Others do it by way of float32, more slowly than float32 itself.
"""

from __future__ import annotations

import platform
import time
from functools import cache
from typing import Any

INSTRUCTIONS = {"amx_bf16": "AMX-BF16", "avx512_bf16": "AVX512-BF16", "bf16": "BF16"}


@cache
def instructions() -> str | None:
    """The instructions of this processor that multiply bfloat16, by their usual name; None where it has none, or torch
    cannot use them."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return None
    asked = getattr(torch.cpu, "get_capabilities", None)
    if asked is not None:
        has: dict[str, Any] = asked()
    else:  # torch before 2.12
        has = {"amx_bf16": torch.cpu._is_amx_tile_supported(), "avx512_bf16": torch.cpu._is_avx512_bf16_supported()}
    if platform.machine() in ("x86_64", "AMD64"):
        has = {name: there for name, there in has.items() if name != "bf16"}
    return next((said for name, said in INSTRUCTIONS.items() if has.get(name)), None)


def matrix_rate(dtype: str, seconds: float = 0.2, size: int = 1024) -> float:
    """GFLOP/s in a format of torch, such as "float32": products of two size × size matrices on this processor, the best of what fits into the time."""
    import torch

    one, other = (torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        torch.mm(one, other)
        now = time.perf_counter()
        best = min(best, now - began)
        if now > end:
            return 2 * size**3 / best / 1e9
