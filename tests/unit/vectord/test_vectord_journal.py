"""What a log record says is what was written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.vectord.tree import journal
from services.vectord.tree.items import Batch
from services.vectord.tree.journal import Delete, Operation

TEXTS = st.lists(st.text(max_size=8), max_size=4, unique=True)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    ids = draw(TEXTS)
    dimension = draw(st.integers(1, 3))
    numbers = st.floats(-1e6, 1e6, width=32)
    vectors = [draw(st.lists(numbers, min_size=dimension, max_size=dimension)) for _ in ids]
    return Batch(
        ids=ids,
        vectors=np.array(vectors, dtype=np.float32).reshape(len(ids), dimension),
        norms=np.array([draw(st.floats(0, 1e300)) for _ in ids], dtype=np.float64),
        metadata=[draw(st.one_of(st.none(), st.binary(max_size=9))) for _ in ids],
    )


def plain(operation: Operation) -> object:
    if isinstance(operation, Delete):
        return list(operation.ids)
    return (
        list(operation.ids),
        operation.vectors.shape,
        operation.vectors.tolist(),
        operation.norms.tolist(),
        list(operation.metadata),
    )


@given(
    operations=st.lists(st.one_of(batches(), TEXTS.map(lambda ids: Delete(ids=ids))), max_size=4),
    time_ns=st.integers(0, 2**63),
)
def test_a_record_is_read_as_it_was_written(operations: list[Operation], time_ns: int) -> None:
    read_ns, read = journal.decode(journal.encode(operations, time_ns=time_ns))
    assert read_ns == time_ns
    assert [plain(operation) for operation in read] == [plain(operation) for operation in operations]


def test_a_record_of_a_later_release_is_refused() -> None:
    payload = journal.encode([], time_ns=1)
    with pytest.raises(journal.UnknownVersion):
        journal.decode(bytes([journal.VERSION + 1]) + payload[1:])
