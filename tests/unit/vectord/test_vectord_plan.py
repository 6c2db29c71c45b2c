"""Which segments become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.vectord import plan
from services.vectord.fields import Fields
from services.vectord.hot import HotSegment
from services.vectord.items import Batch
from services.vectord.state import Slot


class Sized:
    """A segment of which only the size matters."""

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

    def cost(self, limit: int, ef: int | None, count: int) -> int:
        return count


def slots(*sizes: int) -> list[Slot]:
    return [Slot(Sized(size)) for size in sizes]


def sizes(chosen: plan.Plan) -> list[int]:
    return sorted(slot.live for slot in [chosen.base, *chosen.others] if slot is not None)


@pytest.mark.parametrize(
    ("hot", "sealed", "growth", "expected"),
    [
        (100, [], 2, [100]),
        (100, [200], 2, [100, 200]),
        (100, [201], 2, [100]),
        (100, [50, 301, 2000], 2, [50, 100]),
        (100, [300, 50], 2, [50, 100, 300]),
        (100, [3000, 15_000], 16, [100, 3000, 15_000]),
        (0, [3000, 15_000], 16, [0, 3000, 15_000]),
        (0, [900, 15_000], 16, [0]),
    ],
)
def test_a_segment_joins_unless_it_is_much_larger_than_all_before_it(
    hot: int, sealed: list[int], growth: int, expected: list[int]
) -> None:
    assert sizes(plan.choose(slots(hot), slots(*sealed), growth=growth)) == expected


def test_a_worn_segment_is_always_built_anew() -> None:
    tired = Slot(Sized(1_000_000))
    for row in range(250_001):
        tired.kill(row)
    chosen = plan.choose([], [tired, *slots(5_000_000)], growth=2)
    assert chosen.base is None
    assert tired in chosen.others


@pytest.mark.parametrize(
    ("dimension", "rows"), [(1, plan.MOST_HOT_ROWS), (256, 2048), (768, 682), (65_536, plan.LEAST_HOT_ROWS)]
)
def test_a_hot_segment_is_sealed_when_scanning_it_costs_too_much(dimension: int, rows: int) -> None:
    assert plan.hot_limit(2 << 20, dimension) == rows


def test_many_small_seals_leave_few_segments() -> None:
    sealed: list[int] = []
    rewritten = 0
    for _ in range(1000):
        chosen = plan.choose(slots(1000), slots(*sealed), growth=plan.BUSY)
        joined = sizes(chosen)
        rewritten += sum(joined)
        joined.remove(1000)
        for size in joined:
            sealed.remove(size)
        sealed.append(1000 + sum(joined))
    assert len(sealed) <= 7
    assert rewritten <= 12 * 1_000_000


def test_older_readers_of_a_hot_segment_still_find_the_older_row() -> None:
    hot = HotSegment(dimension=1, metric="l2")
    for number in range(100):
        vectors = np.full((1, 1), number, dtype=np.float32)
        hot.append(Batch(ids=["a"], vectors=vectors, norms=np.ones(1), metadata=[None]), [b""])
    assert [hot.row("a", count) for count in (0, 1, 50, 100)] == [None, 0, 49, 99]
    assert hot.vectors(np.array([49])).tolist() == [[49]]
