"""Messages that say again what was just said, by hand."""

from __future__ import annotations

import pytest

from greenroom.measures.repetition import likeness, loop_onset, repeats


def test_likeness_by_hand():
    # "abcdef": abcde bcdef; "abcdeg": abcde bcdeg. One of three runs is shared.
    assert likeness("abcdef", "abcdeg") == pytest.approx(1 / 3)
    assert likeness("Hello  there", "hello there") == 1  # spaces and case do not count
    assert likeness("abc", "abcd") == 0  # each shorter than a run is its own
    assert (likeness("", ""), likeness("", "abcdef")) == (1, 0)


def test_a_repetition_looks_two_turns_back_and_no_further():
    a, b, c = "I agree with all of that.", "The sea is wide today.", "Nothing is left to say."
    assert repeats([a, b, a, c, a]) == [False, False, True, False, True]
    assert repeats([a, b, c, a]) == [False] * 4
    # Exactly .8 is not above .8: 8 of 10 runs shared.
    left, right = "abcdefghijklm", "bcdefghijklm" + "n"  # runs: 9 and 9, 8 shared, 10 in all
    assert likeness(left, right) == pytest.approx(0.8)
    assert repeats([left, right]) == [False, False]


def test_a_loop_is_a_repetition_that_lasts_to_the_end():
    a, b, c = "I agree with all of that.", "The sea is wide today.", "Nothing is left to say."
    assert loop_onset([c, a, b, a, b, a]) == 3
    assert loop_onset([a, a, b, c]) is None
    assert loop_onset([]) is None
    assert loop_onset(["", ""]) == 1
