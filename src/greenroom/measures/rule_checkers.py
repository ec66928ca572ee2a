"""Whether a reply keeps a rule, by plain Python: no model and no judge reads it.

A checker takes the reply and whether it was cut at the token limit, and says True, False, or None where a cut reply
leaves it open (what it would have ended on is not known). The rules name their checker and its arguments in
stimuli/prompt_drift.yaml. Case and typographic quotes do not count unless the rule is about them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from greenroom.errors import LibraryError

Verdict = bool | None
Checker = Callable[[str, bool], Verdict]

FOREIGN_SHARE = 0.2  # of words; function words make up about half of running text, and the lists hold the commonest
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=[\"')\]*]*(?:\s|$))")


def letter_case(text: str, cut: bool, *, case: str) -> Verdict:
    """Whether every letter that has two forms is `upper` or `lower`; a reply without letters does not keep the rule."""
    letters = [letter for letter in text if letter.isupper() or letter.islower()]
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


CHECKERS: dict[str, Callable[..., Verdict]] = {
    one.__name__: one
    for one in (
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
}


def checker(told: Mapping[str, Any], where: str) -> Checker:
    """The checker that a rule names, with its arguments; LibraryError names what is unknown. where: for that error."""
    name, given = told.get("name"), {key: value for key, value in told.items() if key != "name"}
    if name not in CHECKERS:
        raise LibraryError(f"{where}, field check.name: got {name!r}; expected one of {', '.join(CHECKERS)}")
    takes = list(signature(CHECKERS[name]).parameters.values())[2:]
    needed = {one.name for one in takes if one.default is one.empty}
    if not needed <= set(given) <= {one.name for one in takes}:
        wanted = ", ".join(one.name for one in takes)
        raise LibraryError(f"{where}, field check: {name} takes {wanted}; got {', '.join(given) or 'nothing'}")
    return lambda text, cut: CHECKERS[name](text, cut, **given)


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
