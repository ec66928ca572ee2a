"""Following one conversation turn by turn, as it happens: each turn costs its new tokens and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from greenroom.conversation import Message, MessageRole, checked
from greenroom.reader.reader import Reader, TurnReading, load_reader
from greenroom.reader.turns import Piece, Turn, encoded
from greenroom.reader.verdicts import Baseline, Judgement, judge
from greenroom.subject import Subject
from greenroom.subject.listening import Listener


@dataclass(frozen=True)
class Observation:
    """What one message showed. turn: its reading, None for a message that is no assistant turn. topic: of the user's turn
    at hand. judgement: on the conversation so far; its 5 % of false alarms hold for one look at a conversation of that
    length, so whoever looks after every turn sees more of them."""

    role: MessageRole
    turn: TurnReading | None
    topic: str | None
    judgement: Judgement

    @property
    def axis_sd(self) -> float | None:
        """The turn's place on the assistant axis, sd."""
        return None if self.turn is None else self.turn.axis_sd

    @property
    def verdict(self) -> str:
        return self.judgement.verdict


@dataclass
class Monitor:
    """One conversation's monitor. `Monitor(reader)` takes a Reader, a Subject, or a model's name.

    Reads cold: a user's message is read when it comes, and the reply right after it, so that what `read` says of the
    finished conversation is what `observe` said turn by turn. A turn longer than a window is read again from its start.
    """

    reader: Reader | Subject | str = "smollm2"
    baseline: Baseline | None = None
    turns: list[TurnReading] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = load_reader(self.reader)
        self._listener = Listener(self._reader.subject, self._reader.layers)
        self._asked: list[str] = []
        self._answered = False
        self._user: Tensor | None = None
        self._topic: str | None = None

    def observe(self, message: Message) -> Observation:
        """Reads the next message. Raises ConversationError for what is no message."""
        message = checked([message])[0]
        turn = None
        if message["role"] == "user":
            self._asked, self._answered = ([] if self._answered else self._asked) + [message["content"]], False
            self._hear_user()
        elif message["role"] == "assistant" and message["content"].strip():
            turn = self._read(Turn(len(self.turns) + 1, "\n\n".join(self._asked), message["content"]))
            self.turns.append(turn)
            self._topic, self._answered = turn.topic, True
        values = [one.axis_sd for one in self.turns if one.axis_sd is not None]
        return Observation(message["role"], turn, self._topic, judge(values, self.baseline))

    def _hear_user(self) -> None:
        """Reads the user's message at once, so that the reply finds it read."""
        text = self._reader.subject.chat.encode([{"role": "user", "content": "\n\n".join(self._asked)}], generate=True)
        self._user = self._topic = None
        if len(text.tokens) >= self._reader.window:
            return
        captured = self._listener.hear(text.tokens, since=text.spans[0][0])
        nothing = (len(text.tokens), len(text.tokens))
        self._user, _ = self._reader.split(captured, 0, Piece(text.tokens, nothing, text.spans[0]))
        self._topic = self._reader.topic(self._user)

    def _read(self, turn: Turn) -> TurnReading:
        text = encoded(self._reader.subject.chat, turn)
        start, end = text.spans[1]
        if end > self._reader.window:
            return self._reader.read([turn])[0]
        captured = self._listener.hear(text.tokens[:end], since=start)
        _, projected = self._reader.split(captured, 0, Piece(text.tokens[:end], (start, end)))
        return self._reader.reading(turn, text, projected, self._user)
