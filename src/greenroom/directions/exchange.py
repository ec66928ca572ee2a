"""Directions to and from other tools: GGUF control vectors (llama.cpp, repeng) and `.pt` files (assistant-axis,
persona_vectors).

A file from elsewhere brings vectors and nothing else: no scale, no evidence which way it points. `adopted` gives it
both on this subject. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from greenroom.directions.direction import Direction, unit
from greenroom.directions.interventions import Layers, blocks
from greenroom.errors import DirectionError
from greenroom.store import atomic_path

ARCHITECTURE = "controlvector"
CARD = "greenroom.direction"
_TENSOR = re.compile(r"direction\.(\d+)")


@dataclass(frozen=True)
class Foreign:
    """Vectors of a file from elsewhere: block → (d_model,) float32, as they stand there (not unit length).

    told: what the file is, for the recipe. card: the Greenroom header, if Greenroom wrote the file.
    """

    vectors: dict[int, Tensor]
    told: str
    card: Mapping[str, Any] | None = None


def write_gguf(direction: Direction, path: Path, architecture: str, *, layers: Layers = "auto") -> None:
    """Writes a control vector that llama.cpp and repeng load; theirs is `direction.N` for the output of block N.

    Each vector has the length of one reply sd, so that a strength of 1 there is 1 sd here. Only the blocks asked are
    written, since those tools steer at every block of a file at once. architecture: the model's type, such as "llama".
    Raises DirectionError for block 0, which llama.cpp cannot steer.
    """
    import gguf
    import numpy as np

    chosen = blocks(direction, layers)
    if 0 in chosen:
        raise DirectionError("block 0 cannot be written: llama.cpp steers from block 1 on; choose later blocks")
    tensors = {layer: (direction.vector(layer) * direction.scale(layer).reply_sd).numpy() for layer in chosen}
    with atomic_path(path) as temporary:
        writer = gguf.GGUFWriter(temporary, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", architecture)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(tensors))
        writer.add_string(CARD, json.dumps(direction.card()))
        for layer, tensor in tensors.items():
            writer.add_tensor(f"direction.{layer}", np.ascontiguousarray(tensor, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def read_gguf(path: Path) -> Foreign:
    """Reads a control vector. Raises DirectionError for a file that is none."""
    import gguf

    if not path.is_file():
        raise DirectionError(f"there is no file {path}")
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError) as error:
        raise DirectionError(f"{path} cannot be read as GGUF ({error}); copy or export it again") from error
    vectors: dict[int, Tensor] = {}
    for tensor in reader.tensors:
        found = _TENSOR.fullmatch(tensor.name)
        if found is not None:
            vectors[int(found[1])] = torch.tensor(tensor.data.copy(), dtype=torch.float32).flatten()
    if not vectors:
        raise DirectionError(f"{path} holds no direction.N tensors; expected a control vector of llama.cpp or repeng")
    card = reader.get_field(CARD)
    known = None if card is None else json.loads(bytes(card.parts[-1]).decode("utf-8"))
    return Foreign(vectors, "GGUF control vector", known)


def read_pt(path: Path, layers: int, *, experiment: str | None = None) -> Foreign:
    """Reads a `.pt` file of assistant-axis or persona_vectors for a model of `layers` blocks.

    - a tensor of `layers` rows, or a mapping with one as "axis" or "vector" (assistant-axis): row l is block l
    - a tensor of `layers` + 1 rows (persona_vectors): row l + 1 is block l, as in transformers' hidden states; row 0
      is the embedding, and the last row lies after the final norm, so both are left out
    - a capping config of assistant-axis ("vectors" and "experiments"), one experiment of it by name. Its code removes
      what lies *above* a threshold, so its vectors point away from the assistant: they are turned round

    The file is read with `weights_only=True`: it can hold tensors and plain values, and can run nothing.
    """
    if not path.is_file():
        raise DirectionError(f"there is no file {path}")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch remarks on the protocol of a pickle that it then refuses
            value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DirectionError(
            f"{path} holds more than tensors and plain values and is not unpickled, since that could run anything; "
            "save its tensors alone"
        ) from error
    except Exception as error:  # what a broken file makes the reader raise is anybody's guess
        raise DirectionError(
            f"{path} cannot be read as a .pt file ({type(error).__name__}: {_first_line(error)}); copy it again"
        ) from error
    if isinstance(value, Mapping) and "vectors" in value and "experiments" in value:
        return _capping(path, value, experiment)
    tensor = value
    if isinstance(value, Mapping):
        tensor = next((value[key] for key in ("axis", "vector") if key in value), None)
    if not isinstance(tensor, Tensor) or tensor.dim() != 2:
        raise DirectionError(
            f"{path} holds no tensor of one row a block; expected an axis, a vector or a capping config"
        )
    rows = tensor.detach().float()
    if len(rows) == layers:
        return Foreign(dict(enumerate(rows)), "assistant-axis vectors")
    if len(rows) == layers + 1:
        return Foreign({layer: rows[layer + 1] for layer in range(layers - 1)}, "persona_vectors vectors")
    raise DirectionError(
        f"{path} has {len(rows)} rows; this model has {layers} blocks, so {layers} rows (assistant-axis) or "
        f"{layers + 1} (persona_vectors) were expected: it was made for another model"
    )


def _capping(path: Path, value: Mapping[str, Any], experiment: str | None) -> Foreign:
    """The vectors that one experiment of a capping config names, turned towards the assistant."""
    known = {str(one["id"]): one for one in value["experiments"]}
    if experiment is None and len(known) == 1:
        experiment = next(iter(known))
    if experiment not in known:
        raise DirectionError(f"{path} holds the experiments {', '.join(known)}; say which, got {experiment!r}")
    vectors: dict[int, Tensor] = {}
    for edit in known[experiment]["interventions"]:
        entry = value["vectors"][edit["vector"]]
        vectors[int(entry["layer"])] = -entry["vector"].detach().float().flatten()
    return Foreign(vectors, f"assistant-axis capping config, {experiment}, turned round")


def read_foreign(path: Path, layers: int, *, experiment: str | None = None) -> Foreign:
    """Reads `.gguf` or `.pt`, by the file's ending."""
    if path.suffix == ".gguf":
        return read_gguf(path)
    if path.suffix in (".pt", ".pth"):
        return read_pt(path, layers, experiment=experiment)
    raise DirectionError(f"{path} is neither .gguf nor .pt; a .safetensors direction needs no import, give it by path")


