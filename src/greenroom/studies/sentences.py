"""The findings in plain words, from sentences.yaml; numbers are put in here, wording is never."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def sentences() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / "sentences.yaml").read_text(encoding="utf-8"))


def said(key: str, /, **values: Any) -> str:
    """The sentence of that key with its values."""
    # A true minus sign, as in the figures.
    return re.sub(r"(?<!\w)-(?=\d)", "−", sentences()[key].format(**values))


def band(key: str, value: float) -> str:
    """The word for a value: the first band whose lower bound it reaches."""
    bands: list[dict[str, Any]] = sentences()[key]
    return next(entry["word"] for entry in bands if value >= entry["from"])


def listed(names: list[str]) -> str:
    """Names in a row: a, b and c."""
    plain = [name.replace("_", " ") for name in names]
    return plain[0] if len(plain) == 1 else f"{', '.join(plain[:-1])} and {plain[-1]}"
