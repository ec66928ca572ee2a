"""Shared fixtures. The embedded model is loaded once a worker; tiny random models are for mechanics only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Two workers on two cores: one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def smollm2():
    """The embedded model, real weights."""
    from greenroom.subject import load

    return load("smollm2")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny_model(shared: Path) -> Path:
    """A tiny random model as an ordinary folder."""
    from greenroom.runs.lock import FolderLock
    from greenroom.subject.tiny import save_tiny

    with FolderLock(shared, wait=True):
        folder = shared / "tiny"
        return folder if folder.exists() else save_tiny(folder)


@pytest.fixture(scope="session")
def tiny_audit(shared: Path, tiny_model: Path) -> Path:
    """The folder of one whole quick audit of the tiny model, every study of it in the registry, made by whoever asks first."""
    from greenroom.auditing.audit import audit
    from greenroom.runs.lock import FolderLock

    room = shared / "audits"
    room.mkdir(exist_ok=True)
    with FolderLock(room, wait=True), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENROOM_CACHE", str(shared / "cache"))
        return audit(str(tiny_model), room / "audit", quick=True, full=True).path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with tests of the embedded model come first: begun last, they would keep one worker busy and the other idle."""
    slow = {item.path for item in items if item.get_closest_marker("model")}
    items.sort(key=lambda item: item.path not in slow)
