"""Scores of surface traits by plain Python: no model and no judge reads the reply.

`checker("shouting")` is a function of one text; higher is more of the trait. What each looks for stands in
library/checkers.yaml, how it is counted here. A text that has nothing to count (no word, no letter) is NaN.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

from greenroom.errors import LibraryError
from greenroom.personas.library import FOLDER
from greenroom.personas.yaml_entries import read_yaml

Checker = Callable[[str], float]

# A sentence ends at . ! ? (and what closes a quotation after it), or at the end of a line.
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+[\"'”’)*_]*|(?=\n)|$)|[.!?]+")
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_NUMBERED = re.compile(r"\s*(?:\*\*)?\d+[.)]")
_MARK = re.compile(r"[.!?](?=[\"'”’)*_\s]|$)")


def checker(trait: str) -> Checker | None:
    """The checker of a library trait, or None: then a cold projection scores it (`directions.scorers`)."""
    return _checkers().get(trait)


def names() -> tuple[str, ...]:
    """The traits that have a checker."""
    return tuple(_checkers())


def capital_share(text: str, words: Sequence[str] = ()) -> float:
    """Share of capitals among the letters that have two forms."""
    letters = [letter for letter in text if letter.isupper() or letter.islower()]
    return _share(sum(letter.isupper() for letter in letters), len(letters))


def word_share(text: str, words: Sequence[str]) -> float:
    """Share of words that are among `words`; a group of words counts as many as it has."""
    plain = _plain(text)
    return _share(sum(len(found.split()) for found in _phrases(tuple(words)).findall(plain)), len(_WORD.findall(plain)))


def sentence_share(text: str, words: Sequence[str]) -> float:
    """Share of sentences in which one of `words` occurs."""
    sentences = _sentences(_plain(text))
    return _share(sum(bool(_phrases(tuple(words)).search(sentence)) for sentence in sentences), len(sentences))


def sentence_mark_share(text: str, words: Sequence[str]) -> float:
    """Share of the marks that end sentences which are one of `words`."""
    marks = _MARK.findall(text)
    return _share(sum(mark in words for mark in marks), len(marks)) if marks else _share(0, len(_WORD.findall(text)))


def last_sentence_mark(text: str, words: Sequence[str]) -> float:
    """1 if the last finished sentence ends on one of `words`, else 0. A reply cut in mid-sentence is judged by the
    sentence before: what it would have ended on is not known."""
    marks = _MARK.findall(text)
    return float(marks[-1] in words) if marks else _share(0, len(_WORD.findall(text)))


def numbered_line_share(text: str, words: Sequence[str] = ()) -> float:
    """Share of lines that begin with a number, as in a list."""
    lines = [line for line in text.splitlines() if line.strip()]
    return _share(sum(bool(_NUMBERED.match(line)) for line in lines), len(lines))


def few_words(text: str, words: Sequence[str] = ()) -> float:
    """Minus log2 of the number of words: a reply half as long scores one higher."""
    count = len(_WORD.findall(text))
    return -math.log2(count) if count else math.nan


RULES: dict[str, Callable[[str, Sequence[str]], float]] = {
    rule.__name__: rule
    for rule in (
        capital_share,
        word_share,
        sentence_share,
        sentence_mark_share,
        last_sentence_mark,
        numbered_line_share,
        few_words,
    )
}


@cache
def _checkers() -> dict[str, Checker]:
    file = FOLDER / "checkers.yaml"
    found: dict[str, Checker] = {}
    for trait, told in cast("dict[str, dict[str, Any]]", read_yaml(file)).items():
        if told.get("rule") not in RULES:
            raise LibraryError(f"{file}: {trait}, field rule: got {told.get('rule')!r}; expected {', '.join(RULES)}")
        found[trait] = _bound(RULES[told["rule"]], tuple(told.get("words", ())))
    return found


def _bound(rule: Callable[[str, Sequence[str]], float], words: tuple[str, ...]) -> Checker:
    return lambda text: rule(text, words)


@cache
def _phrases(words: tuple[str, ...]) -> re.Pattern[str]:
    # The longest first, so that "could be" is not left for a shorter one.
    listed = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{listed})(?!\w)")


def _plain(text: str) -> str:
    return text.lower().replace("’", "'")


def _sentences(text: str) -> list[str]:
    return [found for found in _SENTENCE.findall(text) if _WORD.search(found)]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
