"""How a run shows itself while it works: a row a stage with time left, or plain lines where no terminal is.

Everything goes to stderr, so that stdout carries results alone. Rich respects NO_COLOR.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

TEAL = "#1b7f79"
STONE = "#8a8578"
PLAIN_LINE_SECONDS = 10.0  # a log wants few lines


class Progress:
    """Follows the stages of a run and shows nothing: the default of library calls, and the base of what shows.

    A stage is planned, then started and advanced and finished, or else kept (it was finished by an earlier attempt).
    """

    def plan(self, stages: Mapping[str, str]) -> None:
        """Announces stages in order: name → words shown. A stage never announced is shown by its name."""

    def say(self, words: str) -> None:
        """A line for whoever watches, such as how long it will take; nothing for no words."""

    def start(self, stage: str) -> None:
        """The stage begins."""

    def advance(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of the stage are finished."""

    def finish(self, stage: str) -> None:
        """The stage is finished and saved."""

    def keep(self, stage: str) -> None:
        """The stage needs no work: its results are stored."""

    def stop(self) -> None:
        """Nothing more will come; called twice, the second does nothing."""


class PlainProgress(Progress):
    """A line when a stage begins and ends, and one every ten seconds between."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._labels: dict[str, str] = {}
        self._began = self._told = 0.0

    def plan(self, stages: Mapping[str, str]) -> None:
        self._labels.update(stages)

    def say(self, words: str) -> None:
        if words:
            print(words, file=self._stream, flush=True)

    def start(self, stage: str) -> None:
        self._began = self._told = time.monotonic()
        self._say(stage, "started")

    def advance(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= PLAIN_LINE_SECONDS and 0 < done < total:
            self._told = now
            left = (now - self._began) / done * (total - done)
            # A guess from the first steps is off by orders of magnitude.
            guess = f", about {duration(left)} left" if done >= 0.05 * total else ""
            self._say(stage, f"{100 * done // total} %{guess}")

    def finish(self, stage: str) -> None:
        self._say(stage, f"done in {duration(time.monotonic() - self._began)}")

    def keep(self, stage: str) -> None:
        self._say(stage, "kept from before")

    def _say(self, stage: str, words: str) -> None:
        print(f"{self._labels.get(stage, stage)}: {words}", file=self._stream, flush=True)


class LiveProgress(Progress):
    """Rows redrawn in place: name, bar, state and time left of every stage, those to come included."""

    def __init__(self) -> None:
        self._rich: RichProgress | None = None
        self._rows: dict[str, TaskID] = {}

    def plan(self, stages: Mapping[str, str]) -> None:
        for stage, label in stages.items():
            self._row(stage, label)

    def say(self, words: str) -> None:
        if words:
            self._display.console.print(words, style=STONE)

    def start(self, stage: str) -> None:
        row = self._row(stage)
        self._display.reset(row, total=None, state="")

    def advance(self, stage: str, done: int, total: int) -> None:
        self._display.update(self._row(stage), completed=done, total=total)

    def finish(self, stage: str) -> None:
        self._close(stage, "done")

    def keep(self, stage: str) -> None:
        self._close(stage, "kept from before")

    def stop(self) -> None:
        if self._rich is not None:
            self._rich.stop()
            self._rich = None

    def _close(self, stage: str, state: str) -> None:
        row = self._row(stage)
        task = next(task for task in self._display.tasks if task.id == row)
        total = task.total or 1
        if not task.started:
            self._display.start_task(row)
        self._display.update(row, total=total, completed=total, state=state)

    def _row(self, stage: str, label: str | None = None) -> TaskID:
        if stage not in self._rows:
            self._rows[stage] = self._display.add_task(label or stage, total=1, start=False, state="to come")
        return self._rows[stage]

    @property
    def _display(self) -> RichProgress:
        if self._rich is None:
            self._rich = _rows()
            self._rich.start()
        return self._rich


def terminal_progress(*, plain: bool = False) -> Progress:
    """Progress on stderr: live rows on a terminal, plain lines elsewhere or when asked."""
    from rich.console import Console

    console = Console(stderr=True)
    if plain or not console.is_terminal or console.is_dumb_terminal:
        return PlainProgress()
    return LiveProgress()


def duration(seconds: float) -> str:
    """Seconds in a person's words: "0.4 s", "41 s", "2 min 05 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _rows() -> RichProgress:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, ProgressColumn, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.progress import Task as Row
    from rich.text import Text

    filled = BarColumn(bar_width=30, complete_style=TEAL, finished_style=TEAL, pulse_style=STONE)

    class Bar(ProgressColumn):
        """Empty before its stage starts, where Rich's own would pulse."""

        def render(self, task: Row) -> RenderableType:
            return filled.render(task) if task.started or task.finished else Text("")

    class Time(ProgressColumn):
        """Time left while a stage works, time taken once it is done; its state when neither is known."""

        def render(self, task: Row) -> Text:
            if task.finished and task.fields["state"] == "done":
                return Text(f"done in {duration(task.finished_time or 0)}", style=STONE)
            if task.time_remaining is not None and not task.finished:
                return Text(f"{duration(task.time_remaining)} left")
            return Text(task.fields["state"], style=STONE)

    return RichProgress(
        TextColumn("{task.description}"),
        Bar(),
        Time(),
        console=Console(stderr=True),
        refresh_per_second=4,
        redirect_stdout=False,  # else what is printed meanwhile would go to stderr with the rows
    )
