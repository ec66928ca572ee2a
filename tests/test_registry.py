"""The registry: folders and names agree, and a study can be taken away with its folder and its name."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import grimp
import pytest

import greenroom
from greenroom import studies
from greenroom.auditing import audit
from greenroom.errors import GreenroomError

FOLDER = Path(studies.__file__).parent
BUILT_ON = {earlier for name in studies.NAMES for earlier in studies.study_named(name).after}


def test_folders_and_names_are_the_same() -> None:
    assert {path.parent.name for path in FOLDER.glob("*/__init__.py")} == set(studies.NAMES)
    for name in studies.NAMES:
        assert studies.study_named(name).name == name


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(GreenroomError, match=r"no study 'nothing'.*juggling"):
        studies.study_named("nothing")


def test_what_a_study_builds_on_comes_before_it() -> None:
    assert studies.with_those_before(("hold",)) == ("persona_map", "hold")
    for name in studies.NAMES:
        assert all(
            studies.NAMES.index(earlier) < studies.NAMES.index(name) for earlier in studies.study_named(name).after
        )


@pytest.mark.parametrize("name", studies.NAMES)
def test_a_door_is_light_and_every_size_has_words_for_its_options(name: str) -> None:
    study = studies.study_named(name)
    assert {"standard", "quick"} <= study.sizes.keys()
    assert all(isinstance(size, type(study.sizes["standard"])) for size in study.sizes.values())
    for field, info in type(study.sizes["standard"]).model_fields.items():
        assert info.description, f"{name}.{field} has no description"
    source = (FOLDER / name / "__init__.py").read_text(encoding="utf-8")
    assert not re.search(r"^(from|import) (torch|greenroom\.(directions|reader|subject))\b", source, re.MULTILINE)


class _Gone(MetaPathFinder):
    """Import machinery that has no such package."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == self.package or fullname.startswith(f"{self.package}."):
            raise ModuleNotFoundError(f"no module named {fullname!r}", name=fullname)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Takes a study's folder and its name away: what was imported of it or knows the list is imported anew."""
    finders: list[_Gone] = []
    prefixes = ["greenroom.cli", "greenroom.inspect_plugin"]
    saved = dict(sys.modules)

    def forget() -> None:
        for module in list(sys.modules):
            if module.startswith(tuple(prefixes)):
                del sys.modules[module]

    def take(name: str) -> None:
        finders.append(_Gone(f"greenroom.studies.{name}"))
        prefixes.append(finders[-1].package)
        sys.meta_path.insert(0, finders[-1])
        monkeypatch.setattr(studies, "NAMES", tuple(one for one in studies.NAMES if one != name))
        monkeypatch.delattr(studies, name, raising=False)
        forget()

    yield take
    for finder in finders:
        sys.meta_path.remove(finder)
    forget()
    sys.modules.update({name: module for name, module in saved.items() if name.startswith(tuple(prefixes))})


@pytest.mark.parametrize("name", [name for name in studies.NAMES if name not in BUILT_ON])
def test_without_its_folder_and_its_name_a_study_is_gone_and_all_else_works(
    name: str, without: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    without(name)
    main = importlib.import_module("greenroom.cli").main
    assert main(["--help"]) == 0
    assert main(["eval"]) == 0
    assert not re.search(rf"^\s*{name}\b", capsys.readouterr().out, re.MULTILINE)
    assert name not in audit.job(full=True).names
    assert not hasattr(importlib.import_module("greenroom.inspect_plugin"), name)
    for public in dir(greenroom):
        getattr(greenroom, public)


def test_nothing_outside_a_study_imports_it() -> None:
    graph = grimp.build_graph("greenroom", cache_dir=None)
    for name in studies.NAMES:
        package = f"greenroom.studies.{name}"
        own = {package, *graph.find_descendants(package)}
        users = {importer for module in own for importer in graph.find_modules_that_directly_import(module)} - own
        # The public API names its functions for type checkers only; at run time it finds them in the registry.
        assert users <= {"greenroom"}, f"{users} import {name}"
