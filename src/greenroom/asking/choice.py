"""Asking an Inspect model which of several options it would reply, from the best source that its provider has.

Best is the likelihood of each option as a trailing assistant message (`GenerateConfig.prompt_logprobs`), then the first
token's `top_logprobs`, then sampled replies; only single words and letters (`listed`) can use the last two. What a
provider can do is tried once a model, so that one run has one source, and the source is kept beside every answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from inspect_ai._util.error import PrerequisiteError  # not public, but what providers raise for what they cannot do
from inspect_ai.model import GenerateConfig, Logprobs, Model, ModelAPI, ModelOutput

from greenroom.asking.calls import Once, chat, together
from greenroom.asking.types import Answer, Heard
from greenroom.conversation import Conversation, assistant, split_reasoning

SAMPLES = 5  # replies a question where a provider has no log-probabilities
REPLY_TOKENS = 16  # the least that some hosted providers accept
TOP = 20  # the most alternatives that hosted providers return

SCORE = GenerateConfig(max_tokens=1, temperature=0, prompt_logprobs=1)
LIST = GenerateConfig(max_tokens=REPLY_TOKENS, temperature=0, logprobs=True, top_logprobs=TOP)
SAMPLE = GenerateConfig(max_tokens=REPLY_TOKENS, temperature=1)
# The usual chat settings, as wherever character is measured, with room for the one sentence that is asked for.
OPEN = GenerateConfig(max_tokens=24, temperature=0.7, top_p=0.9)

CANNOT_SCORE = "the provider returns no prompt log-probabilities"
REFUSED_STATUS = (400, 404, 422)
REFUSED_WORDS = (
    r"(?i)not supported|unsupported|not support|unknown|unrecogni[sz]ed|unexpected keyword|extra inputs"
    r"|not permitted|not allowed|invalid (parameter|argument|setting)"
)

_abilities: WeakKeyDictionary[ModelAPI, Once] = WeakKeyDictionary()


async def option_logprobs(model: Model, conversation: Conversation, options: Sequence[str], listed: bool) -> Answer:
    """The log-probability of each option as the reply, whatever the source; None where unknown.

    listed: options are single words or letters. Sampled replies are read by their first word and counted, half a reply
    added to each option (Haldane 1956), so that a few replies never mean certainty.
    """
    heard = await ask(model, conversation, options, listed)
    if not heard.texts:
        return Answer(logprobs=heard.logprobs or (None,) * len(options), source=heard.source, missing=heard.missing)
    logprobs = counted(heard.texts, options)
    missing = "no listed answer" if logprobs[0] is None else None
    return Answer("\n".join(heard.texts), logprobs=logprobs, source=heard.source, missing=missing)


def counted(texts: Sequence[str], options: Sequence[str]) -> tuple[float | None, ...]:
    """Log-probabilities of one-word options from replies that begin with them; all None when no reply can be read."""
    firsts = [match[0].lower() if (match := re.search(r"[^\W\d_]+", text)) else "" for text in texts]
    counts = [firsts.count(option.lower()) for option in options]
    if not sum(counts):
        return (None,) * len(options)
    readable = sum(counts) / len(texts)
    return tuple(math.log(readable * (count + 0.5) / (sum(counts) + 0.5 * len(options))) for count in counts)


async def ask(model: Model, conversation: Conversation, options: Sequence[str], listed: bool) -> Heard:
    """Puts one question; without options it is open, and its answer is one sampled reply.

    Errors of the provider are raised, but those that say that it has no log-probabilities.
    """
    if not options:
        output = await model.generate(chat(conversation), config=OPEN)
        return Heard("sampled", texts=(_reply(output),), cut=output.stop_reason == "max_tokens")
    if await scores(model, conversation, options[0]):
        found = await together([partial(_likelihood, model, conversation, option) for option in options])
        missing = None if None not in found else "the provider's tokens do not contain the answer"
        return Heard("likelihood", tuple(found), missing=missing)
    if not listed:
        return Heard(None, missing=CANNOT_SCORE)
    if await _able(model, "lists", partial(_first_token, model, conversation, options)):
        values = await _first_token(model, conversation, options)
        return Heard("top_logprobs", tuple(values or ()), missing=None if values else "no log-probability")
    outputs = await together([partial(model.generate, chat(conversation), config=SAMPLE)] * SAMPLES)
    return Heard("sampled", texts=tuple(map(_reply, outputs)))


async def scores(model: Model, conversation: Conversation, option: str) -> bool:
    """Whether the provider gives the likelihood of any text as the reply, tried on this one if on none before."""
    if getattr(model.api, "scores_trailing_message", False):  # as `greenroom/…` says of itself
        return True
    return await _able(model, "scores", partial(_likelihood, model, conversation, option))


async def _able(model: Model, ability: str, call: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
    """Whether a call brings back anything; asked once a model. Some providers answer an unknown setting with an error,
    some ignore it; any other error says nothing about the ability and is raised."""

    async def found() -> bool:
        try:
            return await call() is not None
        except Exception as error:
            if not unsupported(error):
                raise
            return False

    return await _abilities.setdefault(model.api, Once()).get(ability, found)


def unsupported(error: Exception) -> bool:
    """Whether an error says that the provider cannot do this, and not that it failed to (rate limits, the network)."""
    if isinstance(error, (NotImplementedError, PrerequisiteError)):
        return True
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status in REFUSED_STATUS
    # Inspect's own message repeats the whole request, and so whatever words stood in it.
    return bool(re.search(REFUSED_WORDS, getattr(error, "provider_message", None) or str(error)))


async def _likelihood(model: Model, conversation: Conversation, option: str) -> float | None:
    """log p(option | conversation): the sum over the prompt tokens that make up the trailing assistant message."""
    output = await model.generate(chat([*conversation, assistant(option)]), config=SCORE)
    logprobs = output.choices[0].prompt_logprobs if output.choices else None
    return None if logprobs is None else trailing_logprob(logprobs, option)


async def _first_token(model: Model, conversation: Conversation, options: Sequence[str]) -> list[float | None] | None:
    """log p of each option as the first token; spellings with a space in front count as the same option."""
    output = await model.generate(chat(conversation), config=LIST)
    logprobs = output.choices[0].logprobs if output.choices else None
    if logprobs is None or not logprobs.content or not logprobs.content[0].top_logprobs:
        return None
    found: list[float | None] = []
    for option in options:
        same = [top.logprob for top in logprobs.content[0].top_logprobs if top.token.strip() == option]
        found.append(math.log(sum(math.exp(value) for value in same)) if same else None)
    return found


def trailing_logprob(logprobs: Logprobs, answer: str) -> float | None:
    """The sum of the log-probabilities of the tokens that hold the last occurrence of the answer; None if not there.

    Providers return all prompt tokens or only those of the last message, with or without what follows it.
    """
    text = "".join(entry.token for entry in logprobs.content)
    begin = text.rfind(answer)
    if begin < 0:
        return None
    total, place = 0.0, 0
    for entry in logprobs.content:
        end = place + len(entry.token)
        if end > begin and place < begin + len(answer):
            total += entry.logprob
        place = end
    return total


def _reply(output: ModelOutput) -> str:
    return split_reasoning(output.completion)[1]
