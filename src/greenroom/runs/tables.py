"""Tidy tables on disk: parquet, written whole or not at all, read back bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from greenroom.errors import RunError
from greenroom.store import atomic_path

if TYPE_CHECKING:
    import polars as pl


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Writes a frame as parquet, atomically; raises RunError when the disk refuses.

    The bytes are made in memory first, so that a full disk fails in our own write, with the system's reason.
    """
    buffer = BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_table(path: Path) -> pl.DataFrame:
    """The frame as it was written (every float equal); raises RunError for a missing or damaged file."""
    import polars as pl

    try:
        return pl.read_parquet(path.read_bytes())
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing; run the same command again, and its stage is computed anew") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path} is no readable table ({reason}); delete it and run the same command again") from error


def differences(one: Path, other: Path, *, timings: Sequence[str] = ("seconds",), within: float = 0.0) -> list[str]:
    """What differs between the tables of two run folders, a line each; empty when every value is equal.

    within: floats this close count as equal. A stage that was interrupted goes on in other batches, whose sums round
    differently.
    Columns whose name ends in a word of `timings` are left out: they are the only ones that may differ.
    """
    names = sorted({str(path.relative_to(run)) for run in (one, other) for path in run.rglob("tables/*.parquet")})
    found: list[str] = []
    for name in names:
        missing = [run for run in (one, other) if not (run / name).exists()]
        if missing:
            found.append(f"{name}: not in {missing[0]}")
            continue
        left, right = (
            frame.select(column for column in frame.columns if not column.endswith(tuple(timings)))
            for frame in (read_table(run / name) for run in (one, other))
        )
        if left.schema != right.schema:
            found.append(f"{name}: columns differ")
        elif left.height != right.height:
            found.append(f"{name}: {left.height} rows against {right.height}")
        else:
            unequal = [column for column in left.columns if not _equal(left[column], right[column], within)]
            found += [f"{name}: column {column} differs" for column in unequal]
    return found


def _equal(left: pl.Series, right: pl.Series, within: float) -> bool:
    if left.equals(right, null_equal=True):
        return True
    if not within or not left.dtype.is_float() or not left.is_null().equals(right.is_null()):
        return False
    return bool(((left - right).abs() <= within).all())
