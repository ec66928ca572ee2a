"""What hold computes: all arms are played turn by turn, and every reply is read hot and cold.

The loop is the study's own and no `Script`: a turn is one call for all arms with the seed of that turn, and replies are
read while they are made. Prefilled words are never read.
"""

from __future__ import annotations

import polars as pl

from greenroom.conversation import Conversation, assistant
from greenroom.directions.cold import cold_places
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.personas import library
from greenroom.runs.run import StageResult
from greenroom.studies.hold.pressures import Scene, scenes, stimuli
from greenroom.studies.study import Work
from greenroom.subject import Capture, PrefixCache, Reply

REPLIES = {
    "pressure": pl.String,
    "conversation": pl.Int64,
    "turn": pl.Int64,
    "axis_sd_hot": pl.Float64,
    "axis_sd_cold": pl.Float64,
    "user": pl.String,
    "reply": pl.String,
}


def press(work: Work) -> StageResult:
    """`replies`, one row a reply (columns: `REPLIES`), of conversations under roles that the axis was not made from."""
    axis, turns = work.axis(), stimuli().turns
    played = scenes([library.role(name) for name in axis.recipe["reserved"]], work.size.conversations)
    talks: list[Conversation] = [scene.before for scene in played]
    memory = PrefixCache()
    made: list[tuple[Scene, int, Reply]] = []
    for turn in range(turns):
        for scene, talk in zip(played, talks, strict=True):
            talk.append(scene.message(turn))
        asked = [
            [*talk, assistant(scene.start(turn))] if scene.started else talk
            for scene, talk in zip(played, talks, strict=True)
        ]
        replies = work.subject.generate(
            asked,
            max_new_tokens=work.size.tokens,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            seed=work.seed + turn,
            capture=Capture((axis.layer,)),
            prefix_cache=memory,
        )
        for scene, talk, reply in zip(played, talks, replies, strict=True):
            talk.append(assistant((scene.start(turn) + reply.text).strip()))
            made.append((scene, turn, reply))
        work.advance(turn + 1, turns + 1)
    cold = cold_places(work.subject, axis, [scene.said[turn] for scene, turn, _ in made], [reply for *_, reply in made])
    hot = [None if reply.activations is None else float(axis.sd(reply.activations[0])) for *_, reply in made]
    rows = [
        (scene.arm, scene.number, turn + 1, warm, cool, scene.said[turn], reply.text)
        for (scene, turn, reply), warm, cool in zip(made, hot, cold, strict=True)
    ]
    return StageResult({"replies": pl.DataFrame(rows, schema=REPLIES, orient="row")})
