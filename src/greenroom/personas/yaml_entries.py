"""Reads YAML files as validated entries; what is wrong becomes one LibraryError with file, entry, field and remedy."""

from __future__ import annotations

import re
from collections.abc import Hashable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from greenroom.errors import LibraryError
from greenroom.personas.persona import NAME_PATTERN, Entry

E = TypeVar("E", bound=Entry)

# Pydantic's words for these speak of Python's types; whoever writes YAML knows lists and texts.
_EXPECTED = {
    "string_type": "text, in quotes if YAML reads it as something else",
    "string_too_short": "a text that is not empty",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
    "bool_type": "true or false",
}

# libyaml's parser, five times as fast, is missing from some builds of PyYAML.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeys(_Loader):
    """YAML keeps the last of two equal keys and says nothing; here the second is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = f"the key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> Any:
    """What a YAML file holds; LibraryError if it is missing, empty, not text or not YAML."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except FileNotFoundError as error:
        raise LibraryError(f"{file}: no such file; expected a YAML file or a folder of them") from error
    except OSError as error:
        raise LibraryError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise LibraryError(f"{file}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except RecursionError as error:
        raise LibraryError(f"{file}: nested too deep; expected a list of entries") from error
    # A date such as 2024-13-45 is matched by YAML's rules and then refused by Python's.
    except ValueError as error:
        raise LibraryError(f"{file}: not valid YAML ({error}); quote texts that look like dates or numbers") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        advice = "quote texts that contain a colon or a #"
        raise LibraryError(f"{file}{where}: not valid YAML ({problem}); {advice}") from error
    if content is None:
        raise LibraryError(f"{file}: empty; expected a list of entries")
    return content


def read_entries(path: Path, shape: type[E]) -> tuple[E, ...]:
    """The entries of a YAML file (one entry, or a list of them) or of all *.yaml files in a folder, in order of name.

    Raises LibraryError if one does not validate or if two have the same name.
    """
    files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
    if not files:
        raise LibraryError(f"{path}: no YAML files in this folder; expected at least one {_noun(shape)}")
    found: dict[str, tuple[Path, E]] = {}
    for file in files:
        content = read_yaml(file)
        listed = cast("list[Any]", content) if isinstance(content, list) else [content]
        if not listed:
            raise LibraryError(f"{file}: empty; expected a list of entries")
        for number, raw in enumerate(listed, start=1):
            entry = as_entry(raw, shape, file, number)
            key = getattr(entry, _key(shape))
            if key in found:
                other = found[key][0]
                also = "" if other == file else f", also in {other}"
                raise LibraryError(
                    f"{file}: {_noun(shape)} {key!r} (entry {number}){also}, field {_key(shape)}: "
                    "stands twice; expected one that no other entry has"
                )
            found[key] = (file, entry)
    return tuple(entry for _, entry in found.values())


def as_entry(raw: Any, shape: type[E], file: Path, number: int | None = None) -> E:
    """`raw` as an entry; LibraryError with file, entry, field and allowed values if it is none."""
    try:
        return shape.model_validate(raw)
    except ValidationError as error:
        details = error.errors()
        label = _label(raw, shape, number)
        # A misspelt key is also a missing one; the misspelling is what helps.
        first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
        raise LibraryError(f"{file}: {label}{_complaint(shape, first)}") from error


def _label(raw: Any, shape: type[Entry], number: int | None) -> str:
    """Which entry: its name where it has one, and its number, so that it is found either way."""
    if number is None:
        return ""
    name = cast("dict[Any, Any]", raw).get(_key(shape)) if isinstance(raw, dict) else None
    shown = f" {name!r}" if isinstance(name, str) else ""
    return f"{_noun(shape)}{shown} (entry {number}), "


def _complaint(shape: type[Entry], detail: ErrorDetails) -> str:
    """The field, what is wrong with it and what was expected."""
    loc, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    field = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
    where = f"field {field if field.isprintable() else repr(field)}: " if field else ""
    fields = tuple(_owner(shape, loc).model_fields)
    if kind == "model_type":
        return f"{where}got {_shown(detail['input'])}; expected the fields {', '.join(fields)}"
    if kind == "missing":
        return f"{where}missing; expected the fields {', '.join(fields)}"
    if kind == "extra_forbidden":
        return f"{where}unknown;{near(str(loc[-1]), fields)} allowed are {', '.join(fields)}"
    if kind == "literal_error":
        return f"{where}got {_shown(detail['input'])}; expected {context['expected']}"
    if kind == "string_pattern_mismatch" and context.get("pattern") == NAME_PATTERN:
        return f"{where}got {_shown(detail['input'])}; expected a name such as old_sailor (a–z, 0–9, _)"
    if kind in _EXPECTED:
        return f"{where}got {_shown(detail['input'])}; expected {_EXPECTED[kind].format(**context)}"
    if kind == "value_error":
        return f"{where}{detail['msg'].removeprefix('Value error, ')}"
    return f"{where}got {_shown(detail['input'])}; {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _owner(shape: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that the last field of `loc` belongs to: the shape itself, or the one nested in it."""
    owner = shape
    for part in loc[:-1] if loc and isinstance(loc[-1], str) else loc:
        if isinstance(part, str) and part in owner.model_fields:
            inner = get_args(owner.model_fields[part].annotation)
            if inner and isinstance(inner[0], type) and issubclass(inner[0], BaseModel):
                owner = inner[0]
    return owner


def near(wanted: str, names: tuple[str, ...]) -> str:
    """The clause " did you mean …?" with up to three similar names, or nothing."""
    close = get_close_matches(wanted.strip().lower().replace(" ", "_").replace("-", "_"), names, n=3, cutoff=0.6)
    return f" did you mean {' or '.join(close)}?" if close else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _noun(shape: type[Entry]) -> str:
    """What an entry is called: the last word of its class's name, so that an OwnContext is a context too."""
    return re.findall("[A-Z][a-z]*", shape.__name__)[-1].lower()


def _key(shape: type[Entry]) -> str:
    """The field that an entry goes by."""
    return "id" if "id" in shape.model_fields else "name"
