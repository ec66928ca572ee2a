"""What README and docs show can be typed: their Python runs, their verbs and options exist, their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

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


def commands_of(page: Path) -> list[str]:
    """Lines of command blocks and code within a line that call greenroom, from its verb on."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```(?:bash)?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    lines = re.findall(r"^(?:\$ )?(?:\S*/)?greenroom (.+)$", blocks, re.MULTILINE)
    return lines + re.findall(r"`(?:\$ )?greenroom ([^`]+)`", text)


def options_of(verb: Any, words: list[str]) -> set[str]:
    """Every option of a verb, or of the verb below it that the words name."""
    below = getattr(verb, "commands", {})
    if words and words[0] in below:
        return options_of(below[words[0]], words[1:])
    return {"--help", "-h"} | {name for one in verb.params for name in (*one.opts, *one.secondary_opts)}


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=lambda page: page.name)
def test_every_verb_and_option_that_a_page_names_exists(page):
    from greenroom.cli.app import grouped, made

    verbs = {name for names in grouped().values() for name in names}
    for line in commands_of(page):
        shown = line.split(" #")[0]
        if shown.startswith("-"):  # an option of greenroom itself
            continue
        verb, *words = shown.split()
        assert verb in verbs, f"{page.name} names the verb {verb}, which does not exist"
        named = set(re.findall(r"(?<![^\s\[(])--?[a-z][a-z-]*", shown))
        unknown = named - options_of(made(verb), words)
        assert not unknown, f"{page.name}, greenroom {line}: {verb} has no {', '.join(sorted(unknown))}"


def test_the_table_of_studies_is_that_of_the_registry():
    from greenroom.auditing.suite import study_table

    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- studies: made by `make docs` -->\n")[2].partition("\n<!-- /studies -->")[0]
    assert shown == study_table(), "docs/studies.md is out of date; run: make docs"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "bench" / "README.md"], ids=lambda page: page.parent.name + page.name)
def test_links_and_paths_of_a_page_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    linked = [page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", text)]
    named = re.findall(r"`((?:src/greenroom|tests|bench|docs)/[\w./]+\.(?:py|yaml|md))`", text)
    for path in [*linked, *(ROOT / name for name in named)]:
        assert path.exists(), f"{page.name} names {path.relative_to(ROOT)}, which does not exist"
