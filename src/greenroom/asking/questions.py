"""From cases and the wording of their paradigms to the probes that are put to a model.

Paradigms: `contrast` scores options as the end of a sentence, to be compared between levels (`asking.contrast`);
`letter` lists them, each in each place once; `cloze` scores them as `contrast` does, and again after null prompts, which
show how likely their words are for other reasons; `rating` asks for a number from 1 to 7; `free` is read by phrases;
`recall` asks what was said, and has a right answer. Nothing here calls a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from greenroom.asking.types import Case, Items, Option, Questions, Size
from greenroom.conversation import Conversation, user
from greenroom.measures import elicit
from greenroom.measures.design import Order, counterbalanced

PARADIGMS = ("contrast", "letter", "cloze", "rating", "free")

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

    def put(template: str, wording: str, around: str = "{context}", **fields: Any) -> Conversation:
        *before, last = case.wordings.get(wording, case.talk)
        context = around.format(context=last["content"], acts=acts)
        return [*before, user(template.format(context=context, acts=acts, **fields))]

    def lettered(paradigm: str, wording: str, around: str = "{context}") -> Iterator[Probe]:
        assert asking.letter is not None
        letters = asking.letter.letters[: len(acts)]
        for order in counterbalanced(len(acts)):
            shown = [
                asking.letter.option.format(letter=letter, text=acts[option])
                for letter, option in zip(letters, order, strict=True)
            ]
            asked = put(asking.letter.wordings[wording], wording, around, options="\n".join(shown))  # type: ignore[index]
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
                template = asking.recall[wording]  # type: ignore[index]
                if scored or asking.letter is None:
                    said = _flat(case.options, lambda text: text)
                    yield Probe(case, paradigm, wording, put(template, wording), *said)
                else:
                    yield from lettered(paradigm, wording, template)
            elif paradigm == "rating":
                asked = put(asking.rating[wording], wording)  # type: ignore[index]
                yield Probe(case, paradigm, wording, asked, elicit.RATING_NUMBERS, elicit.RATING_NUMBERS, listed=True)
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


@dataclass(frozen=True)
class Plan:
    """All that a study asks: by cluster the questions with their cases in it."""

    clusters: dict[str, list[tuple[Questions, list[Case]]]] = field(default_factory=dict)

    @classmethod
    def of(cls, questions: Sequence[Questions], size: Size, seed: int) -> Plan:
        """ValueError for two cases of one id."""
        plan = cls()
        for part in questions:
            seen: set[str] = set()
            for case in part.all_cases(size, seed):
                if case.id in seen:
                    raise ValueError(
                        f"two cases of {part.name} have the id {case.id!r}; give them other items or levels"
                    )
                seen.add(case.id)
                own = plan.clusters.setdefault(case.cluster, [])
                if not own or own[-1][0] is not part:
                    own.append((part, []))
                own[-1][1].append(case)
        return plan

    @cached_property
    def cases(self) -> list[tuple[Questions, Case]]:
        return [(part, case) for own in self.clusters.values() for part, cases in own for case in cases]

    @cached_property
    def factors(self) -> list[str]:
        return list(dict.fromkeys(name for _, case in self.cases for name in case.levels))

    def probes(self, cluster: str, scored: bool) -> list[tuple[Questions, Probe]]:
        """All that is asked in a cluster. scored: the provider can score any text."""
        own = self.clusters[cluster]
        return [(part, probe) for part, cases in own for probe in probes(part.asking, cases, scored)]
