"""The command `greenroom`: parses, calls, prints. Every mistake of a user is one line on stderr and exit code 2."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line (default: the process's own) and returns its exit code."""
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        code = 1
    except KeyboardInterrupt as stop:
        code = _interrupted(stop)
    except SystemExit as stop:  # typer leaves this way when the pipe behind stdout was closed
        code = stop.code if isinstance(stop.code, int) else 1
    _drop_closed_pipe()
    return code


def _run(arguments: list[str]) -> int:
    import typer

    from greenroom.cli.app import Interrupted, command
    from greenroom.errors import GreenroomError

    # A usage error's class: typer's own in new versions, click's in old ones, and BadParameter's parent in both.
    usage_error = typer.BadParameter.__mro__[1]
    try:
        result = command().main(args=arguments, prog_name="greenroom", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except (Interrupted, typer.Abort) as stop:
        return _interrupted(stop.__cause__ or stop)
    except GreenroomError as error:
        return _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "greenroom":
            raise
        return _fail(f"the library {error.name} is not installed; greenroom doctor says how to mend that", 2)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = f" for {error.filename}" if error.filename else ""
        return _fail(f"no space left on the disk{where}; free some, then run the same command again", 2)
    except Exception as error:
        if not isinstance(error, usage_error):
            raise
        message: str = error.format_message().removeprefix("Error: ").replace("Value error, ", "")  # type: ignore[attr-defined]
        context = getattr(error, "ctx", None)
        verb = context.command_path if context else "greenroom"
        return _fail(f"{message[:1].lower()}{message[1:].rstrip('.')}; see {verb} --help", 2)


def _interrupted(stop: BaseException) -> int:
    """Says what was kept. Whoever keeps finished work leaves a note on the interruption as it passes (`add_note`)."""
    kept = "; ".join(getattr(stop, "__notes__", ()))
    print(
        f"interrupted; {f'{kept}: run the same command again to resume' if kept else 'nothing to keep'}",
        file=sys.stderr,
    )
    return INTERRUPTED


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _drop_closed_pipe() -> None:
    """Sends what is left for a closed stdout nowhere, so that the interpreter does not complain as it ends."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
