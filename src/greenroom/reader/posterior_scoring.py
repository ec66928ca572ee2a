"""How likely a text is under every context: log-probabilities of its tokens, hopeless contexts dropped on the way.

A race in three rounds over the first tokens and then all of them: the first paraphrase of every context; the other
paraphrases of those that may still win; the whole text for the finalists. No bound says that a dropped context could
not have won; how often the top five are those of the unpruned run is measured (docs/who.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from greenroom.conversation import Conversation
from greenroom.measures.intervals import Array
from greenroom.reader.posterior_contexts import Candidate
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

# Tokens of the short rounds; a text up to WHOLE is read whole at once, since it would save little to stop.
SHORT, WHOLE = 32, 48
# Contexts whose other paraphrases are read (a share of all, but at least so many), and those that read the whole text.
SEMIFINAL_SHARE, SEMIFINAL, FINALISTS = 0.4, 24, 12
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
    """One row to score: `length` tokens of a passage under a paraphrase of a context."""

    passage: int
    context: int
    paraphrase: int
    length: int


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
            steps = np.cumsum(np.stack([of[index] for index in sorted(of)]), axis=1)
            found[context, : steps.shape[1]] = np.logaddexp.reduce(steps, axis=0) - np.log(len(steps))
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
    subject: Subject, passages: Sequence[Passage], rivals: Sequence[Candidate], progress: Progress | None = None
) -> Score:
    """Scores jobs with the reader, all in one call, so that what rows share is computed once."""

    def prompt(passage: Passage, instruction: str) -> Conversation:
        asked: Conversation = passage.before
        if not asked and subject.chat.folds_system:
            asked = [{"role": "user", "content": ""}]  # such a template has no place for a system message but this
        return [{"role": "system", "content": instruction}, *asked]

    def score(jobs: Sequence[Job]) -> list[Array]:
        prompts = [
            prompt(
                passages[job.passage],
                "" if job.context == BASELINE else rivals[job.context].instructions[job.paraphrase],
            )
            for job in jobs
        ]
        given = [passages[job.passage].tokens[: job.length] for job in jobs]
        return [np.array(tokens) for tokens in subject.score(prompts, given, progress=progress).tokens]

    return score


def race(
    lengths: Sequence[int], rivals: Sequence[Candidate], score: Score, *, prune: bool = True, finalists: int = FINALISTS
) -> list[Likelihoods]:
    """Likelihoods of passages with so many tokens each; the passages run their rounds together.

    prune=False reads every token under every paraphrase of every context.
    """
    counts = [len(one.instructions) for one in rivals]
    everyone = list(range(len(rivals)))
    keeps = [one for one in everyone if rivals[one].generic]
    prune = prune and len(rivals) > finalists
    short = [SHORT if prune and length > WHOLE else length for length in lengths]
    found = [Likelihoods([{} for _ in rivals], np.zeros(0), length) for length in lengths]
    texts = range(len(lengths))

    def read(jobs: list[Job]) -> None:
        for job, values in zip(jobs, score(jobs), strict=True):
            if job.context == BASELINE:
                found[job.passage].baseline = values
            else:
                found[job.passage].values[job.context][job.paraphrase] = values

    semifinal = max(SEMIFINAL, round(SEMIFINAL_SHARE * len(rivals)))
    staged = prune and max(counts) > 1 and len(rivals) > semifinal
    first = [
        Job(text, context, paraphrase, short[text])
        for text in texts
        for context in everyone
        for paraphrase in range(1 if staged else counts[context])
    ]
    read([Job(text, BASELINE, 0, lengths[text]) for text in texts] + first)
    if staged:
        read([
            Job(text, context, paraphrase, short[text])
            for text in texts
            for context in leaders(found[text], semifinal, keeps)
            for paraphrase in range(1, counts[context])
        ])  # fmt: skip
    for text in texts:
        found[text].finalists = leaders(found[text], finalists, keeps) if prune else everyone
    rest = [
        Job(text, context, paraphrase, lengths[text])
        for text in texts
        if short[text] < lengths[text]
        for context in found[text].finalists
        for paraphrase in range(counts[context])
    ]
    if rest:
        read(rest)
    return found


def leaders(found: Likelihoods, most: int, keeps: Sequence[int]) -> list[int]:
    """The `most` contexts that explain best what was read so far, and those that are always kept, in order."""
    totals = [np.logaddexp.reduce([values.sum() for values in of.values()]) - np.log(len(of)) for of in found.values]
    order = sorted(range(len(totals)), key=lambda context: (-totals[context], context))
    return sorted({*order[:most], *keeps})
