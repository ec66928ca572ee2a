"""What plain Python reads in a reply: no model and no judge reads it. One registry of named checkers, of two kinds:

- `VERDICTS`: whether the reply keeps a rule. None where a reply cut at the token limit leaves it open (what it would have
  ended on is not known).
- `SCORES`: how much of a trait the reply shows; higher is more. None where it has nothing to count (no word, no letter).

Rules and traits name their checker and its arguments in YAML, as in {name: word_count, most: 12}; `checker` finds it.
Verdicts ignore case and typographic quotes unless the rule is about them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import signature
from typing import Any, Protocol

from greenroom.errors import LibraryError

Verdict = bool | None
Score = float | None


class Checker(Protocol):
    """A checker with its arguments: takes the reply and whether it was cut."""

    def __call__(self, text: str, cut: bool = False) -> Verdict | Score: ...


FOREIGN_SHARE = 0.2  # of words; function words make up about half of running text, and the lists hold the commonest
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=[\"')\]*]*(?:\s|$))")
# Scores are counted by other rules than verdicts: "well-known" is two words, and a mark may end a sentence before a quote.
_SCORED_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SCORED_MARK = re.compile(r"[.!?](?=[\"'”’)*_\s]|$)")
# A sentence ends at . ! ? (and what closes a quotation after it), or at the end of a line.
_SCORED_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+[\"'”’)*_]*|(?=\n)|$)|[.!?]+")
_NUMBERED = re.compile(r"\s*(?:\*\*)?\d+[.)]")


# --- verdicts: whether a reply keeps a rule --------------------------------------------------------------------------


def letter_case(text: str, cut: bool, *, case: str) -> Verdict:
    """Whether every letter that has two forms is `upper` or `lower`; a reply without letters does not keep the rule."""
    letters = _letters(text)
    return bool(letters) and all(letter.isupper() == (case == "upper") for letter in letters)


def starts_with(text: str, cut: bool, *, phrases: Sequence[str]) -> Verdict:
    """Whether the reply begins with one of the phrases, quotation and emphasis marks aside."""
    begun = _plain(text).lstrip("\"'* ")
    return any(_at(begun, 0, phrase) for phrase in phrases)


def ends_with(text: str, cut: bool, *, phrases: Sequence[str]) -> Verdict:
    """Whether the reply ends with one of the phrases, closing marks aside."""
    if cut:
        return None
    ended = _plain(text).rstrip("\"'*) ")
    bare = ended.rstrip(".!?, ")
    return any(_at(bare if phrase[-1].isalnum() else ended, -1, phrase) for phrase in phrases)


def sentence_marks(text: str, cut: bool, *, mark: str) -> Verdict:
    """Whether every finished sentence ends with the mark; None if a cut reply finished none."""
    ends = _SENTENCE_END.findall(text)
    if not ends:
        return None if cut else False
    return all(end == mark * len(end) for end in ends)


def word_count(text: str, cut: bool, *, most: int) -> Verdict:
    """Whether the reply has one word at least and `most` at most."""
    return _at_most(len(_WORD.findall(text)), most, cut)


def sentence_count(text: str, cut: bool, *, most: int) -> Verdict:
    """Whether the reply has one sentence at least and `most` at most; lines count as sentences."""
    parts = [part for line in text.splitlines() for part in _SENTENCE_END.split(line) if _WORD.search(part)]
    return _at_most(len(parts), most, cut)


def line_starts(text: str, cut: bool, *, mark: str) -> Verdict:
    """Whether every line that is not empty begins with the mark."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return bool(lines) and all(line.startswith(mark) for line in lines)


def wrapped(text: str, cut: bool, *, opens: str, closes: str) -> Verdict:
    """Whether the whole reply stands between the two marks."""
    plain = _plain(text)
    if not plain.startswith(opens):
        return False
    return None if cut else len(plain) > len(opens) and plain.rstrip(".").endswith(closes)


def only(text: str, cut: bool, *, words: Sequence[str]) -> Verdict:
    """Whether the reply is made of these words and no other."""
    found = _words(text)
    return bool(found) and set(found) <= set(words)


