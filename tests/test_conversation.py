"""Conversations: reasoning is told apart from the reply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.conversation import split_reasoning

# Pieces of tags too, so that half a tag and a tag in the wrong place come up.
TEXTS = st.lists(st.sampled_from(["<think>", "</think>", "<", "think", ">", " ", "\n"]) | st.text(max_size=8)).map(
    "".join
)


@pytest.mark.parametrize(
    ("text", "reasoning", "reply"),
    [
        ("<think>One, two.</think>Three.", "One, two.", "Three."),
        ("\n<think>\nOne.\n\nTwo.\n</think>\n\nThree.\n", "One.\n\nTwo.", "Three."),
        ("<think>\n\n</think>\n\nThree.", "", "Three."),  # a model told not to think
        ("<think>One, tw", "One, tw", ""),  # cut while thinking
        ("<think>", "", ""),
        ("<think>One.</think>", "One.", ""),
        ("Three.", "", "Three."),
        (" Three.\n", "", " Three.\n"),
        ("", "", ""),
        ("Write <think>so</think> before you answer.", "", "Write <think>so</think> before you answer."),
        ("<think>A.</think>B <think>C</think>", "A.", "B <think>C</think>"),
        ("<thinking>One.</thinking>", "", "<thinking>One.</thinking>"),
    ],
)
def test_a_leading_block_is_reasoning(text: str, reasoning: str, reply: str) -> None:
    assert split_reasoning(text) == (reasoning, reply)


@given(TEXTS)
def test_text_that_opens_no_block_is_untouched(text: str) -> None:
    if not text.lstrip().startswith("<think>"):
        assert split_reasoning(text) == ("", text)


@given(TEXTS.filter(lambda text: "</think>" not in text), TEXTS, st.sampled_from(["", " ", "\n"]))
def test_no_word_is_lost_between_reasoning_and_reply(thought: str, said: str, before: str) -> None:
    assert split_reasoning(f"{before}<think>{thought}</think>{said}") == (thought.strip(), said.strip())


@given(TEXTS.filter(lambda text: "</think>" not in text))
def test_a_block_that_never_closes_leaves_no_reply(thought: str) -> None:
    assert split_reasoning(f"<think>{thought}") == (thought.strip(), "")
