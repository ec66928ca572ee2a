"""The three interventions in terms of directions: strengths in standard deviations, floors by name, blocks by span.

One direction may act at several blocks, several directions at once, and each conversation of a batch may have its own
strength. What comes out are plain `Intervention`s, which every method of a subject takes:

    subject.generate(conversations, interventions=[*steer(humor, +10), *cap(axis, "default:p25")])

`edits_from` reads the same from the words of a command line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from greenroom.directions.direction import Direction
from greenroom.directions.verdict import warning
from greenroom.errors import DirectionError, LibraryError
from greenroom.subject import Intervention, Subject
from greenroom.subject.interventions import NEUTRAL, Kind, Tokens

Layers = int | str | Sequence[int]
Level = float | str
DEFAULT_FLOOR = "default:p25"

_SPAN = re.compile(r"(\d+)(?::(\d+))?")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"
_STEER = re.compile(rf"(?P<name>.+):(?P<strength>{_NUMBER})")
# The name is as short as it can be, so that the whole level is read as one: `assistant:rollouts:p25`.
_CAP = re.compile(rf"(?P<name>.+?)(?::(?P<ceiling>ceiling=)?(?P<level>(?:default|rollouts):p\d+|{_NUMBER}))?")


def blocks(direction: Direction, layers: Layers = "auto") -> tuple[int, ...]:
    """Block ids: "auto" is the chosen block, "18" or 18 one block, "18:22" blocks 18 to 21 (the end is left out, as in
    Python), or the ids themselves."""
    if isinstance(layers, int):
        return (layers,)
    if not isinstance(layers, str):
        return tuple(layers)
    if layers == "auto":
        return (direction.layer,)
    found = _SPAN.fullmatch(layers)
    if found is None:
        raise DirectionError(
            f"blocks are given as {layers!r}; expected auto, a block such as 18, or a span such as 18:22"
        )
    first = int(found[1])
    span = tuple(range(first, int(found[2]))) if found[2] else (first,)
    if not span:
        raise DirectionError(f"the span {layers} holds no block; its end is left out, as in Python: 18:22 is 18 to 21")
    return span


def steer(
    direction: Direction, strength: float | Sequence[float], *, layers: Layers = "auto", tokens: Tokens = "all"
) -> tuple[Intervention, ...]:
    """Adds `strength` reply sd along the direction, at each of the blocks.

    strength: one number, or one for each conversation of the call (0 leaves a conversation alone). At a span every
    block adds its own sd, as in repeng, and what the blocks add piles up on the way.
    """
    made = []
    for layer in blocks(direction, layers):
        sd = direction.scale(layer).reply_sd
        amount = strength * sd if isinstance(strength, int | float) else tuple(value * sd for value in strength)
        made.append(Intervention("steer", layer, direction.vector(layer), amount, tokens))
    return tuple(made)


def cap(
    direction: Direction,
    floor: Level | Sequence[Level | None] | None = None,
    *,
    ceiling: Level | Sequence[Level | None] | None = None,
    layers: Layers = "auto",
    tokens: Tokens = "all",
) -> tuple[Intervention, ...]:
    """Keeps projections at or above `floor`, at or below `ceiling` (arXiv 2601.10387): what is missing along the
    direction is added back, nothing else changes.

    A level is `default:pNN` or `rollouts:pNN` (quantiles of single tokens), or a number of reply sd; or one for each
    conversation of the call, where None leaves a conversation alone. Without either, the floor is default:p25.
    """
    if floor is None and ceiling is None:
        floor = DEFAULT_FLOOR
    made = []
    for layer in blocks(direction, layers):
        wanted: tuple[tuple[Kind, Level | Sequence[Level | None] | None], ...] = (("cap", floor), ("ceiling", ceiling))
        for kind, level in wanted:
            if level is not None:
                made.append(
                    Intervention(kind, layer, direction.vector(layer), _amounts(direction, layer, kind, level), tokens)
                )
    return tuple(made)


def ablate(direction: Direction, *, layers: Layers = "auto", tokens: Tokens = "all") -> tuple[Intervention, ...]:
    """Removes the projection whole, at each of the blocks."""
    return tuple(direction.ablate(layer=layer, tokens=tokens) for layer in blocks(direction, layers))


def for_each(choices: Sequence[Sequence[Intervention]]) -> tuple[Intervention, ...]:
    """Different interventions for different conversations of one batch: conversation i gets those of choices[i].

    Edits that differ in their amount alone are one edit with an amount a conversation. Edits come in the order in
    which the choices name them.
    """
    merged: dict[tuple[object, ...], tuple[Intervention, list[float]]] = {}
    for row, edits in enumerate(choices):
        met: dict[tuple[object, ...], int] = {}
        for edit in edits:
            if isinstance(edit.amount, tuple):
                raise ValueError("an edit chosen for one conversation must have one amount")
            same: tuple[object, ...] = (
                edit.kind, edit.layer, edit.vector.numpy().tobytes(), edit.tokens, edit.spare_sinks
            )  # fmt: skip
            # The same edit twice in one conversation stays two edits.
            met[same] = met.get(same, 0) + 1
            _, amounts = merged.setdefault((*same, met[same]), (edit, [NEUTRAL[edit.kind]] * len(choices)))
            amounts[row] = edit.amount
    return tuple(replace(edit, amount=tuple(amounts)) for edit, amounts in merged.values())


def edits_from(
    subject: Subject,
    steer: Sequence[str] = (),
    cap: Sequence[str] = (),
    ablate: Sequence[str] = (),
    *,
    force: bool = False,
    tell: Callable[[str], None] | None = None,
) -> tuple[tuple[Intervention, ...], tuple[Direction, ...]]:
    """Interventions from the words of a command line, in the order steer, cap, ablate, and the directions that they name.

    - steer   `NAME:STRENGTH`: `humor:+10`
    - cap     `NAME`, `NAME:FLOOR` or `NAME:ceiling=LEVEL`: `assistant:rollouts:p25`, `assistant:-1`
    - ablate  `NAME`

    Each may end in `@BLOCKS` and `@TOKENS`: `humor:+4@26:29@reply`. A name is as in `direction_named`; `tell`
    hears what a user ought to know of a direction (that it is unreliable, that its sign was never tested).
    """
    made: list[Intervention] = []
    known: dict[str, Direction] = {}

    def named(name: str) -> Direction:
        if name not in known:
            known[name] = direction_named(subject, name, force=force, tell=tell)
        return known[name]

    for word in steer:
        text, layers, tokens = _ends(word)
        found = _STEER.fullmatch(text)
        if found is None:
            raise DirectionError(f"cannot steer by {word!r}; expected NAME:STRENGTH in sd, such as humor:+10")
        made += _steer(named(found["name"]), float(found["strength"]), layers=layers, tokens=tokens)
    for word in cap:
        text, layers, tokens = _ends(word)
        found = _CAP.fullmatch(text)
        if found is None:
            raise DirectionError(f"cannot cap by {word!r}; expected NAME or NAME:FLOOR")
        level = found["level"]
        if level is None and ":" in text and not text.endswith(".safetensors"):
            raise DirectionError(
                f"{word!r} names no floor; expected NAME:default:pNN, NAME:rollouts:pNN or NAME:NUMBER in sd, "
                "such as assistant:default:p25"
            )
        if level is not None and re.fullmatch(_NUMBER, level):
            level = float(level)
        floor, ceiling = (None, level) if found["ceiling"] else (level, None)
        made += _cap(named(found["name"]), floor, ceiling=ceiling, layers=layers, tokens=tokens)
    for word in ablate:
        text, layers, tokens = _ends(word)
        made += _ablate(named(text), layers=layers, tokens=tokens)
    return tuple(made), tuple(known.values())


# `edits_from` names its parameters after the interventions.
_steer, _cap, _ablate = steer, cap, ablate


def direction_named(
    subject: Subject, name: str, *, force: bool = False, tell: Callable[[str], None] | None = None
) -> Direction:
    """A direction for this subject: `assistant` (or `assistant_axis`), a trait of the library, the name of a stored or
    imported direction, or a .safetensors file. The axis and library traits are built where none is stored.

    A file for other weights is refused unless `force`.
    """
    from greenroom.directions.axis import ASSISTANT_AXIS, assistant_axis
    from greenroom.directions.stored import stored
    from greenroom.directions.traits import trait_vector
    from greenroom.personas import library

    say = tell if tell is not None else _silent
    wanted = ASSISTANT_AXIS if name == "assistant" else name
    if name.endswith(".safetensors"):
        if not Path(name).is_file():
            raise DirectionError(f"there is no file {name}; greenroom directions list shows the stored directions")
        found = Direction.load(Path(name), subject, force=force)
    else:
        found = stored(subject, wanted) if re.fullmatch(r"[\w.-]+", wanted) else None
    if found is None and wanted == ASSISTANT_AXIS:
        say(f"building the assistant axis of {subject.name}, once for these weights; it takes minutes")
        found = assistant_axis(subject)
    elif found is None:
        try:
            trait = library.trait(wanted)
        except LibraryError as error:
            raise DirectionError(
                f"there is no direction {name!r}; expected assistant, a trait of the library (greenroom personas "
                "traits), a stored direction (greenroom directions list) or a .safetensors file"
            ) from error
        say(f"building the trait vector {wanted} of {subject.name}, once for these weights")
        found = trait_vector(subject, trait.name)
    unsure = warning(found)
    if unsure is not None:
        say(unsure)
    if found.sign_test is None:
        say(f"the sign of the direction {found.name} was never tested on this model")
    return found


def _ends(word: str) -> tuple[str, Layers, Tokens]:
    """The word without its `@BLOCKS` and `@TOKENS`."""
    layers: Layers = "auto"
    tokens: Tokens = "all"
    while True:
        head, at, tail = word.rpartition("@")
        if at and (tail == "auto" or _SPAN.fullmatch(tail)):
            layers = tail
        elif at and tail in ("all", "prompt", "reply"):
            tokens = tail
        else:
            return word, layers, tokens
        word = head


def _amounts(
    direction: Direction, layer: int, kind: Kind, level: Level | Sequence[Level | None]
) -> float | tuple[float, ...]:
    scale = direction.scale(layer)
    if isinstance(level, int | float | str):
        return scale.level(level)
    return tuple(NEUTRAL[kind] if one is None else scale.level(one) for one in level)


def _silent(_: str) -> None:
    return None