def fitting(path: Path, foreign: Foreign, layers: int, d_model: int) -> dict[int, Tensor]:
    """Unit vectors of the blocks that the model has; DirectionError where the widths differ or no block is left.

    Blocks with a zero vector (llama.cpp fills gaps with them) are left out.
    """
    widths = {vector.numel() for vector in foreign.vectors.values()}
    if widths != {d_model}:
        found = ", ".join(map(str, sorted(widths)))
        raise DirectionError(f"the vectors of {path} have {found} entries, this model's residual stream has {d_model}")
    kept = {layer: vector for layer, vector in foreign.vectors.items() if float(vector.norm()) > 0}
    beyond = [layer for layer in kept if layer >= layers]
    if beyond or not kept:
        raise DirectionError(
            f"{path} has vectors at blocks {_listed(foreign.vectors)}, this model has blocks 0…{layers - 1}"
        )
    return {layer: unit(kept[layer]) for layer in sorted(kept)}


def cosines(directions: Sequence[Direction], layer: int | None = None) -> list[list[float | None]]:
    """Cosine of each pair: at block `layer`, or at the chosen block of the row's direction. None where the column's
    direction has no vector there, or was made for other weights."""
    table: list[list[float | None]] = []
    for one in directions:
        at = one.layer if layer is None else layer
        table.append(
            [
                float(one.vector(at) @ other.vectors[at])
                if other.fingerprint == one.fingerprint and at in other.vectors and at in one.vectors
                else None
                for other in directions
            ]
        )
    return table


def _listed(layers: Mapping[int, Any]) -> str:
    return f"{min(layers)}…{max(layers)}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
