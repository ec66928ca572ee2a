"""A chat with a subject under interventions, with a meter: where each reply lies on the axis and on chosen traits.

The logic of `greenroom chat`; a terminal is one way of using it:

    chat = Chat(subject, [assistant_axis(subject)], steer=["humor:+10"])
    turn = chat.say("Is the earth flat?")
    turn.reply.text, turn.readings["assistant_axis"].cold, turn.readings["humor"].cold
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from greenroom.conversation import Conversation, assistant, system, user
from greenroom.directions import Direction
from greenroom.directions.cold import cold_values, in_sd
from greenroom.directions.interventions import edits_from
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.errors import GreenroomError
from greenroom.personas import library
from greenroom.store import write_json
from greenroom.subject import Capture, Intervention, Reply, Subject
from greenroom.subject.cache import PrefixCache
from greenroom.subject.subject import Progress

KINDS = ("steer", "cap", "ablate")
OFF = "off"
# The meter's line runs over this many sd to both sides of the default character; what lies beyond sits at its ends.
REACH = 4.0
BARS = "▁▂▃▄▅▆▇█"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Reading:
    """A reply on a direction, in sd. hot: as it was made, instruction and edits included. cold: re-read after that
    turn's user message alone, unedited. None for a reply without a token."""

    hot: float | None
    cold: float | None


@dataclass(frozen=True)
class Turn:
    """A question, its reply, the reply's readings by direction, and what was in force: words by kind of intervention,
    and the system message ("" for none)."""

    asked: str
    reply: Reply
    readings: Mapping[str, Reading]
    words: Mapping[str, tuple[str, ...]]
    instruction: str


class Chat:
    """One conversation, turn by turn.

    meters: calibrated directions to read every reply on; those that it is steered, capped or ablated by join them, and
    stay when the edit ends. None: nothing is read. steer, cap, ablate: words as in `edits_from`. persona: a role of the
    library or an instruction. tell hears remarks on the directions used. A word that cannot be used raises
    GreenroomError and changes nothing.
    """

    def __init__(
        self,
        subject: Subject,
        meters: Sequence[Direction] | None = (),
        *,
        steer: Sequence[str] = (),
        cap: Sequence[str] = (),
        ablate: Sequence[str] = (),
        persona: str = "",
        max_new_tokens: int = 256,
        temperature: float = TEMPERATURE,
        seed: int = 0,
        force: bool = False,
        tell: Tell = lambda _: None,
    ) -> None:
        self.subject, self._reads = subject, meters is not None
        self.meters = tuple(meters or ())
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed
        self.turns: list[Turn] = []
        self.words: dict[str, tuple[str, ...]] = {"steer": tuple(steer), "cap": tuple(cap), "ablate": tuple(ablate)}
        self.instruction = ""
        self._force, self._tell = force, tell
        self._edits = self._read(self.words)
        self._known = PrefixCache()
        if persona:
            self.play(persona)

    def say(self, text: str, progress: Progress | None = None) -> Turn:
        """Asks and keeps the turn; an error or Ctrl-C leaves the conversation as it was."""
        asked: Conversation = [*self.messages(), user(text)]
        layers = tuple(sorted({meter.layer for meter in self.meters}))
        reply = self.subject.generate(
            [asked],
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=TOP_P,
            seed=self.seed,
            capture=Capture(layers) if layers else None,
            interventions=self._edits,
            progress=progress,
            # What was read under edits is no prefix for what is read without them.
            prefix_cache=None if self._edits else self._known,
        )[0]
        turn = Turn(text, reply, self._readings(text, reply, layers), dict(self.words), self.instruction)
        self.turns.append(turn)
        return turn

    def messages(self) -> Conversation:
        """The conversation so far, under the instruction that is in force now."""
        begun: Conversation = [system(self.instruction)] if self.instruction else []
        for turn in self.turns:
            begun += [user(turn.asked), assistant(turn.reply.text)]
        return begun

    def intervene(self, kind: Literal["steer", "cap", "ablate"], words: Sequence[str]) -> None:
        """Puts these interventions in the place of those of that kind."""
        wanted = {**self.words, kind: tuple(words)}
        self._edits, self.words = self._read(wanted), wanted

    def play(self, persona: str) -> None:
        """A role of the library, or any instruction of more than one word, as the system message; "" for none."""
        if persona and " " not in persona:
            persona = library.role(persona).instructions[0]
        self.instruction = persona

    def undo(self) -> Turn:
        """Takes the last turn back."""
        if not self.turns:
            raise GreenroomError("there is nothing to take back yet")
        return self.turns.pop()

    def line(self, meter: str) -> str:
        """The hot readings of a direction over the turns, a bar a turn; a space for a reply that was not read."""
        known = (turn.readings.get(meter) for turn in self.turns)
        return "".join(_bar(None if reading is None else reading.hot) for reading in known)

    def save(self, path: Path) -> None:
        """Writes the messages in OpenAI's format; under "greenroom" what was read and what was in force at each turn."""
        begin = len(self.messages()) - 2 * len(self.turns)
        write_json(path, {
            "messages": self.messages(),
            "greenroom": {
                "subject": self.subject.name,
                "fingerprint": self.subject.fingerprint,
                "settings": {"temperature": self.temperature, "top_p": TOP_P, "seed": self.seed,
                             "max_new_tokens": self.max_new_tokens},
                "directions": {meter.name: {"layer": meter.layer, "unit": "sd", "reliable": meter.reliable}
                               for meter in self.meters},
                "turns": [_saved(turn, begin + 2 * index + 1) for index, turn in enumerate(self.turns)],
            },
        })  # fmt: skip

    def _read(self, words: Mapping[str, Sequence[str]]) -> tuple[Intervention, ...]:
        if not any(words.values()):
            return ()
        edits, named = edits_from(
            self.subject, words["steer"], words["cap"], words["ablate"], force=self._force, tell=self._tell
        )
        if self._reads:
            known = {meter.name for meter in self.meters}
            self.meters += tuple(one for one in named if one.name not in known)
        return edits

    def _readings(self, text: str, reply: Reply, layers: tuple[int, ...]) -> dict[str, Reading]:
        if reply.activations is None:
            return {meter.name: Reading(None, None) for meter in self.meters}
        cold = cold_values(self.subject, layers, [text], [reply])
        found = {}
        for meter in self.meters:
            at = layers.index(meter.layer)
            found[meter.name] = Reading(float(meter.sd(reply.activations[at])), in_sd(meter, cold[at])[0])
        return found


