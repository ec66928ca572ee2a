"""The machine under a run: what `run.json` records of it, and what `greenroom doctor` says of it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from greenroom.errors import GreenroomError
from greenroom.processor import instructions, matrix_rate
from greenroom.runs.cached import size_of
from greenroom.store import cache_dir

LIBRARIES = ("torch", "transformers", "safetensors", "gguf", "peft", "numpy", "scipy", "polars", "inspect-ai", "plotly")
MIN_MEMORY_GIB = 4.0  # the peak that a full audit of the embedded model is held to
MIN_DISK_GIB = 1.0  # converted weights of the embedded model are 0.5 GiB in float32


def version() -> str:
    """Greenroom's version; "0+source" when it runs from a folder that was never installed."""
    try:
        return metadata.version("greenroom")
    except metadata.PackageNotFoundError:
        return "0+source"


def libraries() -> dict[str, str]:
    """Versions of the libraries that numbers depend on; one that is not installed is left out."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """Processor cores that this process may use: its affinity, and the container's quota where there is one."""
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    return min(allowed, max(1, int(quota) // int(period))) if quota.isdigit() and period.isdigit() else allowed


def memory_gib() -> float | None:
    """Memory that this process may use, GiB; None where the system does not say."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    limit = _read("/sys/fs/cgroup/memory.max")
    return round((min(size, int(limit)) if limit.isdigit() else size) / 2**30, 1)


def peak_rss_gib() -> float:
    """The most memory that this process has held so far, GiB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**30 if sys.platform == "darwin" else 2**20), 3)  # macOS counts bytes, Linux KiB


def facts() -> dict[str, Any]:
    """The machine as `run.json` keeps it: processor, cores, memory, torch threads, the instructions that multiply bfloat16,
    platform and library versions.

    torch is asked only when something has imported it already.
    """
    torch = sys.modules.get("torch")
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_gib": memory_gib(),
        "torch_threads": torch.get_num_threads() if torch else None,
        "bfloat16": instructions() if torch else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "libraries": libraries(),
    }


@dataclass(frozen=True)
class MachineCheck:
    """One line of `greenroom doctor`: what was looked at, whether it is well, what was found, and how to mend it."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def verdict(checks: Sequence[MachineCheck]) -> str:
    """The last line of `greenroom doctor`: all well, or all that there is to do."""
    wrong = [check.fix or f"{check.name}: {check.detail}" for check in checks if not check.ok]
    return f"to do: {'; '.join(dict.fromkeys(wrong))}" if wrong else "all well"


def machine_checks(embedded: Callable[[], Path]) -> list[MachineCheck]:
    """What `greenroom doctor` looks at on this machine. Imports torch, loads no model.

    embedded: finds the file that `smollm2` stands for or raises GreenroomError; which one it is, the subject decides.
    """
    return [_versions(), *_strength(), _device(), _number_formats(), _embedded(embedded), _cache()]


def _versions() -> MachineCheck:
    found = libraries()
    missing = [name for name in LIBRARIES if name not in found]
    ours = f"greenroom {version()}, Python {platform.python_version()}"
    listed = ", ".join([ours, *(f"{name} {number}" for name, number in found.items())])
    if missing:
        return MachineCheck(
            "versions", False, f"{listed}; missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    return MachineCheck("versions", True, listed)


def _strength() -> list[MachineCheck]:
    memory = memory_gib()
    enough = memory is None or memory >= MIN_MEMORY_GIB
    return [
        MachineCheck("cores", True, f"{cores()} ({_cpu()})"),
        MachineCheck(
            "memory",
            enough,
            "unknown" if memory is None else f"{memory} GiB",
            "" if enough else f"a full audit may need {MIN_MEMORY_GIB:.0f} GiB: close other programs, or use --quick",
        ),
    ]


def _device() -> MachineCheck:
    try:
        import torch
    except ImportError as error:
        return MachineCheck("device", False, f"torch cannot be imported ({error})", "pip install torch")
    if torch.cuda.is_available():
        return MachineCheck("device", True, f"cuda ({torch.cuda.get_device_name()})")
    asked = "; mps with --device mps" if torch.backends.mps.is_available() else ""
    return MachineCheck("device", True, f"cpu, {torch.get_num_threads()} torch threads{asked}")


def _number_formats() -> MachineCheck:
    """How replies are drawn, and the matrix rates that decide it."""
    try:
        has = instructions()
    except ImportError:
        return MachineCheck("number formats", True, "unknown without torch")
    rate = f"float32 {matrix_rate('float32'):.0f} GFLOP/s"
    if has is None:
        return MachineCheck(
            "number formats", True, f"{rate}; no instructions for bfloat16, so --dtype auto is float32 on a CPU"
        )
    rates = f"{rate}, bfloat16 {matrix_rate('bfloat16'):.0f} GFLOP/s ({has})"
    return MachineCheck(
        "number formats",
        True,
        f"{rates}; --dtype auto is mixed on a CPU: replies are drawn in bfloat16, all is read in float32",
    )


def _embedded(resolve: Callable[[], Path]) -> MachineCheck:
    try:
        path = resolve()
    except GreenroomError as error:
        found, _, fix = str(error).partition("; ")
        return MachineCheck("smollm2", False, found, fix)
    except ImportError as error:
        return MachineCheck("smollm2", False, str(error), "install what is missing, then run greenroom doctor again")
    return MachineCheck("smollm2", True, f"{path} ({path.stat().st_size / 2**20:.0f} MiB)")


def _cache() -> MachineCheck:
    folder = cache_dir().absolute()
    size = size_of(folder)
    anchor = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(anchor).free / 2**30
    detail = f"{folder}: {size / 2**20:.0f} MiB used, {free:.1f} GiB free on its disk"
    if not os.access(anchor, os.W_OK):
        return MachineCheck("cache", False, detail, "it cannot be written: set GREENROOM_CACHE to a folder that can")
    if free < MIN_DISK_GIB:
        return MachineCheck(
            "cache", False, detail, "free some space, or set GREENROOM_CACHE to a folder on another disk"
        )
    return MachineCheck("cache", True, detail)


def _cpu() -> str:
    names = (
        line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines() if line[:10] == "model name"
    )
    return next(names, None) or platform.processor() or platform.machine()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
