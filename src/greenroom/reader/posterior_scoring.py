"""How likely a text is under every context: log-probabilities of its tokens, hopeless contexts dropped on the way.

A race in three rounds over the first tokens and then all of them: the first paraphrase of every context; the other
paraphrases of those that may still come among the first five; the whole text for those that still may then. May: if the
differences to the fifth context go on to scatter as they did so far, and their mean is taken at half, since what leads
early tends to fall back. No bound says that a dropped context could not have come back; how often the top five are those
of the unpruned run is measured (docs/who.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from greenroom.conversation import Conversation
from greenroom.measures.intervals import Array
from greenroom.reader.posterior_contexts import Candidate
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

# Tokens of the short rounds, or a share of a long text; one up to WHOLE is read whole, since it would save little to stop.
SHORT, SHARE, WHOLE = 32, 0.16, 48
TOP = 5  # the places that are fought for
CHANCE = 0.02  # of reaching one, below which a context is dropped
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


def race(lengths: Sequence[int], rivals: Sequence[Candidate], score: Score, *, prune: bool = True) -> list[Likelihoods]:
    """Likelihoods of passages with so many tokens each; the passages run their rounds together.

    prune=False reads every token under every paraphrase of every context.
    """
    counts = [len(one.instructions) for one in rivals]
    everyone = list(range(len(rivals)))
    keeps = [one for one in everyone if rivals[one].generic]
    prune = prune and len(rivals) > 2 * TOP
    short = [max(SHORT, round(SHARE * length)) if prune and length > WHOLE else length for length in lengths]
    found = [Likelihoods([{} for _ in rivals], np.zeros(0), length) for length in lengths]
    texts = range(len(lengths))

    def read(jobs: list[Job]) -> None:
        for job, values in zip(jobs, score(jobs), strict=True):
            if job.context == BASELINE:
                found[job.passage].baseline = values
            else:
                found[job.passage].values[job.context][job.paraphrase] = values

    staged = prune and max(counts) > 1
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
            for context in hopeful(found[text], everyone, keeps, least=round(SEMIFINAL * len(rivals)))
            for paraphrase in range(1, counts[context])
        ])  # fmt: skip
    for text in texts:
        read_fully = [one for one in everyone if len(found[text].values[one]) == counts[one]]
        whole = not prune or short[text] == lengths[text]
        found[text].finalists = read_fully if whole else hopeful(found[text], read_fully, keeps)
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


def hopeful(found: Likelihoods, among: Sequence[int], keeps: Sequence[int], least: int = TOP) -> list[int]:
    """Of `among`, the contexts that may end among the first `TOP`, at least the `least` best, and those always kept; in
    order. Where nothing is left to read, the best and those always kept."""
    steps = {context: np.diff(_mixed(found.values[context]), prepend=0.0) for context in among}
    ranked = sorted(among, key=lambda context: (-steps[context].sum(), context))
    rivals = [context for context in ranked if context not in keeps]
    fifth = steps[rivals[min(TOP, len(rivals)) - 1]]
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
