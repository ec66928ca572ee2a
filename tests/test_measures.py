"""Laws of the measures: what grades void, what simulations recover, and what can never become a number."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from greenroom.measures import (
    MEASURE_SCHEMA,
    Check,
    Measure,
    assess,
    design,
    dose_response,
    elicit,
    headline,
    intervals,
    utilities,
    validity,
    wording,
)

SEEDS = st.integers(0, 2**32 - 1)
QUICK = settings(max_examples=40, deadline=None)
VALUES = st.lists(st.floats(-100, 100).map(lambda value: round(value, 3)), min_size=1, max_size=15)


def passing(name: str = "readable") -> Check:
    return Check(name, 1.0, "A", "Fine.")


# --- design ----------------------------------------------------------------------------------------------------------


@QUICK
@given(st.integers(2, 7))
def test_counterbalancing_puts_each_option_in_each_position_once(count: int) -> None:
    orders = design.counterbalanced(count)
    assert design.balanced(orders)
    assert all(sorted(column) == list(range(count)) for column in zip(*orders, strict=True))
    assert not design.balanced([*orders, orders[0]])


def test_a_choice_needs_two_options() -> None:
    with pytest.raises(ValueError, match="at least two"):
        design.counterbalanced(["only"])


@QUICK
@given(st.sets(st.text(max_size=5), min_size=3, max_size=30), SEEDS)
def test_assignment_is_balanced_and_ignores_the_order_of_items(items: set[str], seed: int) -> None:
    first = design.assignment(sorted(items), ["a", "b", "c"], seed)
    assert first == design.assignment(sorted(items, reverse=True), ["a", "b", "c"], seed)
    sizes = [list(first.values()).count(condition) for condition in "abc"]
    assert max(sizes) - min(sizes) <= 1


@QUICK
@given(st.integers(10, 60), SEEDS)
def test_folds_share_nothing_cover_everything_and_keep_strata(count: int, seed: int) -> None:
    shares = {"fit": 0.5, "selection": 0.25, "test": 0.25}
    parts = design.folds(range(count), shares, seed, strata=lambda item: item % 2)
    assert sorted(item for part in parts.values() for item in part) == list(range(count))
    for name, share in shares.items():
        assert abs(len(parts[name]) - share * count) <= 1
        assert abs(sum(item % 2 for item in parts[name]) - len(parts[name]) / 2) <= 2


def test_bad_shares_and_repeated_items_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        design.folds([1, 2], {"a": 0.5})
    with pytest.raises(ValueError, match="distinct"):
        design.folds([1, 1], 2)


# --- intervals -------------------------------------------------------------------------------------------------------


@QUICK
@given(VALUES, VALUES)
def test_auc_is_antisymmetric_and_counts_pairs(a: list[float], b: list[float]) -> None:
    by_hand = np.mean([1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b])
    assert intervals.auc(a, b) == pytest.approx(by_hand)
    assert intervals.auc(a, b) + intervals.auc(b, a) == pytest.approx(1)


@QUICK
@given(st.lists(st.floats(0.01, 10), min_size=3, max_size=12), SEEDS)
def test_the_bootstrap_interval_of_symmetric_data_contains_the_estimate(half: list[float], seed: int) -> None:
    values = np.array([*half, *(-value for value in half)])
    found = intervals.bootstrap_mean(values, seed=seed, draws=400)
    assert found.low is not None
    assert found.high is not None
    assert found.estimate is not None
    assert found.low <= found.estimate + 1e-9
    assert found.estimate <= found.high + 1e-9


def test_bootstrap_is_seeded_and_clusters_count() -> None:
    values, clusters = np.repeat(np.arange(6.0), 50), np.repeat(np.arange(6), 50)
    clustered = intervals.bootstrap_mean(values, list(clusters), seed=3)
    assert clustered == intervals.bootstrap_mean(values, list(clusters), seed=3)
    alone = intervals.bootstrap_mean(values, seed=3)
    assert clustered.n == 6
    assert (clustered.high or 0) - (clustered.low or 0) > 4 * ((alone.high or 0) - (alone.low or 0))


def test_missing_values_are_left_out_and_nothing_gives_nothing() -> None:
    assert intervals.bootstrap_mean([1.0, math.nan, 3.0]).estimate == 2.0
    assert intervals.bootstrap_mean([math.nan]) == (None, None, None, 0)
    assert intervals.bootstrap_mean([1.0, 2.0], ["s", "s"]) == (1.5, None, None, 1)


def test_a_matched_difference_keeps_its_pairs() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(0, 5, 30)
    names = list(range(30))
    paired = intervals.bootstrap_difference(base + 1, base, names, names)
    apart = intervals.bootstrap_difference(base + 1, base)
    assert paired[:3] == pytest.approx((1, 1, 1))
    assert apart.low is not None
    assert apart.low < 0
    small = intervals.bootstrap_difference(base, [1.0, 2.0])  # no draw may leave the small arm empty
    assert all(bound is not None and math.isfinite(bound) for bound in (small.low, small.high))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_wilson_covers_and_stays_inside(share: float) -> None:
    draws = np.random.default_rng(0).binomial(12, share, 500)
    found = [intervals.wilson(int(k), 12) for k in draws]
    assert all(0 <= (i.low or 0) <= (i.high or 0) <= 1 for i in found)
    assert np.mean([(i.low or 0) <= share <= (i.high or 0) for i in found]) > 0.91
    assert intervals.wilson(0, 0) == (None, None, None, 0)
    assert intervals.wilson(8, 10)[1:3] == pytest.approx((0.4902, 0.9433), abs=1e-4)  # published value


def test_wilson_and_ranks_by_their_formulas() -> None:
    z = 1.959963984540054
    for successes, n in [(0, 5), (1, 7), (8, 10), (10, 10), (2.5, 9)]:
        share = successes / n
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        by_hand = (share, max(0.0, centre - half), min(1.0, centre + half), n)
        assert intervals.wilson(successes, n) == pytest.approx(by_hand, abs=1e-12)
    # 1 below, two tied at 2, 9 above: ranks 1, 2.5, 2.5, 4. Of 2 · 2 pairs 2 and a half are won.
    assert intervals.auc([2.0, 9.0], [1.0, 2.0]) == pytest.approx((4 - 0.5) / 4, abs=1e-12)
    below, tied, above = [1.0, 2.0, 2.0, 9.0], [4.0, 1.0, 1.0, 3.0], [0.0, 5.0, 5.0, 6.0]
    ranks = np.array([[1, 2.5, 2.5, 4], [4, 1.5, 1.5, 3], [1, 2.5, 2.5, 4]])
    by_hand = np.corrcoef(ranks)[np.triu_indices(3, 1)].mean()
    assert validity.paraphrase_agreement([below, tied, above]).value == pytest.approx(by_hand, abs=1e-12)


def test_fieller_by_its_formula() -> None:
    rng = np.random.default_rng(2)
    bottom = rng.normal(1, 1, 30)
    top = 0.5 * bottom + rng.normal(0, 0.5, 30)
    found = intervals.fieller(top, bottom)
    assert found.estimate == pytest.approx(top.mean() / bottom.mean())
    # A bound r is where the mean of top − r·bottom is exactly t standard errors from 0.
    for bound in (found.low, found.high):
        difference = top - bound * bottom
        assert abs(difference.mean()) == pytest.approx(stats.t.ppf(0.975, 29) * difference.std(ddof=1) / math.sqrt(30))


def test_students_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=9)
    found = intervals.student_mean([*values, math.nan])
    assert found[:3] == pytest.approx((values.mean(), *stats.t.interval(0.95, 8, values.mean(), stats.sem(values))))
    assert found.n == 9
    assert intervals.student_mean([]) == (None, None, None, 0)
    assert intervals.student_mean([2.0]) == (2.0, None, None, 1)


def test_fieller_is_null_when_the_denominator_may_be_zero_and_covers_otherwise() -> None:
    rng = np.random.default_rng(1)
    assert intervals.fieller(rng.normal(1, 1, 20), np.tile([-1.0, 1.0], 10))[:3] == (None, None, None)
    hits = 0
    for _ in range(300):
        drift = rng.normal(2, 1, 15)
        found = intervals.fieller(0.5 * drift + rng.normal(0, 0.5, 15), drift)
        hits += found.low is not None and found.high is not None and found.low <= 0.5 <= found.high
    assert 0.91 <= hits / 300 <= 0.99


def test_mean_auc_and_its_interval() -> None:
    rng = np.random.default_rng(0)
    questions, roles = np.tile(np.arange(10), 8), np.repeat(np.arange(8), 10)
    effect = rng.normal(0, 1, 10)
    positive = 1.5 + effect + rng.normal(0, 1, 10)
    negative = effect[questions] + rng.normal(0, 1, 80)
    found = intervals.bootstrap_mean_auc(
        positive, negative, list(roles), positive_clusters=list(range(10)), negative_clusters=list(questions), draws=500
    )
    by_hand = np.mean([intervals.auc(positive, negative[roles == role]) for role in range(8)])
    assert found.estimate == pytest.approx(by_hand)
    assert found.low is not None
    assert found.high is not None
    assert found.low < by_hand < found.high
    assert found.n == 8
    perfect = intervals.bootstrap_mean_auc([5.0, 6.0], [1.0, 2.0, 3.0], ["a", "a", "b"], draws=200)
    assert perfect[:3] == (1, 1, 1)


# --- validity --------------------------------------------------------------------------------------------------------


def letter_validity(choices: list[list[int | None]]) -> validity.Validity:
    orders = design.counterbalanced(2)
    shown = [
        None if choice is None else order.index(choice)
        for row in choices
        for choice, order in zip(row, orders, strict=True)
    ]
    flat = [choice is not None for row in choices for choice in row]
    checks = [
        validity.order_consistency(choices),
        validity.order_bias(shown),
        validity.readable(flat),
        validity.paraphrase_choices([[row[0] for row in choices], [row[1] for row in choices]]),
    ]
    return assess(checks, "letter")


@QUICK
@given(st.integers(1, 80), st.integers(0, 1))
def test_an_order_only_answerer_is_void(pairs: int, position: int) -> None:
    orders = design.counterbalanced(2)
    found = letter_validity([[order[position] for order in orders] for _ in range(pairs)])
    assert found.grade == "void"
    assert "do not follow the content" in found.reason


@QUICK
@given(st.integers(20, 80), SEEDS)
def test_a_perfect_answerer_is_graded_a(pairs: int, seed: int) -> None:
    content = np.random.default_rng(seed).integers(0, 2, pairs).tolist()
    found = letter_validity([[choice, choice] for choice in content])
    assert found.grade == "A"
    assert found.reason == "Every check passed."


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 80), SEEDS)
def test_a_random_answerer_is_never_graded_a(pairs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert letter_validity(rng.integers(0, 2, (pairs, 2)).tolist()).grade not in ("A", "B")
    noise = rng.normal(size=(2, pairs))
    assert validity.order_agreement(noise).grade != "A"
    assert validity.reversal(noise[0], noise[1]).grade != "A"
    assert validity.null_agreement(rng.normal(size=(3, pairs))).grade != "A"


def test_random_answers_are_seldom_anything_but_void() -> None:
    rng = np.random.default_rng(0)
    grades = [validity.order_consistency(rng.integers(0, 2, (12, 2)).tolist()).grade for _ in range(400)]
    assert np.mean([grade != "void" for grade in grades]) <= 0.05
    grades = [validity.order_agreement(rng.normal(size=(2, 12))).grade for _ in range(400)]
    assert np.mean([grade != "void" for grade in grades]) <= 0.05


def test_log_odds_with_a_lean_keep_their_content_and_a_lean_alone_is_void() -> None:
    rng = np.random.default_rng(0)
    content = rng.normal(0, 1, 40)
    assert validity.order_agreement([content + 3, content - 3]).grade == "A"
    noise = rng.normal(0, 0.1, (2, 40))
    assert validity.order_agreement(noise + np.array([[3], [-3]])).grade == "void"
    assert validity.order_bias([0] * 40).grade == "void"
    assert validity.order_bias([0] * 40, averaged=True).grade == "C"


def test_strings_that_agree_are_no_preference_when_nulls_disagree() -> None:
    rng = np.random.default_rng(0)
    wordings = rng.normal(size=24) + rng.normal(0, 0.1, (3, 24))
    nulls = wordings[0] - rng.normal(0, 1.5, (3, 24))
    checks = [validity.paraphrase_agreement(wordings), validity.null_agreement(nulls)]
    checks.append(validity.reversal(wordings[0], -wordings[0]))
    found = assess(checks, "cloze")
    assert [check.grade for check in checks] == ["A", "void", "A"]
    assert found.grade == "void"
    assert "null prompt" in found.reason


def test_unchecked_requirements_void_and_unchecked_wishes_cap_at_b() -> None:
    assert assess([]).grade == "void"
    assert assess([passing("null_agreement")], "cloze").grade == "void"
    found = assess([passing("null_agreement"), passing("reversal")], "cloze")
    assert found.grade == "B"
    assert found.reason == "Agreement between different wordings is not known."


def test_two_nulls_are_not_enough_and_an_agreeing_opposite_is_void() -> None:
    values = np.arange(30.0)
    assert validity.null_agreement([values, values]).grade == "void"
    assert validity.null_agreement([values, values, values]).grade == "A"
    assert validity.reversal(values, values).grade == "void"
    assert validity.reversal(values, -values).value == pytest.approx(1)


def test_few_cases_and_constant_answers_earn_no_good_grade() -> None:
    assert validity.order_consistency([[1, 1]] * 3).grade == "void"
    assert validity.order_consistency([[1, 1]] * 6).grade == "C"
    assert validity.retest([1.0] * 30, [1.0] * 30).grade == "void"
    assert validity.retest_choices([1] * 30, [1] * 30).grade == "A"
    assert validity.comprehension([True] * 17 + [None] * 3).value == pytest.approx(0.85)


@pytest.mark.parametrize(("share", "grade"), [(0.96, "A"), (0.9, "B"), (0.8, "C"), (0.79, "void"), (0.0, "void")])
def test_readable_share_follows_its_cuts(share: float, grade: str) -> None:
    assert validity.readable([True] * round(share * 100) + [False] * round(100 - share * 100)).grade == grade


def test_a_void_measure_holds_no_number() -> None:
    void = Measure("adherence", 0.7, 0.6, 0.8, 66, letter_validity([[0, 1]] * 66))
    assert (void.estimate, void.low, void.high, void.grade) == (None, None, None, "void")
    assert "void" in str(void)
    assert "0.7" not in str(void)
    assert void.reason.count(".") == 1
    valid = Measure("adherence", 0.7, None, 0.8, 66, assess([passing()]))
    assert str(valid) == "adherence: 0.70 [open, 0.80], n = 66, grade A"
    assert headline({"letter": void, "rating": valid, "cloze": valid}) == "cloze"
    assert headline({"letter": void}) is None
    with pytest.raises(ValueError, match="no number"):
        Measure("adherence", math.nan, None, None, 3, assess([passing()]))


def test_rows_of_measures_have_the_same_columns_and_types_whatever_is_known() -> None:
    void = Measure(
        "adherence", 0.7, 0.6, 0.8, 66, letter_validity([[0, 1]] * 66), p=0.01, delta=0.12, outcome="unreadable"
    )
    told = Measure(
        "cost", 0.3, 0.1, 0.5, 20, assess([passing()]), paradigm="contrast", unit="nats", split="confirm", primary=True,
        p=0.01, delta=0.12, reach=0.9, outcome="effect",
    )  # fmt: skip
    assert list(told.row()) == list(MEASURE_SCHEMA)
    assert list(told.row().values()) == [
        "", "cost", True, "contrast", "confirm", "nats", 0.3, 0.1, 0.5, 20, 0.12, 0.01, None, "A", "effect", 0.9, told.reason,
    ]  # fmt: skip
    shown = void.row()
    assert [shown[name] for name in ("estimate", "low", "high", "p", "n", "delta")] == [
        None,
        None,
        None,
        None,
        66,
        0.12,
    ]
    assert (shown["grade"], shown["outcome"], shown["primary"]) == ("void", "unreadable", False)
    frames = [pl.DataFrame(rows, schema=MEASURE_SCHEMA) for rows in ([told.row()], [shown], [told.row(), shown], [])]
    assert len({tuple(frame.schema.items()) for frame in frames}) == 1
    with pytest.raises(ValueError, match="no number"):
        Measure("cost", 0.1, None, None, 3, assess([passing()]), reach=math.inf)


def test_every_check_has_its_sentences() -> None:
    for name in validity.CUTS:
        for key in ("said", "void"):
            assert "{" not in wording.reason(name, key, value=0.5, n=10)
        assert wording.sentence(wording.reason(name, "unknown")).endswith(".")
    assert set(validity.REQUIRED) == set(validity.WANTED) == set(elicit.PARADIGM_ORDER)
    for names in (*validity.REQUIRED.values(), *validity.WANTED.values()):
        assert set(names) <= set(validity.CUTS)


# --- elicit ----------------------------------------------------------------------------------------------------------


def test_letters_follow_the_order_and_choices_come_back_to_the_option() -> None:
    options = ["keep {faith}", "give in", "wait"]
    for order in design.counterbalanced(options):
        (message,) = elicit.letter_prompt("Which {one}?", options, order)
        assert f"A) {options[order[0]]}\nB) {options[order[1]]}" in message["content"]
        likely_b = elicit.letter_choice([-3.0, -0.1, -4.0], order)
        assert (likely_b.option, likely_b.position) == (order[1], 1)
        assert elicit.letter_text("B", order).option == order[1]


@pytest.mark.parametrize(
    ("logprobs", "missing"),
    [([-1.0, -1.0], "tie"), ([-9.0, -8.0], "not a listed token"), ([None, None], "no log-probability")],
)
def test_unreadable_letters_are_missing(logprobs: list[float | None], missing: str) -> None:
    found = elicit.letter_choice(logprobs, (0, 1))
    assert found.option is None
    assert found.missing == missing


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("A", 0),
        ("(b)", 1),
        ("B) pay the fine", 1),
        ("A.", 0),
        ("My answer is B.", 1),
        ("I choose (A).", 0),
        ("A dog is nice", None),
        ("I think so", None),
        ("", None),
        ("Option A or option B", None),
        ("C", None),
    ],
)
def test_letter_text_reads_only_listed_forms(text: str, option: int | None) -> None:
    assert elicit.letter_text(text, (0, 1)).option == option


@QUICK
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=5), st.floats(-5, 5))
def test_order_averaging_removes_a_constant_lean(content: list[float], lean: float) -> None:
    count = len(content)
    orders = design.counterbalanced(count)
    rows: list[list[float | None]] = []
    for order in orders:
        raw = np.array([content[option] + lean * (place == 0) for place, option in enumerate(order)])
        rows.append((raw - np.log(np.exp(raw).sum())).tolist())
    found = elicit.letter_logodds(rows, orders)
    assert found.scores == pytest.approx(np.array(content) - np.mean(content), abs=1e-9)
    assert found.probabilities is not None
    assert sum(found.probabilities) == pytest.approx(1)
    with pytest.raises(ValueError, match="balanced"):
        elicit.letter_logodds(rows[:1], orders[:1])


def test_one_unreadable_order_makes_the_average_missing() -> None:
    found = elicit.letter_logodds([[-0.1, -3.0], [None, -1.0]], design.counterbalanced(2))
    assert (found.scores, found.probabilities, found.missing) == (None, None, "no log-probability")
    assert math.isnan(found.log_odds())


def test_cloze_shares_one_frame_over_question_and_nulls() -> None:
    prompts = elicit.cloze_prompts("What now?", "I would choose to ", system_message="You are a pirate.")
    assert len(prompts) >= 4
    assert all(prompt[-1] == {"role": "assistant", "content": "I would choose to"} for prompt in prompts)
    assert [prompt[0]["role"] for prompt in prompts] == ["system", *["user"] * (len(prompts) - 1)]
    assert elicit.cloze_continuations(["pay.", " run"]) == [" pay.", " run."]
    with pytest.raises(ValueError, match="at least 3"):
        elicit.cloze_prompts("What now?", "I would", nulls=["a", "b"])


TABLE = st.lists(st.floats(-30, -1), min_size=3, max_size=3)


@QUICK
@given(TABLE, st.lists(TABLE, min_size=3, max_size=5), st.lists(st.floats(-20, 20), min_size=3, max_size=3))
def test_cloze_ignores_the_prior_of_an_option(
    question: list[float], nulls: list[list[float]], prior: list[float]
) -> None:
    plain = elicit.cloze_preference(question, nulls)
    shifted = elicit.cloze_preference(np.add(question, prior), np.add(nulls, prior))
    assert plain.scores is not None
    assert plain.scores == pytest.approx(shifted.scores, abs=1e-9)
    assert np.mean(plain.versions, axis=0) == pytest.approx(plain.scores, abs=1e-9)
    by_hand = np.array(question) - np.mean(nulls, axis=0)
    assert plain.scores == pytest.approx(by_hand - by_hand.mean(), abs=1e-9)


def test_two_option_log_odds_agree_with_probabilities() -> None:
    found = elicit.cloze_preference([-2.0, -5.0], [[-3.0, -4.0]] * 3)
    assert found.log_odds(0) == pytest.approx(2.0)
    assert found.probabilities == pytest.approx((expit(2.0), expit(-2.0)))
    assert found.version_log_odds(0) == pytest.approx((2.0, 2.0, 2.0))


@QUICK
@given(st.lists(st.floats(-8, 0), min_size=7, max_size=7))
def test_a_rating_is_an_expectation_or_missing_never_a_midpoint(raw: list[float]) -> None:
    values = np.array(raw) - np.log(np.exp(raw).sum())
    by_hand = float(np.exp(values) @ np.arange(1, 8))
    assert elicit.rating_expectation(values.tolist()).value == pytest.approx(by_hand)
    faint = elicit.rating_expectation((values - 6).tolist())
    assert faint.value is None
    assert faint.mass == pytest.approx(math.exp(-6))
    assert elicit.rating_expectation([None] * 7).value is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7.0), ("5/7", 5.0), (" **3**", 3.0), ("4 out of 7", 4.0), ("10", None), ("3.5", None), ("2-3", None),
     ("I cannot say", None), ("", None), ("8", None)],
)  # fmt: skip
def test_rating_text_reads_one_number_from_one_to_seven(text: str, value: float | None) -> None:
    assert elicit.rating_text(text).value == value


@pytest.mark.parametrize(
    ("text", "option", "missing"),
    [
        ("I would tell the truth.", 0, None),
        ("I’d lie, sadly.", 1, None),
        ("I would not lie.", 0, None),
        ("I won't tell the truth.", None, "negated"),
        ("I never lie, I tell the truth.", 0, None),
        ("No, I'd tell the truth.", 0, None),
        ("Tell the truth or lie, who knows.", None, "several answers"),
        ("Liefde is all.", None, "no listed answer"),
        ("I cannot answer that.", None, "refused"),
        ("   ", None, "empty"),
    ],
)
def test_free_text_is_read_by_lists_only(text: str, option: int | None, missing: str | None) -> None:
    found = elicit.free_choice(text, [["tell the truth", "not lie"], ["lie"]])
    assert (found.option, found.missing) == (option, missing)
    assert found.read is (missing is None)


def test_a_reply_cut_off_before_its_answer_says_so() -> None:
    assert elicit.free_choice("Well, let me", [["pay"], ["run"]], truncated=True).missing == "cut off"
    assert elicit.letter_text("Well,", (0, 1), truncated=True).missing == "cut off"


def test_every_wording_can_be_asked() -> None:
    for index in range(3):
        assert elicit.letter_prompt("Q?", ["a", "b"], (0, 1), wording=index)
        assert elicit.cloze_prompts("Q?", "I", wording=index)
        assert elicit.rating_prompt("S.", wording=index)
        assert elicit.free_prompt("Q?", wording=index)
    with pytest.raises(ValueError, match="wordings 0 to"):
        elicit.rating_prompt("S.", wording=9)


# --- psychometric ----------------------------------------------------------------------------------------------------

Data = tuple[np.ndarray, np.ndarray, list[int], list[int]]


def simulated(
    seed: int, situations: int = 12, intercept: float = 2.0, slope: float = -1.0, sd: float = 1.0,
    slope_sd: float = 0.0, fractional: bool = False,
) -> Data:  # fmt: skip
    rng = np.random.default_rng(seed)
    s, x, o = (g.ravel() for g in np.meshgrid(range(situations), range(5), range(2), indexing="ij"))
    own = rng.normal(0, sd, situations)[s] + rng.normal(0, slope_sd, situations)[s] * x
    p = expit(intercept + own + slope * x)
    y = rng.beta(5 * p, 5 * (1 - p)) if fractional else (rng.random(len(p)) < p).astype(float)
    return y, x.astype(float), s.tolist(), o.tolist()


@pytest.mark.parametrize(
    ("intercept", "slope", "slope_sd", "fractional"),
    [(2.0, -1.0, 0.0, False), (2.0, -1.0, 0.5, False), (2.0, -1.0, 0.0, True)],
)
def test_known_slopes_and_breaking_points_are_recovered_and_covered(
    intercept: float, slope: float, slope_sd: float, fractional: bool
) -> None:
    seeds, slopes, points, slope_hits, point_hits = 100, [], [], 0, 0
    for seed in range(seeds):
        data = simulated(seed, intercept=intercept, slope=slope, slope_sd=slope_sd, fractional=fractional)
        found = dose_response(*data)
        assert found.slope is not None
        slopes.append(found.slope)
        slope_hits += (found.slope_low or -math.inf) <= slope <= (found.slope_high or math.inf)
        if found.breaking_point is not None:
            points.append(found.breaking_point)
            low = -math.inf if found.low is None else found.low
            point_hits += low <= 2.0 <= (math.inf if found.high is None else found.high)
    assert np.mean(slopes) == pytest.approx(slope, rel=0.1)
    assert np.median(points) == pytest.approx(2.0, abs=0.2)
    assert len(points) >= 90
    assert slope_hits / seeds >= 0.89  # three standard errors below .95 with 100 seeds
    assert point_hits / len(points) >= 0.89


def test_without_an_effect_a_breaking_point_is_rare() -> None:
    found = [dose_response(*simulated(seed, intercept=1.0, slope=0.0)) for seed in range(100)]
    assert sum(one.breaking_point is not None for one in found) <= 8
    assert all(one.slope is not None for one in found)


def test_the_likelihood_gradient_is_right() -> None:
    from greenroom.measures.psychometric import _Model

    y, x, s, _ = simulated(0)
    model, at = _Model.of(y, x, np.array(s)), np.array([0.7, -0.4, -0.2])
    numeric = [(model.loss(at + e)[0] - model.loss(at - e)[0]) / 2e-5 for e in np.eye(3) * 1e-5]
    assert model.loss(at)[1] == pytest.approx(numeric, rel=1e-4)


def test_the_curve_crosses_one_half_at_the_breaking_point_and_follows_the_means() -> None:
    y, x, s, o = simulated(3, situations=60)
    found = dose_response(y, x, s, o)
    assert found.curve(found.breaking_point) == pytest.approx(0.5, abs=1e-6)
    means = [y[x == stake].mean() for stake in range(5)]
    assert found.curve(np.arange(5)) == pytest.approx(np.array(means), abs=0.08)


def grid() -> Data:
    s, x, o = (g.ravel() for g in np.meshgrid(range(12), range(5), range(2), indexing="ij"))
    return np.ones(len(x)), x.astype(float), s.tolist(), o.tolist()


def test_perfect_separation_has_a_finite_slope_and_a_breaking_point() -> None:
    _, x, s, o = grid()
    found = dose_response((x < 3).astype(float), x, s, o)
    assert found.slope is not None
    assert -20 < found.slope < -3
    assert found.breaking_point == pytest.approx(2.5, abs=0.2)
    assert found.low is not None
    assert found.low > 2


def test_undefined_breaking_points_give_their_reason_and_keep_the_slope() -> None:
    ones, x, s, o = grid()
    never = dose_response(ones, x, s, o)
    assert never.breaking_point is None
    assert never.slope == pytest.approx(0, abs=1e-3)
    assert "does not change" in (never.reason or "")
    position = dose_response(np.array(o, float), x, s, o)
    assert position.breaking_point is None
    assert position.slope is not None
    assert "with order 0" in (position.reason or "")
    assert position.control == {"0": 0.0, "1": 1.0}
    one_order = dose_response((x < 3).astype(float), x, s, [0] * len(x))
    assert "one order only" in (one_order.reason or "")
    assert dose_response((x < 3).astype(float), x, s).breaking_point is not None
    rising = dose_response(np.where((x > 1) | (np.array(s) > 2), 1.0, 0.0), x, s, o)
    assert "rises" in (rising.reason or "")


def test_a_breaking_point_beyond_the_stakes_is_marked() -> None:
    _, x, s, o = grid()
    found = dose_response(expit(5 - x), x, s, o)
    assert found.breaking_point == pytest.approx(5, abs=0.1)
    assert "extrapolated" in (found.reason or "")


def test_an_interval_may_stay_open() -> None:
    found = dose_response(*simulated(13, 12, intercept=1.0, slope=-0.5))  # a shallow slope in one noisy sample
    assert found.breaking_point is not None
    assert found.low is None or found.high is None
    assert found.slope_high is not None
    assert found.slope_high < 0


def test_missing_answers_are_counted_and_never_a_midpoint() -> None:
    y, x, s, o = simulated(1)
    kept = dose_response(y, x, s, o)
    padded = dose_response([*y.tolist(), *[None] * 40], [*x, *[4.0] * 40], [*s, *[0] * 40], [*o, *[0] * 40])
    assert padded.slope == pytest.approx(kept.slope)
    assert (padded.n, padded.missing) == (kept.n, 40)
    nothing = dose_response([None, math.nan], [0, 1], ["a", "b"])
    assert (nothing.slope, nothing.n, nothing.reason) == (None, 0, "No answer could be read.")
    assert np.isnan(nothing.curve([0, 1])).all()
    single = dose_response([1, 1, 0, 0], [0, 1, 2, 3], ["a"] * 4)
    assert single.slope is not None
    assert single.slope_low is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        dose_response([1.2], [0], ["a"])
    with pytest.raises(ValueError, match="one entry"):
        dose_response([1.0], [0, 1], ["a"])


# --- utilities -------------------------------------------------------------------------------------------------------


def test_utilities_recover_an_order_and_random_choices_show_as_such() -> None:
    rng = np.random.default_rng(0)
    true = np.linspace(-2, 2, 8)
    index = [(i, j) for i in range(8) for j in range(i + 1, 8)]
    found = utilities.bradley_terry([utilities.Pair(i, j, float(expit(true[i] - true[j]))) for i, j in index], 8)
    assert np.argsort(found.values).tolist() == list(range(8))
    assert (found.cycles, found.triads, found.holdout) == (0, 56, 1.0)
    noise = utilities.bradley_terry([utilities.Pair(i, j, float(rng.integers(0, 2))) for i, j in index], 8)
    assert noise.cycles > 4
    assert noise.holdout is not None
    assert noise.holdout < 0.8
    gone = utilities.bradley_terry([utilities.Pair(0, 1, None), utilities.Pair(0, 1, 0.9)], 2)
    assert (gone.n, gone.missing, gone.holdout) == (1, 1, None)


def test_measures_do_not_import_torch() -> None:
    code = "import sys, greenroom.measures, greenroom.measures.utilities; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
