"""The race of contexts in `who`, how wordings and tokens count in it, and system messages that were read before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from greenroom.personas import Context
from greenroom.reader.posterior.contexts import OwnContext, contexts_of, role_contexts
from greenroom.reader.posterior.likelihoods import BASELINE, Job, Passage, race, scorer
from greenroom.reader.posterior.prompts import FromKnown, known_prompts
from greenroom.subject import Subject
from greenroom.subject.tiny import tiny


@pytest.fixture(scope="module")
def small() -> Subject:
    return tiny(seed=3)


# The race ----------------------------------------------------------------------------------------------------------------


def clear_winner(lengths: Sequence[int], contexts: Sequence[Context], jobs: list[Job], *, prune: bool):
    """A race in which context k loses k hundredths of a nat a token; `jobs` hears what was read."""

    def score(asked: Sequence[Job]) -> list[np.ndarray]:
        jobs.extend(asked)
        return [
            np.full(job.end - job.start, -3.0 if job.context == BASELINE else -1 - 0.01 * job.context) for job in asked
        ]

    return race(lengths, contexts, score, prune=prune)


def test_pruning_reads_less_and_keeps_the_top() -> None:
    contexts = contexts_of("all")
    slow: list[Job] = []
    fast: list[Job] = []
    full = clear_winner([200], contexts, slow, prune=False)[0].by_token()[:, -1]
    pruned = clear_winner([200], contexts, fast, prune=True)[0]
    assert sum(job.end - job.start for job in fast) < 0.25 * sum(job.end - job.start for job in slow)
    assert np.argsort(-pruned.by_token()[:, -1])[:5].tolist() == np.argsort(-full)[:5].tolist() == [0, 1, 2, 3, 4]
    generic = next(index for index, one in enumerate(contexts) if one.generic)
    assert not pruned.pruned(generic)
    assert pruned.by_token()[generic, -1] == pytest.approx(full[generic])


def test_a_context_that_may_come_back_is_read_on_and_one_that_will_not_is_dropped() -> None:
    """Twenty contexts whose tokens scatter; the sixth is nearly level after the first tokens, the last is far behind."""
    rng = np.random.default_rng(0)
    contexts = [OwnContext(name=str(index), instruction=f"{index}.") for index in range(20)]
    levels = np.concatenate([np.full(5, -1.0), [-1.02], np.full(13, -1.6), [-3.0]])
    table = levels[:, None] + 0.3 * rng.normal(size=(20, 200))

    def score(asked: Sequence[Job]) -> list[np.ndarray]:
        return [
            np.full(200, -2.0) if job.context == BASELINE else table[job.context, job.start : job.end] for job in asked
        ]

    found = race([200], contexts, score)[0]
    assert not found.pruned(5)
    assert found.pruned(19)
    assert set(np.argsort(-found.by_token()[:, -1])[:5]) == set(np.argsort(-table.sum(axis=1))[:5])


def test_rounds_read_no_token_twice_and_end_with_the_scores_of_the_whole(
    small: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader itself: what waits between rounds is its keys and values."""
    contexts = [OwnContext(name=str(index), instruction=(f"{index}. " * 4, f"No {index}.")) for index in range(12)]
    passages = [Passage([{"role": "user", "content": "Well?"}], [5 + index % 90 for index in range(200)])]
    jobs: list[Job] = []
    score = scorer(small, passages, contexts)
    fed: list[int] = []
    run = small.network.run
    with monkeypatch.context() as patch:
        patch.setattr(small.network, "run", lambda *given: fed.append(given[1].numel()) or run(*given))
        found = race([200], contexts, lambda asked: jobs.extend(asked) or score(asked))[0]
    rows = {(job.context, job.paraphrase) for job in jobs}
    told = [contexts[context].instruction[which] if context != BASELINE else "" for context, which in rows]
    prompts = [
        small.chat.encode([{"role": "system", "content": text}, *passages[0].before], generate=True) for text in told
    ]
    assert sum(fed) < 1.05 * (sum(len(one.tokens) for one in prompts) + sum(job.end - job.start for job in jobs))
    whole = race([200], contexts, scorer(small, passages, contexts), prune=False)[0]
    read: dict[tuple[int, int], int] = {}
    for job in jobs:
        assert job.start == read.get((job.context, job.paraphrase), 0)
        read[job.context, job.paraphrase] = job.end
    assert sorted({job.end for job in jobs}) == [32, 64, 128, 200]
    for context in found.finalists:
        for paraphrase, values in found.values[context].items():
            assert values == pytest.approx(whole.values[context][paraphrase], abs=1e-4)


