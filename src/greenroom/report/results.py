"""A finished run as its page reads it: one `Results` a study, with its tables, its measures and its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from greenroom.runs.tables import read_table
from greenroom.store import read_json

MEASURES = "tables/measures.parquet"


@dataclass(frozen=True)
class RunResults:
    """A run's manifest, its measures, and the studies that lie in its folder (made with it, or brought to it)."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> RunResults:
        """Reads run.json; raises GreenroomError when it is missing or broken."""
        return cls(folder, read_json(folder / "run.json"))

    @property
    def model(self) -> str:
        """The subject's name, as the reader should see it."""
        return str(self.manifest["subject"])

    @cached_property
    def measures(self) -> pl.DataFrame:
        """Every measure of the run, one a row (`MEASURE_SCHEMA`); all intervals of the page stand here."""
        return read_table(self.folder / MEASURES)

    def study(self, name: str) -> Results | None:
        """The results of a study; None where this run has none."""
        return Results(self, name) if (self.folder / name / "results.json").is_file() else None


@dataclass(frozen=True)
class Results:
    """What one study left in a run."""

    run: RunResults
    name: str
    _tables: dict[str, pl.DataFrame | None] = field(default_factory=dict, compare=False)

    @property
    def folder(self) -> Path:
        return self.run.folder / self.name

    @property
    def model(self) -> str:
        return self.run.model

    @cached_property
    def words(self) -> dict[str, Any]:
        """The study's own words: those it was made with (`words.yaml` in its folder)."""
        text = (self.folder / "words.yaml").read_text(encoding="utf-8")
        return yaml.safe_load(text.replace(" %", "\N{NO-BREAK SPACE}%"))

    @cached_property
    def parts(self) -> dict[str, dict[str, Any]]:
        """The JSON results of each part (stage), by its name."""
        return read_json(self.folder / "results.json")

    def part(self, name: str) -> dict[str, Any]:
        """The JSON results of a part; empty where it has none."""
        return self.parts.get(name) or {}

    def table(self, name: str) -> pl.DataFrame | None:
        """The table, or None where this study has none or an empty one."""
        if name not in self._tables:
            path = self.folder / "tables" / f"{name}.parquet"
            frame = read_table(path) if path.exists() else None
            self._tables[name] = None if frame is None or frame.is_empty() else frame.fill_nan(None)
        return self._tables[name]

    @cached_property
    def answers(self) -> pl.DataFrame | None:
        """Every answer of the study's questions and talks (`asking.types.ANSWERS`); None where nothing was asked."""
        paths = sorted((self.folder / "tables").glob("answers*.parquet"))
        found = [table for path in paths if (table := self.table(path.stem)) is not None]
        return pl.concat(found, how="diagonal_relaxed") if found else None

    @cached_property
    def measures(self) -> pl.DataFrame:
        """This study's measures, one a row."""
        return self.run.measures.filter(pl.col("study") == self.name)

    def measure(self, name: str, paradigm: str | None = None, part: str = "") -> dict[str, Any] | None:
        """One measure as a row; None where it was not taken."""
        same = (pl.col("name") == name) & (pl.col("part") == part)
        found = self.measures.filter(same & pl.col("paradigm").eq_missing(paradigm))
        return found.row(0, named=True) if found.height else None

    def series(self, part: str, *columns: str) -> pl.DataFrame:
        """The measures of a part whose names are levels joined by "/": a column a level, then estimate, low, high, n,
        grade. Levels that are whole numbers are read as such."""
        own = self.measures.filter(pl.col("part") == part)
        levels = own["name"].str.split_exact("/", len(columns) - 1).struct.rename_fields(list(columns)).struct.unnest()
        whole = [name for name in columns if own.height and levels[name].str.contains(r"^-?\d+$").all()]
        kept = own.select("paradigm", "estimate", "low", "high", "n", "grade", "reason")
        return pl.concat([levels.with_columns(pl.col(whole).cast(pl.Int64)), kept], how="horizontal")

    def of(self, study: str) -> Results | None:
        """Another study of the same run."""
        return self.run.study(study)
