"""Verbs of studies, made from the registry: a study whose words.yaml has a `verb` has one.

    verb: {name, help, examples}        the first paragraph of `help` is its line in `greenroom --help`
          group                         where it stands there (default: the first group)
          option                        this study is another way of a verb of that name: `map --behaviour`
          letters                       field → letter: `{direction: d}` makes --direction also -d

The fields of the study's `Size` are the verb's options. A study whose door has `read_log` takes an Inspect log in the
place of a model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenroom.cli import options

if TYPE_CHECKING:
    from greenroom.asking.types import Size
    from greenroom.studies.study import Study


@dataclass(frozen=True)
class Way:
    """One study behind a verb, by its words alone. option: the flag that chooses it, "" for the verb's own way."""

    study: str
    words: Mapping[str, Any]

    @property
    def option(self) -> str:
        return self.words.get("option", "")


@cache
def ways() -> dict[str, list[Way]]:
    """Verb → the studies behind it, its own way first. Imports no study."""
    from greenroom.studies import NAMES, about

    found: dict[str, list[Way]] = {}
    for name in NAMES:
        if words := about(name).get("verb"):
            found.setdefault(words["name"], []).append(Way(name, words))
    return {verb: sorted(own, key=lambda way: way.option) for verb, own in found.items()}


def verb(name: str) -> Callable[..., None]:
    """The function that typer makes the verb of. Imports its studies' doors."""
    from greenroom.asking.logs import is_log
    from greenroom.studies import study_named

    studies = {way.option: study_named(way.study) for way in ways()[name]}
    default = studies.get("") or next(iter(studies.values()))
    reads = getattr(import_module(f"greenroom.studies.{default.name}"), "read_log", None)

    def measure(model: options.Model, run: options.Run, **given: Any) -> None:
        chosen = [option for option in studies if option and given.pop(option)]
        study = studies[chosen[0]] if chosen else default
        reader = given.pop("reader", None)
        given = {name: value for name, value in given.items() if value is not None}
        if reads is not None and is_log(model.name):
            _refuse(given, "is not read with a log, which has its own settings")
            run.show(reads(model.name, run.out, reader=reader, seed=run.seed, progress=run.progress))
            return
        _check_ways(studies, study, given)
        _measured(name, study, model, run, given, chosen)

    own = [_field(name, one, letters) for name, one, letters in _fields(name, studies)]
    flags = [_flag(way) for way in ways()[name] if way.option]
    read = [] if reads is None else [_option("reader", str, "smollm2", "The small model that reads a log.", "MODEL")]
    kept = [
        one for one in inspect.signature(measure, eval_str=True).parameters.values() if one.name in ("model", "run")
    ]
    measure.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in kept] + flags + own + read
    )
    measure.__doc__ = _doc([way.words for way in ways()[name]])
    logs = [] if reads is None else [f"a log of greenroom/{default.name}"]
    return options.on_model(help=options.model_help(*logs))(options.as_run(measure))


def line(name: str) -> str:
    """What stands behind the verb in `greenroom --help`."""
    return str(ways()[name][0].words["help"]).partition("\n")[0]


def sized(study: Study, given: Mapping[str, Any], *, quick: bool) -> Size:
    """The study's quick or standard size with what was given in text; a usage error names the option that is wrong."""
    from pydantic import ValidationError

    from greenroom.errors import wrong_field

    base: Any = study.sizes["quick" if quick else "standard"]
    values = {name: _plural(value) if _is_list(type(base), name) else value for name, value in given.items()}
    try:
        return type(base)(**{**dict(base), **values})
    except ValidationError as error:
        where, why = wrong_field(error)
        field = where.partition(".")[0]
        raise typer.BadParameter(f"{_dashed(field)} {given.get(field, '')!r}: {why[:1].lower()}{why[1:]}") from error


def _measured(
    verb: str, study: Study, model: options.Model, run: options.Run, given: Mapping[str, Any], chosen: list[str]
) -> None:
    from greenroom.studies import with_those_before
    from greenroom.studies.running import measure
    from greenroom.studies.study import Job

    size = sized(study, given, quick=run.quick)
    asked = {name.replace("_", "-"): value for name, value in {**given, **model.asked}.items()}
    job = Job(
        verb,
        with_those_before((study.name,)),
        "quick" if run.quick else "standard",
        {study.name: size},
        asked={"verb": [verb, *map(_dashed, chosen)], **asked, "quick": run.quick},
    )
    run.show(measure(job, model.within(run.out).open(), run.out, seed=run.seed, progress=run.progress))


