"""Bootstrap intervals and ranking measures, against values that are known otherwise."""

from __future__ import annotations

import math
import random

import pytest

from services.labs.intervals import jaccard, mean_interval, ndcg, paired_interval, percentile, share_interval


def test_an_interval_holds_the_mean_and_is_the_same_for_the_same_seed() -> None:
    values = [0.1, 0.4, 0.3, 0.9, 0.5]
    found = mean_interval(values, seed=1)
    assert found.low < found.mean < found.high
    assert found.mean == pytest.approx(0.44)
    assert found == mean_interval(values, seed=1)


def test_an_interval_is_as_wide_as_theory_says() -> None:
    pick = random.Random(3)
    values = [pick.gauss(0, 1) for _ in range(400)]
    found = mean_interval(values, seed=3)
    assert found.high - found.low == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.15)


def test_intervals_of_many_samples_hold_the_truth_nearly_as_often_as_they_promise() -> None:
    pick = random.Random(4)
    held = 0
    for seed in range(200):
        found = mean_interval([pick.random() for _ in range(40)], seed=seed, resamples=500)
        held += found.low <= 0.5 <= found.high
    assert 180 <= held <= 198


def test_a_paired_difference_is_surer_than_its_parts() -> None:
    pick = random.Random(5)
    before = [pick.random() for _ in range(50)]
    after = [value + 0.05 for value in before]
    found = paired_interval(before, after, seed=5)
    assert found.above_zero
    assert found.high - found.low < 1e-9
    with pytest.raises(ValueError):
        paired_interval([1.0], [1.0, 2.0], seed=5)


def test_no_difference_is_no_evidence() -> None:
    pick = random.Random(6)
    before, after = [[pick.random() for _ in range(60)] for _ in range(2)]
    assert not paired_interval(before, after, seed=6).above_zero
    assert not mean_interval([], seed=6).above_zero


def test_a_share_of_all_or_none_has_the_exact_bound() -> None:
    assert share_interval([True] * 20, seed=1).low == pytest.approx(0.8316, abs=1e-4)
    assert share_interval([True] * 20, seed=1).high == 1.0
    assert share_interval([False] * 20, seed=1).high == pytest.approx(0.1684, abs=1e-4)
    assert share_interval([], seed=1).cases == 0
    assert 0.3 < share_interval([True, False] * 20, seed=1).low < 0.5


def test_ndcg_is_that_of_the_textbook() -> None:
    assert ndcg([3, 2, 3, 0, 1, 2], [3, 3, 3, 2, 2, 2, 1, 0]) == pytest.approx(
        (3 + 2 / math.log2(3) + 3 / 2 + 1 / math.log2(6) + 2 / math.log2(7))
        / (3 + 3 / math.log2(3) + 3 / 2 + 2 / math.log2(5) + 2 / math.log2(6) + 2 / math.log2(7) + 1 / math.log2(8))
    )
    assert ndcg([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert ndcg([0.0], [0.0]) is None
    assert ndcg([0.0, 1.0], [1.0], depth=1) == 0.0


def test_overlap_and_percentiles() -> None:
    assert jaccard("abc", "bcd") == 0.5
    assert jaccard("", "") == 1.0
    assert percentile([5.0, 1.0, 3.0, 2.0, 4.0], 0.5) == 3.0
    assert percentile(list(map(float, range(1, 101))), 0.99) == 99.0
    assert percentile([7.0], 0.01) == percentile([7.0], 1.0) == 7.0
    assert percentile([], 0.5) == 0.0
