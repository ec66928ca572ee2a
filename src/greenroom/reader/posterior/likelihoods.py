"""How likely a text is under every context: log-probabilities of its tokens, hopeless contexts dropped on the way.

A context's wordings are pooled by the mean of their log-likelihoods. Wordings of one context differ more (2.8 nats over 32
tokens) than most contexts do, and a mean of likelihoods would be that of the luckiest wording, the luckier the more wordings
were heard. In a text that the reader did
not write, some tokens are unlikely under every context, and by chance far more so under some: one such token would decide
between contexts. So each token has the chance `foreign` to be anybody's, as likely as the contexts find it on average.

A race in rounds, each twice as far into the text as the one before, over the contexts that may still end among the first
five; a round goes on from the keys and values of the last, so a token is read once. The first round hears one wording
after the other, each under the contexts that may still come as wordings scatter. After it, may means: if the differences to the fifth context
go on to scatter as they did so far, and their mean is taken at half, since what leads early tends to fall back. No bound
says that a dropped context could not have come back; how often the top five are those of the unpruned run is measured
(docs/who.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from greenroom.conversation import Conversation
from greenroom.personas import Context
from greenroom.reader.posterior.contexts import ASSISTANT
from greenroom.reader.posterior.prompts import FromKnown, Known
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

if TYPE_CHECKING:
    from greenroom.measures.intervals import Array

# Tokens of the first round; a text up to WHOLE is read whole, since it would save little to stop.
SHORT, WHOLE = 32, 48
TOP = 5  # the places that are fought for
CHANCE = 0.005  # of reaching one, below which a context is dropped
LAST = 0.7  # of a text, beyond which no round ends: little would be left to save
# How wordings of one context scatter where tokens may be anybody's: standard deviation in nats, by the square root of the
# tokens (SmolLM2, docs/who.md).
SCATTER = 0.4
USUAL = 3  # wordings of a context
SURE = 2.0  # standard deviations behind the fifth, beyond which a context's other wordings are not read
FOREIGN = 0.1  # the chance of a token to be anybody's, in a text that the reader did not write
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


Score = Callable[[Sequence[Job]], "list[Array]"]


@dataclass
class Likelihoods:
    """Log-probabilities (nats) of one passage's tokens. values[context][paraphrase]: (tokens read,), possibly fewer than
    the passage has where the context was dropped, which is also when paraphrases may be missing. baseline: (tokens,).
    foreign: the chance of a token to be anybody's."""

    values: list[dict[int, Array]]
    baseline: Array
    length: int
    finalists: list[int] = field(default_factory=list)
    foreign: float = 0.0

    def pruned(self, context: int) -> bool:
        return context not in self.finalists

    def pooled(self, contexts: Iterable[int]) -> dict[int, Array]:
        """context → (token,): cumulative log-likelihood, the mean over wordings."""
        told = {
            context: [self.values[context][index] for index in sorted(self.values[context])] for context in contexts
        }
        if self.foreign:
            anybody = self._anybody() + np.log(self.foreign)
            for of in told.values():
                of[:] = [np.logaddexp(one + np.log1p(-self.foreign), anybody[: len(one)]) for one in of]
        return {context: np.cumsum(np.mean(of, axis=0)) for context, of in told.items()}

    def _anybody(self) -> Array:
        """(token,): the log of what the contexts that read a token give it on average."""
        read = [np.logaddexp.reduce(list(of.values()), axis=0) - np.log(len(of)) for of in self.values if of]
        table = np.full((len(read), max(map(len, read))), -np.inf)
        for row, one in zip(table, read, strict=True):
            row[: len(one)] = one
        return np.logaddexp.reduce(table, axis=0) - np.log(np.isfinite(table).sum(axis=0))

    def by_token(self) -> Array:
        """(context, token): cumulative log-likelihood, the mean over paraphrases.

        A dropped context goes on at its distance below the worst finalist, so that it never overtakes one.
        """
        found = np.empty((len(self.values), self.length))
        for context, read in self.pooled(range(len(self.values))).items():
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
    subject: Subject,
    passages: Sequence[Passage],
    contexts: Sequence[Context],
    progress: Progress | None = None,
    known: Known | None = None,
) -> Score:
    """Scores jobs with the reader, all in one call, so that what rows share is computed once. known: system messages that
    it has been through."""

    def prompt(passage: Passage, instruction: str) -> Conversation:
        asked: Conversation = passage.before
        if not asked and subject.chat.folds_system:
            asked = [{"role": "user", "content": ""}]  # such a template has no place for a system message but this
        return [{"role": "system", "content": instruction}, *asked]

    # What waits for the next round; rows that find no room there are read again from their beginning.
    long = any(rounds(len(passage.tokens)) for passage in passages)
    kept = FromKnown(known, own=long) if (long or known) and not subject.edited else None

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


