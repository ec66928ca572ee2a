"""Studies of their own (behavioural map, archetypes, frontier of the axis): as stages of an audit, what they share, and
what those of persona space say in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenroom.runs.progress import Progress
from greenroom.runs.run import Run, StageResult
from greenroom.studies.sentences import said

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from greenroom.directions import Direction
    from greenroom.subject import Subject


STUDIES = {"behaviour": "Behavioural map", "archetypes": "Archetypes", "frontier": "Price of turning the axis"}


@dataclass(frozen=True)
class Study:
    """A finished study: its folder and its headline numbers. `str()` is what a person reads."""

    path: Path
    summary: dict[str, Any]

    def __str__(self) -> str:
        words = self.summary["sentences"]
        body = [text for key, text in words.items() if key != "headline"]
        foot = "  {seconds:.0f} s, {peak_rss_gib:.1f} GiB, seed {seed}".format(**self.summary)
        return "\n".join(
            [words["headline"], "", *(f"  {text}" for text in body), "", foot, f"  Report: {self.path / 'report.html'}"]
        )


class _Nested(Progress):
    """Shows the stages of a run within a run as shares of one stage of the outer one."""

    def __init__(self, outer: Run) -> None:
        self._outer, self._stages, self._done = outer, 1, 0

    def plan(self, stages: Mapping[str, str]) -> None:
        self._stages = len(stages)

    def advance(self, stage: str, done: int, total: int) -> None:
        self._outer.advance(round(1000 * (self._done + done / max(1, total))), 1000 * self._stages)

    def finish(self, stage: str) -> None:
        self._done += 1
        self._outer.advance(1000 * self._done, 1000 * self._stages)

    def keep(self, stage: str) -> None:
        self.finish(stage)


def studied(name: str, subject: Subject, axis: Direction, run: Run, *, quick: bool, seed: int) -> StageResult:
    """A study as a stage of an audit: a run of its own in the audit's folder, kept for these weights as any other.

    It resumes by itself, so an interrupted audit loses at most one of its stages.
    """
    out, progress = run.path / name, _Nested(run)
    if name == "behaviour":
        from greenroom.studies.behavioural_map.stages import map_behaviour

        small: dict[str, Any] = {"roles": 8, "questions": 3, "tokens": 16} if quick else {}
        map_behaviour(subject, out, axis=axis, seed=seed, progress=progress, **small)
    elif name == "archetypes":
        from greenroom.studies.archetypes.stages import find_archetypes

        small = {"questions": 4, "tokens": 16, "resamples": 10} if quick else {}
        find_archetypes(subject, out, axis=axis, seed=seed, progress=progress, **small)
    else:
        from greenroom.studies.frontier.stages import measure_frontier

        small = {"strengths": (-4.0, 4.0), "floors": ("default:p25",), "replies": 8, "neutral": 8} if quick else {}
        measure_frontier(subject, axis, out, seed=seed, progress=progress, **small)
    return StageResult()


def archetype_sentences(model: str, found: dict[str, Any], archetypes: pl.DataFrame) -> dict[str, str]:
    """The findings of a search in words."""
    factors = archetypes.filter(archetypes["method"] == "factor")
    stable = factors.filter(factors["stable"])
    number, recurring = found["n_factors"], found["recurring_factors"]
    lone = found["stable_factors"] - recurring
    parts = [
        said(
            "archetypes_factors",
            model=model,
            n=number,
            stable=found["stable_factors"],
            lone=said("archetypes_lone", n=lone) if lone else "",
            explained=100 * found["explained"],
            reproducible=100 * found["reproducible"],
        )
        if number
        else said("archetypes_no_factors", model=model)
    ]
    if found["n_clusters"]:
        parts.append(
            said("archetypes_clusters", n=found["n_clusters"], stable=found["stable_clusters"], rand=found["kinds_rand"],
                 p=found["kinds_rand_p"])
        )  # fmt: skip
    else:
        parts.append(said("archetypes_continuum", roles=found["n_roles"]))
    near = stable.filter(stable["jungian_p"] <= 0.05) if stable.height else stable
    if found["explained_jungian"] is not None:
        nearer = said("archetypes_near", n=near.height, of=stable.height) if stable.height else ""
        parts.append(said("archetypes_jungian", explained=100 * found["explained_jungian"], near=nearer))
    headline = said("archetypes_headline" if recurring else "archetypes_headline_none", model=model, n=recurring)
    return {"headline": headline, "archetypes": " ".join(parts)}


def behaviour_sentences(model: str, found: dict[str, Any]) -> dict[str, str]:
    """The findings of a behavioural map in words."""
    agree = found["mantel_p"] <= 0.05 and found["mantel_r"] > 0
    values = {key: found[key] for key in ("mantel_r", "mantel_p", "median_bits", "floor_bits", "n_roles")}
    low, high = (f"{value:.2f}" if value is not None else "–" for value in (found["mantel_low"], found["mantel_high"]))
    test = said("behaviour_agree" if agree else "behaviour_differ", **values, low=low, high=high)
    kept = said("behaviour_reliable", reliability=found["split_half"]) if found["split_half"] is not None else ""
    return {
        "headline": said("behaviour_headline" if agree else "behaviour_headline_differ", model=model, **values),
        "behaviour": " ".join(part for part in (test, said("behaviour_floor", **values), kept) if part),
    }
