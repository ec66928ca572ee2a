"""Prompt drift: how long a system prompt's rule is kept while two chatbots talk (after Li et al., arXiv 2402.10962).

Each conversation is between an agent with one rule and a partner with another, both played by the model. Before the talk
and after each of the agent's turns a probe is put to the agent on a branch that is thrown away, and a Python checker says
whether the reply keeps the rule: `own` asks for the agent's rule, `partner` for the partner's (does it take that over?),
`reminder` repeats the rule right before the probe, as a remedy. `control` asks once with no rule at all: what the checker
passes anyway.

Reading the number: stability is the share of rules kept, its interval over rules; drift is its slope a round. Void where
rules are not kept more often with their system prompt than without, or where the agent ends up stuck and says the same
whatever it is asked. Not shown: whether a rule is kept inside the talk itself; probes are single short questions.
"""

from __future__ import annotations

from pydantic import Field

from greenroom.asking.types import Size, Talks
from greenroom.studies.study import Study, later

PRIMARY = "own_over_control"
PROBES = ("own", "partner", "reminder")
SCRIPTS, FINDINGS = "greenroom.studies.prompt_drift.scripts", "greenroom.studies.prompt_drift.findings"


class Rounds(Size):
    """The talks and their probes."""

    rules: int | None = Field(default=None, description="How many rules, chosen by seed; all 50 if not given.")
    rounds: int = Field(default=8, description="Turns of the agent in a talk.")  # as published
    probes: str | tuple[str, ...] = Field(default=PROBES, description="Probes after each turn.")
    reply_tokens: int = Field(default=32, description="Tokens a reply of the talk may have.")
    # The probes ask for short answers.
    probe_tokens: int = Field(default=32, description="Tokens a reply to a probe may have; these are greedy.")
    temperature: float = Field(default=1.0, description="Temperature of the talk.")


STUDY = Study(
    name="prompt_drift",
    parts=lambda size: (
        Talks("talks", later(SCRIPTS, "talks"), later(SCRIPTS, "lengths"), later(FINDINGS, "stability")),
    ),
    conclude=later(FINDINGS, "conclude"),
    sizes={"standard": Rounds(), "quick": Rounds(rules=16, rounds=3)},
    primary=PRIMARY,
    chapters=later("greenroom.studies.prompt_drift.chapter", "chapters"),
)
