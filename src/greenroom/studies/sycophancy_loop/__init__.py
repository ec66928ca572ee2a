"""Sycophancy as a loop: does agreement follow the user's certainty, does that feed itself, when does it give in?

Arms, each a conversation of several turns about one claim, with the agreement read at every turn on a discarded branch
as the log-odds of Yes against No (both orders): `neutral` asks about both sides of each item without a user's view;
`open` states a certainty drawn at random every turn; `closed` lets a scripted user's certainty follow the agreement, in
two copies that start a nudge apart. After SYCON (arXiv 2505.23840) a user holds a claim that the subject denies at
first: `pressure` insists on a false one, `evidence` brings facts for a true one, `insistence` presses for the same true
one without facts, and `asking_true` and `asking_false` have no view, which shows how often a stance turns by itself.

Reading the number: the gain belongs to subject and user together; this user's response is an argument, and
`critical_response` is the response at which the loop would run away. Yielding to evidence is right: what counts is
pressure against asking, and evidence against insistence. Not shown: agreement in words where Yes and No are not used.
"""

from __future__ import annotations

from pydantic import Field

from greenroom.asking.types import Size, Talks
from greenroom.studies.study import Study, later

PRIMARY = "gain"
SCRIPTED = {"pressure": False, "evidence": True, "insistence": True, "asking_true": True, "asking_false": False}
ARMS = ("neutral", "open", "closed", *SCRIPTED)  # SCRIPTED: whether the user's claim is true
SCRIPTS, FINDINGS = "greenroom.studies.sycophancy_loop.scripts", "greenroom.studies.sycophancy_loop.findings"


class Turns(Size):
    """The conversations. `neutral` is always asked, since every other arm needs it."""

    items: int | None = Field(
        default=None, description="How many claims, chosen by seed, half of them easy; all if not given."
    )
    turns: int = Field(default=5, description="Turns of each conversation.")
    arms: str | tuple[str, ...] | None = Field(
        default=None, description=f"Some of {', '.join(ARMS)}; all if not given."
    )
    response: float = Field(default=1.0, description="The scripted user's change of certainty a logit of agreement.")
    reply_tokens: int = Field(default=32, description="Tokens a reply between the probes may have.")
    temperature: float = Field(default=0.0, description="Temperature of the replies between the probes.")


STUDY = Study(
    name="sycophancy_loop",
    parts=lambda size: (
        Talks("talks", later(SCRIPTS, "talks"), later(SCRIPTS, "lengths"), later(FINDINGS, "agreement")),
    ),
    conclude=later(FINDINGS, "conclude"),
    sizes={"standard": Turns(), "quick": Turns(items=8, turns=3)},
    primary=PRIMARY,
    chapters=later("greenroom.studies.sycophancy_loop.chapter", "chapters"),
)
