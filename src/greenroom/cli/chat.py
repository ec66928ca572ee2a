"""greenroom chat: talk to a model, steered or capped, and see where each reply lies."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from greenroom.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from greenroom.chatting import Chat, Turn

Words = list[str]


@options.on_model()
def chat(
    model: options.Model,
    steer: Annotated[
        Words, typer.Option(metavar="NAME:STRENGTH", help="Steer, in sd; may be given several times.")
    ] = [],  # noqa: B006  typer copies it
    cap: Annotated[Words, typer.Option(metavar="NAME:FLOOR", help="Cap; may be given several times.")] = [],  # noqa: B006
    ablate: Annotated[Words, typer.Option(metavar="NAME", help="Remove a direction; may be given several times.")] = [],  # noqa: B006
    trait: Annotated[
        Words, typer.Option(metavar="NAME", help="Another direction to read replies on; may be given several times.")
    ] = [],  # noqa: B006
    persona: Annotated[str, typer.Option(help="A role of the library, or an instruction.")] = "",
    no_meter: Annotated[bool, typer.Option("--no-meter", help="Read no projections.")] = False,
    max_tokens: Annotated[
        int, typer.Option(parser=options.whole_number, metavar="N", help="Tokens of a reply at most.")
    ] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.7,
    force: Annotated[bool, typer.Option("--force", help="Take direction files made for other weights.")] = False,
    seed: options.Seed = 0,
    plain: options.Plain = False,
) -> None:
    """Talk to a model, steered or not, and see where each reply lies.

    After each reply a meter shows its place on the assistant axis, and on each direction that it is steered, capped or
    ablated by. What strength is heard differs between directions; greenroom trait MODEL NAME tries some.
    /help lists what can be done while talking. In a pipe every line of the input is one message or command, and the
    first that goes wrong ends the chat.

    \b
    Examples:
      greenroom chat
      greenroom chat --steer humor:+10
      greenroom chat --persona pirate --cap assistant:default:p25 --trait humor
      echo "Who are you?" | greenroom chat --plain
    """
    from greenroom.chatting import Chat
    from greenroom.directions.interventions import direction_named

    remarks: set[str] = set()

    def remark(text: str) -> None:
        if text not in remarks:  # a direction may be named twice
            typer.echo(f"note: {text}", err=True)
        remarks.add(text)

    if max_tokens == 0:
        raise typer.BadParameter("--max-tokens must be at least 1")
    subject = model.load()
    named = {
        name: direction_named(subject, name, force=force, tell=remark) for name in ("assistant", *trait) if not no_meter
    }
    # `assistant` and `assistant_axis` are one.
    meters = None if no_meter else list({one.name: one for one in named.values()}.values())
    talk = Chat(
        subject, meters, steer=steer, cap=cap, ablate=ablate, persona=persona, max_new_tokens=max_tokens,
        temperature=temperature, seed=seed, force=force, tell=remark,
    )  # fmt: skip
    if sys.stdin.isatty() and sys.stdout.isatty() and not plain:
        _on_terminal(talk)
    else:
        _in_pipe(talk)


def _in_pipe(talk: Chat) -> None:
    """Lines in, lines out: the reply, then a line of tab-separated numbers a direction. An error ends the chat."""
    from greenroom.chatting import command

    for line in sys.stdin:
        text = line.strip()
        if not text:
            continue
        if text.startswith("/"):
            answer = command(talk, text)
            if answer is None:
                return
            typer.echo(answer)
            continue
        turn = talk.say(text)
        typer.echo(turn.reply.text)
        for name, reading in turn.readings.items():
            typer.echo(f"{name}\thot\t{_sd(reading.hot)}\tcold\t{_sd(reading.cold)}")
        sys.stdout.flush()


def _on_terminal(talk: Chat) -> None:
    """A prompt, the reply, and the meter as a line over the turns. An error is shown and the chat goes on."""
    from rich.console import Console
    from rich.text import Text

    from greenroom.chatting import command
    from greenroom.errors import GreenroomError

    with suppress(ImportError):  # not there on Windows; it gives the prompt its line editing
        import readline  # noqa: F401
    console = Console(highlight=False)
    console.print(f"[dim]{talk.subject.name}; /help for what can be done here[/dim]")
    while True:
        try:
            text = input("you: ").strip()
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            console.print("\n[dim]/quit or Ctrl-D leaves[/dim]")
            continue
        if not text:
            continue
        try:
            if text.startswith("/"):
                answer = command(talk, text)
                if answer is None:
                    return
                console.print(Text(answer, style="dim"))
                continue
            turn = _asked(console, talk, text)
        except GreenroomError as error:
            console.print(Text(f"error: {error}", style="red"))
            continue
        except KeyboardInterrupt:
            console.print("[dim]interrupted; nothing was kept of this turn[/dim]")
            continue
        console.print(Text(f"{talk.subject.name}: ", style="bold"), Text(turn.reply.text), sep="")
        for name, reading in turn.readings.items():
            unread = "" if reading.hot is not None else "  (an empty reply)"
            console.print(
                Text(f"  {name:<20}", style="dim"), Text(f"{_sd(reading.hot):>6} sd"),
                Text(f"  cold {_sd(reading.cold):>6}  ", style="dim"), Text(talk.line(name), style="cyan"), unread, sep="",
            )  # fmt: skip


def _asked(console: Console, talk: Chat, text: str) -> Turn:
    with console.status("0 tokens") as status:
        return talk.say(text, progress=lambda done, _: status.update(f"{done} tokens"))


def _sd(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"
