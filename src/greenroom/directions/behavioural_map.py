"""The behavioural map: how far apart characters are in what they would say, in bits a token (definitions.md).

D(A, B) is what A's own replies lose under B's system message: log p(x | A) − log p(x | B), where x was sampled, at
temperature 1 and untruncated, under another paraphrase of A than the one it is scored under, so that A has no advantage
of wording. Nothing of the network's inside enters, so the map can be set beside that of activations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from greenroom.directions.cast import DEFAULT, Cast
from greenroom.directions.rollouts import instructed
from greenroom.errors import DirectionError
from greenroom.measures.intervals import Array, bootstrap_mean
from greenroom.measures.mantel import Mantel, mantel, table_correlation
from greenroom.personas import Question, Role, library
from greenroom.subject import Reply, Subject
from greenroom.subject.subject import Progress

# Questions and tokens of the activation map: other questions than those of the behavioural one, so that one reply out
# of character cannot move both maps.
ACTIVATION_QUESTIONS, ACTIVATION_TOKENS = 9, 32


@dataclass(frozen=True)
class Character:
    """A role, or the default character; instructions are paraphrases of each other, at least two."""

    name: str
    kind: str
    instructions: tuple[str, ...]

    @classmethod
    def of(cls, role: Role) -> Character:
        return cls(role.name, role.kind, role.instructions)


def usual_characters(count: int) -> tuple[Character, ...]:
    """The default character and count − 1 roles, evenly over the library (which lists them by kind)."""
    # The empty system message is no paraphrase: it says nothing about who to be.
    told = tuple(text for text in library.default_instructions() if text)
    able = [role for role in library.roles() if len(role.instructions) > 1]
    picked = np.unique(np.linspace(0, len(able) - 1, min(count - 1, len(able))).round().astype(int))
    return (Character(DEFAULT, DEFAULT, told), *(Character.of(able[index]) for index in picked))


def usual_questions(count: int) -> tuple[Question, ...]:
    """One question of each topic in turn, until there are enough."""
    by_topic: dict[str, list[Question]] = {}
    for question in library.questions():
        by_topic.setdefault(question.topic, []).append(question)
    deepest = max(map(len, by_topic.values()))
    ordered = [of[turn] for turn in range(deepest) for of in by_topic.values() if turn < len(of)]
    return tuple(ordered[:count])


def activation_cast(characters: Sequence[Character], questions: Sequence[Question]) -> Cast:
    """The same characters, as a cast whose role vectors make the activation map."""
    roles = tuple(library.role(one.name) for one in characters if one.name != DEFAULT)
    return Cast(roles, tuple(questions), library.default_instructions(), ACTIVATION_TOKENS)


class SampledReply(NamedTuple):
    """A character's reply to a question, and the paraphrase under which it was sampled."""

    character: int
    question: int
    paraphrase: int
    reply: Reply


