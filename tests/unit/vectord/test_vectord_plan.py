"""Which segments become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.vectord.segments.fields import Fields
from services.vectord.segments.hot import HotSegment
from services.vectord.segments.metric import Metric
from services.vectord.tree import plan
from services.vectord.tree.items import Batch
from services.vectord.tree.state import Slot


class Sized:
    """A segment of which only the size matters."""

    metric: Metric = "l2"
    fields = Fields([])
    ids: tuple[str, ...] = ()
    metadata: tuple[bytes, ...] = ()

    def __init__(self, count: int) -> None:
        self.count = count

    def row(self, item_id: str, count: int) -> int | None:
        return None

    def vectors(self, rows: Any) -> Any:
        return None

    def norms(self, rows: Any) -> Any:
        return None

    def nearest(self, query: Any, limit: int, **_: Any) -> Any:
        return None

    def score(self, query: Any, rows: Any) -> Any:
        return None

    def cost(self, limit: int, ef: int | None, count: int) -> int:
        return count


def slots(*sizes: int) -> list[Slot]:
    return [Slot(Sized(size)) for size in sizes]


def sizes(chosen: plan.Plan | None) -> list[int]:
    return [] if chosen is None else sorted(slot.live for slot in chosen.slots)


@pytest.mark.parametrize(
    ("sealed", "growth", "expected"),
    [
        ([100], 2, []),
        ([100, 200], 2, [100, 200]),
        ([100, 201], 2, []),
        ([100, 50, 301, 2000], 2, [50, 100]),
        ([100, 300, 50], 2, [50, 100, 300]),
        ([100, 3000, 15_000], 16, [100, 3000, 15_000]),
        ([100, 3000], 16, []),
        ([1000, 3000, 15_000], 16, [1000, 3000, 15_000]),
        ([900, 15_000], 16, []),
        ([100, 100], 0, []),
    ],
)
def test_a_segment_joins_unless_it_is_much_larger_than_all_before_it(
    sealed: list[int], growth: int, expected: list[int]
) -> None:
    assert sizes(plan.choose(slots(*sealed), growth=growth)) == expected


def test_all_segments_are_built_anew_when_that_is_asked_for() -> None:
    chosen = plan.choose(slots(5, 5000), growth=0, fresh=True)
    assert chosen is not None
    assert (chosen.base, sizes(chosen)) == (None, [5, 5000])
    assert plan.choose([], growth=0, fresh=True) is None


@pytest.mark.parametrize(
    ("hot", "sealed", "expected"), [(0, [10], False), (10, [160], True), (10, [161], False), (0, [10, 160], True)]
)
def test_hot_rows_join_what_is_not_much_larger(hot: int, sealed: list[int], expected: bool) -> None:
    assert plan.joins(hot, slots(*sealed), growth=plan.QUIET) is expected


def test_a_worn_segment_is_always_built_anew() -> None:
    tired = Slot(Sized(1_000_000))
    for row in range(250_001):
        tired.kill(row)
    chosen = plan.choose([tired, *slots(5_000_000)], growth=2)
    assert chosen is not None
    assert chosen.base is None
    assert chosen.others == [tired]


@pytest.mark.parametrize(
    ("dimension", "rows"), [(1, plan.MOST_HOT_ROWS), (256, 2048), (768, 682), (65_536, plan.LEAST_HOT_ROWS)]
)
def test_a_hot_segment_is_sealed_when_scanning_it_costs_too_much(dimension: int, rows: int) -> None:
    assert plan.hot_limit(2 << 20, dimension) == rows


def test_many_small_seals_leave_few_segments() -> None:
    sealed: list[int] = []
    rewritten = 0
    for _ in range(1000):
        sealed.append(1000)
        joined = sizes(plan.choose(slots(*sealed), growth=plan.BUSY))
        rewritten += sum(joined) + 1000
        for size in joined:
            sealed.remove(size)
        sealed += [sum(joined)] * bool(joined)
    assert len(sealed) <= 7
    assert rewritten <= 12 * 1_000_000


def test_older_readers_of_a_hot_segment_still_find_the_older_row() -> None:
    hot = HotSegment(dimension=1, metric="l2")
    for number in range(100):
        vectors = np.full((1, 1), number, dtype=np.float32)
        hot.append(Batch(ids=["a"], vectors=vectors, norms=np.ones(1), metadata=[None]), [b""])
    assert [hot.row("a", count) for count in (0, 1, 50, 100)] == [None, 0, 49, 99]
    assert hot.vectors(np.array([49])).tolist() == [[49]]
