"""What README and docs show can be typed: their Python runs, their verbs exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def python_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.model
@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, smollm2, tmp_path, monkeypatch):
    """The blocks of one page run in turn, as somebody would paste them."""
    monkeypatch.chdir(tmp_path)
    # The page on personas reads a file of the reader's own.
    (tmp_path / "my-roles.yaml").write_text(
        "name: cook\nkind: everyday\ndescription: a cook\ninstructions: [You are a cook.]\n", encoding="utf-8"
    )
    names: dict[str, object] = {}
    for number, block in enumerate(python_of(page)):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verb_that_a_page_names_exists(page):
    from greenroom.cli.app import command

    named = set(re.findall(r"`(?:\$ )?greenroom ([a-z]+)\b", page.read_text(encoding="utf-8")))
    assert named <= set(command().commands), f"{page.name} names verbs that do not exist"
