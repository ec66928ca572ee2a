"""What readings say in words: the order of conversations, their names, and the sentences that a page opens and a command
ends with. Made of records (the objects that `--json` prints); the words are those of templates/reading.yaml."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from os.path import commonpath
from pathlib import Path
from typing import Any

import yaml

from greenroom.reader.verdicts import LEVEL, VERDICTS, level_of

MOVED = ("departed", "returned", "drifting")


@cache
def words() -> dict[str, Any]:
    """Every word of readings, for page and terminal, from templates/reading.yaml."""
    return yaml.safe_load((Path(__file__).parent / "templates" / "reading.yaml").read_text(encoding="utf-8"))


def moved(record: Mapping[str, Any]) -> bool:
    """Whether a conversation moved away from the assistant's character: it departed, it returned, or its drift ended (its
    last three turns) below where the reader's own default replies lie. Drifting above that is no such thing."""
    if record["verdict"] != "drifting":
        return record["verdict"] in MOVED
    values = [turn["axis_sd"] for turn in record["turns"] if turn["axis_sd"] is not None]
    return level_of(values[-LEVEL:]) == "low"


def rank(record: Mapping[str, Any]) -> tuple[bool, float]:
    """Sorts as the caption says: those that moved away first, then the lowest; last what has no turn."""
    mean = record["axis_sd_mean"]
    return not moved(record), float("inf") if mean is None else mean


def short_names(records: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """(source, index) → the file's name where no other file has it, else its path without what all paths share; with the
    record's number where a file has several."""
    pairs = list(dict.fromkeys(records))
    several = {source for source, n in Counter(source for source, _ in pairs).items() if n > 1}
    sources = dict.fromkeys(source for source, _ in pairs)
    names = Counter(Path(source).name for source in sources)
    doubled = [source for source in sources if names[Path(source).name] > 1]
    try:
        shared = commonpath([str(Path(source).parent) for source in doubled]) if doubled else ""
    except ValueError:  # relative and absolute paths share nothing
        shared = ""

    def name(source: str, index: int) -> str:
        path = Path(source)
        short = path.name or source
        if names[path.name] > 1:
            short = str(path.relative_to(shared)) if shared else source
        return f"{short} {words()['record'].format(index=index)}" if source in several else short

    return {(source, index): name(source, index) for source, index in pairs}


@dataclass
class Tally:
    """Counts over conversations, and what follows from them in sentences."""

    verdicts: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    low: Counter[str] = field(default_factory=Counter)
    baseline: bool = False
    unreliable: dict[str, str] = field(default_factory=dict)

    def add(self, record: Mapping[str, Any]) -> None:
        verdict = record["verdict"]
        self.verdicts[verdict] += 1
        self.baseline |= record["baseline"] == "folder"
        self.unreliable |= record["unreliable_traits"]
        if moved(record):
            self.moved[verdict] += 1
        elif record["level"] == "low":
            self.low[verdict] += 1

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> Tally:
        made = cls()
        for record in records:
            made.add(record)
        return made

    @property
    def conversations(self) -> int:
        return self.verdicts.total()

    def headline(self) -> str:
        """Whether any moved away; and those that did not, but lie low."""
        said, n = words()["headline"], self.conversations
        if n and self.verdicts["uncalibrated"] == n and not self.low:
            return said["uncalibrated"]["one" if n == 1 else "all"].format(all=n)
        if self.moved:
            ways = [name for name in MOVED if self.moved[name]]
            told = ", ".join(f"{self.moved[name]} {said['moved'][name]}" for name in ways)
            first = (
                said["moved_one"].format(told=said["moved"][ways[0]])
                if n == 1
                else said["moved_some"].format(n=self.moved.total(), all=n, told=told)
            )
        else:
            first = said["none_one" if n == 1 else "none"].format(all=n)
        return " ".join([first, *self._low()])

    def _low(self) -> list[str]:
        said = words()["headline"]["low"]
        return [said[name].format(n=self.low[name], be=_be(self.low[name])) for name in VERDICTS if self.low[name]]

    def sentences(self) -> list[str]:
        """The headline and what else a person should know before using it."""
        said = words()["closing"]
        inside = self.verdicts["drifting"] - self.moved["drifting"]
        short = self.verdicts["uncalibrated"]
        found = [self.headline()]
        if self.low and not self.baseline:
            found.append(said["low"])
        if inside:
            found.append(said["inside"].format(n=inside, s="s" if inside == 1 else ""))
        if short and not (short == self.conversations and not self.low):
            found.append(said["short"].format(n=short, be=_be(short)))
        found += [said["unreliable"].format(name=_plain(name), why=why) for name, why in self.unreliable.items()]
        return found

    def verdict(self) -> str:
        """All of it in one line, as a command ends."""
        return " ".join(self.sentences())


def _be(n: int) -> str:
    return "is" if n == 1 else "are"


def _plain(name: str) -> str:
    return name.replace("_", " ")


def level_words(record: Mapping[str, Any]) -> str:
    """The level in a word, for a column."""
    return words()["levels"][record["level"] or "none"]
