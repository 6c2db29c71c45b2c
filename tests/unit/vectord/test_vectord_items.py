"""Items are checked as a whole before anything is applied (V2)."""

from __future__ import annotations

import numpy as np
import pytest

from services.runtime.errors import InvalidArgument
from services.vectord.errors import EmptyId, IdTooLong, NotFinite, WrongDimension, ZeroNorm
from services.vectord.segments.metric import LONGEST, Metric, distances
from services.vectord.tree.items import Item, check, normalise


def item(item_id: str, *components: float, metadata: bytes | None = None) -> Item:
    return Item(id=item_id, vector=np.array(components, dtype=np.float32), metadata=metadata)


GOOD = item("good", 1, 2)


@pytest.mark.requirement("V2")
@pytest.mark.parametrize(
    ("bad", "metric", "error", "field"),
    [
        (item("", 1, 2), "l2", EmptyId, "items[1].id"),
        (item("x" * 1025, 1, 2), "l2", IdTooLong, "items[1].id"),
        (item("\N{GRINNING FACE}" * 257, 1, 2), "l2", IdTooLong, "items[1].id"),
        (item("a", 1, 2, 3), "l2", WrongDimension, "items[1].vector"),
        (item("a"), "l2", WrongDimension, "items[1].vector"),
        (item("a", 1, float("nan")), "ip", NotFinite, "items[1].vector"),
        (item("a", 1, float("inf")), "cosine", NotFinite, "items[1].vector"),
        (item("a", -float("inf"), 1), "l2", NotFinite, "items[1].vector"),
        (item("a", 3e38, 1), "l2", NotFinite, "items[1].vector"),
        (item("a", 3e38, 1), "ip", NotFinite, "items[1].vector"),
        (item("a", 0, 0), "cosine", ZeroNorm, "items[1].vector"),
        (item("a", 0, -0.0), "cosine", ZeroNorm, "items[1].vector"),
    ],
)
def test_a_bad_item_is_refused_by_its_place(
    bad: Item, metric: Metric, error: type[InvalidArgument], field: str
) -> None:
    with pytest.raises(error) as raised:
        check([GOOD, bad, GOOD], dimension=2, metric=metric)
    assert [violation.field for violation in raised.value.violations] == [field]


@pytest.mark.requirement("V2")
def test_an_id_may_have_as_many_bytes_as_the_limit_says() -> None:
    assert check([item("\N{GRINNING FACE}" * 256, 1, 2)], dimension=2, metric="l2").ids


@pytest.mark.requirement("V2")
def test_zeros_are_a_vector_unless_directions_are_compared() -> None:
    assert len(check([item("a", 0, 0)], dimension=2, metric="l2")) == 1
    assert len(check([item("a", 0, 0)], dimension=2, metric="ip")) == 1


@pytest.mark.requirement("V2")
def test_of_items_with_one_id_the_last_wins_as_a_whole() -> None:
    batch = check([item("a", 1, 0, metadata=b"first"), item("b", 5, 5), item("a", 0, 1)], dimension=2, metric="l2")
    assert dict(zip(batch.ids, batch.metadata, strict=True)) == {"a": None, "b": None}
    assert batch.vectors[list(batch.ids).index("a")].tolist() == [0, 1]


@pytest.mark.requirement("V2")
def test_cosine_vectors_are_kept_with_length_one_and_know_the_length_they_had() -> None:
    batch = check([item("a", 3, 4), item("b", 3e38, 0), item("c", 0, 1e-45)], dimension=2, metric="cosine")
    assert np.allclose(batch.vectors, np.array([[0.6, 0.8], [1, 0], [0, 1]]))
    assert np.allclose(batch.norms, np.array([5, 3e38, 1.4e-45]))


@pytest.mark.requirement("V2")
def test_the_longest_vectors_have_finite_distances() -> None:
    vectors, _ = normalise(
        [np.array([LONGEST], dtype=np.float32), np.array([-LONGEST], dtype=np.float32)],
        dimension=1,
        metric="l2",
        names=["a", "b"],
    )
    assert np.isfinite(distances("l2", vectors[0], vectors)).all()
    assert np.isfinite(distances("ip", vectors[0], vectors)).all()


@pytest.mark.requirement("V2")
def test_the_callers_array_is_left_alone() -> None:
    vector = np.array([3, 4], dtype=np.float32)
    check([Item(id="a", vector=vector)], dimension=2, metric="cosine")
    assert vector.tolist() == [3, 4]