def sample_replies(
    subject: Subject,
    characters: Sequence[Character],
    questions: Sequence[Question],
    *,
    tokens: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[SampledReply]:
    """One reply of each character to each question, paraphrases in turn; replies without a token are left out."""
    plan = [
        (who, number, number % len(character.instructions))
        for who, character in enumerate(characters)
        for number in range(len(questions))
    ]
    prompts = [instructed(characters[who].instructions[told], questions[number].text) for who, number, told in plan]
    replies = subject.generate(
        prompts, max_new_tokens=tokens, temperature=1.0, top_p=1.0, top_k=0, seed=seed, progress=progress
    )
    return [SampledReply(*cell, reply) for cell, reply in zip(plan, replies, strict=True) if reply.tokens]


def bits_lost(
    subject: Subject,
    characters: Sequence[Character],
    questions: Sequence[Question],
    said: Sequence[SampledReply],
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Scores replies under every character, all in one call, so that prefixes are shared.

    Give the replies to one question at a time where memory is short: they share their prefixes, and so many rows are
    alive together. One row a reply and reader: role (whose reply), reader, question, bits (a token, what is lost
    against another paraphrase of the role itself), and n_tokens. The row whose reader is the role itself is the floor:
    what the reply loses from the paraphrase that made it to another one.
    """
    rows: list[tuple[int, int, int]] = []  # reply, reader, paraphrase
    for index, one in enumerate(said):
        own = len(characters[one.character].instructions)
        # A paraphrase other than the one that made the reply; which one changes from question to question.
        other = (one.paraphrase + 1 + one.question % (own - 1)) % own
        for reader, character in enumerate(characters):
            rows.append((index, reader, other if reader == one.character else other % len(character.instructions)))
        rows.append((index, one.character, one.paraphrase))
    prompts = [
        instructed(characters[reader].instructions[told], questions[said[index].question].text)
        for index, reader, told in rows
    ]
    scores = subject.score(prompts, [said[index].reply.tokens for index, _, _ in rows], progress=progress)
    bits: dict[tuple[int, int, bool], float] = {}
    for (index, reader, told), total in zip(rows, scores.total, strict=True):
        made_it = reader == said[index].character and told == said[index].paraphrase
        bits[index, reader, made_it] = total / len(said[index].reply.tokens) / np.log(2)
    result = []
    for index, one in enumerate(said):
        itself = bits[index, one.character, False]
        for reader, character in enumerate(characters):
            lost = bits[index, reader, True] if reader == one.character else itself
            result.append(
                {"role": characters[one.character].name, "reader": character.name, "question": questions[one.question].id,
                 "bits": float(lost - bits[index, reader, False]), "n_tokens": len(one.reply.tokens)}
            )  # fmt: skip
    return pl.DataFrame(result)


class BehaviouralMap(NamedTuple):
    """names: characters that replied, in order. distances: (name, name) bits a token, symmetrised by the mean, 0 on the
    diagonal; small ones may fall below 0, since they are unbiased. lost: (reader of the row's replies) the two sides
    apart. floor: (name, 3) mean loss to another paraphrase of oneself, with its interval over questions."""

    names: tuple[str, ...]
    distances: Array
    lost: Array
    floor: Array


def behavioural_map(losses: pl.DataFrame, *, seed: int = 0) -> BehaviouralMap:
    """From the table of `bits_lost`. A mean over replies weighs each reply alike. Raises DirectionError below four characters."""
    names = tuple(losses["role"].unique(maintain_order=True))
    if len(names) < 4:
        raise DirectionError(
            f"{len(names)} characters gave a reply; expected at least 4: ask more questions, or check the model with chat"
        )
    lost = _table(losses, names)
    distances = (lost + lost.T) / 2
    np.fill_diagonal(distances, 0.0)
    floors = []
    for name in names:
        own = losses.filter((pl.col("role") == name) & (pl.col("reader") == name))
        found = bootstrap_mean(own["bits"].to_numpy(), own["question"].to_list(), seed=seed)
        floors.append(found[:3])
    return BehaviouralMap(names, distances, lost, np.array(floors, float))


def split_half(losses: pl.DataFrame, names: Sequence[str]) -> float | None:
    """Reliability of the distances: rank correlation between those of odd and of even questions, stepped up to the full
    length (Spearman–Brown). None with fewer than four questions, or where a half is not positive."""
    questions = losses["question"].unique(maintain_order=True).to_list()
    if len(questions) < 4:
        return None
    halves = [_table(losses.filter(pl.col("question").is_in(questions[part::2])), names) for part in (0, 1)]
    tables = [(half + half.T) / 2 for half in halves]
    if any(not np.isfinite(table[np.triu_indices(len(names), 1)]).all() for table in tables):
        return None
    for table in tables:
        np.fill_diagonal(table, 0.0)
    r = table_correlation(*tables)
    return 2 * r / (1 + r) if r > 0 else None


def compared(found: BehaviouralMap, vectors: Mapping[str, Array], *, seed: int = 0) -> tuple[Mantel, Array]:
    """The Mantel test against distances between role vectors, and those distances (name, name), Euclidean.

    vectors: name → (hidden,), at one block. They should come from other replies than the map's own, so that a reply
    out of character cannot move both.
    """
    stacked = np.stack([np.asarray(vectors[name], float) for name in found.names])
    apart = np.linalg.norm(stacked[:, None] - stacked[None], axis=2)
    return mantel(found.distances, apart, seed=seed), apart


def _table(losses: pl.DataFrame, names: Sequence[str]) -> Array:
    """(role, reader) mean bits; NaN where there is no reply."""
    at = {name: index for index, name in enumerate(names)}
    table = np.full((len(names), len(names)), np.nan)
    means = losses.group_by("role", "reader").agg(pl.col("bits").mean())
    for role, reader, bits in means.iter_rows():
        if role in at and reader in at:
            table[at[role], at[reader]] = bits
    return table
