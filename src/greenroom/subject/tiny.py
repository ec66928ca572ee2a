"""Tiny random models with a byte tokenizer, for tests of mechanics: no weights, no network, no meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from greenroom.subject.loading import ready, template_text
from greenroom.subject.subject import Subject

ARCHITECTURES = ("llama", "qwen3", "gemma3_text", "gpt2", "mixtral")


def byte_tokenizer(template: str | None = "chatml") -> Any:
    """A byte-level tokenizer: one token a byte, ChatML markers as special tokens; vocabulary of 260."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|end|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    vocabulary = {symbol: index for index, symbol in enumerate([*special, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|pad|>", extra_special_tokens=special[1:3]
    )
    tokenizer.chat_template = None if template is None else template_text(template)
    return tokenizer


def tiny_model(architecture: str = "llama", *, seed: int = 0, layers: int = 4, width: int = 64) -> Any:
    """A randomly initialised causal language model of the given transformers architecture, vocabulary of 260."""
    from transformers import AutoConfig, AutoModelForCausalLM

    common: dict[str, Any] = {"vocab_size": 260, "eos_token_id": 2, "pad_token_id": 3, "bos_token_id": 0}
    if architecture == "gpt2":
        config = AutoConfig.for_model("gpt2", n_layer=layers, n_embd=width, n_head=4, n_positions=2048, **common)
    else:
        extra: dict[str, Any] = {"head_dim": 16}
        if architecture == "gemma3_text":
            extra |= {"sliding_window": 16, "layer_types": (["sliding_attention", "full_attention"] * layers)[:layers]}
        if architecture == "mixtral":
            extra |= {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}
        config = AutoConfig.for_model(
            architecture,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            **extra,
            **common,
        )
    # A random model is made from the global stream; the caller's own randomness is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        # Initial weights of 0.02 make all next tokens alike; larger ones make replies differ between prompts.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.mul_(4)
    return model.eval()


def tiny(
    architecture: str = "llama", *, seed: int = 0, layers: int = 4, width: int = 64, template: str | None = "chatml"
) -> Subject:
    """A tiny random Subject."""
    return ready(
        tiny_model(architecture, seed=seed, layers=layers, width=width),
        byte_tokenizer(template),
        name=f"tiny-{architecture}",
    )


def save_tiny(folder: Path, architecture: str = "llama", *, seed: int = 0, template: str | None = "chatml") -> Path:
    """Writes a tiny random model as an ordinary model folder, for tests of loading."""
    tiny_model(architecture, seed=seed).save_pretrained(folder)
    byte_tokenizer(template).save_pretrained(folder)
    return folder
