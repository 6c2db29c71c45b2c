"""Adds that come faster than they can be sealed wait, and are told to come back when they waited long."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from lakehouse.vector.v1 import vector_pb2
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub

from services.mesh import Mesh
from services.runtime.errors import Unavailable
from services.runtime.floats import set_floats

BATCH, DIMENSION = 100, 64
UNSEALED = 200_000


@pytest.fixture
async def stub(mesh: Mesh) -> VectorServiceStub:
    made = VectorServiceStub(mesh.connect("vectord"))
    await made.CreateIndex(vector_pb2.CreateIndexRequest(name="workers", dimension=DIMENSION, metric="l2"))
    return made


async def add(stub: VectorServiceStub, number: int) -> None:
    request = vector_pb2.AddItemsRequest(name="workers")
    for row, vector in enumerate(np.random.default_rng(number).standard_normal((BATCH, DIMENSION)).astype(np.float32)):
        set_floats(request.items.add(id=f"{number}-{row}"), "vector", vector)
    await stub.AddItems(request)


async def index(stub: VectorServiceStub) -> vector_pb2.Index:
    return (await stub.GetIndex(vector_pb2.GetIndexRequest(name="workers"))).index


@pytest.mark.requirement("V6", "X7")
@pytest.mark.settings(vector={"unsealed_bytes": UNSEALED})
async def test_what_is_not_sealed_stays_bounded_however_fast_items_come(stub: VectorServiceStub) -> None:
    most = 0

    async def writer(begin: int) -> None:
        nonlocal most
        for number in range(begin, 60, 4):
            await add(stub, number)
            most = max(most, (await index(stub)).hot_count)

    await asyncio.gather(*(writer(begin) for begin in range(4)))
    assert (await index(stub)).count == 60 * BATCH
    # Beside the limit, as much that is being put in its place, and what four writers had on the way.
    assert most * DIMENSION * 4 <= 2 * UNSEALED + 5 * BATCH * DIMENSION * 4


@pytest.mark.requirement("V6", "X6", "X7")
@pytest.mark.settings(vector={"unsealed_bytes": 1, "busy_seconds": 0.001})
async def test_a_writer_who_waited_long_is_told_to_come_back_and_nothing_was_written(stub: VectorServiceStub) -> None:
    refusals: list[Unavailable] = []
    written = 0
    for number in range(200):
        try:
            await add(stub, number)
        except Unavailable as error:
            refusals.append(error)
        else:
            written += 1
        if len(refusals) > 2 and written > 2:
            break
        await asyncio.sleep(0.02)
    assert written > 2
    assert [(error.reason, error.retry_after) for error in refusals[:2]] == [("INDEX_BUSY", 2)] * 2
    assert (await index(stub)).count == written * BATCH
