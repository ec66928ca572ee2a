"""The words that tell one pile of texts from another: log-odds with an informative prior (Monroe et al. 2008)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"[^\W\d_]{3,}")


def keywords(own: Sequence[str], others: Sequence[str], count: int = 5, *, least: float = 1.96) -> list[str]:
    """Up to `count` words that are said more in `own` than in `others`, the surest first.

    A word counts once a text, so that one text that repeats itself does not decide. least: z-score below which a word
    is not told; with few texts there may be none.
    """
    mine, theirs = (Counter(word for text in pile for word in set(words(text))) for pile in (own, others))
    vocabulary = sorted(mine)
    if not vocabulary:
        return []
    everything = mine + theirs
    total, prior = sum(everything.values()), np.array([everything[word] for word in vocabulary], float)
    prior *= len(everything) / total  # a prior that weighs one mention a word on average
    scores = []
    for pile in (mine, theirs):
        said, all_said = np.array([pile[word] for word in vocabulary], float), sum(pile.values())
        odds = np.log((said + prior) / np.maximum(all_said + prior.sum() - said - prior, 1e-9))
        scores.append((odds, 1 / (said + prior)))
    z = (scores[0][0] - scores[1][0]) / np.sqrt(scores[0][1] + scores[1][1])
    order = np.lexsort((np.arange(len(z)), -z))[:count]
    return [vocabulary[place] for place in order if z[place] >= least]


def words(text: str) -> list[str]:
    """The words of a text in lower case, those of one or two letters left out."""
    return [word.lower() for word in _WORD.findall(text)]