def likelihoods_of(tables: Sequence[Sequence[Sequence[float]]], foreign: float = 0.0) -> np.ndarray:
    """(context,) log-likelihood of tables[context][wording][token]; the empty system message gives every token -2."""
    contexts = [
        OwnContext(name=str(c), instruction=tuple(f"{c} {w}" for w in range(len(of)))) for c, of in enumerate(tables)
    ]

    def score(asked: Sequence[Job]) -> list[np.ndarray]:
        return [
            np.full(job.end, -2.0) if job.context == BASELINE else np.array(tables[job.context][job.paraphrase], float)
            for job in asked
        ]

    return race([len(tables[0][0])], contexts, score, foreign=foreign)[0].by_token()[:, -1]


def test_one_lucky_wording_does_not_carry_its_context() -> None:
    lucky, steady = likelihoods_of([[[-1.0], [-9.0], [-9.0]], [[-3.0], [-3.0], [-3.0]]])
    assert steady > lucky


def test_one_token_that_nobody_would_say_does_not_decide() -> None:
    """The first context says the last three tokens far better; the first token is unlikely everywhere."""
    tables = [[[-12.0, -1.0, -1.0, -1.0]], [[-6.0, -2.5, -2.5, -2.5]], [[-6.0, -2.6, -2.6, -2.6]]]
    assert np.argmax(likelihoods_of(tables)) == 1
    assert np.argmax(likelihoods_of(tables, foreign=0.1)) == 0


def test_a_token_is_anybodys_as_often_as_was_said() -> None:
    said = likelihoods_of([[[np.log(0.1)]], [[np.log(0.5)]]], foreign=0.2)
    assert np.exp(said) == pytest.approx([0.8 * 0.1 + 0.2 * 0.3, 0.8 * 0.5 + 0.2 * 0.3])


def test_other_wordings_are_not_read_where_they_could_not_help() -> None:
    """Twenty contexts with three wordings: five lead, five lie near, ten far behind; none of the ten is heard again."""
    contexts = [OwnContext(name=str(c), instruction=tuple(f"{c} {w}" for w in range(3))) for c in range(20)]
    level = [-0.5] * 5 + [-0.6] * 5 + [-2.5] * 10
    jobs: list[Job] = []

    def score(asked: Sequence[Job]) -> list[np.ndarray]:
        jobs.extend(asked)
        return [np.full(job.end, -3.0 if job.context == BASELINE else level[job.context]) for job in asked]

    race([20], contexts, score)
    heard = [sum(job.context == context for job in jobs) for context in range(20)]
    assert heard == [3] * 10 + [1] * 10


def test_contexts_below_the_empty_system_message_are_not_heard_again() -> None:
    contexts = [OwnContext(name=str(c), instruction=tuple(f"{c} {w}" for w in range(3))) for c in range(20)]
    jobs: list[Job] = []

    def score(asked: Sequence[Job]) -> list[np.ndarray]:
        jobs.extend(asked)
        return [np.full(job.end, -1.0 if job.context == BASELINE else -2.0) for job in asked]

    found = race([20], contexts, score)[0]
    assert {job.paraphrase for job in jobs} == {0}
    assert found.gains(0, 20) == pytest.approx([-1 / np.log(2)])


def test_a_short_text_is_read_whole_even_when_pruned() -> None:
    jobs: list[Job] = []
    clear_winner([40], role_contexts(), jobs, prune=True)
    assert {(job.start, job.end) for job in jobs} == {(0, 40)}


# System messages that were read before ----------------------------------------------------------------------------------


def test_system_messages_are_read_once_and_the_scores_stay(
    small: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    contexts = contexts_of()[:3]
    told = [text for one in contexts for text in one.instruction]
    run = small.network.run
    for user in ([{"role": "user", "content": "Well?"}], []):
        passages = [Passage(user, [5, 6, 7])]  # type: ignore[arg-type]
        jobs = [Job(0, c, w, 0, 3) for c, one in enumerate(contexts) for w in range(len(one.instruction))]
        plain = scorer(small, passages, contexts)(jobs)
        for known in (known_prompts(small, contexts), known_prompts(small, contexts)):
            assert known is not None
            fed: list[int] = []
            with monkeypatch.context() as patch:
                patch.setattr(small.network, "run", lambda *given, fed=fed: fed.append(given[1].numel()) or run(*given))
                found = scorer(small, passages, contexts, known=known)(jobs)
            assert np.concatenate(found) == pytest.approx(np.concatenate(plain), abs=1e-4)
            assert sum(fed) < len(told) * 25  # what follows a system message, and not the message
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(b"broken")
    assert known_prompts(small, contexts) is not None
    assert file.stat().st_size > 100


def test_a_row_goes_on_from_the_longest_that_is_known(small: Subject, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GREENROOM_CACHE", str(tmp_path))
    known = known_prompts(small, contexts_of()[:2])
    told = small.chat.encode(
        [{"role": "system", "content": contexts_of()[1].instruction[0]}, {"role": "user", "content": "Hm?"}],
        generate=True,
    ).tokens
    found = FromKnown(known, own=False).longest(told, len(told))
    assert found is not None
    assert small.chat.decode(told[found.length :]).startswith("Hm?")
    assert FromKnown(known, own=False).longest(told, 5) is None
