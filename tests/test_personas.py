"""The library is rich, unique and validated, and a broken file is one clear line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from greenroom.errors import LibraryError
from greenroom.personas import Context, Question, Role, Trait, TraitPair, TraitQuestion, library, persona

ROLE = {"name": "sailor", "kind": "fictional", "description": "a sailor", "instructions": ["You are a sailor."]}
TRAIT = {
    "name": "loud",
    "kind": "surface",
    "description": "is loud",
    "positive": "loud",
    "negative": "quiet",
    "pairs": [{"positive": "Be loud.", "negative": "Be quiet."}],
    "questions": [{"text": "Hello?", "held_out": False}, {"text": "Who is there?", "held_out": True}],
}
CONTEXT = {"name": "menu", "kind": "data", "agentic": "false", "description": "a menu", "instruction": ["A menu."]}
QUESTION = {"id": "rain", "topic": "places", "text": "Does it rain?"}


def written(folder: Path, content: Any, name: str = "mine.yaml") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return file


# --- the library itself -----------------------------------------------------------------------------------------------


def test_roles_are_many_and_of_all_kinds() -> None:
    roles = library.roles()
    kinds = Counter(role.kind for role in roles)
    assert len(roles) >= 84
    assert set(kinds) == {"everyday", "professional", "fictional", "nonhuman", "ai", "archetype"}
    assert min(kinds.values()) >= 10
    wanted = (
        "jester bard vampire villain mystic accountant librarian coach robot pirate oracle demon swarm glacier angel"
    )
    assert {*wanted.split(), "poet", "prophet", "hermit"} <= {role.name for role in roles}
    for role in roles:
        assert len(role.instructions) >= 3, role.name
        assert "\n" not in role.description
        assert not role.description.lower().startswith(("you ", "your ")), role.name


def test_instructions_are_of_like_length_and_no_two_roles_share_one() -> None:
    texts = [(role.name, text) for role in library.roles() for text in role.instructions]
    assert len({text for _, text in texts}) == len(texts)
    for name, text in texts:
        assert not re.search(r"\bI am\b|\bI'm\b", text), (name, text)
        assert 10 <= len(text.split()) <= 45, (name, text)


def test_questions_are_many_and_name_no_role() -> None:
    questions = library.questions()
    assert len(questions) >= 48
    topics = Counter(question.topic for question in questions)
    assert 7 <= len(topics) <= 10
    assert max(topics.values()) - min(topics.values()) <= 1
    assert len({question.text for question in questions}) == len(questions)
    names = [name for role in library.roles() for name in {role.name.replace("_", " "), role.name.split("_")[-1]}]
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})s?\b", re.I)
    for question in questions:
        assert not pattern.search(question.text), question.text


def test_questions_of_the_library_are_not_questions_of_a_trait() -> None:
    asked = {question.text for trait in library.traits() for question in trait.questions}
    assert not asked & {question.text for question in library.questions()}


def test_traits_have_poles_and_a_held_out_half() -> None:
    traits = library.traits()
    assert len(traits) >= 16
    assert {trait.kind for trait in traits} == {"psychological", "surface"}
    files = {file.stem for file in (library.FOLDER / "traits").glob("*.yaml")}
    assert {trait.name for trait in traits} == files
    for trait in traits:
        assert len(trait.pairs) >= 5, trait.name
        assert len(trait.questions) >= 20, trait.name
        held_out = sum(question.held_out for question in trait.questions)
        assert abs(2 * held_out - len(trait.questions)) <= 1, trait.name


def test_contexts_cover_the_three_degrees_and_one_is_generic() -> None:
    contexts = library.contexts()
    assert len(contexts) >= 26
    degrees = Counter(context.agentic for context in contexts)
    assert set(degrees) == {"false", "partly", "true"}
    assert min(degrees.values()) >= 5
    generic = [context for context in contexts if context.generic]
    assert [context.name for context in generic] == ["generic_text"]
    assert generic[0].agentic == "partly"
    assert all(len(context.instruction) >= 3 for context in contexts)
    texts = [text for context in contexts for text in context.instruction]
    assert len(set(texts)) == len(texts)


def test_default_instructions_begin_with_the_empty_one() -> None:
    default = library.default_instructions()
    assert default[0] == ""
    assert "You are a helpful assistant." in default
    assert len(default) >= 7
    assert len(set(default)) == len(default)
    assert all(default[1:])


def test_the_library_is_read_once_and_cannot_be_changed() -> None:
    assert library.roles() is library.roles()
    with pytest.raises(ValidationError):
        library.role("pirate").name = "parrot"


# --- looking up -------------------------------------------------------------------------------------------------------


def test_lookup_finds_by_name() -> None:
    assert library.role("pirate").kind == "fictional"
    assert library.question("afraid").text == "What are you afraid of?"
    assert library.trait("sycophancy").questions
    assert library.context("generic_text").generic


@pytest.mark.parametrize(
    ("find", "wanted", "said"),
    [
        (library.role, "pirat", ["no role", "'pirat'", "did you mean pirate", "greenroom personas roles"]),
        (library.role, "Noir Detective", ["did you mean noir_detective"]),
        (library.question, "afriad", ["no question", "did you mean afraid"]),
        (library.trait, "sicophancy", ["no trait", "did you mean sycophancy"]),
        (library.context, "encyclopedia", ["no context", "did you mean encyclopedia_article"]),
        (library.role, "", ["no role is called ''", "lists all"]),
    ],
)
def test_an_unknown_name_lists_near_ones(find: Any, wanted: str, said: list[str]) -> None:
    with pytest.raises(LibraryError) as error:
        find(wanted)
    for part in said:
        assert part in str(error.value)


@given(st.text(max_size=30))
def test_any_other_name_is_one_line(name: str) -> None:
    if name in {role.name for role in library.roles()}:
        return
    with pytest.raises(LibraryError) as error:
        library.role(name)
    assert len(str(error.value).splitlines()) == 1


# --- files of one's own -----------------------------------------------------------------------------------------------


def test_a_file_may_hold_one_entry_or_a_list_and_a_folder_many_files(tmp_path: Path) -> None:
    one = written(tmp_path, ROLE, "one.yaml")
    two = written(tmp_path, [ROLE | {"name": "cook"}, ROLE | {"name": "mate"}], "two.yml")
    assert library.roles(one) == (Role(**ROLE),)
    assert [role.name for role in library.roles(str(two))] == ["cook", "mate"]
    assert [role.name for role in library.roles(tmp_path)] == ["sailor", "cook", "mate"]
    assert library.role("mate", two).name == "mate"
    with pytest.raises(LibraryError, match=re.escape(f"personas roles --file {two}")):
        library.role("pirate", two)


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    assert library.roles(written(tmp_path, ROLE))[0].name == "sailor"
    assert library.roles(written(tmp_path, ROLE | {"name": "cook"}))[0].name == "cook"


def test_small_kindnesses_in_writing_a_context(tmp_path: Path) -> None:
    text = "name: menu\nkind: data\nagentic: false\ndescription: a menu\ninstruction: The following is a menu.\n"
    context = library.contexts(written(tmp_path, text))[0]
    assert context.agentic == "false"
    assert context.instruction == ("The following is a menu.",)
    assert not context.generic


def test_default_instructions_of_ones_own(tmp_path: Path) -> None:
    file = written(tmp_path, {"include_empty": False, "instructions": ["Be yourself."]})
    assert library.default_instructions(file) == ("Be yourself.",)
    with pytest.raises(LibraryError, match=r"mine\.yaml: field instruction: unknown; did you mean instructions\?"):
        library.default_instructions(written(tmp_path, {"instruction": ["Be yourself."], "instructions": ["x"]}))


READERS = {"role": library.roles, "trait": library.traits, "context": library.contexts, "question": library.questions}


def without(entry: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != field}


@pytest.mark.parametrize(
    ("noun", "content", "said"),
    [
        (
            "role",
            [ROLE, ROLE | {"name": "cook", "kind": "fictoinal"}],
            ["role 'cook' (entry 2), field kind: got 'fictoinal'", "'everyday'", "'archetype'"],
        ),
        ("role", without(ROLE, "kind"), ["role 'sailor'", "field kind: missing; expected the fields name, kind"]),
        ("role", without(ROLE, "name"), ["role (entry 1), field name: missing"]),
        (
            "role",
            ROLE | {"instrutions": []},
            ["field instrutions: unknown; did you mean instructions?", "allowed are name"],
        ),
        ("role", ROLE | {"name": "Old Sailor"}, ["field name: got 'Old Sailor'", "old_sailor"]),
        ("role", ROLE | {"name": 7}, ["role (entry 1), field name: got 7; expected text"]),
        ("role", ROLE | {"description": "  "}, ["field description", "expected a text that is not empty"]),
        ("role", ROLE | {"instructions": []}, ["field instructions: got []; expected a list of at least 1"]),
        ("role", ROLE | {"instructions": ["A.", "A."]}, ["field instructions: the same entry twice: 'A.'"]),
        ("role", ROLE | {"instructions": ["A.", 3]}, ["field instructions[2]: got 3"]),
        ("role", [ROLE, ROLE], ["role 'sailor' (entry 2), field name: stands twice"]),
        (
            "role",
            ["pirate"],
            ["role (entry 1), got 'pirate'; expected the fields name, kind, description, instructions"],
        ),
        ("trait", TRAIT | {"kind": "deep"}, ["trait 'loud'", "field kind: got 'deep'", "'psychological' or 'surface'"]),
        (
            "trait",
            TRAIT | {"pairs": [{"positive": "A.", "negativ": "B."}]},
            ["field pairs[1].negativ: unknown; did you mean negative?"],
        ),
        (
            "trait",
            TRAIT | {"pairs": [{"positive": "A.", "negative": "B.", "neutral": "C."}]},
            ["field pairs[1].neutral: unknown; allowed are positive, negative"],
        ),
        ("trait", TRAIT | {"pairs": [{"positive": "A.", "negative": "A."}]}, ["field pairs[1]", "same instruction"]),
        ("trait", TRAIT | {"negative": "loud"}, ["trait 'loud'", "same pole"]),
        (
            "trait",
            TRAIT | {"questions": [{"text": "A?", "held_out": "yes"}, {"text": "B?", "held_out": False}]},
            ["field questions[1].held_out: got 'yes'", "expected true or false"],
        ),
        (
            "trait",
            TRAIT | {"questions": [{"text": "A?", "held_out": True}, {"text": "B?", "held_out": True}]},
            ["held_out: true and held_out: false"],
        ),
        (
            "trait",
            TRAIT | {"questions": [{"text": "A?", "held_out": True}, {"text": "A?", "held_out": False}]},
            ["same question twice: 'A?'"],
        ),
        (
            "context",
            CONTEXT | {"agentic": "mostly"},
            ["context 'menu'", "field agentic: got 'mostly'", "'partly' or 'true'"],
        ),
        ("context", CONTEXT | {"instruction": []}, ["field instruction: got []; expected a list"]),
        ("question", QUESTION | {"topic": "my places"}, ["question 'rain'", "field topic: got 'my places'"]),
        ("question", [QUESTION, QUESTION | {"text": "?"}], ["question 'rain' (entry 2), field id: stands twice"]),
    ],
)
def test_a_broken_entry_names_file_entry_field_and_what_was_expected(
    tmp_path: Path, noun: str, content: Any, said: list[str]
) -> None:
    file = written(tmp_path, content)
    with pytest.raises(LibraryError) as error:
        READERS[noun](file)
    message = str(error.value)
    assert message.startswith(f"{file}: ")
    assert len(message.splitlines()) == 1
    for part in said:
        assert part in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty; expected a list of entries"),
        ("[]", "empty; expected a list of entries"),
        ("- name: sailor\n  description: a sailor: old\n", "line 2: not valid YAML"),
        ("name: sailor\nkind: fictional\nname: cook\n", "line 3: not valid YAML (the key 'name' stands twice)"),
        ("name: !!python/object/apply:os.getcwd []\n", "line 1: not valid YAML"),
        ("name: 2024-13-45\n", "not valid YAML (month must be in 1..12)"),
        ("? [a, b]\n: c\n", "line 1: not valid YAML"),
        ("1: 2\n", "role (entry 1)"),
    ],
)
def test_a_file_that_is_no_yaml_list_says_where(tmp_path: Path, content: str, said: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(LibraryError) as error:
        library.roles(file)
    assert str(error.value).startswith(str(file))
    assert said in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"nowhere\.yaml: no such file"):
        library.roles(tmp_path / "nowhere.yaml")
    with pytest.raises(LibraryError, match="no YAML files in this folder"):
        library.traits(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: café".encode("latin-1"))
    with pytest.raises(LibraryError, match=r"latin\.yaml: not UTF-8"):
        library.roles(tmp_path)


def test_the_same_name_in_two_files_names_both(tmp_path: Path) -> None:
    first, second = written(tmp_path, ROLE, "a.yaml"), written(tmp_path, ROLE, "b.yaml")
    with pytest.raises(LibraryError) as error:
        library.roles(tmp_path)
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)


# --- laws -------------------------------------------------------------------------------------------------------------

texts = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip)
names = st.from_regex(persona.NAME_PATTERN.replace("$", r"\Z"))
all_roles = st.builds(
    Role,
    name=names,
    kind=st.sampled_from(["everyday", "professional", "fictional", "nonhuman", "ai", "archetype"]),
    description=texts,
    instructions=st.lists(texts, min_size=1, max_size=4, unique_by=str.strip).map(tuple),
)


@given(st.lists(all_roles, min_size=1, max_size=4, unique_by=lambda role: role.name))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, roles: list[Role]) -> None:
    folder = tmp_path_factory.mktemp("roles")
    dumped = [role.model_dump(mode="json") for role in roles]
    file = folder / "roles.yaml"
    file.write_text(yaml.safe_dump(dumped, allow_unicode=True), encoding="utf-8")
    assert library.roles(file) == tuple(roles)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["name", "id", "kind", "pairs", "questions", "instructions", "instruction", "agentic", "other"])


@given(st.sampled_from(sorted(READERS)), st.dictionaries(keys | st.integers(), values) | values)
def test_nonsense_is_a_library_error_and_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, noun: str, content: Any
) -> None:
    file = tmp_path_factory.mktemp("nonsense") / "mine.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(LibraryError) as error:
        READERS[noun](file)
    assert str(error.value).startswith(str(file))
    assert len(str(error.value).splitlines()) == 1


# --- weight -----------------------------------------------------------------------------------------------------------


def test_importing_personas_imports_no_torch() -> None:
    code = (
        "import sys; from greenroom.personas import library; library.roles(); library.traits(); "
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_the_module_wins_over_the_folder_of_the_same_name() -> None:
    assert Path(library.__file__ or "").name == "library.py"
    assert not (library.FOLDER / "__init__.py").exists()
    assert library.FOLDER.is_dir()


def test_the_shapes_can_be_built_in_python() -> None:
    pair = TraitPair(positive="Be loud.", negative="Be quiet.")
    asked = (TraitQuestion(text="Hello?", held_out=False), TraitQuestion(text="Who is there?", held_out=True))
    trait = Trait(
        name="loud",
        kind="surface",
        description="is loud",
        positive="loud",
        negative="quiet",
        pairs=(pair,),
        questions=asked,
    )
    assert trait == Trait.model_validate(TRAIT)
    assert Context.model_validate(CONTEXT).instruction == ("A menu.",)
    assert Question.model_validate(QUESTION).id == "rain"
