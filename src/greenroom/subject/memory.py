"""The C library's heap on a CPU: freed memory stays with the process while it works, and goes back when it pauses.

A forward makes and frees hundreds of megabytes. glibc gives large blocks back to the system at once and asks for them
again, and a page touched for the first time costs as much as hundreds of multiplications: a quarter of the time of
scoring 1,692 continuations on the embedded model (55 → 41 s).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

# glibc's names for mallopt (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGEST = 1 << 30


@cache
def retain_memory() -> None:
    """From now on freed memory stays with this process, and all threads share one heap. Once a process, when a model is
    loaded on a CPU; does nothing where the C library has no such call."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST)
        library.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST - 1)
        library.mallopt(M_ARENA_MAX, 1)


def release_memory() -> None:
    """Gives freed memory back to the system, between pieces of work. Does nothing where the C library cannot."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
