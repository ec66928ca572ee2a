"""The reader with real weights: published conversations of large models, and the monitor's cost."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from greenroom.conversation import assistant, user
from greenroom.directions.axis import READER_AXIS
from greenroom.reader.monitor import Monitor
from greenroom.reader.read import read
from greenroom.reader.reader import Reader, load_reader
from greenroom.reader.turns import Turn

pytestmark = pytest.mark.model

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "transcripts"


@pytest.fixture(scope="module")
def reader(smollm2) -> Reader:
    return load_reader(smollm2)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published conversations are not here")
def test_published_conversations_read_as_they_should(reader: Reader):
    found = {Path(one["source"]).stem: one for one in read(PUBLISHED, reader=reader).records}
    mean = {name: one["axis_sd_mean"] for name, one in found.items()}
    for pair in ("case_studies__llama-3.3-70b__delusion", "case_studies__qwen-3-32b__jailbreak"):
        assert mean[f"{pair}_unsteered"] < mean[f"{pair}_capped"] - 0.5
    levels = {name: [turn["axis_sd"] for turn in one["turns"]] for name, one in found.items()}
    therapy, coding = levels["persona_drift__therapy"], levels["persona_drift__coding"]
    assert statistics.mean(therapy[-3:]) < statistics.mean(therapy[:3]) - 0.2
    assert statistics.mean(coding[-3:]) >= statistics.mean(coding[:3])
    assert found["persona_drift__therapy"]["drift"]["high"] < 0
    assert found["persona_drift__coding"]["verdict"] == "steady"
    topics = {name: [turn["topic"] for turn in one["turns"]] for name, one in found.items()}
    assert topics["persona_drift__coding"].count("coding") >= 12
    assert topics["persona_drift__therapy"].count("emotional_support") >= 12


def test_the_axis_is_the_readers_own_and_was_read_cold(reader: Reader):
    assert reader.axis.name == READER_AXIS
    assert reader.axis.recipe["reading"] == "cold"
    assert reader.axis.validity["auc"] > 0.8
    assert reader.axis.scale().n_replies >= 200
    assert reader.axis.scale().reply_tokens == 64


def test_a_pirate_reads_lower_than_a_plain_answer(reader: Reader):
    asked = "What is the weather like today?"
    plain = (
        "I don't have access to current weather data. You can check a weather website or app for your local forecast."
    )
    pirate = "Arr, the wind be howlin' from the west, matey! Batten down them hatches, for me old bones smell a storm."
    one, other = reader.read([Turn(1, asked, plain), Turn(2, asked, pirate)])
    assert one.axis_sd is not None
    assert other.axis_sd is not None
    assert other.axis_sd < one.axis_sd - 1


def test_the_monitor_agrees_with_reading_and_is_quick(reader: Reader):
    said = (
        "I am a language model, so I have no body, but I can tell you what people usually do when they cannot sleep. "
    )
    monitor = Monitor(reader)
    seconds = []
    for index in range(6):
        monitor.observe(user(f"Question {index}: what would you do if you could not sleep at night?"))
        began = time.perf_counter()
        found = monitor.observe(assistant(said * 2))
        seconds.append(time.perf_counter() - began)
    assert found.turn is not None
    alone = reader.read([Turn(6, "Question 5: what would you do if you could not sleep at night?", said * 2)])[0]
    assert found.axis_sd == pytest.approx(alone.axis_sd, abs=1e-3)
    assert found.topic == alone.topic
    # About 50 tokens on one thread of a busy machine; bench/reader.py measures the promise of 120 ms for 40 on two.
    assert statistics.median(seconds[1:]) < 1.0
