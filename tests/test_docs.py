"""What README and docs show can be typed: their Python runs, their verbs and options exist, their links lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def python_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run_python_of(page: Path) -> None:
    """The blocks of one page in turn, as somebody would paste them."""
    names: dict[str, object] = {}
    for number, block in enumerate(python_of(page)):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.model
@pytest.mark.parametrize("page", [page for page in PAGES[1:] if python_of(page)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, smollm2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The page on personas reads a file of the reader's own.
    (tmp_path / "my-roles.yaml").write_text(
        "name: cook\nkind: everyday\ndescription: a cook\ninstructions: [You are a cook.]\n", encoding="utf-8"
    )
    run_python_of(page)


def printed_places(text: str) -> tuple[dict[str, float], dict[str, str]]:
    """What README's first block prints: place (sd) and reply by what was done to the model."""
    lines = re.findall(r"^(as it is|capped|steered [+-]3), ([+-][\d.]+) sd: (.+)$", text, re.MULTILINE)
    return {name: float(place) for name, place, _ in lines}, {name: reply for name, _, reply in lines}


@pytest.mark.model
def test_the_python_of_the_readme_shows_what_the_readme_says(smollm2, monkeypatch, capsys):
    """Greedy replies, so that no seed decides; float rounding of another machine may still change a word."""
    monkeypatch.chdir(ROOT)
    run_python_of(ROOT / "README.md")
    printed = capsys.readouterr().out
    for text in (printed, (ROOT / "README.md").read_text(encoding="utf-8")):
        places, replies = printed_places(text)
        assert len(set(replies.values())) == 4
        assert places["capped"] > places["as it is"] + 0.3
        assert places["steered -3"] < places["as it is"] - 0.3
        assert places["steered +3"] > places["capped"] + 1
        assert "I'm always happy to provide guidance and support" in replies["steered +3"]
        # The monitor: the assistant holds for six turns, then another voice takes its place.
        assert re.search(r"turn 12: -\d\.\d sd, departed", text)
    assert "turn 6: " in printed
    assert "departed" not in printed.partition("turn 7: ")[0]


def test_the_notebook_is_kept_with_its_outputs():
    """`make notebook` runs it: too long for a test. What it kept is small, whole and free of one machine's folders."""
    text = (ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert "error" not in {one["output_type"] for one in cell["outputs"]}
        compile("".join(cell["source"]), "notebook", "exec")
    code = "\n".join("".join(cell["source"]) for cell in cells)
    for done in ("greenroom.audit(", "greenroom.trait_vector(", ".steer(", "greenroom.read("):
        assert done in code
    said = json.dumps([cell["outputs"] for cell in cells])
    assert "departed" in said
    assert len(text) < 100_000
    assert not re.search(r"(/home|/root|/tmp|/work|/Users)/", text)


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
