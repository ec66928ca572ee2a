"""From cases and the wording of their paradigms to the probes that are put to a model, and from its answers to rows.

Paradigms: `contrast` scores options as the end of a sentence, to be compared between levels (`asking.contrast`);
`letter` lists them, each in each place once; `cloze` scores them as `contrast` does, and again after null prompts, which
show how likely their words are for other reasons; `rating` asks for a number from 1 to 7; `free` is read by phrases;
`recall` asks what was said, and has a right answer. Nothing here calls a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from greenroom.asking.types import Case, Heard, Items, Option, Questions
from greenroom.conversation import Conversation, user
from greenroom.measures import elicit
from greenroom.measures.design import Order, counterbalanced

PARADIGMS = ("contrast", "letter", "cloze", "rating", "free")
BETWEEN = "\n---\n"  # sampled replies of one question, kept in one cell

Wording = Literal["main", "paraphrase", "reversed"]
Wordings = dict[Wording, str]


class Letter(Items):
    """option: one line of the list, of {letter} and {text}."""

    option: str
    letters: tuple[str, ...]
    wordings: Wordings


class Frame(Items):
    """opening: how the reply begins; an option ends it."""

    prompt: str
    opening: str


class Cloze(Items):
    """nulls: messages that ask nothing."""

    wordings: dict[Wording, Frame]
    nulls: tuple[str, ...] = Field(min_length=elicit.LEAST_NULLS)


class Asking(Items):
    """The wordings of each paradigm that a study uses, from `asking:` of its stimuli.

    Templates hold {context} (the case's last message, in that wording where it has one), {options} (the lettered list)
    and {acts[0]}, {acts[1]} … (the options' texts). `free` is asked in its main wording twice, for the retest.
    """

    contrast: dict[Wording, Frame] = Field(default_factory=dict)
    letter: Letter | None = None
    cloze: Cloze | None = None
    rating: Wordings = Field(default_factory=dict)
    free: Wordings = Field(default_factory=dict)
    recall: Wordings = Field(default_factory=dict)

    def wordings(self, paradigm: str) -> tuple[str, ...]:
        """All wordings of a paradigm, the main one first."""
        own = getattr(self, paradigm)
        names = tuple(own if isinstance(own, dict) else own.wordings) if own else ()
        return (*names, "retest") if paradigm == "free" and names else names


@dataclass(frozen=True)
class Probe:
    """One question as put: to a case, or (of a null) to the options of its item.

    texts: what is scored, none for an open reply; options: the option that each text stands for; order: the options as
    shown; listed: texts are single letters or numbers.
    """

    case: Case
    paradigm: str
    wording: str
    conversation: Conversation
    texts: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    order: Order | None = None
    listed: bool = False

    @property
    def null(self) -> bool:
        return self.wording.startswith("null/")

    @property
    def content(self) -> tuple[Any, ...]:
        """What equal probes have in common."""
        return tuple((one["role"], one["content"]) for one in self.conversation), self.texts


def probes(asking: Asking, cases: Sequence[Case], scored: bool) -> list[Probe]:
    """All that is asked about the cases of one cluster, nulls included. scored: the provider can score any text."""
    found = [probe for case in cases for probe in _of_case(asking, case, scored)]
    items: dict[str, Case] = {}
    for case in cases:
        if "cloze" in _asked(asking, case):
            other = items.setdefault(case.item, case)
            if [one.texts for one in other.options] != [one.texts for one in case.options]:
                raise ValueError(f"the cases of item {case.item!r} have different options, and so no common nulls")
    return found + [probe for case in items.values() for probe in _nulls(asking, case)]


def _asked(asking: Asking, case: Case) -> dict[str, tuple[str, ...]]:
    """The wordings asked of a case, by paradigm. Only a case with a right answer is asked for recall, and it for nothing
    else."""
    every = ("recall",) if case.right is not None else PARADIGMS
    if case.asked is None:
        return {paradigm: own for paradigm in every if (own := asking.wordings(paradigm))}
    return {paradigm: own for paradigm, own in case.asked.items() if own}


def _of_case(asking: Asking, case: Case, scored: bool) -> Iterator[Probe]:
    acts = [option.texts[0] for option in case.options]

    def put(template: str, wording: str, **fields: Any) -> Conversation:
        *before, last = case.wordings.get(wording, case.talk)
        return [*before, user(template.format(context=last["content"], acts=acts, **fields))]

    def lettered(paradigm: str, wording: str) -> Iterator[Probe]:
        assert asking.letter is not None
        letters = asking.letter.letters[: len(acts)]
        for order in counterbalanced(len(acts)):
            shown = [
                asking.letter.option.format(letter=letter, text=acts[option])
                for letter, option in zip(letters, order, strict=True)
            ]
            asked = put(asking.letter.wordings[wording], wording, options="\n".join(shown))  # type: ignore[index]
            ids = tuple(case.options[option].id for option in order)
            yield Probe(case, paradigm, wording, asked, letters, ids, order, True)

    for paradigm, wordings in _asked(asking, case).items():
        for wording in wordings:
            if paradigm == "letter":
                yield from lettered(paradigm, wording)
            elif paradigm in ("contrast", "cloze"):
                frames = asking.contrast if paradigm == "contrast" else asking.cloze.wordings  # type: ignore[union-attr]
                frame = frames[wording]  # type: ignore[index]
                yield Probe(case, paradigm, wording, put(frame.prompt, wording), *_sentences(frame, case.options))
            elif paradigm == "recall":
                if scored or asking.letter is None:
                    texts, ids = _flat(case.options, lambda text: text)
                    yield Probe(case, paradigm, wording, put(asking.recall[wording], wording), texts, ids)  # type: ignore[index]
                else:
                    yield from lettered(paradigm, wording)
            elif paradigm == "rating":
                asked = put(asking.rating[wording], wording)  # type: ignore[index]
                yield Probe(case, paradigm, wording, asked, *(elicit.RATING_NUMBERS,) * 2, None, True)
            else:
                template = asking.free["main" if wording == "retest" else wording]  # type: ignore[index]
                yield Probe(case, paradigm, wording, put(template, wording))


def _nulls(asking: Asking, case: Case) -> Iterator[Probe]:
    """The openings and options of an item with everything else removed."""
    assert asking.cloze is not None
    for wording, frame in asking.cloze.wordings.items():
        for number, null in enumerate(asking.cloze.nulls):
            yield Probe(case, "cloze", f"null/{wording}/{number}", [user(null)], *_sentences(frame, case.options))


def _sentences(frame: Frame, options: Sequence[Option]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return _flat(options, lambda text: frame.opening + elicit.cloze_continuations([text])[0])


def _flat(options: Sequence[Option], said: Callable[[str], str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All texts of all options, and the option of each."""
    pairs = [(said(text), option.id) for option in options for text in option.texts]
    return tuple(text for text, _ in pairs), tuple(id for _, id in pairs)


# --- rows ------------------------------------------------------------------------------------------------------------


def rows(part: Questions, probe: Probe, heard: Heard) -> list[dict[str, Any]]:
    """What came back for a probe as rows of `ANSWERS`, one an option; a reply that compares nothing is one row."""
    case = probe.case
    common: dict[str, Any] = {
        "part": part.name, "item": case.item, "cluster": case.cluster, "split": case.split, "paradigm": probe.paradigm,
        "wording": probe.wording, "source": heard.source, "missing": heard.missing,
        "reply": BETWEEN.join(heard.texts) if heard.texts else None,
    }  # fmt: skip
    if not probe.null:
        common |= {"case": case.id, **case.levels}
    if probe.order is not None:
        common["order"] = "".join(map(str, probe.order))
    if not probe.texts:
        common["message"] = probe.conversation[-1]["content"]
        return [common | row for row in _free(case, heard)]
    own = _replies(probe, heard) if heard.source == "sampled" else _likelihoods(probe, heard)
    if probe.paradigm == "recall":
        own = [row | {"right": row["option"] == case.right} for row in own]
    return [common | row for row in own]


def _likelihoods(probe: Probe, heard: Heard) -> list[dict[str, Any]]:
    """Rows from log-probabilities; those of an option's texts are summed as probabilities."""
    values = heard.logprobs or (None,) * len(probe.texts)
    found: list[dict[str, Any]] = []
    for option in dict.fromkeys(probe.options):
        own = [value for value, id in zip(values, probe.options, strict=True) if id == option]
        found.append({"option": option, "logprob": _summed(own)})
    if not probe.listed or not heard.logprobs:
        return _placed(probe, found)
    if probe.order is not None:
        read: elicit.Choice | elicit.Rating = elicit.letter_choice(values, probe.order)
    else:
        read = elicit.rating_expectation(values)
    return [row | {"mass": read.mass, "missing": heard.missing or read.missing} for row in _placed(probe, found)]


def _summed(logprobs: Sequence[float | None]) -> float | None:
    """The log of the summed probabilities; None where one is unknown."""
    known = [value for value in logprobs if value is not None]
    return float(np.logaddexp.reduce(known)) if known and len(known) == len(logprobs) else None


def _replies(probe: Probe, heard: Heard) -> list[dict[str, Any]]:
    """Rows from sampled replies: the share of the readable ones that gives each option."""
    if probe.order is not None:
        choices = [elicit.letter_text(text, probe.order) for text in heard.texts]
        named = [None if one.position is None else probe.options[one.position] for one in choices]
        masses, missing = [one.mass for one in choices], choices[0].missing
    else:
        ratings = [elicit.rating_text(text) for text in heard.texts]
        named = [None if one.value is None else str(round(one.value)) for one in ratings]
        masses, missing = [one.mass for one in ratings], ratings[0].missing
    read = [name for name in named if name is not None]
    common = {"mass": sum(masses) / len(masses), "missing": None if read else missing}
    shares = [
        {"option": option, "chosen": read.count(option) / len(read) if read else None} for option in probe.options
    ]
    return [row | common for row in _placed(probe, shares)]


def _placed(probe: Probe, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"position": place} for place, row in enumerate(found)] if probe.order is not None else found


def _free(case: Case, heard: Heard) -> list[dict[str, Any]]:
    """Rows of an open reply, read by the phrases of the options."""
    if not case.options:
        return [{"cut": heard.cut}]
    phrases = [option.phrases for option in case.options]
    if not heard.texts:
        choice = elicit.Choice(None, heard.missing)  # type: ignore[arg-type]
    else:
        choice = elicit.free_choice(heard.texts[0], phrases, truncated=heard.cut)
    return [
        {
            "option": option.id,
            "chosen": float(choice.option == index) if choice.read else None,
            "missing": choice.missing,
            "cut": heard.cut,
        }
        for index, option in enumerate(case.options)
    ]
