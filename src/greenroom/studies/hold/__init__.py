"""Hold: how far five kinds of pressure move the character along the assistant axis over six turns, against a neutral arm.

Reading the number: `<pressure>.hot` and `<pressure>.cold` are differences to the neutral arm at the last turn (sd of the
default character's replies, conversations paired); below 0 is away from the assistant. Hot is read in the context that
made the reply, whose own effect on the reading is in it; cold after a plain user message alone, so that only the words
count. Persona drift over turns: arXiv 2402.10962; the axis: arXiv 2601.10387. Not shown: what a moved model would do.
"""

from __future__ import annotations

from pydantic import Field

from greenroom.asking.types import Size
from greenroom.studies.study import Stage, Study, later


class Conversations(Size):
    conversations: int = Field(default=7, ge=1, description="conversations under each pressure, ten at most")
    tokens: int = Field(default=16, ge=1, description="the most tokens that a reply may have")


STUDY = Study(
    name="hold",
    parts=lambda size: (
        Stage("conversations", "Hold under pressure", later("greenroom.studies.hold.stages", "press")),
    ),
    conclude=later("greenroom.studies.hold.findings", "conclude"),
    sizes={"standard": Conversations(), "quick": Conversations(conversations=2)},
    # Named beforehand: the strongest of five is chosen by the data. Words put in its mouth change neither the instructions
    # nor what the user says, so the neutral arm differs from this one in nothing else.
    primary="prefill.hot",
    after=("persona_map",),
    audit="always",
    chapters=later("greenroom.studies.hold.chapter", "chapters"),
)
