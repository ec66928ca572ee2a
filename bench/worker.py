"""The peers' virtual environment, and a peer's process: started on first use, asked over lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from measure import NotRun, Timed

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".bench-venv"
# steering-vectors asks for transformers < 5, yet runs with 5: without its dependencies it is compared on the very
# transformers that the others use. repeng needs numpy < 2, the reason for an environment of their own.
INSTALLS: dict[str, list[list[str]]] = {
    "repeng": [["repeng==0.4.0"]],
    "steering-vectors": [["scikit-learn", "tqdm"], ["--no-deps", "steering-vectors==0.12.2"]],
}


def installed(package: str) -> Path:
    """The Python of the peers' environment, with the package installed in it; NotRun with pip's error line.

    torch, transformers and the rest are borrowed from the environment that runs the benchmark, through a .pth file;
    what a peer needs in another version is installed beside it and found first.
    """
    python = VENV / "bin" / "python"
    mark = VENV / f".{package}"
    wanted = json.dumps(INSTALLS[package])
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return python
    if not python.exists():
        _checked([sys.executable, "-m", "venv", str(VENV)])
    home = _checked([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    borrowed = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (Path(home) / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
    quietly = ["-q", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
    for requirements in INSTALLS[package]:
        _checked([str(python), "-m", "pip", "install", *quietly, *requirements])
    mark.write_text(wanted, encoding="utf-8")
    return python


class Worker:
    """One peer in its own process. What it cannot do raises NotRun with the reason; if it cannot start, all does."""

    def __init__(self, package: str, folder: Path, dtype: str):
        self.package, self.folder, self.dtype = package, folder, dtype
        self.versions: dict[str, str] = {}
        self.failure: str | None = None
        self._process: subprocess.Popen[str] | None = None

    def generate(self, texts: Sequence[str], new_tokens: int, layer: int, vector: Sequence[float], seed: int) -> Timed:
        """Samples under the peer's own steering."""
        command = {"new_tokens": new_tokens, "layer": layer, "vector": list(vector), "seed": seed}
        return self._timed({"do": "generate", "texts": list(texts), **command})

    def read(self, texts: Sequence[str], layer: int, batch: int) -> Timed:
        """Reads the residual stream with the peer's own reader."""
        return self._timed({"do": "read", "texts": list(texts), "layer": layer, "batch": batch})

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _timed(self, command: dict[str, Any]) -> Timed:
        if self.failure is not None:
            raise NotRun(self.failure)
        if self._process is None:
            try:
                self._start()
            except NotRun as error:
                self.failure = str(error)
                raise
        answer = self._ask(command)
        return Timed(answer["seconds"], answer["tokens"])

    def _start(self) -> None:
        script = str(ROOT / "bench" / "peers.py")
        command = [str(installed(self.package)), script, self.package, str(self.folder), self.dtype]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.versions = self._answer()["ready"]

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise NotRun("its process ended") from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NotRun(f"its process ended with code {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise NotRun(answer["error"])
        return answer


def _checked(command: Sequence[str]) -> str:
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        lines = [line for line in made.stderr.splitlines() if line.strip()]
        told = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no message")
        raise NotRun(f"cannot be installed: {told.strip()[:300]}")
    return made.stdout
