"""One process at a time in a folder.

The lock is the operating system's (flock), so it dies with its process: a SIGKILL leaves no lock behind, only an
empty `.lock` file that the next holder takes over.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from greenroom.errors import RunError

try:
    import fcntl
except ImportError:  # Windows has no flock: there, two processes in one folder are not kept apart
    fcntl = None

NAME = ".lock"


class FolderLock:
    """An exclusive lock on an existing folder, held until `release` or until the process ends.

    wait: whether to wait for the holder (short critical sections) or to raise RunError at once (whole runs).
    """

    def __init__(self, folder: Path, *, wait: bool = False) -> None:
        self._path = folder / NAME
        self._file: IO[str] | None = None
        while self._file is None:
            self._file = self._take(folder, wait)

    def _take(self, folder: Path, wait: bool) -> IO[str] | None:
        try:
            file = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115 - kept open: closing it gives the lock up
        except OSError as error:
            raise RunError(
                f"cannot write in {folder}: {error.strerror}; choose a folder that you may write to"
            ) from error
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                file.close()
                raise RunError(
                    f"{folder} is being written by another process (pid {holder}); "
                    "wait until it ends or choose another folder with --out"
                ) from error
            except OSError as error:
                file.close()
                raise RunError(
                    f"cannot lock {folder}: {error.strerror}; choose a folder on a disk with locks"
                ) from error
            # The holder before us may have removed the file between our open and our lock: then we hold a lock
            # on a file that nobody else can see, and must try again.
            try:
                same = os.stat(self._path).st_ino == os.fstat(file.fileno()).st_ino
            except FileNotFoundError:
                same = False
            if not same:
                file.close()
                return None
        with suppress(OSError):  # the pid only makes the other process's message kinder; a full disk may refuse it
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        return file

    def release(self) -> None:
        """Removes the lock file and gives the lock up; a second call does nothing."""
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink()
            with suppress(OSError):
                self._file.close()
            self._file = None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