def race(
    lengths: Sequence[int], contexts: Sequence[Context], score: Score, *, prune: bool = True, foreign: float = 0.0
) -> list[Likelihoods]:
    """Likelihoods of passages with so many tokens each; the passages run their rounds together.

    prune=False reads every token under every paraphrase of every context. foreign: as in `Likelihoods`.
    """
    counts = [len(one.instruction) for one in contexts]
    everyone = list(range(len(contexts)))
    keeps = [one for one in everyone if contexts[one].generic or contexts[one].name == ASSISTANT]
    most = max((count for context, count in enumerate(counts) if context not in keeps), default=0)
    prune = prune and len(contexts) > 2 * TOP
    found = [Likelihoods([{} for _ in contexts], np.zeros(0), length, everyone, foreign) for length in lengths]
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
        # One wording of each context at first, where that may already tell some of them apart.
        staged = number == 0 and prune
        heard = 1 if staged else most
        baselines = [(text, BASELINE, 0, lengths[text]) for text in running if number == 0]
        read(
            baselines
            + [
                (text, context, paraphrase, ends[text][number])
                for text in running
                for context in found[text].finalists
                for paraphrase in range(counts[context] if context in keeps else min(heard, counts[context]))
            ]
        )
        for paraphrase in range(heard, most):
            for text in running:
                found[text].finalists = worth_hearing(found[text], keeps, paraphrase, ends[text][number])
            read(
                (text, context, paraphrase, ends[text][number])
                for text in running
                for context in found[text].finalists
                if context not in keeps and paraphrase < counts[context]
            )
        for text in running:
            if prune and number + 1 < len(ends[text]):
                found[text].finalists = hopeful(found[text], found[text].finalists, keeps)
    return found


def _read(found: Likelihoods, context: int, paraphrase: int) -> Array:
    """What has been read so far."""
    return found.baseline if context == BASELINE else found.values[context].get(paraphrase, np.zeros(0))


def worth_hearing(found: Likelihoods, keeps: Sequence[int], heard: int, tokens: int) -> list[int]:
    """The finalists that another wording could bring among the first `TOP` and above the empty system message, and those
    always kept; in order. heard: how many wordings of each were read, so many tokens of each."""
    scores = {context: of[-1] for context, of in found.pooled(found.finalists).items()}
    fought = sorted((score for context, score in scores.items() if context not in keeps), reverse=True)
    if len(fought) <= TOP:
        return found.finalists
    # Of a mean over the wordings so far around that over all of them, of which there are usually three.
    scatter = SCATTER * tokens**0.5 * (1 / heard - 1 / max(heard + 1, USUAL)) ** 0.5
    least = max(fought[TOP - 1] - SURE * 2**0.5 * scatter, found.baseline[:tokens].sum() - SURE * scatter)
    return [context for context in found.finalists if context in keeps or scores[context] >= least]


def hopeful(found: Likelihoods, among: Sequence[int], keeps: Sequence[int]) -> list[int]:
    """Of `among`, the contexts that may end among the first `TOP`, at least as many, and those always kept; in order."""
    steps = {context: np.diff(of, prepend=0.0) for context, of in found.pooled(among).items()}
    ranked = sorted(among, key=lambda context: (-steps[context].sum(), context))
    fought = [context for context in ranked if context not in keeps]
    fifth = steps[fought[min(TOP, len(fought)) - 1]]
    left = found.length - len(fifth)
    kept = {*ranked[:TOP], *keeps}
    for context in among:
        ahead = steps[context] - fifth
        end = ahead.sum() + left * ahead.mean() / 2
        if end >= 0 or special.ndtr(end / max(ahead.std(ddof=1) * left**0.5, 1e-9)) > CHANCE:
            kept.add(context)
    return sorted(kept)
