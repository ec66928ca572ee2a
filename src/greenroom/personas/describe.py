"""From a description to a trait: instructions and questions from templates, or written by a model of the user's choice.

The result is an ordinary `Trait`, saved as YAML that can be read, edited and kept (`greenroom trait --save`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from greenroom.errors import LibraryError, wrong_field
from greenroom.personas.library import FOLDER
from greenroom.personas.persona import Trait
from greenroom.personas.yaml_entries import read_yaml
from greenroom.store import write_text

AUTHOR_PAIRS, AUTHOR_QUESTIONS = 6, 20
# A name made of a description is for files; longer ones help nobody.
NAME_WORDS = 4


def described(description: str, opposite: str | None = None, *, name: str | None = None) -> Trait:
    """A trait from templates. description, opposite: what the speaker does, as in "flatters the user".

    Without an opposite the negative pole is "the opposite of" the description, which a small model hardly follows.
    """
    phrase, other = _phrases(description, opposite)
    told = _templates()
    fill = {"description": phrase, "opposite": other}
    return _trait(
        {
            "name": name or name_of(phrase), "kind": "psychological", "description": phrase, "positive": phrase,
            "negative": other,
            "pairs": [{pole: text.format(**fill) for pole, text in pair.items()} for pair in told["pairs"]],
            "questions": told["questions"],
        },
        "the description",
    )  # fmt: skip


def authored(description: str, author: str, opposite: str | None = None, *, name: str | None = None) -> Trait:
    """A trait that an Inspect model (such as `openai/gpt-4o-mini`) writes, half of its questions held out.

    Raises LibraryError when the model cannot be reached or does not answer with usable material.
    """
    phrase, other = _phrases(description, opposite)
    prompt = _templates()["author"].format(
        description=phrase, opposite=other, pairs=AUTHOR_PAIRS, questions=AUTHOR_QUESTIONS
    )
    written = _json_object(_asked(author, prompt), author)
    questions = written.get("questions")
    return _trait(
        {
            "name": name or name_of(phrase), "kind": "psychological", "description": phrase,
            "positive": written.get("positive") or phrase, "negative": written.get("negative") or other,
            "pairs": written.get("pairs"),
            "questions": [
                {"text": text, "held_out": index % 2 == 1} for index, text in enumerate(cast("list[Any]", questions))
            ] if isinstance(questions, list) else questions,
        },
        f"what {author} wrote",
    )  # fmt: skip


def save_trait(trait: Trait, path: Path) -> None:
    """Writes the trait as YAML that `library.trait(name, path)` and `greenroom trait --file` read."""
    text = yaml.safe_dump(trait.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    write_text(path, text)


def name_of(description: str) -> str:
    """A name such as `flatters_the_user_even` from a description."""
    words = re.findall(r"[a-z0-9]+", description.lower())
    while words and not words[0][0].isalpha():
        words.pop(0)
    if not words:
        raise LibraryError(f"no name can be made of {description!r}; give one with --name, such as old_sailor")
    return "_".join(words[:NAME_WORDS])


def _phrases(description: str, opposite: str | None) -> tuple[str, str]:
    phrase = description.strip().rstrip(".")
    if not phrase:
        raise LibraryError('the description is empty; expected what the speaker does, such as "flatters the user"')
    other = (opposite or "").strip().rstrip(".")
    return phrase, other or _templates()["opposite"].format(description=phrase)


def _templates() -> dict[str, Any]:
    return cast("dict[str, Any]", read_yaml(FOLDER / "describe.yaml"))


def _trait(raw: dict[str, Any], source: str) -> Trait:
    try:
        return Trait.model_validate(raw)
    except ValidationError as error:
        field, why = wrong_field(error)
        raise LibraryError(
            f"{source} makes no trait ({field or 'as a whole'}: {why}); change it and try again"
        ) from error


def _asked(author: str, prompt: str) -> str:
    """One answer of an Inspect model."""
    import asyncio

    from inspect_ai.model import get_model

    async def ask() -> str:
        async with get_model(author) as model:
            return (await model.generate(prompt)).completion

    try:
        return asyncio.run(ask())
    # Providers raise what their clients raise: a missing key, an unknown name, no network.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LibraryError(
            f"{author} did not answer as an author ({reason}); expected an Inspect model such as openai/gpt-4o-mini"
        ) from error


def _json_object(text: str, author: str) -> dict[str, Any]:
    """The object in an answer, whatever stands around it."""
    begin, end = text.find("{"), text.rfind("}")
    try:
        found: Any = json.loads(text[begin : end + 1])
    except ValueError as error:
        raise LibraryError(
            f"{author} answered without the JSON object that was asked for ({text.strip()[:60]!r}…); try a larger model, "
            "or leave --author out"
        ) from error
    if not isinstance(found, dict):
        raise LibraryError(f"{author} answered with {type(found).__name__}, expected a JSON object; try another model")
    return cast("dict[str, Any]", found)