def _check_ways(studies: Mapping[str, Study], study: Study, given: Mapping[str, Any]) -> None:
    """Refuses what belongs to another way of the verb."""
    own = type(study.sizes["standard"]).model_fields
    for name in given:
        if name not in own:
            option = next(way for way, other in studies.items() if name in type(other.sizes["standard"]).model_fields)
            told = f"belongs to {_dashed(option)}; add it" if option else "does not go with " + ", ".join(
                _dashed(way) for way, one in studies.items() if one is study
            )  # fmt: skip
            raise typer.BadParameter(f"{_dashed(name)} {told}")


def _refuse(given: Mapping[str, Any], why: str) -> None:
    for name in given:
        raise typer.BadParameter(f"{_dashed(name)} {why}")


def _fields(verb: str, studies: Mapping[str, Study]) -> list[tuple[str, list[tuple[str, Any, Any]], str | None]]:
    """Every field of the sizes: its name, where it comes from (flag, field, standard value), and its letter."""
    letters = {name: letter for way in ways()[verb] for name, letter in way.words.get("letters", {}).items()}
    found: dict[str, list[tuple[str, Any, Any]]] = {}
    for option, study in studies.items():
        size = study.sizes["standard"]
        for name, field in type(size).model_fields.items():
            found.setdefault(name, []).append((option, field, getattr(size, name)))
    return [(name, one, letters.get(name)) for name, one in found.items()]


def _field(name: str, sources: list[tuple[str, Any, Any]], letter: str | None) -> inspect.Parameter:
    """The option of a field. Its value stays text, which the field itself reads and checks; None: not given."""
    told = []
    for option, field, standard in sources:
        shown = _shown(standard)
        default = f" [default: {shown}]" if shown and not isinstance(standard, bool) else ""
        text = f"{field.description or ''}{default}".strip()
        told.append(f"With {_dashed(option)}: {text[:1].lower()}{text[1:]}" if option else text)
    field, standard = sources[0][1:]
    if isinstance(standard, bool):
        on = _dashed(name)
        return _option(name, bool | None, None, " ".join(told), None, f"{on}/--no-{on[2:]}" if standard else on)
    names = [_dashed(name), *([f"-{letter}"] if letter else [])]
    return _option(name, str | None, None, " ".join(told), _metavar(field.annotation), *names)


def _flag(way: Way) -> inspect.Parameter:
    text = str(way.words["help"]).partition("\n")[0]
    return _option(way.option, bool, False, text, None, _dashed(way.option))


def _option(name: str, kind: Any, default: Any, help: str, metavar: str | None, *names: str) -> inspect.Parameter:
    info = typer.Option(*names, help=help, metavar=metavar, show_default=kind is str)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _metavar(annotation: Any) -> str:
    text = str(annotation)
    if "tuple" in text or "list" in text:
        return "LIST"
    if "Literal" in text:
        return "|".join(str(one) for one in getattr(annotation, "__args__", ()))
    return next(
        (shown for part, shown in (("str", "TEXT"), ("Path", "FILE"), ("float", "X"), ("int", "N")) if part in text),
        "TEXT",
    )


def _is_list(size: type, name: str) -> bool:
    return name in size.model_fields and _metavar(size.model_fields[name].annotation) == "LIST"  # type: ignore[attr-defined]


def _plural(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else "" if value is None else str(value)


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _doc(words: list[Mapping[str, Any]]) -> str:
    """The help of a verb: what its ways do, then examples."""
    paragraphs = [str(words[0]["help"]).strip()]
    paragraphs += [f"With {_dashed(one['option'])}: {str(one['help']).strip()}" for one in words[1:]]
    examples = [example for one in words for example in one.get("examples", ())]
    return "\n\n".join([*paragraphs, "\n".join(["\b", "Examples:", *(f"  {one}" for one in examples)])])
