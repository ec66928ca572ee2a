"""What a subject writes under each setting, and how it reads: effect, coherence and leakage in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from greenroom.conversation import Conversation, user
from greenroom.directions import Direction
from greenroom.directions.cold import cold_places
from greenroom.directions.progress import share
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.directions.scorers import Scorer, trait_of
from greenroom.measures.coherence import degenerate, perplexity, repeated_share
from greenroom.measures.intervals import Interval, bootstrap_mean
from greenroom.personas import library
from greenroom.studies.frontier.cloze import stimuli
from greenroom.studies.frontier.leakage import names_topic, topic_words
from greenroom.studies.frontier.settings import Setting
from greenroom.subject import Capture, Subject

if TYPE_CHECKING:
    import polars as pl

Progress = Callable[[int, int], None]


def prompts_of(direction: Direction, replies: int, neutral: int) -> list[tuple[str, int, Conversation]]:
    """(place, question, conversation): `replies` on the direction's held-out questions (those of the library for the
    axis and for directions of unknown meaning), `neutral` on tasks that are none of its business; questions repeat
    when there are not enough of them."""
    trait = trait_of(direction)
    held = (
        [question.text for question in trait.questions if question.held_out]
        if trait is not None
        else [question.text for question in library.questions()]
    )
    places = (("effect", held, replies), ("neutral", stimuli()["neutral"], neutral))
    return [
        (place, index % len(texts), [user(texts[index % len(texts)])])
        for place, texts, count in places
        for index in range(count)
    ]


def write_replies(
    subject: Subject,
    direction: Direction,
    settings: Sequence[Setting],
    prompts: Sequence[tuple[str, int, Conversation]],
    *,
    tokens: int,
    seed: int,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """One reply a setting and prompt. Every setting is a call of its own under one seed, so that the same random
    numbers meet the same prompt under all of them, and differences are the setting's.

    Columns: setting, place, question, prompt, reply, tokens (ids), finish, projection_hot (sd, in the edited context
    that made it: this moves by definition and is shown for that reason only).
    """
    import polars as pl

    rows = []
    for number, setting in enumerate(settings):
        made = subject.generate(
            [conversation for _, _, conversation in prompts],
            max_new_tokens=tokens,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            seed=seed,
            capture=Capture((direction.layer,)),
            interventions=setting.edits,
            progress=share(progress, number / len(settings), (number + 1) / len(settings)),
        )
        for (place, question, conversation), reply in zip(prompts, made, strict=True):
            hot = None if reply.activations is None else float(direction.sd(reply.activations[0]))
            rows.append(
                {
                    "setting": setting.name, "place": place, "question": question,
                    "prompt": conversation[-1]["content"], "reply": reply.text, "tokens": reply.tokens,
                    "finish": reply.finish, "projection_hot": hot,
                }
            )  # fmt: skip
    return pl.DataFrame(
        rows,
        schema={
            "setting": str, "place": str, "question": int, "prompt": str, "reply": str, "tokens": pl.List(int),
            "finish": str, "projection_hot": float,
        },
    )  # fmt: skip


def read_replies(
    subject: Subject, direction: Direction, score: Scorer, replies: pl.DataFrame, progress: Progress | None = None
) -> pl.DataFrame:
    """How the replies read, unedited: adds score, projection_cold (sd), surprise (nats, sum over tokens), n_tokens,
    repetition, degenerate (why, or null), topic (whether it names the direction's topic)."""
    import polars as pl

    conversations: list[Conversation] = [[user(prompt)] for prompt in replies["prompt"]]
    ids, texts = replies["tokens"].to_list(), replies["reply"].to_list()
    written = [index for index, tokens in enumerate(ids) if tokens]
    surprise = np.full(len(ids), np.nan)
    scores = np.full(len(ids), np.nan)
    if written:
        asked, said = [conversations[index] for index in written], [ids[index] for index in written]
        surprise[written] = -np.array(subject.score(asked, said, progress=share(progress, 0, 1 / 3)).total)
        scores[written] = score(asked, [texts[index] for index in written])
    cold = cold_places(subject, direction, replies["prompt"].to_list(), ids, share(progress, 1 / 3, 1))
    words, vocabulary = topic_words(direction), int(subject.network.config.vocab_size)
    lengths = np.array([len(tokens) for tokens in ids])
    return replies.with_columns(
        pl.Series("score", scores, nan_to_null=True),
        pl.Series("projection_cold", cold, dtype=pl.Float64),
        pl.Series("surprise", surprise, nan_to_null=True),
        pl.Series("n_tokens", lengths),
        pl.Series("repetition", [repeated_share(tokens) for tokens in ids], dtype=pl.Float64),
        pl.Series(
            "degenerate",
            [
                degenerate(text, tokens, float(total) / max(1, len(tokens)), vocabulary)
                for text, tokens, total in zip(texts, ids, surprise, strict=True)
            ],
            dtype=pl.String,
        ),
        pl.Series(
            "topic",
            [
                names_topic(text, asked, words) if words else None
                for text, asked in zip(texts, conversations, strict=True)
            ],
            dtype=pl.Boolean,
        ),
    )


def summarise(read: pl.DataFrame, setting: str, unedited: str, unit: str, seed: int) -> dict[str, object]:
    """The figures of one setting, against the unedited subject on the same questions."""
    import polars as pl

    own, plain = read.filter(pl.col("setting") == setting), read.filter(pl.col("setting") == unedited)

    def change(column: str, place: str) -> Interval:
        """Mean change of the same prompt under the same random numbers, with its interval over questions."""
        sides = [frame.filter(pl.col("place") == place) for frame in (own, plain)]
        after, before = (side[column].cast(pl.Float64).to_numpy() for side in sides)
        return bootstrap_mean(after - before, sides[0]["question"].to_list(), seed=seed)

    effect, cold, leak = change("score", "effect"), change("projection_cold", "effect"), change("score", "neutral")
    topic = change("topic", "neutral")
    hot = own.filter(pl.col("place") == "effect")["projection_hot"].mean()
    surprise = own.filter(pl.col("surprise").is_not_null() & (pl.col("n_tokens") > 0))
    return {
        "effect": effect.estimate, "effect_low": effect.low, "effect_high": effect.high, "effect_unit": unit,
        "projection_cold_shift": cold.estimate, "projection_hot": hot,
        "perplexity": perplexity([[-t / n] * n for t, n in surprise.select("surprise", "n_tokens").iter_rows()]),
        "repetition": own["repetition"].mean(),
        "degenerate_share": own["degenerate"].is_not_null().mean(),
        "leakage": leak.estimate, "leakage_low": leak.low, "leakage_high": leak.high,
        "topic_share": own.filter(pl.col("place") == "neutral")["topic"].cast(pl.Float64).mean(),
        "topic_shift": topic.estimate, "topic_shift_low": topic.low, "topic_shift_high": topic.high,
        "n_replies": own.height, "n_scored": int(own["score"].is_not_null().sum()),
    }  # fmt: skip