def command(chat: Chat, line: str) -> str | None:
    """Does what a line that begins with a slash says; its answer in words, or None to leave.

    Raises GreenroomError for a command that is unknown or cannot be done.
    """
    verb, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    name = verb.removeprefix("/")
    if name in ("quit", "exit"):
        return None
    if name == "help":
        return help_text()
    if name in KINDS:
        if rest:
            chat.intervene(name, () if rest == OFF else _split(rest))
        return f"{name}: {' '.join(chat.words[name]) or OFF}"
    if name == "persona":
        if rest:
            chat.play("" if rest == OFF else rest)
        return f"persona: {chat.instruction or OFF}"
    if name == "undo":
        return f"taken back: {chat.undo().asked}"
    if name == "save":
        if not rest:
            raise GreenroomError("say where to: /save FILE")
        chat.save(Path(rest).expanduser())
        return f"written to {rest}"
    raise GreenroomError(f"there is no command {verb}; /help lists them")


@cache
def _texts() -> Any:
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def help_text() -> str:
    """The commands, a line each."""
    lines = [f"{usage:<26}{what}" for usage, what in _texts()["commands"]]
    return "\n".join([*lines, _texts()["meter"]])


def _split(words: str) -> list[str]:
    try:
        return shlex.split(words)
    except ValueError as error:
        raise GreenroomError(f"{words!r} cannot be read ({error}); close the quotes") from error


def _bar(value: float | None) -> str:
    if value is None:
        return " "
    share = (min(max(value, -REACH), REACH) + REACH) / (2 * REACH)
    return BARS[min(int(share * len(BARS)), len(BARS) - 1)]


def _saved(turn: Turn, message: int) -> dict[str, Any]:
    return {
        "message": message,
        "finish": turn.reply.finish,
        "projections": {name: {"hot": one.hot, "cold": one.cold} for name, one in turn.readings.items()},
        **{kind: list(words) for kind, words in turn.words.items()},
        "system": turn.instruction,
    }