def contains(text: str, cut: bool, *, any_of: Sequence[str]) -> Verdict:
    """Whether one of the words or phrases occurs; a cut reply without any is judged by what it said."""
    plain = _plain(text)
    return any(re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", plain) for phrase in any_of)


def avoids(text: str, cut: bool, *, parts: Sequence[str]) -> Verdict:
    """Whether none of the parts occurs in a reply that says something; a cut reply is judged by what it said."""
    return bool(_WORD.search(text)) and not any(part in _plain(text) for part in parts)


def spelled_number(text: str, cut: bool, *, word: str, digits: str, spelled: bool = True) -> Verdict:
    """Whether the number is given in words and no digit occurs; with `spelled` false: in digits and not in words."""
    if spelled:
        return word in _words(text) and not re.search(r"\d", text)
    return bool(re.search(rf"(?<!\d){digits}(?!\d)", text)) and word not in _words(text)


def language(text: str, cut: bool, *, words: Sequence[str]) -> Verdict:
    """Whether enough of the reply's words are among a language's commonest."""
    found = _words(text)
    return bool(found) and sum(word in words for word in found) / len(found) >= FOREIGN_SHARE


def first_of(text: str, cut: bool, *, wanted: str, others: Sequence[str]) -> Verdict:
    """Whether the wanted word is named before any of the others; naming none does not keep the rule."""
    found = _words(text)
    return next((word == wanted for word in found if word == wanted or word in others), False)


# --- scores: how much of a trait a reply shows -----------------------------------------------------------------------


def capital_share(text: str, cut: bool) -> Score:
    """Share of capitals among the letters that have two forms."""
    letters = _letters(text)
    return _share(sum(letter.isupper() for letter in letters), len(letters))


def word_share(text: str, cut: bool, *, words: Sequence[str]) -> Score:
    """Share of words that are among `words`; a group of words counts as many as it has."""
    plain = _small(text)
    found = sum(len(phrase.split()) for phrase in _phrases(tuple(words)).findall(plain))
    return _share(found, len(_SCORED_WORD.findall(plain)))


def sentence_share(text: str, cut: bool, *, words: Sequence[str]) -> Score:
    """Share of sentences in which one of `words` occurs."""
    sentences = [found for found in _SCORED_SENTENCE.findall(_small(text)) if _SCORED_WORD.search(found)]
    return _share(sum(bool(_phrases(tuple(words)).search(sentence)) for sentence in sentences), len(sentences))


def sentence_mark_share(text: str, cut: bool, *, words: Sequence[str]) -> Score:
    """Share of the marks that end sentences which are one of `words`."""
    marks = _SCORED_MARK.findall(text)
    if not marks:
        return _share(0, len(_SCORED_WORD.findall(text)))
    return _share(sum(mark in words for mark in marks), len(marks))


def last_sentence_mark(text: str, cut: bool, *, words: Sequence[str]) -> Score:
    """1 if the last finished sentence ends on one of `words`, else 0. A reply cut in mid-sentence is judged by the
    sentence before: what it would have ended on is not known."""
    marks = _SCORED_MARK.findall(text)
    return float(marks[-1] in words) if marks else _share(0, len(_SCORED_WORD.findall(text)))


def numbered_line_share(text: str, cut: bool) -> Score:
    """Share of lines that begin with a number, as in a list."""
    lines = [line for line in text.splitlines() if line.strip()]
    return _share(sum(bool(_NUMBERED.match(line)) for line in lines), len(lines))


def few_words(text: str, cut: bool) -> Score:
    """Minus log2 of the number of words: a reply half as long scores one higher."""
    count = len(_SCORED_WORD.findall(text))
    return -math.log2(count) if count else None


# --- the registry ----------------------------------------------------------------------------------------------------


def _named(*checkers: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    return {one.__name__: one for one in checkers}


VERDICTS = _named(
    letter_case,
    starts_with,
    ends_with,
    sentence_marks,
    word_count,
    sentence_count,
    line_starts,
    wrapped,
    only,
    contains,
    avoids,
    spelled_number,
    language,
    first_of,
)
SCORES = _named(
    capital_share,
    word_share,
    sentence_share,
    sentence_mark_share,
    last_sentence_mark,
    numbered_line_share,
    few_words,
)
CHECKERS = VERDICTS | SCORES


def checker(told: Mapping[str, Any], where: str, known: Mapping[str, Callable[..., Any]] = CHECKERS) -> Checker:
    """The checker that `told` names, with its arguments; LibraryError says what is unknown or missing.

    where: file, entry and field, for that error. known: the checkers that will do, such as `VERDICTS` for a rule.
    """
    name, given = told.get("name"), {key: value for key, value in told.items() if key != "name"}
    if not isinstance(name, str) or name not in known:
        raise LibraryError(f"{where}.name: got {name!r}; expected one of {', '.join(known)}")
    takes = list(signature(known[name]).parameters.values())[2:]
    needed = {one.name for one in takes if one.default is one.empty}
    if not needed <= set(given) <= {one.name for one in takes}:
        wanted = ", ".join(one.name for one in takes) or "nothing"
        raise LibraryError(f"{where}: {name} takes {wanted}; got {', '.join(given) or 'nothing'}")
    return lambda text, cut=False: known[name](text, cut, **given)


# --- shared ----------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    return text.translate({0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"'}).strip().lower()


def _words(text: str) -> list[str]:
    return _WORD.findall(_plain(text))


def _at(text: str, place: int, phrase: str) -> bool:
    """Whether the phrase stands at the place (negative: at the end) and no word goes on beyond it."""
    if place < 0:
        before = text[: len(text) - len(phrase)]
        return text.endswith(phrase) and not (phrase[0].isalnum() and before[-1:].isalnum())
    return text.startswith(phrase) and not (phrase[-1].isalnum() and text[len(phrase) : len(phrase) + 1].isalnum())


def _at_most(count: int, most: int, cut: bool) -> Verdict:
    if count > most:
        return False
    return None if cut else count > 0


def _letters(text: str) -> list[str]:
    """The letters that have two forms."""
    return [letter for letter in text if letter.isupper() or letter.islower()]


def _share(part: int, whole: int) -> Score:
    return part / whole if whole else None


def _small(text: str) -> str:
    return text.lower().replace("’", "'")


@cache
def _phrases(words: tuple[str, ...]) -> re.Pattern[str]:
    # The longest first, so that "could be" is not left for a shorter one.
    listed = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{listed})(?!\w)")
