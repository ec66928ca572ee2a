"""Fake subjects for people who write studies: one with a planted preference, and fools that no study may believe.

Each answers the real probes of a study of `Questions`, as rows (`answers_from`, fast) or as an Inspect model
(`model_from`), and always says the same to the same probe. `measures_from` concludes from answers as a run does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import polars as pl

from greenroom.asking.answers import answered
from greenroom.asking.choice import CANNOT_SCORE, SAMPLES
from greenroom.asking.questions import Plan, Probe
from greenroom.asking.types import Case, Heard, Option, Questions, Size
from greenroom.measures import Measure
from greenroom.studies.running import concluded
from greenroom.studies.study import Study

Preference = Callable[[Case, Option], float]  # nats
HEIGHT, SLOPE = 3.0, 1.2  # of `preferring`, nats and nats a level


def preferring(name: str | None = None) -> Preference:
    """A preference for the option of that name (default: each case's first) over the others, which are liked less and
    less in their order. It falls by `SLOPE` a level of a factor that is a number, and other levels move each option, to
    the one that they are named after most."""

    def likes(case: Case, option: Option) -> float:
        ids = [one.id for one in case.options]
        favoured = option.id == name if name in ids or len(ids) == 1 else option.id == ids[0]
        numbers = [
            level for level in case.levels.values() if isinstance(level, int | float) and not isinstance(level, bool)
        ]
        words = [level for level in case.levels.values() if isinstance(level, str)]
        moved = sum(3.0 * (level == option.id) + noise(level, option.id) for level in words)
        return moved + (HEIGHT - SLOPE * sum(numbers) if favoured else -0.4 * ids.index(option.id))

    return likes


def noise(*parts: object) -> float:
    """A fixed number in −1..1 for these parts."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") / 2**63 - 1


@dataclass(frozen=True)
class Subject:
    """Answers probes. logprob: of a text of the probe, by its place; reply: the draw-th sampled one; scores: whether its
    provider gives log-probabilities. This one is the position follower: the first letter or number, else its words' own
    prior alone."""

    seed: int = 0
    scores: bool = True

    def logprob(self, probe: Probe, place: int) -> float:
        if probe.listed:
            return math.log(0.94 if place == 0 else 0.05 / (len(probe.texts) - 1))
        return self.prior(probe, place)

    def reply(self, probe: Probe, draw: int) -> str:
        return probe.texts[0] if probe.texts else "A."

    def prior(self, probe: Probe, place: int) -> float:
        """How likely the words of a text are, whatever is asked: another number for each text."""
        return -9 + 3 * noise(self.seed, probe.texts[place])


Position = Subject


@dataclass(frozen=True)
class Planted(Subject):
    """Prefers what `likes` says, over arbitrary priors of words, noise of wording and draw, and a lean to a position."""

    likes: Preference = field(default_factory=preferring)
    lean: float = 0.3
    spread: float = 0.3

    def logprob(self, probe: Probe, place: int) -> float:
        case, told = probe.case, (self.seed, probe.conversation[-1]["content"])
        if probe.null:
            return self.prior(probe, place) + 0.1 * noise(*told, place)
        if probe.paradigm == "recall":
            return -1.0 if probe.options[place] == case.right else -5.0
        if probe.order is not None:
            odds = [self._liked(probe, id) + (self.lean if at == 0 else 0.0) for at, id in enumerate(probe.options)]
            return odds[place] - math.log(sum(map(math.exp, odds))) - 0.01
        if probe.paradigm == "rating":
            p, k = 1 / (1 + math.exp(-self._odds(probe))), place
            return math.log(math.comb(6, k) * p**k * (1 - p) ** (6 - k) + 1e-12)
        sign = -1 if probe.wording == "reversed" else 1
        return self.prior(probe, place) + sign * self._liked(probe, probe.options[place])

    def reply(self, probe: Probe, draw: int) -> str:
        luck = {at: 0.2 * noise(self.seed, probe.conversation[-1]["content"], draw, at) for at in range(9)}
        if probe.texts:
            return max(enumerate(probe.texts), key=lambda text: self.logprob(probe, text[0]) + luck[text[0]])[1]
        if not probe.case.options:
            return "Yes."
        best = max(enumerate(probe.case.options), key=lambda one: self._liked(probe, one[1].id) + luck[one[0]])[1]
        return f"Well: {best.phrases[0]}."

    def _liked(self, probe: Probe, id: str) -> float:
        case = probe.case
        option = next(option for option in case.options if option.id == id)
        told = self.seed, case.cluster, dict(case.levels), id
        drawn = noise(*told) + noise(*told, probe.wording) / 3
        return self.likes(case, option) + self.spread * drawn

    def _odds(self, probe: Probe) -> float:
        """For a rating: of the first option against the others, or by itself; turned round by the reversed wording."""
        first, *others = (self._liked(probe, option.id) for option in probe.case.options)
        odds = first - math.log(sum(map(math.exp, others))) if others else first
        return -odds if probe.wording == "reversed" else odds


