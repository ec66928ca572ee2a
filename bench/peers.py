"""repeng and steering-vectors at work, in a virtual environment of their own: one process a peer, commanded by lines.

    python bench/peers.py repeng MODEL_FOLDER float32

It loads the model, says {"ready": …}, then answers each line of JSON on stdin with one on stdout:
{"do": "generate", "texts", "new_tokens", "layer", "vector", "seed"} samples exactly that many tokens a text under the
peer's own steering; {"do": "read", "texts", "layer", "batch"} reads the residual stream with the peer's own reader. The
answer is {"seconds", "tokens"} or {"error"}. Nothing of Greenroom is imported here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from typing import Any


class Peer:
    """What both have in common: the stock model, padding on the left as `generate` wants it."""

    package = ""

    def __init__(self, folder: str, dtype: str):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left", local_files_only=True)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True).eval()

    def encoded(self, texts: Sequence[str]) -> Any:
        return self.tokenizer(list(texts), padding=True, add_special_tokens=False, return_tensors="pt")

    def sampled(self, texts: Sequence[str], new_tokens: int, seed: int) -> None:
        """The same call of `generate` as for transformers alone."""
        import torch

        torch.manual_seed(seed)
        encoded = self.encoded(texts)
        made = self.model.generate(
            **encoded,
            do_sample=True,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            max_new_tokens=new_tokens,
            eos_token_id=self.model.config.vocab_size,  # never drawn, so that every text gets all its tokens
            pad_token_id=self.tokenizer.pad_token_id,
        )
        assert made.shape[1] - encoded["input_ids"].shape[1] == new_tokens
        self.tokenizer.batch_decode(made[:, -new_tokens:], skip_special_tokens=True)

    def generate(self, texts: Sequence[str], new_tokens: int, layer: int, vector: Sequence[float], seed: int) -> None:
        raise NotImplementedError

    def read(self, texts: Sequence[str], layer: int, batch: int) -> None:
        raise NotImplementedError


class Repeng(Peer):
    """`ControlModel.generate`, and `batched_get_hiddens`, the reader behind `ControlVector.train`."""

    package = "repeng"

    def generate(self, texts: Sequence[str], new_tokens: int, layer: int, vector: Sequence[float], seed: int) -> None:
        import numpy as np
        from repeng import ControlModel, ControlVector  # pyright: ignore[reportMissingImports]

        direction = np.array(vector, dtype=np.float32)
        controlled = ControlModel(self.model, [layer])
        try:
            controlled.set_control(ControlVector(self.model.config.model_type, {layer: direction}), 1.0)
            self.sampled(texts, new_tokens, seed)  # the wrapped model's `generate` is what ControlModel calls
        finally:
            self.model = controlled.unwrap()

    def read(self, texts: Sequence[str], layer: int, batch: int) -> None:
        from repeng.extract import batched_get_hiddens  # pyright: ignore[reportMissingImports]

        batched_get_hiddens(self.model, self.tokenizer, list(texts), [layer], batch)


class SteeringVectors(Peer):
    """`SteeringVector.apply` around `generate`, and `record_activations` around a forward."""

    package = "steering-vectors"

    def generate(self, texts: Sequence[str], new_tokens: int, layer: int, vector: Sequence[float], seed: int) -> None:
        import torch
        from steering_vectors import SteeringVector  # pyright: ignore[reportMissingImports]

        with SteeringVector({layer: torch.tensor(vector, dtype=self.model.dtype)}).apply(self.model):
            self.sampled(texts, new_tokens, seed)

    def read(self, texts: Sequence[str], layer: int, batch: int) -> None:
        import torch
        from steering_vectors import record_activations  # pyright: ignore[reportMissingImports]

        for begin in range(0, len(texts), batch):
            encoded = self.encoded(texts[begin : begin + batch])
            with torch.no_grad(), record_activations(self.model, layer_nums=[layer]) as recorded:
                self.model(**encoded)
            assert len(recorded[layer]) == 1


PEERS: dict[str, type[Peer]] = {peer.package: peer for peer in (Repeng, SteeringVectors)}


def answered(peer: Peer, command: dict[str, Any], warm: bool) -> dict[str, Any]:
    """The answer to one command; before the first of its kind, a tiny one that pays for imports and threads."""
    texts = command["texts"]
    if command["do"] == "generate":
        settings = {"layer": command["layer"], "vector": command["vector"], "seed": command["seed"]}
        if not warm:
            peer.generate(texts[:1], 2, **settings)
        began = time.perf_counter()
        peer.generate(texts, command["new_tokens"], **settings)
        return {"seconds": time.perf_counter() - began, "tokens": command["new_tokens"] * len(texts)}
    if not warm:
        peer.read(texts[:1], command["layer"], 1)
    began = time.perf_counter()
    peer.read(texts, command["layer"], command["batch"])
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "tokens": int(peer.encoded(texts)["attention_mask"].sum())}


def main() -> None:
    """Serves commands until stdin ends. Libraries print as they like: their stdout becomes stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def tried(work: Callable[[], dict[str, Any]]) -> bool:
        try:
            say(work())
        except Exception as error:  # noqa: BLE001  (whatever a peer raises is an answer: it does not run here)
            say({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
            return False
        return True

    name, folder, dtype = sys.argv[1:]
    peer: Peer | None = None
    warm: set[str] = set()

    def started() -> dict[str, Any]:
        nonlocal peer
        peer = PEERS[name](folder, dtype)
        return {"ready": {package: metadata.version(package) for package in (name, "transformers", "torch", "numpy")}}

    if not tried(started):
        return
    assert peer is not None
    for line in sys.stdin:
        command = json.loads(line)
        if tried(partial(answered, peer, command, command["do"] in warm)):
            warm.add(command["do"])


if __name__ == "__main__":
    main()
