"""The cache of vectors."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.embedd.cache import Stats, VectorCache, cache_key

KEYS = [cache_key("m", str(number)) for number in range(8)]


def row(value: float) -> np.ndarray:
    return np.full(4, value, dtype=np.float32)


def test_a_stored_vector_is_found() -> None:
    cache = VectorCache(2)
    cache.store({KEYS[0]: row(1)})
    assert np.array_equal(cache.find(KEYS)[KEYS[0]], row(1))


def test_one_vector_can_be_put_and_got() -> None:
    cache = VectorCache(1)
    cache.put(KEYS[0], row(1))
    assert np.array_equal(cache.get(KEYS[0]), row(1))  # type: ignore[arg-type]  # it is there
    cache.put(KEYS[1], row(2))
    assert cache.get(KEYS[0]) is None


def test_one_text_has_another_key_for_another_model() -> None:
    assert cache_key("a", "b") != cache_key("ab", "")
    assert cache_key("a", "text") != cache_key("b", "text")


def test_a_capacity_of_zero_keeps_nothing() -> None:
    cache = VectorCache(0)
    cache.store({KEYS[0]: row(1)})
    assert cache.find(KEYS) == {}
    assert cache.stats().capacity == 0


def test_a_row_of_a_batch_does_not_keep_the_batch_in_memory() -> None:
    batch = np.zeros((1_000, 4), dtype=np.float32)
    cache = VectorCache(10)
    cache.store({KEYS[0]: batch[7]})
    assert cache.find(KEYS)[KEYS[0]].base is None


def test_the_hit_rate_is_zero_before_the_first_text() -> None:
    assert Stats(hits=0, misses=0, size=0, capacity=1).hit_rate == 0.0
    assert Stats(hits=3, misses=1, size=1, capacity=1).hit_rate == 0.75


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7))), st.integers(1, 6))
def test_the_least_recently_used_vector_leaves_first(steps: list[tuple[bool, int]], capacity: int) -> None:
    cache = VectorCache(capacity)
    expected: OrderedDict[bytes, None] = OrderedDict()
    for storing, number in steps:
        key = KEYS[number]
        if storing:
            cache.store({key: row(number)})
            expected[key] = None
            expected.move_to_end(key)
            if len(expected) > capacity:
                expected.popitem(last=False)
        else:
            assert (key in cache.find([key])) == (key in expected)
            if key in expected:
                expected.move_to_end(key)
    assert set(cache.find(KEYS)) == set(expected)
