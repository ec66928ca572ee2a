"""User errors: each prints as one line and ends the command with exit code 2.

A message says what was wrong, what was expected and what to do. Programming errors stay ordinary exceptions
with a traceback; only mistakes that a user can mend are a `GreenroomError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class GreenroomError(Exception):
    """A mistake that the user can mend. `str(error)` is the one line shown."""

    exit_code = 2


class ModelError(GreenroomError):
    """A model that cannot be found, read or used as asked."""


class ConversationError(GreenroomError):
    """Messages that are no conversation, or one that this model's template cannot hold."""


class RunError(GreenroomError):
    """A run folder that cannot be written, or that belongs to another subject, config or version."""


class LibraryError(GreenroomError):
    """A persona, trait, context or stimulus file that does not validate; names file, field and allowed values."""


class DirectionError(GreenroomError):
    """A direction that does not fit: other weights, a missing layer, an unknown name."""


def wrong_field(error: ValidationError) -> tuple[str, str]:
    """The first field that does not validate ("" where it is the whole that does not), and why, for a one-line error."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), str(first["msg"]).removeprefix("Value error, ")
