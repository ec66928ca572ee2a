"""What makes two runs of studies equal: what is asked, of which model, with which files. Another run is refused a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from greenroom.store import digest
from greenroom.studies.study import Job, is_local


def config_of(job: Job, model: Any, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two runs equal, beside the model and the seed; the stimuli by their content."""
    local = is_local(model)
    return {
        "studies": list(sizes),
        "size": job.size,
        "sizes": {name: size.model_dump(mode="json") for name, size in sizes.items()},
        "stimuli": {name: _stimuli(name) for name in sizes},
        "files": {name: _content(value) for size in sizes.values() for name, value in size if _is_file(value)},
        "system": job.system,
        "dtype": model.dtype if local else None,
        "device": str(model.network.device) if local else None,
        "given": {name: _digest_of(one) for name, one in job.given.items()},
        "asked": dict(job.asked),
    }


def _stimuli(study: str) -> str:
    files = resources.files("greenroom.studies").joinpath(study).iterdir()
    asked = [file for file in sorted(files, key=str) if file.name.endswith(".yaml") and file.name != "words.yaml"]
    return digest(*(file.read_text(encoding="utf-8") for file in asked))


def _is_file(value: Any) -> bool:
    """Whether an option names something on disk, such as a direction or a model."""
    return isinstance(value, str | Path) and os.path.exists(value)


def _content(path: str | Path) -> str:
    """What a file holds; of a folder, which may be a model of any size, its files by name and size."""
    path = Path(path)
    if path.is_file():
        return digest(path.read_bytes())
    return digest(*(f"{one.name} {one.stat().st_size}" for one in sorted(path.iterdir()) if one.is_file()))


def _digest_of(given: Any) -> str:
    if hasattr(given, "fingerprint"):
        vectors = getattr(given, "vectors", {})
        return digest(given.fingerprint, *(vectors[layer].numpy().tobytes() for layer in sorted(vectors)))
    return digest(str(getattr(given, "name", given)))
