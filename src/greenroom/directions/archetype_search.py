"""The search for archetypes among a cast's replies: who answers, who is searched, what is found and what it is like."""

from __future__ import annotations

import numpy as np
import polars as pl

from greenroom.directions.archetypes import Advance, Archetypes, ReplyVectors, search
from greenroom.directions.behavioural_map import usual_questions
from greenroom.directions.cast import DEFAULT, Cast
from greenroom.directions.portraits import Portraits, portraits
from greenroom.measures.intervals import Array
from greenroom.personas import library


def archetype_cast(questions: int, tokens: int) -> Cast:
    """The library's roles and Jung's archetypes answer the same questions, at most as many as the library has."""
    roles = tuple(role for role in library.roles() if role.kind != "archetype")
    return Cast((*roles, *library.archetypes()), usual_questions(questions), library.default_instructions(), tokens)


def search_replies(
    replies: pl.DataFrame,
    values: Array,
    axis: Array | None,
    *,
    resamples: int,
    seed: int = 0,
    progress: Advance | None = None,
) -> tuple[Archetypes, Portraits]:
    """Searches all roles but Jung's archetypes and the default character, which are only placed, and describes the result.

    replies: one row a reply: role, kind, question (id), reply (text). values: (reply, hidden) at one block. axis: (hidden,)
    the assistant axis there, if there is one.
    """
    jungian = tuple(role.name for role in library.archetypes())
    role, question = (replies[column].to_numpy().astype(str) for column in ("role", "question"))
    named = tuple(name for name in dict.fromkeys(role.tolist()) if name != DEFAULT and name not in jungian)
    vectors = ReplyVectors(np.asarray(values, float), role, question, named)
    found = search(vectors, seed=seed, resamples=resamples, progress=progress)
    described = portraits(
        vectors, found, replies["reply"].to_list(), {one.id: one.text for one in library.questions()},
        dict(zip(replies["role"], replies["kind"], strict=True)), jungian, DEFAULT, axis, seed=seed,
    )  # fmt: skip
    return found, described
