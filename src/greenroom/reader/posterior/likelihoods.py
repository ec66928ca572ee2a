"""How likely a text is under every context: log-probabilities of its tokens, hopeless contexts dropped on the way.

A race in rounds, each twice as far into the text as the one before, over the contexts that may still end among the first
five; a round goes on from the keys and values of the last, so a token is read once. The first round hears the first
paraphrase of every context, then the others of those that may still come. May: if the differences to the fifth context
go on to scatter as they did so far, and their mean is taken at half, since what leads early tends to fall back. No bound
says that a dropped context could not have come back; how often the top five are those of the unpruned run is measured
(docs/who.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from greenroom.conversation import Conversation
from greenroom.measures.intervals import Array
from greenroom.personas import Context
from greenroom.subject import Subject
from greenroom.subject.cache import PrefixCache
from greenroom.subject.subject import Progress

# Tokens of the first round; a text up to WHOLE is read whole, since it would save little to stop.
SHORT, WHOLE = 32, 48
TOP = 5  # the places that are fought for
CHANCE = 0.005  # of reaching one, below which a context is dropped
LAST = 0.7  # of a text, beyond which no round ends: little would be left to save
# Contexts whose other paraphrases are read at least: a share of all, since another wording may fit better.
SEMIFINAL = 0.4
# Texts scored together share the system messages; more of them would only take memory.
TEXTS_TOGETHER = 16
BASELINE = -1  # in place of a context: the empty system message


@dataclass(frozen=True)
class Passage:
    """A reply to be explained: the messages right before it, without system message, and its tokens."""

    before: Conversation
    tokens: list[int]


@dataclass(frozen=True)
class Job:
    """What is to be scored: tokens [start, end) of a passage under a paraphrase of a context."""

    passage: int
    context: int
    paraphrase: int
    start: int
    end: int


Score = Callable[[Sequence[Job]], list[Array]]


@dataclass
class Likelihoods:
    """Log-probabilities (nats) of one passage's tokens. values[context][paraphrase]: (tokens read,), possibly fewer than
    the passage has where the context was dropped, which is also when paraphrases may be missing. baseline: (tokens,)."""

    values: list[dict[int, Array]]
    baseline: Array
    length: int
    finalists: list[int] = field(default_factory=list)

    def pruned(self, context: int) -> bool:
        return context not in self.finalists

    def by_token(self) -> Array:
        """(context, token): cumulative log-likelihood, averaged over paraphrases as probabilities.

        A dropped context goes on at its distance below the worst finalist, so that it never overtakes one.
        """
        found = np.empty((len(self.values), self.length))
        for context, of in enumerate(self.values):
            read = _mixed(of)
            found[context, : len(read)] = read
        for context, of in enumerate(self.values):
            read = len(of[0])
            if read < self.length:
                # A context that is always kept may lie below what was dropped; it sets no bound.
                above = [one for one in self.finalists if found[one, read - 1] >= found[context, read - 1]]
                worst = found[above or self.finalists].min(axis=0)
                found[context, read:] = worst[read:] + min(0.0, found[context, read - 1] - worst[read - 1])
        return found

    def gains(self, context: int, tokens: int) -> Array:
        """(paraphrase,): bits a token over the empty system message, on the first `tokens` (fewer if dropped before)."""
        of = self.values[context]
        read = min(tokens, len(of[0]))
        total = np.array([of[index][:read].sum() for index in sorted(of)])
        return (total - self.baseline[:read].sum()) / read / np.log(2)


def scorer(
    subject: Subject, passages: Sequence[Passage], contexts: Sequence[Context], progress: Progress | None = None
) -> Score:
    """Scores jobs with the reader, all in one call, so that what rows share is computed once."""

    def prompt(passage: Passage, instruction: str) -> Conversation:
        asked: Conversation = passage.before
        if not asked and subject.chat.folds_system:
            asked = [{"role": "user", "content": ""}]  # such a template has no place for a system message but this
        return [{"role": "system", "content": instruction}, *asked]

    # What waits for the next round; rows that find no room there are read again from their beginning.
    long = any(rounds(len(passage.tokens)) for passage in passages)
    kept = PrefixCache() if long and not subject.edited else None

    def score(jobs: Sequence[Job]) -> list[Array]:
        prompts = [
            prompt(
                passages[job.passage],
                "" if job.context == BASELINE else contexts[job.context].instruction[job.paraphrase],
            )
            for job in jobs
        ]
        given = [passages[job.passage].tokens[: job.end] for job in jobs]
        starts = [job.start for job in jobs]
        found = subject.score(prompts, given, starts=starts, progress=progress, prefix_cache=kept)
        return [np.array(tokens) for tokens in found.tokens]

    return score


def rounds(length: int) -> list[int]:
    """How many tokens of a text have been read when contexts are dropped, round by round."""
    ends, end = list[int](), SHORT
    while length > WHOLE and end <= length * LAST:
        ends.append(end)
        end *= 2
    return ends


def race(lengths: Sequence[int], contexts: Sequence[Context], score: Score, *, prune: bool = True) -> list[Likelihoods]:
    """Likelihoods of passages with so many tokens each; the passages run their rounds together.

    prune=False reads every token under every paraphrase of every context.
    """
    counts = [len(one.instruction) for one in contexts]
    everyone = list(range(len(contexts)))
    keeps = [one for one in everyone if contexts[one].generic]
    prune = prune and len(contexts) > 2 * TOP
    found = [Likelihoods([{} for _ in contexts], np.zeros(0), length, everyone) for length in lengths]
    ends = [[*(rounds(length) if prune else ()), length] for length in lengths]

    def read(wanted: Iterable[tuple[int, int, int, int]]) -> None:
        """Reads on under (text, context, paraphrase) up to a token."""
        jobs = [
            Job(text, context, paraphrase, len(_read(found[text], context, paraphrase)), end)
            for text, context, paraphrase, end in wanted
        ]
        for job, values in zip(jobs, score(jobs) if jobs else (), strict=True):
            one = found[job.passage]
            values = np.concatenate([_read(one, job.context, job.paraphrase), values])
            if job.context == BASELINE:
                one.baseline = values
            else:
                one.values[job.context][job.paraphrase] = values

    for number in range(max(map(len, ends), default=0)):
        running = [text for text, of in enumerate(ends) if number < len(of)]
        staged = number == 0 and prune and max(counts) > 1
        # The first of each context alone if that already tells some of them apart.
        heard = 1 if staged else max(counts)
        baselines = [(text, BASELINE, 0, lengths[text]) for text in running if number == 0]
        read(
            baselines
            + [
                (text, context, paraphrase, ends[text][number])
                for text in running
                for context in found[text].finalists
                for paraphrase in range(min(heard, counts[context]))
            ]
        )
        if staged:
            for text in running:
                found[text].finalists = hopeful(found[text], everyone, keeps, least=round(SEMIFINAL * len(contexts)))
            read(
                (text, context, paraphrase, ends[text][number])
                for text in running
                for context in found[text].finalists
                for paraphrase in range(1, counts[context])
            )
        for text in running:
            if prune and number + 1 < len(ends[text]):
                found[text].finalists = hopeful(found[text], found[text].finalists, keeps)
    return found


def _read(found: Likelihoods, context: int, paraphrase: int) -> Array:
    """What has been read so far."""
    return found.baseline if context == BASELINE else found.values[context].get(paraphrase, np.zeros(0))


def hopeful(found: Likelihoods, among: Sequence[int], keeps: Sequence[int], least: int = TOP) -> list[int]:
    """Of `among`, the contexts that may end among the first `TOP`, at least the `least` best, and those always kept; in
    order. Where nothing is left to read, the best and those always kept."""
    steps = {context: np.diff(_mixed(found.values[context]), prepend=0.0) for context in among}
    ranked = sorted(among, key=lambda context: (-steps[context].sum(), context))
    fought = [context for context in ranked if context not in keeps]
    fifth = steps[fought[min(TOP, len(fought)) - 1]]
    left = found.length - len(fifth)
    kept = {*ranked[:least], *keeps}
    for context in among if left else ():
        ahead = steps[context] - fifth
        end = ahead.sum() + left * ahead.mean() / 2
        if end >= 0 or special.ndtr(end / max(ahead.std(ddof=1) * left**0.5, 1e-9)) > CHANCE:
            kept.add(context)
    return sorted(kept)


def _mixed(of: dict[int, Array]) -> Array:
    """(token,): cumulative log-likelihood, averaged over paraphrases as probabilities."""
    return np.logaddexp.reduce(np.cumsum(np.stack([of[index] for index in sorted(of)]), axis=1), axis=0) - np.log(
        len(of)
    )
