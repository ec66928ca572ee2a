"""Trait profile: where the default character lies between the two poles of each trait (vectors as in arXiv 2507.21509).

Reading the number: 0 is the midpoint of the replies under opposite instructions, −1 and +1 are the poles. (The default
character's projection centred on itself would be zero by construction.) Poles and default answer the same held-out
questions. Not shown: that a trait shows in behaviour, or that two traits can be compared by their numbers.
"""

from __future__ import annotations

from pydantic import Field

from greenroom.asking.types import Size
from greenroom.studies.study import Stage, Study, later


class Profile(Size):
    traits: int | None = Field(default=None, ge=1, description="how many traits of the library, by name (default all)")
    questions: int = Field(
        default=5, ge=1, description="held-out questions of each trait, and others for a vector made anew"
    )
    tokens: int = Field(default=24, ge=1, description="the most tokens that a reply may have")


STUDY = Study(
    name="trait_profile",
    parts=lambda size: (
        Stage("traits", "Trait profile", later("greenroom.studies.trait_profile.stages", "place_traits")),
    ),
    conclude=later("greenroom.studies.trait_profile.findings", "conclude"),
    sizes={"standard": Profile(), "quick": Profile(traits=6, questions=4, tokens=16)},
    # One trait named beforehand, of those that every size asks.
    primary="emotional_attachment",
    after=("persona_map",),
    audit="always",
    chapters=later("greenroom.studies.trait_profile.chapter", "chapters"),
)
