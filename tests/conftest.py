"""Shared fixtures. The embedded model is loaded once a worker; tiny random models are for mechanics only."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Two workers on two cores: one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def smollm2():
    """The embedded model, real weights."""
    from greenroom.subject import load

    return load("smollm2")