@lru_cache(maxsize=1)
def _drawn(told: tuple[int, str, tuple[str, ...]]) -> list[float]:
    """Log-probabilities of the texts of a probe, drawn for it."""
    odds = [2 * noise(*told, place) for place in range(len(told[-1]))]
    return [one - math.log(sum(map(math.exp, odds))) for one in odds]


@dataclass(frozen=True)
class Random(Subject):
    """Answers anything, whatever was asked; to the same probe the same."""

    def logprob(self, probe: Probe, place: int) -> float:
        told = self.seed, probe.conversation[-1]["content"], probe.texts
        if not probe.listed:
            return self.prior(probe, place) + noise(*told, place)
        return _drawn(told)[place]

    def reply(self, probe: Probe, draw: int) -> str:
        said = probe.texts or tuple(f"{option.phrases[0]}." for option in probe.case.options) or ("Yes.",)
        luck = noise(self.seed, probe.conversation[-1]["content"], draw)
        return said[int((luck + 1) / 2 * len(said)) % len(said)]


@dataclass(frozen=True)
class Refuser(Subject):
    """Declines: next to nothing lies on the listed answers, and its replies name none."""

    def logprob(self, probe: Probe, place: int) -> float:
        return -9.0 if probe.listed else self.prior(probe, place)

    def reply(self, probe: Probe, draw: int) -> str:
        return "I'd rather not say."


@dataclass(frozen=True)
class Given:
    """What `conclude` needs of a run: the answers, the size and the seed."""

    answers: pl.DataFrame
    size: Any
    seed: int = 0


def plan_of(study: Study, size: Size | None = None, seed: int = 0) -> Plan:
    """All that a study asks (default: at its standard size)."""
    size = size or study.sizes["standard"]
    return Plan.of([part for part in study.parts(size) if isinstance(part, Questions)], size, seed)


def answers_from(subject: Subject, plan: Plan) -> pl.DataFrame:
    """The subject's answers to all probes, without Inspect."""
    put = [pair for cluster in sorted(plan.clusters) for pair in plan.probes(cluster, subject.scores)]
    return answered(plan, put, [_heard(subject, probe) for _, probe in put])


def measures_from(study: Study, answers: pl.DataFrame, size: Size | None = None) -> list[Measure]:
    """What the study concludes from answers, its primary marked."""
    return concluded(study, Given(answers, size or study.sizes["standard"]))  # type: ignore[arg-type]


def model_from(subject: Subject, plan: Plan) -> Any:
    """The subject as an Inspect model that knows the plan's probes by their text."""
    from inspect_ai.model import GenerateConfig, Logprob, Logprobs, ModelOutput, ModelUsage, get_model

    scored: dict[tuple[str, str], tuple[Probe, int]] = {}
    replied: dict[str, Probe] = {}
    for cluster in plan.clusters:
        for able in (True, False):
            for _, probe in plan.probes(cluster, able):
                asked = probe.conversation[-1]["content"]
                scored |= {(asked, text): (probe, place) for place, text in enumerate(probe.texts)}
                if probe.listed or not probe.texts:
                    replied[asked] = probe
    draws: Counter[str] = Counter()

    def answer(input: list[Any], tools: Any, choice: Any, config: GenerateConfig) -> ModelOutput:
        scoring = input[-1].role == "assistant"
        asked = input[-2 if scoring else -1].text
        text = "" if scoring else subject.reply(replied[asked], draws[asked])
        draws[asked] += not scoring and not config.logprobs  # a trial of what the provider can do is no draw
        output = ModelOutput.from_content("fake", text)
        output.usage = ModelUsage()  # Inspect's fake would count tokens with an encoding from the network
        if scoring and subject.scores and config.prompt_logprobs:
            probe, place = scored[asked, input[-1].text]
            entry = Logprob(token=input[-1].text, logprob=subject.logprob(probe, place))
            output.choices[0].prompt_logprobs = Logprobs(content=[entry])
        return output

    return get_model("mockllm/fake", custom_outputs=answer)


def _heard(subject: Subject, probe: Probe) -> Heard:
    if not probe.texts:
        return Heard("sampled", texts=(subject.reply(probe, int(probe.wording == "retest")),))
    if subject.scores:
        return Heard("likelihood", tuple(subject.logprob(probe, place) for place in range(len(probe.texts))))
    if not probe.listed:
        return Heard(None, missing=CANNOT_SCORE)
    return Heard("sampled", texts=tuple(subject.reply(probe, draw) for draw in range(SAMPLES)))
